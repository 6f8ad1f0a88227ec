import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { App, type Environment, Stack } from 'aws-cdk-lib';
import { describe, expect, test } from 'vitest';
import { DiscoveryStack } from '../lib/discovery-stack.js';
import { EnvironmentError, parseEnvironments } from '../lib/environment.js';
import { EcsServiceDiscovery } from '../lib/index.js';
import { root, VPC } from './stacks.js';

/** Runs an app in the same way as the CDK's command line, with additional context. */
function synth(environments: unknown, program = 'cdk/bin/app.ts', more: object = {}) {
  const outdir = mkdtempSync(path.join(os.tmpdir(), 'discovery-'));
  try {
    const context = JSON.stringify({ environments, ...more });
    const run = spawnSync('npx', ['tsx', program], {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, CDK_OUTDIR: outdir, CDK_CONTEXT_JSON: context },
    });
    const templates = readdirSync(outdir).filter((file) => file.endsWith('.template.json'));
    const text = templates.map((file) => readFileSync(path.join(outdir, file), 'utf8')).join();
    return { status: run.status, stderr: run.stderr, templates: templates.sort(), text };
  } finally {
    rmSync(outdir, { recursive: true });
  }
}

const valid = {
  account: '111122223333',
  region: 'eu-west-1',
  vpcs: [{ vpcId: 'vpc-0a1b2c3d4e5f60718', zoneName: 'internal' }],
  trail: 'existing',
};

test('each environment becomes one stack', () => {
  const { status, templates } = synth({ qa: valid, 'load-test': { ...valid, region: 'eu-central-1' } });
  expect(status).toBe(0);
  expect(templates).toEqual(['EcsDiscovery-load-test.template.json', 'EcsDiscovery-qa.template.json']);
});

test('an invalid setting is reported without a stack trace, and nothing is synthesised', () => {
  const { status, stderr, templates } = synth({ qa: { ...valid, ttlSeconds: 0 } });
  expect(status).toBe(1);
  expect(stderr).toContain('environments.qa.ttlSeconds: expected a whole number of seconds from 1 to 86400; found 0');
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(templates).toEqual([]);
});

test('an environment that is there twice is reported without a stack trace, and nothing is synthesised', () => {
  const text = JSON.stringify({ qa: valid }).replace('{', `{"qa":${JSON.stringify(valid)},`);
  const { status, stderr, templates } = synth(text);
  expect(stderr).toBe(
    'The context key environments is invalid:\n  qa: expected each key once; found it in line 1, and again in line 1\n',
  );
  expect({ status, templates }).toEqual({ status: 1, templates: [] });
});

test('a settings file with a key that is there twice is reported with its lines, and nothing is synthesised', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'discovery-'));
  try {
    writeFileSync(
      path.join(folder, 'cdk.json'),
      '{ "app": "x",\n  "context": { "environments": { "qa": {},\n  "qa": {} } } }',
    );
    const run = spawnSync(path.join(root, 'node_modules/.bin/tsx'), [path.join(root, 'cdk/bin/app.ts')], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, CDK_OUTDIR: path.join(folder, 'out') },
    });
    expect(run.stderr).toBe(
      'cdk.json is invalid:\n  context.environments.qa: expected each key once; found it in line 2, and again in line 3\n',
    );
    expect(run.status).toBe(1);
    expect(readdirSync(folder)).toEqual(['cdk.json']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('a stack whose zones stay refuses to be deleted, unless the environment says otherwise', () => {
  const isProtected = (options: object) => {
    const environments = parseEnvironments({ qa: { ...valid, ...options } });
    if (environments.qa === undefined) throw new Error('no environment');
    return new DiscoveryStack(new App(), 'qa', environments.qa).terminationProtection;
  };
  expect(isProtected({})).toBe(true);
  expect(isProtected({ removalPolicy: 'retain' })).toBe(true);
  expect(isProtected({ removalPolicy: 'destroy' })).toBe(false);
  expect(isProtected({ removalPolicy: 'destroy', terminationProtection: true })).toBe(true);
  expect(isProtected({ terminationProtection: false })).toBe(false);
});

test('the context handlerCode deploys a prebuilt handler in every environment, without a build', () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'discovery-'));
  try {
    const other = { ...valid, vpcs: [{ vpcId: 'vpc-0123456789abcdef0', zoneName: 'internal' }] };
    const environments = { qa: valid, other };
    const refused = synth(environments, undefined, { handlerCode: folder });
    expect(refused.stderr).toBe(
      `handlerCode: expected a folder that contains the file bootstrap; found no such file in "${folder}", so build the handler into this folder, or omit handlerCode\n`,
    );
    expect(refused).toMatchObject({ status: 1, templates: [] });

    // A folder with this name is not the file.
    mkdirSync(path.join(folder, 'bootstrap'));
    expect(synth(environments, undefined, { handlerCode: folder }).status).toBe(1);
    rmSync(path.join(folder, 'bootstrap'), { recursive: true });

    writeFileSync(path.join(folder, 'bootstrap'), 'a binary');
    const { status, stderr, text } = synth(environments, undefined, { handlerCode: folder });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(text.match(/"Handler": "bootstrap"/g)).toHaveLength(2);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('another app can use the construct', () => {
  const { status, stderr, templates } = synth(undefined, 'cdk/examples/own-app.ts');
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(templates).toEqual(['Shop.template.json']);
});

test('the properties of the construct are validated in the same way as an environment', () => {
  const stack = new Stack(new App(), 'Shop', { env: { region: 'eu-west-1' } });
  const trail = 'existing' as const;
  const given = { environment: 'Shop', vpcs: [{ vpcId: 'vpc-1', zoneName: 'shop.internal' }], trail };
  expect(() => new EcsServiceDiscovery(stack, 'A', given)).toThrow(
    'The properties of Shop/A are invalid:\n  environment: expected the name of an environment, 1 to 32 characters of a-z, 0-9 and -; found "Shop"',
  );
  expect(() => new EcsServiceDiscovery(stack, 'B', { ...given, environment: 'shop' })).toThrow(
    'The properties of Shop/B are invalid:\n  properties.vpcs[0].vpcId: expected a VPC id, like vpc-0a1b2c3d4e5f60718; found "vpc-1"',
  );
});

describe('the construct', () => {
  const given = {
    environment: 'shop',
    vpcs: [{ vpcId: VPC, zoneName: 'shop.internal' }],
    trail: 'existing' as const,
  };
  /** The error for a construct in each of the stacks. */
  function problem(...all: { env?: Environment; props?: object }[]): string {
    const app = new App();
    try {
      all.forEach(({ env = { account: '111122223333', region: 'eu-west-1' }, props }, index) => {
        new EcsServiceDiscovery(new Stack(app, `Shop${index}`, { env }), 'Discovery', { ...given, ...props });
      });
      return 'ok';
    } catch (error) {
      return error instanceof EnvironmentError ? error.message : String(error);
    }
  }

  test('is checked against the account and the region of its stack', () => {
    expect(problem({})).toBe('ok');
    expect(problem({ env: { region: 'us-moon-1' } })).toBe(
      'The properties of Shop0/Discovery are invalid:\n  stack.region: expected a region of AWS, like eu-west-1; found "us-moon-1"',
    );
    expect(problem({ props: { formerNames: ['shop'] } })).toMatch(/formerNames\[0\]: expected an earlier name/);
    const alarmTopicArn = 'arn:aws:sns:eu-central-1:111122223333:oncall';
    expect(problem({ props: { alarmTopicArn } })).toMatch(/alarmTopicArn: expected a topic in eu-west-1/);
    const permissionsBoundary = 'arn:aws:iam::444455556666:policy/boundary';
    expect(problem({ props: { permissionsBoundary } })).toMatch(
      /permissionsBoundary: expected a policy of the account 111122223333 or of AWS/,
    );
    // The account is known only at deployment.
    expect(problem({ env: { region: 'eu-west-1' }, props: { permissionsBoundary } })).toBe('ok');
  });

  test('creates no second trail in an account and region', () => {
    const create = { trail: 'create' as const };
    const other = { ...create, vpcs: [{ vpcId: 'vpc-1a1b2c3d', zoneName: 'shop.internal' }] };
    expect(problem({ props: create }, { props: other })).toBe(
      'The properties of Shop1/Discovery are invalid:\n  trail: expected existing, because Shop0/Discovery creates a trail in this account and region, and AWS charges for the events of a second one; found "create"',
    );
    expect(problem({ props: create }, { props: { ...other, trail: 'existing' } })).toBe('ok');
    // Constructs of one stack are in the same account, even if nobody knows it yet.
    const stack = new Stack(new App(), 'Shop', { env: { region: 'eu-west-1' } });
    new EcsServiceDiscovery(stack, 'A', { ...given, ...create });
    expect(() => new EcsServiceDiscovery(stack, 'B', { ...given, ...other })).toThrow(
      /trail: expected existing, because Shop\/A creates a trail/,
    );
    expect(() => new EcsServiceDiscovery(stack, 'C', given)).toThrow(
      /vpcs\[0\]\.zoneName: expected another name, because Shop\/A creates this zone for the same VPC/,
    );
    // Each may be deployed into an account of its own.
    const anywhere = { env: { region: 'eu-west-1' } };
    expect(problem({ ...anywhere, props: create }, { ...anywhere, props: other })).toBe('ok');
  });

  test('creates no zone that another one creates for the same VPC', () => {
    expect(problem({}, {})).toBe(
      'The properties of Shop1/Discovery are invalid:\n  vpcs[0].zoneName: expected another name, because Shop0/Discovery creates this zone for the same VPC; found "shop.internal"',
    );
    const vpcs = [{ vpcId: VPC, zoneName: 'shop.internal', hostedZoneId: 'Z0123456789' }];
    expect(problem({}, { props: { vpcs } })).toBe('ok');
    expect(problem({}, { env: { account: '111122223333', region: 'eu-central-1' } })).toBe('ok');
  });
});

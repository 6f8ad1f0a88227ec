import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { App } from 'aws-cdk-lib';
import { expect, test } from 'vitest';
import { ServiceDiscoveryStack } from '../lib/discovery-stack.js';
import { parseEnvironments } from '../lib/parse-environments.js';
import { root } from './stacks.js';

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
    return new ServiceDiscoveryStack(new App(), 'qa', environments.qa).terminationProtection;
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

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { App, Stack } from 'aws-cdk-lib';
import { expect, test } from 'vitest';
import { EcsServiceDiscovery } from '../lib/index.js';
import { root } from './stacks.js';

/** Runs an app in the same way as the CDK's command line. */
function synth(environments: unknown, program = 'cdk/bin/app.ts') {
  const outdir = mkdtempSync(path.join(os.tmpdir(), 'discovery-'));
  try {
    const context = JSON.stringify({ environments, 'aws:cdk:bundling-stacks': [] });
    const run = spawnSync('npx', ['tsx', program], {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, CDK_OUTDIR: outdir, CDK_CONTEXT_JSON: context },
    });
    const templates = readdirSync(outdir).filter((file) => file.endsWith('.template.json'));
    return { status: run.status, stderr: run.stderr, templates: templates.sort() };
  } finally {
    rmSync(outdir, { recursive: true });
  }
}

const valid = {
  account: '111122223333',
  region: 'eu-west-1',
  vpcs: [{ vpcId: 'vpc-0a1b2c3d4e5f60718', zoneName: 'internal' }],
};

test('each environment becomes one stack', () => {
  const { status, templates } = synth({ qa: valid, 'load-test': valid });
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

test('another app can use the construct', () => {
  const { status, stderr, templates } = synth(undefined, 'cdk/examples/own-app.ts');
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(templates).toEqual(['Shop.template.json']);
});

test('the properties of the construct are validated in the same way as an environment', () => {
  const stack = new Stack(new App(), 'Shop', { env: { region: 'eu-west-1' } });
  const given = { environment: 'Shop', vpcs: [{ vpcId: 'vpc-1', zoneName: 'shop.internal' }] };
  expect(() => new EcsServiceDiscovery(stack, 'A', given)).toThrow(
    'The properties of Shop/A are invalid:\n  environment: expected the name of an environment, 1 to 32 characters of a-z, 0-9 and -; found "Shop"',
  );
  expect(() => new EcsServiceDiscovery(stack, 'B', { ...given, environment: 'shop' })).toThrow(
    'The properties of Shop/B are invalid:\n  properties.vpcs[0].vpcId: expected a VPC id, like vpc-0a1b2c3d4e5f60718; found "vpc-1"',
  );
});

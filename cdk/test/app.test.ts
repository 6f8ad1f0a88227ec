import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '../..');

/** Runs the app as the CDK's command line does. */
function synth(environments: unknown) {
  const outdir = mkdtempSync(path.join(os.tmpdir(), 'discovery-'));
  try {
    const context = JSON.stringify({ environments, 'aws:cdk:bundling-stacks': [] });
    const run = spawnSync('npx', ['tsx', 'cdk/bin/app.ts'], {
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

test('an environment more is a stack more', () => {
  const { status, templates } = synth({ qa: valid, 'load-test': valid });
  expect(status).toBe(0);
  expect(templates).toEqual(['EcsDiscovery-load-test.template.json', 'EcsDiscovery-qa.template.json']);
});

test('a mistake is told without a stack trace, and nothing is synthesised', () => {
  const { status, stderr, templates } = synth({ qa: { ...valid, ttlSeconds: 0 } });
  expect(status).toBe(1);
  expect(stderr).toContain(
    'environments.qa.ttlSeconds: expected a whole number of seconds, 1 to 86400; found 0',
  );
  expect(stderr).not.toMatch(/^\s+at /m);
  expect(templates).toEqual([]);
});

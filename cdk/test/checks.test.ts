/** Checks the stacks with the rules of the CDK, of cdk-nag and of cfn-lint. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { App, Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks, ServerlessChecks } from 'cdk-nag';
import { afterEach, expect, test, vi } from 'vitest';
import { ServiceDiscoveryStack } from '../lib/discovery-stack.js';
import { parseEnvironments } from '../lib/parse-environments.js';
import { context, root } from './stacks.js';

afterEach(() => {
  vi.restoreAllMocks();
});

/** The example environments, and one with every option that they omit. */
function environments() {
  const examples = context.environments as Record<string, object>;
  return parseEnvironments({
    ...examples,
    other: {
      ...examples.dev,
      region: 'eu-central-1',
      vpcs: [{ vpcId: 'vpc-0d0e0a1b2c3d4e5f6', zoneName: 'other.internal' }],
      delivery: 'queue',
      record: 'ALIAS',
      clusters: ['other-*', 'shared'],
      reservedConcurrency: 5,
      permissionsBoundary: 'team-boundary',
      bootstrapQualifier: 'team1',
      alarmTopicArn: 'arn:aws:sns:eu-central-1:111122223333:oncall',
      kmsKeyArn: 'arn:aws:kms:eu-central-1:444455556666:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9',
      operatorPolicies: true,
    },
  });
}

/** Synthesises all environments into a folder with the rules of cdk-nag and of the CDK. */
function synth(outdir: string): string {
  const app = new App({ outdir, context: { ...context, 'aws:cdk:bundling-stacks': [] } });
  Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
  Validations.of(app).addPlugins(new ServerlessChecks(app));
  for (const [name, data] of Object.entries(environments())) new ServiceDiscoveryStack(app, name, data);
  try {
    app.synth();
    return '';
  } catch (error) {
    return String(error);
  }
}

function inFolder<T>(work: (folder: string) => T): T {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'discovery-'));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('the CDK and cdk-nag report no finding that is not acknowledged', () => {
  expect(inFolder(synth)).toBe('');
});

test('every acknowledged rule has a finding on its construct', () => {
  const acknowledged = new Set<string>();
  const of = Validations.of.bind(Validations);
  vi.spyOn(Validations, 'of').mockImplementation((scope) =>
    Object.assign(of(scope), {
      acknowledge: (...all: { id: string; reason: string }[]) => {
        for (const { id, reason } of all) {
          expect(reason.length).toBeGreaterThan(40);
          acknowledged.add(`${scope.node.path} ${id}`);
        }
      },
    }),
  );
  const findings = inFolder(synth).split(/\n(?=\S)/);
  const found = findings.flatMap((finding) => {
    const construct = /^ +(EcsDiscovery\S+) /m.exec(finding)?.[1];
    const id = /Acknowledge with '\w+::(.*)'/.exec(finding)?.[1];
    return construct !== undefined && id !== undefined ? [{ construct, id }] : [];
  });
  const unfound = [...acknowledged].filter((one) => {
    const [path, ...id] = one.split(' ');
    return !found.some(
      (finding) => finding.id === id.join(' ') && `${finding.construct}/`.startsWith(`${path ?? ''}/`),
    );
  });
  expect(found.length).toBeGreaterThan(10);
  expect(unfound).toEqual([]);
});

test('cfn-lint reports no finding', () => {
  inFolder((folder) => {
    synth(folder);
    const templates = readdirSync(folder).filter((file) => file.endsWith('.template.json'));
    expect(templates).toHaveLength(4);
    const lint = path.join(root, '.venv/bin/cfn-lint');
    // W3005: the CDK writes dependencies that a reference already implies.
    const run = spawnSync(lint, ['--ignore-checks', 'W3005', '--', ...templates], { cwd: folder, encoding: 'utf8' });
    expect(run.error).toBeUndefined();
    expect(run.stdout + run.stderr).toBe('');
    expect(run.status).toBe(0);
  });
});

/** Environments with many VPCs stay within the limits of IAM and of Lambda. */
import type { Template } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import { KEY, type Statement, statements, template } from './stacks.js';

/** IAM's limits for the characters of a managed policy, and of all inline policies of a role. */
const MANAGED_POLICY = 6_144;
const INLINE_POLICIES = 10_240;

/** Lambda's limit for all environment variables of a function. */
const VARIABLES = 4_096;

const vpcs = (count: number, zone: (number: number) => object) =>
  Array.from({ length: count }, (_, number) => ({
    vpcId: `vpc-${String(number).padStart(17, '0')}`,
    ...zone(number),
  }));

/** The text that CloudFormation makes of a value. Each reference becomes an id of the usual length. */
function text(value: unknown): string {
  if (typeof value === 'string') return value;
  const [name, argument] = Object.entries(value as object)[0] ?? [];
  if (name === 'Fn::Join') return (argument as [string, unknown[]])[1].map(text).join('');
  return 'Z0123456789ABCDEFGHIJ';
}

/** The characters of a policy's document. */
function size(document: unknown): number {
  const isReference = (value: unknown) =>
    typeof value === 'object' &&
    value !== null &&
    Object.keys(value).some((key) => key === 'Ref' || key.startsWith('Fn::'));
  return JSON.stringify(document, (_key, value: unknown) => (isReference(value) ? text(value) : value)).length;
}

interface Policy {
  Properties: { PolicyDocument: { Statement: Statement[] } };
}

const policies = (made: Template) => made.findResources('AWS::IAM::ManagedPolicy') as Record<string, Policy>;

function expectWithinLimits(made: Template): void {
  const managed = Object.values(policies(made));
  // During an update, the role has the former policies, too.
  expect(managed.length).toBeLessThanOrEqual(5);
  for (const { Properties } of managed) expect(size(Properties.PolicyDocument)).toBeLessThanOrEqual(MANAGED_POLICY);
  const inline = statements(made, 'DiscoveryHandlerRole').filter(
    (statement) => !managed.some(({ Properties }) => Properties.PolicyDocument.Statement.includes(statement)),
  );
  expect(size(inline)).toBeLessThanOrEqual(INLINE_POLICIES - 200);
  const functions = made.findResources('AWS::Lambda::Function', { Properties: { Runtime: 'provided.al2023' } });
  const [handler] = Object.values(functions) as {
    Properties: { Environment: { Variables: Record<string, unknown> } };
  }[];
  const variables = Object.entries(handler?.Properties.Environment.Variables ?? {});
  expect(variables.map(([name, value]) => name + text(value)).join('').length).toBeLessThanOrEqual(VARIABLES);
}

/** The names that each statement with this id allows, with the number of its zones. */
const allowed = (made: Template, sid: string) =>
  statements(made, 'DiscoveryHandlerRole')
    .filter(({ Sid }) => Sid === sid)
    .map(({ Condition, Resource }) => ({
      names: Object.values(Condition as Record<string, Record<string, string[]>>).flatMap(
        (keys) => keys['route53:ChangeResourceRecordSetsNormalizedRecordNames'] ?? [],
      ),
      zones: [Resource].flat().length,
    }));

describe('an environment with 60 VPCs', () => {
  test('stays within the limits of IAM and Lambda, with one name for all zones that the stack creates', () => {
    const made = template({ vpcs: vpcs(60, () => ({ zoneName: 'dev.internal' })) });
    made.resourceCountIs('AWS::Route53::HostedZone', 60);
    expectWithinLimits(made);
    const changes = allowed(made, 'ChangeRecords');
    expect(changes.reduce((sum, { zones }) => sum + zones, 0)).toBe(60);
    expect(changes[0]?.names).toEqual(['*.dev.internal', 'false']);
  });

  test('stays within the limits with given zones', () => {
    const given = (number: number) => ({
      zoneName: 'dev.internal',
      hostedZoneId: `Z${String(number).padStart(20, '0')}`,
    });
    expectWithinLimits(template({ vpcs: vpcs(60, given) }));
  });
});

describe('the permissions', () => {
  test('with zones of different names stay within the limits', () => {
    expectWithinLimits(template({ vpcs: vpcs(35, (number) => ({ zoneName: `tenant-${number}.internal` })) }));
  });

  test('allow no change of the apex of a zone that is within another one', () => {
    const names = ['internal', 'dev.internal', 'test.internal'];
    const made = template({ vpcs: vpcs(3, (number) => ({ zoneName: names[number] })) });
    expect(allowed(made, 'ChangeRecords').map(({ names }) => names.filter((name) => name !== 'false'))).toEqual([
      ['*.internal'],
      ['*.dev.internal', '*.test.internal'],
    ]);
  });

  test('come with another policy when a zone comes, so that the former one stays until then', () => {
    const ids = (count: number) =>
      Object.keys(policies(template({ vpcs: vpcs(count, () => ({ zoneName: 'dev.internal' })) })));
    expect(ids(2)).toHaveLength(1);
    expect(ids(2)).toEqual(ids(2));
    expect(ids(3)).not.toEqual(ids(2));
  });
});

describe('an error says that there are too many', () => {
  test('VPCs for the environment variables of a function', () => {
    const many = { vpcs: vpcs(120, () => ({ zoneName: 'dev.internal' })) };
    expect(() => template(many)).toThrow(
      /vpcs, clusters: expected a configuration of at most 3750 characters.*found \d+/,
    );
  });

  test('zones for the policies of a role', () => {
    const name = (number: number) => Array.from({ length: 8 }, () => `n${number}`).join('.');
    const nested = (number: number) => ({
      zoneName: name(0)
        .split('.')
        .slice(0, number + 2)
        .join('.'),
    });
    expect(() => template({ vpcs: vpcs(6, nested) })).toThrow(/vpcs: expected fewer VPCs.*found 6 zones.*6 policies/);
  });

  test('clusters for the inline policies of a role', () => {
    const clusters = Array.from({ length: 60 }, (_, number) => `cluster-${number}`);
    expect(() => template({ clusters })).toThrow(/clusters: expected fewer clusters.*patterns like dev-\*/);
    expectWithinLimits(template({ clusters: clusters.slice(0, 45), kmsKeyArn: KEY }));
  });
});

/** The permissions of people who use the command line tool. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { ManagedPolicy } from 'aws-cdk-lib/aws-iam';
import { describe, expect, test } from 'vitest';
import { DRY_RUN_ALIAS } from '../lib/dry-run-alias.js';
import { EcsServiceDiscovery, TrailSource } from '../lib/index.js';
import { app, environment, KEY, root, type Statement, template, vpc } from './stacks.js';

const list = (value: string | string[]) => (Array.isArray(value) ? value : [value]);

interface Policy {
  Properties: { PolicyDocument: { Statement: Statement[] } };
}

/** The statements of one of the two policies of a stack. */
function policy(made: Template, id: 'ReadPolicy' | 'OperatePolicy'): Statement[] {
  const policies = Object.entries(made.findResources('AWS::IAM::ManagedPolicy') as Record<string, Policy>);
  const [, found] = policies.find(([key]) => key.startsWith(id)) ?? [];
  return found?.Properties.PolicyDocument.Statement ?? [];
}

const actions = (statements: Statement[]) => statements.flatMap(({ Action }) => list(Action)).sort();

/** The resources for which statements allow an action. */
const resources = (statements: Statement[], action: string) =>
  JSON.stringify(statements.filter(({ Action }) => list(Action).includes(action)).map(({ Resource }) => Resource));

/** A call that only reads, or a query. */
const READS = /:(Describe|Get|List|Filter|StartQuery|StopQuery)/;

describe('the permissions to read', () => {
  const made = template({ operatorPolicies: true });
  const statements = policy(made, 'ReadPolicy');

  test('invoke the function only through the alias for dry runs', () => {
    const alias = Object.keys(made.findResources('AWS::Lambda::Alias'));
    expect(alias).toHaveLength(1);
    expect(resources(statements, 'lambda:InvokeFunction')).toBe(JSON.stringify([{ Ref: alias[0] }]));
  });

  test('name the alias as the handler does', () => {
    const handler = readFileSync(path.join(root, 'handler/src/domain/trigger.rs'), 'utf8');
    expect(handler).toContain(`DRY_RUN_ALIAS: &str = "${DRY_RUN_ALIAS}";`);
    const [alias] = Object.values(made.findResources('AWS::Lambda::Alias'));
    expect(alias).toMatchObject({ Properties: { Name: DRY_RUN_ALIAS, FunctionVersion: '$LATEST' } });
  });

  test('contain no other call that changes something', () => {
    expect(actions(statements).filter((action) => !READS.test(action))).toEqual(['lambda:InvokeFunction']);
  });

  test('end in a wildcard only where the API has no resources', () => {
    const everywhere = statements.filter(({ Resource }) => Resource === '*');
    expect(actions(everywhere)).toMatchInlineSnapshot(`
      [
        "cloudtrail:DescribeTrails",
        "elasticloadbalancing:DescribeListeners",
        "elasticloadbalancing:DescribeLoadBalancers",
        "elasticloadbalancing:DescribeRules",
        "elasticloadbalancing:DescribeTargetGroups",
        "events:ListRuleNamesByTarget",
        "lambda:ListEventSourceMappings",
        "logs:DescribeLogGroups",
        "logs:GetQueryResults",
        "logs:StopQuery",
      ]
    `);
  });
});

describe('the permissions to operate', () => {
  const made = template({ operatorPolicies: true });
  const [reads, all] = [policy(made, 'ReadPolicy'), policy(made, 'OperatePolicy')];

  test('contain those to read', () => {
    expect(actions(all)).toEqual(expect.arrayContaining(actions(reads)));
    expect(resources(all, 'lambda:InvokeFunction')).toContain('DiscoveryHandlerDryRuns');
  });

  test('invoke the function itself, and move messages from the dead-letter queue to the event queue', () => {
    const more = all.filter((statement) => !JSON.stringify(reads).includes(JSON.stringify(statement)));
    expect(actions(more)).toMatchInlineSnapshot(`
      [
        "lambda:InvokeFunction",
        "sqs:CancelMessageMoveTask",
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:ListMessageMoveTasks",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
        "sqs:StartMessageMoveTask",
      ]
    `);
    expect(resources(more, 'lambda:InvokeFunction')).toContain('DiscoveryHandlerFunction');
    expect(resources(more, 'sqs:DeleteMessage')).toContain('DiscoveryFailures');
    expect(resources(more, 'sqs:SendMessage')).toContain('DiscoveryEvents');
  });

  test('use the KMS key for queues only', () => {
    const encrypted = policy(template({ operatorPolicies: true, kmsKeyArn: KEY }), 'OperatePolicy');
    const uses = encrypted.filter(({ Action }) => list(Action).includes('kms:Decrypt'));
    expect(uses.map(({ Resource }) => Resource)).toEqual([KEY]);
    expect(JSON.stringify(uses[0]?.Condition)).toContain(':sqs:eu-west-1:111122223333:*');
  });
});

test('a stack has no policies for operators unless it is asked for them', () => {
  const made = template();
  expect([...policy(made, 'ReadPolicy'), ...policy(made, 'OperatePolicy')]).toEqual([]);
});

test('the construct grants the same permissions in an app of your own', () => {
  const { region, account } = environment;
  const own = new Stack(app(), 'Own', { env: { region, account } });
  const vpcs = [{ vpc: vpc(own), zoneName: 'own.internal' }];
  const discovery = new EcsServiceDiscovery(own, 'Discovery', { environment: 'own', vpcs, trail: TrailSource.CREATE });
  discovery.grantRead(new ManagedPolicy(own, 'ReadPolicy')).assertSuccess();
  discovery.grantOperate(new ManagedPolicy(own, 'OperatePolicy')).assertSuccess();
  const made = Template.fromStack(own);
  const stacks = template({ operatorPolicies: true });
  expect(actions(policy(made, 'ReadPolicy'))).toEqual(actions(policy(stacks, 'ReadPolicy')));
  expect(actions(policy(made, 'OperatePolicy'))).toEqual(actions(policy(stacks, 'OperatePolicy')));
});

test('the construct grants the permission to invoke the handler, and nothing else', () => {
  const own = new Stack(app(), 'Own', { env: { region: 'eu-west-1' } });
  const vpcs = [{ vpc: vpc(own), zoneName: 'own.internal' }];
  const discovery = new EcsServiceDiscovery(own, 'Discovery', {
    environment: 'own',
    vpcs,
    trail: TrailSource.EXISTING,
  });
  discovery.grantInvoke(new ManagedPolicy(own, 'OperatePolicy')).assertSuccess();
  const statements = policy(Template.fromStack(own), 'OperatePolicy');
  expect(actions(statements)).toEqual(['lambda:InvokeFunction']);
  // No version and no alias, except for the latest version.
  expect(resources(statements, 'lambda:InvokeFunction')).not.toContain('*');
});

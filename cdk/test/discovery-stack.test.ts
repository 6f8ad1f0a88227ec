import { readFileSync } from 'node:fs';
import path from 'node:path';
import { App } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import { DiscoveryStack } from '../lib/discovery-stack.js';
import { parseEnvironments } from '../lib/environment.js';

const VPC = 'vpc-0a1b2c3d4e5f60718';

/** The feature flags that the app runs with. */
const { context } = JSON.parse(readFileSync(path.resolve(import.meta.dirname, '../../cdk.json'), 'utf8')) as {
  context: Record<string, unknown>;
};

/** What of a role is looked at here. */
interface Role {
  Properties: {
    Policies?: { PolicyDocument: { Statement: Record<string, unknown>[] } }[];
    ManagedPolicyArns?: unknown;
  };
}

/** The template of an environment with the options given. */
function template(options: object = {}): Template {
  const environments = parseEnvironments({
    dev: { account: '111122223333', region: 'eu-west-1', vpcs: [{ vpcId: VPC, zoneName: 'dev.internal' }], ...options },
  });
  // The handler's build is for the deployment, not for these.
  const app = new App({ context: { ...context, 'aws:cdk:bundling-stacks': [] } });
  const dev = environments.dev;
  if (dev === undefined) throw new Error('no environment');
  return Template.fromStack(new DiscoveryStack(app, 'dev', dev));
}

function statements(options: object = {}): Record<string, unknown>[] {
  const roles = Object.values(template(options).findResources('AWS::IAM::Role')) as Role[];
  const role = roles.find((role) => JSON.stringify(role).includes('lambda.amazonaws.com'));
  return role?.Properties.Policies?.[0]?.PolicyDocument.Statement ?? [];
}

describe('the trail', () => {
  test('logs write management events of one region, validated, to a closed and encrypted bucket', () => {
    const made = template();
    made.hasResourceProperties('AWS::CloudTrail::Trail', {
      EnableLogFileValidation: true,
      IsLogging: true,
      IsMultiRegionTrail: false,
      EventSelectors: [{ IncludeManagementEvents: true, ReadWriteType: 'WriteOnly' }],
    });
    made.hasResourceProperties('AWS::S3::Bucket', {
      BucketEncryption: { ServerSideEncryptionConfiguration: [{ ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }] },
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      },
      LifecycleConfiguration: { Rules: [Match.objectLike({ ExpirationInDays: 90, Status: 'Enabled' })] },
    });
    made.hasResourceProperties('AWS::S3::BucketPolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({ Effect: 'Deny', Action: 's3:*', Condition: { Bool: { 'aws:SecureTransport': 'false' } } }),
        ]),
      },
    });
  });

  test('that exists is used as it is', () => {
    const made = template({ trail: 'existing' });
    made.resourceCountIs('AWS::CloudTrail::Trail', 0);
    made.resourceCountIs('AWS::S3::Bucket', 0);
  });
});

describe('a zone', () => {
  test('is made private, for its VPC', () => {
    template().hasResourceProperties('AWS::Route53::HostedZone', {
      Name: 'dev.internal',
      VPCs: [{ VPCId: VPC, VPCRegion: 'eu-west-1' }],
    });
  });

  test('that is given is used, and none is made', () => {
    const made = template({ vpcs: [{ vpcId: VPC, zoneName: 'dev.internal', hostedZoneId: 'Z0GIVEN' }] });
    made.resourceCountIs('AWS::Route53::HostedZone', 0);
    made.hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: { DISCOVERY_CONFIG: Match.stringLikeRegexp('"hostedZoneId":"Z0GIVEN"') } },
    });
  });

  test('keeps its logical id when another VPC comes before it in the list', () => {
    const ids = (vpcs: object[]) => Object.keys(template({ vpcs }).findResources('AWS::Route53::HostedZone'));
    const first = { vpcId: VPC, zoneName: 'dev.internal' };
    const other = { vpcId: 'vpc-0123456789abcdef0', zoneName: 'dev.internal' };
    expect(ids([other, first])).toEqual(expect.arrayContaining(ids([first])));
  });

  test('stays when the stack goes, unless told otherwise', () => {
    template().hasResource('AWS::Route53::HostedZone', { DeletionPolicy: 'Retain' });
    template({ removalPolicy: 'destroy' }).hasResource('AWS::Route53::HostedZone', { DeletionPolicy: 'Delete' });
  });
});

describe('the rules', () => {
  test('pass on calls that succeeded and may change a name', () => {
    template().hasResourceProperties('AWS::Events::Rule', {
      EventPattern: {
        source: ['aws.ecs'],
        'detail-type': ['AWS API Call via CloudTrail'],
        detail: {
          eventSource: ['ecs.amazonaws.com'],
          eventName: Match.arrayWith(['CreateService', 'UpdateService', 'DeleteService', 'TagResource']),
          errorCode: [{ exists: false }],
        },
      },
    });
  });

  test("pass on ECS's own events of deployments and services", () => {
    template().hasResourceProperties('AWS::Events::Rule', {
      EventPattern: {
        source: ['aws.ecs'],
        'detail-type': ['ECS Deployment State Change', 'ECS Service Action'],
      },
    });
  });

  test.each([
    [1, 'rate(1 minute)'],
    [15, 'rate(15 minutes)'],
    [60, 'rate(1 hour)'],
  ])('run a full pass every %d minutes', (sweepMinutes, rate) => {
    template({ sweepMinutes }).hasResourceProperties('AWS::Events::Rule', { ScheduleExpression: rate });
  });
});

describe('the handler', () => {
  test('runs on Amazon Linux 2023, with its own log group and retention', () => {
    const made = template({ architecture: 'arm64', logRetentionDays: 7 });
    made.hasResourceProperties('AWS::Lambda::Function', {
      Runtime: 'provided.al2023',
      Architectures: ['arm64'],
      LoggingConfig: { LogGroup: Match.anyValue() },
    });
    made.hasResourceProperties('AWS::Logs::LogGroup', { RetentionInDays: 7 });
  });

  test('may not do more than it needs', () => {
    const all = statements();
    const actions = all.flatMap((statement) => statement.Action as string | string[]);
    expect(actions.sort()).toEqual([
      'ecs:DescribeServices',
      'ecs:ListClusters',
      'ecs:ListServices',
      'elasticloadbalancing:DescribeLoadBalancers',
      'elasticloadbalancing:DescribeTargetGroups',
      'logs:CreateLogStream',
      'logs:PutLogEvents',
      'route53:ChangeResourceRecordSets',
      'route53:ListResourceRecordSets',
    ]);
    const unlimited = all.filter(({ Resource, Condition }) => Resource === '*' && Condition === undefined);
    expect(unlimited.flatMap((statement) => statement.Action)).toEqual([
      'ecs:ListClusters',
      'elasticloadbalancing:DescribeLoadBalancers',
      'elasticloadbalancing:DescribeTargetGroups',
    ]);
  });

  test('has no managed policies', () => {
    const roles = Object.values(template({ trail: 'existing' }).findResources('AWS::IAM::Role')) as Role[];
    expect(roles).toHaveLength(1);
    for (const role of roles) {
      expect(role.Properties.ManagedPolicyArns).toBeUndefined();
    }
  });

  test('reads the clusters of its environment only', () => {
    const all = statements({ clusters: ['dev-*', 'shared'] });
    expect(all).toContainEqual(
      expect.objectContaining({
        Action: 'ecs:DescribeServices',
        Resource: [
          'arn:aws:ecs:eu-west-1:111122223333:service/dev-*/*',
          'arn:aws:ecs:eu-west-1:111122223333:service/shared/*',
        ],
      }),
    );
  });

  test('creates and deletes address, CNAME and TXT records below its zone only', () => {
    const change = statements().find(({ Action }) => Action === 'route53:ChangeResourceRecordSets');
    expect(change?.Condition).toEqual({
      'ForAllValues:StringEquals': {
        'route53:ChangeResourceRecordSetsRecordTypes': ['A', 'AAAA', 'CNAME', 'TXT'],
        'route53:ChangeResourceRecordSetsActions': ['CREATE', 'DELETE'],
      },
      'ForAllValues:StringLike': {
        'route53:ChangeResourceRecordSetsNormalizedRecordNames': ['*.dev.internal'],
      },
    });
  });
});

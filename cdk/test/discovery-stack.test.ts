import { Match } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import { ServiceDiscoveryStack } from '../lib/discovery-stack.js';
import { parseEnvironments } from '../lib/parse-environments.js';
import { app, environment, idOf, statements as all, template, VPC } from './stacks.js';

/** A request without one of these values is denied, although `ForAllValues` matches it. */
const PRESENT = {
  'route53:ChangeResourceRecordSetsRecordTypes': 'false',
  'route53:ChangeResourceRecordSetsActions': 'false',
  'route53:ChangeResourceRecordSetsNormalizedRecordNames': 'false',
};

const statements = (options: object = {}) => all(template(options), 'DiscoveryHandlerRole');

describe('the trail', () => {
  test('logs write management events of one region, with validation, to a private encrypted bucket', () => {
    const made = template();
    made.hasResourceProperties('AWS::CloudTrail::Trail', {
      EnableLogFileValidation: true,
      IsLogging: true,
      IsMultiRegionTrail: false,
      EventSelectors: [{ IncludeManagementEvents: true, ReadWriteType: 'WriteOnly' }],
    });
    made.hasResourceProperties('AWS::S3::Bucket', {
      BucketEncryption: {
        ServerSideEncryptionConfiguration: [{ ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } }],
      },
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

  test('is not created if one exists', () => {
    const made = template({ trail: 'existing' });
    made.resourceCountIs('AWS::CloudTrail::Trail', 0);
    made.resourceCountIs('AWS::S3::Bucket', 0);
  });
});

describe('a zone', () => {
  test('is created as a private zone of its VPC', () => {
    template().hasResourceProperties('AWS::Route53::HostedZone', {
      Name: 'dev.internal',
      VPCs: [{ VPCId: VPC, VPCRegion: 'eu-west-1' }],
    });
  });

  test('is not created if one is given', () => {
    const made = template({ vpcs: [{ vpcId: VPC, zoneName: 'dev.internal', hostedZoneId: 'Z0GIVEN' }] });
    made.resourceCountIs('AWS::Route53::HostedZone', 0);
    made.hasResourceProperties('AWS::Lambda::Function', {
      Environment: {
        Variables: {
          DISCOVERY_CONFIG: {
            'Fn::Join': ['', Match.arrayWith([`,"zones":[{"name":"dev.internal","vpcs":[["${VPC}","Z0GIVEN"]]}]`])],
          },
        },
      },
    });
  });

  test('keeps its logical id when another VPC comes before it in the list', () => {
    const ids = (vpcs: object[]) => Object.keys(template({ vpcs }).findResources('AWS::Route53::HostedZone'));
    const first = { vpcId: VPC, zoneName: 'dev.internal' };
    const other = { vpcId: 'vpc-0123456789abcdef0', zoneName: 'dev.internal' };
    expect(ids([other, first])).toEqual(expect.arrayContaining(ids([first])));
  });

  test('remains when the stack is destroyed, unless removalPolicy is destroy', () => {
    // What a failed first deployment created goes with it.
    template().hasResource('AWS::Route53::HostedZone', { DeletionPolicy: 'RetainExceptOnCreate' });
    template({ removalPolicy: 'destroy' }).hasResource('AWS::Route53::HostedZone', { DeletionPolicy: 'Delete' });
  });
});

describe('the rules', () => {
  const tag = [{ prefix: 'discovery:' }, { exists: false }];
  const ecsCalls = {
    $or: [
      { eventName: Match.arrayWith(['CreateService', 'UpdateService', 'DeleteService']) },
      { eventName: ['TagResource'], requestParameters: { tags: { key: tag } } },
      { eventName: ['UntagResource'], requestParameters: { tagKeys: tag } },
    ],
  };
  const loadBalancerCalls = ['DeleteLoadBalancer', 'CreateListener', 'ModifyRule', 'SetIpAddressType'];

  test.each([
    ['ecs', ecsCalls],
    ['elasticloadbalancing', { eventName: Match.arrayWith(loadBalancerCalls) }],
  ])('match successful calls of the API %s that can change a record', (api, calls) => {
    template().hasResourceProperties('AWS::Events::Rule', {
      EventPattern: {
        source: [`aws.${api}`],
        'detail-type': ['AWS API Call via CloudTrail'],
        detail: { eventSource: [`${api}.amazonaws.com`], errorCode: [{ exists: false }], ...calls },
      },
    });
  });

  test.each(['direct', 'queue'])(
    'send calls of Elastic Load Balancing to a queue of their own, cut to a constant size, with delivery %s',
    (delivery) => {
      const made = template({ delivery });
      const paths = {
        source: '$.source',
        'detail-type': '$.detail-type',
        time: '$.time',
        'detail-eventSource': '$.detail.eventSource',
        'detail-eventName': '$.detail.eventName',
        'detail-eventID': '$.detail.eventID',
      };
      const text =
        '{"source":<source>,"detail-type":<detail-type>,"time":<time>,' +
        '"detail":{"eventSource":<detail-eventSource>,"eventName":<detail-eventName>,"eventID":<detail-eventID>}}';
      made.hasResourceProperties('AWS::Events::Rule', {
        EventPattern: Match.objectLike({ source: ['aws.elasticloadbalancing'] }),
        Targets: [
          Match.objectLike({
            Arn: { 'Fn::GetAtt': [idOf(made, 'AWS::SQS::Queue', 'DiscoveryLoadBalancerCalls'), 'Arn'] },
            InputTransformer: { InputPathsMap: paths, InputTemplate: text },
          }),
        ],
      });
    },
  );

  test("match ECS's own events that end a deployment", () => {
    template().hasResourceProperties('AWS::Events::Rule', {
      EventPattern: {
        source: ['aws.ecs'],
        'detail-type': ['ECS Deployment State Change', 'ECS Service Action'],
        detail: { eventName: ['SERVICE_DEPLOYMENT_COMPLETED', 'SERVICE_DEPLOYMENT_FAILED', 'TASKSET_STEADY_STATE'] },
      },
    });
  });

  test('match changed discovery tags of services', () => {
    template().hasResourceProperties('AWS::Events::Rule', {
      EventPattern: {
        source: ['aws.tag'],
        'detail-type': ['Tag Change on Resource'],
        detail: {
          service: ['ecs'],
          'resource-type': ['service'],
          'changed-tag-keys': [{ prefix: 'discovery:' }],
        },
      },
    });
  });

  test.each([
    [1, 'rate(1 minute)'],
    [15, 'rate(15 minutes)'],
    [60, 'rate(1 hour)'],
  ])('schedule a full pass every %d minutes', (fullPassMinutes, rate) => {
    template({ fullPassMinutes }).hasResourceProperties('AWS::Events::Rule', { ScheduleExpression: rate });
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

  test('has only the permissions that it needs', () => {
    const may = statements();
    const actions = may.flatMap((statement) => statement.Action);
    expect([...new Set(actions)].sort()).toEqual([
      'ecs:DescribeServices',
      'ecs:ListClusters',
      'ecs:ListServices',
      'elasticloadbalancing:DescribeLoadBalancers',
      'elasticloadbalancing:DescribeTargetGroups',
      'logs:CreateLogStream',
      'logs:PutLogEvents',
      'route53:ChangeResourceRecordSets',
      'route53:GetHostedZone',
      'route53:ListResourceRecordSets',
      'sqs:ChangeMessageVisibility',
      'sqs:DeleteMessage',
      'sqs:GetQueueAttributes',
      'sqs:GetQueueUrl',
      'sqs:ReceiveMessage',
      'sqs:SendMessage',
    ]);
    const unlimited = may.filter(({ Resource, Condition }) => Resource === '*' && Condition === undefined);
    expect(unlimited.flatMap((statement) => statement.Action)).toEqual([
      'ecs:ListClusters',
      'elasticloadbalancing:DescribeTargetGroups',
      'elasticloadbalancing:DescribeLoadBalancers',
    ]);
  });

  test('sends to the dead-letter queue only, and receives from its own two queues only', () => {
    const made = template();
    const queue = (name: string) => ({ 'Fn::GetAtt': [idOf(made, 'AWS::SQS::Queue', `Discovery${name}Queue`), 'Arn'] });
    const of = (action: string) => statements().filter(({ Action }) => [Action].flat().includes(action));
    expect(of('sqs:SendMessage').map(({ Resource }) => Resource)).toEqual([queue('Failures')]);
    expect(of('sqs:ReceiveMessage').flatMap(({ Resource }) => Resource)).toEqual([
      queue('Events'),
      queue('LoadBalancerCalls'),
    ]);
  });

  test('is denied each request without a value that a condition compares with all values', () => {
    const vpcs = [
      { vpcId: VPC, zoneName: 'dev.internal' },
      { vpcId: 'vpc-0123456789abcdef0', zoneName: 'corp.example', hostedZoneId: 'Z0TWO' },
    ];
    const conditions = statements({ vpcs }).flatMap(({ Condition }) => Condition ?? []) as Record<string, object>[];
    const limited = conditions.map((condition) => ({
      compared: Object.entries(condition).flatMap(([operator, keys]) =>
        operator.startsWith('ForAllValues:') ? Object.keys(keys) : [],
      ),
      present: condition.Null ?? {},
    }));
    expect(limited.flatMap(({ compared }) => compared)).toHaveLength(6);
    for (const { compared, present } of limited) {
      expect(present).toEqual(Object.fromEntries(compared.map((key) => [key, 'false'])));
    }
  });

  test('has a role without managed policies, and so has the provider framework', () => {
    const roles = template({ trail: 'existing' }).findResources('AWS::IAM::Role');
    expect(Object.keys(roles)).toHaveLength(2);
    for (const role of Object.values(roles)) {
      expect((role as { Properties: object }).Properties).not.toHaveProperty('ManagedPolicyArns');
    }
  });

  test('reserves concurrency only if the option is set', () => {
    const concurrency = (options: object) =>
      template(options).findResources('AWS::Lambda::Function', {
        Properties: { ReservedConcurrentExecutions: Match.anyValue() },
      });
    expect(concurrency({})).toEqual({});
    expect(Object.values(concurrency({ reservedConcurrency: 5 }))).toHaveLength(1);
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

  test('may only create and delete A, AAAA, CNAME and TXT records below its zones', () => {
    const other = 'vpc-0123456789abcdef0';
    const vpcs = [
      { vpcId: VPC, zoneName: 'dev.internal', hostedZoneId: 'Z0ONE' },
      { vpcId: other, zoneName: 'corp.example', hostedZoneId: 'Z0TWO' },
    ];
    const changes = statements({ vpcs }).filter(({ Action }) => Action === 'route53:ChangeResourceRecordSets');
    expect(changes).toEqual([
      expect.objectContaining({
        Resource: ['arn:aws:route53:::hostedzone/Z0ONE', 'arn:aws:route53:::hostedzone/Z0TWO'],
        Condition: {
          'ForAllValues:StringEquals': {
            'route53:ChangeResourceRecordSetsRecordTypes': ['A', 'AAAA', 'CNAME', 'TXT'],
            'route53:ChangeResourceRecordSetsActions': ['CREATE', 'DELETE'],
          },
          'ForAllValues:StringLike': {
            'route53:ChangeResourceRecordSetsNormalizedRecordNames': ['*.dev.internal', '*.corp.example'],
          },
          Null: PRESENT,
        },
      }),
    ]);
  });
});

describe('every function', () => {
  test.each([
    ['create', 'destroy', 3],
    ['create', 'retain', 2],
    ['existing', 'destroy', 2],
    ['existing', 'retain', 2],
  ])('writes to a log group of the stack, with trail %s and removalPolicy %s', (trail, removalPolicy, count) => {
    const made = template({ trail, removalPolicy, logRetentionDays: 7 });
    const functions = Object.values(made.findResources('AWS::Lambda::Function')) as {
      Properties: { LoggingConfig?: { LogGroup: { Ref: string } } };
    }[];
    expect(functions).toHaveLength(count);
    const logGroups = Object.keys(made.findResources('AWS::Logs::LogGroup'));
    expect(functions.map(({ Properties }) => Properties.LoggingConfig?.LogGroup.Ref).sort()).toEqual(logGroups.sort());
    made.allResourcesProperties('AWS::Logs::LogGroup', { RetentionInDays: 7 });
  });
});

describe('a permissions boundary', () => {
  test.each(['arn:aws:iam::111122223333:policy/team/boundary', 'team-boundary'])(
    '%s is set on every role',
    (boundary) => {
      const roles = template({ permissionsBoundary: boundary, removalPolicy: 'destroy' }).findResources(
        'AWS::IAM::Role',
      );
      expect(Object.keys(roles).length).toBeGreaterThanOrEqual(2);
      for (const role of Object.values(roles)) {
        const { PermissionsBoundary } = (role as { Properties: { PermissionsBoundary?: unknown } }).Properties;
        expect(JSON.stringify(PermissionsBoundary)).toContain(boundary);
      }
    },
  );
});

describe('a bootstrap qualifier', () => {
  test('selects the bucket of the assets', () => {
    const made = JSON.stringify(template({ bootstrapQualifier: 'team1' }).toJSON());
    expect(made).toContain('cdk-team1-assets-111122223333-eu-west-1');
    expect(made).not.toContain('hnb659fds');
  });
});

test('the bucket of the trail remains even if a first deployment fails, since it may contain files', () => {
  template().hasResource('AWS::S3::Bucket', { DeletionPolicy: 'Retain', UpdateReplacePolicy: 'Retain' });
});

describe('the roles of the bootstrap stack', () => {
  test('are not used if bootstrapRoles is false', () => {
    const artifact = (options: object) => {
      const environments = parseEnvironments({
        dev: { ...environment, ...options },
      });
      const made = app();
      for (const [name, data] of Object.entries(environments)) new ServiceDiscoveryStack(made, name, data);
      return made.synth().getStackByName('EcsDiscovery-dev').assumeRoleArn;
    };
    expect(artifact({})).toContain('role/cdk-hnb659fds-deploy-role');
    expect(artifact({ bootstrapRoles: false })).toBeUndefined();
  });
});

describe('an event that cannot be processed', () => {
  test('is kept for 14 days in an encrypted queue that requires TLS', () => {
    const made = template();
    made.allResourcesProperties('AWS::SQS::Queue', { SqsManagedSseEnabled: true, MessageRetentionPeriod: 14 * 86_400 });
    made.allResourcesProperties('AWS::SQS::QueuePolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Effect: 'Deny',
            Action: 'sqs:*',
            Condition: { Bool: { 'aws:SecureTransport': 'false' } },
          }),
        ]),
      },
    });
  });

  test.each(['direct', 'queue'])('is retried by EventBridge for 24 hours, with delivery %s', (delivery) => {
    const made = template({ delivery });
    const failures = { 'Fn::GetAtt': [idOf(made, 'AWS::SQS::Queue', 'DiscoveryFailures'), 'Arn'] };
    const target =
      delivery === 'queue'
        ? idOf(made, 'AWS::SQS::Queue', 'DiscoveryEvents')
        : idOf(made, 'AWS::Lambda::Function', 'DiscoveryHandler');
    const queue = idOf(made, 'AWS::SQS::Queue', 'DiscoveryLoadBalancerCalls');
    type Rules = { Properties: { ScheduleExpression?: string; Targets: { RetryPolicy: unknown }[] } }[];
    const rules = Object.values(made.findResources('AWS::Events::Rule')) as Rules;
    const targets = JSON.stringify(rules.map(({ Properties }) => Properties.Targets));
    expect([target, queue].map((id) => targets.split(`"Fn::GetAtt":["${id}"`).length - 1)).toEqual([4, 1]);
    for (const { Properties } of rules) {
      const [target] = Properties.Targets;
      if (Properties.ScheduleExpression === undefined) {
        expect(target).toMatchObject({
          DeadLetterConfig: { Arn: failures },
          RetryPolicy: { MaximumEventAgeInSeconds: 86_400, MaximumRetryAttempts: 185 },
        });
      } else {
        // The next scheduled event does the same work.
        expect(target).not.toHaveProperty('DeadLetterConfig');
        expect(target?.RetryPolicy).toEqual({ MaximumRetryAttempts: 0 });
      }
    }
  });

  test('is tried three times by Lambda and then sent to the dead-letter queue', () => {
    const made = template();
    made.hasResourceProperties('AWS::Lambda::EventInvokeConfig', {
      MaximumRetryAttempts: 2,
      MaximumEventAgeInSeconds: 7_200,
      DestinationConfig: {
        OnFailure: { Destination: { 'Fn::GetAtt': [idOf(made, 'AWS::SQS::Queue', 'DiscoveryFailures'), 'Arn'] } },
      },
    });
  });

  test.each([
    ['Events', 100, 5, 0],
    ['LoadBalancerCalls', 10_000, 60, 30],
  ])('is received from the queue %s five times, in batches that may fail partially', (name, size, window, delay) => {
    const made = template();
    const arn = (name: string) => ({ 'Fn::GetAtt': [idOf(made, 'AWS::SQS::Queue', `Discovery${name}`), 'Arn'] });
    made.hasResourceProperties('AWS::SQS::Queue', {
      VisibilityTimeout: 2 * 14 * 60 + window,
      DelaySeconds: delay === 0 ? Match.absent() : delay,
      RedrivePolicy: { maxReceiveCount: 5, deadLetterTargetArn: arn('Failures') },
    });
    made.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      EventSourceArn: arn(name),
      BatchSize: size,
      MaximumBatchingWindowInSeconds: window,
      FunctionResponseTypes: ['ReportBatchItemFailures'],
      ScalingConfig: { MaximumConcurrency: 2 },
    });
  });
});

describe('a deployment', () => {
  const properties = (made: ReturnType<typeof template>, type: string) => {
    const [resource] = Object.values(made.findResources(type)) as {
      Properties: Record<string, unknown>;
      DependsOn: string[];
    }[];
    if (resource === undefined) throw new Error(`no ${type}`);
    return resource;
  };

  test('ends with a full pass, after the rules and the permissions for the zones', () => {
    const made = template({ trail: 'existing' });
    const fullPass = properties(made, 'Custom::EcsDiscoveryFullPass');
    expect(fullPass.Properties).toMatchObject({ Create: '{"reconcile":"all"}', Update: '{"reconcile":"all"}' });
    for (const type of ['AWS::Events::Rule', 'Custom::EcsDiscoveryNames']) {
      expect(fullPass.DependsOn).toEqual(expect.arrayContaining(Object.keys(made.findResources(type))));
    }
  });

  test('runs the full pass again if the configuration of the handler changes, and only then', () => {
    const pass = (options: object) => properties(template(options), 'Custom::EcsDiscoveryFullPass').Properties;
    expect(pass({ ttlSeconds: 5 })).not.toEqual(pass({}));
    expect(pass({ fullPassMinutes: 5, alarmTopicArn: 'arn:aws:sns:eu-west-1:111122223333:oncall' })).toEqual(pass({}));
  });

  interface Handler {
    Properties: { Environment: { Variables: { DISCOVERY_CONFIG: { 'Fn::Join': [string, unknown[]] } } } };
  }

  test('shows a changed setting as a short line of a diff', () => {
    const parts = (options: object) => {
      const functions = template(options).findResources('AWS::Lambda::Function', {
        Properties: { Runtime: 'provided.al2023' },
      });
      const [handler] = Object.values(functions) as Handler[];
      return handler?.Properties.Environment.Variables.DISCOVERY_CONFIG['Fn::Join'][1] ?? [];
    };
    const before = parts({});
    const changed = parts({ ttlSeconds: 300 }).filter(
      (part, index) => part !== before[index] && typeof part === 'string',
    );
    expect(changed).toEqual([',"ttlSeconds":300', expect.stringMatching(/^,"generation":"[0-9a-f]{16}"$/)]);
  });

  test('gives the handler another generation with each configuration, and the same one for the same', () => {
    const generation = (options: object) => {
      const made = template(options);
      const generation = properties(made, 'Custom::EcsDiscoveryFullPass').Properties.Generation as string;
      made.hasResourceProperties('AWS::Lambda::Function', {
        Environment: {
          Variables: { DISCOVERY_CONFIG: { 'Fn::Join': ['', Match.arrayWith([`,"generation":"${generation}"`])] } },
        },
      });
      return generation;
    };
    expect(generation({})).toMatch(/^[0-9a-f]{16}$/);
    expect(generation({ fullPassMinutes: 5 })).toEqual(generation({}));
    expect(generation({ ttlSeconds: 5 })).not.toEqual(generation({}));
    const other = [{ vpcId: VPC, zoneName: 'dev.internal', hostedZoneId: 'Z0GIVEN' }];
    expect(generation({ vpcs: other })).not.toEqual(generation({}));
  });

  const GIVEN = { vpcId: VPC, zoneName: 'dev.internal', hostedZoneId: 'Z0GIVEN' };

  test('that removes a zone deletes rules and mappings, then managed records, then the permission to delete them', () => {
    const made = template({ vpcs: [GIVEN] });
    const names = properties(made, 'Custom::EcsDiscoveryNames');
    const zones = properties(made, 'Custom::EcsDiscoveryZones');
    expect(names.Properties).toMatchObject({ Delete: '{"deregister":"all"}' });
    expect(zones.Properties).toMatchObject({ Zones: ['Z0GIVEN'] });
    expect(names.DependsOn).toEqual([idOf(made, 'Custom::EcsDiscoveryZones', 'Discovery')]);
    expect(zones.DependsOn).toContain(idOf(made, 'AWS::IAM::ManagedPolicy', 'DiscoveryPermissions'));
    for (const type of ['AWS::Events::Rule', 'AWS::Lambda::EventSourceMapping']) {
      for (const trigger of Object.values(made.findResources(type)) as { DependsOn: string[] }[]) {
        expect(trigger.DependsOn).toContain(idOf(made, 'Custom::EcsDiscoveryNames', 'Discovery'));
      }
    }
  });

  test('keeps the names with the option onDestroy: keep', () => {
    const names = properties(template({ onDestroy: 'keep' }), 'Custom::EcsDiscoveryNames');
    expect(Object.keys(names.Properties)).toEqual(['ServiceToken', 'ServiceTimeout']);
  });

  test('has one resource with all zones, and one with the names whose id the handler knows, whatever the zones are', () => {
    const configuration = (made: ReturnType<typeof template>) =>
      JSON.stringify(made.findResources('AWS::Lambda::Function', { Properties: { Runtime: 'provided.al2023' } }));
    const created = { vpcId: 'vpc-0000000000000002', zoneName: 'ops.internal' };
    const ids = [[GIVEN], [created], [GIVEN, created]].map((vpcs) => {
      const made = template({ vpcs });
      const names = idOf(made, 'Custom::EcsDiscoveryNames', 'Discovery');
      expect(configuration(made)).toContain(String.raw`\"namesResource\":\"${names}\"`);
      // A property that depends on the zones could make CloudFormation update the resource, but never replace it.
      expect(JSON.stringify(properties(made, 'Custom::EcsDiscoveryNames').Properties)).not.toContain('Z0GIVEN');
      return `${names} ${idOf(made, 'Custom::EcsDiscoveryZones', 'Discovery')}`;
    });
    expect(new Set(ids).size).toBe(1);
  });

  test('checks all zones before anything else uses them, with a permission for each zone', () => {
    const made = template({ vpcs: [GIVEN, { vpcId: 'vpc-0000000000000002', zoneName: 'ops.internal' }] });
    const check = properties(made, 'Custom::EcsDiscoveryCheck');
    // A rollback creates nothing, so a check at creation never fails it.
    expect(Object.keys(check.Properties)).toEqual(['ServiceToken', 'ServiceTimeout', 'Create']);
    expect(check.Properties.Create).toBe('{"check":"zones"}');
    expect(check.DependsOn).toContain(idOf(made, 'AWS::IAM::ManagedPolicy', 'DiscoveryPermissions'));
    const zones = properties(made, 'Custom::EcsDiscoveryZones');
    expect(zones.DependsOn).toContain(idOf(made, 'Custom::EcsDiscoveryCheck', 'Discovery'));
    expect(JSON.stringify(made.toJSON())).toContain(String.raw`,\"checkZones\":true`);
    const read = all(made, 'DiscoveryHandlerRole').filter(({ Sid }) => Sid === 'ReadZones');
    expect(read.map(({ Action }) => Action)).toEqual([['route53:GetHostedZone', 'route53:ListResourceRecordSets']]);
    expect(read[0]?.Resource).toHaveLength(2);
  });

  test('checks the zones again if a zone, its name or a VPC changes, and only then', () => {
    const id = (vpcs: object[], options: object = {}) =>
      idOf(template({ vpcs, ...options }), 'Custom::EcsDiscoveryCheck', 'Discovery');
    const created = { vpcId: 'vpc-0000000000000002', zoneName: 'ops.internal' };
    const before = id([GIVEN, created]);
    expect(id([created, GIVEN])).toBe(before);
    expect(id([GIVEN, created], { ttlSeconds: 5, fullPassMinutes: 5 })).toBe(before);
    const changes = [
      [GIVEN],
      [{ ...GIVEN, zoneName: 'other.internal' }, created],
      [{ ...GIVEN, vpcId: 'vpc-0000000000000003' }, created],
      [{ ...GIVEN, hostedZoneId: 'Z0OTHER' }, created],
      [GIVEN, { ...GIVEN, vpcId: 'vpc-0000000000000003' }, created],
      [GIVEN, { ...created, vpcId: 'vpc-0000000000000003' }],
    ];
    const ids = changes.map((vpcs) => id(vpcs));
    expect(new Set([...ids, before]).size).toBe(changes.length + 1);
  });

  test('runs a full pass when the permissions boundary changes', () => {
    const generation = (options: object) =>
      properties(template(options), 'Custom::EcsDiscoveryFullPass').Properties.Generation;
    const boundaries = ['one', 'two'].map((name) => `arn:aws:iam::111122223333:policy/${name}`);
    const all = [{}, ...boundaries.map((permissionsBoundary) => ({ permissionsBoundary }))].map(generation);
    expect(new Set(all).size).toBe(3);
  });

  test('outputs what its full pass did', () => {
    const made = template();
    const pass = idOf(made, 'Custom::EcsDiscoveryFullPass', 'Discovery');
    made.hasOutput('FullPass', { Value: { 'Fn::GetAtt': [pass, 'Summary'] } });
  });

  test('sets the negative TTL of each zone that the stack creates, with a permission for nothing else', () => {
    const created = { vpcId: VPC, zoneName: 'dev.internal' };
    const given = { vpcId: 'vpc-0000000000000002', zoneName: 'ops.internal', hostedZoneId: 'Z0GIVEN' };
    const made = template({ vpcs: [created, given] });
    made.resourceCountIs('Custom::EcsDiscoveryNegativeTtl', 1);
    const zone = { Ref: idOf(made, 'AWS::Route53::HostedZone', 'Discovery') };
    const request = {
      'Fn::Join': ['', ['{"negativeTtl":{"hostedZoneId":"', zone, '","seconds":5}}']],
    };
    made.hasResourceProperties('Custom::EcsDiscoveryNegativeTtl', { Create: request, Update: request });
    expect(all(made, 'DiscoveryHandlerRole').filter(({ Sid }) => Sid === 'ChangeSoa')).toEqual([
      {
        Sid: 'ChangeSoa',
        Effect: 'Allow',
        Action: 'route53:ChangeResourceRecordSets',
        Resource: { 'Fn::Join': ['', ['arn:aws:route53:::hostedzone/', zone]] },
        Condition: {
          'ForAllValues:StringEquals': {
            'route53:ChangeResourceRecordSetsRecordTypes': ['SOA'],
            'route53:ChangeResourceRecordSetsActions': ['UPSERT'],
            'route53:ChangeResourceRecordSetsNormalizedRecordNames': ['dev.internal'],
          },
          Null: PRESENT,
        },
      },
    ]);
    const resource = properties(made, 'Custom::EcsDiscoveryNegativeTtl') as { DependsOn: string[] };
    expect(resource.DependsOn).toContain(idOf(made, 'AWS::IAM::ManagedPolicy', 'DiscoveryPermissions'));
    const text = (options: object) =>
      JSON.stringify(properties(template(options), 'Custom::EcsDiscoveryNegativeTtl').Properties);
    expect(text({ negativeTtlSeconds: 30 })).toContain(String.raw`\"seconds\":30`);
    // While the mode is `observe` the handler does not set it, so the next mode has to update the resource.
    expect(text({ mode: 'observe' })).not.toEqual(text({}));
    expect(text({ mode: 'create-and-update' })).toEqual(text({}));
  });

  test('waits 15 minutes for the handler, not an hour', () => {
    const made = template();
    for (const type of ['FullPass', 'Check', 'Zones', 'Names'].map((name) => `Custom::EcsDiscovery${name}`)) {
      made.allResourcesProperties(type, { ServiceTimeout: '900' });
    }
  });
});

/** The properties of the construct, and their validation. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { App, Duration, type Environment, Fn, RemovalPolicy, Stack, Token, Validations } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { Cluster, type ICluster } from 'aws-cdk-lib/aws-ecs';
import { ManagedPolicy } from 'aws-cdk-lib/aws-iam';
import { Alias, Key } from 'aws-cdk-lib/aws-kms';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { HostedZone, PrivateHostedZone } from 'aws-cdk-lib/aws-route53';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { Vpc } from 'aws-cdk-lib/aws-ec2';
import { AwsSolutionsChecks } from 'cdk-nag';
import { describe, expect, test } from 'vitest';
import {
  Delivery,
  EcsServiceDiscovery,
  type EcsServiceDiscoveryProps,
  EnvironmentError,
  Mode,
  OnDestroy,
  RecordForm,
  Registration,
  TrailSource,
} from '../lib/index.js';
import { app as projectApp, idOf, KEY, root, statements, template, vpc } from './stacks.js';

const HERE = { account: '111122223333', region: 'eu-west-1' };

type Some = Partial<EcsServiceDiscoveryProps>;

/** A stack with the construct. The functions make the properties in the stack. */
function make(props: (stack: Stack) => object = () => ({}), env: Environment = HERE, app = projectApp()): Stack {
  const stack = new Stack(app, `Shop${app.node.children.length}`, { env });
  const given = {
    environment: 'shop',
    vpcs: [{ vpc: vpc(stack), zoneName: 'shop.internal' }],
    trail: TrailSource.EXISTING,
  };
  new EcsServiceDiscovery(stack, 'Discovery', { ...given, ...props(stack) });
  return stack;
}

/** The lines of the error for properties, or `ok`. */
function problem(props: Some | ((stack: Stack) => Some), env?: Environment): string {
  return message(() => make(typeof props === 'function' ? props : () => props, env));
}

function message(work: () => unknown): string {
  try {
    work();
    return 'ok';
  } catch (error) {
    if (!(error instanceof EnvironmentError)) throw error;
    return error.message.replace('The properties of Shop0/Discovery are invalid:\n  ', '');
  }
}

/** The properties with an unknown value, as an app without a compiler may give it. */
const untyped = (props: object) => props as Some;

describe('an invalid property is reported with its name, the expected value and the value found', () => {
  test.each<[string, Some, string | RegExp]>([
    [
      'environment',
      { environment: 'Shop' },
      /^environment: expected the name of an environment, 1 to 32 .*; found "Shop"$/,
    ],
    ['vpcs', { vpcs: [] }, 'properties.vpcs: expected at least one VPC; found []'],
    ['clusters', { clusters: [] }, 'properties.clusterPatterns: expected at least one cluster or pattern; found []'],
    [
      'clusterPatterns',
      { clusterPatterns: [] },
      /^properties.clusterPatterns: expected at least one cluster or pattern/,
    ],
    [
      'clusterPatterns',
      { clusterPatterns: ['shop/*'] },
      'properties.clusterPatterns[0]: expected the name of a cluster, with * for any characters and ? for one; found "shop/*"',
    ],
    [
      'clusterPatterns',
      { clusterPatterns: [Fn.importValue('cluster')] },
      /^properties.clusterPatterns\[0\]: .*; found a value that is known only at deployment$/,
    ],
    [
      'clusterPatterns',
      { clusterPatterns: Array.from({ length: 60 }, (_, number) => `cluster-${number}`) },
      /^properties.clusterPatterns: expected fewer clusters, because IAM limits/,
    ],
    [
      'nameTemplate',
      { nameTemplate: '{cluster}' },
      /^properties.nameTemplate: expected labels of .*; found "{cluster}"$/,
    ],
    ['record', untyped({ record: 'AAAA' }), 'properties.record: expected "CNAME" or "ALIAS"; found "AAAA"'],
    ['register', untyped({ register: 'some' }), 'properties.register: expected "all" or "tagged"; found "some"'],
    [
      'mode',
      untyped({ mode: 'dry' }),
      'properties.mode: expected "observe" or "create-and-update" or "sync"; found "dry"',
    ],
    ['trail', untyped({ trail: 'none' }), /^properties.trail: expected "existing" if .*; found "none"$/],
    ['delivery', untyped({ delivery: 'mail' }), 'properties.delivery: expected "direct" or "queue"; found "mail"'],
    [
      'ttl',
      { ttl: Duration.seconds(0) },
      'properties.ttl: expected a whole number of seconds from 1 to 86400; found 0',
    ],
    ['ttl', { ttl: Duration.millis(1_500) }, /^properties.ttl: expected a whole number of seconds .*; found 1.5$/],
    [
      'ttl',
      { ttl: Duration.minutes(Token.asNumber(Fn.importValue('minutes'))) },
      /^properties.ttl: .*; found a value that is known only at deployment$/,
    ],
    [
      'negativeTtl',
      { negativeTtl: Duration.days(2) },
      'properties.negativeTtl: expected a whole number of seconds from 1 to 86400; found 172800',
    ],
    [
      'fullPassInterval',
      { fullPassInterval: Duration.seconds(90) },
      'properties.fullPassInterval: expected a whole number of minutes from 1 to 480; found 1.5',
    ],
    [
      'fullPassInterval',
      { fullPassInterval: Duration.hours(9) },
      'properties.fullPassInterval: expected a whole number of minutes from 1 to 480; found 540',
    ],
    [
      'deleteLimit',
      { deleteLimit: { free: 3, percent: 101 } },
      'properties.deleteLimit.percent: expected a whole number of percent from 0 to 100; found 101',
    ],
    ['adopt', untyped({ adopt: 'no' }), 'properties.adopt: expected true or false; found "no"'],
    ['alarms', untyped({ alarms: 1 }), 'properties.alarms: expected true or false; found 1'],
    ['dashboard', untyped({ dashboard: 1 }), 'properties.dashboard: expected true or false; found 1'],
    ['formerNames', { formerNames: ['shop'] }, /^properties.formerNames\[0\]: expected an earlier name/],
    [
      'architecture',
      { architecture: Architecture.custom('riscv') },
      'properties.architecture: expected "x86_64" or "arm64"; found "riscv"',
    ],
    [
      'logRetention',
      untyped({ logRetention: 31 }),
      /^properties.logRetention: expected one of 1, 3, 5, .* days; found 31$/,
    ],
    [
      'runbookUrl',
      { runbookUrl: 'https://wiki.example.com/#x' },
      /^properties.runbookUrl: expected a URL or a path without #/,
    ],
    [
      'reservedConcurrency',
      { reservedConcurrency: 4 },
      'properties.reservedConcurrency: expected a whole number of executions from 5 to 1000; found 4',
    ],
    [
      'removalPolicy',
      { removalPolicy: RemovalPolicy.SNAPSHOT },
      'properties.removalPolicy: expected "retain" or "destroy"; found "snapshot"',
    ],
    [
      'onDestroy',
      { onDestroy: OnDestroy.KEEP, removalPolicy: RemovalPolicy.DESTROY },
      'properties.onDestroy: expected deregister, because removalPolicy is destroy and a zone with names cannot be deleted; found "keep"',
    ],
    [
      'onDestroy',
      untyped({ onDestroy: 'stay' }),
      'properties.onDestroy: expected "deregister" or "keep"; found "stay"',
    ],
    [
      'ttlSeconds',
      untyped({ ttlSeconds: 60 }),
      /^properties: expected only the properties environment, vpcs, .*, ttl, .*; found the properties ttlSeconds$/,
    ],
  ])('%s', (_, props, expected) => {
    expect(problem(props)).toMatch(expected);
  });

  test('encryptionKey', () => {
    const key = (of: (stack: Stack) => EcsServiceDiscoveryProps['encryptionKey']) =>
      problem((stack) => ({ encryptionKey: of(stack) }));
    expect(key((stack) => Key.fromKeyArn(stack, 'Key', KEY))).toBe('ok');
    expect(key((stack) => new Key(stack, 'Key'))).toBe('ok');
    expect(key((stack) => Key.fromKeyArn(stack, 'Key', KEY.replace('eu-west-1', 'eu-west-2')))).toMatch(
      /^properties.encryptionKey: expected a key in eu-west-1, because .*; found "arn:aws:kms:eu-west-2/,
    );
    const alias = /^properties.encryptionKey: expected a key instead of its alias/;
    expect(key((stack) => Alias.fromAliasName(stack, 'Key', 'alias/logs'))).toMatch(alias);
    // Without a region, its ARN contains a token.
    const anywhere = (stack: Stack) => ({ encryptionKey: Alias.fromAliasName(stack, 'Key', 'alias/logs') });
    expect(problem(anywhere, {})).toMatch(alias);
  });

  test('alarmTopic', () => {
    const topic = (region: string) => (stack: Stack) => ({
      alarmTopic: Topic.fromTopicArn(stack, 'Topic', `arn:aws:sns:${region}:111122223333:oncall`),
    });
    expect(problem(topic('eu-west-1'))).toBe('ok');
    expect(problem((stack) => ({ alarmTopic: new Topic(stack, 'Topic') }))).toBe('ok');
    expect(problem(topic('eu-central-1'))).toMatch(/^properties.alarmTopic: expected a topic in eu-west-1, because/);
    expect(problem((stack) => ({ ...topic('eu-west-1')(stack), alarms: false }))).toMatch(
      /^properties.alarmTopic: expected no topic, because alarms is false; found "arn:/,
    );
  });

  test('permissionsBoundary', () => {
    const boundary = (account: string) => (stack: Stack) => ({
      permissionsBoundary: ManagedPolicy.fromManagedPolicyArn(stack, 'Boundary', `arn:aws:iam::${account}:policy/one`),
    });
    expect(problem(boundary('111122223333'))).toBe('ok');
    expect(problem(boundary('444455556666'))).toMatch(
      /^properties.permissionsBoundary: expected a policy of the account 111122223333 or of AWS, in the partition aws; found/,
    );
    // The account is known only at deployment.
    expect(problem(boundary('444455556666'), { region: 'eu-west-1' })).toBe('ok');
    expect(problem(boundary('one'))).toMatch(/^properties.permissionsBoundary: expected a managed policy with an ARN/);
    expect(problem({ permissionsBoundary: ManagedPolicy.fromAwsManagedPolicyName('Boundary') })).toBe('ok');
  });

  test('vpcs', () => {
    const vpcs = (of: (stack: Stack) => EcsServiceDiscoveryProps['vpcs']) => problem((stack) => ({ vpcs: of(stack) }));
    expect(vpcs((stack) => [{ vpc: vpc(stack, 'vpc-1'), zoneName: 'shop.internal' }])).toBe(
      'properties.vpcs[0].vpc: expected a VPC id, like vpc-0a1b2c3d4e5f60718; found "vpc-1"',
    );
    expect(vpcs((stack) => [{ vpc: vpc(stack) }])).toBe(
      'properties.vpcs[0].zoneName: expected a domain name in lower case, like dev.internal; found nothing',
    );
    const other = new Vpc(new Stack(new App(), 'Other', { env: { region: 'us-east-1' } }), 'Vpc');
    expect(vpcs(() => [{ vpc: other, zoneName: 'shop.internal' }])).toBe(
      'properties.vpcs[0].vpc: expected a VPC in eu-west-1, the region of the stack; found us-east-1',
    );
    const two = (stack: Stack) =>
      [1, 2].map((n) => ({ vpc: new Vpc(stack, `Vpc${n}`), zoneName: `zone${n}.internal` }));
    expect(vpcs(two)).toMatch(/^properties.vpcs\[0\].id: expected an id of your choice, because .*; found nothing\n/);
  });

  test('clusters', () => {
    const cluster = (of: (stack: Stack) => ICluster) => problem((stack) => ({ clusters: [of(stack)] }));
    const arn = (region: string) => (stack: Stack) =>
      Cluster.fromClusterArn(stack, 'Cluster', `arn:aws:ecs:${region}:111122223333:cluster/shop`);
    expect(cluster(arn('eu-west-1'))).toBe('ok');
    expect(cluster(arn('us-east-1'))).toBe(
      'properties.clusters[0]: expected a cluster in the account and the region of the stack; found one in us-east-1 of the account 111122223333',
    );
    const named = (clusterName: string) => (stack: Stack) =>
      Cluster.fromClusterAttributes(stack, 'Cluster', { clusterName, vpc: vpc(stack) });
    expect(cluster(named('shop*'))).toBe(
      'properties.clusters[0]: expected a cluster with a name of 1 to 255 letters, digits, _ and -; found "shop*"',
    );
    const many = (stack: Stack) => ({
      clusters: Array.from({ length: 30 }, (_, number) => new Cluster(stack, `Cluster${number}`, { vpc: vpc(stack) })),
    });
    expect(problem(many)).toMatch(/^properties.clusters: expected fewer clusters, because IAM limits/);
  });

  test('all in one error', () => {
    expect(problem({ ...untyped({ ttls: 1 }), ttl: Duration.days(2), record: RecordForm.ALIAS, adopt: true })).toMatch(
      /^properties.ttl: .*; found 172800\n {2}properties: expected only .*; found the properties ttls$/,
    );
  });
});

test('each property is documented, as an option or in the table of properties that differ from options', () => {
  const [, list = ''] = /expected only the properties (.*); found/.exec(problem(untyped({ some: 1 }))) ?? [];
  const text = readFileSync(path.join(root, 'docs/configuration.md'), 'utf8');
  const names = (heading: string) => {
    const section = text.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
    const cells = section.split('\n').filter((line) => line.startsWith('| `'));
    return cells.flatMap((line) =>
      [...(line.split('|')[1] ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name ?? ''),
    );
  };
  const [options, properties] = [names('Options'), names('The construct in your own CDK app')];
  expect(list.split(', ').filter((name) => ![...options, ...properties].includes(name))).toEqual([]);
  expect(properties.filter((name) => !name.includes('[') && !list.split(', ').includes(name))).toEqual([]);
});

test('the region of the stack is one of AWS', () => {
  expect(problem({}, { region: 'us-moon-1' })).toBe(
    'stack.region: expected a region of AWS, like eu-west-1; found "us-moon-1"',
  );
});

describe('a value of another type, which only a compiler would find,', () => {
  test.each<[object, string]>([
    [{ ttl: 60 }, 'properties.ttl: expected a Duration, like Duration.seconds(60); found 60'],
    [
      { architecture: 'arm64' },
      'properties.architecture: expected Architecture.X86_64 or Architecture.ARM_64; found "arm64"',
    ],
    [{ alarmTopic: {} }, /found another object$/.source],
    [{ permissionsBoundary: 'Bound' }, 'properties.permissionsBoundary: expected a managed policy, '],
    [{ encryptionKey: 'arn' }, 'properties.encryptionKey: expected a key, '],
    [{ vpcs: undefined }, 'properties.vpcs: expected a list of VPCs; found nothing'],
    [{ vpcs: [{ vpcId: 'vpc-1', zoneName: 'a.b' }] }, 'found the properties vpcId'],
    [{ vpcs: [{ vpc: 'vpc-1', zoneName: 'a.b' }] }, 'properties.vpcs[0].vpc: expected a VPC, '],
    [{ clusters: ['dev'] }, 'properties.clusters[0]: expected a cluster; patterns for names of clusters belong into'],
  ])('is refused: %j', (props, expected) => {
    expect(problem(untyped(props))).toMatch(expected.endsWith('$') ? new RegExp(expected) : expected);
  });

  test('is refused for a given zone, for which a new one would take its place', () => {
    const wrong = (stack: Stack) => untyped({ vpcs: [{ vpc: vpc(stack), zoneName: 'a.b', hostedZone: 'Z1' }] });
    expect(problem(wrong)).toMatch(/^properties.vpcs\[0\].hostedZone: expected a hosted zone, .*; found "Z1"$/);
  });

  test('is refused for a key: its alias', () => {
    const wrong = (stack: Stack) => {
      return { encryptionKey: new Alias(stack, 'Alias', { aliasName: 'alias/a', targetKey: new Key(stack, 'Key') }) };
    };
    expect(problem(wrong)).toMatch(/^properties.encryptionKey: expected a key instead of its alias; found/);
  });
});

test('VPCs and zones that the CDK has not looked up yet pass the first synthesis, which asks for them', () => {
  const app = new App();
  make(
    (stack) => ({
      vpcs: ['vpc-0a1b2c3d4e5f60718', 'vpc-0b1b2c3d4e5f60718'].map((vpcId, index) => ({
        vpc: Vpc.fromLookup(stack, `Vpc${index}`, { vpcId }),
        zoneName: 'shop.internal',
        ...(index === 1 ? { hostedZone: HostedZone.fromLookup(stack, 'Zone', { domainName: 'shop.internal' }) } : {}),
      })),
    }),
    HERE,
    app,
  );
  expect(app.synth().manifest.missing?.map(({ provider }) => provider)).toEqual([
    'vpc-provider',
    'vpc-provider',
    'hosted-zone',
  ]);
});

test('alarms may publish to a topic of the app that has a policy and a key', () => {
  const made = Template.fromStack(
    make((stack) => {
      return { alarmTopic: new Topic(stack, 'Oncall', { enforceSSL: true, masterKey: new Key(stack, 'Key') }) };
    }),
  );
  const alarms = { Sid: 'AlarmsPublish', Principal: { Service: 'cloudwatch.amazonaws.com' } };
  const allows = (action: unknown) => ({
    PolicyDocument: { Statement: Match.arrayWith([Match.objectLike({ ...alarms, Effect: 'Allow', Action: action })]) },
  });
  made.hasResourceProperties('AWS::SNS::TopicPolicy', allows('sns:Publish'));
  const ofKey = allows(['kms:Decrypt', 'kms:GenerateDataKey*']).PolicyDocument;
  made.hasResourceProperties('AWS::KMS::Key', { KeyPolicy: ofKey });
  const plain = Template.fromStack(make((stack) => ({ alarmTopic: new Topic(stack, 'Oncall') })));
  plain.resourceCountIs('AWS::SNS::TopicPolicy', 0);
});

test('a key of the app gets the statements that SECURITY.md lists for other keys', () => {
  const sids = (trail: TrailSource) => {
    const made = Template.fromStack(make((stack) => ({ trail, encryptionKey: new Key(stack, 'Key') })));
    const [key] = Object.values(made.findResources('AWS::KMS::Key'));
    const { Statement } = (key?.Properties as { KeyPolicy: { Statement: { Sid?: string }[] } }).KeyPolicy;
    return Statement.flatMap(({ Sid }) => Sid ?? []);
  };
  const always = ['EventBridgeSendsToTheQueues', 'CloudWatchEncryptsTheLogs'];
  expect(sids(TrailSource.EXISTING)).toEqual(always);
  expect(sids(TrailSource.CREATE)).toEqual([...always, 'CloudTrailEncryptsTheLogFiles', 'CloudTrailDescribesTheKey']);
  const documented = readFileSync(path.join(root, 'SECURITY.md'), 'utf8');
  for (const sid of sids(TrailSource.CREATE)) expect(documented).toContain(`"Sid": "${sid}"`);
});

test('a public zone of the app is refused, since everybody could read its names', () => {
  const made = (zone: (stack: Stack) => HostedZone) => {
    const app = projectApp();
    make((stack) => ({ vpcs: [{ vpc: vpc(stack), hostedZone: zone(stack) }] }), HERE, app);
    return () => app.synth();
  };
  expect(made((stack) => new HostedZone(stack, 'Zone', { zoneName: 'shop.example.com' }))).toThrow(
    'vpcs[0].hostedZone: expected a private hosted zone, because everybody could read the names in a public one; found Shop0/Zone/Resource',
  );
  const isPrivate = (stack: Stack) =>
    new PrivateHostedZone(stack, 'Zone', { zoneName: 'shop.internal', vpc: new Vpc(stack, 'Own') });
  expect(made(isPrivate)).not.toThrow();
});

test('every role has the permissions boundary, also that of the function which empties the bucket of the trail', () => {
  const made = Template.fromStack(
    make((stack) => ({
      trail: TrailSource.CREATE,
      removalPolicy: RemovalPolicy.DESTROY,
      permissionsBoundary: ManagedPolicy.fromManagedPolicyName(stack, 'Boundary', 'Bound'),
    })),
  );
  const roles = Object.entries(made.findResources('AWS::IAM::Role'));
  expect(roles.some(([id]) => id.startsWith('CustomS3AutoDeleteObjects'))).toBe(true);
  for (const [id, role] of roles) {
    expect((role.Properties as { PermissionsBoundary?: unknown }).PermissionsBoundary, id).toBeDefined();
  }
});

describe('several constructs of an app', () => {
  test('have different environments in an account and region', () => {
    const app = projectApp();
    make(() => ({}), HERE, app);
    const more = (env: Environment) =>
      message(() => make((stack) => ({ vpcs: [{ vpc: vpc(stack), zoneName: 'b.internal' }] }), env, app));
    expect(more(HERE)).toMatch(
      /environment: expected another name, because Shop0\/Discovery has this one in the same account and region, .*; found "shop"$/,
    );
    expect(more({ ...HERE, region: 'eu-central-1' })).toBe('ok');
  });

  /** The error for a construct in each of the stacks. */
  function conflict(...all: { env?: Environment; props?: (stack: Stack) => Some }[]): string {
    const app = new App();
    return message(() => {
      for (const [index, { env, props }] of all.entries()) {
        make((stack) => ({ environment: `shop-${index}`, ...props?.(stack) }), env, app);
      }
    });
  }
  const create = () => ({ trail: TrailSource.CREATE });
  const other = (stack: Stack) => ({ vpcs: [{ vpc: vpc(stack, 'vpc-1a1b2c3d'), zoneName: 'shop.internal' }] });

  test('create no second trail in an account and region', () => {
    const both = (stack: Stack) => ({ ...create(), ...other(stack) });
    expect(conflict({ props: create }, { props: both })).toBe(
      'The properties of Shop1/Discovery are invalid:\n  trail: expected existing, because Shop0/Discovery creates a trail in this account and region, and AWS charges for the events of a second one; found "create"',
    );
    expect(conflict({ props: create }, { props: other })).toBe('ok');
    // Each may be deployed into an account of its own.
    const anywhere = { env: { region: 'eu-west-1' } };
    expect(conflict({ ...anywhere, props: create }, { ...anywhere, props: both })).toBe('ok');
  });

  test('of one stack are in the same account, even if nobody knows it yet', () => {
    const stack = make(create, { region: 'eu-west-1' });
    const given = { environment: 'shop', ...create(), ...other(stack) };
    expect(() => new EcsServiceDiscovery(stack, 'B', given)).toThrow(
      /trail: expected existing, because Shop0\/Discovery creates a trail/,
    );
    const vpcs = [{ vpc: vpc(stack), zoneName: 'shop.internal' }];
    expect(() => new EcsServiceDiscovery(stack, 'C', { ...given, vpcs, trail: TrailSource.EXISTING })).toThrow(
      /vpcs\[0\]\.zoneName: expected another name, because Shop0\/Discovery creates this zone for the same VPC/,
    );
  });

  test('create no zone that another one creates for the same VPC', () => {
    expect(conflict({}, {})).toBe(
      'The properties of Shop1/Discovery are invalid:\n  vpcs[0].zoneName: expected another name, because Shop0/Discovery creates this zone for the same VPC; found "shop.internal"',
    );
    const given = (stack: Stack) => {
      const attributes = { hostedZoneId: 'Z0123456789', zoneName: 'shop.internal' };
      return {
        vpcs: [{ vpc: vpc(stack), hostedZone: HostedZone.fromHostedZoneAttributes(stack, 'Zone', attributes) }],
      };
    };
    expect(conflict({}, { props: given })).toBe('ok');
    expect(conflict({}, { env: { account: '111122223333', region: 'eu-central-1' } })).toBe('ok');
  });
});

/** The parts of the handler's configuration in a template, and the rest of it. */
const configuration = (stack: Stack) => {
  const [handler] = Object.values(
    Template.fromStack(stack).findResources('AWS::Lambda::Function', { Properties: { Runtime: 'provided.al2023' } }),
  ) as { Properties: { Environment: { Variables: { DISCOVERY_CONFIG: unknown } } } }[];
  return stack.resolve(handler?.Properties.Environment.Variables.DISCOVERY_CONFIG) as {
    'Fn::Join': [string, unknown[]];
  };
};

describe('a given zone', () => {
  const zones = (stack: Stack) => JSON.stringify(configuration(stack));

  test('has the name of the hosted zone, whose name can be given if the app does not know it', () => {
    const made = make((stack) => {
      const hostedZone = new PrivateHostedZone(stack, 'Zone', { vpc: vpc(stack), zoneName: 'given.internal' });
      return { vpcs: [{ vpc: vpc(stack), hostedZone }] };
    });
    Template.fromStack(made).resourceCountIs('AWS::Route53::HostedZone', 1);
    expect(zones(made)).toContain('given.internal');
    const byId = (zoneName?: string) => (stack: Stack) => ({
      vpcs: [{ vpc: vpc(stack), hostedZone: HostedZone.fromHostedZoneId(stack, 'Zone', 'Z0123456789'), zoneName }],
    });
    expect(zones(make(byId('given.internal')))).toContain('given.internal');
    expect(problem(byId())).toMatch(/^properties.vpcs\[0\].zoneName: expected a domain name .*; found nothing$/);
  });

  test('has no other name', () => {
    const attributes = { hostedZoneId: 'Z0123456789', zoneName: 'given.internal' };
    const named = (stack: Stack) => {
      const hostedZone = HostedZone.fromHostedZoneAttributes(stack, 'Zone', attributes);
      return { vpcs: [{ vpc: vpc(stack), hostedZone, zoneName: 'other.internal' }] };
    };
    expect(problem(named)).toBe(
      'properties.vpcs[0].zoneName: expected given.internal, the name of the hosted zone; found "other.internal"',
    );
  });
});

describe('a cluster of the same app', () => {
  const made = make((stack) => {
    const cluster = new Cluster(stack, 'Cluster', { vpc: vpc(stack) });
    return { clusters: [cluster], clusterPatterns: ['shop-*'] };
  });
  const resources = Template.fromStack(made);
  const name = { Ref: idOf(resources, 'AWS::ECS::Cluster', 'Cluster') };
  const join = (...parts: unknown[]) => ({ 'Fn::Join': ['', parts] });

  test('is in the configuration of the handler by its name', () => {
    expect(configuration(made)['Fn::Join'][1]).toContainEqual(join(',"clusters":["', name, '","shop-*"]'));
  });

  test('is in the ARNs of the permissions', () => {
    const may = statements(resources, 'DiscoveryHandlerRole');
    const arn = 'arn:aws:ecs:eu-west-1:111122223333';
    expect(may.find(({ Sid }) => Sid === 'DescribeServices')?.Resource).toEqual([
      join(`${arn}:service/`, name, '/*'),
      `${arn}:service/shop-*/*`,
    ]);
    expect(may.find(({ Sid }) => Sid === 'ListServices')?.Condition).toEqual({
      ArnLike: { 'ecs:cluster': [join(`${arn}:cluster/`, name), `${arn}:cluster/shop-*`] },
    });
  });

  test('runs the full pass again when CloudFormation replaces it', () => {
    resources.hasResourceProperties('Custom::EcsDiscoveryFullPass', { Clusters: [name] });
    template().hasResourceProperties('Custom::EcsDiscoveryFullPass', { Clusters: Match.absent() });
  });

  test('is acknowledged for cdk-nag', () => {
    const app = projectApp();
    Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
    make((stack) => ({ clusters: [new Cluster(stack, 'Cluster', { vpc: vpc(stack) })] }), HERE, app);
    // The cluster itself has a finding, since it has no Container Insights.
    const findings = message(() => {
      try {
        app.synth();
      } catch (error) {
        throw new EnvironmentError(String(error));
      }
    });
    expect(findings).toContain('AwsSolutions-ECS4');
    expect(findings).not.toContain('AwsSolutions-IAM5');
  });

  test('of another stack works, too', () => {
    const app = projectApp();
    const platform = new Stack(app, 'Platform', { env: HERE });
    const cluster = new Cluster(platform, 'Cluster', { vpc: new Vpc(platform, 'Vpc') });
    const shop = make(() => ({ clusters: [cluster] }), HERE, app);
    app.synth();
    expect(JSON.stringify(configuration(shop))).toContain('"Fn::ImportValue":"Platform:ExportsOutputRefCluster');
  });
});

test('a property with its default changes nothing', () => {
  const values = make((stack) => ({
    ttl: Duration.minutes(1),
    negativeTtl: Duration.seconds(5),
    fullPassInterval: Duration.minutes(15),
    record: RecordForm.CNAME,
    register: Registration.ALL,
    mode: Mode.SYNC,
    delivery: Delivery.DIRECT,
    deleteLimit: { free: 3, percent: 30 },
    adopt: true,
    alarms: true,
    dashboard: true,
    formerNames: [],
    nameTemplate: '{service}',
    clusterPatterns: ['*'],
    architecture: Architecture.X86_64,
    logRetention: RetentionDays.ONE_MONTH,
    runbookUrl: 'RUNBOOK.md',
    removalPolicy: RemovalPolicy.RETAIN,
    onDestroy: OnDestroy.DEREGISTER,
    encryptionKey: undefined,
    vpcs: [{ vpc: vpc(stack), zoneName: 'shop.internal' }],
  }));
  expect(Template.fromStack(values).toJSON()).toEqual(Template.fromStack(make()).toJSON());
});

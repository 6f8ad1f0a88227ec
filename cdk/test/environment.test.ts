import { Fn, Token } from 'aws-cdk-lib';
import { describe, expect, expectTypeOf, test } from 'vitest';
import type { Environment } from '../lib/environment.js';
import { parseEnvironments } from '../lib/parse-environments.js';

const valid = {
  account: '111122223333',
  region: 'eu-west-1',
  vpcs: [{ vpcId: 'vpc-0a1b2c3d4e5f60718', zoneName: 'dev.internal' }],
  trail: 'existing',
};

/** The error for a valid environment `dev` with one option replaced. */
function check(option: string, value: unknown): string {
  return message({ dev: { ...valid, [option]: value } });
}

function message(context: unknown): string {
  try {
    parseEnvironments(context);
    return 'ok';
  } catch (error) {
    return error instanceof Error ? error.message.replace('The environments are invalid:\n  ', '') : String(error);
  }
}

describe('an environment', () => {
  test('needs an account, a region, VPCs and a trail, and has defaults for everything else', () => {
    expect(parseEnvironments({ dev: valid })).toEqual({
      dev: {
        ...valid,
        clusters: ['*'],
        nameTemplate: '{service}',
        record: 'CNAME',
        ttlSeconds: 60,
        negativeTtlSeconds: 5,
        onDestroy: 'deregister',
        register: 'all',
        deleteLimit: { free: 3, percent: 30 },
        bootstrapRoles: true,
        operatorPolicies: false,
        adopt: true,
        delivery: 'direct',
        formerNames: [],
        fullPassMinutes: 15,
        architecture: 'x86_64',
        logRetentionDays: 30,
        mode: 'sync',
        alarms: true,
        dashboard: true,
        runbookUrl: 'RUNBOOK.md',
        removalPolicy: 'retain',
      },
    });
  });

  test('cannot have its own name as an earlier one', () => {
    expect(check('formerNames', ['old', 'dev'])).toBe(
      'environments.dev.formerNames[1]: expected an earlier name, which differs from the present one; found "dev"',
    );
    expect(check('formerNames', ['old'])).toBe('ok');
  });

  test('needs an id for each of several VPCs whose ids are known only at deployment', () => {
    const token = (name: string) => Fn.importValue(name);
    const vpc = (name: string, more = {}) => ({ vpcId: token(name), zoneName: 'dev.internal', ...more });
    expect(check('vpcs', [vpc('one')])).toBe('ok');
    expect(check('vpcs', [vpc('one', { id: 'one' }), vpc('two', { id: 'two' })])).toBe('ok');
    expect(check('vpcs', [vpc('one'), vpc('two', { id: 'two' })])).toBe(
      'environments.dev.vpcs[0].id: expected an id of your choice, because the id of the VPC is known only at deployment. A VPC that was the only one before keeps its zone with the id 0; found nothing',
    );
    expect(check('vpcs', [vpc('one', { id: 'one' }), vpc('two', { id: 'one' })])).toBe(
      'environments.dev.vpcs[1].id: expected each id once; found "one"',
    );
  });

  test.each([
    ['nameTemplate', Fn.importValue('template')],
    ['nameTemplate', `{service}-${Fn.importValue('suffix')}`],
    ['clusters', Fn.split(',', Fn.importValue('clusters'))],
    ['account', Fn.importValue('account')],
    ['ttlSeconds', Token.asNumber(Fn.importValue('seconds'))],
  ])('shows no token where only a literal works, as in %s', (option, token) => {
    expect(check(option, token)).toMatch(/; found a value that is known only at deployment$/);
  });

  test('may be in the region of the European sovereign cloud', () => {
    expect(check('region', 'eusc-de-east-1')).toBe('ok');
  });

  test('has a topic in its region and a permissions boundary of its account', () => {
    const topic = (region: string) => check('alarmTopicArn', `arn:aws:sns:${region}:111122223333:oncall`);
    expect(topic('eu-west-1')).toBe('ok');
    expect(topic('eu-central-1')).toBe(
      'environments.dev.alarmTopicArn: expected a topic in eu-west-1, because alarms notify only topics of their own region; found "arn:aws:sns:eu-central-1:111122223333:oncall"',
    );
    const boundary = (account: string) => check('permissionsBoundary', `arn:aws:iam::${account}:policy/boundary`);
    expect([boundary('111122223333'), boundary('aws'), check('permissionsBoundary', 'boundary')]).toEqual(
      Array(3).fill('ok'),
    );
    const refused =
      'environments.dev.permissionsBoundary: expected a policy of the account 111122223333 or of AWS, in the partition aws';
    expect(boundary('444455556666')).toBe(`${refused}; found "arn:aws:iam::444455556666:policy/boundary"`);
    const china = 'arn:aws-cn:iam::111122223333:policy/boundary';
    expect(check('permissionsBoundary', china)).toBe(`${refused}; found "${china}"`);
    expect(check('alarmTopicArn', 'arn:aws-cn:sns:eu-west-1:111122223333:oncall')).toMatch(
      /expected a topic in eu-west-1/,
    );
    // Many teams have a central topic.
    expect(check('alarmTopicArn', 'arn:aws:sns:eu-west-1:444455556666:oncall')).toBe('ok');
  });

  test('has a KMS key in its region, of any account, and not its alias', () => {
    const key = (region: string, id = 'key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9') =>
      check('kmsKeyArn', `arn:aws:kms:${region}:444455556666:${id}`);
    expect([key('eu-west-1'), key('eu-west-1', `key/mrk-${'0'.repeat(32)}`)]).toEqual(['ok', 'ok']);
    expect(check('kmsKeyArn', Fn.importValue('key'))).toBe('ok');
    expect(key('eu-central-1')).toBe(
      'environments.dev.kmsKeyArn: expected a key in eu-west-1, because queues, logs and trails use only keys of their own region; found "arn:aws:kms:eu-central-1:444455556666:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"',
    );
    expect(key('eu-west-1', 'alias/logs')).toBe(
      'environments.dev.kmsKeyArn: expected the ARN of a KMS key, not of an alias, like arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9; found "arn:aws:kms:eu-west-1:444455556666:alias/logs"',
    );
  });

  test('reserves no fewer executions than the mapping of a queue starts', () => {
    expect(check('reservedConcurrency', 5)).toBe('ok');
    expect(check('reservedConcurrency', 4)).toMatch(/expected a whole number of executions from 5 to 1000; found 4/);
  });

  test('has zones whose names Route 53 accepts', () => {
    const zone = (zoneName: string, more = {}) => check('vpcs', [{ ...valid.vpcs[0], zoneName, ...more }]);
    expect(zone('internal')).toBe('ok');
    expect(zone('dev')).toBe(
      'environments.dev.vpcs[0].zoneName: expected a name of several labels, like dev.internal, because Route 53 makes no zone of a top-level domain; found "dev"',
    );
    expect(zone('com')).toMatch(/expected a name of several labels/);
    // It exists, so Route 53 has accepted it.
    expect(zone('shop', { hostedZoneId: 'Z0123456789' })).toBe('ok');
  });

  test('has zone names that leave room for the names of services and markers', () => {
    const zone = (length: number) => {
      const zoneName = 'a.'.repeat(length).slice(0, length);
      return check('vpcs', [{ vpcId: 'vpc-0a1b2c3d4e5f60718', zoneName }]);
    };
    expect(zone(239)).toBe('ok');
    expect(zone(241)).toMatch(/zoneName: expected a domain name of at most 240 characters, because/);
  });

  test('may be JSON from the command line', () => {
    expect(Object.keys(parseEnvironments(JSON.stringify({ qa: valid })))).toEqual(['qa']);
    expect(message('{"qa":')).toMatch(/^environments: expected JSON; found /);
  });

  test.each([
    [
      'account',
      111122223333,
      'environments.dev.account: expected an account id, twelve digits in quotes; found 111122223333',
    ],
    ['account', undefined, 'environments.dev.account: expected an account id, twelve digits in quotes; found nothing'],
    ['region', 'Ireland', 'environments.dev.region: expected a region of AWS, like eu-west-1; found "Ireland"'],
    ['vpcs', [], 'environments.dev.vpcs: expected at least one VPC; found []'],
    ['vpcs', 'vpc-1', 'environments.dev.vpcs: expected a list of VPCs; found "vpc-1"'],
    [
      'clusters',
      ['dev/*'],
      'environments.dev.clusters[0]: expected the name of a cluster, with * for any characters and ? for one; found "dev/*"',
    ],
    [
      'nameTemplate',
      '{cluster}',
      'environments.dev.nameTemplate: expected labels of a-z, 0-9, -, {service} and {cluster}, with {service} in at least one; found "{cluster}"',
    ],
    ['record', 'AAAA', 'environments.dev.record: expected "CNAME" or "ALIAS"; found "AAAA"'],
    ['ttlSeconds', 0, 'environments.dev.ttlSeconds: expected a whole number of seconds from 1 to 86400; found 0'],
    ['ttlSeconds', '60', 'environments.dev.ttlSeconds: expected a whole number of seconds from 1 to 86400; found "60"'],
    [
      'deleteLimit',
      { free: 3 },
      'environments.dev.deleteLimit.percent: expected a whole number of percent from 0 to 100; found nothing',
    ],
    [
      'runbookUrl',
      'https://wiki.example.com/names#top',
      'environments.dev.runbookUrl: expected a URL or a path without #, like https://wiki.example.com/runbook; found "https://wiki.example.com/names#top"',
    ],
    [
      'trail',
      undefined,
      'environments.dev.trail: expected "existing" if a trail logs the write management events of this region, or otherwise "create"; found nothing',
    ],
    ['trail', 'none', /^environments.dev.trail: expected "existing" if .*; found "none"$/],
    ['logRetentionDays', 31, /^environments.dev.logRetentionDays: expected one of 1, 3, 5, .* days; found 31$/],
    ['ttl', 60, /^environments.dev: expected only the keys account, region, .*; found the keys ttl$/],
  ])(
    'with an invalid %s is rejected with the path, the expected value and the value found',
    (option, value, expected) => {
      expect(check(option, value)).toMatch(expected);
    },
  );

  test('cannot keep names in zones that are deleted', () => {
    const keep = (vpcs: object[]) => () =>
      parseEnvironments({ dev: { ...valid, removalPolicy: 'destroy', onDestroy: 'keep', vpcs } });
    expect(keep(valid.vpcs)).toThrow(
      'environments.dev.onDestroy: expected deregister, because removalPolicy is destroy and a zone with names cannot be deleted; found "keep"',
    );
    expect(keep(valid.vpcs.map((one) => ({ ...one, hostedZoneId: 'Z0GIVEN' })))).not.toThrow();
  });

  test('cannot notify a topic without alarms', () => {
    const alarmTopicArn = 'arn:aws:sns:eu-west-1:111122223333:oncall';
    expect(() => parseEnvironments({ dev: { ...valid, alarms: false, alarmTopicArn } })).toThrow(
      `environments.dev.alarmTopicArn: expected no topic, because alarms is false; found "${alarmTopicArn}"`,
    );
  });

  test('with an invalid VPC is rejected with the path of the VPC', () => {
    expect(check('vpcs', [{ vpcId: 'vpc-xyz', zoneName: '-x' }])).toBe(
      'environments.dev.vpcs[0].vpcId: expected a VPC id, like vpc-0a1b2c3d4e5f60718; found "vpc-xyz"\n' +
        '  environments.dev.vpcs[0].zoneName: expected a domain name in lower case, like dev.internal; found "-x"',
    );
    expect(check('vpcs', [...valid.vpcs, ...valid.vpcs])).toBe(
      'environments.dev.vpcs[1].vpcId: expected each VPC once; found "vpc-0a1b2c3d4e5f60718"',
    );
    const sharing = (vpcId: string, zoneName: string) => ({ vpcId, zoneName, hostedZoneId: 'Z1' });
    expect(check('vpcs', [sharing('vpc-0a1b2c3d', 'a.internal'), sharing('vpc-1a1b2c3d', 'b.internal')])).toBe(
      'environments.dev.vpcs[1].zoneName: expected a.internal, which another VPC gives as the name of the same hosted zone; found "b.internal"',
    );
  });
});

test('the type of an environment in another app is that of its schema', () => {
  type Parsed = ReturnType<typeof parseEnvironments>[string];
  expectTypeOf<Environment>().toExtend<Parsed>();
  expectTypeOf<Parsed>().toExtend<Environment>();
  // A missing optional key makes no difference to the lines above.
  expectTypeOf<keyof Parsed>().toEqualTypeOf<keyof Environment>();
  expectTypeOf<keyof Parsed['vpcs'][number]>().toEqualTypeOf<keyof Environment['vpcs'][number]>();
});

describe('environments', () => {
  test('are an object with one entry per name', () => {
    expect(message(undefined)).toBe(
      'environments: expected environments by name, like { "dev": { … } }; found nothing',
    );
    expect(message([])).toMatch(/^environments: expected environments by name/);
    expect(message({})).toBe('environments: expected at least one environment; found {}');
    expect(message({ Dev: valid })).toMatch(
      /^environments.Dev: expected a name of 1 to 32 characters of a-z, 0-9 and -/,
    );
  });
});

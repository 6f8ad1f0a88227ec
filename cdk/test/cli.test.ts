/** Tests of the command line tool, against a Lambda and a CloudFormation of this process. */
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeEach, describe, expect, test } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };
import { DRY_RUN_ALIAS } from '../lib/dry-run-alias.js';
import { root } from './stacks.js';
import { type AwsReply, run, serveAws } from './terminal.js';

type Reply = Record<string, unknown> | ((command: Record<string, unknown>) => Record<string, unknown>);

/** The answers of the function, in the order of the invocations. The last one repeats. */
let answers: Reply[];
/** The requests to the function. */
let commands: unknown[];
/** The answer about the stack. */
let stack: { status: number; body: string };
/** How often the stack was described. */
let described: number;

/** The state of ECS, Elastic Load Balancing and Route 53, for `explain`. */
let aws: {
  service: Record<string, unknown> | undefined;
  /** Rules of the listener `HTTPS:443`. The listener `HTTP:80` has none. */
  rules: string;
  protocol: string;
  records: string;
  marker: string;
};

const GROUP = 'arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/orders-tg/0123456789abcdef';
const forward = `<Actions><member><Type>forward</Type><TargetGroupArn>${GROUP}</TargetGroupArn></member></Actions>`;
const host = (pattern: string) =>
  `<member><Conditions><member><Field>host-header</Field><HostHeaderConfig><Values><member>${pattern}</member></Values>` +
  `</HostHeaderConfig></member></Conditions>${forward}</member>`;
const elb = (action: string, result: string) =>
  `<${action}Response><${action}Result>${result}</${action}Result></${action}Response>`;

/** The answer of an API other than Lambda and CloudFormation. */
function other(target: string, url: string, text: string): string | undefined {
  const form = new URLSearchParams(text);
  if (target.endsWith('.DescribeServices')) {
    const { tags, ...service } = aws.service ?? {};
    const described = text.includes('"TAGS"') ? { ...service, tags } : service;
    return JSON.stringify({ services: aws.service === undefined ? [] : [described] });
  }
  if (url.includes('/hostedzone/')) {
    const isMarker = url.includes('name=_discovery');
    return (
      `<ListResourceRecordSetsResponse><ResourceRecordSets>${isMarker ? aws.marker : aws.records}</ResourceRecordSets>` +
      '<IsTruncated>false</IsTruncated><MaxItems>10</MaxItems></ListResourceRecordSetsResponse>'
    );
  }
  const action = form.get('Action') ?? '';
  const isSecure = form.get('ListenerArn')?.endsWith('443') ?? false;
  switch (action) {
    case 'DescribeTargetGroups':
      return elb(
        action,
        `<TargetGroups><member><TargetGroupArn>${GROUP}</TargetGroupArn><LoadBalancerArns><member>lb</member></LoadBalancerArns></member></TargetGroups>`,
      );
    case 'DescribeLoadBalancers':
      return elb(
        action,
        '<LoadBalancers><member><LoadBalancerArn>lb</LoadBalancerArn><LoadBalancerName>orders</LoadBalancerName><Type>application</Type>' +
          '<Scheme>internal</Scheme><State><Code>active</Code></State><VpcId>vpc-1</VpcId>' +
          '<DNSName>internal-orders-1234567890.eu-west-1.elb.amazonaws.com</DNSName></member></LoadBalancers>',
      );
    case 'DescribeListeners':
      return elb(
        action,
        ['80', '443']
          .map((port) => {
            const protocol = port === '80' ? aws.protocol : `${aws.protocol}S`;
            return `<member><ListenerArn>listener-${port}</ListenerArn><Protocol>${protocol}</Protocol><Port>${port}</Port><DefaultActions>${forward.replace(/<\/?Actions>/g, '')}</DefaultActions></member>`;
          })
          .join('')
          .replace(/^(.*)$/s, '<Listeners>$1</Listeners>'),
      );
    case 'DescribeRules':
      // The rules are on the second page.
      if (form.get('Marker') === null) return elb(action, '<Rules></Rules><NextMarker>m</NextMarker>');
      return elb(action, `<Rules>${isSecure ? aws.rules : `<member>${forward}</member>`}</Rules>`);
    default:
      return undefined;
  }
}

const OUTPUTS = `<Outputs><member><OutputKey>FunctionName</OutputKey><OutputValue>discovery</OutputValue></member></Outputs>`;
const stacks = (outputs: string) => ({
  status: 200,
  body:
    `<DescribeStacksResponse><DescribeStacksResult><Stacks><member><StackName>EcsDiscovery-dev</StackName>` +
    `<CreationTime>2026-01-01T00:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>${outputs}</member></Stacks></DescribeStacksResult></DescribeStacksResponse>`,
});
const cloudFormationError = (code: string, message: string) => ({
  status: 400,
  body: `<ErrorResponse><Error><Code>${code}</Code><Message>${message}</Message></Error></ErrorResponse>`,
});

serveAws(({ target, url, body }): AwsReply => {
  const api = other(target, url, body);
  if (api !== undefined) return { body: api };
  if (!url.includes('/functions/')) {
    described += 1;
    return { ...stack, headers: { 'content-type': 'text/xml' } };
  }
  const command = JSON.parse(body) as Record<string, unknown>;
  // The function refuses a dry run through itself here, and everything else through the alias.
  if (url.includes(`%3A${DRY_RUN_ALIAS}/`) !== (command.dryRun === true)) return { status: 404, body: '{}' };
  commands.push(command);
  const next = answers.length > 1 ? answers.shift() : answers[0];
  const reply = typeof next === 'function' ? next(command) : (next ?? {});
  if ('throttled' in reply) {
    return { status: 429, headers: { 'x-amzn-errortype': 'TooManyRequestsException' }, body: '{"Reason":"busy"}' };
  }
  if ('functionError' in reply) {
    const error = { errorType: 'handler', errorMessage: reply.functionError };
    return { headers: { 'x-amz-function-error': 'Unhandled' }, body: JSON.stringify(error) };
  }
  return { body: JSON.stringify(reply) };
});

beforeEach(() => {
  answers = [];
  commands = [];
  described = 0;
  stack = stacks(OUTPUTS);
  aws = {
    service: {
      status: 'ACTIVE',
      createdAt: 1_767_225_600,
      runningCount: 2,
      desiredCount: 2,
      loadBalancers: [{ targetGroupArn: GROUP }],
      deployments: [{ status: 'PRIMARY', rolloutState: 'COMPLETED' }],
      tags: [
        { key: 'discovery:ttl', value: '30' },
        { key: 'team', value: 'shop' },
      ],
    },
    rules: host('api.example.com'),
    protocol: 'HTTP',
    records:
      '<ResourceRecordSet><Name>orders.dev.internal.</Name><Type>CNAME</Type><TTL>30</TTL><ResourceRecords><ResourceRecord>' +
      '<Value>internal-orders-1234567890.eu-west-1.elb.amazonaws.com</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>',
    marker:
      '<ResourceRecordSet><Name>_discovery.orders.dev.internal.</Name><Type>TXT</Type><TTL>300</TTL><ResourceRecords><ResourceRecord>' +
      `<Value>"heritage=ecs-discovery,version=1,environment=dev,service=${ARN}orders,records=CNAME,contested"</Value>` +
      '</ResourceRecord></ResourceRecords></ResourceRecordSet>',
  };
});

const ARN = 'arn:aws:ecs:eu-west-1:111122223333:service/dev/';

function outcome(service: string, status: string, more: object = {}) {
  return {
    service: `${ARN}${service}`,
    name: `${service}.dev.internal.`,
    zone: 'Z1',
    status,
    target: `internal-${service}-1234567890.eu-west-1.elb.amazonaws.com.`,
    reason: null,
    applied: false,
    ...more,
  };
}

function answer(outcomes: object[], more: object = {}) {
  return {
    environment: 'dev',
    scope: 'all',
    dryRun: true,
    outcomes,
    changes: { created: 0, deleted: 0 },
    apiCalls: { ecs: 3, elb: 2, route53: 1 },
    throttles: { ecs: 0, elb: 0, route53: 0 },
    fullPass: { managedNames: 2, zoneRecords: { Z1: 6 } },
    ...more,
  };
}

const CONFLICT = outcome('web', 'conflict', {
  target: null,
  reason:
    'the name is held by arn:aws:ecs:eu-west-1:111122223333:service/blue/web; the service keeps web-old.dev.internal',
});
const IGNORED = outcome('batch', 'ignored', {
  name: null,
  zone: null,
  target: null,
  reason: 'the service has no load balancer of its own',
});

describe('status', () => {
  test('shows the services that need attention with reasons before the names', async () => {
    answers = [answer([outcome('orders', 'unchanged'), CONFLICT, IGNORED, outcome('basket', 'unchanged')])];
    const { status, stdout, stderr } = await run('status dev');
    expect(status).toBe(1);
    expect(stderr).toBe('');
    expect(commands).toEqual([{ reconcile: 'all', dryRun: true, overrideDeleteLimit: false }]);
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 2 services registered; 1 conflict; 1 without a name on purpose

      Needs attention
        conflict  dev/web  web.dev.internal
                  The name is held by blue/web; the service keeps
                  web-old.dev.internal.

      Registered
        NAME                 SERVICE     LOAD BALANCER
        basket.dev.internal  dev/basket  basket
        orders.dev.internal  dev/orders  orders

      To see the services without a name, too:
        npx ecs-discovery status dev --all
      "
    `);
  });

  test('shows changes that wait for an event, and how to make them now', async () => {
    const reason = 'ECS reports DRAINING';
    answers = [answer([outcome('new', 'registered'), outcome('old', 'deregistered', { target: null, reason })])];
    const { status, stdout } = await run('status dev');
    expect(status).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 0 services registered; 2 about to change

      About to change
        + new.dev.internal → new  (dev/new)
        - old.dev.internal  (dev/old)
            ECS reports DRAINING.

      The next event or full pass makes these changes. If they are still here after
      that, Route 53 or a permission refuses them, and a full pass shows why:
        npx ecs-discovery apply dev
      "
    `);
  });

  test('shows the first names of a large environment, and all of them with --all', async () => {
    const all = Array.from({ length: 5_000 }, (_, at) =>
      outcome(`service-${String(at).padStart(4, '0')}`, 'unchanged'),
    );
    answers = [answer([...all, IGNORED])];
    const { stdout } = await run('status dev');
    expect(stdout).toMatch(/^dev: 5,000 services registered; 1 without a name on purpose\n/);
    expect(stdout).toContain('\n  … and 4980 more; add --all to see them\n');
    expect(stdout.split('\n').length).toBeLessThan(30);
    const everything = await run('status dev --all');
    expect(everything.stdout.match(/service-\d+\.dev\.internal/g)?.length).toBe(5_000);
    expect(everything.stdout).toContain('The service has no load balancer of its own.');
  });

  test('prints JSON and CSV for programs', async () => {
    answers = [answer([outcome('orders', 'unchanged'), CONFLICT])];
    const json = await run('status dev --json');
    expect(json.status).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchInlineSnapshot(`
      {
        "dryRun": true,
        "environment": "dev",
        "longNegativeTtls": [],
        "notes": [],
        "observed": false,
        "problems": [],
        "services": [
          {
            "arn": "arn:aws:ecs:eu-west-1:111122223333:service/dev/web",
            "name": "web.dev.internal",
            "reason": "the name is held by arn:aws:ecs:eu-west-1:111122223333:service/blue/web; the service keeps web-old.dev.internal",
            "service": "dev/web",
            "status": "conflict",
            "target": null,
            "zone": "Z1",
          },
          {
            "arn": "arn:aws:ecs:eu-west-1:111122223333:service/dev/orders",
            "name": "orders.dev.internal",
            "reason": null,
            "service": "dev/orders",
            "status": "unchanged",
            "target": "internal-orders-1234567890.eu-west-1.elb.amazonaws.com",
            "zone": "Z1",
          },
        ],
      }
    `);
    const csv = await run('status dev --output csv');
    expect(csv.stdout).toMatchInlineSnapshot(`
      "service,name,zone,status,target,reason
      dev/web,web.dev.internal,Z1,conflict,,the name is held by arn:aws:ecs:eu-west-1:111122223333:service/blue/web; the service keeps web-old.dev.internal
      dev/orders,orders.dev.internal,Z1,unchanged,internal-orders-1234567890.eu-west-1.elb.amazonaws.com,
      "
    `);
  });

  test('reports failed reads, unreadable markers and full zones', async () => {
    const fullPass = {
      managedNames: 0,
      zoneRecords: {},
      unreadableMarkers: [{ name: 'shop.dev.internal.', zone: 'Z1', reason: 'the marker has no version' }],
      fullZones: [{ zone: 'Z1', reason: 'HostedZoneNotFound' }],
      longNegativeTtls: [{ zone: 'Z2', seconds: 900, command: 'aws route53 …' }],
    };
    answers = [answer([], { fullPass, readErrors: ['ecs:ListServices of dev failed: denied'], notes: ['a note'] })];
    const { status, stdout } = await run('status dev');
    expect(status).toBe(1);
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 0 services registered

      Problems
        ecs:ListServices of dev failed: denied.
        shop.dev.internal: the marker has no version.
        The zone Z1 is full: HostedZoneNotFound.

      Notes
        In the zone Z2, resolvers remember for 900 seconds that a name does not exist.
        To shorten that, run:
      aws route53 …
        A note.
      "
    `);
  });

  test('a service that is gone and had no name is not registered', async () => {
    const gone = outcome('typo', 'unchanged', { name: null, zone: null, target: null, reason: 'ECS reports MISSING' });
    answers = [answer([gone])];
    expect(await run('status dev')).toMatchObject({ status: 0, stdout: 'dev: 0 services registered\n' });
  });

  test('shows long reasons, and none of the characters that a terminal would obey', async () => {
    const reason =
      'the target group has no load balancer yet: arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/orders-tg/0123456789abcdef; \u001b[2J\u202etxt';
    const long = 'a-long-name-of-a-service-that-waits-for-long';
    answers = [answer([outcome(long, 'waiting', { target: null, reason }), outcome(`${long}-new`, 'registered')])];
    const { stdout } = await run('status dev');
    expect(stdout).toContain('orders-tg;');
    expect(stdout).not.toContain('targetgroup/');
    expect(stdout).not.toMatch(/\p{Cc}(?<!\n)|\u202e/u);
  });

  test('a name with a character that nobody sees does not look like another name', async () => {
    answers = [answer([outcome('orders', 'unchanged', { name: 'or\u200bders.dev.internal.' })])];
    expect((await run('status dev')).stdout).toContain('or\ufffdders.dev.internal');
  });

  test('a name that only the mode keeps is no service without a name', async () => {
    const reason = 'the tag discovery:enabled is false; the mode create-and-update removes no name';
    answers = [answer([outcome('kept', 'ignored', { target: null, reason }), IGNORED])];
    const { status, stdout } = await run('status dev --all');
    expect(status).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 0 services registered; 1 with a name that only the mode create-and-update
      keeps; 1 without a name on purpose

      With a name that only the mode create-and-update keeps
        ignored  dev/kept  kept.dev.internal
                 The tag discovery:enabled is false; the mode create-and-update
                 removes no name.

      Without a name on purpose
        ignored  dev/batch
                 The service has no load balancer of its own.
      "
    `);
  });

  test('suggests commands for the same environment', async () => {
    answers = [answer([outcome('new', 'registered')])];
    const { stdout } = await run('plan --function fn --region us-east-1');
    expect(stdout).toContain('\n  npx ecs-discovery apply --function fn --region us-east-1\n');
  });

  test('a cell of CSV is no formula', async () => {
    answers = [answer([outcome('orders', 'conflict', { reason: '=1+1, "x"' })])];
    const cell = `,"'=1+1, QQxQQ"`.replaceAll('QQ', '"'.repeat(2));
    expect((await run('status dev --output csv')).stdout).toContain(cell);
  });

  test('a long name does not break the columns', async () => {
    const long = 'a-very-long-name-of-a-service-that-no-terminal-can-show-in-one-line-with-the-others';
    answers = [answer([outcome(long, 'unchanged'), outcome('orders', 'unchanged')])];
    const { stdout } = await run('status dev');
    expect(stdout).toContain('…');
    expect(stdout).toMatch(/^ {2}orders\.dev\.internal +dev\/orders +orders$/m);
  });
});

describe('plan', () => {
  test('shows a diff, and its exit status says whether changes are pending', async () => {
    const updated = outcome('web', 'updated', { reason: 'it led to old-1.eu-west-1.elb.amazonaws.com' });
    const gone = outcome('old', 'deregistered', { target: null, reason: 'ECS reports MISSING' });
    answers = [answer([outcome('orders', 'unchanged'), updated, gone, outcome('new', 'registered')])];
    const { status, stdout } = await run('plan dev');
    expect(status).toBe(2);
    expect(stdout).toMatchInlineSnapshot(`
      "dev: a full pass would change 3 names: 1 registered, 1 updated, 1 deregistered

        + new.dev.internal → new  (dev/new)
        ~ web.dev.internal → web  (dev/web)
            It led to old-1.eu-west-1.elb.amazonaws.com.
        - old.dev.internal  (dev/old)
            ECS reports MISSING.

      To make the changes:
        npx ecs-discovery apply dev
      "
    `);
    answers = [answer([outcome('orders', 'unchanged')])];
    expect(await run('plan dev')).toMatchObject({ status: 0, stdout: 'dev: a full pass would change nothing\n' });
    answers = [answer([outcome('new', 'registered'), CONFLICT])];
    expect((await run('plan dev')).status).toBe(1);
  });

  test('prints only changes and trouble for programs', async () => {
    answers = [answer([outcome('orders', 'unchanged'), outcome('new', 'registered')])];
    const { status, stdout } = await run('plan dev --output csv');
    expect(status).toBe(2);
    expect(stdout.split('\r\n').length).toBe(3);
  });
});

describe('apply', () => {
  test('runs a full pass and shows the changes', async () => {
    answers = [answer([outcome('new', 'registered'), outcome('orders', 'unchanged')], { dryRun: false })];
    const { status, stdout } = await run('apply dev');
    expect(commands).toEqual([{ reconcile: 'all', overrideDeleteLimit: false }]);
    expect(status).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "dev: a full pass changed 1 name: 1 registered

        + new.dev.internal → new  (dev/new)
      "
    `);
  });

  test('shows the changes that are left if the full pass fails', async () => {
    answers = [{ functionError: '1 service failed, for example dev/web: denied' }, answer([CONFLICT])];
    const { status, stdout, stderr } = await run('apply dev');
    expect(status).toBe(1);
    expect(stderr).toBe(
      'The full pass made the changes that it could, and failed: 1 service failed, for\nexample dev/web: denied.\n\n',
    );
    expect(stdout).toContain('dev: a full pass would still change nothing\n');
    expect(commands).toHaveLength(2);
  });

  test('asks nobody and deletes nothing if it does not know the deletions', async () => {
    answers = [answer([], { readErrors: ['ecs:ListServices failed: denied'] })];
    const { status, stderr } = await run('apply dev --override-delete-limit', true);
    expect(status).toBe(1);
    expect(commands).toHaveLength(1);
    expect(stderr).toMatchInlineSnapshot(`
      "Nobody can say now which names would be deleted, so nothing was changed:
      ecs:ListServices failed: denied. Try again when everything can be read, or add
      --yes to go on without a question.
      "
    `);
    // Without deletions there is nothing to ask, and nothing to override.
    answers = [answer([outcome('orders', 'unchanged')])];
    commands = [];
    expect((await run('apply dev --override-delete-limit')).status).toBe(0);
    expect(commands.at(-1)).toEqual({ reconcile: 'all', overrideDeleteLimit: false });
  });

  test('says that nothing was written if the mode is observe', async () => {
    answers = [answer([outcome('new', 'registered')], { observed: true })];
    const { status, stdout } = await run('apply dev');
    expect(status).toBe(1);
    expect(stdout).toMatchInlineSnapshot(`
      "dev: a full pass would change 1 name: 1 registered

        + new.dev.internal → new  (dev/new)

      The mode of this environment is observe, so the handler writes nothing.
      "
    `);
    const planned = await run('plan dev');
    expect(planned.status).toBe(2);
    expect(planned.stdout).toBe(stdout);
    expect((await run('status dev')).stdout).toMatchInlineSnapshot(`
      "dev: 0 services registered; 1 would change

      Would change
        + new.dev.internal → new  (dev/new)

      The mode of this environment is observe, so the handler writes nothing.
      "
    `);
  });

  test('lifts the delete limit only after it has shown the deletions and got a yes', async () => {
    const gone = outcome('old', 'deregistered', { target: null, reason: 'ECS reports MISSING' });
    const both = ({ dryRun = false }: Record<string, unknown>) => answer([gone], { dryRun });
    answers = [both];
    const refused = await run('apply dev --override-delete-limit');
    expect(refused.status).toBe(1);
    expect(refused.stderr).toMatchInlineSnapshot(`
      "Without the delete limit, a full pass deletes at least 1 name:
        - old.dev.internal  (dev/old)
            ECS reports MISSING.
      Nothing was changed.
      "
    `);
    expect(commands).toEqual([{ reconcile: 'all', dryRun: true, overrideDeleteLimit: true }]);
    commands = [];
    expect((await run('apply dev --override-delete-limit', true)).status).toBe(0);
    expect(commands).toHaveLength(2);
    commands = [];
    expect((await run('apply dev --override-delete-limit --yes')).status).toBe(0);
    expect(commands).toEqual([{ reconcile: 'all', overrideDeleteLimit: true }]);
  });
});

describe('explain', () => {
  test('shows everything about a name that is in sync, with the listeners that do not answer to it', async () => {
    answers = [answer([outcome('orders', 'unchanged'), outcome('basket', 'unchanged')])];
    const { status, stdout } = await run('explain orders.dev.internal dev');
    expect(status).toBe(0);
    expect(commands).toEqual([{ reconcile: 'all', dryRun: true }]);
    expect(stdout).toMatchInlineSnapshot(`
      "orders.dev.internal
        registered, and in sync.

      Service        dev/orders, ACTIVE since 2026-01-01 00:00 UTC, 2 of 2 tasks
                     deployments: PRIMARY COMPLETED
                     tags: discovery:ttl=30
      Target group   orders-tg
      Load balancer  orders: application, internal, active, in vpc-1
                     internal-orders-1234567890.eu-west-1.elb.amazonaws.com
      Listeners      HTTP:80 for any host name
                     HTTPS:443 for api.example.com, so not for orders.dev.internal:
                     add it to the rule
      Zone           Z1
      Record         CNAME internal-orders-1234567890.eu-west-1.elb.amazonaws.com, TTL
                     30 s
      Marker         environment dev, service dev/orders; another service should have
                     the name, too
      "
    `);
    aws.rules = host('*.dev.internal');
    expect((await run('explain orders.dev.internal dev')).stdout).toContain('HTTPS:443 for *.dev.internal\n');
    // Network load balancers have no rules.
    aws.protocol = 'TCP';
    expect((await run('explain orders.dev.internal dev')).stdout).toContain('TCP:80 for any host name\n');
    aws.service = { ...aws.service, loadBalancers: [{ loadBalancerName: 'old' }] };
    expect((await run('explain orders.dev.internal dev')).stdout).toMatch(/^Load balancer +old: classic$/m);
  });

  test('names the service that holds the name of another one, and the next step', async () => {
    const orders = outcome('orders', 'conflict', {
      target: null,
      reason: `the name is held by ${ARN.replace('/dev/', '/blue/')}orders`,
    });
    const holder = { ...outcome('orders', 'unchanged'), service: `${ARN.replace('/dev/', '/blue/')}orders` };
    answers = [answer([orders]), answer([orders, holder])];
    const { status, stdout } = await run('explain dev/orders dev');
    expect(status).toBe(1);
    expect(commands[0]).toEqual({ reconcile: { cluster: 'dev', service: 'orders' }, dryRun: true });
    expect(stdout).toMatch(/^orders\.dev\.internal\n {2}conflict: The name is held by blue\/orders\.\n/);
    expect(stdout).toMatch(/^Held {10} by blue\/orders$/m);
    expect(stdout).toContain('\nGive one of the two another name with the tag discovery:name, or');
  });

  test.each([
    ['ignored', 'the service has no load balancer of its own', 'create the service with a target group'],
    ['ignored', 'the tag discovery:enabled is false', 'The tag discovery:enabled with the value true'],
    ['unchanged', 'ECS reports MISSING; the service had no name', 'Check the names'],
    ['ignored', 'the cluster x does not belong to this environment', 'remove the cause'],
    ['invalid', 'the tag discovery:ttl is "x"', 'Correct the tag'],
    ['waiting', 'the target group has no load balancer yet', 'check the load balancer'],
    ['refused', 'the delete limit stopped this full pass', '--override-delete-limit'],
    ['rejected', 'Route 53 refused the change', 'choose another name'],
    ['failed', 'ecs:DescribeServices failed: denied', 'The handler tries again'],
    ['registered', null, 'The next event of the service'],
  ])('gives the next step for the status %s because of %s', async (status, reason, next) => {
    aws.service = undefined;
    const name = status === 'unchanged' ? null : 'orders.dev.internal';
    answers = [answer([outcome('orders', status, { target: null, name, reason })])];
    const { stdout, status: exitStatus } = await run('explain dev/orders dev');
    expect(exitStatus).toBe(['ignored', 'registered'].includes(status) ? 0 : 1);
    expect(stdout).toContain(`${status === 'unchanged' ? 'gone' : status}${reason === null ? '.' : ': '}`);
    expect(stdout.replaceAll('\n', ' ')).toContain(next);
    expect(stdout).toContain('ECS does not know it');
  });

  test('says which parts it could not read, and shows the rest', async () => {
    answers = [answer([outcome('orders', 'unchanged')])];
    const rest = await run('explain dev/orders dev');
    aws.records = '<broken';
    aws.marker = '';
    const { status, stdout } = await run('explain dev/orders dev');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^Record +not read: .+$/m);
    expect(stdout).toMatch(/^Marker +none$/m);
    expect(rest.stdout).toMatch(/^Marker +environment dev, service dev\/orders; another/m);
  });

  test('a name that a service keeps, or whose marker cannot be read, is explained', async () => {
    const fullPass = {
      managedNames: 0,
      unreadableMarkers: [{ name: 'odd.dev.internal.', zone: 'Z1', reason: 'no marker' }],
    };
    answers = [answer([CONFLICT], { fullPass })];
    expect((await run('explain web-old.dev.internal dev')).stderr).toMatchInlineSnapshot(`
      "dev/web has another name. The name is held by blue/web; the service keeps
      web-old.dev.internal.
      "
    `);
    expect((await run('explain odd.dev.internal dev')).stderr).toMatchInlineSnapshot(`
      "The marker of odd.dev.internal cannot be read, so its record stays: no marker
      "
    `);
    expect((await run('explain dev orders.dev.internal')).stderr).toMatchInlineSnapshot(`
      ""orders.dev.internal" is not the name of an environment. It has 1 to 32
      characters of a-z, 0-9 and -.
      "
    `);
  });

  test('shows which listeners lead requests for the name to the service', async () => {
    answers = [answer([outcome('orders', 'unchanged')])];
    const listeners = async (rules: string) => {
      aws.rules = rules;
      const { stdout } = await run('explain dev/orders dev');
      return /HTTPS:443 for ([^]*?)\nZone/.exec(stdout)?.[1]?.replace(/\s+/g, ' ');
    };
    const condition = (field: string, rest: string) => `<member><Field>${field}</Field>${rest}</member>`;
    const values = (name: string, list: string) =>
      `<HostHeaderConfig><${name}><member>${list}</member></${name}></HostHeaderConfig>`;
    const rule = (...conditions: string[]) =>
      `<member><Conditions>${conditions.join('')}</Conditions>${forward}</member>`;
    const path = condition('path-pattern', '<Values><member>/api/*</member></Values>');
    expect(await listeners(rule(path))).toBe('any host name, with conditions on path-pattern');
    expect(await listeners(rule(path) + rule())).toBe('any host name');
    const named = condition('host-header', values('Values', 'orders.*'));
    expect(await listeners(rule(named, condition('host-header', values('Values', '*.example.com'))))).toBe(
      'orders.* and *.example.com, so not for orders.dev.internal: add it to the rule',
    );
    expect(await listeners(rule(condition('host-header', values('RegexValues', '^orders'))))).toBe(
      'hosts that match a regular expression',
    );
    const none =
      '<Actions><member><ForwardConfig><TargetGroups><member><TargetGroupArn>x</TargetGroupArn><Weight>1</Weight></member>';
    expect(
      await listeners(`<member>${none}</TargetGroups></ForwardConfig></member></Actions></member>`),
    ).toBeUndefined();
  });

  test('an unknown name is an error, and JSON has all parts', async () => {
    answers = [answer([outcome('orders', 'unchanged')])];
    const { status, stderr } = await run('explain shop.dev.internal dev');
    expect(status).toBe(1);
    expect(stderr).toMatchInlineSnapshot(`
      "No service of dev has or should have shop.dev.internal. To see all services:
        npx ecs-discovery status dev --all
      "
    `);
    const json = await run('explain dev/orders dev --json');
    expect(Object.keys(JSON.parse(json.stdout) as object).sort()).toEqual([
      'arn',
      'ecs',
      'loadBalancers',
      'marker',
      'name',
      'reason',
      'records',
      'rivals',
      'service',
      'status',
      'target',
      'zone',
    ]);
  });
});

describe('wait', () => {
  test('returns when the service is registered', async () => {
    const reason = 'ECS reports MISSING; the service had no name';
    const missing = outcome('orders', 'unchanged', { name: null, zone: null, target: null, reason });
    answers = [answer([missing]), answer([outcome('orders', 'registered')]), answer([outcome('orders', 'unchanged')])];
    const { status, stdout } = await run('wait dev/orders dev --timeout 60');
    expect(status).toBe(0);
    expect(commands).toHaveLength(3);
    expect(commands[0]).toEqual({ reconcile: { cluster: 'dev', service: 'orders' }, dryRun: true });
    expect(stdout).toBe(
      'orders.dev.internal leads to\ninternal-orders-1234567890.eu-west-1.elb.amazonaws.com (dev/orders)\n',
    );
  });

  test('waits for a name', async () => {
    answers = [answer([outcome('basket', 'unchanged'), outcome('orders', 'unchanged')])];
    expect((await run('wait Orders.dev.internal. dev')).status).toBe(0);
    expect(commands).toEqual([{ reconcile: 'all', dryRun: true }]);
  });

  test('ends with the reason after its time, or when waiting cannot help', async () => {
    answers = [answer([CONFLICT])];
    const late = await run('wait dev/web dev --timeout 1');
    expect(late.status).toBe(1);
    expect(late.stderr).toMatchInlineSnapshot(`
      "dev/web was not registered within 1 second. dev/web has the status conflict: The
      name is held by blue/web; the service keeps web-old.dev.internal.
      "
    `);
    answers = [answer([outcome('web', 'invalid', { reason: 'the tag discovery:ttl is "x"; expected 1 to 86400' })])];
    const invalid = await run('wait dev/web dev');
    expect(invalid.status).toBe(1);
    expect(invalid.stderr).toBe(
      'dev/web has the status invalid: The tag discovery:ttl is "x"; expected 1 to\n86400.\n',
    );
  });

  test('looks at the service or the name, not at others in the answer', async () => {
    const holder = { ...outcome('orders', 'unchanged'), service: `${ARN.replace('/dev/', '/blue/')}orders` };
    const reason = 'ECS reports MISSING; the service had no name';
    const missing = outcome('orders', 'unchanged', { name: null, zone: null, target: null, reason });
    answers = [answer([holder, missing])];
    expect(await run('wait dev/orders dev --timeout 1')).toMatchObject({
      status: 1,
      stderr:
        'dev/orders was not registered within 1 second. dev/orders: ECS reports MISSING;\nthe service had no name.\n',
    });
    // The name is registered, although another service wants it, too.
    const loser = outcome('orders', 'conflict', { target: null, reason: 'the name is held by …' });
    answers = [answer([loser, holder])];
    expect(await run('wait orders.dev.internal dev')).toMatchObject({ status: 0 });
    expect((await run('explain orders.dev.internal dev')).stdout).toContain('Service        blue/orders');
  });

  test('goes on after an error that may pass, and reads only the service of a name once it is known', async () => {
    const one = [outcome('orders', 'registered')];
    answers = [
      { functionError: 'the run failed' },
      { throttled: true },
      answer(one),
      answer([outcome('orders', 'unchanged')]),
    ];
    expect((await run('wait orders.dev.internal dev --timeout 100')).status).toBe(0);
    expect(commands.at(-2)).toEqual({ reconcile: 'all', dryRun: true });
    expect(commands.at(-1)).toEqual({ reconcile: { cluster: 'dev', service: 'orders' }, dryRun: true });
    expect(described).toBe(1);
  });

  test('waits until a DNS resolver finds the name, too', async () => {
    answers = [answer([outcome('orders', 'unchanged')])];
    // Nothing listens there.
    const { status, stderr } = await run('wait dev/orders dev --timeout 1 --dns 127.0.0.1:1');
    expect(status).toBe(1);
    expect(stderr).toBe(
      'dev/orders was not registered within 1 second. orders.dev.internal is\nregistered, but the DNS resolver at 127.0.0.1:1 does not find it.\n',
    );
  });

  test('ends at once if the mode is observe', async () => {
    answers = [answer([outcome('orders', 'registered')], { observed: true })];
    const { status, stderr } = await run('wait dev/orders dev');
    expect(status).toBe(1);
    expect(stderr).toMatchInlineSnapshot(`
      "The handler has not made the change of dev/orders yet (registered). The mode of
      this environment is observe, so the handler writes nothing.
      "
    `);
  });

  test('an ARN is passed on as it is, so that the handler can refuse it', async () => {
    answers = [answer([outcome('orders', 'unchanged')])];
    const { status } = await run(`wait ${ARN}orders dev`);
    expect(status).toBe(0);
    expect(commands).toEqual([{ reconcile: { cluster: 'dev', service: `${ARN}orders` }, dryRun: true }]);
  });

  test('refuses what is neither a name nor a service', async () => {
    const { status, stderr } = await run('wait a/b/c dev');
    expect(status).toBe(1);
    expect(stderr).toBe('"a/b/c" is neither a name nor a service in the form cluster/service.\n');
  });
});

describe('status --watch', () => {
  const clock = /\d\d:\d\d:\d\d UTC/g;

  test('shows the status again until somebody ends it', async () => {
    answers = [answer([outcome('orders', 'registered')]), answer([outcome('orders', 'unchanged')])];
    const { stdout } = await run('status dev --watch', false, 1);
    expect(stdout.replace(clock, 'TIME')).toMatchInlineSnapshot(`
      "dev: 0 services registered; 1 about to change

      About to change
        + orders.dev.internal → orders  (dev/orders)

      The next event or full pass makes these changes. If they are still here after
      that, Route 53 or a permission refuses them, and a full pass shows why:
        npx ecs-discovery apply dev

      TIME, again in 30 s

      dev: 1 service registered

      Registered
        NAME                 SERVICE     LOAD BALANCER
        orders.dev.internal  dev/orders  orders

      TIME, again in 30 s

      "
    `);
  });

  test('goes on after an error that passes', async () => {
    answers = [{ throttled: true }, { throttled: true }, { throttled: true }, answer([outcome('orders', 'unchanged')])];
    const { stdout } = await run('status dev --watch 5', false, 1);
    const [first, second] = stdout.replace(clock, 'TIME').split('\nTIME, again in 5 s\n');
    expect(first).toMatch(/^AWS throttled the request, .*\nconcurrency allows: .*\nTry again in a minute\.\n$/);
    expect(second).toContain('dev: 1 service registered');
  });

  test('ends with another error', async () => {
    answers = [{ functionError: 'the configuration is invalid' }];
    const { status, stderr } = await run('status dev --watch');
    expect({ status, stderr }).toEqual({ status: 1, stderr: 'the configuration is invalid\n' });
  });

  test('refuses an interval that is no number', async () => {
    const { status, stderr } = await run('status dev --watch soon');
    expect(status).toBe(1);
    expect(stderr).toContain('Expected a whole number of seconds.');
  });
});

test('reads the compressed outcomes of an answer that is too large for Lambda', async () => {
  const outcomes = gzipSync(JSON.stringify([outcome('orders', 'unchanged')])).toString('base64');
  answers = [answer([], { compressedOutcomes: outcomes })];
  const { status, stdout } = await run('status dev');
  expect(status).toBe(0);
  expect(stdout).toContain('orders.dev.internal  dev/orders  orders\n');
});

describe('errors', () => {
  test('name the missing thing and the next step', async () => {
    stack = cloudFormationError('ValidationError', 'Stack with id EcsDiscovery-dev does not exist');
    const missing = await run('status dev --region eu-west-1');
    expect(missing.status).toBe(1);
    expect(missing.stderr).toMatchInlineSnapshot(`
      "The stack EcsDiscovery-dev does not exist in eu-west-1. Deploy it with \`npx cdk
      deploy EcsDiscovery-dev\`, or choose another account or region with --profile and
      --region, or another stack with --stack.
      "
    `);
    stack = cloudFormationError('AccessDenied', 'User: u is not authorized to perform: cloudformation:DescribeStacks');
    expect((await run('status dev')).stderr).toMatchInlineSnapshot(`
      "A permission is missing: User: u is not authorized to perform:
      cloudformation:DescribeStacks
      "
    `);
    stack = stacks('');
    expect((await run('status dev')).stderr).toMatchInlineSnapshot(`
      "The stack EcsDiscovery-dev has no output FunctionName, so it is not one of this
      project's stacks. If your own stack contains the construct, name the function
      with --function.
      "
    `);
    stack = cloudFormationError('ExpiredToken', 'The security token included in the request is expired');
    expect((await run('status dev')).stderr).toMatchInlineSnapshot(`
      "AWS did not accept the credentials, or there are none: The security token
      included in the request is expired
      Log in (for example with \`aws sso login\`), or choose a profile with --profile.
      "
    `);
    expect((await run('status')).stderr).toMatchInlineSnapshot(`
      "Which environment? Name one (cdk.json has dev, test, prod), or its stack with
      --stack, or its function with --function.
      "
    `);
  });

  test('an answer of another version, and a refused request, are explained', async () => {
    answers = [{ answer: 42 }];
    expect((await run('status --function discovery --region eu-west-1')).stderr).toMatchInlineSnapshot(`
      "The function's answer is not one of this version of the handler: environment:
      Invalid input: expected string, received undefined
      Deploy the environment with the same version as this tool, or name its function
      with --function.
      "
    `);
    answers = [answer([], { scope: 'none', reason: 'unknown key "dryrun"' })];
    expect((await run('status --function discovery --region eu-west-1')).stderr).toBe(
      'The handler refused the request: unknown key "dryrun"\n',
    );
  });

  test('wrong arguments are explained', async () => {
    for (const line of [
      'stauts',
      'status dev --output xml',
      'wait',
      'wait dev/web dev --timeout soon',
      'wait dev/web dev --dns resolver.internal',
      'plan dev test',
    ]) {
      const { status, stderr } = await run(line);
      expect(status, line).toBe(1);
      expect(stderr, line).toMatch(/^error: .+\n/);
    }
  });

  test('a checkout without its packages says what to run', () => {
    const checkout = mkdtempSync(path.join(tmpdir(), 'checkout-'));
    const files = ['package.json', 'cdk/bin/ecs-discovery.mjs', 'cdk/cli/main.ts', 'scripts/lib/check-node.cjs'];
    for (const file of files) cpSync(path.join(root, file), path.join(checkout, file), { recursive: true });
    const ran = spawnSync(process.execPath, [path.join(checkout, 'cdk/bin/ecs-discovery.mjs'), 'status']);
    rmSync(checkout, { recursive: true });
    expect(ran.status).toBe(1);
    expect(ran.stderr.toString()).toMatch(/^The packages of this checkout are missing. Run `npm run setup` first\. /);
  });

  test('the command runs from the checkout, and ends quietly if its reader does', async () => {
    const command = path.join(root, 'cdk/bin/ecs-discovery.mjs');
    const ran = spawnSync(process.execPath, [command, '--version'], { cwd: root });
    expect(ran.stdout.toString()).toBe(`${packageJson.version}\n`);
    const many = Array.from({ length: 5_000 }, (_, at) => outcome(`service-${at}`, 'unchanged'));
    answers = [answer(many)];
    const child = spawn(process.execPath, [command, 'status', 'dev', '--all'], { cwd: root });
    let error = '';
    child.stderr.on('data', (chunk: Buffer) => (error += chunk.toString()));
    child.stdout.once('data', () => child.stdout.destroy());
    await new Promise((resolve) => child.on('close', resolve));
    expect(error).toBe('');
  });

  test.each([
    { variables: { CI: 'true' }, colours: false },
    { variables: { FORCE_COLOR: '1' }, colours: true },
    { variables: { FORCE_COLOR: '1', NO_COLOR: '1' }, colours: false },
  ])('a pipe gets colours only by FORCE_COLOR: $variables', async ({ variables, colours }) => {
    answers = [answer([outcome('orders', 'unchanged')])];
    const env = { ...process.env, CI: undefined, FORCE_COLOR: undefined, NO_COLOR: undefined, ...variables };
    const command = [path.join(root, 'cdk/bin/ecs-discovery.mjs'), 'status', 'dev'];
    const child = spawn(process.execPath, command, { cwd: root, env });
    let printed = '';
    child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
    await new Promise((resolve) => child.on('close', resolve));
    expect(printed).toContain('orders.dev.internal');
    expect(printed.includes('\u001b[')).toBe(colours);
  });

  test('the version is that of the package', async () => {
    expect(await run('--version')).toMatchObject({ status: 0, stdout: `${packageJson.version}\n` });
  });
});

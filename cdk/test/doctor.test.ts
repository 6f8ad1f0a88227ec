/** Tests of `doctor` through the real SDK, with the answers of AWS made in this process. */
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { Discovery } from '../cli/discovery.js';
import { main } from '../cli/main.js';
import { type AwsReply, type AwsRequest, run, serveAws } from './terminal.js';

/** The answers of AWS by operation. Tests replace some of them. */
let aws: Record<string, (request: AwsRequest) => AwsReply>;
/** The operations that were called, in alphabetical order. */
let called: Set<string>;

const NAME = 'EcsDiscovery-dev-Handler';
const FUNCTION = `arn:aws:lambda:eu-west-1:111122223333:function:${NAME}`;
const QUEUE = 'arn:aws:sqs:eu-west-1:111122223333:dev-';

const json = (body: object): AwsReply => ({ body: JSON.stringify(body) });
const error = (code: string, message: string, status = 400): AwsReply => ({
  status,
  headers: { 'x-amzn-errortype': code },
  body: JSON.stringify({ __type: code, message, Message: message }),
});
const xml = (root: string, content: string): AwsReply => ({ body: `<${root}>${content}</${root}>` });
const xmlError = (code: string, message: string, status = 400): AwsReply => ({
  status,
  ...xml('ErrorResponse', `<Error><Type>Sender</Type><Code>${code}</Code><Message>${message}</Message></Error>`),
});

/** The error that AWS gives without a permission. */
function denied(action: string): AwsReply {
  const text = `User: ops is not authorized to perform: ${action}`;
  return action.startsWith('route53') ? xmlError('AccessDenied', text, 403) : error('AccessDeniedException', text, 403);
}

const input = ({ body }: AwsRequest) => JSON.parse(body) as Record<string, unknown>;

/** The operation of a request. */
function operation({ target, method, url }: AwsRequest): string {
  if (target !== '') return target.split('.').at(-1) ?? '';
  const known: [RegExp, string][] = [
    [/\/configuration$/, 'GetFunctionConfiguration'],
    [/\/concurrency$/, 'GetFunctionConcurrency'],
    [/\/event-invoke-config\?Qualifier=%24LATEST$/, 'GetFunctionEventInvokeConfig'],
    [/\/event-source-mappings/, 'ListEventSourceMappings'],
    [/%3Adry-run\/invocations$/, 'Invoke'],
    [/\/rrset/, 'ListResourceRecordSets'],
    [/\/hostedzonelimit\//, 'GetHostedZoneLimit'],
    [/\/hostedzone\//, 'GetHostedZone'],
  ];
  return known.find(([pattern]) => pattern.test(url))?.[1] ?? `${method} ${url}`;
}

serveAws((request) => {
  const name = operation(request);
  called.add(name);
  return aws[name]?.(request) ?? error('InvalidAction', `The test does not answer ${name}.`);
});

const CONFIGURATION = {
  FunctionName: NAME,
  FunctionArn: FUNCTION,
  State: 'Active',
  LastUpdateStatus: 'Successful',
  LastModified: '2026-11-20T10:00:00.000+0000',
  LoggingConfig: { LogGroup: 'dev-logs' },
};

type Zone = [name: string, vpc: string, id: string];

const configuration = (more: object = {}, settings: object = {}, zones: Zone[] = [['dev.internal', 'vpc-1', 'Z1']]) =>
  json({
    ...CONFIGURATION,
    Environment: {
      Variables: {
        DISCOVERY_CONFIG: JSON.stringify({
          environment: 'dev',
          zones: zones.map(([name, vpc, id]) => ({ name, vpcs: [[vpc, id]] })),
          ...settings,
        }),
      },
    },
    ...more,
  });

const EVENTS = { UUID: 'uuid-1', State: 'Enabled', BatchSize: 100, EventSourceArn: `${QUEUE}Events` };
const CALLS = { UUID: 'uuid-2', State: 'Enabled', BatchSize: 10_000, EventSourceArn: `${QUEUE}Calls` };
const mappings = (...all: object[]) => json({ EventSourceMappings: all });

const pattern = (source: string, detailType: string) =>
  JSON.stringify({ source: [source], 'detail-type': [detailType] });
const RULES: Record<string, Record<string, string>> = {
  'dev-ApiCalls': { EventPattern: pattern('aws.ecs', 'AWS API Call via CloudTrail') },
  'dev-Deployments': { EventPattern: pattern('aws.ecs', 'ECS Deployment State Change') },
  'dev-Tags': { EventPattern: pattern('aws.tag', 'Tag Change on Resource') },
  'dev-FullPass': { ScheduleExpression: 'rate(15 minutes)' },
  'dev-LoadBalancers': { EventPattern: pattern('aws.elasticloadbalancing', 'AWS API Call via CloudTrail') },
};

/** The rules of the stack, some of them changed. `undefined` removes one. */
function rules(changes: Record<string, Record<string, string> | undefined> = {}) {
  const all = new Map<string, Record<string, string> | undefined>(Object.entries({ ...RULES, ...changes }));
  for (const [name, rule] of all) if (rule === undefined) all.delete(name);
  aws.ListRuleNamesByTarget = (request) => {
    const isCalls = input(request).TargetArn === CALLS.EventSourceArn;
    const isFunction = input(request).TargetArn === FUNCTION;
    const names = [...all.keys()].filter((name) => (name === 'dev-LoadBalancers' ? isCalls : isFunction));
    // Two pages.
    return input(request).NextToken === undefined && names.length > 1
      ? json({ RuleNames: names.slice(0, 1), NextToken: 'more' })
      : json({ RuleNames: names.length > 1 ? names.slice(1) : names });
  };
  aws.DescribeRule = (request) => {
    const name = String(input(request).Name);
    return json({ Name: name, State: 'ENABLED', ...RULES[name], ...all.get(name) });
  };
}

const WRITES = { ReadWriteType: 'WriteOnly', IncludeManagementEvents: true };
const TRAIL_ARN = 'arn:aws:cloudtrail:eu-west-1:111122223333:trail/';

interface FakeTrail {
  trail?: object;
  selectors?: object | AwsReply;
  status?: object | AwsReply;
}

const isReply = (one: object): one is AwsReply => 'body' in one;

function trails(all: Record<string, FakeTrail>) {
  aws.DescribeTrails = () =>
    json({
      trailList: Object.entries(all).map(([name, { trail }]) => ({
        Name: name,
        TrailARN: `${TRAIL_ARN}${name}`,
        HomeRegion: 'eu-west-1',
        ...trail,
      })),
    });
  const of = (arn: unknown) => all[String(arn).replace(TRAIL_ARN, '')];
  const reply = (part: object) => (isReply(part) ? part : json(part));
  aws.GetEventSelectors = (request) => reply(of(input(request).TrailName)?.selectors ?? { EventSelectors: [WRITES] });
  aws.GetTrailStatus = (request) => reply(of(input(request).Name)?.status ?? { IsLogging: true });
}

/** The messages of each queue: those that wait, and those in progress. */
function messages(counts: Record<string, [number, number]>) {
  aws.GetQueueUrl = (request) => json({ QueueUrl: `http://sqs/${String(input(request).QueueName)}` });
  aws.GetQueueAttributes = (request) => {
    const [waiting, inFlight] = counts[String(input(request).QueueUrl).replace('http://sqs/dev-', '')] ?? [0, 0];
    return json({
      Attributes: {
        ApproximateNumberOfMessages: String(waiting),
        ApproximateNumberOfMessagesNotVisible: String(inFlight),
      },
    });
  };
}

type Line = [minutesAgo: number, fields: Record<string, unknown>];

const PASS = { message: 'run finished', scope: 'all', dry_run: false, services: 212 };
const request = (id: string) => ({ request_id: id });

/** The lines of the log. Like AWS, it returns only those of the time that was asked for. */
function log(...lines: Line[]) {
  const now = Date.now();
  aws.FilterLogEvents = (request) => {
    const { startTime, endTime } = input(request) as { startTime: number; endTime: number };
    const events = lines
      .map(([minutes, fields]) => ({ timestamp: now - minutes * 60_000, message: JSON.stringify(fields) }))
      .filter(({ timestamp }) => timestamp >= startTime && timestamp <= endTime);
    return json({ events: [{ timestamp: startTime, message: 'START RequestId: 1' }, ...events] });
  };
}

const SOA = 'ns-1.example. host.example. 1 7200 900 1209600';

interface FakeZone {
  name?: string;
  isPrivate?: boolean;
  vpcs?: string[];
  count?: number;
  soa?: [ttl: number, value: string];
}

/** The zones by id. Others do not exist. */
function zones(all: Record<string, FakeZone>) {
  const id = (url: string) => /\/hostedzone(?:limit)?\/(\w+)/.exec(url)?.[1] ?? '';
  const missing = xmlError('NoSuchHostedZone', 'No hosted zone found', 404);
  aws.GetHostedZone = ({ url }) => {
    const zone = all[id(url)];
    if (zone === undefined) return missing;
    const { name = 'dev.internal', isPrivate = true, vpcs = ['vpc-1'], count = 6 } = zone;
    const members = vpcs.map((vpc) => `<VPC><VPCRegion>eu-west-1</VPCRegion><VPCId>${vpc}</VPCId></VPC>`).join('');
    return xml(
      'GetHostedZoneResponse',
      `<HostedZone><Id>/hostedzone/${id(url)}</Id><Name>${name}.</Name><CallerReference>r</CallerReference>` +
        `<Config><PrivateZone>${String(isPrivate)}</PrivateZone></Config>` +
        `<ResourceRecordSetCount>${count}</ResourceRecordSetCount></HostedZone><VPCs>${members}</VPCs>`,
    );
  };
  aws.ListResourceRecordSets = ({ url }) => {
    const zone = all[id(url)];
    if (zone === undefined) return missing;
    const [ttl, value] = zone.soa ?? [900, `${SOA} 5`];
    return xml(
      'ListResourceRecordSetsResponse',
      `<ResourceRecordSets><ResourceRecordSet><Name>${zone.name ?? 'dev.internal'}.</Name><Type>SOA</Type><TTL>${ttl}</TTL>` +
        `<ResourceRecords><ResourceRecord><Value>${value}</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>` +
        '</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>10</MaxItems>',
    );
  };
}

const answer = (more: object = {}, fullPass: object = {}) =>
  json({
    environment: 'dev',
    scope: 'all',
    dryRun: true,
    outcomes: [],
    changes: { created: 0, deleted: 0 },
    fullPass: { managedNames: 0, ...fullPass },
    ...more,
  });

const outcome = (service: string, status: string) => ({
  service: `arn:aws:ecs:eu-west-1:111122223333:service/dev/${service}`,
  name: `${service}.dev.internal.`,
  zone: 'Z1',
  status,
  target: null,
  reason: null,
});

beforeEach(() => {
  called = new Set();
  aws = {
    GetFunctionConfiguration: () => configuration(),
    GetFunctionConcurrency: () => json({}),
    GetFunctionEventInvokeConfig: () => json({ DestinationConfig: { OnFailure: { Destination: `${QUEUE}Failures` } } }),
    ListEventSourceMappings: () => mappings(EVENTS, CALLS),
    Invoke: () => answer({ outcomes: [outcome('orders', 'unchanged')] }),
  };
  rules();
  trails({ audit: {} });
  messages({});
  log([4, PASS]);
  zones({ Z1: {} });
});

const doctor = (options = '') => run(`doctor dev --function ${NAME}${options}`);

interface Shown {
  id: string;
  subject: string | null;
  result: string;
  finding: string;
  next: string | null;
  commands: string[];
}

/** The checks with an id, or all that are not ok. */
async function checks(id?: string): Promise<Shown[]> {
  const { stdout } = await doctor(' --json');
  const { checks } = JSON.parse(stdout) as { checks: Shown[] };
  return checks.filter((one) => (id === undefined ? one.result !== 'ok' : one.id === id));
}

/** The result and the sentence of the only check with an id. */
async function only(id: string): Promise<string> {
  const found = await checks(id);
  expect(found.length, JSON.stringify(found)).toBe(1);
  return `${found[0]?.result ?? ''}: ${found[0]?.finding ?? ''}`;
}

describe('the screen', () => {
  test('says that everything works', async () => {
    const { status, stdout, stderr } = await doctor();
    expect(stderr).toBe('');
    expect(stdout).toMatchInlineSnapshot(`
      "dev: everything works

        ok       Function      The function EcsDiscovery-dev-Handler is active, and
                               was last changed at 2026-11-20 10:00 UTC.
        ok       Concurrency   The function shares the concurrency of the account.
        ok       Trail         The trail audit records the calls of ECS and Elastic
                               Load Balancing.
        ok       Rules         All 5 rules are enabled.
        ok       Mappings      The function receives the messages of both queues.
        ok       Queues        No message waits in the queues.
        ok       Dead letters  The dead-letter queue is empty.
        ok       Full pass     The last full pass finished 4 minutes ago with 212
                               services.
        ok       Zones         The zone is private, and has its name and its VPCs.
        ok       Negative TTL  Resolvers remember for at most 5 seconds that a name
                               does not exist.
        ok       Zone records  The zone dev.internal has 6 of 10,000 record sets.
        ok       Handler       The handler read 1 service in a dry run of a full pass.
      "
    `);
    expect(status).toBe(0);
  });

  test('shows the failed checks first, each with its next step', async () => {
    rules({ 'dev-Tags': { State: 'DISABLED' } });
    trails({ audit: { status: { IsLogging: false } } });
    messages({ Failures: [2, 0] });
    aws.GetFunctionConcurrency = () => denied('lambda:GetFunctionConcurrency');
    aws.Invoke = () => answer({ outcomes: [outcome('orders', 'conflict'), outcome('web', 'unchanged')] });
    const { status, stdout } = await doctor();
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 2 checks failed, 1 check unknown, 1 warning

        failed   Trail         No trail in eu-west-1 records the calls of ECS and
                               Elastic Load Balancing: audit is stopped. Until one
                               does: new services wait for the end of their
                               deployment, and deleted ones keep their names until a
                               full pass; changes of load balancers take effect only
                               with a full pass.
                               Start the trail, and then run a full pass:
          aws cloudtrail start-logging \\
              --name arn:aws:cloudtrail:eu-west-1:111122223333:trail/audit \\
              --region eu-west-1
          npx ecs-discovery apply dev --function EcsDiscovery-dev-Handler

        failed   Rules         The rule for changed discovery tags is disabled: tags
                               that the Tag Editor or an unrecorded call changes take
                               effect only with a full pass.
                               Enable it, and then run a full pass, since a disabled
                               rule delivers no events:
          aws events enable-rule --name dev-Tags --region eu-west-1
          npx ecs-discovery apply dev --function EcsDiscovery-dev-Handler

        unknown  Concurrency   The reserved concurrency could not be read:
                               AccessDeniedException: User: ops is not authorized to
                               perform: lambda:GetFunctionConcurrency.
                               Allow this call to your credentials. docs/cli.md lists
                               all permissions that doctor needs.

        warning  Dead letters  2 events could not be handled and are in the
                               dead-letter queue.
                               Repair the cause: RUNBOOK.md, Dead letters. Then let
                               the handler receive them again:
          npx ecs-discovery redrive dev --function EcsDiscovery-dev-Handler

        ok       Function      The function EcsDiscovery-dev-Handler is active, and
                               was last changed at 2026-11-20 10:00 UTC.
        ok       Mappings      The function receives the messages of both queues.
        ok       Queues        No message waits in the queues.
        ok       Full pass     The last full pass finished 4 minutes ago with 212
                               services.
        ok       Zones         The zone is private, and has its name and its VPCs.
        ok       Negative TTL  Resolvers remember for at most 5 seconds that a name
                               does not exist.
        ok       Zone records  The zone dev.internal has 6 of 10,000 record sets.
        ok       Handler       The handler read 2 services in a dry run of a full
                               pass.
                               1 of them needs attention:
          npx ecs-discovery status dev --function EcsDiscovery-dev-Handler
      "
    `);
    expect(status).toBe(1);
  });

  test('warnings keep the exit status 0', async () => {
    messages({ Events: [101, 0] });
    const { status, stdout } = await doctor();
    expect(stdout.split('\n')[0]).toBe('dev: 1 warning');
    expect(status).toBe(0);
  });

  test('an unknown result has the exit status 1', async () => {
    aws.DescribeTrails = () => denied('cloudtrail:DescribeTrails');
    const { status, stdout } = await doctor();
    expect(stdout.split('\n')[0]).toBe('dev: 1 check unknown');
    expect(status).toBe(1);
  });

  test('shows the first problems of each kind, and all of them with --all', async () => {
    const many = Array.from({ length: 12 }, (_, at): Zone => [`z${at}.internal`, 'vpc-1', `Z${at}`]);
    aws.GetFunctionConfiguration = () => configuration({}, {}, many);
    zones(
      Object.fromEntries(many.map(([name, , id]) => [id, { name, soa: [900, `${SOA} 86400`] as [number, string] }])),
    );
    const { stdout } = await doctor();
    expect(stdout.match(/resolvers remember/g)?.length).toBe(5);
    expect(stdout).toContain('\n  … and 7 more of Negative TTL; add --all to see them\n');
    expect((await doctor(' --all')).stdout.match(/resolvers remember/g)?.length).toBe(12);
  });

  test('breaks long commands so that a shell still takes them', async () => {
    const long = 'EcsDiscovery-production-DiscoveryTriggersDeployments0A1B2C3D-E4';
    rules({
      'dev-Deployments': undefined,
      [long]: { ...RULES['dev-Deployments'], State: 'DISABLED' },
    });
    const { stdout } = await doctor(' --region eu-west-1');
    expect(stdout).toContain(`    aws events enable-rule \\\n        --name ${long} \\\n        --region eu-west-1\n`);
  });

  test('gives commands the credentials of the person', () => {
    const discovery = new Discovery('dev', { profile: "ops' team", region: 'eu-west-1' });
    expect(discovery.aws('events list-rules')).toBe(
      "aws events list-rules --region eu-west-1 --profile 'ops'\\'' team'",
    );
    expect(discovery.aws('events list-rules', 'us-east-1')).toContain(' --region us-east-1 ');
    expect(discovery.deploy()).toBe("npx cdk deploy EcsDiscovery-dev --revert-drift --profile 'ops'\\'' team'");
  });

  test('shows on a terminal that the reads go on', async () => {
    let notes = '';
    const status = await main(['doctor', 'dev', '--function', NAME], {
      write: () => undefined,
      note: (text) => void (notes += text),
      width: 80,
      colors: false,
      progress: true,
      confirm: () => Promise.resolve(false),
      sleep: () => Promise.resolve(),
    });
    expect(status).toBe(0);
    expect(notes).toMatch(/^\r\u001b\[KChecking dev, 0 s …/);
    expect(notes).toMatch(/\r\u001b\[K$/);
  });

  test('removes characters that a terminal would obey', async () => {
    trails({ 'au\u001b[2Jdit': { status: { IsLogging: false } } });
    log([4, PASS], [3, { message: 'read failed', reason: 'de\u001b[31mnied' }]);
    aws.Invoke = () => answer({ readErrors: ['evil\u202etext'] });
    const { stdout } = await doctor();
    expect(stdout).toContain('au\ufffd[2Jdit');
    expect(stdout).toContain('de\ufffd[31mnied');
    expect(stdout).not.toMatch(/[\u001b\u202e]/);
  });
});

describe('the reads', () => {
  test('are reads only, and find everything from the function', async () => {
    let payload: unknown;
    aws.Invoke = (request) => {
      payload = input(request);
      return answer();
    };
    expect((await doctor()).status).toBe(0);
    expect(payload).toEqual({ reconcile: 'all', dryRun: true });
    expect([...called].sort()).toEqual([
      'DescribeRule',
      'DescribeTrails',
      'FilterLogEvents',
      'GetEventSelectors',
      'GetFunctionConcurrency',
      'GetFunctionConfiguration',
      'GetFunctionEventInvokeConfig',
      'GetHostedZone',
      'GetQueueAttributes',
      'GetQueueUrl',
      'GetTrailStatus',
      'Invoke',
      'ListEventSourceMappings',
      'ListResourceRecordSets',
      'ListRuleNamesByTarget',
    ]);
  });

  test.each([
    ['GetFunctionConcurrency', 'lambda', 'concurrency'],
    ['GetFunctionEventInvokeConfig', 'lambda', 'deadLetters'],
    ['ListEventSourceMappings', 'lambda', 'mappings'],
    ['Invoke', 'lambda', 'handler'],
    ['DescribeTrails', 'cloudtrail', 'trail'],
    ['GetTrailStatus', 'cloudtrail', 'trail'],
    ['GetEventSelectors', 'cloudtrail', 'trail'],
    ['ListRuleNamesByTarget', 'events', 'rules'],
    ['DescribeRule', 'events', 'rules'],
    ['GetQueueUrl', 'sqs', 'queues'],
    ['GetQueueAttributes', 'sqs', 'queues'],
    ['FilterLogEvents', 'logs', 'fullPass'],
    ['GetHostedZone', 'route53', 'zones'],
    ['ListResourceRecordSets', 'route53', 'negativeTtl'],
  ])('without the permission for %s, only its checks are unknown', async (call, service, id) => {
    aws[call] = () => denied(`${service}:${call}`);
    const found = await checks();
    expect(found.map((one) => one.result)).not.toContain('failed');
    const unknown = found.filter((one) => one.id === id);
    expect(unknown.length).toBeGreaterThan(0);
    expect(unknown[0]?.finding).toContain(`ops is not authorized to perform: ${service}:${call}`);
    expect(unknown[0]?.next).toMatch(/^Allow this call to your credentials\./);
  });

  test('without the configuration of the function, the checks that do not need it still show', async () => {
    aws.GetFunctionConfiguration = () => denied('lambda:GetFunctionConfiguration');
    const { status, stdout } = await doctor();
    expect(status).toBe(1);
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 4 checks unknown

        unknown  Function      The function could not be read: AccessDeniedException:
                               User: ops is not authorized to perform:
                               lambda:GetFunctionConfiguration.
                               Allow this call to your credentials. docs/cli.md lists
                               all permissions that doctor needs.

        unknown  Rules         The rules cannot be found without the configuration of
                               the function.
                               First repair the check of the function.

        unknown  Full pass     The log cannot be found without the configuration of
                               the function.
                               First repair the check of the function.

        unknown  Zones         The zones cannot be found without the configuration of
                               the function.
                               First repair the check of the function.

        ok       Concurrency   The function shares the concurrency of the account.
        ok       Trail         The trail audit records the calls of ECS and Elastic
                               Load Balancing.
        ok       Mappings      The function receives the messages of both queues.
        ok       Queues        No message waits in the queues.
        ok       Dead letters  The dead-letter queue is empty.
        ok       Handler       The handler read 1 service in a dry run of a full pass.
      "
    `);
  });

  test('without any permission, each check shows the missing one', async () => {
    for (const name of Object.keys(aws)) {
      aws[name] = () => denied(`aws:${name}`);
    }
    const { status, stdout } = await doctor();
    expect(status).toBe(1);
    expect(stdout.split('\n')[0]).toMatch(/^dev: \d+ checks unknown$/);
    expect(stdout).toContain('aws:DescribeTrails.\n');
  });

  test('without valid credentials, one message says so', async () => {
    const expired = error('ExpiredTokenException', 'The security token included in the request is expired', 403);
    for (const name of Object.keys(aws)) aws[name] = () => expired;
    const { status, stdout, stderr } = await doctor();
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain('AWS did not accept the credentials');
  });

  test('says that AWS throttled a read', async () => {
    vi.stubEnv('AWS_MAX_ATTEMPTS', '1');
    aws.DescribeTrails = () => error('ThrottlingException', 'Rate exceeded');
    const [found] = await checks('trail');
    expect(found).toMatchObject({
      result: 'unknown',
      finding: 'The trails could not be read: ThrottlingException: Rate exceeded',
      next: 'AWS throttled it. Try again in a minute.',
    });
  });

  test('refuses the function of something else', async () => {
    aws.GetFunctionConfiguration = () => json(CONFIGURATION);
    const { status, stdout, stderr } = await doctor();
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain("is not one of this project's");
  });
});

test('prints all checks for programs', async () => {
  rules({ 'dev-Tags': { State: 'DISABLED' } });
  const { status, stdout } = await doctor(' --json');
  expect(status).toBe(1);
  const { checks, ...document } = JSON.parse(stdout) as { checks: Shown[] };
  expect(document).toEqual({ environment: 'dev', function: NAME, result: 'failed' });
  expect(checks.map(({ id, result }) => `${id} ${result}`)).toEqual([
    'function ok',
    'concurrency ok',
    'trail ok',
    'rules failed',
    'mappings ok',
    'queues ok',
    'deadLetters ok',
    'fullPass ok',
    'zones ok',
    'negativeTtl ok',
    'zoneRecords ok',
    'handler ok',
  ]);
  expect(checks[3]).toMatchInlineSnapshot(`
    {
      "commands": [
        "aws events enable-rule --name dev-Tags --region eu-west-1",
        "npx ecs-discovery apply dev --function EcsDiscovery-dev-Handler",
      ],
      "finding": "The rule for changed discovery tags is disabled: tags that the Tag Editor or an unrecorded call changes take effect only with a full pass.",
      "id": "rules",
      "next": "Enable it, and then run a full pass, since a disabled rule delivers no events:",
      "result": "failed",
      "subject": "dev-Tags",
    }
  `);
});

describe('the function', () => {
  test.each([
    [{ State: 'Pending' }, 'warning'],
    [{ State: 'Inactive' }, 'warning'],
    [{ State: 'Failed', StateReason: 'no role' }, 'failed'],
    [{ LastUpdateStatus: 'InProgress' }, 'warning'],
    [{ LastUpdateStatus: 'Failed', LastUpdateStatusReason: 'no image' }, 'failed'],
  ])('with %o is reported as %s', async (more, result) => {
    aws.GetFunctionConfiguration = () => configuration(more);
    expect(await only('function')).toMatch(new RegExp(`^${result}: `));
  });

  test('fails with the reason of Lambda', async () => {
    aws.GetFunctionConfiguration = () => configuration({ State: 'Failed', StateReason: 'the role is missing' });
    expect(await only('function')).toBe(`failed: The function ${NAME} has the state Failed: the role is missing`);
  });

  test('fails if it does not exist, and leaves out its parts', async () => {
    const missing = error('ResourceNotFoundException', 'Function not found', 404);
    aws.GetFunctionConfiguration = () => missing;
    aws.GetFunctionConcurrency = () => missing;
    aws.GetFunctionEventInvokeConfig = () => missing;
    aws.ListEventSourceMappings = () => mappings();
    aws.Invoke = () => missing;
    const { status, stdout } = await doctor();
    expect(status).toBe(1);
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 1 check failed

        failed   Function  The function EcsDiscovery-dev-Handler does not exist.
                           Deploy its stack again with the option --revert-drift of
                           \`cdk deploy\`.

        ok       Trail     The trail audit records the calls of ECS and Elastic Load
                           Balancing.
      "
    `);
  });

  test('fails if its reserved concurrency is 0', async () => {
    aws.GetFunctionConcurrency = () => json({ ReservedConcurrentExecutions: 0 });
    const [found] = await checks('concurrency');
    expect(found).toMatchObject({
      result: 'failed',
      commands: [`aws lambda delete-function-concurrency --function-name ${NAME} --region eu-west-1`],
    });
    aws.GetFunctionConcurrency = () => json({ ReservedConcurrentExecutions: 5 });
    expect(await only('concurrency')).toBe('ok: 5 executions may run at once.');
  });
});

const advanced = (...fields: object[]) => ({
  AdvancedEventSelectors: [{ FieldSelectors: [{ Field: 'eventCategory', Equals: ['Management'] }, ...fields] }],
});

describe('the trail', () => {
  test.each([
    ['write events', { EventSelectors: [WRITES] }],
    ['all events', { EventSelectors: [{ ReadWriteType: 'All', IncludeManagementEvents: true }] }],
    [
      'all events without those of KMS',
      { EventSelectors: [{ ...WRITES, ExcludeManagementEventSources: ['kms.amazonaws.com'] }] },
    ],
    [
      'reads, and in a second selector writes',
      { EventSelectors: [{ ReadWriteType: 'ReadOnly', IncludeManagementEvents: true }, WRITES] },
    ],
    ['management events by an advanced selector', advanced()],
    ['writes by an advanced selector', advanced({ Field: 'readOnly', Equals: ['false'] })],
    [
      'all sources except for others',
      advanced({ Field: 'eventSource', NotEquals: ['kms.amazonaws.com', 'rdsdata.amazonaws.com'] }),
    ],
    [
      'sources that begin like its own',
      advanced({ Field: 'eventSource', StartsWith: ['ecs.', 'elasticloadbalancing.'] }),
    ],
  ])('works with %s', async (_, selectors) => {
    trails({ audit: { selectors } });
    expect(await only('trail')).toBe('ok: The trail audit records the calls of ECS and Elastic Load Balancing.');
  });

  test.each([
    [
      'reads only',
      { EventSelectors: [{ ReadWriteType: 'ReadOnly', IncludeManagementEvents: true }] },
      'ECS and Elastic Load Balancing',
    ],
    [
      'data events only',
      { EventSelectors: [{ ReadWriteType: 'All', IncludeManagementEvents: false }] },
      'ECS and Elastic Load Balancing',
    ],
    [
      'reads by an advanced selector',
      advanced({ Field: 'readOnly', Equals: ['true'] }),
      'ECS and Elastic Load Balancing',
    ],
    ['no calls of ECS', advanced({ Field: 'eventSource', NotEquals: ['ecs.amazonaws.com'] }), 'ECS'],
    [
      'no calls of Elastic Load Balancing',
      advanced({ Field: 'eventSource', NotStartsWith: ['elastic'] }),
      'Elastic Load Balancing',
    ],
    [
      'no calls of AWS at all',
      advanced({ Field: 'eventSource', NotEndsWith: ['.amazonaws.com'] }),
      'ECS and Elastic Load Balancing',
    ],
    ['one source only', advanced({ Field: 'eventSource', Equals: ['ecs.amazonaws.com'] }), 'Elastic Load Balancing'],
    ['some calls only', advanced({ Field: 'eventName', Equals: ['CreateService'] }), 'ECS and Elastic Load Balancing'],
    [
      'data events by an advanced selector',
      { AdvancedEventSelectors: [{ FieldSelectors: [{ Field: 'eventCategory', Equals: ['Data'] }] }] },
      'ECS and Elastic Load Balancing',
    ],
  ])('fails with %s', async (_, selectors, apis) => {
    trails({ audit: { selectors } });
    expect(await only('trail')).toContain(
      `failed: No trail in eu-west-1 records the calls of ${apis}: audit does not record all write management events of ${apis}. `,
    );
  });

  test('fails without a trail', async () => {
    trails({});
    const [found] = await checks('trail');
    expect(found?.finding).toMatch(/^There is no trail in eu-west-1, so nothing records the calls of ECS and Elastic/);
    expect(found?.next).toContain('set the option trail to create');
  });

  test('does not count a trail of another region', async () => {
    trails({ audit: { trail: { HomeRegion: 'us-east-1' } } });
    expect(await only('trail')).toMatch(/^failed: There is no trail in eu-west-1/);
    trails({ audit: { trail: { HomeRegion: 'us-east-1', IsMultiRegionTrail: true } } });
    expect(await only('trail')).toMatch(/^ok: /);
  });

  test('counts two trails that record one API each', async () => {
    const without = (source: string) => advanced({ Field: 'eventSource', NotEquals: [`${source}.amazonaws.com`] });
    trails({ one: { selectors: without('ecs') }, other: { selectors: without('elasticloadbalancing') } });
    expect(await only('trail')).toBe('ok: The trails one, other record the calls of ECS and Elastic Load Balancing.');
  });

  test('fails if it is stopped, and its own region can start it', async () => {
    trails({ audit: { trail: { HomeRegion: 'us-east-1', IsMultiRegionTrail: true }, status: { IsLogging: false } } });
    const [found] = await checks('trail');
    expect(found?.finding).toContain(': audit is stopped. ');
    expect(found?.commands).toEqual([
      `aws cloudtrail start-logging --name ${TRAIL_ARN}audit --region us-east-1`,
      `npx ecs-discovery apply dev --function ${NAME}`,
    ]);
  });

  test('warns if it cannot write its log files, unless another trail can', async () => {
    const broken = { status: { IsLogging: true, LatestDeliveryError: 'AccessDenied' } };
    trails({ audit: broken });
    expect(await only('trail')).toBe(
      'warning: The trail audit records the calls, and EventBridge receives them, but the last delivery of log files to S3 failed: AccessDenied',
    );
    trails({ audit: broken, second: {} });
    expect(await only('trail')).toMatch(/^ok: The trail second records/);
  });

  const hidden = error('TrailNotFoundException', 'Unknown trail');
  const organization = { IsOrganizationTrail: true, IsMultiRegionTrail: true, HomeRegion: 'us-east-1' };

  test('is unknown if the settings of the organization are hidden', async () => {
    trails({ org: { trail: { ...organization, HasCustomEventSelectors: true }, selectors: hidden } });
    const [found] = await checks('trail');
    expect(found).toMatchObject({
      result: 'unknown',
      finding:
        'The trail org may record the calls of ECS and Elastic Load Balancing, but could not be read: TrailNotFoundException: Unknown trail',
      commands: [`aws cloudtrail get-event-selectors --trail-name ${TRAIL_ARN}org --region us-east-1`],
    });
  });

  test('of an organization records everything unless somebody changed its settings', async () => {
    trails({ org: { trail: { ...organization, HasCustomEventSelectors: false }, selectors: hidden } });
    expect(await only('trail')).toMatch(/^ok: The trail org records/);
  });

  test('that cannot be read does not hide that another API is certainly not recorded', async () => {
    const selectors = advanced({ Field: 'eventSource', NotEquals: ['ecs.amazonaws.com'] });
    trails({ audit: { selectors, status: denied('cloudtrail:GetTrailStatus') } });
    expect(await only('trail')).toMatch(/^failed: .* audit does not record all write management events of ECS\./);
  });
});

describe('the rules', () => {
  test.each([
    ['dev-ApiCalls', 'calls of ECS'],
    ['dev-Deployments', 'deployment events of ECS'],
    ['dev-Tags', 'changed discovery tags'],
    ['dev-LoadBalancers', 'calls of Elastic Load Balancing'],
    ['dev-FullPass', 'the schedule of full passes'],
  ])('fail if %s is disabled or missing', async (name, what) => {
    rules({ [name]: { ...RULES[name], State: 'DISABLED' } });
    expect(await checks('rules')).toMatchObject([
      {
        result: 'failed',
        subject: name,
        commands: [
          `aws events enable-rule --name ${name} --region eu-west-1`,
          `npx ecs-discovery apply dev --function ${NAME}`,
        ],
      },
    ]);
    expect(await only('rules')).toMatch(new RegExp(`^failed: The rule for ${what} is disabled: `));
    rules({ [name]: undefined });
    expect(await only('rules')).toMatch(new RegExp(`^failed: There is no rule for ${what}: `));
  });

  test('of others do not matter', async () => {
    rules({
      other: { State: 'DISABLED', EventPattern: pattern('aws.s3', 'Object Created') },
      odd: { State: 'DISABLED', EventPattern: 'no JSON' },
      odder: { State: 'DISABLED', EventPattern: '{"source":"aws.ecs"}' },
      second: { State: 'DISABLED', ...RULES['dev-Tags'] },
    });
    expect(await only('rules')).toBe('ok: All 5 rules are enabled.');
  });

  test('that also deliver read-only calls are enabled', async () => {
    rules({ 'dev-ApiCalls': { ...RULES['dev-ApiCalls'], State: 'ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS' } });
    expect(await only('rules')).toMatch(/^ok/);
  });

  test('that cannot be read are not missing', async () => {
    const describe = aws.DescribeRule;
    aws.DescribeRule = (request) =>
      input(request).Name === 'dev-Tags' ? denied('events:DescribeRule') : (describe?.(request) ?? json({}));
    expect(await only('rules')).toMatch(/^unknown: Some of the rules could not be read: AccessDeniedException/);
  });

  test('are not missing if a queue to which they may lead has no mapping', async () => {
    aws.ListEventSourceMappings = () => mappings(EVENTS);
    expect(await only('rules')).toBe(
      'unknown: The rule for calls of Elastic Load Balancing was not found, but it may lead to a queue without a mapping.',
    );
  });

  test('of a stack are deployed again with its drift', async () => {
    aws['POST /'] = () =>
      xml(
        'DescribeStacksResponse',
        '<DescribeStacksResult><Stacks><member><StackName>EcsDiscovery-dev</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime>' +
          '<StackStatus>CREATE_COMPLETE</StackStatus><Outputs><member><OutputKey>FunctionName</OutputKey>' +
          `<OutputValue>${NAME}</OutputValue></member></Outputs></member></Stacks></DescribeStacksResult>`,
      );
    rules({ 'dev-Tags': undefined });
    const { stdout } = await run('doctor dev');
    expect(stdout).toContain('\n    npx cdk deploy EcsDiscovery-dev --revert-drift\n');
  });
});

describe('the mappings', () => {
  test('fail if one is disabled, with the command that enables it', async () => {
    aws.ListEventSourceMappings = () => mappings({ ...EVENTS, State: 'Disabled' }, CALLS);
    expect(await checks('mappings')).toMatchObject([
      {
        result: 'failed',
        subject: 'dev-Events',
        commands: ['aws lambda update-event-source-mapping --uuid uuid-1 --enabled --region eu-west-1'],
      },
    ]);
  });

  test('warn if one is about to be enabled', async () => {
    aws.ListEventSourceMappings = () => mappings(EVENTS, { ...CALLS, State: 'Enabling' });
    expect(await only('mappings')).toBe(
      "warning: The function's mapping of the queue of load balancer calls has the state Enabling.",
    );
  });

  test('fail if one is missing', async () => {
    aws.ListEventSourceMappings = () => mappings(EVENTS);
    expect(await only('mappings')).toMatch(/^failed: The function receives no messages of the queue of load balancer/);
  });
});

describe('the queues', () => {
  test('may have some messages', async () => {
    messages({ Events: [90, 10] });
    expect(await only('queues')).toBe('ok: 100 messages wait in the queues.');
  });

  test('warn about a backlog', async () => {
    messages({ Calls: [1_200, 34] });
    expect(await only('queues')).toBe('warning: The queue dev-Calls has 1,234 messages, 34 of them in progress.');
  });

  test('fail if one does not exist', async () => {
    aws.GetQueueUrl = (request) =>
      input(request).QueueName === 'dev-Events'
        ? error('com.amazonaws.sqs#QueueDoesNotExist', 'The specified queue does not exist.')
        : json({ QueueUrl: 'http://sqs/dev-Calls' });
    expect(await only('queues')).toBe('failed: The queue dev-Events does not exist.');
  });

  test('warn about dead letters, which redrive handles', async () => {
    messages({ Failures: [1, 0] });
    expect(await checks('deadLetters')).toMatchObject([
      {
        result: 'warning',
        finding: '1 event could not be handled and is in the dead-letter queue.',
        commands: [`npx ecs-discovery redrive dev --function ${NAME}`],
      },
    ]);
  });

  test('warn if there is no dead-letter queue', async () => {
    aws.GetFunctionEventInvokeConfig = () => error('ResourceNotFoundException', 'no configuration', 404);
    expect(await only('deadLetters')).toMatch(/^warning: The function has no dead-letter queue/);
    aws.GetFunctionEventInvokeConfig = () => json({});
    expect(await only('deadLetters')).toMatch(/^warning: The function has no dead-letter queue/);
  });
});

describe('the last full pass', () => {
  test('fails if none finished in three intervals of the schedule', async () => {
    log([46, PASS]);
    expect(await only('fullPass')).toBe('failed: No full pass finished in the last 45 minutes.');
    rules({ 'dev-FullPass': { ScheduleExpression: 'rate(1 hour)' } });
    expect(await only('fullPass')).toBe('ok: The last full pass finished 46 minutes ago with 212 services.');
    log([150, PASS]);
    expect(await only('fullPass')).toBe('ok: The last full pass finished 2 hours ago with 212 services.');
  });

  test('has at least 15 minutes, as in the alarm', async () => {
    rules({ 'dev-FullPass': { ScheduleExpression: 'rate(1 minute)' } });
    log([14, PASS]);
    expect(await only('fullPass')).toMatch(/^ok/);
    log([16, PASS]);
    expect(await only('fullPass')).toBe('failed: No full pass finished in the last 15 minutes.');
  });

  test('assumes 15 minutes if the schedule is unknown', async () => {
    rules({ 'dev-FullPass': { ScheduleExpression: 'cron(0 * * * ? *)' } });
    log();
    expect(await only('fullPass')).toBe(
      'failed: No full pass finished in the last 45 minutes. The interval of the schedule is unknown; 15 minutes are assumed.',
    );
  });

  test('may just have finished', async () => {
    log([0, { ...PASS, services: 1 }]);
    expect(await only('fullPass')).toBe('ok: The last full pass finished less than a minute ago with 1 service.');
  });

  test('is neither a dry run nor a run for one service', async () => {
    log([1, { ...PASS, dry_run: true }], [2, { ...PASS, scope: 'service' }], [20, PASS]);
    expect(await only('fullPass')).toBe('ok: The last full pass finished 20 minutes ago with 212 services.');
  });

  test('is a dry run if the mode is observe', async () => {
    aws.GetFunctionConfiguration = () => configuration({}, { mode: 'observe' });
    log([3, { ...PASS, dry_run: true }]);
    expect(await only('fullPass')).toBe(
      'ok: The last full pass finished 3 minutes ago with 212 services, and wrote nothing, because the mode is observe.',
    );
  });

  test('warns if it was not complete', async () => {
    // The handler logs the errors of a run before its end.
    log(
      [5, { message: 'read failed', reason: 'ecs:ListServices: denied', ...request('a') }],
      [5, { ...PASS, ...request('a') }],
      [5, { message: 'invocation failed', error: 'a list could not be read', ...request('a') }],
    );
    expect(await only('fullPass')).toBe(
      'warning: The last full pass finished 5 minutes ago with 212 services. It was not complete (and 1 other error): ' +
        'invocation failed: a list could not be read',
    );
  });

  test('warns if a later run failed', async () => {
    log([5, PASS], [3, { message: 'run of the batch failed', error: '1 of 2 services failed' }]);
    expect(await only('fullPass')).toBe(
      'warning: The last full pass finished 5 minutes ago with 212 services. A later run failed: ' +
        'run of the batch failed: 1 of 2 services failed',
    );
    log([5, PASS], [3, { message: 'zone full', hosted_zone: 'Z1', reason: 'LimitsExceeded' }]);
    expect(await only('fullPass')).toMatch(/A later run failed: zone full: Z1: LimitsExceeded$/);
  });

  test('makes earlier errors unimportant, and those of dry runs', async () => {
    log(
      [9, { message: 'read failed', reason: 'earlier', ...request('a') }],
      [5, { ...PASS, ...request('b') }],
      [2, { message: 'read failed', reason: 'of a dry run', ...request('c') }],
      [2, { ...PASS, dry_run: true, ...request('c') }],
    );
    expect(await only('fullPass')).toMatch(/^ok/);
  });

  test('is searched from the end of the log', async () => {
    const times: number[] = [];
    const find = aws.FilterLogEvents;
    aws.FilterLogEvents = (request) => {
      times.push(input(request).startTime as number);
      return find?.(request) ?? json({});
    };
    await doctor();
    expect(times.length).toBe(1);
    expect(Date.now() - (times[0] ?? 0)).toBeLessThan(16 * 60_000);
  });

  test('reads all pages of the log', async () => {
    const [first] = [json({ events: [], nextToken: 'more' })];
    const find = aws.FilterLogEvents;
    aws.FilterLogEvents = (request) => (input(request).nextToken === undefined ? first : (find?.(request) ?? json({})));
    expect(await only('fullPass')).toMatch(/^ok/);
  });

  test('is unknown without a log group', async () => {
    aws.FilterLogEvents = () => error('ResourceNotFoundException', 'The specified log group does not exist.');
    expect(await only('fullPass')).toBe(
      'unknown: The log group dev-logs could not be read: ResourceNotFoundException: The specified log group does not exist.',
    );
  });
});

describe('the zones', () => {
  test('fail if one does not exist, and say so once', async () => {
    zones({});
    expect(await checks()).toMatchObject([
      { id: 'zones', finding: 'The zone Z1 (dev.internal) does not exist, so none of its names resolves.' },
    ]);
  });

  test('fail if one is public or has another name', async () => {
    zones({ Z1: { name: 'prod.internal', isPrivate: false } });
    expect((await checks('zones')).map(({ finding }) => finding)).toEqual([
      'The zone Z1 (dev.internal) is public, so everybody can read its names.',
      'The zone Z1 (dev.internal) has the name prod.internal.',
    ]);
  });

  test('fail if a VPC is not associated, with the command that does it', async () => {
    aws.GetFunctionConfiguration = () =>
      configuration({}, {}, [
        ['dev.internal', 'vpc-1', 'Z1'],
        ['dev.internal', 'vpc-2', 'Z1'],
      ]);
    expect(await checks('zones')).toMatchObject([
      {
        finding: 'The zone Z1 (dev.internal) is not associated with vpc-2, so nobody there can resolve its names.',
        commands: [
          "aws route53 associate-vpc-with-hosted-zone --hosted-zone-id Z1 --vpc 'VPCRegion=eu-west-1,VPCId=vpc-2' --region eu-west-1",
        ],
      },
    ]);
  });

  test('warn about a long negative TTL with the command of the handler', async () => {
    zones({ Z1: { soa: [900, `${SOA} 86400`] } });
    aws.Invoke = () => answer({}, { longNegativeTtls: [{ zone: 'Z1', seconds: 900, command: 'aws route53 …' }] });
    expect(await checks('negativeTtl')).toMatchObject([
      {
        result: 'warning',
        finding: 'In the zone Z1 (dev.internal), resolvers remember for 900 seconds that a name does not exist.',
        next: 'To shorten that:',
        commands: ['aws route53 …'],
      },
    ]);
    aws.Invoke = () => denied('lambda:InvokeFunction');
    expect(await checks('negativeTtl')).toMatchObject([
      { commands: [`npx ecs-discovery status dev --function ${NAME}`] },
    ]);
  });

  test.each([
    [60, 86_400, 'ok'],
    [900, 60, 'ok'],
    [61, 86_400, 'warning'],
    [900, 61, 'warning'],
  ])('with the TTL %i and the last value %i of the SOA record are %s', async (ttl, last, result) => {
    zones({ Z1: { soa: [ttl, `${SOA} ${last}`] } });
    expect(await only('negativeTtl')).toMatch(new RegExp(`^${result}: `));
  });

  test('warn from 80 percent of the quota', async () => {
    aws.GetHostedZoneLimit = () =>
      xml(
        'GetHostedZoneLimitResponse',
        '<Limit><Type>MAX_RRSETS_BY_ZONE</Type><Value>20000</Value></Limit><Count>8000</Count>',
      );
    zones({ Z1: { count: 7_999 } });
    expect(await only('zoneRecords')).toBe('ok: The zone dev.internal has 7,999 of 10,000 record sets.');
    zones({ Z1: { count: 15_999 } });
    expect(await only('zoneRecords')).toBe('ok: The zone dev.internal has 15,999 of 20,000 record sets.');
    zones({ Z1: { count: 16_000 } });
    expect(await only('zoneRecords')).toBe(
      'warning: The zone Z1 is almost full: dev.internal has 16,000 of 20,000 record sets.',
    );
  });

  test('have the default quota if it cannot be read', async () => {
    aws.GetHostedZoneLimit = () => denied('route53:GetHostedZoneLimit');
    zones({ Z1: { count: 8_000 } });
    expect(await only('zoneRecords')).toBe(
      'warning: The zone Z1 is almost full: dev.internal has 8,000 of 10,000 record sets.',
    );
  });
});

describe('the handler', () => {
  test('fails if it could not read everything, with the permission that is missing', async () => {
    aws.Invoke = () =>
      answer({
        readErrors: [
          'ecs:ListServices for dev failed: AccessDeniedException: User: role is not authorized to perform: ecs:ListServices',
          'ecs:ListClusters failed: timeout',
        ],
      });
    expect((await checks('handler')).map(({ result, next }) => [result, next])).toEqual([
      [
        'failed',
        'The role of the function lacks ecs:ListServices. Look for a permissions boundary or a service control policy that removes it.',
      ],
      ['failed', 'RUNBOOK.md lists causes in the section Handler fails.'],
    ]);
  });

  test('warns about unreadable markers and full zones', async () => {
    aws.Invoke = () =>
      answer(
        {},
        {
          unreadableMarkers: [{ name: 'shop.dev.internal.', zone: 'Z1', reason: 'no version' }],
          fullZones: [{ zone: 'Z1', reason: 'LimitsExceeded' }],
        },
      );
    expect((await checks('handler')).map(({ result, finding }) => `${result}: ${finding}`)).toEqual([
      'warning: The marker of shop.dev.internal cannot be read, so its record stays: no version',
      'warning: The zone Z1 has no room for another name: LimitsExceeded',
    ]);
  });

  test('notes the mode observe', async () => {
    aws.Invoke = () => answer({ observed: true });
    expect(await only('handler')).toBe(
      'ok: The handler read 0 services in a dry run of a full pass. The mode of this environment is observe, so the handler writes nothing.',
    );
  });

  test('only counts services that need attention', async () => {
    aws.Invoke = () =>
      answer({ outcomes: [outcome('a', 'conflict'), outcome('b', 'waiting'), outcome('c', 'unchanged')] });
    expect(await checks('handler')).toMatchObject([
      {
        result: 'ok',
        next: '2 of them need attention:',
        commands: [`npx ecs-discovery status dev --function ${NAME}`],
      },
    ]);
  });

  test('fails if the invocation fails', async () => {
    aws.Invoke = () => ({
      headers: { 'x-amz-function-error': 'Unhandled' },
      body: JSON.stringify({ errorType: 'Runtime.ExitError', errorMessage: 'RequestId: 1 Error: exit status 1' }),
    });
    expect(await only('handler')).toBe('failed: A dry run of a full pass failed: RequestId: 1 Error: exit status 1');
  });

  test('fails if it is another version, with the next step', async () => {
    aws.Invoke = () => json({ sweep: {} });
    const [found] = await checks('handler');
    expect(found?.finding).toContain('is not one of this version of the handler');
    expect(found?.next).toMatch(/^Deploy the environment with the same version/);
  });

  test('is unknown if Lambda throttles it', async () => {
    vi.stubEnv('AWS_MAX_ATTEMPTS', '1');
    aws.Invoke = () => error('TooManyRequestsException', 'Rate Exceeded', 429);
    expect(await only('handler')).toBe(
      'unknown: The handler could not be invoked: TooManyRequestsException: Rate Exceeded',
    );
  });
});

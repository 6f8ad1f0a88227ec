/** Tests of `history`, against a CloudWatch Logs Insights of this process. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type AwsReply, type AwsRequest, FUNCTION, describeFunction, run, serveAws } from './terminal.js';

interface Line {
  /** For example `2026-11-26 10:02:13.123`. */
  at: string;
  message: string;
}

/** The lines of the log. */
let log: Line[];
/** The requests to CloudWatch. */
let calls: { action: string; request: Record<string, unknown> }[];
/** The states of a query, one for each request. After them it is complete. */
let progress: string[];
let group: { logGroupName: string; creationTime?: number; retentionInDays?: number } | undefined;
/** The errors of actions. */
let errors: Record<string, { name: string; message: string }>;
/** Called before the results of a query. */
let onResults: () => void;
let lambda: typeof FUNCTION;
/** Whether the queries filter lines. */
let doesFilter: boolean;

const json = (body: object): AwsReply => ({ body: JSON.stringify(body) });
const of = (action: string) => calls.filter((call) => call.action === action).map(({ request }) => request);

/** Runs a query as CloudWatch does: this tool uses only filters with regular expressions. */
function answer({ queryString = '', startTime, endTime }: Record<string, string | number>): object[] {
  const [fields, ...stages] = String(queryString).split(' | ');
  expect([fields, ...stages.slice(-2)]).toEqual(['fields @timestamp, @message', 'sort @timestamp desc', 'limit 10000']);
  const filters = stages.slice(0, -2).map((stage) => {
    const pattern = /^filter @message like \/((?:\\.|[^/])*)\/$/.exec(stage)?.[1];
    expect(pattern, stage).toBeDefined();
    return new RegExp(pattern ?? '');
  });
  const found = log.filter(({ at, message }) => {
    const seconds = Date.parse(`${at.replace(' ', 'T')}Z`) / 1000;
    const isIn = seconds >= Number(startTime) && seconds <= Number(endTime);
    return isIn && (!doesFilter || filters.every((filter) => filter.test(message)));
  });
  found.sort((one, other) => (one.at < other.at ? 1 : -1));
  return found.slice(0, 10_000).map(({ at, message }) => [
    { field: '@timestamp', value: at },
    { field: '@message', value: message },
    { field: '@ptr', value: 'x' },
  ]);
}

let queries: Map<string, object[]>;

serveAws((request: AwsRequest): AwsReply => {
  const described = describeFunction(request, lambda);
  if (described !== undefined) return described;
  const action = request.target.replace('Logs_20140328.', '');
  const body = JSON.parse(request.body) as Record<string, string | number>;
  calls.push({ action, request: body });
  const error = errors[action];
  if (error !== undefined) {
    return { status: 400, body: JSON.stringify({ __type: error.name, message: error.message }) };
  }
  switch (action) {
    case 'DescribeLogGroups': {
      const other = { logGroupName: '/logs/discovery-other', retentionInDays: 1 };
      return json({ logGroups: [other, ...(group === undefined ? [] : [group])] });
    }
    case 'StartQuery': {
      const queryId = `q${queries.size + 1}`;
      queries.set(queryId, answer(body));
      return json({ queryId });
    }
    case 'GetQueryResults': {
      onResults();
      const status = progress.shift() ?? 'Complete';
      if (status !== 'Complete') return json({ status, results: [] });
      // The rows come in two pages.
      const all = queries.get(String(body.queryId)) ?? [];
      if (all.length < 2) return json({ status, results: all });
      return body.nextToken === undefined
        ? json({ status, results: all.slice(0, 1), nextToken: 't' })
        : json({ status, results: all.slice(1) });
    }
    case 'StopQuery':
      return json({ success: true });
    default:
      throw new Error(action);
  }
});

const ARN = 'arn:aws:ecs:eu-west-1:111122223333:service/';
const target = (name: string) => `internal-${name}-1234567890.eu-west-1.elb.amazonaws.com`;

/** A line of the handler's log. */
function line(at: string, service: string, outcome: string, name: string | undefined, more: object = {}): Line {
  const leads = ['registered', 'updated', 'adopted'].includes(outcome);
  const fields = {
    timestamp: at,
    level: 'INFO',
    message: 'outcome',
    environment: 'dev',
    dry_run: false,
    ecs_service: `${ARN}${service}`,
    dns_name: name,
    hosted_zone: name === undefined ? undefined : 'Z1',
    target: leads ? target(service.split('/')[1] ?? '') : undefined,
    outcome,
    request_id: 'r-1',
    ...more,
  };
  return { at: `2026-11-${at}:00.123`, message: JSON.stringify(fields) };
}

beforeEach(() => {
  // Only the date, since the HTTP server and the SDK need timers.
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-26T14:05:30Z') });
  log = [];
  calls = [];
  progress = [];
  queries = new Map();
  group = { logGroupName: '/logs/discovery', creationTime: Date.UTC(2026, 0, 1), retentionInDays: 30 };
  errors = {};
  onResults = () => undefined;
  doesFilter = true;
  lambda = structuredClone(FUNCTION);
});

afterEach(() => {
  vi.useRealTimers();
});

const PLACE = '--function discovery --region eu-west-1';
const history = (line = '') => run(`history ${PLACE}${line}`);

const REGISTERED = line('26 10:02', 'shop/orders', 'registered', 'orders.dev.internal');

describe('the changes of a period', () => {
  test('are in a table, the newest last, with the number of problems', async () => {
    const reason = `the name is held by ${ARN}shop/orders`;
    log = [
      line('25 13:00', 'shop/early', 'registered', 'early.dev.internal'),
      line('25 15:00', 'shop/basket', 'deregistered', 'basket.dev.internal', { reason: 'ECS reports DRAINING' }),
      REGISTERED,
      line('26 10:03', 'shop/web', 'registered', 'web.dev.internal', { dry_run: true }),
      line('26 11:00', 'blue/orders', 'conflict', 'orders.dev.internal', { reason }),
      line('26 12:00', 'blue/orders', 'conflict', 'orders.dev.internal', { reason }),
      line('26 12:00', 'blue/api', 'failed', 'api.dev.internal', { reason: 'AccessDenied' }),
      line('26 12:00', 'blue/batch', 'ignored', undefined, { reason: 'the service has no load balancer of its own' }),
      { at: '2026-11-26 12:00:00.000', message: 'START RequestId: 1 "outcome":"registered" "dry_run":false' },
    ];
    const { status, stdout, stderr } = await history();
    expect(status).toBe(0);
    expect(stderr).toBe('');
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 2 changes since yesterday 14:05 UTC

        WHEN (UTC)        CHANGE        NAME                 SERVICE      LEADS TO
        2026-11-25 15:00  deregistered  basket.dev.internal  shop/basket
        2026-11-26 10:02  registered    orders.dev.internal  shop/orders  orders

      2 services had problems (1 conflict, 1 failed) in this period. To see those that
      are left:
        npx ecs-discovery status --function discovery --region eu-west-1
      "
    `);
    expect(of('StartQuery')).toMatchInlineSnapshot(`
      [
        {
          "endTime": 1795701930,
          "logGroupName": "/logs/discovery",
          "queryString": "fields @timestamp, @message | filter @message like /"dry_run":false/ | filter @message like /"outcome":"(registered|updated|adopted|deregistered)"/ | sort @timestamp desc | limit 10000",
          "startTime": 1795615530,
        },
        {
          "endTime": 1795701930,
          "logGroupName": "/logs/discovery",
          "queryString": "fields @timestamp, @message | filter @message like /"dry_run":false/ | filter @message like /"outcome":"(conflict|invalid|refused|rejected|failed)"/ | sort @timestamp desc | limit 10000",
          "startTime": 1795615530,
        },
      ]
    `);
  });

  test('are the same if an emulator of CloudWatch does not filter', async () => {
    log = [
      REGISTERED,
      line('26 11:00', 'blue/orders', 'conflict', 'orders.dev.internal'),
      line('26 12:00', 'blue/web', 'waiting', 'web.dev.internal', { dry_run: true }),
      { at: '2026-11-26 12:00:00.000', message: 'END RequestId: 1' },
    ];
    const [all, one] = [await history(), await history(' orders.dev.internal')];
    doesFilter = false;
    expect([await history(), await history(' orders.dev.internal')]).toEqual([all, one]);
  });

  test('an environment without changes has none', async () => {
    const { status, stdout } = await run(`history dev ${PLACE} --since 90m`);
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'dev: no change since today 12:35 UTC\n' });
  });

  test('the last ones are shown, and all with --all', async () => {
    log = Array.from({ length: 25 }, (_, at) =>
      line(`26 10:${String(at + 10)}`, `shop/s${at}`, 'registered', `s${at}.dev.internal`),
    );
    const { stdout } = await history(' --since 7d');
    expect(stdout).toMatch(
      /^dev: 25 changes since 2026-11-19 14:05 UTC\n\n {2}… and 5 earlier; add --all to see them\n/,
    );
    expect(stdout).not.toContain('s4.dev');
    expect(stdout.trimEnd()).toMatch(/s24\.dev\.internal +shop\/s24 +s24$/);
    expect((await history(' --since 7d --all')).stdout.match(/registered/g)).toHaveLength(25);
  });

  test('JSON and CSV have all fields, the oldest first', async () => {
    log = [line('26 11:00', 'shop/web', 'updated', 'web.dev.internal', { reason: 'the record was x' }), REGISTERED];
    const { stdout } = await history(' --json');
    expect(JSON.parse(stdout)).toMatchInlineSnapshot(`
      [
        {
          "arn": "arn:aws:ecs:eu-west-1:111122223333:service/shop/orders",
          "at": "2026-11-26T10:02:00Z",
          "change": "registered",
          "name": "orders.dev.internal",
          "reason": null,
          "requestId": "r-1",
          "service": "shop/orders",
          "target": "internal-orders-1234567890.eu-west-1.elb.amazonaws.com",
          "zone": "Z1",
        },
        {
          "arn": "arn:aws:ecs:eu-west-1:111122223333:service/shop/web",
          "at": "2026-11-26T11:00:00Z",
          "change": "updated",
          "name": "web.dev.internal",
          "reason": "the record was x",
          "requestId": "r-1",
          "service": "shop/web",
          "target": "internal-web-1234567890.eu-west-1.elb.amazonaws.com",
          "zone": "Z1",
        },
      ]
    `);
    expect((await history(' --output csv')).stdout).toMatchInlineSnapshot(`
      "at,change,name,zone,service,arn,target,reason,requestId
      2026-11-26T10:02:00Z,registered,orders.dev.internal,Z1,shop/orders,arn:aws:ecs:eu-west-1:111122223333:service/shop/orders,internal-orders-1234567890.eu-west-1.elb.amazonaws.com,,r-1
      2026-11-26T11:00:00Z,updated,web.dev.internal,Z1,shop/web,arn:aws:ecs:eu-west-1:111122223333:service/shop/web,internal-web-1234567890.eu-west-1.elb.amazonaws.com,the record was x,r-1
      "
    `);
  });

  test('a log without changes is explained', async () => {
    Object.assign(lambda.configuration.LoggingConfig, { ApplicationLogLevel: 'WARN' });
    lambda.configuration.Environment.Variables.DISCOVERY_CONFIG = '{"environment":"dev","mode":"observe","zones":[]}';
    expect((await history()).stderr).toMatchInlineSnapshot(`
      "The mode of this environment is observe, so the handler writes nothing.
      The log level of the function is WARN, so its log has no changes, but only
      conflicts and failures.
      "
    `);
    Object.assign(lambda.configuration.LoggingConfig, { ApplicationLogLevel: 'DEBUG' });
    lambda.configuration.Environment.Variables.DISCOVERY_CONFIG = '{"environment":"dev","mode":"sync","zones":[]}';
    expect((await history()).stderr).toBe('');
  });

  test('more lines than a query returns are mentioned', async () => {
    log = Array.from({ length: 10_001 }, () => REGISTERED);
    const { status, stdout, stderr } = await history(' --json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toHaveLength(10_000);
    expect(stderr).toMatchInlineSnapshot(`
      "CloudWatch returns at most 10,000 lines, so the oldest of this period may be
      missing. A shorter --since has all of its lines.
      "
    `);
  });

  test('hostile texts do not reach the terminal', async () => {
    log = [line('26 11:00', 'shop/\u001b[2J', 'registered', 'or\u202eders.dev.internal', { target: 'x\u0007' })];
    const { stdout } = await history();
    expect(stdout).not.toMatch(/\p{Cc}(?<!\n)|\u202e/u);
    expect(stdout).toContain('dev: 1 change');
  });

  test.each(['24', 'h', '0d', '1w', '-1h', '1.5h', '99999d'])('the period %j is refused', async (since) => {
    const { status, stderr } = await run(`history --function discovery --since=${since}`);
    expect(status).toBe(1);
    expect(stderr).toContain('Expected a number with m, h or d');
  });
});

describe('the history of a name', () => {
  test('begins with its holder, and has each change with its reason', async () => {
    log = [
      line('25 20:00', 'shop/old', 'registered', 'orders.dev.internal'),
      line('26 09:00', 'shop/old', 'updated', 'orders.dev.internal', {
        reason: 'the record was internal-gone-1.eu-west-1.elb.amazonaws.com, TTL 60 s',
      }),
      line('26 09:30', 'shop/old', 'deregistered', 'orders.dev.internal', { reason: 'ECS reports DRAINING' }),
      REGISTERED,
      ...['10:30', '11:30', '12:30'].map((at) =>
        line(`26 ${at}`, 'blue/orders', 'conflict', 'orders.dev.internal', {
          reason: `the name is held by ${ARN}shop/orders`,
        }),
      ),
      line('26 11:00', 'shop/web', 'registered', 'web.dev.internal'),
    ];
    const { status, stdout } = await run(`history Orders.dev.internal. dev ${PLACE}`);
    expect(status).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "orders.dev.internal leads to
      internal-orders-1234567890.eu-west-1.elb.amazonaws.com for shop/orders since
      2026-11-26 10:02 UTC

        2026-11-25 20:00 UTC  shop/old got orders.dev.internal, which leads to the
                              load balancer old.
        2026-11-26 09:00 UTC  The record of shop/old at orders.dev.internal changed.
                              It leads to the load balancer old. The record was
                              internal-gone-1.eu-west-1.elb.amazonaws.com, TTL 60 s.
        2026-11-26 09:30 UTC  shop/old lost orders.dev.internal. ECS reports DRAINING.
        2026-11-26 10:02 UTC  shop/orders got orders.dev.internal, which leads to the
                              load balancer orders.
        2026-11-26 10:30 UTC  blue/orders did not get orders.dev.internal (conflict, 3
                              times until 2026-11-26 12:30 UTC). The name is held by
                              shop/orders.

      To see the present state:
        npx ecs-discovery explain orders.dev.internal dev --function discovery --region eu-west-1
      "
    `);
    expect(of('StartQuery')).toHaveLength(1);
  });

  const first = async (name = 'orders.dev.internal') => {
    const { stdout } = await history(` ${name}`);
    return stdout.split('\n\n')[0]?.replace(/\s+/g, ' ');
  };

  test('says if nobody has it', async () => {
    log = [REGISTERED, line('26 11:00', 'shop/orders', 'deregistered', 'orders.dev.internal')];
    expect(await first()).toBe('orders.dev.internal: nobody has it since 2026-11-26 11:00 UTC');
  });

  test('says if it did not change', async () => {
    expect(await first()).toBe('orders.dev.internal: no change since yesterday 14:05 UTC');
    const { status, stdout } = await history(' orders.dev.internal');
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout:
        'orders.dev.internal: no change since yesterday 14:05 UTC\n\nTo see the present state:\n' +
        `  npx ecs-discovery explain orders.dev.internal ${PLACE}\n`,
    });
  });

  test('a record that changed belonged to the service before', async () => {
    log = [line('26 11:00', 'shop/orders', 'updated', 'orders.dev.internal', { reason: 'the record was x' })];
    expect(await first()).toBe(
      `orders.dev.internal leads to ${target('orders')} for shop/orders since before yesterday 14:05 UTC`,
    );
  });

  test('a service that was renamed has the new name, and nobody the former one', async () => {
    const reason = 'renamed from old.dev.internal, older.dev.internal';
    log = [line('26 11:00', 'shop/orders', 'updated', 'orders.dev.internal', { reason })];
    expect(await first()).toBe(
      `orders.dev.internal leads to ${target('orders')} for shop/orders since 2026-11-26 11:00 UTC`,
    );
    expect(await first('older.dev.internal')).toBe('older.dev.internal: nobody has it since 2026-11-26 11:00 UTC');
    expect((await history(' old.dev.internal')).stdout).toMatchInlineSnapshot(`
      "old.dev.internal: nobody has it since 2026-11-26 11:00 UTC

        2026-11-26 11:00 UTC  shop/orders got orders.dev.internal, which leads to the
                              load balancer orders. Renamed from old.dev.internal,
                              older.dev.internal.

      To see the present state:
        npx ecs-discovery explain old.dev.internal --function discovery --region eu-west-1
      "
    `);
  });

  test('a mode that removes no name keeps the former one', async () => {
    const reason = 'renamed from old.dev.internal; the mode create-and-update removes no name';
    log = [line('26 11:00', 'shop/orders', 'updated', 'orders.dev.internal', { reason })];
    expect(await first('old.dev.internal')).toBe('old.dev.internal: no change since yesterday 14:05 UTC');
  });

  test.each([0, 1])(
    'a name that passes to another service has one holder, in any order of the lines: %i',
    async (order) => {
      const lines = [
        line('26 11:00', 'shop/new', 'registered', 'orders.dev.internal', {
          reason: `the name was held by ${ARN}shop/orders`,
        }),
        line('26 11:00', 'shop/orders', 'conflict', 'web.dev.internal', {
          reason: 'the name is taken by x; the service no longer has orders.dev.internal',
        }),
      ];
      log = [REGISTERED, ...(order === 0 ? lines : lines.reverse())];
      expect(await first()).toBe(
        `orders.dev.internal leads to ${target('new')} for shop/new since 2026-11-26 11:00 UTC`,
      );
    },
  );

  test('a lost name is found in the reason of another outcome', async () => {
    const reason = 'the service has no load balancer of its own; the service no longer has orders.dev.internal';
    log = [REGISTERED, line('26 11:00', 'shop/orders', 'ignored', undefined, { reason })];
    expect(await first()).toBe('orders.dev.internal: nobody has it since 2026-11-26 11:00 UTC');
  });

  test('the same name may be in several zones', async () => {
    log = [
      REGISTERED,
      line('26 11:00', 'shop/orders', 'registered', 'orders.dev.internal', { hosted_zone: 'Z2' }),
      line('26 12:00', 'shop/orders', 'deregistered', 'orders.dev.internal', { hosted_zone: 'Z2' }),
    ];
    expect(await first()).toBe(
      `orders.dev.internal leads to ${target('orders')} for shop/orders in the zone Z1 since 2026-11-26 10:02 UTC ` +
        'orders.dev.internal: nobody has it in the zone Z2 since 2026-11-26 12:00 UTC',
    );
  });

  test('a service that moves to another zone keeps the name', async () => {
    const reason = 'renamed from orders.dev.internal';
    log = [
      REGISTERED,
      line('26 11:00', 'shop/orders', 'updated', 'orders.dev.internal', { hosted_zone: 'Z2', reason }),
    ];
    expect(await first()).toBe(
      'orders.dev.internal: nobody has it in the zone Z1 since 2026-11-26 11:00 UTC ' +
        `orders.dev.internal leads to ${target('orders')} for shop/orders in the zone Z2 since 2026-11-26 11:00 UTC`,
    );
  });

  test('names that only contain it are others', async () => {
    const kept = (name: string) => ({ reason: `the name is taken; the service keeps ${name}` });
    log = [
      line('26 10:00', 'shop/a', 'registered', 'myorders.dev.internal'),
      line('26 10:00', 'shop/b', 'registered', 'orders.dev.internal.example'),
      line('26 10:00', 'shop/c', 'registered', 'my.orders.dev.internal'),
      line('26 10:00', 'shop/d', 'registered', 'ordersxdev.internal'),
      line('26 10:00', 'shop/e', 'conflict', 'e.dev.internal', kept('my-orders.dev.internal')),
      line('26 10:00', 'shop/f', 'conflict', 'f.dev.internal', kept('orders.dev.internal-2')),
      line('26 10:00', 'shop/g', 'conflict', 'g.dev.internal', kept('orders.dev.internal.example')),
      line('26 10:00', 'shop/h', 'conflict', 'h.dev.internal', kept('orders.dev.internal')),
      line('26 10:01', 'shop/i', 'conflict', 'i.dev.internal', kept('orders.dev.internal, x.dev.internal')),
    ];
    const { stdout } = await history(' orders.dev.internal --json');
    expect((JSON.parse(stdout) as { service: string }[]).map(({ service }) => service)).toEqual(['shop/h', 'shop/i']);
  });

  test.each([
    ['plan.rs', '"renamed from {}"'],
    ['plan.rs', 'names.join(", ")'],
    ['report.rs', '{before}the service no longer has {name}'],
    ['check.rs', '"the mode create-and-update removes no name"'],
  ])('depends on reasons of the handler: %s has %s', (file, text) => {
    const source = new URL(`../../handler/src/domain/${file}`, import.meta.url);
    expect(readFileSync(source, 'utf8')).toContain(text);
  });

  test.each([
    ...['dry_run', 'ecs_service', 'dns_name', 'hosted_zone', 'target', 'outcome', 'scope', 'services'].map(
      (field) => `${field} = `,
    ),
    ...['"request_id"', '"outcome"', '"run finished"', '"read failed"', '"zone full"'],
  ])('%s is a field or a message of the log that the tool reads', (text) => {
    const source = new URL('../../handler/src/log.rs', import.meta.url);
    const [code = ''] = readFileSync(source, 'utf8').split('#[cfg(test)]');
    expect(code).toContain(text);
  });

  test.each([
    `orders.dev.internal"or@message`,
    "o'rders.dev.internal",
    'orders/.dev.internal/i',
    'orders.dev.internal|limit',
    String.raw`orders\.dev.internal`,
    '.*',
    'orders..internal',
    'a/b/c',
    '/b',
    'arn:aws:ecs:eu-west-1:1:cluster/x/y',
  ])('a text that is no name does not reach the query: %s', async (text) => {
    const { status, stderr } = await history(` ${text}`);
    expect(status).toBe(1);
    expect(stderr).toContain('is neither a');
    expect(calls).toEqual([]);
  });
});

describe('the history of a service', () => {
  test('begins with its names, and has all of its outcomes', async () => {
    log = [
      line('25 20:00', 'shop/orders', 'registered', 'old.dev.internal'),
      line('26 09:00', 'shop/orders', 'waiting', 'old.dev.internal', { reason: 'the deployment is in progress' }),
      line('26 10:00', 'shop/orders', 'updated', 'orders.dev.internal', { reason: 'renamed from old.dev.internal' }),
      line('26 10:00', 'shop/orders-2', 'registered', 'orders-2.dev.internal'),
      line('26 11:00', 'shop/orders', 'adopted', 'more.dev.internal', { hosted_zone: 'Z2' }),
      line('26 12:00', 'shop/orders', 'refused', 'more.dev.internal', {
        reason: 'the delete limit stopped this full pass',
      }),
      line('26 13:00', 'shop/orders', 'refused', 'more.dev.internal', {
        reason: 'the delete limit stopped this full pass',
      }),
      line('26 13:30', 'shop/orders', 'failed', undefined, { reason: 'AccessDenied' }),
    ];
    const { status, stdout } = await history(' shop/orders');
    expect(status).toBe(0);
    expect(stdout).toMatchInlineSnapshot(`
      "shop/orders has orders.dev.internal since 2026-11-26 10:00 UTC
      shop/orders has more.dev.internal since 2026-11-26 11:00 UTC

        2026-11-25 20:00 UTC  shop/orders got old.dev.internal, which leads to the
                              load balancer orders.
        2026-11-26 09:00 UTC  shop/orders has the status waiting for old.dev.internal.
                              The deployment is in progress.
        2026-11-26 10:00 UTC  shop/orders got orders.dev.internal, which leads to the
                              load balancer orders. Renamed from old.dev.internal.
        2026-11-26 11:00 UTC  shop/orders adopted the record of more.dev.internal,
                              which leads to the load balancer orders.
        2026-11-26 12:00 UTC  shop/orders has the status refused for
                              more.dev.internal, 2 times until 2026-11-26 13:00 UTC.
                              The delete limit stopped this full pass.
        2026-11-26 13:30 UTC  shop/orders has the status failed. AccessDenied.

      To see the present state:
        npx ecs-discovery explain shop/orders --function discovery --region eu-west-1
      "
    `);
    expect((await history(` ${ARN}shop/orders`)).stdout.split('\n\n').slice(0, 2)).toEqual(
      stdout.split('\n\n').slice(0, 2),
    );
  });

  test('says if it has no name, or if nothing changed', async () => {
    log = [line('26 11:00', 'default/orders', 'deregistered', 'orders.dev.internal')];
    const { stdout } = await history(' arn:aws:ecs:eu-west-1:111122223333:service/orders');
    expect(stdout).toMatch(/^default\/orders: no name since 2026-11-26 11:00 UTC\n/);
    expect((await history(' shop/orders')).stdout).toMatch(/^shop\/orders: no change since yesterday 14:05 UTC\n/);
  });
});

describe('the query', () => {
  test('is awaited', async () => {
    log = [REGISTERED];
    progress = ['Scheduled', 'Running', 'Unknown'];
    expect((await history(' orders.dev.internal')).stdout).toContain('leads to');
    expect(of('StopQuery')).toEqual([]);
  });

  test('covers no time before the log begins', async () => {
    const begin = 'The log goes back to 2026-11-26 12:00 UTC only.\n';
    group = { logGroupName: '/logs/discovery', creationTime: Date.UTC(2026, 10, 26, 12) };
    expect(await history()).toEqual({ status: 0, stdout: 'dev: no change since today 12:00 UTC\n', stderr: begin });
    group = { logGroupName: '/logs/discovery', creationTime: 0, retentionInDays: 3 };
    const { stdout } = await history(' --since 7d');
    expect(stdout).toBe('dev: no change since 2026-11-23 14:05 UTC\n');
    expect(of('StartQuery').at(-1)?.startTime).toBe(Date.UTC(2026, 10, 23, 14, 5, 30) / 1000);
  });

  test('goes on without the permission to describe the log', async () => {
    errors = { DescribeLogGroups: { name: 'AccessDeniedException', message: 'not authorized' } };
    const { status, stdout, stderr } = await history();
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'dev: no change since yesterday 14:05 UTC\n' });
    expect(stderr).toMatchInlineSnapshot(`
      "Nobody knows how far the log goes back, because it could not be described: not
      authorized
      "
    `);
  });

  test.each([
    ['AccessDeniedException', 'A permission is missing: no\n'],
    ['ResourceNotFoundException', 'The log group /logs/discovery does not exist.'],
    ['LimitExceededException', 'LimitExceededException: no\n'],
    ['MalformedQueryException', 'MalformedQueryException: no\n'],
  ])('fails with %s', async (name, text) => {
    vi.stubEnv('AWS_MAX_ATTEMPTS', '1');
    errors = { StartQuery: { name, message: 'no' } };
    const { status, stderr } = await history(' orders.dev.internal');
    expect(status).toBe(1);
    expect(stderr).toContain(text);
  });

  test('fails if CloudWatch ends it', async () => {
    progress = ['Running', 'Timeout'];
    const { status, stderr } = await history(' orders.dev.internal');
    expect(status).toBe(1);
    expect(stderr.replace(/\s+/g, ' ')).toContain('ended the query with the status Timeout.');
  });

  test('is stopped after some minutes, even if that fails', async () => {
    progress = Array.from({ length: 1_000 }, () => 'Running');
    errors = { StopQuery: { name: 'AccessDeniedException', message: 'no' } };
    const { status, stderr } = await history(' orders.dev.internal');
    expect(status).toBe(1);
    expect(stderr).toContain('The query takes more than 5 minutes, so it was stopped.');
    expect(of('StopQuery')).toEqual([{ queryId: 'q1' }]);
  });

  test('is stopped if somebody interrupts the tool', async () => {
    progress = Array.from({ length: 1_000 }, () => 'Running');
    onResults = () => process.emit('SIGINT');
    const before = process.listenerCount('SIGINT');
    const { status, stderr } = await history(' orders.dev.internal');
    expect({ status, stderr }).toEqual({ status: 1, stderr: 'The query was stopped.\n' });
    expect(of('StopQuery')).toEqual([{ queryId: 'q1' }]);
    expect(process.listenerCount('SIGINT')).toBe(before);
  });
});

/** Tests of `report`, against a Lambda and a CloudWatch Logs Insights of this process. */
import { createHash } from 'node:crypto';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type AwsReply, type AwsRequest, FUNCTION, describeFunction, run, serveAws } from './terminal.js';

/** The outcomes of the function's answer, and its other fields. */
let outcomes: object[];
let more: object;
/** The lines of the log, the newest first, as Insights returns them. */
let log: { at: string; message: string }[];
let group: { creationTime?: number; retentionInDays?: number };
/** The errors of actions of CloudWatch, or of `Invoke` and `GetFunctionConfiguration`. */
let errors: Record<string, { name: string; message: string }>;
let lambda: typeof FUNCTION;
/** The requests, in their order. */
let calls: { action: string; body: Record<string, unknown> }[];
/** Called before the results of a query. */
let onResults: () => string;

const json = (body: object): AwsReply => ({ body: JSON.stringify(body) });

function actionOf({ target, url }: AwsRequest): string {
  if (target !== '') return target.replace('Logs_20140328.', '');
  return url.includes('/invocations') ? 'Invoke' : 'GetFunctionConfiguration';
}

serveAws((request): AwsReply => {
  const action = actionOf(request);
  calls.push({ action, body: request.body === '' ? {} : (JSON.parse(request.body) as Record<string, unknown>) });
  const error = errors[action];
  if (error !== undefined) {
    const { name, message } = error;
    return {
      status: 400,
      headers: { 'x-amzn-errortype': name },
      body: JSON.stringify({ __type: name, message, Message: message }),
    };
  }
  switch (action) {
    case 'Invoke':
      return json({
        environment: 'dev',
        scope: 'all',
        dryRun: true,
        outcomes,
        changes: { created: 0, deleted: 0 },
        fullPass: { managedNames: 2 },
        ...more,
      });
    case 'DescribeLogGroups':
      return json({ logGroups: [{ logGroupName: '/logs/discovery', ...group }] });
    case 'StartQuery':
      return json({ queryId: 'q1' });
    case 'GetQueryResults': {
      const results = log.map(({ at, message }) => [
        { field: '@timestamp', value: at },
        { field: '@message', value: message },
      ]);
      return json({ status: onResults(), results });
    }
    case 'StopQuery':
      return json({ success: true });
    default:
      return describeFunction(request, lambda) ?? { status: 404, body: '{}' };
  }
});

const ARN = 'arn:aws:ecs:eu-west-1:111122223333:service/';

function outcome(service: string, status: string, fields: object = {}) {
  const name = service.split('/')[1] ?? '';
  const leads = ['unchanged', 'registered', 'updated', 'adopted'].includes(status);
  return {
    service: `${ARN}${service}`,
    name: `${name}.dev.internal.`,
    zone: 'Z1',
    status,
    target: leads ? `internal-${name}-1234567890.eu-west-1.elb.amazonaws.com.` : null,
    reason: null,
    ...fields,
  };
}

/** A line of the handler's log. */
function line(at: string, service: string, status: string, name: string | undefined, fields: object = {}) {
  const message = JSON.stringify({
    message: 'outcome',
    dry_run: false,
    ecs_service: `${ARN}${service}`,
    dns_name: name,
    hosted_zone: name === undefined ? undefined : 'Z1',
    outcome: status,
    ...fields,
  });
  return { at: `2026-11-${at}:00.123`, message };
}

let folder: string;

beforeEach(() => {
  // Only the date, since the HTTP server and the SDK need timers.
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-26T14:05:30Z') });
  vi.stubEnv('AWS_MAX_ATTEMPTS', '1');
  folder = mkdtempSync(path.join(tmpdir(), 'report-'));
  outcomes = [outcome('shop/orders', 'unchanged')];
  more = {};
  log = [];
  group = { creationTime: Date.UTC(2026, 0, 1), retentionInDays: 30 };
  errors = {};
  lambda = structuredClone(FUNCTION);
  calls = [];
  onResults = () => 'Complete';
});

afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true });
});

const PLACE = '--function discovery --region eu-west-1';
const report = (options = '--html') => run(`report dev ${PLACE} ${options}`);

/** The text of a page without its style and its script. Cells are separated by `|`. */
const visible = (page: string) =>
  page
    .replace(/<(style|script)>[^]*?<\/\1>/g, '')
    .replace(/<wbr \/>/g, '')
    .replace(/\s+/g, ' ')
    .replace(/<\/(tr|p|h1|h2|li|caption|code)>|<tbody>/g, '\n')
    .replace(/<\/t[hd]>/g, ' | ')
    .replace(/<span class="quiet">/g, ' ')
    .replace(/<[^>]*>/g, '')
    .replace(/ +/g, ' ')
    .replace(/ ?\|? ?\n\s*/g, '\n')
    .trim();

/** The cells of the table with the names: name, service, load balancer, age, status. */
const rows = (page: string) =>
  visible(page.slice(page.indexOf('<table class="names"'), page.indexOf('<footer>')))
    .split('\n')
    .filter((row) => row.includes('|'))
    .map((row) => row.split('|').map((cell) => cell.trim()));

/** The age of the only name. */
async function age(options?: string) {
  const { stdout } = await report(options);
  return rows(stdout)[1]?.[3];
}

describe('the page', () => {
  test('has everything that needs attention, the problems, the changes and all names', async () => {
    const denied = 'elasticloadbalancing:DescribeTargetGroups failed: AccessDenied: no';
    outcomes = [
      outcome('shop/orders', 'unchanged'),
      outcome('blue/orders', 'conflict', { reason: `the name is held by ${ARN}shop/orders` }),
      outcome('shop/web', 'waiting', { reason: 'the target group has no load balancer yet: tg' }),
      outcome('shop/api', 'failed', { name: null, zone: null, reason: denied }),
      outcome('shop/old', 'refused', { reason: 'the delete limit stopped this full pass' }),
      outcome('shop/ttl', 'invalid', { reason: 'the tag discovery:ttl is "x"' }),
      outcome('shop/new', 'registered'),
      outcome('shop/moved', 'updated', { reason: 'the record was other-1.eu-west-1.elb.amazonaws.com, TTL 60 s' }),
      outcome('shop/found', 'adopted', { reason: 'the record existed without a marker' }),
      outcome('shop/gone', 'deregistered', { reason: 'ECS reports DRAINING' }),
      outcome('shop/kept', 'ignored', {
        reason: 'the tag discovery:enabled is false; the mode create-and-update removes no name',
      }),
      outcome('shop/batch', 'ignored', {
        name: null,
        zone: null,
        reason: 'the service has no load balancer of its own',
      }),
      outcome('shop/typo', 'unchanged', { name: null, zone: null, target: null, reason: 'ECS reports MISSING' }),
    ];
    more = {
      readErrors: ['ecs:ListServices of dev failed: denied'],
      notes: ['a note'],
      fullPass: {
        managedNames: 2,
        unreadableMarkers: [{ name: 'shop.dev.internal.', zone: 'Z1', reason: 'the marker has no version' }],
        fullZones: [{ zone: 'Z1', reason: 'HostedZoneNotFound' }],
        longNegativeTtls: [{ zone: 'Z2', seconds: 900, command: 'aws route53 …' }],
      },
    };
    log = [line('26 10:02', 'shop/orders', 'registered', 'orders.dev.internal')];
    const { status, stdout, stderr } = await report();
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
    expect(stdout).toMatch(/^<!doctype html>\n<html lang="en">\n/);
    expect(visible(stdout)).toMatchInlineSnapshot(`
      "dev: ECS service discovery ECS service discovery
      dev
      5 services and 3 problems need attention.
      1 service registered; 1 failed, 1 refused, 1 conflict, 1 invalid, 1 waiting; 4 about to change; 1 with a name that only the mode create-and-update keeps; 1 without a name on purpose
      Made at 2026-11-26 14:05 UTC with a dry run, which changes nothing.
      Needs attention 5
      The worst comes first.
      Name | Service | Reason
      failed 1 service The handler tries again. If the error stays, repair its cause.
      no name | shop/api | elasticloadbalancing:DescribeTargetGroups failed: AccessDenied: no.
      refused 1 service Check that the deletions are intended. This shows them, and asks:npx ecs-discovery apply dev --function discovery --region eu-west-1 --override-delete-limit

      old.dev.internal | shop/old | The delete limit stopped this full pass.
      conflict 1 service Give one of the two another name with the tag discovery:name, or delete the other service or record. The name then passes to this service.
      orders.dev.internal | blue/orders | The name is held by shop/orders.
      invalid 1 service Correct the tag or the name of the service. The handler reads it again at once.
      ttl.dev.internal | shop/ttl | The tag discovery:ttl is &quot;x&quot;.
      waiting 1 service If nothing is being deployed or created, check the load balancer and the target group of the service.
      web.dev.internal | shop/web | The target group has no load balancer yet: tg.
      Problems 3
      ecs:ListServices of dev failed: denied.
      shop.dev.internal: the marker has no version.
      The zone Z1 is full: HostedZoneNotFound.
      Notes 2
      In the zone Z2, resolvers remember for 900 seconds that a name does not exist. To shorten that, run: aws route53 …
      A note.
      About to change 4
      The next event or full pass makes these changes. If they are still here after that, Route 53 or a permission refuses them, and a full pass shows why:
      npx ecs-discovery apply dev --function discovery --region eu-west-1
      Name | Service | Load balancer | Change
      new.dev.internal | shop/new | new internal-new-1234567890.eu-west-1.elb.amazonaws.com | will be registered
      moved.dev.internal | shop/moved | moved internal-moved-1234567890.eu-west-1.elb.amazonaws.com | will be updated The record was other-1.eu-west-1.elb.amazonaws.com, TTL 60 s.
      found.dev.internal | shop/found | found internal-found-1234567890.eu-west-1.elb.amazonaws.com | will be adopted The record existed without a marker.
      gone.dev.internal | shop/gone | | will be deregistered ECS reports DRAINING.
      Names 10
      Filter
      The age is the time for which a service has had its name. The log of the handler was searched back to 2026-11-19 14:05. All times are in UTC.
      Name | Service | Load balancer | Age | Status
      found.dev.internal | shop/found | found internal-found-1234567890.eu-west-1.elb.amazonaws.com | | will be adopted
      gone.dev.internal | shop/gone | | more than 7 days before 2026-11-19 14:05 | will be deregistered
      kept.dev.internal | shop/kept | | more than 7 days before 2026-11-19 14:05 | ignored The tag discovery:enabled is false; the mode create-and-update removes no name.
      moved.dev.internal | shop/moved | moved internal-moved-1234567890.eu-west-1.elb.amazonaws.com | more than 7 days before 2026-11-19 14:05 | will be updated
      new.dev.internal | shop/new | new internal-new-1234567890.eu-west-1.elb.amazonaws.com | | will be registered
      old.dev.internal | shop/old | | more than 7 days before 2026-11-19 14:05 | refused
      orders.dev.internal | blue/orders | | | conflict
      orders.dev.internal | shop/orders | orders internal-orders-1234567890.eu-west-1.elb.amazonaws.com | 4 hours since 2026-11-26 10:02 | registered
      ttl.dev.internal | shop/ttl | | more than 7 days before 2026-11-19 14:05 | invalid
      web.dev.internal | shop/web | | more than 7 days before 2026-11-19 14:05 | waiting
      Without a name on purpose 1
      Service | Reason
      shop/batch | The service has no load balancer of its own.
      This page does not update itself. To make it again:
      npx ecs-discovery report dev --function discovery --region eu-west-1 --html FILE"
    `);
  });

  test('of an environment without problems says so', async () => {
    const { status, stdout } = await report();
    expect(status).toBe(0);
    expect(visible(stdout)).toContain('\nNothing needs attention.\n1 service registered\n');
    expect(stdout).not.toContain('id="attention"');
    outcomes = [];
    const empty = visible((await report()).stdout);
    expect(empty).toContain('Names 0\n');
    expect(empty).toContain('No service has or should have a name.');
  });

  test('says that nothing is written if the mode is observe', async () => {
    outcomes = [outcome('shop/new', 'registered')];
    more = { observed: true };
    const { status, stdout } = await report();
    expect(status).toBe(0);
    const text = visible(stdout);
    expect(text).toContain('The mode of this environment is observe, so the handler writes nothing.');
    expect(text).toContain('0 services registered; 1 would change\n');
    expect(text).toContain('\nWould change 1\n');
    expect(text).toContain('would be registered');
    expect(text).not.toContain('ecs-discovery apply');
  });

  test('shows the zones of names only if there are several', async () => {
    expect((await report()).stdout).not.toContain('zone Z1');
    outcomes.push(outcome('blue/orders', 'unchanged', { name: 'orders.dev.internal.', zone: 'Z2' }));
    expect(rows((await report()).stdout).map(([name]) => name)).toEqual([
      'Name',
      'orders.dev.internal zone Z1',
      'orders.dev.internal zone Z2',
    ]);
  });

  test('is sorted by name, and numbers in names count as numbers', async () => {
    outcomes = ['b', 'a10', 'a9', 'a1'].map((name) => outcome(`shop/${name}`, 'unchanged'));
    const names = rows((await report()).stdout).map(([name]) => name?.split('.')[0]);
    expect(names.slice(1)).toEqual(['a1', 'a9', 'a10', 'b']);
  });

  test('loads nothing, and allows only its own style and script', async () => {
    const { stdout } = await report();
    const policy = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(stdout)?.[1];
    const hash = (element: string) => {
      const text = new RegExp(`<${element}>([^]*?)</${element}>`).exec(stdout)?.[1] ?? '';
      expect(text.length).toBeGreaterThan(100);
      return `&#39;sha256-${createHash('sha256').update(text).digest('base64')}&#39;`;
    };
    expect(policy?.split('; ')).toEqual([
      'default-src &#39;none&#39;',
      `style-src ${hash('style')}`,
      `script-src ${hash('script')}`,
      'base-uri &#39;none&#39;',
      'form-action &#39;none&#39;',
    ]);
    expect(stdout.match(/<(style|script)/g)).toEqual(['<style', '<script']);
    expect(stdout).not.toMatch(/ (style|src|on\w+)=|url\(|@import|https?:/);
    expect(stdout.match(/href="[^#]/g)).toBeNull();
  });

  test('contains hostile texts only as text', async () => {
    const hostile = `<script>alert(1)</script></style></table>&lt;"'><img src=x onerror=alert(1)>`;
    const escaped =
      '&lt;script&gt;alert(1)&lt;/script&gt;&lt;/style&gt;&lt;/table&gt;&amp;lt;&quot;&#39;&gt;&lt;img src=x onerror=alert(1)&gt;';
    const fields = { name: hostile, zone: hostile, target: hostile, reason: hostile };
    outcomes = ['conflict', 'unchanged', 'updated', 'ignored', 'registered'].map((status) => ({
      ...outcome(`shop/${hostile}${status}`, status),
      ...fields,
    }));
    outcomes.push(outcome(`shop/${hostile}`, 'ignored', { ...fields, name: null }));
    more = {
      environment: hostile,
      notes: [hostile],
      readErrors: [hostile],
      fullPass: {
        managedNames: 0,
        unreadableMarkers: [{ name: hostile, zone: hostile, reason: hostile }],
        fullZones: [{ zone: hostile, reason: hostile }],
        longNegativeTtls: [{ zone: hostile, seconds: 900, command: hostile }],
      },
    };
    errors = { StartQuery: { name: 'AccessDeniedException', message: hostile } };
    const page = (await report()).stdout.replaceAll('<wbr />', '');
    expect(page.split(escaped).length).toBeGreaterThan(20);
    expect(page).not.toMatch(/<img|alert\(1\)<\/script>|<\/script>[^]*<\/script>|<\/style>[^]*<\/style>/);
    expect(page).toContain(`<title>${escaped}: ECS service discovery</title>`);
  });

  test('shows characters that nobody sees, or that change the direction of text', async () => {
    const hidden = ['\u202e', '\u2066', '\u200b', '\u200d', '\u2060', '\ufeff', '\u00ad', '\u061c', '\u2028', '\u0007'];
    outcomes = [
      outcome('shop/orders', 'conflict', { name: `or${hidden.join('')}ders`, reason: `tag "${hidden.join('')}"` }),
    ];
    const { stdout } = await report();
    for (const character of hidden) expect(stdout).not.toContain(character);
    expect(stdout).toContain(`or${'\ufffd'.repeat(hidden.length)}ders`);
  });
});

describe('the ages', () => {
  test('come from the log of the last 7 days', async () => {
    log = [line('23 14:00', 'shop/orders', 'registered', 'orders.dev.internal')];
    expect(await age()).toBe('3 days since 2026-11-23 14:00');
    expect(calls.map(({ action }) => action)).toEqual([
      'Invoke',
      'GetFunctionConfiguration',
      'DescribeLogGroups',
      'StartQuery',
      'GetQueryResults',
    ]);
    expect(calls.find(({ action }) => action === 'StartQuery')?.body).toMatchInlineSnapshot(`
      {
        "endTime": 1795701930,
        "logGroupName": "/logs/discovery",
        "queryString": "fields @timestamp, @message | filter @message like /"dry_run":false/ | filter @message like /("outcome":"(registered|updated|adopted|deregistered)"|the service no longer has )/ | sort @timestamp desc | limit 10000",
        "startTime": 1795097130,
      }
    `);
  });

  test.each([
    ['26 14:05', 'less than a minute'],
    ['26 14:03', '2 minutes'],
    ['26 12:10', '115 minutes'],
    ['26 12:00', '2 hours'],
    ['24 14:06', '47 hours'],
    ['24 14:00', '2 days'],
  ])('of a name since %s is %s', async (at, text) => {
    log = [line(at, 'shop/orders', 'registered', 'orders.dev.internal')];
    expect(await age()).toBe(`${text} since 2026-11-${at}`);
  });

  test('of names without a change in the log have a limit', async () => {
    expect(await age()).toBe('more than 7 days before 2026-11-19 14:05');
    expect(await age('--since 2d --html')).toBe('more than 2 days before 2026-11-24 14:05');
    // A record that changed belonged to the service before.
    log = [line('26 10:00', 'shop/orders', 'updated', 'orders.dev.internal', { reason: 'the record was x' })];
    expect(await age()).toBe('more than 7 days before 2026-11-19 14:05');
    group = { creationTime: Date.UTC(2026, 10, 25, 12) };
    expect(await age()).toBe('more than 26 hours before 2026-11-25 12:00');
    expect((await report()).stdout).toContain('The log of the handler was searched back to 2026-11-25 12:00.');
  });

  test('begin again if the service lost the name meanwhile, in the outcome of any status', async () => {
    const reason = 'the name is taken; the service no longer has orders.dev.internal';
    log = [
      line('26 10:00', 'shop/orders', 'registered', 'orders.dev.internal'),
      line('25 10:00', 'shop/orders', 'conflict', 'other.dev.internal', { reason }),
      line('24 10:00', 'shop/orders', 'registered', 'orders.dev.internal'),
    ];
    expect(await age()).toBe('4 hours since 2026-11-26 10:00');
    const { queryString } = calls.find(({ action }) => action === 'StartQuery')?.body ?? {};
    const patterns = [...String(queryString).matchAll(/filter @message like \/(.*?)\//g)].map(
      ([, pattern]) => new RegExp(pattern ?? ''),
    );
    expect(patterns).toHaveLength(2);
    const matches = ({ message }: { message: string }) => patterns.every((pattern) => pattern.test(message));
    expect(log.every(matches)).toBe(true);
    expect(matches(line('25 10:00', 'shop/orders', 'conflict', 'x', { reason: 'the name is taken' }))).toBe(false);
  });

  test.each([
    ['unchanged', null, true],
    ['waiting', 'the deployment is in progress; the record is still x', true],
    ['invalid', 'the tag discovery:ttl is "x"', true],
    ['refused', 'the delete limit stopped this full pass', true],
    ['deregistered', 'ECS reports DRAINING', true],
    ['updated', 'the record was x', true],
    ['ignored', 'the tag is false; the mode create-and-update removes no name', true],
    ['registered', null, false],
    ['adopted', 'the record existed without a marker', false],
    ['conflict', 'the name is held by x', false],
    ['updated', 'renamed from old.dev.internal', false],
    ['failed', 'ecs:DescribeServices failed: denied', false],
  ])('are shown for %s because of %s: %s', async (status, reason, isShown) => {
    outcomes = [outcome('shop/orders', status, { reason })];
    expect(await age()).toBe(isShown ? 'more than 7 days before 2026-11-19 14:05' : '');
  });

  test('are missing if the log has another holder of the name', async () => {
    log = [line('25 10:00', 'blue/orders', 'registered', 'orders.dev.internal')];
    expect(await age()).toBe('');
    log = [line('25 10:00', 'shop/orders', 'deregistered', 'orders.dev.internal')];
    expect(await age()).toBe('');
    // The name in another zone is another one.
    log = [line('25 10:00', 'blue/orders', 'registered', 'orders.dev.internal', { hosted_zone: 'Z2' })];
    expect(await age()).toBe('more than 7 days before 2026-11-19 14:05');
  });

  test('go back as far as the lines that a query returns', async () => {
    log = Array.from({ length: 10_000 }, () => line('25 10:00', 'shop/web', 'updated', 'web.dev.internal'));
    expect(await age()).toBe('more than 28 hours before 2026-11-25 10:00');
    const { stdout, stderr } = await report();
    const note =
      'CloudWatch returns at most 10,000 lines of the log, so changes before 2026-11-25 10:00 UTC are missing.';
    expect(visible(stdout)).toContain(note);
    expect(stderr.replaceAll('\n', ' ')).toBe(`${note} `);
  });

  describe.each([
    ['GetFunctionConfiguration', 'lambda:GetFunctionConfiguration on resource: arn:aws:lambda:x'],
    ['StartQuery', 'logs:StartQuery on resource: arn:aws:logs:x'],
    ['GetQueryResults', 'logs:GetQueryResults'],
  ])('without the permission for %s', (action, permission) => {
    test('are missing, and the page and the standard error say why', async () => {
      const message = `User: u is not authorized to perform: ${permission}`;
      errors = { [action]: { name: 'AccessDeniedException', message } };
      const { status, stdout, stderr } = await report();
      expect(status).toBe(0);
      const note = `The ages of names are missing, because the log could not be read. A permission is missing: ${message}.`;
      expect(stderr.replace(/\s+/g, ' ')).toBe(`${note} `);
      const text = visible(stdout);
      expect(text).toContain(`Notes 1\n${note}\n`);
      expect(text).toContain('Some ages are missing: the notes have the reason.');
      expect(rows(stdout)[1]?.[3]).toBe('');
    });
  });

  test('are missing for names without a change if nobody knows how far the log goes back', async () => {
    errors = { DescribeLogGroups: { name: 'AccessDeniedException', message: 'not authorized' } };
    expect(await age()).toBe('');
    log = [line('26 10:02', 'shop/orders', 'registered', 'orders.dev.internal')];
    expect(await age()).toBe('4 hours since 2026-11-26 10:02');
    expect((await report()).stderr).toMatchInlineSnapshot(`
      "Names without a change in the log have no age. Nobody knows how far the log goes
      back, because it could not be described: not authorized.
      "
    `);
  });

  test('are missing if the log level leaves out changes', async () => {
    lambda.configuration.LoggingConfig = { LogGroup: '/logs/discovery', ApplicationLogLevel: 'WARN' } as never;
    expect(await age()).toBe('');
    const { stderr } = await report();
    expect(stderr).toMatchInlineSnapshot(`
      "The ages of names are missing. The log level of the function is WARN, so its log
      has no changes, but only conflicts and failures.
      "
    `);
    expect(calls.some(({ action }) => action === 'StartQuery')).toBe(false);
  });

  test('are missing if the log does not exist', async () => {
    errors = { StartQuery: { name: 'ResourceNotFoundException', message: 'no' } };
    const { status, stdout } = await report();
    expect(status).toBe(0);
    expect(visible(stdout)).toContain('The log group /logs/discovery does not exist.');
  });

  test('are not waited for if somebody presses Ctrl-C', async () => {
    onResults = () => {
      process.emit('SIGINT');
      return 'Running';
    };
    const file = path.join(folder, 'page.html');
    const { status, stdout, stderr } = await report(`--html ${file}`);
    expect({ status, stdout, stderr }).toEqual({ status: 1, stdout: '', stderr: 'The query was stopped.\n' });
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('the output', () => {
  test('is a file and one line about it', async () => {
    const file = path.join(folder, 'page.html');
    outcomes = [outcome('shop/orders', 'unchanged'), outcome('shop/web', 'waiting')];
    const { status, stdout, stderr } = await report(`--html ${file}`);
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
    expect(stdout).toBe(`${file} shows dev: 1 service registered; 1 waiting\n`);
    const page = readFileSync(file, 'utf8');
    expect(page).toBe((await report()).stdout);
    expect(readdirSync(folder)).toEqual(['page.html']);
  });

  test('is the page on the standard output without a file, or with a dash', async () => {
    const { stdout } = await report();
    expect(stdout).toMatch(/^<!doctype html>[^]*<\/html>\n$/);
    expect((await report('--html -')).stdout).toBe(stdout);
    expect((await run(`report --html - dev ${PLACE}`)).stdout).toBe(stdout);
  });

  test('replaces a file in one step, and keeps its permissions', async () => {
    const file = path.join(folder, 'page.html');
    writeFileSync(file, 'the former page');
    chmodSync(file, 0o640);
    const before = openSync(file, 'r');
    const { ino } = statSync(file);
    await report(`--html ${file}`);
    // A reader of the former file still has all of it.
    expect(readFileSync(before, 'utf8')).toBe('the former page');
    closeSync(before);
    expect(statSync(file).ino).not.toBe(ino);
    expect(statSync(file).mode & 0o777).toBe(0o640);
    expect(readFileSync(file, 'utf8')).toContain('</html>');
  });

  test('replaces the file to which a link leads', async () => {
    mkdirSync(path.join(folder, 'www'));
    const link = path.join(folder, 'page.html');
    symlinkSync('www/dev.html', link);
    writeFileSync(path.join(folder, 'www/dev.html'), 'the former page');
    await report(`--html ${link}`);
    expect(readFileSync(path.join(folder, 'www/dev.html'), 'utf8')).toContain('</html>');
    expect(readdirSync(folder).sort()).toEqual(['page.html', 'www']);
  });

  test('leaves a device alone', async () => {
    const { status } = await report('--html /dev/null');
    expect(status).toBe(0);
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });

  test.each([
    ['the former page stays if the services cannot be read', 'page.html', /A permission is missing: no/],
    ['a folder is no file', '', /is a folder\.\n$/],
    [
      'a missing folder is an error before any work',
      'missing/page.html',
      /missing\/page\.html cannot be written: ENOENT/,
    ],
  ])('%s', async (_, name, text) => {
    const file = path.join(folder, 'page.html');
    writeFileSync(file, 'the former page');
    errors = { Invoke: { name: 'AccessDeniedException', message: 'no' } };
    const { status, stdout, stderr } = await report(`--html ${path.join(folder, name)}`);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(text);
    expect(calls).toHaveLength(name === 'page.html' ? 1 : 0);
    expect(readdirSync(folder)).toEqual(['page.html']);
    expect(readFileSync(file, 'utf8')).toBe('the former page');
  });

  test('needs its format', async () => {
    const { status, stderr } = await run(`report dev ${PLACE}`);
    expect(status).toBe(1);
    expect(stderr).toContain("error: required option '--html [file]' not specified");
    expect(calls).toEqual([]);
  });
});

/** Alarms and dashboard. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { Duration, Stack } from 'aws-cdk-lib';
import type { Metric, MetricOptions } from 'aws-cdk-lib/aws-cloudwatch';
import { EcsServiceDiscovery, Severity, TrailSource } from '../lib/index.js';
import { app, root, template, vpc } from './stacks.js';

interface Alarm {
  AlarmName?: string;
  AlarmDescription: string;
  AlarmActions?: unknown[];
  OKActions?: unknown[];
  Namespace: string;
  MetricName: string;
  Dimensions: { Name: string; Value: unknown }[];
  Period: number;
  Statistic?: string;
  ExtendedStatistic?: string;
  EvaluationPeriods: number;
  DatapointsToAlarm?: number;
  Threshold: number;
  TreatMissingData: string;
  Tags: { Key: string; Value: string }[];
}

/** The alarms by their names in the construct, which their logical ids contain. */
function alarms(options: object = {}): Record<string, Alarm> {
  const found = template(options).findResources('AWS::CloudWatch::Alarm') as Record<string, { Properties: Alarm }>;
  return Object.fromEntries(
    Object.entries(found).map(([id, { Properties: alarm }]) => [
      /^DiscoveryAlarms(\w+?)[0-9A-F]{8}$/.exec(id)?.[1] ?? id,
      alarm,
    ]),
  );
}

/** The anchors of the runbook's sections about alarms. */
function sections(): string[] {
  const text = readFileSync(path.join(root, 'RUNBOOK.md'), 'utf8');
  const chapter = text.split(/^## /m).find((part) => part.startsWith('Alarms\n')) ?? '';
  return [...chapter.matchAll(/^### (.*)$/gm)].map(([, heading]) => heading?.toLowerCase().replaceAll(' ', '-') ?? '');
}

test('every alarm states its environment, severity and meaning, and links to its section in the runbook', () => {
  const links = Object.values(alarms()).map(({ AlarmDescription: text, Tags }) => {
    const found = /^Environment dev, (critical|warning): [A-Z].{40,} Next steps: RUNBOOK\.md#([a-z-]+)$/.exec(text);
    expect(Tags).toContainEqual({ Key: 'ecs-discovery:severity', Value: found?.[1] });
    return found?.[2];
  });
  expect(links).toHaveLength(10);
  // Every section has an alarm, too.
  expect([...links].sort()).toEqual(sections().sort());
  const runbookUrl = 'https://wiki.example.com/names';
  for (const { AlarmDescription: text } of Object.values(alarms({ runbookUrl }))) {
    expect(text).toContain(` ${runbookUrl}#`);
  }
});

test('nothing has a fixed name, so that one environment can exist in two regions', () => {
  const made = template();
  for (const alarm of Object.values(alarms())) expect(alarm.AlarmName).toBeUndefined();
  const dashboards = Object.values(made.findResources('AWS::CloudWatch::Dashboard')) as { Properties: object }[];
  expect(dashboards.map(({ Properties }) => Object.keys(Properties))).toEqual([['DashboardBody']]);
});

test('alarms and the dashboard can be left out', () => {
  const without = template({ alarms: false, dashboard: false });
  without.resourceCountIs('AWS::CloudWatch::Alarm', 0);
  without.resourceCountIs('AWS::CloudWatch::Dashboard', 0);
  template({ alarms: false }).resourceCountIs('AWS::CloudWatch::Dashboard', 1);
});

test('the construct gives access to each alarm, and to those of one severity', () => {
  const stack = new Stack(app(), 'Own', { env: { region: 'eu-west-1' } });
  const vpcs = [{ vpc: vpc(stack), zoneName: 'dev.internal' }];
  const trail = TrailSource.EXISTING;
  const { alarms } = new EcsServiceDiscovery(stack, 'Discovery', { environment: 'dev', vpcs, trail });
  const critical = alarms?.withSeverity(Severity.CRITICAL) ?? [];
  expect(critical).toContain(alarms?.noCompleteFullPass);
  expect([...critical, ...(alarms?.withSeverity(Severity.WARNING) ?? [])]).toEqual(alarms?.all);
});

describe('the metrics of the construct', () => {
  const stack = new Stack(app(), 'Own', { env: { region: 'eu-west-1' } });
  const discovery = new EcsServiceDiscovery(stack, 'Discovery', {
    environment: 'dev',
    vpcs: [{ vpc: vpc(stack), zoneName: 'dev.internal' }],
    trail: TrailSource.EXISTING,
    fullPassInterval: Duration.minutes(30),
  });
  const methods = Object.getOwnPropertyNames(EcsServiceDiscovery.prototype).filter((name) => name.startsWith('metric'));
  const metric = (method: string, options: MetricOptions = {}) =>
    (discovery as unknown as Record<string, (options: MetricOptions) => Metric>)[method]?.(options);

  test('are those of the alarms, with their statistics and periods', () => {
    const found = Object.values(alarms({ fullPassMinutes: 30 })).filter(
      ({ Namespace }) => Namespace === 'EcsDiscovery',
    );
    expect(found.length).toBeGreaterThan(5);
    for (const { MetricName, Dimensions, Period, Statistic, ExtendedStatistic } of found) {
      const made = metric(`metric${MetricName}`);
      expect(made).toMatchObject({
        namespace: 'EcsDiscovery',
        metricName: MetricName,
        statistic: Statistic ?? ExtendedStatistic,
      });
      expect(made?.period.toSeconds()).toBe(Period);
      expect(Dimensions).toEqual([{ Name: 'Environment', Value: made?.dimensions?.Environment as unknown }]);
    }
  });

  test.each(methods)('%s has the name of a documented metric, and takes other options', (method) => {
    const documented = readFileSync(path.join(root, 'docs/observability.md'), 'utf8');
    const name = method.replace('metric', '');
    expect(documented).toContain(`| \`${name}\` |`);
    expect(metric(method)?.metricName).toBe(name);
    const other = metric(method, { period: Duration.hours(1), statistic: 'Average', label: 'names' });
    expect(other).toMatchObject({ statistic: 'Average', label: 'names' });
    expect(other?.period.toHours()).toBe(1);
  });
});

test('alarms notify the topic when they start and when they end', () => {
  const topic = 'arn:aws:sns:eu-west-1:111122223333:oncall';
  for (const { AlarmActions, OKActions } of Object.values(alarms({ alarmTopicArn: topic }))) {
    expect([AlarmActions, OKActions]).toEqual([[topic], [topic]]);
  }
  for (const alarm of Object.values(alarms())) expect(alarm.AlarmActions).toBeUndefined();
});

test.each([
  [1, 15],
  [4, 4],
  [5, 3],
  [15, 3],
  [480, 3],
])(
  'a missing full pass every %i minutes raises an alarm after %i intervals, also without any data',
  (fullPassMinutes, EvaluationPeriods) => {
    const alarm = alarms({ fullPassMinutes }).NoCompleteFullPass;
    expect(alarm).toMatchObject({ Period: fullPassMinutes * 60, EvaluationPeriods, TreatMissingData: 'breaching' });
    // Each interval has to be without a complete full pass, and metrics may be some minutes late.
    expect(alarm?.DatapointsToAlarm).toBeUndefined();
    expect(fullPassMinutes * EvaluationPeriods).toBeGreaterThanOrEqual(15);
  },
);

test('a full pass that is missing before the first one raises no alarm', () => {
  const made = template();
  const [fullPass] = Object.keys(made.findResources('Custom::EcsDiscoveryFullPass'));
  const found = made.findResources('AWS::CloudWatch::Alarm') as Record<string, { DependsOn?: string[] }>;
  const waits = Object.entries(found).filter(([, { DependsOn }]) => DependsOn?.includes(fullPass ?? ''));
  expect(waits.map(([id]) => id)).toEqual([expect.stringMatching(/NoCompleteFullPass/)]);
});

test('a failing run and a function that cannot start raise an alarm with both kinds of delivery', () => {
  for (const delivery of ['direct', 'queue']) {
    const { HandlerFails, FunctionFails } = alarms({ delivery });
    expect(HandlerFails).toMatchObject({ Namespace: 'EcsDiscovery', MetricName: 'FailedRuns' });
    expect(FunctionFails).toMatchObject({ Namespace: 'AWS/Lambda', MetricName: 'Errors' });
  }
});

test.each([1, 15, 480])(
  'two failed full passes in a row raise an alarm with a full pass every %i minutes',
  (minutes) => {
    const { HandlerFails } = alarms({ fullPassMinutes: minutes });
    expect(HandlerFails).toMatchObject({ Period: 300, DatapointsToAlarm: 2 });
    const evaluated = 300 * (HandlerFails?.EvaluationPeriods ?? 0);
    expect(evaluated).toBeGreaterThan(minutes * 60);
    expect(evaluated).toBeLessThanOrEqual(86_400);
  },
);

test.each([1, 15, 59, 60, 480])(
  'no alarm evaluates longer than CloudWatch allows with a full pass every %i minutes',
  (fullPassMinutes) => {
    for (const { Period, EvaluationPeriods } of Object.values(alarms({ fullPassMinutes }))) {
      // A day, or a week if the period has at least an hour.
      expect(Period * EvaluationPeriods).toBeLessThanOrEqual(Period < 3_600 ? 86_400 : 604_800);
    }
  },
);

test.each([1, 15, 480])(
  'services that wait in more than three full passes in a row raise an alarm with a full pass every %i minutes',
  (fullPassMinutes) => {
    expect(alarms({ fullPassMinutes }).WaitingPersists).toMatchObject({
      MetricName: 'Waiting',
      // If only one of several full passes in the interval finds no service that waits, the minimum is zero.
      Statistic: 'Minimum',
      Period: fullPassMinutes * 60,
      EvaluationPeriods: 4,
      TreatMissingData: 'ignore',
    });
  },
);

test('a full zone and repairs by full passes raise alarms', () => {
  expect(alarms().ZoneAlmostFull).toMatchObject({ MetricName: 'ZoneRecords', Threshold: 8_000 });
  expect(alarms().RepairsPersist).toMatchObject({ MetricName: 'RepairedByFullPass', EvaluationPeriods: 3 });
});

test('the handler writes every metric that an alarm or the dashboard shows', () => {
  const written = readFileSync(path.join(root, 'handler/src/metrics.rs'), 'utf8');
  const own = Object.values(alarms({ delivery: 'queue' })).filter(({ Namespace }) => Namespace === 'EcsDiscovery');
  const body = JSON.stringify(template().findResources('AWS::CloudWatch::Dashboard'));
  const shown = [...body.matchAll(/\\"EcsDiscovery\\",\\"(\w+)\\"/g)].map(([, name]) => name ?? '');
  expect(shown.length).toBeGreaterThan(10);
  for (const name of [...own.map(({ MetricName }) => MetricName), ...shown]) {
    expect(written).toMatch(new RegExp(`(counter|histogram)!\\("${name}"`));
  }
  for (const { Dimensions } of own) expect(Dimensions).toContainEqual({ Name: 'Environment', Value: 'dev' });
});

test('the dashboard shows every status that changes or needs attention', () => {
  const report = readFileSync(path.join(root, 'handler/src/domain/report.rs'), 'utf8');
  const statuses = [...report.matchAll(/Status::\w+ => "(\w+)"/g)].map(([, status]) => status ?? '');
  const body = JSON.stringify(template().findResources('AWS::CloudWatch::Dashboard'));
  const shown = [...new Set([...body.matchAll(/\\"Status\\",\\"(\w+)\\"/g)].map(([, status]) => status ?? ''))];
  expect(statuses.length).toBeGreaterThan(10);
  expect(shown.sort()).toEqual(statuses.filter((status) => !['unchanged', 'ignored'].includes(status)).sort());

  const query = /latest_outcome in \[([^\]]*)\]/.exec(body)?.[1] ?? '';
  const queried = [...query.matchAll(/(\w+)/g)].map(([status]) => status);
  const succeeded = ['registered', 'updated', 'adopted', 'deregistered'];
  expect(queried.sort()).toEqual(shown.filter((status) => !succeeded.includes(status)).sort());
});

test('the first row of the dashboard shows levels of full passes', () => {
  const body = JSON.stringify(template().findResources('AWS::CloudWatch::Dashboard'));
  const row = body.slice(body.indexOf('Is every service registered?'), body.indexOf('Seconds from event'));
  expect(row).not.toContain('Outcomes');
  for (const name of ['ExpectedNames', 'ManagedNames', 'Conflicts', 'Refused', 'Waiting', 'Invalid', 'Rejected']) {
    expect(row).toContain(name);
  }
});

test.each([
  [15, 'sync', 30],
  [480, 'create-and-update', 495],
])(
  'the dashboard shows the outcomes since the last full pass every %i minutes in the mode %s, without dry runs',
  (fullPassMinutes, mode, minutes) => {
    const query = queryOf({ fullPassMinutes, mode });
    expect(query.split('\n| ').slice(0, 4)).toEqual([
      'filter message = "outcome"',
      `filter toMillis(@timestamp) >= now() * 1000 - ${minutes * 60_000}`,
      'filter @message like /"dry_run":false/',
      'stats latest(outcome) as latest_outcome, latest(dns_name) as latest_name, latest(reason) as latest_reason, max(@timestamp) as seen by ecs_service',
    ]);
  },
);

test('the dashboard of a stack that only observes shows dry runs, since it has no other ones', () => {
  expect(queryOf({ mode: 'observe' })).not.toContain('dry_run');
});

/** The query for the services that are not registered. */
function queryOf(options: object): string {
  const [dashboard] = Object.values(template(options).findResources('AWS::CloudWatch::Dashboard')) as {
    Properties: { DashboardBody: { 'Fn::Join': [string, unknown[]] } };
  }[];
  const parts = dashboard?.Properties.DashboardBody['Fn::Join'][1] ?? [];
  const text = parts.map((part) => (typeof part === 'string' ? part : '')).join('');
  const body = JSON.parse(text) as { widgets: { type: string; properties: { query?: string } }[] };
  const query = body.widgets.find(({ type }) => type === 'log')?.properties.query ?? '';
  return query.slice(query.indexOf('filter'));
}

interface Detail {
  eventSource?: string[];
  eventName?: string[];
  $or?: { eventName: string[] }[];
}

test.each([
  ['ecs.amazonaws.com', 'ECS_CALLS'],
  ['elasticloadbalancing.amazonaws.com', 'LOAD_BALANCER_CALLS'],
  [undefined, 'SERVICE_EVENTS'],
])('the rule for %s matches the calls and events that the handler processes: %s', (api, constant) => {
  const source = readFileSync(path.join(root, 'handler/src/domain/event.rs'), 'utf8');
  const list = new RegExp(`\\b${constant}: \\[&str; \\d+\\] =\\s+\\[([^\\]]*)\\]`).exec(source)?.[1] ?? '';
  const names = [...list.matchAll(/"(\w+)"/g)].map(([, name]) => name ?? '');
  const rules = Object.values(template().findResources('AWS::Events::Rule')) as {
    Properties: { EventPattern?: { detail?: Detail } };
  }[];
  const details = rules.flatMap(({ Properties: rule }) => rule.EventPattern?.detail ?? []);
  const of = details.filter(({ eventSource }) => eventSource?.[0] === api);
  const matched = of.flatMap(({ eventName, $or }) => [
    ...(eventName ?? []),
    ...($or ?? []).flatMap((one) => one.eventName),
  ]);
  expect(names.length).toBeGreaterThan(2);
  expect(matched.sort()).toEqual(names.sort());
});

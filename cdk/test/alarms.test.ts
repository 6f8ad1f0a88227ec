/** Alarms and dashboard. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { root, template } from './stacks.js';

interface Alarm {
  AlarmName: string;
  AlarmDescription: string;
  AlarmActions?: unknown[];
  OKActions?: unknown[];
  Namespace: string;
  MetricName: string;
  Dimensions: { Name: string; Value: unknown }[];
  Period: number;
  EvaluationPeriods: number;
  TreatMissingData: string;
}

function alarms(options: object = {}): Record<string, Alarm> {
  const found = Object.values(template(options).findResources('AWS::CloudWatch::Alarm')) as { Properties: Alarm }[];
  return Object.fromEntries(
    found.map(({ Properties: alarm }) => [alarm.AlarmName.replace('EcsDiscovery-dev-', ''), alarm]),
  );
}

/** The anchors of the runbook's sections about alarms. */
function sections(): string[] {
  const text = readFileSync(path.join(root, 'RUNBOOK.md'), 'utf8');
  const chapter = text.split(/^## /m).find((part) => part.startsWith('Alarms\n')) ?? '';
  return [...chapter.matchAll(/^### (.*)$/gm)].map(([, heading]) => heading?.toLowerCase().replaceAll(' ', '-') ?? '');
}

test('every alarm states its environment and its meaning, and links to its section in the runbook', () => {
  const links = Object.values(alarms()).map(
    ({ AlarmDescription: text }) => /^Environment dev: [A-Z].{40,} Next steps: RUNBOOK\.md#([a-z-]+)$/.exec(text)?.[1],
  );
  expect(links).toHaveLength(6);
  // Every section has an alarm, too.
  expect([...links].sort()).toEqual(sections().sort());
});

test('alarms notify the topic when they start and when they end', () => {
  const topic = 'arn:aws:sns:eu-west-1:111122223333:oncall';
  for (const { AlarmActions, OKActions } of Object.values(alarms({ alarmTopicArn: topic }))) {
    expect([AlarmActions, OKActions]).toEqual([[topic], [topic]]);
  }
  for (const alarm of Object.values(alarms())) expect(alarm.AlarmActions).toBeUndefined();
});

test('a missing full pass raises an alarm after three intervals, also without any data', () => {
  for (const fullPassMinutes of [1, 15, 480]) {
    const alarm = alarms({ fullPassMinutes }).NoCompleteFullPass;
    expect(alarm).toMatchObject({ Period: fullPassMinutes * 60, EvaluationPeriods: 3, TreatMissingData: 'breaching' });
    // An alarm evaluates a day at most.
    expect(fullPassMinutes * 60 * 3).toBeLessThanOrEqual(86_400);
  }
});

test('a failing handler raises an alarm with both kinds of delivery', () => {
  expect(alarms({ delivery: 'direct' }).HandlerFails).toMatchObject({ Namespace: 'AWS/Lambda', MetricName: 'Errors' });
  expect(alarms({ delivery: 'queue' }).HandlerFails).toMatchObject({
    Namespace: 'EcsDiscovery',
    MetricName: 'FailedRuns',
  });
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
  for (const { Dimensions } of own) expect(Dimensions).toEqual([{ Name: 'Environment', Value: 'dev' }]);
});

test('the dashboard shows every status that changes or needs attention', () => {
  const report = readFileSync(path.join(root, 'handler/src/domain/report.rs'), 'utf8');
  const statuses = [...report.matchAll(/Status::\w+ => "(\w+)"/g)].map(([, status]) => status ?? '');
  const body = JSON.stringify(template().findResources('AWS::CloudWatch::Dashboard'));
  const shown = [...body.matchAll(/\\"Status\\",\\"(\w+)\\"/g)].map(([, status]) => status ?? '');
  expect(statuses.length).toBeGreaterThan(10);
  expect(shown.sort()).toEqual(statuses.filter((status) => !['unchanged', 'ignored'].includes(status)).sort());

  const query = /status in \[([^\]]*)\]/.exec(body)?.[1] ?? '';
  const queried = [...query.matchAll(/(\w+)/g)].map(([status]) => status);
  const succeeded = ['registered', 'updated', 'adopted', 'deregistered'];
  expect(queried.sort()).toEqual(shown.filter((status) => !succeeded.includes(status)).sort());
});

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

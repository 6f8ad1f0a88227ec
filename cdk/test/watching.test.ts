/** What wakes somebody, and what is seen then. */
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
  return Object.fromEntries(found.map(({ Properties: alarm }) => [alarm.AlarmName.replace('EcsDiscovery-dev-', ''), alarm]));
}

/** The anchors of the runbook's sections about alarms, as Markdown makes them of headings. */
function sections(): string[] {
  const text = readFileSync(path.join(root, 'RUNBOOK.md'), 'utf8');
  const chapter = text.split(/^## /m).find((part) => part.startsWith('Alarms\n')) ?? '';
  return [...chapter.matchAll(/^### (.*)$/gm)].map(([, heading]) => heading?.toLowerCase().replaceAll(' ', '-') ?? '');
}

test('every alarm says what it means and has its section in the runbook, and every section its alarm', () => {
  const links = Object.values(alarms()).map(({ AlarmDescription: text }) => /^[A-Z].{40,} RUNBOOK\.md#([a-z-]+)$/.exec(text)?.[1]);
  expect(links).toHaveLength(6);
  expect([...links].sort()).toEqual(sections().sort());
});

test('alarms go to the topic that is given, when they begin and when they end', () => {
  const topic = 'arn:aws:sns:eu-west-1:111122223333:oncall';
  for (const { AlarmActions, OKActions } of Object.values(alarms({ alarmTopicArn: topic }))) {
    expect([AlarmActions, OKActions]).toEqual([[topic], [topic]]);
  }
  for (const alarm of Object.values(alarms())) expect(alarm.AlarmActions).toBeUndefined();
});

test('a full pass is missed after three intervals, also where nothing is measured any more', () => {
  for (const sweepMinutes of [1, 15, 480]) {
    const alarm = alarms({ sweepMinutes }).NoCompletePass;
    expect(alarm).toMatchObject({ Period: sweepMinutes * 60, EvaluationPeriods: 3, TreatMissingData: 'breaching' });
    // CloudWatch looks back a day at most.
    expect(sweepMinutes * 60 * 3).toBeLessThanOrEqual(86_400);
  }
});

test('a handler that fails is noticed whichever way events are delivered', () => {
  expect(alarms({ delivery: 'direct' }).HandlerFails).toMatchObject({ Namespace: 'AWS/Lambda', MetricName: 'Errors' });
  expect(alarms({ delivery: 'queue' }).HandlerFails).toMatchObject({ Namespace: 'EcsDiscovery', MetricName: 'FailedRuns' });
});

test('every metric of the handler that is looked at is one that it writes', () => {
  const written = readFileSync(path.join(root, 'handler/src/measure.rs'), 'utf8');
  const own = Object.values(alarms({ delivery: 'queue' })).filter(({ Namespace }) => Namespace === 'EcsDiscovery');
  const body = JSON.stringify(template().findResources('AWS::CloudWatch::Dashboard'));
  const shown = [...body.matchAll(/\\"EcsDiscovery\\",\\"(\w+)\\"/g)].map(([, name]) => name ?? '');
  expect(shown.length).toBeGreaterThan(10);
  for (const name of [...own.map(({ MetricName }) => MetricName), ...shown]) {
    expect(written).toMatch(new RegExp(`(counter|histogram)!\\("${name}"`));
  }
  for (const { Dimensions } of own) expect(Dimensions).toEqual([{ Name: 'Environment', Value: 'dev' }]);
});

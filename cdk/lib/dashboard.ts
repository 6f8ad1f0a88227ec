import { Duration, Stack } from 'aws-cdk-lib';
import {
  AlarmStatusWidget,
  Dashboard,
  GraphWidget,
  type IAlarm,
  LogQueryWidget,
  SingleValueWidget,
  TextWidget,
} from 'aws-cdk-lib/aws-cloudwatch';
import type { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { ZONE_QUOTA } from './alarms.js';
import type { HandlerMetrics } from './metrics.js';
import { unregisteredServices } from './queries.js';
import type { VpcZone } from './zones.js';

export interface DiscoveryDashboardProps {
  readonly environment: string;
  readonly alarms: readonly IAlarm[];
  readonly metrics: HandlerMetrics;
  readonly deadLetterQueue: IQueue;
  readonly logGroup: LogGroup;
  readonly zones: readonly VpcZone[];
  /** The time between two full passes. */
  readonly fullPassInterval: Duration;
  /** The minutes after which each service without its name is logged again at the latest. */
  readonly repetitionMinutes: number;
  /** Whether the stack only observes, so that all of its runs are dry runs. */
  readonly observes: boolean;
  readonly runbookUrl: string;
}

/** Shows which services have their names, how fast changes are applied, the reasons of failures, and the use of quotas. */
export class DiscoveryDashboard extends Construct {
  constructor(scope: Construct, id: string, props: DiscoveryDashboardProps) {
    super(scope, id);
    const { metrics, environment } = props;
    const statuses = [
      'registered',
      'updated',
      'adopted',
      'deregistered',
      'conflict',
      'invalid',
      'waiting',
      'refused',
      'rejected',
      'failed',
    ];
    const apis = ['ecs', 'elb', 'route53'];

    new Dashboard(this, 'Dashboard', {
      defaultInterval: Duration.hours(12),
      widgets: [
        [
          ...(props.alarms.length === 0
            ? []
            : [new AlarmStatusWidget({ title: 'Alarms', alarms: [...props.alarms], width: 8, height: 4 })]),
          new SingleValueWidget({
            title: 'Is every service registered? (last full pass)',
            metrics: [
              metrics.expectedNames().with({ label: 'should have a name' }),
              metrics.managedNames().with({ label: 'names' }),
              metrics.conflicts().with({ label: 'conflict' }),
              metrics.refused().with({ label: 'refused' }),
              metrics.waiting().with({ label: 'waiting' }),
              metrics.invalid().with({ label: 'invalid' }),
              metrics.rejected().with({ label: 'rejected' }),
              metrics.failures({ period: props.fullPassInterval }).with({ label: 'failures in all runs since' }),
            ],
            width: props.alarms.length === 0 ? 24 : 16,
            height: 4,
          }),
        ],
        [
          new GraphWidget({
            title: 'Seconds from event to change',
            left: [
              metrics.eventToChange().with({ statistic: 'p50', label: 'p50' }),
              metrics.eventToChange(),
              metrics.eventToChange().with({ statistic: 'Maximum', label: 'slowest' }),
            ],
            leftYAxis: { min: 0 },
            width: 12,
          }),
          new GraphWidget({
            title: 'Outcomes of services',
            left: statuses.map((status) => metrics.outcomes(status)().with({ label: status })),
            stacked: true,
            width: 12,
          }),
        ],
        [
          new LogQueryWidget({
            title: 'Services that are not registered, each with its latest reason since the last full pass',
            logGroupNames: [props.logGroup.logGroupName],
            queryLines: unregisteredServices(props.repetitionMinutes, props.observes),
            width: 24,
            height: 7,
          }),
        ],
        [
          new GraphWidget({
            title: 'Complete full passes, what they repaired, and the age of the last one',
            left: [
              metrics.completeFullPasses(),
              metrics.repairedByFullPass(),
              metrics.failedRuns({ period: props.fullPassInterval }),
            ],
            right: [metrics.lastFullPassAge().with({ label: 'age in seconds' })],
            leftYAxis: { min: 0 },
            rightYAxis: { min: 0 },
            width: 8,
          }),
          new GraphWidget({
            title: 'Requests to AWS and throttled attempts',
            left: apis.map((api) => metrics.apiCalls(api)().with({ label: api })),
            right: apis.map((api) =>
              metrics
                .throttles(api)()
                .with({ label: `${api} throttled` }),
            ),
            rightYAxis: { min: 0 },
            width: 8,
          }),
          new GraphWidget({
            title: 'Record sets in each zone (quota 10,000)',
            left: props.zones.map((zone) => metrics.zoneRecords(zone.hostedZoneId)().with({ label: zone.name })),
            leftYAxis: { min: 0 },
            leftAnnotations: [
              { value: ZONE_QUOTA, label: 'quota', color: '#d62728' },
              { value: 0.8 * ZONE_QUOTA, label: '80 percent', color: '#ff7f0e' },
            ],
            width: 8,
          }),
        ],
        [
          new GraphWidget({
            title: 'Record sets created and deleted',
            left: [metrics.created(), metrics.deleted()],
            width: 8,
          }),
          new GraphWidget({
            title: 'Events in the dead-letter queue',
            left: [
              props.deadLetterQueue.metricApproximateNumberOfMessagesVisible({
                period: Duration.minutes(5),
                statistic: 'Maximum',
              }),
            ],
            leftYAxis: { min: 0 },
            width: 8,
          }),
          new TextWidget({
            markdown: `**${environment}** in ${Stack.of(this).region}\n\nThe runbook explains each alarm and the next steps: ${props.runbookUrl}`,
            width: 8,
            height: 6,
          }),
        ],
      ],
    });
  }
}

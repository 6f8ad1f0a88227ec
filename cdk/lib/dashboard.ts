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
import type { HandlerMetrics } from './metrics.js';
import type { VpcZone } from './zones.js';

export interface DiscoveryDashboardProps {
  readonly environment: string;
  readonly alarms: readonly IAlarm[];
  readonly metrics: HandlerMetrics;
  readonly deadLetterQueue: IQueue;
  readonly logGroup: LogGroup;
  readonly zones: readonly VpcZone[];
  readonly fullPassMinutes: number;
}

/** Shows which services have their names, how fast changes are applied, the reasons of failures, and the use of quotas. */
export class DiscoveryDashboard extends Construct {
  constructor(scope: Construct, id: string, props: DiscoveryDashboardProps) {
    super(scope, id);
    const { metrics, environment } = props;
    const minutes = Duration.minutes(5);
    const fullPass = Duration.minutes(props.fullPassMinutes);
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
      dashboardName: `EcsDiscovery-${environment}`,
      defaultInterval: Duration.hours(12),
      widgets: [
        [
          new AlarmStatusWidget({ title: 'Alarms', alarms: [...props.alarms], width: 12, height: 3 }),
          new SingleValueWidget({
            title: 'Is every service registered? (last full pass)',
            metrics: [
              metrics.managedNames(fullPass),
              metrics.conflicts(fullPass),
              metrics.refused(fullPass),
              metrics.failures(fullPass),
            ],
            width: 12,
            height: 3,
          }),
        ],
        [
          new GraphWidget({
            title: 'Seconds from event to change',
            left: [
              metrics.eventToChange(minutes).with({ statistic: 'p50', label: 'p50' }),
              metrics.eventToChange(minutes),
              metrics.eventToChange(minutes).with({ statistic: 'Maximum', label: 'slowest' }),
            ],
            leftYAxis: { min: 0 },
            width: 12,
          }),
          new GraphWidget({
            title: 'Outcomes of services',
            left: statuses.map((status) => metrics.outcomes(status)(minutes).with({ label: status })),
            stacked: true,
            width: 12,
          }),
        ],
        [
          new LogQueryWidget({
            title: 'Services without their name, and why',
            logGroupNames: [props.logGroup.logGroupName],
            queryLines: [
              'fields @timestamp, status, name, service, reason',
              'filter message = "outcome" and status in ["conflict", "refused", "rejected", "invalid", "failed", "waiting"]',
              'sort @timestamp desc',
              'limit 50',
            ],
            width: 24,
            height: 7,
          }),
        ],
        [
          new GraphWidget({
            title: 'Complete full passes, and the age of the last one',
            left: [metrics.completeFullPasses(fullPass), metrics.failedRuns(fullPass)],
            right: [metrics.lastFullPassAge(minutes).with({ label: 'age in seconds' })],
            leftYAxis: { min: 0 },
            rightYAxis: { min: 0 },
            width: 8,
          }),
          new GraphWidget({
            title: 'Requests to AWS and throttled attempts',
            left: apis.map((api) => metrics.apiCalls(api)(minutes).with({ label: api })),
            right: apis.map((api) =>
              metrics
                .throttles(api)(minutes)
                .with({ label: `${api} throttled` }),
            ),
            rightYAxis: { min: 0 },
            width: 8,
          }),
          new GraphWidget({
            title: 'Record sets in each zone (quota 10,000)',
            left: props.zones.map((zone) =>
              metrics.zoneRecords(zone.hostedZoneId)(fullPass).with({ label: zone.name }),
            ),
            leftYAxis: { min: 0 },
            leftAnnotations: [{ value: 10_000, label: 'quota', color: '#d62728' }],
            width: 8,
          }),
        ],
        [
          new GraphWidget({
            title: 'Record sets created and deleted',
            left: [metrics.created(minutes), metrics.deleted(minutes)],
            width: 8,
          }),
          new GraphWidget({
            title: 'Events in the dead-letter queue',
            left: [
              props.deadLetterQueue.metricApproximateNumberOfMessagesVisible({ period: minutes, statistic: 'Maximum' }),
            ],
            leftYAxis: { min: 0 },
            width: 8,
          }),
          new TextWidget({
            markdown: `**${environment}** in ${Stack.of(this).region}\n\nRUNBOOK.md explains each alarm and the next steps.`,
            width: 8,
            height: 6,
          }),
        ],
      ],
    });
  }
}

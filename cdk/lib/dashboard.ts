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
  readonly failures: IQueue;
  readonly logGroup: LogGroup;
  readonly zones: readonly VpcZone[];
  readonly sweepMinutes: number;
}

/** Answers at a glance: is every service registered, how fast, what is not and why, how near are the quotas. */
export class DiscoveryDashboard extends Construct {
  constructor(scope: Construct, id: string, props: DiscoveryDashboardProps) {
    super(scope, id);
    const { metrics, environment } = props;
    const minutes = Duration.minutes(5);
    const pass = Duration.minutes(props.sweepMinutes);
    const statuses = ['registered', 'updated', 'adopted', 'deregistered', 'conflict', 'invalid', 'waiting', 'refused', 'failed'];
    const services = ['ecs', 'elb', 'route53'];

    new Dashboard(this, 'Dashboard', {
      dashboardName: `EcsDiscovery-${environment}`,
      defaultInterval: Duration.hours(12),
      widgets: [
        [
          new AlarmStatusWidget({ title: 'Alarms', alarms: [...props.alarms], width: 12, height: 3 }),
          new SingleValueWidget({
            title: 'Is every service registered? (last full pass)',
            metrics: [metrics.managedNames(pass), metrics.conflicts(pass), metrics.refused(pass), metrics.failures(pass)],
            width: 12,
            height: 3,
          }),
        ],
        [
          new GraphWidget({
            title: 'How fast? Seconds from event to change',
            left: [
              metrics.eventToChange(minutes).with({ statistic: 'p50', label: 'p50' }),
              metrics.eventToChange(minutes),
              metrics.eventToChange(minutes).with({ statistic: 'Maximum', label: 'slowest' }),
            ],
            leftYAxis: { min: 0 },
            width: 12,
          }),
          new GraphWidget({
            title: 'What became of services that changed',
            left: statuses.map((status) => metrics.outcomes(status)(minutes).with({ label: status })),
            stacked: true,
            width: 12,
          }),
        ],
        [
          new LogQueryWidget({
            title: 'What is not registered, and why',
            logGroupNames: [props.logGroup.logGroupName],
            queryLines: [
              'fields @timestamp, status, name, service, reason',
              'filter message = "outcome" and status in ["conflict", "refused", "invalid", "failed", "waiting"]',
              'sort @timestamp desc',
              'limit 50',
            ],
            width: 24,
            height: 7,
          }),
        ],
        [
          new GraphWidget({
            title: 'Full passes that were complete, and the age of the last',
            left: [metrics.completePasses(pass), metrics.failedRuns(pass)],
            right: [metrics.lastPassAge(minutes).with({ label: 'age in seconds' })],
            leftYAxis: { min: 0 },
            rightYAxis: { min: 0 },
            width: 8,
          }),
          new GraphWidget({
            title: 'How near are the quotas? Requests and throttles',
            left: services.map((service) => metrics.apiCalls(service)(minutes).with({ label: service })),
            right: services.map((service) => metrics.throttles(service)(minutes).with({ label: `${service} throttled` })),
            rightYAxis: { min: 0 },
            width: 8,
          }),
          new GraphWidget({
            title: 'Record sets in the zone, of 10,000',
            left: props.zones.map((zone) => metrics.zoneRecords(zone.hostedZoneId)(pass).with({ label: zone.name })),
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
            title: 'Waiting in the dead-letter queue',
            left: [props.failures.metricApproximateNumberOfMessagesVisible({ period: minutes, statistic: 'Maximum' })],
            leftYAxis: { min: 0 },
            width: 8,
          }),
          new TextWidget({
            markdown: `**${environment}** in ${Stack.of(this).region}\n\nWhat each alarm means and what to do: RUNBOOK.md`,
            width: 8,
            height: 6,
          }),
        ],
      ],
    });
  }
}

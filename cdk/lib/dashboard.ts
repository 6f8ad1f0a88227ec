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
  readonly fullPassMinutes: number;
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
      defaultInterval: Duration.hours(12),
      widgets: [
        [
          ...(props.alarms.length === 0
            ? []
            : [new AlarmStatusWidget({ title: 'Alarms', alarms: [...props.alarms], width: 8, height: 4 })]),
          new SingleValueWidget({
            title: 'Is every service registered? (last full pass)',
            metrics: [
              metrics.expectedNames(fullPass).with({ label: 'should have a name' }),
              metrics.managedNames(fullPass).with({ label: 'names' }),
              metrics.conflicts(fullPass).with({ label: 'conflict' }),
              metrics.refused(fullPass).with({ label: 'refused' }),
              metrics.waiting(fullPass).with({ label: 'waiting' }),
              metrics.invalid(fullPass).with({ label: 'invalid' }),
              metrics.rejected(fullPass).with({ label: 'rejected' }),
              metrics.failures(fullPass).with({ label: 'failures in all runs since' }),
            ],
            width: props.alarms.length === 0 ? 24 : 16,
            height: 4,
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
              metrics.completeFullPasses(fullPass),
              metrics.repairedByFullPass(fullPass),
              metrics.failedRuns(fullPass),
            ],
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
            markdown: `**${environment}** in ${Stack.of(this).region}\n\nThe runbook explains each alarm and the next steps: ${props.runbookUrl}`,
            width: 8,
            height: 6,
          }),
        ],
      ],
    });
  }
}

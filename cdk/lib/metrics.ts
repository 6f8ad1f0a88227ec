/** The metrics that the handler writes. `handler/src/metrics.rs` uses the same names. */
import { Duration } from 'aws-cdk-lib';
import { Metric, type MetricOptions } from 'aws-cdk-lib/aws-cloudwatch';

export const NAMESPACE = 'EcsDiscovery';

/** A metric. Its default period is five minutes, or the interval between full passes for those of full passes. */
type MakeMetric = (options?: MetricOptions) => Metric;

/** The metrics of one environment. */
export class HandlerMetrics {
  constructor(
    private readonly environment: string,
    private readonly fullPassInterval: Duration,
  ) {}

  /** Runs with at least one failure. They are retried. */
  readonly failedRuns = this.metric('FailedRuns', 'Sum');
  /** Services with the status `failed`, and errors while reading. */
  readonly failures = this.metric('Failures', 'Sum');
  /** Full passes without any failure. */
  readonly completeFullPasses = this.fullPassMetric('CompleteFullPasses', 'Sum');
  /** Seconds since the last complete full pass of each process, so the minimum is the right age. */
  readonly lastFullPassAge = this.metric('LastFullPassAge', 'Minimum');
  /** Names that a full pass of the schedule created, moved or deleted, because no event had done so. */
  readonly repairedByFullPass = this.fullPassMetric('RepairedByFullPass', 'Maximum');
  /** Managed names after the last full pass. */
  readonly managedNames = this.fullPassMetric('ManagedNames', 'Maximum');
  /** Services that had, or should have had, a name in the last full pass. */
  readonly expectedNames = this.fullPassMetric('ExpectedNames', 'Maximum');
  /** Services whose name belongs to another service or record, in the last full pass. */
  readonly conflicts = this.fullPassMetric('Conflicts', 'Minimum');
  /** Services whose names were not deleted because of the delete limit, in the last full pass. */
  readonly refused = this.fullPassMetric('Refused', 'Maximum');
  /** Services that wait for their load balancer or their deployment, in the last full pass. */
  readonly waiting = this.fullPassMetric('Waiting', 'Minimum');
  /** Services with an invalid name or tag, in the last full pass. */
  readonly invalid = this.fullPassMetric('Invalid', 'Maximum');
  /** Services whose change Route 53 does not accept, in the last full pass. */
  readonly rejected = this.fullPassMetric('Rejected', 'Maximum');
  /** Seconds from the event until the end of the run that changed a name, the recheck included. */
  readonly eventToChange = this.metric('EventToChange', 'p90');
  /** Created record sets. */
  readonly created = this.metric('Created', 'Sum');
  /** Deleted record sets. */
  readonly deleted = this.metric('Deleted', 'Sum');

  /** Services of a run by status: `registered`, `conflict`, … */
  outcomes(status: string): MakeMetric {
    return this.metric('Outcomes', 'Sum', { Status: status });
  }

  /** Record sets of the zone that has the most. */
  readonly largestZone = this.fullPassMetric('ZoneRecords', 'Maximum');

  /** Record sets of a zone. Its quota is 10,000. */
  zoneRecords(hostedZoneId: string): MakeMetric {
    return this.fullPassMetric('ZoneRecords', 'Maximum', { Zone: hostedZoneId });
  }

  /** Requests to one API of AWS: `ecs`, `elb` or `route53`. */
  apiCalls(api: string): MakeMetric {
    return this.metric('ApiCalls', 'Sum', { Api: api });
  }

  /** Attempts that one API of AWS throttled. */
  throttles(api: string): MakeMetric {
    return this.metric('Throttles', 'Sum', { Api: api });
  }

  private metric(metricName: string, statistic: string, dimensions: Record<string, string> = {}): MakeMetric {
    return (options) =>
      new Metric({
        namespace: NAMESPACE,
        metricName,
        dimensionsMap: { Environment: this.environment, ...dimensions },
        statistic,
        period: Duration.minutes(5),
        ...options,
      });
  }

  private fullPassMetric(metricName: string, statistic: string, dimensions: Record<string, string> = {}): MakeMetric {
    const metric = this.metric(metricName, statistic, dimensions);
    return (options) => metric({ period: this.fullPassInterval, ...options });
  }
}

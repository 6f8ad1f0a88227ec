/** What the handler measures of itself, by the names that it gives it (`handler/src/metrics.rs`). */
import { type Duration } from 'aws-cdk-lib';
import { Metric } from 'aws-cdk-lib/aws-cloudwatch';

export const NAMESPACE = 'EcsDiscovery';

/** The metrics of one environment. */
export class HandlerMetrics {
  constructor(private readonly environment: string) {}

  /** Runs that left something undone, so that they are tried again. */
  readonly failedRuns = this.metric('FailedRuns', 'Sum');
  /** Services that a run could not bring in order, and reads that it could not do. */
  readonly failures = this.metric('Failures', 'Sum');
  /** Full passes that could read and write all that they had to. */
  readonly completePasses = this.metric('CompletePasses', 'Sum');
  /** Seconds since the last of them, as the process that knows of the latest has it. */
  readonly lastPassAge = this.metric('LastPassAge', 'Minimum');
  /** Names that are managed, as the last full pass left them. */
  readonly managedNames = this.metric('ManagedNames', 'Maximum');
  /** Services without a name because it is taken, as the last full pass found them. */
  readonly conflicts = this.metric('Conflicts', 'Minimum');
  /** Services whose names the last full pass did not delete because they were too many at once. */
  readonly refused = this.metric('Refused', 'Maximum');
  /** Seconds from when an event happened until Route 53 had taken the change. */
  readonly eventToChange = this.metric('EventToChange', 'p90');
  /** Record sets that were created. */
  readonly created = this.metric('Created', 'Sum');
  /** Record sets that were deleted. */
  readonly deleted = this.metric('Deleted', 'Sum');

  /** Services of a run by what became of them: `registered`, `conflict`, … */
  outcomes(status: string): (period: Duration) => Metric {
    return this.metric('Outcomes', 'Sum', { Status: status });
  }

  /** Record sets of a zone, of the 10,000 that it can hold. */
  zoneRecords(hostedZoneId: string): (period: Duration) => Metric {
    return this.metric('ZoneRecords', 'Maximum', { Zone: hostedZoneId });
  }

  /** Requests to a service of AWS: `ecs`, `elb` or `route53`. */
  apiCalls(service: string): (period: Duration) => Metric {
    return this.metric('ApiCalls', 'Sum', { Service: service });
  }

  /** Requests that a service of AWS refused because they were too many. */
  throttles(service: string): (period: Duration) => Metric {
    return this.metric('Throttles', 'Sum', { Service: service });
  }

  private metric(metricName: string, statistic: string, dimensions: Record<string, string> = {}) {
    return (period: Duration) =>
      new Metric({
        namespace: NAMESPACE,
        metricName,
        dimensionsMap: { Environment: this.environment, ...dimensions },
        statistic,
        period,
      });
  }
}

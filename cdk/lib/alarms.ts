import { Duration, Tags } from 'aws-cdk-lib';
import { Alarm, type AlarmProps, ComparisonOperator, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { Topic } from 'aws-cdk-lib/aws-sns';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct, type IDependable } from 'constructs';
import type { Discovery } from './environment.js';
import type { HandlerMetrics } from './metrics.js';

/** `critical`: names are wrong or will become wrong. `warning`: somebody should look at it within days. */
export type Severity = 'critical' | 'warning';

export interface DiscoveryAlarmsProps {
  readonly environment: string;
  readonly discovery: Discovery;
  readonly handler: IFunction;
  readonly deadLetterQueue: IQueue;
  readonly metrics: HandlerMetrics;
  /** The full pass of the deployment. No alarm may miss a full pass before it. */
  readonly firstFullPass: IDependable;
}

type Watched = Omit<AlarmProps, 'alarmName' | 'alarmDescription'>;

/** The quota of record sets in a zone. */
export const ZONE_QUOTA = 10_000;

/**
 * The alarms. Each text states the effect on clients that use the names, and the section of the runbook
 * with the next steps. The tag `ecs-discovery:severity` contains the severity.
 */
export class DiscoveryAlarms extends Construct {
  /** Events could not be processed. */
  public readonly deadLetters: Alarm;
  /** Runs of the handler fail. */
  public readonly handlerFails: Alarm;
  /** The function cannot start, or Lambda ends it. */
  public readonly functionFails: Alarm;
  /** Full passes fail, or do not run. */
  public readonly noCompleteFullPass: Alarm;
  /** Events do not arrive: full passes find names to change again and again. */
  public readonly repairsPersist: Alarm;
  /** A full pass would have deleted more names than the delete limit allows. */
  public readonly deletesRefused: Alarm;
  /** Services have no name because another service or record has it. */
  public readonly conflictsPersist: Alarm;
  /** Services wait for their load balancer or their deployment. */
  public readonly waitingPersists: Alarm;
  /** Names change late. */
  public readonly recordsSlow: Alarm;
  /** A zone has more than 80 percent of the record sets that its quota allows. */
  public readonly zoneAlmostFull: Alarm;
  /** All of them. */
  public readonly all: readonly Alarm[];

  private readonly bySeverity: Record<Severity, Alarm[]> = { critical: [], warning: [] };

  constructor(
    scope: Construct,
    id: string,
    private readonly props: DiscoveryAlarmsProps,
  ) {
    super(scope, id);
    const { deadLetterQueue, discovery, handler, metrics } = props;
    const fullPass = Duration.minutes(discovery.fullPassMinutes);
    const fiveMinutes = Duration.minutes(5);
    // So long that the second of two failed full passes is within the same time as the first one.
    const untilNextFullPass = Math.max(3, Math.ceil(discovery.fullPassMinutes / 5) + 1);
    // CloudWatch gets metrics from logs late, so three short intervals may have no data although full passes run.
    const noFullPass = Math.max(3, Math.ceil(15 / discovery.fullPassMinutes));

    this.deadLetters = this.alarm(
      'DeadLetters',
      'warning',
      'At least one event could not be processed and is in the dead-letter queue. Names may be outdated until the next full pass.',
      {
        metric: deadLetterQueue.metricApproximateNumberOfMessagesVisible({
          period: Duration.minutes(1),
          statistic: 'Maximum',
        }),
        threshold: 1,
        evaluationPeriods: 1,
      },
    );
    // A single failure is retried, and the retry usually succeeds.
    const twice = { threshold: 1, evaluationPeriods: untilNextFullPass, datapointsToAlarm: 2 };
    this.handlerFails = this.alarm(
      'HandlerFails',
      'critical',
      'Runs of the handler fail repeatedly. Existing names still resolve, but new, moved and deleted services are delayed.',
      { metric: metrics.failedRuns(fiveMinutes), ...twice },
    );
    this.functionFails = this.alarm(
      'FunctionFails',
      'critical',
      'Invocations of the function fail repeatedly: it cannot start, Lambda ends it, or its runs fail. Existing names still resolve, but new, moved and deleted services are delayed.',
      { metric: handler.metricErrors({ period: fiveMinutes, statistic: 'Sum' }), ...twice },
    );
    this.noCompleteFullPass = this.alarm(
      'NoCompleteFullPass',
      'critical',
      'No full pass was complete in the last three intervals, or in the last 15 minutes if these are longer. Names are not repaired if their events were lost or failed.',
      {
        metric: metrics.completeFullPasses(fullPass),
        threshold: 1,
        comparisonOperator: ComparisonOperator.LESS_THAN_THRESHOLD,
        evaluationPeriods: noFullPass,
        treatMissingData: TreatMissingData.BREACHING,
      },
    );
    this.noCompleteFullPass.node.addDependency(props.firstFullPass);
    this.repairsPersist = this.alarm(
      'RepairsPersist',
      'critical',
      'Three full passes in a row had to create, move or delete names, so events do not reach the handler. New services wait for the next full pass to get their names.',
      {
        metric: metrics.repairedByFullPass(fullPass),
        threshold: 1,
        evaluationPeriods: 3,
        treatMissingData: TreatMissingData.IGNORE,
      },
    );
    this.deletesRefused = this.alarm(
      'DeletesRefused',
      'critical',
      'A full pass would have deleted more names than the delete limit allows, so it deleted none. Either many services were removed on purpose, or the configuration or an AWS answer is wrong.',
      {
        metric: metrics.refused(fullPass),
        threshold: 1,
        evaluationPeriods: 1,
        treatMissingData: TreatMissingData.IGNORE,
      },
    );
    this.conflictsPersist = this.alarm(
      'ConflictsPersist',
      'warning',
      'At least one service had no name in three consecutive full passes, because another service or record has the name.',
      {
        metric: metrics.conflicts(fullPass),
        threshold: 1,
        evaluationPeriods: 3,
        treatMissingData: TreatMissingData.IGNORE,
      },
    );
    this.waitingPersists = this.alarm(
      'WaitingPersists',
      'warning',
      'In more than three consecutive full passes, services waited for a load balancer or a deployment. Until then they have no name or an old record.',
      {
        metric: metrics.waiting(fullPass),
        threshold: 1,
        evaluationPeriods: 4,
        treatMissingData: TreatMissingData.IGNORE,
      },
    );
    this.recordsSlow = this.alarm(
      'RecordsSlow',
      'warning',
      'At least one in ten changes was applied a minute or more after its event. The names of new services resolve late.',
      { metric: metrics.eventToChange(fiveMinutes), threshold: 60, evaluationPeriods: 3, datapointsToAlarm: 2 },
    );
    this.zoneAlmostFull = this.alarm(
      'ZoneAlmostFull',
      'warning',
      'A zone has more than 80 percent of the record sets that its quota allows. New services get no names when it is full.',
      {
        metric: metrics.largestZone(fullPass),
        threshold: 0.8 * ZONE_QUOTA,
        evaluationPeriods: 1,
        treatMissingData: TreatMissingData.IGNORE,
      },
    );

    this.all = [...this.bySeverity.critical, ...this.bySeverity.warning];
    if (discovery.alarmTopicArn !== undefined) {
      const action = new SnsAction(Topic.fromTopicArn(this, 'Topic', discovery.alarmTopicArn));
      for (const alarm of this.all) {
        alarm.addAlarmAction(action);
        alarm.addOkAction(action);
      }
    }
  }

  /** The alarms of one severity, for example to page somebody for the critical ones only. */
  withSeverity(severity: Severity): readonly Alarm[] {
    return this.bySeverity[severity];
  }

  private alarm(name: string, severity: Severity, meaning: string, watched: Watched): Alarm {
    const { environment, discovery } = this.props;
    const anchor = name.replace(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase();
    const alarm = new Alarm(this, name, {
      comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: TreatMissingData.NOT_BREACHING,
      ...watched,
      alarmDescription: `Environment ${environment}, ${severity}: ${meaning} Next steps: ${discovery.runbookUrl}#${anchor}`,
    });
    Tags.of(alarm).add('ecs-discovery:severity', severity);
    this.bySeverity[severity].push(alarm);
    return alarm;
  }
}

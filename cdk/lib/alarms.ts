import { Duration } from 'aws-cdk-lib';
import { Alarm, type AlarmProps, ComparisonOperator, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import { Topic } from 'aws-cdk-lib/aws-sns';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import type { Discovery } from './environment.js';
import type { HandlerMetrics } from './metrics.js';

export interface AlarmsProps {
  readonly environment: string;
  readonly discovery: Discovery;
  readonly handler: IFunction;
  readonly failures: IQueue;
  readonly metrics: HandlerMetrics;
}

/**
 * What wakes somebody. Each alarm says what it means for those who use the names, and which section
 * of `RUNBOOK.md` tells what to do.
 */
export class Alarms extends Construct {
  public readonly all: readonly Alarm[];

  constructor(scope: Construct, id: string, props: AlarmsProps) {
    super(scope, id);
    const { discovery, failures, handler, metrics } = props;
    const pass = Duration.minutes(discovery.sweepMinutes);
    const fiveMinutes = Duration.minutes(5);

    const alarms: [string, string, Omit<AlarmProps, 'alarmName' | 'alarmDescription'>][] = [
      [
        'DeadLetters',
        'Events could not be handled and wait in the dead-letter queue. Names may be late until the next full pass.',
        {
          metric: failures.metricApproximateNumberOfMessagesVisible({ period: Duration.minutes(1), statistic: 'Maximum' }),
          threshold: 1,
          evaluationPeriods: 1,
        },
      ],
      [
        'HandlerFails',
        'The handler keeps failing. Names that exist go on resolving; new, moved and deleted services are late.',
        {
          // A batch of a queue that fails in part is no error of the function.
          metric:
            discovery.delivery === 'queue'
              ? metrics.failedRuns(fiveMinutes)
              : handler.metricErrors({ period: fiveMinutes, statistic: 'Sum' }),
          threshold: 1,
          // One failure is tried again, and mostly over by then.
          evaluationPeriods: 3,
          datapointsToAlarm: 2,
        },
      ],
      [
        'NoCompletePass',
        'No full pass was complete for three intervals. What no event told, or no event could do, is not repaired.',
        {
          metric: metrics.completePasses(pass),
          threshold: 1,
          comparisonOperator: ComparisonOperator.LESS_THAN_THRESHOLD,
          evaluationPeriods: 3,
          treatMissingData: TreatMissingData.BREACHING,
        },
      ],
      [
        'DeletesRefused',
        'A full pass would have deleted more names than the delete limit allows, so it deleted none. Either many services went on purpose, or something is wrong.',
        {
          metric: metrics.refused(pass),
          threshold: 1,
          evaluationPeriods: 1,
          treatMissingData: TreatMissingData.IGNORE,
        },
      ],
      [
        'ConflictsPersist',
        'A service has had no name for three full passes, because something else holds it.',
        {
          metric: metrics.conflicts(pass),
          threshold: 1,
          evaluationPeriods: 3,
          treatMissingData: TreatMissingData.IGNORE,
        },
      ],
      [
        'RecordsSlow',
        'Of the last changes one in ten came more than a minute after its event. New services resolve late.',
        { metric: metrics.eventToChange(fiveMinutes), threshold: 60, evaluationPeriods: 3, datapointsToAlarm: 2 },
      ],
    ];
    this.all = alarms.map(([name, meaning, alarm]) => {
      const anchor = name.replace(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase();
      return new Alarm(this, name, {
        comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        treatMissingData: TreatMissingData.NOT_BREACHING,
        ...alarm,
        alarmName: `EcsDiscovery-${props.environment}-${name}`,
        alarmDescription: `${meaning} What to do: RUNBOOK.md#${anchor}`,
      });
    });
    if (discovery.alarmTopicArn !== undefined) {
      const action = new SnsAction(Topic.fromTopicArn(this, 'Topic', discovery.alarmTopicArn));
      for (const alarm of this.all) {
        alarm.addAlarmAction(action);
        alarm.addOkAction(action);
      }
    }
  }
}

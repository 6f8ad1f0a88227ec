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
  readonly deadLetterQueue: IQueue;
  readonly metrics: HandlerMetrics;
}

/**
 * The alarms. Each text states the effect on clients that use the names, and the section of `RUNBOOK.md`
 * with the next steps.
 */
export class Alarms extends Construct {
  public readonly all: readonly Alarm[];

  constructor(scope: Construct, id: string, props: AlarmsProps) {
    super(scope, id);
    const { deadLetterQueue, discovery, handler, metrics } = props;
    const fullPass = Duration.minutes(discovery.fullPassMinutes);
    const fiveMinutes = Duration.minutes(5);

    const alarms: [string, string, Omit<AlarmProps, 'alarmName' | 'alarmDescription'>][] = [
      [
        'DeadLetters',
        'At least one event could not be processed and is in the dead-letter queue. Names may be outdated until the next full pass.',
        {
          metric: deadLetterQueue.metricApproximateNumberOfMessagesVisible({
            period: Duration.minutes(1),
            statistic: 'Maximum',
          }),
          threshold: 1,
          evaluationPeriods: 1,
        },
      ],
      [
        'HandlerFails',
        'The handler fails repeatedly. Existing names still resolve, but new, moved and deleted services are delayed.',
        {
          // Lambda does not count a batch with some failed messages as an error of the function.
          metric:
            discovery.delivery === 'queue'
              ? metrics.failedRuns(fiveMinutes)
              : handler.metricErrors({ period: fiveMinutes, statistic: 'Sum' }),
          threshold: 1,
          // Lambda retries a single failure, and the retry usually succeeds.
          evaluationPeriods: 3,
          datapointsToAlarm: 2,
        },
      ],
      [
        'NoCompleteFullPass',
        'No full pass was complete in the last three intervals. Names are not repaired if their events were lost or failed.',
        {
          metric: metrics.completeFullPasses(fullPass),
          threshold: 1,
          comparisonOperator: ComparisonOperator.LESS_THAN_THRESHOLD,
          evaluationPeriods: 3,
          treatMissingData: TreatMissingData.BREACHING,
        },
      ],
      [
        'DeletesRefused',
        'A full pass would have deleted more names than the delete limit allows, so it deleted none. Either many services were removed on purpose, or the configuration or an AWS answer is wrong.',
        {
          metric: metrics.refused(fullPass),
          threshold: 1,
          evaluationPeriods: 1,
          treatMissingData: TreatMissingData.IGNORE,
        },
      ],
      [
        'ConflictsPersist',
        'At least one service had no name in three consecutive full passes, because another service or record has the name.',
        {
          metric: metrics.conflicts(fullPass),
          threshold: 1,
          evaluationPeriods: 3,
          treatMissingData: TreatMissingData.IGNORE,
        },
      ],
      [
        'RecordsSlow',
        'At least one in ten changes was applied a minute or more after its event. The names of new services resolve late.',
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
        alarmDescription: `Environment ${props.environment}: ${meaning} Next steps: RUNBOOK.md#${anchor}`,
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

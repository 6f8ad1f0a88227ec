import { Duration, Stack, Tags } from 'aws-cdk-lib';
import { Alarm, type AlarmProps, ComparisonOperator, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct, type IDependable } from 'constructs';
import { HandlerMetrics } from './metrics.js';

/** The severity of an alarm. */
export enum Severity {
  /** Names are wrong or will become wrong. Somebody should look at it now. */
  CRITICAL = 'critical',
  /** Somebody should look at it within days. */
  WARNING = 'warning',
}

/**
 * Lets alarms publish to a topic of the app that has a policy or a key. A policy replaces the one of SNS, which lets them,
 * and the key that AWS keeps for SNS never does. Imported topics stay as they are.
 */
function allowAlarms(topic: ITopic, account: string): void {
  const statement = { sid: 'AlarmsPublish', principals: [new ServicePrincipal('cloudwatch.amazonaws.com')] };
  if (topic.node.tryFindChild('Policy') !== undefined) {
    topic.addToResourcePolicy(
      new PolicyStatement({
        ...statement,
        actions: ['sns:Publish'],
        resources: [topic.topicArn],
        conditions: { StringEquals: { 'aws:SourceAccount': account } },
      }),
    );
  }
  topic.masterKey?.addToResourcePolicy(
    new PolicyStatement({ ...statement, actions: ['kms:Decrypt', 'kms:GenerateDataKey*'], resources: ['*'] }),
  );
}

/** What the alarms watch, and whom they notify. */
export interface DiscoveryAlarmsProps {
  readonly environment: string;
  /** The time between two full passes, in whole minutes. */
  readonly fullPassInterval: Duration;
  readonly runbookUrl: string;
  /** Is notified when an alarm starts and when it ends. */
  readonly topic?: ITopic;
  readonly handler: IFunction;
  readonly deadLetterQueue: IQueue;
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
  public readonly all: Alarm[];

  private readonly bySeverity: Record<Severity, Alarm[]> = { [Severity.CRITICAL]: [], [Severity.WARNING]: [] };

  constructor(
    scope: Construct,
    id: string,
    private readonly props: DiscoveryAlarmsProps,
  ) {
    super(scope, id);
    const { deadLetterQueue, handler, fullPassInterval } = props;
    const metrics = new HandlerMetrics(props.environment, fullPassInterval);
    const fullPassMinutes = fullPassInterval.toMinutes();
    // So long that the second of two failed full passes is within the same time as the first one.
    const untilNextFullPass = Math.max(3, Math.ceil(fullPassMinutes / 5) + 1);
    // CloudWatch gets metrics from logs late, so three short intervals may have no data although full passes run.
    const noFullPass = Math.max(3, Math.ceil(15 / fullPassMinutes));

    this.deadLetters = this.alarm(
      'DeadLetters',
      Severity.WARNING,
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
      Severity.CRITICAL,
      'Runs of the handler fail repeatedly. Existing names still resolve, but new, moved and deleted services are delayed.',
      { metric: metrics.failedRuns(), ...twice },
    );
    this.functionFails = this.alarm(
      'FunctionFails',
      Severity.CRITICAL,
      'Invocations of the function fail repeatedly: it cannot start, Lambda ends it, or its runs fail. Existing names still resolve, but new, moved and deleted services are delayed.',
      { metric: handler.metricErrors({ period: Duration.minutes(5), statistic: 'Sum' }), ...twice },
    );
    this.noCompleteFullPass = this.alarm(
      'NoCompleteFullPass',
      Severity.CRITICAL,
      'No full pass was complete in the last three intervals, or in the last 15 minutes if these are longer. Names are not repaired if their events were lost or failed.',
      {
        metric: metrics.completeFullPasses(),
        threshold: 1,
        comparisonOperator: ComparisonOperator.LESS_THAN_THRESHOLD,
        evaluationPeriods: noFullPass,
        treatMissingData: TreatMissingData.BREACHING,
      },
    );
    this.noCompleteFullPass.node.addDependency(props.firstFullPass);
    this.repairsPersist = this.alarm(
      'RepairsPersist',
      Severity.CRITICAL,
      'Three full passes in a row had to create, move or delete names, so events do not reach the handler. New services wait for the next full pass to get their names.',
      {
        metric: metrics.repairedByFullPass(),
        threshold: 1,
        evaluationPeriods: 3,
        treatMissingData: TreatMissingData.IGNORE,
      },
    );
    this.deletesRefused = this.alarm(
      'DeletesRefused',
      Severity.CRITICAL,
      'A full pass would have deleted more names than the delete limit allows, so it deleted none. Either many services were removed on purpose, or the configuration or an AWS answer is wrong.',
      {
        metric: metrics.refused(),
        threshold: 1,
        evaluationPeriods: 1,
        treatMissingData: TreatMissingData.IGNORE,
      },
    );
    this.conflictsPersist = this.alarm(
      'ConflictsPersist',
      Severity.WARNING,
      'At least one service had no name in three consecutive full passes, because another service or record has the name.',
      {
        metric: metrics.conflicts(),
        threshold: 1,
        evaluationPeriods: 3,
        treatMissingData: TreatMissingData.IGNORE,
      },
    );
    this.waitingPersists = this.alarm(
      'WaitingPersists',
      Severity.WARNING,
      'In more than three consecutive full passes, services waited for a load balancer or a deployment. Until then they have no name or an old record.',
      {
        metric: metrics.waiting(),
        threshold: 1,
        evaluationPeriods: 4,
        treatMissingData: TreatMissingData.IGNORE,
      },
    );
    this.recordsSlow = this.alarm(
      'RecordsSlow',
      Severity.WARNING,
      'At least one in ten changes was applied a minute or more after its event. The names of new services resolve late.',
      { metric: metrics.eventToChange(), threshold: 60, evaluationPeriods: 3, datapointsToAlarm: 2 },
    );
    this.zoneAlmostFull = this.alarm(
      'ZoneAlmostFull',
      Severity.WARNING,
      'A zone has more than 80 percent of the record sets that its quota allows. New services get no names when it is full.',
      {
        metric: metrics.largestZone(),
        threshold: 0.8 * ZONE_QUOTA,
        evaluationPeriods: 1,
        treatMissingData: TreatMissingData.IGNORE,
      },
    );

    this.all = [...this.withSeverity(Severity.CRITICAL), ...this.withSeverity(Severity.WARNING)];
    if (props.topic !== undefined) {
      allowAlarms(props.topic, Stack.of(this).account);
      const action = new SnsAction(props.topic);
      for (const alarm of this.all) {
        alarm.addAlarmAction(action);
        alarm.addOkAction(action);
      }
    }
  }

  /** The alarms of one severity, for example to page somebody for the critical ones only. */
  withSeverity(severity: Severity): Alarm[] {
    return this.bySeverity[severity];
  }

  private alarm(name: string, severity: Severity, meaning: string, watched: Watched): Alarm {
    const { environment, runbookUrl } = this.props;
    const anchor = name.replace(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase();
    const alarm = new Alarm(this, name, {
      comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
      treatMissingData: TreatMissingData.NOT_BREACHING,
      ...watched,
      alarmDescription: `Environment ${environment}, ${severity}: ${meaning} Next steps: ${runbookUrl}#${anchor}`,
    });
    Tags.of(alarm).add('ecs-discovery:severity', severity);
    this.bySeverity[severity].push(alarm);
    return alarm;
  }
}

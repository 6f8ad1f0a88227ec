import { Duration } from 'aws-cdk-lib';
import { type IRuleTarget, Match, Rule, Schedule } from 'aws-cdk-lib/aws-events';
import { LambdaFunction, SqsQueue } from 'aws-cdk-lib/aws-events-targets';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';

export interface TriggersProps {
  readonly environment: string;
  /** Whom the rules call, or the queue that they fill. */
  readonly target: IFunction | IQueue;
  /** Where events go that EventBridge could not hand over. */
  readonly failures: IQueue;
  /** The time between two full passes, in minutes. */
  readonly sweepMinutes: number;
}

/** The calls of the ECS API after which a name may have to change. */
const CALLS = [
  'CreateService',
  'UpdateService',
  'DeleteService',
  'CreateTaskSet',
  'DeleteTaskSet',
  'UpdateServicePrimaryTaskSet',
  'TagResource',
  'UntagResource',
];

/** As long and as often as EventBridge can. */
const RETRIES = { retryAttempts: 185, maxEventAge: Duration.hours(24) };

/**
 * What makes the handler run: the calls that CloudTrail tells of, the deployments that ECS tells
 * of itself, and the clock.
 *
 * CloudTrail's events come on a best-effort basis and tell of everything; ECS's own are delivered
 * at least once, but none tells of a deletion.
 */
export class Triggers extends Construct {
  constructor(scope: Construct, id: string, props: TriggersProps) {
    super(scope, id);
    const more = { ...RETRIES, deadLetterQueue: props.failures };
    const target: IRuleTarget =
      'functionArn' in props.target ? new LambdaFunction(props.target, more) : new SqsQueue(props.target, more);
    new Rule(this, 'ApiCalls', {
      description: `Calls of the ECS API that may change a name in ${props.environment}`,
      eventPattern: {
        source: ['aws.ecs'],
        detailType: ['AWS API Call via CloudTrail'],
        detail: {
          eventSource: ['ecs.amazonaws.com'],
          eventName: CALLS,
          // A call that failed changed nothing, and some tools retry until they succeed.
          errorCode: Match.doesNotExist(),
        },
      },
      targets: [target],
    });
    new Rule(this, 'Deployments', {
      description: `Deployments and actions of ECS services that may change a name in ${props.environment}`,
      eventPattern: {
        source: ['aws.ecs'],
        detailType: ['ECS Deployment State Change', 'ECS Service Action'],
      },
      targets: [target],
    });
    new Rule(this, 'Sweep', {
      description: `Full pass over ${props.environment}: repairs what no event told`,
      schedule: Schedule.rate(Duration.minutes(props.sweepMinutes)),
      targets: [target],
    });
  }
}

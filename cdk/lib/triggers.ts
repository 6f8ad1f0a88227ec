import { Duration } from 'aws-cdk-lib';
import { type IRuleTarget, Match, Rule, Schedule } from 'aws-cdk-lib/aws-events';
import { LambdaFunction, SqsQueue } from 'aws-cdk-lib/aws-events-targets';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';

export interface TriggersProps {
  readonly environment: string;
  /** The target of the rules: the handler, or its queue. */
  readonly target: IFunction | IQueue;
  /** Receives events that EventBridge could not deliver. */
  readonly deadLetterQueue: IQueue;
  /** The minutes between two full passes. */
  readonly fullPassMinutes: number;
}

/** The calls of the ECS API that can change a name. `handler/src/domain/event.rs` lists the same calls. */
const ECS_CALLS = [
  'CreateService',
  'UpdateService',
  'DeleteService',
  'CreateTaskSet',
  'DeleteTaskSet',
  'UpdateServicePrimaryTaskSet',
  'TagResource',
  'UntagResource',
  'CreateExpressGatewayService',
  'UpdateExpressGatewayService',
  'DeleteExpressGatewayService',
];

/** The maximum of EventBridge. */
const RETRIES = { retryAttempts: 185, maxEventAge: Duration.hours(24) };

/**
 * The rules that start the handler: API calls recorded by CloudTrail, ECS's own deployment events, and the
 * schedule of full passes.
 *
 * CloudTrail's events cover every call, but CloudTrail delivers them on a best-effort basis. ECS delivers its
 * own events at least once, but sends none for the deletion of a service.
 */
export class Triggers extends Construct {
  constructor(scope: Construct, id: string, props: TriggersProps) {
    super(scope, id);
    const options = { ...RETRIES, deadLetterQueue: props.deadLetterQueue };
    const target: IRuleTarget =
      'functionArn' in props.target ? new LambdaFunction(props.target, options) : new SqsQueue(props.target, options);
    new Rule(this, 'ApiCalls', {
      description: `ECS API calls that can change names in ${props.environment}`,
      eventPattern: {
        source: ['aws.ecs'],
        detailType: ['AWS API Call via CloudTrail'],
        detail: {
          eventSource: ['ecs.amazonaws.com'],
          eventName: ECS_CALLS,
          // A failed call changed nothing, and some tools retry until they succeed.
          errorCode: Match.doesNotExist(),
        },
      },
      targets: [target],
    });
    new Rule(this, 'Deployments', {
      description: `ECS deployment events and service actions in ${props.environment}`,
      eventPattern: {
        source: ['aws.ecs'],
        detailType: ['ECS Deployment State Change', 'ECS Service Action'],
      },
      targets: [target],
    });
    // A second signal for tags, which needs no trail and also covers the Tag Editor.
    new Rule(this, 'Tags', {
      description: `Changed discovery tags of ECS services in ${props.environment}`,
      eventPattern: {
        source: ['aws.tag'],
        detailType: ['Tag Change on Resource'],
        detail: {
          service: ['ecs'],
          'resource-type': ['service'],
          'changed-tag-keys': Match.prefix('discovery:'),
        },
      },
      targets: [target],
    });
    new Rule(this, 'FullPass', {
      description: `Full pass over ${props.environment}: repairs anything the events missed`,
      schedule: Schedule.rate(Duration.minutes(props.fullPassMinutes)),
      targets: [target],
    });
  }
}

import { Duration } from 'aws-cdk-lib';
import { EventField, type IRuleTarget, Match, Rule, RuleTargetInput, Schedule } from 'aws-cdk-lib/aws-events';
import { LambdaFunction, SqsQueue, type TargetBaseProps } from 'aws-cdk-lib/aws-events-targets';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { acknowledge } from './acknowledge.js';

export interface TriggersProps {
  readonly environment: string;
  /** The target of the rules for ECS and for the schedule: the handler, or its queue. */
  readonly target: IFunction | IQueue;
  /** The target of the rule for Elastic Load Balancing. The handler merges its messages into few full passes. */
  readonly loadBalancerCalls: IQueue;
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
  'CreateExpressGatewayService',
  'UpdateExpressGatewayService',
  'DeleteExpressGatewayService',
];

/** A discovery tag, or no tag that EventBridge can read: CloudTrail cuts large requests. */
const DISCOVERY_TAG = Match.anyOf(Match.prefix('discovery:'), Match.doesNotExist());

/** The calls of the ECS API that change tags. Many tools tag all services, so only discovery tags start the handler. */
const TAG_CALLS = [
  { eventName: ['TagResource'], requestParameters: { tags: { key: DISCOVERY_TAG } } },
  { eventName: ['UntagResource'], requestParameters: { tagKeys: DISCOVERY_TAG } },
];

/**
 * ECS's own events after which a service may need another record. `handler/src/domain/event.rs` lists the same events,
 * with the reasons for the others.
 */
const SERVICE_EVENTS = ['SERVICE_DEPLOYMENT_COMPLETED', 'SERVICE_DEPLOYMENT_FAILED', 'TASKSET_STEADY_STATE'];

/**
 * The calls of the Elastic Load Balancing API, in both of its versions, after which a service may need another
 * record. `handler/src/domain/event.rs` lists the same calls.
 *
 * The listeners and rules of a load balancer connect it with target groups. Only classic load balancers are
 * connected by their own name, so for them the calls that create and delete one matter. SetSubnets can change the
 * address type, too.
 *
 * All other calls leave these facts alone. RegisterTargets and DeregisterTargets are by far the most frequent ones,
 * but change only the targets of a group. CreateTargetGroup creates a group that nothing uses yet, and
 * DeleteTargetGroup fails while a listener or a rule uses the group. Load balancers never change their VPC, their
 * scheme or their DNS name.
 */
const LOAD_BALANCER_CALLS = [
  'CreateLoadBalancer',
  'DeleteLoadBalancer',
  'CreateListener',
  'ModifyListener',
  'DeleteListener',
  'CreateRule',
  'ModifyRule',
  'DeleteRule',
  'SetIpAddressType',
  'SetSubnets',
];

/**
 * The part of an Elastic Load Balancing call that the handler reads, and the id with which CloudTrail finds the whole
 * call. All messages have about the same size, however large the request was, so that thousands fit into a batch.
 */
const SMALL_CALL = RuleTargetInput.fromObject({
  source: EventField.source,
  'detail-type': EventField.detailType,
  time: EventField.time,
  detail: {
    eventSource: EventField.fromPath('$.detail.eventSource'),
    eventName: EventField.fromPath('$.detail.eventName'),
    eventID: EventField.fromPath('$.detail.eventID'),
  },
});

/** Matches successful calls of an API. A failed call changed nothing, and some tools retry until they succeed. */
const succeeded = (api: string, calls: object) => ({
  source: [`aws.${api}`],
  detailType: ['AWS API Call via CloudTrail'],
  detail: { eventSource: [`${api}.amazonaws.com`], errorCode: Match.doesNotExist(), ...calls },
});

/** The maximum of EventBridge. */
const RETRIES = { retryAttempts: 185, maxEventAge: Duration.hours(24) };

/**
 * The rules that start the handler: API calls recorded by CloudTrail, ECS's own deployment events, changed tags, and
 * the schedule of full passes.
 *
 * CloudTrail's events cover every call, but CloudTrail delivers them on a best-effort basis. ECS delivers its
 * own events at least once, but sends none for the deletion of a service.
 */
export class Triggers extends Construct {
  constructor(scope: Construct, id: string, props: TriggersProps) {
    super(scope, id);
    const options = { ...RETRIES, deadLetterQueue: props.deadLetterQueue };
    const handler = (delivery: TargetBaseProps): IRuleTarget =>
      'functionArn' in props.target ? new LambdaFunction(props.target, delivery) : new SqsQueue(props.target, delivery);
    const target = handler(options);
    new Rule(this, 'ApiCalls', {
      description: `ECS API calls that can change names in ${props.environment}`,
      eventPattern: succeeded('ecs', { $or: [{ eventName: ECS_CALLS }, ...TAG_CALLS] }),
      targets: [target],
    });
    // ECS sends no event if the load balancer of a target group is replaced.
    new Rule(this, 'LoadBalancers', {
      description: `Elastic Load Balancing calls that can change records in ${props.environment}`,
      eventPattern: succeeded('elasticloadbalancing', { eventName: LOAD_BALANCER_CALLS }),
      targets: [new SqsQueue(props.loadBalancerCalls, { ...options, message: SMALL_CALL })],
    });
    new Rule(this, 'Deployments', {
      description: `ECS deployment events and service actions in ${props.environment}`,
      eventPattern: {
        source: ['aws.ecs'],
        detailType: ['ECS Deployment State Change', 'ECS Service Action'],
        detail: { eventName: SERVICE_EVENTS },
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
    const fullPass = new Rule(this, 'FullPass', {
      description: `Full pass over ${props.environment}: repairs anything the events missed`,
      schedule: Schedule.rate(Duration.minutes(props.fullPassMinutes)),
      targets: [handler({ retryAttempts: 0 })],
    });
    acknowledge(fullPass, {
      id: 'Serverless-EventBusDLQ',
      reason: 'The next event of the schedule does the same work, and an alarm watches the full passes.',
    });
  }
}

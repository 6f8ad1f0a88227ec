import { Duration } from 'aws-cdk-lib';
import type { Grant, IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import { EventSourceMapping, type IFunction } from 'aws-cdk-lib/aws-lambda';
import { type CfnQueue, Queue, QueueEncryption, type QueueProps } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { acknowledge } from './acknowledge.js';
import { HANDLER_TIMEOUT } from './handler.js';

/**
 * When the messages of an invocation that was killed return. The handler lets failed messages return sooner. Lambda
 * recommends six times the timeout of the function, because it retries a batch that it throttled during that time. Each
 * mapping starts only two executions, which are seldom throttled.
 */
const VISIBILITY_TIMEOUT = HANDLER_TIMEOUT.plus(HANDLER_TIMEOUT);

/** The longest retention of SQS. */
const RETENTION = Duration.days(14);

export interface Encryption {
  /** Encrypts the messages. Without it, a key of SQS does. */
  readonly encryptionKey: IKey | undefined;
}

/** A queue that is encrypted, requires TLS, and keeps messages as long as SQS can. */
class MessageQueue extends Queue {
  constructor(scope: Construct, id: string, encryptionKey: IKey | undefined, props: QueueProps = {}) {
    super(scope, id, {
      ...(encryptionKey === undefined && { encryption: QueueEncryption.SQS_MANAGED }),
      enforceSSL: true,
      retentionPeriod: RETENTION,
      ...props,
    });
    // With the property `encryptionMasterKey`, the CDK would admit the rules of every account, and grant more permissions
    // for the key than the handler needs.
    if (encryptionKey !== undefined) (this.node.defaultChild as CfnQueue).kmsMasterKeyId = encryptionKey.keyArn;
  }

  /** Otherwise the CDK would also let the rules and the handler read the attributes of a queue to which they send. */
  override grantSendMessages(grantee: IGrantable): Grant {
    return this.grant(grantee, 'sqs:SendMessage');
  }
}

/** The queue of events that could not be processed. EventBridge, Lambda and the other queues send them to it. */
export class DeadLetterQueue extends Construct {
  public readonly queue: Queue;

  constructor(scope: Construct, id: string, { encryptionKey }: Encryption) {
    super(scope, id);
    this.queue = new MessageQueue(this, 'Queue', encryptionKey);
    acknowledge(this.queue, {
      id: 'Serverless-SQSRedrivePolicy',
      reason: 'This is the dead-letter queue itself. An alarm watches it.',
    });
  }
}

/** When Lambda passes the messages of a queue to the handler: as soon as it has this number, or after this time. */
export interface Batching {
  readonly batchSize: number;
  readonly maxBatchingWindow: Duration;
  /** How long a message stays in the queue before that. None by default. */
  readonly deliveryDelay?: Duration;
}

/**
 * The batches of the event queue.
 *
 * The handler processes a batch in one run with one change batch. ECS accepts five new services a second, so a
 * window of five seconds collects up to 25 of them. Direct delivery has no such delay.
 */
export const EVENTS: Batching = { batchSize: 100, maxBatchingWindow: Duration.seconds(5) };

/**
 * The batches of Elastic Load Balancing calls. The handler merges a batch into one full pass, so the batches are as
 * large as Lambda allows: 10,000 messages, or 6 MB, which are about 5,000 of these messages.
 *
 * Each of Lambda's pollers collects its own batch for the whole window. AWS documents neither their number nor how
 * messages are spread over them. A queue with few messages uses one, so a deployment of a load balancer causes one
 * or two full passes. In an account that makes such calls all the time there may be several full passes a minute,
 * but never more than two at once.
 *
 * A run that began before a change of a load balancer, and has written nothing yet, may write the former state after
 * the full pass that follows the change. Because of the delay, only runs that take longer can do so. These read the
 * load balancers again, see `LOAD_BALANCER_DELAY` in `handler/src/reconcile.rs`.
 */
export const LOAD_BALANCER_CALLS: Batching = {
  batchSize: 10_000,
  maxBatchingWindow: Duration.minutes(1),
  deliveryDelay: Duration.seconds(30),
};

export interface EventQueueProps extends Batching, Encryption {
  readonly handler: IFunction;
  /** Receives messages that failed five times. */
  readonly deadLetterQueue: Queue;
}

/** A queue of events that the handler processes in batches. */
export class EventQueue extends Construct {
  public readonly queue: Queue;
  /** Passes the messages to the handler. */
  public readonly mapping: EventSourceMapping;

  constructor(scope: Construct, id: string, props: EventQueueProps) {
    super(scope, id);
    this.queue = new MessageQueue(this, 'Queue', props.encryptionKey, {
      ...(props.deliveryDelay && { deliveryDelay: props.deliveryDelay }),
      visibilityTimeout: VISIBILITY_TIMEOUT.plus(props.maxBatchingWindow),
      deadLetterQueue: { queue: props.deadLetterQueue, maxReceiveCount: 5 },
    });
    this.mapping = new EventSourceMapping(this, 'Mapping', {
      target: props.handler,
      eventSourceArn: this.queue.queueArn,
      batchSize: props.batchSize,
      maxBatchingWindow: props.maxBatchingWindow,
      reportBatchItemFailures: true,
      // The minimum that SQS allows. Each run uses half of the account's rate for Route 53, so more
      // concurrent runs would only slow each other down.
      maxConcurrency: 2,
    });
    this.queue.grantConsumeMessages(props.handler);
    acknowledge(this, {
      id: 'Serverless-LambdaEventSourceMappingDestination',
      reason:
        'SQS mappings have no failure destination: a failed message returns to the queue and, after five attempts, goes to the dead-letter queue.',
    });
  }
}

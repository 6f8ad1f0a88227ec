import { Duration, Validations } from 'aws-cdk-lib';
import { EventSourceMapping, type IFunction } from 'aws-cdk-lib/aws-lambda';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { HANDLER_TIMEOUT } from './handler.js';

/** The longest retention of SQS. */
const RETENTION = Duration.days(14);

/** The queue of events that could not be processed. EventBridge, Lambda and the event queue send them to it. */
export class DeadLetterQueue extends Construct {
  public readonly queue: Queue;

  constructor(scope: Construct, id: string) {
    super(scope, id);
    this.queue = new Queue(this, 'Queue', {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: RETENTION,
    });
    Validations.of(this.queue).acknowledge({
      id: 'Serverless-SQSRedrivePolicy',
      reason: 'This is the dead-letter queue itself. An alarm watches it.',
    });
  }
}

export interface EventQueueProps {
  readonly handler: IFunction;
  /** Receives messages that failed five times. */
  readonly deadLetterQueue: Queue;
}

/**
 * A queue of events that the handler processes in batches.
 *
 * It exists with both kinds of delivery, because a redrive moves events from the dead-letter queue into it.
 */
export class EventQueue extends Construct {
  public readonly queue: Queue;

  constructor(scope: Construct, id: string, props: EventQueueProps) {
    super(scope, id);
    this.queue = new Queue(this, 'Queue', {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: RETENTION,
      // Lambda recommends six times the function's timeout: it retries a throttled batch before the
      // messages become visible again.
      visibilityTimeout: Duration.seconds(6 * HANDLER_TIMEOUT.toSeconds()),
      deadLetterQueue: { queue: props.deadLetterQueue, maxReceiveCount: 5 },
    });
    new EventSourceMapping(this, 'Mapping', {
      target: props.handler,
      eventSourceArn: this.queue.queueArn,
      // The handler processes a batch in one run with one change batch. ECS accepts five new services a
      // second, so a window of five seconds collects up to 25 of them. Direct delivery has no such delay.
      batchSize: 100,
      maxBatchingWindow: Duration.seconds(5),
      reportBatchItemFailures: true,
      // The minimum that SQS allows. Each run uses half of the account's rate for Route 53, so more
      // concurrent runs would only slow each other down.
      maxConcurrency: 2,
    });
    this.queue.grantConsumeMessages(props.handler);
    Validations.of(this).acknowledge({
      id: 'Serverless-LambdaEventSourceMappingDestination',
      reason:
        'SQS mappings have no failure destination: a failed message returns to the queue and, after five attempts, goes to the dead-letter queue.',
    });
  }
}

import { Duration, Validations } from 'aws-cdk-lib';
import { EventSourceMapping, type IFunction } from 'aws-cdk-lib/aws-lambda';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { HANDLER_TIMEOUT } from './handler.js';

/** As long as SQS keeps anything. */
const RETENTION = Duration.days(14);

/** Where events that nobody could handle wait for a person. Made before all that may fail. */
export class Failures extends Construct {
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
      reason: 'This is the dead-letter queue, the end of the way; an alarm watches it.',
    });
  }
}

export interface EventQueueProps {
  readonly handler: IFunction;
  readonly failures: Queue;
}

/**
 * A queue that the handler empties in batches, a few at a time. What fails five times goes to the
 * dead-letter queue.
 *
 * It is there whichever way events are delivered: what is moved back from the dead-letter queue
 * comes in here.
 */
export class EventQueue extends Construct {
  public readonly queue: Queue;

  constructor(scope: Construct, id: string, props: EventQueueProps) {
    super(scope, id);
    this.queue = new Queue(this, 'Queue', {
      encryption: QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      retentionPeriod: RETENTION,
      // Six times the function's timeout is what Lambda asks for: a batch that is throttled is
      // tried again before its messages come back by themselves.
      visibilityTimeout: Duration.seconds(6 * HANDLER_TIMEOUT.toSeconds()),
      deadLetterQueue: { queue: props.failures, maxReceiveCount: 5 },
    });
    new EventSourceMapping(this, 'Mapping', {
      target: props.handler,
      eventSourceArn: this.queue.queueArn,
      // A batch becomes one run, with one change batch. ECS takes five new services a second, so in
      // five seconds 25 come together; who wants each at once has them delivered directly.
      batchSize: 100,
      maxBatchingWindow: Duration.seconds(5),
      reportBatchItemFailures: true,
      // The least that SQS allows. Each run keeps to half of what Route 53 takes from the whole
      // account, so more at once would only hinder each other.
      maxConcurrency: 2,
    });
    this.queue.grantConsumeMessages(props.handler);
    Validations.of(this).acknowledge({
      id: 'Serverless-LambdaEventSourceMappingDestination',
      reason: 'SQS has no failure destinations: what fails comes back to the queue, and after five times goes to its dead-letter queue.',
    });
  }
}

/** The calls to SQS of `redrive`. No message is deleted before another queue has it. */
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ListMessageMoveTasksCommand,
  type ListMessageMoveTasksResultEntry,
  type Message,
  ReceiveMessageCommand,
  SQSClient,
  SendMessageCommand,
  StartMessageMoveTaskCommand,
} from '@aws-sdk/client-sqs';
import { Failure, isTransient } from './failure.js';
import type { Output } from './output.js';

export interface Queue {
  arn: string;
  url: string;
}

/** A client that sends every request to the region's endpoint, even if the URL of a queue has another host. */
export const sqs = (config: Record<string, string>) => new SQSClient({ ...config, useQueueUrlAsEndpoint: false });

export async function queue(client: SQSClient, arn: string): Promise<Queue> {
  const [account, name] = arn.split(':').slice(-2);
  const { QueueUrl = '' } = await client.send(
    new GetQueueUrlCommand({ QueueName: name, QueueOwnerAWSAccountId: account }),
  );
  return { arn, url: QueueUrl };
}

/** About how many messages somebody receives now, so that nobody else can. */
export async function invisible(client: SQSClient, { url }: Queue): Promise<number> {
  const name = 'ApproximateNumberOfMessagesNotVisible';
  const { Attributes } = await client.send(new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: [name] }));
  return Number(Attributes?.[name] ?? 0);
}

/** Reading thousands of messages would take minutes, and nobody reads them. */
const MOST_READ = 1_000;
/** If the tool is killed while it shows messages, they return after this time. */
const SHOWN_SECONDS = 60;
/** The same while it moves messages. It keeps those that stay until all others are moved. */
const MOVED_SECONDS = 300;

/** The next messages. Without any, the queue is empty: an answer after a wait comes from all of SQS's servers. */
async function receive(client: SQSClient, url: string, seconds: number): Promise<Message[]> {
  const { Messages = [] } = await client.send(
    new ReceiveMessageCommand({
      QueueUrl: url,
      MaxNumberOfMessages: 10,
      VisibilityTimeout: seconds,
      WaitTimeSeconds: 1,
      MessageSystemAttributeNames: ['SentTimestamp', 'DeadLetterQueueSourceArn'],
      MessageAttributeNames: ['All'],
    }),
  );
  return Messages;
}

/** Makes messages visible again. */
async function release(client: SQSClient, url: string, messages: Message[]): Promise<void> {
  for (let at = 0; at < messages.length; at += 10) {
    const entries = messages.slice(at, at + 10).map(({ ReceiptHandle }, id) => ({
      Id: String(id),
      ReceiptHandle,
      VisibilityTimeout: 0,
    }));
    await client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: url, Entries: entries }));
  }
}

/** The messages of a queue, which stay in it. `isComplete` is false if there may be more. */
export async function peek(client: SQSClient, { url }: Queue): Promise<{ messages: Message[]; isComplete: boolean }> {
  const all = new Map<string | undefined, Message>();
  try {
    while (all.size < MOST_READ) {
      const known = all.size;
      for (const message of await receive(client, url, SHOWN_SECONDS)) all.set(message.MessageId, message);
      if (all.size === known) return { messages: [...all.values()], isComplete: true };
    }
    return { messages: [...all.values()], isComplete: false };
  } finally {
    await release(client, url, [...all.values()]);
  }
}

const asError = (error: unknown) => (error instanceof Error ? error : new Error(String(error)));

/** The state of a move. */
export interface Moved {
  count: number;
  /** The messages that stay in the queue on purpose. */
  kept: number;
  /** The error that stopped it. */
  error?: Error;
}

/**
 * Moves the messages one by one, except those of which `stays` is true. A message is deleted only after the other queue
 * has it. So in the worst case the handler receives it twice.
 */
export async function moveEach(
  client: SQSClient,
  [from, to]: [Queue, Queue],
  stays: (message: Message) => boolean,
  moved: Moved,
): Promise<void> {
  const done = new Set<string | undefined>();
  const kept = new Map<string | undefined, Message>();
  try {
    for (;;) {
      const received = await receive(client, from.url, MOVED_SECONDS);
      const isNew = received.some(({ MessageId }) => !kept.has(MessageId));
      for (const message of received) kept.set(message.MessageId, message);
      for (const message of received) {
        const { MessageId, Body, MessageAttributes, ReceiptHandle } = message;
        if (stays(message)) continue;
        // SQS may deliver a message again that was deleted.
        if (!done.has(MessageId)) {
          await client.send(new SendMessageCommand({ QueueUrl: to.url, MessageBody: Body, MessageAttributes }));
          done.add(MessageId);
          moved.count += 1;
        }
        await client.send(new DeleteMessageCommand({ QueueUrl: from.url, ReceiptHandle }));
        kept.delete(MessageId);
      }
      if (!isNew) return;
    }
  } catch (error) {
    moved.error = asError(error);
  } finally {
    moved.kept = kept.size;
    await release(client, from.url, [...kept.values()]).catch((error: unknown) => {
      moved.error ??= asError(error);
    });
  }
}

const POLL_MS = 2_000;
/** A task that was started appears in the list soon. */
const MOST_POLLS_WITHOUT_TASK = 30;

/** The tasks that moved messages from a queue, the latest first. */
async function tasks(client: SQSClient, { arn }: Queue): Promise<ListMessageMoveTasksResultEntry[]> {
  const { Results = [] } = await client.send(new ListMessageMoveTasksCommand({ SourceArn: arn, MaxResults: 10 }));
  return Results;
}

const isActive = ({ Status }: ListMessageMoveTasksResultEntry) => Status === 'RUNNING' || Status === 'CANCELLING';

/**
 * Lets SQS move all messages, and waits for that. Returns why SQS did not, or nothing. A task that runs already is
 * followed, because SQS allows only one.
 *
 * SQS refuses without further permissions, and in an emulator that does not have these calls. A task may also fail later.
 */
export async function moveByTask(
  client: SQSClient,
  [from, to]: [Queue, Queue],
  moved: Moved,
  output: Output,
): Promise<string | undefined> {
  let before: number | undefined;
  try {
    const known = await tasks(client, from);
    const running = known.find(isActive);
    if (running?.DestinationArn !== undefined && running.DestinationArn !== to.arn) {
      throw new Failure(
        `Somebody is moving the messages to another queue at the moment: ${running.DestinationArn}. Try again when that has ended.`,
      );
    }
    // The clocks of this machine and of SQS may differ, so the former task tells which one is new.
    before = (running === undefined ? known : known.filter((task) => !isActive(task)))[0]?.StartedTimestamp;
    if (running === undefined) {
      await client.send(new StartMessageMoveTaskCommand({ SourceArn: from.arn, DestinationArn: to.arn }));
    }
  } catch (error) {
    if (error instanceof Failure || isTransient(error)) throw error;
    return refusal(error);
  }
  for (let polls = 0; ; polls += 1) {
    const [task] = await tasks(client, from);
    if (task?.StartedTimestamp !== undefined && task.StartedTimestamp !== before) {
      moved.count = task.ApproximateNumberOfMessagesMoved ?? 0;
      if (task.Status === 'COMPLETED') return undefined;
      if (task.Status === 'CANCELLED') {
        moved.error = new Failure('Somebody cancelled the task that moved the messages.');
        return undefined;
      }
      if (!isActive(task)) return task.FailureReason ?? `the task has the status ${task.Status ?? 'unknown'}`;
    } else if (polls === MOST_POLLS_WITHOUT_TASK) return 'the task does not appear in the list of tasks';
    await output.sleep(POLL_MS);
  }
}

const refusal = (error: unknown) => (error instanceof Error ? `${error.name}: ${error.message}` : String(error));

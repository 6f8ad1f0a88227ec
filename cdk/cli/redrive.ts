/** `redrive`: the messages of the dead-letter queue, and another attempt for them. */
import type { EventSourceMappingConfiguration } from '@aws-sdk/client-lambda';
import type { SQSClient } from '@aws-sdk/client-sqs';
import { type Discovery, quoted } from './discovery.js';
import { Failure } from './failure.js';
import { type Letter, letter } from './letters.js';
import { type Output, counted, layOut, sentence, showing, utc, wrap } from './output.js';
import { parts } from './parts.js';
import { type Moved, type Queue, invisible, moveByTask, moveEach, peek, queue, sqs } from './queues.js';

export interface RedriveOptions {
  /** Only show the messages. */
  list: boolean;
  /** Do not ask. */
  yes: boolean;
  /** Show all messages. */
  all: boolean;
  json: boolean;
}

/** Messages that are shown without `--all`. */
const SHOWN = 10;

/** The messages of a queue, the oldest first. */
interface Contents {
  letters: Letter[];
  /** Whether these are all. */
  isComplete: boolean;
  /** If there seem to be none: about how many somebody receives now, so that nobody else can. */
  invisible: number;
}

/** Shows the messages and, if somebody agrees, moves them to the event queue. Returns 0 if none is left. */
export async function redrive(discovery: Discovery, options: RedriveOptions, output: Output): Promise<number> {
  if (options.json && !options.list && !options.yes) {
    throw new Failure('With --json nobody is asked. Add --list to see the messages, or --yes to move them.');
  }
  const { environment, deadLetterQueue, functionArn, mappings } = await parts(discovery);
  if (!deadLetterQueue.includes(':sqs:')) {
    throw new Failure(`The function ${functionArn} sends failed events to no queue. Deploy the environment again.`);
  }
  const client = sqs(discovery.config());
  const moved: Moved = { count: 0, kept: 0 };
  try {
    const from = await queue(client, deadLetterQueue);
    const contents = await showing('Reading the dead-letter queue', output, read(client, from));
    const { letters, isComplete } = contents;
    if (!options.json) {
      output.write(`${describeContents(environment, contents, options.all ? Infinity : SHOWN, output)}\n`);
    }
    const isMovable = !isComplete || letters.some(isReadable);
    if (isMovable && !options.list) {
      const mapping = eventMapping(mappings);
      const to = await queue(client, mapping.EventSourceArn ?? '');
      if (mapping.State?.startsWith('Disabl') === true) output.note(`${wrap(asleep(mapping), 0, output)}\n`);
      if (!options.yes && !(await output.confirm(question(contents)))) {
        output.note('Nothing was moved.\n');
        return 1;
      }
      await move(client, [from, to], contents, moved, output);
    }
    if (options.json) {
      output.write(`${JSON.stringify({ environment, messages: letters, moved: moved.count }, null, 2)}\n`);
    } else {
      const paragraphs: string[] = [];
      if (isMovable && options.list) paragraphs.push(listEnd(discovery));
      else if (isMovable) paragraphs.push(moveEnd(discovery, environment, moved, output));
      if (!letters.every(isReadable) && !(isMovable && options.list)) {
        paragraphs.push(unreadableEnd(discovery, from, output));
      }
      output.write(paragraphs.map((text) => `\n${text}\n`).join(''));
    }
    if (moved.error !== undefined) throw moved.error;
    const isLeft = letters.length > 0 && (options.list || !isMovable || moved.kept > 0);
    return isLeft || contents.invisible > 0 ? 1 : 0;
  } finally {
    client.destroy();
  }
}

const isReadable = ({ kind }: Letter) => kind !== 'unreadable';

async function read(client: SQSClient, from: Queue): Promise<Contents> {
  const { messages, isComplete } = await peek(client, from);
  const letters = messages.map(letter).sort((one, other) => ((one.sentAt ?? '') < (other.sentAt ?? '') ? -1 : 1));
  // SQS counts messages that became visible again a minute ago, so the number means something only without messages.
  return { letters, isComplete, invisible: letters.length === 0 ? await invisible(client, from) : 0 };
}

/**
 * The mapping that passes the event queue to the function. The function also receives load balancer calls from a queue,
 * whose batches are larger.
 */
function eventMapping(mappings: EventSourceMappingConfiguration[]): EventSourceMappingConfiguration {
  const queues = mappings.filter(({ EventSourceArn }) => EventSourceArn?.includes(':sqs:'));
  const size = ({ BatchSize }: EventSourceMappingConfiguration) => BatchSize ?? Infinity;
  const first = queues.sort((one, other) => size(one) - size(other))[0];
  if (first !== undefined) return first;
  throw new Failure(
    'The function receives messages from no queue, so there is none to move them to. Deploy the environment again.',
  );
}

const asleep = ({ State }: EventSourceMappingConfiguration) =>
  `The function receives nothing from the event queue now, because the state of its mapping is ${State ?? 'unknown'}. ` +
  'Messages wait there for 14 days at most.';

function question({ letters, isComplete }: Contents): string {
  if (!isComplete) return 'Move the messages to the event queue?';
  const count = letters.filter(isReadable).length;
  return `Move ${counted(count, 'message')} to the event queue?`;
}

/**
 * SQS moves all messages itself, which is fast. The tool does it one by one if some have to stay, or if SQS refuses.
 */
async function move(
  client: SQSClient,
  queues: [Queue, Queue],
  { letters }: Contents,
  moved: Moved,
  output: Output,
): Promise<void> {
  const progress = () => `Moving messages, ${moved.count} until now`;
  if (letters.every(isReadable)) {
    const refusal = await showing(progress, output, moveByTask(client, queues, moved, output));
    if (refusal === undefined) return;
    output.note(
      `${wrap(`SQS does not move the messages itself, so this takes longer: ${sentence(refusal)}`, 0, output)}\n`,
    );
  }
  await showing(
    progress,
    output,
    moveEach(client, queues, (message) => !isReadable(letter(message)), moved),
  );
}

function describeContents(environment: string, contents: Contents, limit: number, output: Output): string {
  const { letters, isComplete, invisible } = contents;
  if (letters.length === 0) {
    const busy =
      `the dead-letter queue has about ${counted(invisible, 'message')} that nobody can see now, because somebody ` +
      'is receiving or has just moved them. Try again in some minutes.';
    return wrap(`${environment}: ${invisible === 0 ? 'the dead-letter queue is empty' : busy}`, 0, output);
  }
  const count = isComplete ? counted(letters.length, 'message') : `more than ${counted(letters.length - 1, 'message')}`;
  const unreadable = letters.filter((one) => !isReadable(one)).length;
  const summary = `${environment}: ${count} in the dead-letter queue${unreadable === 0 ? '' : `; ${unreadable} unreadable`}`;
  const lines = letters.slice(0, limit).map(({ sentAt, event, reason }): [string, string] => {
    const time = sentAt === null ? 'unknown time' : utc(new Date(sentAt));
    return [`  ${time}`, reason === null ? event : `${event}\n${sentence(reason)}`];
  });
  const more = letters.length > limit ? [`  … and ${letters.length - limit} more; add --all to see them`] : [];
  const list = [layOut(lines, output), ...more].join('\n');
  return `${wrap(summary, 0, output)}\n\n${list}`;
}

const listEnd = (discovery: Discovery) =>
  `When the cause is repaired, let the handler process them again:\n  ${discovery.suggest('redrive')}`;

function moveEnd(discovery: Discovery, environment: string, { count, error }: Moved, output: Output): string {
  const verb = count === 1 ? 'was' : 'were';
  const summary = `${environment}: ${counted(count, 'message')} ${verb} moved to the event queue`;
  if (error !== undefined) return wrap(`${summary}, then an error stopped the move.`, 0, output);
  const text =
    'The handler processes them within a minute. A message that fails again returns after a quarter of an hour. ' +
    'To see whether all services are registered:';
  return `${summary}\n\n${wrap(text, 0, output)}\n  ${discovery.suggest('status')}`;
}

function unreadableEnd(discovery: Discovery, { url }: Queue, output: Output): string {
  const text =
    'Unreadable messages stay. Find out who sends them to a queue of this environment. To delete all messages that are left:';
  return `${wrap(text, 0, output)}\n  ${discovery.aws(`sqs purge-queue --queue-url ${quoted(url)}`)}`;
}

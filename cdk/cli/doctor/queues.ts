/** The checks of the queues: whether the function receives their messages, and how many wait. */
import type { EventSourceMappingConfiguration } from '@aws-sdk/client-lambda';
import { type Discovery, quoted } from '../discovery.js';
import { counted } from '../output.js';
import type { Read } from '../reads.js';
import { type Check, check, deployAgain, unread } from './check.js';
import type { Backlog } from './reads.js';

/** The queues of the stack (`cdk/lib/delivery.ts`). */
const QUEUES = {
  events: { what: 'the queue of events', effect: 'redriven events, and all others if delivery is queue, wait in it' },
  loadBalancerCalls: {
    what: 'the queue of load balancer calls',
    effect: 'changes of load balancers take effect only with a full pass of the schedule',
  },
} as const;
type Queue = keyof typeof QUEUES;

/** Only the batches of load balancer calls are large. */
const queueOf = ({ BatchSize = 0 }: EventSourceMappingConfiguration): Queue =>
  BatchSize > 1000 ? 'loadBalancerCalls' : 'events';

/** The last part of an ARN. */
const nameOf = (arn: string) => arn.split(':').at(-1) ?? arn;

/** The queues that no mapping names. */
export const missingQueues = (all: EventSourceMappingConfiguration[]) =>
  (Object.keys(QUEUES) as Queue[]).filter((queue) => !all.some((mapping) => queueOf(mapping) === queue));

const PASSING = ['Creating', 'Enabling', 'Updating'];

export function mappingChecks(read: Read<EventSourceMappingConfiguration[]>, discovery: Discovery): Check[] {
  if ('error' in read) return [unread('mappings', 'The event source mappings of the function', read.error)];
  const all = read.value;
  const problems = all.flatMap((mapping) => {
    const { State = 'unknown', UUID = '', EventSourceArn = '' } = mapping;
    if (State === 'Enabled') return [];
    const { what, effect } = QUEUES[queueOf(mapping)];
    const subject = nameOf(EventSourceArn);
    const found = `The function's mapping of ${what} has the state ${State}`;
    if (PASSING.includes(State)) {
      return [check('mappings', 'warning', `${found}.`, { subject, next: 'Try again in a minute.' })];
    }
    return [
      check('mappings', 'failed', `${found}: ${effect}.`, {
        subject,
        ...(State === 'Deleting'
          ? deployAgain(discovery)
          : {
              next: 'Enable it:',
              commands: [discovery.aws(`lambda update-event-source-mapping --uuid ${quoted(UUID)} --enabled`)],
            }),
      }),
    ];
  });
  const missing = missingQueues(all).map((queue) => {
    const { what, effect } = QUEUES[queue];
    const found = `The function receives no messages of ${what}: ${effect}.`;
    return check('mappings', 'failed', found, deployAgain(discovery));
  });
  const checks = [...problems, ...missing];
  return checks.length > 0 ? checks : [check('mappings', 'ok', 'The function receives the messages of both queues.')];
}

/** More messages than this are a backlog. */
const BACKLOG = 100;

/** The queues whose messages the function receives, by their ARNs. */
export function queueChecks(reads: (readonly [string, Read<Backlog>])[]): Check[] {
  const problems = reads.flatMap(([arn, read]) => {
    const subject = nameOf(arn);
    if ('error' in read) return [unreadQueue('queues', arn, read.error)];
    const { waiting, inFlight } = read.value;
    if (waiting + inFlight <= BACKLOG) return [];
    return [
      check(
        'queues',
        'warning',
        `The queue ${subject} has ${counted(waiting + inFlight, 'message')}, ${inFlight.toLocaleString('en-US')} of them in progress.`,
        {
          subject,
          next:
            'Many changes at once fill a queue for minutes. If the number does not fall, repair the other problems ' +
            'of this list: RUNBOOK.md, Handler fails and Records slow.',
        },
      ),
    ];
  });
  if (problems.length > 0) return problems;
  const total = reads.reduce(
    (sum, [, read]) => sum + ('value' in read ? read.value.waiting + read.value.inFlight : 0),
    0,
  );
  const text = total === 0 ? 'No message waits' : `${counted(total, 'message')} ${total === 1 ? 'waits' : 'wait'}`;
  return reads.length === 0 ? [] : [check('queues', 'ok', `${text} in the queues.`)];
}

/** `arn` and `read`: the dead-letter queue. */
export function deadLetterCheck(arn: Read<string>, read: Read<Backlog> | undefined, discovery: Discovery): Check {
  const id = 'deadLetters';
  if ('error' in arn && !arn.error.startsWith('ResourceNotFoundException')) {
    return unread(id, 'The dead-letter queue of the function', arn.error);
  }
  if ('error' in arn || read === undefined) {
    const found = 'The function has no dead-letter queue, so events that fail three times are lost until a full pass.';
    return check(id, 'warning', found, deployAgain(discovery));
  }
  if ('error' in read) return unreadQueue(id, arn.value, read.error);
  const count = read.value.waiting + read.value.inFlight;
  if (count === 0) return check(id, 'ok', 'The dead-letter queue is empty.');
  return check(
    id,
    'warning',
    `${counted(count, 'event')} could not be handled and ${count === 1 ? 'is' : 'are'} in the dead-letter queue.`,
    {
      subject: nameOf(arn.value),
      next: 'Repair the cause: RUNBOOK.md, Dead letters. Then let the handler receive them again:',
      commands: [discovery.suggest('redrive')],
    },
  );
}

function unreadQueue(id: 'queues' | 'deadLetters', arn: string, error: string): Check {
  const name = nameOf(arn);
  if (!/QueueDoesNotExist|NonExistentQueue/.test(error)) return unread(id, `The queue ${name}`, error, name);
  return check(id, 'failed', `The queue ${name} does not exist.`, {
    subject: name,
    next: 'Somebody deleted it, and its messages are lost. Deploy its stack again, and then run a full pass.',
  });
}

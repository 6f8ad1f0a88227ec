/**
 * Dead letters in words: which event a message contains, and why it failed. Reads messages like
 * `handler/src/domain/trigger.rs`, but decides nothing for the handler.
 */
import type { Message } from '@aws-sdk/client-sqs';
import { iso } from './output.js';
import { printable } from './printable.js';
import { shortName } from './report.js';

/** A message of the dead-letter queue. */
export interface Letter {
  id: string;
  /** The time at which it was sent, in ISO 8601. */
  sentAt: string | null;
  /** For example `CreateService of shop/orders`. */
  event: string;
  /** The handler processes events, drops commands, and fails for unreadable messages. */
  kind: 'event' | 'command' | 'unreadable';
  /** Why it is in the queue, if the message contains that. */
  reason: string | null;
}

/** Texts of others are cut here. */
const LONGEST = 400;

/** The value at a path of a JSON document. `undefined` if there is none. */
function at(json: unknown, ...path: (string | number)[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null ? (value as Record<string | number, unknown>)[key] : undefined,
    json,
  );
}

/** The text at a path of a JSON document. */
function textAt(json: unknown, ...path: (string | number)[]): string | undefined {
  const value = at(json, ...path);
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** A text of others on one line. */
const clean = (text: string, longest = LONGEST) => {
  const line = printable(text.replace(/\s+/g, ' '));
  return line.length > longest ? `${line.slice(0, longest)}…` : line;
};

const excerpt = (text: string) => clean(text, 30);

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

/** Describes a message. */
export function letter({ MessageId = '', Body = '', Attributes, MessageAttributes }: Message): Letter {
  const sent = Number(Attributes?.SentTimestamp);
  const body = parse(Body);
  const common = { id: printable(MessageId), sentAt: sent > 0 ? iso(new Date(sent)) : null };
  // Lambda wraps an event that the function could not handle.
  const isWrapped = at(body, 'requestContext') !== undefined && at(body, 'requestPayload') !== undefined;
  const payload = isWrapped ? at(body, 'requestPayload') : body;
  const isEvent = at(payload, 'detail-type') !== undefined;
  if (!isEvent && ['reconcile', 'deregister', 'RequestType'].some((key) => at(payload, key) !== undefined)) {
    const command = excerpt(JSON.stringify(payload));
    return {
      ...common,
      event: `command ${command}`,
      kind: 'command',
      reason: 'the handler drops commands from a queue; invoke the function with it instead',
    };
  }
  if (!isEvent) {
    const reason = `it is ${body === undefined ? 'not JSON' : 'no event'}, so the handler cannot read it`;
    return { ...common, event: `unreadable message: ${excerpt(Body)}`, kind: 'unreadable', reason };
  }
  const attribute = (name: string) => MessageAttributes?.[name]?.StringValue;
  const reason = failure(body, Attributes?.DeadLetterQueueSourceArn, attribute);
  return {
    ...common,
    event: clean(event(payload)),
    kind: 'event',
    reason: reason === undefined ? null : clean(reason),
  };
}

/**
 * Why a message is in the queue. A message that failed again after a redrive still has the envelope or the attributes of
 * its first failure, so the queue comes first.
 */
function failure(
  body: unknown,
  queue: string | undefined,
  attribute: (name: string) => string | undefined,
): string | undefined {
  if (queue !== undefined) return 'all five attempts from the queue failed; the log of these attempts has the errors';
  const condition = textAt(body, 'requestContext', 'condition');
  if (condition !== undefined) {
    const error = textAt(body, 'responsePayload', 'errorMessage') ?? textAt(body, 'responsePayload', 'errorType');
    const text = CONDITIONS.get(condition) ?? `Lambda reports ${condition}`;
    return error === undefined ? text : `${text}: ${error}`;
  }
  const [code, error] = [attribute('ERROR_CODE'), attribute('ERROR_MESSAGE')];
  if (code === undefined && error === undefined) return undefined;
  return ['EventBridge could not deliver it', code, error].filter((part) => part !== undefined).join(': ');
}

/** Why Lambda sent an event to the failure destination. */
const CONDITIONS = new Map([
  ['RetriesExhausted', 'the function failed in each attempt'],
  ['EventAgeExceeded', 'Lambda could not invoke the function in time'],
  ['ZeroReservedConcurrency', 'the reserved concurrency of the function is 0'],
]);

function event(payload: unknown): string {
  const [source, type] = [textAt(payload, 'source') ?? 'nobody', textAt(payload, 'detail-type') ?? 'nothing'];
  const detail = at(payload, 'detail');
  const name = textAt(detail, 'eventName') ?? type;
  switch (`${source} ${type}`) {
    case 'aws.events Scheduled Event':
      return 'full pass of the schedule';
    case 'aws.elasticloadbalancing AWS API Call via CloudTrail':
      return `load balancer call ${name}`;
    case 'aws.ecs AWS API Call via CloudTrail':
      return `${name} of ${calledService(detail)}`;
    case 'aws.ecs ECS Deployment State Change':
    case 'aws.ecs ECS Service Action': {
      // For example SERVICE_DEPLOYMENT_COMPLETED.
      const words = name
        .replace(/^SERVICE_/, '')
        .replaceAll('_', ' ')
        .toLowerCase();
      return `${words} of ${serviceOfResources(payload)}`;
    }
    case 'aws.tag Tag Change on Resource':
      return `changed tags of ${serviceOfResources(payload)}`;
    default:
      return `${type} of ${source}, which changes no name`;
  }
}

const UNKNOWN = 'an unknown service';

/** The service of a call that CloudTrail recorded. */
function calledService(detail: unknown): string {
  const request = at(detail, 'requestParameters');
  const found =
    textAt(detail, 'responseElements', 'service', 'serviceArn') ??
    ['resourceArn', 'serviceArn', 'service', 'serviceName'].map((key) => textAt(request, key)).find(Boolean);
  return found === undefined ? UNKNOWN : inCluster(found, textAt(request, 'cluster') ?? 'default');
}

/** The service of an event that names it among its resources. */
function serviceOfResources(payload: unknown): string {
  const found = textAt(payload, 'resources', 0);
  return found === undefined ? UNKNOWN : inCluster(found, textAt(payload, 'detail', 'clusterArn'));
}

/** `cluster/service` of a service, given by name or ARN. Old ARNs have no cluster. */
function inCluster(service: string, cluster: string | undefined): string {
  const name = shortName(service);
  if (name.includes('/') || cluster === undefined) return name;
  return `${cluster.split('/').at(-1) ?? cluster}/${name}`;
}

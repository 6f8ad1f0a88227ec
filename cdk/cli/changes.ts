/** The outcomes in the handler's log: which service got or lost which name, and why. */
import { z } from 'zod';
import { Failure } from './failure.js';
import type { LogLine } from './insights.js';
import { iso } from './output.js';
import type { FunctionPart } from './parts.js';
import { printable } from './printable.js';
import { CHANGES, STATUSES, type Status, shortName, withoutDot } from './report.js';

/** An outcome. The field names are documented in docs/cli.md. */
export interface Change {
  at: string;
  change: Status;
  name: string | null;
  zone: string | null;
  /** `cluster/service`. */
  service: string;
  arn: string;
  target: string | null;
  reason: string | null;
  requestId: string | null;
}

/** Why the log has no changes, or nothing if it has them. */
export function withoutChanges({ configuration }: FunctionPart): string | undefined {
  const level = configuration.LoggingConfig?.ApplicationLogLevel ?? 'INFO';
  if (['TRACE', 'DEBUG', 'INFO'].includes(level)) return undefined;
  return `The log level of the function is ${level}, so its log has no changes, but only conflicts and failures.`;
}

/** A name or a service. */
export type Subject = { name: string } | { service: string };

/** The subject of a history. Its text becomes a part of a query, so only the characters of names are accepted. */
export function historySubject(text: string): Subject {
  const arn = /^arn:aws[a-z-]*:ecs:[a-z0-9-]*:\d*:service\/(.+)$/.exec(text)?.[1];
  // An ARN of the old form has no cluster. The log has the long form of each.
  const service = arn?.includes('/') === false ? `default/${arn}` : (arn ?? text);
  if (/^[\w-]+\/[\w-]+$/.test(service)) return { service };
  const name = text.replace(/\.$/, '').toLowerCase();
  if (/^[\w-]+(\.[\w-]+)+$/.test(name)) return { name };
  throw new Failure(
    `${JSON.stringify(text)} is neither a name, such as orders.dev.internal, nor a service in the form cluster/service, nor its ARN.`,
  );
}

/** The words of the handler before a name that a service lost besides its outcome. */
const NO_LONGER = 'the service no longer has';

/** The pattern of the lines of an outcome. Dry runs changed nothing. */
export const ofOutcomes = (statuses: readonly Status[]) => [`"dry_run":false`, `"outcome":"(${statuses.join('|')})"`];

/**
 * The patterns of the lines after which another service, or nobody, may have a name. Outcomes of any status may contain the
 * loss of a name.
 */
export const OF_CHANGES = [`"dry_run":false`, `("outcome":"(${CHANGES.join('|')})"|${NO_LONGER} )`];

/** The pattern of the lines that may be about a subject. `isAbout` is exact. */
export const ofSubject = (subject: Subject) =>
  // A dot stands for any character, so also for the slash, which would end the expression.
  'name' in subject ? subject.name.replaceAll('.', '[.]') : `:service.${subject.service.replace('/', '.')}"`;

const text = z.string().nullable().default(null);
const outcome = z.object({
  message: z.literal('outcome'),
  dry_run: z.literal(false),
  ecs_service: z.string(),
  dns_name: text,
  hosted_zone: text,
  target: text,
  outcome: z.enum(STATUSES),
  reason: text,
  request_id: text,
});

/** The outcomes among lines of the log. */
export function changes(lines: LogLine[]): Change[] {
  return lines.flatMap(({ at, message }) => {
    const found = outcome.safeParse(parse(message)).data;
    if (found === undefined || Number.isNaN(at.getTime())) return [];
    return [
      {
        at: iso(at),
        change: found.outcome,
        name: withoutDot(found.dns_name),
        zone: found.hosted_zone,
        service: shortName(found.ecs_service),
        arn: found.ecs_service,
        target: withoutDot(found.target),
        reason: found.reason,
        requestId: found.request_id,
      },
    ];
  });
}

function parse(message: string): unknown {
  try {
    return JSON.parse(message, (_, value: unknown) => (typeof value === 'string' ? printable(value) : value));
  } catch {
    return undefined;
  }
}

/** Whether a change is about a subject. Reasons contain the names that services lost, and other names, too. */
export function isAbout({ name, service, reason }: Change, subject: Subject): boolean {
  if ('service' in subject) return service === subject.service;
  if (name === subject.name) return true;
  const escaped = subject.name.replaceAll('.', '\\.');
  return reason !== null && new RegExp(`(?<![\\w.-])${escaped}(?![\\w-]|\\.[\\w-])`).test(reason);
}

const RENAMED = /^renamed from ([^;]+)/;

/** Whether a service got another name than it had. */
export const isRename = (reason: string | null) => RENAMED.test(reason ?? '');

/** Whether a service has a name that it did not have before. */
export const isNew = ({ change, reason }: Change) =>
  change === 'registered' || change === 'adopted' || (change === 'updated' && isRename(reason));

/** The names that a service lost. If it has another name, or none because of another service, they are in the reason. */
function lost({ change, name, zone, reason }: Change): { name: string; zone?: string | null }[] {
  const keepsAll = reason?.includes('the mode create-and-update removes no name') === true;
  const renamed = change === 'updated' && !keepsAll ? (RENAMED.exec(reason ?? '')?.[1]?.split(', ') ?? []) : [];
  const others = [...(reason ?? '').matchAll(new RegExp(`${NO_LONGER} ([^\\s;,]+)`, 'g'))].flatMap(
    ([, other]) => other ?? [],
  );
  const own = change === 'deregistered' && name !== null ? [{ name, zone }] : [];
  return [...own, ...[...renamed, ...others].map((other) => ({ name: other }))];
}

/** Who has a name in a zone at the end of the changes. */
export interface Holding {
  name: string;
  zone: string | null;
  /** `null` if nobody has it. */
  service: string | null;
  target: string | null;
  /** `null` if the changes do not contain that. */
  since: string | null;
}

/** The key of a name in a zone. The same name may be in several zones. */
export const placeOf = ({ name, zone }: { name: string; zone: string | null }) => `${name} ${zone ?? ''}`;

/** The holders of all names that changed, as far as the changes contain that. */
export function holdings(all: Change[]): Holding[] {
  const found = new Map<string, Holding>();
  for (const one of all) {
    const { at, change, name, zone, service, target } = one;
    const gains = change === 'registered' || change === 'adopted' || change === 'updated';
    for (const former of lost(one)) {
      const theirs = [...found.values()].filter((other) => other.name === former.name && other.service === service);
      const zones = former.zone === undefined ? theirs.map((other) => other.zone) : [former.zone];
      // Reasons contain no zones. Usually the service has its other name in the same one.
      if (zones.length === 0 && !found.has(placeOf({ name: former.name, zone }))) zones.push(zone);
      for (const place of zones) {
        // A service may keep its name and move to another zone.
        if (gains && former.name === name && place === zone) continue;
        const nobody = { name: former.name, zone: place, service: null, target: null, since: at };
        found.set(placeOf(nobody), nobody);
      }
    }
    if (!gains || name === null) continue;
    const before = found.get(placeOf({ name, zone }));
    const since = before?.service === service ? before.since : isNew(one) ? at : null;
    found.set(placeOf({ name, zone }), { name, zone, service, target, since });
  }
  return [...found.values()];
}

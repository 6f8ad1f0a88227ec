/** Since when services have their names, from the handler's log. */
import { OF_CHANGES, changes, holdings, isRename, placeOf, withoutChanges } from './changes.js';
import type { Discovery } from './discovery.js';
import { describe } from './failure.js';
import { Interrupted, MOST_LINES, beginning, logs, query } from './insights.js';
import { type Output, counted, sentence, utc } from './output.js';
import { functionPart } from './parts.js';
import { printable } from './printable.js';
import type { Service } from './report.js';

/** Since when a service has its name: since a change in the log, or since a time before the log begins. */
export type Age = { since: Date } | { before: Date };

export interface Ages {
  /** Nothing if the service does not have the name, or if the log does not contain since when. */
  of(service: Service): Age | undefined;
  /** How far the searched log goes back. `undefined` if nobody knows. */
  begin: Date | undefined;
  /** Why ages are missing. */
  notes: string[];
}

const none = (note: string): Ages => ({ of: () => undefined, begin: undefined, notes: [sentence(note)] });

/** Searches the log from a time on. Without the log there are no ages, but a note. */
export async function readAges(discovery: Discovery, begin: Date, output: Output): Promise<Ages> {
  try {
    return await search(discovery, begin, output);
  } catch (error) {
    if (error instanceof Interrupted) throw error;
    const reason = printable(describe(error, discovery.region)).replaceAll('\n', ' ');
    return none(`The ages of names are missing, because the log could not be read. ${reason}`);
  }
}

async function search(discovery: Discovery, wanted: Date, output: Output): Promise<Ages> {
  const part = await functionPart(discovery);
  const withoutAges = withoutChanges(part);
  if (withoutAges !== undefined) return none(`The ages of names are missing. ${withoutAges}`);
  const client = logs(discovery.config());
  try {
    const end = new Date();
    const from = await beginning(client, part.logGroup, { begin: wanted, end });
    const lines = await query(client, part.logGroup, { begin: from.begin, end }, OF_CHANGES, output);
    // The latest lines are complete.
    const cut = lines.length < MOST_LINES ? undefined : lines[0]?.at;
    const begin = cut ?? from.begin;
    const isKnown = cut !== undefined || from.isComplete !== undefined;
    const notes: string[] = [];
    if (cut !== undefined) {
      const most = counted(MOST_LINES, 'line');
      notes.push(`CloudWatch returns at most ${most} of the log, so changes before ${utc(cut)} are missing.`);
    } else if (!isKnown) {
      notes.push(`Names without a change in the log have no age. ${sentence(from.remark ?? '')}`);
    }
    const held = new Map(holdings(changes(lines)).map((one) => [placeOf(one), one]));
    const of = (service: Service): Age | undefined => {
      const { name, zone } = service;
      const has = holds(service);
      if (name === null || has === 'no') return undefined;
      const found = held.get(placeOf({ name, zone }));
      // Somebody changed the records by hand, or the service does not have the name.
      if (found === undefined ? has === 'unknown' : found.service !== service.service) return undefined;
      if (found !== undefined && found.since !== null) return { since: new Date(found.since) };
      return isKnown ? { before: begin } : undefined;
    };
    return { of, begin: isKnown ? begin : undefined, notes };
  } finally {
    client.destroy();
  }
}

/** Whether a service has its name now, as far as its outcome in a dry run shows that. */
function holds({ status, reason }: Service): 'yes' | 'no' | 'unknown' {
  switch (status) {
    case 'registered':
    case 'adopted':
    case 'conflict':
    case 'rejected':
      return 'no';
    case 'failed':
      return 'unknown';
    case 'updated':
      return isRename(reason) ? 'unknown' : 'yes';
    default:
      return 'yes';
  }
}

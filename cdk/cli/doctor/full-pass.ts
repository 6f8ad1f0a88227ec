/** The check of the last full pass, from the handler's log. */
import type { Discovery } from '../discovery.js';
import { counted } from '../output.js';
import { type Check, check } from './check.js';
import { ERRORS, type LogLine } from './reads.js';

/** The minutes between two full passes if no rule shows them: the default of the option. */
const DEFAULT_INTERVAL = 15;
/** A full pass may take as long as an invocation. The alarm NoCompleteFullPass waits for at least this time, too. */
const SHORTEST_SEARCH = 15;

const MINUTE = 60_000;

/** The search goes back in this number of parts, and ends with the first full pass. */
const PARTS = 3;

/** The minutes in which a full pass must have finished. */
const searchMinutes = (interval: number | undefined) => Math.max(3 * (interval ?? DEFAULT_INTERVAL), SHORTEST_SEARCH);

/** How the log is searched. */
export interface Search {
  /** Milliseconds since 1970. */
  now: number;
  /** The minutes between two full passes, if a rule shows them. */
  interval: number | undefined;
  /** Whether the mode is `observe`, so that full passes are dry runs. */
  observes: boolean;
}

interface Line {
  at: number;
  message: string;
  scope: string;
  dryRun: boolean;
  services: number;
  /** The error's own text. */
  reason: string;
  request: string;
}

/** A line of the handler. `undefined` for other lines, such as those of Lambda. */
function parse({ at, text }: LogLine): Line | undefined {
  try {
    const fields = JSON.parse(text) as Record<string, unknown>;
    const string = (value: unknown) => (typeof value === 'string' ? value : '');
    if (typeof fields.message !== 'string') return undefined;
    const zone = string(fields.hosted_zone);
    const reason = string(fields.error) || string(fields.reason);
    return {
      at,
      message: fields.message,
      scope: string(fields.scope),
      dryRun: fields.dry_run === true,
      services: Number(fields.services ?? 0),
      reason: zone === '' ? reason : `${zone}: ${reason}`,
      request: string(fields.request_id),
    };
  } catch {
    return undefined;
  }
}

const isFullPass = ({ message, scope }: Line) => message === 'run finished' && scope === 'all';

/** The last full pass, and the errors that it had or that are newer. */
export interface LastPass {
  at: number;
  services: number;
  /** The newest one comes first. */
  errors: { at: number; message: string; reason: string; isOfPass: boolean }[];
}

/** The last full pass, if there is one in the time in which it must have finished. */
export async function findLastPass(
  linesBetween: (from: number, to: number) => Promise<LogLine[]>,
  { now, interval, observes }: Search,
): Promise<LastPass | undefined> {
  const part = (searchMinutes(interval) * MINUTE) / PARTS;
  const lines: LogLine[] = [];
  for (let at = 0; at < PARTS; at += 1) {
    const end = now - at * part;
    lines.push(...(await linesBetween(end - part + 1, end)));
    const last = lastPass(lines, observes);
    if (last !== undefined) return last;
  }
  return undefined;
}

/** The last full pass in lines of the log. In the mode `observe`, the log cannot distinguish the dry runs of people. */
function lastPass(all: LogLine[], observes: boolean): LastPass | undefined {
  const lines = all.flatMap((line) => parse(line) ?? []).sort((one, other) => one.at - other.at);
  // The errors of a dry run are those that this tool shows anyway.
  const requested = new Set(observes ? [] : lines.filter(({ dryRun }) => dryRun).map(({ request }) => request));
  const pass = lines.filter((line) => isFullPass(line) && line.dryRun === observes).at(-1);
  if (pass === undefined) return undefined;
  const isOfPass = ({ request }: Line) => request !== '' && request === pass.request;
  const errors = lines
    .filter(({ message, request }) => ERRORS.includes(message) && !requested.has(request))
    .filter((line) => line.at > pass.at || isOfPass(line))
    .map((line) => ({ at: line.at, message: line.message, reason: line.reason, isOfPass: isOfPass(line) }))
    .reverse();
  return { at: pass.at, services: pass.services, errors };
}

/** @param last the last full pass in the time that was searched */
export function fullPassCheck(
  last: LastPass | undefined,
  { now, interval, observes }: Search,
  discovery: Discovery,
): Check {
  if (last === undefined) {
    const guess = interval === undefined ? ' The interval of the schedule is unknown; 15 minutes are assumed.' : '';
    return check(
      'fullPass',
      'failed',
      `No full pass finished in the last ${duration(searchMinutes(interval))}.${guess}`,
      {
        next: 'Repair the function and the rule of the schedule. This runs a full pass, and shows why it fails:',
        commands: [discovery.suggest('apply')],
      },
    );
  }
  const ago = Math.floor((now - last.at) / MINUTE);
  const when = ago < 1 ? 'less than a minute ago' : `${duration(ago)} ago`;
  const note = observes ? ', and wrote nothing, because the mode is observe' : '';
  const found = `The last full pass finished ${when} with ${counted(last.services, 'service')}${note}.`;
  const [error, ...more] = last.errors;
  if (error === undefined) return check('fullPass', 'ok', found);
  const which = error.isOfPass ? 'It was not complete' : 'A later run failed';
  const others = more.length === 0 ? '' : ` (and ${counted(more.length, 'other error')})`;
  return check('fullPass', 'warning', `${found} ${which}${others}: ${error.message}: ${error.reason}`, {
    next: 'RUNBOOK.md lists causes in the section Handler fails. This shows whether the error is still there:',
    commands: [discovery.suggest('apply')],
  });
}

/** `45 minutes`, `2 hours`. */
function duration(minutes: number): string {
  return minutes < 120 ? counted(minutes, 'minute') : counted(Math.floor(minutes / 60), 'hour');
}

/** One check of `doctor`: its result, one sentence, and the next step. */
import type { Discovery } from '../discovery.js';
import { printable } from '../printable.js';

/** The worst comes first. */
export const RESULTS = ['failed', 'unknown', 'warning', 'ok'] as const;
export type Result = (typeof RESULTS)[number];

/** The ids of the checks, in the order of the screen, with their titles. The ids are documented in docs/cli.md. */
export const TITLES = {
  function: 'Function',
  concurrency: 'Concurrency',
  trail: 'Trail',
  rules: 'Rules',
  mappings: 'Mappings',
  queues: 'Queues',
  deadLetters: 'Dead letters',
  fullPass: 'Full pass',
  zones: 'Zones',
  negativeTtl: 'Negative TTL',
  zoneRecords: 'Zone records',
  handler: 'Handler',
} as const;
export type CheckId = keyof typeof TITLES;
export const IDS = Object.keys(TITLES) as CheckId[];

/** The next step. If there are commands, the text ends with a colon. */
export interface Step {
  next: string;
  commands?: string[];
}

export interface Check {
  id: CheckId;
  /** The rule, queue or zone, if the check is about one of several. */
  subject: string | null;
  result: Result;
  /** What was found, in a sentence. */
  finding: string;
  next: string | null;
  commands: string[];
}

/** A check without characters that a terminal would obey. */
export function check(
  id: CheckId,
  result: Result,
  finding: string,
  { subject = null, next, commands = [] }: Partial<Step> & { subject?: string | null } = {},
): Check {
  return {
    id,
    subject: subject === null ? null : printable(subject),
    result,
    finding: printable(finding),
    next: next === undefined ? null : printable(next),
    // A line break would look like the end of the command.
    commands: commands.map((command) => printable(command.replaceAll('\n', ' '))),
  };
}

/** The check for a part that could not be read, with AWS's error. */
export function unread(id: CheckId, part: string, error: string, subject: string | null = null): Check {
  return check(id, 'unknown', `${part} could not be read: ${error}`, { subject, ...afterError(error) });
}

/** The next step after an error of AWS. */
export function afterError(error: string): Step {
  if (isDenied(error)) {
    return { next: 'Allow this call to your credentials. docs/cli.md lists all permissions that doctor needs.' };
  }
  if (/Throttl|TooManyRequests|RateExceeded/i.test(error)) return { next: 'AWS throttled it. Try again in a minute.' };
  return { next: 'Try again. If the error stays, repair its cause.' };
}

export const isDenied = (error: string) => /AccessDenied|not authorized/i.test(error);

/** Restores a part that somebody deleted. */
export function deployAgain(discovery: Discovery): Step {
  const command = discovery.deploy();
  if (command === undefined) return { next: 'Deploy its stack again with the option --revert-drift of `cdk deploy`.' };
  return { next: 'Somebody may have deleted it. This deploys it again:', commands: [command] };
}

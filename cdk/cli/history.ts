/** `history`: who had a name when, and which names changed, from the handler's log. */
import type { CloudWatchLogsClient } from '@aws-sdk/client-cloudwatch-logs';
import { type Change, type Subject, changes, historySubject, isAbout, ofOutcomes, ofSubject } from './changes.js';
import { type Discovery, quoted } from './discovery.js';
import { MOST_LINES, type Period, logGroup, logs, query } from './insights.js';
import { type Output, counted, csv, showing, utc, wrap } from './output.js';
import { type FunctionPart, functionPart } from './parts.js';
import { printable } from './printable.js';
import { CHANGES, STATUSES, type Status } from './report.js';
import { type Format, OBSERVES } from './status.js';
import { changeTable, changed, countedProblems, holders, story } from './timeline.js';

export interface HistoryOptions {
  format: Format;
  all: boolean;
  /** How far the period goes back, in milliseconds. */
  since: number;
}

/** Changes that are shown without `--all`. */
const SHOWN = 20;

/** Statuses that somebody has to look at. Each full pass logs them again. */
const PROBLEMS = ['conflict', 'invalid', 'refused', 'rejected', 'failed'] as const;

/** The outcomes that a query found. */
interface Found {
  all: Change[];
  /** Whether the log has more lines. */
  isCut: boolean;
}

/** A history, and its text. */
type History = Found & { paragraphs: string[] };

/** Where to search, and for whom. */
interface Search {
  discovery: Discovery;
  environment: string;
  period: Period;
  format: Format;
  /** The changes to show. */
  limit: number;
  output: Output;
  /** Reads the outcomes with one of these statuses, from lines with these patterns. */
  find: (statuses: readonly Status[], ...patterns: string[]) => Promise<Found>;
}

/** Shows the changes of a period, or the history of one name or service. Returns 0 also if there are none. */
export async function history(
  discovery: Discovery,
  text: string | undefined,
  { format, all, since }: HistoryOptions,
  output: Output,
): Promise<number> {
  const subject = text === undefined ? undefined : historySubject(text);
  const found = await functionPart(discovery);
  const { environment, logGroup: group } = found;
  for (const text of gaps(found)) output.note(`${wrap(text, 0, output)}\n`);
  const client = logs(discovery.config());
  try {
    const end = new Date();
    const period = { begin: await beginning(client, group, new Date(end.getTime() - since), end, output), end };
    const find: Search['find'] = async (statuses, ...patterns) => {
      const lines = await query(client, group, period, [...ofOutcomes(statuses), ...patterns], output);
      const all = changes(lines).filter(({ change }) => statuses.includes(change));
      return { all, isCut: lines.length >= MOST_LINES };
    };
    const limit = all ? Infinity : SHOWN;
    const search = { discovery, environment, period, format, limit, output, find };
    const work = subject === undefined ? historyOfAll(search) : historyOf(subject, search);
    write(await showing('Searching the log', output, work), format, output);
    return 0;
  } finally {
    client.destroy();
  }
}

async function historyOfAll({ discovery, environment, period, format, limit, output, find }: Search): Promise<History> {
  const found = await find(CHANGES);
  const paragraphs = [wrap(`${environment}: ${changed(found.all.length, period)}`, 0, output)];
  if (found.all.length > 0) paragraphs.push(changeTable(found.all, limit, output));
  if (format === 'table') {
    // The problems have a query of their own, so that they leave room for the changes.
    const { all: problems } = await find(PROBLEMS);
    if (problems.length > 0) {
      const text = `${countedProblems(problems)} in this period. To see those that are left:`;
      paragraphs.push(`${wrap(text, 0, output)}\n  ${discovery.suggest('status')}`);
    }
  }
  return { ...found, paragraphs };
}

async function historyOf(subject: Subject, { discovery, period, limit, output, find }: Search): Promise<History> {
  const { all: lines, isCut } = await find(STATUSES, ofSubject(subject));
  const all = lines.filter((one) => isAbout(one, subject));
  const paragraphs = [holders(all, subject, period, output)];
  if (all.length > 0) paragraphs.push(story(all, limit, output));
  const name = 'name' in subject ? subject.name : subject.service;
  paragraphs.push(`To see the present state:\n  ${discovery.suggest(`explain ${quoted(name)}`)}`);
  return { all, isCut, paragraphs };
}

const COLUMNS = ['at', 'change', 'name', 'zone', 'service', 'arn', 'target', 'reason', 'requestId'] as const;

function write({ all, isCut, paragraphs }: History, format: Format, output: Output): void {
  if (format === 'table') output.write(`${paragraphs.join('\n\n')}\n`);
  else if (format === 'json') output.write(`${JSON.stringify(all, null, 2)}\n`);
  else {
    const rows = all.map((one) => COLUMNS.map((column) => one[column]));
    output.write(csv([...COLUMNS], rows));
  }
  if (!isCut) return;
  const text = `CloudWatch returns at most ${counted(MOST_LINES, 'line')}, so the oldest of this period may be missing. A shorter --since has all of its lines.`;
  output.note(`${wrap(text, 0, output)}\n`);
}

/** Why the log has no changes. */
function gaps({ observes, configuration }: FunctionPart): string[] {
  const level = configuration.LoggingConfig?.ApplicationLogLevel ?? 'INFO';
  const isLow = ['TRACE', 'DEBUG', 'INFO'].includes(level);
  const text = `The log level of the function is ${level}, so its log has no changes, but only conflicts and failures.`;
  return [...(observes ? [OBSERVES] : []), ...(isLow ? [] : [text])];
}

/** The beginning of a period, but not before the beginning of the log. */
async function beginning(
  client: CloudWatchLogsClient,
  name: string,
  wanted: Date,
  now: Date,
  output: Output,
): Promise<Date> {
  let first: number;
  try {
    const { creationTime = 0, retentionInDays } = (await logGroup(client, name)) ?? {};
    first = Math.max(creationTime, retentionInDays === undefined ? 0 : now.getTime() - retentionInDays * 86_400_000);
  } catch (error) {
    const reason = printable(error instanceof Error ? error.message : String(error));
    output.note(
      `${wrap(`Nobody knows how far the log goes back, because it could not be described: ${reason}`, 0, output)}\n`,
    );
    return wanted;
  }
  if (first <= wanted.getTime()) return wanted;
  const begin = new Date(first);
  output.note(`${wrap(`The log goes back to ${utc(begin)} only.`, 0, output)}\n`);
  return begin;
}

/** `history`: who had a name when, and which names changed, from the handler's log. */
import {
  type Change,
  type Subject,
  changes,
  historySubject,
  isAbout,
  ofOutcomes,
  ofSubject,
  withoutChanges,
} from './changes.js';
import { type Discovery, quoted } from './discovery.js';
import { MOST_LINES, type Period, beginning, logs, query } from './insights.js';
import { type Output, counted, csv, showing, wrap } from './output.js';
import { functionPart } from './parts.js';
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
  for (const text of [found.observes ? OBSERVES : undefined, withoutChanges(found)]) {
    if (text !== undefined) output.note(`${wrap(text, 0, output)}\n`);
  }
  const client = logs(discovery.config());
  try {
    const end = new Date();
    const { begin, remark } = await beginning(client, group, { begin: new Date(end.getTime() - since), end });
    if (remark !== undefined) output.note(`${wrap(remark, 0, output)}\n`);
    const period = { begin, end };
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

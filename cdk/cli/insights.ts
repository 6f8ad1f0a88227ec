/** Queries of CloudWatch Logs Insights. */
import {
  CloudWatchLogsClient,
  DescribeLogGroupsCommand,
  GetQueryResultsCommand,
  type LogGroup,
  type ResultField,
  ResourceNotFoundException,
  StartQueryCommand,
  StopQueryCommand,
} from '@aws-sdk/client-cloudwatch-logs';
import { Failure } from './failure.js';
import { type Output, utc } from './output.js';
import { printable } from './printable.js';

/** A query returns no more log lines. */
export const MOST_LINES = 10_000;

const POLL_MS = 1_000;
const LONGEST_SECONDS = 300;

/** A line of the log. */
export interface LogLine {
  at: Date;
  message: string;
}

export interface Period {
  begin: Date;
  end: Date;
}

export const logs = (config: Record<string, string>) => new CloudWatchLogsClient(config);

/** The log group, or nothing if it does not exist. */
export async function logGroup(client: CloudWatchLogsClient, name: string): Promise<LogGroup | undefined> {
  const { logGroups = [] } = await client.send(new DescribeLogGroupsCommand({ logGroupNamePrefix: name }));
  return logGroups.find(({ logGroupName }) => logGroupName === name);
}

/** Somebody pressed Ctrl-C during a query. */
export class Interrupted extends Failure {}

/** Where a search begins. */
export interface Beginning {
  begin: Date;
  /** Whether the log goes back that far. `undefined` if nobody knows. */
  isComplete: boolean | undefined;
  /** Why the search begins later than requested, or why nobody knows how far the log goes back. */
  remark: string | undefined;
}

/** The beginning of a period, but not before the beginning of the log. */
export async function beginning(
  client: CloudWatchLogsClient,
  name: string,
  { begin: wanted, end }: Period,
): Promise<Beginning> {
  let first: number;
  try {
    const { creationTime = 0, retentionInDays } = (await logGroup(client, name)) ?? {};
    first = Math.max(creationTime, retentionInDays === undefined ? 0 : end.getTime() - retentionInDays * 86_400_000);
  } catch (error) {
    const reason = printable(error instanceof Error ? error.message : String(error));
    const remark = `Nobody knows how far the log goes back, because it could not be described: ${reason}`;
    return { begin: wanted, isComplete: undefined, remark };
  }
  if (first <= wanted.getTime()) return { begin: wanted, isComplete: true, remark: undefined };
  const begin = new Date(first);
  return { begin, isComplete: false, remark: `The log goes back to ${utc(begin)} only.` };
}

/**
 * The latest lines of a period that match all patterns, the oldest first.
 *
 * The filters look at the whole line and not at its fields, because the emulator that the scenarios use knows only these.
 *
 * @param patterns regular expressions without the character `/`
 */
export async function query(
  client: CloudWatchLogsClient,
  group: string,
  { begin, end }: Period,
  patterns: string[],
  output: Output,
): Promise<LogLine[]> {
  const filters = patterns.map((pattern) => `filter @message like /${pattern}/`);
  const queryString = ['fields @timestamp, @message', ...filters, 'sort @timestamp desc', `limit ${MOST_LINES}`].join(
    ' | ',
  );
  const [startTime, endTime] = [Math.floor(begin.getTime() / 1_000), Math.ceil(end.getTime() / 1_000)];
  const request = { logGroupName: group, queryString, startTime, endTime };
  let queryId: string | undefined;
  const interruption = new AbortController();
  const interrupt = () => {
    interruption.abort();
  };
  process.once('SIGINT', interrupt);
  try {
    ({ queryId } = await client.send(new StartQueryCommand(request)));
    for (let waited = 0; waited < LONGEST_SECONDS; waited += POLL_MS / 1_000) {
      const rows = await results(client, queryId);
      if (rows !== undefined) {
        queryId = undefined;
        return rows.map(line).reverse();
      }
      if (interruption.signal.aborted) throw new Interrupted('The query was stopped.');
      await output.sleep(POLL_MS);
    }
    throw new Failure(
      `The query takes more than ${LONGEST_SECONDS / 60} minutes, so it was stopped. Choose a shorter --since.`,
    );
  } catch (error) {
    if (error instanceof ResourceNotFoundException && queryId === undefined) {
      throw new Failure(
        `The log group ${group} does not exist. The function has logged nothing, or somebody deleted the log.`,
      );
    }
    throw error;
  } finally {
    process.off('SIGINT', interrupt);
    // AWS charges for the lines that a query reads.
    if (queryId !== undefined) await client.send(new StopQueryCommand({ queryId })).catch(() => undefined);
  }
}

/** All rows of a query, or nothing as long as it runs. */
async function results(
  client: CloudWatchLogsClient,
  queryId: string | undefined,
): Promise<ResultField[][] | undefined> {
  const rows: ResultField[][] = [];
  let nextToken: string | undefined;
  do {
    const answer = await client.send(new GetQueryResultsCommand({ queryId, nextToken }));
    const { status = 'Unknown' } = answer;
    if (status === 'Scheduled' || status === 'Running' || status === 'Unknown') return undefined;
    if (status !== 'Complete') {
      throw new Failure(
        `CloudWatch ended the query with the status ${status}. Try again, or choose a shorter --since.`,
      );
    }
    rows.push(...(answer.results ?? []));
    ({ nextToken } = answer);
  } while (nextToken !== undefined);
  return rows;
}

/** Insights writes times like `2026-11-26 10:02:13.123`, in UTC. */
function line(row: ResultField[]): LogLine {
  const value = (name: string) => row.find(({ field }) => field === name)?.value ?? '';
  return { at: new Date(`${value('@timestamp').replace(' ', 'T')}Z`), message: value('@message') };
}

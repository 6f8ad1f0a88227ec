/** `plan`: the changes of a full pass. `apply`: the full pass. */
import { type Discovery, HandlerError } from './discovery.js';
import { Failure, isTransient } from './failure.js';
import { attention, counts, diff } from './list.js';
import { type Output, sentence, showing, wrap } from './output.js';
import { type Answer, isChange, isTrouble, needsAttention, problems, services } from './report.js';
import { type Format, OBSERVES, readAll, remarks, writeForPrograms } from './status.js';

/** Exit statuses of `plan`, like those of `terraform plan -detailed-exitcode`. */
const IN_SYNC = 0;
const TROUBLE = 1;
const PENDING = 2;

/** Changes that are shown without `--all`. */
const CHANGES_SHOWN = 100;

function show(answer: Answer, verb: string, limit: number, output: Output): void {
  const all = services(answer);
  const changes = all.filter(isChange);
  const noun = changes.length === 1 ? 'name' : 'names';
  const changed = changes.length === 0 ? 'nothing' : `${changes.length} ${noun}: ${counts(changes)}`;
  const parts = [wrap(`${answer.environment}: a full pass ${verb} ${changed}`, 0, output)];
  if (changes.length > 0) parts.push(diff(changes, limit, output));
  parts.push(...attention(all, limit, output), ...remarks(answer, output));
  if (answer.observed) parts.push(wrap(OBSERVES, 0, output));
  output.write(`${parts.join('\n\n')}\n`);
}

export async function plan(
  discovery: Discovery,
  { format, all: showAll }: { format: Format; all: boolean },
  output: Output,
): Promise<number> {
  const answer = await readAll(discovery, output);
  const all = services(answer);
  if (format === 'table') {
    show(answer, 'would change', showAll ? Infinity : CHANGES_SHOWN, output);
    if (all.some(isChange) && !answer.observed) {
      output.write(`\nTo make the changes:\n  ${discovery.suggest('apply')}\n`);
    }
  } else {
    const shown = all.filter((one) => isChange(one) || isTrouble(one));
    writeForPrograms(format, answer, shown, output);
  }
  if (needsAttention(answer)) return TROUBLE;
  return all.some(isChange) ? PENDING : IN_SYNC;
}

/** Whether somebody agrees to the deletions that the delete limit would stop. */
async function agreed(planned: Answer, output: Output): Promise<boolean> {
  const deletions = services(planned).filter(({ status }) => status === 'deregistered');
  const noun = deletions.length === 1 ? 'name' : 'names';
  output.note(`Without the delete limit, a full pass deletes at least ${deletions.length} ${noun}:\n`);
  output.note(`${diff(deletions, Infinity, { ...output, colors: false })}\n`);
  if (await output.confirm(`Delete ${deletions.length === 1 ? 'it' : 'them'}?`)) return true;
  output.note('Nothing was changed.\n');
  return false;
}

export async function apply(
  discovery: Discovery,
  { format, all: showAll, ...options }: { format: Format; all: boolean; overrideDeleteLimit: boolean; yes: boolean },
  output: Output,
): Promise<number> {
  let { overrideDeleteLimit } = options;
  const limit = showAll ? Infinity : CHANGES_SHOWN;
  if (overrideDeleteLimit && !options.yes) {
    const planned = await readAll(discovery, output, true);
    const failed = services(planned).find(({ status }) => status === 'failed');
    const problem = problems(planned)[0] ?? failed?.reason;
    if (problem != null) {
      throw new Failure(
        `Nobody can say now which names would be deleted, so nothing was changed: ${sentence(problem)} ` +
          'Try again when everything can be read, or add --yes to go on without a question.',
      );
    }
    if (services(planned).some(({ status }) => status === 'deregistered')) {
      if (!(await agreed(planned, output))) return TROUBLE;
    } else overrideDeleteLimit = false;
  }
  let answer: Answer;
  try {
    const command = { reconcile: 'all', overrideDeleteLimit } as const;
    answer = await showing(`Full pass of ${discovery.environment}`, output, discovery.invoke(command));
  } catch (error) {
    if (error instanceof HandlerError) return failed(discovery, error, format, limit, output);
    if (error instanceof Error && isTransient(error)) {
      const text = `The connection to AWS failed: ${sentence(error.message)} The full pass may be running. To see the changes that are left:`;
      throw new Failure(`${text}\n  ${discovery.suggest('plan')}`);
    }
    throw error;
  }
  if (format === 'table') show(answer, answer.observed ? 'would change' : 'changed', limit, output);
  else writeForPrograms(format, answer, services(answer), output);
  return needsAttention(answer) || (answer.observed && services(answer).some(isChange)) ? TROUBLE : IN_SYNC;
}

/** The answer of a failed invocation is only its error, so a dry run shows the changes that are left. */
async function failed(discovery: Discovery, error: HandlerError, format: Format, limit: number, output: Output) {
  const text = `The full pass made the changes that it could, and failed: ${sentence(error.message)}`;
  output.note(`${wrap(text, 0, output)}\n\n`);
  const left = await readAll(discovery, output);
  if (format === 'table') show(left, 'would still change', limit, output);
  else writeForPrograms(format, left, services(left), output);
  return TROUBLE;
}

/** `plan`: what a full pass would change now. `apply`: a full pass. */
import { type Discovery, HandlerError } from './discovery.js';
import { counts, diff, heading, list, troubles } from './list.js';
import { type Output, sentence, showing, wrap } from './output.js';
import { type Answer, isChange, isTrouble, notes, problems, services } from './report.js';
import { type Format, forPrograms, readAll } from './status.js';

/** Exit statuses of `plan`, like those of `terraform plan -detailed-exitcode` in another order. */
const IN_SYNC = 0;
const TROUBLE = 1;
const PENDING = 2;

/** Changes that are shown without `--all`. */
const CHANGES_SHOWN = 100;

function show(answer: Answer, title: string, limit: number, output: Output): void {
  const all = services(answer);
  const changes = all.filter(isChange);
  const trouble = all.filter(isTrouble);
  const wrong = problems(answer);
  const parts = [title];
  if (changes.length > 0) parts.push(diff(changes, limit, output));
  if (trouble.length > 0) parts.push(`${heading('Needs attention', output)}\n${troubles(trouble, limit, output)}`);
  if (wrong.length > 0) parts.push(`${heading('Problems', output)}\n${list(wrong, output)}`);
  const known = notes(answer);
  if (known.length > 0) parts.push(`${heading('Notes', output)}\n${list(known, output)}`);
  output.write(`${parts.join('\n\n')}\n`);
}

/** A title such as `dev: a full pass would change 3 names: 2 registered, 1 updated`. */
function title(answer: Answer, verb: string): string {
  const changes = services(answer).filter(isChange);
  if (changes.length === 0) return `${answer.environment}: a full pass ${verb} nothing`;
  const noun = changes.length === 1 ? 'name' : 'names';
  return `${answer.environment}: a full pass ${verb} ${changes.length} ${noun}: ${counts(changes)}`;
}

export async function plan(
  discovery: Discovery,
  { format, all: showAll }: { format: Format; all: boolean },
  output: Output,
): Promise<number> {
  const answer = await readAll(discovery, output);
  const all = services(answer);
  if (format !== 'table')
    output.write(
      forPrograms(
        format,
        answer,
        all.filter((one) => isChange(one) || isTrouble(one)),
      ),
    );
  else {
    show(answer, title(answer, 'would change'), showAll ? Infinity : CHANGES_SHOWN, output);
    if (all.some(isChange))
      output.write(`\nTo make the changes:\n  npx ecs-discovery apply ${discovery.environment}\n`);
  }
  if (all.some(isTrouble) || problems(answer).length > 0) return TROUBLE;
  return all.some(isChange) ? PENDING : IN_SYNC;
}

export async function apply(
  discovery: Discovery,
  { format, all: showAll, ...options }: { format: Format; all: boolean; overrideDeleteLimit: boolean; yes: boolean },
  output: Output,
): Promise<number> {
  const { overrideDeleteLimit } = options;
  const limit = showAll ? Infinity : CHANGES_SHOWN;
  if (overrideDeleteLimit && !options.yes) {
    const planned = await readAll(discovery, output, true);
    const deletions = services(planned).filter(({ status }) => status === 'deregistered');
    if (deletions.length > 0) {
      const noun = deletions.length === 1 ? 'name' : 'names';
      output.note(`Without the delete limit, a full pass deletes ${deletions.length} ${noun}:\n`);
      output.note(`${diff(deletions, Infinity, { ...output, colors: false })}\n`);
      if (!(await output.confirm(`Delete ${deletions.length === 1 ? 'it' : 'them'}?`))) {
        output.note('Nothing was changed.\n');
        return TROUBLE;
      }
    }
  }
  const command = { reconcile: 'all', overrideDeleteLimit } as const;
  let answer: Answer;
  try {
    answer = await showing(`Full pass of ${discovery.environment}`, output, discovery.invoke(command));
  } catch (error) {
    if (!(error instanceof HandlerError)) throw error;
    // The answer of a failed invocation is only its error, so a dry run tells what is left to do.
    output.note(
      `${wrap(`The full pass applied what it could, and failed: ${sentence(error.message)}`, 0, output)}\n\n`,
    );
    const left = await readAll(discovery, output);
    if (format === 'table') show(left, title(left, 'would still change'), limit, output);
    else output.write(forPrograms(format, left, services(left)));
    return TROUBLE;
  }
  if (format === 'table') show(answer, title(answer, answer.observed ? 'would change' : 'changed'), limit, output);
  else output.write(forPrograms(format, answer, services(answer)));
  return services(answer).some(isTrouble) || problems(answer).length > 0 ? TROUBLE : IN_SYNC;
}

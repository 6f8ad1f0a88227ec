/** `status`: the services with their names, and those that are not registered, with reasons. */
import type { Discovery } from './discovery.js';
import { attention, counts, diff, heading, list, names, section, services as counted } from './list.js';
import { type Output, csv, sentence, showing, wrap } from './output.js';
import {
  type Answer,
  type Service,
  isChange,
  isRegistered,
  isTrouble,
  longNegativeTtls,
  problems,
  services,
} from './report.js';

export type Format = 'table' | 'json' | 'csv';

/** The names and troubles that are shown without `--all`. */
const NAMES_SHOWN = 20;

/** Reads the services with a dry run of a full pass, which writes nothing. */
export async function readAll(discovery: Discovery, output: Output, overrideDeleteLimit = false): Promise<Answer> {
  const command = { reconcile: 'all', dryRun: true, overrideDeleteLimit } as const;
  return showing(`Reading ${discovery.environment}`, output, discovery.invoke(command));
}

const COLUMNS = ['service', 'name', 'zone', 'status', 'target', 'reason'] as const;

/** Writes JSON or CSV. Documented in docs/cli.md. */
export function writeForPrograms(format: 'json' | 'csv', answer: Answer, all: Service[], output: Output): void {
  if (format === 'csv') {
    const rows = all.map((service) => COLUMNS.map((column) => service[column]));
    output.write(csv([...COLUMNS], rows));
    for (const problem of problems(answer)) output.note(`${sentence(problem)}\n`);
    return;
  }
  const document = {
    environment: answer.environment,
    dryRun: answer.dryRun,
    observed: answer.observed,
    services: all.map(({ arn, ...service }) => ({ ...service, arn })),
    problems: problems(answer),
    notes: answer.notes,
    longNegativeTtls: answer.fullPass?.longNegativeTtls ?? [],
  };
  output.write(`${JSON.stringify(document, null, 2)}\n`);
}

/** Paragraphs about problems and notes that do not belong to one service. */
export function remarks(answer: Answer, output: Output): string[] {
  const paragraphs: string[] = [];
  const wrong = problems(answer);
  if (wrong.length > 0) paragraphs.push(`${heading('Problems', output)}\n${list(wrong, output)}`);
  const slow = longNegativeTtls(answer).map(
    // The command stays in one line, so that it can be copied.
    ({ text, command }) => `${wrap(sentence(text), 2, output)}\n${command}`,
  );
  const known = [...slow, ...(answer.notes.length > 0 ? [list(answer.notes, output)] : [])];
  if (known.length > 0) paragraphs.push(`${heading('Notes', output)}\n${known.join('\n')}`);
  return paragraphs;
}

/** Why nothing is written, in the mode `observe`. */
export const OBSERVES = 'The mode of this environment is observe, so the handler writes nothing.';

/** Writes the services, and returns the exit status: 0 if nothing is wrong. */
export async function status(
  discovery: Discovery,
  { format, all: showAll }: { format: Format; all: boolean },
  output: Output,
): Promise<number> {
  const answer = await readAll(discovery, output);
  const all = services(answer);
  const trouble = all.filter(isTrouble);
  const exitStatus = trouble.length + problems(answer).length === 0 ? 0 : 1;
  if (format !== 'table') {
    writeForPrograms(format, answer, all, output);
    return exitStatus;
  }
  const registered = all.filter(isRegistered);
  const pending = all.filter(isChange);
  const ignored = all.filter(({ status }) => status === 'ignored');
  const limit = showAll ? Infinity : NAMES_SHOWN;
  const summary =
    `${answer.environment}: ${counted(registered.length)} registered` +
    (trouble.length > 0 ? `; ${counts(trouble)}` : '') +
    (pending.length > 0 ? `; ${pending.length} about to change` : '') +
    (ignored.length > 0 ? `; ${ignored.length} without a name on purpose` : '');
  const parts = [wrap(summary, 0, output), ...remarks(answer, output), ...attention(all, limit, output)];
  if (pending.length > 0) parts.push(`${heading('About to change', output)}\n${diff(pending, limit, output)}`);
  if (registered.length > 0) parts.push(`${heading('Registered', output)}\n${names(registered, limit, output)}`);
  if (showAll) parts.push(...section('Without a name on purpose', ignored, limit, output));
  if (answer.observed) parts.push(wrap(OBSERVES, 0, output));
  else if (pending.length > 0) {
    const text =
      'The next event or full pass makes these changes. If they are still here after that, Route 53 or a permission ' +
      'refuses them, and a full pass shows why:';
    parts.push(`${wrap(text, 0, output)}\n  ${discovery.suggest('apply')}`);
  } else if (ignored.length > 0 && !showAll) {
    parts.push(`To see the services without a name, too:\n  ${discovery.suggest('status', '--all')}`);
  }
  output.write(`${parts.join('\n\n')}\n`);
  return exitStatus;
}

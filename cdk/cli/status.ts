/** `status`: the services with their names, and those that are not registered, with reasons. */
import type { Discovery } from './discovery.js';
import { attention, counts, diff, heading, list, names, section, services as counted } from './list.js';
import { type Output, csv, sentence, showing, wrap } from './output.js';
import {
  type Answer,
  type Service,
  isChange,
  isIgnored,
  isKept,
  isRegistered,
  isTrouble,
  needsAttention,
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

/** What becomes of changes that a dry run found. A command follows. */
export const PENDING =
  'The next event or full pass makes these changes. If they are still here after that, Route 53 or a permission ' +
  'refuses them, and a full pass shows why:';

/** The heading of changes that a dry run found. */
export const pendingTitle = (observed: boolean) => (observed ? 'Would change' : 'About to change');

/** The parts of a summary. All but the first are missing if they would count nothing. */
export interface Summary {
  registered: string;
  trouble?: string;
  pending?: string;
  /** Services that keep a name because of the mode `create-and-update`. */
  kept?: string;
  ignored?: string;
}

export function summary({ observed }: Answer, all: Service[]): Summary {
  const trouble = all.filter(isTrouble);
  const count = (is: (service: Service) => boolean) => all.filter(is).length;
  const part = (number: number, text: string) =>
    number === 0 ? undefined : `${number.toLocaleString('en-US')} ${text}`;
  return {
    registered: `${counted(count(isRegistered))} registered`,
    trouble: trouble.length === 0 ? undefined : counts(trouble),
    pending: part(count(isChange), pendingTitle(observed).toLowerCase()),
    kept: part(count(isKept), 'with a name that only the mode create-and-update keeps'),
    ignored: part(count(isIgnored), 'without a name on purpose'),
  };
}

/** The parts of a summary, one after the other. */
export const inOneLine = (summary: Summary) => Object.values(summary).filter(Boolean).join('; ');

/** Writes the services, and returns the exit status: 0 if nothing is wrong. */
export async function status(
  discovery: Discovery,
  { format, all: showAll }: { format: Format; all: boolean },
  output: Output,
): Promise<number> {
  const answer = await readAll(discovery, output);
  const all = services(answer);
  const exitStatus = needsAttention(answer) ? 1 : 0;
  if (format !== 'table') {
    writeForPrograms(format, answer, all, output);
    return exitStatus;
  }
  const registered = all.filter(isRegistered);
  const pending = all.filter(isChange);
  const ignored = all.filter(isIgnored);
  const limit = showAll ? Infinity : NAMES_SHOWN;
  const parts = [
    wrap(`${answer.environment}: ${inOneLine(summary(answer, all))}`, 0, output),
    ...remarks(answer, output),
    ...attention(all, limit, output),
  ];
  if (pending.length > 0)
    parts.push(`${heading(pendingTitle(answer.observed), output)}\n${diff(pending, limit, output)}`);
  if (registered.length > 0) parts.push(`${heading('Registered', output)}\n${names(registered, limit, output)}`);
  if (showAll) {
    parts.push(...section('With a name that only the mode create-and-update keeps', all.filter(isKept), limit, output));
    parts.push(...section('Without a name on purpose', ignored, limit, output));
  }
  if (answer.observed) parts.push(wrap(OBSERVES, 0, output));
  else if (pending.length > 0) {
    parts.push(`${wrap(PENDING, 0, output)}\n  ${discovery.suggest('apply')}`);
  } else if (ignored.length > 0 && !showAll) {
    parts.push(`To see the services without a name, too:\n  ${discovery.suggest('status', '--all')}`);
  }
  output.write(`${parts.join('\n\n')}\n`);
  return exitStatus;
}

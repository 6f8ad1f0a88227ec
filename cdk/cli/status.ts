/** `status`: which services have which names, and what is not registered and why. */
import type { Discovery } from './discovery.js';
import { counts, diff, heading, list, names, services as counted, troubles } from './list.js';
import { type Output, csv, showing } from './output.js';
import { type Answer, type Service, isChange, isTrouble, notes, problems, services } from './report.js';

export type Format = 'table' | 'json' | 'csv';

/** The names and troubles that are shown without `--all`. */
const NAMES_SHOWN = 20;

/** Reads the services with a dry run of a full pass, which writes nothing. */
export async function readAll(discovery: Discovery, output: Output, overrideDeleteLimit = false): Promise<Answer> {
  const command = { reconcile: 'all', dryRun: true, overrideDeleteLimit } as const;
  return showing(`Reading ${discovery.environment}`, output, discovery.invoke(command));
}

const COLUMNS = ['service', 'name', 'zone', 'status', 'target', 'reason'] as const;

/** The output for programs. Documented in docs/cli.md. */
export function forPrograms(format: 'json' | 'csv', answer: Answer, all: Service[]): string {
  if (format === 'csv') {
    return csv(
      [...COLUMNS],
      all.map((service) => COLUMNS.map((column) => service[column])),
    );
  }
  const document = {
    environment: answer.environment,
    dryRun: answer.dryRun,
    services: all.map(({ arn, ...service }) => ({ ...service, arn })),
    remarks: [...problems(answer), ...notes(answer)],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** Writes the services, and returns the exit status: 0 if nothing is wrong. */
export async function status(
  discovery: Discovery,
  { format, all: showAll }: { format: Format; all: boolean },
  output: Output,
): Promise<number> {
  const answer = await readAll(discovery, output);
  const all = services(answer);
  const trouble = all.filter(isTrouble);
  const wrong = problems(answer);
  const exitStatus = trouble.length + wrong.length === 0 ? 0 : 1;
  if (format !== 'table') {
    output.write(forPrograms(format, answer, all));
    return exitStatus;
  }
  const registered = all.filter(({ status }) => status === 'unchanged');
  const pending = all.filter(isChange);
  const ignored = all.filter(({ status }) => status === 'ignored');
  const limit = showAll ? Infinity : NAMES_SHOWN;
  const parts = [
    `${answer.environment}: ${counted(registered.length)} registered` +
      (trouble.length > 0 ? `; ${counts(trouble)}` : '') +
      (pending.length > 0 ? `; ${pending.length} about to change` : '') +
      (ignored.length > 0 ? `; ${ignored.length} without a name on purpose` : ''),
  ];
  if (wrong.length > 0) parts.push(`${heading('Problems', output)}\n${list(wrong, output)}`);
  if (trouble.length > 0) parts.push(`${heading('Needs attention', output)}\n${troubles(trouble, limit, output)}`);
  if (pending.length > 0) {
    parts.push(`${heading('About to change', output)}\n${diff(pending, limit, output)}`);
  }
  if (registered.length > 0) parts.push(`${heading('Registered', output)}\n${names(registered, limit, output)}`);
  if (ignored.length > 0 && showAll) {
    parts.push(`${heading('Without a name on purpose', output)}\n${troubles(ignored, limit, output)}`);
  }
  const known = notes(answer);
  if (known.length > 0) parts.push(`${heading('Notes', output)}\n${list(known, output)}`);
  parts.push(next(answer.environment, pending.length, ignored.length > 0 && !showAll));
  output.write(`${parts.filter((part) => part !== '').join('\n\n')}\n`);
  return exitStatus;
}

/** The next step. */
function next(environment: string, pending: number, hides: boolean): string {
  if (pending > 0) {
    return `The next event or full pass makes these changes. To make them now:\n  npx ecs-discovery apply ${environment}`;
  }
  return hides ? `To see the services without a name, too:\n  npx ecs-discovery status ${environment} --all` : '';
}

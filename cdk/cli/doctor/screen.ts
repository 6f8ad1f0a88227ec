/** The screen of `doctor`: a summary, then the checks, the worst first, each with its next step. */
import pc from 'picocolors';
import { type Output, counted, sentence, wrap } from '../output.js';
import { type Check, IDS, RESULTS, type Result, TITLES } from './check.js';

/** The checks of one id that are shown without `--all`. */
const SHOWN = 5;

const COLORS = { failed: 'red', unknown: 'yellow', warning: 'yellow', ok: 'green' } as const;

/** The worst result of all checks. */
export const worst = (checks: Check[]): Result =>
  RESULTS.find((result) => checks.some((one) => one.result === result)) ?? 'ok';

export function screen(environment: string, checks: Check[], showAll: boolean, output: Output): string {
  const column = Math.max(...checks.map(({ id }) => TITLES[id].length)) + 2;
  const groups = RESULTS.map((result) =>
    IDS.flatMap((id) => {
      const same = checks.filter((one) => one.id === id && one.result === result);
      const shown = same.slice(0, showAll ? Infinity : SHOWN).map((one) => block(one, column, output));
      const more = same.length - shown.length;
      return more > 0 ? [...shown, `  … and ${more} more of ${TITLES[id]}; add --all to see them`] : shown;
    }),
  );
  // Problems are longer, so they have distance from each other.
  const paragraphs = groups.flatMap((blocks, at) => (RESULTS[at] === 'ok' ? [blocks.join('\n')] : blocks));
  return [wrap(`${environment}: ${summary(checks)}`, 0, output), ...paragraphs.filter((text) => text !== '')].join(
    '\n\n',
  );
}

function summary(checks: Check[]): string {
  const count = (result: Result) => checks.filter((one) => one.result === result).length;
  const parts = [
    ...(count('failed') > 0 ? [`${counted(count('failed'), 'check')} failed`] : []),
    ...(count('unknown') > 0 ? [`${counted(count('unknown'), 'check')} unknown`] : []),
    ...(count('warning') > 0 ? [counted(count('warning'), 'warning')] : []),
  ];
  return parts.length === 0 ? 'everything works' : parts.join(', ');
}

const RESULT_COLUMN = Math.max(...RESULTS.map((result) => result.length)) + 2;

function block({ id, result, finding, next, commands }: Check, column: number, output: Output): string {
  const label = pc.createColors(output.colors)[COLORS[result]](result);
  const lead = `  ${label}${' '.repeat(RESULT_COLUMN - result.length)}${TITLES[id].padEnd(column)}`;
  const indent = 2 + RESULT_COLUMN + column;
  return [
    `${lead}${wrap(sentence(finding), indent, output).trimStart()}`,
    ...(next === null ? [] : [wrap(next, indent, output)]),
    ...commands.map((command) => copyable(command, output)),
  ].join('\n');
}

/** A command to be copied. A long one continues in further lines, as a shell takes it. */
function copyable(command: string, { width }: Output): string {
  if (command.length + 4 <= width) return `    ${command}`;
  return `    ${command.replaceAll(' --', ' \\\n        --')}`;
}

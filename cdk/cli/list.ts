/** The parts that several commands print: services in a table, trouble with its reasons. */
import pc from 'picocolors';
import { type Output, counted, sentence, table, wrap } from './output.js';
import { type Service, type Status, isTrouble } from './report.js';

/** The name of a load balancer in its DNS name, as the console shows it. */
export function loadBalancer(target: string | null): string {
  const [label, ...rest] = target?.split('.') ?? [''];
  const isElb = rest.includes('elb');
  const name = /^(?:internal-|dualstack\.)?(.+)-[0-9a-z]+$/.exec(label ?? '')?.[1];
  return isElb && name !== undefined ? name : (target ?? '');
}

/** Services with their names, as many as `limit` allows. */
export function names(all: Service[], limit: number, output: Output): string {
  const rows = all.slice(0, limit).map(({ name, service, target }) => [name ?? '', service, loadBalancer(target)]);
  const text = table(['NAME', 'SERVICE', 'LOAD BALANCER'], rows, output);
  return all.length > limit ? `${text}\n  … and ${all.length - limit} more; add --all to see them` : text;
}

const paint: Partial<Record<Status, 'red' | 'yellow'>> = {
  failed: 'red',
  rejected: 'red',
  refused: 'red',
  conflict: 'red',
  invalid: 'red',
  waiting: 'yellow',
};

/** Services, each with its status, and with its reason below it. */
function withReasons(all: Service[], limit: number, output: Output): string {
  const colors = pc.createColors(output.colors);
  const shown = all.slice(0, limit);
  const column = Math.max(...shown.map(({ status }) => status.length)) + 2;
  const blocks = shown.map(({ status, service, name, reason }) => {
    const color = paint[status];
    const label = color === undefined ? status : colors[color](status);
    const lead = `  ${label}${' '.repeat(column - status.length)}`;
    const both = name === null ? service : `${service}  ${name}`;
    const fits = column + 2 + both.length <= output.width || name === null;
    const title = `${lead}${fits ? both : `${service}\n${' '.repeat(column + 2)}${name}`}`;
    return reason === null ? title : `${title}\n${wrap(sentence(reason), column + 2, output)}`;
  });
  if (all.length > limit) blocks.push(`  … and ${all.length - limit} more; add --all to see them`);
  return blocks.join('\n');
}

const SIGNS = {
  registered: ['+', 'green'],
  adopted: ['~', 'yellow'],
  updated: ['~', 'yellow'],
  deregistered: ['-', 'red'],
} as const;

/** Joins parts to lines of at most `width` columns. A part that is longer has a line of its own. */
function flow(parts: string[], width: number): string[] {
  const lines: string[] = [];
  for (const part of parts) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + part.length <= width) lines[lines.length - 1] = `${last} ${part}`;
    else lines.push(part);
  }
  return lines;
}

/** A diff: one line for each change, with its reason below it. */
export function diff(changes: Service[], limit: number, output: Output): string {
  const colors = pc.createColors(output.colors);
  const lines = changes.slice(0, limit).map(({ status, name, service, target, reason }) => {
    const [sign, color] = SIGNS[status as keyof typeof SIGNS];
    const leads = target === null ? [] : [`→ ${loadBalancer(target)}`];
    const [first, ...rest] = flow([`${sign} ${name ?? service}`, ...leads, ` (${service})`], output.width - 6);
    const line = [`  ${colors[color](first ?? '')}`, ...rest.map((part) => `      ${part.trim()}`)].join('\n');
    return reason === null ? line : `${line}\n${wrap(sentence(reason), 6, output)}`;
  });
  if (changes.length > limit) lines.push(`  … and ${changes.length - limit} more; add --all to see them`);
  return lines.join('\n');
}

/** Services under a heading, each with its status and its reason. No paragraph if there are none. */
export function section(title: string, all: Service[], limit: number, output: Output): string[] {
  return all.length === 0 ? [] : [`${heading(title, output)}\n${withReasons(all, limit, output)}`];
}

/** The services that need attention. */
export const attention = (all: Service[], limit: number, output: Output) =>
  section('Needs attention', all.filter(isTrouble), limit, output);

/** Sentences, one below the other. */
export function list(texts: string[], output: Output): string {
  return texts.map((text) => wrap(sentence(text), 2, output)).join('\n');
}

/** `2 failed, 1 conflict`, in the order of the services. */
export function counts(all: Service[]): string {
  const numbers = new Map<string, number>();
  for (const { status } of all) numbers.set(status, (numbers.get(status) ?? 0) + 1);
  return [...numbers].map(([status, number]) => `${number.toLocaleString('en-US')} ${status}`).join(', ');
}

export const heading = (text: string, { colors }: Output) => pc.createColors(colors).bold(text);

export const services = (count: number) => counted(count, 'service');

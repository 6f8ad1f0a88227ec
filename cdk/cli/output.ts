/** Text for people: tables that fit the terminal, wrapped sentences, colours. And CSV. */
import Table from 'cli-table3';
import pc from 'picocolors';
import { printable } from './printable.js';

/** Where a command writes, and for whom. */
export interface Output {
  /** Writes to the standard output. */
  write(text: string): void;
  /** Writes to the standard error, which no program reads. */
  note(text: string): void;
  /** Columns of the terminal. */
  width: number;
  /** Whether a person sees the standard output. */
  colors: boolean;
  /** Whether the standard error is a terminal that can show progress. */
  progress: boolean;
  /** Asks a person who can answer, and returns whether the answer is yes. */
  confirm(question: string): Promise<boolean>;
  /** Waits for some milliseconds. */
  sleep(ms: number): Promise<void>;
}

const GAP = 2;
const INDENT = 2;
/** No column gets narrower. */
const NARROWEST = 10;

/** The widths of columns that fit `width`: the widest ones give way first. */
function fit(natural: number[], width: number): number[] {
  const widths = [...natural];
  const total = () => widths.reduce((sum, one) => sum + one, 0) + GAP * (widths.length - 1);
  while (total() > width) {
    const widest = widths.indexOf(Math.max(...widths));
    const one = widths[widest] ?? 0;
    if (one <= NARROWEST) break;
    widths[widest] = one - 1;
  }
  return widths;
}

/** Aligned columns without lines between them. A cell that is too wide ends with `…`. */
export function table(head: string[], rows: string[][], { width, colors }: Output): string {
  const natural = head.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const widths = fit(natural, width - INDENT);
  const blank = { ...Object.fromEntries(EDGES.map((edge) => [edge, ''])), middle: ' '.repeat(GAP) };
  const drawn = new Table({
    head: head.map((title) => pc.createColors(colors).dim(title)),
    chars: blank,
    colWidths: widths,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0, compact: true },
  });
  drawn.push(...rows);
  const lines = drawn.toString().split('\n');
  return lines.map((line) => `${' '.repeat(INDENT)}${line.trimEnd()}`).join('\n');
}

const EDGES = [
  ...['top', 'top-mid', 'top-left', 'top-right', 'bottom', 'bottom-mid', 'bottom-left', 'bottom-right'],
  ...['left', 'left-mid', 'mid', 'mid-mid', 'right', 'right-mid'],
];

/** Breaks a text between words, so that its lines fit the terminal, with `indent` spaces before each. */
export function wrap(text: string, indent: number, { width }: Output): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && indent + line.length + 1 + word.length > width) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.map((line) => `${' '.repeat(indent)}${line}`).join('\n');
}

/** A reason as a sentence, with `cluster/service` instead of ARNs. A first word that is code stays as it is. */
export function sentence(arns: string): string {
  const reason = arns
    .replace(/\barn:aws[a-z-]*:ecs:[a-z0-9-]*:\d*:service\/([\w-]+\/[\w-]+)/g, '$1')
    .replace(/\barn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]*:\d*:targetgroup\/([\w-]+)\/\w+/g, '$1');
  const text = /^[a-z]+[ ,]/.test(reason) ? reason.charAt(0).toUpperCase() + reason.slice(1) : reason;
  return /[.!?:)]$/.test(text) ? text : `${text}.`;
}

/** A label, and the text beside it. */
export type Line = [string, string];

/** Labels in a column, and texts beside them. */
export function layOut(lines: Line[], output: Output): string {
  const column = Math.max(...lines.map(([label]) => label.length)) + 2;
  const texts = lines.map(([label, text]) => {
    const [first, ...rest] = printable(text)
      .split('\n')
      .map((part) => wrap(part, column, output).trimStart());
    const indented = rest.map((part) => `${' '.repeat(column)}${part}`);
    return [`${label.padEnd(column)}${first ?? ''}`, ...indented].join('\n');
  });
  return texts.join('\n');
}

/** A time for people: `2026-11-26 10:02 UTC`. */
export const utc = (at: Date) =>
  at
    .toISOString()
    .replace('T', ' ')
    .replace(/:\d\d\.\d+Z$/, ' UTC');

/** A time for programs: `2026-11-26T10:02:13Z`. */
export const iso = (at: Date) => at.toISOString().replace(/\.\d+Z$/, 'Z');

/** Rows of RFC 4180. */
export function csv(head: string[], rows: (string | null)[][]): string {
  const cell = (value: string | null) => {
    // A spreadsheet would take such a cell for a formula.
    const text = /^[=+\-@\t]/.test(value ?? '') ? `'${value ?? ''}` : (value ?? '');
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [head, ...rows].map((row) => `${row.map(cell).join(',')}\r\n`).join('');
}

/** `1 service`, `2 services`. */
export function counted(count: number, noun: string): string {
  return `${count.toLocaleString('en-US')} ${noun}${count === 1 ? '' : 's'}`;
}

/** Shows on a terminal that `work` goes on, and for how long. */
export async function showing<T>(text: string | (() => string), output: Output, work: Promise<T>): Promise<T> {
  if (!output.progress) return work;
  const begun = Date.now();
  const draw = () => {
    const now = typeof text === 'string' ? text : text();
    output.note(`\r\u001b[K${now}, ${Math.round((Date.now() - begun) / 1000)} s …`);
  };
  draw();
  const timer = setInterval(draw, 1000);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    output.note('\r\u001b[K');
  }
}

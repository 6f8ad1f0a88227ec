// @ts-check
/** Long steps: a title, progress, a log file, and the time that each took. */
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { execute, isStopping, local } from './commands.mjs';
import { Failure, remedy } from './failure.mjs';

/** How much of a failed step's output is shown. */
const SHOWN_LINES = 30;

/** @param {number} seconds */
export const duration = (seconds) =>
  seconds < 60
    ? `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`
    : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;

/** Makes cargo print its progress bar into a pipe, with the number of crates that are done and that there are. */
export const cargoProgress = {
  CARGO_TERM_PROGRESS_WHEN: 'always',
  CARGO_TERM_PROGRESS_WIDTH: '120',
  CARGO_TERM_COLOR: 'never',
};

/**
 * @param {string} line of a command's output
 * @returns {string | undefined} how far cargo is, if the line is its progress bar
 */
export function crates(line) {
  const bar = /(?:Building|Downloading)? \[[=> ]*\] (\d+)\/(\d+)(?:: (.*))?/.exec(line);
  if (!bar) return undefined;
  const at = bar[3]?.split(',')[0]?.replace(/\(.*/, '').trim();
  return `${bar[1]} of ${bar[2]} crates${at ? `, ${at}` : ''}`;
}

/** Progress of several steps at once, on one line of a terminal, or on a line of a log now and then. */
class Progress {
  /** @type {Map<string, () => string>} */
  steps = new Map();
  /** @type {NodeJS.Timeout | undefined} */
  timer;

  /**
   * @param {string} title
   * @param {() => string} state
   */
  add(title, state) {
    this.steps.set(title, state);
    const beat = process.stdout.isTTY ? 1_000 : 20_000;
    this.timer ??= setInterval(() => this.print(), beat);
  }

  /** @param {string} title */
  remove(title) {
    this.steps.delete(title);
    if (this.steps.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  print() {
    if (isStopping()) return;
    const text = [...this.steps.values()].map((state) => state()).join(' · ');
    if (process.stdout.isTTY)
      process.stdout.write(`\r\x1b[K${`  … ${text}`.slice(0, (process.stdout.columns || 80) - 1)}`);
    else console.log(`  … ${text}`);
  }

  /** @param {string} line */
  log(line) {
    console.log(process.stdout.isTTY ? `\r\x1b[K${line}` : line);
  }
}

const progress = new Progress();

/**
 * Runs a long command. It shows what it does and how far it is, and keeps the output in a log file. If the
 * command fails, the step shows the end of the log, or the remedy if the cause is a known one.
 *
 * @param {string} title
 * @param {string} expected how long it takes
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 * @param {string} [cwd]
 */
export async function step(title, expected, command, args, env = {}, cwd = undefined) {
  const logs = path.join(local, 'logs');
  mkdirSync(logs, { recursive: true });
  const log = path.join(logs, `${title.toLowerCase().replace(/\W+/g, '-')}.log`);
  const file = createWriteStream(log);
  /** @type {Error | undefined} */
  let unwritten;
  file.on('error', (error) => (unwritten ??= error));
  const begun = Date.now();
  const seconds = () => (Date.now() - begun) / 1000;
  let last = '';
  progress.log(`▸ ${title} (${expected}) …`);
  progress.add(title, () => `${title}, ${duration(seconds())}${last && `: ${last}`}`);
  /** @type {number} */
  let status;
  let rest = '';
  try {
    const output = (/** @type {Buffer} */ chunk) => {
      const lines = (rest + String(chunk)).split(/[\r\n]+/);
      rest = lines.pop() ?? '';
      // A progress bar has no end of line until the next one overwrites it.
      const bar = crates(rest);
      if (bar) {
        last = bar;
        rest = '';
      }
      for (const line of lines) {
        const far = crates(line);
        last = far ?? (line.trim() || last);
        if (!far) file.write(`${line}\n`);
      }
    };
    status = await execute(command, args, { env: { ...cargoProgress, ...env }, cwd, output });
  } finally {
    progress.remove(title);
    if (!unwritten) await new Promise((resolve) => file.end(rest, () => resolve(undefined)));
  }
  if (unwritten) throw unwritten;
  if (status !== 0) {
    const text = readFileSync(log, 'utf8').trimEnd();
    const known = remedy(text);
    if (known) throw new Failure(`${title} failed. ${known}\n  The log: ${path.relative(process.cwd(), log)}`);
    const end = text.split('\n').slice(-SHOWN_LINES).join('\n');
    throw new Failure(
      `${title} failed. The end of its output:\n\n${end}\n\nThe whole log: ${path.relative(process.cwd(), log)}`,
    );
  }
  progress.log(`✓ ${title}, ${duration(seconds())}`);
}

// @ts-check
/**
 * Runs commands so that none outlives its script: each one leads a session, which is ended when the
 * script gets a signal, loses its parent, loses the reader of its output, or is killed.
 */
import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Failure, remedy } from './failure.mjs';
import { MARK, endTree, find } from './processes.mjs';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
/** Everything that a run leaves besides `target/` and the installed packages. */
export const local = path.join(root, '.local');
/** Where the virtual environment has its commands. */
export const tools = path.join(root, '.venv', 'bin');

/** The environment of every command: the project's own tools come first. */
export const environment = {
  ...process.env,
  PATH: [tools, path.join(root, 'node_modules', '.bin'), process.env.PATH].join(path.delimiter),
  // The scripts find what cargo builds there, whatever the user's own configuration says.
  CARGO_TARGET_DIR: path.join(root, 'target'),
  // The CDK's notices and statistics need a network.
  CDK_DISABLE_CLI_TELEMETRY: 'true',
};

/** A signal, or another reason to end early. It is not an error of any command. */
class Stopped extends Error {}

/** The exit status, once the script has to end early. */
let stopStatus = 0;
/** @returns whether the script is about to end early */
export const isStopping = () => stopStatus !== 0;

/** @type {Set<import('./processes.mjs').Command>} */
const running = new Set();
let commands = 0;
/** @type {import('node:child_process').ChildProcess | undefined} */
let watchdog;

/** @param {string} line */
function notifyWatchdog(line) {
  if (!watchdog) {
    const program = fileURLToPath(new URL('watchdog.mjs', import.meta.url));
    watchdog = spawn(process.execPath, [program], { cwd: '/', detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
    watchdog.stdin?.on('error', () => {});
    watchdog.on('error', () => {});
    watchdog.unref();
    /** @type {import('node:net').Socket} */ (watchdog.stdin).unref();
  }
  watchdog.stdin?.write(`${line}\n`);
}

/**
 * Ends the script's commands, and then the script.
 *
 * @param {number} status
 * @param {NodeJS.Signals} signal
 */
function stop(status, signal) {
  stopStatus ||= status;
  if (running.size === 0) process.exit(stopStatus);
  for (const command of running) void endTree(command, signal);
}

/**
 * @typedef {object} Options
 * @property {NodeJS.ProcessEnv} [env] added to the environment
 * @property {string} [cwd]
 * @property {(chunk: Buffer, stream: 'stdout' | 'stderr') => void} [output] receives the output. Without it, the
 *   command writes to the script's own output.
 */

/**
 * Runs a command to its end.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {Options} [options]
 * @returns {Promise<number>} its exit status
 */
export async function execute(command, args, { env = {}, cwd = root, output } = {}) {
  if (stopStatus) throw new Stopped();
  const mark = `${process.pid}.${(commands += 1)}.${Date.now()}`;
  // Before it starts: the script may be killed while it starts the command.
  notifyWatchdog(`+${mark}`);
  const child = spawn(command, args, {
    cwd,
    env: { ...environment, ...env, [MARK]: mark },
    detached: true,
    stdio: ['ignore', output ? 'pipe' : 'inherit', output ? 'pipe' : 'inherit'],
  });
  child.stdout?.on('data', (chunk) => output?.(chunk, 'stdout'));
  child.stderr?.on('data', (chunk) => output?.(chunk, 'stderr'));
  const ended = new Promise((resolve, reject) => {
    child.on('error', (error) => {
      const missing = /** @type {NodeJS.ErrnoException} */ (error).code === 'ENOENT';
      reject(missing ? new Failure(`${command} was not found. Run \`npm run setup\`.`) : error);
    });
    child.on('close', (status) => resolve(status ?? 1));
  });
  const started = { pid: child.pid ?? 0, mark };
  if (child.pid !== undefined) {
    running.add(started);
    notifyWatchdog(`=${mark} ${started.pid}`);
    // A process that the command leaves behind could keep its output open, so that it never closes.
    child.on('exit', () => void endTree(started));
  }
  let status;
  try {
    status = await ended;
  } finally {
    if (running.has(started)) await endTree(started);
    running.delete(started);
    notifyWatchdog(`-${mark}`);
  }
  if (stopStatus) throw new Stopped();
  return status;
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {Omit<Options, 'output'>} [options]
 * @returns {Promise<{ status: number, stdout: string, stderr: string }>} of a command that ran to its end
 */
export async function capture(command, args, options = {}) {
  /** @type {{ stdout: Buffer[], stderr: Buffer[] }} */
  const chunks = { stdout: [], stderr: [] };
  const output = (/** @type {Buffer} */ chunk, /** @type {'stdout' | 'stderr'} */ stream) =>
    void chunks[stream].push(chunk);
  const status = await execute(command, args, { ...options, output });
  return { status, stdout: String(Buffer.concat(chunks.stdout)), stderr: String(Buffer.concat(chunks.stderr)) };
}

/**
 * Runs a command whose output is the script's own.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {Omit<Options, 'output'> & { copy?: (text: string) => void }} [options] `copy` receives the output too
 * @returns {Promise<number>} its exit status
 */
export function foreground(command, args, { copy, ...options } = {}) {
  // Through a pipe, so that the script notices when its own reader has gone. A terminal stays a terminal.
  if (process.stdout.isTTY && !copy) return execute(command, args, options);
  const output = (/** @type {Buffer} */ chunk, /** @type {'stdout' | 'stderr'} */ stream) => {
    process[stream].write(chunk);
    copy?.(String(chunk));
  };
  return execute(command, args, { ...options, output });
}

/** Ends the script when npm, which started it, is gone: nobody reads its output any more. */
function watchParent() {
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  const found = find(parent);
  // Some shells stay between npm and the script. Such a shell has lost npm when its own parent changes.
  const above = /^(ba|da|a|k|z)?sh$/.test(found?.name ?? '') ? found?.parent : undefined;
  setInterval(() => {
    const orphaned = process.ppid !== parent || (above !== undefined && find(parent)?.parent !== above);
    if (orphaned && !stopStatus) stop(143, 'SIGTERM');
  }, 500).unref();
}

/**
 * Runs a script's `main`, and ends the process with its result.
 *
 * @param {() => Promise<number>} main
 */
export async function run(main) {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error) => {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EPIPE') throw error;
      // The reader has gone, like `head` after its last line. 141 is the status of a process that SIGPIPE ended.
      if (!stopStatus) stop(141, 'SIGTERM');
    });
  }
  for (const [signal, status] of /** @type {const} */ ([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ])) {
    process.on(signal, () => stop(status, signal));
  }
  let status = 1;
  try {
    watchParent();
    mkdirSync(local, { recursive: true });
    status = await main();
  } catch (error) {
    stopStatus ||= 1;
    if (error instanceof Failure) console.error(`\n✗ ${error.message}`);
    else if (!(error instanceof Stopped)) {
      const known = remedy(String(error));
      console.error(known ? `\n✗ ${known}` : error);
    }
  }
  stopStatus ||= status;
  // A failed script does not wait for what it still runs, like a build beside a failed download.
  await Promise.all([...running].map((command) => endTree(command)));
  if (stopStatus) process.exit(stopStatus);
}

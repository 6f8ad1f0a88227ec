// @ts-check
/**
 * Sets up all that the project needs beyond Rust, Node and Python: npm's packages, a virtual
 * environment with the pinned tools, and the handler's build. What is there already is left alone.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createWriteStream, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const local = path.join(root, '.local');
const logs = path.join(local, 'logs');
const tools = path.join(root, '.venv', process.platform === 'win32' ? 'Scripts' : 'bin');

/** The environment for every command: the project's own tools come first. */
export const environment = {
  ...process.env,
  PATH: [tools, path.join(root, 'node_modules', '.bin'), process.env.PATH].join(path.delimiter),
  // The CDK's own news and statistics need a network, and say nothing about this project.
  CDK_DISABLE_CLI_TELEMETRY: 'true',
};

/** A failure that has been explained; what follows it is not worth a stack trace. */
export class SetupError extends Error {}

const span = (/** @type {number} */ seconds) =>
  seconds < 60
    ? `${Math.max(1, Math.round(seconds))} s`
    : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;

/**
 * Runs a long step: says what it does and how long that takes, shows that it is alive, and keeps
 * its output in a log file, of which the end is shown if it fails.
 *
 * @param {string} title
 * @param {string} expected
 * @param {string} command
 * @param {string[]} args
 */
export async function step(title, expected, command, args) {
  mkdirSync(logs, { recursive: true });
  const log = path.join(logs, `${title.toLowerCase().replace(/\W+/g, '-')}.log`);
  const file = createWriteStream(log);
  const begun = Date.now();
  const seconds = () => (Date.now() - begun) / 1000;
  console.log(`▸ ${title} (${expected}) …`);
  const child = spawn(command, args, { cwd: root, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let last = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      file.write(chunk);
      last = String(chunk).trimEnd().split('\n').at(-1)?.trim() || last;
    });
  }
  const beat = setInterval(() => console.log(`  … ${span(seconds())}: ${last.slice(0, 100)}`), 20_000);
  /** @type {number | null} */
  const status = await new Promise((resolve) => {
    child.on('error', (error) => {
      last = error.message;
      file.write(error.message);
      resolve(1);
    });
    child.on('close', resolve);
  });
  clearInterval(beat);
  await new Promise((resolve) => file.end(() => resolve(undefined)));
  if (status !== 0) {
    const end = readFileSync(log, 'utf8').trimEnd().split('\n').slice(-30).join('\n');
    throw new SetupError(`${title} failed. The end of its output:\n\n${end}\n\nAll of it: ${log}`);
  }
  console.log(`✓ ${title}, ${span(seconds())}`);
}

/**
 * @param {string} command
 * @param {string[]} args
 */
function output(command, args) {
  const run = spawnSync(command, args, { encoding: 'utf8', cwd: root });
  return run.status === 0 ? run.stdout.trim() : undefined;
}

/**
 * @param {string | undefined} found
 * @param {number[]} least
 */
function tooOld(found, least) {
  const numbers = (found?.match(/\d+(\.\d+)*/)?.[0] ?? '0').split('.').map(Number);
  for (const [index, wanted] of least.entries()) {
    const number = numbers[index] ?? 0;
    if (number !== wanted) return number < wanted;
  }
  return false;
}

/** @returns {string} the Python to make the virtual environment with */
function prerequisites() {
  const rust = /rust-version = "([\d.]+)"/.exec(readFileSync(path.join(root, 'Cargo.toml'), 'utf8'))?.[1] ?? '1';
  const python = ['python3', 'python'].find((name) => !tooOld(output(name, ['--version']), [3, 10]));
  const found = [
    { name: 'Node.js', least: '20', found: process.version, get: 'https://nodejs.org' },
    { name: 'npm', least: '10', found: output('npm', ['--version']), get: 'https://nodejs.org' },
    { name: 'Rust', least: rust, found: output('cargo', ['--version']), get: 'https://rustup.rs' },
    {
      name: 'Python',
      least: '3.10',
      found: output(python ?? 'python3', ['--version']),
      get: 'https://www.python.org',
    },
  ];
  const missing = found.filter(({ least, found }) => tooOld(found, least.split('.').map(Number)));
  if (missing.length > 0) {
    const lines = missing.map(
      ({ name, least, found, get }) => `  ${name} ${least} or later is needed; found ${found ?? 'none'} (${get})`,
    );
    throw new SetupError(`Something is missing on this machine:\n${lines.join('\n')}`);
  }
  const venv = output(python ?? 'python3', ['-c', 'import venv, ensurepip']);
  if (venv === undefined) {
    throw new SetupError(
      "Something is missing on this machine:\n  Python's venv module (on Debian and Ubuntu: apt install python3-venv)",
    );
  }
  return python ?? 'python3';
}

/**
 * Runs `work` unless it was done for the same content of `inputs`.
 *
 * @param {string} name
 * @param {string[]} inputs
 * @param {string} product
 * @param {() => Promise<void>} work
 */
async function once(name, inputs, product, work) {
  const hash = createHash('sha256');
  for (const input of inputs) hash.update(readFileSync(path.join(root, input)));
  const digest = hash.digest('hex');
  const stamp = path.join(local, 'done', name);
  if (existsSync(path.join(root, product)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return;
  rmSync(stamp, { force: true });
  await work();
  mkdirSync(path.dirname(stamp), { recursive: true });
  writeFileSync(stamp, digest);
}

/**
 * Lets one set-up at a time work in this checkout.
 *
 * @template T
 * @param {() => Promise<T>} work
 */
async function alone(work) {
  mkdirSync(local, { recursive: true });
  const lock = path.join(local, 'setup.lock');
  let told = false;
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
    }
    if (!holderLives(lock)) {
      rmSync(lock, { force: true });
      continue;
    }
    if (!told) console.log('▸ another set-up is at work in this checkout; waiting for it …');
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  try {
    return await work();
  } finally {
    rmSync(lock, { force: true });
  }
}

/** @param {string} lock */
function holderLives(lock) {
  try {
    const text = readFileSync(lock, 'utf8');
    // Between its making and its writing the file is empty for a moment.
    if (text === '') return Date.now() - statSync(lock).mtimeMs < 5_000;
    process.kill(Number(text), 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}

/** Sets up everything; quick when it is there already. */
export async function setup() {
  const python = prerequisites();
  await alone(async () => {
    await once('npm', ['package.json', 'package-lock.json'], 'node_modules', () =>
      step('npm packages', 'about half a minute', 'npm', ['ci', '--no-audit', '--no-fund']),
    );
    await once('tools', ['scripts/requirements.txt'], '.venv', async () => {
      await step('Python environment', 'a few seconds', python, ['-m', 'venv', '--clear', '.venv']);
      await step('MiniStack, cargo-lambda, zig and the AWS CLI', 'about a minute', path.join(tools, 'pip'), [
        'install',
        '--require-hashes',
        '--only-binary=:all:',
        '--requirement',
        'scripts/requirements.txt',
      ]);
    });
  });
  // Cargo knows better than a stamp what has to be built again, and has a lock of its own.
  const built = existsSync(path.join(root, 'target', 'lambda', 'handler', 'bootstrap'));
  await step('Handler, optimised', built ? 'seconds if nothing changed' : 'about five minutes the first time', 'cargo', [
    'lambda',
    'build',
    '--release',
    '--locked',
    process.arch === 'arm64' ? '--arm64' : '--x86-64',
    '--bin',
    'handler',
  ]);
}

/**
 * Runs `main` and ends the process as its outcome says.
 *
 * @param {() => Promise<number>} main
 */
export async function run(main) {
  try {
    process.exitCode = await main();
  } catch (error) {
    console.error(error instanceof SetupError ? `\n${error.message}` : error);
    process.exitCode = 1;
  }
}

/**
 * Runs a command in the foreground, with its output where ours is.
 *
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [extra]
 * @returns {Promise<number>} its exit status
 */
export function foreground(command, args, extra = {}) {
  const child = spawn(command, args, { cwd: root, env: { ...environment, ...extra }, stdio: 'inherit' });
  // Ctrl-C reaches the child too. It has things to end first; we wait for it.
  const wait = () => {};
  process.on('SIGINT', wait);
  const pass = () => child.kill('SIGTERM');
  process.on('SIGTERM', pass);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => {
      process.off('SIGINT', wait);
      process.off('SIGTERM', pass);
      resolve(status ?? 1);
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await run(async () => {
    await setup();
    return 0;
  });
}

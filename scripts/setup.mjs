// @ts-check
/**
 * `npm run setup`: installs npm's packages and a virtual environment with the pinned tools, and builds the
 * handler that ships. Its parts are steps of the other commands, and leave alone what exists already.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { readArguments } from './lib/arguments.mjs';
import { BROWSER, findBrowser } from './lib/browser.mjs';
import { capture, local, root, run, tools } from './lib/commands.mjs';
import { Failure, remedy } from './lib/failure.mjs';
import { rustVersion } from './lib/pins.mjs';
import { exclusively } from './lib/lock.mjs';
import { step } from './lib/steps.mjs';

const USAGE = `usage: npm run setup

Installs npm's packages and, in .venv/, the pinned tools (MiniStack, cargo-lambda, zig, the AWS CLI), and builds
the handler for AWS Lambda. Every other command runs the parts that it needs by itself.`;

/**
 * @param {string} command
 * @param {string[]} args
 * @returns {Promise<{ text?: string, error: string }>} its output, if it succeeded
 */
async function output(command, args) {
  try {
    const { status, stdout, stderr } = await capture(command, args);
    return status === 0 ? { text: stdout.trim(), error: '' } : { error: stderr };
  } catch (error) {
    if (error instanceof Failure) return { error: '' };
    throw error;
  }
}

/**
 * @param {string | undefined} found
 * @param {string} least
 */
function isOlder(found, least) {
  const numbers = (found?.match(/\d+(\.\d+)*/)?.[0] ?? '0').split('.').map(Number);
  for (const [index, expected] of least.split('.').map(Number).entries()) {
    const number = numbers[index] ?? 0;
    if (number !== expected) return number < expected;
  }
  return false;
}

/** @param {string[]} missing */
function refuse(missing) {
  const lines = missing.map((line) => `  ${line}`);
  throw new Failure(`This machine lacks a tool that the project needs:\n${lines.join('\n')}`);
}

/** Checks the compilers, before any work. */
export async function checkRust() {
  const expected = rustVersion();
  const [rust, cc] = await Promise.all([output('cargo', ['--version']), output(process.env.CC ?? 'cc', ['--version'])]);
  const known = remedy(rust.error);
  if (rust.text === undefined && known) throw new Failure(`Rust's toolchain could not be installed. ${known}`);
  const missing = [];
  if (/\d+\.\d+\.\d+/.exec(rust.text ?? '')?.[0] !== expected) {
    const found = rust.text ?? 'none';
    missing.push(
      `Rust ${expected}; found ${found} (install rustup from https://rustup.rs, which installs this version)`,
    );
  }
  if (cc.text === undefined) {
    missing.push(
      'a C compiler and linker, cc (Debian and Ubuntu: apt install build-essential; macOS: xcode-select --install)',
    );
  }
  if (missing.length > 0) refuse(missing);
}

/**
 * Checks Python, before any work.
 *
 * @returns {Promise<string>} the command for the Python that makes the virtual environment
 */
export async function checkPython() {
  for (const name of ['python3', 'python']) {
    const { text } = await output(name, ['--version']);
    if (text === undefined || isOlder(text, '3.10')) continue;
    const venv = await output(name, ['-c', 'import venv, ensurepip']);
    if (venv.text === undefined) refuse(["Python's venv module (Debian and Ubuntu: apt install python3-venv)"]);
    return name;
  }
  refuse(['Python 3.10 or later (https://www.python.org)']);
  return '';
}

/** Checks that there is a browser for the tests of the HTML report, before any work. */
export function checkBrowser() {
  if (findBrowser() === undefined) refuse([BROWSER]);
}

/**
 * Runs `work`, unless it has run to its end for the same inputs.
 *
 * @param {string} name
 * @param {string[]} inputs files, and anything else that the result depends on
 * @param {string} product
 * @param {() => Promise<void>} work
 */
async function once(name, inputs, product, work) {
  const hash = createHash('sha256');
  for (const input of inputs) {
    const file = path.join(root, input);
    hash.update(existsSync(file) ? readFileSync(file) : input);
  }
  const digest = hash.digest('hex');
  const done = path.join(local, 'done', name);
  if (existsSync(path.join(root, product)) && existsSync(done) && readFileSync(done, 'utf8') === digest) return;
  rmSync(done, { force: true });
  await work();
  mkdirSync(path.dirname(done), { recursive: true });
  writeFileSync(done, digest);
}

/** Installs npm's packages. */
export async function installPackages() {
  await exclusively('npm', () =>
    once('npm', ['package.json', 'package-lock.json'], 'node_modules', () =>
      step('npm packages', 'about half a minute', 'npm', [
        // `npm --silent start` would silence this npm as well, and nothing would explain its failure.
        ...['ci', '--no-audit', '--no-fund', '--loglevel=notice'],
        // Without a network, the default is a minute of silence.
        ...['--fetch-retries=2', '--fetch-retry-mintimeout=1000', '--fetch-retry-maxtimeout=5000'],
      ]),
    ),
  );
}

/**
 * Installs the tools that Python packages bring.
 *
 * @param {string} python
 */
export async function installTools(python) {
  // The scripts in a virtual environment contain its absolute path.
  await exclusively('tools', () =>
    once('tools', ['scripts/requirements.txt', tools], '.venv', async () => {
      await step('Python environment', 'a few seconds', python, ['-m', 'venv', '--clear', '.venv']);
      await step('MiniStack, cargo-lambda, zig and the AWS CLI', 'about a minute', path.join(tools, 'pip'), [
        ...['install', '--disable-pip-version-check', '--retries=2', '--timeout=20'],
        ...['--require-hashes', '--only-binary=:all:', '--requirement', 'scripts/requirements.txt'],
      ]);
    }),
  );
}

/**
 * Builds a function as it is deployed: optimised, and for Amazon Linux.
 *
 * @param {string} title
 * @param {string[]} selection cargo's arguments for it
 */
export async function buildFunction(title, selection) {
  const architecture = process.arch === 'arm64' ? '--arm64' : '--x86-64';
  const built = existsSync(path.join(root, 'target', 'lambda', 'handler', 'bootstrap'));
  const expected = built ? 'seconds if nothing changed' : 'about five minutes the first time';
  await step(title, expected, 'cargo', ['lambda', 'build', '--release', '--locked', architecture, ...selection]);
}

/** Builds the handler that ships. */
export const buildHandler = () => buildFunction('Handler, release build', ['--bin', 'handler']);

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  readArguments(USAGE, {});
  await run(async () => {
    const [python] = await Promise.all([checkPython(), checkRust()]);
    await Promise.all([installPackages(), installTools(python)]);
    await buildHandler();
    return 0;
  });
}

// @ts-check
/**
 * `npm test`: runs every check and test, the cheap ones first. `npm run check`, `test:unit`, `test:cdk` and
 * `test:e2e` run a group of them. A part that fails does not keep the others from running.
 */
import { readdirSync } from 'node:fs';
import path from 'node:path';
import { readArguments, refuse } from './lib/arguments.mjs';
import { foreground, root, run } from './lib/commands.mjs';
import { Failure, remedy } from './lib/failure.mjs';
import { count } from './lib/results.mjs';
import { duration } from './lib/steps.mjs';
import { buildHandler, checkBrowser, checkPython, checkRust, installPackages, installTools } from './setup.mjs';

const USAGE = `usage: npm test [-- GROUP ...]

Runs the checks and tests of each GROUP, or of all groups, in this order:

  check       formats, types and lints
  unit        unit tests: the handler, the scripts, the simulation, the local AWS, the repository
  cdk         tests of the CDK app
  simulation  histories on the simulated AWS
  e2e         the handler's release build, the templates, and the scenarios on the local AWS

At the end it prints how long each part took, which ones failed, and the number of tests.`;

const GROUPS = ['check', 'unit', 'cdk', 'simulation', 'e2e'];
const { positionals } = readArguments(USAGE, {}, { positionals: GROUPS.length });
const unknown = positionals.find((group) => !GROUPS.includes(group));
if (unknown !== undefined) refuse(USAGE, `There is no group '${unknown}'`);
const chosen = positionals.length > 0 ? positionals : GROUPS;
const needs = (/** @type {string[]} */ groups) => groups.some((group) => chosen.includes(group));

const scriptTests = readdirSync(path.join(root, 'scripts'))
  .filter((file) => file.endsWith('.test.mjs'))
  .map((file) => path.join('scripts', file));

const architecture = process.arch === 'arm64' ? 'arm64' : 'x86_64';

/**
 * A part: its group, its title, and a command or a step of the set-up.
 *
 * @type {[string, string, string, string[]][]}
 */
const commands = [
  ['check', 'Rust format', 'cargo', ['fmt', '--all', '--check']],
  ['check', 'Format of the other files', 'prettier', ['--check', '--log-level', 'warn', '.']],
  ['check', 'TypeScript types', 'tsc', []],
  ['check', 'API reference', process.execPath, ['scripts/api.mjs', '--check']],
  ['check', 'TypeScript lints', 'eslint', ['.', '--max-warnings', '0']],
  [
    'check',
    'Rust lints',
    'cargo',
    ['clippy', '--quiet', '--workspace', '--all-targets', '--locked', '--', '--deny', 'warnings'],
  ],
  // First among the tests, since most mistakes are in the handler.
  ['unit', 'Handler: unit tests', 'cargo', ['test', '--quiet', '--locked', '--package', 'handler', '--lib']],
  [
    'unit',
    'Handler: tests of its edges',
    'cargo',
    ['test', '--quiet', '--locked', '--package', 'handler', '--test', '*'],
  ],
  ['unit', 'Scripts', process.execPath, ['--test', ...scriptTests]],
  [
    'unit',
    'Simulation, benchmarks, local AWS, repository',
    'cargo',
    [
      ...['test', '--quiet', '--locked', '--no-fail-fast', '--workspace', '--exclude', 'handler', '--lib', '--bins'],
      ...['--test', 'counts', '--test', 'documents', '--test', 'import_rules'],
    ],
  ],
  ['cdk', 'CDK tests', 'vitest', ['run', '--root', 'cdk']],
  // The same histories every time, and some with seeds that were never played before.
  ['simulation', 'Simulation: build', 'cargo', ['build', '--quiet', '--locked', '--workspace', '--bin', 'simulation']],
  ['simulation', 'Simulation', path.join(root, 'target', 'debug', 'simulation'), ['--seeds', '4000', '--fresh', '500']],
  ['e2e', 'Templates', 'cargo', ['test', '--quiet', '--locked', '--package', 'repository', '--test', 'templates']],
  ['e2e', 'Package', process.execPath, ['scripts/package.mjs', '--architecture', architecture]],
  ['e2e', 'Scenarios', 'cargo', ['test', '--locked', '--package', 'scenarios']],
];

/** @type {{ title: string, ok: boolean, seconds: number, passed: number, failed: number }[]} */
const results = [];

/**
 * @param {string} title
 * @param {() => Promise<{ ok: boolean, passed: number, failed: number }>} work
 */
async function part(title, work) {
  const begun = Date.now();
  const result = await work();
  results.push({ title, seconds: (Date.now() - begun) / 1000, ...result });
  return result.ok;
}

/**
 * @param {string} title
 * @param {string} command
 * @param {string[]} args
 */
async function check(title, command, args) {
  console.log(`\n▸ ${title}: ${path.basename(command)} ${args.join(' ')}`);
  let output = '';
  const color = process.stdout.isTTY ? { CARGO_TERM_COLOR: 'always', FORCE_COLOR: '1' } : { CARGO_TERM_COLOR: 'never' };
  // A snapshot that differs is a failure, never an update.
  const env = { INSTA_UPDATE: 'no', ...color };
  const status = await foreground(command, args, { env, copy: (text) => (output += text) });
  if (status !== 0) console.log(`✗ ${title} failed (exit status ${status}). ${remedy(output) ?? ''}`.trimEnd());
  return { ok: status === 0, ...count(output, status === 0) };
}

function report() {
  const width = Math.max(...results.map(({ title }) => title.length));
  console.log('');
  for (const { title, ok, seconds, passed, failed } of results) {
    const tests = failed > 0 ? `${passed} passed, ${failed} failed` : passed > 1 ? `${passed} passed` : '';
    console.log(`${ok ? '✓' : '✗'} ${title.padEnd(width)}  ${duration(seconds).padStart(12)}  ${tests}`.trimEnd());
  }
  const sum = (/** @type {'passed' | 'failed' | 'seconds'} */ field) =>
    results.reduce((sum, one) => sum + one[field], 0);
  const failed = results.filter(({ ok }) => !ok).map(({ title }) => title);
  if (failed.length > 0) console.log(`\n✗ failed: ${failed.join('; ')}`);
  else console.log(`\n✓ everything passed`);
  console.log(`  ${duration(sum('seconds'))} in all; a part without tests counts as one\n`);
  console.log(`${sum('passed')} passed, ${sum('failed')} failed`);
  return failed.length === 0 ? 0 : 1;
}

/**
 * @param {string} title
 * @param {() => Promise<void>} work a step of the set-up, which explains its own failures
 */
function setUp(title, work) {
  return part(title, async () => {
    try {
      await work();
      return { ok: true, passed: 1, failed: 0 };
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      console.log(`\n✗ ${error.message}`);
      return { ok: false, passed: 0, failed: 1 };
    }
  });
}

await run(async () => {
  // The tests of the CDK app use cfn-lint, and the scenarios use MiniStack and cargo-lambda.
  const needsTools = needs(['cdk', 'e2e']);
  if (needs(['cdk'])) checkBrowser();
  const [python] = await Promise.all([needsTools ? checkPython() : '', checkRust()]);
  if (needs(['check', 'cdk', 'e2e'])) await installPackages();
  const hasTools = needsTools && (await setUp('Tools', () => installTools(python)));
  for (const group of GROUPS.filter((group) => chosen.includes(group))) {
    if (group === 'e2e' && !(hasTools && (await setUp('Handler: release build', buildHandler)))) continue;
    for (const [of, title, command, args] of commands) {
      if (of === group) await part(title, () => check(title, command, args));
    }
  }
  return report();
});

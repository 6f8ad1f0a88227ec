// @ts-check
/**
 * `npm run mutate`: builds one defect at a time into a copy of the handler, and expects the simulation to find
 * it, or a test of the handler if the defect costs only time and requests. The copy and its target folder are apart
 * from the project's own.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { readArguments, refuse } from './lib/arguments.mjs';
import { capture, local, root, run } from './lib/commands.mjs';
import { Failure } from './lib/failure.mjs';
import { exclusively } from './lib/lock.mjs';
import { mutations, occurrences } from './lib/mutations.mjs';
import { duration, step } from './lib/steps.mjs';
import { checkRust } from './setup.mjs';

const USAGE = `usage: npm run mutate -- [--only TEXT] [--from TEXT]

Breaks a copy of the handler in several ways, one at a time, and checks that the simulation or a test finds each
defect. It takes about an hour, and more the first time.

  --only TEXT  only the defects whose names contain the text
  --from TEXT  the first defect whose name contains the text, and those after it, to go on with a run that was stopped`;

const { values } = readArguments(USAGE, { only: { type: 'string' }, from: { type: 'string' } });
const has = (/** @type {'only' | 'from'} */ option) => {
  return (/** @type {import('./lib/mutations.mjs').Mutation} */ { name }) =>
    name.includes(String(values[option] ?? ''));
};
const first = mutations.findIndex(has('from'));
const chosen = first < 0 ? [] : mutations.slice(first).filter(has('only'));
if (chosen.length === 0) refuse(USAGE, `No defect has such a name: ${JSON.stringify(values)}.`);

const copy = path.join(local, 'mutated');
const target = path.join(local, 'mutate-target');
const env = { CARGO_TARGET_DIR: target };

/**
 * @param {import('./lib/mutations.mjs').Mutation} mutation
 * @returns {() => void} takes the defect out again
 */
function apply({ name, edits }) {
  /** @type {Map<string, string>} */
  const originals = new Map();
  for (const [file, found, instead] of edits) {
    const source = path.join(copy, 'handler', 'src', file);
    const text = readFileSync(source, 'utf8');
    if (occurrences(text, found) !== 1)
      throw new Failure(`${name}: ${file} does not contain ${JSON.stringify(found)} exactly once.`);
    if (!originals.has(source)) originals.set(source, text);
    writeFileSync(
      source,
      text.replace(found, () => instead),
    );
  }
  return () => originals.forEach((text, source) => writeFileSync(source, text));
}

/**
 * @param {number} seeds
 * @returns {Promise<string | undefined>} how the simulation found the defect
 */
async function bySimulation(seeds) {
  const build = ['build', '--locked', '--workspace', '--bin', 'simulation', '--profile', 'simulation'];
  await step('Build of the simulation', 'about a minute', 'cargo', build, env, copy);
  const ran = await capture(path.join(target, 'simulation', 'simulation'), ['--seeds', String(seeds)]);
  const seed = /✗ seed (\d+) breaks invariant (\d+)/.exec(ran.stdout);
  if (seed) return `seed ${seed[1]} breaks invariant ${seed[2]}`;
  console.log(`${ran.stdout.slice(-500)}\n${ran.stderr.slice(-2000)}`);
  return undefined;
}

/**
 * @param {import('./lib/mutations.mjs').Test} test
 * @returns {Promise<string | undefined>} how the test found the defect
 */
async function byTest({ target: tests, name }) {
  const build = ['test', '--locked', '--package', 'handler', ...tests, '--no-run'];
  await step('Build of the tests', 'about a minute', 'cargo', build, env, copy);
  const run = ['test', '--locked', '--package', 'handler', ...tests, '--', '--exact', name];
  const ran = await capture('cargo', run, { env, cwd: copy });
  if (/^test result: FAILED\. 0 passed; 1 failed/m.test(ran.stdout)) return `the test ${name} fails`;
  console.log(`${ran.stdout.slice(-2000)}\n${ran.stderr.slice(-500)}`);
  return undefined;
}

/** The names of the defects that were not found. */
async function missed() {
  const missed = [];
  for (const mutation of chosen) {
    const { name, test, seeds = 4_000 } = mutation;
    const begun = Date.now();
    const restore = apply(mutation);
    const found = test ? await byTest(test) : await bySimulation(seeds);
    const took = duration((Date.now() - begun) / 1000);
    if (found) console.log(`✓ ${name}: ${found} (${took})`);
    else {
      missed.push(name);
      console.log(`✗ ${name}: not found${test ? '' : ` by ${seeds} seeds`} (${took})`);
    }
    restore();
  }
  return missed;
}

await run(() =>
  exclusively('mutate', async () => {
    await checkRust();
    // A run that was cut off leaves a copy with a defect.
    rmSync(copy, { recursive: true, force: true });
    mkdirSync(copy, { recursive: true });
    for (const part of ['Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml', 'handler', 'tests']) {
      cpSync(path.join(root, part), path.join(copy, part), { recursive: true });
    }
    const names = await missed();
    rmSync(copy, { recursive: true, force: true });
    console.log(`\n${chosen.length - names.length} passed, ${names.length} failed`);
    return names.length === 0 ? 0 : 1;
  }),
);

// @ts-check
/**
 * `npm run mutate`: builds one defect at a time into a copy of the handler, and expects the simulation to find
 * it. The copy and its target folder are apart from the project's own.
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

const USAGE = `usage: npm run mutate -- [--only TEXT]

Breaks a copy of the handler in several ways, one at a time, and checks that the simulation finds each defect.
It takes about half an hour, and more the first time.

  --only TEXT  only the defects whose names contain the text`;

const { values } = readArguments(USAGE, { only: { type: 'string' } });
const chosen = mutations.filter(({ name }) => name.includes(String(values.only ?? '')));
if (chosen.length === 0) refuse(USAGE, `No defect's name contains ${JSON.stringify(values.only)}.`);

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

/** Mutations that the simulation did not find. */
async function missed() {
  const missed = [];
  const build = ['build', '--locked', '--workspace', '--bin', 'simulation'];
  for (const mutation of chosen) {
    const { name, seeds } = mutation;
    const begun = Date.now();
    const restore = apply(mutation);
    await step(`Build with "${name}"`, 'about a minute', 'cargo', build, env, copy);
    const ran = await capture(path.join(target, 'debug', 'simulation'), ['--seeds', String(seeds)]);
    const seed = /✗ seed (\d+) breaks invariant (\d+)/.exec(ran.stdout);
    if (seed)
      console.log(`✓ ${name}: seed ${seed[1]} breaks invariant ${seed[2]} (${duration((Date.now() - begun) / 1000)})`);
    else {
      missed.push(name);
      console.log(`✗ ${name}: not found by ${seeds} seeds\n${ran.stdout.slice(-500)}\n${ran.stderr.slice(-2000)}`);
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

// @ts-check
/** `npm run bench`: measures the handler that ships, and prints the results. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { readArguments } from './lib/arguments.mjs';
import { capture, foreground, local, root, run } from './lib/commands.mjs';
import { Failure } from './lib/failure.mjs';
import { step } from './lib/steps.mjs';
import { buildFunction, buildHandler, checkPython, checkRust, installTools } from './setup.mjs';

const USAGE = `usage: npm run bench [-- --write]

Measures the handler's API calls, its release build as a process, and the planner, and prints the results.

  --write  also writes them to docs/benchmarks.md`;

const { values } = readArguments(USAGE, { write: { type: 'boolean' } });

await run(async () => {
  const [python] = await Promise.all([checkPython(), checkRust()]);
  await installTools(python);
  await buildHandler();
  await buildFunction('Function that does nothing', ['--package', 'noop']);
  await step('Benchmarks', 'minutes the first time', 'cargo', [
    'build',
    '--locked',
    '--workspace',
    '--bin',
    'benchmarks',
  ]);
  console.log('▸ Planner …');
  // In the dev profile, so that only the handler is compiled again.
  const plan = await capture('cargo', [
    ...['bench', '--quiet', '--locked', '--profile', 'dev', '--config', 'profile.dev.package.handler.opt-level=3'],
    ...['--package', 'handler', '--bench', 'plan'],
  ]);
  if (plan.status !== 0) throw new Failure(`The planner's benchmark failed:\n\n${plan.stderr}`);
  const planner = path.join(local, 'planner.txt');
  writeFileSync(planner, plan.stdout);
  const built = (/** @type {string} */ name) => path.join(root, 'target', 'lambda', name, 'bootstrap');
  const document = values.write ? path.join(root, 'docs', 'benchmarks.md') : path.join(local, 'benchmarks.md');
  return foreground(path.join(root, 'target', 'debug', 'benchmarks'), [
    built('handler'),
    built('noop'),
    planner,
    document,
  ]);
});

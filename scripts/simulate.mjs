// @ts-check
/** `npm run simulate`: plays histories on the simulated AWS, and reports the first invariant that breaks. */
import path from 'node:path';
import { readArguments, wholeNumber } from './lib/arguments.mjs';
import { foreground, root, run } from './lib/commands.mjs';
import { step } from './lib/steps.mjs';
import { checkRust } from './setup.mjs';

const USAGE = `usage: npm run simulate -- [--seeds N] [--first-seed N] [--fresh N]

  --seeds N       the number of histories to play, 1000 by default
  --first-seed N  the seed of the first one, 0 by default
  --fresh N       the number of additional histories, with new seeds at every run, 0 by default`;

const { values } = readArguments(USAGE, {
  seeds: { type: 'string' },
  'first-seed': { type: 'string' },
  fresh: { type: 'string' },
});
const isLong = Number(values.seeds ?? 0) + Number(values.fresh ?? 0) >= 10_000;
const args = Object.entries(values).flatMap(([name, value]) => [`--${name}`, String(wholeNumber(USAGE, name, value))]);

await run(async () => {
  await checkRust();
  const build = ['build', '--locked', '--workspace', '--bin', 'simulation'];
  if (!isLong) {
    await step('Simulation', 'minutes the first time, seconds afterwards', 'cargo', build);
    return foreground(path.join(root, 'target', 'debug', 'simulation'), args);
  }
  await step('Simulation, optimised for many histories', 'six minutes the first time', 'cargo', [
    ...build,
    ...['--profile', 'simulation'],
  ]);
  return foreground(path.join(root, 'target', 'simulation', 'simulation'), args);
});

// @ts-check
/** `npm test`: sets up, then runs every check and test. Says at the end what failed. */
import { build, simulation } from './simulate.mjs';
import { foreground, run, setup } from './setup.mjs';

const cargo = ['--workspace', '--all-targets', '--locked'];

/** @type {[string, string, string[]][]} */
const checks = [
  ['Rust is formatted', 'cargo', ['fmt', '--all', '--check']],
  ['Rust has no lints', 'cargo', ['clippy', '--quiet', ...cargo, '--', '--deny', 'warnings']],
  ['TypeScript has its types', 'tsc', []],
  ['TypeScript has no lints', 'eslint', ['.', '--max-warnings', '0']],
  ['CDK tests', 'vitest', ['run', '--root', 'cdk']],
  // The unit tests, the templates, and the scenarios on the local AWS.
  ['Rust tests and scenarios', 'cargo', ['test', '--workspace', '--locked', '--no-fail-fast']],
  // About a minute: the same histories every time, and some that nobody has seen.
  ['Simulation is built', 'cargo', build],
  ['Simulation', simulation, ['--seeds', '4000', '--fresh', '500']],
];

await run(async () => {
  await setup();
  const failed = [];
  for (const [title, command, args] of checks) {
    console.log(`\n▸ ${title}: ${command} ${args.join(' ')}`);
    const begun = Date.now();
    const status = await foreground(command, args, {
      // A snapshot that changed is a failure, never an update.
      INSTA_UPDATE: 'no',
      CARGO_TERM_COLOR: process.stdout.isTTY ? 'always' : 'never',
    });
    const seconds = ((Date.now() - begun) / 1000).toFixed(0);
    console.log(status === 0 ? `✓ ${title}, ${seconds} s` : `✗ ${title}: exit status ${status}`);
    if (status !== 0) failed.push(title);
  }
  if (failed.length > 0) {
    console.error(`\n✗ failed: ${failed.join('; ')}`);
    return 1;
  }
  console.log('\n✓ everything passed');
  return 0;
});

// @ts-check
/** `npm start`: sets up, then shows the whole system on this machine. `-- --once` ends after it. */
import path from 'node:path';
import { foreground, root, run, setup, step } from './setup.mjs';

await run(async () => {
  await setup();
  // With the same features as the tests, so that both share what they compile.
  await step('Local AWS', 'about three minutes the first time', 'cargo', [
    'build',
    '--locked',
    '--workspace',
    '--all-targets',
  ]);
  // Not by `cargo run`, whose variables would make the CDK's cargo build everything anew.
  return foreground(path.join(root, 'target', 'debug', 'local-aws'), process.argv.slice(2));
});

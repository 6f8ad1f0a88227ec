// @ts-check
/** `npm start`: builds and runs the local AWS with the project deployed to it. */
import { copyFileSync, mkdirSync, renameSync } from 'node:fs';
import path from 'node:path';
import { readArguments } from './lib/arguments.mjs';
import { foreground, root, run } from './lib/commands.mjs';
import { step } from './lib/steps.mjs';
import { checkPython, checkRust, installPackages, installTools } from './setup.mjs';

const USAGE = `usage: npm start [-- --once]

Starts a local AWS with the stacks deployed for two environments, shows service discovery on it, and stays up
to be tried until Ctrl-C. The handler is a quick local build, not the one that ships.

  --once  end after the demo`;

const { values } = readArguments(USAGE, { once: { type: 'boolean' } });

/**
 * Puts the handler into a folder as Lambda expects it.
 *
 * @returns {string} the folder
 */
function packHandler() {
  const folder = path.join(root, 'target', 'local-handler');
  const unfinished = path.join(root, 'target', `local-handler-${process.pid}`);
  mkdirSync(folder, { recursive: true });
  copyFileSync(path.join(root, 'target', 'debug', 'handler'), unfinished);
  renameSync(unfinished, path.join(folder, 'bootstrap'));
  return folder;
}

await run(async () => {
  const [python] = await Promise.all([checkPython(), checkRust()]);
  await Promise.all([
    installPackages(),
    installTools(python),
    // Both with the features of the whole workspace, so that each crate is compiled once, for the tests too.
    step('Local AWS and handler', 'about six minutes the first time', 'cargo', [
      ...['build', '--locked', '--workspace', '--bin', 'local-aws', '--bin', 'handler'],
    ]),
  ]);
  console.log(
    '  This handler is a quick local build. `npm run setup` builds the one that ships, which is smaller and faster.',
  );
  const once = values.once ? ['--once'] : [];
  return foreground(path.join(root, 'target', 'debug', 'local-aws'), ['--handler', packHandler(), ...once]);
});

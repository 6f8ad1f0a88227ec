// @ts-check
/** `npm run fix`: formats all files, and repairs the lints that ESLint can repair. */
import { readArguments } from './lib/arguments.mjs';
import { foreground, run } from './lib/commands.mjs';
import { checkRust, installPackages } from './setup.mjs';

const USAGE = `usage: npm run fix

Formats all files, and repairs the lints that ESLint can repair.`;

readArguments(USAGE, {});

await run(async () => {
  await checkRust();
  await installPackages();
  const commands = [
    ['cargo', 'fmt', '--all'],
    ['eslint', '.', '--fix'],
    ['prettier', '--write', '--log-level', 'warn', '.'],
  ];
  let failed = 0;
  for (const [command = '', ...args] of commands) {
    console.log(`▸ ${command} ${args.join(' ')}`);
    if ((await foreground(command, args)) !== 0) failed += 1;
  }
  return failed === 0 ? 0 : 1;
});

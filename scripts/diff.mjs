// @ts-check
/** `npm run diff`: shows the changes in every environment's stack against templates that were written before. */
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { readArguments, refuse } from './lib/arguments.mjs';
import { capture, root, run } from './lib/commands.mjs';
import { Failure } from './lib/failure.mjs';
import { installPackages } from './setup.mjs';

const USAGE = `usage: npm run diff -- FOLDER

Shows the changes in every environment's stack against FOLDER, which \`npx cdk synth --output FOLDER\` wrote, for
example on another branch. It needs no credentials.`;

const before = readArguments(USAGE, {}, { positionals: 1 }).positionals[0];
if (before === undefined) refuse(USAGE, 'FOLDER is missing');
if (!existsSync(path.join(before, 'manifest.json'))) {
  refuse(USAGE, `${before} is not a folder that \`npx cdk synth --output\` wrote: it has no manifest.json`);
}

/** @param {string[]} args */
async function cdk(args) {
  const program = path.join(root, 'node_modules/aws-cdk/bin/cdk');
  const skip = ['--no-notices'];
  const { status, stdout, stderr } = await capture(process.execPath, [program, ...args, ...skip]);
  if (status !== 0) throw new Failure(`cdk ${args.join(' ')} failed:\n\n${stderr.trim()}`);
  return { stdout, stderr };
}

await run(async () => {
  await installPackages();
  const stacks = (await cdk(['list'])).stdout.split('\n').filter((line) => line.startsWith('EcsDiscovery-'));
  const had = readdirSync(before).flatMap((file) => /^(EcsDiscovery-.*)\.template\.json$/.exec(file)?.[1] ?? []);
  for (const stack of had.filter((stack) => !stacks.includes(stack))) {
    console.log(`\n=== ${stack}: removed from the configuration; the deployed stack stays until it is destroyed`);
  }
  for (const stack of stacks) {
    console.log(`\n=== ${stack}`);
    if (!had.includes(stack)) {
      console.log('new');
      continue;
    }
    const { stdout, stderr } = await cdk(['diff', stack, '--template', path.resolve(before, `${stack}.template.json`)]);
    console.log((stdout + stderr).trim());
  }
  return 0;
});

// @ts-check
/**
 * `npm run diff -- FOLDER`: what every environment would change against the templates in a folder
 * that `cdk synth --output FOLDER` wrote, of another branch for instance. Without credentials.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const before = process.argv[2];
if (before === undefined || !existsSync(path.join(before, 'manifest.json'))) {
  console.error(`expected a folder that \`cdk synth --output FOLDER\` wrote; found ${before ?? 'nothing'}`);
  process.exit(2);
}
const cdk = path.join(root, 'node_modules/aws-cdk/bin/cdk');
const skip = ['--no-notices', '--context', 'build=false'];
const list = spawnSync('node', [cdk, 'list', ...skip], { cwd: root, encoding: 'utf8' });
if (list.status !== 0) {
  console.error(list.stderr);
  process.exit(1);
}
const stacks = list.stdout.split('\n').filter((line) => line.startsWith('EcsDiscovery-'));
const had = readdirSync(before).flatMap((file) => /^(EcsDiscovery-.*)\.template\.json$/.exec(file)?.[1] ?? []);
for (const stack of had.filter((stack) => !stacks.includes(stack))) {
  console.log(`\n=== ${stack}: not in the data any more; its stack stays until it is destroyed`);
}
for (const stack of stacks) {
  console.log(`\n=== ${stack}`);
  if (!had.includes(stack)) {
    console.log('new');
    continue;
  }
  const template = path.resolve(before, `${stack}.template.json`);
  const diff = spawnSync('node', [cdk, 'diff', stack, '--template', template, ...skip], { cwd: root, encoding: 'utf8' });
  console.log((diff.stdout + diff.stderr).trim());
  if (diff.status !== 0) process.exit(1);
}

// @ts-check
/** `npm run bench`: builds what is measured, measures it, and writes `docs/benchmarks.md`. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { environment, foreground, root, run, setup, step } from './setup.mjs';

await run(async () => {
  await setup();
  const architecture = process.arch === 'arm64' ? '--arm64' : '--x86-64';
  await step('A function that does nothing', 'a minute the first time', 'cargo', [
    ...['lambda', 'build', '--release', '--locked', architecture, '--package', 'noop'],
  ]);
  await step('The benchmark', 'a minute the first time', 'cargo', ['build', '--locked', '--workspace', '--bin', 'bench']);
  console.log('▸ planner …');
  const args = ['bench', '--quiet', '--locked', '--profile', 'dev', '--package', 'handler', '--bench', 'plan'];
  const plan = spawnSync('cargo', args, { cwd: root, env: environment, encoding: 'utf8' });
  if (plan.status !== 0) throw new Error(plan.stderr);
  const planner = path.join(root, '.local', 'planner.txt');
  writeFileSync(planner, plan.stdout);
  const built = (/** @type {string} */ name) => path.join(root, 'target', 'lambda', name, 'bootstrap');
  const document = path.join(root, 'docs', 'benchmarks.md');
  return foreground(path.join(root, 'target', 'debug', 'bench'), [built('handler'), built('noop'), planner, document]);
});

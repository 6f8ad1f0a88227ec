// @ts-check
/** `npm run simulate`: plays histories on the simulated AWS, and tells which invariant does not hold. */
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { foreground, root, run } from './setup.mjs';

/** With all of the workspace's features, so that nothing is built twice. */
export const build = ['build', '--quiet', '--locked', '--workspace', '--bin', 'simulation'];
export const simulation = path.join(root, 'target', 'debug', 'simulation');

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await run(async () => {
    const built = await foreground('cargo', build);
    return built === 0 ? foreground(simulation, process.argv.slice(2)) : built;
  });
}

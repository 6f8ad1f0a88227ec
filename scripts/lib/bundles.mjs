// @ts-check
/** The files of the package that packages of npm make: bundles of the sources, and the archive of the handler. */
import { build } from 'esbuild';
import { unzipSync, zipSync } from 'fflate';
import { root } from './commands.mjs';
import { Failure } from './failure.mjs';

/** Bundles take the place of their modules, so they have to tell where they are in the way of CommonJS. */
const options = /** @type {const} */ ({
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  metafile: true,
  define: { 'import.meta.url': 'importMetaUrl' },
  banner: { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;" },
  // They are in the file with all licenses.
  legalComments: 'none',
});

/** @returns {Promise<string[]>} the files that the bundles contain */
export async function bundle() {
  const construct = await build({
    ...options,
    entryPoints: ['cdk/lib/index.ts'],
    outfile: 'dist/index.js',
    external: ['aws-cdk-lib', 'constructs'],
  });
  const commandLine = await build({
    ...options,
    entryPoints: ['cdk/cli/main.ts'],
    outfile: 'dist/cli.js',
    minifySyntax: true,
    minifyWhitespace: true,
  });
  return [construct, commandLine].flatMap(({ metafile }) => Object.keys(metafile.inputs));
}

/**
 * An archive with the handler that is the same whenever the same handler was built.
 *
 * @param {Uint8Array} archive of cargo-lambda, which contains the time of the build
 */
export function reproducible(archive) {
  const { bootstrap } = unzipSync(archive);
  if (bootstrap === undefined) throw new Failure("The handler's archive does not contain the file bootstrap.");
  // Lambda starts the file, so it is executable on every machine that deploys the archive.
  const attributes = { os: 3, attrs: 0o100755 << 16, mtime: new Date(1980, 0, 1), level: /** @type {const} */ (9) };
  return zipSync({ bootstrap: [bootstrap, attributes] });
}

// @ts-check
/**
 * `npm run package`: makes the tarball that other repositories install. It contains the construct and the command line tool
 * as JavaScript, and the handler for AWS Lambda, so that nobody else needs Rust. `npm pack` does the same.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';
import { unzipSync, zipSync } from 'fflate';
import { readArguments, refuse } from './lib/arguments.mjs';
import { capture, execute, local, root, run } from './lib/commands.mjs';
import { Failure } from './lib/failure.mjs';
import { billOfMaterials, crates, notices, npmPackages } from './lib/licenses.mjs';
import { exclusively } from './lib/lock.mjs';
import { step } from './lib/steps.mjs';

const USAGE = `usage: npm run package [-- --architecture x86_64|arm64]

Makes a tarball with the construct, the command line tool and the handler, and prints its path.

  --architecture A  a tarball with the handler for A only, instead of both
  --no-pack         only the folder dist/, without a tarball`;

/** Each architecture of Lambda with its name in Rust's targets. */
const ARCHITECTURES = { x86_64: 'x86_64', arm64: 'aarch64' };

const { values } = readArguments(USAGE, { architecture: { type: 'string' }, 'no-pack': { type: 'boolean' } });
const chosen = Object.entries(ARCHITECTURES).filter(([name]) => [undefined, name].includes(text(values.architecture)));
if (chosen.length === 0) refuse(USAGE, `expected x86_64 or arm64; found '${values.architecture}'`);

/** @param {string | boolean | undefined} value */
function text(value) {
  return value === undefined ? undefined : String(value);
}

const dist = path.join(root, 'dist');

/** Bundles take the place of their modules, so they have to tell where they are in the way of CommonJS. */
const bundle = /** @type {const} */ ({
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

async function bundles() {
  const construct = await build({
    ...bundle,
    entryPoints: ['cdk/lib/index.ts'],
    outfile: 'dist/index.js',
    external: ['aws-cdk-lib', 'constructs'],
  });
  const commandLine = await build({
    ...bundle,
    entryPoints: ['cdk/cli/main.ts'],
    outfile: 'dist/cli.js',
    minifySyntax: true,
    minifyWhitespace: true,
  });
  return [construct, commandLine].flatMap(({ metafile }) => Object.keys(metafile.inputs));
}

/**
 * Builds the handler, and archives it so that the same handler always gives the same bytes.
 *
 * @param {string} architecture
 */
async function archiveHandler(architecture) {
  let made = '';
  const output = (/** @type {Buffer} */ chunk, /** @type {'stdout' | 'stderr'} */ stream) => {
    if (stream === 'stdout') made += String(chunk);
    else process.stderr.write(chunk);
  };
  const status = await execute('node', ['scripts/build-handler.mjs', architecture], { output });
  // The script has said why.
  if (status !== 0) throw new Failure(`The package needs a handler for ${architecture}.`);
  const { bootstrap } = unzipSync(readFileSync(made.trim()));
  if (bootstrap === undefined) throw new Failure(`${made.trim()} does not contain the file bootstrap.`);
  // Lambda starts the file, so it is executable on every machine that deploys the archive.
  const attributes = { os: 3, attrs: 0o100755 << 16, mtime: new Date(1980, 0, 1), level: /** @type {const} */ (9) };
  mkdirSync(path.join(dist, 'handler'), { recursive: true });
  writeFileSync(path.join(dist, 'handler', `${architecture}.zip`), zipSync({ bootstrap: [bootstrap, attributes] }));
}

/** @param {string[]} inputs of the bundles */
async function describeComponents(inputs) {
  const linked = (await Promise.all(chosen.map(([, rust]) => crates(rust)))).flat();
  const inHandler = [...new Map(linked.map((one) => [one.purl, one])).values()];
  const inBundles = npmPackages(inputs);
  const rust = notices('In the handler, besides the standard library of Rust (MIT OR Apache-2.0)', inHandler);
  const npm = notices('In index.js and cli.js', inBundles);
  writeFileSync(path.join(dist, 'THIRD-PARTY-LICENSES.txt'), `${rust}\n${'='.repeat(80)}\n\n${npm}`);
  const product = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));
  const bill = billOfMaterials(product, [...inHandler, ...inBundles]);
  writeFileSync(path.join(dist, 'sbom.cdx.json'), `${JSON.stringify(bill, null, 2)}\n`);
}

/** @returns {Promise<string>} the path of the tarball */
async function pack() {
  // The folder dist/ is new, so npm need not run this script again.
  const { status, stdout, stderr } = await capture('npm', ['pack', '--ignore-scripts', '--json'], { cwd: root });
  if (status !== 0) throw new Failure(`npm could not make the tarball.\n${stderr}`);
  /** @type {{ filename: string }[]} */
  const [made] = JSON.parse(stdout);
  const folder = path.join(local, 'package');
  mkdirSync(folder, { recursive: true });
  const tarball = path.join(folder, made?.filename ?? '');
  renameSync(path.join(root, made?.filename ?? ''), tarball);
  return tarball;
}

await run(() =>
  exclusively('package', async () => {
    rmSync(dist, { recursive: true, force: true });
    mkdirSync(dist);
    // The package itself has ES modules, its bundles are CommonJS, which both kinds of apps can load.
    writeFileSync(path.join(dist, 'package.json'), '{ "type": "commonjs" }\n');
    await step('Types of the construct', 'seconds', 'tsc', ['--project', 'tsconfig.package.json']);
    for (const [architecture] of chosen) await archiveHandler(architecture);
    await describeComponents(await bundles());
    if (values['no-pack']) return 0;
    const tarball = await pack();
    console.log(tarball);
    return 0;
  }),
);

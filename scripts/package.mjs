// @ts-check
/**
 * `npm run package`: makes the tarball that other repositories install. It contains the construct and the command line tool
 * as JavaScript, and the handler for AWS Lambda, so that nobody else needs Rust. `npm pack` does the same.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { readArguments, refuse } from './lib/arguments.mjs';
import { capture, execute, local, root, run } from './lib/commands.mjs';
import { Failure } from './lib/failure.mjs';
import { billOfMaterials, crates, notices, npmPackages } from './lib/licenses.mjs';
import { exclusively } from './lib/lock.mjs';
import { describedSchema } from './lib/schema.mjs';
import { step } from './lib/steps.mjs';
import { checkPython, checkRust, installPackages, installTools } from './setup.mjs';

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

/**
 * @param {string} architecture
 * @param {(archive: Uint8Array) => Uint8Array} reproducible
 */
async function archiveHandler(architecture, reproducible) {
  let made = '';
  const output = (/** @type {Buffer} */ chunk, /** @type {'stdout' | 'stderr'} */ stream) => {
    if (stream === 'stdout') made += String(chunk);
    else process.stderr.write(chunk);
  };
  const status = await execute('node', ['scripts/build-handler.mjs', architecture], { output });
  // The script has said why.
  if (status !== 0) throw new Failure(`The package needs a handler for ${architecture}.`);
  mkdirSync(path.join(dist, 'handler'), { recursive: true });
  writeFileSync(path.join(dist, 'handler', `${architecture}.zip`), reproducible(readFileSync(made.trim())));
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
    const [python] = await Promise.all([checkPython(), checkRust()]);
    await Promise.all([installPackages(), installTools(python)]);
    // It needs these packages.
    const { bundle, reproducible } = await import('./lib/bundles.mjs');
    rmSync(dist, { recursive: true, force: true });
    mkdirSync(dist);
    // The package itself has ES modules, its bundles are CommonJS, which both kinds of apps can load.
    writeFileSync(path.join(dist, 'package.json'), '{ "type": "commonjs" }\n');
    await step('Types of the construct', 'seconds', 'tsc', ['--project', 'tsconfig.package.json']);
    for (const [architecture] of chosen) await archiveHandler(architecture, reproducible);
    await describeComponents(await bundle());
    writeFileSync(path.join(dist, 'cdk.schema.json'), `${JSON.stringify(await describedSchema(), null, 2)}\n`);
    if (values['no-pack']) return 0;
    const tarball = await pack();
    console.log(tarball);
    return 0;
  }),
);

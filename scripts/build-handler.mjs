// @ts-check
/**
 * `node scripts/build-handler.mjs x86_64|arm64`: builds the handler for AWS Lambda, and prints the path of an archive with
 * it. The CDK runs this when it publishes the handler. It reads the standard output, so the progress of cargo goes to the
 * standard error.
 */
import path from 'node:path';
import { readArguments, refuse } from './lib/arguments.mjs';
import { capture, execute, local, run } from './lib/commands.mjs';
import { Failure } from './lib/failure.mjs';
import { cargoLambdaVersion, rustVersion } from './lib/pins.mjs';

const USAGE = `usage: node scripts/build-handler.mjs x86_64|arm64

Builds the handler for AWS Lambda, and prints the path of an archive with it.`;

const architecture = readArguments(USAGE, {}, { positionals: 1 }).positionals[0];
if (architecture !== 'x86_64' && architecture !== 'arm64') refuse(USAGE, 'expected x86_64 or arm64');

// Settings of the user's shell would change the handler, but not its hash.
const SETTINGS =
  /^(RUSTUP_TOOLCHAIN|RUSTC|(CARGO_(ENCODED_|BUILD_|TARGET_.*_)?)?RUSTFLAGS|CARGO_BUILD_RUSTC.*|CARGO_TARGET_.*_LINKER|CARGO_PROFILE_.*)$/;
const names = Object.keys(process.env).filter((name) => SETTINGS.test(name));
const env = Object.fromEntries(names.map((name) => [name, undefined]));

/**
 * Fails unless a tool has the version that the hash of the handler contains.
 *
 * @param {string} name
 * @param {string[]} command
 * @param {string} expected
 * @param {string} remedy
 */
async function check(name, [command = '', ...args], expected, remedy) {
  const missing = { status: 1, stdout: '', stderr: '' };
  const tool = await capture(command, [...args, '--version'], { env }).catch(() => missing);
  const found = /\d+\.\d+\.\d+/.exec(tool.stdout)?.[0];
  if (tool.status === 0 && found === expected) return;
  const problem = tool.status === 0 ? `is ${found ?? 'unknown'} instead of ${expected}` : 'is missing';
  throw new Failure(
    `The handler cannot be built, because ${name} ${problem}. ${remedy}, or deploy a prebuilt handler with \`-c handlerCode=FOLDER\`.\n${tool.stderr}`,
  );
}

await run(async () => {
  await check('cargo-lambda', ['cargo', 'lambda'], cargoLambdaVersion(), 'Install it with `npm run setup`');
  await check('Rust', ['rustc'], rustVersion(), 'Install rustup, which installs the version in rust-toolchain.toml');
  const folder = path.join(local, 'handler', architecture);
  const target = architecture === 'arm64' ? '--arm64' : '--x86-64';
  const flags = ['--release', '--locked', target, '--bin', 'handler'];
  const args = ['lambda', 'build', ...flags, '--output-format', 'zip', '--lambda-dir', folder];
  const output = (/** @type {Buffer} */ chunk) => void process.stderr.write(chunk);
  const status = await execute('cargo', args, { env, output });
  if (status !== 0) throw new Failure(`cargo-lambda failed with the exit status ${status}.`);
  console.log(path.join(folder, 'handler', 'bootstrap.zip'));
  return 0;
});

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

const USAGE = `usage: node scripts/build-handler.mjs x86_64|arm64

Builds the handler for AWS Lambda, and prints the path of an archive with it.`;

const architecture = readArguments(USAGE, {}, { positionals: 1 }).positionals[0];
if (architecture !== 'x86_64' && architecture !== 'arm64') refuse(USAGE, 'expected x86_64 or arm64');

await run(async () => {
  const tool = await capture('cargo', ['lambda', '--version']).catch(() => ({ status: 1, stderr: '' }));
  if (tool.status !== 0) {
    throw new Failure(
      `The handler cannot be built, because cargo-lambda is missing. Install it with \`npm run setup\`, or deploy a prebuilt handler with \`-c handlerCode=FOLDER\`.\n${tool.stderr}`,
    );
  }
  const folder = path.join(local, 'handler', architecture);
  const target = architecture === 'arm64' ? '--arm64' : '--x86-64';
  const flags = ['--release', '--locked', target, '--bin', 'handler'];
  const args = ['lambda', 'build', ...flags, '--output-format', 'zip', '--lambda-dir', folder];
  // Flags of the user's shell would change the handler, but not its hash.
  const env = { RUSTFLAGS: undefined, CARGO_ENCODED_RUSTFLAGS: undefined, CARGO_BUILD_RUSTFLAGS: undefined };
  const output = (/** @type {Buffer} */ chunk) => void process.stderr.write(chunk);
  const status = await execute('cargo', args, { env, output });
  if (status !== 0) throw new Failure(`cargo-lambda failed with the exit status ${status}.`);
  console.log(path.join(folder, 'handler', 'bootstrap.zip'));
  return 0;
});

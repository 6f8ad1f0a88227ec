/** The CDK app: one stack for each environment. The only file that reads the context. */
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { App } from 'aws-cdk-lib';
import { BUNDLING_STACKS } from 'aws-cdk-lib/cx-api';
import { DiscoveryStack } from '../lib/discovery-stack.js';
import { checkKeysOnce } from '../lib/duplicate-keys.js';
import { EnvironmentError, parseEnvironments } from '../lib/environment.js';
import { parseHandlerCode } from '../lib/handler-code.js';

// Use the cargo-lambda that `npm run setup` installed, if it exists.
const tools = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../.venv/bin');
if (existsSync(tools)) {
  process.env.PATH = `${tools}${path.delimiter}${process.env.PATH ?? ''}`;
}

/** The CDK's command line runs the app in the folder with this file. */
const SETTINGS = 'cdk.json';

try {
  if (existsSync(SETTINGS)) checkKeysOnce(readFileSync(SETTINGS, 'utf8'), SETTINGS);
  const app = new App();
  // `-c build=false` skips the build of the handler, for templates that are not deployed.
  if (app.node.tryGetContext('build') === 'false') app.node.setContext(BUNDLING_STACKS, []);
  // `-c handlerCode=FOLDER` deploys the file `bootstrap` in the folder, without a build.
  const handlerCode = parseHandlerCode(app.node.tryGetContext('handlerCode'));
  const context: unknown = app.node.tryGetContext('environments');
  if (typeof context === 'string') checkKeysOnce(context, 'The context key environments');
  const environments = parseEnvironments(context);
  for (const [name, environment] of Object.entries(environments)) {
    new DiscoveryStack(app, name, environment, handlerCode);
  }
} catch (error) {
  if (!(error instanceof EnvironmentError)) {
    throw error;
  }
  // The settings are invalid, so a stack trace would not help.
  console.error(error.message);
  process.exitCode = 1;
}

/**
 * The CDK app: one stack for each environment. The only place that reads the context, or
 * anything else from outside.
 */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { App } from 'aws-cdk-lib';
import { BUNDLING_STACKS } from 'aws-cdk-lib/cx-api';
import { DiscoveryStack } from '../lib/discovery-stack.js';
import { EnvironmentError, parseEnvironments } from '../lib/environment.js';

// The handler is built with the cargo-lambda that `npm run setup` installed, if it did.
const tools = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../.venv/bin');
if (existsSync(tools)) {
  process.env.PATH = `${tools}${path.delimiter}${process.env.PATH ?? ''}`;
}

try {
  const app = new App();
  // `-c build=false`: for a look at the templates, which need no handler that is built.
  if (app.node.tryGetContext('build') === 'false') app.node.setContext(BUNDLING_STACKS, []);
  const environments = parseEnvironments(app.node.tryGetContext('environments'));
  for (const [name, environment] of Object.entries(environments)) {
    new DiscoveryStack(app, name, environment);
  }
} catch (error) {
  if (!(error instanceof EnvironmentError)) {
    throw error;
  }
  // What is wrong is in the data, so where in the program it was found helps nobody.
  console.error(error.message);
  process.exitCode = 1;
}

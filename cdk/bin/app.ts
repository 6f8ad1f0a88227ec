/** The CDK app: one stack for each environment. The only file that reads the context. */
import { existsSync, readFileSync } from 'node:fs';
import { App } from 'aws-cdk-lib';
import { DiscoveryStack } from '../lib/discovery-stack.js';
import { checkKeysOnce } from '../lib/duplicate-keys.js';
import { EnvironmentError, parseEnvironments } from '../lib/environment.js';
import type { Build } from '../lib/handler-code.js';

/** The CDK's command line runs the app in the folder with this file. */
const SETTINGS = 'cdk.json';

try {
  if (existsSync(SETTINGS)) checkKeysOnce(readFileSync(SETTINGS, 'utf8'), SETTINGS);
  const app = new App();
  // `-c handlerCode=FOLDER` deploys the file `bootstrap` in the folder, without a build. `-c buildHandler=synthesis`
  // builds the handler now instead of during the deployment.
  const context = (key: string) => app.node.tryGetContext(key) as string | undefined;
  const code = { handlerCode: context('handlerCode'), buildHandler: context('buildHandler') as Build | undefined };
  const data: unknown = app.node.tryGetContext('environments');
  if (typeof data === 'string') checkKeysOnce(data, 'The context key environments');
  const environments = parseEnvironments(data);
  for (const [name, environment] of Object.entries(environments)) {
    new DiscoveryStack(app, name, environment, code);
  }
} catch (error) {
  if (!(error instanceof EnvironmentError)) {
    throw error;
  }
  // The settings are invalid, so a stack trace would not help.
  console.error(error.message);
  // At its regular end, the process would synthesise the stacks that exist so far.
  process.exit(1);
}

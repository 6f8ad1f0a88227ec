/** The CDK app: one stack for each environment. The only file that reads the context. */
import { existsSync, readFileSync } from 'node:fs';
import { App } from 'aws-cdk-lib';
import { checkKeysOnce } from '../lib/duplicate-keys.js';
import { EnvironmentError, type HandlerCodeProps, parseEnvironments, ServiceDiscoveryStack } from '../lib/index.js';

/** The CDK's command line runs the app in the folder with this file. */
const SETTINGS = 'cdk.json';

try {
  if (existsSync(SETTINGS)) checkKeysOnce(readFileSync(SETTINGS, 'utf8'), SETTINGS);
  const app = new App();
  // `-c handlerCode=FOLDER` deploys the file `bootstrap` in the folder, without a build. `-c buildHandler=synthesis`
  // builds the handler now instead of during the deployment.
  const code = Object.fromEntries(
    ['handlerCode', 'buildHandler'].map((key) => [key, app.node.tryGetContext(key) as unknown]),
  ) as HandlerCodeProps;
  const data: unknown = app.node.tryGetContext('environments');
  if (typeof data === 'string') checkKeysOnce(data, 'The context key environments');
  const environments = parseEnvironments(data);
  for (const [name, environment] of Object.entries(environments)) {
    new ServiceDiscoveryStack(app, name, environment, code);
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

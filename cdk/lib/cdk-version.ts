/** The version of the CDK in the app that uses the construct. */
import { createRequire } from 'node:module';
import { EnvironmentError } from './environment-error.js';

/** The least version. `peerDependencies` in package.json has it, too, but npm can be told to ignore that. */
export const LEAST_CDK = '2.200.0';

const { version: found } = createRequire(import.meta.url)('aws-cdk-lib/package.json') as { version: string };

/** Whether the app has a version of the CDK, or a later one. */
export function cdkIsAtLeast(least: string, version = found): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [leastMajor = 0, leastMinor = 0] = least.split('.').map(Number);
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}

/** @throws EnvironmentError if the app's CDK is too old */
export function requireCdk(version = found): void {
  if (cdkIsAtLeast(LEAST_CDK, version)) return;
  throw new EnvironmentError(
    `ecs-discovery needs aws-cdk-lib ${LEAST_CDK} or later; found ${version}. Update it with \`npm install aws-cdk-lib@latest\`.`,
  );
}

import { checkEnvironments } from './environment.js';
import { EnvironmentError } from './environment-error.js';
import type { DiscoveryEnvironment } from './options.js';

/**
 * Validates the environments: an object (from `cdk.json`) or JSON (from `-c environments=…`).
 *
 * @throws EnvironmentError with every invalid setting
 */
export function parseEnvironments(context: unknown): Record<string, DiscoveryEnvironment> {
  return checkEnvironments(typeof context === 'string' ? parseJson(context) : context);
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new EnvironmentError(`The environments are invalid:\n  environments: expected JSON; found ${reason}`);
  }
}

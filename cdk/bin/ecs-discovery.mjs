#!/usr/bin/env node
// @ts-check
/** The command line tool: from the bundle in a package, or in a checkout from `cdk/cli`, which it compiles in memory. */
import { existsSync } from 'node:fs';

// The version of the AWS SDK is pinned, so its warning about later ones does not help the operator.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

const sources = new URL('../cli/main.ts', import.meta.url);
const isCheckout = existsSync(sources);
try {
  if (isCheckout) {
    await import('../../scripts/lib/check-node.cjs');
    const { register } = await import('tsx/esm/api');
    register();
  }
  /** @type {typeof import('../cli/main.js')} */
  const { main } = await import((isCheckout ? sources : new URL('../../dist/cli.js', import.meta.url)).href);
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(isCheckout && error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND')) throw error;
  console.error(`The packages of this checkout are missing. Run \`npm run setup\` first. (${error.message})`);
  process.exitCode = 1;
}

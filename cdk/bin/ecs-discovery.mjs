#!/usr/bin/env node
// @ts-check
/** The command line tool, from the checkout: compiles `cdk/cli` in memory. */
import '../../scripts/lib/check-node.cjs';

// The version of the AWS SDK is pinned, so its warning about later ones does not help the operator.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

try {
  const { register } = await import('tsx/esm/api');
  register();
  /** @type {typeof import('../cli/main.js')} */
  const { main } = await import('../cli/main.ts');
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND')) throw error;
  console.error(`The packages of this checkout are missing. Run \`npm run setup\` first. (${error.message})`);
  process.exitCode = 1;
}

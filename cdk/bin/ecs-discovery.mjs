#!/usr/bin/env node
// @ts-check
/** The command line tool, from the checkout: compiles `cdk/cli` in memory. */
import { register } from 'tsx/esm/api';

// The version of the AWS SDK is pinned, so its warning about a later one tells the operator nothing.
process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

register();
/** @type {typeof import('../cli/main.js')} */
const { main } = await import('../cli/main.ts');
process.exitCode = await main(process.argv.slice(2));

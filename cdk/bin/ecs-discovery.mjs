#!/usr/bin/env node
// @ts-check
/** The command line tool, from the checkout: compiles `cdk/cli` in memory. */
import { register } from 'tsx/esm/api';

register();
/** @type {typeof import('../cli/main.js')} */
const { main } = await import('../cli/main.ts');
process.exitCode = await main(process.argv.slice(2));

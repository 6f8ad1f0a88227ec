// @ts-check
/** Reads a script's arguments before it does any work. */
import { parseArgs } from 'node:util';

/**
 * Answers `--help` with the usage, and refuses arguments that the script does not have. Either ends the process.
 *
 * @template {import('node:util').ParseArgsConfig['options'] & {}} T
 * @param {string} usage
 * @param {T} options as `parseArgs` has them
 * @param {{ positionals?: number }} [limits] how many arguments without a name the script takes, none by default
 */
export function readArguments(usage, options, { positionals: most = 0 } = {}) {
  try {
    const { values, positionals } = parseArgs({
      options: { ...options, help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    });
    if (/** @type {{ help?: boolean }} */ (values).help) {
      console.log(usage);
      process.exit(0);
    }
    if (positionals.length > most) throw new Error(`Unexpected argument '${positionals[most]}'`);
    return { values: /** @type {Record<string, string | boolean | undefined>} */ (values), positionals };
  } catch (error) {
    return refuse(usage, error instanceof Error ? error.message : String(error));
  }
}

/**
 * @param {string} usage
 * @param {string} problem
 * @returns {never}
 */
export function refuse(usage, problem) {
  console.error(`${problem}\n\n${usage}`);
  process.exit(2);
}

/**
 * Reads a whole number.
 *
 * @param {string} usage
 * @param {string} name
 * @param {string | boolean | undefined} text
 */
export function wholeNumber(usage, name, text) {
  if (typeof text === 'string' && !/^\d+$/.test(text)) refuse(usage, `--${name} needs a whole number, not '${text}'`);
  return text === undefined ? undefined : Number(text);
}

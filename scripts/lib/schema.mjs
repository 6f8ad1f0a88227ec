// @ts-check
/** The schema of `cdk.json` for editors: the rules of the environments, with the texts of their documentation. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { root } from './commands.mjs';

/**
 * The text for each option in the tables of a document, without links. The first one counts.
 *
 * @param {string} document
 * @returns {Map<string, string>}
 */
export function descriptions(document) {
  /** @type {Map<string, string>} */
  const texts = new Map();
  for (const row of document.match(/^\| `.*\|$/gm) ?? []) {
    const cells = row.slice(2, -2).split(' | ');
    const text = (cells.at(-1) ?? '').replace(/\[([^\]]*)\]\([^)]*\)/g, '$1');
    for (const [, name = ''] of cells[0]?.matchAll(/`([^`]*)`/g) ?? []) {
      if (!texts.has(name)) texts.set(name, text);
    }
  }
  return texts;
}

/** @returns {Promise<object>} a schema in which each option has a description */
export async function describedSchema() {
  const { tsImport } = await import('tsx/esm/api');
  /** @type {typeof import('../../cdk/lib/environment.js')} */
  const { settingsSchema } = await tsImport('../../cdk/lib/environment.ts', import.meta.url);
  const texts = descriptions(readFileSync(path.join(root, 'docs/configuration.md'), 'utf8'));
  /** @type {any} */
  const schema = settingsSchema();
  const options = schema.properties.context.properties.environments.additionalProperties.properties;
  const describe = (/** @type {Record<string, object>} */ rules, prefix = '') => {
    for (const [name, rule] of Object.entries(rules)) {
      rules[name] = { description: texts.get(prefix + name), ...rule };
    }
  };
  describe(options.vpcs.items.properties, 'vpcs[].');
  describe(options);
  return schema;
}

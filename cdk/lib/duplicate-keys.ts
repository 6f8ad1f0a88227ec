import { type Node, parseTree } from 'jsonc-parser';
import { EnvironmentError } from './environment-error.js';

/**
 * Checks that no object of a JSON text has a key twice. `JSON.parse` would silently use the last one, so an environment
 * that somebody copied and did not rename would replace another one.
 *
 * @param source what the error calls the text
 * @throws EnvironmentError with each key that an object has twice
 */
export function checkKeysOnce(text: string, source: string): void {
  const root = parseTree(text);
  const lines =
    root === undefined
      ? []
      : repeatedKeys(root, []).map(([path, offsets]) => {
          const at = offsets.map((offset) => text.slice(0, offset).split('\n').length);
          return `  ${path.join('.')}: expected each key once; found it in line ${at.join(', and again in line ')}`;
        });
  if (lines.length > 0) throw new EnvironmentError(`${source} is invalid:\n${lines.join('\n')}`);
}

/** The paths of repeated keys, each with the offsets of all its places. */
function repeatedKeys(node: Node, path: readonly string[]): [string[], number[]][] {
  if (node.type === 'array') {
    return (node.children ?? []).flatMap((child, index) => repeatedKeys(child, [...path, String(index)]));
  }
  if (node.type !== 'object') return [];
  const offsets = new Map<string, number[]>();
  const below = (node.children ?? []).flatMap(({ children }) => {
    const [key, value] = children ?? [];
    if (key === undefined) return [];
    const name = String(key.value);
    offsets.set(name, [...(offsets.get(name) ?? []), key.offset]);
    return value === undefined ? [] : repeatedKeys(value, [...path, name]);
  });
  const repeated = [...offsets].filter(([, places]) => places.length > 1);
  return [...repeated.map(([name, places]): [string[], number[]] => [[...path, name], places]), ...below];
}

/** The code of the handler: built from its sources, or a prebuilt folder. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { EnvironmentError } from './environment.js';

/** The root of the checkout. */
export const WORKSPACE = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/**
 * Validates `handlerCode`: a folder that contains the file `bootstrap`, or `undefined`.
 *
 * @throws EnvironmentError if the folder contains no such file
 */
export function parseHandlerCode(folder: unknown): string | undefined {
  if (folder === undefined) return undefined;
  const isPrebuilt = (folder: string) =>
    statSync(path.join(folder, 'bootstrap'), { throwIfNoEntry: false })?.isFile() === true;
  if (typeof folder === 'string' && isPrebuilt(folder)) return folder;
  throw new EnvironmentError(
    `handlerCode: expected a folder that contains the file bootstrap; found no such file in ${JSON.stringify(folder)}, so build the handler into this folder, or omit handlerCode`,
  );
}

/**
 * A hash of the architecture and of all files from which cargo-lambda builds the handler.
 *
 * A hash of the binary would change from one machine to another, even if the sources are the same.
 */
export function sourceHash(architecture: string, workspace = WORKSPACE): string {
  const hash = createHash('sha256').update(architecture);
  const sources = readdirSync(path.join(workspace, 'handler/src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.rs'))
    .map((file) => `handler/src/${file.split(path.sep).join('/')}`);
  for (const file of ['Cargo.toml', 'Cargo.lock', 'rust-toolchain.toml', 'handler/Cargo.toml', ...sources].sort()) {
    // Git may check out other line endings.
    const text = readFileSync(path.join(workspace, file), 'utf8').replaceAll('\r\n', '\n');
    hash.update(`\0${file}\0${text}`);
  }
  return hash.digest('hex');
}

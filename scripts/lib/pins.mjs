// @ts-check
/** The versions of the tools that build the handler. Its hash contains them. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { root } from './commands.mjs';

/**
 * @param {string} file
 * @param {RegExp} pattern
 */
function pinned(file, pattern) {
  const version = pattern.exec(readFileSync(path.join(root, file), 'utf8'))?.[1];
  if (version === undefined) throw new Error(`${file} has no version like ${String(pattern)}`);
  return version;
}

/** Of Rust. rustup installs it. */
export const rustVersion = () => pinned('rust-toolchain.toml', /^channel = "([\d.]+)"/m);

/** Of cargo-lambda. The set-up installs it. */
export const cargoLambdaVersion = () => pinned('scripts/requirements.txt', /^cargo-lambda==([\d.]+)/m);

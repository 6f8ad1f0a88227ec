// @ts-check
/** A lock between scripts in one checkout. A lock whose owner has ended is taken over. */
import { linkSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { local } from './commands.mjs';
import { find } from './processes.mjs';

/** How long a lock may be empty: its owner writes into it right after it has made it. */
const EMPTY_MS = 5_000;

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/**
 * @param {string} file
 * @param {string} text its content
 */
function ownerLives(file, text) {
  if (text === '') return Date.now() - statSync(file).mtimeMs < EMPTY_MS;
  const [pid, ...started] = text.split(' ');
  // The process number alone would do for a while. After a restart of the machine, another process has it.
  return find(Number(pid))?.started === started.join(' ');
}

/**
 * Removes a lock whose owner has ended, unless another script has taken it over in the meantime.
 *
 * @param {string} file
 * @param {string} text the content that was found in it
 */
function removeStale(file, text) {
  const aside = `${file}.${process.pid}`;
  try {
    renameSync(file, aside);
    if (read(aside) !== text) linkSync(aside, file);
  } catch {
    // Another script was faster. The next attempt sees its lock.
  }
  rmSync(aside, { force: true });
}

/**
 * Runs `work` while no other script in this checkout runs with the same lock.
 *
 * @template T
 * @param {string} name
 * @param {() => Promise<T>} work
 */
export async function exclusively(name, work) {
  const file = path.join(local, `${name}.lock`);
  const own = `${process.pid} ${find(process.pid)?.started ?? ''}`;
  for (let reported = false; ;) {
    try {
      writeFileSync(file, own, { flag: 'wx' });
      if (read(file) === own) break;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
    }
    const text = read(file);
    if (text === undefined) continue;
    try {
      if (!ownerLives(file, text)) {
        removeStale(file, text);
        continue;
      }
    } catch {
      continue;
    }
    if (!reported) console.log(`▸ waiting for another \`${name}\` in this checkout (process ${text.split(' ')[0]}) …`);
    reported = true;
    await delay(250);
  }
  const release = () => {
    if (read(file) === own) rmSync(file, { force: true });
  };
  process.on('exit', release);
  try {
    return await work();
  } finally {
    process.off('exit', release);
    release();
  }
}

/** Files for other programs: they are replaced in one step, so that nobody reads a part of one. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, chmod, open, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Failure } from './failure.js';

/** A file that can be written, as far as this is known before the first attempt. */
export interface Destination {
  /** Writes the whole file. */
  write(text: string): Promise<void>;
}

/** Checks a file before the work for its content. @throws Failure if nobody can write it */
export function destination(file: string): Promise<Destination> {
  return inWords(file, async () => {
    const found = await stat(file).catch(unlessMissing);
    if (found?.isDirectory() === true || file === '') throw new Failure(`${JSON.stringify(file)} is a folder.`);
    // A device or a pipe must stay one.
    if (found?.isFile() === false) return { write: (text) => inWords(file, () => writeFile(file, text)) };
    // The file stays where a link leads to.
    const place = (await realpath(file).catch(unlessMissing)) ?? path.resolve(file);
    await access(path.dirname(place), constants.W_OK);
    return { write: (text) => inWords(file, () => replace(place, text, found?.mode)) };
  });
}

async function replace(place: string, text: string, mode: number | undefined): Promise<void> {
  // Only a rename within a folder is one step.
  const temporary = path.join(path.dirname(place), `.ecs-discovery-${randomBytes(6).toString('hex')}.tmp`);
  try {
    const handle = await open(temporary, 'wx');
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (mode !== undefined) await chmod(temporary, mode & 0o777);
    await rename(temporary, place);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function unlessMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
}

async function inWords<T>(file: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(`${file} cannot be written: ${error instanceof Error ? error.message : String(error)}`);
  }
}

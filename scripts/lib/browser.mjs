// @ts-check
/** Finds the browser in which the tests look at the HTML report. */
import { accessSync, constants } from 'node:fs';
import path from 'node:path';

const COMMANDS = ['chromium', 'chromium-browser', 'google-chrome'];

/** What is missing if there is no browser, with the command that installs one. */
export const BROWSER = 'Chromium or Google Chrome for the tests of the HTML report (Debian: apt install chromium)';

/**
 * @param {string} [folders] the folders with commands, as in `PATH`
 * @returns {string | undefined} the path of a browser
 */
export function findBrowser(folders = process.env.PATH ?? '') {
  const files = folders
    .split(path.delimiter)
    .flatMap((folder) => COMMANDS.map((command) => path.join(folder, command)));
  return files.find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

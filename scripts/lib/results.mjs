// @ts-check
/** Counts tests in the output of the test runners that the project uses. */

const COLORS = /\x1b\[[0-9;]*m/g;

/**
 * @param {string} output
 * @param {RegExp} pattern with one number in parentheses
 */
function sum(output, pattern) {
  return [...output.matchAll(pattern)].reduce((total, match) => total + Number(match[1]), 0);
}

/**
 * A command that reports no tests counts as one, and so does a failure outside of a test.
 *
 * @param {string} output
 * @param {boolean} ok whether the command succeeded
 */
export function count(output, ok) {
  const text = output.replace(COLORS, '');
  // cargo test; vitest; node --test.
  const passed =
    sum(text, /^test result: \w+\. (\d+) passed/gm) +
    sum(text, /^ *Tests .*?(\d+) passed/gm) +
    sum(text, /^(?:#|ℹ) pass (\d+)$/gm);
  const failed =
    sum(text, /^test result: \w+\. \d+ passed; (\d+) failed/gm) +
    sum(text, /^ *Tests .*?(\d+) failed/gm) +
    sum(text, /^(?:#|ℹ) fail (\d+)$/gm);
  if (ok) return { passed: passed || 1, failed };
  return { passed, failed: failed || 1 };
}

// @ts-check
/**
 * Ends a script's commands if the script itself is killed, even by SIGKILL.
 *
 * Its standard input is a pipe from the script. A line `+MARK` announces a command before it starts, `=MARK PID`
 * gives its process, and `-MARK` reports its end. The kernel closes the pipe when the script dies.
 */
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { endTree } from './processes.mjs';

for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(signal, () => {});

/** How long a command may take from its announcement until its process can be found by its mark. */
const STARTING_MS = 2_000;

/** @type {Map<string, number | undefined>} the process of each mark */
const running = new Map();
for await (const line of createInterface({ input: process.stdin })) {
  const [mark = '', pid] = line.slice(1).split(' ');
  if (line.startsWith('-')) running.delete(mark);
  else running.set(mark, pid === undefined ? undefined : Number(pid));
}

/**
 * @param {string} mark
 * @param {number | undefined} pid nothing if the script was killed while it started the command
 */
async function end(mark, pid) {
  const deadline = Date.now() + STARTING_MS;
  do {
    await endTree({ pid: pid ?? -1, mark });
    await delay(50);
  } while (pid === undefined && Date.now() < deadline);
}

await Promise.all([...running].map(([mark, pid]) => end(mark, pid)));

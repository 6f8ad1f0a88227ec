// @ts-check
/**
 * Ends a script's commands if the script itself is killed, even by SIGKILL.
 *
 * Its standard input is a pipe from the script, with a line `+PID MARK` for each command that starts
 * and `-PID MARK` for each that ends. The kernel closes the pipe when the script dies.
 */
import { createInterface } from 'node:readline';
import { endTree } from './processes.mjs';

for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(signal, () => {});

/** @type {Set<string>} */
const running = new Set();
for await (const line of createInterface({ input: process.stdin })) {
  if (line.startsWith('+')) running.add(line.slice(1));
  else running.delete(line.slice(1));
}
await Promise.all(
  [...running].map((line) => {
    const [pid, mark = ''] = line.split(' ');
    return endTree({ pid: Number(pid), mark });
  }),
);

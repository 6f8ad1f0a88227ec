/** Shows the output of a command again and again, until somebody ends the tool. */
import { inWords, isTransient } from './failure.js';
import type { Output } from './output.js';

const CLEAR = '\u001b[H\u001b[2J\u001b[3J';

/** Replaces the screen only when the next text is complete. On a pipe, the texts follow each other. */
export async function watch(
  show: (output: Output) => Promise<unknown>,
  seconds: number,
  output: Output,
): Promise<void> {
  for (;;) {
    let text = '';
    const collected = { ...output, progress: false, write: (more: string) => void (text += more) };
    try {
      await show(collected);
    } catch (error) {
      if (!isTransient(error)) throw error;
      text += inWords(error, undefined, output);
    }
    const time = new Date().toISOString().slice(11, 19);
    const end = `${time} UTC, again in ${seconds} s`;
    output.write(output.colors ? `${CLEAR}${text}\n${end}. Ctrl-C ends.\n` : `${text}\n${end}\n\n`);
    await output.sleep(seconds * 1000);
  }
}

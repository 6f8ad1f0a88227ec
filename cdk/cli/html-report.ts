/** `report`: a page with all names, and with everything that needs attention. */
import { readAges } from './ages.js';
import type { Discovery } from './discovery.js';
import { destination } from './file.js';
import { type Output, showing, wrap } from './output.js';
import { page } from './page/page.js';
import { needsAttention, services } from './report.js';
import { inOneLine, readAll, summary } from './status.js';

export interface HtmlReportOptions {
  /** The file of the page, or `-` for the standard output. */
  html: string;
  /** How far the search for ages goes back, in milliseconds. */
  since: number;
}

/** Writes the page, and returns the exit status: 0 if nothing needs attention. */
export async function htmlReport(
  discovery: Discovery,
  { html: file, since }: HtmlReportOptions,
  output: Output,
): Promise<number> {
  const to = file === '-' ? undefined : await destination(file);
  const answer = await readAll(discovery, output);
  // The log is read after the services, so that it has the changes of all names that were found.
  const made = new Date();
  const begin = new Date(made.getTime() - since);
  const ages = await showing('Searching the log', output, readAges(discovery, begin, output));
  for (const note of ages.notes) output.note(`${wrap(note, 0, output)}\n`);
  const text = page({ answer, ages, made, discovery });
  if (to === undefined) output.write(text);
  else {
    await to.write(text);
    output.write(`${file} shows ${answer.environment}: ${inOneLine(summary(answer, services(answer)))}\n`);
  }
  return needsAttention(answer) ? 1 : 0;
}

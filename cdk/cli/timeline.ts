/** The text of `history`: who has a name since when, and each change as a sentence. */
import { type Change, type Holding, type Subject, holdings, isNew } from './changes.js';
import type { Period } from './insights.js';
import { loadBalancer } from './list.js';
import { type Line, type Output, counted, layOut, sentence, table, utc, wrap } from './output.js';
import { type Status, isChange } from './report.js';

/** A time like `today 14:05 UTC`, as seen at `now`. */
export function relative(time: Date, now: Date): string {
  const day = (one: Date) => Math.floor(one.getTime() / 86_400_000);
  const text = utc(time);
  const word = ['today', 'yesterday'][day(now) - day(time)];
  return word === undefined ? text : `${word} ${text.slice(11)}`;
}

const minutes = (at: string) => utc(new Date(at));

/** `12 changes since yesterday 14:05 UTC`. */
export const changed = (count: number, { begin, end }: Period) =>
  `${count === 0 ? 'no change' : counted(count, 'change')} since ${relative(begin, end)}`;

/** The changes of names in a table, the newest last. */
export function changeTable(all: Change[], limit: number, output: Output): string {
  const rows = all.slice(-limit).map(({ at, change, name, service, target }) => {
    return [minutes(at).replace(/ UTC$/, ''), change, name ?? '', service, loadBalancer(target)];
  });
  const text = table(['WHEN (UTC)', 'CHANGE', 'NAME', 'SERVICE', 'LEADS TO'], rows, output);
  return [...earlier(all.length, limit), text].join('\n');
}

const earlier = (count: number, limit: number) =>
  count > limit ? [`  … and ${count - limit} earlier; add --all to see them`] : [];

/** `3 services had problems (2 conflict, 1 failed)`. A service may have had several. */
export function countedProblems(all: Change[]): string {
  const byStatus = new Map<Status, Set<string>>();
  for (const { change, arn } of all) byStatus.set(change, (byStatus.get(change) ?? new Set()).add(arn));
  const counts = [...byStatus].map(([status, arns]) => `${arns.size} ${status}`).join(', ');
  return `${counted(new Set(all.map(({ arn }) => arn)).size, 'service')} had problems (${counts})`;
}

/** Who has the name, or which names the service has. */
export function holders(all: Change[], subject: Subject, period: Period, output: Output): string {
  const begin = relative(period.begin, period.end);
  const known = holdings(all);
  if ('name' in subject) {
    const { name } = subject;
    const theirs = known.filter((one) => one.name === name);
    if (theirs.length === 0) return wrap(`${name}: no change since ${begin}`, 0, output);
    const texts = theirs.map((one) => {
      const place = theirs.length > 1 && one.zone !== null ? ` in the zone ${one.zone}` : '';
      if (one.service === null) return `${name}: nobody has it${place}${since(one, begin)}`;
      return `${name} leads to ${one.target ?? 'the load balancer'} for ${one.service}${place}${since(one, begin)}`;
    });
    return texts.map((text) => wrap(text, 0, output)).join('\n');
  }
  const { service } = subject;
  const own = known.filter((one) => one.service === service);
  if (own.length > 0) {
    const texts = own.map((one) => `${service} has ${one.name}${since(one, begin)}`);
    return texts.map((text) => wrap(text, 0, output)).join('\n');
  }
  const former = known.filter((one) => one.service === null).at(-1);
  const text = former === undefined ? `no change since ${begin}` : `no name${since(former, begin)}`;
  return wrap(`${service}: ${text}`, 0, output);
}

const since = (one: Holding, begin: string) =>
  one.since === null ? ` since before ${begin}` : ` since ${minutes(one.since)}`;

/** Several lines of the log with the same text. */
interface Entry {
  first: Change;
  last: Change;
  count: number;
}

/** Each full pass repeats the problems of a service, so consecutive ones become one entry. */
export function entries(all: Change[]): Entry[] {
  const found: Entry[] = [];
  const latest = new Map<string, Entry>();
  for (const one of all) {
    const before = latest.get(one.arn);
    const same = (['change', 'name', 'zone', 'reason'] as const).every((key) => before?.first[key] === one[key]);
    if (before !== undefined && same && !isChange({ status: one.change })) {
      before.last = one;
      before.count += 1;
    } else {
      const entry = { first: one, last: one, count: 1 };
      latest.set(one.arn, entry);
      found.push(entry);
    }
  }
  return found;
}

/** Each change as a sentence with its time and its reason, the newest last. */
export function story(all: Change[], limit: number, output: Output): string {
  const found = entries(all);
  const lines = found.slice(-limit).map((entry): Line => {
    const reason = entry.first.reason === null ? '' : ` ${sentence(entry.first.reason)}`;
    return [`  ${minutes(entry.first.at)}`, `${describe(entry)}.${reason}`];
  });
  return [...earlier(found.length, limit), layOut(lines, output)].join('\n');
}

function describe({ first, last, count }: Entry): string {
  const { change, name, service, target } = first;
  const named = name ?? 'its name';
  const balancer = target === null ? undefined : `the load balancer ${loadBalancer(target)}`;
  const leads = balancer === undefined ? '' : `, which leads to ${balancer}`;
  const times = count === 1 ? '' : `, ${count} times until ${minutes(last.at)}`;
  if (change === 'adopted') return `${service} adopted the record of ${named}${leads}`;
  if (isNew(first)) return `${service} got ${named}${leads}`;
  if (change === 'updated') {
    return `The record of ${service} at ${named} changed${balancer === undefined ? '' : `. It leads to ${balancer}`}`;
  }
  if (change === 'deregistered') return `${service} lost ${named}`;
  if (change === 'conflict') return `${service} did not get ${named} (conflict${times})`;
  return `${service} has the status ${change}${name === null ? '' : ` for ${name}`}${times}`;
}

/** `wait`: returns when a service or a name is registered. A gate in a pipeline. */
import { Resolver } from 'node:dns/promises';
import type { Discovery } from './discovery.js';
import { type Output, counted, sentence, wrap } from './output.js';
import { type Service, services } from './report.js';
import { serviceOf } from './subject.js';

export interface WaitOptions {
  timeoutSeconds: number;
  /** Whether this machine's DNS resolver has to find the name, too. */
  dns: boolean;
}

/** The time between two attempts. Each is a dry run, which reads the service, its load balancers and its name. */
const PAUSE_MS = 3_000;
/** Nobody knows which service has a name, so all of them are read. */
const PAUSE_ALL_MS = 10_000;

async function resolves(name: string): Promise<boolean> {
  try {
    return (await new Resolver().resolve(name)).length > 0;
  } catch {
    return false;
  }
}

/** Waiting does not help: somebody has to change the service. */
const IS_FINAL = new Set(['invalid', 'rejected']);

/** Waits until `subject`, a name or `cluster/service`, is registered. */
export async function wait(
  discovery: Discovery,
  subject: string,
  { timeoutSeconds, dns }: WaitOptions,
  output: Output,
): Promise<number> {
  const one = serviceOf(subject);
  const wanted = subject.replace(/\.$/, '').toLowerCase();
  const end = Date.now() + timeoutSeconds * 1_000;
  let last = `${discovery.environment} has no such name.`;
  for (;;) {
    const answer = await discovery.invoke({ reconcile: one ?? 'all', dryRun: true });
    const all = services(answer);
    const found: Service | undefined = one === undefined ? all.find(({ name }) => name === wanted) : all[0];
    if (found?.status === 'unchanged' && found.name !== null) {
      if (!dns || (await resolves(found.name))) {
        const target = found.target ?? 'its load balancer';
        output.write(`${wrap(`${found.name} leads to ${target} (${found.service})`, 0, output)}\n`);
        return 0;
      }
      last = `${found.name} is registered, but this machine's DNS resolver does not find it.`;
    } else if (found !== undefined) {
      last = `${found.service} has the status ${found.status}${found.reason === null ? '.' : `: ${sentence(found.reason)}`}`;
      if (IS_FINAL.has(found.status)) break;
    } else if (answer.readErrors[0] !== undefined) {
      last = sentence(answer.readErrors[0]);
    }
    const pause = one === undefined ? PAUSE_ALL_MS : PAUSE_MS;
    if (Date.now() + pause > end) {
      last = `${subject} was not registered within ${counted(timeoutSeconds, 'second')}. ${last}`;
      break;
    }
    await output.sleep(pause);
  }
  output.note(`${wrap(last, 0, output)}\n`);
  return 1;
}

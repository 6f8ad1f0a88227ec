/** `wait`: returns when a service or a name is registered. A gate in a pipeline. */
import { Resolver } from 'node:dns/promises';
import { type Discovery, HandlerError } from './discovery.js';
import { isTransient } from './failure.js';
import { type Output, counted, sentence, wrap } from './output.js';
import { type Answer, type Service, isChange, isGone, isRegistered, services } from './report.js';
import { OBSERVES } from './status.js';
import { type Subject, findService, parseSubject, reconcileOf } from './subject.js';

export interface WaitOptions {
  timeoutSeconds: number;
  /** The IP address of a DNS resolver that has to find the name, too, or `true` for this machine's own one. */
  dns: string | boolean;
}

/** The time between two attempts. Each is a dry run, which reads the service, its load balancers and its name. */
const PAUSE_MS = 3_000;
/** As long as nobody knows which service has a name, all of them are read. */
const PAUSE_ALL_MS = 15_000;

/** An attempt may take longer than the time that is left, but not much. */
const SHORTEST_ATTEMPT_MS = 30_000;

/** Whether a DNS resolver finds the name. One that knows only the zone answers with the CNAME alone. */
async function resolves(name: string, server: string | true): Promise<boolean> {
  const resolver = new Resolver();
  if (server !== true) resolver.setServers([server]);
  try {
    return (
      (await Promise.any([resolver.resolve4(name), resolver.resolve6(name), resolver.resolveCname(name)])).length > 0
    );
  } catch {
    return false;
  }
}

/** Waiting does not help: somebody has to change the service. */
const IS_FINAL = new Set(['invalid', 'ignored', 'rejected']);

/** Why the service has no name yet. */
function lastReason(found: Service | undefined, subject: string, answer: Answer): string {
  if (found === undefined) return sentence(answer.readErrors[0] ?? `no service has or should have ${subject}`);
  if (isGone(found)) return `${found.service}: ${sentence(found.reason ?? 'ECS does not know it')}`;
  if (isChange(found)) return `The handler has not made the change of ${found.service} yet (${found.status}).`;
  return `${found.service} has the status ${found.status}${found.reason === null ? '.' : `: ${sentence(found.reason)}`}`;
}

/** Waits until `text`, a name or a service, is registered. */
export async function wait(
  discovery: Discovery,
  text: string,
  { timeoutSeconds, dns }: WaitOptions,
  output: Output,
): Promise<number> {
  const wanted = parseSubject(text);
  /** As soon as the service of a name is known, only that one is read. */
  let subject: Subject = wanted;
  const end = Date.now() + timeoutSeconds * 1_000;
  let last = '';
  for (;;) {
    try {
      const timeout = Math.max(end - Date.now(), SHORTEST_ATTEMPT_MS);
      const answer = await discovery.invoke({ reconcile: reconcileOf(subject), dryRun: true }, timeout);
      const found = findService(services(answer), subject);
      if (found !== undefined && isRegistered(found) && (!('name' in wanted) || found.name === wanted.name)) {
        if (dns === false || (await resolves(found.name ?? '', dns))) {
          const target = found.target ?? 'its load balancer';
          output.write(`${wrap(`${found.name ?? ''} leads to ${target} (${found.service})`, 0, output)}\n`);
          return 0;
        }
        const resolver = dns === true ? "this machine's DNS resolver" : `the DNS resolver at ${dns}`;
        last = `${found.name ?? ''} is registered, but ${resolver} does not find it.`;
      } else {
        last = lastReason(found, text, answer);
        if (answer.observed) {
          last = `${last} ${OBSERVES}`;
          break;
        }
        if (found !== undefined && IS_FINAL.has(found.status)) break;
      }
      if ('name' in wanted) {
        subject = found === undefined || found.status === 'conflict' ? wanted : parseSubject(found.service);
      }
    } catch (error) {
      if (!isTransient(error) && !(error instanceof HandlerError)) throw error;
      last = sentence(error instanceof Error ? error.message : String(error));
    }
    const pause = 'name' in subject ? PAUSE_ALL_MS : PAUSE_MS;
    if (Date.now() + pause > end) {
      last = `${text} was not registered within ${counted(timeoutSeconds, 'second')}. ${last}`;
      break;
    }
    await output.sleep(pause);
  }
  output.note(`${wrap(last, 0, output)}\n`);
  return 1;
}

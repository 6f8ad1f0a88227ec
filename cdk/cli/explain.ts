/** `explain`: everything about one name or service. */
import type { Discovery } from './discovery.js';
import { Failure } from './failure.js';
import { type Output, sentence, showing, wrap } from './output.js';
import { balancers, ecsService, groupsOf, records } from './reads.js';
import { type Answer, type Service, isGone, isTrouble, services } from './report.js';
import { markerText, nextStep, story, title } from './story.js';
import { findService, parseSubject, reconcileOf } from './subject.js';

/** Everything about `text`, a name or a service. Returns 0 if it has its name, or has none on purpose. */
export async function explain(
  discovery: Discovery,
  text: string,
  { json }: { json: boolean },
  output: Output,
): Promise<number> {
  const subject = parseSubject(text);
  const command = { reconcile: reconcileOf(subject), dryRun: true } as const;
  const answer = await showing(`Reading ${text}`, output, discovery.invoke(command));
  const all = services(answer);
  const first = findService(all, subject);
  if (first === undefined) throw new Failure(unknown(discovery, text, answer));
  const exitStatus = isTrouble(first) || isGone(first) ? 1 : 0;
  const config = discovery.config();
  const [ecs, found, marker] = await Promise.all([
    ecsService(config, first.arn),
    first.name === null || first.zone === null ? undefined : records(config, first.zone, first.name),
    first.name === null || first.zone === null ? undefined : records(config, first.zone, `_discovery.${first.name}`),
  ]);
  const isContested = marker !== undefined && 'value' in marker && markerText(marker.value).endsWith(',contested');
  const isSearched = !('name' in subject) && (isContested || first.status === 'conflict');
  const others = isSearched
    ? await rivals(discovery, first, output)
    : all.filter(({ arn, name }) => arn !== first.arn && name !== null && name === first.name);
  const elb = await balancers(config, 'value' in ecs ? groupsOf(ecs.value) : []);
  if (json) {
    const document = {
      ...first,
      rivals: others,
      ecs,
      loadBalancers: elb,
      records: found ?? null,
      marker: marker ?? null,
    };
    output.write(`${JSON.stringify(document, null, 2)}\n`);
    return exitStatus;
  }
  output.write(
    `${title(first, output)}\n\n${story({ service: first, ecs, elb, records: found, marker, rivals: others }, output)}\n`,
  );
  const next = nextStep(first, answer, discovery);
  if (next !== undefined) {
    output.write(`\n${wrap(next.text, 0, output)}\n${next.command === undefined ? '' : `  ${next.command}\n`}`);
  }
  return exitStatus;
}

/** Other services with the same name. A run for one service does not report them. */
async function rivals(discovery: Discovery, first: Service, output: Output): Promise<Service[]> {
  const command = { reconcile: 'all', dryRun: true } as const;
  const all = await showing('Looking for other services of the name', output, discovery.invoke(command));
  return services(all).filter(({ arn, name }) => arn !== first.arn && name === first.name);
}

/** Why an answer has no service of a name. */
function unknown(discovery: Discovery, text: string, { readErrors, fullPass, outcomes }: Answer): string {
  const { environment } = discovery;
  if (readErrors[0] !== undefined) return `${environment} could not be read completely: ${readErrors[0]}`;
  const name = text.replace(/\.$/, '').toLowerCase();
  const marker = fullPass?.unreadableMarkers.find((one) => one.name.replace(/\.$/, '') === name);
  if (marker !== undefined) return `The marker of ${name} cannot be read, so its record stays: ${marker.reason}`;
  const mention = new RegExp(`(^|[\\s,])${name.replace(/[^\w-]/g, '\\$&')}($|[\\s,;])`);
  const keeper = outcomes.find(({ reason }) => reason !== null && mention.test(reason));
  if (keeper?.reason != null) return `${sentence(`${keeper.service} has another name`)} ${sentence(keeper.reason)}`;
  return `No service of ${environment} has or should have ${text}. To see all services:\n  ${discovery.suggest('status', '--all')}`;
}

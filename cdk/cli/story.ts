/** The text of `explain`: the parts of a name or service, and the next step. */
import type { ResourceRecordSet } from '@aws-sdk/client-route-53';
import pc from 'picocolors';
import type { Discovery } from './discovery.js';
import { type Line, type Output, layOut, sentence, utc, wrap } from './output.js';
import { type Balancer, type EcsService, type Read, type Route, accepts, groupsOf } from './reads.js';
import { type Answer, type Service, type Status, isChange, isGone, isRegistered } from './report.js';
import { OBSERVES } from './status.js';

/** Everything that was read about a service. */
export interface Parts {
  service: Service;
  ecs: Read<EcsService | null>;
  elb: Read<Balancer[]>;
  /** The record sets at the name. `undefined` if there is no name. */
  records: Read<ResourceRecordSet[]> | undefined;
  /** The record sets at the name of the marker. `undefined` if there is no name. */
  marker: Read<ResourceRecordSet[]> | undefined;
  /** Other services with the same name. */
  rivals: Service[];
}

/** The next step for somebody. A command has a line of its own, so that it can be copied. */
export function nextStep(
  service: Service,
  answer: Answer,
  discovery: Discovery,
): { text: string; command?: string } | undefined {
  const { status, reason } = service;
  if (isGone(service)) {
    return {
      text: 'Check the names of the service and of its cluster. To see all services:',
      command: discovery.suggest('status', '--all'),
    };
  }
  if (isChange(service)) {
    if (answer.observed) return { text: OBSERVES };
    return {
      text:
        'The next event of the service or the next full pass makes this change. If the change is still missing after ' +
        'that, a full pass shows why:',
      command: discovery.suggest('apply'),
    };
  }
  if (status === 'refused') {
    return {
      text: 'Check that the deletions are intended. This shows them, and asks:',
      command: discovery.suggest('apply', '--override-delete-limit'),
    };
  }
  const text = status === 'ignored' ? ignoredNext(reason) : NEXT[status];
  return text === undefined ? undefined : { text };
}

const NEXT: Partial<Record<Status, string>> = {
  conflict:
    'Give one of the two another name with the tag discovery:name, or delete the other service or record. ' +
    'The name then passes to this service.',
  invalid: 'Correct the tag or the name of the service. The handler reads it again at once.',
  waiting: 'If nothing is being deployed or created, check the load balancer and the target group of the service.',
  rejected: "Route 53 does not accept the record. Correct it as Route 53's message says, or choose another name.",
  failed: 'The handler tries again. If the error stays, repair its cause.',
};

/** The name in bold, and below it the outcome. */
export function title(service: Service, output: Output): string {
  const { name, reason } = service;
  const head = pc.createColors(output.colors).bold(name ?? service.service);
  const said = isRegistered(service) ? 'registered, and in sync' : isGone(service) ? 'gone' : service.status;
  const text = reason === null ? `${said}.` : `${said}: ${sentence(reason)}`;
  return `${head}\n${wrap(text, 2, output)}`;
}

/** A line for each part. */
export function story({ service, ecs, elb, records, marker, rivals }: Parts, output: Output): string {
  const lines: Line[] = [['Service', describeService(service, ecs)]];
  const references = 'value' in ecs ? (ecs.value?.loadBalancers ?? []) : [];
  const classic = references.flatMap(({ loadBalancerName }) => loadBalancerName ?? []);
  if (classic.length > 0) lines.push(['Load balancer', `${classic.join(', ')}: classic`]);
  else lines.push(...describeBalancers(elb, service, 'value' in ecs ? groupsOf(ecs.value) : []));
  if (service.zone !== null) lines.push(['Zone', service.zone]);
  if (records !== undefined) lines.push(['Record', describeRecords(records)]);
  if (marker !== undefined) lines.push(['Marker', describeMarker(marker)]);
  for (const { service, status, reason } of rivals) {
    if (status === 'unchanged') lines.push(['Held', `by ${service}`]);
    else lines.push(['Also wanted', `by ${service}, ${status}${reason === null ? '' : `: ${sentence(reason)}`}`]);
  }
  return layOut(lines, output);
}

function describeService({ service }: Service, ecs: Parts['ecs']): string {
  if ('error' in ecs) return `${service}\nnot read: ${ecs.error}`;
  const { value } = ecs;
  if (value === null) return `${service}\nECS does not know it`;
  const deployments = value.deployments?.map(({ status = '', rolloutState }) =>
    `${status} ${rolloutState ?? ''}`.trim(),
  );
  const tags = value.tags
    ?.filter(({ key }) => key?.startsWith('discovery:'))
    .map(({ key, value }) => `${key ?? ''}=${value ?? ''}`);
  const created = value.createdAt === undefined ? 'an unknown time' : utc(value.createdAt);
  return [
    `${service}, ${value.status ?? 'without a status'} since ${created}, ` +
      `${value.runningCount ?? 0} of ${value.desiredCount ?? 0} tasks`,
    ...(deployments?.length ? [`deployments: ${deployments.join(', ')}`] : []),
    ...(tags?.length ? [`tags: ${tags.join(', ')}`] : []),
  ].join('\n');
}

function describeBalancers(elb: Read<Balancer[]>, { name }: Service, groups: string[]): Line[] {
  if (groups.length === 0) return [['Target group', 'none']];
  const short = groups.map((group) => group.split('/')[1] ?? group);
  const lines: Line[] = [[groups.length === 1 ? 'Target group' : 'Target groups', short.join(', ')]];
  if ('error' in elb) return [...lines, ['Load balancer', `not read: ${elb.error}`]];
  if (elb.value.length === 0) return [...lines, ['Load balancer', 'none: the target group has no load balancer']];
  for (const { balancer, ports } of elb.value) {
    const { LoadBalancerName = '', Type = '', Scheme = '', State, VpcId = '', DNSName = '' } = balancer;
    lines.push([
      'Load balancer',
      `${LoadBalancerName}: ${Type}, ${Scheme}, ${State?.Code ?? ''}, in ${VpcId}\n${DNSName}`,
    ]);
    lines.push(['Listeners', describePorts(ports, name)]);
  }
  return lines;
}

function describePorts(ports: Balancer['ports'], name: string | null): string {
  if ('error' in ports) return `not read: ${ports.error}`;
  if (ports.value.length === 0) return 'none leads to the target group';
  const texts = ports.value.flatMap(({ name: port, rules }) => {
    const matching = rules.filter((rule) => name === null || accepts(rule, name));
    const plain = matching.find(({ others, hasRegex }) => others.length === 0 && !hasRegex);
    const shown = plain ?? matching[0] ?? rules[0];
    if (shown === undefined) return [];
    const warning = matching.length === 0 && name !== null ? `, so not for ${name}: add it to the rule` : '';
    return [`${port} for ${describeRule(shown)}${warning}`];
  });
  return texts.join('\n');
}

function describeRule({ hosts, hasRegex, others }: Route): string {
  const names = hosts.filter((list) => list.length > 0).map((list) => list.join(', '));
  const regex = hasRegex ? ['hosts that match a regular expression'] : [];
  const all = [...names, ...regex];
  const text = all.length === 0 ? 'any host name' : all.join(' and ');
  return others.length === 0 ? text : `${text}, with conditions on ${others.join(', ')}`;
}

function value({ AliasTarget, ResourceRecords = [], TTL }: ResourceRecordSet): string {
  if (AliasTarget?.DNSName !== undefined) return `alias of ${AliasTarget.DNSName.replace(/\.$/, '')}`;
  const values = ResourceRecords.map(({ Value }) => Value?.replace(/\.$/, '') ?? '').join(' ');
  return `${values}, TTL ${TTL ?? 0} s`;
}

function describeRecords(found: Read<ResourceRecordSet[]>): string {
  if ('error' in found) return `not read: ${found.error}`;
  if (found.value.length === 0) return 'none';
  return found.value.map((record) => `${record.Type ?? ''} ${value(record)}`).join('\n');
}

/** The handler's own text among the values at a marker's name. */
export function markerText(found: ResourceRecordSet[]): string {
  const texts = found.flatMap(({ ResourceRecords = [] }) => ResourceRecords.map(({ Value = '' }) => Value));
  return texts.map((text) => text.replaceAll(/" ?"|"/g, '')).find((text) => text.startsWith('heritage=ecs-')) ?? '';
}

function describeMarker(found: Read<ResourceRecordSet[]>): string {
  if ('error' in found) return `not read: ${found.error}`;
  const marker = markerText(found.value);
  if (marker === '') return found.value.length === 0 ? 'none' : 'none, but there are records of others at its name';
  const field = (key: string) => new RegExp(`,${key}=([^,]*)`).exec(marker)?.[1] ?? '?';
  const contested = marker.endsWith(',contested') ? '; another service should have the name, too' : '';
  const owner = field('service').split(':service/').at(-1) ?? '?';
  return `environment ${field('environment')}, service ${owner}${contested}`;
}

/** Services without a name have various reasons, so each needs another step. */
function ignoredNext(reason: string | null): string {
  if (reason?.includes('has no load balancer')) {
    return (
      'To get a name, create the service with a target group of a load balancer. ' +
      'That of an ECS gateway accepts only the host names that ECS made.'
    );
  }
  if (reason?.includes('discovery:enabled')) {
    return 'The tag discovery:enabled with the value true registers the service.';
  }
  return 'The service has no name on purpose. If it should have one, remove the cause that is named above.';
}

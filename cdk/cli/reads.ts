/** The reads of `explain` besides the handler's answer. A part that fails leaves the others. */
import { DescribeServicesCommand, ECSClient, type Service as EcsService } from '@aws-sdk/client-ecs';
import {
  DescribeLoadBalancersCommand,
  DescribeTargetGroupsCommand,
  ElasticLoadBalancingV2Client,
  type Listener,
  type LoadBalancer,
  type Rule,
  paginateDescribeListeners,
  paginateDescribeRules,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { ListResourceRecordSetsCommand, type ResourceRecordSet, Route53Client } from '@aws-sdk/client-route-53';
import { printable } from './printable.js';

export type { EcsService };

/** A part that was read, or the error in its place. */
export type Read<T> = { value: T } | { error: string };

/** A listener of a load balancer, and the requests for which it leads to the service. */
export interface Port {
  /** For example `HTTP:80`. */
  name: string;
  rules: Route[];
}

/** The conditions of a rule that leads to the service. */
export interface Route {
  /** Lists of host names, one of each list has to match. Without a list, any host name does. */
  hosts: string[][];
  /** Whether the rule has regular expressions for the host name, which the tool does not evaluate. */
  hasRegex: boolean;
  /** Conditions on something else than the host name, such as `path-pattern`. */
  others: string[];
}

export interface Balancer {
  balancer: LoadBalancer;
  ports: Read<Port[]>;
}

/** The configuration of the SDK's clients. */
type Config = Record<string, string>;

/** Reads a part, so that its error stands for it. */
export async function read<T>(part: () => Promise<T>): Promise<Read<T>> {
  try {
    return { value: await part() };
  } catch (error) {
    return { error: printable(error instanceof Error ? `${error.name}: ${error.message}` : String(error)) };
  }
}

/** The service as ECS describes it, or `null` if ECS does not know it. */
export function ecsService(config: Config, arn: string): Promise<Read<EcsService | null>> {
  return read(async () => {
    const [cluster, service] = arn.split(':service/').at(-1)?.split('/') ?? [];
    const client = new ECSClient(config);
    const answer = await client.send(
      new DescribeServicesCommand({ cluster, services: [service ?? ''], include: ['TAGS'] }),
    );
    return answer.services?.[0] ?? null;
  });
}

/** The target groups of a service and of its task sets. */
export function groupsOf(service: EcsService | null): string[] {
  const sets = service?.taskSets?.flatMap(({ loadBalancers = [] }) => loadBalancers) ?? [];
  const all = [...(service?.loadBalancers ?? []), ...sets];
  return [...new Set(all.flatMap(({ targetGroupArn }) => (targetGroupArn === undefined ? [] : [targetGroupArn])))];
}

/** The load balancers of target groups, with the hosts for which their listeners lead to these groups. */
export function balancers(config: Config, groups: string[]): Promise<Read<Balancer[]>> {
  return read(async () => {
    if (groups.length === 0) return [];
    const client = new ElasticLoadBalancingV2Client(config);
    const { TargetGroups = [] } = await client.send(new DescribeTargetGroupsCommand({ TargetGroupArns: groups }));
    const arns = [...new Set(TargetGroups.flatMap(({ LoadBalancerArns = [] }) => LoadBalancerArns))];
    if (arns.length === 0) return [];
    const { LoadBalancers = [] } = await client.send(new DescribeLoadBalancersCommand({ LoadBalancerArns: arns }));
    return Promise.all(
      LoadBalancers.map(async (balancer) => ({
        balancer,
        ports: await read(() => ports(client, balancer.LoadBalancerArn ?? '', new Set(groups))),
      })),
    );
  });
}

async function ports(client: ElasticLoadBalancingV2Client, arn: string, groups: Set<string>): Promise<Port[]> {
  const listeners: Listener[] = [];
  for await (const page of paginateDescribeListeners({ client }, { LoadBalancerArn: arn })) {
    listeners.push(...(page.Listeners ?? []));
  }
  const all = listeners.map(async (listener) => {
    // The listeners of a network load balancer have no rules.
    if (!/^HTTPS?$/.test(listener.Protocol ?? '')) {
      return port(listener, [{ Actions: listener.DefaultActions }], groups);
    }
    const rules: Rule[] = [];
    for await (const page of paginateDescribeRules({ client }, { ListenerArn: listener.ListenerArn })) {
      rules.push(...(page.Rules ?? []));
    }
    return port(listener, rules, groups);
  });
  return (await Promise.all(all)).filter(({ rules }) => rules.length > 0);
}

/** The rules of a listener that lead to one of `groups`. */
function port(listener: Listener, rules: Rule[], groups: Set<string>): Port {
  const leads = ({ Actions = [] }: Rule) =>
    Actions.some(({ TargetGroupArn, ForwardConfig }) => {
      const weighted = ForwardConfig?.TargetGroups?.filter(({ Weight }) => Weight !== 0) ?? [];
      const all = weighted.length > 0 ? weighted.map((group) => group.TargetGroupArn) : [TargetGroupArn];
      return all.some((group) => group !== undefined && groups.has(group));
    });
  return {
    name: `${listener.Protocol ?? '?'}:${listener.Port ?? '?'}`,
    rules: rules.filter(leads).map(({ Conditions = [] }) => {
      const ofHost = Conditions.filter(({ Field }) => Field === 'host-header');
      return {
        hosts: ofHost.map(({ HostHeaderConfig, Values }) => HostHeaderConfig?.Values ?? Values ?? []),
        hasRegex: ofHost.some(({ HostHeaderConfig }) => (HostHeaderConfig?.RegexValues ?? []).length > 0),
        others: Conditions.flatMap(({ Field }) => (Field === undefined || Field === 'host-header' ? [] : [Field])),
      };
    }),
  };
}

/** Whether a rule leads requests for a host name to the service, apart from its other conditions. */
export function accepts({ hosts, hasRegex }: Route, name: string): boolean {
  return hasRegex || hosts.every((list) => list.some((pattern) => matchesHost(name, pattern)));
}

/** Whether a host name matches a pattern of a rule: `*` is any text, `?` any character. */
function matchesHost(name: string, pattern: string): boolean {
  const escaped = pattern.toLowerCase().replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`).test(name);
}

/** The record sets at a name. */
export function records(config: Config, zone: string, name: string): Promise<Read<ResourceRecordSet[]>> {
  return read(async () => {
    const client = new Route53Client(config);
    const answer = await client.send(
      new ListResourceRecordSetsCommand({ HostedZoneId: zone, StartRecordName: name, MaxItems: 10 }),
    );
    return (answer.ResourceRecordSets ?? []).filter((one) => one.Name?.replace(/\.$/, '') === name);
  });
}

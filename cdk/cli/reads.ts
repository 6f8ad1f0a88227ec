/** What `explain` reads from AWS besides the handler's answer. Each part says for itself when it cannot be read. */
import { DescribeServicesCommand, ECSClient, type Service as EcsService } from '@aws-sdk/client-ecs';
import {
  DescribeListenersCommand,
  DescribeLoadBalancersCommand,
  DescribeRulesCommand,
  DescribeTargetGroupsCommand,
  ElasticLoadBalancingV2Client,
  type Listener,
  type LoadBalancer,
  type Rule,
} from '@aws-sdk/client-elastic-load-balancing-v2';
import { ListResourceRecordSetsCommand, type ResourceRecordSet, Route53Client } from '@aws-sdk/client-route-53';

/** A part that was read, or the error in its place. */
export type Read<T> = { value: T } | { error: string };

/** A listener of a load balancer, and the host names for which it leads to the service. */
export interface Port {
  /** For example `HTTP:80`. */
  name: string;
  /** `undefined` if every host name leads to the service; empty if none does. */
  hosts: string[] | undefined;
}

export interface Balancer {
  balancer: LoadBalancer;
  ports: Read<Port[]>;
}

/** The configuration of the SDK's clients. */
export type Config = Record<string, string>;

async function read<T>(part: () => Promise<T>): Promise<Read<T>> {
  try {
    return { value: await part() };
  } catch (error) {
    return { error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
  }
}

/** The service as ECS describes it, or `undefined` if ECS does not know it. */
export function ecsService(config: Config, arn: string): Promise<Read<EcsService | undefined>> {
  return read(async () => {
    const [cluster, service] = arn.split(':service/').at(-1)?.split('/') ?? [];
    const client = new ECSClient(config);
    const answer = await client.send(new DescribeServicesCommand({ cluster, services: [service ?? ''] }));
    return answer.services?.[0];
  });
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
  const { Listeners = [] } = await client.send(new DescribeListenersCommand({ LoadBalancerArn: arn }));
  const all = await Promise.all(
    Listeners.map(async (listener) => {
      const { ListenerArn } = listener;
      const rules = async () => (await client.send(new DescribeRulesCommand({ ListenerArn }))).Rules ?? [];
      // The listeners of a network load balancer have no rules.
      const hasRules = /^HTTPS?$/.test(listener.Protocol ?? '');
      return port(listener, hasRules ? await rules() : [{ Actions: listener.DefaultActions ?? [] }], groups);
    }),
  );
  return all.filter(({ hosts }) => hosts === undefined || hosts.length > 0);
}

/** The hosts for which `rules` lead to one of `groups`. */
export function port(listener: Listener, rules: Rule[], groups: Set<string>): Port {
  const name = `${listener.Protocol ?? '?'}:${listener.Port ?? '?'}`;
  const leads = ({ Actions = [] }: Rule) =>
    Actions.some(({ TargetGroupArn, ForwardConfig }) => {
      const all = [TargetGroupArn, ...(ForwardConfig?.TargetGroups?.map((group) => group.TargetGroupArn) ?? [])];
      return all.some((group) => group !== undefined && groups.has(group));
    });
  const hosts = rules.filter(leads).map(({ Conditions = [] }) => {
    const conditions = Conditions.filter(({ Field }) => Field === 'host-header');
    if (conditions.length === 0) return undefined;
    return conditions.flatMap(({ HostHeaderConfig, Values }) => HostHeaderConfig?.Values ?? Values ?? []);
  });
  return { name, hosts: hosts.includes(undefined) ? undefined : hosts.flatMap((one) => one ?? []) };
}

/** Whether a host name matches a pattern of a rule: `*` is any text, `?` any character. */
export function matchesHost(name: string, pattern: string): boolean {
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

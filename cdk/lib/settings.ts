/** From the properties of the construct to its settings, which have the names and the rules of an environment's options. */
import { type Duration, Lazy, Stack, Token } from 'aws-cdk-lib';
import type { IHostedZone } from 'aws-cdk-lib/aws-route53';
import type { IConstruct } from 'constructs';
import { EnvironmentError, show } from './environment-error.js';
import { checkDiscovery, differ, type Discovery, type Place, type Problem } from './environment.js';
import type { EcsServiceDiscoveryProps } from './properties.js';

/** The property of each setting that has another name. */
const PROPERTIES: Record<string, string> = {
  vpcId: 'vpc',
  hostedZoneId: 'hostedZone',
  ttlSeconds: 'ttl',
  negativeTtlSeconds: 'negativeTtl',
  fullPassMinutes: 'fullPassInterval',
  logRetentionDays: 'logRetention',
  kmsKeyArn: 'encryptionKey',
  alarmTopicArn: 'alarmTopic',
};

/**
 * Validates the properties of a construct.
 *
 * @throws EnvironmentError with every invalid property
 */
export function parseProperties(construct: IConstruct, props: EcsServiceDiscoveryProps): Discovery {
  const wrong = wrongTypes(props);
  if (wrong.length > 0) throw EnvironmentError.ofProperties(construct.node.path, wrong.join('\n  '));
  const { account, region } = Stack.of(construct);
  const place = { account: known(account), region: known(region) };
  const settings = settingsOf(props);
  const problems = [...unknownProperties(props, settings), ...otherNames(props), ...otherPlaces(props, place)];
  return checkDiscovery(construct.node.path, place, props.environment, settings, problems, PROPERTIES);
}

/** All settings, so that the compiler reports a property that is missing here. */
function settingsOf(props: EcsServiceDiscoveryProps): Record<keyof Discovery | 'clusterPatterns', unknown> {
  return {
    vpcs: props.vpcs.map(({ vpc, zoneName, hostedZone, id }, index) => ({
      vpcId: lookedUp(vpc.vpcId),
      zoneName: zoneName ?? nameOf(hostedZone),
      hostedZoneId: hostedZone && lookedUp(hostedZone.hostedZoneId),
      id: id ?? (PLACEHOLDER.test(hostedZone?.hostedZoneId ?? vpc.vpcId) ? `lookup-${index}` : undefined),
    })),
    clusters: props.clusters?.map(({ clusterName }) => clusterName) ?? [],
    clusterPatterns: props.clusterPatterns ?? (props.clusters === undefined ? ['*'] : []),
    nameTemplate: props.nameTemplate,
    record: props.record,
    ttlSeconds: amount(props.ttl, (ttl) => ttl.toSeconds({ integral: false })),
    negativeTtlSeconds: amount(props.negativeTtl, (ttl) => ttl.toSeconds({ integral: false })),
    deleteLimit: props.deleteLimit,
    adopt: props.adopt,
    register: props.register,
    mode: props.mode,
    formerNames: props.formerNames,
    trail: props.trail,
    delivery: props.delivery,
    fullPassMinutes: amount(props.fullPassInterval, (interval) => interval.toMinutes({ integral: false })),
    architecture: props.architecture?.name,
    logRetentionDays: props.logRetention,
    kmsKeyArn: props.encryptionKey?.keyArn,
    alarmTopicArn: props.alarmTopic?.topicArn,
    alarms: props.alarms,
    dashboard: props.dashboard,
    runbookUrl: props.runbookUrl,
    permissionsBoundary: props.permissionsBoundary?.managedPolicyArn,
    reservedConcurrency: props.reservedConcurrency,
    removalPolicy: props.removalPolicy,
    onDestroy: props.onDestroy,
  };
}

/**
 * What the CDK returns for a VPC, a zone or a parameter that it has not looked up yet. It synthesizes the app once with
 * these values, looks up what was missing, and synthesizes it again.
 */
const PLACEHOLDER = /^(vpc-12345|DUMMY|dummy-value-for-.*)$/;

/** A placeholder passes all checks like a value that is known only at deployment. */
const lookedUp = (value: string) => (PLACEHOLDER.test(value) ? Lazy.string({ produce: () => value }) : value);

const known = (value: string | undefined) => (Token.isUnresolved(value) ? undefined : value);

/** The amount of a time in a unit, which may be no whole number. */
function amount(time: Duration | undefined, inUnit: (time: Duration) => number): number | undefined {
  // The CDK does not convert a time that is known only at deployment.
  if (time?.isUnresolved() === true) return Token.asNumber(time);
  return time && inUnit(time);
}

/** The name of a hosted zone. The CDK throws an error if the app refers to the zone by its id only. */
function nameOf(zone: IHostedZone | undefined): string | undefined {
  try {
    return zone?.zoneName;
  } catch {
    return undefined;
  }
}

const hasField = (value: unknown, field: string) => typeof value === 'object' && value !== null && field in value;

/** Each property with a type of the CDK: what was expected, and a field by which its values are known. */
const TYPES: Record<string, [expected: string, field: string]> = {
  ttl: ['a Duration, like Duration.seconds(60)', 'toSeconds'],
  negativeTtl: ['a Duration, like Duration.seconds(5)', 'toSeconds'],
  fullPassInterval: ['a Duration, like Duration.minutes(15)', 'toSeconds'],
  architecture: ['Architecture.X86_64 or Architecture.ARM_64', 'dockerPlatform'],
  encryptionKey: ['a key, for example Key.fromKeyArn(…)', 'keyArn'],
  alarmTopic: ['a topic, for example Topic.fromTopicArn(…)', 'topicArn'],
  permissionsBoundary: ['a managed policy, for example ManagedPolicy.fromManagedPolicyName(…)', 'managedPolicyArn'],
};

/** What the compiler reports in TypeScript. In JavaScript, the properties would be ignored, or end in another error. */
function wrongTypes(props: EcsServiceDiscoveryProps): string[] {
  const problem = (path: string, expected: string, value: unknown) => {
    const isOther = typeof value === 'object' && value !== null && !Token.isUnresolved(value);
    return `properties.${path}: expected ${expected}; found ${isOther ? 'another object' : show(value)}`;
  };
  const given: Record<string, unknown> = { ...props };
  const found = Object.entries(TYPES).flatMap(([name, [expected, field]]) =>
    given[name] === undefined || hasField(given[name], field) ? [] : [problem(name, expected, given[name])],
  );
  // An alias has an ARN of its own, which is of no use in the policy of a role.
  if (hasField(props.encryptionKey, 'aliasName')) {
    found.push(problem('encryptionKey', 'a key instead of its alias', props.encryptionKey));
  }
  const { vpcs, clusters } = given;
  if (!Array.isArray(vpcs)) return [...found, problem('vpcs', 'a list of VPCs', vpcs)];
  for (const [index, one] of (vpcs as unknown[]).entries()) {
    const path = `vpcs[${index}]`;
    const { vpc, hostedZone, ...others } = (one ?? {}) as Record<string, unknown>;
    if (!hasField(vpc, 'vpcId')) found.push(problem(`${path}.vpc`, 'a VPC, for example Vpc.fromLookup(…)', vpc));
    if (hostedZone !== undefined && !hasField(hostedZone, 'hostedZoneId')) {
      const expected = 'a hosted zone, for example HostedZone.fromHostedZoneAttributes(…)';
      found.push(problem(`${path}.hostedZone`, expected, hostedZone));
    }
    const names = Object.keys(others).filter((name) => !['zoneName', 'id'].includes(name));
    if (names.length > 0) {
      const only = 'expected only the properties vpc, zoneName, hostedZone, id';
      found.push(`properties.${path}: ${only}; found the properties ${names.join(', ')}`);
    }
  }
  if (clusters === undefined) return found;
  if (!Array.isArray(clusters)) return [...found, problem('clusters', 'a list of clusters', clusters)];
  for (const [index, cluster] of (clusters as unknown[]).entries()) {
    if (hasField(cluster, 'clusterName')) continue;
    const expected = 'a cluster; patterns for names of clusters belong into clusterPatterns';
    found.push(problem(`clusters[${index}]`, expected, cluster));
  }
  return found;
}

/** The compiler does not find unknown properties in an object that has been assembled before. */
function unknownProperties(props: EcsServiceDiscoveryProps, settings: object): Problem[] {
  const names = Object.keys(settings).map((setting) => PROPERTIES[setting] ?? setting);
  const all = ['environment', ...names, 'handlerCode', 'buildHandler'];
  const unknown = Object.keys(props).filter((name) => !all.includes(name));
  if (unknown.length === 0) return [];
  return [[[], `expected only the properties ${all.join(', ')}`, `the properties ${unknown.join(', ')}`]];
}

function otherNames({ vpcs }: EcsServiceDiscoveryProps): Problem[] {
  return vpcs.flatMap(({ zoneName, hostedZone }, index): Problem[] => {
    const name = known(nameOf(hostedZone));
    if (!differ(name, zoneName)) return [];
    return [[['vpcs', index, 'zoneName'], `expected ${name}, the name of the hosted zone`]];
  });
}

/** The handler reads only the clusters of its own account and region, and Route 53 finds a VPC by its region. */
function otherPlaces({ vpcs, clusters = [] }: EcsServiceDiscoveryProps, { account, region }: Place): Problem[] {
  const inRegion = (env: { region: string }) => !differ(known(env.region), region);
  return [
    ...vpcs.flatMap(({ vpc }, index): Problem[] => {
      if (inRegion(vpc.env)) return [];
      return [[['vpcs', index, 'vpcId'], `expected a VPC in ${region}, the region of the stack`, vpc.env.region]];
    }),
    ...clusters.flatMap(({ env }, index): Problem[] => {
      if (inRegion(env) && !differ(known(env.account), account)) return [];
      const expected = `expected a cluster in the account and the region of the stack`;
      return [[['clusters', index], expected, `one in ${env.region} of the account ${env.account}`]];
    }),
  ];
}

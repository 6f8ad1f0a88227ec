/** From the properties of the construct to its settings, which have the names and the rules of an environment's options. */
import { type Duration, Stack, Token } from 'aws-cdk-lib';
import type { IHostedZone } from 'aws-cdk-lib/aws-route53';
import type { IConstruct } from 'constructs';
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
  const { account, region } = Stack.of(construct);
  const place = { account: known(account), region: known(region) };
  const settings = settingsOf(props);
  const problems = [...unknownProperties(props, settings), ...otherNames(props), ...otherPlaces(props, place)];
  return checkDiscovery(construct.node.path, place, props.environment, settings, problems, PROPERTIES);
}

/** All settings, so that the compiler reports a property that is missing here. */
function settingsOf(props: EcsServiceDiscoveryProps): Record<keyof Discovery | 'clusterPatterns', unknown> {
  return {
    vpcs: props.vpcs.map(({ vpc, zoneName, hostedZone, id }) => ({
      vpcId: vpc.vpcId,
      zoneName: zoneName ?? nameOf(hostedZone),
      hostedZoneId: hostedZone?.hostedZoneId,
      id,
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

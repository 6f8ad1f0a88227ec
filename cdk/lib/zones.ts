import { type RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
import { CfnHostedZone, HostedZone } from 'aws-cdk-lib/aws-route53';
import { Construct } from 'constructs';
import type { EnvironmentVpc } from './options.js';
import type { DiscoveryVpc } from './properties.js';

export interface VpcZonesProps {
  readonly environment: string;
  readonly vpcs: readonly EnvironmentVpc[];
  /** Whether created zones remain when the stack is destroyed. */
  readonly removalPolicy: RemovalPolicy;
}

/** The zone of a VPC. */
export interface VpcZone {
  /** Does not depend on the position of the VPC in the list, so that a new VPC replaces no zone. */
  readonly id: string;
  readonly vpcId: string;
  readonly hostedZoneId: string;
  readonly name: string;
  /** Whether the stack creates the zone. */
  readonly isCreated: boolean;
}

/** Errors for given zones of the app that are public. Deployments check all others. */
export function publicZones(vpcs: readonly DiscoveryVpc[]): string[] {
  return vpcs.flatMap(({ hostedZone }, index) => {
    const made = hostedZone instanceof HostedZone ? hostedZone.node.defaultChild : undefined;
    if (!(made instanceof CfnHostedZone) || Stack.of(made).resolve(made.vpcs) !== undefined) return [];
    return [
      `vpcs[${index}].hostedZone: expected a private hosted zone, because everybody could read the names in a public one; found ${made.node.path}`,
    ];
  });
}

/** A private hosted zone for each VPC: the given one, or a new one. */
export class VpcZones extends Construct {
  public readonly zones: VpcZone[];

  constructor(scope: Construct, id: string, props: VpcZonesProps) {
    super(scope, id);
    this.zones = props.vpcs.map((vpc, index) => {
      const { vpcId, zoneName, hostedZoneId } = vpc;
      // A construct id cannot contain a token, so a chosen id replaces it. A single VPC needs none.
      const known = hostedZoneId ?? vpcId;
      const by = Token.isUnresolved(known) ? (vpc.id ?? String(index)) : known;
      const zone = `${zoneName}-${by}`;
      return {
        id: zone,
        vpcId,
        hostedZoneId: hostedZoneId ?? this.create(zone, vpc, props),
        name: zoneName,
        isCreated: hostedZoneId === undefined,
      };
    });
  }

  /** Each zone once, even if several VPCs share it. */
  get distinct(): VpcZone[] {
    return this.zones.filter(
      (zone, index) => this.zones.findIndex((other) => other.hostedZoneId === zone.hostedZoneId) === index,
    );
  }

  private create(id: string, { vpcId, zoneName }: EnvironmentVpc, props: VpcZonesProps): string {
    const zone = new CfnHostedZone(this, id, {
      name: zoneName,
      vpcs: [{ vpcId, vpcRegion: Stack.of(this).region }],
      hostedZoneConfig: { comment: `ECS services in ${vpcId}, environment ${props.environment}` },
    });
    zone.applyRemovalPolicy(props.removalPolicy);
    return zone.ref;
  }
}

import { type RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
import { CfnHostedZone } from 'aws-cdk-lib/aws-route53';
import { Construct } from 'constructs';
import type { EnvironmentVpc } from './environment.js';

export interface VpcZonesProps {
  readonly environment: string;
  readonly vpcs: readonly EnvironmentVpc[];
  /** What becomes of the zones that are made here with the stack. */
  readonly removalPolicy: RemovalPolicy;
}

/** The zone of a VPC. */
export interface VpcZone {
  /** The same as long as it is the same zone, whatever comes before it in the list. */
  readonly id: string;
  readonly vpcId: string;
  readonly hostedZoneId: string;
  readonly name: string;
}

/** A private hosted zone for each VPC: the one that was given, or one made for it. */
export class VpcZones extends Construct {
  public readonly zones: readonly VpcZone[];

  constructor(scope: Construct, id: string, props: VpcZonesProps) {
    super(scope, id);
    this.zones = props.vpcs.map((vpc, index) => {
      const { vpcId, zoneName, hostedZoneId } = vpc;
      // What only the deployment knows cannot be in an id; then its place in the list has to do.
      const by = hostedZoneId ?? vpcId;
      const zone = `${zoneName}-${Token.isUnresolved(by) ? String(index) : by}`;
      return { id: zone, vpcId, hostedZoneId: hostedZoneId ?? this.create(zone, vpc, props), name: zoneName };
    });
  }

  /** Each zone once, though several VPCs may share it. */
  get distinct(): readonly VpcZone[] {
    return this.zones.filter(
      (zone, index) => this.zones.findIndex((other) => other.hostedZoneId === zone.hostedZoneId) === index,
    );
  }

  private create(id: string, { vpcId, zoneName }: EnvironmentVpc, props: VpcZonesProps): string {
    const zone = new CfnHostedZone(this, id, {
      name: zoneName,
      vpcs: [{ vpcId, vpcRegion: Stack.of(this).region }],
      hostedZoneConfig: { comment: `Names of the ECS services in ${vpcId}, environment ${props.environment}` },
    });
    zone.applyRemovalPolicy(props.removalPolicy);
    return zone.ref;
  }
}

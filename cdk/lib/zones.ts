import { RemovalPolicy } from 'aws-cdk-lib';
import { CfnHostedZone } from 'aws-cdk-lib/aws-route53';
import { Construct } from 'constructs';
import type { EnvironmentVpc } from './environment.js';

export interface VpcZonesProps {
  readonly environment: string;
  readonly region: string;
  readonly vpcs: readonly EnvironmentVpc[];
  /** What becomes of the zones that are made here with the stack. */
  readonly removalPolicy: RemovalPolicy;
}

/** The zone of a VPC, as the handler's configuration has it. */
export interface VpcZone {
  readonly vpcId: string;
  readonly hostedZoneId: string;
  readonly name: string;
}

/** A private hosted zone for each VPC: the one that was given, or one made for it. */
export class VpcZones extends Construct {
  public readonly zones: readonly VpcZone[];

  constructor(scope: Construct, id: string, props: VpcZonesProps) {
    super(scope, id);
    this.zones = props.vpcs.map(({ vpcId, zoneName, hostedZoneId }) => ({
      vpcId,
      hostedZoneId: hostedZoneId ?? this.create(vpcId, zoneName, props),
      name: zoneName,
    }));
  }

  private create(vpcId: string, zoneName: string, props: VpcZonesProps): string {
    // By the VPC and the name, so that another VPC in the list does not replace this zone.
    const zone = new CfnHostedZone(this, `${zoneName}-${vpcId}`, {
      name: zoneName,
      vpcs: [{ vpcId, vpcRegion: props.region }],
      hostedZoneConfig: { comment: `Names of the ECS services in ${vpcId}, environment ${props.environment}` },
    });
    zone.applyRemovalPolicy(props.removalPolicy);
    return zone.ref;
  }
}

/** Service discovery in another app, in the same stack as the VPC and the cluster. */
import { App, CfnOutput, Stack, type StackProps } from 'aws-cdk-lib';
import { SubnetType, Vpc } from 'aws-cdk-lib/aws-ec2';
import { Cluster } from 'aws-cdk-lib/aws-ecs';
import { Topic } from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';
import { EcsServiceDiscovery, TrailSource } from '../lib/index.js';

export class ShopStack extends Stack {
  constructor(scope: Construct, id: string, props: StackProps) {
    super(scope, id, props);
    const vpc = new Vpc(this, 'Vpc', {
      natGateways: 0,
      subnetConfiguration: [{ name: 'inside', subnetType: SubnetType.PRIVATE_ISOLATED }],
    });
    const cluster = new Cluster(this, 'Cluster', { clusterName: 'shop', vpc });
    const oncall = new Topic(this, 'Oncall', { enforceSSL: true });

    const discovery = new EcsServiceDiscovery(this, 'Discovery', {
      environment: 'shop',
      vpcs: [{ vpc, zoneName: 'shop.internal' }],
      clusters: [cluster],
      trail: TrailSource.EXISTING,
      alarmTopic: oncall,
    });
    // What the full pass of the deployment did, like `212 unchanged, 1 conflict`. The CDK prints it.
    new CfnOutput(this, 'FullPass', { value: discovery.fullPassSummary });
  }
}

const app = new App();
new ShopStack(app, 'Shop', { env: { account: '111122223333', region: 'eu-west-1' } });

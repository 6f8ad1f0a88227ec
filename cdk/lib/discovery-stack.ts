import { CfnOutput, RemovalPolicy, Stack } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import type { Environment } from './environment.js';
import { Handler } from './handler.js';
import { ApiCallTrail } from './trail.js';
import { Triggers } from './triggers.js';
import { VpcZones } from './zones.js';

/** Service discovery for one environment. */
export class DiscoveryStack extends Stack {
  constructor(scope: Construct, name: string, environment: Environment) {
    const { account, region } = environment;
    super(scope, `EcsDiscovery-${name}`, {
      env: { account, region },
      description: `ECS service discovery on Route 53, environment ${name}`,
      tags: { 'ecs-discovery:environment': name },
    });
    const removalPolicy = environment.removalPolicy === 'destroy' ? RemovalPolicy.DESTROY : RemovalPolicy.RETAIN;

    if (environment.trail === 'create') {
      new ApiCallTrail(this, 'Trail', { removalPolicy });
    }
    const { zones } = new VpcZones(this, 'Zones', {
      environment: name,
      region,
      vpcs: environment.vpcs,
      removalPolicy,
    });
    const handler = new Handler(this, 'Handler', { name, environment, zones, removalPolicy });
    new Triggers(this, 'Triggers', {
      environment: name,
      handler: handler.function,
      sweepMinutes: environment.sweepMinutes,
    });

    new CfnOutput(this, 'FunctionName', {
      description: 'The handler; invoke it with {"reconcile":"all","dryRun":true} to see what it would do',
      value: handler.function.functionName,
    });
    new CfnOutput(this, 'LogGroupName', {
      description: 'One line for each name that changed or could not',
      value: handler.logGroup.logGroupName,
    });
    for (const zone of zones) {
      new CfnOutput(this, `Zone${zone.vpcId.replace(/\W/g, '')}`, {
        description: `The hosted zone ${zone.name} of ${zone.vpcId}`,
        value: zone.hostedZoneId,
      });
    }
  }
}

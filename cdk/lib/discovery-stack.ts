import { CfnOutput, CliCredentialsStackSynthesizer, DefaultStackSynthesizer, Stack } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { bound, EcsServiceDiscovery } from './ecs-service-discovery.js';
import type { Environment } from './environment.js';

/** Service discovery for one environment, in a stack of its own. */
export class DiscoveryStack extends Stack {
  constructor(scope: Construct, name: string, data: Environment) {
    const { account, region, bootstrapQualifier, bootstrapRoles, ...options } = data;
    const qualifier = bootstrapQualifier === undefined ? {} : { qualifier: bootstrapQualifier };
    super(scope, `EcsDiscovery-${name}`, {
      env: { account, region },
      description: `ECS service discovery on Route 53, environment ${name}`,
      tags: { 'ecs-discovery:environment': name },
      synthesizer: bootstrapRoles ? new DefaultStackSynthesizer(qualifier) : new CliCredentialsStackSynthesizer(qualifier),
    });
    // The CDK puts some roles of its own beside the construct.
    if (data.permissionsBoundary !== undefined) bound(this, data.permissionsBoundary);
    const discovery = new EcsServiceDiscovery(this, 'Discovery', { environment: name, ...options });

    new CfnOutput(this, 'FunctionName', {
      description: 'The handler; invoke it with {"reconcile":"all","dryRun":true} to see what it would do',
      value: discovery.function.functionName,
    });
    new CfnOutput(this, 'LogGroupName', {
      description: 'One line for each name that changed or could not',
      value: discovery.logGroup.logGroupName,
    });
    new CfnOutput(this, 'DeadLetterQueueArn', {
      description: 'Events that nobody could handle',
      value: discovery.deadLetterQueue.queueArn,
    });
    new CfnOutput(this, 'EventQueueArn', {
      description: 'Where to move them to be tried again',
      value: discovery.eventQueue.queueArn,
    });
    for (const zone of discovery.zones) {
      new CfnOutput(this, `Zone${zone.vpcId.replace(/\W/g, '')}`, {
        description: `The hosted zone ${zone.name} of ${zone.vpcId}`,
        value: zone.hostedZoneId,
      });
    }
  }
}

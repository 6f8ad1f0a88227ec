import { CfnOutput, CliCredentialsStackSynthesizer, DefaultStackSynthesizer, Stack } from 'aws-cdk-lib';
import type { Construct } from 'constructs';
import { bound, EcsServiceDiscovery } from './ecs-service-discovery.js';
import type { Environment } from './environment.js';

/** A stack with service discovery for one environment. */
export class DiscoveryStack extends Stack {
  constructor(scope: Construct, name: string, data: Environment, handlerCode?: string) {
    const { account, region, bootstrapQualifier, bootstrapRoles, ...options } = data;
    const qualifier = bootstrapQualifier === undefined ? {} : { qualifier: bootstrapQualifier };
    super(scope, `EcsDiscovery-${name}`, {
      env: { account, region },
      description: `ECS service discovery on Route 53, environment ${name}`,
      tags: { 'ecs-discovery:environment': name },
      synthesizer: bootstrapRoles
        ? new DefaultStackSynthesizer(qualifier)
        : new CliCredentialsStackSynthesizer(qualifier),
    });
    // The CDK adds some roles outside of the construct.
    if (data.permissionsBoundary !== undefined) bound(this, data.permissionsBoundary);
    const discovery = new EcsServiceDiscovery(this, 'Discovery', { environment: name, handlerCode, ...options });

    new CfnOutput(this, 'FunctionName', {
      description: 'The handler. Invoke it with {"reconcile":"all","dryRun":true} to see the changes of a full pass',
      value: discovery.function.functionName,
    });
    new CfnOutput(this, 'LogGroupName', {
      description: 'The log of the handler, with one line for each outcome',
      value: discovery.logGroup.logGroupName,
    });
    new CfnOutput(this, 'DeadLetterQueueArn', {
      description: 'The queue of events that could not be processed',
      value: discovery.deadLetterQueue.queueArn,
    });
    new CfnOutput(this, 'EventQueueArn', {
      description: 'The queue to which events from the dead-letter queue are moved for a retry',
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

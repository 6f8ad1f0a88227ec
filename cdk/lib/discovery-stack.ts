import { CfnOutput, CliCredentialsStackSynthesizer, DefaultStackSynthesizer, Stack } from 'aws-cdk-lib';
import { ManagedPolicy } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import {
  applyPermissionsBoundary,
  EcsServiceDiscovery,
  type EcsServiceDiscoveryProps,
} from './ecs-service-discovery.js';
import type { Environment } from './environment.js';
import { acknowledgeWildcards } from './operators.js';

type DiscoveryCode = Pick<EcsServiceDiscoveryProps, 'handlerCode' | 'buildHandler'>;

/** A stack with service discovery for one environment. */
export class DiscoveryStack extends Stack {
  constructor(scope: Construct, name: string, environment: Environment, code: DiscoveryCode = {}) {
    const { account, region, bootstrapQualifier, bootstrapRoles, terminationProtection, operatorPolicies, ...options } =
      environment;
    const qualifier = bootstrapQualifier === undefined ? {} : { qualifier: bootstrapQualifier };
    super(scope, `EcsDiscovery-${name}`, {
      env: { account, region },
      description: `ECS service discovery on Route 53, environment ${name}`,
      tags: { 'ecs-discovery:environment': name },
      terminationProtection: terminationProtection ?? options.removalPolicy === 'retain',
      synthesizer: bootstrapRoles
        ? new DefaultStackSynthesizer(qualifier)
        : new CliCredentialsStackSynthesizer(qualifier),
    });
    // The CDK creates some roles outside of the construct.
    if (options.permissionsBoundary !== undefined) applyPermissionsBoundary(this, options.permissionsBoundary);
    const discovery = new EcsServiceDiscovery(this, 'Discovery', { environment: name, ...code, ...options });

    new CfnOutput(this, 'FunctionName', {
      description: 'The handler. Invoke it with {"reconcile":"all","dryRun":true} to see the changes of a full pass',
      value: discovery.function.functionName,
    });
    new CfnOutput(this, 'FullPass', {
      description: 'What the full pass of the latest deployment did',
      value: discovery.fullPassSummary,
    });
    new CfnOutput(this, 'LogGroupName', {
      description: 'The log group of the handler, with one line for each outcome',
      value: discovery.logGroup.logGroupName,
    });
    new CfnOutput(this, 'DeadLetterQueueArn', {
      description: 'The dead-letter queue: events that could not be processed',
      value: discovery.deadLetterQueue.queueArn,
    });
    new CfnOutput(this, 'EventQueueArn', {
      description: 'The queue of events for the handler. To retry events, move them here from the dead-letter queue',
      value: discovery.eventQueue.queueArn,
    });
    if (operatorPolicies) {
      const policy = (id: string, description: string) => {
        const made = new ManagedPolicy(this, id, { description });
        acknowledgeWildcards(made, options.clusters);
        new CfnOutput(this, `${id}Arn`, { description, value: made.managedPolicyArn });
        return made;
      };
      discovery.grantRead(policy('ReadPolicy', `Commands of ecs-discovery that change nothing in ${name}`));
      discovery.grantOperate(policy('OperatePolicy', `All commands of ecs-discovery in ${name}`));
    }
    for (const zone of discovery.zones) {
      new CfnOutput(this, `Zone${zone.vpcId.replace(/\W/g, '')}`, {
        description: `The hosted zone ${zone.name} of ${zone.vpcId}`,
        value: zone.hostedZoneId,
      });
    }
  }
}

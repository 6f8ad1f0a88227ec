import {
  CfnOutput,
  CliCredentialsStackSynthesizer,
  DefaultStackSynthesizer,
  Duration,
  RemovalPolicy,
  Stack,
} from 'aws-cdk-lib';
import { Vpc } from 'aws-cdk-lib/aws-ec2';
import { ManagedPolicy, PermissionsBoundary } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { HostedZone } from 'aws-cdk-lib/aws-route53';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import { EcsServiceDiscovery } from './ecs-service-discovery.js';
import { acknowledgeWildcards } from './operators.js';
import type { DiscoveryEnvironment } from './options.js';
import type { EcsServiceDiscoveryProps, HandlerCodeProps } from './properties.js';

/** A stack with service discovery for one environment of `cdk.json`. */
export class ServiceDiscoveryStack extends Stack {
  /** The construct, for example to grant permissions or to make alarms of its metrics. */
  public readonly discovery: EcsServiceDiscovery;

  /**
   * @param name the name of the environment. The stack is `EcsDiscovery-<name>`
   * @param environment one of the environments that `parseEnvironments` returns
   * @param code the code of the handler. By default, it is that of the package; in a checkout, cargo-lambda builds it
   */
  constructor(scope: Construct, name: string, environment: DiscoveryEnvironment, code: HandlerCodeProps = {}) {
    const { account, region, bootstrapQualifier, bootstrapRoles, terminationProtection } = environment;
    const qualifier = bootstrapQualifier === undefined ? {} : { qualifier: bootstrapQualifier };
    super(scope, `EcsDiscovery-${name}`, {
      env: { account, region },
      description: `ECS service discovery on Route 53, environment ${name}`,
      tags: { 'ecs-discovery:environment': name },
      terminationProtection: terminationProtection ?? environment.removalPolicy === RemovalPolicy.RETAIN,
      synthesizer: bootstrapRoles
        ? new DefaultStackSynthesizer(qualifier)
        : new CliCredentialsStackSynthesizer(qualifier),
    });
    const props = propertiesOf(this, name, environment);
    // The CDK creates some roles outside of the construct.
    if (props.permissionsBoundary !== undefined) PermissionsBoundary.of(this).apply(props.permissionsBoundary);
    const discovery = new EcsServiceDiscovery(this, 'Discovery', { ...props, ...code });
    this.discovery = discovery;

    new CfnOutput(this, 'FunctionName', {
      description: 'The handler. Invoke it with {"reconcile":"all","dryRun":true} to see the changes of a full pass',
      value: discovery.handler.functionName,
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
    if (environment.operatorPolicies) {
      const policy = (id: string, description: string) => {
        const made = new ManagedPolicy(this, id, { description });
        acknowledgeWildcards(made, environment.clusters);
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

/** All properties of an environment, so that the compiler reports one that is missing. */
type EnvironmentProps = {
  [
    Name in Exclude<keyof EcsServiceDiscoveryProps, 'clusters' | keyof HandlerCodeProps>
  ]: EcsServiceDiscoveryProps[Name];
};

/** The properties of the construct for an environment, whose VPCs, keys and other resources exist outside of the app. */
function propertiesOf(stack: Stack, name: string, environment: DiscoveryEnvironment): EnvironmentProps {
  const imported = new Construct(stack, 'Imported');
  const { alarmTopicArn, kmsKeyArn, permissionsBoundary } = environment;
  return {
    environment: name,
    vpcs: environment.vpcs.map(({ vpcId, zoneName, hostedZoneId, id }, index) => ({
      // The CDK requires an availability zone. Nothing uses it.
      vpc: Vpc.fromVpcAttributes(imported, `Vpc${index}`, { vpcId, availabilityZones: [`${stack.region}a`] }),
      zoneName,
      hostedZone:
        hostedZoneId === undefined
          ? undefined
          : HostedZone.fromHostedZoneAttributes(imported, `Zone${index}`, { hostedZoneId, zoneName }),
      id,
    })),
    clusterPatterns: environment.clusters,
    nameTemplate: environment.nameTemplate,
    record: environment.record,
    ttl: Duration.seconds(environment.ttlSeconds),
    negativeTtl: Duration.seconds(environment.negativeTtlSeconds),
    deleteLimit: environment.deleteLimit,
    adopt: environment.adopt,
    register: environment.register,
    mode: environment.mode,
    formerNames: environment.formerNames,
    trail: environment.trail,
    delivery: environment.delivery,
    fullPassInterval: Duration.minutes(environment.fullPassMinutes),
    architecture: environment.architecture === 'arm64' ? Architecture.ARM_64 : Architecture.X86_64,
    logRetention: environment.logRetentionDays,
    encryptionKey: kmsKeyArn === undefined ? undefined : Key.fromKeyArn(imported, 'Key', kmsKeyArn),
    alarmTopic: alarmTopicArn === undefined ? undefined : Topic.fromTopicArn(imported, 'Topic', alarmTopicArn),
    alarms: environment.alarms,
    dashboard: environment.dashboard,
    runbookUrl: environment.runbookUrl,
    permissionsBoundary: permissionsBoundary === undefined ? undefined : managedPolicy(imported, permissionsBoundary),
    reservedConcurrency: environment.reservedConcurrency,
    removalPolicy: environment.removalPolicy,
    onDestroy: environment.onDestroy,
  };
}

/** A managed policy that is given by name or ARN. */
const managedPolicy = (scope: Construct, policy: string) =>
  policy.startsWith('arn:')
    ? ManagedPolicy.fromManagedPolicyArn(scope, 'Boundary', policy)
    : ManagedPolicy.fromManagedPolicyName(scope, 'Boundary', policy);

import { CustomResource, Duration, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Effect, Policy, PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Provider } from 'aws-cdk-lib/custom-resources';
import { Construct, type IDependable } from 'constructs';
import type { Handler } from './handler.js';
import type { VpcZone } from './zones.js';

/** Longer than the handler's own timeout, far shorter than the hour that CloudFormation waits else. */
const PATIENCE = Duration.minutes(15);

export interface LifecycleProps {
  readonly handler: Handler;
  readonly logRetentionDays: RetentionDays;
}

/**
 * What a deployment asks of the handler: a full pass when all is there, and the end of what it
 * manages in a zone when that goes.
 *
 * CloudFormation calls the CDK's provider framework, and that the handler: with the request that
 * the resource's property of the event's name holds, or for nothing.
 */
export class Lifecycle extends Construct {
  private readonly handler: Handler;
  private readonly provider: Provider;

  constructor(scope: Construct, id: string, props: LifecycleProps) {
    super(scope, id);
    this.handler = props.handler;
    const logGroup = new LogGroup(this, 'Logs', {
      retention: props.logRetentionDays,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: 'Lets CloudFormation call the handler',
      inlinePolicies: {
        WriteLogs: new PolicyDocument({
          statements: [
            new PolicyStatement({
              actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
              resources: [logGroup.logGroupArn],
            }),
          ],
        }),
      },
    });
    this.provider = new Provider(this, 'Provider', {
      onEventHandler: props.handler.function,
      frameworkOnEventRole: role,
      logGroup,
    });
    const reason = 'The CDK’s provider framework, which the CDK keeps current; CloudFormation calls it and is told of every failure.';
    Validations.of(this.provider).acknowledge(
      { id: 'Serverless-LambdaDLQ', reason },
      { id: 'Serverless-LambdaTracing', reason },
      { id: 'Serverless-LambdaDefaultMemorySize', reason },
    );
    const handler = Stack.of(this).getLogicalId(
      props.handler.function.node.defaultChild as Parameters<Stack['getLogicalId']>[0],
    );
    Validations.of(role).acknowledge({
      id: `AwsSolutions-IAM5[Resource::<${handler}.Arn>:*]`,
      reason: 'Any version of the handler, and nothing else: the grant that the provider framework makes.',
    });
  }

  /**
   * Lets the handler change the records of a zone while that is the environment's, and has it take
   * away all that it manages there before it is not.
   */
  keep(zone: VpcZone): IDependable {
    const { partition } = Stack.of(this);
    const scope = new Construct(this, zone.id);
    const policy = new Policy(scope, 'Records', {
      roles: [this.handler.role],
      document: new PolicyDocument({
        minimize: false,
        statements: [
          new PolicyStatement({
            sid: 'ListRecords',
            effect: Effect.ALLOW,
            actions: ['route53:ListResourceRecordSets'],
            resources: [`arn:${partition}:route53:::hostedzone/${zone.hostedZoneId}`],
          }),
          new PolicyStatement({
            sid: 'ChangeRecords',
            effect: Effect.ALLOW,
            actions: ['route53:ChangeResourceRecordSets'],
            resources: [`arn:${partition}:route53:::hostedzone/${zone.hostedZoneId}`],
            conditions: {
              // All changes of a batch have to meet these, so each is compared.
              'ForAllValues:StringEquals': {
                'route53:ChangeResourceRecordSetsRecordTypes': ['A', 'AAAA', 'CNAME', 'TXT'],
                'route53:ChangeResourceRecordSetsActions': ['CREATE', 'DELETE'],
              },
              // Below the zone, so never its apex.
              'ForAllValues:StringLike': {
                'route53:ChangeResourceRecordSetsNormalizedRecordNames': [`*.${zone.name}`],
              },
            },
          }),
        ],
      }),
    });
    const end = this.resource(scope, 'End', 'Custom::EcsDiscoveryZone', {
      Delete: { deregister: { hostedZoneId: zone.hostedZoneId } },
    });
    // The other way round when it goes: first the records, then the right to take them away.
    end.node.addDependency(policy);
    return end;
  }

  /** Runs a full pass when `after` is there, and again whenever the handler or its configuration changes. */
  pass(...after: IDependable[]): void {
    const reconcile = { reconcile: 'all' };
    const pass = this.resource(
      this,
      'FullPass',
      'Custom::EcsDiscoveryFullPass',
      { Create: reconcile, Update: reconcile },
      { Configuration: this.handler.configuration, Code: this.handler.codeHash },
    );
    pass.node.addDependency(...after);
  }

  private resource(scope: Construct, id: string, resourceType: string, requests: object, more: object = {}) {
    const stack = Stack.of(this);
    const properties = Object.entries(requests).map(([event, request]) => [event, stack.toJsonString(request)] as const);
    return new CustomResource(scope, id, {
      serviceToken: this.provider.serviceToken,
      resourceType,
      serviceTimeout: PATIENCE,
      properties: { ...Object.fromEntries(properties), ...more },
    });
  }
}

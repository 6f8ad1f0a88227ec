import { createHash } from 'node:crypto';
import { type CfnElement, CustomResource, Duration, RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
import { PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Provider } from 'aws-cdk-lib/custom-resources';
import { Construct, type IDependable } from 'constructs';
import { acknowledge } from './acknowledge.js';
import type { Handler } from './handler.js';
import { Mode, OnDestroy } from './options.js';
import type { VpcZone } from './zones.js';
import type { ZonePermissions } from './zone-permissions.js';

/** Longer than the handler's timeout. CloudFormation would wait one hour by default. */
const SERVICE_TIMEOUT = Duration.minutes(15);

export interface LifecycleProps {
  readonly handler: Handler;
  readonly permissions: ZonePermissions;
  readonly logRetentionDays: RetentionDays;
  /** Encrypts the log. Without it, a key of CloudWatch does. */
  readonly encryptionKey: IKey | undefined;
}

/**
 * The handler's part in a deployment: a check of the zones, a full pass when everything is created, and the deletion
 * of all managed records of a zone that leaves the environment, or of all zones.
 *
 * CloudFormation invokes the CDK's provider framework, which invokes the handler with the event. The property with the
 * name of the event (`Create`, `Update` or `Delete`) contains a request. Without it, the handler does nothing. The
 * resource with the property `Zones`, which contains the ids of all zones, needs no request.
 */
export class Lifecycle extends Construct {
  private readonly handler: Handler;
  private readonly permissions: ZonePermissions;
  private readonly provider: Provider;
  private names: CustomResource | undefined;

  constructor(scope: Construct, id: string, props: LifecycleProps) {
    super(scope, id);
    this.handler = props.handler;
    this.permissions = props.permissions;
    const logGroup = new LogGroup(this, 'Logs', {
      retention: props.logRetentionDays,
      encryptionKey: props.encryptionKey,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: 'Lets CloudFormation invoke the handler',
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
    const reason =
      'This function is part of the CDK’s provider framework, which sets its properties. It reports every failure to CloudFormation, which invokes it.';
    acknowledge(
      this.provider,
      { id: 'Serverless-LambdaDLQ', reason },
      { id: 'Serverless-LambdaTracing', reason },
      { id: 'Serverless-LambdaDefaultMemorySize', reason },
    );
    const handler = Stack.of(this).getLogicalId(
      props.handler.function.node.defaultChild as Parameters<Stack['getLogicalId']>[0],
    );
    acknowledge(role, {
      id: `AwsSolutions-IAM5[Resource::<${handler}.Arn>:*]`,
      reason:
        'The provider framework grants the permission to invoke any version of the handler, and no other function.',
    });
  }

  /**
   * Makes the handler check the zones, and fail the deployment if one of them cannot be used.
   *
   * A rollback updates resources, and must not fail because of a zone that somebody deleted meanwhile. But it never
   * creates a resource. So other zones, names or VPCs make another resource, whose creation is the check.
   */
  private check(zones: readonly VpcZone[]): CustomResource {
    const facts = zones.map(({ vpcId, hostedZoneId, name }) => [vpcId, hostedZoneId, name]);
    // Tokens have other numbers in each synthesis.
    const resolved = (Stack.of(this).resolve(facts) as unknown[]).map((zone) => JSON.stringify(zone));
    const hash = createHash('sha256').update(resolved.sort().join('\n')).digest('hex').slice(0, 8);
    const check = { check: 'zones' };
    const made = this.resource(this, `Check-${hash}`, 'Custom::EcsDiscoveryCheck', { Create: check });
    made.node.addDependency(this.permissions);
    return made;
  }

  /**
   * Makes the handler check the zones, delete all managed records of a zone that leaves the environment, and those of all
   * zones before the stack is deleted.
   *
   * One resource has the ids of all zones, so a zone that stays, for example because somebody writes down its id, is
   * never emptied. If a zone leaves, the handler gives the resource another physical id. At the end of the deployment,
   * CloudFormation then deletes the former one. Another resource never gets another id, so only its deletion means that
   * the stack goes.
   */
  keep(zones: readonly VpcZone[], distinct: readonly VpcZone[], onDestroy: OnDestroy): IDependable {
    const ids = { Zones: distinct.map(({ hostedZoneId }) => hostedZoneId) };
    const former = this.resource(this, 'Zones', 'Custom::EcsDiscoveryZones', {}, ids);
    const requests = onDestroy === OnDestroy.KEEP ? {} : { Delete: { deregister: 'all' } };
    this.names = this.resource(this, 'Names', 'Custom::EcsDiscoveryNames', requests);
    // Deletion runs in reverse: first the records are deleted, then the permission to delete them.
    former.node.addDependency(this.permissions, this.check(zones));
    this.names.node.addDependency(former);
    return this.names;
  }

  /** The id in the template of the resource with the names. The handler empties its own zones for no other resource. */
  get namesResource(): string {
    if (this.names === undefined) throw new Error('keep comes first');
    return Stack.of(this).getLogicalId(this.names.node.defaultChild as CfnElement);
  }

  /**
   * Makes the handler set the negative TTL of a zone, which is part of the zone's SOA record. While the mode is `observe`
   * the handler does not, so that another mode has to update the resource.
   */
  setNegativeTtl(zone: VpcZone, seconds: number, mode: Mode): void {
    const scope = new Construct(this, `${zone.id}-negative-ttl`);
    const request = { negativeTtl: { hostedZoneId: zone.hostedZoneId, seconds } };
    const requests = { Create: request, Update: request };
    const more = mode === Mode.OBSERVE ? { Mode: mode } : {};
    const negativeTtl = this.resource(scope, 'NegativeTtl', 'Custom::EcsDiscoveryNegativeTtl', requests, more);
    negativeTtl.node.addDependency(this.permissions);
  }

  /**
   * Runs a full pass after `after` was created, and whenever the handler or its configuration changes. The ids of VPCs and
   * zones and the names of clusters may be known only at deployment, so the generation does not contain them.
   *
   * @returns the resource, whose attribute `Summary` is what the pass did, like `212 unchanged, 1 conflict`
   */
  fullPass(zones: readonly VpcZone[], clusters: readonly string[], ...after: IDependable[]): CustomResource {
    const reconcile = { reconcile: 'all' };
    const unknown = clusters.filter((cluster) => Token.isUnresolved(cluster));
    const vpcs = zones.map(({ vpcId, hostedZoneId }) => ({ VpcId: vpcId, HostedZoneId: hostedZoneId }));
    const fullPass = this.resource(
      this,
      'FullPass',
      'Custom::EcsDiscoveryFullPass',
      { Create: reconcile, Update: reconcile },
      { Generation: this.handler.generation, Vpcs: vpcs, ...(unknown.length > 0 && { Clusters: unknown }) },
    );
    fullPass.node.addDependency(...after);
    return fullPass;
  }

  private resource(scope: Construct, id: string, resourceType: string, requests: object, more: object = {}) {
    const stack = Stack.of(this);
    const properties = Object.entries(requests).map(
      ([event, request]) => [event, stack.toJsonString(request)] as const,
    );
    return new CustomResource(scope, id, {
      serviceToken: this.provider.serviceToken,
      resourceType,
      serviceTimeout: SERVICE_TIMEOUT,
      properties: { ...Object.fromEntries(properties), ...more },
    });
  }
}

import { RemovalPolicy } from 'aws-cdk-lib';
import type { IAlarm } from 'aws-cdk-lib/aws-cloudwatch';
import { PermissionsBoundary, ManagedPolicy } from 'aws-cdk-lib/aws-iam';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import type { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { Alarms } from './alarms.js';
import { DiscoveryDashboard } from './dashboard.js';
import { EventQueue, Failures } from './delivery.js';
import { type DiscoveryOptions, parseDiscovery } from './environment.js';
import { Handler } from './handler.js';
import { Lifecycle } from './lifecycle.js';
import { HandlerMetrics } from './metrics.js';
import { ApiCallTrail } from './trail.js';
import { Triggers } from './triggers.js';
import { type VpcZone, VpcZones } from './zones.js';

export interface EcsServiceDiscoveryProps extends DiscoveryOptions {
  /** What the environment is called, in markers, alarms and metrics: 1 to 32 of a-z, 0-9 and -. */
  readonly environment: string;
}

/** Bounds every role in a scope by a managed policy, which is given by its name or its ARN. */
export function bound(scope: Construct, policy: string): void {
  const boundary = policy.startsWith('arn:')
    ? ManagedPolicy.fromManagedPolicyArn(scope, 'Boundary', policy)
    : ManagedPolicy.fromManagedPolicyName(scope, 'Boundary', policy);
  PermissionsBoundary.of(scope).apply(boundary);
}

/**
 * Service discovery for one environment: ECS services behind load balancers get names in the private
 * hosted zones of their VPCs.
 *
 * The stack that it is put into has to know its region, which is that of the clusters.
 *
 * @throws EnvironmentError if a property is wrong
 */
export class EcsServiceDiscovery extends Construct {
  /** The handler; `{"reconcile":"all"}` makes it run a full pass. */
  public readonly function: IFunction;
  /** One line for each name that changed or could not, and the metrics. */
  public readonly logGroup: LogGroup;
  /** The zone of each VPC, in the order of the properties. */
  public readonly zones: readonly VpcZone[];
  /** Events that nobody could handle; what is moved from here to `eventQueue` is tried again. */
  public readonly deadLetterQueue: IQueue;
  public readonly eventQueue: IQueue;
  public readonly alarms: readonly IAlarm[];

  constructor(scope: Construct, id: string, props: EcsServiceDiscoveryProps) {
    super(scope, id);
    const { environment, ...options } = props;
    const discovery = parseDiscovery(this.node.path, environment, options);
    const { sweepMinutes, permissionsBoundary } = discovery;
    const removalPolicy = discovery.removalPolicy === 'destroy' ? RemovalPolicy.DESTROY : RemovalPolicy.RETAIN;
    if (permissionsBoundary !== undefined) bound(this, permissionsBoundary);

    if (discovery.trail === 'create') {
      new ApiCallTrail(this, 'Trail', { removalPolicy });
    }
    const zones = new VpcZones(this, 'Zones', { environment, vpcs: discovery.vpcs, removalPolicy });
    const failures = new Failures(this, 'Failures').queue;
    const handler = new Handler(this, 'Handler', { environment, discovery, zones: zones.zones, failures, removalPolicy });
    const events = new EventQueue(this, 'Events', { handler: handler.function, failures }).queue;

    // Deployed, it can change its zones before the first event comes; destroyed, no event comes any
    // more when the zones are emptied.
    const lifecycle = new Lifecycle(this, 'Lifecycle', { handler, logRetentionDays: discovery.logRetentionDays });
    const kept = zones.distinct.map((zone) => lifecycle.keep(zone));
    const target = discovery.delivery === 'queue' ? events : handler.function;
    const triggers = new Triggers(this, 'Triggers', { environment, target, failures, sweepMinutes });
    triggers.node.addDependency(...kept);
    lifecycle.pass(triggers, ...kept);

    const metrics = new HandlerMetrics(environment);
    const watch = { environment, failures, metrics };
    const alarms = new Alarms(this, 'Alarms', { ...watch, discovery, handler: handler.function });
    new DiscoveryDashboard(this, 'Dashboard', {
      ...watch,
      alarms: alarms.all,
      logGroup: handler.logGroup,
      zones: zones.distinct,
      sweepMinutes,
    });

    this.function = handler.function;
    this.logGroup = handler.logGroup;
    this.zones = zones.zones;
    this.deadLetterQueue = failures;
    this.eventQueue = events;
    this.alarms = alarms.all;
  }
}

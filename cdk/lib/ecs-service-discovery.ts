import { Lazy, RemovalPolicy } from 'aws-cdk-lib';
import { PermissionsBoundary, ManagedPolicy } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import type { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { DiscoveryAlarms } from './alarms.js';
import { DiscoveryDashboard } from './dashboard.js';
import { DeadLetterQueue, EventQueue, EVENTS, LOAD_BALANCER_CALLS } from './delivery.js';
import { type DiscoveryOptions, parseDiscovery } from './environment.js';
import { Handler } from './handler.js';
import { parseHandlerCode } from './handler-code.js';
import { Lifecycle } from './lifecycle.js';
import { HandlerMetrics } from './metrics.js';
import { ApiCallTrail } from './trail.js';
import { Triggers } from './triggers.js';
import { ZonePermissions } from './zone-permissions.js';
import { type VpcZone, VpcZones } from './zones.js';

export interface EcsServiceDiscoveryProps extends DiscoveryOptions {
  /** The name of the environment in markers, alarms and metrics: 1 to 32 characters of a-z, 0-9 and -. */
  readonly environment: string;
  /**
   * A folder that contains a prebuilt handler for the architecture, as the file `bootstrap`.
   *
   * @default - cargo-lambda builds the handler from the sources in this checkout
   */
  readonly handlerCode?: string | undefined;
}

/** Makes a managed policy, given by name or ARN, the permissions boundary of every role in a scope. */
export function applyPermissionsBoundary(scope: Construct, policy: string): void {
  const boundary = policy.startsWith('arn:')
    ? ManagedPolicy.fromManagedPolicyArn(scope, 'Boundary', policy)
    : ManagedPolicy.fromManagedPolicyName(scope, 'Boundary', policy);
  PermissionsBoundary.of(scope).apply(boundary);
}

/**
 * Service discovery for one environment: ECS services behind load balancers get names in the private
 * hosted zones of their VPCs.
 *
 * The stack that contains the construct needs an explicit region, which is the region of the clusters.
 *
 * @throws EnvironmentError if a property is invalid
 */
export class EcsServiceDiscovery extends Construct {
  /** The handler. The payload `{"reconcile":"all"}` starts a full pass. */
  public readonly function: IFunction;
  /** The log of the handler: one line for each outcome, and the metrics. */
  public readonly logGroup: LogGroup;
  /** The zone of each VPC, in the order of the properties. */
  public readonly zones: readonly VpcZone[];
  /** Events that could not be processed. Move them to `eventQueue` for a retry. */
  public readonly deadLetterQueue: IQueue;
  /** Events that the handler processes in batches. */
  public readonly eventQueue: IQueue;
  /** The alarms, each as a property. `undefined` with the property `alarms: false`. */
  public readonly alarms: DiscoveryAlarms | undefined;
  /** What the full pass of the latest deployment did, like `212 unchanged, 1 conflict`. */
  public readonly fullPassSummary: string;

  constructor(scope: Construct, id: string, props: EcsServiceDiscoveryProps) {
    super(scope, id);
    const { environment, handlerCode: folder, ...options } = props;
    const discovery = parseDiscovery(this.node.path, environment, options);
    const handlerCode = parseHandlerCode(folder);
    const { fullPassMinutes, kmsKeyArn, logRetentionDays, permissionsBoundary } = discovery;
    // What a failed first deployment created goes with it. A zone that remained would block the second attempt.
    const removalPolicy =
      discovery.removalPolicy === 'destroy' ? RemovalPolicy.DESTROY : RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE;
    if (permissionsBoundary !== undefined) applyPermissionsBoundary(this, permissionsBoundary);

    const encryptionKey = kmsKeyArn === undefined ? undefined : Key.fromKeyArn(this, 'Key', kmsKeyArn);

    if (discovery.trail === 'create') {
      new ApiCallTrail(this, 'Trail', { removalPolicy, logRetentionDays, encryptionKey });
    }
    const zones = new VpcZones(this, 'Zones', { environment, vpcs: discovery.vpcs, removalPolicy });
    // Another id would replace the queue, with the events in it.
    const deadLetterQueue = new DeadLetterQueue(this, 'Failures', { encryptionKey }).queue;
    const handler: Handler = new Handler(this, 'Handler', {
      environment,
      discovery,
      zones: zones.zones,
      deadLetterQueue,
      encryptionKey,
      removalPolicy,
      handlerCode,
      zonesResource: Lazy.string({ produce: (): string => lifecycle.zonesResource }),
    });
    const queues = { handler: handler.function, deadLetterQueue, encryptionKey };
    // It exists with both kinds of delivery, because a redrive moves events from the dead-letter queue into it.
    const events = new EventQueue(this, 'Events', { ...queues, ...EVENTS });
    const loadBalancerCalls = new EventQueue(this, 'LoadBalancerCalls', { ...queues, ...LOAD_BALANCER_CALLS });

    // At creation, the handler gets its permissions for the zones before the first event arrives. At deletion,
    // the rules and the queues' mappings are deleted before the handler deletes the records. Otherwise a waiting
    // message could make it register the services again.
    const lifecycle: Lifecycle = new Lifecycle(this, 'Lifecycle', {
      handler,
      permissions: new ZonePermissions(this, 'Permissions', { role: handler.role, zones: zones.distinct }),
      logRetentionDays,
      encryptionKey,
    });
    const kept = lifecycle.keep(zones.distinct, discovery.onDestroy);
    for (const zone of zones.distinct) {
      if (zone.isCreated) lifecycle.setNegativeTtl(zone, discovery.negativeTtlSeconds);
    }
    const triggers = new Triggers(this, 'Triggers', {
      environment,
      target: discovery.delivery === 'queue' ? events.queue : handler.function,
      loadBalancerCalls: loadBalancerCalls.queue,
      deadLetterQueue,
      fullPassMinutes,
    });
    for (const source of [triggers, events.mapping, loadBalancerCalls.mapping]) source.node.addDependency(kept);
    const fullPass = lifecycle.fullPass(triggers, kept);
    this.fullPassSummary = fullPass.getAttString('Summary');

    const metrics = new HandlerMetrics(environment);
    const watch = { environment, deadLetterQueue, metrics };
    if (discovery.alarms) {
      const watched = { ...watch, discovery, handler: handler.function, firstFullPass: fullPass };
      this.alarms = new DiscoveryAlarms(this, 'Alarms', watched);
    }
    if (discovery.dashboard) {
      new DiscoveryDashboard(this, 'Dashboard', {
        ...watch,
        alarms: this.alarms?.all ?? [],
        logGroup: handler.logGroup,
        zones: zones.distinct,
        fullPassMinutes,
        runbookUrl: discovery.runbookUrl,
      });
    }

    this.function = handler.function;
    this.logGroup = handler.logGroup;
    this.zones = zones.zones;
    this.deadLetterQueue = deadLetterQueue;
    this.eventQueue = events.queue;
  }
}

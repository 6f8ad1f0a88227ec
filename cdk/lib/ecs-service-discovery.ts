import { Lazy, RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
import { type Grant, type IGrantable, ManagedPolicy, PermissionsBoundary } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import type { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct, type IConstruct } from 'constructs';
import { DiscoveryAlarms } from './alarms.js';
import { requireCdk } from './cdk-version.js';
import { DiscoveryDashboard } from './dashboard.js';
import { DeadLetterQueue, EventQueue, EVENTS, LOAD_BALANCER_CALLS } from './delivery.js';
import { type Discovery, type DiscoveryOptions, EnvironmentError, parseDiscovery, show } from './environment.js';
import { FULL_PASS_DELAY, Handler } from './handler.js';
import { type Build, handlerCode } from './handler-code.js';
import { Lifecycle } from './lifecycle.js';
import { HandlerMetrics } from './metrics.js';
import { Operators } from './operators.js';
import { SavedQueries } from './queries.js';
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
  /**
   * When cargo-lambda builds the handler. With `synthesis`, a machine without Rust can deploy the output of synthesis.
   *
   * @default deployment
   */
  readonly buildHandler?: Build | undefined;
}

/** For each app, what its constructs make that must not be made twice, with the path of the construct. */
const CLAIMS = new WeakMap<IConstruct, Map<string, string>>();

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
  private readonly operators: Operators;

  constructor(scope: Construct, id: string, props: EcsServiceDiscoveryProps) {
    super(scope, id);
    requireCdk();
    const { environment, handlerCode: folder, buildHandler, ...options } = props;
    const stack = Stack.of(this);
    const known = (value: string) => (Token.isUnresolved(value) ? undefined : value);
    const place = { account: known(stack.account), region: known(stack.region) };
    const discovery = parseDiscovery(this.node.path, place, environment, options);
    this.claim(discovery);
    const code = handlerCode(discovery.architecture, folder, buildHandler);
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
      code,
      namesResource: Lazy.string({ produce: (): string => lifecycle.namesResource }),
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
    const kept = lifecycle.keep(zones.zones, zones.distinct, discovery.onDestroy);
    for (const zone of zones.distinct) {
      if (zone.isCreated) lifecycle.setNegativeTtl(zone, discovery.negativeTtlSeconds, discovery.mode);
    }
    const triggers = new Triggers(this, 'Triggers', {
      environment,
      target: discovery.delivery === 'queue' ? events.queue : handler.function,
      loadBalancerCalls: loadBalancerCalls.queue,
      deadLetterQueue,
      fullPassMinutes,
    });
    for (const source of [triggers, events.mapping, loadBalancerCalls.mapping]) source.node.addDependency(kept);
    const fullPass = lifecycle.fullPass(zones.zones, triggers, kept);
    this.fullPassSummary = fullPass.getAttString('Summary');

    const metrics = new HandlerMetrics(environment);
    const watch = { environment, deadLetterQueue, metrics };
    if (discovery.alarms) {
      const watched = { ...watch, discovery, handler: handler.function, firstFullPass: fullPass };
      this.alarms = new DiscoveryAlarms(this, 'Alarms', watched);
    }
    const observes = discovery.mode === 'observe';
    const repetitionMinutes = fullPassMinutes + FULL_PASS_DELAY;
    const queries = { environment, logGroup: handler.logGroup, repetitionMinutes, observes };
    new SavedQueries(this, 'Queries', queries);
    if (discovery.dashboard) {
      new DiscoveryDashboard(this, 'Dashboard', {
        ...watch,
        alarms: this.alarms?.all ?? [],
        logGroup: handler.logGroup,
        zones: zones.distinct,
        fullPassMinutes,
        repetitionMinutes,
        observes,
        runbookUrl: discovery.runbookUrl,
      });
    }

    this.operators = new Operators(stack, {
      handler: handler.function,
      dryRuns: handler.dryRuns,
      logGroup: handler.logGroup,
      zones: zones.distinct,
      clusters: discovery.clusters,
      eventQueue: events.queue,
      loadBalancerCalls: loadBalancerCalls.queue,
      deadLetterQueue,
      encryptionKey,
    });
    this.function = handler.function;
    this.logGroup = handler.logGroup;
    this.zones = zones.zones;
    this.deadLetterQueue = deadLetterQueue;
    this.eventQueue = events.queue;
  }

  /** Grants the permissions for the commands of `ecs-discovery` that change nothing, such as `status` and `doctor`. */
  public grantRead(grantee: IGrantable): Grant {
    return this.operators.grantRead(grantee);
  }

  /** Grants the permissions for all commands of `ecs-discovery`: those that change nothing, `apply` and `redrive`. */
  public grantOperate(grantee: IGrantable): Grant {
    return this.operators.grantOperate(grantee);
  }

  /** @throws EnvironmentError if another construct of the app makes something of which there can only be one */
  private claim({ trail, vpcs }: Discovery): void {
    const { account, region, node } = Stack.of(this);
    // Two stacks whose accounts are known only at deployment may be deployed into different ones.
    const isKnown = !Token.isUnresolved(account) && !Token.isUnresolved(region);
    const place = isKnown ? `${account} ${region}` : `the stack ${node.path}`;
    const claimed = CLAIMS.get(this.node.root) ?? new Map<string, string>();
    CLAIMS.set(this.node.root, claimed);
    const claim = (what: string, problem: (other: string) => string) => {
      const key = [place, what].join(' ');
      const other = claimed.get(key);
      if (other !== undefined) throw EnvironmentError.ofProperties(this.node.path, problem(other));
      claimed.set(key, this.node.path);
    };
    if (trail === 'create') {
      claim('trail', (other) => {
        const because = 'and AWS charges for the events of a second one';
        return `trail: expected existing, because ${other} creates a trail in this account and region, ${because}; found "create"`;
      });
    }
    for (const [index, { vpcId, zoneName, hostedZoneId }] of vpcs.entries()) {
      if (hostedZoneId !== undefined) continue;
      // Route 53 allows one private zone of a name for each VPC.
      claim(`${vpcId} ${zoneName}`, (other) => {
        return `vpcs[${index}].zoneName: expected another name, because ${other} creates this zone for the same VPC; found ${show(zoneName)}`;
      });
    }
  }
}

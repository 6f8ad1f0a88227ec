import { Duration, Lazy, RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
import type { Metric, MetricOptions } from 'aws-cdk-lib/aws-cloudwatch';
import { type Grant, type IGrantable, PermissionsBoundary } from 'aws-cdk-lib/aws-iam';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import type { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct, type IConstruct } from 'constructs';
import { DiscoveryAlarms } from './alarms.js';
import { requireCdk } from './cdk-version.js';
import { DiscoveryDashboard } from './dashboard.js';
import { DeadLetterQueue, EventQueue, EVENTS, LOAD_BALANCER_CALLS } from './delivery.js';
import type { Discovery } from './environment.js';
import { EnvironmentError, show } from './environment-error.js';
import { FULL_PASS_DELAY, Handler } from './handler.js';
import { handlerCode } from './handler-code.js';
import { allowServices } from './key-policy.js';
import { Lifecycle } from './lifecycle.js';
import { HandlerMetrics } from './metrics.js';
import { Operators } from './operators.js';
import { Delivery, Mode, TrailSource } from './options.js';
import type { EcsServiceDiscoveryProps } from './properties.js';
import { SavedQueries } from './queries.js';
import { parseProperties } from './settings.js';
import { ApiCallTrail } from './trail.js';
import { Triggers } from './triggers.js';
import { ZonePermissions } from './zone-permissions.js';
import { publicZones, type VpcZone, VpcZones } from './zones.js';

/** For each app, what its constructs make that must not be made twice, with the path of the construct. */
const CLAIMS = new WeakMap<IConstruct, Map<string, string>>();

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
  public readonly handler: IFunction;
  /** The log of the handler: one line for each outcome, and the metrics. */
  public readonly logGroup: LogGroup;
  /** The zone of each VPC, in the order of the properties. */
  public readonly zones: VpcZone[];
  /** Events that could not be processed. Move them to `eventQueue` for a retry. */
  public readonly deadLetterQueue: IQueue;
  /** Events that the handler processes in batches. */
  public readonly eventQueue: IQueue;
  /** The alarms, each as a property. `undefined` with the property `alarms: false`. */
  public readonly alarms?: DiscoveryAlarms;
  /** What the full pass of the latest deployment did, like `212 unchanged, 1 conflict`. */
  public readonly fullPassSummary: string;
  private readonly metrics: HandlerMetrics;
  private readonly operators: Operators;

  constructor(scope: Construct, id: string, props: EcsServiceDiscoveryProps) {
    super(scope, id);
    requireCdk();
    const { environment, encryptionKey, alarmTopic, permissionsBoundary } = props;
    const discovery = parseProperties(this, props);
    this.claim(environment, discovery);
    const stack = Stack.of(this);
    const code = handlerCode(discovery.architecture, props.handlerCode, props.buildHandler);
    const { fullPassMinutes, logRetentionDays, runbookUrl } = discovery;
    const fullPassInterval = Duration.minutes(fullPassMinutes);
    // What a failed first deployment created goes with it. A zone that remained would block the second attempt.
    const removalPolicy =
      discovery.removalPolicy === RemovalPolicy.DESTROY
        ? RemovalPolicy.DESTROY
        : RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE;
    if (permissionsBoundary !== undefined) PermissionsBoundary.of(this).apply(permissionsBoundary);
    const withTrail = discovery.trail === TrailSource.CREATE;
    if (encryptionKey !== undefined) allowServices(this, encryptionKey, { withTrail });
    this.node.addValidation({ validate: () => publicZones(props.vpcs) });

    if (withTrail) {
      new ApiCallTrail(this, 'Trail', { removalPolicy, logRetentionDays, encryptionKey, permissionsBoundary });
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
      target: discovery.delivery === Delivery.QUEUE ? events.queue : handler.function,
      loadBalancerCalls: loadBalancerCalls.queue,
      deadLetterQueue,
      fullPassMinutes,
    });
    for (const source of [triggers, events.mapping, loadBalancerCalls.mapping]) source.node.addDependency(kept);
    const fullPass = lifecycle.fullPass(zones.zones, discovery.clusters, triggers, kept);
    this.fullPassSummary = fullPass.getAttString('Summary');

    this.metrics = new HandlerMetrics(environment, fullPassInterval);
    const watched = { environment, deadLetterQueue, fullPassInterval, runbookUrl };
    if (discovery.alarms) {
      this.alarms = new DiscoveryAlarms(this, 'Alarms', {
        ...watched,
        handler: handler.function,
        topic: alarmTopic,
        firstFullPass: fullPass,
      });
    }
    const observes = discovery.mode === Mode.OBSERVE;
    const repetitionMinutes = fullPassMinutes + FULL_PASS_DELAY;
    const queries = { environment, logGroup: handler.logGroup, repetitionMinutes, observes };
    new SavedQueries(this, 'Queries', queries);
    if (discovery.dashboard) {
      new DiscoveryDashboard(this, 'Dashboard', {
        ...watched,
        metrics: this.metrics,
        alarms: this.alarms?.all ?? [],
        logGroup: handler.logGroup,
        zones: zones.distinct,
        repetitionMinutes,
        observes,
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
    this.handler = handler.function;
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

  /**
   * Grants the permission to invoke the handler with any request, such as `{"reconcile":"all"}` for a full pass, and also
   * to delete all names. For dry runs only, use `grantRead`.
   */
  public grantInvoke(grantee: IGrantable): Grant {
    return this.handler.grantInvokeLatestVersion(grantee);
  }

  /**
   * Runs with at least one failure. They are retried.
   *
   * Sum over 5 minutes, unless `props` say otherwise.
   */
  public metricFailedRuns(props?: MetricOptions): Metric {
    return this.metrics.failedRuns(props).attachTo(this);
  }

  /**
   * Services with the status `failed`, and errors while reading.
   *
   * Sum over 5 minutes, unless `props` say otherwise.
   */
  public metricFailures(props?: MetricOptions): Metric {
    return this.metrics.failures(props).attachTo(this);
  }

  /**
   * Full passes without any failure.
   *
   * Sum over the interval between full passes, unless `props` say otherwise.
   */
  public metricCompleteFullPasses(props?: MetricOptions): Metric {
    return this.metrics.completeFullPasses(props).attachTo(this);
  }

  /**
   * Names that a full pass of the schedule created, moved or deleted, because no event had done so.
   *
   * Maximum over the interval between full passes, unless `props` say otherwise.
   */
  public metricRepairedByFullPass(props?: MetricOptions): Metric {
    return this.metrics.repairedByFullPass(props).attachTo(this);
  }

  /**
   * Managed names after the last full pass.
   *
   * Maximum over the interval between full passes, unless `props` say otherwise.
   */
  public metricManagedNames(props?: MetricOptions): Metric {
    return this.metrics.managedNames(props).attachTo(this);
  }

  /**
   * Services that had, or should have had, a name in the last full pass.
   *
   * Maximum over the interval between full passes, unless `props` say otherwise.
   */
  public metricExpectedNames(props?: MetricOptions): Metric {
    return this.metrics.expectedNames(props).attachTo(this);
  }

  /**
   * Services whose name belongs to another service or record, in the last full pass.
   *
   * Minimum over the interval between full passes, unless `props` say otherwise.
   */
  public metricConflicts(props?: MetricOptions): Metric {
    return this.metrics.conflicts(props).attachTo(this);
  }

  /**
   * Services whose names were not deleted because of the delete limit, in the last full pass.
   *
   * Maximum over the interval between full passes, unless `props` say otherwise.
   */
  public metricRefused(props?: MetricOptions): Metric {
    return this.metrics.refused(props).attachTo(this);
  }

  /**
   * Services that wait for their load balancer or their deployment, in the last full pass.
   *
   * Minimum over the interval between full passes, unless `props` say otherwise.
   */
  public metricWaiting(props?: MetricOptions): Metric {
    return this.metrics.waiting(props).attachTo(this);
  }

  /**
   * Services with an invalid name or tag, in the last full pass.
   *
   * Maximum over the interval between full passes, unless `props` say otherwise.
   */
  public metricInvalid(props?: MetricOptions): Metric {
    return this.metrics.invalid(props).attachTo(this);
  }

  /**
   * Services whose change Route 53 does not accept, in the last full pass.
   *
   * Maximum over the interval between full passes, unless `props` say otherwise.
   */
  public metricRejected(props?: MetricOptions): Metric {
    return this.metrics.rejected(props).attachTo(this);
  }

  /**
   * Seconds from the event until the end of the run that changed a name.
   *
   * 90th percentile over 5 minutes, unless `props` say otherwise.
   */
  public metricEventToChange(props?: MetricOptions): Metric {
    return this.metrics.eventToChange(props).attachTo(this);
  }

  /**
   * Record sets of the zone that has the most. The quota is 10,000.
   *
   * Maximum over the interval between full passes, unless `props` say otherwise.
   */
  public metricZoneRecords(props?: MetricOptions): Metric {
    return this.metrics.largestZone(props).attachTo(this);
  }

  /** @throws EnvironmentError if another construct of the app makes something of which there can only be one */
  private claim(environment: string, { trail, vpcs }: Discovery): void {
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
    if (trail === TrailSource.CREATE) {
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
    claim(`environment ${environment}`, (other) => {
      const because = `because ${other} has this one in the same account and region, and markers and metrics contain it`;
      return `environment: expected another name, ${because}; found ${show(environment)}`;
    });
  }
}

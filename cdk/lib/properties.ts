/** The properties of the construct. `settings.ts` validates them with the rules of an environment's options. */
import type { Duration, RemovalPolicy } from 'aws-cdk-lib';
import type { IVpc } from 'aws-cdk-lib/aws-ec2';
import type { ICluster } from 'aws-cdk-lib/aws-ecs';
import type { IManagedPolicy } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Architecture } from 'aws-cdk-lib/aws-lambda';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { IHostedZone } from 'aws-cdk-lib/aws-route53';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import type { DeleteLimit, Delivery, Mode, OnDestroy, RecordForm, Registration, TrailSource } from './options.js';

/** When cargo-lambda builds the handler from the sources in a checkout. Its hash is the same in both cases. */
export enum HandlerBuild {
  /** When the CDK publishes the assets of a deployment, so that templates and diffs need no Rust. */
  DEPLOYMENT = 'deployment',
  /** During synthesis, so that a machine without Rust can deploy the output. */
  SYNTHESIS = 'synthesis',
}

/** The code of the handler. */
export interface HandlerCodeProps {
  /**
   * A folder that contains a prebuilt handler for the architecture, as the file `bootstrap`.
   *
   * @default - the handler of the package. In a checkout, cargo-lambda builds it from its sources
   */
  readonly handlerCode?: string;
  /**
   * When cargo-lambda builds the handler in a checkout.
   *
   * @default HandlerBuild.DEPLOYMENT
   */
  readonly buildHandler?: HandlerBuild;
}

/** A VPC with the zone of its names. */
export interface DiscoveryVpc {
  /** Services whose load balancer is in this VPC get names in its zone. */
  readonly vpc: IVpc;
  /**
   * The name of the zone, for example `dev.internal`.
   *
   * @default - the name of `hostedZone`
   */
  readonly zoneName?: string;
  /**
   * An existing private hosted zone that is associated with the VPC. Several VPCs may share one.
   *
   * @default - the construct creates a zone with the name `zoneName`
   */
  readonly hostedZone?: IHostedZone;
  /**
   * A name of your choice: 1 to 64 letters, digits and `-`. Several VPCs whose ids are known only at deployment need one
   * each, so that their order does not matter. A VPC that was the only one before keeps its zone with the id `0`.
   *
   * @default - the id of the hosted zone or of the VPC, or the position in the list if a single VPC's id is not known
   */
  readonly id?: string;
}

/** The properties of `EcsServiceDiscovery`. */
export interface EcsServiceDiscoveryProps extends HandlerCodeProps {
  /** The name of the environment in markers, alarms and metrics: 1 to 32 characters of `a-z`, `0-9` and `-`. */
  readonly environment: string;
  /** The VPCs of the environment, each with its zone. */
  readonly vpcs: DiscoveryVpc[];
  /**
   * The trail through which EventBridge receives API calls. There is no default, because AWS charges for the events of a
   * second trail, and without any trail no event arrives.
   */
  readonly trail: TrailSource;
  /**
   * Clusters that belong to the environment.
   *
   * @default - all clusters of the region, or those that match `clusterPatterns`
   */
  readonly clusters?: ICluster[];
  /**
   * Patterns for the names of further clusters that belong to the environment. `*` matches any characters, `?` matches
   * one.
   *
   * @default - all clusters of the region, or only `clusters`
   */
  readonly clusterPatterns?: string[];
  /**
   * The name of a service within the zone: labels that contain `{service}`, and `{cluster}` if needed.
   *
   * @default '{service}'
   */
  readonly nameTemplate?: string;
  /**
   * The records that lead to a load balancer. A service can override it with the tag `discovery:record`.
   *
   * @default RecordForm.CNAME
   */
  readonly record?: RecordForm;
  /**
   * The TTL of CNAME records: 1 second to 1 day.
   *
   * @default Duration.minutes(1)
   */
  readonly ttl?: Duration;
  /**
   * How long resolvers may remember that a name does not exist, in zones that the construct creates: 1 second to 1 day. A
   * client that asks for a name before its registration waits for that time.
   *
   * @default Duration.seconds(5)
   */
  readonly negativeTtl?: Duration;
  /**
   * A full pass that would delete more names than this deletes none of them.
   *
   * @default - 3 names, or 30 percent of the managed names if these are more
   */
  readonly deleteLimit?: DeleteLimit;
  /**
   * Whether to take over an unmarked record that already leads to a service's load balancer. If not, the record stays as
   * it is, and the name is a `conflict`.
   *
   * @default true
   */
  readonly adopt?: boolean;
  /**
   * Which services get names.
   *
   * @default Registration.ALL
   */
  readonly register?: Registration;
  /**
   * The changes that the handler may make.
   *
   * @default Mode.SYNC
   */
  readonly mode?: Mode;
  /**
   * Earlier names of the environment. Records with these names in their markers also belong to it.
   *
   * @default - none
   */
  readonly formerNames?: string[];
  /**
   * How events of ECS and the schedule reach the handler. Use a queue if many services change at the same time.
   *
   * @default Delivery.DIRECT
   */
  readonly delivery?: Delivery;
  /**
   * The time between two full passes: 1 minute to 8 hours, in whole minutes.
   *
   * @default Duration.minutes(15)
   */
  readonly fullPassInterval?: Duration;
  /**
   * The processor architecture of the function.
   *
   * @default Architecture.X86_64
   */
  readonly architecture?: Architecture;
  /**
   * How long CloudWatch keeps logs.
   *
   * @default RetentionDays.ONE_MONTH
   */
  readonly logRetention?: RetentionDays;
  /**
   * A symmetric KMS key in the region of the stack that encrypts the queues, the logs and the trail's log files. A key of
   * the app gets the statements that it needs. The policy of an imported key has to contain those in `SECURITY.md`. Without
   * them, events are lost.
   *
   * @default - keys of AWS encrypt them
   */
  readonly encryptionKey?: IKey;
  /**
   * A topic in the region of the stack that is notified when an alarm starts and when it ends. The policy of an imported
   * topic has to let CloudWatch publish to it.
   *
   * @default - alarms are visible in CloudWatch only
   */
  readonly alarmTopic?: ITopic;
  /**
   * Whether to create alarms.
   *
   * @default true
   */
  readonly alarms?: boolean;
  /**
   * Whether to create a dashboard.
   *
   * @default true
   */
  readonly dashboard?: boolean;
  /**
   * Where your team finds the runbook: a URL or a path. The descriptions of the alarms link to its sections.
   *
   * @default 'RUNBOOK.md'
   */
  readonly runbookUrl?: string;
  /**
   * The permissions boundary of every role in the construct.
   *
   * @default - none
   */
  readonly permissionsBoundary?: IManagedPolicy;
  /**
   * The concurrent executions that Lambda reserves for the handler: 5 to 1,000. They are also its limit.
   *
   * @default - none, because accounts with a small quota cannot reserve any
   */
  readonly reservedConcurrency?: number;
  /**
   * Whether created zones, the trail's bucket and the logs remain when the stack is destroyed: `RETAIN` or `DESTROY`.
   *
   * @default RemovalPolicy.RETAIN
   */
  readonly removalPolicy?: RemovalPolicy;
  /**
   * What becomes of the managed names when the stack is destroyed.
   *
   * @default OnDestroy.DEREGISTER
   */
  readonly onDestroy?: OnDestroy;
}

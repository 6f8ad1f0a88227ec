/** The options: those of an environment in `cdk.json`, and the types that it shares with the construct. */
import type { RemovalPolicy } from 'aws-cdk-lib';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';

/** The records that lead to a load balancer. */
export enum RecordForm {
  /** A CNAME record. */
  CNAME = 'CNAME',
  /** An A record, and an AAAA record if the load balancer is dualstack. */
  ALIAS = 'ALIAS',
}

/** Which services get names. */
export enum Registration {
  /** All services behind a load balancer. */
  ALL = 'all',
  /** Only services with the tag `discovery:enabled=true`. */
  TAGGED = 'tagged',
}

/** The changes that the handler may make. */
export enum Mode {
  /** None. Its outcomes show the changes that it would make. */
  OBSERVE = 'observe',
  /** It creates and changes names, and removes none. */
  CREATE_AND_UPDATE = 'create-and-update',
  /** It creates, changes and removes names. */
  SYNC = 'sync',
}

/** The trail through which EventBridge receives API calls. */
export enum TrailSource {
  /** Creates a trail. AWS charges for the events of a second trail in the same account and region. */
  CREATE = 'create',
  /** Relies on a trail that logs the write management events of the region, for example that of the organization. */
  EXISTING = 'existing',
}

/** How events of ECS and the schedule reach the handler. */
export enum Delivery {
  /** The rules invoke the handler. */
  DIRECT = 'direct',
  /** The rules send events to a queue, and the handler processes them in batches. */
  QUEUE = 'queue',
}

/** What becomes of the managed names when the stack is destroyed. */
export enum OnDestroy {
  /** They are deleted. */
  DEREGISTER = 'deregister',
  /** They remain, in zones that remain. */
  KEEP = 'keep',
}

/** The number of names that a full pass may delete. Above both limits, it deletes none. */
export interface DeleteLimit {
  /** This number of names may always be deleted: 0 to 10,000. */
  readonly free: number;
  /** This percentage of the managed names may always be deleted: 0 to 100. */
  readonly percent: number;
}

/** A VPC of an environment in `cdk.json`. */
export interface EnvironmentVpc {
  readonly vpcId: string;
  readonly zoneName: string;
  readonly hostedZoneId?: string;
  readonly id?: string;
}

/**
 * A valid environment of `cdk.json`, with all defaults applied. `docs/configuration.md` describes each key, and
 * `parseEnvironments` makes it.
 */
export interface DiscoveryEnvironment {
  readonly account: string;
  readonly region: string;
  readonly vpcs: EnvironmentVpc[];
  readonly clusters: string[];
  readonly nameTemplate: string;
  readonly record: RecordForm;
  readonly ttlSeconds: number;
  readonly negativeTtlSeconds: number;
  readonly deleteLimit: DeleteLimit;
  readonly adopt: boolean;
  readonly register: Registration;
  readonly mode: Mode;
  readonly formerNames: string[];
  readonly trail: TrailSource;
  readonly delivery: Delivery;
  readonly fullPassMinutes: number;
  readonly architecture: string;
  readonly logRetentionDays: RetentionDays;
  readonly kmsKeyArn?: string;
  readonly alarmTopicArn?: string;
  readonly alarms: boolean;
  readonly dashboard: boolean;
  readonly runbookUrl: string;
  readonly permissionsBoundary?: string;
  readonly reservedConcurrency?: number;
  readonly removalPolicy: RemovalPolicy;
  readonly onDestroy: OnDestroy;
  readonly bootstrapQualifier?: string;
  readonly bootstrapRoles: boolean;
  readonly terminationProtection?: boolean;
  readonly operatorPolicies: boolean;
}

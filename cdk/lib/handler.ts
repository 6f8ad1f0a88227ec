import { createHash } from 'node:crypto';
import { Duration, Intrinsic, type RemovalPolicy, Stack, Token } from 'aws-cdk-lib';
import { Effect, PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import {
  Alias,
  Architecture,
  Function as LambdaFunction,
  type IFunction,
  LoggingFormat,
  Runtime,
} from 'aws-cdk-lib/aws-lambda';
import { SqsDestination } from 'aws-cdk-lib/aws-lambda-destinations';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { acknowledge } from './acknowledge.js';
import { DRY_RUN_ALIAS } from './dry-run-alias.js';
import { type Discovery, UNKNOWN_CLUSTER } from './environment.js';
import { EnvironmentError } from './environment-error.js';
import type { HandlerCode } from './handler-code.js';
import { Mode } from './options.js';
import type { VpcZone } from './zones.js';

/**
 * Long enough for a deployment that changes every record of thousands of services at half of Route 53's rate, since
 * CloudFormation waits for it. An event takes less than a second. The CDK's provider function, which invokes the
 * handler for CloudFormation, ends after 15 minutes.
 */
export const HANDLER_TIMEOUT = Duration.minutes(14);

/**
 * The longest time from a full pass to the outcomes of the next one, beyond the interval between them: the timeout of the
 * handler, which writes the outcomes at the end, and a minute for the delivery.
 */
export const FULL_PASS_DELAY = HANDLER_TIMEOUT.toMinutes() + 1;

/**
 * The most characters of the configuration. Lambda allows 4,096 for all environment variables of a function, with their
 * names. The rest is for the name of the variable, the generation, and the id of the resource with the names, which has
 * up to 255 characters.
 */
const CONFIGURATION_SIZE = 3_750;

/** Stands for an id that is known only at deployment. The ids of VPCs and of zones have 21 characters. */
const ID = 'x'.repeat(24);

export interface HandlerProps {
  readonly environment: string;
  readonly discovery: Discovery;
  readonly zones: readonly VpcZone[];
  /** Receives events that the function could not process. */
  readonly deadLetterQueue: IQueue;
  /** Encrypts the log, and the messages of the queues. Without it, keys of AWS do. */
  readonly encryptionKey: IKey | undefined;
  /** Whether the logs remain when the stack is destroyed. */
  readonly removalPolicy: RemovalPolicy;
  /** The id in the template of the custom resource with the names, which is made later. */
  readonly namesResource: string;
  readonly code: HandlerCode;
}

/** The function that registers the services in the zones, with its role and its log group. */
export class Handler extends Construct {
  public readonly function: IFunction;
  /** The function, for dry runs only. */
  public readonly dryRuns: IFunction;
  public readonly role: Role;
  public readonly logGroup: LogGroup;
  /**
   * Differs between any two versions of the function, so that the older one yields during a deployment, and between any
   * two stacks, so that the deletion of a former stack takes no name from its successor.
   */
  public readonly generation: string;

  constructor(scope: Construct, id: string, props: HandlerProps) {
    super(scope, id);
    const { environment, discovery, zones } = props;

    this.logGroup = new LogGroup(this, 'Logs', {
      retention: discovery.logRetentionDays,
      encryptionKey: props.encryptionKey,
      removalPolicy: props.removalPolicy,
    });
    this.role = this.makeRole(discovery, props.encryptionKey);
    const configuration = {
      environment,
      formerNames: discovery.formerNames,
      zones: zonesByName(zones),
      clusters: discovery.clusters,
      nameTemplate: discovery.nameTemplate,
      record: discovery.record,
      ttlSeconds: discovery.ttlSeconds,
      deleteLimit: discovery.deleteLimit,
      adopt: discovery.adopt,
      register: discovery.register,
      checkZones: true,
      ...(discovery.mode === Mode.SYNC ? {} : { mode: discovery.mode }),
    };
    const clusters = discovery.clusters.map((name) => (Token.isUnresolved(name) ? UNKNOWN_CLUSTER : name));
    this.checkSize({ ...configuration, clusters });
    // Other permissions need a full pass, too.
    const permissionsBoundary = discovery.permissionsBoundary && nameInAccount(this, discovery.permissionsBoundary);
    this.generation = this.hash({ ...configuration, permissionsBoundary }, props.code.hash);
    const { generation } = this;
    const made = new LambdaFunction(this, 'Function', {
      description: `Registers the ECS services of ${environment} in Route 53`,
      architecture: discovery.architecture === 'arm64' ? Architecture.ARM_64 : Architecture.X86_64,
      // Lambda assigns processor time in proportion to memory. With 256 MiB a cold start takes milliseconds. A
      // full pass over thousands of services needs much less memory.
      memorySize: 256,
      timeout: HANDLER_TIMEOUT,
      reservedConcurrentExecutions: discovery.reservedConcurrency,
      // Lambda retries a failed event after one and two minutes, and keeps a throttled one up to two hours.
      // After that the dead-letter queue receives it.
      retryAttempts: 2,
      maxEventAge: Duration.hours(2),
      onFailure: new SqsDestination(props.deadLetterQueue),
      role: this.role,
      logGroup: this.logGroup,
      // The handler writes JSON. With this, Lambda's own lines are JSON, too, and the log level can be chosen.
      loggingFormat: LoggingFormat.JSON,
      environment: {
        DISCOVERY_CONFIG: jsonInParts(this, { ...configuration, generation, namesResource: props.namesResource }),
      },
      code: props.code.code,
      runtime: Runtime.PROVIDED_AL2023,
      // Lambda requires a value. The runtime starts the file bootstrap in any case.
      handler: 'bootstrap',
    });
    this.function = made;
    this.dryRuns = new Alias(this, 'DryRuns', {
      aliasName: DRY_RUN_ALIAS,
      version: made.latestVersion,
      description: 'Dry runs only, for people who may look but not change anything',
    });
    const reason =
      'Lambda sends failed events to the on-failure destination, together with the response of the function.';
    acknowledge(
      made,
      { id: 'Serverless-LambdaDLQ', reason },
      {
        id: 'Serverless-LambdaTracing',
        reason:
          'One function calls three APIs, and its log and metrics cover every call. Tracing would add a daemon and its requests to every cold start.',
      },
    );
  }

  /** @throws EnvironmentError if the configuration does not fit into the environment variables of a function */
  private checkSize(configuration: object): void {
    const resolved: unknown = Stack.of(this).resolve(configuration);
    const text = JSON.stringify(resolved, (_key, value: unknown) => (isReference(value) ? ID : value));
    if (text.length <= CONFIGURATION_SIZE) return;
    throw EnvironmentError.ofProperties(
      this.node.scope?.node.path ?? '',
      `vpcs, clusters: expected a configuration of at most ${CONFIGURATION_SIZE} characters, because Lambda limits the environment variables of a function; found ${text.length}. Shorten the list of clusters with patterns, or divide the VPCs among several environments`,
    );
  }

  private hash(settings: object, codeHash: string): string {
    // Tokens have other numbers in each synthesis.
    const resolved: unknown = Stack.of(this).resolve(settings);
    const parts = [this.node.path, codeHash, JSON.stringify(resolved)];
    return createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16);
  }

  private makeRole(discovery: Discovery, encryptionKey: IKey | undefined): Role {
    const stack = Stack.of(this);
    const ecs = (resource: string) => stack.formatArn({ service: 'ecs', resource });
    const statement = (sid: string, actions: string[], resources: string[], conditions = {}) =>
      new PolicyStatement({ sid, effect: Effect.ALLOW, actions, resources, conditions });

    // The constructs of the queues grant the permissions to send to the dead-letter queue and to receive from the others.
    // ZonePermissions grants those for the zones.
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: 'Reads ECS and load balancers, and changes records of its own zones only',
      inlinePolicies: {
        Discovery: new PolicyDocument({
          // Minimizing would merge statements and remove their ids, which the runbook and the tests refer to.
          minimize: false,
          statements: [
            statement('WriteLogs', ['logs:CreateLogStream', 'logs:PutLogEvents'], [this.logGroup.logGroupArn]),
            // ListClusters supports neither resources nor conditions.
            statement('ListClusters', ['ecs:ListClusters'], ['*']),
            // ListServices supports no resources, but the cluster as a condition.
            statement('ListServices', ['ecs:ListServices'], ['*'], {
              ArnLike: { 'ecs:cluster': discovery.clusters.map((glob) => ecs(`cluster/${glob}`)) },
            }),
            statement(
              'DescribeServices',
              ['ecs:DescribeServices'],
              discovery.clusters.map((glob) => ecs(`service/${glob}/*`)),
            ),
            // The Describe calls of Elastic Load Balancing support neither resources nor conditions.
            statement(
              'DescribeLoadBalancers',
              ['elasticloadbalancing:DescribeTargetGroups', 'elasticloadbalancing:DescribeLoadBalancers'],
              ['*'],
            ),
            // Receiving a message needs Decrypt. Sending one needs both: Lambda sends failed events with this role.
            ...(encryptionKey === undefined
              ? []
              : [
                  statement('UseKeyForQueues', ['kms:Decrypt', 'kms:GenerateDataKey'], [encryptionKey.keyArn], {
                    StringLike: {
                      'kms:EncryptionContext:aws:sqs:arn': stack.formatArn({ service: 'sqs', resource: '*' }),
                    },
                  }),
                ]),
          ],
        }),
      },
    });
    acknowledge(
      role,
      {
        id: 'Serverless-LambdaStarPermissions',
        reason: 'These calls do not support resource-level permissions. A comment above each statement names them.',
      },
      {
        id: 'AwsSolutions-IAM5[Resource::*]',
        reason:
          'ecs:ListClusters and the Describe calls of Elastic Load Balancing do not support resource-level permissions. ecs:ListServices supports only a condition on the cluster, which the statement has. The ARN of the log group ends in a wildcard for its log streams.',
      },
      ...discovery.clusters.map((glob) => ({
        id: `AwsSolutions-IAM5[Resource::${arnInFinding(stack, 'ecs', `service/${glob}/*`)}]`,
        reason: 'The wildcard covers the services of the environment’s clusters only.',
      })),
    );
    return role;
  }
}

/** One entry for all zones with the same name. */
function zonesByName(zones: readonly VpcZone[]): object[] {
  const entries = new Map<string, { name: string; vpcs: [string, string][] }>();
  for (const { vpcId, hostedZoneId, name } of zones) {
    const entry = entries.get(name) ?? { name, vpcs: [] };
    entry.vpcs.push([vpcId, hostedZoneId]);
    entries.set(name, entry);
  }
  return [...entries.values()];
}

/** An object as JSON, with a part of the text for each of its keys, so that a diff of two templates shows only the changed ones. */
function jsonInParts(scope: Construct, object: object): string {
  const stack = Stack.of(scope);
  const parts = Object.entries(object).map(
    ([key, value], index) => `${index === 0 ? '{' : ','}${JSON.stringify(key)}:${stack.toJsonString(value)}`,
  );
  // Fn.join would combine the parts that are known before the deployment.
  return Token.asString(new Intrinsic({ 'Fn::Join': ['', [...parts, '}']] }));
}

/** Whether a resolved value is an intrinsic function of CloudFormation, like `{"Ref": "Zone"}`. */
function isReference(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const keys = Object.keys(value);
  return keys.length === 1 && keys.every((key) => key === 'Ref' || key.startsWith('Fn::'));
}

/**
 * The name of a managed policy of the stack's account, or the ARN of another one: an app may refer to the same policy by
 * its name or by its ARN.
 */
function nameInAccount(scope: Construct, policyArn: string): string {
  const own = Stack.of(scope).formatArn({ service: 'iam', region: '', resource: 'policy', resourceName: '' });
  return policyArn.startsWith(own) ? policyArn.slice(own.length) : policyArn;
}

/** The ARN of a stack's resource in the notation of cdk-nag. */
export function arnInFinding(stack: Stack, service: string, resource: string): string {
  return flat(stack.resolve(stack.formatArn({ service, resource })));
}

/** A resolved value as cdk-nag shows it, with references like `<Cluster>` or `<Cluster.Arn>`. */
function flat(value: unknown): string {
  if (typeof value === 'string') return value;
  const { Ref: ref, 'Fn::GetAtt': attribute, 'Fn::Join': joined } = value as Intrinsics;
  if (ref !== undefined) return `<${ref}>`;
  if (attribute !== undefined) return `<${attribute.join('.')}>`;
  if (joined !== undefined) return joined[1].map(flat).join(joined[0]);
  return JSON.stringify(value);
}

interface Intrinsics {
  readonly Ref?: string;
  readonly 'Fn::GetAtt'?: string[];
  readonly 'Fn::Join'?: [separator: string, parts: unknown[]];
}

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { AssetHashType, Duration, FileSystem, type RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Effect, PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, Code, Function as LambdaFunction, type IFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { SqsDestination } from 'aws-cdk-lib/aws-lambda-destinations';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { RustFunction } from 'cargo-lambda-cdk';
import { Construct } from 'constructs';
import { type Discovery, EnvironmentError } from './environment.js';
import type { VpcZone } from './zones.js';

const WORKSPACE = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** A full pass waits for the rate limits of three APIs. An event takes less than a second. */
export const HANDLER_TIMEOUT = Duration.minutes(5);

export interface HandlerProps {
  readonly environment: string;
  readonly discovery: Discovery;
  readonly zones: readonly VpcZone[];
  /** Receives events that the function could not process. */
  readonly failures: IQueue;
  /** Whether the logs remain when the stack is destroyed. */
  readonly removalPolicy: RemovalPolicy;
  /** A folder with the prebuilt handler. By default the handler is built from its sources. */
  readonly handlerCode: string | undefined;
}

/** The function that keeps the zones equal to ECS, with its role and its log group. */
export class Handler extends Construct {
  public readonly function: IFunction;
  public readonly role: Role;
  public readonly logGroup: LogGroup;
  /** The value of `DISCOVERY_CONFIG`. */
  public readonly configuration: string;
  /** A hash of the function's sources. */
  public readonly codeHash: string;

  constructor(scope: Construct, id: string, props: HandlerProps) {
    super(scope, id);
    const { environment, discovery, zones } = props;

    this.logGroup = new LogGroup(this, 'Logs', {
      retention: discovery.logRetentionDays,
      removalPolicy: props.removalPolicy,
    });
    this.role = this.makeRole(discovery);
    this.configuration = Stack.of(this).toJsonString({
      environment,
      formerNames: discovery.formerNames,
      zones: zones.map(({ vpcId, hostedZoneId, name }) => ({ vpcId, hostedZoneId, name })),
      clusters: discovery.clusters,
      nameTemplate: discovery.nameTemplate,
      record: discovery.record,
      ttlSeconds: discovery.ttlSeconds,
      deleteLimit: discovery.deleteLimit,
    });
    const common = {
      description: `Registers the ECS services of ${environment} in Route 53`,
      architecture: discovery.architecture === 'arm64' ? Architecture.ARM_64 : Architecture.X86_64,
      // Processor time grows with memory. 256 MiB suffice for a cold start of milliseconds, and a full pass
      // over thousands of services needs much less memory.
      memorySize: 256,
      timeout: HANDLER_TIMEOUT,
      reservedConcurrentExecutions: discovery.reservedConcurrency,
      // Lambda retries a failed event after one and two minutes, and keeps a throttled one up to two hours.
      // By then a full pass has repaired the name.
      retryAttempts: 2,
      maxEventAge: Duration.hours(2),
      onFailure: new SqsDestination(props.failures),
      role: this.role,
      logGroup: this.logGroup,
      environment: { DISCOVERY_CONFIG: this.configuration },
    };
    let made: LambdaFunction;
    if (props.handlerCode === undefined) {
      this.codeHash = sourceHash(discovery.architecture);
      made = new RustFunction(this, 'Function', {
        ...common,
        manifestPath: path.join(WORKSPACE, 'Cargo.toml'),
        binaryName: 'handler',
        // The hash of the sources, so that the same sources on another machine are no difference to review.
        bundling: { assetHashType: AssetHashType.CUSTOM, assetHash: this.codeHash },
        runtime: 'provided.al2023',
      });
    } else {
      const code = prebuilt(props.handlerCode);
      this.codeHash = FileSystem.fingerprint(props.handlerCode);
      made = new LambdaFunction(this, 'Function', {
        ...common,
        code,
        handler: 'bootstrap',
        runtime: Runtime.PROVIDED_AL2023,
      });
    }
    this.function = made;
    const reason =
      'Failed events go to the on-failure destination, which contains more than a dead-letter queue of the function.';
    Validations.of(made).acknowledge(
      { id: 'Serverless-LambdaDLQ', reason },
      {
        id: 'Serverless-LambdaTracing',
        reason:
          'One function calls three APIs, and its log and metrics cover every call. Tracing would add a daemon and its requests to every cold start.',
      },
    );
  }

  private makeRole(discovery: Discovery): Role {
    const stack = Stack.of(this);
    const ecs = (resource: string) => stack.formatArn({ service: 'ecs', resource });
    const statement = (sid: string, actions: string[], resources: string[], conditions = {}) =>
      new PolicyStatement({ sid, effect: Effect.ALLOW, actions, resources, conditions });

    // The permissions to send to the failure queue, to receive from the event queue and to change records are
    // granted by the constructs that create those.
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: 'Reads ECS and load balancers, and changes records of its own zones only',
      inlinePolicies: {
        Discovery: new PolicyDocument({
          // Minimizing would merge statements and remove the ids that the runbook and the tests refer to.
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
          ],
        }),
      },
    });
    Validations.of(role).acknowledge(
      {
        id: 'Serverless-LambdaStarPermissions',
        reason: 'These calls support no resources. A comment beside each statement explains it.',
      },
      {
        id: 'AwsSolutions-IAM5[Resource::*]',
        reason:
          'ecs:ListClusters and the Describe calls of Elastic Load Balancing support no resources. ecs:ListServices supports only the condition that it has. The ARN of the log group ends in the wildcard of its streams.',
      },
      ...discovery.clusters.map((glob) => ({
        id: `AwsSolutions-IAM5[Resource::${ecsFinding(stack, glob)}]`,
        reason: 'The wildcard covers the services of the environment’s clusters only.',
      })),
    );
    return role;
  }
}

/** The ARN of a cluster's services in the notation of cdk-nag. */
function ecsFinding(stack: Stack, glob: string): string {
  const part = (value: string, name: string) => (value.startsWith('${') ? `<${name}>` : value);
  const partition = part(stack.partition, 'AWS::Partition');
  return `arn:${partition}:ecs:${part(stack.region, 'AWS::Region')}:${part(stack.account, 'AWS::AccountId')}:service/${glob}/*`;
}

/** The code of a prebuilt handler. */
function prebuilt(folder: string): Code {
  if (!existsSync(path.join(folder, 'bootstrap'))) {
    throw new EnvironmentError(
      `handlerCode: expected a folder that contains the file bootstrap; found none in ${folder}. Build the handler there, or omit handlerCode.`,
    );
  }
  return Code.fromAsset(folder);
}

/** A hash of all files that the function is built from. */
function sourceHash(architecture: string): string {
  const hash = createHash('sha256').update(architecture);
  const sources = readdirSync(path.join(WORKSPACE, 'handler/src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.rs'))
    .map((file) => `handler/src/${file.split(path.sep).join('/')}`);
  for (const file of ['Cargo.toml', 'Cargo.lock', 'handler/Cargo.toml', ...sources].sort()) {
    // Git may check out other line endings.
    const text = readFileSync(path.join(WORKSPACE, file), 'utf8').replaceAll('\r\n', '\n');
    hash.update(`\0${file}\0${text}`);
  }
  return hash.digest('hex');
}

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { AssetHashType, Duration, type RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { Effect, PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, type IFunction } from 'aws-cdk-lib/aws-lambda';
import { SqsDestination } from 'aws-cdk-lib/aws-lambda-destinations';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { RustFunction } from 'cargo-lambda-cdk';
import { Construct } from 'constructs';
import type { Discovery } from './environment.js';
import type { VpcZone } from './zones.js';

const WORKSPACE = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** A full pass waits for the rate limits of three APIs. An event takes less than a second. */
export const HANDLER_TIMEOUT = Duration.minutes(5);

export interface HandlerProps {
  readonly environment: string;
  readonly discovery: Discovery;
  readonly zones: readonly VpcZone[];
  /** Where events go that it could not handle. */
  readonly failures: IQueue;
  /** What becomes of the logs with the stack. */
  readonly removalPolicy: RemovalPolicy;
}

/** The function that keeps the zones equal to what ECS says, with its role and its logs. */
export class Handler extends Construct {
  public readonly function: IFunction;
  public readonly role: Role;
  public readonly logGroup: LogGroup;
  /** What the function is told: the value of `DISCOVERY_CONFIG`. */
  public readonly configuration: string;
  /** Changes when the function's code does. */
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
    this.codeHash = sourceHash(discovery.architecture);
    const made = new RustFunction(this, 'Function', {
      description: `Registers the ECS services of ${environment} in Route 53`,
      manifestPath: path.join(WORKSPACE, 'Cargo.toml'),
      binaryName: 'handler',
      // By what it is built from: the same source in another folder, or on another machine, is no
      // difference that anyone would have to review.
      bundling: { assetHashType: AssetHashType.CUSTOM, assetHash: this.codeHash },
      runtime: 'provided.al2023',
      architecture: discovery.architecture === 'arm64' ? Architecture.ARM_64 : Architecture.X86_64,
      // Memory buys processor time: at 256 MiB a cold start is a matter of milliseconds, and a
      // full pass over thousands of services fits many times over.
      memorySize: 256,
      timeout: HANDLER_TIMEOUT,
      reservedConcurrentExecutions: discovery.reservedConcurrency,
      // An event that was handed over is tried twice more, after one and two minutes, and kept at
      // most so long while the function is throttled. The next full pass has repaired it by then.
      retryAttempts: 2,
      maxEventAge: Duration.hours(2),
      onFailure: new SqsDestination(props.failures),
      role: this.role,
      logGroup: this.logGroup,
      environment: { DISCOVERY_CONFIG: this.configuration },
    });
    this.function = made;
    const reason = 'Events that fail go to the on-failure destination, which tells more than a dead-letter queue of the function.';
    Validations.of(made).acknowledge(
      { id: 'Serverless-LambdaDLQ', reason },
      {
        id: 'Serverless-LambdaTracing',
        reason: 'One function that calls three APIs: its log and metrics tell each call. Tracing would put a daemon and its calls into every cold start.',
      },
    );
  }

  private makeRole(discovery: Discovery): Role {
    const stack = Stack.of(this);
    const ecs = (resource: string) => stack.formatArn({ service: 'ecs', resource });
    const statement = (sid: string, actions: string[], resources: string[], conditions = {}) =>
      new PolicyStatement({ sid, effect: Effect.ALLOW, actions, resources, conditions });

    // Sending to the failure queue, receiving from the event queue and changing records are
    // granted where those are made.
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: 'Reads ECS and load balancers, and writes the records of its own zones only',
      inlinePolicies: {
        Discovery: new PolicyDocument({
          // Merged, they would lose the ids by which the runbook and the tests know them.
          minimize: false,
          statements: [
            statement('WriteLogs', ['logs:CreateLogStream', 'logs:PutLogEvents'], [this.logGroup.logGroupArn]),
            // ListClusters knows no resources and no conditions.
            statement('ListClusters', ['ecs:ListClusters'], ['*']),
            // ListServices knows no resources, but the cluster as a condition.
            statement('ListServices', ['ecs:ListServices'], ['*'], {
              ArnLike: { 'ecs:cluster': discovery.clusters.map((glob) => ecs(`cluster/${glob}`)) },
            }),
            statement(
              'DescribeServices',
              ['ecs:DescribeServices'],
              discovery.clusters.map((glob) => ecs(`service/${glob}/*`)),
            ),
            // No Describe call of Elastic Load Balancing knows resources or conditions.
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
        reason: 'The calls that know no resources, each said beside its statement.',
      },
      {
        id: 'AwsSolutions-IAM5[Resource::*]',
        reason:
          'ecs:ListClusters and the Describe calls of Elastic Load Balancing know no resources; ecs:ListServices knows only the condition that it carries; the log group’s ARN ends in the wildcard of its streams.',
      },
      ...discovery.clusters.map((glob) => ({
        id: `AwsSolutions-IAM5[Resource::${ecsFinding(stack, glob)}]`,
        reason: 'Any service of the environment’s clusters, which are what the wildcard is limited to.',
      })),
    );
    return role;
  }
}

/** How a check writes the ARN of a cluster's services. */
function ecsFinding(stack: Stack, glob: string): string {
  const part = (value: string, name: string) => (value.startsWith('${') ? `<${name}>` : value);
  const partition = part(stack.partition, 'AWS::Partition');
  return `arn:${partition}:ecs:${part(stack.region, 'AWS::Region')}:${part(stack.account, 'AWS::AccountId')}:service/${glob}/*`;
}

/** A hash of all that the function is built from. */
function sourceHash(architecture: string): string {
  const hash = createHash('sha256').update(architecture);
  const sources = readdirSync(path.join(WORKSPACE, 'handler/src'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.rs'))
    .map((file) => `handler/src/${file.split(path.sep).join('/')}`);
  for (const file of ['Cargo.toml', 'Cargo.lock', 'handler/Cargo.toml', ...sources].sort()) {
    // However Git checked it out.
    const text = readFileSync(path.join(WORKSPACE, file), 'utf8').replaceAll('\r\n', '\n');
    hash.update(`\0${file}\0${text}`);
  }
  return hash.digest('hex');
}

import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Duration, type RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Effect, PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, type IFunction } from 'aws-cdk-lib/aws-lambda';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { RustFunction } from 'cargo-lambda-cdk';
import { Construct } from 'constructs';
import type { Environment } from './environment.js';
import type { VpcZone } from './zones.js';

const WORKSPACE = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../Cargo.toml');

export interface HandlerProps {
  readonly name: string;
  readonly environment: Environment;
  readonly zones: readonly VpcZone[];
  /** What becomes of the logs with the stack. */
  readonly removalPolicy: RemovalPolicy;
}

/** The function that keeps the zones equal to what ECS says, with its role and its logs. */
export class Handler extends Construct {
  public readonly function: IFunction;
  public readonly logGroup: LogGroup;

  constructor(scope: Construct, id: string, props: HandlerProps) {
    super(scope, id);
    const { name, environment, zones } = props;

    this.logGroup = new LogGroup(this, 'Logs', {
      retention: environment.logRetentionDays,
      removalPolicy: props.removalPolicy,
    });
    this.function = new RustFunction(this, 'Function', {
      description: `Registers the ECS services of ${name} in Route 53`,
      manifestPath: WORKSPACE,
      binaryName: 'handler',
      runtime: 'provided.al2023',
      architecture: environment.architecture === 'arm64' ? Architecture.ARM_64 : Architecture.X86_64,
      // Memory buys processor time: at 256 MiB a cold start is a matter of milliseconds, and a
      // full pass over thousands of services fits many times over.
      memorySize: 256,
      // A full pass waits for the rate limits of three APIs. An event takes less than a second.
      timeout: Duration.minutes(5),
      role: this.role(environment, zones),
      logGroup: this.logGroup,
      environment: {
        DISCOVERY_CONFIG: Stack.of(this).toJsonString({
          environment: name,
          zones,
          clusters: environment.clusters,
          nameTemplate: environment.nameTemplate,
          record: environment.record,
          ttlSeconds: environment.ttlSeconds,
          deleteLimit: environment.deleteLimit,
        }),
      },
    });
  }

  private role(environment: Environment, zones: readonly VpcZone[]): Role {
    const stack = Stack.of(this);
    const ecs = (resource: string) => stack.formatArn({ service: 'ecs', resource });
    const zoneArns = [...new Set(zones.map((zone) => zone.hostedZoneId))].map(
      (id) => `arn:${stack.partition}:route53:::hostedzone/${id}`,
    );
    const statement = (actions: string[], resources: string[], conditions = {}) =>
      new PolicyStatement({ effect: Effect.ALLOW, actions, resources, conditions });

    return new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: 'Reads ECS and load balancers, and writes the records of its own zones only',
      inlinePolicies: {
        Discovery: new PolicyDocument({
          statements: [
            statement(['logs:CreateLogStream', 'logs:PutLogEvents'], [this.logGroup.logGroupArn]),
            // ListClusters knows no resources and no conditions.
            statement(['ecs:ListClusters'], ['*']),
            // ListServices knows no resources, but the cluster as a condition.
            statement(['ecs:ListServices'], ['*'], {
              ArnLike: { 'ecs:cluster': environment.clusters.map((glob) => ecs(`cluster/${glob}`)) },
            }),
            statement(
              ['ecs:DescribeServices'],
              environment.clusters.map((glob) => ecs(`service/${glob}/*`)),
            ),
            // No Describe call of Elastic Load Balancing knows resources or conditions.
            statement(
              ['elasticloadbalancing:DescribeTargetGroups', 'elasticloadbalancing:DescribeLoadBalancers'],
              ['*'],
            ),
            statement(['route53:ListResourceRecordSets'], zoneArns),
            statement(['route53:ChangeResourceRecordSets'], zoneArns, {
              // All changes of a batch have to meet these, so each is compared.
              'ForAllValues:StringEquals': {
                'route53:ChangeResourceRecordSetsRecordTypes': ['A', 'AAAA', 'CNAME', 'TXT'],
                'route53:ChangeResourceRecordSetsActions': ['CREATE', 'DELETE'],
              },
              'ForAllValues:StringLike': {
                // Below the zone, so never its apex.
                'route53:ChangeResourceRecordSetsNormalizedRecordNames': [
                  ...new Set(zones.map((zone) => `*.${zone.name}`)),
                ],
              },
            }),
          ],
        }),
      },
    });
  }
}

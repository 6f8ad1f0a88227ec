import { Stack } from 'aws-cdk-lib';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { IFunction } from 'aws-cdk-lib/aws-lambda';
import type { ILogGroup } from 'aws-cdk-lib/aws-logs';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import type { IConstruct } from 'constructs';
import { acknowledge } from './acknowledge.js';
import { arnInFinding } from './handler.js';
import type { VpcZone } from './zones.js';

/** What the command line tool reads and changes. */
export interface OperatorsProps {
  readonly handler: IFunction;
  /** The handler, for dry runs only. */
  readonly dryRuns: IFunction;
  readonly logGroup: ILogGroup;
  readonly zones: readonly VpcZone[];
  readonly clusters: readonly string[];
  readonly eventQueue: IQueue;
  readonly loadBalancerCalls: IQueue;
  readonly deadLetterQueue: IQueue;
  readonly encryptionKey: IKey | undefined;
}

type Statement = readonly [
  actions: string[],
  resources: string[],
  conditions?: Record<string, Record<string, unknown>>,
];

/** The permissions of people and pipelines that use the command line tool. */
export class Operators {
  constructor(
    private readonly stack: Stack,
    private readonly props: OperatorsProps,
  ) {}

  /** Every command that changes nothing. */
  grantRead(grantee: IGrantable): Grant {
    return grant(grantee, this.reads());
  }

  /** The commands that change something, too. */
  grantOperate(grantee: IGrantable): Grant {
    const { handler, deadLetterQueue, eventQueue, encryptionKey } = this.props;
    const changes: Statement[] = [
      [['lambda:InvokeFunction'], [handler.functionArn]],
      [
        [
          'sqs:ReceiveMessage',
          'sqs:ChangeMessageVisibility',
          'sqs:DeleteMessage',
          'sqs:StartMessageMoveTask',
          'sqs:ListMessageMoveTasks',
          'sqs:CancelMessageMoveTask',
        ],
        [deadLetterQueue.queueArn],
      ],
      [['sqs:SendMessage'], [eventQueue.queueArn]],
    ];
    if (encryptionKey !== undefined) {
      const queue = { 'kms:EncryptionContext:aws:sqs:arn': this.stack.formatArn({ service: 'sqs', resource: '*' }) };
      const actions = ['kms:Decrypt', 'kms:GenerateDataKey'];
      changes.push([actions, [encryptionKey.keyArn], { StringLike: queue }]);
    }
    return grant(grantee, [...this.reads(), ...changes]);
  }

  private reads(): Statement[] {
    const { stack, props } = this;
    const arn = (service: string, resource: string) => stack.formatArn({ service, resource });
    const zones = props.zones.map(({ hostedZoneId }) => `arn:${stack.partition}:route53:::hostedzone/${hostedZoneId}`);
    const queues = [props.eventQueue, props.loadBalancerCalls, props.deadLetterQueue];
    return [
      [['lambda:InvokeFunction'], [props.dryRuns.functionArn]],
      // The tool knows the name of the stack and not its id.
      [['cloudformation:DescribeStacks'], [arn('cloudformation', `stack/${stack.stackName}/*`)]],
      [
        ['lambda:GetFunctionConfiguration', 'lambda:GetFunctionEventInvokeConfig', 'lambda:GetFunctionConcurrency'],
        // The configuration for asynchronous events belongs to the version $LATEST.
        [props.handler.functionArn, `${props.handler.functionArn}:$LATEST`],
      ],
      [['ecs:DescribeServices'], props.clusters.map((glob) => arn('ecs', `service/${glob}/*`))],
      [['route53:GetHostedZone', 'route53:GetHostedZoneLimit', 'route53:ListResourceRecordSets'], zones],
      // CloudFormation's ARN ends in `:*`. Logs may also ask for permission without that.
      [
        ['logs:StartQuery', 'logs:FilterLogEvents'],
        [props.logGroup.logGroupArn, arn('logs', `log-group:${props.logGroup.logGroupName}`)],
      ],
      [['sqs:GetQueueUrl', 'sqs:GetQueueAttributes'], queues.map((queue) => queue.queueArn)],
      [['events:DescribeRule'], [arn('events', 'rule/*')]],
      // The trail may belong to another region, or to the management account of the organization.
      [
        ['cloudtrail:GetTrailStatus', 'cloudtrail:GetEventSelectors'],
        [`arn:${stack.partition}:cloudtrail:*:*:trail/*`],
      ],
      // None of these calls supports resources.
      [
        [
          'cloudtrail:DescribeTrails',
          'elasticloadbalancing:DescribeListeners',
          'elasticloadbalancing:DescribeLoadBalancers',
          'elasticloadbalancing:DescribeRules',
          'elasticloadbalancing:DescribeTargetGroups',
          'events:ListRuleNamesByTarget',
          'lambda:ListEventSourceMappings',
          // The call is about all groups whose names begin with a prefix.
          'logs:DescribeLogGroups',
          'logs:GetQueryResults',
          'logs:StopQuery',
        ],
        ['*'],
      ],
    ];
  }
}

function grant(grantee: IGrantable, statements: readonly Statement[]): Grant {
  const grants = statements.map(([actions, resourceArns, conditions]) =>
    Grant.addToPrincipal({ grantee, actions, resourceArns, ...(conditions === undefined ? {} : { conditions }) }),
  );
  return grants.reduce((all, one) => all.combine(one));
}

/** Acknowledges the wildcards in a policy for operators. */
export function acknowledgeWildcards(policy: IConstruct, clusters: readonly string[]): void {
  const stack = Stack.of(policy);
  const [, partition] = arnInFinding(stack, '', '').split(':');
  const found: Record<string, string> = {
    '*': 'The list and describe calls of these APIs do not support resource-level permissions.',
    [`arn:${partition ?? ''}:cloudtrail:*:*:trail/*`]:
      'The trail may belong to another region, or to the management account of the organization. The calls only read.',
    [arnInFinding(stack, 'cloudformation', `stack/${stack.stackName}/*`)]:
      'The wildcard stands for the id of the environment’s own stack, which the command line tool does not know.',
    [arnInFinding(stack, 'events', 'rule/*')]:
      'The command doctor finds the rules by their targets. The calls only read them.',
  };
  for (const glob of clusters) {
    found[arnInFinding(stack, 'ecs', `service/${glob}/*`)] =
      'The wildcard covers the services of the environment’s clusters only, and the call only reads.';
  }
  const all = Object.entries(found).map(([resource, reason]) => ({
    id: `AwsSolutions-IAM5[Resource::${resource}]`,
    reason,
  }));
  acknowledge(policy, ...all);
}

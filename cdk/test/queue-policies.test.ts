/** Who may use the queues. */
import { expect, test } from 'vitest';
import { idOf, KEY, type Statement, statements, template } from './stacks.js';

interface QueuePolicy {
  Properties: { Queues: { Ref: string }[]; PolicyDocument: { Statement: Statement[] } };
}

/** All rules with a retry policy. The next event of the schedule does the work of a lost one. */
const RETRIED = ['ApiCalls', 'LoadBalancers', 'Deployments', 'Tags'];

test.each([
  ['direct', []],
  ['queue', ['ApiCalls', 'Deployments', 'Tags', 'FullPass']],
])('the policies of the queues admit only rules of the stack, with delivery %s and with a key', (delivery, rules) => {
  for (const kmsKeyArn of [undefined, KEY]) {
    const made = template({ delivery, kmsKeyArn });
    const arn = (type: string, begins: string) => ({ 'Fn::GetAtt': [idOf(made, type, `Discovery${begins}`), 'Arn'] });
    const policy = (queue: string, senders: string[]) => {
      const Resource = arn('AWS::SQS::Queue', `${queue}Queue`);
      const withoutTls = { Bool: { 'aws:SecureTransport': 'false' } };
      return [
        { Effect: 'Deny', Principal: { AWS: '*' }, Action: 'sqs:*', Resource, Condition: withoutTls },
        ...senders.map((rule) => ({
          Effect: 'Allow',
          Principal: { Service: 'events.amazonaws.com' },
          Action: 'sqs:SendMessage',
          Resource,
          Condition: { ArnEquals: { 'aws:SourceArn': arn('AWS::Events::Rule', `Triggers${rule}`) } },
        })),
      ];
    };
    const found = Object.values(made.findResources('AWS::SQS::QueuePolicy') as Record<string, QueuePolicy>);
    const policies = found.map(({ Properties: { Queues, PolicyDocument } }) => [
      Queues.map(({ Ref }) => /^Discovery(\w+)Queue/.exec(Ref)?.[1]).join(),
      PolicyDocument.Statement.map((statement) => ({ ...statement, Sid: undefined })),
    ]);
    expect(Object.fromEntries(policies)).toEqual({
      Failures: policy('Failures', RETRIED),
      Events: policy('Events', rules),
      LoadBalancerCalls: policy('LoadBalancerCalls', ['LoadBalancers']),
    });
  }
});

test('the handler may send to the dead-letter queue, and not read it', () => {
  const made = template();
  const queue = { 'Fn::GetAtt': [idOf(made, 'AWS::SQS::Queue', 'DiscoveryFailuresQueue'), 'Arn'] };
  const about = statements(made, 'DiscoveryHandlerRole').filter(({ Resource }) =>
    JSON.stringify(Resource).includes(JSON.stringify(queue)),
  );
  expect(about).toEqual([{ Effect: 'Allow', Action: 'sqs:SendMessage', Resource: queue }]);
});

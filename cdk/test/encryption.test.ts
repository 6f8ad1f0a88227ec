/** The option `kmsKeyArn`. */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Match } from 'aws-cdk-lib/assertions';
import { expect, test } from 'vitest';
import { KEY, root, statements, template } from './stacks.js';

interface KeyStatement {
  Principal: { Service?: string; AWS?: string };
  Action: string[];
  Condition: Record<string, Record<string, string>>;
}

const kms = (options: object, role: string) =>
  statements(template(options), role).filter(({ Action }) => [Action].flat().some((name) => name.startsWith('kms:')));

test('a given key encrypts the queues, the logs and the log files of the trail', () => {
  const made = template({ kmsKeyArn: KEY, removalPolicy: 'destroy' });
  made.resourceCountIs('AWS::SQS::Queue', 3);
  made.resourceCountIs('AWS::Logs::LogGroup', 3);
  made.allResourcesProperties('AWS::SQS::Queue', { KmsMasterKeyId: KEY, SqsManagedSseEnabled: Match.absent() });
  made.allResourcesProperties('AWS::Logs::LogGroup', { KmsKeyId: KEY });
  made.allResourcesProperties('AWS::CloudTrail::Trail', { KMSKeyId: KEY });
});

test('without a given key, AWS encrypts them, and no role has a permission for a key', () => {
  const made = template();
  made.allResourcesProperties('AWS::SQS::Queue', { KmsMasterKeyId: Match.absent(), SqsManagedSseEnabled: true });
  made.allResourcesProperties('AWS::Logs::LogGroup', { KmsKeyId: Match.absent() });
  made.allResourcesProperties('AWS::CloudTrail::Trail', { KMSKeyId: Match.absent() });
  expect(JSON.stringify(made.toJSON())).not.toContain('kms:');
});

test('only the handler may use the key, and only for messages of queues', () => {
  expect(kms({ kmsKeyArn: KEY }, 'DiscoveryHandlerRole')).toEqual([
    {
      Sid: 'UseKeyForQueues',
      Effect: 'Allow',
      Action: ['kms:Decrypt', 'kms:GenerateDataKey'],
      Resource: KEY,
      Condition: { StringLike: { 'kms:EncryptionContext:aws:sqs:arn': 'arn:aws:sqs:eu-west-1:111122223333:*' } },
    },
  ]);
  expect(JSON.stringify(template({ kmsKeyArn: KEY }).toJSON()).match(/"kms:(Decrypt|GenerateDataKey)/g)).toHaveLength(
    2,
  );
});

test('the statements for the policy of the key admit the three services, each for the account of the stack only', () => {
  const text = readFileSync(path.join(root, 'SECURITY.md'), 'utf8');
  const policy = JSON.parse(/```json\n([^]*?)```/.exec(text)?.[1] ?? '') as KeyStatement[];
  const actions = (name: string) =>
    policy.filter(({ Principal }) => Principal.Service === name).flatMap(({ Action }) => Action);
  expect([...new Set(policy.map(({ Principal }) => Principal.Service ?? Principal.AWS))]).toEqual([
    'events.amazonaws.com',
    'logs.eu-west-1.amazonaws.com',
    'cloudtrail.amazonaws.com',
    'arn:aws:iam::111122223333:root',
  ]);
  expect(actions('events.amazonaws.com')).toEqual(['kms:GenerateDataKey', 'kms:Decrypt']);
  expect(actions('cloudtrail.amazonaws.com')).toEqual(['kms:GenerateDataKey*', 'kms:DescribeKey']);
  for (const { Condition } of policy) {
    for (const value of Object.values(Condition).flatMap((keys) => Object.values(keys))) {
      expect(value).toContain('111122223333');
    }
  }
  // The role of the handler, in an account whose IAM policies the key respects.
  const [own] = kms({ kmsKeyArn: KEY }, 'DiscoveryHandlerRole');
  expect(policy.at(-1)?.Action).toEqual(own?.Action);
});

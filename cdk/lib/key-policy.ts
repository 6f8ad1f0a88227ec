/** What the services of AWS may do with a key of the app. The policy of an imported key stays as it is. */
import { Stack, Token } from 'aws-cdk-lib';
import { PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';

/** The same statements as in SECURITY.md. Without them, events are lost and log groups cannot be created. */
export function allowServices(scope: Construct, key: IKey, { withTrail }: { withTrail: boolean }): void {
  const stack = Stack.of(scope);
  const { account, partition, region } = stack;
  // The name of a nested stack is known only at deployment.
  const prefix = Token.isUnresolved(stack.stackName) ? '' : `${stack.stackName}-`;
  const allow = (sid: string, service: string, actions: string[], conditions: Record<string, object>) =>
    key.addToResourcePolicy(
      new PolicyStatement({ sid, principals: [new ServicePrincipal(service)], actions, resources: ['*'], conditions }),
    );
  allow('EventBridgeSendsToTheQueues', 'events.amazonaws.com', ['kms:GenerateDataKey', 'kms:Decrypt'], {
    StringEquals: { 'aws:SourceAccount': account },
  });
  const logActions = ['kms:Encrypt*', 'kms:Decrypt*', 'kms:ReEncrypt*', 'kms:GenerateDataKey*', 'kms:Describe*'];
  const logGroups = `arn:${partition}:logs:${region}:${account}:log-group:${prefix}*`;
  allow('CloudWatchEncryptsTheLogs', `logs.${region}.amazonaws.com`, logActions, {
    ArnLike: { 'kms:EncryptionContext:aws:logs:arn': logGroups },
  });
  if (!withTrail) return;
  const ofTrail = { ArnLike: { 'aws:SourceArn': `arn:${partition}:cloudtrail:${region}:${account}:trail/${prefix}*` } };
  allow('CloudTrailEncryptsTheLogFiles', 'cloudtrail.amazonaws.com', ['kms:GenerateDataKey*'], {
    ...ofTrail,
    StringLike: { 'kms:EncryptionContext:aws:cloudtrail:arn': `arn:${partition}:cloudtrail:*:${account}:trail/*` },
  });
  allow('CloudTrailDescribesTheKey', 'cloudtrail.amazonaws.com', ['kms:DescribeKey'], ofTrail);
}

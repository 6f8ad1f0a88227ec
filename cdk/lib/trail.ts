import { CfnResource, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { ReadWriteType, Trail } from 'aws-cdk-lib/aws-cloudtrail';
import {
  Effect,
  type IManagedPolicy,
  PermissionsBoundary,
  PolicyStatement,
  ServicePrincipal,
} from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import { BlockPublicAccess, Bucket, BucketEncryption } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { acknowledge } from './acknowledge.js';

export interface ApiCallTrailProps {
  /** Whether the bucket and its log files remain when the stack is destroyed. */
  readonly removalPolicy: RemovalPolicy;
  readonly logRetentionDays: RetentionDays;
  /** Encrypts the log files. Without it, a key of S3 does. */
  readonly encryptionKey: IKey | undefined;
  readonly permissionsBoundary: IManagedPolicy | undefined;
}

/**
 * A trail that logs write management events.
 *
 * EventBridge receives API calls only while the region has such a trail. The handler does not read the log
 * files. The bucket keeps them for 90 days, for audits.
 */
export class ApiCallTrail extends Construct {
  constructor(scope: Construct, id: string, props: ApiCallTrailProps) {
    super(scope, id);
    const isDestroyed = props.removalPolicy === RemovalPolicy.DESTROY;
    const bucket = new Bucket(this, 'Bucket', {
      encryption: BucketEncryption.S3_MANAGED,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      enforceSSL: true,
      lifecycleRules: [{ expiration: Duration.days(90), abortIncompleteMultipartUploadAfter: Duration.days(7) }],
      // If a first deployment fails, CloudFormation could not delete a bucket into which CloudTrail has written, and the
      // rollback would fail, too. The bucket has a generated name, so it is in nobody's way.
      removalPolicy: isDestroyed ? RemovalPolicy.DESTROY : RemovalPolicy.RETAIN,
      // CloudFormation can delete only an empty bucket.
      autoDeleteObjects: isDestroyed,
    });
    if (isDestroyed) this.governDeletion(props);
    acknowledge(bucket, {
      id: 'AwsSolutions-S1',
      reason:
        'The bucket contains log files only, and digest files reveal any change of them. A trail of data events can record who reads them.',
    });
    // CloudTrail also works for other accounts, which must not make it write here. The trail cannot be named, because it
    // depends on this policy.
    bucket.addToResourcePolicy(
      new PolicyStatement({
        sid: 'DenyTrailsOfOthers',
        effect: Effect.DENY,
        principals: [new ServicePrincipal('cloudtrail.amazonaws.com')],
        actions: ['s3:*'],
        resources: [bucket.bucketArn, bucket.arnForObjects('*')],
        conditions: {
          ArnNotLike: { 'aws:SourceArn': Stack.of(this).formatArn({ service: 'cloudtrail', resource: 'trail/*' }) },
        },
      }),
    );
    new Trail(this, 'Trail', {
      bucket,
      encryptionKey: props.encryptionKey,
      managementEvents: ReadWriteType.WRITE_ONLY,
      enableFileValidation: true,
      // An environment has clusters in one region only.
      isMultiRegionTrail: false,
      includeGlobalServiceEvents: false,
    });
  }

  /**
   * Gives the CDK's function that empties the bucket a log group and the boundary. It is outside of the construct. Lambda
   * would make a log group outside of the stack, and keep the log for good.
   */
  private governDeletion({ logRetentionDays, encryptionKey, permissionsBoundary }: ApiCallTrailProps): void {
    const logGroup = new LogGroup(this, 'DeletionLogs', {
      retention: logRetentionDays,
      encryptionKey,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const provider = Stack.of(this).node.findChild('Custom::S3AutoDeleteObjectsCustomResourceProvider');
    if (permissionsBoundary !== undefined) PermissionsBoundary.of(provider).apply(permissionsBoundary);
    const handler = provider.node.findChild('Handler');
    if (!CfnResource.isCfnResource(handler)) throw new Error(`${handler.node.path} is no resource`);
    handler.addPropertyOverride('LoggingConfig.LogGroup', logGroup.logGroupName);
  }
}

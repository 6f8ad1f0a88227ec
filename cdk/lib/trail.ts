import { Duration, RemovalPolicy, Validations } from 'aws-cdk-lib';
import { ReadWriteType, Trail } from 'aws-cdk-lib/aws-cloudtrail';
import { BlockPublicAccess, Bucket, BucketEncryption } from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';

export interface ApiCallTrailProps {
  /** What becomes of the bucket, and of the log files in it, with the stack. */
  readonly removalPolicy: RemovalPolicy;
}

/**
 * A trail that logs the calls which change something.
 *
 * EventBridge gets API calls only while the region has a trail that logs management events. The
 * log files themselves are not used; they are kept for a while, for whoever asks who did what.
 */
export class ApiCallTrail extends Construct {
  constructor(scope: Construct, id: string, props: ApiCallTrailProps) {
    super(scope, id);
    const bucket = new Bucket(this, 'Bucket', {
      encryption: BucketEncryption.S3_MANAGED,
      blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
      enforceSSL: true,
      lifecycleRules: [{ expiration: Duration.days(90), abortIncompleteMultipartUploadAfter: Duration.days(7) }],
      removalPolicy: props.removalPolicy,
      // A bucket that is not empty cannot be deleted.
      autoDeleteObjects: props.removalPolicy === RemovalPolicy.DESTROY,
    });
    Validations.of(bucket).acknowledge({
      id: 'AwsSolutions-S1',
      reason: 'It holds a log itself, validated by digests, that nothing here reads. Who wants its readers logged, too, has a trail of data events.',
    });
    new Trail(this, 'Trail', {
      bucket,
      managementEvents: ReadWriteType.WRITE_ONLY,
      enableFileValidation: true,
      // The clusters of one region are watched, and one region's events are paid for.
      isMultiRegionTrail: false,
      includeGlobalServiceEvents: false,
    });
  }
}

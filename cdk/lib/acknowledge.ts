/** Reasons for findings of cdk-nag that stay. */
import { type Acknowledgment, Validations } from 'aws-cdk-lib';
import type { IConstruct } from 'constructs';
import { cdkIsAtLeast } from './cdk-version.js';

/** Acknowledges findings of a construct, each with its reason. With an older CDK, cdk-nag reports them. */
export function acknowledge(construct: IConstruct, ...rules: Acknowledgment[]): void {
  // Earlier versions refuse acknowledgments of findings with ARNs.
  if (cdkIsAtLeast('2.270.0')) Validations.of(construct).acknowledge(...rules);
}

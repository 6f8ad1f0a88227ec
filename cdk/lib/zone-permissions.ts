import { createHash } from 'node:crypto';
import { Stack } from 'aws-cdk-lib';
import { Effect, type IRole, ManagedPolicy, PolicyDocument, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import { EnvironmentError } from './environment-error.js';
import type { VpcZone } from './zones.js';

/** IAM's limit for the characters of a managed policy, without white space. */
const POLICY_SIZE = 6_144;

/** The characters of a policy without its zones, at most. */
const EMPTY_POLICY_SIZE = 1_400;

/** The characters of a zone's ARN in a list, at most. */
const ARN_SIZE = 71;

/**
 * IAM attaches at most ten managed policies to a role. An update that adds a zone needs the new policies and the former
 * ones at the same time.
 */
const MOST_POLICIES = 5;

/** `ForAllValues` also matches a request without any value, so each key has to be present. */
const PRESENT = {
  Null: {
    'route53:ChangeResourceRecordSetsRecordTypes': 'false',
    'route53:ChangeResourceRecordSetsActions': 'false',
    'route53:ChangeResourceRecordSetsNormalizedRecordNames': 'false',
  },
};

/** Values of condition keys. */
type Condition = Record<string, string[]>;

export interface ZonePermissionsProps {
  readonly role: IRole;
  readonly zones: readonly VpcZone[];
}

/**
 * The permissions of the handler in Route 53, for the zones of the environment and no others: to read the zone
 * and its records, to create and delete records below it, and to set the negative TTL of zones that the stack creates.
 *
 * Managed policies contain the statements of several zones, because the inline policies of a role together may have
 * only 10,240 characters.
 *
 * @throws EnvironmentError if IAM would not accept the policies of so many zones
 */
export class ZonePermissions extends Construct {
  constructor(scope: Construct, id: string, props: ZonePermissionsProps) {
    super(scope, id);
    const groups = separateNested(props.zones).flatMap(withinPolicySize);
    if (groups.length > MOST_POLICIES) {
      throw EnvironmentError.ofProperties(
        scope.node.path,
        `vpcs: expected fewer VPCs in one environment; found ${props.zones.length} zones, whose permissions need ${groups.length} policies of IAM instead of at most ${MOST_POLICIES}`,
      );
    }
    for (const zones of groups) {
      // Other zones make another policy. CloudFormation attaches it before it deletes the former one, so at no time does
      // the handler lack a permission, also not the one to deregister a zone that leaves.
      const hash = createHash('sha256').update(zones.map((zone) => zone.id).join('\n'));
      new ManagedPolicy(this, hash.digest('hex').slice(0, 8), {
        description: 'Reads and changes the records of the zones of service discovery',
        roles: [props.role],
        document: new PolicyDocument({
          // Minimizing would merge statements and remove their ids, which the runbook and the tests refer to.
          minimize: false,
          statements: this.statements(zones),
        }),
      });
    }
  }

  private statements(zones: readonly VpcZone[]): PolicyStatement[] {
    const arns = (some: readonly VpcZone[]) =>
      some.map((zone) => `arn:${Stack.of(this).partition}:route53:::hostedzone/${zone.hostedZoneId}`);
    const created = zones.filter((zone) => zone.isCreated);
    const changes = (sid: string, some: readonly VpcZone[], equals: Condition, like?: Condition) =>
      new PolicyStatement({
        sid,
        effect: Effect.ALLOW,
        actions: ['route53:ChangeResourceRecordSets'],
        resources: arns(some),
        conditions: {
          // Every change of a batch has to meet these conditions. Route 53 itself requires that the names are in the
          // zone that the batch changes.
          'ForAllValues:StringEquals': equals,
          ...(like && { 'ForAllValues:StringLike': like }),
          ...PRESENT,
        },
      });
    const names = (some: readonly VpcZone[]) => [...new Set(some.map(({ name }) => name))];
    const made = [
      new PolicyStatement({
        sid: 'ReadZones',
        effect: Effect.ALLOW,
        actions: ['route53:GetHostedZone', 'route53:ListResourceRecordSets'],
        resources: arns(zones),
      }),
      changes(
        'ChangeRecords',
        zones,
        {
          'route53:ChangeResourceRecordSetsRecordTypes': ['A', 'AAAA', 'CNAME', 'TXT'],
          'route53:ChangeResourceRecordSetsActions': ['CREATE', 'DELETE'],
        },
        // Names below the zone only, never its apex.
        { 'route53:ChangeResourceRecordSetsNormalizedRecordNames': names(zones).map((name) => `*.${name}`) },
      ),
    ];
    if (created.length > 0) {
      made.push(
        changes('ChangeSoa', created, {
          'route53:ChangeResourceRecordSetsRecordTypes': ['SOA'],
          'route53:ChangeResourceRecordSetsActions': ['UPSERT'],
          'route53:ChangeResourceRecordSetsNormalizedRecordNames': names(created),
        }),
      );
    }
    return made;
  }
}

/**
 * Groups of zones of which none is within another one. The pattern `*.internal` would also allow to change the apex of
 * the zone `dev.internal`.
 */
function separateNested(zones: readonly VpcZone[]): VpcZone[][] {
  const groups: VpcZone[][] = [];
  const isNested = ({ name }: VpcZone, other: VpcZone) =>
    name.endsWith(`.${other.name}`) || other.name.endsWith(`.${name}`);
  for (const zone of zones) {
    const group = groups.find((group) => !group.some((other) => isNested(zone, other)));
    if (group === undefined) groups.push([zone]);
    else group.push(zone);
  }
  return groups;
}

/** Splits zones so that the policy of each part is not too large for IAM. */
function withinPolicySize(zones: readonly VpcZone[]): VpcZone[][] {
  const parts: VpcZone[][] = [];
  let size = POLICY_SIZE;
  for (const zone of zones) {
    // Its ARN is in up to three statements. Its name is in two, with `*.`, quotes and a comma.
    const more = 3 * ARN_SIZE + 2 * zone.name.length + 8;
    if (size + more > POLICY_SIZE) {
      parts.push([]);
      size = EMPTY_POLICY_SIZE;
    }
    parts.at(-1)?.push(zone);
    size += more;
  }
  return parts;
}

/**
 * The rules for the settings of an environment: the entries of `context.environments` in `cdk.json`, and the properties
 * of the construct.
 *
 * All settings are validated here, before any construct is created. Synthesis looks nothing up.
 */
import { RemovalPolicy, Token } from 'aws-cdk-lib';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { RegionInfo } from 'aws-cdk-lib/region-info';
import { z } from 'zod';
import { EnvironmentError, show, titleOf } from './environment-error.js';
import { Delivery, Mode, OnDestroy, RecordForm, Registration, TrailSource } from './options.js';

const LABEL = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?';
const DOMAIN_NAME = new RegExp(`^${LABEL}(\\.${LABEL})*$`);

const text = (pattern: RegExp, expected: string) =>
  z.string({ error: `expected ${expected}` }).regex(pattern, { error: `expected ${expected}` });

/** A text that may be a token, such as the id of a VPC that the same app creates. */
const textOrToken = (pattern: RegExp, expected: string, isToken = Token.isUnresolved) =>
  z
    .string({ error: `expected ${expected}` })
    .refine((value) => isToken(value) || pattern.test(value), { error: `expected ${expected}` });

const wholeNumber = (least: number, most: number, unit: string) => {
  const error = `expected a whole number of ${unit} from ${least} to ${most}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};

const oneOf = <T extends Record<string, string>>(choices: T) =>
  z.enum(choices, {
    error: `expected ${Object.values(choices)
      .map((choice) => `"${choice}"`)
      .join(' or ')}`,
  });

const object = <T extends z.ZodRawShape>(shape: T) =>
  z.strictObject(shape, {
    error: (issue) => {
      if (issue.code === 'unrecognized_keys') {
        return `expected only the keys ${Object.keys(shape).join(', ')}`;
      }
      return 'expected an object';
    },
  });

/** The most characters of a zone's name: 253 without those of the shortest marker, `_discovery.a.`. */
const ZONE_NAME_SIZE = 240;

/**
 * The names of one label that the stack makes zones of: those that RFC 6762, appendix G, lists as used in private
 * networks, and those that are reserved. Route 53 makes no zone of a top-level domain like `dev`.
 */
const PRIVATE_LABELS = ['internal', 'intranet', 'private', 'corp', 'home', 'lan', 'local', 'test'];

/** The retention periods that CloudWatch Logs supports, in days. */
const RETENTION_DAYS = Object.values(RetentionDays).filter((days) => typeof days === 'number');

const vpc = object({
  /** Services whose load balancer is in this VPC get names. */
  vpcId: textOrToken(/^vpc-[0-9a-f]{8,17}$/, 'a VPC id, like vpc-0a1b2c3d4e5f60718'),
  /** The name of the zone that contains the names. */
  zoneName: text(DOMAIN_NAME, 'a domain name in lower case, like dev.internal').max(ZONE_NAME_SIZE, {
    error: `expected a domain name of at most ${ZONE_NAME_SIZE} characters, because names of services and markers are longer`,
  }),
  /** An existing private hosted zone. By default the stack creates one. */
  hostedZoneId: textOrToken(/^Z[A-Z0-9]{1,31}$/, 'a hosted zone id, like Z0123456789ABCDEFGHIJ').optional(),
  /**
   * Identifies the VPC among several ones whose ids are known only at deployment, so that the order of the list does not
   * matter.
   */
  id: text(/^[A-Za-z0-9-]{1,64}$/, 'a name of 1 to 64 letters, digits and -').optional(),
});

/** The name of an environment is part of markers, stack names and metric dimensions. */
const environmentName = text(
  /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/,
  'the name of an environment, 1 to 32 characters of a-z, 0-9 and -',
);

/**
 * The characters that clusters may need in the inline policies of the handler's role, of the 10,240 that IAM allows, and
 * those of a cluster without its name: it is in two ARNs.
 */
const CLUSTERS_SIZE = 8_000;
const CLUSTER_SIZE = 150;

/**
 * Stands for the name of a cluster that is known only at deployment. CloudFormation composes such a name of the stack's
 * name, the logical id and some characters. If it is longer, IAM or Lambda may refuse the deployment.
 */
export const UNKNOWN_CLUSTER = 'x'.repeat(100);

const clustersFit = (clusters: readonly string[]) =>
  clusters
    .map((name) => (Token.isUnresolved(name) ? UNKNOWN_CLUSTER : name))
    .reduce((size, name) => size + CLUSTER_SIZE + 2 * name.length, 0) <= CLUSTERS_SIZE;

const FEWER_CLUSTERS =
  'expected fewer clusters, because IAM limits the size of the policy that names them, or patterns like dev-*';

const clusterPatterns = z.array(
  text(/^[A-Za-z0-9_*?-]{1,255}$/, 'the name of a cluster, with * for any characters and ? for one'),
  { error: 'expected a list of cluster names' },
);

const POLICY_ARN = String.raw`arn:[a-z-]+:iam::(\d{12}|aws):policy\/`;
const POLICY_NAME = String.raw`[\w+=,.@/-]{1,512}`;

const REMOVAL_POLICIES = 'expected "retain" or "destroy"';

const options = {
  /** The VPCs of the environment, each with its zone. */
  vpcs: z
    .array(vpc, { error: 'expected a list of VPCs' })
    .min(1, { error: 'expected at least one VPC' })
    .superRefine((vpcs, context) => {
      const seen = new Set<string>();
      const ids = new Set<string>();
      vpcs.forEach(({ vpcId, zoneName, hostedZoneId, id }, index) => {
        // Otherwise the position would identify the zone, and another order would replace zones, with all their names.
        if (id === undefined && vpcs.length > 1 && Token.isUnresolved(hostedZoneId ?? vpcId)) {
          const message =
            'expected an id of your choice, because the id of the VPC is known only at deployment. A VPC that was the only one before keeps its zone with the id 0';
          context.addIssue({ code: 'custom', path: [index, 'id'], message });
        }
        if (id !== undefined && ids.has(id)) {
          context.addIssue({ code: 'custom', path: [index, 'id'], message: 'expected each id once' });
        }
        if (id !== undefined) ids.add(id);
        if (seen.has(vpcId)) {
          context.addIssue({ code: 'custom', path: [index, 'vpcId'], message: 'expected each VPC once' });
        }
        seen.add(vpcId);
        const isTopLevel = new RegExp(`^${LABEL}$`).test(zoneName) && !PRIVATE_LABELS.includes(zoneName);
        if (hostedZoneId === undefined && isTopLevel) {
          const message = `expected a name of several labels, like ${zoneName}.internal, because Route 53 makes no zone of a top-level domain`;
          context.addIssue({ code: 'custom', path: [index, 'zoneName'], message });
        }
        const same = vpcs.find((other) => hostedZoneId !== undefined && other.hostedZoneId === hostedZoneId);
        if (same !== undefined && same.zoneName !== zoneName) {
          context.addIssue({
            code: 'custom',
            path: [index, 'zoneName'],
            message: `expected ${same.zoneName}, which another VPC gives as the name of the same hosted zone`,
          });
        }
      });
    }),
  /** Names of the clusters that belong to the environment. `*` matches any characters, `?` matches one. */
  clusters: clusterPatterns
    .min(1, { error: 'expected at least one cluster' })
    .refine(clustersFit, { error: FEWER_CLUSTERS })
    .default(['*']),
  /** The name of a service within the zone: labels that contain `{service}`, and `{cluster}` if needed. */
  nameTemplate: z
    .string({ error: 'expected a text that contains {service}' })
    .refine(
      (template) =>
        template.includes('{service}') &&
        DOMAIN_NAME.test(template.replaceAll('{service}', 's').replaceAll('{cluster}', 'c')),
      { error: 'expected labels of a-z, 0-9, -, {service} and {cluster}, with {service} in at least one' },
    )
    .default('{service}'),
  /** `CNAME`, or `ALIAS`: an A record, and an AAAA record if the load balancer is dualstack. */
  record: oneOf(RecordForm).default(RecordForm.CNAME),
  /** The TTL of CNAME records. */
  ttlSeconds: wholeNumber(1, 86_400, 'seconds').default(60),
  /**
   * How long resolvers may remember that a name does not exist, in zones that the stack creates. A client that
   * asks for a name before its registration waits for that time.
   */
  negativeTtlSeconds: wholeNumber(1, 86_400, 'seconds').default(5),
  /**
   * A full pass that would delete more than `free` names, and more than `percent` percent of the managed
   * names, deletes none of them.
   */
  deleteLimit: object({ free: wholeNumber(0, 10_000, 'names'), percent: wholeNumber(0, 100, 'percent') }).default({
    free: 3,
    percent: 30,
  }),
  /**
   * Whether to take over an unmarked record that already leads to a service's load balancer. If not, the record
   * stays as it is, and the name is a `conflict`.
   */
  adopt: z.boolean({ error: 'expected true or false' }).default(true),
  /** `all` services behind a load balancer, or only the `tagged` ones: those with the tag `discovery:enabled=true`. */
  register: oneOf(Registration).default(Registration.ALL),
  /**
   * What the handler writes. `observe`: nothing, so that its outcomes show what would happen. `create-and-update`: it
   * creates and changes names, and removes none. `sync`: everything.
   */
  mode: oneOf(Mode).default(Mode.SYNC),
  /** Earlier names of the environment. Records with these names in their markers also belong to it. */
  formerNames: z.array(environmentName, { error: 'expected a list of names' }).default([]),
  /**
   * `create` a trail, or rely on an `existing` one that logs write management events. There is no default, because AWS
   * charges for the events of a second trail, and without any trail no event arrives.
   */
  trail: z.enum(TrailSource, {
    error: 'expected "existing" if a trail logs the write management events of this region, or otherwise "create"',
  }),
  /**
   * `direct`: the rules invoke the handler. `queue`: the rules send events to a queue, and the handler
   * processes them in batches. Use `queue` if many services change at the same time.
   */
  delivery: oneOf(Delivery).default(Delivery.DIRECT),
  /**
   * The minutes between two full passes. Three intervals must fit into a day, because an alarm evaluates at
   * most a day.
   */
  fullPassMinutes: wholeNumber(1, 480, 'minutes').default(15),
  /** The processor architecture of the function. */
  architecture: text(/^(x86_64|arm64)$/, '"x86_64" or "arm64"').default('x86_64'),
  /** The days that CloudWatch keeps logs. */
  logRetentionDays: z
    .enum(RetentionDays, { error: `expected one of ${RETENTION_DAYS.join(', ')} days` })
    .default(RetentionDays.ONE_MONTH),
  /**
   * A KMS key that encrypts the queues, the logs and the trail's log files. By default, keys of AWS encrypt them. The
   * stack cannot change the policy of the key, so SECURITY.md lists the statements that it needs.
   */
  kmsKeyArn: textOrToken(
    /^arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key\/[0-9a-z-]{36}$/,
    'the ARN of a KMS key, not of an alias, like arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9',
    // Only the partition, the region or the account of an alias may be a token.
    (arn: string) => Token.isUnresolved(arn) && !arn.includes(':alias/'),
  ).optional(),
  /** An SNS topic that the alarms notify. By default alarms are visible in CloudWatch only. */
  alarmTopicArn: textOrToken(/^arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[\w-]{1,256}$/, 'the ARN of an SNS topic').optional(),
  /** Whether the stack has alarms. */
  alarms: z.boolean({ error: 'expected true or false' }).default(true),
  /** Whether the stack has a dashboard. */
  dashboard: z.boolean({ error: 'expected true or false' }).default(true),
  /** Where people find the runbook. The descriptions of the alarms link to its sections. */
  runbookUrl: text(
    /^(https?:\/\/[^\s#]+|[^\s#:]+)$/,
    'a URL or a path without #, like https://wiki.example.com/runbook',
  )
    .max(300, { error: 'expected a URL of at most 300 characters' })
    .default('RUNBOOK.md'),
  /** The name or the ARN of a managed policy that becomes the boundary of every role. */
  permissionsBoundary: text(
    new RegExp(`^(${POLICY_ARN})?${POLICY_NAME}$`),
    'the name or the ARN of a managed policy',
  ).optional(),
  /**
   * The concurrent executions that Lambda reserves for the handler. They are also its limit. By default
   * nothing is reserved, because accounts with a small quota cannot reserve any. The mappings of the two queues start two
   * executions each, and Lambda would throttle these if they did not fit. One more is left for events and people.
   */
  reservedConcurrency: wholeNumber(5, 1_000, 'executions').optional(),
  /** Whether created zones, the trail's bucket and the logs remain when the stack is destroyed. */
  removalPolicy: z
    .enum(RemovalPolicy, { error: REMOVAL_POLICIES })
    .refine((policy) => [RemovalPolicy.RETAIN, RemovalPolicy.DESTROY].includes(policy), { error: REMOVAL_POLICIES })
    .default(RemovalPolicy.RETAIN),
  /** Whether the managed names are deleted with the stack. `keep` leaves them in zones that remain. */
  onDestroy: oneOf(OnDestroy).default(OnDestroy.DEREGISTER),
};

/** A zone with names cannot be deleted. */
const keptNamesNeedZones: z.core.CheckFn<{
  onDestroy: OnDestroy;
  removalPolicy: RemovalPolicy;
  vpcs: z.infer<typeof vpc>[];
}> = ({ value, issues }) => {
  const { onDestroy, removalPolicy, vpcs } = value;
  const isDestroyed = removalPolicy === RemovalPolicy.DESTROY;
  if (onDestroy === OnDestroy.KEEP && isDestroyed && vpcs.some((one) => one.hostedZoneId === undefined)) {
    const message = 'expected deregister, because removalPolicy is destroy and a zone with names cannot be deleted';
    issues.push({ code: 'custom', path: ['onDestroy'], message, input: value });
  }
};

/** A topic would never hear of anything. */
const topicNeedsAlarms: z.core.CheckFn<{ alarms: boolean; alarmTopicArn?: string | undefined }> = ({
  value,
  issues,
}) => {
  if (value.alarms || value.alarmTopicArn === undefined) return;
  const message = 'expected no topic, because alarms is false';
  issues.push({ code: 'custom', path: ['alarmTopicArn'], message, input: value });
};

/** The settings of the construct. `settings.ts` makes them of its properties. */
const discovery = object({
  ...options,
  /** Names of clusters, for example of those that the same app creates. */
  clusters: z.array(
    textOrToken(/^[A-Za-z0-9_-]{1,255}$/, 'a cluster with a name of 1 to 255 letters, digits, _ and -'),
  ),
  clusterPatterns,
  permissionsBoundary: textOrToken(
    new RegExp(`^${POLICY_ARN}${POLICY_NAME}$`),
    'a managed policy with an ARN',
  ).optional(),
})
  .check(keptNamesNeedZones, topicNeedsAlarms, ({ value, issues }) => {
    const { clusters, clusterPatterns } = value;
    const path = [clusters.length > 0 ? 'clusters' : 'clusterPatterns'];
    const issue = { code: 'custom', path, input: value } as const;
    const all = [...clusters, ...clusterPatterns];
    if (all.length === 0) issues.push({ ...issue, message: 'expected at least one cluster or pattern' });
    if (!clustersFit(all)) issues.push({ ...issue, message: FEWER_CLUSTERS });
  })
  .transform(({ clusterPatterns, ...settings }) => ({
    ...settings,
    /** Names and patterns. */
    clusters: [...settings.clusters, ...clusterPatterns],
  }));

/** The regions that this version of the CDK knows. */
const REGIONS = RegionInfo.regions.map(({ name }) => name);

const regionOfStack = z
  .string({ error: 'expected a region, like eu-west-1' })
  .refine((region) => REGIONS.includes(region), { error: 'expected a region of AWS, like eu-west-1' });

const environment = object({
  /** The account of the stack: twelve digits. */
  account: text(/^\d{12}$/, 'an account id, twelve digits in quotes'),
  /** The region of the clusters, the load balancers and the stack. */
  region: regionOfStack,
  ...options,
  /** The qualifier of the account's bootstrap stack. By default the CDK's own. */
  bootstrapQualifier: text(
    /^[a-z0-9]{1,10}$/,
    'the qualifier of a bootstrap stack, 1 to 10 characters of a-z and 0-9',
  ).optional(),
  /**
   * Whether to deploy with the roles of the bootstrap stack. `false` deploys with the caller's permissions,
   * for accounts in which the caller may not assume these roles.
   */
  bootstrapRoles: z.boolean({ error: 'expected true or false' }).default(true),
  /**
   * Whether CloudFormation refuses to delete the stack. By default it does if `removalPolicy` is `retain`. To delete
   * such a stack, deploy it with `false` first.
   */
  terminationProtection: z.boolean({ error: 'expected true or false' }).optional(),
  /** Whether the stack has IAM policies for people who use the command line tool. */
  operatorPolicies: z.boolean({ error: 'expected true or false' }).default(false),
}).check(keptNamesNeedZones, topicNeedsAlarms);

/** An invalid setting: its path, the expected value, and the value found if the settings do not contain it. */
export type Problem = [path: PropertyKey[], message: string, found?: string];

/** Where a stack is, as far as it is known at synthesis. */
export interface Place {
  readonly account: string | undefined;
  readonly region: string | undefined;
}

type Placed = Pick<Discovery, 'formerNames' | 'alarmTopicArn' | 'kmsKeyArn' | 'permissionsBoundary'>;

/** What is wrong with the settings of an environment in a place: for each problem its path and the expected value. */
function misplaced(name: string, settings: Placed, { account, region }: Place): Problem[] {
  const { formerNames, alarmTopicArn: topic, kmsKeyArn: key, permissionsBoundary: boundary } = settings;
  const found: Problem[] = [];
  formerNames.forEach((former, index) => {
    if (former !== name) return;
    found.push([['formerNames', index], 'expected an earlier name, which differs from the present one']);
  });
  const parts = (arn: string | undefined) =>
    arn?.startsWith('arn:') === true && !Token.isUnresolved(arn) ? arn.split(':') : [];
  const partition = region === undefined ? undefined : RegionInfo.get(region).partition;
  // A topic of another account is all right: many teams have a central one.
  const [, topicPartition, , topicRegion] = parts(topic);
  if (differ(topicRegion, region) || differ(topicPartition, partition)) {
    found.push([
      ['alarmTopicArn'],
      `expected a topic in ${region}, because alarms notify only topics of their own region`,
    ]);
  }
  const [, keyPartition, , keyRegion] = parts(key);
  if (differ(keyRegion, region) || differ(keyPartition, partition)) {
    const because = 'because queues, logs and trails use only keys of their own region';
    found.push([['kmsKeyArn'], `expected a key in ${region}, ${because}`]);
  }
  const [, policyPartition, , , policyAccount] = parts(boundary);
  const isForeign = policyAccount !== 'aws' && differ(policyAccount, account);
  if (isForeign || differ(policyPartition, partition)) {
    const of = account === undefined ? '' : ` of the account ${account} or of AWS`;
    const within = partition === undefined ? '' : `, in the partition ${partition}`;
    found.push([['permissionsBoundary'], `expected a policy${of}${within}`]);
  }
  return found;
}

/** Whether both are known and different. */
export const differ = (one: string | undefined, other: string | undefined) =>
  one !== undefined && other !== undefined && one !== other;

const environments = z
  .record(environmentName, environment, {
    error: (issue) =>
      issue.code === 'invalid_key'
        ? 'expected a name of 1 to 32 characters of a-z, 0-9 and -'
        : 'expected environments by name, like { "dev": { … } }',
  })
  .refine((all) => Object.keys(all).length > 0, { error: 'expected at least one environment' })
  .superRefine((all, context) => {
    for (const [name, one] of Object.entries(all)) {
      for (const [path, message] of misplaced(name, one, one)) {
        context.addIssue({ code: 'custom', path: [name, ...path], message });
      }
    }
  });

/** A schema of `cdk.json`, with which editors complete and check the options. It cannot express every rule. */
export function settingsSchema(): object {
  const { $schema, ...schema } = z.toJSONSchema(environments, { io: 'input', target: 'draft-7' });
  const context = { type: 'object', properties: { environments: schema } };
  return { $schema, title: 'cdk.json with environments of ecs-discovery', type: 'object', properties: { context } };
}

/** An environment of `cdk.json` with all defaults applied, as its schema makes it. */
export type Environment = z.infer<typeof environment>;

/** Valid properties of the construct with all defaults applied. */
export type Discovery = z.infer<typeof discovery>;

/** @throws EnvironmentError with every invalid setting */
export function checkEnvironments(data: unknown): z.infer<typeof environments> {
  return check(environments, data, 'environments', 'The environments are invalid');
}

/**
 * Validates the settings of the construct.
 *
 * @param more problems of the properties that the settings do not show
 * @param propertyOf the property of each setting that has another name
 * @throws EnvironmentError with every invalid property
 */
export function checkDiscovery(
  path: string,
  place: Place,
  name: unknown,
  settings: object,
  more: readonly Problem[],
  propertyOf: Readonly<Record<string, string>>,
): Discovery {
  const title = titleOf(path);
  const environment = check(environmentName, name, 'environment', title);
  if (place.region !== undefined) check(regionOfStack, place.region, 'stack.region', title);
  const placed = discovery.superRefine((valid, context) => {
    for (const [path, message] of misplaced(environment, valid, place)) {
      context.addIssue({ code: 'custom', path, message });
    }
  });
  return check(placed, settings, 'properties', title, more, propertyOf);
}

function check<T extends z.ZodType>(
  schema: T,
  data: unknown,
  root: string,
  title: string,
  more: readonly Problem[] = [],
  names: Readonly<Record<string, string>> = {},
): z.infer<T> {
  const result = schema.safeParse(data);
  const line = (path: readonly PropertyKey[], message: string, found = show(at(data, path))) => {
    const named = path.map((key) => names[String(key)] ?? key);
    return `  ${showPath(root, named)}: ${message}; found ${found}`;
  };
  const lines = (result.error?.issues ?? []).map((issue) =>
    line(
      issue.path,
      issue.message,
      issue.code === 'unrecognized_keys' ? `the keys ${issue.keys.join(', ')}` : undefined,
    ),
  );
  lines.push(...more.map((problem) => line(...problem)));
  if (!result.success || lines.length > 0) throw new EnvironmentError(`${title}:\n${[...new Set(lines)].join('\n')}`);
  return result.data;
}

function showPath(root: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => text + (typeof key === 'number' ? `[${key}]` : `.${String(key)}`), root);
}

function at(data: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    data,
  );
}

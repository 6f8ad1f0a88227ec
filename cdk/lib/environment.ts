/**
 * An environment as data: what may stand under `context.environments` in `cdk.json`, and what the
 * construct takes.
 *
 * Everything is checked here, before anything is made of it. What passes needs no look-up.
 */
import { Token } from 'aws-cdk-lib';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { z } from 'zod';

const LABEL = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?';
const DOMAIN_NAME = new RegExp(`^${LABEL}(\\.${LABEL})*$`);

const text = (pattern: RegExp, expected: string) =>
  z.string({ error: `expected ${expected}` }).regex(pattern, { error: `expected ${expected}` });

/** A text that only the deployment may know, such as the id of a VPC that the same app makes. */
const known = (pattern: RegExp, expected: string) =>
  z
    .string({ error: `expected ${expected}` })
    .refine((value) => Token.isUnresolved(value) || pattern.test(value), { error: `expected ${expected}` });

const whole = (least: number, most: number, unit: string) => {
  const error = `expected a whole number of ${unit}, ${least} to ${most}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};

const one = <const T extends readonly [string, ...string[]]>(choices: T) =>
  z.enum(choices, { error: `expected ${choices.map((choice) => `"${choice}"`).join(' or ')}` });

const object = <T extends z.ZodRawShape>(shape: T) =>
  z.strictObject(shape, {
    error: (issue) => {
      if (issue.code === 'unrecognized_keys') {
        return `expected only the keys ${Object.keys(shape).join(', ')}`;
      }
      return 'expected an object';
    },
  });

/** The days for which CloudWatch Logs can keep logs. */
const RETENTION_DAYS = Object.values(RetentionDays).filter((days) => typeof days === 'number');

const vpc = object({
  /** The VPC whose load balancers' services get names. */
  vpcId: known(/^vpc-[0-9a-f]{8,17}$/, 'a VPC id, like vpc-0a1b2c3d4e5f60718'),
  /** The zone below which the names stand. */
  zoneName: text(DOMAIN_NAME, 'a domain name in lower case, like dev.internal'),
  /** A private hosted zone that is there already; without it, one is made. */
  hostedZoneId: known(/^Z[A-Z0-9]{1,31}$/, 'a hosted zone id, like Z0123456789ABCDEFGHIJ').optional(),
});

/** What names an environment: in markers, stack names and metrics alike. */
const environmentName = text(
  /^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/,
  'the name of an environment, 1 to 32 of a-z, 0-9 and -',
);

const options = {
  /** The VPCs whose load balancers' services get names, each with its zone. */
  vpcs: z
    .array(vpc, { error: 'expected a list of VPCs' })
    .min(1, { error: 'expected at least one VPC' })
    .superRefine((vpcs, context) => {
      const seen = new Set<string>();
      vpcs.forEach(({ vpcId, zoneName, hostedZoneId }, index) => {
        if (seen.has(vpcId)) {
          context.addIssue({ code: 'custom', path: [index, 'vpcId'], message: 'expected each VPC once' });
        }
        seen.add(vpcId);
        const same = vpcs.find((other) => hostedZoneId !== undefined && other.hostedZoneId === hostedZoneId);
        if (same !== undefined && same.zoneName !== zoneName) {
          context.addIssue({
            code: 'custom',
            path: [index, 'zoneName'],
            message: `expected the one name of the hosted zone ${hostedZoneId}, like ${same.zoneName} before`,
          });
        }
      });
    }),
  /** Names of the clusters whose services belong to the environment; `*` and `?` stand for others. */
  clusters: z
    .array(text(/^[A-Za-z0-9_*?-]{1,255}$/, 'the name of a cluster, in which * and ? stand for other characters'), {
      error: 'expected a list of cluster names',
    })
    .min(1, { error: 'expected at least one cluster' })
    .default(['*']),
  /** What services are called below the zone: labels with `{service}`, and `{cluster}` where wanted. */
  nameTemplate: z
    .string({ error: 'expected a text with {service} in it' })
    .refine(
      (template) =>
        template.includes('{service}') &&
        DOMAIN_NAME.test(template.replaceAll('{service}', 's').replaceAll('{cluster}', 'c')),
      { error: 'expected labels of a-z, 0-9, - and {service}, {cluster}, with {service} in one of them' },
    )
    .default('{service}'),
  /** `CNAME`, or `ALIAS`: A records, and AAAA where the load balancer is dualstack. */
  record: one(['CNAME', 'ALIAS']).default('CNAME'),
  /** How long resolvers may keep an answer. */
  ttlSeconds: whole(1, 86_400, 'seconds').default(60),
  /**
   * A full pass that would delete more than `free` names, and more than `percent` of those it
   * manages, deletes none.
   */
  deleteLimit: object({ free: whole(0, 10_000, 'names'), percent: whole(0, 100, 'percent') }).default({
    free: 3,
    percent: 30,
  }),
  /** What the environment was called before: the records that it made under these names are its own. */
  formerNames: z.array(environmentName, { error: 'expected a list of names' }).default([]),
  /** `create` a trail for the events, or use an `existing` one that logs write management events. */
  trail: one(['create', 'existing']).default('create'),
  /**
   * `direct`: the rules call the handler. `queue`: they fill a queue that it empties in batches,
   * a few at a time; for fleets, where many services change at once.
   */
  delivery: one(['direct', 'queue']).default('direct'),
  /**
   * The time between two full passes. Three of them have to fit into a day, since an alarm looks
   * back no further.
   */
  sweepMinutes: whole(1, 480, 'minutes').default(15),
  /** The processor that the handler is built for. */
  architecture: one(['x86_64', 'arm64']).default('x86_64'),
  /** How long logs are kept. */
  logRetentionDays: z
    .enum(RetentionDays, { error: `expected one of ${RETENTION_DAYS.join(', ')} days` })
    .default(RetentionDays.ONE_MONTH),
  /** An SNS topic that alarms are sent to. Without one they are seen in CloudWatch only. */
  alarmTopicArn: known(/^arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[\w-]{1,256}$/, 'the ARN of an SNS topic').optional(),
  /** A managed policy, by name or ARN, that bounds every role which is made. */
  permissionsBoundary: text(
    /^(arn:[a-z-]+:iam::(\d{12}|aws):policy\/)?[\w+=,.@/-]{1,512}$/,
    'the name or the ARN of a managed policy',
  ).optional(),
  /**
   * So many of the account's concurrent executions are the handler's, and it uses no more.
   * Nothing depends on it; a small account has none to give.
   */
  reservedConcurrency: whole(1, 1_000, 'executions').optional(),
  /** What becomes of the zones, the trail's bucket and the logs when the stack is destroyed. */
  removalPolicy: one(['retain', 'destroy']).default('retain'),
};

const discovery = object(options);

const environment = object({
  /** The account that the stack is deployed to: twelve digits. */
  account: text(/^\d{12}$/, 'an account id, twelve digits in quotes'),
  /** The region of the clusters, the load balancers and the stack. */
  region: text(/^[a-z]{2}(-[a-z]+)+-\d$/, 'a region, like eu-west-1'),
  ...options,
  /** The qualifier of the account's bootstrap stack, if it is not the CDK's own. */
  bootstrapQualifier: text(/^[a-z0-9]{1,10}$/, 'the qualifier of a bootstrap stack, 1 to 10 of a-z and 0-9').optional(),
  /**
   * Whether to deploy through the roles of the bootstrap stack. If not, whoever deploys needs all
   * rights, for instance where roles may not be assumed.
   */
  bootstrapRoles: z.boolean({ error: 'expected true or false' }).default(true),
});

const environments = z
  .record(
    environmentName,
    environment,
    {
      error: (issue) =>
        issue.code === 'invalid_key'
          ? 'expected a name of 1 to 32 of a-z, 0-9 and -'
          : 'expected environments by name, like { "dev": { … } }',
    },
  )
  .refine((all) => Object.keys(all).length > 0, { error: 'expected at least one environment' });

/** One checked environment, all defaults filled in. */
export type Environment = z.infer<typeof environment>;

/** What the construct takes besides the environment's name; all but `vpcs` have defaults. */
export type DiscoveryOptions = Readonly<z.input<typeof discovery>>;

/** The same, checked, all defaults filled in. */
export type Discovery = z.infer<typeof discovery>;

/** A VPC of an environment. */
export type EnvironmentVpc = z.infer<typeof vpc>;

/** Mistakes in the environments' data: a line each, with path, expectation and finding. */
export class EnvironmentError extends Error {}

/**
 * Checks the environments, as an object (from `cdk.json`) or as JSON (from `-c environments=…`).
 *
 * @throws EnvironmentError if anything in them is wrong
 */
export function parseEnvironments(context: unknown): Record<string, Environment> {
  const data = typeof context === 'string' ? parseJson(context) : context;
  return check(environments, data, 'environments', "The environments' data is wrong");
}

/**
 * Checks what the construct is given.
 *
 * @throws EnvironmentError if anything in it is wrong
 */
export function parseDiscovery(path: string, name: unknown, options: unknown): Discovery {
  check(environmentName, name, 'environment', `The properties of ${path} are wrong`);
  return check(discovery, options, 'properties', `The properties of ${path} are wrong`);
}

function check<T extends z.ZodType>(schema: T, data: unknown, root: string, title: string): z.infer<T> {
  const result = schema.safeParse(data);
  if (!result.success) {
    const lines = result.error.issues.map((issue) => {
      const extra = issue.code === 'unrecognized_keys' ? `the keys ${issue.keys.join(', ')}` : undefined;
      const found = extra ?? show(at(data, issue.path));
      return `  ${showPath(root, issue.path)}: ${issue.message}; found ${found}`;
    });
    throw new EnvironmentError(`${title}:\n${lines.join('\n')}`);
  }
  return result.data;
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new EnvironmentError(`The environments' data is wrong:\n  environments: expected JSON; found ${reason}`);
  }
}

function showPath(root: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => text + (typeof key === 'number' ? `[${key}]` : `.${String(key)}`), root);
}

function at(data: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined),
    data,
  );
}

function show(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}

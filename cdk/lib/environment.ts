/**
 * An environment as data: what may stand under `context.environments` in `cdk.json`.
 *
 * Everything is checked here, before anything is made of it. What passes needs no look-up.
 */
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { z } from 'zod';

const LABEL = '[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?';
const DOMAIN_NAME = new RegExp(`^${LABEL}(\\.${LABEL})*$`);

const text = (pattern: RegExp, expected: string) =>
  z.string({ error: `expected ${expected}` }).regex(pattern, { error: `expected ${expected}` });

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
  vpcId: text(/^vpc-[0-9a-f]{8,17}$/, 'a VPC id, like vpc-0a1b2c3d4e5f60718'),
  /** The zone below which the names stand. */
  zoneName: text(DOMAIN_NAME, 'a domain name in lower case, like dev.internal'),
  /** A private hosted zone that is there already; without it, one is made. */
  hostedZoneId: text(/^Z[A-Z0-9]{1,31}$/, 'a hosted zone id, like Z0123456789ABCDEFGHIJ').optional(),
});

const environment = object({
  /** The account that the stack is deployed to: twelve digits. */
  account: text(/^\d{12}$/, 'an account id, twelve digits in quotes'),
  /** The region of the clusters, the load balancers and the stack. */
  region: text(/^[a-z]{2}(-[a-z]+)+-\d$/, 'a region, like eu-west-1'),
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
  /** `create` a trail for the events, or use an `existing` one that logs write management events. */
  trail: one(['create', 'existing']).default('create'),
  /** The time between two full passes. */
  sweepMinutes: whole(1, 1_440, 'minutes').default(15),
  /** The processor that the handler is built for. */
  architecture: one(['x86_64', 'arm64']).default('x86_64'),
  /** How long the handler's logs are kept. */
  logRetentionDays: z
    .enum(RetentionDays, { error: `expected one of ${RETENTION_DAYS.join(', ')} days` })
    .default(RetentionDays.ONE_MONTH),
  /** What becomes of the zones, the trail's bucket and the logs when the stack is destroyed. */
  removalPolicy: one(['retain', 'destroy']).default('retain'),
});

const environments = z
  .record(
    text(/^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$/, 'the name of an environment, 1 to 32 of a-z, 0-9 and -'),
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
  const result = environments.safeParse(data);
  if (!result.success) {
    const lines = result.error.issues.map((issue) => {
      const extra = issue.code === 'unrecognized_keys' ? `the keys ${issue.keys.join(', ')}` : undefined;
      const found = extra ?? show(at(data, issue.path));
      return `  ${showPath(issue.path)}: ${issue.message}; found ${found}`;
    });
    throw new EnvironmentError(`The environments' data is wrong:\n${lines.join('\n')}`);
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

function showPath(path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (text, key) => text + (typeof key === 'number' ? `[${key}]` : `.${String(key)}`),
    'environments',
  );
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

/** The handler's answer, service by service. Decides nothing that the handler did not decide. */
import { gunzipSync } from 'node:zlib';
import { z } from 'zod';
import { Failure } from './failure.js';
import { printable } from './printable.js';

/** Trouble comes first, the worst of it at the start. */
const TROUBLE = ['failed', 'rejected', 'refused', 'conflict', 'invalid', 'waiting'] as const;
export const CHANGES = ['registered', 'updated', 'adopted', 'deregistered'] as const;
export const STATUSES = [...TROUBLE, ...CHANGES, 'unchanged', 'ignored'] as const;
export type Status = (typeof STATUSES)[number];

const outcome = z.object({
  service: z.string(),
  name: z.string().nullable(),
  zone: z.string().nullable(),
  status: z.enum(STATUSES),
  target: z.string().nullable(),
  reason: z.string().nullable(),
});

const answer = z.object({
  environment: z.string(),
  scope: z.string(),
  dryRun: z.boolean(),
  observed: z.boolean().default(false),
  reason: z.string().optional(),
  outcomes: z.array(outcome),
  /** In place of the outcomes of a large answer: their JSON as gzip, in base64. */
  compressedOutcomes: z.string().optional(),
  readErrors: z.array(z.string()).default([]),
  notes: z.array(z.string()).default([]),
  changes: z.object({ created: z.number(), deleted: z.number() }),
  fullPass: z
    .object({
      managedNames: z.number(),
      unreadableMarkers: z.array(z.object({ name: z.string(), zone: z.string(), reason: z.string() })).default([]),
      longNegativeTtls: z.array(z.object({ zone: z.string(), seconds: z.number(), command: z.string() })).default([]),
      fullZones: z.array(z.object({ zone: z.string(), reason: z.string() })).default([]),
    })
    .optional(),
});

export type Answer = Omit<z.infer<typeof answer>, 'compressedOutcomes'>;

/** A service of an answer, with the columns of the tables. */
export interface Service {
  /** `cluster/service`. */
  service: string;
  arn: string;
  /** Without the dot at its end. */
  name: string | null;
  zone: string | null;
  status: Status;
  /** The DNS name of the load balancer. */
  target: string | null;
  reason: string | null;
}

/** JSON with printable texts. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text, (_, value: unknown) => (typeof value === 'string' ? printable(value) : value));
  } catch {
    throw new Failure(`The function's answer is not JSON: ${printable(text.slice(0, 200))}`);
  }
}

/** @throws Failure if the value has another form */
function checked<T>(type: z.ZodType<T>, value: unknown): T {
  const result = type.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new Failure(
    `The function's answer is not one of this version of the handler: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}\n` +
      'Deploy the environment with the same version as this tool, or name its function with --function.',
  );
}

export function parseAnswer(text: string): Answer {
  const { compressedOutcomes, ...found } = checked(answer, parsed(text));
  if (compressedOutcomes === undefined) return found;
  const json = gunzipSync(Buffer.from(compressedOutcomes, 'base64')).toString();
  return { ...found, outcomes: checked(z.array(outcome), parsed(json)) };
}

/** `cluster/service` of a service's ARN. */
export function shortName(arn: string): string {
  return arn.split(':service/').at(-1) ?? arn;
}

export const withoutDot = (name: string | null) => name?.replace(/\.$/, '') ?? null;

/** The services of an answer: trouble first, the worst of it at the start, then by name. */
export function services({ outcomes }: Answer): Service[] {
  const all = outcomes.map(({ service: arn, name, target, ...outcome }) => ({
    service: shortName(arn),
    arn,
    name: withoutDot(name),
    target: withoutDot(target),
    ...outcome,
  }));
  const key = ({ name, service }: Service) => name ?? `~${service}`;
  const order = (one: Service) => STATUSES.indexOf(one.status);
  return all.sort((one, other) => order(one) - order(other) || (key(one) < key(other) ? -1 : 1));
}

/** Whether the service has its name, as it should. */
export const isRegistered = ({ status, name }: Service) => status === 'unchanged' && name !== null;
/** Whether ECS reports that the service does not exist. It had no name. */
export const isGone = ({ status, name }: Service) => status === 'unchanged' && name === null;

/** The service that has a name, or the first one that should have it. */
export function ofName(all: Service[], name: string): Service | undefined {
  const same = all.filter((one) => one.name === name);
  return same.find(isRegistered) ?? same.find(({ status }) => status !== 'conflict') ?? same[0];
}

/** Whether the service has no name on purpose. */
export const isIgnored = ({ status, name }: Service) => status === 'ignored' && name === null;
/** Whether the service should have no name, and keeps one because of the mode `create-and-update`. */
export const isKept = ({ status, name }: Service) => status === 'ignored' && name !== null;

export const isTrouble = ({ status }: Pick<Service, 'status'>) => (TROUBLE as readonly string[]).includes(status);
/** Whether the run changed a name, or in a dry run would change it. */
export const isChange = ({ status }: Pick<Service, 'status'>) => (CHANGES as readonly string[]).includes(status);

/** The problems of an answer besides its services: failed reads, unreadable markers, full zones. */
export function problems({ readErrors, fullPass }: Answer): string[] {
  return [
    ...readErrors,
    ...(fullPass?.unreadableMarkers.map(({ name, reason }) => `${withoutDot(name) ?? name}: ${reason}`) ?? []),
    ...(fullPass?.fullZones.map(({ zone, reason }) => `the zone ${zone} is full: ${reason}`) ?? []),
  ];
}

/** Whether somebody has to look at a service or at another problem. */
export const needsAttention = (answer: Answer) => answer.outcomes.some(isTrouble) || problems(answer).length > 0;

/** Zones in which resolvers remember for long that a name does not exist, with the commands that shorten that. */
export function longNegativeTtls({ fullPass }: Answer): { text: string; command: string }[] {
  return (fullPass?.longNegativeTtls ?? []).map(({ zone, seconds, command }) => ({
    text: `in the zone ${zone}, resolvers remember for ${seconds} seconds that a name does not exist. To shorten that, run:`,
    command,
  }));
}

/** `doctor`: whether everything that belongs to an environment is alive. It only reads. */
import type { EventSourceMappingConfiguration } from '@aws-sdk/client-lambda';
import type { Discovery } from './discovery.js';
import { type Check, type CheckId, IDS, check, isDenied, unread } from './doctor/check.js';
import { findLastPass, fullPassCheck } from './doctor/full-pass.js';
import { concurrencyCheck, functionChecks, handlerChecks, isMissing } from './doctor/function.js';
import { deadLetterCheck, mappingChecks, missingQueues, queueChecks } from './doctor/queues.js';
import {
  type Config,
  type FoundRules,
  backlog,
  concurrency,
  dryRun,
  logLines,
  rules,
  trails,
  zones,
} from './doctor/reads.js';
import { interval, ruleChecks } from './doctor/rules.js';
import { screen, worst } from './doctor/screen.js';
import { trailCheck } from './doctor/trail.js';
import { zoneChecks } from './doctor/zones.js';
import { Failure } from './failure.js';
import { type Output, showing } from './output.js';
import { type FunctionPart, findDeadLetterQueue, findMappings, functionPart } from './parts.js';
import { type Read, read } from './reads.js';
import { printable } from './printable.js';

type Mappings = Read<EventSourceMappingConfiguration[]>;

/** Writes the checks, and returns the exit status: 0 if none failed and the result of each is known. */
export async function doctor(
  discovery: Discovery,
  { json, all }: { json: boolean; all: boolean },
  output: Output,
): Promise<number> {
  const name = await discovery.functionName();
  const { environment, checks } = await showing(`Checking ${discovery.environment}`, output, examine(discovery, name));
  const result = worst(checks);
  const document = { environment, function: name, result, checks };
  output.write(json ? `${JSON.stringify(document, null, 2)}\n` : `${screen(environment, checks, all, output)}\n`);
  return result === 'failed' || result === 'unknown' ? 1 : 0;
}

/** Reads everything side by side, so that a part that is slow or denied leaves the others. */
async function examine(discovery: Discovery, name: string): Promise<{ environment: string; checks: Check[] }> {
  const config = discovery.config();
  // Before the dry run, whose own lines are no part of the search.
  const now = Date.now();
  const found = functionPart(discovery);
  const reads = {
    part: read(() => found),
    mappings: read(() => findMappings(discovery)),
    deadLetters: read(() => findDeadLetterQueue(discovery)),
    reserved: concurrency(discovery),
    trails: trails(config),
    run: dryRun(discovery),
  };
  const checks = await Promise.all([
    reads.part.then((part) => functionChecks(part, name, discovery)),
    reads.reserved.then((reserved) => [concurrencyCheck(reserved, name, discovery)]),
    reads.trails.then((all) => [trailCheck(all, discovery)]),
    reads.mappings.then((mappings) => mappingChecks(mappings, discovery)),
    reads.mappings.then((mappings) => queues(config, mappings)),
    reads.deadLetters.then((arn) => deadLetters(config, arn, discovery)),
    reads.part.then(async (part) => {
      if ('error' in part) return [withoutFunction('rules', 'The rules'), withoutFunction('fullPass', 'The log')];
      const known = await findRules(config, part.value, await reads.mappings);
      return [...ruleChecks(known, discovery), await fullPass(config, part.value, interval(known), now, discovery)];
    }),
    reads.part.then(async (part) => {
      if ('error' in part) return [withoutFunction('zones', 'The zones')];
      const region = part.value.functionArn.split(':')[3] ?? '';
      const [all, run] = await Promise.all([zones(config, part.value.zones), reads.run]);
      return zoneChecks(all, run, region, discovery);
    }),
    reads.run.then((run) => handlerChecks(run, discovery)),
  ]);
  const order = ({ id }: Check) => IDS.indexOf(id);
  const all = checks.flat().sort((one, other) => order(one) - order(other));
  const part = await reads.part;
  if ('value' in part) return { environment: printable(part.value.environment), checks: all };
  // A function of somebody else, or missing credentials: the error says more than a list of checks.
  const isOfAll = all.every(({ result, finding }) => result === 'unknown' && !isDenied(finding));
  const error: unknown = await found.catch((error: unknown) => error);
  if (error instanceof Failure || isOfAll) throw error;
  // A function that does not exist has no other parts.
  const hasParts = !isMissing(part.error);
  const shown = all.filter(({ id }) => hasParts || id === 'function' || id === 'trail');
  return { environment: discovery.environment, checks: shown };
}

const withoutFunction = (id: CheckId, part: string) =>
  check(id, 'unknown', `${part} cannot be found without the configuration of the function.`, {
    next: 'First repair the check of the function.',
  });

const queueArns = (mappings: Mappings) =>
  'value' in mappings ? mappings.value.flatMap(({ EventSourceArn = [] }) => EventSourceArn) : [];

/** The rules that lead to the function or to one of its queues. */
async function findRules(config: Config, { functionArn }: FunctionPart, mappings: Mappings): Promise<FoundRules> {
  const { found, errors } = await rules(config, [functionArn, ...queueArns(mappings)]);
  if ('error' in mappings) return { found, errors: [...errors, mappings.error], hasQueues: false };
  return { found, errors, hasQueues: missingQueues(mappings.value).length === 0 };
}

async function queues(config: Config, mappings: Mappings): Promise<Check[]> {
  return queueChecks(
    await Promise.all(queueArns(mappings).map(async (arn) => [arn, await backlog(config, arn)] as const)),
  );
}

async function deadLetters(config: Config, arn: Read<string>, discovery: Discovery): Promise<Check[]> {
  const messages = 'value' in arn && arn.value !== '' ? await backlog(config, arn.value) : undefined;
  return [deadLetterCheck(arn, messages, discovery)];
}

async function fullPass(
  config: Config,
  { logGroup, observes }: FunctionPart,
  interval: number | undefined,
  now: number,
  discovery: Discovery,
): Promise<Check> {
  const linesBetween = (from: number, to: number) => logLines(config, logGroup, from, to);
  const last = await read(() => findLastPass(linesBetween, { now, interval, observes }));
  if ('error' in last) return unread('fullPass', `The log group ${logGroup}`, last.error);
  return fullPassCheck(last.value, { now, interval, observes }, discovery);
}

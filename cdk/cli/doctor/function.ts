/** The checks of the function: its state, its concurrency, and the handler's answer to a dry run. */
import type { Discovery } from '../discovery.js';
import { quoted } from '../discovery.js';
import { counted, utc } from '../output.js';
import type { FunctionPart } from '../parts.js';
import type { Read } from '../reads.js';
import { type Answer, isTrouble, services } from '../report.js';
import { OBSERVES } from '../status.js';
import { type Check, afterError, check, deployAgain, isDenied, unread } from './check.js';
import type { DryRun } from './reads.js';

/** States that pass by themselves. */
const PASSING: Record<string, string> = {
  Pending: 'Lambda is creating it. Try again in a minute.',
  Inactive: 'Lambda put it to sleep, because nothing invoked it for weeks. The next invocation wakes it.',
};

/** Whether Lambda does not know the function. */
export const isMissing = (error: string) => error.startsWith('ResourceNotFoundException');

export function functionChecks(part: Read<FunctionPart>, name: string, discovery: Discovery): Check[] {
  if ('error' in part) {
    if (!isMissing(part.error)) return [unread('function', 'The function', part.error)];
    return [check('function', 'failed', `The function ${name} does not exist.`, deployAgain(discovery))];
  }
  const { functionState: state, configuration } = part.value;
  const short = configuration.FunctionName ?? name;
  const checks: Check[] = [];
  const because = (reason: string | undefined) => (reason === undefined ? '.' : `: ${reason}`);
  if (state !== 'Active') {
    const next = PASSING[state];
    checks.push(
      check(
        'function',
        next === undefined ? 'failed' : 'warning',
        `The function ${short} has the state ${state || 'unknown'}${because(configuration.StateReason)}`,
        { next: next ?? 'Lambda cannot run it. Repair the cause, and deploy its stack again.' },
      ),
    );
  }
  const update = configuration.LastUpdateStatus ?? 'Successful';
  if (update === 'InProgress') {
    checks.push(
      check('function', 'warning', `The function ${short} is being updated.`, { next: 'Try again in a minute.' }),
    );
  } else if (update !== 'Successful') {
    checks.push(
      check(
        'function',
        'failed',
        `The last update of the function ${short} failed${because(configuration.LastUpdateStatusReason)}`,
        { next: 'The former version runs. Repair the cause, and deploy its stack again.' },
      ),
    );
  }
  if (checks.length > 0) return checks;
  const changed = configuration.LastModified === undefined ? undefined : new Date(configuration.LastModified);
  const isKnown = changed !== undefined && !Number.isNaN(changed.getTime());
  const since = isKnown ? `, and was last changed at ${utc(changed)}` : '';
  return [check('function', 'ok', `The function ${short} is active${since}.`)];
}

export function concurrencyCheck(reserved: Read<number | undefined>, name: string, discovery: Discovery): Check {
  if ('error' in reserved) return unread('concurrency', 'The reserved concurrency', reserved.error);
  const { value } = reserved;
  if (value === undefined) return check('concurrency', 'ok', 'The function shares the concurrency of the account.');
  if (value > 0) return check('concurrency', 'ok', `${counted(value, 'execution')} may run at once.`);
  return check(
    'concurrency',
    'failed',
    'The reserved concurrency of the function is 0, so Lambda does not run it and sends its events to the dead-letter queue.',
    {
      next: 'Remove this limit, or set the value of the option reservedConcurrency again:',
      commands: [discovery.aws(`lambda delete-function-concurrency --function-name ${quoted(name)}`)],
    },
  );
}

/** The checks of a dry run. Services that need attention are only counted. */
export function handlerChecks(run: DryRun, discovery: Discovery): Check[] {
  if ('error' in run) {
    return [check('handler', 'unknown', `The handler could not be invoked: ${run.error}`, afterError(run.error))];
  }
  if ('failure' in run) {
    // The text may end with its own next step in a line of its own.
    const [first = '', ...rest] = run.failure.split('\n');
    const next = rest.length > 0 ? rest.join(' ') : 'RUNBOOK.md describes the causes in the section Function fails.';
    return [check('handler', 'failed', `A dry run of a full pass failed: ${first}`, { next })];
  }
  const checks = problems(run.answer);
  if (checks.length > 0) return checks;
  const all = services(run.answer);
  const trouble = all.filter(isTrouble).length;
  const read = `The handler read ${counted(all.length, 'service')} in a dry run of a full pass.`;
  const note = run.answer.observed ? ` ${OBSERVES}` : '';
  if (trouble === 0) return [check('handler', 'ok', `${read}${note}`)];
  return [
    check('handler', 'ok', `${read}${note}`, {
      next: `${trouble.toLocaleString('en-US')} of them ${trouble === 1 ? 'needs' : 'need'} attention:`,
      commands: [discovery.suggest('status')],
    }),
  ];
}

function problems({ readErrors, fullPass }: Answer): Check[] {
  return [
    ...readErrors.map((error) => {
      const permission = /not authorized to perform: ([\w-]+:\w+)/.exec(error)?.[1];
      const isMissing = permission !== undefined || isDenied(error);
      return check('handler', 'failed', `The handler could not read everything: ${error}`, {
        next: isMissing
          ? `The role of the function lacks ${permission ?? 'a permission'}. ` +
            'Look for a permissions boundary or a service control policy that removes it.'
          : 'RUNBOOK.md lists causes in the section Handler fails.',
      });
    }),
    ...(fullPass?.unreadableMarkers ?? []).map(({ name, reason }) => {
      const short = name.replace(/\.$/, '');
      return check('handler', 'warning', `The marker of ${short} cannot be read, so its record stays: ${reason}`, {
        subject: short,
        next:
          `Delete the marker, the TXT record _discovery.${short}. The next full pass then adopts the record if it leads ` +
          'to the load balancer of its service.',
      });
    }),
    ...(fullPass?.fullZones ?? []).map(({ zone, reason }) =>
      check('handler', 'warning', `The zone ${zone} has no room for another name: ${reason}`, {
        subject: zone,
        next: 'Delete records that are not needed, or request a higher quota of records per hosted zone.',
      }),
    ),
  ];
}

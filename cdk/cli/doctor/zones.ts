/** The checks of the hosted zones: what they are, how long resolvers remember missing names, and how full they are. */
import { type Discovery, quoted } from '../discovery.js';
import { counted } from '../output.js';
import { type Check, check, unread } from './check.js';
import { ALMOST_FULL, DEFAULT_QUOTA, type DryRun, type ZoneRead } from './reads.js';

const bare = (name: string | undefined) => (name ?? '').replace(/\.$/, '').toLowerCase();

export function zoneChecks(zones: ZoneRead[], run: DryRun, region: string, discovery: Discovery): Check[] {
  return [...states(zones, region, discovery), ...negativeTtls(zones, run, discovery), ...sizes(zones)];
}

/** Whether each zone is the one of the configuration. */
function states(zones: ZoneRead[], region: string, discovery: Discovery): Check[] {
  const problems = zones.flatMap(({ id, name, vpcs, zone }) => {
    const title = `The zone ${id} (${name})`;
    const failed = (finding: string, next: string, commands?: string[]) =>
      check('zones', 'failed', `${title} ${finding}`, { subject: id, next, ...(commands && { commands }) });
    if ('error' in zone) {
      if (!zone.error.startsWith('NoSuchHostedZone')) return [unread('zones', title, zone.error, id)];
      return [
        failed(
          'does not exist, so none of its names resolves.',
          'Give another zone as hostedZoneId, and deploy the environment.',
        ),
      ];
    }
    const { HostedZone, VPCs = [] } = zone.value;
    const found = bare(HostedZone?.Name);
    const checks: Check[] = [];
    if (HostedZone?.Config?.PrivateZone !== true) {
      checks.push(
        failed(
          'is public, so everybody can read its names.',
          'Give a private zone as hostedZoneId, and deploy the environment.',
        ),
      );
    }
    if (found !== bare(name)) {
      checks.push(failed(`has the name ${found}.`, 'Correct zoneName or hostedZoneId, and deploy the environment.'));
    }
    for (const vpc of vpcs.filter((vpc) => !VPCs.some(({ VPCId }) => VPCId === vpc))) {
      const command = `route53 associate-vpc-with-hosted-zone --hosted-zone-id ${quoted(id)} --vpc ${quoted(`VPCRegion=${region},VPCId=${vpc}`)}`;
      checks.push(
        failed(`is not associated with ${vpc}, so nobody there can resolve its names.`, 'Associate it:', [
          discovery.aws(command),
        ]),
      );
    }
    return checks;
  });
  if (problems.length > 0 || zones.length === 0) return problems;
  const text =
    zones.length === 1
      ? 'The zone is private, and has its name and its VPCs.'
      : `All ${zones.length} zones are private, and have their names and their VPCs.`;
  return [check('zones', 'ok', text)];
}

/** The longest time in seconds. The handler has the same limit (`handler/src/domain/soa.rs`). */
const LONG_NEGATIVE_TTL = 60;
/** The values of a SOA record. The last one is the negative TTL (RFC 2308). */
const SOA_VALUES = 7;

function negativeTtls(zones: ZoneRead[], run: DryRun, discovery: Discovery): Check[] {
  const reported = 'answer' in run ? (run.answer.fullPass?.longNegativeTtls ?? []) : [];
  const times: number[] = [];
  const problems = zones.flatMap(({ id, name, apex }) => {
    if ('error' in apex) {
      // The check of the zone shows that it does not exist.
      return apex.error.startsWith('NoSuchHostedZone')
        ? []
        : [unread('negativeTtl', `The SOA record of ${name}`, apex.error, id)];
    }
    const soa = apex.value.find(({ Type }) => Type === 'SOA');
    const values = soa?.ResourceRecords?.[0]?.Value?.split(/\s+/) ?? [];
    const seconds = Math.min(soa?.TTL ?? NaN, Number(values.at(-1)));
    if (values.length !== SOA_VALUES || Number.isNaN(seconds)) return [];
    times.push(seconds);
    if (seconds <= LONG_NEGATIVE_TTL) return [];
    const command = reported.find(({ zone }) => zone === id)?.command;
    return [
      check(
        'negativeTtl',
        'warning',
        `In the zone ${id} (${name}), resolvers remember for ${seconds} seconds that a name does not exist.`,
        {
          subject: id,
          ...(command === undefined
            ? {
                next: 'When the handler can be invoked again, this shows the command that shortens it:',
                commands: [discovery.suggest('status')],
              }
            : { next: 'To shorten that:', commands: [command] }),
        },
      ),
    ];
  });
  if (problems.length > 0 || times.length === 0) return problems;
  return [
    check(
      'negativeTtl',
      'ok',
      `Resolvers remember for at most ${counted(Math.max(...times), 'second')} that a name does not exist.`,
    ),
  ];
}

function sizes(zones: ZoneRead[]): Check[] {
  const counts = zones.flatMap(({ id, name, zone, quota }) => {
    if ('error' in zone) return [];
    const limit = quota !== undefined && 'value' in quota ? quota.value : DEFAULT_QUOTA;
    return [{ id, name, count: zone.value.HostedZone?.ResourceRecordSetCount ?? 0, limit }];
  });
  const text = ({ name, count, limit }: (typeof counts)[number]) =>
    `${name} has ${count.toLocaleString('en-US')} of ${counted(limit, 'record set')}`;
  const problems = counts
    .filter(({ count, limit }) => count >= limit * ALMOST_FULL)
    .map((one) =>
      check('zoneRecords', 'warning', `The zone ${one.id} is almost full: ${text(one)}.`, {
        subject: one.id,
        next: 'Request a higher quota of records per hosted zone, or delete records that are not needed: RUNBOOK.md, Zone almost full.',
      }),
    );
  if (problems.length > 0 || counts.length === 0) return problems;
  const largest = counts.reduce((one, other) => (other.count > one.count ? other : one));
  return [check('zoneRecords', 'ok', `${counts.length === 1 ? 'The zone' : 'The fullest zone'} ${text(largest)}.`)];
}

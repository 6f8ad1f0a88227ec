/**
 * The check of CloudTrail: EventBridge receives the calls of an API only while a trail in the region records its write
 * management events. Several trails may do that together.
 */
import type { AdvancedEventSelector } from '@aws-sdk/client-cloudtrail';
import { type Discovery, quoted } from '../discovery.js';
import type { Read } from '../reads.js';
import { type Check, type Step, afterError, check, unread } from './check.js';
import type { TrailRead, Trails } from './reads.js';
import { KINDS } from './rules.js';

/** The APIs whose calls the rules match, each with the effect if no trail records them. */
const SOURCES = [
  { source: 'ecs.amazonaws.com', api: 'ECS', effect: KINDS.ecsCalls.effect },
  {
    source: 'elasticloadbalancing.amazonaws.com',
    api: 'Elastic Load Balancing',
    effect: KINDS.loadBalancerCalls.effect,
  },
];
type Source = (typeof SOURCES)[number];

type Truth = 'yes' | 'no' | 'unknown';

export function trailCheck(read: Read<Trails>, discovery: Discovery): Check {
  if ('error' in read) return unread('trail', 'The trails', read.error);
  const { region, trails } = read.value;
  const missing = SOURCES.filter(({ source }) => !trails.some((one) => carries(one, source) === 'yes'));
  if (missing.length === 0) return recorded(trails, discovery);
  const isPossible = ({ source }: Source) => trails.some((one) => carries(one, source) === 'unknown');
  const certain = missing.filter((source) => !isPossible(source));
  if (certain.length === 0) return undecided(trails, missing, discovery);
  const apis = certain.map(({ api }) => api).join(' and ');
  const found =
    trails.length === 0
      ? `There is no trail in ${region}, so nothing records the calls of ${apis}`
      : `No trail in ${region} records the calls of ${apis}: ${trails.map((one) => shortcoming(one, apis)).join('; ')}`;
  const effects = certain.map(({ effect }) => effect).join('; ');
  return check('trail', 'failed', `${found}. Until one does: ${effects}.`, repair(trails, certain, discovery));
}

/** A trail may record the missing sources, but it could not be read completely. */
function undecided(all: TrailRead[], missing: Source[], discovery: Discovery): Check {
  const trails = all.filter((one) => missing.some(({ source }) => carries(one, source) === 'unknown'));
  const apis = missing.map(({ api }) => api).join(' and ');
  const texts = [...new Set(trails.flatMap(errors))];
  const finding = `${nameList(trails)} may record the calls of ${apis}, but could not be read: ${texts.join('; ')}`;
  const shared = trails.find(({ trail }) => trail.IsOrganizationTrail === true);
  if (shared === undefined) return check('trail', 'unknown', finding, afterError(texts[0] ?? ''));
  return check('trail', 'unknown', finding, {
    next: "It is a trail of the organization. In the organization's management account, this shows what it records:",
    commands: [discovery.aws(`cloudtrail get-event-selectors --trail-name ${arn(shared)}`, shared.trail.HomeRegion)],
  });
}

/** Every source has a trail. Failed deliveries to S3 do not stop EventBridge. */
function recorded(trails: TrailRead[], discovery: Discovery): Check {
  const carriers = trails.filter((one) => SOURCES.some(({ source }) => carries(one, source) === 'yes'));
  const sound = carriers.filter((one) => deliveryError(one) === undefined);
  const isSound = SOURCES.every(({ source }) => sound.some((one) => carries(one, source) === 'yes'));
  const shown = isSound ? sound : carriers;
  const records = `${nameList(shown)} ${shown.length === 1 ? 'records' : 'record'}`;
  const failing = carriers.find((one) => deliveryError(one) !== undefined);
  if (isSound || failing === undefined) {
    return check('trail', 'ok', `${records} the calls of ECS and Elastic Load Balancing.`);
  }
  return check(
    'trail',
    'warning',
    `${records} the calls, and EventBridge receives them, but the last delivery of log files to S3 failed: ` +
      (deliveryError(failing) ?? ''),
    {
      next: 'Correct the bucket, its policy or its key. This shows the bucket:',
      commands: [discovery.aws(`cloudtrail describe-trails --trail-name-list ${arn(failing)}`)],
    },
  );
}

/** Whether a trail passes the calls of an API to EventBridge now. */
function carries(one: TrailRead, source: string): Truth {
  const both = [records(one, source), isLogging(one)];
  if (both.includes('no')) return 'no';
  return both.includes('unknown') ? 'unknown' : 'yes';
}

/** Whether a trail is configured to record the write management events of an API. */
function records({ trail, selectors }: TrailRead, source: string): Truth {
  if ('error' in selectors) {
    // An account of an organization may not read the selectors of the organization's trail. By default, a trail
    // records all management events.
    return trail.HasCustomEventSelectors === false ? 'yes' : 'unknown';
  }
  const { EventSelectors = [], AdvancedEventSelectors = [] } = selectors.value;
  const isRecorded =
    EventSelectors.some(
      ({ ReadWriteType, IncludeManagementEvents, ExcludeManagementEventSources = [] }) =>
        ReadWriteType !== 'ReadOnly' &&
        IncludeManagementEvents !== false &&
        !ExcludeManagementEventSources.includes(source),
    ) || AdvancedEventSelectors.some((selector) => selects(selector, source));
  return isRecorded ? 'yes' : 'no';
}

/** Whether an advanced selector matches all write calls of an API. */
function selects({ FieldSelectors = [] }: AdvancedEventSelector, source: string): boolean {
  const event: Record<string, string> = {
    eventCategory: 'Management',
    eventType: 'AwsApiCall',
    readOnly: 'false',
    eventSource: source,
  };
  return FieldSelectors.every((selector) => {
    const value = event[selector.Field ?? ''];
    // A selector by another field, such as the name of the event, matches a part of the calls only.
    if (value === undefined) return false;
    const {
      Equals = [],
      StartsWith = [],
      EndsWith = [],
      NotEquals = [],
      NotStartsWith = [],
      NotEndsWith = [],
    } = selector;
    const some = (equal: string[], start: string[], end: string[]) =>
      equal.includes(value) || start.some((text) => value.startsWith(text)) || end.some((text) => value.endsWith(text));
    const isAny = Equals.length + StartsWith.length + EndsWith.length === 0;
    return (isAny || some(Equals, StartsWith, EndsWith)) && !some(NotEquals, NotStartsWith, NotEndsWith);
  });
}

const isLogging = ({ status }: TrailRead): Truth =>
  'error' in status ? 'unknown' : status.value.IsLogging === true ? 'yes' : 'no';

function deliveryError({ status }: TrailRead): string | undefined {
  const error = 'value' in status ? status.value.LatestDeliveryError : undefined;
  return error === '' ? undefined : error;
}

const errors = ({ selectors, status }: TrailRead) =>
  [selectors, status].flatMap((part) => ('error' in part ? [part.error] : []));

const name = ({ trail }: TrailRead) => trail.Name ?? trail.TrailARN ?? '';
const arn = ({ trail }: TrailRead) => quoted(trail.TrailARN ?? trail.Name ?? '');

const nameList = (trails: TrailRead[]) =>
  `${trails.length === 1 ? 'The trail' : 'The trails'} ${trails.map(name).join(', ')}`;

/** Why a trail carries none of the sources. */
function shortcoming(one: TrailRead, apis: string): string {
  if (isLogging(one) === 'no') return `${name(one)} is stopped`;
  return `${name(one)} does not record all write management events of ${apis}`;
}

function repair(trails: TrailRead[], missing: Source[], discovery: Discovery): Step {
  const stopped = trails.find(
    (one) => isLogging(one) === 'no' && missing.every(({ source }) => records(one, source) !== 'no'),
  );
  if (stopped !== undefined) {
    const where = stopped.trail.IsOrganizationTrail === true ? ', in the management account of the organization' : '';
    return {
      next: `Start the trail${where}, and then run a full pass:`,
      // Only its own region may start a trail.
      commands: [
        discovery.aws(`cloudtrail start-logging --name ${arn(stopped)}`, stopped.trail.HomeRegion),
        discovery.suggest('apply'),
      ],
    };
  }
  const create = 'set the option trail to create, and deploy the environment';
  return {
    next:
      trails.length === 0
        ? `Create a trail of write management events, or ${create}.`
        : `Let a trail record all write management events, or ${create}.`,
  };
}

/** The reads of `doctor`. Each part that fails leaves the others. Nothing is written. */
import {
  CloudTrailClient,
  DescribeTrailsCommand,
  GetEventSelectorsCommand,
  type GetEventSelectorsResponse,
  GetTrailStatusCommand,
  type GetTrailStatusResponse,
  type Trail,
} from '@aws-sdk/client-cloudtrail';
import { CloudWatchLogsClient, paginateFilterLogEvents } from '@aws-sdk/client-cloudwatch-logs';
import {
  DescribeRuleCommand,
  type DescribeRuleResponse,
  EventBridgeClient,
  ListRuleNamesByTargetCommand,
} from '@aws-sdk/client-eventbridge';
import { GetFunctionConcurrencyCommand, LambdaClient } from '@aws-sdk/client-lambda';
import {
  GetHostedZoneCommand,
  GetHostedZoneLimitCommand,
  type GetHostedZoneResponse,
  type ResourceRecordSet,
  Route53Client,
} from '@aws-sdk/client-route-53';
import { GetQueueAttributesCommand, GetQueueUrlCommand, SQSClient } from '@aws-sdk/client-sqs';
import type { Discovery } from '../discovery.js';
import { Failure } from '../failure.js';
import type { PartZone } from '../parts.js';
import { type Read, read, records } from '../reads.js';
import type { Answer } from '../report.js';

/** The configuration of the SDK's clients. */
export type Config = Record<string, string>;

/** The reserved concurrency of the function. `undefined` if there is none. */
export function concurrency(discovery: Discovery): Promise<Read<number | undefined>> {
  return read(async () => {
    const FunctionName = await discovery.functionName();
    const client = new LambdaClient(discovery.config());
    const answer = await client.send(new GetFunctionConcurrencyCommand({ FunctionName }));
    return answer.ReservedConcurrentExecutions;
  });
}

export interface TrailRead {
  trail: Trail;
  selectors: Read<GetEventSelectorsResponse>;
  status: Read<GetTrailStatusResponse>;
}

export interface Trails {
  region: string;
  trails: TrailRead[];
}

/** The trails that cover the region, also those of other regions and of the organization. */
export function trails(config: Config): Promise<Read<Trails>> {
  return read(async () => {
    const client = new CloudTrailClient(config);
    const region = await client.config.region();
    const { trailList = [] } = await client.send(new DescribeTrailsCommand({ includeShadowTrails: true }));
    const covering = trailList.filter((trail) => trail.HomeRegion === region || trail.IsMultiRegionTrail === true);
    const all = covering.map(async (trail) => {
      // CloudTrail finds trails of other regions and accounts by their ARNs only.
      const name = trail.TrailARN ?? trail.Name ?? '';
      const [selectors, status] = await Promise.all([
        read(() => client.send(new GetEventSelectorsCommand({ TrailName: name }))),
        read(() => client.send(new GetTrailStatusCommand({ Name: name }))),
      ]);
      return { trail, selectors, status };
    });
    return { region, trails: await Promise.all(all) };
  });
}

/** The rules that were found, and the errors in place of others. */
export interface Rules {
  found: DescribeRuleResponse[];
  errors: string[];
}

/** The rules of the function and of its queues. */
export interface FoundRules extends Rules {
  /** Whether both queues are known. The rules of an unknown queue cannot be found. */
  hasQueues: boolean;
}

/** The rules that have one of the ARNs as a target. */
export async function rules(config: Config, targets: string[]): Promise<Rules> {
  const client = new EventBridgeClient(config);
  const errors: string[] = [];
  const keep = <T>(part: Read<T>): T[] => {
    if ('value' in part) return [part.value];
    errors.push(part.error);
    return [];
  };
  const lists = await Promise.all(targets.map((target) => read(() => ruleNames(client, target))));
  const names = [...new Set(lists.flatMap(keep).flat())];
  const described = await Promise.all(names.map((Name) => read(() => client.send(new DescribeRuleCommand({ Name })))));
  return { found: described.flatMap(keep), errors: [...new Set(errors)] };
}

async function ruleNames(client: EventBridgeClient, TargetArn: string): Promise<string[]> {
  const names: string[] = [];
  let NextToken: string | undefined;
  do {
    const page = await client.send(new ListRuleNamesByTargetCommand({ TargetArn, NextToken }));
    names.push(...(page.RuleNames ?? []));
    NextToken = page.NextToken;
  } while (NextToken !== undefined);
  return names;
}

/** The messages of a queue. */
export interface Backlog {
  waiting: number;
  /** Received, and not yet deleted. */
  inFlight: number;
}

export function backlog(config: Config, arn: string): Promise<Read<Backlog>> {
  return read(async () => {
    // The endpoint of the configuration, which may be a local one.
    const client = new SQSClient({ ...config, useQueueUrlAsEndpoint: false });
    const [, , , , account, name] = arn.split(':');
    const { QueueUrl } = await client.send(
      new GetQueueUrlCommand({ QueueName: name, QueueOwnerAWSAccountId: account }),
    );
    const { Attributes } = await client.send(
      new GetQueueAttributesCommand({
        QueueUrl,
        AttributeNames: ['ApproximateNumberOfMessages', 'ApproximateNumberOfMessagesNotVisible'],
      }),
    );
    return {
      waiting: Number(Attributes?.ApproximateNumberOfMessages ?? 0),
      inFlight: Number(Attributes?.ApproximateNumberOfMessagesNotVisible ?? 0),
    };
  });
}

/** A line of the handler's log. */
export interface LogLine {
  /** Milliseconds since 1970. */
  at: number;
  text: string;
}

/** The lines about full passes and errors between two times, in milliseconds since 1970. */
export async function logLines(config: Config, logGroup: string, from: number, to: number): Promise<LogLine[]> {
  const client = new CloudWatchLogsClient(config);
  const finished = '$.message = "run finished"';
  const pattern = [
    `(${finished} && $.scope = "all")`,
    `(${finished} && $.dry_run IS TRUE)`,
    ...ERRORS.map((message) => `($.message = "${message}")`),
  ];
  const filter = { logGroupName: logGroup, filterPattern: `{ ${pattern.join(' || ')} }`, startTime: from, endTime: to };
  const lines: LogLine[] = [];
  for await (const page of paginateFilterLogEvents({ client }, filter)) {
    for (const { timestamp = 0, message = '' } of page.events ?? []) lines.push({ at: timestamp, text: message });
  }
  return lines;
}

/** The messages of the log after which a full pass may have left something undone. */
export const ERRORS = ['invocation failed', 'run of the batch failed', 'read failed', 'zone full'];

/** A hosted zone of the environment. */
export interface ZoneRead {
  id: string;
  /** The name in the function's configuration. */
  name: string;
  vpcs: string[];
  zone: Read<GetHostedZoneResponse>;
  /** The record sets at the name of the zone. */
  apex: Read<ResourceRecordSet[]>;
  /** The quota of record sets. `undefined` if it was not necessary to read it. */
  quota: Read<number> | undefined;
}

/** Route 53's default quota of record sets in a zone. It can only be raised. */
export const DEFAULT_QUOTA = 10_000;
/** The part of the quota from which a zone is almost full. */
export const ALMOST_FULL = 0.8;

/** The zones, one after the other: the handler needs most of the ten requests per second that an account has. */
export async function zones(config: Config, all: PartZone[]): Promise<ZoneRead[]> {
  const client = new Route53Client(config);
  const reads: ZoneRead[] = [];
  for (const id of new Set(all.map((one) => one.id))) {
    const same = all.filter((one) => one.id === id);
    const name = same[0]?.name ?? '';
    const [zone, apex] = await Promise.all([
      read(() => client.send(new GetHostedZoneCommand({ Id: id }))),
      records(config, id, name),
    ]);
    const count = 'value' in zone ? (zone.value.HostedZone?.ResourceRecordSetCount ?? 0) : 0;
    const quota =
      count < DEFAULT_QUOTA * ALMOST_FULL
        ? undefined
        : await read(async () => {
            const limit = { HostedZoneId: id, Type: 'MAX_RRSETS_BY_ZONE' } as const;
            const answer = await client.send(new GetHostedZoneLimitCommand(limit));
            return answer.Limit?.Value ?? DEFAULT_QUOTA;
          });
    reads.push({ id, name, vpcs: same.map(({ vpcId }) => vpcId), zone, apex, quota });
  }
  return reads;
}

/** The handler's answer to a dry run, its own failure, or the error of a call that did not reach it. */
export type DryRun = { answer: Answer } | { failure: string } | { error: string };

export async function dryRun(discovery: Discovery): Promise<DryRun> {
  try {
    return { answer: await discovery.invoke({ reconcile: 'all', dryRun: true }) };
  } catch (error) {
    if (error instanceof Failure) return { failure: error.message };
    return { error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
  }
}

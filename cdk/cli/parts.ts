/** The parts of a deployed environment, found from its function alone, so that `--function` needs no stack. */
import {
  type EventSourceMappingConfiguration,
  type FunctionConfiguration,
  GetFunctionConfigurationCommand,
  GetFunctionEventInvokeConfigCommand,
  LambdaClient,
  paginateListEventSourceMappings,
} from '@aws-sdk/client-lambda';
import type { Discovery } from './discovery.js';
import { Failure } from './failure.js';

/** A zone of the environment, for one of its VPCs. */
export interface PartZone {
  id: string;
  name: string;
  vpcId: string;
}

/** The function, and what its configuration names. */
export interface FunctionPart {
  /** The name of the environment, from the function's configuration. */
  environment: string;
  functionArn: string;
  /** For example `Active`. */
  functionState: string;
  /** Whether the option `mode` is `observe`. */
  observes: boolean;
  zones: PartZone[];
  logGroup: string;
  /** The function as Lambda describes it. */
  configuration: FunctionConfiguration;
}

/** What belongs to an environment's function. */
export interface Parts extends FunctionPart {
  /** The ARN of the dead-letter queue. */
  deadLetterQueue: string;
  /** The queues whose messages the function receives. */
  mappings: EventSourceMappingConfiguration[];
}

/** The configuration of the handler, as far as the tool reads it. */
interface HandlerConfiguration {
  environment: string;
  mode?: string;
  zones: { name: string; vpcs: [string, string][] }[];
}

/** All parts. It fails if one of them cannot be read. */
export async function parts(discovery: Discovery): Promise<Parts> {
  const [found, deadLetterQueue, mappings] = await Promise.all([
    functionPart(discovery),
    findDeadLetterQueue(discovery),
    findMappings(discovery),
  ]);
  return { ...found, deadLetterQueue, mappings };
}

export function functionPart(discovery: Discovery): Promise<FunctionPart> {
  return withLambda(discovery, async (client, name) => {
    const found = await client.send(new GetFunctionConfigurationCommand({ FunctionName: name }));
    const configuration = handlerConfiguration(name, found.Environment?.Variables?.DISCOVERY_CONFIG);
    return {
      environment: configuration.environment,
      functionArn: found.FunctionArn ?? '',
      functionState: found.State ?? '',
      observes: configuration.mode === 'observe',
      zones: configuration.zones.flatMap(({ name: zone, vpcs }) =>
        vpcs.map(([vpcId, id]) => ({ id, name: zone, vpcId })),
      ),
      logGroup: found.LoggingConfig?.LogGroup ?? `/aws/lambda/${name}`,
      configuration: found,
    };
  });
}

/** The ARN of the queue of failed events, or nothing if the function has none. */
export function findDeadLetterQueue(discovery: Discovery): Promise<string> {
  return withLambda(discovery, async (client, name) => {
    const found = await client.send(
      new GetFunctionEventInvokeConfigCommand({ FunctionName: name, Qualifier: '$LATEST' }),
    );
    return found.DestinationConfig?.OnFailure?.Destination ?? '';
  });
}

export function findMappings(discovery: Discovery): Promise<EventSourceMappingConfiguration[]> {
  return withLambda(discovery, async (client, name) => {
    const all: EventSourceMappingConfiguration[] = [];
    for await (const page of paginateListEventSourceMappings({ client }, { FunctionName: name })) {
      all.push(...(page.EventSourceMappings ?? []));
    }
    return all;
  });
}

async function withLambda<T>(
  discovery: Discovery,
  read: (client: LambdaClient, functionName: string) => Promise<T>,
): Promise<T> {
  const name = await discovery.functionName();
  const client = new LambdaClient(discovery.config());
  try {
    return await read(client, name);
  } finally {
    client.destroy();
  }
}

function handlerConfiguration(name: string, text: string | undefined): HandlerConfiguration {
  const refuse = (found: string) =>
    new Failure(
      `The function ${name} is not one of this project's: its variable DISCOVERY_CONFIG ${found}. ` +
        "Name the environment's own function with --function.",
    );
  if (text === undefined) throw refuse('is missing');
  try {
    const { environment, mode, zones } = JSON.parse(text) as HandlerConfiguration;
    if (typeof environment === 'string' && Array.isArray(zones)) return { environment, mode, zones };
  } catch {
    // The message below says what is wrong.
  }
  throw refuse('is not a configuration of the handler');
}

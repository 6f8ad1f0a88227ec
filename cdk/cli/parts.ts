/** The parts of a deployed environment, found from its function alone, so that `--function` needs no stack. */
import {
  type EventSourceMappingConfiguration,
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

/** What belongs to an environment's function. */
export interface Parts {
  /** The name of the environment, from the function's configuration. */
  environment: string;
  functionArn: string;
  /** For example `Active`. */
  functionState: string;
  zones: PartZone[];
  logGroup: string;
  /** The ARN of the dead-letter queue. */
  deadLetterQueue: string;
  /** The queues whose messages the function receives. */
  mappings: EventSourceMappingConfiguration[];
}

/** The configuration of the handler, as far as the tool reads it. */
interface HandlerConfiguration {
  environment: string;
  zones: { name: string; vpcs: [string, string][] }[];
}

export async function parts(discovery: Discovery): Promise<Parts> {
  const name = await discovery.functionName();
  const client = new LambdaClient(discovery.config());
  try {
    const [found, invocations, mappings] = await Promise.all([
      client.send(new GetFunctionConfigurationCommand({ FunctionName: name })),
      client.send(new GetFunctionEventInvokeConfigCommand({ FunctionName: name })),
      allMappings(client, name),
    ]);
    const configuration = handlerConfiguration(name, found.Environment?.Variables?.DISCOVERY_CONFIG);
    return {
      environment: configuration.environment,
      functionArn: found.FunctionArn ?? '',
      functionState: found.State ?? '',
      zones: configuration.zones.flatMap(({ name: zone, vpcs }) =>
        vpcs.map(([vpcId, id]) => ({ id, name: zone, vpcId })),
      ),
      logGroup: found.LoggingConfig?.LogGroup ?? `/aws/lambda/${name}`,
      deadLetterQueue: invocations.DestinationConfig?.OnFailure?.Destination ?? '',
      mappings,
    };
  } finally {
    client.destroy();
  }
}

async function allMappings(client: LambdaClient, name: string): Promise<EventSourceMappingConfiguration[]> {
  const all: EventSourceMappingConfiguration[] = [];
  for await (const page of paginateListEventSourceMappings({ client }, { FunctionName: name })) {
    all.push(...(page.EventSourceMappings ?? []));
  }
  return all;
}

function handlerConfiguration(name: string, text: string | undefined): HandlerConfiguration {
  const refuse = (found: string) =>
    new Failure(
      `The function ${name} is not one of this project's: its variable DISCOVERY_CONFIG ${found}. ` +
        "Name the environment's own function with --function.",
    );
  if (text === undefined) throw refuse('is missing');
  try {
    const { environment, zones } = JSON.parse(text) as HandlerConfiguration;
    if (typeof environment === 'string' && Array.isArray(zones)) return { environment, zones };
  } catch {
    // The message below says what is wrong.
  }
  throw refuse('is not a configuration of the handler');
}

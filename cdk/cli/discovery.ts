/** Finds an environment's function, and invokes it. */
import { existsSync, readFileSync } from 'node:fs';
import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { DRY_RUN_ALIAS } from '../lib/dry-run-alias.js';
import { Failure } from './failure.js';
import { type Answer, parseAnswer } from './report.js';

/** The options that all commands have. */
export interface Place {
  stack?: string;
  function?: string;
  region?: string;
  profile?: string;
}

/** A request to the handler. */
export interface Command {
  reconcile: 'all' | { cluster: string; service: string };
  dryRun?: boolean;
  overrideDeleteLimit?: boolean;
}

/** Lambda ends an invocation after at most 15 minutes. */
const TIMEOUT_MS = 16 * 60_000;

const SETTINGS = 'cdk.json';

/** An argument as a shell takes it. */
export const quoted = (text: string) => (/^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** The environments of a checkout's `cdk.json`, with their regions. */
function environments(): Record<string, { region?: unknown }> {
  if (!existsSync(SETTINGS)) return {};
  try {
    const settings = JSON.parse(readFileSync(SETTINGS, 'utf8')) as {
      context?: { environments?: Record<string, { region?: unknown }> };
    };
    return settings.context?.environments ?? {};
  } catch (error) {
    throw new Failure(`${SETTINGS} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** An environment, and the function that answers for it. */
export class Discovery {
  /** The name of the environment, or of its function if only that is known. */
  readonly environment: string;
  readonly region: string | undefined;
  private readonly place: Place;
  /** The person's arguments, for the commands that the tool suggests. */
  private readonly given: string[];
  private name: Promise<string> | undefined;

  constructor(environment: string | undefined, place: Place) {
    const known = environments();
    const names = Object.keys(known);
    const only = names.length === 1 ? names[0] : undefined;
    const name = environment ?? only;
    if (name === undefined && place.stack === undefined && place.function === undefined) {
      const found = names.length === 0 ? `${SETTINGS} in this folder has none` : `${SETTINGS} has ${names.join(', ')}`;
      throw new Failure(
        `Which environment? Name one (${found}), or its stack with --stack, or its function with --function.`,
      );
    }
    if (environment !== undefined && !/^[a-z0-9-]{1,32}$/.test(environment)) {
      throw new Failure(
        `${JSON.stringify(environment)} is not the name of an environment. It has 1 to 32 characters of a-z, 0-9 and -.`,
      );
    }
    const region = name === undefined ? undefined : known[name]?.region;
    const options = (['stack', 'function', 'region', 'profile'] as const).flatMap((option) => {
      const value = place[option];
      return value === undefined ? [] : [`--${option} ${quoted(value)}`];
    });
    this.given = [...(environment === undefined ? [] : [environment]), ...options];
    this.environment = name ?? place.stack ?? place.function ?? '';
    this.region = place.region ?? (typeof region === 'string' ? region : undefined);
    this.place = { ...place, stack: place.stack ?? (name === undefined ? undefined : `EcsDiscovery-${name}`) };
  }

  /** The configuration of the SDK's clients. */
  config(): Record<string, string> {
    const { profile } = this.place;
    return {
      ...(this.region === undefined ? {} : { region: this.region }),
      ...(profile === undefined ? {} : { profile }),
    };
  }

  /** A command for the same environment, to be copied. */
  suggest(command: string, ...options: string[]): string {
    return ['npx ecs-discovery', command, ...this.given, ...options].join(' ');
  }

  /**
   * A command of the AWS CLI with the same credentials, to be copied.
   *
   * @param region the region if it is not the one of the environment
   */
  aws(command: string, region = this.region): string {
    const { profile } = this.place;
    return [
      `aws ${command}`,
      ...(region === undefined ? [] : [`--region ${quoted(region)}`]),
      ...(profile === undefined ? [] : [`--profile ${quoted(profile)}`]),
    ].join(' ');
  }

  /** The command that deploys the stack again and also restores deleted parts, if the stack is known. */
  deploy(): string | undefined {
    const { stack, function: name, profile } = this.place;
    if (stack === undefined || name !== undefined) return undefined;
    const credentials = profile === undefined ? '' : ` --profile ${quoted(profile)}`;
    return `npx cdk deploy ${quoted(stack)} --revert-drift${credentials}`;
  }

  /** The name of the function. It is read once, unless that fails. */
  async functionName(): Promise<string> {
    this.name ??= this.findFunction();
    return this.name.catch((error: unknown) => {
      this.name = undefined;
      throw error;
    });
  }

  private async findFunction(): Promise<string> {
    if (this.place.function !== undefined) return this.place.function;
    const stack = this.place.stack ?? '';
    const client = new CloudFormationClient(this.config());
    try {
      const { Stacks } = await client.send(new DescribeStacksCommand({ StackName: stack }));
      const output = Stacks?.[0]?.Outputs?.find(({ OutputKey }) => OutputKey === 'FunctionName');
      if (output?.OutputValue !== undefined) return output.OutputValue;
      throw new Failure(
        `The stack ${stack} has no output FunctionName, so it is not one of this project's stacks. ` +
          'If your own stack contains the construct, name the function with --function.',
      );
    } catch (error) {
      if (error instanceof Error && error.message.includes('does not exist')) {
        const region = await client.config.region();
        throw new Failure(
          `The stack ${stack} does not exist in ${region}. Deploy it with \`npx cdk deploy ${stack}\`, ` +
            'or choose another account or region with --profile and --region, or another stack with --stack.',
        );
      }
      throw error;
    } finally {
      client.destroy();
    }
  }

  /**
   * Invokes the handler. A lost connection repeats a dry run only.
   *
   * @param timeoutMs how long a dry run may take
   */
  async invoke(command: Command, timeoutMs = TIMEOUT_MS): Promise<Answer> {
    const name = await this.functionName();
    const client = new LambdaClient({
      ...this.config(),
      ...(command.dryRun === true ? {} : { maxAttempts: 1 }),
      requestHandler: { requestTimeout: TIMEOUT_MS, socketTimeout: TIMEOUT_MS },
    });
    try {
      const { FunctionError, Payload } = await client.send(
        new InvokeCommand({
          // People who may only look have the permission for this alias.
          FunctionName: command.dryRun === true ? `${name}:${DRY_RUN_ALIAS}` : name,
          Payload: JSON.stringify(command),
        }),
        { abortSignal: AbortSignal.timeout(timeoutMs) },
      );
      const text = Payload?.transformToString() ?? '';
      if (FunctionError !== undefined) throw new HandlerError(text);
      const answer = parseAnswer(text);
      // The handler answers a request that it does not understand with the reason.
      if (answer.scope === 'none') throw new Failure(`The handler refused the request: ${answer.reason ?? text}`);
      return answer;
    } finally {
      client.destroy();
    }
  }
}

/** The invocation failed. The handler made the other changes. */
export class HandlerError extends Failure {
  constructor(answer: string) {
    let message = answer;
    try {
      const { errorMessage } = JSON.parse(answer) as { errorMessage?: unknown };
      if (typeof errorMessage === 'string') message = errorMessage;
    } catch {
      // The runtime's own text is the best that there is.
    }
    super(message);
  }
}

/** The command line: arguments, exit statuses, and errors in words. */
import { isIP } from 'node:net';
import { createInterface } from 'node:readline/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import pc from 'picocolors';
import packageJson from '../../package.json' with { type: 'json' };
import { Discovery, type Place } from './discovery.js';
import { doctor } from './doctor.js';
import { explain } from './explain.js';
import { inWords } from './failure.js';
import { history } from './history.js';
import { type HtmlReportOptions, htmlReport } from './html-report.js';
import type { Output } from './output.js';
import { apply, plan } from './plan.js';
import { type RedriveOptions, redrive } from './redrive.js';
import { type Format, status } from './status.js';
import { wait } from './wait.js';
import { watch } from './watch.js';

type ListOptions = Place & { output: Format; json: boolean; all: boolean };

function seconds(value: string): number {
  const number = Number(value);
  if (!/^\d+$/.test(value) || number === 0) throw new InvalidArgumentError('Expected a whole number of seconds.');
  return number;
}

/** The address of a DNS resolver, with or without a port. */
function resolver(value: string): string {
  if (isIP(value.replace(/^\[(.*)\](:\d+)?$|^([\d.]+):\d+$/, '$1$3')) === 0) {
    throw new InvalidArgumentError('Expected an IP address, such as 10.0.0.2 or 10.0.0.2:53.');
  }
  return value;
}

const UNITS = new Map([
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
]);

/** A period such as `24h`, in milliseconds. */
function period(value: string): number {
  const [, number, unit] = /^(\d{1,4})([mhd])$/.exec(value) ?? [];
  const length = Number(number) * (UNITS.get(unit ?? '') ?? NaN);
  if (!(length > 0)) throw new InvalidArgumentError('Expected a number with m, h or d, such as 90m, 24h or 7d.');
  return length;
}

const sinceOption = (description: string, length: string) =>
  new Option('--since <period>', `${description}, such as 90m, 24h or 7d`)
    .argParser(period)
    .default(period(length), length);

/** This process's terminal. */
export function terminal(): Output {
  const { stdout, stderr, stdin } = process;
  // The reader of a pipe may end first, for example `head`.
  stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
  return {
    write: (text) => void stdout.write(text),
    note: (text) => void stderr.write(text),
    width: stdout.isTTY ? stdout.columns : 80,
    // `isTTY` is undefined, not false, for a pipe. In CI, picocolors would colour pipes, too.
    colors: (stdout.isTTY || Boolean(process.env.FORCE_COLOR)) && pc.isColorSupported,
    progress: stderr.isTTY,
    sleep: (ms) => delay(ms),
    confirm: async (question) => {
      if (!stdin.isTTY) {
        stderr.write('Nobody can answer here. Add --yes to go on without a question.\n');
        return false;
      }
      const reader = createInterface({ input: stdin, output: stderr });
      try {
        return /^y(es)?$/i.test((await reader.question(`${question} [y/N] `)).trim());
      } finally {
        reader.close();
      }
    },
  };
}

/** Runs the command line, and returns its exit status. */
export async function main(args: string[], output: Output = terminal()): Promise<number> {
  let exitStatus = 0;
  let region: string | undefined;
  const program = new Command('ecs-discovery')
    .description('Shows which names ECS service discovery has registered, and what is not registered and why.')
    .version(packageJson.version, '--version')
    .configureOutput({
      writeOut: (text) => {
        output.write(text);
      },
      writeErr: (text) => {
        output.note(text);
      },
    })
    .configureHelp({ helpWidth: output.width, minWidthToWrap: 20 })
    .showHelpAfterError('(add --help for the options)')
    .exitOverride();

  const command = (name: string, description: string) =>
    program
      .command(name)
      .description(description)
      .option('--stack <name>', "the environment's stack, if it is not EcsDiscovery-<environment>")
      .option('--function <name>', "the environment's function, if the construct is in a stack of your own")
      .option('--region <region>', 'the AWS region, by default that of cdk.json or of the AWS configuration')
      .option('--profile <profile>', 'a profile of the AWS configuration');
  const formats = (program: Command) =>
    program
      .option('--all', 'show everything instead of the first lines', false)
      .addOption(new Option('--output <format>', 'the format').choices(['table', 'json', 'csv']).default('table'))
      .option('--json', 'the same as --output json', false);
  const lists = (name: string, description: string) =>
    formats(command(name, description).argument('[environment]', 'a key of environments in cdk.json'));
  const find = (environment: string | undefined, place: Place) => {
    const discovery = new Discovery(environment, place);
    region = discovery.region;
    return discovery;
  };
  const format = ({ json, output: format }: ListOptions): Format => (json ? 'json' : format);

  lists('status', 'which services have which names, and what is not registered and why')
    .addOption(
      new Option('--watch [seconds]', 'show it again every 30 seconds, or as often as you say, until Ctrl-C')
        .argParser(seconds)
        .preset('30'),
    )
    .addHelpText('after', '\nExit status: 0 if nothing needs attention, otherwise 1. Nothing is written.')
    .action(async (environment: string | undefined, options: ListOptions & { watch?: number }) => {
      const discovery = find(environment, options);
      const show = (to: Output) => status(discovery, { ...options, format: format(options) }, to);
      if (options.watch === undefined) exitStatus = await show(output);
      else await watch(show, options.watch, output);
    });
  lists('plan', 'what a full pass would change now')
    .addHelpText('after', '\nExit status: 0 in sync, 2 changes pending, 1 trouble. Nothing is written.')
    .action(async (environment: string | undefined, options: ListOptions) => {
      exitStatus = await plan(find(environment, options), { ...options, format: format(options) }, output);
    });
  lists('apply', 'run a full pass, and show what it changed')
    .option('--override-delete-limit', 'delete as many names as necessary, after showing them and asking', false)
    .option('--yes', 'do not ask', false)
    .addHelpText('after', '\nExit status: 0 if everything is in sync afterwards, otherwise 1.')
    .action(
      async (
        environment: string | undefined,
        options: ListOptions & { overrideDeleteLimit: boolean; yes: boolean },
      ) => {
        exitStatus = await apply(find(environment, options), { ...options, format: format(options) }, output);
      },
    );
  command('explain', 'everything about one name or service, and what would have to change')
    .argument('<subject>', 'a name such as orders.dev.internal, a service in the form cluster/service, or its ARN')
    .argument('[environment]', 'a key of environments in cdk.json')
    .option('--json', 'print JSON', false)
    .addHelpText('after', '\nExit status: 0 if nothing needs attention, otherwise 1. Nothing is written.')
    .action(async (subject: string, environment: string | undefined, options: Place & { json: boolean }) => {
      exitStatus = await explain(find(environment, options), subject, options, output);
    });
  command('wait', 'wait until a service or a name is registered')
    .argument('<subject>', 'a service in the form cluster/service, or a name such as orders.dev.internal')
    .argument('[environment]', 'a key of environments in cdk.json')
    .option('--timeout <seconds>', 'how long', seconds, 300)
    .addOption(
      new Option('--dns [address]', "wait until this machine's DNS resolver, or another one, finds the name, too")
        .argParser(resolver)
        .default(false),
    )
    .addHelpText('after', '\nExit status: 0 when it is registered, 1 if not. Nothing is written.')
    .action(
      async (
        subject: string,
        environment: string | undefined,
        options: Place & { timeout: number; dns: string | boolean },
      ) => {
        const { timeout, dns } = options;
        exitStatus = await wait(find(environment, options), subject, { timeoutSeconds: timeout, dns }, output);
      },
    );
  command('doctor', 'whether the function, its triggers and its zones work')
    .argument('[environment]', 'a key of environments in cdk.json')
    .option('--all', 'show all problems of each kind instead of the first ones', false)
    .option('--json', 'print JSON', false)
    .addHelpText(
      'after',
      '\nExit status: 0 if nothing failed, also with warnings. 1 if a check failed or its\nresult is unknown. Nothing is written.',
    )
    .action(async (environment: string | undefined, options: Place & { json: boolean; all: boolean }) => {
      exitStatus = await doctor(find(environment, options), options, output);
    });
  formats(command('history', 'which names changed, or who had a name when'))
    .argument('[subject]', 'a name such as orders.dev.internal, a service in the form cluster/service, or its ARN')
    .argument('[environment]', 'a key of environments in cdk.json')
    .addOption(sinceOption('how far back', '1d'))
    .addHelpText('after', '\nExit status: 0, also if nothing changed, and 1 after an error. Nothing is written.')
    .action(
      async (
        subject: string | undefined,
        environment: string | undefined,
        options: ListOptions & { since: number },
      ) => {
        // A name contains a dot, and a service a slash. An environment contains neither.
        const isEnvironment = environment === undefined && subject !== undefined && !/[./]/.test(subject);
        const [about, place] = isEnvironment ? [undefined, subject] : [subject, environment];
        exitStatus = await history(find(place, options), about, { ...options, format: format(options) }, output);
      },
    );
  command('report', 'a page with all names, and with everything that needs attention')
    .argument('[environment]', 'a key of environments in cdk.json')
    .addOption(
      new Option('--html [file]', 'write the page to this file, or without one to the standard output')
        .preset('-')
        .makeOptionMandatory(),
    )
    .addOption(sinceOption('how far back to search the log for the ages of names', '7d'))
    .addHelpText('after', '\nExit status: 0 if nothing needs attention, otherwise 1. Nothing but the page is written.')
    .action(async (environment: string | undefined, options: Place & HtmlReportOptions) => {
      exitStatus = await htmlReport(find(environment, options), options, output);
    });
  command('redrive', 'show the dead-letter queue, and let the handler process its messages again')
    .argument('[environment]', 'a key of environments in cdk.json')
    .option('--list', 'only show the messages', false)
    .option('--yes', 'do not ask', false)
    .option('--all', 'show all messages instead of the first ones', false)
    .option('--json', 'print JSON, with --list or --yes', false)
    .addHelpText(
      'after',
      '\nExit status: 0 if the queue is empty or everything was moved, otherwise 1.\n' +
        'No message is lost. In the worst case the handler processes one twice.',
    )
    .action(async (environment: string | undefined, options: Place & RedriveOptions) => {
      exitStatus = await redrive(find(environment, options), options, output);
    });

  try {
    await program.parseAsync(args, { from: 'user' });
    return exitStatus;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    output.note(inWords(error, region, output));
    return 1;
  }
}

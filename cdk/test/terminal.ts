/** Runs the command line tool in the test's process, in a terminal of 80 columns without colours. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, expect, vi } from 'vitest';
import { main } from '../cli/main.js';
import type { Output } from '../cli/output.js';

/** Thrown in place of a pause, as if somebody pressed Ctrl-C. */
class Interrupted extends Error {}

/** Runs a command, and checks that its lines fit the terminal. It is interrupted after a number of pauses. */
export async function run(line: string, confirm = false, pauses = Infinity) {
  let [stdout, stderr] = ['', ''];
  const output: Output = {
    write: (text) => void (stdout += text),
    note: (text) => void (stderr += text),
    width: 80,
    colors: false,
    progress: false,
    confirm: () => Promise.resolve(confirm),
    sleep: () => (pauses-- > 0 ? Promise.resolve() : Promise.reject(new Interrupted())),
  };
  const status = await main(line.split(' '), output);
  for (const text of `${stdout}\n${stderr}`.split('\n')) {
    // A command stays on one line, so that it can be copied.
    const isWrapped = !/json|csv|html/.test(line) && !stderr.startsWith('error: ') && !/^ {2}(npx|aws) /.test(text);
    if (isWrapped) expect(text.length, text).toBeLessThanOrEqual(80);
  }
  return { status, stdout, stderr };
}

/** A request to AWS. */
export interface AwsRequest {
  /** For example `AmazonSQS.ReceiveMessage`, or nothing if the API has no such header. */
  target: string;
  method: string;
  url: string;
  body: string;
}

/** An answer of AWS. */
export interface AwsReply {
  status?: number;
  headers?: Record<string, string>;
  body: string;
}

/** Answers the requests of each test of a file in place of AWS, on a free port of this machine. */
export function serveAws(reply: (request: AwsRequest) => AwsReply): void {
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const { url = '', method = '' } = request;
      const target = String(request.headers['x-amz-target'] ?? '');
      const answer = reply({ target, method, url, body });
      response.writeHead(answer.status ?? 200, answer.headers).end(answer.body);
    });
  });
  beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)));
  afterAll(() => {
    server.close();
    server.closeAllConnections();
  });
  beforeEach(() => {
    vi.stubEnv('AWS_ENDPOINT_URL', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'k');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 's');
  });
  afterEach(() => {
    vi.unstubAllEnvs();
  });
}

/** The ARN of a queue of the environment `dev`. */
export const queueArn = (name: string) => `arn:aws:sqs:eu-west-1:111122223333:${name}`;

/** The function of the environment `dev`, as Lambda describes it. */
export const FUNCTION = {
  configuration: {
    FunctionArn: 'arn:aws:lambda:eu-west-1:111122223333:function:discovery',
    State: 'Active',
    LoggingConfig: { LogGroup: '/logs/discovery' },
    Environment: {
      Variables: {
        DISCOVERY_CONFIG: JSON.stringify({
          environment: 'dev',
          zones: [{ name: 'dev.internal', vpcs: [['vpc-1', 'Z1']] }],
        }),
      },
    },
  },
  invocations: { DestinationConfig: { OnFailure: { Destination: queueArn('failures') } } },
  mappings: [
    { EventSourceArn: queueArn('calls'), BatchSize: 10_000, State: 'Enabled' },
    { EventSourceArn: queueArn('events'), BatchSize: 100, State: 'Enabled' },
  ],
};

/** The answer of Lambda about the parts of a function. `undefined` if the request is another one. */
export function describeFunction({ url, target }: AwsRequest, parts = FUNCTION): AwsReply | undefined {
  const answer = (body: object) => ({ body: JSON.stringify(body) });
  if (target !== '') return undefined;
  if (url.includes('/event-source-mappings')) return answer({ EventSourceMappings: parts.mappings });
  if (url.includes('/event-invoke-config?')) return answer(parts.invocations);
  if (url.endsWith('/configuration')) return answer(parts.configuration);
  return undefined;
}

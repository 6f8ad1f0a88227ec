/** Tests of `redrive`, against an SQS of this process. */
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { type AwsReply, type AwsRequest, FUNCTION, describeFunction, queueArn, run, serveAws } from './terminal.js';

interface Message {
  MessageId: string;
  Body: string;
  Attributes: Record<string, string>;
  MessageAttributes: Record<string, { DataType: string; StringValue: string }>;
  /** Whether somebody receives the message. */
  isReceived: boolean;
}

/** The state of SQS and of Lambda. */
let queues: Record<string, Message[]>;
/** The actions in their order, without reads. */
let calls: string[];
/** The errors of actions, by their names. `after` lets the first ones succeed. */
let errors: Record<string, { name: string; message: string; after?: number }>;
/** The tasks, the latest first. */
let tasks: Record<string, unknown>[];
/** The states through which a new task passes, one for each request. */
let progress: string[];
/** Whether the list has no new task. */
let hidesTasks: boolean;
let lambda: typeof FUNCTION;

const json = (body: object): AwsReply => ({ body: JSON.stringify(body) });
const unsupported = { name: 'InvalidAction', message: 'The action is not valid for this endpoint.' };

function sqs(action: string, request: Record<string, unknown>): AwsReply {
  const error = errors[action];
  if (error !== undefined && (error.after ?? 0) === 0) {
    return {
      status: 400,
      headers: { 'x-amzn-query-error': `${error.name};Sender` },
      body: JSON.stringify({ __type: `com.amazonaws.sqs#${error.name}`, message: error.message }),
    };
  }
  if (error?.after !== undefined) error.after -= 1;
  const name = String(request.QueueUrl ?? request.QueueName ?? request.SourceArn).replace(/.*[/:]/, '');
  const queue = (queues[name] ??= []);
  const byReceipt = (receipt: unknown) => queue.find(({ MessageId }) => `receipt-${MessageId}` === receipt);
  switch (action) {
    case 'GetQueueUrl':
      return json({ QueueUrl: `https://sqs.eu-west-1.amazonaws.com/111122223333/${name}` });
    case 'GetQueueAttributes': {
      const received = queue.filter(({ isReceived }) => isReceived).length;
      const [visible, invisible] = [String(queue.length - received), String(received)];
      return json({
        Attributes: { ApproximateNumberOfMessages: visible, ApproximateNumberOfMessagesNotVisible: invisible },
      });
    }
    case 'ReceiveMessage': {
      const found = queue.filter(({ isReceived }) => !isReceived).slice(0, Number(request.MaxNumberOfMessages));
      const Messages = found.map((message) => {
        message.isReceived = true;
        const MD5OfBody = createHash('md5').update(message.Body).digest('hex');
        return { ...message, isReceived: undefined, ReceiptHandle: `receipt-${message.MessageId}`, MD5OfBody };
      });
      return json(Messages.length === 0 ? {} : { Messages });
    }
    case 'ChangeMessageVisibilityBatch': {
      const entries = request.Entries as { ReceiptHandle: string; VisibilityTimeout: number }[];
      for (const { ReceiptHandle } of entries) {
        const message = byReceipt(ReceiptHandle);
        if (message !== undefined) message.isReceived = false;
      }
      calls.push(`release ${entries.length} of ${name}`);
      return json({ Successful: [], Failed: [] });
    }
    case 'SendMessage': {
      const { MessageBody, MessageAttributes } = request as { MessageBody: string; MessageAttributes: never };
      calls.push(`send to ${name}`);
      queue.push({ ...message(MessageBody), MessageAttributes });
      return json({ MessageId: 'm', MD5OfMessageBody: createHash('md5').update(MessageBody).digest('hex') });
    }
    case 'DeleteMessage':
      calls.push(`delete from ${name}`);
      queues[name] = queue.filter((message) => message !== byReceipt(request.ReceiptHandle));
      return json({});
    case 'ListMessageMoveTasks': {
      const status = progress.shift();
      if (tasks[0]?.Status === 'RUNNING' && status !== undefined) {
        const moved = status === 'RUNNING' ? 1 : queue.length;
        tasks[0] = { ...tasks[0], Status: status, ApproximateNumberOfMessagesMoved: moved };
        if (status === 'COMPLETED') queues[name] = [];
        if (status === 'FAILED') tasks[0].FailureReason = 'AccessDenied';
      }
      return json({ Results: tasks });
    }
    case 'StartMessageMoveTask':
      calls.push(`task from ${name} to ${String(request.DestinationArn).split(':').at(-1) ?? ''}`);
      if (!hidesTasks)
        tasks = [{ Status: 'RUNNING', StartedTimestamp: 2, DestinationArn: request.DestinationArn }, ...tasks];
      return json({ TaskHandle: 't' });
    default:
      throw new Error(action);
  }
}

serveAws((request: AwsRequest): AwsReply => {
  const described = describeFunction(request, lambda);
  if (described !== undefined) return described;
  return sqs(request.target.replace('AmazonSQS.', ''), JSON.parse(request.body) as Record<string, unknown>);
});

let ids: number;

function message(Body: string | object, more: Partial<Message> = {}): Message {
  ids += 1;
  return {
    MessageId: `m${ids}`,
    Body: typeof Body === 'string' ? Body : JSON.stringify(Body),
    Attributes: { SentTimestamp: String(Date.UTC(2026, 10, 26, 10, ids)) },
    MessageAttributes: {},
    isReceived: false,
    ...more,
  };
}

const call = (eventName: string, request: object, more: object = {}) => ({
  source: 'aws.ecs',
  'detail-type': 'AWS API Call via CloudTrail',
  detail: { eventSource: 'ecs.amazonaws.com', eventName, requestParameters: request, responseElements: null, ...more },
});
const CREATED = call('CreateService', { cluster: 'shop', serviceName: 'orders' });
const ARN = 'arn:aws:ecs:eu-west-1:111122223333:service/shop/orders';

/** The envelope of Lambda's failure destination. */
const failed = (event: object, condition: string, response: object | null = null) => ({
  version: '1.0',
  requestContext: { condition, approximateInvokeCount: 3 },
  requestPayload: event,
  responsePayload: response,
});

beforeEach(() => {
  ids = 0;
  queues = { failures: [], events: [] };
  calls = [];
  errors = {};
  tasks = [];
  progress = ['RUNNING', 'RUNNING', 'COMPLETED'];
  hidesTasks = false;
  lambda = structuredClone(FUNCTION);
});

const redrive = (line = '', confirm = true) => run(`redrive --function discovery --region eu-west-1${line}`, confirm);
const bodies = (name: string) => queues[name]?.map(({ Body }) => Body);

describe('the list', () => {
  test('an empty queue needs nothing', async () => {
    expect(await redrive()).toEqual({ status: 0, stdout: 'dev: the dead-letter queue is empty\n', stderr: '' });
    expect(calls).toEqual([]);
  });

  test('shows each message in words, with the reason of its failure, the oldest first', async () => {
    const attribute = (StringValue: string) => ({ DataType: 'String', StringValue });
    const late = message(failed(CREATED, 'EventAgeExceeded'));
    queues.failures = [
      late,
      message(
        failed(call('DeleteService', {}, { responseElements: { service: { serviceArn: ARN } } }), 'RetriesExhausted', {
          errorType: 'ServicesFailed',
          errorMessage: '1 of 1 services failed. The first: shop/orders: AccessDenied',
        }),
      ),
      message(
        { source: 'aws.events', 'detail-type': 'Scheduled Event', detail: {} },
        {
          MessageAttributes: {
            ERROR_CODE: attribute('NO_PERMISSIONS'),
            ERROR_MESSAGE: attribute('not authorized to perform lambda:InvokeFunction'),
          },
        },
      ),
      message(
        {
          source: 'aws.elasticloadbalancing',
          'detail-type': 'AWS API Call via CloudTrail',
          detail: { eventName: 'CreateListener' },
        },
        { Attributes: { SentTimestamp: '1764000000000', DeadLetterQueueSourceArn: queueArn('calls') } },
      ),
      message({
        source: 'aws.ecs',
        'detail-type': 'ECS Deployment State Change',
        resources: [ARN],
        detail: { eventName: 'SERVICE_DEPLOYMENT_COMPLETED' },
      }),
      message({ source: 'aws.tag', 'detail-type': 'Tag Change on Resource', resources: [ARN], detail: {} }),
      message({ source: 'aws.ec2', 'detail-type': 'EC2 Instance State-change Notification' }),
      message(failed({ reconcile: 'all' }, 'RetriesExhausted')),
      message('no event'),
      message({ hello: 'world' }),
    ];
    const { status, stdout, stderr } = await redrive(' --list');
    expect(status).toBe(1);
    expect(stderr).toBe('');
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 10 messages in the dead-letter queue; 2 unreadable

        2025-11-24 16:00 UTC  load balancer call CreateListener
                              All five attempts from the queue failed; the log of
                              these attempts has the errors.
        2026-11-26 10:01 UTC  CreateService of shop/orders
                              Lambda could not invoke the function in time.
        2026-11-26 10:02 UTC  DeleteService of shop/orders
                              The function failed in each attempt: 1 of 1 services
                              failed. The first: shop/orders: AccessDenied.
        2026-11-26 10:03 UTC  full pass of the schedule
                              EventBridge could not deliver it: NO_PERMISSIONS: not
                              authorized to perform lambda:InvokeFunction.
        2026-11-26 10:05 UTC  deployment completed of shop/orders
        2026-11-26 10:06 UTC  changed tags of shop/orders
        2026-11-26 10:07 UTC  EC2 Instance State-change Notification of aws.ec2, which
                              changes no name
        2026-11-26 10:08 UTC  command {"reconcile":"all"}
                              The handler drops commands from a queue; invoke the
                              function with it instead.
        2026-11-26 10:09 UTC  unreadable message: no event
                              It is not JSON, so the handler cannot read it.
        2026-11-26 10:10 UTC  unreadable message: {"hello":"world"}
                              It is no event, so the handler cannot read it.

      When the cause is repaired, let the handler process them again:
        npx ecs-discovery redrive --function discovery --region eu-west-1
      "
    `);
    expect(calls).toEqual(['release 10 of failures']);
    expect(queues.failures).toHaveLength(10);
    expect(queues.failures.some(({ isReceived }) => isReceived)).toBe(false);
  });

  test.each([
    [call('CreateService', { serviceName: 'orders' }), 'CreateService of default/orders'],
    [
      call('UpdateService', { cluster: 'arn:aws:ecs:eu-west-1:1:cluster/shop', service: 'orders' }),
      'UpdateService of shop/orders',
    ],
    [call('UpdateService', { cluster: 'x', service: ARN }), 'UpdateService of shop/orders'],
    [call('TagResource', { resourceArn: ARN }), 'TagResource of shop/orders'],
    [call('DeleteExpressGatewayService', { serviceArn: ARN }), 'DeleteExpressGatewayService of shop/orders'],
    [call('UpdateService', { omitted: true }), 'UpdateService of an unknown service'],
    [
      {
        source: 'aws.ecs',
        'detail-type': 'ECS Service Action',
        resources: ['arn:aws:ecs:eu-west-1:1:service/orders'],
        detail: { eventName: 'TASKSET_STEADY_STATE', clusterArn: 'arn:aws:ecs:eu-west-1:1:cluster/shop' },
      },
      'taskset steady state of shop/orders',
    ],
    [{ source: 'aws.tag', 'detail-type': 'Tag Change on Resource' }, 'changed tags of an unknown service'],
    [{ 'detail-type': 7 }, 'nothing of nobody, which changes no name'],
  ])('finds the service of an event: %#', async (event, text) => {
    queues.failures = [message(event)];
    expect((await redrive(' --list')).stdout).toContain(`2026-11-26 10:01 UTC  ${text}\n`);
  });

  test("names the events of the handler's tests", async () => {
    const folder = new URL('../../handler/tests/events/', import.meta.url);
    queues.failures = readdirSync(folder)
      .sort()
      .map((file) => message(readFileSync(new URL(file, folder), 'utf8')));
    const { stdout } = await redrive(' --list --all');
    expect(stdout.split('\n\n')[1]).toMatchInlineSnapshot(`
      "  2026-11-26 10:01 UTC  ECS Container Instance State Change of aws.ecs, which
                              changes no name
        2026-11-26 10:02 UTC  load balancer call CreateListener
        2026-11-26 10:03 UTC  CreateService of dev/orders
        2026-11-26 10:04 UTC  CreateService of default/orders
        2026-11-26 10:05 UTC  CreateService of dev/orders
        2026-11-26 10:06 UTC  load balancer call DeleteLoadBalancer
        2026-11-26 10:07 UTC  DeleteService of dev/orders
        2026-11-26 10:08 UTC  deployment completed of dev/orders
        2026-11-26 10:09 UTC  RunTask of an unknown service
        2026-11-26 10:10 UTC  full pass of the schedule
        2026-11-26 10:11 UTC  steady state of dev/orders
        2026-11-26 10:12 UTC  TagResource of dev/orders
        2026-11-26 10:13 UTC  UpdateService of dev/orders
        2026-11-26 10:14 UTC  UpdateService of an unknown service"
    `);
  });

  test.each([
    ['ZeroReservedConcurrency', null, 'The reserved concurrency of the function is 0.'],
    ['constructor', { errorType: 'Runtime.ExitError' }, 'Lambda reports constructor: Runtime.ExitError.'],
  ])('shows why Lambda gave up: %s', async (condition, response, text) => {
    queues.failures = [message(failed(CREATED, condition, response))];
    expect((await redrive(' --list')).stdout).toContain(text);
  });

  test('shows the first messages, and all with --all', async () => {
    queues.failures = Array.from({ length: 25 }, () => message(CREATED));
    const { stdout } = await redrive(' --list');
    expect(stdout).toMatch(/^dev: 25 messages in the dead-letter queue\n/);
    expect(stdout).toContain('\n  … and 15 more; add --all to see them\n');
    expect(stdout.match(/CreateService/g)).toHaveLength(10);
    expect((await redrive(' --list --all')).stdout.match(/CreateService/g)).toHaveLength(25);
    expect(queues.failures.some(({ isReceived }) => isReceived)).toBe(false);
  });

  test('stops reading a queue with very many messages', { timeout: 20_000 }, async () => {
    queues.failures = Array.from({ length: 1_234 }, () => message(CREATED));
    const { stdout } = await redrive(' --list');
    expect(stdout).toMatch(/^dev: more than 999 messages in the dead-letter queue\n/);
    expect(queues.failures.some(({ isReceived }) => isReceived)).toBe(false);
  });

  test('mentions messages that somebody else receives', async () => {
    queues.failures = [message(CREATED, { isReceived: true })];
    const { status, stdout } = await redrive();
    expect(status).toBe(1);
    expect(stdout).toMatchInlineSnapshot(`
      "dev: the dead-letter queue has about 1 message that nobody can see now, because
      somebody is receiving or has just moved them. Try again in some minutes.
      "
    `);
    queues.failures.push(message(CREATED));
    expect((await redrive(' --list')).stdout).toContain('dev: 1 message in the dead-letter queue\n');
  });

  test('prints none of the characters that a terminal would obey', async () => {
    const error = { errorMessage: `\u001b[2J\u202etxt\nrm ${'very '.repeat(200)}` };
    queues.failures = [
      message(failed(call('Create\u001bService', { serviceName: 'or\u202eders\n' }), 'Retries\u0007', error)),
      message({ deregister: '\u009b2J' }),
    ];
    const { stdout } = await redrive(' --list');
    expect(stdout).not.toMatch(/\p{Cc}(?<!\n)|\u202e/u);
    expect(stdout.split('\n').length).toBeLessThan(20);
    expect((await redrive(' --list --json')).stdout).not.toMatch(/\p{Cc}(?<!\n)|\u202e/u);
  });

  test('prints JSON for programs', async () => {
    queues.failures = [message(failed(CREATED, 'RetriesExhausted')), message('x')];
    const { status, stdout } = await redrive(' --list --json');
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchInlineSnapshot(`
      {
        "environment": "dev",
        "messages": [
          {
            "event": "CreateService of shop/orders",
            "id": "m1",
            "kind": "event",
            "reason": "the function failed in each attempt",
            "sentAt": "2026-11-26T10:01:00Z",
          },
          {
            "event": "unreadable message: x",
            "id": "m2",
            "kind": "unreadable",
            "reason": "it is not JSON, so the handler cannot read it",
            "sentAt": "2026-11-26T10:02:00Z",
          },
        ],
        "moved": 0,
      }
    `);
    expect((await redrive(' --json')).stderr).toBe(
      'With --json nobody is asked. Add --list to see the messages, or --yes to move\nthem.\n',
    );
  });
});

describe('the move', () => {
  test('lets SQS move the messages after a question', async () => {
    queues.failures = [message(failed(CREATED, 'RetriesExhausted')), message(CREATED)];
    tasks = [{ Status: 'COMPLETED', StartedTimestamp: 1 }];
    const { status, stdout, stderr } = await redrive();
    expect(stderr).toBe('');
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 2 messages in the dead-letter queue

        2026-11-26 10:01 UTC  CreateService of shop/orders
                              The function failed in each attempt.
        2026-11-26 10:02 UTC  CreateService of shop/orders

      dev: 2 messages were moved to the event queue

      The handler processes them within a minute. A message that fails again returns
      after a quarter of an hour. To see whether all services are registered:
        npx ecs-discovery status --function discovery --region eu-west-1
      "
    `);
    expect(status).toBe(0);
    expect(calls).toEqual(['release 2 of failures', 'task from failures to events']);
  });

  test('moves nothing if the answer is no', async () => {
    queues.failures = [message(CREATED)];
    const { status, stderr } = await redrive('', false);
    expect(status).toBe(1);
    expect(stderr).toBe('Nothing was moved.\n');
    expect(calls).toEqual(['release 1 of failures']);
  });

  test('follows a task that runs already', async () => {
    queues.failures = [message(CREATED), message(CREATED)];
    tasks = [{ Status: 'RUNNING', StartedTimestamp: 1, DestinationArn: queueArn('events') }];
    const { status, stdout } = await redrive(' --yes');
    expect(status).toBe(0);
    expect(stdout).toContain('dev: 2 messages were moved to the event queue\n');
    expect(calls).toEqual(['release 2 of failures']);
  });

  test('leaves a task alone that moves the messages to another queue', async () => {
    queues.failures = [message(CREATED)];
    tasks = [{ Status: 'RUNNING', StartedTimestamp: 1, DestinationArn: queueArn('other') }];
    const { status, stderr } = await redrive(' --yes');
    expect(status).toBe(1);
    expect(stderr).toMatchInlineSnapshot(`
      "Somebody is moving the messages to another queue at the moment:
      arn:aws:sqs:eu-west-1:111122223333:other. Try again when that has ended.
      "
    `);
    expect(calls).toEqual(['release 1 of failures']);
  });

  test.each([
    ['ListMessageMoveTasks', unsupported],
    [
      'StartMessageMoveTask',
      { name: 'InvalidParameterValue', message: 'Source queue must be configured as a Dead Letter Queue.' },
    ],
    [
      'StartMessageMoveTask',
      { name: 'AccessDeniedException', message: 'not authorized to perform sqs:StartMessageMoveTask' },
    ],
  ])('moves one message after the other if SQS refuses %s', async (action, error) => {
    errors = { [action]: error };
    const body = JSON.stringify(failed(CREATED, 'RetriesExhausted'));
    const MessageAttributes = { ERROR_CODE: { DataType: 'String', StringValue: 'x' } };
    queues.failures = [message(body), message(CREATED, { MessageAttributes })];
    const { status, stdout, stderr } = await redrive(' --yes');
    expect(status).toBe(0);
    expect(stderr).toContain(error.message.split(' ')[0]);
    expect(stdout).toContain('dev: 2 messages were moved to the event queue\n');
    expect(calls.slice(1)).toEqual([
      'send to events',
      'delete from failures',
      'send to events',
      'delete from failures',
    ]);
    expect(bodies('failures')).toEqual([]);
    expect(bodies('events')).toEqual([body, JSON.stringify(CREATED)]);
    expect(queues.events?.[1]?.MessageAttributes).toEqual(MessageAttributes);
  });

  test('moves the rest if the task of SQS fails', async () => {
    progress = ['RUNNING', 'RUNNING', 'FAILED'];
    queues.failures = [message(CREATED)];
    const { status, stderr } = await redrive(' --yes');
    expect(status).toBe(0);
    expect(stderr).toMatchInlineSnapshot(`
      "SQS does not move the messages itself, so this takes longer: AccessDenied.
      "
    `);
    expect(bodies('events')).toHaveLength(1);
  });

  test('does not wait for ever for a task that nobody sees', async () => {
    hidesTasks = true;
    tasks = [{ Status: 'COMPLETED', StartedTimestamp: 1, ApproximateNumberOfMessagesMoved: 7 }];
    queues.failures = [message(CREATED)];
    const { status, stdout, stderr } = await redrive(' --yes');
    expect(status).toBe(0);
    expect(stderr).toContain('The task does not\nappear in the list');
    expect(stdout).toContain('dev: 1 message was moved to the event queue\n');
  });

  test('stops if somebody cancels the task', async () => {
    progress = ['RUNNING', 'RUNNING', 'CANCELLED'];
    queues.failures = [message(CREATED), message(CREATED)];
    const { status, stdout, stderr } = await redrive(' --yes');
    expect(status).toBe(1);
    expect(stdout).toContain('moved to the event queue, then an error stopped the move.');
    expect(stderr).toBe('Somebody cancelled the task that moved the messages.\n');
  });

  test('unreadable messages stay', async () => {
    queues.failures = [message('no event'), message(CREATED), message({ hello: 'world' })];
    const { status, stdout, stderr } = await redrive(' --yes');
    expect(status).toBe(1);
    expect(stderr).toBe('');
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 3 messages in the dead-letter queue; 2 unreadable

        2026-11-26 10:01 UTC  unreadable message: no event
                              It is not JSON, so the handler cannot read it.
        2026-11-26 10:02 UTC  CreateService of shop/orders
        2026-11-26 10:03 UTC  unreadable message: {"hello":"world"}
                              It is no event, so the handler cannot read it.

      dev: 1 message was moved to the event queue

      The handler processes them within a minute. A message that fails again returns
      after a quarter of an hour. To see whether all services are registered:
        npx ecs-discovery status --function discovery --region eu-west-1

      Unreadable messages stay. Find out who sends them to a queue of this
      environment. To delete all messages that are left:
        aws sqs purge-queue --queue-url https://sqs.eu-west-1.amazonaws.com/111122223333/failures --region eu-west-1
      "
    `);
    expect(bodies('failures')).toEqual(['no event', '{"hello":"world"}']);
    expect(bodies('events')).toEqual([JSON.stringify(CREATED)]);
    expect(queues.failures.some(({ isReceived }) => isReceived)).toBe(false);
  });

  test('nothing is asked if all messages are unreadable', async () => {
    queues.failures = [message('no event')];
    const { status, stdout, stderr } = await redrive();
    expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
    expect(stdout).toMatchInlineSnapshot(`
      "dev: 1 message in the dead-letter queue; 1 unreadable

        2026-11-26 10:01 UTC  unreadable message: no event
                              It is not JSON, so the handler cannot read it.

      Unreadable messages stay. Find out who sends them to a queue of this
      environment. To delete all messages that are left:
        aws sqs purge-queue --queue-url https://sqs.eu-west-1.amazonaws.com/111122223333/failures --region eu-west-1
      "
    `);
    expect(calls).toEqual(['release 1 of failures']);
  });

  test('a message is deleted only after the event queue has it', async () => {
    errors = {
      ListMessageMoveTasks: unsupported,
      SendMessage: { name: 'AccessDeniedException', message: 'not authorized to perform sqs:SendMessage', after: 1 },
    };
    queues.failures = [message(CREATED), message(CREATED), message(CREATED)];
    const { status, stdout, stderr } = await redrive(' --yes');
    expect(status).toBe(1);
    expect(stdout).toContain('\ndev: 1 message was moved to the event queue, then an error stopped the move.\n');
    expect(stderr).toContain('A permission is missing: not authorized to perform sqs:SendMessage');
    expect(bodies('failures')).toHaveLength(2);
    expect(queues.failures.some(({ isReceived }) => isReceived)).toBe(false);
  });

  test('a message that cannot be deleted stays, although the event queue has it', async () => {
    errors = { ListMessageMoveTasks: unsupported, DeleteMessage: { name: 'AccessDenied', message: 'no' } };
    queues.failures = [message(CREATED)];
    const { status, stderr } = await redrive(' --yes');
    expect(status).toBe(1);
    expect(stderr).toContain('A permission is missing: no');
    expect(bodies('failures')).toHaveLength(1);
    expect(bodies('events')).toHaveLength(1);
  });

  test('warns if the function receives nothing from the event queue', async () => {
    lambda.mappings = lambda.mappings.map((mapping) => ({ ...mapping, State: 'Disabled' }));
    queues.failures = [message(CREATED)];
    const { stderr } = await redrive();
    expect(stderr).toMatchInlineSnapshot(`
      "The function receives nothing from the event queue now, because the state of its
      mapping is Disabled. Messages wait there for 14 days at most.
      "
    `);
  });

  test('prints JSON with the number of moved messages', async () => {
    queues.failures = [message(CREATED)];
    const { status, stdout } = await redrive(' --yes --json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ environment: 'dev', messages: [{ kind: 'event' }], moved: 1 });
  });
});

describe('errors', () => {
  test.each([
    [
      'ReceiveMessage',
      { name: 'AccessDenied', message: 'not authorized to perform sqs:ReceiveMessage' },
      'A permission is missing: not',
    ],
    [
      'ReceiveMessage',
      { name: 'KmsAccessDenied', message: 'the caller may not decrypt' },
      'A permission is missing: the',
    ],
    [
      'ReceiveMessage',
      { name: 'KmsDisabled', message: 'the key is disabled' },
      'AWS could not use the KMS key that encrypts the messages: the',
    ],
    [
      'GetQueueUrl',
      { name: 'QueueDoesNotExist', message: 'The queue does not exist.' },
      'QueueDoesNotExist: The queue',
    ],
    ['StartMessageMoveTask', { name: 'RequestThrottled', message: 'slow down' }, 'AWS throttled the request'],
  ])('%s %j', async (action, error, text) => {
    vi.stubEnv('AWS_MAX_ATTEMPTS', '1');
    errors = { [action]: error };
    queues.failures = [message(CREATED)];
    const { status, stderr } = await redrive(' --yes');
    expect(status).toBe(1);
    expect(stderr).toContain(text);
    expect(bodies('failures')).toHaveLength(1);
  });

  test('a function without a queue is another one', async () => {
    lambda.invocations.DestinationConfig.OnFailure.Destination = 'arn:aws:sns:eu-west-1:111122223333:topic';
    expect((await redrive()).stderr).toContain('failed events to no queue');
    lambda = { ...structuredClone(FUNCTION), mappings: [] };
    queues.failures = [message(CREATED)];
    expect((await redrive()).stderr).toContain('receives messages from no queue');
  });
});

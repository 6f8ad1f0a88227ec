/** Failures that a person can repair, in words, instead of a stack trace. */
import { type Output, wrap } from './output.js';
import { printable } from './printable.js';

/** A failure with a complete explanation. */
export class Failure extends Error {}

/** Whether another attempt may succeed. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return TRANSIENT.test(`${error.name} ${error.message}`);
}

const THROTTLED = /TooManyRequests|Throttl|RequestLimitExceeded/i;
const UNREACHABLE =
  /ECONNREFUSED|ECONNRESET|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE|TimeoutError|AbortError|socket hang up|Service(Unavailable|Exception)|Internal(Failure|Server)/;
const TRANSIENT = new RegExp(`${THROTTLED.source}|${UNREACHABLE.source}`, 'i');

/** An error of AWS or of its SDK in words, with the next step. */
export function describe(error: unknown, region: string | undefined): string {
  if (error instanceof Failure) return error.message;
  if (!(error instanceof Error)) return String(error);
  const { name, message } = error;
  if (/Credentials|SSO|Token(Refresh|Provider)/i.test(name) || /security token|credential|sso session/i.test(message)) {
    return (
      `AWS did not accept the credentials, or there are none: ${message}\n` +
      'Log in (for example with `aws sso login`), or choose a profile with --profile.'
    );
  }
  if (/Region is missing/i.test(message)) {
    return 'No AWS region is set. Add --region, or set AWS_REGION.';
  }
  if (name.includes('AccessDenied')) {
    return `A permission is missing: ${message}`;
  }
  if (name.startsWith('Kms')) {
    return `AWS could not use the KMS key that encrypts the messages: ${message}`;
  }
  if (THROTTLED.test(name)) {
    return `AWS throttled the request, or the function runs as often as its reserved concurrency allows: ${message}\nTry again in a minute.`;
  }
  if (UNREACHABLE.test(`${name} ${message}`)) {
    return `AWS could not be reached in ${region ?? 'the configured region'}: ${message}`;
  }
  return `${name}: ${message}`;
}

/** The same, in lines that fit the terminal. A line with a command stays whole, so that it can be copied. */
export function inWords(error: unknown, region: string | undefined, output: Output): string {
  const lines = printable(describe(error, region)).split('\n');
  const wrapped = lines.map((line) => (line.startsWith('  ') ? line : wrap(line, 0, output)));
  return `${wrapped.join('\n')}\n`;
}

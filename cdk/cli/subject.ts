/** What an argument of `wait` and `explain` names. */
import { Failure } from './failure.js';

/** The service of `cluster/service` or of an ARN, or `undefined` if the subject is a name. */
export function serviceOf(subject: string): { cluster: string; service: string } | undefined {
  const short = subject.split(':service/').at(-1) ?? subject;
  const [cluster, service, ...rest] = short.split('/');
  if (service === undefined) return undefined;
  if (!cluster || !service || rest.length > 0) {
    throw new Failure(`${JSON.stringify(subject)} is neither a name nor a service in the form cluster/service.`);
  }
  return { cluster, service };
}

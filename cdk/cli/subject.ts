/** The argument of `wait` and `explain`: a name or a service. */
import { Failure } from './failure.js';
import { type Service, ofName } from './report.js';

/** A name, or a service for which the handler can be asked. */
export type Subject = { name: string } | { cluster: string; service: string };

/** A service has the form `cluster/service`, or is an ARN. Everything else is a name. */
export function parseSubject(text: string): Subject {
  const arn = /^arn:aws[a-z-]*:ecs:[^:]*:[^:]*:service\/(.+)$/.exec(text)?.[1];
  const parts = (arn ?? text).split('/');
  const [cluster, service] = parts;
  if (arn !== undefined && parts.length === 1) return { cluster: 'default', service: text };
  if (parts.length === 1) return { name: text.replace(/\.$/, '').toLowerCase() };
  if (!cluster || !service || parts.length > 2) {
    throw new Failure(`${JSON.stringify(text)} is neither a name nor a service in the form cluster/service.`);
  }
  // The handler refuses the ARN of a service in another account or region.
  return { cluster, service: arn === undefined ? service : text };
}

/** The service of an answer that the subject means. A run for one service also reports who has its names. */
export function findService(all: Service[], subject: Subject): Service | undefined {
  if ('name' in subject) return ofName(all, subject.name);
  const { cluster, service } = subject;
  return all.find((one) => one.arn === service || one.service === `${cluster}/${service}`);
}

/** The request to the handler about the subject. */
export const reconcileOf = (subject: Subject) => ('name' in subject ? 'all' : subject);

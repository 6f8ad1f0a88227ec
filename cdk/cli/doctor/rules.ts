/** The checks of the rules of EventBridge. The pattern of a rule or its schedule tells which one it is. */
import type { DescribeRuleResponse } from '@aws-sdk/client-eventbridge';
import { type Discovery, quoted } from '../discovery.js';
import { type Check, check, deployAgain, unread } from './check.js';
import type { FoundRules, Rules } from './reads.js';

/** The rules of the stack (`cdk/lib/triggers.ts`), each with the effect of its absence. */
export const KINDS = {
  ecsCalls: {
    what: 'calls of ECS',
    effect: 'new services wait for the end of their deployment, and deleted ones keep their names until a full pass',
  },
  deployments: {
    what: 'deployment events of ECS',
    effect: 'a name that waits for the end of a deployment changes only with a full pass',
  },
  tags: {
    what: 'changed discovery tags',
    effect: 'tags that the Tag Editor or an unrecorded call changes take effect only with a full pass',
  },
  loadBalancerCalls: {
    what: 'calls of Elastic Load Balancing',
    effect: 'changes of load balancers take effect only with a full pass',
  },
  schedule: { what: 'the schedule of full passes', effect: 'nothing repairs the effects of lost events' },
} as const;
type Kind = keyof typeof KINDS;

export function ruleChecks({ found, errors, hasQueues }: FoundRules, discovery: Discovery): Check[] {
  const kinds = Object.keys(KINDS) as Kind[];
  const checks = kinds.flatMap((kind) => {
    const same = found.filter((rule) => kindOf(rule) === kind);
    if (same.some(isEnabled)) return [];
    const { what, effect } = KINDS[kind];
    const [rule] = same;
    if (rule !== undefined) {
      const name = rule.Name ?? '';
      return [
        check('rules', 'failed', `The rule for ${what} is disabled: ${effect}.`, {
          subject: name,
          next: 'Enable it, and then run a full pass, since a disabled rule delivers no events:',
          commands: [discovery.aws(`events enable-rule --name ${quoted(name)}`), discovery.suggest('apply')],
        }),
      ];
    }
    // It may be one of those that could not be read.
    if (errors.length > 0) return [];
    if (!hasQueues) {
      return [
        check('rules', 'unknown', `The rule for ${what} was not found, but it may lead to a queue without a mapping.`, {
          next: 'First repair the mappings.',
        }),
      ];
    }
    return [check('rules', 'failed', `There is no rule for ${what}: ${effect}.`, deployAgain(discovery))];
  });
  checks.push(...errors.map((error) => unread('rules', 'Some of the rules', error)));
  return checks.length > 0 ? checks : [check('rules', 'ok', `All ${kinds.length} rules are enabled.`)];
}

/** The other states of a rule deliver events. */
const isEnabled = ({ State }: DescribeRuleResponse) => State?.startsWith('ENABLED') === true;

/** Which rule of the stack it is. `undefined` for a rule of somebody else. */
function kindOf({ EventPattern, ScheduleExpression }: DescribeRuleResponse): Kind | undefined {
  if (ScheduleExpression !== undefined) return 'schedule';
  const pattern = parse(EventPattern);
  const list = (key: string) => (Array.isArray(pattern[key]) ? (pattern[key] as unknown[]) : []);
  const sources = list('source');
  if (sources.includes('aws.tag')) return 'tags';
  if (sources.includes('aws.elasticloadbalancing')) return 'loadBalancerCalls';
  if (!sources.includes('aws.ecs')) return undefined;
  return list('detail-type').includes('AWS API Call via CloudTrail') ? 'ecsCalls' : 'deployments';
}

function parse(text: string | undefined): Record<string, unknown> {
  try {
    const pattern: unknown = JSON.parse(text ?? '{}');
    return typeof pattern === 'object' && pattern !== null ? { ...pattern } : {};
  } catch {
    return {};
  }
}

const MINUTES: Record<string, number> = { minute: 1, hour: 60, day: 1440 };

/** The minutes between two full passes. `undefined` if no rule shows them. */
export function interval({ found }: Rules): number | undefined {
  const all = found.flatMap(({ ScheduleExpression }) => {
    const [, number, unit] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(ScheduleExpression ?? '') ?? [];
    const minutes = Number(number) * (MINUTES[unit ?? ''] ?? 0);
    return minutes > 0 ? [minutes] : [];
  });
  return all.length === 0 ? undefined : Math.min(...all);
}

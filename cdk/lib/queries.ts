import { CfnQueryDefinition, type LogGroup } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

export interface SavedQueriesProps {
  readonly environment: string;
  readonly logGroup: LogGroup;
  /** The minutes after which each service without its name is logged again at the latest. */
  readonly repetitionMinutes: number;
  /** Whether the stack only observes, so that all of its runs are dry runs. */
  readonly observes: boolean;
}

const OUTCOMES = 'filter message = "outcome"';

/** A dry run writes nothing. But a stack that only observes has no other runs. */
const written = (observes: boolean) => (observes ? [] : [String.raw`filter @message like /"dry_run":false/`]);

/**
 * The services that are not registered, each with its latest reason. Nothing is logged when a service is right again. But
 * each full pass logs the services that are not.
 */
export function unregisteredServices(repetitionMinutes: number, observes: boolean): string[] {
  return [
    OUTCOMES,
    `filter toMillis(@timestamp) >= now() * 1000 - ${repetitionMinutes * 60_000}`,
    ...written(observes),
    'stats latest(outcome) as latest_outcome, latest(dns_name) as latest_name, latest(reason) as latest_reason, max(@timestamp) as seen by ecs_service',
    'filter latest_outcome in ["conflict", "refused", "rejected", "invalid", "failed", "waiting"]',
    'sort seen desc',
    'limit 1000',
  ];
}

const changes = (observes: boolean) => [
  'fields @timestamp, outcome, dns_name, ecs_service, target, reason',
  OUTCOMES,
  ...written(observes),
  'filter outcome in ["registered", "updated", "adopted", "deregistered"]',
];

/** Queries of CloudWatch Logs Insights that every operator needs, saved in the console's folder of the environment. */
export class SavedQueries extends Construct {
  constructor(scope: Construct, id: string, props: SavedQueriesProps) {
    super(scope, id);
    const { environment, logGroup, observes } = props;
    const save = (key: string, title: string, query: string[]) =>
      new CfnQueryDefinition(this, key, {
        name: `EcsDiscovery/${environment}/${title}`,
        logGroupNames: [logGroup.logGroupName],
        queryString: query.join('\n| '),
      });
    save('Unregistered', 'Services that are not registered', unregisteredServices(props.repetitionMinutes, observes));
    save('Changes', 'Changed names', [...changes(observes), 'sort @timestamp desc', 'limit 1000']);
    save('History', 'History of one name', [
      ...changes(observes),
      'filter dns_name = "orders.dev.internal" or reason like "orders.dev.internal"',
      'sort @timestamp desc',
      'limit 1000',
    ]);
  }
}

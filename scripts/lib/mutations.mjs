// @ts-check
/** Defects that the simulation must find. `npm run mutate` builds each of them into a copy of the handler. */

/**
 * @typedef {object} Mutation
 * @property {string} name
 * @property {number} seeds how many histories it may take to find the defect
 * @property {[string, string, string][]} edits each is a file in handler/src, a text in it, and its replacement
 */

/** @type {Mutation[]} */
export const mutations = [
  {
    name: 'UPSERT instead of CREATE',
    seeds: 3_000,
    edits: [['route53.rs', '(ChangeAction::Create, rrset)', '(ChangeAction::Upsert, rrset)']],
  },
  {
    name: 'no look after writing',
    seeds: 3_000,
    edits: [
      [
        'reconcile.rs',
        'Task::Reconcile(_) => self.look_again(&done, &world, &mut course.outcomes).await,',
        'Task::Reconcile(_) => BTreeSet::new(),',
      ],
    ],
  },
  {
    name: 'delete without describing: a list that misses a service is believed',
    seeds: 3_000,
    edits: [
      ['world.rs', 'services.extend(&holders);', ''],
      ['plan.rs', 'None | Some(Wish::Waiting { .. }', 'None => false,\n        Some(Wish::Waiting { .. }'],
    ],
  },
  {
    name: 'marker in a batch of its own',
    seeds: 3_000,
    edits: [
      [
        'route53.rs',
        'let changes = ChangeBatch::builder().set_changes(Some(changes)).build();',
        `let (markers, changes): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change: &Change| {
            change.resource_record_set().is_some_and(|rrset| rrset.name().starts_with("_discovery"))
        });
        let markers = ChangeBatch::builder().set_changes(Some(markers)).build();
        let markers = markers.map_err(|error| failed(error.to_string()))?;
        let markers = self.client.change_resource_record_sets().change_batch(markers);
        let markers = markers.hosted_zone_id(first.zone.as_str()).send().await;
        markers.map_err(|error| failed(error.to_string()))?;
        let changes = ChangeBatch::builder().set_changes(Some(changes)).build();`,
      ],
    ],
  },
  {
    name: "trusting the event's payload",
    seeds: 3_000,
    edits: [
      [
        'reconcile.rs',
        'world.load_balancers.extend(ahead(balancers));',
        `world.load_balancers.extend(ahead(balancers));
                for arn in &named.deleted {
                    let gone = Service::Gone(crate::service::Gone::Missing);
                    world.services.insert(arn.clone(), Ok(gone));
                }`,
      ],
    ],
  },
  {
    name: 'an error taken for an empty list',
    seeds: 3_000,
    edits: [
      [
        'ecs.rs',
        'each(&|_| Err(error.clone().into()))',
        'drop(error);\n                each(&|_| Ok(Service::Gone(Gone::Missing)))',
      ],
    ],
  },
  {
    name: 'no isolation of refused changes',
    seeds: 3_000,
    edits: [['reconcile.rs', 'if batch.len() == 1 {', 'if !batch.is_empty() {']],
  },
];

/**
 * @param {string} text
 * @param {string} found
 */
export const occurrences = (text, found) => text.split(found).length - 1;

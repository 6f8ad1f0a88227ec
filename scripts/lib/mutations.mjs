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
    edits: [['aws/route53.rs', '(ChangeAction::Create, rrset)', '(ChangeAction::Upsert, rrset)']],
  },
  {
    name: 'no recheck after writing',
    seeds: 3_000,
    edits: [['reconcile.rs', 'self.recheck(&applied.done, &world, now, &mut progress.outcomes).await', 'BTreeSet::new()']],
  },
  {
    name: 'absence from a list treated as deletion',
    seeds: 3_000,
    edits: [
      ['domain/world.rs', 'services.extend(&holders);', ''],
      ['domain/plan.rs', 'None\n        | Some(', 'None => false,\n        Some('],
    ],
  },
  {
    name: 'the marker in a batch without its record',
    seeds: 3_000,
    edits: [
      [
        'aws/route53.rs',
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
    name: "trust in the event's payload",
    seeds: 3_000,
    edits: [
      [
        'observe.rs',
        'world.load_balancers.extend(prefetched(balancers));',
        `world.load_balancers.extend(prefetched(balancers));
        for arn in &targets.deleted {
            let gone = Service::Gone(crate::domain::service::Gone::Missing);
            world.services.insert(arn.clone(), Ok(gone));
        }`,
      ],
    ],
  },
  {
    name: 'an error treated as an empty list',
    seeds: 3_000,
    edits: [
      [
        'aws/ecs.rs',
        'each(&|_| Err(error.clone().into()))',
        'drop(error);\n                each(&|_| Ok(Service::Gone(Gone::Missing)))',
      ],
    ],
  },
  {
    name: 'no isolation of refused changes',
    seeds: 3_000,
    edits: [['apply.rs', 'if batch.len() == 1 {', 'if !batch.is_empty() {']],
  },
  {
    name: 'an old name that does not wait for the new one in another zone',
    seeds: 3_000,
    edits: [['domain/plan.rs', 'if matches!(release, Release::After | Release::Never)', 'if false']],
  },
  {
    name: 'an old and a new name in separate batches',
    seeds: 3_000,
    edits: [['domain/plan.rs', 'replaced_by = Some(other.clone());', 'drop(other);']],
  },
  {
    name: 'a contested name that passes to nobody',
    seeds: 3_000,
    edits: [['reconcile.rs', 'targets.services.extend(heirs.flatten().cloned());', 'drop(heirs);']],
  },
  {
    name: 'a contested marker that a change of the record resets',
    seeds: 10_000,
    edits: [['domain/plan.rs', 'was_contested || self.candidates', 'self.candidates']],
  },
  {
    name: 'a conflict that is not noted in the marker',
    seeds: 3_000,
    edits: [
      ['domain/plan.rs', 'if is_contested && !holder.is_contested', 'if false && is_contested && !holder.is_contested'],
    ],
  },
  {
    name: 'records of every type taken for those of the marker',
    seeds: 3_000,
    edits: [
      [
        'domain/zone.rs',
        'types.as_ref().is_none_or(|types| types.contains(&rrset.record_type))',
        'types.is_none() || true',
      ],
    ],
  },
];

/**
 * @param {string} text
 * @param {string} found
 */
export const occurrences = (text, found) => text.split(found).length - 1;

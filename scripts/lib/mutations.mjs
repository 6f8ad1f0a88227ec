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
    seeds: 4_000,
    edits: [['aws/route53.rs', '(ChangeAction::Create, rrset)', '(ChangeAction::Upsert, rrset)']],
  },
  {
    name: 'no recheck after writing',
    seeds: 4_000,
    edits: [
      [
        'reconcile.rs',
        'self.recheck(&applied.done, &world, &observer, &mut progress.outcomes).await',
        `{
                        drop(observer);
                        BTreeSet::new()
                    }`,
      ],
    ],
  },
  {
    name: 'absence from a list treated as deletion',
    seeds: 4_000,
    edits: [
      ['domain/world.rs', 'services.extend(&holders);', ''],
      ['domain/plan.rs', 'None\n        | Some(', 'None => false,\n        Some('],
    ],
  },
  {
    name: 'the marker in a batch without its record',
    seeds: 4_000,
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
    seeds: 4_000,
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
    seeds: 4_000,
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
    seeds: 4_000,
    edits: [
      ['apply.rs', '.partition(|group| group.iter().any(|change| refusal.blames(change)));', '.partition(|_| true);'],
    ],
  },
  {
    name: 'no isolation of changes that IAM denies',
    seeds: 4_000,
    edits: [
      [
        'apply.rs',
        'ChangeError::Rejected { .. } if batch.len() > 1',
        'ChangeError::Rejected { .. } if false && batch.len() > 1',
      ],
    ],
  },
  {
    name: 'an old name that does not wait for the new one in another zone',
    seeds: 4_000,
    edits: [['domain/plan.rs', 'if matches!(release, Release::After | Release::Never)', 'if false']],
  },
  {
    name: 'an old and a new name in separate batches',
    seeds: 4_000,
    edits: [['domain/plan.rs', 'replaced_by = Some(other.clone());', 'drop(other);']],
  },
  {
    name: 'contested heirs not looked for',
    seeds: 10_000,
    edits: [['reconcile.rs', 'targets.services.extend(heirs.iter().copied().cloned());', '']],
  },
  {
    name: 'a contested marker that a change of the record resets',
    seeds: 10_000,
    edits: [['domain/plan.rs', 'was_contested || self.candidates', 'self.candidates']],
  },
  {
    name: 'a conflict that is not noted in the marker',
    seeds: 4_000,
    edits: [
      ['domain/plan.rs', 'if is_contested && !holder.is_contested', 'if false && is_contested && !holder.is_contested'],
    ],
  },
  {
    name: 'records of every type taken for those of the marker',
    seeds: 20_000,
    edits: [
      [
        'domain/zone.rs',
        'types.as_ref().is_none_or(|types| types.contains(&rrset.record_type))',
        'types.is_none() || true',
      ],
    ],
  },
  {
    name: 'a deleted service with load balancers not searched for by its marker',
    seeds: 4_000,
    edits: [
      [
        'domain/world.rs',
        'scope.reach.get(arn) != Some(&Reach::Unattached)',
        'scope.reach.get(arn) == Some(&Reach::Unattached)',
      ],
    ],
  },
  {
    name: 'a DeleteTaskSet event ignored',
    seeds: 4_000,
    edits: [
      ['domain/event.rs', 'if call == "UpdateService" &&', 'if call == "DeleteTaskSet" || call == "UpdateService" &&'],
    ],
  },
  {
    name: 'an UntagResource event ignored',
    seeds: 4_000,
    edits: [
      ['domain/event.rs', 'if call == "UpdateService" &&', 'if call == "UntagResource" || call == "UpdateService" &&'],
    ],
  },
  {
    name: 'an UpdateServicePrimaryTaskSet event ignored',
    seeds: 20_000,
    edits: [
      [
        'domain/event.rs',
        'if call == "UpdateService" &&',
        'if call == "UpdateServicePrimaryTaskSet" || call == "UpdateService" &&',
      ],
    ],
  },
  {
    name: 'deletions not merged in a batch',
    seeds: 20_000,
    edits: [['domain/trigger.rs', 'self.deleted.extend(more.deleted.iter().cloned());', '']],
  },
  {
    name: 'creations not merged in a batch',
    seeds: 4_000,
    edits: [['domain/trigger.rs', '.chain(more.created_since(self)).cloned()', '.cloned()']],
  },
  {
    name: 'a failure that no message named fails no message',
    seeds: 4_000,
    edits: [
      [
        'invocation.rs',
        'targets(message, outcome) || !targets(run, outcome)',
        'targets(message, outcome) || (false && !targets(run, outcome))',
      ],
    ],
  },
  {
    name: 'no time reserve',
    seeds: 4_000,
    edits: [
      [
        'invocation.rs',
        'SHUTDOWN_RESERVE: Duration = Duration::from_secs(10)',
        'SHUTDOWN_RESERVE: Duration = Duration::ZERO',
      ],
    ],
  },
  {
    name: 'requests after the deadline',
    seeds: 4_000,
    edits: [['aws/deadline.rs', 'time < self.start_by', 'time < self.start_by || true']],
  },
  {
    name: 'requests that outlast the deadline',
    seeds: 4_000,
    edits: [
      [
        'aws/deadline.rs',
        'timeout_at(self.end_by, Box::pin(request))',
        'timeout_at(self.end_by + Duration::from_secs(900), Box::pin(request))',
      ],
    ],
  },
  {
    name: 'a wait for the rate limit that outlasts the deadline',
    seeds: 4_000,
    edits: [['aws/rate_limiter.rs', 'if !deadline.allows(allowed_at) {', 'if false && !deadline.allows(allowed_at) {']],
  },
  {
    name: 'one nonce for all invocations',
    seeds: 10_000,
    edits: [
      [
        'invocation.rs',
        'Nonce::new(u64::try_from(micros).unwrap_or_default())',
        'Nonce::new(u64::try_from(micros % 1).unwrap_or_default())',
      ],
    ],
  },
  {
    name: 'a constant nonce',
    seeds: 10_000,
    edits: [
      [
        'domain/marker.rs',
        'if before == Some(ttl) { ttl + NONCE_COUNT } else { ttl }',
        'if before == Some(ttl) { MIN_TTL_SECONDS } else { MIN_TTL_SECONDS }',
      ],
    ],
  },
  {
    name: 'markers of other accounts taken',
    seeds: 4_000,
    edits: [
      [
        'domain/zone.rs',
        'if *service.location() != identity.location {',
        'if false && *service.location() != identity.location {',
      ],
    ],
  },
  {
    name: 'markers of any version taken',
    seeds: 4_000,
    edits: [['domain/marker.rs', 'if version != "1" {', 'if version.is_empty() {']],
  },
  {
    name: 'records with a health check taken for plain ones',
    seeds: 10_000,
    edits: [
      [
        'aws/route53.rs',
        '} else if rrset.health_check_id().is_some() {',
        '} else if false && rrset.health_check_id().is_some() {',
      ],
    ],
  },
  {
    name: 'the delete limit off',
    seeds: 4_000,
    edits: [['domain/check.rs', 'if losses > lost.max(*free)', 'if false && losses > lost.max(*free)']],
  },
  {
    name: 'the percentage of the delete limit rounded down',
    seeds: 4_000,
    edits: [['domain/check.rs', 'losses * 100 > all * percent', 'losses * 100 / all.max(1) > *percent']],
  },
  {
    name: 'losses of earlier rounds forgotten',
    seeds: 10_000,
    edits: [
      ['reconcile.rs', 'plan.check_after(progress.earlier, &policy)', 'plan.check_after(Earlier::default(), &policy)'],
    ],
  },
  {
    name: 'an event that deletes names because of the configuration',
    seeds: 4_000,
    edits: [
      [
        'reconcile.rs',
        'Task::Reconcile(Scope::Services(_)) => LossPolicy::ReportedByEcs',
        'Task::Reconcile(Scope::Services(_)) => LossPolicy::All',
      ],
    ],
  },
  {
    name: 'batches a thousand times larger than the limits',
    seeds: 4_000,
    edits: [
      ['domain/check.rs', 'MAX_VALUES_PER_BATCH: usize = 1_000;', 'MAX_VALUES_PER_BATCH: usize = 1_000_000;'],
      ['domain/check.rs', 'MAX_CHARACTERS_PER_BATCH: usize = 32_000;', 'MAX_CHARACTERS_PER_BATCH: usize = 32_000_000;'],
    ],
  },
  {
    name: 'a former name released before the service has the new one',
    seeds: 4_000,
    edits: [['domain/plan.rs', 'Some(_) | None => Release::Never', 'Some(_) | None => Release::Now']],
  },
  {
    name: 'the younger of two newcomers preferred',
    seeds: 4_000,
    edits: [
      [
        'domain/plan.rs',
        'sort_by_key(|candidate| (candidate.created_at_ms, candidate.service))',
        'sort_by_key(|candidate| (-candidate.created_at_ms, candidate.service))',
      ],
    ],
  },
  {
    name: 'a missing service that no second read confirms',
    seeds: 4_000,
    edits: [['aws/ecs.rs', 'if !missing.is_empty() {', 'if false && !missing.is_empty() {']],
  },
  {
    name: 'an outdated answer of ECS accepted',
    seeds: 4_000,
    edits: [['observe.rs', 'if is_recent {', 'if false && is_recent {']],
  },
  {
    name: 'a deployment in progress not waited for',
    seeds: 4_000,
    edits: [
      ['aws/ecs.rs', 'is_deploying: is_deploying(service, now),', 'is_deploying: false && is_deploying(service, now),'],
    ],
  },
  {
    name: 'a classic load balancer forgotten during a deployment',
    seeds: 4_000,
    edits: [
      ['observe.rs', 'world.classic.extend(classic);\n                error', 'drop(classic);\n                error'],
    ],
  },
  {
    name: 'a load balancer that is described only partially taken for a missing one',
    seeds: 10_000,
    edits: [['observe.rs', 'let error = unread.next().cloned();', 'let error = unread.next().and(None);']],
  },
  {
    name: 'load balancers not read again after a long run',
    seeds: 10_000,
    edits: [['reconcile.rs', 'let is_long = observer.began.elapsed() >= LOAD_BALANCER_DELAY;', 'let is_long = false;']],
  },
  {
    name: 'a failed load balancer used',
    seeds: 4_000,
    edits: [['domain/desired.rs', 'has_tagged_name(balancer) && !balancer.has_failed', 'has_tagged_name(balancer)']],
  },
  {
    name: 'an older version that changes a zone of a newer one',
    seeds: 4_000,
    edits: [['turns.rs', 'Ok(Some(proof(zone, name, &version.generation)))', 'Ok(None)']],
  },
  {
    name: 'an older version that takes a zone over from a newer one',
    seeds: 4_000,
    edits: [['domain/generation.rs', 'self.newest_at_ms > taken_at', 'true']],
  },
  {
    name: 'an internet-facing load balancer preferred',
    seeds: 4_000,
    edits: [
      [
        'domain/desired.rs',
        'sort_by_key(|(balancer, _)| balancer.scheme)',
        'sort_by_key(|(balancer, _)| std::cmp::Reverse(balancer.scheme))',
      ],
    ],
  },
  {
    name: 'an AAAA record for every alias',
    seeds: 4_000,
    edits: [
      [
        'domain/desired.rs',
        'dualstack.then_some(RecordType::Aaaa)',
        '(*dualstack || true).then_some(RecordType::Aaaa)',
      ],
    ],
  },
  {
    name: 'underscores dropped from names',
    seeds: 4_000,
    edits: [['domain/dns.rs', '.to_ascii_lowercase().replace(\'_\', "-")', '.to_ascii_lowercase().replace(\'_\', "")']],
  },
];

/**
 * @param {string} text
 * @param {string} found
 */
export const occurrences = (text, found) => text.split(found).length - 1;

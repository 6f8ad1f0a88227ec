// @ts-check
/**
 * Defects that the simulation must find, or a test of the handler if a defect costs only time and requests, which
 * break no invariant. `npm run mutate` builds each of them into a copy of the handler.
 */

/** @typedef {{ target: string[], name: string }} Test a test of the handler, with Cargo's options for its target */

/**
 * @typedef {object} Mutation
 * @property {string} name
 * @property {number} [seeds] how many histories it may take to find the defect, 4,000 unless given
 * @property {Test} [test] the test that finds the defect
 * @property {[string, string, string][]} edits each is a file in handler/src, a text in it, and its replacement
 */

const inLibrary = (/** @type {string} */ name) => ({ target: ['--lib'], name });
const onTheWire = (/** @type {string} */ name) => ({ target: ['--test', 'wire'], name });

/** @type {Mutation[]} */
export const mutations = [
  {
    name: 'UPSERT instead of CREATE',
    edits: [['aws/route53.rs', '(ChangeAction::Create, rrset)', '(ChangeAction::Upsert, rrset)']],
  },
  {
    name: 'no recheck after writing',
    seeds: 20_000,
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
    edits: [
      ['domain/world.rs', 'services.extend(&holders);', ''],
      ['domain/plan.rs', 'None\n        | Some(', 'None => false,\n        Some('],
    ],
  },
  {
    name: 'the marker in a batch without its record',
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
    edits: [
      ['apply.rs', '.partition(|group| group.iter().any(|change| refusal.blames(change)));', '.partition(|_| true);'],
    ],
  },
  {
    name: 'no isolation of changes that IAM denies',
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
    edits: [['domain/plan.rs', 'if matches!(release, Release::After | Release::Never)', 'if false']],
  },
  {
    name: 'an old and a new name in separate batches',
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
    edits: [
      ['domain/plan.rs', 'if is_contested && !holder.is_contested', 'if false && is_contested && !holder.is_contested'],
    ],
  },
  {
    name: 'a takeover that waits for a full pass and is not noted in the marker',
    seeds: 10_000,
    edits: [['domain/check.rs', 'self.changes.extend(refused.into_values().filter_map(NameChange::only_noted));', '']],
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
    edits: [
      ['domain/event.rs', 'if call == "UpdateService" &&', 'if call == "DeleteTaskSet" || call == "UpdateService" &&'],
    ],
  },
  {
    name: 'an UntagResource event ignored',
    edits: [
      ['domain/event.rs', 'if call == "UpdateService" &&', 'if call == "UntagResource" || call == "UpdateService" &&'],
    ],
  },
  {
    name: 'an UpdateServicePrimaryTaskSet event ignored',
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
    test: onTheWire('a_deletion_of_a_batch_fails_alone_while_ecs_still_calls_its_service_alive'),
    edits: [['domain/trigger.rs', 'self.deleted.extend(more.deleted.iter().cloned());', '']],
  },
  {
    name: 'creations not merged in a batch',
    edits: [['domain/trigger.rs', '.chain(more.created_since(self)).cloned()', '.cloned()']],
  },
  {
    name: 'a failure that no message named fails no message',
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
    edits: [['aws/deadline.rs', 'time < self.start_by', 'time < self.start_by || true']],
  },
  {
    name: 'requests that outlast the deadline',
    edits: [
      [
        'aws/deadline.rs',
        'timeout_at(self.end_by, request)',
        'timeout_at(self.end_by + Duration::from_secs(900), request)',
      ],
    ],
  },
  {
    name: 'a wait for the rate limit that outlasts the deadline',
    test: inLibrary('aws::rate_limiter::tests::nothing_is_acquired_after_the_deadline'),
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
    edits: [['domain/check.rs', 'if losses > lost.max(*free)', 'if false && losses > lost.max(*free)']],
  },
  {
    name: 'the percentage of the delete limit rounded down',
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
    edits: [
      ['domain/check.rs', 'MAX_VALUES_PER_BATCH: usize = 1_000;', 'MAX_VALUES_PER_BATCH: usize = 1_000_000;'],
      ['domain/check.rs', 'MAX_CHARACTERS_PER_BATCH: usize = 32_000;', 'MAX_CHARACTERS_PER_BATCH: usize = 32_000_000;'],
    ],
  },
  {
    name: 'a former name released before the service has the new one',
    edits: [['domain/plan.rs', 'Some(_) | None => Release::Never', 'Some(_) | None => Release::Now']],
  },
  {
    name: 'the younger of two newcomers preferred',
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
    edits: [['aws/ecs.rs', 'if !missing.is_empty() {', 'if false && !missing.is_empty() {']],
  },
  {
    name: 'an outdated answer of ECS accepted',
    edits: [['observe.rs', 'if is_recent {', 'if false && is_recent {']],
  },
  {
    name: 'a deployment in progress not waited for',
    edits: [
      ['aws/ecs.rs', 'is_deploying: is_deploying(service, now),', 'is_deploying: false && is_deploying(service, now),'],
    ],
  },
  {
    name: 'a classic load balancer forgotten during a deployment',
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
    name: 'a marker whose record is missing written without the types of its records',
    test: inLibrary(
      'domain::plan::tests::a_marker_whose_record_is_missing_still_lists_its_type_when_it_becomes_contested',
    ),
    edits: [
      [
        'domain/zone.rs',
        'self.types.clone().or_else(|| types_of(&self.records))',
        'Some(types_of(&self.records).unwrap_or_default())',
      ],
    ],
  },
  {
    name: 'a name deleted although the load balancers of its next holder cannot be read',
    test: onTheWire('a_name_stays_while_the_load_balancers_of_a_service_that_should_have_it_cannot_be_read'),
    edits: [
      [
        'reconcile.rs',
        'let mut wanted = names_of_unread_balancers(&desired, &world, &self.config);',
        'let mut wanted = names_of_unread_balancers(&desired, &world, &self.config); wanted.clear();',
      ],
    ],
  },
  {
    name: 'the alias for dry runs accepts everything',
    test: onTheWire('the_alias_for_dry_runs_accepts_nothing_else'),
    edits: [['invocation.rs', 'payload = payload.only_dry_runs();', '']],
  },
  {
    name: 'a name deleted although its next holder could be read at first only',
    test: onTheWire('a_name_stays_if_a_service_that_should_have_it_can_only_be_read_at_first'),
    edits: [['reconcile.rs', 'wanted.extend(progress.names_of_services_not_read_again(&desired));', '']],
  },
  {
    name: 'a contested name kept for a service that cannot be read',
    seeds: 20_000,
    edits: [
      [
        'domain/check.rs',
        '|change| change.removes_the_name() && contested.contains(&change.at())',
        '|change| contested.contains(&change.at())',
      ],
    ],
  },
  {
    name: 'the zone of another VPC used',
    edits: [['domain/config.rs', 'self.zones.get(vpc)', 'self.zones.get(vpc).or_else(|| self.zones.values().next())']],
  },
  {
    name: 'a public zone used',
    test: onTheWire('a_zone_that_is_public_or_another_one_is_refused_at_deployment_and_in_full_passes'),
    edits: [
      [
        'observe.rs',
        'for (zone, problem) in wrong_zones {',
        'for (zone, problem) in wrong_zones.into_iter().take(0) {',
      ],
    ],
  },
  {
    name: 'a whole name in a tag taken for a relative one',
    test: inLibrary('domain::desired::tests::tags_choose_name_ttl_record_and_load_balancer'),
    edits: [['domain/config.rs', 'DnsName::in_zone(zone.relative(name), zone)', 'DnsName::in_zone(name, zone)']],
  },
  {
    name: 'the tag of the load balancer ignored',
    edits: [
      [
        'domain/desired.rs',
        'tags.load_balancer.as_ref().is_none_or(|name| *name == balancer.name)',
        'tags.load_balancer.as_ref().is_none_or(|name| *name == balancer.name || true)',
      ],
    ],
  },
  {
    name: "load balancers taken in the order of AWS's answer",
    edits: [['domain/world.rs', 'let arns: BTreeSet<_> = arns.map_err', 'let arns: Vec<_> = arns.map_err']],
  },
  {
    name: 'values of others at a marker deleted with it',
    edits: [['domain/marker.rs', '(!values.is_empty())', '(false && !values.is_empty())']],
  },
  {
    name: 'records of external-dns adopted',
    edits: [['domain/zone.rs', 'if is_external_dns(&rrset) {', 'if false && is_external_dns(&rrset) {']],
  },
  {
    name: 'records with another target adopted',
    edits: [
      [
        'domain/desired.rs',
        '&& rrsets.iter().all(|rrset| rrset.leads_to().as_ref() == Some(&self.target))',
        '&& rrsets.iter().all(|rrset| rrset.leads_to().is_some())',
      ],
    ],
  },
  {
    name: 'an alias that evaluates the health of its target left as it is',
    seeds: 20_000,
    edits: [
      [
        'domain/desired.rs',
        'Some((zone.clone(), *evaluates_health))',
        'Some((zone.clone(), *evaluates_health && false))',
      ],
    ],
  },
  {
    name: 'a failed load balancer used',
    edits: [['domain/desired.rs', 'has_tagged_name(balancer) && !balancer.has_failed', 'has_tagged_name(balancer)']],
  },
  {
    name: 'an older version that changes a zone of a newer one',
    edits: [['turns.rs', 'Ok(Some(proof(zone, name, &version.generation)))', 'Ok(None)']],
  },
  {
    name: 'an older version that takes a zone over from a newer one',
    edits: [['domain/generation.rs', 'self.newest_at_ms > newest_at', 'true']],
  },
  {
    name: 'an internet-facing load balancer preferred',
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
    edits: [['domain/dns.rs', '.to_ascii_lowercase().replace(\'_\', "-")', '.to_ascii_lowercase().replace(\'_\', "")']],
  },
  {
    name: 'an unreadable zone that fails every service',
    test: onTheWire('a_zone_that_cannot_be_read_fails_only_the_services_that_need_it'),
    edits: [
      [
        'reconcile.rs',
        'self.read_errors.extend(world.read_errors.iter().cloned());',
        'self.read_errors.extend(world.read_errors());',
      ],
    ],
  },
  {
    name: 'no isolation of rejected reads of Elastic Load Balancing',
    test: onTheWire('one_denied_or_invalid_resource_fails_only_itself'),
    edits: [
      [
        'aws/mod.rs',
        'if is_rejection(error) {\n            DescribeError::Rejected(failed)',
        'if false && is_rejection(error) {\n            DescribeError::Rejected(failed)',
      ],
    ],
  },
  {
    name: 'a zone that fails new services of other zones',
    test: onTheWire('a_zone_that_cannot_be_read_fails_only_the_services_that_need_it'),
    edits: [['domain/world.rs', 'own.as_ref().is_none_or(|own| own.contains_key(*zone))', 'own.iter().len() < 2']],
  },
  {
    name: 'all load balancers read during each deployment',
    test: onTheWire('the_load_balancer_of_a_record_is_found_by_its_name_during_a_deployment'),
    edits: [['domain/dns.rs', '(!name.is_empty() && rest', '(name.is_empty() && rest']],
  },
  {
    name: 'a former name in another zone that does not wait for a deployment',
    test: onTheWire('a_name_in_another_zone_stays_until_the_deployment_is_completed'),
    edits: [['domain/plan.rs', 'if held.is_some_and(|held|', 'if false && held.is_some_and(|held|']],
  },
  {
    name: 'an unstable task set taken for a stable one',
    test: onTheWire('a_record_stays_until_the_primary_task_set_is_stable'),
    edits: [['aws/ecs.rs', '== Some(&StabilityStatus::Stabilizing)', '== Some(&StabilityStatus::SteadyState)']],
  },
  {
    name: 'a former service taken for its successor',
    test: inLibrary('domain::world::tests::an_answer_that_contradicts_a_recent_event_is_a_failed_read'),
    edits: [['domain/world.rs', 'if created_at_ms.saturating_add(', 'if false && created_at_ms.saturating_add(']],
  },
  {
    name: 'an answer of ECS without load balancers taken for a service without any',
    test: onTheWire('an_answer_of_ecs_without_a_field_that_it_always_has_changes_nothing'),
    edits: [['aws/ecs.rs', 'if !uses_shared_ingress {', 'if false && !uses_shared_ingress {']],
  },
  {
    name: 'a zone that is never given up',
    test: onTheWire('a_zone_is_given_up_after_many_refusals_and_does_not_delay_another_one'),
    edits: [
      ['domain/search.rs', 'MAX_REFUSALS_IN_A_ROW: u32 = 30', 'MAX_REFUSALS_IN_A_ROW: u32 = 30_000'],
      ['domain/search.rs', 'BEFORE_PROBES: u32 = 10', 'BEFORE_PROBES: u32 = 10_000'],
    ],
  },
  {
    name: 'many refused names that keep others from their records',
    test: onTheWire('refused_names_that_no_message_names_keep_no_other_name_from_its_record'),
    edits: [['domain/search.rs', 'BEFORE_PROBES: u32 = 10', 'BEFORE_PROBES: u32 = 30']],
  },
  {
    name: 'a refusal that names its changes halved nevertheless',
    test: onTheWire('names_that_route_53_never_takes_are_rejected_with_its_words_after_one_request'),
    edits: [['apply.rs', 'if blamed.is_empty() && batch.len() > 1 {', 'if batch.len() > 1 {']],
  },
  {
    name: 'a full zone that every newcomer tries',
    test: onTheWire('a_full_zone_costs_a_handful_of_requests_and_fails_the_full_pass'),
    edits: [['apply.rs', 'growth(group) >= *too_much', 'growth(group) >= *too_much && false']],
  },
  {
    name: 'rounds that read everything again',
    test: onTheWire('later_rounds_read_only_what_was_refused'),
    edits: [
      [
        'reconcile.rs',
        'Task::Reconcile(Scope::Services(scope.targets().narrowed_to(services)))',
        'drop(services);\n        task.clone()',
      ],
    ],
  },
  {
    name: 'rounds without pauses',
    test: onTheWire('a_list_that_lags_behind_for_seconds_does_not_fail_the_run'),
    edits: [['reconcile.rs', 'deadline.sleep(pause).await;', 'deadline.sleep(pause / 1_000).await;']],
  },
  {
    name: 'reads that leave no time for writes',
    test: onTheWire('reading_ends_early_enough_to_write_what_is_decided'),
    edits: [
      [
        'reconcile.rs',
        'self.stop_at.saturating_duration_since(now) * 3 / 4',
        'self.stop_at.saturating_duration_since(now)',
      ],
      [
        'aws/deadline.rs',
        'self.start_by.saturating_duration_since(now) / 2',
        'self.start_by.saturating_duration_since(now)',
      ],
    ],
  },
  {
    name: 'a page that leads to itself followed for ever',
    test: onTheWire('a_list_that_leads_to_itself_or_has_no_next_page_is_a_failed_read'),
    edits: [
      ['aws/pages.rs', 'if self.0.insert(token.clone()) {', 'if self.0.insert(token.clone()) || self.0.len() < 9 {'],
    ],
  },
  {
    name: 'every record below a name read',
    test: onTheWire('thousands_of_names_below_a_name_cost_one_more_request'),
    edits: [
      [
        'aws/route53.rs',
        '(start, max_items) = (Start::at(&marker), FIRST_ITEMS);',
        '(start, max_items) = (next, 300);',
      ],
    ],
  },
  {
    name: 'load balancers of a large account read ahead for each event',
    test: onTheWire('a_process_reads_load_balancers_ahead_only_until_it_knows_that_the_account_is_large'),
    edits: [['aws/elb.rs', 'self.is_large.store(page.next.is_some(), Ordering::Relaxed);', '']],
  },
  {
    name: 'full passes at the full rates of ECS and Elastic Load Balancing',
    test: onTheWire('a_full_pass_uses_half_of_the_rates_of_ecs_and_elastic_load_balancing'),
    edits: [['aws/rate_limiter.rs', 'self.acquire_in_background(priority, 1, deadline).await?;', '']],
  },
  {
    name: 'a quota of retries for a whole process',
    test: onTheWire('a_warm_process_still_retries_after_an_hour_of_errors'),
    edits: [['aws/mod.rs', '.token_bucket(TokenBucket::unlimited())', '']],
  },
  {
    name: 'a failed full pass of the schedule retried',
    test: onTheWire('a_failed_full_pass_of_the_schedule_is_reported_and_not_retried'),
    edits: [['invocation.rs', 'message.trigger == Trigger::Scheduled || !fails', 'false || !fails']],
  },
  {
    name: 'failed messages left to the visibility timeout',
    test: onTheWire('failed_messages_return_after_1_2_4_and_8_minutes_and_not_after_the_visibility_timeout'),
    edits: [
      ['invocation.rs', 'deliveries.take(MAX_RETURNED).collect()', 'deliveries.take(0 * MAX_RETURNED).collect()'],
    ],
  },
  {
    name: 'a record and a marker of two versions of a name taken together',
    test: onTheWire('a_record_and_a_marker_that_do_not_belong_together_are_read_again'),
    edits: [['domain/world.rs', 'let again = self.unconfirmed(identity);', 'let again = PendingReads::default();']],
  },
  {
    name: 'a conflict with a service that did not get the name taken for settled',
    test: onTheWire('a_service_waits_for_another_attempt_if_the_one_that_should_get_its_name_did_not_get_it'),
    edits: [['reconcile.rs', '.filter(|_| status == Status::Failed)', '.filter(|_| false)']],
  },
  {
    name: 'no isolation of rejected reads of ECS',
    test: onTheWire('one_denied_or_invalid_resource_fails_only_itself'),
    edits: [
      ['aws/ecs.rs', 'is_rejection(&error) && halvings.take()', 'false && is_rejection(&error) && halvings.take()'],
    ],
  },
  {
    name: 'services read for tags of others',
    test: inLibrary('domain::event::tests::a_change_of_other_tags_is_ignored'),
    edits: [['domain/event.rs', '|key| key.starts_with(TAG_PREFIX)', '|key| key.starts_with(TAG_PREFIX) || true']],
  },
  {
    name: 'services read for every event of ECS',
    test: inLibrary('domain::event::tests::of_the_events_of_ecs_only_those_that_end_a_deployment_cost_a_request'),
    edits: [
      ['domain/event.rs', 'SERVICE_EVENTS.contains(&name) ||', 'SERVICE_EVENTS.contains(&name) || !name.is_empty() ||'],
    ],
  },
  {
    name: 'names read in every zone of a large environment',
    test: inLibrary(
      'domain::world::tests::with_many_zones_names_are_read_where_the_load_balancers_are_and_elsewhere_if_they_are_not_there',
    ),
    edits: [['domain/world.rs', 'zones.len() <= MAX_ZONES_AHEAD', 'zones.len() <= 100 * MAX_ZONES_AHEAD']],
  },
  {
    name: 'holders followed whose names no service needs',
    test: onTheWire('a_long_chain_of_names_from_tags_is_not_followed'),
    edits: [
      [
        'domain/world.rs',
        'if scope.services.contains(arn) {\n            labels.insert(None);\n        }',
        'labels.insert(None);',
      ],
    ],
  },
  {
    name: 'the status 429 taken for a final answer',
    test: onTheWire('a_request_is_retried_after_the_status_429'),
    edits: [['aws/mod.rs', 'response.status().as_u16() == 429 =>', 'response.status().as_u16() == 1429 =>']],
  },
  {
    name: 'only one code of throttling counted',
    test: onTheWire('every_code_that_the_sdk_knows_counts_as_a_throttle'),
    edits: [
      [
        'aws/mod.rs',
        'if is_throttled {',
        'if is_throttled && context.inner().response().is_some_and(|one| answer(one).contains("<Code>Throttling<")) {',
      ],
    ],
  },
  {
    name: 'whole zones listed at the full rate for an event',
    test: onTheWire('the_search_of_a_zone_for_an_event_uses_half_of_the_rate_of_route_53'),
    edits: [
      ['observe.rs', 'list(zone, None, Priority::Background, deadline)', 'list(zone, None, self.priority, deadline)'],
    ],
  },
  {
    name: 'chunks read one after the other',
    test: onTheWire('requests_for_few_services_are_sent_at_once_and_for_many_at_half_of_the_rate'),
    edits: [['aws/mod.rs', 'MAX_CONCURRENT_DESCRIBES: usize = 5', 'MAX_CONCURRENT_DESCRIBES: usize = 1']],
  },
];

/**
 * @param {string} text
 * @param {string} found
 */
export const occurrences = (text, found) => text.split(found).length - 1;

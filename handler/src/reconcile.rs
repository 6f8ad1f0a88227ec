//! One run: observe, plan, check, apply, recheck, until nothing is left to do.
//!
//! Events, the schedule and people take the same path. The scope limits only which services are read.
//! Concurrent runs need no lock: Route 53 refuses the change of the slower run, which then reads the records
//! that the faster run wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::apply::{Applied, apply};
use crate::aws::Aws;
use crate::aws::deadline::Deadline;
use crate::aws::rate_limiter::Priority;
use crate::aws::route53::{CheckError, ListError};
use crate::domain::check::{Earlier, LossPolicy, SafePlan};
use crate::domain::config::{Config, Mode};
use crate::domain::deployment::Departure;
use crate::domain::desired::{Basis, Desired, DesiredState, desired, names_of_unread_balancers};
use crate::domain::dns::DnsName;
use crate::domain::generation::Version;
use crate::domain::marker::Nonce;
use crate::domain::plan::{NameChange, Plan, plan, plan_without_all_candidates};
use crate::domain::report::{
    Changes, FullPass, FullZone, LongNegativeTtl, Outcome, Outcomes, Report, ReportScope, Status,
    UnreadableMarker,
};
use crate::domain::service::{AwsLocation, HostedZoneId, Service, ServiceArn};
use crate::domain::soa::{self, negative_ttl};
use crate::domain::trigger::{Options, Reach, Scope, Trigger};
use crate::domain::world::{LIST_ZONE_THRESHOLD, World};
use crate::domain::zone::{EnvironmentIdentity, ZoneName, ZoneView};
use crate::observe::{Candidates, Observer};
use crate::turns::{LeaveError, Turns};

/// The most rounds of a run. A run takes another round if Route 53 refused a change, if a service changed in ECS
/// during the write, or if a name became free that another one waits for. After the last round the run fails, and
/// the invocation is retried.
const MAX_ROUNDS: usize = 5;

/// The pause before the second round. Each further pause is twice as long, so that a list that lags behind some
/// seconds does not fail the run.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The time that a change batch may take beyond the end of the writes. Half of the function's reserve is then left
/// for the report.
const GRACE: Duration = Duration::from_secs(5);

/// The time between a call of Elastic Load Balancing and the full pass that follows it, at least: the delay of its
/// queue.
const LOAD_BALANCER_DELAY: Duration = Duration::from_secs(30);

/// The pause before another attempt of a deployment to read or change a zone. A permission may take effect some seconds
/// after CloudFormation created it.
const PERMISSION_DELAY: Duration = Duration::from_secs(10);

/// The most attempts of a deployment to read or change a zone.
const PERMISSION_ATTEMPTS: usize = 6;

/// Everything that a run needs, created once during init.
#[derive(Debug)]
pub struct Reconciler {
    pub config: Config,
    pub aws: Aws,
    /// When this process started.
    pub started_at: SystemTime,
}

/// The invocation that a run belongs to.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub location: AwsLocation,
    pub nonce: Nonce,
    pub now: SystemTime,
    /// The run starts no request after this time.
    pub stop_at: Instant,
}

impl Invocation {
    /// The deadline of writes and of the rechecks after them.
    fn deadline(&self) -> Deadline {
        Deadline::with_grace(self.stop_at, GRACE)
    }

    /// The deadline of the reads of a round that starts now. A quarter of the time left is for its writes.
    fn read_deadline(&self) -> Deadline {
        let now = Instant::now();
        Deadline::at(now + self.stop_at.saturating_duration_since(now) * 3 / 4)
    }
}

/// The work of a run.
#[derive(Clone)]
enum Task {
    Reconcile(Scope),
    /// Deletes every record of the environment in these zones.
    Deregister(BTreeSet<HostedZoneId>),
}

/// The results of the rounds so far.
#[derive(Default)]
struct Progress {
    outcomes: Outcomes,
    changes: Changes,
    earlier: Earlier,
    /// The names that services lost, those included that they lost to other services.
    lost_names: BTreeSet<(ServiceArn, ZoneName)>,
    full_pass: Option<FullPass>,
    /// The names that were changed, or may have been, with their services. If one of these services is in a later
    /// round, that round reads the name again.
    written: BTreeMap<ZoneName, BTreeSet<ServiceArn>>,
    /// What the latest search for heirs of contested names found, for the rounds after it.
    candidates: Option<Candidates>,
    /// The names that services should have, as the run read last.
    wanted: BTreeMap<ServiceArn, ZoneName>,
    /// The names that the next round reads in addition to those of its services.
    again: BTreeSet<ZoneName>,
    /// Zones that a round gave up. Another round tries them once more.
    given_up: BTreeSet<HostedZoneId>,
    /// The errors of the latest round.
    read_errors: Vec<String>,
    /// The errors of the round that read everything. Later rounds do not read it again.
    lasting_read_errors: Vec<String>,
    /// Whether names stay if AWS rejects their deletion, because a stack has to go also without its permissions.
    may_leave_names: bool,
    /// The zones in which names stay for that reason, with AWS's error.
    left_names: BTreeMap<HostedZoneId, String>,
}

impl Reconciler {
    /// Carries out a trigger. The report contains every failure: whatever depends on a failed read was not
    /// written, and changes that did not fit into the invocation's time are reported as failed, so that the
    /// invocation is retried.
    pub async fn run(&self, trigger: &Trigger, invocation: &Invocation) -> Report {
        let (task, scope, options) = match trigger {
            Trigger::Ignore { reason } | Trigger::Unreadable { reason } => {
                return Report {
                    reason: Some(reason.clone()),
                    ..Report::new(&self.config.environment, ReportScope::None, false)
                };
            }
            Trigger::Reconcile { scope, options } => {
                let report_scope = match scope {
                    Scope::FullPass(_) => ReportScope::All,
                    Scope::Services(_) => ReportScope::Service,
                };
                (Task::Reconcile(scope.clone()), report_scope, *options)
            }
            Trigger::Scheduled => {
                (Task::Reconcile(Scope::full_pass()), ReportScope::All, Options::default())
            }
            Trigger::SetNegativeTtl { zone, seconds } => {
                return self.set_negative_ttl(zone, *seconds, invocation).await;
            }
            Trigger::CheckZones => return self.check_zones(invocation).await,
            Trigger::Leave(departure) => return Box::pin(self.leave(departure, invocation)).await,
            Trigger::Deregister { zone, options } => {
                let all = || self.config.zones().into_keys().collect();
                let zones = zone.clone().map_or_else(all, |zone| BTreeSet::from([zone]));
                (Task::Deregister(zones), ReportScope::Deregister, *options)
            }
        };
        self.carry_out(&task, scope, options, invocation).await
    }

    fn is_observing(&self) -> bool {
        self.config.mode == Mode::Observe
    }

    async fn carry_out(
        &self,
        task: &Task,
        scope: ReportScope,
        mut options: Options,
        invocation: &Invocation,
    ) -> Report {
        options.dry_run |= self.is_observing();
        // The future is large. On the heap, it does not use up the stack of each function that awaits it.
        let mut progress = Box::pin(self.rounds(task, options, invocation)).await;
        for (service, name) in progress.lost_names {
            progress.outcomes.add_loss(&service, &name);
        }
        let mut outcomes = progress.outcomes.into_vec();
        if options.dry_run {
            outcomes.iter_mut().for_each(|outcome| outcome.applied = Some(false));
        }
        Report {
            outcomes,
            read_errors: [progress.lasting_read_errors, progress.read_errors].concat(),
            notes: progress.left_names.into_values().collect(),
            changes: progress.changes,
            api_calls: self.aws.take_requests(),
            throttles: self.aws.take_throttles(),
            full_pass: progress.full_pass,
            observed: self.is_observing(),
            ..Report::new(&self.config.environment, scope, options.dry_run)
        }
    }

    /// Checks that each zone is the one that the configuration describes, and that it can be listed.
    async fn check_zones(&self, invocation: &Invocation) -> Report {
        let mut report = Report::new(&self.config.environment, ReportScope::Zones, false);
        let (route53, priority, deadline) =
            (&self.aws.route53, Priority::Background, invocation.deadline());
        let is_denied =
            |error: &CheckError| matches!(error, CheckError::Unread(ListError::Rejected(_)));
        let zones = self.config.zones_to_check().into_iter();
        let checks = zones.map(async |(zone, (name, vpcs))| {
            let check = async || {
                route53.check(&zone, &name, &vpcs, priority, deadline).await?;
                Ok(route53.probe(&zone, priority, deadline).await?)
            };
            Some(until_permitted(invocation, check, is_denied).await.err()?.to_string())
        });
        report.read_errors = join_all(checks).await.into_iter().flatten().collect();
        report.api_calls = self.aws.take_requests();
        report.throttles = self.aws.take_throttles();
        report
    }

    /// Deletes the names in zones that leave the environment, or in all of them. If AWS rejects that, they stay.
    async fn leave(&self, departure: &Departure, invocation: &Invocation) -> Report {
        let mut zones = departure.zones_to_empty(&self.config);
        let mut notes = Vec::new();
        let options = Options { is_deployment: true, ..Options::default() };
        let turns = self.turns(&Task::Deregister(zones.clone()), options, invocation);
        for zone in zones.clone() {
            if let Some(note) = turns.reason_to_stay(&zone, invocation.deadline()).await {
                zones.remove(&zone);
                notes.push(note);
            }
        }
        if self.is_observing() && !zones.is_empty() {
            notes.push("the mode is observe, so no name is deleted".to_owned());
        }
        let task = Task::Deregister(zones);
        let mut report = self.carry_out(&task, ReportScope::Deregister, options, invocation).await;
        report.notes.extend(notes);
        report
    }

    /// Sets the negative TTL of one of the environment's zones.
    async fn set_negative_ttl(
        &self,
        zone: &HostedZoneId,
        seconds: i64,
        invocation: &Invocation,
    ) -> Report {
        let mut report = Report::new(&self.config.environment, ReportScope::NegativeTtl, false);
        if self.is_observing() {
            report.notes.push("the mode is observe, so the negative TTL stays".to_owned());
            return report;
        }
        let set = async || self.try_to_set_negative_ttl(zone, seconds, invocation.deadline()).await;
        match until_permitted(invocation, set, |_| true).await {
            Ok(changes) => report.changes = changes,
            Err(error) => report.read_errors.push(error),
        }
        report.api_calls = self.aws.take_requests();
        report.throttles = self.aws.take_throttles();
        report
    }

    async fn try_to_set_negative_ttl(
        &self,
        zone: &HostedZoneId,
        seconds: i64,
        deadline: Deadline,
    ) -> Result<Changes, String> {
        let zones = self.config.zones();
        let name = zones.get(zone).ok_or(format!("the configuration has no zone {zone}"))?;
        let soa = self.aws.route53.soa(zone, name, deadline).await;
        let soa = soa.map_err(|error| error.to_string())?;
        let changed = soa::with_negative_ttl(&soa, seconds).ok_or_else(|| {
            format!("the SOA record of {name} has another form than expected: {soa}")
        })?;
        if changed == soa {
            return Ok(Changes::default());
        }
        let replaced = self.aws.route53.replace_soa(zone, &changed, deadline).await;
        replaced.map_err(|error| error.to_string())?;
        Ok(Changes { created: 1, deleted: 1 })
    }

    async fn rounds(&self, task: &Task, options: Options, invocation: &Invocation) -> Progress {
        let identity = &self.identity(invocation);
        let (priority, policy) = (task.priority(), task.loss_policy(&self.config, options));
        let requested = task;
        let is_departure = options.is_deployment && matches!(task, Task::Deregister(_));
        let mut progress = Progress { may_leave_names: is_departure, ..Progress::default() };
        let mut task = task.clone();
        let turns = self.turns(requested, options, invocation);
        let mut errors = Vec::new();
        if options.is_deployment && !is_departure && !options.dry_run {
            errors = turns.decide_all(priority, invocation.deadline()).await;
        }
        for round in 1..=MAX_ROUNDS {
            let observer = Observer {
                config: &self.config,
                aws: &self.aws,
                identity,
                priority,
                now: invocation.now,
                began: Instant::now(),
                deadline: invocation.read_deadline(),
            };
            let (world, plan) =
                self.decide(&observer, &mut task, &mut progress, invocation.nonce).await;
            let plan = plan.check_after(progress.earlier, &policy);
            progress.outcomes.add(plan.outcomes().iter().cloned());
            progress.add_read_errors(&task, &world, &self.config, identity);
            if options.dry_run {
                plan.changes().for_each(|change| progress.changes += change.count());
                progress.count(&task, &self.config, &world, &plan, &Applied::default());
                break;
            }
            let deadline = invocation.deadline();
            let place = invocation.nonce.place(round);
            let mut applied =
                apply(&self.aws.route53, &plan, &turns, priority, deadline, place).await;
            progress.give_up_zones(&mut applied);
            progress.record(&plan, &applied, &policy);
            progress.count(&task, &self.config, &world, &plan, &applied);
            let changed = match &task {
                Task::Reconcile(_) => {
                    let observer = Observer { deadline, ..observer };
                    self.recheck(&applied.done, &world, &observer, &mut progress.outcomes).await
                }
                Task::Deregister(_) => BTreeSet::new(),
            };
            let unfinished: BTreeSet<&ServiceArn> = applied
                .done
                .iter()
                .flat_map(|change| change.services())
                .filter(|service| plan.unfinished().contains(service))
                .collect();
            if applied.refused.is_empty() && changed.is_empty() && unfinished.is_empty() {
                break;
            }
            // A name that became free needs no pause.
            let is_lagging = !applied.refused.is_empty() || !changed.is_empty();
            let pause = if is_lagging { FIRST_PAUSE * (1 << (round - 1)) } else { Duration::ZERO };
            if round == MAX_ROUNDS || !deadline.allows(Instant::now() + pause) {
                progress.give_up(round, &plan, &applied, &changed, &unfinished);
                break;
            }
            deadline.sleep(pause).await;
            let services = changed.iter().chain(unfinished).cloned().collect();
            let held = world.names_held(identity);
            task = progress.next_task(&task, &plan, &applied, services, &held);
        }
        if let Task::Deregister(zones) = requested
            && !options.dry_run
        {
            for zone in zones {
                // The names that stay belong to this version.
                if progress.left_names.contains_key(zone) {
                    continue;
                }
                match turns.leave(zone, invocation.deadline()).await {
                    Ok(()) => {}
                    Err(LeaveError::Rejected(error)) if is_departure => {
                        progress.note_left_names(zone, &error);
                    }
                    Err(error) => errors.push(error.to_string()),
                }
            }
        }
        progress.read_errors.extend(errors);
        progress
    }

    /// A deregistration was requested, so it needs no proof.
    fn turns(&self, task: &Task, options: Options, invocation: &Invocation) -> Turns<'_> {
        let version = self.config.generation.clone().map(|generation| Version {
            generation,
            newest_at_ms: millis(if options.is_deployment {
                invocation.now
            } else {
                self.started_at
            }),
            now_ms: millis(invocation.now),
        });
        let identity = self.identity(invocation);
        let turns = Turns::new(&self.aws.route53, version, identity, self.config.zones());
        match task {
            Task::Reconcile(_) => turns,
            Task::Deregister(_) => turns.without_proof(),
        }
    }

    /// Reads the world, and plans the changes. If a contested name ends, the services that should have it join
    /// the scope, until no other contested name ends for that reason. If some cannot be read and none of the others should
    /// have the name, it stays.
    async fn decide(
        &self,
        observer: &Observer<'_>,
        task: &mut Task,
        progress: &mut Progress,
        nonce: Nonce,
    ) -> (World, Plan) {
        progress.read_errors.clear();
        let mut is_read = false;
        loop {
            let world = match task {
                Task::Reconcile(scope) => observer.observe(scope, &progress.again).await,
                Task::Deregister(zones) => observer.zones_to_empty(zones).await,
            };
            let desired = match task {
                Task::Reconcile(_) => desired(&world, &self.config),
                Task::Deregister(_) => nothing_desired(&world.zones, observer.identity),
            };
            let (zones, identity) = (&world.zones, observer.identity);
            let uncertain = || plan_without_all_candidates(&desired, zones, identity, nonce);
            let mut plan = plan(&desired, zones, identity, nonce);
            match task {
                Task::Reconcile(Scope::Services(targets)) => {
                    let is_older = !is_read && !plan.contested().is_empty();
                    if is_older {
                        progress.candidates = Some(observer.candidates().await);
                        is_read = true;
                    }
                    if let Some(candidates) = &progress.candidates {
                        // Nobody may have noted yet that a service wants another name that ends.
                        let heirs =
                            plan.lost().filter_map(|at| candidates.services.get(&at)).flatten();
                        let heirs: Vec<&ServiceArn> = heirs.collect();
                        let held = heirs.iter().filter_map(|heir| candidates.held.get(*heir));
                        progress.again.extend(held.flatten().cloned());
                        let known = targets.services.len();
                        targets.services.extend(heirs.iter().copied().cloned());
                        // A world that is older than the candidates may contradict them. Even a search that failed
                        // may have found out that a service is gone.
                        if is_older || targets.services.len() > known {
                            continue;
                        }
                        // The answer about an heir may contradict an event.
                        let is_unsure = !candidates.errors.is_empty()
                            || heirs.into_iter().any(|heir| is_unknown(&desired, heir));
                        if is_unsure {
                            plan = uncertain();
                            plan.keep_contested(candidates.errors.first().map(String::as_str));
                        }
                    }
                }
                Task::Reconcile(Scope::FullPass(_)) => {
                    if let Some(error) = world.service_read_errors().first() {
                        plan = uncertain();
                        plan.keep_contested(Some(error));
                    }
                }
                Task::Deregister(_) => {}
            }
            let mut wanted = names_of_unread_balancers(&desired, &world, &self.config);
            wanted.extend(progress.names_of_services_not_read_again(&desired));
            plan.keep_wanted(&wanted);
            return (world, plan);
        }
    }

    /// Reads every service again for which something was written, and returns those that differ from what the run
    /// read before. A service that cannot be read again has failed.
    ///
    /// This closes a race between two runs for one service:
    /// 1. The run for its creation reads it, alive.
    /// 2. The service is deleted. The run for the deletion finds no record yet, so it has nothing to do.
    /// 3. The first run writes the record. No further event would delete it.
    ///
    /// The same race exists for load balancers, but the pass that follows their change starts [`LOAD_BALANCER_DELAY`]
    /// after it, so only a run that took longer reads them again.
    async fn recheck(
        &self,
        done: &[&NameChange],
        world: &World,
        observer: &Observer<'_>,
        outcomes: &mut Outcomes,
    ) -> BTreeSet<ServiceArn> {
        let written = done.iter().flat_map(|change| change.services());
        let services: BTreeSet<ServiceArn> =
            written.filter(|arn| self.config.has_cluster(arn.cluster())).cloned().collect();
        if services.is_empty() {
            return services;
        }
        let is_long = observer.began.elapsed() >= LOAD_BALANCER_DELAY;
        let latest = if is_long {
            observer.load_balancers_again(&services, world).await
        } else {
            observer.services_again(&services).await
        };
        let mut changed = BTreeSet::new();
        for arn in services {
            let reread = latest.services.get(&arn).cloned().unwrap_or(Ok(Service::Outside));
            let same = reread.and_then(|after| match (world.services.get(&arn), &after) {
                (Some(Ok(Service::Gone(_))), Service::Gone(_)) => Ok(true),
                (Some(Ok(before)), after) if before == after => {
                    Ok(!is_long || latest.balancers_of(after)? == world.balancers_of(before)?)
                }
                _ => Ok(false),
            });
            match same {
                Ok(true) => {}
                Ok(false) => drop(changed.insert(arn)),
                Err(error) => {
                    let reason = format!(
                        "{error}; the record was written, but the service could not be rechecked"
                    );
                    outcomes.fail(&arn, &reason);
                }
            }
        }
        changed
    }

    fn identity(&self, invocation: &Invocation) -> EnvironmentIdentity {
        EnvironmentIdentity {
            environment: self.config.environment.clone(),
            former_names: self.config.former_names.clone(),
            location: invocation.location.clone(),
        }
    }
}

impl Task {
    /// A client waits for the name of an event's service. Full passes and large batches have time, and
    /// would slow each other down without a limit.
    fn priority(&self) -> Priority {
        match self {
            Task::Reconcile(Scope::Services(targets))
                if targets.services.len() <= LIST_ZONE_THRESHOLD =>
            {
                Priority::Event
            }
            Task::Reconcile(_) | Task::Deregister(_) => Priority::Background,
        }
    }

    /// The losses that the run may apply.
    fn loss_policy(&self, config: &Config, options: Options) -> LossPolicy {
        match self {
            Task::Reconcile(_) if config.mode == Mode::CreateAndUpdate => LossPolicy::Nothing,
            Task::Reconcile(_) if options.override_delete_limit => LossPolicy::All,
            Task::Reconcile(Scope::FullPass(targets)) => {
                LossPolicy::Limited { limit: config.delete_limit, named: targets.services.clone() }
            }
            Task::Reconcile(Scope::Services(_)) => LossPolicy::ReportedByEcs,
            // The deregistration was requested.
            Task::Deregister(_) => LossPolicy::All,
        }
    }
}

impl Progress {
    /// Notes the names that services should have, and returns those of services that an earlier round could read and this
    /// one cannot, each with the failed read.
    fn names_of_services_not_read_again(
        &mut self,
        desired: &BTreeMap<ServiceArn, Desired>,
    ) -> BTreeMap<ZoneName, String> {
        let mut names = BTreeMap::new();
        for (service, desired) in desired {
            match &desired.state {
                DesiredState::Record(record) => {
                    let at = (record.zone.clone(), record.name.clone());
                    self.wanted.insert(service.clone(), at);
                }
                DesiredState::ReadFailed(error) => {
                    if let Some(at) = self.wanted.get(service) {
                        names.insert(at.clone(), format!("{service}: {error}"));
                    }
                }
                _ => {}
            }
        }
        names
    }

    /// The next round tries the changes of a zone that this round gave up once more, since another run may have been
    /// faster. If that round gives the zone up again, its changes have failed.
    fn give_up_zones<'a>(&mut self, applied: &mut Applied<'a>) {
        for (changes, reason) in std::mem::take(&mut applied.given_up) {
            let is_denied = |change: &&NameChange| {
                let mut denied = applied.denied.iter().flat_map(|(changes, _)| changes);
                denied.any(|denied| denied.zone == change.zone)
            };
            if self.may_leave_names && changes.iter().all(is_denied) {
                applied.denied.push((changes, reason));
                continue;
            }
            let is_first = changes.iter().all(|change| !self.given_up.contains(&change.zone));
            let again = if is_first { &mut applied.refused } else { &mut applied.failed };
            again.push((changes, reason));
        }
        let refused = applied.refused.iter().flat_map(|(changes, _)| changes);
        self.given_up.extend(refused.map(|change| change.zone.clone()));
    }

    /// A full pass and a deregistration depend on every read. In a run for some services, a zone that cannot be read
    /// fails only those that may have a name in it.
    fn add_read_errors(
        &mut self,
        task: &Task,
        world: &World,
        config: &Config,
        identity: &EnvironmentIdentity,
    ) {
        let Task::Reconcile(Scope::Services(targets)) = task else {
            self.lasting_read_errors = world.read_errors();
            return;
        };
        self.read_errors.extend(world.read_errors.iter().cloned());
        for service in &targets.services {
            let reach = targets.reach.get(service).copied().unwrap_or(Reach::Anywhere);
            let is_concealed = reach != Reach::Unattached;
            let concealed = is_concealed.then(|| world.concealed_name(service, identity)).flatten();
            let error = concealed.or_else(|| world.unread_zone(service, reach, config));
            if let Some(error) = error.filter(|_| !self.outcomes.has_failed(service)) {
                self.outcomes.fail(service, &format!("{error}; the service may have a name there"));
            }
        }
    }

    fn record(&mut self, plan: &SafePlan, applied: &Applied<'_>, policy: &LossPolicy) {
        for change in plan.changes() {
            self.written.entry(change.at()).or_default().extend(change.services().cloned());
        }
        for change in &applied.done {
            self.changes += change.count();
            self.earlier.lost += usize::from(policy.counts(change));
            if let Some(holder) = &change.holder {
                self.lost_names.insert((holder.clone(), change.at()));
            }
            if let Some(winner) = &change.winner {
                self.lost_names.remove(&(winner.clone(), change.at()));
            }
        }
        self.earlier.managed = self.earlier.managed.max(plan.managed());
        for (changes, reason) in &applied.denied {
            let status = if self.may_leave_names { Status::Rejected } else { Status::Failed };
            self.fail(plan, changes, status, reason);
            if self.may_leave_names {
                changes.iter().for_each(|change| self.note_left_names(&change.zone, reason));
            }
        }
        // Until a later round decides them again, refused changes have failed, too.
        for (changes, reason) in applied.failed.iter().chain(&applied.refused) {
            self.fail(plan, changes, Status::Failed, reason);
        }
        for (changes, reason) in &applied.rejected {
            self.fail(plan, changes, Status::Rejected, reason);
        }
    }

    fn note_left_names(&mut self, zone: &HostedZoneId, error: &str) {
        let note = || format!("{error}; names stay in the zone {zone}");
        self.left_names.entry(zone.clone()).or_insert_with(note);
    }

    /// Counts what a full pass reports. Its later rounds read only a part of the zones, so they change the counts of
    /// the first one.
    fn count(
        &mut self,
        task: &Task,
        config: &Config,
        world: &World,
        plan: &SafePlan,
        applied: &Applied<'_>,
    ) {
        if let Task::Reconcile(Scope::FullPass(_)) = task {
            self.full_pass = Some(full_pass(&config.zones(), world, plan));
        }
        let Some(full_pass) = &mut self.full_pass else { return };
        let done = || applied.done.iter();
        full_pass.managed_names += done().filter(|change| change.adds_the_name()).count();
        let removed = done().filter(|change| change.removes_the_name()).count();
        full_pass.managed_names = full_pass.managed_names.saturating_sub(removed);
        for (zone, reason) in &applied.full_zones {
            if full_pass.full_zones.iter().all(|full| full.zone != *zone) {
                let (zone, reason) = (zone.clone(), reason.clone());
                full_pass.full_zones.push(FullZone { zone, reason });
            }
        }
    }

    /// The work of the next round: `services`, those of refused changes, and those that should have one of their
    /// names. All others are settled. The names that these services held may come from an earlier template, so only
    /// this round knows all of them.
    fn next_task(
        &mut self,
        task: &Task,
        plan: &SafePlan,
        applied: &Applied<'_>,
        mut services: BTreeSet<ServiceArn>,
        held: &BTreeMap<ServiceArn, Vec<ZoneName>>,
    ) -> Task {
        let refused = || applied.refused.iter().flat_map(|(changes, _)| changes);
        let scope = match task {
            Task::Deregister(_) => {
                return Task::Deregister(refused().map(|change| change.zone.clone()).collect());
            }
            Task::Reconcile(scope) => scope,
        };
        services.extend(refused().flat_map(|change| change.services()).cloned());
        let mut names: BTreeSet<ZoneName> = refused().map(|change| change.at()).collect();
        let of_services = |(_, of): &(&ZoneName, &BTreeSet<ServiceArn>)| !of.is_disjoint(&services);
        names.extend(self.written.iter().filter(of_services).map(|(at, _)| at.clone()));
        names.extend(services.iter().filter_map(|service| held.get(service)).flatten().cloned());
        for outcome in plan.outcomes() {
            if let (Some(zone), Some(name)) = (&outcome.zone, &outcome.name)
                && names.contains(&(zone.clone(), name.clone()))
            {
                services.insert(outcome.service.clone());
            }
        }
        self.again = names;
        Task::Reconcile(Scope::Services(scope.targets().narrowed_to(services)))
    }

    fn give_up(
        &mut self,
        rounds: usize,
        plan: &SafePlan,
        applied: &Applied<'_>,
        changed: &BTreeSet<ServiceArn>,
        unfinished: &BTreeSet<&ServiceArn>,
    ) {
        for (changes, reason) in &applied.refused {
            self.fail(
                plan,
                changes,
                Status::Failed,
                &format!("{reason} ({rounds} times in a row)"),
            );
        }
        let reason =
            format!("the service changed in ECS during each of {rounds} attempts to register it");
        changed.iter().for_each(|service| self.outcomes.fail(service, &reason));
        let reason = format!("{rounds} rounds were too few to move all names; a retry continues");
        unfinished.iter().for_each(|service| self.outcomes.fail(service, &reason));
    }

    /// Reports changes that were not applied, with the names that their services keep for that reason. If a name did not
    /// get its new owner, or the note that another service should have it, the conflicts at this name are not settled
    /// either.
    fn fail(&mut self, plan: &SafePlan, changes: &[&NameChange], status: Status, reason: &str) {
        let names: BTreeSet<ZoneName> = changes.iter().map(|change| change.at()).collect();
        let is_unsettled = |outcome: &&Outcome| {
            let at = outcome.zone.clone().zip(outcome.name.clone());
            outcome.status == Status::Conflict && at.is_some_and(|at| names.contains(&at))
        };
        let others =
            plan.outcomes().iter().filter(is_unsettled).filter(|_| status == Status::Failed);
        let services = changes.iter().flat_map(|change| change.services());
        for service in services.chain(others.map(|outcome| &outcome.service)) {
            let kept: Vec<&str> = plan.former_names(service).iter().map(DnsName::as_str).collect();
            if kept.is_empty() {
                self.outcomes.replace(service, status, reason);
            } else {
                let reason = format!("{reason}; the service keeps {}", kept.join(", "));
                self.outcomes.replace(service, status, &reason);
            }
        }
    }
}

fn full_pass(zones: &BTreeMap<HostedZoneId, DnsName>, world: &World, plan: &SafePlan) -> FullPass {
    let records = |(zone, view): (&HostedZoneId, &ZoneView)| (zone.clone(), view.records());
    let unreadable = |(zone, view): (&HostedZoneId, &ZoneView)| {
        let all = view.unreadable_markers().map(|(name, reason)| UnreadableMarker {
            name: name.clone(),
            zone: zone.clone(),
            reason,
        });
        all.collect::<Vec<_>>()
    };
    let long_negative_ttl = |(zone, name): (&HostedZoneId, &DnsName)| {
        let records = world.zones.get(zone)?.records_at(name);
        let (soa, seconds) =
            records.iter().find_map(|rrset| Some((rrset, negative_ttl(rrset)?)))?;
        let shorter = soa::with_negative_ttl(soa, soa::DEFAULT_NEGATIVE_TTL)?;
        let command = soa::command(zone, &shorter)?;
        (seconds > soa::LONG_NEGATIVE_TTL).then(|| LongNegativeTtl {
            zone: zone.clone(),
            seconds,
            command,
        })
    };
    FullPass {
        managed_names: plan.managed(),
        zone_records: world.zones.iter().map(records).collect(),
        unreadable_markers: world.zones.iter().flat_map(unreadable).collect(),
        long_negative_ttls: zones.iter().filter_map(long_negative_ttl).collect(),
        full_zones: Vec::new(),
    }
}

/// Repeats the attempt of a deployment that fails, as long as another attempt may be permitted.
async fn until_permitted<T, E>(
    invocation: &Invocation,
    attempt: impl AsyncFn() -> Result<T, E>,
    may_be_permitted: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let mut attempts = 1;
    loop {
        let result = attempt().await;
        let is_over = result.as_ref().err().is_none_or(|error| !may_be_permitted(error));
        let time_left = invocation.stop_at.saturating_duration_since(Instant::now());
        if is_over || attempts == PERMISSION_ATTEMPTS || time_left < PERMISSION_DELAY {
            return result;
        }
        invocation.deadline().sleep(PERMISSION_DELAY).await;
        attempts += 1;
    }
}

fn millis(time: SystemTime) -> u64 {
    let time = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_millis()).unwrap_or_default()
}

fn is_unknown(desired: &BTreeMap<ServiceArn, Desired>, service: &ServiceArn) -> bool {
    let state = desired.get(service).map(|desired| &desired.state);
    matches!(state, Some(DesiredState::ReadFailed(_)))
}

/// The desired state of a deregistration: no service that holds a name keeps it.
fn nothing_desired(
    zones: &BTreeMap<HostedZoneId, ZoneView>,
    identity: &EnvironmentIdentity,
) -> BTreeMap<ServiceArn, Desired> {
    let state = DesiredState::Nothing {
        reason: "the zone's names are being deregistered".into(),
        basis: Basis::Service,
    };
    zones
        .values()
        .flat_map(|zone| zone.managed(identity))
        .map(|(_, managed)| (managed.service, Desired { created_at_ms: 0, state: state.clone() }))
        .collect()
}

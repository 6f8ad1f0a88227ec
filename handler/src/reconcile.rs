//! One run: read, plan, check, apply, and look again, until nothing is left to do.
//!
//! The same path serves an event, the schedule and a person; the scope only limits what is
//! read. Concurrent runs need no lock: whoever comes second is refused by Route 53, and reads
//! again what the first one made.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use futures_util::join;
use tokio::time::Instant;

use crate::aws::AwsError;
use crate::config::Config;
use crate::desired::{Desire, Wish, desires};
use crate::dns::{DnsName, Rrset};
use crate::ecs::Ecs;
use crate::elb::Elb;
use crate::elb_classic::ElbClassic;
use crate::marker::Stamp;
use crate::plan::{NameChange, SafePlan, plan};
use crate::report::{ApiCalls, Changes, Outcomes, Pass, Report, ReportScope};
use crate::route53::{ChangeError, Route53};
use crate::service::{Behind, Home, HostedZoneId, Service, ServiceArn};
use crate::trigger::{Options, Scope, Trigger};
use crate::world::{Focus, MANY_NAMES, Reads, World};
use crate::zone::{Owner, ZoneView};

/// How often a run that was refused, or found ECS changed after it wrote, goes round again. What
/// is not settled then has another writer at it, and is left to the retry of the invocation.
const MAX_ROUNDS: usize = 5;

/// How often reading may lead to something else to read. Each step is one of a service, its
/// target groups, its load balancers, the holder of its name; a chain of holders may follow.
const MAX_READS: usize = 20;

/// Everything that a run needs, made once at init.
#[derive(Debug)]
pub struct Reconciler {
    pub config: Config,
    pub ecs: Ecs,
    pub elb: Elb,
    pub elb_classic: ElbClassic,
    pub route53: Route53,
}

/// What a run is told of the invocation that it belongs to.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub home: Home,
    pub stamp: Stamp,
    /// From here on nothing more is written.
    pub stop_at: Instant,
}

/// What a run is to bring in order.
enum Task<'a> {
    Reconcile(&'a Scope),
    /// In these zones.
    Deregister(BTreeSet<HostedZoneId>),
}

/// What came of a run so far.
#[derive(Default)]
struct Course {
    outcomes: Outcomes,
    changes: Changes,
    /// Services that it left without any name.
    lost: usize,
    pass: Option<Pass>,
    /// Where it wrote, or tried to.
    written: BTreeSet<(HostedZoneId, DnsName)>,
    /// What the last round could not read.
    unread: Vec<String>,
}

/// What came of a plan.
#[derive(Default)]
struct Applied<'a> {
    done: Vec<&'a NameChange>,
    refused: Vec<(BTreeSet<ServiceArn>, String)>,
    failed: Vec<(BTreeSet<ServiceArn>, String)>,
}

impl Reconciler {
    /// Does what a trigger asks for. What is left when the time is up is reported as failed, so
    /// that the invocation is tried again. What could not be read is in the report; nothing that
    /// depends on it was written.
    pub async fn run(&self, trigger: &Trigger, invocation: &Invocation) -> Report {
        let (task, scope, options) = match trigger {
            Trigger::Ignore { reason } | Trigger::Unreadable { reason } => {
                let reason = Some(reason.clone());
                return self.report(ReportScope::None, Options::default(), reason);
            }
            Trigger::Reconcile { scope, options } => {
                let report_scope = match scope {
                    Scope::Everything => ReportScope::All,
                    Scope::Services(_) => ReportScope::Service,
                };
                (Task::Reconcile(scope), report_scope, *options)
            }
            Trigger::Deregister { zone, options } => {
                let all = || self.config.zones().into_keys().collect();
                let zones = zone.clone().map_or_else(all, |zone| BTreeSet::from([zone]));
                (Task::Deregister(zones), ReportScope::Deregister, *options)
            }
        };
        // An event is waited for; a full pass has time, and many at once would hinder each other.
        self.route53.set_unhurried(match &task {
            Task::Reconcile(Scope::Services(named)) => named.services.len() > MANY_NAMES,
            Task::Reconcile(Scope::Everything) | Task::Deregister(_) => true,
        });
        let course = self.rounds(&task, options, invocation).await;
        Report {
            outcomes: course.outcomes.into_vec(),
            unread: course.unread,
            changes: course.changes,
            pass: course.pass,
            ..self.report(scope, options, None)
        }
    }

    fn report(&self, scope: ReportScope, options: Options, reason: Option<String>) -> Report {
        Report {
            environment: self.config.environment.clone(),
            scope,
            dry_run: options.dry_run,
            reason,
            outcomes: Vec::new(),
            unread: Vec::new(),
            changes: Changes::default(),
            api_calls: ApiCalls {
                ecs: self.ecs.calls.take(),
                elb: self.elb.calls.take() + self.elb_classic.calls.take(),
                route53: self.route53.calls.take(),
            },
            throttles: ApiCalls {
                ecs: self.ecs.calls.take_throttles(),
                elb: self.elb.calls.take_throttles() + self.elb_classic.calls.take_throttles(),
                route53: self.route53.calls.take_throttles(),
            },
            pass: None,
        }
    }

    async fn rounds(&self, task: &Task<'_>, options: Options, invocation: &Invocation) -> Course {
        let Invocation { home, stamp, stop_at } = invocation;
        let owner = &Owner {
            environment: self.config.environment.clone(),
            former_names: self.config.former_names.clone(),
            home: home.clone(),
        };
        let mut course = Course::default();
        for round in 1..=MAX_ROUNDS {
            let (world, desires) = match task {
                Task::Reconcile(scope) => {
                    let world = self.observe(scope, &course.written, owner).await;
                    let desires = desires(&world, &self.config);
                    (world, desires)
                }
                Task::Deregister(zones) => {
                    let zones = self.zones_if_any(zones).await;
                    let world = World { zones, ..World::default() };
                    let desires = no_names(&world.zones, owner);
                    (world, desires)
                }
            };
            course.unread = world.unread();
            let limit = match task {
                Task::Reconcile(Scope::Everything) if !options.override_delete_limit => {
                    Some(self.config.delete_limit)
                }
                // ECS was asked about these very services, or a person asked for it.
                Task::Reconcile(_) | Task::Deregister(_) => None,
            };
            let plan = plan(&desires, &world.zones, owner, *stamp).check_after(course.lost, limit);
            course.outcomes.add(plan.outcomes().iter().cloned());
            if options.dry_run {
                plan.changes().iter().for_each(|change| course.changes += change.count());
                break;
            }

            // The next round looks there too: what this one writes may be undone by then.
            let places =
                plan.changes().iter().map(|change| (change.zone.clone(), change.name.clone()));
            course.written.extend(places);
            let Applied { done, refused, failed } = self.apply(&plan, *stop_at).await;
            for change in &done {
                course.changes += change.count();
                course.lost += usize::from(change.is_loss);
            }
            for (services, reason) in &failed {
                services.iter().for_each(|service| course.outcomes.fail(service, reason));
            }
            if let Task::Reconcile(Scope::Everything) = task {
                course.pass = Some(pass(&world, &plan, &done));
            }
            let moved = match task {
                Task::Reconcile(_) => self.look_again(&done, &world, &mut course.outcomes).await,
                Task::Deregister(_) => BTreeSet::new(),
            };
            if refused.is_empty() && moved.is_empty() {
                break;
            }
            if round == MAX_ROUNDS {
                for (services, reason) in &refused {
                    let reason = format!("{reason} ({MAX_ROUNDS} times in a row)");
                    services.iter().for_each(|service| course.outcomes.fail(service, &reason));
                }
                let reason = format!("ECS changed it {MAX_ROUNDS} times while it was registered");
                moved.iter().for_each(|service| course.outcomes.fail(service, &reason));
            }
        }
        course
    }

    /// Reads until nothing is missing to decide about `scope`.
    async fn observe(
        &self,
        scope: &Scope,
        written: &BTreeSet<(HostedZoneId, DnsName)>,
        owner: &Owner,
    ) -> World {
        let (mut world, focus) = match scope {
            Scope::Everything => {
                let focus = Focus { everything: true, ..Focus::default() };
                (self.read_everything(owner).await, focus)
            }
            Scope::Services(named) => {
                // Where environments share an account, each hears of the others' services. That
                // costs nothing; should one hold a name from another configuration's time, the
                // next full pass sees to it.
                let (inside, outside): (BTreeSet<_>, BTreeSet<_>) =
                    named.services.iter().cloned().partition(|arn| self.has(arn));
                let mut world = World::default();
                world.services.extend(outside.into_iter().map(|arn| (arn, Ok(Service::Outside))));
                if inside.is_empty() {
                    return world;
                }
                let focus = Focus {
                    everything: false,
                    services: inside,
                    names: written.clone(),
                    retagged: named.retagged.clone(),
                    deleted: named.deleted.clone(),
                };
                let mut reads = world.missing(&focus, &self.config, owner);
                // What the event mentions and what is likely needed is read along: if it is
                // right, the record can be written after this one round trip.
                for behind in &named.hint {
                    match behind {
                        Behind::TargetGroup(arn) => drop(reads.target_groups.insert(arn.clone())),
                        Behind::Classic(name) => drop(reads.classic.insert(name.clone())),
                    }
                }
                let ((), balancers) =
                    join!(self.read(reads, &mut world), self.elb.first_load_balancers());
                world.load_balancers.extend(ahead(balancers));
                (world, focus)
            }
        };
        for _ in 0..MAX_READS {
            let reads = world.missing(&focus, &self.config, owner);
            if reads.is_empty() {
                return world;
            }
            self.read(reads, &mut world).await;
        }
        world.gaps.push(format!(
            "after {MAX_READS} steps of reading each still led to another; others are changing it"
        ));
        world
    }

    fn has(&self, service: &ServiceArn) -> bool {
        self.config.has_cluster(service.cluster())
    }

    async fn read(&self, reads: Reads, world: &mut World) {
        let Reads { services, target_groups, load_balancers, classic, names, zones } = reads;
        let (services, outside): (BTreeSet<_>, BTreeSet<_>) =
            services.into_iter().partition(|arn| self.has(arn));
        let names = join_all(names.into_iter().map(async |(zone, name)| {
            let rrsets = self.route53.list_name(&zone, &name).await;
            (zone, name, rrsets)
        }));
        let (services, target_groups, load_balancers, classic, names, zones) = join!(
            self.ecs.describe(&services),
            self.elb.target_groups(&target_groups),
            self.elb.load_balancers(&load_balancers),
            self.elb_classic.load_balancers(&classic),
            names,
            self.list_zones(zones),
        );
        world.services.extend(services);
        world.services.extend(outside.into_iter().map(|arn| (arn, Ok(Service::Outside))));
        world.target_groups.extend(target_groups);
        world.load_balancers.extend(load_balancers);
        world.classic.extend(classic);
        for (zone, name, rrsets) in names {
            let view = world.zones.entry(zone).or_default();
            match rrsets {
                Ok(rrsets) => view.add(&name, rrsets),
                Err(error) => view.add_unread(&name, error.into()),
            }
        }
        for (zone, rrsets) in zones {
            let view = world.zones.entry(zone).or_default();
            match rrsets {
                Ok(rrsets) => *view = ZoneView::whole(rrsets),
                Err(error) => view.set_unread(error.into()),
            }
        }
    }

    async fn read_everything(&self, owner: &Owner) -> World {
        let services = async {
            let (listed, gaps) =
                self.ecs.list(&owner.home, |cluster| self.config.has_cluster(cluster)).await;
            (self.ecs.describe(&listed).await, gaps)
        };
        let ((services, gaps), target_groups, load_balancers, zones) = join!(
            services,
            self.elb.all_target_groups(),
            self.elb.all_load_balancers(),
            self.all_zones(),
        );
        World {
            services,
            target_groups: ahead(target_groups),
            load_balancers: ahead(load_balancers),
            classic: BTreeMap::new(),
            zones,
            gaps: gaps.iter().map(ToString::to_string).collect(),
        }
    }

    async fn all_zones(&self) -> BTreeMap<HostedZoneId, ZoneView> {
        let mut world = World::default();
        let zones = self.config.zones().into_keys().collect();
        self.read(Reads { zones, ..Reads::default() }, &mut world).await;
        world.zones
    }

    /// For a deregistration. A zone that somebody deleted holds nothing, so its end is no failure; else
    /// no stack whose zone is gone could ever be destroyed.
    async fn zones_if_any(
        &self,
        zones: &BTreeSet<HostedZoneId>,
    ) -> BTreeMap<HostedZoneId, ZoneView> {
        let views = zones.iter().map(async |zone| {
            let view = match self.route53.list_zone_if_any(zone).await {
                Ok(rrsets) => ZoneView::whole(rrsets),
                Err(error) => {
                    let mut view = ZoneView::default();
                    view.set_unread(error.into());
                    view
                }
            };
            (zone.clone(), view)
        });
        join_all(views).await.into_iter().collect()
    }

    async fn list_zones(
        &self,
        zones: BTreeSet<HostedZoneId>,
    ) -> Vec<(HostedZoneId, Result<Vec<Rrset>, AwsError>)> {
        join_all(zones.into_iter().map(async |zone| {
            let rrsets = self.route53.list_zone(&zone).await;
            (zone, rrsets)
        }))
        .await
    }

    /// The services that ECS describes otherwise than when they were read, among those for which
    /// something was written. One that cannot be described has failed.
    ///
    /// This closes a race between two runs for one service:
    /// 1. the run for its creation reads it, alive;
    /// 2. it is deleted, and the run for that finds no record yet: nothing to do;
    /// 3. the first run writes the record, and no event will come that deletes it.
    async fn look_again(
        &self,
        done: &[&NameChange],
        world: &World,
        outcomes: &mut Outcomes,
    ) -> BTreeSet<ServiceArn> {
        let written = done.iter().flat_map(|change| &change.services);
        let services: BTreeSet<ServiceArn> = written.filter(|arn| self.has(arn)).cloned().collect();
        let mut moved = BTreeSet::new();
        for (arn, now) in self.ecs.describe(&services).await {
            match (world.services.get(&arn), now) {
                (_, Err(why)) => {
                    let reason = format!("it was written, then could not be looked at: {why}");
                    outcomes.fail(&arn, &reason);
                }
                (Some(Ok(Service::Gone(_))), Ok(Service::Gone(_))) => {}
                (Some(Ok(then)), Ok(now)) if *then == now => {}
                _ => drop(moved.insert(arn)),
            }
        }
        moved
    }

    async fn apply<'a>(&self, plan: &'a SafePlan, stop_at: Instant) -> Applied<'a> {
        let mut applied = Applied::default();
        let mut work = plan.batches();
        work.reverse();
        while let Some(batch) = work.pop() {
            if Instant::now() >= stop_at {
                let reason = "there was no time left for it in this invocation".to_owned();
                applied.failed.push((services(&batch), reason));
                continue;
            }
            match self.route53.change(&batch).await {
                Ok(()) => applied.done.extend(batch),
                Err(ChangeError::Failed(error)) => {
                    applied.failed.push((services(&batch), error.to_string()));
                }
                // Whole or not at all: one change that is refused takes the batch with it. What
                // the refusal names is set aside, and the rest sent again; where it names nothing
                // or all, the halves are tried until only the refused ones are left.
                Err(ChangeError::Refused(refusal)) => {
                    let (blamed, rest): (Vec<_>, Vec<_>) =
                        batch.iter().partition(|change| refusal.blames(change));
                    if batch.len() == 1 {
                        let reason = ChangeError::Refused(refusal).to_string();
                        applied.refused.push((services(&batch), reason));
                    } else if blamed.is_empty() || rest.is_empty() {
                        let (left, right) = batch.split_at(batch.len() / 2);
                        work.extend([right.to_vec(), left.to_vec()]);
                    } else {
                        let reason = ChangeError::Refused(refusal).to_string();
                        applied.refused.push((services(&blamed), reason));
                        work.push(rest);
                    }
                }
            }
        }
        applied
    }
}

/// What a full pass found and left.
fn pass(world: &World, plan: &SafePlan, done: &[&NameChange]) -> Pass {
    let begun = done.iter().filter(|change| change.begins_the_name()).count();
    let ended = done.iter().filter(|change| change.removes_the_name()).count();
    let records = |(zone, view): (&HostedZoneId, &ZoneView)| (zone.clone(), view.records());
    Pass {
        managed_names: (plan.managed() + begun).saturating_sub(ended),
        zone_records: world.zones.iter().map(records).collect(),
    }
}

/// What was read ahead. If that failed, what is needed of it is read one by one.
fn ahead<T: Default>(read: Result<T, AwsError>) -> T {
    read.unwrap_or_else(|error| {
        tracing::warn!(error = %error, "nothing could be read ahead");
        T::default()
    })
}

fn services(batch: &[&NameChange]) -> BTreeSet<ServiceArn> {
    batch.iter().flat_map(|change| change.services.iter().cloned()).collect()
}

/// The desires of a deregistration: that no service that holds a name should hold one.
fn no_names(
    zones: &BTreeMap<HostedZoneId, ZoneView>,
    owner: &Owner,
) -> BTreeMap<ServiceArn, Desire> {
    let wish = Wish::Nothing { reason: "everything was to be deregistered".into() };
    zones
        .values()
        .flat_map(|zone| zone.managed(owner))
        .map(|(_, managed)| (managed.service, Desire { created_at_ms: 0, wish: wish.clone() }))
        .collect()
}

//! One run: read, plan, check, apply, and look again, until nothing is left to do.
//!
//! The same path serves an event, the schedule and a person; the scope only limits what is
//! read. Concurrent runs need no lock: whoever comes second is refused by Route 53, and reads
//! again what the first one made.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use futures_util::try_join;
use tokio::time::Instant;

use crate::aws::AwsError;
use crate::config::Config;
use crate::desired::{Desire, Wish, desires};
use crate::dns::DnsName;
use crate::ecs::Ecs;
use crate::elb::{Elb, LoadBalancers};
use crate::plan::{NameChange, SafePlan, plan};
use crate::report::{ApiCalls, Changes, Outcomes, Report, ReportScope};
use crate::route53::{ChangeError, Route53};
use crate::service::{Home, HostedZoneId, Service, ServiceArn};
use crate::trigger::{Options, Scope, Trigger};
use crate::world::{Focus, Reads, World};
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
    pub route53: Route53,
}

/// What a run is to bring in order.
enum Task<'a> {
    Reconcile(&'a Scope),
    Deregister,
}

/// What came of a plan.
#[derive(Default)]
struct Applied {
    changes: Changes,
    refused: Vec<(BTreeSet<ServiceArn>, String)>,
    failed: Vec<(BTreeSet<ServiceArn>, String)>,
}

impl Reconciler {
    /// Does what a trigger asks for. From `stop_at` on it writes nothing more, and reports what
    /// is left as failed, so that the invocation is tried again.
    ///
    /// # Errors
    /// If something could not be read: then nothing was written that depended on it.
    pub async fn run(
        &self,
        trigger: &Trigger,
        home: &Home,
        stop_at: Instant,
    ) -> Result<Report, AwsError> {
        let owner = Owner { environment: self.config.environment.clone(), home: home.clone() };
        let (task, scope, options) = match trigger {
            Trigger::Ignore { reason } => {
                let reason = Some(reason.clone());
                return Ok(self.report(ReportScope::None, Options::default(), reason));
            }
            Trigger::Reconcile { scope, options } => {
                let report_scope = match scope {
                    Scope::Everything => ReportScope::All,
                    Scope::Service { .. } => ReportScope::Service,
                };
                (Task::Reconcile(scope), report_scope, *options)
            }
            Trigger::Deregister { options } => {
                (Task::Deregister, ReportScope::Deregister, *options)
            }
        };
        let done = self.rounds(&task, options, &owner, stop_at).await;
        // Also after an error: the counts are this run's, not the next one's.
        let report = self.report(scope, options, None);
        let (outcomes, changes) = done?;
        Ok(Report { outcomes: outcomes.into_vec(), changes, ..report })
    }

    fn report(&self, scope: ReportScope, options: Options, reason: Option<String>) -> Report {
        Report {
            environment: self.config.environment.clone(),
            scope,
            dry_run: options.dry_run,
            reason,
            outcomes: Vec::new(),
            changes: Changes::default(),
            api_calls: ApiCalls {
                ecs: self.ecs.calls.take(),
                elb: self.elb.calls.take(),
                route53: self.route53.calls.take(),
            },
        }
    }

    async fn rounds(
        &self,
        task: &Task<'_>,
        options: Options,
        owner: &Owner,
        stop_at: Instant,
    ) -> Result<(Outcomes, Changes), AwsError> {
        let mut outcomes = Outcomes::default();
        let mut changes = Changes::default();
        let mut written = BTreeSet::new();
        for round in 1..=MAX_ROUNDS {
            let (world, desires) = match task {
                Task::Reconcile(scope) => {
                    let world = self.observe(scope, &written, owner).await?;
                    let desires = desires(&world, &self.config);
                    (world, desires)
                }
                Task::Deregister => {
                    let zones = self.all_zones().await?;
                    let desires = no_names(&zones, owner);
                    (World { zones, ..World::default() }, desires)
                }
            };
            let limit = match task {
                Task::Reconcile(Scope::Everything) if !options.override_delete_limit => {
                    Some(self.config.delete_limit)
                }
                // ECS was asked about this very service, or a person asked for it.
                Task::Reconcile(_) | Task::Deregister => None,
            };
            let plan = plan(&desires, &world.zones, owner).check(limit);
            outcomes.add(plan.outcomes().iter().cloned());
            if options.dry_run {
                plan.changes().iter().for_each(|change| changes += change.count());
                return Ok((outcomes, changes));
            }

            // The next round looks there too: what this one writes may be undone by then.
            let places =
                plan.changes().iter().map(|change| (change.zone.clone(), change.name.clone()));
            written.extend(places);
            let applied = self.apply(&plan, stop_at).await;
            changes += applied.changes;
            for (services, reason) in &applied.failed {
                services.iter().for_each(|service| outcomes.fail(service, reason));
            }
            let moved = match task {
                Task::Reconcile(Scope::Service { .. }) if applied.changes != Changes::default() => {
                    self.changed_since(&world).await?
                }
                Task::Reconcile(_) | Task::Deregister => BTreeSet::new(),
            };
            if applied.refused.is_empty() && moved.is_empty() {
                break;
            }
            if round == MAX_ROUNDS {
                for (services, reason) in &applied.refused {
                    let reason = format!("{reason} ({MAX_ROUNDS} times in a row)");
                    services.iter().for_each(|service| outcomes.fail(service, &reason));
                }
                let reason = format!("ECS changed it {MAX_ROUNDS} times while it was registered");
                moved.iter().for_each(|service| outcomes.fail(service, &reason));
            }
        }
        Ok((outcomes, changes))
    }

    /// Reads until nothing is missing to decide about `scope`.
    async fn observe(
        &self,
        scope: &Scope,
        written: &BTreeSet<(HostedZoneId, DnsName)>,
        owner: &Owner,
    ) -> Result<World, AwsError> {
        let (mut world, focus) = match scope {
            Scope::Everything => {
                let focus = Focus { everything: true, ..Focus::default() };
                (self.read_everything(owner).await?, focus)
            }
            // Where environments share an account, each hears of the others' services. That
            // costs nothing; should it hold a name from another configuration's time, the next
            // full pass sees to it.
            Scope::Service { service, .. } if !self.config.has_cluster(service.cluster()) => {
                let services = BTreeMap::from([(service.clone(), Service::Outside)]);
                return Ok(World { services, ..World::default() });
            }
            Scope::Service { service, hint, retagged } => {
                let focus = Focus {
                    everything: false,
                    services: BTreeSet::from([service.clone()]),
                    names: written.clone(),
                    whole_zones: *retagged,
                };
                let mut world = World::default();
                let mut reads = world.missing(&focus, &self.config, owner);
                // What the event mentions and what is likely needed is read along: if it is
                // right, the record can be written after this one round trip.
                reads.target_groups.extend(hint.iter().cloned());
                let ((), balancers) =
                    try_join!(self.read(reads, &mut world), self.elb.first_load_balancers())?;
                world.load_balancers.extend(balancers);
                (world, focus)
            }
        };
        for _ in 0..MAX_READS {
            let reads = world.missing(&focus, &self.config, owner);
            if reads.is_empty() {
                return Ok(world);
            }
            self.read(reads, &mut world).await?;
        }
        Err(AwsError::new(
            "reading",
            format!("{scope:?}"),
            format!("after {MAX_READS} steps each still led to another; others are changing it"),
        ))
    }

    async fn read(&self, reads: Reads, world: &mut World) -> Result<(), AwsError> {
        let Reads { services, target_groups, load_balancers, names, zones } = reads;
        let (services, outside): (BTreeSet<_>, BTreeSet<_>) =
            services.into_iter().partition(|arn| self.config.has_cluster(arn.cluster()));
        let names = try_join_all(names.into_iter().map(async |(zone, name)| {
            let rrsets = self.route53.list_name(&zone, &name).await?;
            Ok((zone, name, rrsets))
        }));
        let (services, target_groups, load_balancers, names, zones) = try_join!(
            self.ecs.describe(&services),
            self.elb.target_groups(&target_groups),
            self.elb.load_balancers(&load_balancers),
            names,
            self.whole_zones(zones),
        )?;
        world.services.extend(services);
        world.services.extend(outside.into_iter().map(|arn| (arn, Service::Outside)));
        world.target_groups.extend(target_groups);
        world.load_balancers.extend(load_balancers);
        for (zone, name, rrsets) in names {
            world.zones.entry(zone).or_default().add(&name, rrsets);
        }
        world.zones.extend(zones);
        Ok(())
    }

    async fn read_everything(&self, owner: &Owner) -> Result<World, AwsError> {
        let services = async {
            let listed =
                self.ecs.list(&owner.home, |cluster| self.config.has_cluster(cluster)).await?;
            self.ecs.describe(&listed).await
        };
        let (services, target_groups, load_balancers, zones): (_, _, LoadBalancers, _) = try_join!(
            services,
            self.elb.all_target_groups(),
            self.elb.all_load_balancers(),
            self.all_zones(),
        )?;
        Ok(World { services, target_groups, load_balancers, zones })
    }

    async fn all_zones(&self) -> Result<BTreeMap<HostedZoneId, ZoneView>, AwsError> {
        self.whole_zones(self.config.zones().into_keys()).await
    }

    async fn whole_zones(
        &self,
        zones: impl IntoIterator<Item = HostedZoneId>,
    ) -> Result<BTreeMap<HostedZoneId, ZoneView>, AwsError> {
        let zones = try_join_all(zones.into_iter().map(async |zone| {
            let rrsets = self.route53.list_zone(&zone).await?;
            Ok((zone, ZoneView::whole(rrsets)))
        }));
        Ok(zones.await?.into_iter().collect())
    }

    /// The services that ECS describes otherwise than when they were read.
    ///
    /// This closes a race between two runs for one service:
    /// 1. the run for its creation reads it, alive;
    /// 2. it is deleted, and the run for that finds no record yet: nothing to do;
    /// 3. the first run writes the record, and no event will come that deletes it.
    async fn changed_since(&self, world: &World) -> Result<BTreeSet<ServiceArn>, AwsError> {
        let read = world.services.iter().filter(|(_, service)| **service != Service::Outside);
        let services: BTreeSet<ServiceArn> = read.map(|(arn, _)| arn.clone()).collect();
        let now = self.ecs.describe(&services).await?;
        let changed =
            now.into_iter().filter(|(arn, service)| world.services.get(arn) != Some(service));
        Ok(changed.map(|(arn, _)| arn).collect())
    }

    async fn apply(&self, plan: &SafePlan, stop_at: Instant) -> Applied {
        let mut applied = Applied::default();
        let mut work = plan.batches();
        work.reverse();
        while let Some(batch) = work.pop() {
            if Instant::now() >= stop_at {
                let reason = "there was no time left for it in this invocation".to_owned();
                applied.failed.push((services(batch), reason));
                continue;
            }
            match self.route53.change(batch).await {
                Ok(()) => batch.iter().for_each(|change| applied.changes += change.count()),
                // Whole or not at all: one change that is refused takes the batch with it, so
                // the halves are tried until only the refused ones are left.
                Err(ChangeError::Refused(_)) if batch.len() > 1 => {
                    let (left, right) = batch.split_at(batch.len() / 2);
                    work.extend([right, left]);
                }
                Err(error @ ChangeError::Refused(_)) => {
                    applied.refused.push((services(batch), error.to_string()));
                }
                Err(error @ ChangeError::Failed(_)) => {
                    applied.failed.push((services(batch), error.to_string()));
                }
            }
        }
        applied
    }
}

fn services(batch: &[NameChange]) -> BTreeSet<ServiceArn> {
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

//! Reads ECS, Elastic Load Balancing and Route 53 until nothing is missing for a decision.
//!
//! [`World::missing`] decides which reads those are. This module carries them out, as many at a time as
//! possible, and records failed reads as data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use futures_util::join;
use tokio::time::Instant;

use crate::aws::deadline::Deadline;
use crate::aws::elb::LoadBalancers;
use crate::aws::rate_limiter::Priority;
use crate::aws::route53::ListError;
use crate::aws::{Aws, AwsError};
use crate::domain::config::Config;
use crate::domain::desired::{DesiredState, desired};
use crate::domain::dns::{Rrset, load_balancer_name};
use crate::domain::service::{
    ClassicName, HostedZoneId, LoadBalancerRef, ReadError, Service, ServiceArn,
};
use crate::domain::trigger::{Reach, Scope, Targets};
use crate::domain::world::{LifecycleEvent, PendingReads, ReadScope, World};
use crate::domain::zone::{EnvironmentIdentity, ZoneName};
use crate::metrics;

/// The most steps of reading. Each step reads what the one before made necessary: the service, its target groups,
/// their load balancers, the holder of its name, the holder of that service's name, and so on. A chain of services
/// each of which needs the name of the next one takes two steps for each service, so the deadline ends a long chain.
/// This limit only ends a defect.
const MAX_STEPS: usize = 1_000;

/// How long after an event ECS may return the state before it. Lambda's second retry of an event comes after
/// this time, so that no event fails for good.
const CONSISTENCY_DELAY: Duration = Duration::from_secs(120);

/// The services that may get a name that becomes free.
#[derive(Default)]
pub(crate) struct Candidates {
    /// The services that should have each name.
    pub(crate) services: BTreeMap<ZoneName, BTreeSet<ServiceArn>>,
    /// The names that services have now. A service that gets another name loses them.
    pub(crate) held: BTreeMap<ServiceArn, Vec<ZoneName>>,
    /// The failed reads. Each of them may conceal a candidate.
    pub(crate) errors: Vec<String>,
}

/// The reads of one round of a run.
#[derive(Clone, Copy)]
pub(crate) struct Observer<'a> {
    pub(crate) config: &'a Config,
    pub(crate) aws: &'a Aws,
    pub(crate) identity: &'a EnvironmentIdentity,
    pub(crate) priority: Priority,
    pub(crate) now: SystemTime,
    /// When the reads of the round began.
    pub(crate) began: Instant,
    /// Reading ends early enough for the changes to be written. Each step takes at most half of the time that is left,
    /// so that one API that does not answer leaves time for what other services need.
    pub(crate) deadline: Deadline,
}

impl Observer<'_> {
    /// Reads everything that the services in `scope` depend on, and the names in `written`, which an
    /// earlier round of the same run changed.
    pub(crate) async fn observe(&self, scope: &Scope, written: &BTreeSet<ZoneName>) -> World {
        let mut world = match scope {
            Scope::FullPass(targets) => {
                let services = targets.services.clone();
                let scope = ReadScope { full_pass: true, services, ..ReadScope::default() };
                let mut world = self.complete(self.everything().await, &scope).await;
                self.reject_outdated(targets, &mut world);
                world
            }
            Scope::Services(targets) => self.targets(targets, written).await,
        };
        self.read_unknown_targets(&mut world).await;
        world
    }

    /// Finds out whether records have to stay during a deployment, because the load balancers still exist to which they
    /// lead.
    ///
    /// The DNS name of a load balancer contains its name, so one request finds most of them. If it finds none, only a
    /// list of all load balancers proves that it is gone.
    async fn read_unknown_targets(&self, world: &mut World) {
        let names = |world: &World| -> BTreeSet<String> {
            let targets = world.unknown_targets(self.identity);
            let names = targets.iter().filter_map(|(_, target)| load_balancer_name(target));
            names.map(str::to_owned).collect()
        };
        let found = names(world);
        if !found.is_empty() {
            let (elb, deadline) = (&self.aws.elb, self.deadline.half());
            let named = elb.named_load_balancers(&found, self.priority, deadline).await;
            world.load_balancers.extend(named);
        }
        let classic: BTreeSet<ClassicName> =
            names(world).into_iter().map(ClassicName::new).collect();
        if !classic.is_empty() {
            let (elb, deadline) = (&self.aws.elb_classic, self.deadline.half());
            let named = elb.load_balancers(&classic, self.priority, deadline).await;
            let existing = named.into_iter().filter(|(_, read)| matches!(read, Ok(Some(_))));
            world.classic.extend(existing);
        }
        if !world.unknown_targets(self.identity).is_empty() {
            self.read_all_load_balancers(world).await;
        }
    }

    /// Reads all load balancers of both generations. If that fails, nobody knows whether the load balancer of a record
    /// exists.
    async fn read_all_load_balancers(&self, world: &mut World) {
        let (all, classic) = join!(
            self.aws.elb.all_load_balancers(self.priority, self.deadline),
            self.aws.elb_classic.all_load_balancers(self.priority, self.deadline)
        );
        let error: Option<ReadError> = match (all, classic) {
            (Ok(all), Ok(classic)) => {
                // A load balancer whose description lacks a field may be the one that a record leads to.
                let unread = all.values().filter_map(|read| read.as_ref().err());
                let mut unread =
                    unread.chain(classic.values().filter_map(|read| read.as_ref().err()));
                let error = unread.next().cloned();
                world.load_balancers.extend(all);
                world.classic.extend(classic);
                error
            }
            (Err(error), _) | (_, Err(error)) => Some(error.into()),
        };
        if let Some(error) = error {
            let unknown = world.unknown_targets(self.identity);
            world.services.extend(unknown.into_iter().map(|(arn, _)| (arn, Err(error.clone()))));
        }
    }

    /// Reads services again.
    pub(crate) async fn services_again(&self, services: &BTreeSet<ServiceArn>) -> World {
        let services =
            self.aws.ecs.describe(services, self.now, self.priority, self.deadline).await;
        World { services, ..World::default() }
    }

    /// Reads services again, together with the load balancers that they had in `before`.
    pub(crate) async fn load_balancers_again(
        &self,
        services: &BTreeSet<ServiceArn>,
        before: &World,
    ) -> World {
        let classic = before.classic_names(services);
        let deadline = self.deadline.half();
        let (mut world, groups, all, classic) = join!(
            self.services_again(services),
            self.aws.elb.all_target_groups(self.priority, deadline),
            self.aws.elb.all_load_balancers(self.priority, deadline),
            self.aws.elb_classic.load_balancers(&classic, self.priority, deadline),
        );
        world.classic = classic;
        (world.target_groups, world.load_balancers) = (prefetched(groups), prefetched(all));
        for _ in 0..MAX_STEPS {
            let reads = world.missing_balancers();
            if reads.is_empty() {
                break;
            }
            self.read(reads, &mut world).await;
        }
        world
    }

    /// Lists the zones of a deregistration. A zone that does not exist has no records. If it counted as a
    /// failed read, nobody could destroy a stack whose zone is gone.
    pub(crate) async fn zones_to_empty(&self, zones: &BTreeSet<HostedZoneId>) -> World {
        let mut world = World::default();
        for (zone, rrsets) in self.list_zones(zones, self.deadline).await {
            let rrsets = match rrsets {
                Err(ListError::NoSuchZone(_)) => Ok(Vec::new()),
                other => other,
            };
            world.add_zone(zone, rrsets.map_err(Into::into));
        }
        for _ in 0..MAX_STEPS {
            let reads = world.unconfirmed(self.identity);
            if reads.is_empty() {
                break;
            }
            self.read(reads, &mut world).await;
        }
        world
    }

    /// The services that should have each name, among all services. Reading everything takes as many requests as a
    /// full pass, and has its priority.
    pub(crate) async fn candidates(&self) -> Candidates {
        let reader = Observer { priority: Priority::Background, ..*self };
        let world = reader.observe(&Scope::full_pass(), &BTreeSet::new()).await;
        let mut candidates = Candidates {
            held: world.names_held(self.identity),
            errors: world.service_read_errors(),
            ..Candidates::default()
        };
        for (service, desired) in desired(&world, self.config) {
            if let DesiredState::Record(record) = desired.state {
                candidates.services.entry(record.at()).or_default().insert(service);
            }
        }
        candidates
    }

    async fn targets(&self, targets: &Targets, written: &BTreeSet<ZoneName>) -> World {
        // Environments in one account receive events about each other's services. Those cost no request.
        // If such a service holds a name from an earlier configuration, the next full pass removes it.
        let (inside, outside): (BTreeSet<_>, BTreeSet<_>) =
            targets.services.iter().cloned().partition(|arn| self.includes(arn));
        let mut world = World::default();
        world.services.extend(outside.into_iter().map(|arn| (arn, Ok(Service::Outside))));
        if inside.is_empty() {
            return world;
        }
        let scope = ReadScope {
            full_pass: false,
            services: inside,
            names: written.clone(),
            retagged: targets.retagged.clone(),
            deleted: targets.deleted.clone(),
            reach: targets.reach.clone(),
        };
        // The event's load balancers and a small page of all load balancers are read along with the service. If they
        // suffice, the record is written after this one round trip. A deleted service needs no load balancer, and for
        // one of ECS's own events only the service is read first: most of them change nothing.
        let mut reads = world.missing(&scope, self.config, self.identity);
        for reference in &targets.hint {
            match reference {
                LoadBalancerRef::TargetGroup(arn) => drop(reads.target_groups.insert(arn.clone())),
                LoadBalancerRef::Classic(name) => drop(reads.classic.insert(name.clone())),
            }
        }
        let prefetch = async {
            let is_needless = |service| {
                scope.deleted.contains(service) || scope.reach.get(service) == Some(&Reach::Unmoved)
            };
            if scope.services.iter().all(is_needless) {
                return Ok(LoadBalancers::new());
            }
            self.aws.elb.first_load_balancers(self.priority, self.deadline.half()).await
        };
        let ((), balancers) = join!(self.read(reads, &mut world), prefetch);
        world.load_balancers.extend(prefetched(balancers));
        self.reject_outdated(targets, &mut world);
        self.complete(world, &scope).await
    }

    /// Rejects answers that contradict a recent event. An older event was delayed or repeated, and ECS's answer
    /// counts.
    fn reject_outdated(&self, targets: &Targets, world: &mut World) {
        for (service, at) in &targets.times {
            let Some(at) = metrics::parse_time(at) else { continue };
            let is_recent = match self.now.duration_since(at) {
                Ok(age) => age < CONSISTENCY_DELAY,
                Err(ahead) => ahead.duration() < CONSISTENCY_DELAY,
            };
            let (created, deleted) =
                (targets.created.contains(service), targets.deleted.contains(service));
            let since_1970 = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let at_ms = i64::try_from(since_1970.as_millis()).unwrap_or_default();
            let event = match (created, deleted) {
                (true, _) => LifecycleEvent::Created { at_ms },
                (false, true) => LifecycleEvent::Deleted { at_ms },
                (false, false) => continue,
            };
            if is_recent {
                world.reject_outdated(service, event);
            }
        }
    }

    /// Reads until nothing is missing.
    async fn complete(&self, mut world: World, scope: &ReadScope) -> World {
        for _ in 0..MAX_STEPS {
            let reads = world.missing(scope, self.config, self.identity);
            if reads.is_empty() {
                return world;
            }
            self.read(reads, &mut world).await;
        }
        world.read_errors.push(format!(
            "reading did not end after {MAX_STEPS} steps: every step led to another service or name"
        ));
        world
    }

    fn includes(&self, service: &ServiceArn) -> bool {
        self.config.has_cluster(service.cluster())
    }

    async fn read(&self, reads: PendingReads, world: &mut World) {
        let deadline = self.deadline.half();
        let PendingReads { services, target_groups, load_balancers, classic, names, zones } = reads;
        let (services, outside): (BTreeSet<_>, BTreeSet<_>) =
            services.into_iter().partition(|arn| self.includes(arn));
        let names = join_all(names.into_iter().map(async |(zone, name)| {
            let rrsets = self.aws.route53.list_name(&zone, &name, self.priority, deadline).await;
            (zone, name, rrsets)
        }));
        let (services, target_groups, load_balancers, classic, names, zones) = join!(
            self.aws.ecs.describe(&services, self.now, self.priority, deadline),
            self.aws.elb.target_groups(&target_groups, self.priority, deadline),
            self.aws.elb.load_balancers(&load_balancers, self.priority, deadline),
            self.aws.elb_classic.load_balancers(&classic, self.priority, deadline),
            names,
            self.list_zones(&zones, deadline),
        );
        world.services.extend(services);
        world.services.extend(outside.into_iter().map(|arn| (arn, Ok(Service::Outside))));
        world.target_groups.extend(target_groups);
        world.load_balancers.extend(load_balancers);
        world.classic.extend(classic);
        for (zone, name, rrsets) in names {
            note_inaccessible(world, &zone, &rrsets);
            world.add_name(zone, &name, rrsets.map_err(Into::into));
        }
        for (zone, rrsets) in zones {
            note_inaccessible(world, &zone, &rrsets);
            world.add_zone(zone, rrsets.map_err(Into::into));
        }
    }

    async fn everything(&self) -> World {
        let deadline = self.deadline.half();
        let services = async {
            let is_included = |cluster: &str| self.config.has_cluster(cluster);
            let location = &self.identity.location;
            let (listed, errors) =
                self.aws.ecs.list(location, is_included, self.priority, deadline.half()).await;
            (self.aws.ecs.describe(&listed, self.now, self.priority, deadline).await, errors)
        };
        let zones = self.config.zones().into_keys().collect();
        let ((services, errors), target_groups, load_balancers, zones, wrong_zones) = join!(
            services,
            self.aws.elb.all_target_groups(self.priority, deadline),
            self.aws.elb.all_load_balancers(self.priority, deadline),
            self.list_zones(&zones, deadline),
            self.wrong_zones(deadline),
        );
        let mut world = World {
            services,
            target_groups: prefetched(target_groups),
            load_balancers: prefetched(load_balancers),
            classic: BTreeMap::new(),
            zones: BTreeMap::new(),
            inaccessible_zones: BTreeSet::new(),
            read_errors: errors.iter().map(ToString::to_string).collect(),
        };
        for (zone, rrsets) in zones {
            note_inaccessible(&mut world, &zone, &rrsets);
            world.add_zone(zone, rrsets.map_err(Into::into));
        }
        for (zone, problem) in wrong_zones {
            world.inaccessible_zones.insert(zone.clone());
            // AWS's error about a list is more useful than the one about the check.
            if world.zones.get(&zone).is_some_and(|view| view.read_errors().next().is_none()) {
                world.add_zone(zone, Err(ReadError(problem)));
            }
        }
        world
    }

    /// The zones that cannot be used, each with the reason.
    async fn wrong_zones(&self, deadline: Deadline) -> Vec<(HostedZoneId, String)> {
        let zones = self.config.zones_to_check().into_iter();
        let checks = zones.map(async |(zone, (name, vpcs))| {
            let route53 = &self.aws.route53;
            let checked = route53.check(&zone, &name, &vpcs, self.priority, deadline).await;
            Some((zone, checked.err()?.to_string()))
        });
        join_all(checks).await.into_iter().flatten().collect()
    }

    /// Lists whole zones. That may take many requests, so it has the priority of a full pass, also in the run for an
    /// event.
    async fn list_zones(
        &self,
        zones: &BTreeSet<HostedZoneId>,
        deadline: Deadline,
    ) -> Vec<(HostedZoneId, Result<Vec<Rrset>, ListError>)> {
        join_all(zones.iter().map(async |zone| {
            (zone.clone(), self.aws.route53.list(zone, None, Priority::Background, deadline).await)
        }))
        .await
    }
}

fn note_inaccessible<T>(world: &mut World, zone: &HostedZoneId, read: &Result<T, ListError>) {
    if matches!(read, Err(ListError::NoSuchZone(_) | ListError::Rejected(_))) {
        world.inaccessible_zones.insert(zone.clone());
    }
}

/// The result of reading ahead. After a failure the needed parts are read one by one.
fn prefetched<T: Default>(read: Result<T, AwsError>) -> T {
    read.unwrap_or_else(|error| {
        tracing::warn!(error = %error, "prefetch failed; reading one by one instead");
        T::default()
    })
}

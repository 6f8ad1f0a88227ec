//! Everything that was read for one run, and the reads that are still missing for a decision.
//!
//! Reading continues until nothing is missing. This module determines the missing reads. `observe` carries them
//! out, all reads of one step at the same time.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::config::{Config, Mode, Register};
use crate::domain::dns::{DnsName, Rrset};
use crate::domain::service::{
    ClassicName, Gone, HostedZoneId, LoadBalancer, LoadBalancerArn, LoadBalancerRef, ReadError,
    ReadResult, Service, ServiceArn, TargetGroupArn,
};
use crate::domain::tags::Tags;
use crate::domain::trigger::Reach;
use crate::domain::zone::{EnvironmentIdentity, NameState, ZoneName, ZoneView};

/// The answers of ECS, Elastic Load Balancing and Route 53, and the errors in their place. A failed read
/// affects only decisions that depend on it.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub services: BTreeMap<ServiceArn, ReadResult<Service>>,
    /// The load balancers of each target group. `None` if the target group does not exist.
    pub target_groups: BTreeMap<TargetGroupArn, ReadResult<Option<Vec<LoadBalancerArn>>>>,
    /// `None` if the load balancer does not exist.
    pub load_balancers: BTreeMap<LoadBalancerArn, ReadResult<Option<LoadBalancer>>>,
    /// `None` if the load balancer does not exist.
    pub classic: BTreeMap<ClassicName, ReadResult<Option<LoadBalancer>>>,
    pub zones: BTreeMap<HostedZoneId, ZoneView>,
    /// Zones that cannot be read, and that a retry cannot read either.
    pub inaccessible_zones: BTreeSet<HostedZoneId>,
    /// Errors while listing services. A service that is on no list and holds no name is unknown to the run.
    pub read_errors: Vec<String>,
}

/// The part of the world that a run reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadScope {
    /// Whether the run reads all services and all managed names.
    pub full_pass: bool,
    pub services: BTreeSet<ServiceArn>,
    /// Names to read in addition to those of the services.
    pub names: BTreeSet<ZoneName>,
    /// Services whose tags changed. They may still have a name that comes from an earlier tag. The handler can
    /// find it only by its marker.
    pub retagged: BTreeSet<ServiceArn>,
    /// Services that were deleted according to an event. If such a service exists, it was created again, and may
    /// still have a name from an earlier tag.
    pub deleted: BTreeSet<ServiceArn>,
    /// Where the services may have a name. A service that is missing here may have one anywhere.
    pub reach: BTreeMap<ServiceArn, Reach>,
}

/// The event that began or ended a service's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifecycleEvent {
    Created {
        /// Milliseconds since 1970.
        at_ms: i64,
    },
    Deleted {
        /// Milliseconds since 1970.
        at_ms: i64,
    },
}

/// CloudTrail writes the time of an event in whole seconds. A service that was created in the second of its
/// deletion counts as created before it.
const EVENT_TIME_PRECISION_MS: i64 = 1_000;

/// A zone with more pending names than this is listed whole. A page has 300 record sets and a zone at most
/// 10,000, so that takes 34 requests at most, and 7 for a thousand services.
pub const LIST_ZONE_THRESHOLD: usize = 20;

/// With more zones than this, names are read in the zones of the service's load balancers only, and in the others if
/// the service may have a name there. That takes a round trip more than reading the name in all zones together with the
/// service. With this number of zones, an event causes at most two requests more than necessary instead.
pub const MAX_ZONES_AHEAD: usize = 3;

/// The reads that are still missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingReads {
    pub services: BTreeSet<ServiceArn>,
    pub target_groups: BTreeSet<TargetGroupArn>,
    pub load_balancers: BTreeSet<LoadBalancerArn>,
    pub classic: BTreeSet<ClassicName>,
    pub names: BTreeSet<ZoneName>,
    /// Zones to list whole.
    pub zones: BTreeSet<HostedZoneId>,
}

impl PendingReads {
    pub fn is_empty(&self) -> bool {
        *self == PendingReads::default()
    }
}

impl World {
    /// Adds the record sets of a whole zone.
    pub fn add_zone(&mut self, zone: HostedZoneId, rrsets: ReadResult<Vec<Rrset>>) {
        let view = self.zones.entry(zone).or_default();
        match rrsets {
            Ok(rrsets) => view.replace(ZoneView::whole(rrsets)),
            Err(error) => view.set_failed(error),
        }
    }

    /// Adds the record sets at one name and below it.
    pub fn add_name(&mut self, zone: HostedZoneId, name: &DnsName, rrsets: ReadResult<Vec<Rrset>>) {
        let view = self.zones.entry(zone).or_default();
        match rrsets {
            Ok(rrsets) => view.add(name, rrsets),
            Err(error) => view.add_failed(name, error),
        }
    }

    /// The errors of all failed reads, those about one service or load balancer included.
    pub fn all_read_errors(&self) -> Vec<String> {
        let zones = self.zones.values().flat_map(ZoneView::read_errors).map(ToString::to_string);
        self.service_read_errors().into_iter().chain(zones).collect()
    }

    /// The errors of all failed reads that may conceal a service or its load balancers.
    pub fn service_read_errors(&self) -> Vec<String> {
        fn errors<K, T>(reads: &BTreeMap<K, ReadResult<T>>) -> impl Iterator<Item = String> {
            reads.values().filter_map(|read| read.as_ref().err()).map(ToString::to_string)
        }
        let mut all = self.read_errors.clone();
        all.extend(errors(&self.services));
        all.extend(errors(&self.target_groups));
        all.extend(errors(&self.load_balancers));
        all.extend(errors(&self.classic));
        all
    }

    /// Errors while listing services and names. An error about one service or its load balancers is part
    /// of that service's outcome instead.
    pub fn read_errors(&self) -> Vec<String> {
        let zones = self.zones.values().flat_map(ZoneView::read_errors).map(ToString::to_string);
        self.read_errors.iter().cloned().chain(zones).collect()
    }

    /// Why a run may have missed a name of a service: a zone in which the service may have one cannot be read at the
    /// moment. If a retry cannot read the zone either, the service must not fail for it for ever.
    pub fn unread_zone(
        &self,
        service: &ServiceArn,
        reach: Reach,
        config: &Config,
    ) -> Option<&ReadError> {
        let own = match (reach, self.services.get(service)) {
            (Reach::New | Reach::Unmoved, Some(Ok(live @ Service::Live { .. }))) => {
                Some(self.zones_of(live, config))
            }
            _ => None,
        };
        let zones = self.zones.iter().filter(|(zone, _)| {
            !self.inaccessible_zones.contains(*zone)
                && own.as_ref().is_none_or(|own| own.contains_key(*zone))
        });
        zones.flat_map(|(_, view)| view.read_errors()).next()
    }

    /// Why nobody knows whether a service that is gone still has a name: none was found, and a zone cannot be read.
    pub fn concealed_name(
        &self,
        service: &ServiceArn,
        identity: &EnvironmentIdentity,
    ) -> Option<&ReadError> {
        let is_gone = matches!(self.services.get(service), Some(Ok(Service::Gone(_))));
        let error = || {
            let inaccessible =
                self.inaccessible_zones.iter().filter_map(|zone| self.zones.get(zone));
            inaccessible.flat_map(ZoneView::read_errors).next()
        };
        if is_gone && !self.holds_a_name(service, identity) { error() } else { None }
    }

    /// The names that services held when they were read.
    pub fn names_held(
        &self,
        identity: &EnvironmentIdentity,
    ) -> BTreeMap<ServiceArn, Vec<ZoneName>> {
        let mut held: BTreeMap<ServiceArn, Vec<ZoneName>> = BTreeMap::new();
        for (zone, view) in &self.zones {
            for (name, managed) in view.managed(identity) {
                held.entry(managed.service).or_default().push((zone.clone(), name.clone()));
            }
        }
        held
    }

    fn holds_a_name(&self, service: &ServiceArn, identity: &EnvironmentIdentity) -> bool {
        let mut managed = self.zones.values().flat_map(|zone| zone.managed(identity));
        managed.any(|(_, managed)| managed.service == *service)
    }

    /// Replaces the answer about a service by a failed read if it contradicts a recent event: for some seconds
    /// ECS may not return a service that was created, or still return one that was deleted.
    pub fn reject_outdated(&mut self, service: &ServiceArn, event: LifecycleEvent) {
        let Some(Ok(answer)) = self.services.get(service) else { return };
        let contradiction = match (event, answer) {
            (LifecycleEvent::Created { .. }, Service::Gone(Gone::Missing)) => {
                "ECS does not return the service yet, although it was created a moment ago"
            }
            (
                LifecycleEvent::Created { at_ms },
                Service::Gone(Gone::Draining { created_at_ms } | Gone::Inactive { created_at_ms }),
            ) if created_at_ms.saturating_add(EVENT_TIME_PRECISION_MS) < at_ms => {
                "ECS still returns the former service of this name, although it was created again a moment ago"
            }
            (LifecycleEvent::Deleted { at_ms }, Service::Live { created_at_ms, .. })
                if *created_at_ms < at_ms + EVENT_TIME_PRECISION_MS =>
            {
                "ECS still returns the service as alive, although it was deleted a moment ago"
            }
            _ => return,
        };
        self.services.insert(service.clone(), Err(ReadError(contradiction.into())));
    }

    /// The reads that are missing to decide the services in `scope`, and the services that hold a name
    /// which one of them may need.
    pub fn missing(
        &self,
        scope: &ReadScope,
        config: &Config,
        identity: &EnvironmentIdentity,
    ) -> PendingReads {
        let mut reads = PendingReads { names: scope.names.clone(), ..PendingReads::default() };
        let mut services: BTreeSet<&ServiceArn> = self.services.keys().collect();
        services.extend(&scope.services);
        for arn in &services {
            reads.names.extend(self.names(arn, scope, config, identity));
        }

        // Absence from a list is not treated as deletion: holders are described by name before anything is
        // deleted.
        let holders = self.holders(scope, &reads.names, identity);
        services.extend(&holders);

        for arn in services {
            match self.services.get(arn) {
                Some(Ok(Service::Gone(_) | Service::Outside) | Err(_)) => {}
                Some(Ok(Service::Live { load_balancers, .. })) => {
                    for reference in load_balancers {
                        self.missing_load_balancers(reference, &mut reads);
                    }
                }
                None => {
                    reads.services.insert(arn.clone());
                }
            }
        }
        let adoptable = self.zones_with_adoptable_names(&reads.names, config, identity);
        reads
            .names
            .retain(|(zone, name)| !self.zones.get(zone).is_some_and(|view| view.was_read(name)));
        for zone in config.zones().into_keys() {
            if reads.names.iter().filter(|(at, _)| *at == zone).count() > LIST_ZONE_THRESHOLD {
                reads.names.retain(|(at, _)| *at != zone);
                reads.zones.insert(zone);
            }
        }
        reads.zones.extend(adoptable);
        if self.may_hold_any_name(scope) || self.may_hold_another_name(scope, &reads, identity) {
            reads.zones.extend(config.zones().into_keys());
        }
        if reads.names.is_empty() {
            reads.zones.extend(self.zones_with_former_names(scope, config, identity));
        }
        let was_listed =
            |zone: &HostedZoneId| self.zones.get(zone).is_some_and(ZoneView::was_listed);
        reads.zones.retain(|zone| !was_listed(zone));
        let again = self.unconfirmed(identity);
        reads.zones.extend(again.zones);
        reads.names.extend(again.names);
        reads.names.retain(|(zone, _)| !reads.zones.contains(zone));
        reads
    }

    /// The reads that confirm that records are missing. Nothing is decided from a record and a marker that do not
    /// belong together.
    pub fn unconfirmed(&self, identity: &EnvironmentIdentity) -> PendingReads {
        let mut reads = PendingReads::default();
        for (zone, view) in &self.zones {
            let names: Vec<ZoneName> =
                view.unconfirmed(identity).map(|name| (zone.clone(), name.clone())).collect();
            if names.len() > LIST_ZONE_THRESHOLD {
                reads.zones.insert(zone.clone());
            } else {
                reads.names.extend(names);
            }
        }
        reads
    }

    /// The zones of unmarked records that lead to one of the load balancers. Such a record may be adopted, unless
    /// external-dns marks it somewhere else in its zone.
    fn zones_with_adoptable_names(
        &self,
        names: &BTreeSet<ZoneName>,
        config: &Config,
        identity: &EnvironmentIdentity,
    ) -> BTreeSet<HostedZoneId> {
        if !config.adopt {
            return BTreeSet::new();
        }
        let targets = self.targets();
        let is_adoptable = |(zone, name): &&ZoneName| {
            let state = self.zones.get(zone).and_then(|view| view.state(name, identity));
            let Some(NameState::Unmarked(records)) = state else { return false };
            records.iter().any(|record| record.leads_to().is_some_and(|to| targets.contains(&to)))
        };
        names.iter().filter(is_adoptable).map(|(zone, _)| zone.clone()).collect()
    }

    /// The holders of all managed names in a full pass, or of `names` otherwise.
    fn holders(
        &self,
        scope: &ReadScope,
        names: &BTreeSet<ZoneName>,
        identity: &EnvironmentIdentity,
    ) -> BTreeSet<ServiceArn> {
        if scope.full_pass {
            let managed = self.zones.values().flat_map(|zone| zone.managed(identity));
            return managed.map(|(_, managed)| managed.service).collect();
        }
        let holder = |(zone, name): &ZoneName| match self.zones.get(zone)?.state(name, identity)? {
            NameState::Managed(managed) => Some(managed.service),
            _ => None,
        };
        names.iter().filter_map(holder).collect()
    }

    /// The existing load balancers that a reference of a service leads to, in order.
    pub fn balancers(&self, reference: &LoadBalancerRef) -> ReadResult<Vec<&LoadBalancer>> {
        let not_read = || ReadError(format!("{reference} was not read"));
        match reference {
            LoadBalancerRef::Classic(name) => {
                let balancer = self.classic.get(name).ok_or_else(not_read)?.as_ref();
                Ok(balancer.map_err(ReadError::clone)?.iter().collect())
            }
            LoadBalancerRef::TargetGroup(group) => {
                let arns = self.target_groups.get(group).ok_or_else(not_read)?.as_ref();
                // By ARN, because AWS returns them in a changing order.
                let arns: BTreeSet<_> = arns.map_err(ReadError::clone)?.iter().flatten().collect();
                let mut balancers = Vec::new();
                for arn in arns {
                    let balancer = self.load_balancers.get(arn).ok_or_else(not_read)?.as_ref();
                    balancers.extend(balancer.map_err(ReadError::clone)?);
                }
                Ok(balancers)
            }
        }
    }

    /// The existing load balancers that the references of a service lead to.
    pub fn balancers_of(&self, service: &Service) -> ReadResult<Vec<&LoadBalancer>> {
        let Service::Live { load_balancers, .. } = service else { return Ok(Vec::new()) };
        let all: ReadResult<Vec<_>> =
            load_balancers.iter().map(|reference| self.balancers(reference)).collect();
        Ok(all?.concat())
    }

    /// Whether Elastic Load Balancing reports that a target group does not exist.
    pub fn is_missing(&self, group: &TargetGroupArn) -> bool {
        matches!(self.target_groups.get(group), Some(Ok(None)))
    }

    /// The DNS names of all load balancers that were read and that exist.
    pub fn targets(&self) -> BTreeSet<DnsName> {
        let all = self.load_balancers.values().chain(self.classic.values());
        all.filter_map(|balancer| balancer.as_ref().ok()?.as_ref())
            .filter(|balancer| !balancer.has_failed)
            .filter_map(|balancer| balancer.dns_name.clone())
            .collect()
    }

    /// The services that are being deployed and have a record whose target is none of the load balancers that were
    /// read, with these targets. Only another read tells whether that load balancer still exists.
    pub fn unknown_targets(&self, identity: &EnvironmentIdentity) -> Vec<(ServiceArn, DnsName)> {
        let is_deploying = |service: &ServiceArn| {
            matches!(self.services.get(service), Some(Ok(Service::Live { is_deploying: true, .. })))
        };
        let targets = self.targets();
        let managed = self.zones.values().flat_map(|zone| zone.managed(identity));
        managed
            .filter(|(_, managed)| is_deploying(&managed.service))
            .flat_map(|(_, managed)| {
                let found = managed.records.iter().filter_map(|rrset| rrset.leads_to());
                let unknown = found.filter(|target| !targets.contains(target));
                unknown.map(|target| (managed.service.clone(), target)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Whether a service may hold a name that neither its tags nor the template give.
    fn may_hold_any_name(&self, scope: &ReadScope) -> bool {
        let is_alive = |arn| matches!(self.services.get(arn), Some(Ok(Service::Live { .. })));
        let is_inside = |arn| !matches!(self.services.get(arn), Some(Ok(Service::Outside)));
        scope.retagged.iter().any(is_inside) || scope.deleted.iter().any(is_alive)
    }

    /// Whether a deleted service's record is not at its expected name. Its name may have come from a tag,
    /// which is gone with the service, so all zones are searched for its marker.
    fn may_hold_another_name(
        &self,
        scope: &ReadScope,
        reads: &PendingReads,
        identity: &EnvironmentIdentity,
    ) -> bool {
        reads.names.is_empty()
            && scope.services.iter().any(|arn| {
                matches!(self.services.get(arn), Some(Ok(Service::Gone(_))))
                    && scope.reach.get(arn) != Some(&Reach::Unattached)
                    && !self.holds_a_name(arn, identity)
            })
    }

    /// The zones in which a service may have a former name, which it kept while its new one had no load balancer: it is not
    /// new, and has no name where it should have one. In a large environment a name in a zone that the service has left
    /// waits for the next full pass.
    fn zones_with_former_names(
        &self,
        scope: &ReadScope,
        config: &Config,
        identity: &EnvironmentIdentity,
    ) -> BTreeSet<HostedZoneId> {
        if config.mode == Mode::Observe {
            return BTreeSet::new();
        }
        let is_free = |(zone, name): &ZoneName| {
            let state = self.zones.get(zone).and_then(|view| view.state(name, identity));
            matches!(state, Some(NameState::Free))
        };
        let is_nameless = |arn: &&ServiceArn| {
            let Some(Ok(Service::Live { tags, .. })) = self.services.get(*arn) else {
                return false;
            };
            let is_enabled = Tags::parse(tags)
                .is_ok_and(|tags| tags.enabled.unwrap_or(config.register == Register::All));
            is_enabled
                && matches!(scope.reach.get(*arn), Some(Reach::Unmoved | Reach::Anywhere))
                && !self.holds_a_name(arn, identity)
                // Without its new name the service keeps the former one.
                && self.names(arn, scope, config, identity).iter().any(is_free)
        };
        let mut zones = BTreeSet::new();
        for service in scope.services.iter().filter(is_nameless) {
            let Some(Ok(live)) = self.services.get(service) else { continue };
            let own = self.zones_of(live, config);
            if !own.is_empty() && config.zones().len() <= MAX_ZONES_AHEAD {
                return config.zones().into_keys().collect();
            }
            zones.extend(own.into_keys());
        }
        zones
    }

    /// The possible names of a service: the one from the template, which needs no read, and the one from
    /// its tag. A service outside of the scope holds a name that a service in the scope may need, so only the name
    /// that it should have instead matters. Otherwise each name from a template would lead to another holder.
    fn names(
        &self,
        arn: &ServiceArn,
        scope: &ReadScope,
        config: &Config,
        identity: &EnvironmentIdentity,
    ) -> BTreeSet<ZoneName> {
        let tagged = match self.services.get(arn) {
            Some(Ok(Service::Live { tags, .. })) => {
                Tags::parse(tags).ok().and_then(|tags| tags.name)
            }
            Some(Ok(Service::Outside)) => return BTreeSet::new(),
            // A holder that is gone needs no other name.
            Some(Ok(Service::Gone(_)) | Err(_)) if !scope.services.contains(arn) => {
                return BTreeSet::new();
            }
            Some(Ok(Service::Gone(_)) | Err(_)) | None => None,
        };
        let mut labels = BTreeSet::from([tagged.as_deref()]);
        if scope.services.contains(arn) {
            labels.insert(None);
        }
        let names_in = |zones: BTreeMap<HostedZoneId, DnsName>| {
            let mut names = BTreeSet::new();
            for (zone, zone_name) in zones {
                for label in labels.iter().copied() {
                    if let Ok(name) = config.name(arn, label, &zone_name) {
                        names.insert((zone.clone(), name));
                    }
                }
            }
            names
        };
        let zones = config.zones();
        let reach = match scope.services.contains(arn) {
            true => scope.reach.get(arn).copied().unwrap_or(Reach::Anywhere),
            // Only the name that it should have matters.
            false => Reach::New,
        };
        let reads_ahead = zones.len() <= MAX_ZONES_AHEAD;
        match (reach, self.services.get(arn)) {
            _ if scope.full_pass => names_in(zones),
            (Reach::Unmoved, None | Some(Err(_))) => BTreeSet::new(),
            (Reach::Unattached, _) if !reads_ahead => BTreeSet::new(),
            _ if reads_ahead => names_in(zones),
            (Reach::New, None | Some(Err(_))) => BTreeSet::new(),
            (Reach::New | Reach::Unmoved, Some(Ok(service @ Service::Live { .. }))) => {
                let names = names_in(self.zones_of(service, config));
                let is_missing = |(zone, name): &ZoneName| {
                    let state = self.zones.get(zone).and_then(|view| view.state(name, identity));
                    state.is_some_and(|state| match state {
                        NameState::Managed(managed) => managed.service != *arn,
                        _ => true,
                    })
                };
                if reach == Reach::Unmoved && !names.is_empty() && names.iter().all(is_missing) {
                    names_in(zones)
                } else {
                    names
                }
            }
            _ => names_in(zones),
        }
    }

    /// The zones of a service's load balancers, as far as these were read.
    fn zones_of(&self, service: &Service, config: &Config) -> BTreeMap<HostedZoneId, DnsName> {
        let Service::Live { load_balancers, .. } = service else { return BTreeMap::new() };
        let balancers = load_balancers.iter().filter_map(|one| self.balancers(one).ok()).flatten();
        let zones = balancers.filter_map(|balancer| config.zone(&balancer.vpc));
        zones.map(|zone| (zone.id.clone(), zone.name.clone())).collect()
    }

    /// The classic load balancers of services.
    pub fn classic_names(&self, services: &BTreeSet<ServiceArn>) -> BTreeSet<ClassicName> {
        let read = services.iter().filter_map(|arn| self.services.get(arn)?.as_ref().ok());
        let references = read.flat_map(|service| match service {
            Service::Live { load_balancers, .. } => load_balancers.as_slice(),
            Service::Gone(_) | Service::Outside => &[],
        });
        let classic = references.filter_map(|reference| match reference {
            LoadBalancerRef::Classic(name) => Some(name.clone()),
            LoadBalancerRef::TargetGroup(_) => None,
        });
        classic.collect()
    }

    /// The reads that are missing to know the load balancers of all services.
    pub fn missing_balancers(&self) -> PendingReads {
        let mut reads = PendingReads::default();
        for service in self.services.values() {
            if let Ok(Service::Live { load_balancers, .. }) = service {
                for reference in load_balancers {
                    self.missing_load_balancers(reference, &mut reads);
                }
            }
        }
        reads
    }

    fn missing_load_balancers(&self, reference: &LoadBalancerRef, reads: &mut PendingReads) {
        match reference {
            LoadBalancerRef::Classic(name) if !self.classic.contains_key(name) => {
                reads.classic.insert(name.clone());
            }
            LoadBalancerRef::Classic(_) => {}
            LoadBalancerRef::TargetGroup(group) => match self.target_groups.get(group) {
                None => {
                    reads.target_groups.insert(group.clone());
                }
                Some(Ok(balancers)) => {
                    let missing = balancers
                        .iter()
                        .flatten()
                        .filter(|arn| !self.load_balancers.contains_key(arn));
                    reads.load_balancers.extend(missing.cloned());
                }
                Some(Err(_)) => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{arn, cname, identity, marker, name};
    use crate::domain::service::{Scheme, VpcId};
    use insta::assert_snapshot;

    fn config() -> Config {
        let zone = r#"{"vpcId":"vpc-1","hostedZoneId":"Z1","name":"internal"}"#;
        let json = format!(r#"{{"environment":"dev","zones":[{zone}],"clusters":["dev","old"]}}"#);
        Config::parse(Some(&json)).expect("valid")
    }

    fn live(groups: &[&str]) -> ReadResult<Service> {
        let references = groups.iter().map(|group| match group.strip_prefix("classic:") {
            Some(name) => LoadBalancerRef::Classic(ClassicName::new(name)),
            None => LoadBalancerRef::TargetGroup(TargetGroupArn::new(*group)),
        });
        Ok(Service::Live {
            created_at_ms: 0,
            load_balancers: references.collect(),
            tags: BTreeMap::new(),
            uses_shared_ingress: false,
            is_deploying: false,
        })
    }

    fn check(world: &World) -> String {
        let services = BTreeSet::from([arn("dev/orders")]);
        let scope = ReadScope { services, ..ReadScope::default() };
        let PendingReads { services, target_groups, load_balancers, classic, names, zones } =
            world.missing(&scope, &config(), &identity());
        let mut all: Vec<String> = Vec::new();
        all.extend(services.iter().map(|arn| format!("{}/{}", arn.cluster(), arn.service())));
        all.extend(target_groups.iter().map(ToString::to_string));
        all.extend(load_balancers.iter().map(ToString::to_string));
        all.extend(classic.iter().map(|name| format!("classic {name}")));
        all.extend(names.iter().map(|(zone, name)| format!("{name} in {zone}")));
        all.extend(zones.iter().map(|zone| format!("all of {zone}")));
        all.join(", ")
    }

    #[test]
    fn reading_starts_with_the_service_and_its_name_and_follows_their_references() {
        let mut world = World::default();
        assert_snapshot!(check(&world), @"dev/orders, orders.internal in Z1");
        let name = name("orders");
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add(&name, vec![]);
        world.services.insert(arn("dev/orders"), live(&["tg"]));
        assert_snapshot!(check(&world), @"tg");
        let balancers = Ok(Some(vec![LoadBalancerArn::new("lb")]));
        world.target_groups.insert(TargetGroupArn::new("tg"), balancers);
        assert_snapshot!(check(&world), @"lb");
        world.load_balancers.insert(LoadBalancerArn::new("lb"), Ok(None));
        assert_snapshot!(check(&world), @"");
        world.services.insert(arn("dev/orders"), live(&["classic:old", "tg"]));
        assert_snapshot!(check(&world), @"classic old");
    }

    #[test]
    fn the_holder_of_the_name_is_described_by_name() {
        let mut world = World::default();
        let name = name("orders");
        let rrsets = vec![cname("orders", "lb"), marker("orders", "old/orders")];
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add(&name, rrsets);
        world.services.insert(arn("dev/orders"), live(&[]));
        assert_snapshot!(check(&world), @"old/orders");
    }

    #[test]
    fn the_name_from_a_tag_is_read_as_well() {
        let mut world = World::default();
        let tags = BTreeMap::from([("discovery:name".to_owned(), "shop".to_owned())]);
        let service = Service::Live {
            created_at_ms: 0,
            load_balancers: vec![],
            tags,
            uses_shared_ingress: false,
            is_deploying: false,
        };
        world.services.insert(arn("dev/orders"), Ok(service));
        assert_snapshot!(check(&world), @"orders.internal in Z1, shop.internal in Z1");
        // A holder outside of the scope matters only with the name that it should have.
        let tagged = world.services.remove(&arn("dev/orders")).expect("the service");
        world.services.extend([(arn("dev/orders"), live(&[])), (arn("dev/holder"), tagged)]);
        let rrsets = vec![cname("orders", "lb"), marker("orders", "holder")];
        let name = name("orders");
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add(&name, rrsets);
        assert_snapshot!(check(&world), @"shop.internal in Z1");
    }

    #[test]
    fn the_marker_of_a_deleted_service_is_searched_in_all_zones() {
        let mut world = World::default();
        world.services.insert(arn("dev/orders"), Ok(Service::Gone(Gone::Missing)));
        assert_snapshot!(check(&world), @"orders.internal in Z1");
        let name = name("orders");
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add(&name, vec![]);
        assert_snapshot!(check(&world), @"all of Z1");
        world.zones.insert(HostedZoneId::new("Z1"), ZoneView::whole(vec![]));
        assert_snapshot!(check(&world), @"");
    }

    #[test]
    fn with_many_zones_names_are_read_where_the_load_balancers_are_and_elsewhere_if_they_are_not_there()
     {
        let zone = |number: usize| {
            format!(r#"{{"vpcId":"vpc-{number}","hostedZoneId":"Z{number}","name":"internal"}}"#)
        };
        let zones = |number: usize| (1..=number).map(zone).collect::<Vec<_>>().join(",");
        let config = |number| {
            let zones = zones(number);
            let json = format!(r#"{{"environment":"dev","zones":[{zones}]}}"#);
            Config::parse(Some(&json)).expect("valid")
        };
        let reads = |world: &World, config: &Config, reach| {
            let services = BTreeSet::from([arn("dev/orders")]);
            let reach = BTreeMap::from([(arn("dev/orders"), reach)]);
            let scope = ReadScope { services, reach, ..ReadScope::default() };
            let names = world.missing(&scope, config, &identity()).names;
            names.iter().map(|(zone, _)| zone.to_string()).collect::<Vec<_>>().join(" ")
        };
        let mut world = World::default();
        let few = config(MAX_ZONES_AHEAD);
        for reach in [Reach::Unattached, Reach::New, Reach::Anywhere] {
            assert_eq!(reads(&world, &few, reach), "Z1 Z2 Z3", "few zones are read ahead");
        }
        assert_eq!(reads(&world, &few, Reach::Unmoved), "", "only ECS is read first");
        let many = config(4);
        assert_eq!(reads(&world, &many, Reach::New), "");
        assert_eq!(reads(&world, &many, Reach::Anywhere), "Z1 Z2 Z3 Z4");
        let balancer = LoadBalancer {
            name: "orders".into(),
            vpc: VpcId::new("vpc-2"),
            scheme: Scheme::Internal,
            dns_name: None,
            canonical_zone: None,
            dualstack: false,
            has_failed: false,
        };
        world.services.insert(arn("dev/orders"), live(&["tg"]));
        let balancers = Ok(Some(vec![LoadBalancerArn::new("lb")]));
        world.target_groups.insert(TargetGroupArn::new("tg"), balancers);
        assert_eq!(reads(&world, &many, Reach::New), "", "the load balancer is not read yet");
        assert_eq!(reads(&world, &few, Reach::Unmoved), "Z1 Z2 Z3");
        world.load_balancers.insert(LoadBalancerArn::new("lb"), Ok(Some(balancer)));
        assert_eq!(reads(&world, &many, Reach::New), "Z2");
        assert_eq!(reads(&world, &many, Reach::Unmoved), "Z2");
        let mut read = |rrsets| {
            world.zones.entry(HostedZoneId::new("Z2")).or_default().add(&name("orders"), rrsets);
            [Reach::New, Reach::Unmoved].map(|reach| reads(&world, &many, reach))
        };
        assert_eq!(read(vec![cname("orders", "lb"), marker("orders", "dev/orders")]), ["", ""]);
        assert_eq!(read(vec![cname("orders", "lb"), marker("orders", "dev/x")]), ["", "Z1 Z3 Z4"]);
        assert_eq!(read(vec![]), ["", "Z1 Z3 Z4"]);
        world.services.insert(arn("dev/orders"), live(&[]));
        assert_eq!(reads(&world, &few, Reach::Unmoved), "Z1 Z3");
        assert_eq!(reads(&world, &many, Reach::Unmoved), "", "it lost its name with a call");
        assert_eq!(reads(&world, &many, Reach::Anywhere), "Z1 Z3 Z4");
    }

    #[test]
    fn no_zone_is_searched_for_the_marker_of_a_service_without_load_balancers() {
        let mut world = World::default();
        world
            .services
            .insert(arn("dev/orders"), Ok(Service::Gone(Gone::Draining { created_at_ms: 0 })));
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add(&name("orders"), vec![]);
        let zones = |reach| {
            let services = BTreeSet::from([arn("dev/orders")]);
            let reach = BTreeMap::from([(arn("dev/orders"), reach)]);
            let scope = ReadScope { services, reach, ..ReadScope::default() };
            world.missing(&scope, &config(), &identity()).zones.len()
        };
        assert_eq!(zones(Reach::Unattached), 0);
        assert_eq!(zones(Reach::Anywhere), 1);
    }

    #[test]
    fn a_service_that_was_deleted_and_is_alive_may_hold_any_name() {
        let mut world = World::default();
        let services = BTreeSet::from([arn("dev/orders")]);
        let scope = ReadScope { deleted: services.clone(), services, ..ReadScope::default() };
        let zones = |world: &World| world.missing(&scope, &config(), &identity()).zones.len();
        assert_eq!(zones(&world), 0);
        world.services.insert(arn("dev/orders"), live(&[]));
        assert_eq!(zones(&world), 1);
    }

    #[test]
    fn an_answer_that_contradicts_a_recent_event_is_a_failed_read() {
        let after = |answer: Service, event| {
            let mut world = World::default();
            world.services.insert(arn("dev/orders"), Ok(answer));
            world.reject_outdated(&arn("dev/orders"), event);
            world.services.remove(&arn("dev/orders")).expect("an answer").is_err()
        };
        let live = |created_at_ms| match live(&[]) {
            Ok(Service::Live { load_balancers, tags, .. }) => {
                let (uses_shared_ingress, is_deploying) = (false, false);
                Service::Live {
                    created_at_ms,
                    load_balancers,
                    tags,
                    uses_shared_ingress,
                    is_deploying,
                }
            }
            other => panic!("{other:?}"),
        };
        let deleted = LifecycleEvent::Deleted { at_ms: 1_000 };
        let created = LifecycleEvent::Created { at_ms: 60_000 };
        assert!(after(Service::Gone(Gone::Missing), created));
        assert!(after(live(900), deleted));
        assert!(!after(live(900), created));
        assert!(after(live(1_900), deleted), "the event was sent at 1.9 s or before");
        assert!(!after(live(2_000), deleted), "it was created again");
        assert!(!after(Service::Gone(Gone::Missing), deleted));
        // A former service of the same name, and one that was deleted right after its creation.
        let inactive = |created_at_ms| Service::Gone(Gone::Inactive { created_at_ms });
        assert!(after(inactive(58_000), created));
        assert!(!after(inactive(59_500), created));
        assert!(!after(inactive(61_000), created));
    }

    #[test]
    fn many_names_in_one_zone_are_read_as_the_whole_zone() {
        let reads = |services: usize| {
            let services = (0..services).map(|number| arn(&format!("dev/service-{number}")));
            let scope = ReadScope { services: services.collect(), ..ReadScope::default() };
            let reads = World::default().missing(&scope, &config(), &identity());
            (reads.names.len(), reads.zones.len())
        };
        assert_eq!(reads(LIST_ZONE_THRESHOLD), (LIST_ZONE_THRESHOLD, 0));
        assert_eq!(reads(LIST_ZONE_THRESHOLD + 1), (0, 1));
    }

    #[test]
    fn a_failed_read_is_not_repeated() {
        let mut world = World::default();
        let denied = || ReadError("denied".into());
        let name = name("orders");
        world.services.insert(arn("dev/orders"), Err(denied()));
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add_failed(&name, denied());
        assert_snapshot!(check(&world), @"");
        world.services.insert(arn("dev/orders"), live(&["tg"]));
        world.target_groups.insert(TargetGroupArn::new("tg"), Err(denied()));
        assert_snapshot!(check(&world), @"");
    }

    #[test]
    fn listing_a_whole_zone_adds_its_holders_only_in_a_full_pass() {
        let mut world = World::default();
        let view = ZoneView::whole(vec![cname("web", "lb"), marker("web", "web")]);
        world.zones.insert(HostedZoneId::new("Z1"), view);
        world.services.insert(arn("dev/orders"), live(&[]));
        assert_snapshot!(check(&world), @"");
        let full_pass = ReadScope { full_pass: true, ..ReadScope::default() };
        let reads = world.missing(&full_pass, &config(), &identity());
        assert_eq!(reads.services, BTreeSet::from([arn("dev/web")]));
    }
}

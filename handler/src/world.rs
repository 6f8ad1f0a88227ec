//! All that was read for one run, and what has still to be read before it can be decided.
//!
//! Reading goes on until nothing is missing. Which reads those are is decided here, without
//! doing them, so that each round's reads can run side by side.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::dns::DnsName;
use crate::service::{
    Answer, Behind, ClassicName, HostedZoneId, LoadBalancer, LoadBalancerArn, Service, ServiceArn,
    TargetGroupArn, Unread,
};
use crate::tags::Tags;
use crate::zone::{Holding, Owner, ZoneView};

/// What ECS, Elastic Load Balancing and Route 53 said, or why they did not. A read that failed
/// stands for itself only: all that does not depend on it can be decided.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub services: BTreeMap<ServiceArn, Answer<Service>>,
    /// The load balancers behind each target group; empty if it has none, or does not exist.
    pub target_groups: BTreeMap<TargetGroupArn, Answer<Vec<LoadBalancerArn>>>,
    /// None if a load balancer does not exist.
    pub load_balancers: BTreeMap<LoadBalancerArn, Answer<Option<LoadBalancer>>>,
    /// None if a load balancer does not exist.
    pub classic: BTreeMap<ClassicName, Answer<Option<LoadBalancer>>>,
    pub zones: BTreeMap<HostedZoneId, ZoneView>,
    /// Why lists of services are not complete. A service that is on no list and holds no name is
    /// not known at all.
    pub gaps: Vec<String>,
}

/// What a run is about, as far as reading goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Focus {
    /// Whether it is about every service there is, and every name that is managed.
    pub everything: bool,
    pub services: BTreeSet<ServiceArn>,
    /// Names to look at, whatever leads there.
    pub names: BTreeSet<(HostedZoneId, DnsName)>,
    /// Services that may hold a name which nothing leads to any more, so that only all markers
    /// tell it.
    pub retagged: BTreeSet<ServiceArn>,
    /// Services of which an event said that they were deleted. One that lives was created again
    /// since, and may hold the name that a tag gave it before.
    pub deleted: BTreeSet<ServiceArn>,
}

/// With more names than this to look at in one zone, all of it is listed. A page has 300 record sets
/// and a zone 10,000 at most, so that takes 34 requests at most, and 7 for a thousand services.
pub const MANY_NAMES: usize = 20;

/// What has still to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub services: BTreeSet<ServiceArn>,
    pub target_groups: BTreeSet<TargetGroupArn>,
    pub load_balancers: BTreeSet<LoadBalancerArn>,
    pub classic: BTreeSet<ClassicName>,
    pub names: BTreeSet<(HostedZoneId, DnsName)>,
    /// Zones to list from beginning to end.
    pub zones: BTreeSet<HostedZoneId>,
}

impl Reads {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Reads::default()
    }
}

impl World {
    /// Why lists of services and names could not be read. Of services and what they stand behind
    /// it is told with each service.
    #[must_use]
    pub fn unread(&self) -> Vec<String> {
        let zones = self.zones.values().flat_map(ZoneView::unread).map(ToString::to_string);
        self.gaps.iter().cloned().chain(zones).collect()
    }

    /// What is missing to decide about the services in `focus`, and about every service that
    /// holds a name which one of them may want.
    #[must_use]
    pub fn missing(&self, focus: &Focus, config: &Config, owner: &Owner) -> Reads {
        let mut reads = Reads { names: focus.names.clone(), ..Reads::default() };
        let mut services: BTreeSet<&ServiceArn> = self.services.keys().collect();
        services.extend(&focus.services);
        for arn in &services {
            reads.names.extend(self.names(arn, config));
        }

        // A holder is described by name before anything is concluded from its absence.
        let holders: BTreeSet<ServiceArn> = if focus.everything {
            let managed = self.zones.values().flat_map(|zone| zone.managed(owner));
            managed.map(|(_, managed)| managed.service).collect()
        } else {
            let holding = |(zone, name): &(HostedZoneId, DnsName)| match self
                .zones
                .get(zone)?
                .holding(name, owner)?
            {
                Holding::Managed(managed) => Some(managed.service),
                _ => None,
            };
            reads.names.iter().filter_map(holding).collect()
        };
        services.extend(&holders);

        for arn in services {
            match self.services.get(arn) {
                Some(Ok(Service::Gone(_) | Service::Outside) | Err(_)) => {}
                Some(Ok(Service::Live { behind, .. })) => {
                    for behind in behind {
                        self.missing_behind(behind, &mut reads);
                    }
                }
                None => {
                    reads.services.insert(arn.clone());
                }
            }
        }
        reads.names.retain(|(zone, name)| {
            !self.zones.get(zone).is_some_and(|view| view.was_looked_at(name))
        });
        for zone in config.zones().into_keys() {
            if reads.names.iter().filter(|(at, _)| *at == zone).count() > MANY_NAMES {
                reads.names.retain(|(at, _)| *at != zone);
                reads.zones.insert(zone);
            }
        }
        if self.may_hold_any_name(focus) || self.looks_in_vain(focus, &reads, owner) {
            let listed =
                |zone: &HostedZoneId| self.zones.get(zone).is_some_and(ZoneView::was_listed);
            reads.zones = config.zones().into_keys().filter(|zone| !listed(zone)).collect();
            reads.names.retain(|(zone, _)| !reads.zones.contains(zone));
        }
        reads
    }

    /// The load balancers that a service stands behind at one of its places, in order. Empty if
    /// there are none, or none that exists.
    ///
    /// # Errors
    /// If that could not be read, or was not.
    pub fn balancers(&self, behind: &Behind) -> Answer<Vec<&LoadBalancer>> {
        let unasked = || Unread(format!("{behind} was not asked for"));
        match behind {
            Behind::Classic(name) => {
                let balancer = self.classic.get(name).ok_or_else(unasked)?.as_ref();
                Ok(balancer.map_err(Unread::clone)?.iter().collect())
            }
            Behind::TargetGroup(group) => {
                let arns = self.target_groups.get(group).ok_or_else(unasked)?.as_ref();
                let mut balancers = Vec::new();
                for arn in arns.map_err(Unread::clone)? {
                    let balancer = self.load_balancers.get(arn).ok_or_else(unasked)?.as_ref();
                    balancers.extend(balancer.map_err(Unread::clone)?);
                }
                Ok(balancers)
            }
        }
    }

    /// Whether a service may hold a name that neither its tags nor the template tell.
    fn may_hold_any_name(&self, focus: &Focus) -> bool {
        let lives = |arn| matches!(self.services.get(arn), Some(Ok(Service::Live { .. })));
        let inside = |arn| !matches!(self.services.get(arn), Some(Ok(Service::Outside)));
        focus.retagged.iter().any(inside) || focus.deleted.iter().any(lives)
    }

    /// Whether a service is gone, and nothing was found where its name should be: its name may
    /// have come from a tag, which is gone with it.
    fn looks_in_vain(&self, focus: &Focus, reads: &Reads, owner: &Owner) -> bool {
        let holds = |arn: &ServiceArn| {
            let mut managed = self.zones.values().flat_map(|zone| zone.managed(owner));
            managed.any(|(_, managed)| managed.service == *arn)
        };
        reads.names.is_empty()
            && focus.services.iter().any(|arn| {
                matches!(self.services.get(arn), Some(Ok(Service::Gone(_)))) && !holds(arn)
            })
    }

    /// Where a service's record may be: at the name that the template gives, known before the
    /// service is read, and at that which its tag asks for.
    fn names(&self, arn: &ServiceArn, config: &Config) -> BTreeSet<(HostedZoneId, DnsName)> {
        let tagged = match self.services.get(arn) {
            Some(Ok(Service::Live { tags, .. })) => {
                Tags::parse(tags).ok().and_then(|tags| tags.name)
            }
            Some(Ok(Service::Outside)) => return BTreeSet::new(),
            Some(Ok(Service::Gone(_)) | Err(_)) | None => None,
        };
        let mut names = BTreeSet::new();
        for (zone, zone_name) in config.zones() {
            for label in [None, tagged.as_deref()] {
                if let Ok(name) = config.name(arn, label, &zone_name) {
                    names.insert((zone.clone(), name));
                }
            }
        }
        names
    }

    fn missing_behind(&self, behind: &Behind, reads: &mut Reads) {
        match behind {
            Behind::Classic(name) if !self.classic.contains_key(name) => {
                reads.classic.insert(name.clone());
            }
            Behind::Classic(_) => {}
            Behind::TargetGroup(group) => match self.target_groups.get(group) {
                None => {
                    reads.target_groups.insert(group.clone());
                }
                Some(Ok(balancers)) => {
                    let unread =
                        balancers.iter().filter(|arn| !self.load_balancers.contains_key(arn));
                    reads.load_balancers.extend(unread.cloned());
                }
                Some(Err(_)) => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Rrset, Ttl};
    use crate::marker::{Marker, Stamp};
    use crate::service::{Gone, Home};
    use insta::assert_snapshot;

    fn config() -> Config {
        let zone = r#"{"vpcId":"vpc-1","hostedZoneId":"Z1","name":"internal"}"#;
        let json = format!(r#"{{"environment":"dev","zones":[{zone}],"clusters":["dev","old"]}}"#);
        Config::parse(Some(&json)).expect("valid")
    }

    fn owner() -> Owner {
        let home = Home::of_function("arn:aws:lambda:eu-west-1:111122223333:function:x");
        Owner {
            environment: "dev".into(),
            former_names: BTreeSet::from(["old-dev".into()]),
            home: home.expect("a function's ARN"),
        }
    }

    fn arn(service: &str) -> ServiceArn {
        let arn = format!("arn:aws:ecs:eu-west-1:111122223333:service/{service}");
        ServiceArn::parse(&arn).expect("a valid ARN")
    }

    fn live(groups: &[&str]) -> Answer<Service> {
        let behind = groups.iter().map(|group| match group.strip_prefix("classic:") {
            Some(name) => Behind::Classic(ClassicName::new(name)),
            None => Behind::TargetGroup(TargetGroupArn::new(*group)),
        });
        Ok(Service::Live { created_at_ms: 0, behind: behind.collect(), tags: BTreeMap::new() })
    }

    fn check(world: &World) -> String {
        let services = BTreeSet::from([arn("dev/orders")]);
        let focus = Focus { services, ..Focus::default() };
        let Reads { services, target_groups, load_balancers, classic, names, zones } =
            world.missing(&focus, &config(), &owner());
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
    fn reading_starts_with_the_service_and_its_name_and_follows_where_they_lead() {
        let mut world = World::default();
        assert_snapshot!(check(&world), @"dev/orders, orders.internal in Z1");
        let name = DnsName::parse("orders.internal").expect("valid");
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add(&name, vec![]);
        world.services.insert(arn("dev/orders"), live(&["tg"]));
        assert_snapshot!(check(&world), @"tg");
        let behind = Ok(vec![LoadBalancerArn::new("lb")]);
        world.target_groups.insert(TargetGroupArn::new("tg"), behind);
        assert_snapshot!(check(&world), @"lb");
        world.load_balancers.insert(LoadBalancerArn::new("lb"), Ok(None));
        assert_snapshot!(check(&world), @"");
        world.services.insert(arn("dev/orders"), live(&["classic:old", "tg"]));
        assert_snapshot!(check(&world), @"classic old");
    }

    #[test]
    fn a_holder_of_the_name_is_asked_for_by_name() {
        let mut world = World::default();
        let name = DnsName::parse("orders.internal").expect("valid");
        let marker = Marker { environment: "dev".into(), service: arn("old/orders") };
        let record = Rrset::cname(name.clone(), &name, Ttl::DEFAULT);
        let rrsets = vec![record, marker.rrset(&name, Stamp::default(), None)];
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add(&name, rrsets);
        world.services.insert(arn("dev/orders"), live(&[]));
        assert_snapshot!(check(&world), @"old/orders");
    }

    #[test]
    fn a_name_from_a_tag_is_looked_at_too() {
        let mut world = World::default();
        let tags = BTreeMap::from([("discovery:name".to_owned(), "shop".to_owned())]);
        let service = Service::Live { created_at_ms: 0, behind: vec![], tags };
        world.services.insert(arn("dev/orders"), Ok(service));
        assert_snapshot!(check(&world), @"orders.internal in Z1, shop.internal in Z1");
    }

    #[test]
    fn a_service_that_is_gone_is_looked_for_everywhere() {
        let mut world = World::default();
        world.services.insert(arn("dev/orders"), Ok(Service::Gone(Gone::Missing)));
        assert_snapshot!(check(&world), @"orders.internal in Z1");
        let name = DnsName::parse("orders.internal").expect("valid");
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add(&name, vec![]);
        assert_snapshot!(check(&world), @"all of Z1");
        world.zones.insert(HostedZoneId::new("Z1"), ZoneView::whole(vec![]));
        assert_snapshot!(check(&world), @"");
    }

    #[test]
    fn a_service_that_was_deleted_and_lives_may_hold_any_name() {
        let mut world = World::default();
        let services = BTreeSet::from([arn("dev/orders")]);
        let focus = Focus { deleted: services.clone(), services, ..Focus::default() };
        let zones = |world: &World| world.missing(&focus, &config(), &owner()).zones.len();
        assert_eq!(zones(&world), 0);
        world.services.insert(arn("dev/orders"), live(&[]));
        assert_eq!(zones(&world), 1);
    }

    #[test]
    fn many_names_in_one_zone_are_read_as_the_whole_zone() {
        let reads = |services: usize| {
            let services = (0..services).map(|number| arn(&format!("dev/service-{number}")));
            let focus = Focus { services: services.collect(), ..Focus::default() };
            let reads = World::default().missing(&focus, &config(), &owner());
            (reads.names.len(), reads.zones.len())
        };
        assert_eq!(reads(MANY_NAMES), (MANY_NAMES, 0));
        assert_eq!(reads(MANY_NAMES + 1), (0, 1));
    }

    #[test]
    fn what_could_not_be_read_is_not_asked_for_again() {
        let mut world = World::default();
        let denied = || Unread("denied".into());
        let name = DnsName::parse("orders.internal").expect("valid");
        world.services.insert(arn("dev/orders"), Err(denied()));
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add_unread(&name, denied());
        assert_snapshot!(check(&world), @"");
        world.services.insert(arn("dev/orders"), live(&["tg"]));
        world.target_groups.insert(TargetGroupArn::new("tg"), Err(denied()));
        assert_snapshot!(check(&world), @"");
    }

    #[test]
    fn other_services_of_a_zone_that_was_listed_whole_are_left_alone() {
        let mut world = World::default();
        let name = DnsName::parse("web.internal").expect("valid");
        let marker = Marker { environment: "dev".into(), service: arn("dev/web") };
        let record = Rrset::cname(name.clone(), &name, Ttl::DEFAULT);
        let view = ZoneView::whole(vec![record, marker.rrset(&name, Stamp::default(), None)]);
        world.zones.insert(HostedZoneId::new("Z1"), view);
        world.services.insert(arn("dev/orders"), live(&[]));
        assert_snapshot!(check(&world), @"");
        let everything = Focus { everything: true, ..Focus::default() };
        let reads = world.missing(&everything, &config(), &owner());
        assert_eq!(reads.services, BTreeSet::from([arn("dev/web")]));
    }
}

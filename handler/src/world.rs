//! All that was read for one run, and what has still to be read before it can be decided.
//!
//! Reading goes on until nothing is missing. Which reads those are is decided here, without
//! doing them, so that each round's reads can run side by side.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Config;
use crate::dns::DnsName;
use crate::service::{
    HostedZoneId, LoadBalancer, LoadBalancerArn, Service, ServiceArn, TargetGroupArn,
};
use crate::tags::Tags;
use crate::zone::{Holding, Owner, ZoneView};

/// What ECS, Elastic Load Balancing and Route 53 said.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub services: BTreeMap<ServiceArn, Service>,
    /// The load balancers behind each target group; empty if it has none, or does not exist.
    pub target_groups: BTreeMap<TargetGroupArn, Vec<LoadBalancerArn>>,
    /// None if a load balancer does not exist.
    pub load_balancers: BTreeMap<LoadBalancerArn, Option<LoadBalancer>>,
    pub zones: BTreeMap<HostedZoneId, ZoneView>,
}

/// What a run is about, as far as reading goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Focus {
    /// Whether it is about every service there is, and every name that is managed.
    pub everything: bool,
    pub services: BTreeSet<ServiceArn>,
    /// Names to look at, whatever leads there.
    pub names: BTreeSet<(HostedZoneId, DnsName)>,
    /// Whether a service may hold a name that nothing leads to any more, so that only all
    /// markers tell it.
    pub whole_zones: bool,
}

/// What has still to be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    pub services: BTreeSet<ServiceArn>,
    pub target_groups: BTreeSet<TargetGroupArn>,
    pub load_balancers: BTreeSet<LoadBalancerArn>,
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
                Holding::Free | Holding::Unmarked(_) | Holding::Foreign(_) => None,
            };
            reads.names.iter().filter_map(holding).collect()
        };
        services.extend(&holders);

        for arn in services {
            match self.services.get(arn) {
                Some(Service::Gone(_) | Service::Outside) => {}
                Some(Service::Live { target_groups, .. }) => {
                    for group in target_groups {
                        self.missing_behind(group, &mut reads);
                    }
                }
                None => {
                    reads.services.insert(arn.clone());
                }
            }
        }
        reads
            .names
            .retain(|(zone, name)| !self.zones.get(zone).is_some_and(|view| view.knows(name)));
        if focus.whole_zones || self.looks_in_vain(focus, &reads, owner) {
            let whole = |zone: &HostedZoneId| self.zones.get(zone).is_some_and(ZoneView::is_whole);
            reads.zones = config.zones().into_keys().filter(|zone| !whole(zone)).collect();
            reads.names.retain(|(zone, _)| !reads.zones.contains(zone));
        }
        reads
    }

    /// Whether a service is gone, and nothing was found where its name should be: its name may
    /// have come from a tag, which is gone with it.
    fn looks_in_vain(&self, focus: &Focus, reads: &Reads, owner: &Owner) -> bool {
        let holds = |arn: &ServiceArn| {
            let mut managed = self.zones.values().flat_map(|zone| zone.managed(owner));
            managed.any(|(_, managed)| managed.service == *arn)
        };
        reads.names.is_empty()
            && focus
                .services
                .iter()
                .any(|arn| matches!(self.services.get(arn), Some(Service::Gone(_))) && !holds(arn))
    }

    /// Where a service's record may be: at the name that the template gives, known before the
    /// service is read, and at that which its tag asks for.
    fn names(&self, arn: &ServiceArn, config: &Config) -> BTreeSet<(HostedZoneId, DnsName)> {
        let tagged = match self.services.get(arn) {
            Some(Service::Live { tags, .. }) => Tags::parse(tags).ok().and_then(|tags| tags.name),
            Some(Service::Gone(_) | Service::Outside) | None => None,
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

    fn missing_behind(&self, group: &TargetGroupArn, reads: &mut Reads) {
        let Some(balancers) = self.target_groups.get(group) else {
            reads.target_groups.insert(group.clone());
            return;
        };
        let unread = balancers.iter().filter(|arn| !self.load_balancers.contains_key(arn));
        reads.load_balancers.extend(unread.cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::{Rrset, Ttl};
    use crate::marker::Marker;
    use crate::service::{Gone, Home};
    use insta::assert_snapshot;

    fn config() -> Config {
        let zone = r#"{"vpcId":"vpc-1","hostedZoneId":"Z1","name":"internal"}"#;
        let json = format!(r#"{{"environment":"dev","zones":[{zone}],"clusters":["dev","old"]}}"#);
        Config::parse(Some(&json)).expect("valid")
    }

    fn owner() -> Owner {
        let home = Home::of_function("arn:aws:lambda:eu-west-1:111122223333:function:x");
        Owner { environment: "dev".into(), home: home.expect("a function's ARN") }
    }

    fn arn(service: &str) -> ServiceArn {
        let arn = format!("arn:aws:ecs:eu-west-1:111122223333:service/{service}");
        ServiceArn::parse(&arn).expect("a valid ARN")
    }

    fn live(groups: &[&str]) -> Service {
        let target_groups = groups.iter().map(|group| TargetGroupArn::new(*group)).collect();
        Service::Live { created_at_ms: 0, target_groups, tags: BTreeMap::new() }
    }

    fn check(world: &World) -> String {
        let services = BTreeSet::from([arn("dev/orders")]);
        let focus = Focus { services, ..Focus::default() };
        let Reads { services, target_groups, load_balancers, names, zones } =
            world.missing(&focus, &config(), &owner());
        let mut all: Vec<String> = Vec::new();
        all.extend(services.iter().map(|arn| format!("{}/{}", arn.cluster(), arn.service())));
        all.extend(target_groups.iter().map(ToString::to_string));
        all.extend(load_balancers.iter().map(ToString::to_string));
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
        world.target_groups.insert(TargetGroupArn::new("tg"), vec![LoadBalancerArn::new("lb")]);
        assert_snapshot!(check(&world), @"lb");
        world.load_balancers.insert(LoadBalancerArn::new("lb"), None);
        assert_snapshot!(check(&world), @"");
    }

    #[test]
    fn a_holder_of_the_name_is_asked_for_by_name() {
        let mut world = World::default();
        let name = DnsName::parse("orders.internal").expect("valid");
        let marker = Marker { environment: "dev".into(), service: arn("old/orders") };
        let record = Rrset::cname(name.clone(), &name, Ttl::DEFAULT);
        let rrsets = vec![record, marker.rrset(&name)];
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add(&name, rrsets);
        world.services.insert(arn("dev/orders"), live(&[]));
        assert_snapshot!(check(&world), @"old/orders");
    }

    #[test]
    fn a_name_from_a_tag_is_looked_at_too() {
        let mut world = World::default();
        let tags = BTreeMap::from([("discovery:name".to_owned(), "shop".to_owned())]);
        let service = Service::Live { created_at_ms: 0, target_groups: vec![], tags };
        world.services.insert(arn("dev/orders"), service);
        assert_snapshot!(check(&world), @"orders.internal in Z1, shop.internal in Z1");
    }

    #[test]
    fn a_service_that_is_gone_is_looked_for_everywhere() {
        let mut world = World::default();
        world.services.insert(arn("dev/orders"), Service::Gone(Gone::Missing));
        assert_snapshot!(check(&world), @"orders.internal in Z1");
        let name = DnsName::parse("orders.internal").expect("valid");
        world.zones.entry(HostedZoneId::new("Z1")).or_default().add(&name, vec![]);
        assert_snapshot!(check(&world), @"all of Z1");
        world.zones.insert(HostedZoneId::new("Z1"), ZoneView::whole(vec![]));
        assert_snapshot!(check(&world), @"");
    }

    #[test]
    fn other_services_of_a_zone_that_was_listed_whole_are_left_alone() {
        let mut world = World::default();
        let name = DnsName::parse("web.internal").expect("valid");
        let marker = Marker { environment: "dev".into(), service: arn("dev/web") };
        let record = Rrset::cname(name.clone(), &name, Ttl::DEFAULT);
        let view = ZoneView::whole(vec![record, marker.rrset(&name)]);
        world.zones.insert(HostedZoneId::new("Z1"), view);
        world.services.insert(arn("dev/orders"), live(&[]));
        assert_snapshot!(check(&world), @"");
        let everything = Focus { everything: true, ..Focus::default() };
        let reads = world.missing(&everything, &config(), &owner());
        assert_eq!(reads.services, BTreeSet::from([arn("dev/web")]));
    }
}

//! What the zone should hold for a service: the meeting of what AWS says and what the
//! environment's configuration wants.
//!
//! Decides name, zone and target. Does not know what the zone holds now.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::dns::{DnsName, Rrset, Ttl};
use crate::service::{Gone, HostedZoneId, LoadBalancer, Service, ServiceArn, TargetGroupArn};
use crate::world::World;

/// What a service should hold, and how old it is: among newcomers the older wins a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desire {
    pub created_at_ms: i64,
    pub wish: Wish,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Exactly this record, and no other.
    Record(Record),
    /// None: it lives, but is not to be registered.
    Nothing { reason: String },
    /// None: ECS says that it is gone.
    Gone(Gone),
    /// Whatever it holds now: what it should hold cannot be told yet.
    Waiting { reason: String },
    /// Whatever it holds now: what it asks for is not possible.
    Invalid { reason: String },
}

/// A record that a service should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub zone: HostedZoneId,
    pub name: DnsName,
    pub target: DnsName,
    pub ttl: Ttl,
}

impl Record {
    #[must_use]
    pub fn rrset(&self) -> Rrset {
        Rrset::cname(self.name.clone(), &self.target, self.ttl)
    }

    /// Whether a record says the same already, be it written a little differently.
    #[must_use]
    pub fn is_met_by(&self, rrset: &Rrset) -> bool {
        rrset.name == self.name
            && rrset.cname_target() == Some((self.target.clone(), self.ttl.seconds()))
    }
}

/// What each service of `world` should hold. All that they lead to must have been read before.
#[must_use]
pub fn desires(world: &World, config: &Config) -> BTreeMap<ServiceArn, Desire> {
    let desire = |arn: &ServiceArn, service: &Service| match service {
        Service::Gone(gone) => Desire { created_at_ms: 0, wish: Wish::Gone(*gone) },
        Service::Outside => Desire { created_at_ms: 0, wish: outside(arn) },
        Service::Live { created_at_ms, target_groups } => {
            Desire { created_at_ms: *created_at_ms, wish: wish(arn, target_groups, world, config) }
        }
    };
    world.services.iter().map(|(arn, service)| (arn.clone(), desire(arn, service))).collect()
}

fn outside(arn: &ServiceArn) -> Wish {
    let cluster = arn.cluster();
    Wish::Nothing { reason: format!("the cluster {cluster} is not one of this environment's") }
}

fn wish(arn: &ServiceArn, groups: &[TargetGroupArn], world: &World, config: &Config) -> Wish {
    if groups.is_empty() {
        return Wish::Nothing { reason: "the service has no load balancer".into() };
    }

    let mut candidates: Vec<&LoadBalancer> = Vec::new();
    let mut incomplete: Option<&TargetGroupArn> = None;
    for group in groups {
        let before = candidates.len();
        let arns = world.target_groups.get(group).into_iter().flatten();
        candidates.extend(arns.filter_map(|arn| world.load_balancers.get(arn)?.as_ref()));
        if candidates.len() == before {
            incomplete.get_or_insert(group);
        }
    }

    // The service's own order decides among equals: the sort is stable.
    let mut usable: Vec<_> = candidates
        .iter()
        .filter_map(|balancer| Some((balancer, config.zone(&balancer.vpc)?)))
        .collect();
    usable.sort_by_key(|(balancer, _)| balancer.scheme);

    let Some((balancer, zone)) = usable.first() else {
        return match incomplete {
            Some(group) => Wish::Waiting {
                reason: format!("the target group {group} has no load balancer yet"),
            },
            None => Wish::Nothing { reason: elsewhere(&candidates) },
        };
    };
    let Some(target) = &balancer.dns_name else {
        return Wish::Waiting {
            reason: format!("the load balancer {} has no DNS name yet", balancer.name),
        };
    };
    match config.name(arn, &zone.name) {
        Err(error) => Wish::Invalid { reason: error.to_string() },
        Ok(name) => Wish::Record(Record {
            zone: zone.id.clone(),
            name,
            target: target.clone(),
            ttl: config.ttl,
        }),
    }
}

fn elsewhere(candidates: &[&LoadBalancer]) -> String {
    let places: Vec<String> = candidates
        .iter()
        .map(|balancer| format!("{} in {}", balancer.name, balancer.vpc))
        .collect();
    format!(
        "no zone of this environment is for the VPC of its load balancer ({})",
        places.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{LoadBalancerArn, Scheme, VpcId};
    use insta::assert_snapshot;

    fn config() -> Config {
        Config::parse(Some(
            r#"{"environment":"dev","clusters":["dev*"],"nameTemplate":"{service}.{cluster}","zones":[
                {"vpcId":"vpc-1","hostedZoneId":"Z1","name":"internal"},
                {"vpcId":"vpc-2","hostedZoneId":"Z2","name":"internal"}]}"#,
        ))
        .expect("valid")
    }

    struct Balancers(World);

    impl Balancers {
        fn behind(group: &str, name: &str, vpc: &str, scheme: Scheme) -> Balancers {
            Balancers(World::default()).and(group, name, vpc, scheme)
        }

        fn and(mut self, group: &str, name: &str, vpc: &str, scheme: Scheme) -> Balancers {
            let arn = LoadBalancerArn::new(name);
            self.0.target_groups.entry(TargetGroupArn::new(group)).or_default().push(arn.clone());
            self.0.load_balancers.insert(
                arn,
                Some(LoadBalancer {
                    name: name.into(),
                    vpc: VpcId::new(vpc),
                    scheme,
                    dns_name: DnsName::parse(&format!("{name}.elb.amazonaws.com")).ok(),
                }),
            );
            self
        }

        fn without_dns_name(mut self) -> Balancers {
            for balancer in self.0.load_balancers.values_mut().flatten() {
                balancer.dns_name = None;
            }
            self
        }
    }

    fn check(service: &str, groups: &[&str], balancers: Balancers) -> String {
        let mut world = balancers.0;
        let arn = format!("arn:aws:ecs:eu-west-1:111122223333:service/{service}");
        let arn = ServiceArn::parse(&arn).expect("a valid ARN");
        let groups = groups.iter().map(|group| TargetGroupArn::new(*group)).collect();
        let service = Service::Live { created_at_ms: 7, target_groups: groups };
        world.services.insert(arn.clone(), service);
        match desires(&world, &config()).remove(&arn).expect("a desire for each service").wish {
            Wish::Record(record) => {
                format!("{} -> {} in {}", record.name, record.target, record.zone)
            }
            Wish::Nothing { reason } => format!("nothing: {reason}"),
            Wish::Gone(gone) => format!("gone: {gone}"),
            Wish::Waiting { reason } => format!("waiting: {reason}"),
            Wish::Invalid { reason } => format!("invalid: {reason}"),
        }
    }

    fn none() -> Balancers {
        Balancers(World::default())
    }

    #[test]
    fn the_vpc_of_the_load_balancer_chooses_the_zone() {
        let in_vpc = |vpc| {
            check("dev/orders", &["tg"], Balancers::behind("tg", "lb", vpc, Scheme::Internal))
        };
        assert_snapshot!(in_vpc("vpc-1"), @"orders.dev.internal -> lb.elb.amazonaws.com in Z1");
        assert_snapshot!(in_vpc("vpc-2"), @"orders.dev.internal -> lb.elb.amazonaws.com in Z2");
        assert_snapshot!(in_vpc("vpc-3"), @"nothing: no zone of this environment is for the VPC of its load balancer (lb in vpc-3)");
    }

    #[test]
    fn an_internal_load_balancer_is_preferred_then_the_first_listed() {
        let public = || Balancers::behind("tg1", "public", "vpc-1", Scheme::InternetFacing);
        assert_snapshot!(
            check("dev/orders", &["tg1", "tg2"], public().and("tg2", "inside", "vpc-1", Scheme::Internal)),
            @"orders.dev.internal -> inside.elb.amazonaws.com in Z1"
        );
        assert_snapshot!(
            check("dev/orders", &["tg2", "tg1"], Balancers::behind("tg1", "b", "vpc-1", Scheme::Internal).and("tg2", "a", "vpc-2", Scheme::Internal)),
            @"orders.dev.internal -> a.elb.amazonaws.com in Z2"
        );
        assert_snapshot!(
            check("dev/orders", &["tg1", "tg2"], public().and("tg2", "elsewhere", "vpc-9", Scheme::Internal)),
            @"orders.dev.internal -> public.elb.amazonaws.com in Z1"
        );
    }

    #[test]
    fn a_load_balancer_that_is_not_there_yet_is_waited_for() {
        assert_snapshot!(check("dev/orders", &["tg"], none()), @"waiting: the target group tg has no load balancer yet");
        assert_snapshot!(
            check("dev/orders", &["tg"], Balancers::behind("tg", "lb", "vpc-1", Scheme::Internal).without_dns_name()),
            @"waiting: the load balancer lb has no DNS name yet"
        );
        assert_snapshot!(
            check("dev/orders", &["tg", "tg2"], Balancers::behind("tg", "lb", "vpc-9", Scheme::Internal)),
            @"waiting: the target group tg2 has no load balancer yet"
        );
    }

    #[test]
    fn a_service_outside_the_environment_wants_nothing() {
        assert_snapshot!(check("dev/orders", &[], none()), @"nothing: the service has no load balancer");
        let arn = ServiceArn::parse("arn:aws:ecs:eu-west-1:111122223333:service/prod/orders");
        let wish = outside(&arn.expect("a valid ARN"));
        let reason = "the cluster prod is not one of this environment's".to_owned();
        assert_eq!(wish, Wish::Nothing { reason });
    }

    #[test]
    fn a_name_that_dns_forbids_is_invalid() {
        assert_snapshot!(
            check("dev/_orders", &["tg"], Balancers::behind("tg", "lb", "vpc-1", Scheme::Internal)),
            @r#"invalid: the name "-orders.dev" has the label "-orders", which starts or ends with -"#
        );
    }
}

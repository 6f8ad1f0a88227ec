//! What the zone should hold for a service: the meeting of what AWS says and what the
//! environment's configuration wants.
//!
//! Decides name, zone and target. Does not know what the zone holds now.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::dns::{DnsName, RecordData, RecordKind, RecordType, Rrset, Ttl};
use crate::service::{
    Answer, Behind, Gone, HostedZoneId, LoadBalancer, Service, ServiceArn, Unread,
};
use crate::tags::Tags;
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
    /// Whatever it holds now: AWS did not say what it should hold.
    Unread(Unread),
}

/// A record that a service should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub zone: HostedZoneId,
    pub name: DnsName,
    pub target: DnsName,
    pub form: Form,
}

/// How a record says where it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    Cname(Ttl),
    Alias {
        /// The zone that aliases to the load balancer have to name.
        zone: String,
        dualstack: bool,
    },
}

impl Record {
    #[must_use]
    pub fn rrsets(&self) -> Vec<Rrset> {
        match &self.form {
            Form::Cname(ttl) => vec![Rrset::cname(self.name.clone(), &self.target, *ttl)],
            Form::Alias { zone, dualstack } => {
                let types = [Some(RecordType::A), dualstack.then_some(RecordType::Aaaa)];
                let alias = |kind| Rrset::alias(self.name.clone(), kind, zone, &self.target);
                types.into_iter().flatten().map(alias).collect()
            }
        }
    }

    /// Whether records say the same already, be it written a little differently.
    #[must_use]
    pub fn is_met_by(&self, rrsets: &[Rrset]) -> bool {
        let says = |rrset: &Rrset| {
            let alias_zone = match &rrset.data {
                RecordData::Alias { zone, .. } => Some(zone.clone()),
                RecordData::Plain { .. } | RecordData::Special(_) => None,
            };
            let ttl = rrset.cname_target().map(|(_, ttl_seconds)| ttl_seconds);
            (rrset.record_type.clone(), rrset.leads_to(), alias_zone, ttl)
        };
        let said = |rrsets: &[Rrset]| {
            let mut all: Vec<_> = rrsets.iter().map(says).collect();
            all.sort();
            all
        };
        said(rrsets) == said(&self.rrsets())
    }

    /// Whether records that nobody marked lead there already: then making them ours changes
    /// nothing for anyone who resolves the name.
    #[must_use]
    pub fn may_adopt(&self, rrsets: &[Rrset]) -> bool {
        !rrsets.is_empty()
            && rrsets.iter().all(|rrset| rrset.leads_to().as_ref() == Some(&self.target))
    }
}

/// What each service of `world` should hold. All that they lead to must have been read before.
#[must_use]
pub fn desires(world: &World, config: &Config) -> BTreeMap<ServiceArn, Desire> {
    let desire = |arn: &ServiceArn, service: &Answer<Service>| match service {
        Err(why) => Desire { created_at_ms: 0, wish: Wish::Unread(why.clone()) },
        Ok(Service::Gone(gone)) => Desire { created_at_ms: 0, wish: Wish::Gone(*gone) },
        Ok(Service::Outside) => Desire { created_at_ms: 0, wish: outside(arn) },
        Ok(Service::Live { created_at_ms, behind, tags }) => {
            let wish = match Tags::parse(tags) {
                Ok(tags) => wish(arn, behind, &tags, world, config),
                Err(error) => Wish::Invalid { reason: error.to_string() },
            };
            Desire { created_at_ms: *created_at_ms, wish }
        }
    };
    world.services.iter().map(|(arn, service)| (arn.clone(), desire(arn, service))).collect()
}

fn outside(arn: &ServiceArn) -> Wish {
    let cluster = arn.cluster();
    Wish::Nothing { reason: format!("the cluster {cluster} is not one of this environment's") }
}

fn wish(arn: &ServiceArn, behind: &[Behind], tags: &Tags, world: &World, config: &Config) -> Wish {
    if tags.opted_out {
        return Wish::Nothing { reason: "its tag discovery:enabled says false".into() };
    }
    if behind.is_empty() {
        return Wish::Nothing { reason: "the service has no load balancer".into() };
    }

    let mut candidates: Vec<&LoadBalancer> = Vec::new();
    let mut incomplete: Option<&Behind> = None;
    for one in behind {
        match world.balancers(one) {
            // One that is not known may be the one that is preferred.
            Err(why) => return Wish::Unread(why),
            Ok(balancers) if balancers.is_empty() => {
                incomplete.get_or_insert(one);
            }
            Ok(balancers) => candidates.extend(balancers),
        }
    }
    let tagged = |balancer: &LoadBalancer| {
        tags.load_balancer.as_ref().is_none_or(|name| *name == balancer.name)
    };

    // The service's own order decides among equals: the sort is stable.
    let mut usable: Vec<_> = candidates
        .iter()
        .filter(|balancer| tagged(balancer))
        .filter_map(|balancer| Some((balancer, config.zone(&balancer.vpc)?)))
        .collect();
    usable.sort_by_key(|(balancer, _)| balancer.scheme);

    let Some((balancer, zone)) = usable.first() else {
        return match (incomplete, &tags.load_balancer) {
            (Some(Behind::TargetGroup(group)), _) => Wish::Waiting {
                reason: format!("the target group {group} has no load balancer yet"),
            },
            (Some(Behind::Classic(name)), _) => {
                Wish::Waiting { reason: format!("there is no classic load balancer {name} yet") }
            }
            (None, Some(name)) => Wish::Invalid {
                reason: format!(
                    "the tag discovery:load-balancer is {name:?}, and the service's load balancers \
                     are {}",
                    places(&candidates)
                ),
            },
            (None, None) => Wish::Nothing { reason: elsewhere(&candidates) },
        };
    };
    let Some(target) = &balancer.dns_name else {
        return Wish::Waiting {
            reason: format!("the load balancer {} has no DNS name yet", balancer.name),
        };
    };
    let form = match tags.record.unwrap_or(config.record) {
        RecordKind::Cname => Form::Cname(tags.ttl.unwrap_or(config.ttl)),
        RecordKind::Alias => match &balancer.canonical_zone {
            Some(zone) => Form::Alias { zone: zone.clone(), dualstack: balancer.dualstack },
            None => {
                return Wish::Waiting {
                    reason: format!(
                        "the load balancer {} has no zone for aliases yet",
                        balancer.name
                    ),
                };
            }
        },
    };
    match config.name(arn, tags.name.as_deref(), &zone.name) {
        Err(error) if tags.name.is_some() => {
            Wish::Invalid { reason: format!("the tag discovery:name: {error}") }
        }
        Err(error) => Wish::Invalid { reason: error.to_string() },
        Ok(name) => {
            Wish::Record(Record { zone: zone.id.clone(), name, target: target.clone(), form })
        }
    }
}

fn elsewhere(candidates: &[&LoadBalancer]) -> String {
    let places = places(candidates);
    format!("no zone of this environment is for the VPC of its load balancer ({places})")
}

fn places(candidates: &[&LoadBalancer]) -> String {
    let places: Vec<String> = candidates
        .iter()
        .map(|balancer| format!("{} in {}", balancer.name, balancer.vpc))
        .collect();
    places.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::{ClassicName, LoadBalancerArn, Scheme, TargetGroupArn, VpcId};
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

        /// Behind a target group, or itself where `behind` is `classic:` and its name.
        fn and(mut self, behind: &str, name: &str, vpc: &str, scheme: Scheme) -> Balancers {
            let balancer = LoadBalancer {
                name: name.into(),
                vpc: VpcId::new(vpc),
                scheme,
                canonical_zone: Some("ZLB".into()),
                dualstack: name.ends_with("-6"),
                dns_name: DnsName::parse(&format!("{name}.elb.amazonaws.com")).ok(),
            };
            match self::behind(behind) {
                Behind::Classic(name) => {
                    self.0.classic.insert(name, Ok(Some(balancer)));
                }
                Behind::TargetGroup(group) => {
                    let arn = LoadBalancerArn::new(name);
                    let arns = self.0.target_groups.entry(group).or_insert(Ok(Vec::new()));
                    arns.as_mut().expect("it was read").push(arn.clone());
                    self.0.load_balancers.insert(arn, Ok(Some(balancer)));
                }
            }
            self
        }

        fn without_dns_name(mut self) -> Balancers {
            for balancer in self.0.load_balancers.values_mut().flatten().flatten() {
                balancer.dns_name = None;
            }
            self
        }
    }

    fn behind(text: &str) -> Behind {
        match text.strip_prefix("classic:") {
            Some(name) => Behind::Classic(ClassicName::new(name)),
            None => Behind::TargetGroup(TargetGroupArn::new(text)),
        }
    }

    fn check(service: &str, groups: &[&str], balancers: Balancers) -> String {
        tagged(service, groups, balancers, &[])
    }

    fn tagged(
        service: &str,
        groups: &[&str],
        balancers: Balancers,
        tags: &[(&str, &str)],
    ) -> String {
        let mut world = balancers.0;
        let arn = format!("arn:aws:ecs:eu-west-1:111122223333:service/{service}");
        let arn = ServiceArn::parse(&arn).expect("a valid ARN");
        let behind = groups.iter().map(|group| behind(group)).collect::<Vec<_>>();
        for behind in &behind {
            // What nobody made was asked for, and is not there.
            match behind {
                Behind::TargetGroup(group) => {
                    world.target_groups.entry(group.clone()).or_insert(Ok(Vec::new()));
                }
                Behind::Classic(name) => {
                    world.classic.entry(name.clone()).or_insert(Ok(None));
                }
            }
        }
        let tags =
            tags.iter().map(|(key, value)| (format!("discovery:{key}"), (*value).to_owned()));
        let service = Service::Live { created_at_ms: 7, behind, tags: tags.collect() };
        world.services.insert(arn.clone(), Ok(service));
        match desires(&world, &config()).remove(&arn).expect("a desire for each service").wish {
            Wish::Record(record) => {
                let form = match &record.form {
                    Form::Cname(ttl) if *ttl == Ttl::DEFAULT => String::new(),
                    _ => format!(", {}", crate::zone::list(&record.rrsets())),
                };
                format!("{} -> {} in {}{form}", record.name, record.target, record.zone)
            }
            Wish::Nothing { reason } => format!("nothing: {reason}"),
            Wish::Gone(gone) => format!("gone: {gone}"),
            Wish::Waiting { reason } => format!("waiting: {reason}"),
            Wish::Invalid { reason } => format!("invalid: {reason}"),
            Wish::Unread(why) => format!("unread: {why}"),
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
    fn a_classic_load_balancer_is_a_candidate_like_any_other() {
        let classic = || Balancers::behind("classic:old", "old", "vpc-1", Scheme::Internal);
        assert_snapshot!(check("dev/orders", &["classic:old"], classic()), @"orders.dev.internal -> old.elb.amazonaws.com in Z1");
        assert_snapshot!(
            check("dev/orders", &["tg", "classic:old"], classic().and("tg", "public", "vpc-1", Scheme::InternetFacing)),
            @"orders.dev.internal -> old.elb.amazonaws.com in Z1"
        );
        assert_snapshot!(check("dev/orders", &["classic:old"], none()), @"waiting: there is no classic load balancer old yet");
    }

    #[test]
    fn a_read_that_failed_leaves_its_services_undecided() {
        let denied = || Unread("denied".into());
        let mut balancers = Balancers::behind("tg", "public", "vpc-1", Scheme::InternetFacing);
        balancers.0.target_groups.insert(TargetGroupArn::new("tg2"), Err(denied()));
        assert_snapshot!(check("dev/orders", &["tg", "tg2"], balancers), @"unread: denied");
        let mut balancers = Balancers::behind("tg", "lb", "vpc-1", Scheme::Internal);
        balancers.0.load_balancers.insert(LoadBalancerArn::new("lb"), Err(denied()));
        assert_snapshot!(check("dev/orders", &["tg"], balancers), @"unread: denied");
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

    #[test]
    fn tags_choose_name_ttl_record_and_load_balancer() {
        let one = || Balancers::behind("tg", "lb", "vpc-1", Scheme::Internal);
        let with = |tags: &[(&str, &str)]| tagged("dev/orders", &["tg"], one(), tags);
        assert_snapshot!(with(&[("name", "Shop.eu")]), @"shop.eu.internal -> lb.elb.amazonaws.com in Z1");
        assert_snapshot!(with(&[("record", "ALIAS")]), @"orders.dev.internal -> lb.elb.amazonaws.com in Z1, A alias to lb.elb.amazonaws.com.");
        assert_snapshot!(with(&[("enabled", "false")]), @"nothing: its tag discovery:enabled says false");
        let dualstack = Balancers::behind("tg", "lb-6", "vpc-1", Scheme::Internal);
        assert_snapshot!(
            tagged("dev/orders", &["tg"], dualstack, &[("record", "ALIAS")]),
            @"orders.dev.internal -> lb-6.elb.amazonaws.com in Z1, A alias to lb-6.elb.amazonaws.com. and AAAA alias to lb-6.elb.amazonaws.com."
        );
        let two = one().and("tg2", "public", "vpc-1", Scheme::InternetFacing);
        assert_snapshot!(
            tagged("dev/orders", &["tg", "tg2"], two, &[("load-balancer", "public")]),
            @"orders.dev.internal -> public.elb.amazonaws.com in Z1"
        );
    }

    #[test]
    fn a_tag_that_cannot_be_followed_is_invalid_and_named() {
        let one = || Balancers::behind("tg", "lb", "vpc-1", Scheme::Internal);
        let with = |tags: &[(&str, &str)]| tagged("dev/orders", &["tg"], one(), tags);
        assert_snapshot!(with(&[("name", "*")]), @r#"invalid: the tag discovery:name: the name "*" holds '*', and a label is made of a-z, 0-9 and -"#);
        assert_snapshot!(with(&[("ttl", "-1")]), @r#"invalid: the tag discovery:ttl is "-1", and it may be 1 to 86400 seconds"#);
        assert_snapshot!(with(&[("load-balancer", "other")]), @r#"invalid: the tag discovery:load-balancer is "other", and the service's load balancers are lb in vpc-1"#);
    }
}

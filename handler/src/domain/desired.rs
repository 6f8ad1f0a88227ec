//! The record that each service should have: its state in AWS, combined with the environment's
//! configuration and the service's tags.
//!
//! Decides name, zone, target and record type. Does not contain the current records of the zone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::config::{Config, Register};
use crate::domain::dns::{DnsName, RecordData, RecordKind, RecordType, Rrset, Ttl};
use crate::domain::service::{
    Gone, HostedZoneId, LoadBalancer, LoadBalancerRef, ReadError, ReadResult, Service, ServiceArn,
};
use crate::domain::tags::Tags;
use crate::domain::world::World;
use crate::domain::zone::ZoneName;

/// The desired state of a service, and its age: among new candidates for a name the older service wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub created_at_ms: i64,
    pub state: DesiredState,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DesiredState {
    /// The service should have exactly this record.
    Record(Record),
    /// The service exists, but should have no record.
    Nothing { reason: String, basis: Basis },
    /// No record: ECS reports that the service is gone.
    Gone(Gone),
    /// The current record stays: AWS has not finished creating the load balancer.
    Waiting { reason: String },
    /// The current record stays: the service's name or a tag is invalid.
    Invalid { reason: String },
    /// The current record stays: the state of the service in AWS is unknown.
    ReadFailed(ReadError),
}

/// The source of the fact that a service should have no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// ECS reports that the service is gone.
    Gone,
    /// ECS describes a service without load balancers, or with a tag that opts it out.
    Service,
    /// The environment's configuration or Elastic Load Balancing. ECS describes a service that is alive.
    Environment,
}

/// A record that a service should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub zone: HostedZoneId,
    pub name: DnsName,
    pub target: DnsName,
    pub form: Form,
    /// Whether an unmarked record with the same target may be taken over.
    pub adopts: bool,
    /// The load balancers that exist, while ECS starts the tasks of a deployment. A present record that leads to
    /// one of them stays until the deployment is completed, because the new load balancer may have no tasks yet.
    pub kept_targets: Arc<BTreeSet<DnsName>>,
}

/// How a record leads to its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    Cname(Ttl),
    Alias {
        /// The load balancer's canonical hosted zone, which an alias must contain.
        zone: String,
        dualstack: bool,
    },
}

impl Record {
    /// The zone and the name.
    pub fn at(&self) -> ZoneName {
        (self.zone.clone(), self.name.clone())
    }

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

    /// Whether `rrsets` are equivalent to this record. Upper case and a trailing dot make no difference.
    pub fn is_met_by(&self, rrsets: &[Rrset]) -> bool {
        let meaning = |rrset: &Rrset| {
            let alias = match &rrset.data {
                RecordData::Alias { zone, evaluates_health, .. } => {
                    Some((zone.clone(), *evaluates_health))
                }
                RecordData::Plain { .. } | RecordData::Special(_) => None,
            };
            let ttl = rrset.cname_target().map(|(_, ttl_seconds)| ttl_seconds);
            (rrset.record_type.clone(), rrset.leads_to(), alias, ttl)
        };
        let meanings = |rrsets: &[Rrset]| {
            let mut all: Vec<_> = rrsets.iter().map(meaning).collect();
            all.sort();
            all
        };
        meanings(rrsets) == meanings(&self.rrsets())
    }

    /// Whether the present records stay until a deployment is completed.
    pub fn waits_for_deployment(&self, rrsets: &[Rrset]) -> bool {
        !rrsets.is_empty()
            && rrsets.iter().all(|rrset| {
                rrset.leads_to().is_some_and(|target| {
                    target != self.target && self.kept_targets.contains(&target)
                })
            })
    }

    /// Whether unmarked records have the same target already. Taking them over changes nothing for a
    /// client that resolves the name.
    pub fn may_adopt(&self, rrsets: &[Rrset]) -> bool {
        self.adopts
            && !rrsets.is_empty()
            && rrsets.iter().all(|rrset| rrset.leads_to().as_ref() == Some(&self.target))
    }
}

/// The desired state of each service in `world`, which must contain everything that the services refer to.
pub fn desired(world: &World, config: &Config) -> BTreeMap<ServiceArn, Desired> {
    let is_deploying = |service: &ReadResult<Service>| {
        matches!(service, Ok(Service::Live { is_deploying: true, .. }))
    };
    let none = Arc::new(BTreeSet::new());
    let existing = match world.services.values().any(is_deploying) {
        true => Arc::new(world.targets()),
        false => Arc::clone(&none),
    };
    let desired = |arn: &ServiceArn, service: &ReadResult<Service>| match service {
        Err(error) => Desired { created_at_ms: 0, state: DesiredState::ReadFailed(error.clone()) },
        Ok(Service::Gone(gone)) => Desired { created_at_ms: 0, state: DesiredState::Gone(*gone) },
        Ok(Service::Outside) => Desired { created_at_ms: 0, state: outside(arn) },
        Ok(Service::Live { created_at_ms, uses_shared_ingress: true, .. }) => {
            Desired { created_at_ms: *created_at_ms, state: shared_ingress() }
        }
        Ok(Service::Live { created_at_ms, load_balancers, tags, is_deploying, .. }) => {
            let kept_targets = if *is_deploying { &existing } else { &none };
            let state = match Tags::parse(tags) {
                Ok(tags) => state(arn, load_balancers, &tags, world, config, kept_targets),
                Err(error) => DesiredState::Invalid { reason: error.to_string() },
            };
            Desired { created_at_ms: *created_at_ms, state }
        }
    };
    world.services.iter().map(|(arn, service)| (arn.clone(), desired(arn, service))).collect()
}

/// The names that services should have whose load balancers could not be read, each with one of the failed reads. Such a
/// name may be in any zone.
pub fn names_of_unread_balancers(
    desired: &BTreeMap<ServiceArn, Desired>,
    world: &World,
    config: &Config,
) -> BTreeMap<ZoneName, String> {
    let mut names = BTreeMap::new();
    for (arn, desired) in desired {
        let DesiredState::ReadFailed(error) = &desired.state else { continue };
        let Some(Ok(Service::Live { tags, .. })) = world.services.get(arn) else { continue };
        let label = Tags::parse(tags).ok().and_then(|tags| tags.name);
        for (zone, zone_name) in config.zones() {
            if let Ok(name) = config.name(arn, label.as_deref(), &zone_name) {
                names.entry((zone, name)).or_insert_with(|| format!("{arn}: {error}"));
            }
        }
    }
    names
}

fn outside(arn: &ServiceArn) -> DesiredState {
    let cluster = arn.cluster();
    DesiredState::Nothing {
        reason: format!("the cluster {cluster} does not belong to this environment"),
        basis: Basis::Environment,
    }
}

/// A name for such a service would resolve, but its requests would fail.
fn shared_ingress() -> DesiredState {
    let reason = "ECS manages the service's load balancer and shares it between services. It accepts \
                  HTTPS requests for ECS's own host names only, so a record that leads to it would not \
                  work. Use the service's URL from ECS, or create the service behind a load balancer of \
                  your own";
    DesiredState::Nothing { reason: reason.into(), basis: Basis::Service }
}

fn state(
    arn: &ServiceArn,
    references: &[LoadBalancerRef],
    tags: &Tags,
    world: &World,
    config: &Config,
    kept_targets: &Arc<BTreeSet<DnsName>>,
) -> DesiredState {
    match tags.enabled {
        Some(false) => {
            return DesiredState::Nothing {
                reason: "the tag discovery:enabled is false".into(),
                basis: Basis::Service,
            };
        }
        None if config.register == Register::Tagged => {
            return DesiredState::Nothing {
                reason:
                    "the environment registers only services with the tag discovery:enabled=true"
                        .into(),
                basis: Basis::Environment,
            };
        }
        Some(true) | None => {}
    }
    if references.is_empty() {
        return DesiredState::Nothing {
            reason: "the service has no load balancer of its own".into(),
            basis: Basis::Service,
        };
    }

    let mut balancers: Vec<&LoadBalancer> = Vec::new();
    let mut incomplete: Option<&LoadBalancerRef> = None;
    for reference in references {
        match world.balancers(reference) {
            // The load balancer that cannot be read may be the preferred one.
            Err(error) => return DesiredState::ReadFailed(error),
            Ok(found) if found.is_empty() => {
                incomplete.get_or_insert(reference);
            }
            Ok(found) => balancers.extend(found),
        }
    }
    let has_tagged_name = |balancer: &LoadBalancer| {
        tags.load_balancer.as_ref().is_none_or(|name| *name == balancer.name)
    };

    // Among equals the service's own order decides, because the sort is stable.
    let mut usable: Vec<_> = balancers
        .iter()
        .filter(|balancer| has_tagged_name(balancer) && !balancer.has_failed)
        .filter_map(|balancer| Some((balancer, config.zone(&balancer.vpc)?)))
        .collect();
    usable.sort_by_key(|(balancer, _)| balancer.scheme);

    let Some((balancer, zone)) = usable.first() else {
        if let Some(failed) = balancers.iter().find(|balancer| balancer.has_failed) {
            return DesiredState::Waiting {
                reason: format!("the load balancer {} is in the state failed", failed.name),
            };
        }
        return match (incomplete, &tags.load_balancer) {
            (Some(LoadBalancerRef::TargetGroup(group)), _) if world.is_missing(group) => {
                DesiredState::Waiting {
                    reason: format!("the target group does not exist: {group}"),
                }
            }
            (Some(LoadBalancerRef::TargetGroup(group)), _) => DesiredState::Waiting {
                reason: format!("the target group has no load balancer yet: {group}"),
            },
            (Some(LoadBalancerRef::Classic(name)), _) => DesiredState::Waiting {
                reason: format!("the classic load balancer {name} does not exist yet"),
            },
            (None, Some(name)) => DesiredState::Invalid {
                reason: format!(
                    "the tag discovery:load-balancer is {name:?}, but the service's load balancers \
                     are {}",
                    list(&balancers)
                ),
            },
            (None, None) => DesiredState::Nothing {
                reason: format!(
                    "no load balancer of the service is in a VPC with a zone of this environment: {}",
                    list(&balancers)
                ),
                basis: Basis::Environment,
            },
        };
    };
    let Some(target) = &balancer.dns_name else {
        return DesiredState::Waiting {
            reason: format!("the load balancer {} has no DNS name yet", balancer.name),
        };
    };
    let form = match tags.record.unwrap_or(config.record) {
        RecordKind::Cname => Form::Cname(tags.ttl.unwrap_or(config.ttl)),
        RecordKind::Alias => match &balancer.canonical_zone {
            Some(zone) => Form::Alias { zone: zone.clone(), dualstack: balancer.dualstack },
            None => {
                return DesiredState::Waiting {
                    reason: format!(
                        "the load balancer {} has no canonical hosted zone yet",
                        balancer.name
                    ),
                };
            }
        },
    };
    match config.name(arn, tags.name.as_deref(), &zone.name) {
        Err(error) if tags.name.is_some() => {
            DesiredState::Invalid { reason: format!("the tag discovery:name: {error}") }
        }
        Err(error) => DesiredState::Invalid { reason: error.to_string() },
        Ok(name) => DesiredState::Record(Record {
            zone: zone.id.clone(),
            name,
            target: target.clone(),
            form,
            adopts: config.adopt,
            kept_targets: Arc::clone(kept_targets),
        }),
    }
}

/// Load balancers with their VPCs.
fn list(balancers: &[&LoadBalancer]) -> String {
    let texts: Vec<String> =
        balancers.iter().map(|balancer| format!("{} in {}", balancer.name, balancer.vpc)).collect();
    texts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::service::{ClassicName, LoadBalancerArn, Scheme, TargetGroupArn, VpcId};
    use insta::assert_snapshot;

    fn config() -> Config {
        Config::parse(Some(
            r#"{"environment":"dev","clusters":["dev*"],"nameTemplate":"{service}.{cluster}","zones":[
                {"vpcId":"vpc-1","hostedZoneId":"Z1","name":"internal"},
                {"vpcId":"vpc-2","hostedZoneId":"Z2","name":"internal"}]}"#,
        ))
        .expect("valid")
    }

    #[derive(Clone)]
    struct Balancers(World);

    impl Balancers {
        fn new(of: &str, name: &str, vpc: &str, scheme: Scheme) -> Balancers {
            Balancers(World::default()).and(of, name, vpc, scheme)
        }

        /// Adds a load balancer of the target group `of`, or a classic one for `classic:NAME`.
        fn and(mut self, of: &str, name: &str, vpc: &str, scheme: Scheme) -> Balancers {
            let balancer = LoadBalancer {
                name: name.into(),
                vpc: VpcId::new(vpc),
                scheme,
                canonical_zone: Some("ZLB".into()),
                dualstack: name.ends_with("-6"),
                has_failed: name.starts_with("failed"),
                dns_name: DnsName::parse(&format!("{name}.elb.amazonaws.com")).ok(),
            };
            match reference(of) {
                LoadBalancerRef::Classic(name) => {
                    self.0.classic.insert(name, Ok(Some(balancer)));
                }
                LoadBalancerRef::TargetGroup(group) => {
                    let arn = LoadBalancerArn::new(name);
                    let arns = self.0.target_groups.entry(group).or_insert(Ok(Some(Vec::new())));
                    let arns = arns.as_mut().expect("a successful read");
                    arns.get_or_insert_default().push(arn.clone());
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

    fn reference(text: &str) -> LoadBalancerRef {
        match text.strip_prefix("classic:") {
            Some(name) => LoadBalancerRef::Classic(ClassicName::new(name)),
            None => LoadBalancerRef::TargetGroup(TargetGroupArn::new(text)),
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
        with_config(service, groups, balancers, tags, &config())
    }

    fn with_config(
        service: &str,
        groups: &[&str],
        balancers: Balancers,
        tags: &[(&str, &str)],
        config: &Config,
    ) -> String {
        let mut world = balancers.0;
        let arn = format!("arn:aws:ecs:eu-west-1:111122223333:service/{service}");
        let arn = ServiceArn::parse(&arn).expect("a valid ARN");
        let load_balancers: Vec<_> = groups.iter().map(|group| reference(group)).collect();
        for reference in &load_balancers {
            // A target group that the test did not add has no load balancer. A classic load balancer is missing.
            match reference {
                LoadBalancerRef::TargetGroup(group) => {
                    world.target_groups.entry(group.clone()).or_insert(Ok(Some(Vec::new())));
                }
                LoadBalancerRef::Classic(name) => {
                    world.classic.entry(name.clone()).or_insert(Ok(None));
                }
            }
        }
        let tags =
            tags.iter().map(|(key, value)| (format!("discovery:{key}"), (*value).to_owned()));
        let service = Service::Live {
            created_at_ms: 7,
            load_balancers,
            tags: tags.collect(),
            uses_shared_ingress: false,
            is_deploying: false,
        };
        world.services.insert(arn.clone(), Ok(service));
        match desired(&world, config).remove(&arn).expect("a desired state for each service").state
        {
            DesiredState::Record(record) => {
                let form = match &record.form {
                    Form::Cname(ttl) if *ttl == Ttl::DEFAULT => String::new(),
                    _ => format!(", {}", crate::domain::zone::list(&record.rrsets())),
                };
                format!("{} -> {} in {}{form}", record.name, record.target, record.zone)
            }
            DesiredState::Nothing { reason, .. } => format!("nothing: {reason}"),
            DesiredState::Gone(gone) => format!("gone: {gone}"),
            DesiredState::Waiting { reason } => format!("waiting: {reason}"),
            DesiredState::Invalid { reason } => format!("invalid: {reason}"),
            DesiredState::ReadFailed(error) => format!("read failed: {error}"),
        }
    }

    fn none() -> Balancers {
        Balancers(World::default())
    }

    #[test]
    fn the_vpc_of_the_load_balancer_chooses_the_zone() {
        let in_vpc =
            |vpc| check("dev/orders", &["tg"], Balancers::new("tg", "lb", vpc, Scheme::Internal));
        assert_snapshot!(in_vpc("vpc-1"), @"orders.dev.internal -> lb.elb.amazonaws.com in Z1");
        assert_snapshot!(in_vpc("vpc-2"), @"orders.dev.internal -> lb.elb.amazonaws.com in Z2");
        assert_snapshot!(in_vpc("vpc-3"), @"nothing: no load balancer of the service is in a VPC with a zone of this environment: lb in vpc-3");
    }

    #[test]
    fn an_internal_load_balancer_is_preferred_then_the_first_listed() {
        let public = || Balancers::new("tg1", "public", "vpc-1", Scheme::InternetFacing);
        assert_snapshot!(
            check("dev/orders", &["tg1", "tg2"], public().and("tg2", "inside", "vpc-1", Scheme::Internal)),
            @"orders.dev.internal -> inside.elb.amazonaws.com in Z1"
        );
        assert_snapshot!(
            check("dev/orders", &["tg2", "tg1"], Balancers::new("tg1", "b", "vpc-1", Scheme::Internal).and("tg2", "a", "vpc-2", Scheme::Internal)),
            @"orders.dev.internal -> a.elb.amazonaws.com in Z2"
        );
        assert_snapshot!(
            check("dev/orders", &["tg1", "tg2"], public().and("tg2", "elsewhere", "vpc-9", Scheme::Internal)),
            @"orders.dev.internal -> public.elb.amazonaws.com in Z1"
        );
    }

    #[test]
    fn a_service_waits_for_a_missing_load_balancer() {
        assert_snapshot!(check("dev/orders", &["tg"], none()), @"waiting: the target group has no load balancer yet: tg");
        assert_snapshot!(
            check("dev/orders", &["tg"], Balancers::new("tg", "lb", "vpc-1", Scheme::Internal).without_dns_name()),
            @"waiting: the load balancer lb has no DNS name yet"
        );
        assert_snapshot!(
            check("dev/orders", &["tg", "tg2"], Balancers::new("tg", "lb", "vpc-9", Scheme::Internal)),
            @"waiting: the target group has no load balancer yet: tg2"
        );
    }

    #[test]
    fn a_service_waits_for_a_target_group_that_was_deleted() {
        let mut gone = none();
        gone.0.target_groups.insert(TargetGroupArn::new("tg"), Ok(None));
        assert_snapshot!(check("dev/orders", &["tg"], gone.clone()), @"waiting: the target group does not exist: tg");
        assert_snapshot!(
            check("dev/orders", &["tg", "tg2"], gone.and("tg2", "lb", "vpc-1", Scheme::Internal)),
            @"orders.dev.internal -> lb.elb.amazonaws.com in Z1"
        );
    }

    #[test]
    fn a_service_with_a_shared_load_balancer_of_ecs_is_ignored() {
        let mut world = none().0;
        let arn = crate::domain::fixtures::arn("orders");
        let service = Service::Live {
            created_at_ms: 0,
            load_balancers: vec![reference("tg")],
            tags: BTreeMap::new(),
            uses_shared_ingress: true,
            is_deploying: false,
        };
        world.services.insert(arn.clone(), Ok(service));
        assert_eq!(desired(&world, &config())[&arn].state, shared_ingress());
    }

    #[test]
    fn a_failed_load_balancer_is_no_target() {
        let failed = || Balancers::new("tg", "failed", "vpc-1", Scheme::Internal);
        assert_snapshot!(check("dev/orders", &["tg"], failed()), @"waiting: the load balancer failed is in the state failed");
        assert_snapshot!(
            check("dev/orders", &["tg", "tg2"], failed().and("tg2", "lb", "vpc-1", Scheme::InternetFacing)),
            @"orders.dev.internal -> lb.elb.amazonaws.com in Z1"
        );
    }

    #[test]
    fn the_order_of_load_balancers_in_an_answer_does_not_matter() {
        let two = |first, second| {
            check(
                "dev/orders",
                &["tg"],
                Balancers::new("tg", first, "vpc-1", Scheme::Internal).and(
                    "tg",
                    second,
                    "vpc-1",
                    Scheme::Internal,
                ),
            )
        };
        assert_snapshot!(two("a", "b"), @"orders.dev.internal -> a.elb.amazonaws.com in Z1");
        assert_snapshot!(two("b", "a"), @"orders.dev.internal -> a.elb.amazonaws.com in Z1");
    }

    #[test]
    fn a_classic_load_balancer_is_a_candidate_like_any_other() {
        let classic = || Balancers::new("classic:old", "old", "vpc-1", Scheme::Internal);
        assert_snapshot!(check("dev/orders", &["classic:old"], classic()), @"orders.dev.internal -> old.elb.amazonaws.com in Z1");
        assert_snapshot!(
            check("dev/orders", &["tg", "classic:old"], classic().and("tg", "public", "vpc-1", Scheme::InternetFacing)),
            @"orders.dev.internal -> old.elb.amazonaws.com in Z1"
        );
        assert_snapshot!(check("dev/orders", &["classic:old"], none()), @"waiting: the classic load balancer old does not exist yet");
    }

    #[test]
    fn a_failed_read_leaves_the_desired_state_unknown() {
        let denied = || ReadError("denied".into());
        let mut balancers = Balancers::new("tg", "public", "vpc-1", Scheme::InternetFacing);
        balancers.0.target_groups.insert(TargetGroupArn::new("tg2"), Err(denied()));
        assert_snapshot!(check("dev/orders", &["tg", "tg2"], balancers), @"read failed: denied");
        let mut balancers = Balancers::new("tg", "lb", "vpc-1", Scheme::Internal);
        balancers.0.load_balancers.insert(LoadBalancerArn::new("lb"), Err(denied()));
        assert_snapshot!(check("dev/orders", &["tg"], balancers), @"read failed: denied");
    }

    #[test]
    fn a_service_without_load_balancer_or_outside_the_environment_has_no_record() {
        assert_snapshot!(check("dev/orders", &[], none()), @"nothing: the service has no load balancer of its own");
        let arn = ServiceArn::parse("arn:aws:ecs:eu-west-1:111122223333:service/prod/orders");
        let state = outside(&arn.expect("a valid ARN"));
        let reason = "the cluster prod does not belong to this environment".to_owned();
        assert_eq!(state, DesiredState::Nothing { reason, basis: Basis::Environment });
    }

    #[test]
    fn a_name_that_dns_forbids_is_invalid() {
        assert_snapshot!(
            check("dev/_orders", &["tg"], Balancers::new("tg", "lb", "vpc-1", Scheme::Internal)),
            @r#"invalid: the name "-orders.dev" has the label "-orders", which starts or ends with -"#
        );
    }

    #[test]
    fn an_environment_may_register_only_services_that_ask_for_it() {
        let mut config = config();
        config.register = Register::Tagged;
        let with = |tags: &[(&str, &str)]| {
            let balancers = Balancers::new("tg", "lb", "vpc-1", Scheme::Internal);
            with_config("dev/orders", &["tg"], balancers, tags, &config)
        };
        assert_snapshot!(with(&[("enabled", "true")]), @"orders.dev.internal -> lb.elb.amazonaws.com in Z1");
        for tags in [&[][..], &[("name", "shop")]] {
            assert_eq!(
                with(tags),
                "nothing: the environment registers only services with the tag discovery:enabled=true"
            );
        }
        assert_snapshot!(with(&[("enabled", "false")]), @"nothing: the tag discovery:enabled is false");
    }

    #[test]
    fn tags_choose_name_ttl_record_and_load_balancer() {
        let one = || Balancers::new("tg", "lb", "vpc-1", Scheme::Internal);
        let with = |tags: &[(&str, &str)]| tagged("dev/orders", &["tg"], one(), tags);
        assert_snapshot!(with(&[("name", "Shop.eu")]), @"shop.eu.internal -> lb.elb.amazonaws.com in Z1");
        assert_snapshot!(with(&[("name", "shop.eu.internal")]), @"shop.eu.internal -> lb.elb.amazonaws.com in Z1");
        assert_snapshot!(with(&[("record", "ALIAS")]), @"orders.dev.internal -> lb.elb.amazonaws.com in Z1, A alias to lb.elb.amazonaws.com.");
        assert_snapshot!(with(&[("enabled", "false")]), @"nothing: the tag discovery:enabled is false");
        let dualstack = Balancers::new("tg", "lb-6", "vpc-1", Scheme::Internal);
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
    fn an_invalid_tag_makes_the_service_invalid_and_is_named() {
        let one = || Balancers::new("tg", "lb", "vpc-1", Scheme::Internal);
        let with = |tags: &[(&str, &str)]| tagged("dev/orders", &["tg"], one(), tags);
        assert_snapshot!(with(&[("name", "*")]), @r#"invalid: the tag discovery:name: the name "*" contains '*'; a label consists of a-z, 0-9 and -"#);
        assert_snapshot!(with(&[("ttl", "-1")]), @r#"invalid: the tag discovery:ttl is "-1"; expected 1 to 86400 seconds"#);
        assert_snapshot!(with(&[("load-balancer", "other")]), @r#"invalid: the tag discovery:load-balancer is "other", but the service's load balancers are lb in vpc-1"#);
    }
}

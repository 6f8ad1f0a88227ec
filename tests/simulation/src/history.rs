//! Histories: from one seed an account, the acts of people in it, and the delivery of their events.
//!
//! Each history has a [`Theme`]. It makes some acts more frequent, because the rare combinations of acts break the
//! handler, not the rare acts.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::account::{
    Account, Attachment, EcsState, LOAD_BALANCER_ZONE, ServiceName, ServiceStatus,
    StoredLoadBalancer, StoredService, cluster_arn, dns_name, service_arn,
};
use crate::faults::{Denied, Faults, Subject};
use crate::lambda::FUNCTION_TIMEOUT;
use crate::oracle::EnvironmentConfig;
use crate::route53::{HostedZone, StoredRrset};
use crate::state::EPOCH;

/// The second and the third give the same host name, the fifth gives no valid one.
const SERVICES: [&str; 6] = ["orders", "Shop_API", "shop-api", "web", "odd_", "basket"];
const CLUSTERS: [&str; 2] = ["dev", "blue"];
const LOAD_BALANCERS: [&str; 6] = ["lb0", "lb1", "lb2", "lb3", "old0", "old1"];
const TARGET_GROUPS: [&str; 6] = ["tg0", "tg1", "tg2", "tg3", "tg4", "tg5"];

#[derive(Clone, Debug)]
pub struct History {
    pub seed: u64,
    pub theme: Theme,
    pub environments: Vec<EnvironmentConfig>,
    pub account: Account,
    pub faults: Faults,
    /// Route 53 rejects every change of this name, without a reason.
    pub rejected_name: Option<String>,
    /// Whether the events go through a queue.
    pub has_queue: bool,
    pub function_timeout: Duration,
    pub steps: Vec<Step>,
}

/// What most acts of a history are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Mixed,
    /// Many services that should have the same few names.
    Contest,
    /// Services that are updated while ECS deploys them.
    Deployments,
    /// Task sets of external deployments.
    TaskSets,
    /// Services that are created and deleted again and again.
    Churn,
    /// Established services that are deleted without events, and full passes.
    MassDeletion,
    /// Records of people and other tools at the names of services.
    Strangers,
    /// Invocations that have little time.
    ShortTime,
    /// Names and identities near their limits.
    LongNames,
    /// A zone with room for few records.
    FullZone,
    /// More services than fit into one change batch.
    Fleet,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub at_ms: u64,
    pub act: Act,
    pub delivery: EventDelivery,
}

#[derive(Clone, Debug)]
pub enum Act {
    CreateService {
        service: ServiceName,
        load_balancers: Vec<Attachment>,
        task_sets: Vec<(String, Vec<Attachment>)>,
        tags: Vec<(String, String)>,
        rollout: Rollout,
    },
    ReplaceLoadBalancers {
        service: ServiceName,
        load_balancers: Vec<Attachment>,
        rollout: Rollout,
    },
    /// An update without load balancers.
    Scale {
        service: ServiceName,
    },
    CreateTaskSet {
        service: ServiceName,
        load_balancers: Vec<Attachment>,
    },
    /// The task set at this position is deleted.
    DeleteTaskSet {
        service: ServiceName,
        index: usize,
    },
    /// The task set at this position becomes the primary one.
    SetPrimaryTaskSet {
        service: ServiceName,
        index: usize,
    },
    /// Without `value` the tag is removed.
    Tag {
        service: ServiceName,
        key: String,
        value: Option<String>,
    },
    DeleteService {
        service: ServiceName,
        drains_ms: u64,
    },
    /// A load balancer is created or replaced. Without `load_balancer` it is deleted.
    LoadBalancer {
        name: String,
        load_balancer: Option<StoredLoadBalancer>,
    },
    /// A target group gets another load balancer, or none.
    TargetGroup {
        name: String,
        load_balancer: Option<String>,
    },
    /// A person or another tool changes the records at a name.
    ChangeRecords {
        zone: String,
        name: String,
        change: RecordChange,
    },
    /// The environment is deployed with other settings. That ends with a full pass.
    Configure {
        environment: usize,
        template: String,
        alias: bool,
        ttl: i64,
    },
    /// Deregisters all zones of an environment, or one of them.
    Deregister {
        environment: usize,
        zone: Option<String>,
    },
    /// Started by the schedule, which does not repeat a failed one, or by a call of Elastic Load Balancing.
    FullPass {
        is_scheduled: bool,
    },
    Payload {
        text: String,
    },
}

/// The course of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rollout {
    /// ECS describes no deployment.
    Unknown,
    CompletesAfter {
        ms: u64,
    },
    /// It fails, and then ECS moves the service back to its former load balancers.
    FailsAfter {
        ms: u64,
        back_ms: u64,
    },
    /// It stays in progress.
    Hangs,
}

#[derive(Clone, Debug)]
pub enum RecordChange {
    /// Creates record sets, at the name or at that of its marker.
    Create(Vec<StoredRrset>),
    /// Deletes all records at the name, but not the marker.
    Delete,
    /// Changes the marker of a service.
    Tamper(Tampering),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tampering {
    SecondValue,
    UpperCase,
    Delete,
}

/// The delivery and the form of the events of one act.
#[derive(Clone, Debug, Default)]
pub struct EventDelivery {
    /// When each copy arrives, in milliseconds after the act. Empty if all copies are lost.
    pub arrives_ms: Vec<u64>,
    /// The event comes without its parameters.
    pub truncated: bool,
    pub with_arns: bool,
    pub with_response: bool,
    /// ECS sends an event in addition to CloudTrail's.
    pub with_ecs_event: bool,
}

/// The material of one history: the names in it, and the services that its acts have left alive.
struct Scene {
    theme: Theme,
    services: Vec<String>,
    clusters: Vec<String>,
    environments: Vec<EnvironmentConfig>,
    alive: BTreeSet<ServiceName>,
    /// The tags that services got, so that some of them are removed later.
    tags: Vec<(ServiceName, String)>,
}

impl History {
    /// The history of a seed.
    pub fn of(seed: u64) -> History {
        let rng = &mut Rng::with_seed(seed);
        let theme = theme(rng);
        let environments = environments(rng, theme);
        let mut scene = Scene {
            theme,
            services: services(rng, theme),
            clusters: CLUSTERS.map(str::to_owned).to_vec(),
            environments: environments.clone(),
            alive: BTreeSet::new(),
            tags: Vec::new(),
        };
        if theme == Theme::LongNames {
            scene.clusters[1] = format!("blue-{}", "x".repeat(rng.usize(50..250)));
        }
        let mut account = Account {
            ecs: EcsState { clusters: scene.clusters.clone(), ..EcsState::default() },
            ..Account::default()
        };
        for environment in &environments {
            for (_, id, name) in &environment.zones {
                account.zones.entry(id.clone()).or_insert_with(|| HostedZone::new(name));
            }
        }
        if theme == Theme::FullZone {
            for zone in account.zones.values_mut() {
                zone.max_rrsets = rng.usize(3..10);
            }
        }
        for name in LOAD_BALANCERS {
            if rng.u8(0..20) < 19 {
                account.load_balancers.insert(name.into(), load_balancer(rng, name));
            }
        }
        for (index, name) in TARGET_GROUPS.iter().enumerate() {
            if rng.u8(0..20) < 19 {
                let attached = (rng.u8(0..10) < 9).then(|| LOAD_BALANCERS[index % 4].to_owned());
                account.target_groups.insert((*name).into(), Vec::from_iter(attached));
            }
        }
        if theme == Theme::TaskSets {
            // Only the primary task set decides which of them the name leads to.
            for load_balancer in account.load_balancers.values_mut() {
                load_balancer.vpc = "vpc-1".into();
                load_balancer.internal = true;
            }
        }
        let is_established = match theme {
            Theme::MassDeletion | Theme::Fleet => true,
            Theme::Mixed | Theme::Contest | Theme::Deployments | Theme::LongNames => {
                rng.u8(0..3) == 0
            }
            _ => false,
        };
        if is_established {
            establish(rng, &mut scene, &mut account);
        }
        let faults = faults(rng, &scene);
        let rejected_name = (theme == Theme::Mixed && rng.u8(0..6) == 0).then(|| {
            format!("{}.internal.", rng.choice(["orders", "web", "basket"]).unwrap_or("web"))
        });
        let is_lossy = match theme {
            Theme::MassDeletion => true,
            Theme::TaskSets => false,
            _ => rng.u8(0..4) == 0,
        };
        let mut steps = Vec::new();
        if is_established {
            let delivery = EventDelivery { arrives_ms: vec![0], ..EventDelivery::default() };
            steps.push(Step { at_ms: 0, act: Act::FullPass { is_scheduled: false }, delivery });
        }
        let mut at_ms = if is_established { 20_000 } else { 0 };
        let count = if theme == Theme::Fleet { rng.usize(1..6) } else { rng.usize(3..14) };
        for _ in 0..count {
            // Most acts overlap with the runs of the act before, some come much later.
            at_ms += match rng.u8(0..10) {
                0..=4 => rng.u64(0..300),
                5..=8 => rng.u64(0..5_000),
                _ => rng.u64(0..90_000),
            };
            let act = scene.act(rng);
            let mut delivery = delivery(rng, &act, is_lossy);
            // A full pass in the place of an unreadable event does not know what ECS has to describe.
            delivery.truncated &= faults.visible_ms == 0;
            steps.push(Step { at_ms, act, delivery });
        }
        let has_queue = rng.u8(0..if theme == Theme::Churn { 2 } else { 3 }) == 0;
        let function_timeout = match theme {
            Theme::ShortTime => Duration::from_millis(rng.u64(13_000..30_000)),
            _ => FUNCTION_TIMEOUT,
        };
        History {
            seed,
            theme,
            environments,
            account,
            faults,
            rejected_name,
            has_queue,
            function_timeout,
            steps,
        }
    }

    /// Whether invariant 2 applies: every event arrives and is correct, and every change is possible.
    pub fn is_fully_reported(&self) -> bool {
        let has_loss = self.steps.iter().any(|step| {
            step.delivery.arrives_ms.is_empty() || matches!(step.act, Act::Deregister { .. })
        });
        // No event reports the services that exist from the beginning.
        let begins_with_full_pass =
            self.steps.first().is_some_and(|step| matches!(step.act, Act::FullPass { .. }));
        !has_loss
            && (self.account.ecs.services.is_empty() || begins_with_full_pass)
            && self.faults.stale_ms == 0
            // A full pass does not see a service that a list omits.
            && self.faults.incomplete == 0
            && self.faults.denied.is_none()
            && self.rejected_name.is_none()
            && self.theme != Theme::FullZone
    }
}

fn theme(rng: &mut Rng) -> Theme {
    match rng.u8(0..100) {
        0..=29 => Theme::Mixed,
        30..=44 => Theme::Contest,
        45..=54 => Theme::Deployments,
        55..=59 => Theme::TaskSets,
        60..=69 => Theme::Churn,
        70..=77 => Theme::MassDeletion,
        78..=87 => Theme::Strangers,
        88..=91 => Theme::ShortTime,
        92..=95 => Theme::LongNames,
        96..=98 => Theme::FullZone,
        _ => Theme::Fleet,
    }
}

fn environments(rng: &mut Rng, theme: Theme) -> Vec<EnvironmentConfig> {
    // Two environments with one zone are not recommended, but they must be safe.
    let kind = rng.u8(0..6);
    let is_shared = kind == 0;
    let has_many_zones = kind < 3;
    let has_cluster = theme != Theme::Contest && rng.u8(0..4) == 0;
    let template = if rng.u8(0..4) == 0 { "{service}.{cluster}" } else { "{service}" };
    let delete_limit = match theme {
        Theme::MassDeletion => [(3, 30), (0, 33), (0, 16), (1, 14), (0, 66)][rng.usize(0..5)],
        _ => (3, 30),
    };
    let mut environment = |name: &str, zones: &[(&str, &str, &str)]| EnvironmentConfig {
        name: name.into(),
        zones: zones
            .iter()
            .map(|(vpc, id, zone)| ((*vpc).into(), (*id).into(), (*zone).into()))
            .collect(),
        cluster: (has_cluster && name == "dev").then(|| "dev".into()),
        template: template.into(),
        alias: rng.u8(0..if theme == Theme::Strangers { 2 } else { 3 }) == 0,
        ttl: 60,
        delete_limit,
        version: 1,
    };
    let second = if is_shared { "ZDEV" } else { "ZPROD" };
    let mut zones = vec![("vpc-1", "ZDEV", "internal"), ("vpc-3", "ZEU", "eu.internal")];
    // So many that the handler reads the names in some of them only.
    if has_many_zones {
        zones.extend([("vpc-4", "ZUS", "us.internal"), ("vpc-5", "ZAP", "ap.internal")]);
    }
    vec![environment("dev", &zones), environment("prod", &[("vpc-2", second, "internal")])]
}

/// The names of services, the frequent ones first.
fn services(rng: &mut Rng, theme: Theme) -> Vec<String> {
    match theme {
        Theme::LongNames => {
            let long = |length: usize| format!("s{}", "x".repeat(length - 1));
            vec![long(63), long(64), "orders".into(), long(rng.usize(65..256)), long(62)]
        }
        Theme::MassDeletion => (0..rng.usize(4..26)).map(|one| format!("service-{one}")).collect(),
        Theme::Fleet => (0..rng.usize(300..340)).map(|one| format!("service-{one:03}")).collect(),
        _ => SERVICES.map(str::to_owned).to_vec(),
    }
}

/// Adds services that exist when the history begins.
fn establish(rng: &mut Rng, scene: &mut Scene, account: &mut Account) {
    if matches!(scene.theme, Theme::MassDeletion | Theme::Fleet) {
        let internal = StoredLoadBalancer {
            vpc: "vpc-1".into(),
            internal: true,
            ..StoredLoadBalancer::default()
        };
        account.load_balancers.insert("lb0".into(), internal);
        account.target_groups.insert("tg0".into(), vec!["lb0".into()]);
    }
    for (number, name) in scene.services.iter().enumerate() {
        let is_plain = matches!(scene.theme, Theme::MassDeletion | Theme::Fleet);
        let load_balancers = match is_plain {
            true => vec![Attachment::TargetGroup("tg0".into())],
            false => attachments(rng),
        };
        let service = StoredService {
            status: ServiceStatus::Active,
            created_at: EPOCH - 100_000 + u64::try_from(number).unwrap_or_default(),
            load_balancers,
            task_sets: vec![],
            tags: Default::default(),
            deployment: None,
        };
        let name = (scene.clusters[0].clone(), name.clone());
        scene.alive.insert(name.clone());
        account.ecs.services.insert(name, service);
    }
}

fn load_balancer(rng: &mut Rng, name: &str) -> StoredLoadBalancer {
    let vpc = match rng.u8(0..20) {
        0..=13 => "vpc-1",
        14..=16 => "vpc-2",
        17..=18 => "vpc-3",
        _ => "vpc-9",
    };
    let classic = name.starts_with("old");
    StoredLoadBalancer {
        vpc: vpc.into(),
        internal: rng.bool(),
        dualstack: !classic && rng.bool(),
        classic,
        has_failed: !classic && rng.u8(0..20) == 0,
    }
}

fn faults(rng: &mut Rng, scene: &Scene) -> Faults {
    let none = Faults { until_ms: 300_000, latency_ms: 200, ..Faults::default() };
    let level = match scene.theme {
        Theme::Fleet => 0,
        Theme::TaskSets => rng.u8(0..5),
        _ => rng.u8(0..10),
    };
    let mut faults = match level {
        0..=3 => none,
        4..=7 => Faults {
            latency_ms: 1_000,
            throttled: 30,
            server_errors: 20,
            dropped_before: 10,
            dropped_after: 30,
            hanging: 5,
            truncated: 10,
            killed: 20,
            not_found: 20,
            incomplete: 10,
            ..none
        },
        _ => Faults {
            latency_ms: 4_000,
            throttled: 150,
            server_errors: 100,
            dropped_before: 60,
            dropped_after: 100,
            hanging: 30,
            truncated: 60,
            killed: 150,
            not_found: 60,
            incomplete: 30,
            ..none
        },
    };
    if scene.theme == Theme::ShortTime {
        faults.latency_ms = rng.u64(1_000..4_000);
        faults.killed = 0;
    }
    faults.max_page = (rng.u8(0..4) == 0).then(|| rng.usize(1..4));
    if scene.theme == Theme::Fleet {
        faults.max_page = None;
    }
    // Either answers of ECS are outdated in any way, or creations and deletions become visible late.
    match rng.u8(0..10) {
        0 => faults.stale_ms = 8_000,
        1..=3 => faults.visible_ms = 8_000,
        4..=6 if scene.theme == Theme::Churn => faults.visible_ms = 8_000,
        _ => {}
    }
    if matches!(scene.theme, Theme::Mixed | Theme::Contest) && rng.u8(0..5) == 0 {
        faults.denied = Some(denied(rng, scene));
    }
    faults
}

fn denied(rng: &mut Rng, scene: &Scene) -> Denied {
    let operations = [
        "ListClusters",
        "ListServices",
        "DescribeServices",
        "DescribeTargetGroups",
        "DescribeLoadBalancers",
        "ListResourceRecordSets",
        "ChangeResourceRecordSets",
    ];
    let operation = operations[rng.usize(0..operations.len())];
    let cluster = || Subject::Cluster(scene.clusters[1].clone());
    let subject = match operation {
        "ListServices" | "DescribeServices" => Some(cluster()),
        "ListResourceRecordSets" => Some(Subject::Zone("ZEU".into())),
        "ChangeResourceRecordSets" if rng.bool() => Some(Subject::Name("web.internal.".into())),
        "ChangeResourceRecordSets" => Some(Subject::Zone("ZEU".into())),
        _ => None,
    };
    let subject = subject.filter(|_| rng.u8(0..4) > 0);
    let is_permanent = subject.is_some() && rng.bool();
    Denied { operation: operation.into(), subject, from_ms: rng.u64(0..60_000), is_permanent }
}

fn attachments(rng: &mut Rng) -> Vec<Attachment> {
    let attachment = |rng: &mut Rng| match rng.u8(0..6) {
        0 => Attachment::Classic(LOAD_BALANCERS[rng.usize(4..6)].into()),
        _ => Attachment::TargetGroup(TARGET_GROUPS[rng.usize(0..TARGET_GROUPS.len())].into()),
    };
    match rng.u8(0..12) {
        0 => vec![],
        1..=2 => vec![attachment(rng), attachment(rng)],
        _ => vec![attachment(rng)],
    }
}

fn tag(rng: &mut Rng, theme: Theme) -> (String, String) {
    let all = [
        ("name", "shop"),
        ("name", "shop"),
        ("name", "web"),
        ("name", "x.y"),
        ("name", "*"),
        ("enabled", "false"),
        ("enabled", "maybe"),
        ("ttl", "5"),
        ("ttl", "never"),
        ("record", "ALIAS"),
        ("record", "CNAME"),
        ("load-balancer", "lb1"),
        ("nmae", "x"),
    ];
    let (key, value) = match theme {
        Theme::Contest if rng.u8(0..4) > 0 => all[rng.usize(0..3)],
        Theme::LongNames if rng.bool() => {
            let label = format!("{}.", "y".repeat(rng.usize(50..63)));
            let name = format!("{}{}", label.repeat(3), "z".repeat(rng.usize(1..50)));
            return ("discovery:name".into(), name);
        }
        _ => all[rng.usize(0..all.len())],
    };
    (format!("discovery:{key}"), value.into())
}

fn rollout(rng: &mut Rng) -> Rollout {
    match rng.u8(0..20) {
        0..=5 => Rollout::Unknown,
        6..=13 => Rollout::CompletesAfter { ms: rng.u64(0..30_000) },
        14..=18 => Rollout::FailsAfter { ms: rng.u64(0..20_000), back_ms: rng.u64(0..20_000) },
        _ => Rollout::Hangs,
    }
}

impl Scene {
    /// Any service. Many acts affect the same services.
    fn any(&self, rng: &mut Rng) -> ServiceName {
        let count = match self.theme {
            Theme::Churn => 2,
            _ => self.services.len(),
        };
        // The smaller of two indices.
        let name = &self.services[rng.usize(0..count).min(rng.usize(0..count))];
        let one_in = if self.theme == Theme::LongNames { 2 } else { 5 };
        let cluster = &self.clusters[usize::from(rng.u8(0..one_in) == 0)];
        (cluster.clone(), name.clone())
    }

    /// A service that is probably alive.
    fn alive(&self, rng: &mut Rng) -> ServiceName {
        match self.alive.len() {
            0 => self.any(rng),
            _ if rng.u8(0..8) == 0 => self.any(rng),
            count => self.alive.iter().nth(rng.usize(0..count)).cloned().unwrap_or_default(),
        }
    }

    fn act(&mut self, rng: &mut Rng) -> Act {
        // An act on the task sets of no service does nothing.
        if self.theme == Theme::TaskSets && self.alive.is_empty() {
            return self.create(rng);
        }
        // The weights of: create, delete, replace load balancers, scale, task sets, tag, load balancers, target
        // groups, records, settings, deregistration, full pass, other payloads.
        let weights: [u32; 13] = match self.theme {
            Theme::Contest => [40, 25, 6, 0, 0, 22, 1, 1, 2, 2, 0, 2, 0],
            Theme::Deployments => [30, 8, 40, 4, 0, 6, 5, 2, 0, 2, 0, 3, 0],
            Theme::TaskSets => [25, 8, 2, 2, 60, 3, 0, 0, 0, 0, 0, 2, 0],
            Theme::Churn => [40, 40, 4, 0, 2, 6, 0, 0, 4, 0, 0, 4, 0],
            Theme::MassDeletion => [6, 55, 4, 0, 0, 4, 2, 0, 0, 3, 1, 25, 0],
            Theme::Strangers => [30, 14, 4, 0, 0, 6, 2, 2, 34, 3, 0, 5, 0],
            Theme::ShortTime => [45, 20, 12, 0, 0, 10, 0, 0, 0, 4, 0, 9, 0],
            Theme::Fleet => [20, 30, 10, 0, 0, 10, 0, 0, 0, 15, 0, 15, 0],
            Theme::FullZone => [45, 25, 6, 0, 0, 12, 0, 0, 4, 2, 0, 6, 0],
            Theme::Mixed | Theme::LongNames => [30, 16, 8, 3, 6, 12, 4, 3, 7, 3, 1, 4, 4],
        };
        let mut draw = rng.u32(0..weights.iter().sum());
        let kind = weights.iter().position(|weight| match draw.checked_sub(*weight) {
            Some(rest) => {
                draw = rest;
                false
            }
            None => true,
        });
        match kind.unwrap_or_default() {
            0 => self.create(rng),
            1 => {
                let service = self.alive(rng);
                self.alive.remove(&service);
                let drains_ms = if rng.bool() { 0 } else { rng.u64(0..20_000) };
                Act::DeleteService { service, drains_ms }
            }
            2 => Act::ReplaceLoadBalancers {
                service: self.alive(rng),
                load_balancers: attachments(rng),
                rollout: rollout(rng),
            },
            3 => Act::Scale { service: self.alive(rng) },
            4 => {
                let service = self.alive(rng);
                match rng.u8(0..5) {
                    0 => Act::CreateTaskSet { service, load_balancers: attachments(rng) },
                    1 => Act::DeleteTaskSet { service, index: rng.usize(0..2) },
                    // The latest task set is the first one, and not the primary one yet.
                    _ => Act::SetPrimaryTaskSet { service, index: usize::from(rng.u8(0..4) == 0) },
                }
            }
            5 => {
                if !self.tags.is_empty() && rng.u8(0..3) == 0 {
                    let (service, key) = self.tags.swap_remove(rng.usize(0..self.tags.len()));
                    return Act::Tag { service, key, value: None };
                }
                let (key, value) = tag(rng, self.theme);
                let service = self.alive(rng);
                self.tags.push((service.clone(), key.clone()));
                Act::Tag { service, key, value: Some(value) }
            }
            6 => {
                let name = LOAD_BALANCERS[rng.usize(0..LOAD_BALANCERS.len())];
                let load_balancer = rng.bool().then(|| load_balancer(rng, name));
                Act::LoadBalancer { name: name.into(), load_balancer }
            }
            7 => {
                let name = TARGET_GROUPS[rng.usize(0..TARGET_GROUPS.len())].into();
                let load_balancer =
                    (rng.u8(0..4) > 0).then(|| LOAD_BALANCERS[rng.usize(0..4)].into());
                Act::TargetGroup { name, load_balancer }
            }
            8 => self.change_records(rng),
            9 => self.configure(rng),
            10 => {
                let environment = rng.usize(0..2);
                let zones = &self.environments[environment].zones;
                let zone = rng.bool().then(|| zones[rng.usize(0..zones.len())].1.clone());
                Act::Deregister { environment, zone }
            }
            11 => Act::FullPass { is_scheduled: true },
            _ => Act::Payload { text: payload(rng).into() },
        }
    }

    fn create(&mut self, rng: &mut Rng) -> Act {
        let service = self.any(rng);
        self.alive.insert(service.clone());
        let tags_one_in = if self.theme == Theme::Contest { 2 } else { 3 };
        let tags = if rng.u8(0..tags_one_in) == 0 { vec![tag(rng, self.theme)] } else { vec![] };
        self.tags.extend(tags.iter().map(|(key, _)| (service.clone(), key.clone())));
        let has_task_sets = match self.theme {
            Theme::TaskSets => rng.u8(0..4) > 0,
            _ => rng.u8(0..8) == 0,
        };
        let task_sets = match has_task_sets {
            true => {
                vec![("ACTIVE".into(), attachments(rng)), ("PRIMARY".into(), attachments(rng))]
            }
            false => vec![],
        };
        let load_balancers = match self.theme {
            Theme::TaskSets if has_task_sets => vec![],
            _ => attachments(rng),
        };
        let rollout = match self.theme {
            Theme::Deployments => rollout(rng),
            _ => Rollout::Unknown,
        };
        Act::CreateService { service, load_balancers, task_sets, tags, rollout }
    }

    fn configure(&self, rng: &mut Rng) -> Act {
        let environment = rng.usize(0..2);
        let old = &self.environments[environment];
        let templates = ["{service}", "{service}.{cluster}", "{service}-new"];
        let template = match rng.u8(0..2) {
            0 => templates[rng.usize(0..templates.len())].to_owned(),
            _ => old.template.clone(),
        };
        let ttl = if rng.bool() { 60 } else { 30 };
        Act::Configure { environment, template, alias: rng.bool(), ttl }
    }

    fn change_records(&self, rng: &mut Rng) -> Act {
        let environment = &self.environments[rng.usize(0..2)];
        let (_, id, zone) = &environment.zones[rng.usize(0..environment.zones.len())];
        let label = ["orders", "orders", "shop-api", "shop", "web", "billing"][rng.usize(0..6)];
        let name = format!("{label}.{zone}.");
        let change = match rng.u8(0..18) {
            0..=2 => RecordChange::Delete,
            3 => RecordChange::Tamper(Tampering::SecondValue),
            4 => RecordChange::Tamper(Tampering::UpperCase),
            5 => RecordChange::Tamper(Tampering::Delete),
            _ => RecordChange::Create(self.records(rng, &name, &environment.name)),
        };
        Act::ChangeRecords { zone: id.clone(), name, change }
    }

    /// Record sets of a person or of another tool.
    fn records(&self, rng: &mut Rng, name: &str, environment: &str) -> Vec<StoredRrset> {
        let load_balancer = dns_name(LOAD_BALANCERS[rng.usize(0..4)]);
        let plain = |name: &str, kind: &str, value: &str| StoredRrset {
            name: name.into(),
            kind: kind.into(),
            ttl: Some(300),
            values: vec![value.into()],
            ..StoredRrset::default()
        };
        let alias = |kind: &str, evaluates_health: bool| StoredRrset {
            name: name.into(),
            kind: kind.into(),
            // Route 53 returns the target of an alias in lower case.
            alias: Some((LOAD_BALANCER_ZONE.into(), format!("{}.", load_balancer.to_lowercase()))),
            evaluates_health,
            ..StoredRrset::default()
        };
        let marker = |version: &str, environment: &str, location: &str, service: &str| {
            let text = format!(
                "\"heritage=ecs-discovery,version={version},environment={environment},service=arn:aws:ecs:{location}:service/dev/{service},records=CNAME\""
            );
            plain(&format!("_discovery.{name}"), "TXT", &text)
        };
        let here = format!("{}:{}", crate::account::REGION, crate::account::ACCOUNT);
        let cname = plain(name, "CNAME", &load_balancer);
        match rng.u8(0..21) {
            0 => vec![plain(name, "A", "10.0.0.7")],
            1 => vec![plain(name, "TXT", "\"of a person\"")],
            2 => vec![plain(name, "CNAME", "somewhere.example.com")],
            // The handler may adopt the next four.
            3 | 18..=20 => vec![alias("AAAA", false)],
            4 => vec![alias("A", true)],
            5 => vec![alias("A", false)],
            6..=7 => vec![cname],
            8 => {
                let text = "\"heritage=external-dns,external-dns/owner=k8s,external-dns/resource=service/web\"";
                vec![alias("A", true), plain(name, "TXT", text)]
            }
            9 => {
                let weighted =
                    |set: &str| StoredRrset { set_identifier: Some(set.into()), ..cname.clone() };
                vec![weighted("blue"), weighted("green")]
            }
            10..=11 | 16 => vec![StoredRrset { health_check: Some("check-1".into()), ..cname }],
            12 => vec![cname, marker("1", environment, "us-east-1:999988887777", "orders")],
            13 => vec![cname, marker("2", environment, &here, "orders")],
            14..=15 => {
                let text = "\"heritage=external-dns,external-dns/owner=k8s\"";
                vec![cname, plain(&format!("cname-{name}"), "TXT", text)]
            }
            _ => vec![cname, marker("1", "other", &here, "orders")],
        }
    }
}

fn payload(rng: &mut Rng) -> &'static str {
    let texts = [
        "null",
        "[]",
        "{\"detail\":7,\"detail-type\":[]}",
        "no JSON",
        "{\"Records\":[{\"messageId\":\"1\",\"eventSource\":\"aws:sqs\",\"body\":\"{\"}]}",
        "{\"source\":\"aws.ecs\",\"detail-type\":\"AWS API Call via CloudTrail\",\"detail\":{\"eventSource\":\"ecs.amazonaws.com\",\"eventName\":\"DeleteService\",\"requestParameters\":{\"cluster\":\"dev\",\"service\":\"orders\"}}}",
        "{\"source\":\"aws.ecs\",\"detail-type\":\"AWS API Call via CloudTrail\",\"detail\":{\"eventSource\":\"ecs.amazonaws.com\",\"eventName\":\"CreateService\",\"requestParameters\":{\"cluster\":\"dev\",\"serviceName\":\"never-made\",\"loadBalancers\":[{\"targetGroupArn\":\"arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/tg1/1\"}]}}}",
    ];
    texts[rng.usize(0..texts.len())]
}

fn delivery(rng: &mut Rng, act: &Act, is_lossy: bool) -> EventDelivery {
    let delay = |rng: &mut Rng| match rng.u8(0..10) {
        0..=5 => rng.u64(0..500),
        6..=8 => rng.u64(0..8_000),
        _ => rng.u64(0..60_000),
    };
    // The schedule and a deployment may start full passes at the same time.
    let copies_one_in = if matches!(act, Act::FullPass { .. }) { 2 } else { 4 };
    let copies = match is_lossy && !matches!(act, Act::FullPass { .. }) && rng.u8(0..3) == 0 {
        true => 0,
        false => 1 + usize::from(rng.u8(0..copies_one_in) == 0),
    };
    EventDelivery {
        arrives_ms: (0..copies).map(|_| delay(rng)).collect(),
        truncated: rng.u8(0..20) == 0,
        with_arns: rng.bool(),
        with_response: rng.u8(0..3) == 0,
        with_ecs_event: rng.u8(0..4) == 0,
    }
}

/// The event of an API call, as CloudTrail records it. `parameters` are added to the request's parameters.
pub fn event(
    call: &str,
    service: &ServiceName,
    parameters: Value,
    delivery: &EventDelivery,
    failed: bool,
    time: &str,
) -> Value {
    let key = if call == "CreateService" { "serviceName" } else { "service" };
    let mut request = if delivery.with_arns {
        let name = if call == "CreateService" { service.1.clone() } else { service_arn(service) };
        json!({"cluster": cluster_arn(&service.0), key: name})
    } else {
        json!({"cluster": service.0, key: service.1})
    };
    if call.ends_with("TagResource") || call == "UntagResource" {
        request = json!({"resourceArn": service_arn(service)});
    }
    for (key, value) in parameters.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    let response = if delivery.with_response && !failed {
        json!({"service": {"serviceArn": service_arn(service), "clusterArn": cluster_arn(&service.0)}})
    } else {
        Value::Null
    };
    let mut detail = json!({
        "eventSource": "ecs.amazonaws.com", "eventName": call, "eventTime": time,
        "requestParameters": request, "responseElements": response,
    });
    if delivery.truncated {
        detail["requestParameters"] = json!({"omitted": true});
        detail["responseElements"] = Value::Null;
    }
    if failed {
        detail["errorCode"] = json!("InvalidParameterException");
    }
    json!({"source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail", "detail": detail})
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "theme: {:?}", self.theme)?;
        writeln!(f, "faults: {:?}", self.faults)?;
        for environment in &self.environments {
            writeln!(f, "environment: {}", environment.to_json())?;
        }
        writeln!(f, "load balancers: {:?}", self.account.load_balancers)?;
        writeln!(f, "target groups: {:?}", self.account.target_groups)?;
        let established =
            self.account.ecs.services.keys().map(|(cluster, name)| format!("{cluster}/{name}"));
        writeln!(f, "services: {:?}", established.collect::<Vec<_>>())?;
        for (id, zone) in &self.account.zones {
            writeln!(f, "zone {id}: {} with at most {} record sets", zone.name, zone.max_rrsets)?;
        }
        writeln!(f, "the function has {:?}", self.function_timeout)?;
        if let Some(name) = &self.rejected_name {
            writeln!(f, "Route 53 rejects every change of {name}")?;
        }
        let delivery = if self.has_queue { "through a queue" } else { "directly" };
        writeln!(f, "events are delivered {delivery}")?;
        for Step { at_ms, act, delivery } in &self.steps {
            writeln!(f, "{at_ms:>7} ms  {act:?}\n            {delivery:?}")?;
        }
        Ok(())
    }
}

//! Histories: from one seed an account, the acts of people in it, and the delivery of their events.

use std::fmt;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::account::{
    Account, Attachment, EcsState, ServiceName, StoredLoadBalancer, cluster_arn, dns_name,
    service_arn,
};
use crate::faults::Faults;
use crate::oracle::EnvironmentConfig;
use crate::route53::HostedZone;

/// The second and the third give the same host name, the fifth gives no valid one.
const SERVICES: [&str; 6] = ["orders", "Shop_API", "shop-api", "web", "odd_", "basket"];
const CLUSTERS: [&str; 2] = ["dev", "blue"];
const LOAD_BALANCERS: [&str; 6] = ["lb0", "lb1", "lb2", "lb3", "old0", "old1"];
const TARGET_GROUPS: [&str; 6] = ["tg0", "tg1", "tg2", "tg3", "tg4", "tg5"];

#[derive(Clone, Debug)]
pub struct History {
    pub seed: u64,
    pub environments: Vec<EnvironmentConfig>,
    pub account: Account,
    pub faults: Faults,
    /// Route 53 rejects every change of this name, without a reason.
    pub rejected_name: Option<String>,
    /// Whether the events go through a queue.
    pub has_queue: bool,
    pub steps: Vec<Step>,
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
    },
    ReplaceLoadBalancers {
        service: ServiceName,
        load_balancers: Vec<Attachment>,
    },
    /// An update without load balancers.
    Scale {
        service: ServiceName,
    },
    CreateTaskSet {
        service: ServiceName,
        load_balancers: Vec<Attachment>,
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
    /// A person creates a record with this type and value, for AAAA an alias to that load balancer. Without `record`, the person deletes all records
    /// at the name.
    ChangeRecord {
        zone: String,
        name: String,
        record: Option<(String, String)>,
    },
    FullPass,
    Payload {
        text: String,
    },
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

impl History {
    /// The history of a seed.
    pub fn of(seed: u64) -> History {
        let mut rng = Rng::with_seed(seed);
        let environments = environments(&mut rng);
        let mut account = Account {
            ecs: EcsState { clusters: CLUSTERS.map(str::to_owned).to_vec(), ..EcsState::default() },
            ..Account::default()
        };
        for environment in &environments {
            for (_, id, name) in &environment.zones {
                account.zones.entry(id.clone()).or_insert_with(|| HostedZone::new(name));
            }
        }
        for name in LOAD_BALANCERS {
            if rng.u8(0..10) < 9 {
                account.load_balancers.insert(name.into(), load_balancer(&mut rng, name));
            }
        }
        for (index, name) in TARGET_GROUPS.iter().enumerate() {
            if rng.u8(0..10) < 9 {
                let attached = (rng.u8(0..10) < 9).then(|| LOAD_BALANCERS[index % 4].to_owned());
                account.target_groups.insert((*name).into(), Vec::from_iter(attached));
            }
        }
        let faults = faults(&mut rng);
        let rejected_name = (rng.u8(0..8) == 0).then(|| {
            format!("{}.internal.", rng.choice(["orders", "web", "basket"]).unwrap_or("web"))
        });
        let is_lossy = rng.u8(0..3) == 0;
        let mut at_ms = 0;
        let steps = (0..rng.usize(3..14))
            .map(|_| {
                // Most acts overlap with the runs of the act before, some come much later.
                at_ms += match rng.u8(0..10) {
                    0..=4 => rng.u64(0..300),
                    5..=8 => rng.u64(0..5_000),
                    _ => rng.u64(0..90_000),
                };
                let act = act(&mut rng, &environments);
                let delivery = delivery(&mut rng, is_lossy);
                Step { at_ms, act, delivery }
            })
            .collect();
        let has_queue = rng.u8(0..3) == 0;
        History { seed, environments, account, faults, rejected_name, has_queue, steps }
    }

    /// Whether invariant 2 applies: every event arrives and is correct, and every change is possible.
    pub fn is_fully_reported(&self) -> bool {
        let has_loss = self.steps.iter().any(|step| step.delivery.arrives_ms.is_empty());
        !has_loss
            && self.faults.stale_ms == 0
            && self.faults.denied.is_none()
            && self.rejected_name.is_none()
    }
}

fn environments(rng: &mut Rng) -> Vec<EnvironmentConfig> {
    // Two environments with one zone are not recommended, but they must be safe.
    let is_shared = rng.u8(0..6) == 0;
    let has_cluster = rng.u8(0..4) == 0;
    let template = if rng.u8(0..4) == 0 { "{service}.{cluster}" } else { "{service}" };
    let mut environment = |name: &str, zones: &[(&str, &str, &str)]| EnvironmentConfig {
        name: name.into(),
        zones: zones
            .iter()
            .map(|(vpc, id, zone)| ((*vpc).into(), (*id).into(), (*zone).into()))
            .collect(),
        cluster: (has_cluster && name == "dev").then(|| "dev".into()),
        template: template.into(),
        alias: rng.u8(0..3) == 0,
        ttl: 60,
    };
    let second = if is_shared { "ZDEV" } else { "ZPROD" };
    vec![
        environment("dev", &[("vpc-1", "ZDEV", "internal"), ("vpc-3", "ZEU", "eu.internal")]),
        environment("prod", &[("vpc-2", second, "internal")]),
    ]
}

fn load_balancer(rng: &mut Rng, name: &str) -> StoredLoadBalancer {
    let vpc = match rng.u8(0..10) {
        0..=5 => "vpc-1",
        6..=7 => "vpc-2",
        8 => "vpc-3",
        _ => "vpc-9",
    };
    let classic = name.starts_with("old");
    StoredLoadBalancer {
        vpc: vpc.into(),
        internal: rng.bool(),
        dualstack: !classic && rng.bool(),
        classic,
    }
}

fn faults(rng: &mut Rng) -> Faults {
    let none = Faults { until_ms: 300_000, latency_ms: 200, ..Faults::default() };
    let mut faults = match rng.u8(0..10) {
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
            ..none
        },
    };
    faults.max_page = (rng.u8(0..4) == 0).then(|| rng.usize(1..4));
    faults.stale_ms = if rng.u8(0..5) == 0 { 8_000 } else { 0 };
    faults.denied = (rng.u8(0..10) == 0).then(|| {
        let operations = [
            "ListClusters",
            "ListServices",
            "DescribeServices",
            "DescribeTargetGroups",
            "DescribeLoadBalancers",
            "ListResourceRecordSets",
            "ChangeResourceRecordSets",
        ];
        rng.choice(operations).unwrap_or("ListServices").into()
    });
    if faults.denied.is_some() {
        faults.denied_from_ms = rng.u64(0..60_000);
    }
    faults
}

fn service(rng: &mut Rng) -> ServiceName {
    // The smaller of two indices: many acts then affect the same services.
    let name = SERVICES[rng.usize(0..SERVICES.len()).min(rng.usize(0..SERVICES.len()))];
    let cluster = if rng.u8(0..5) == 0 { CLUSTERS[1] } else { CLUSTERS[0] };
    (cluster.into(), name.into())
}

fn attachments(rng: &mut Rng) -> Vec<Attachment> {
    let attachment = |rng: &mut Rng| match rng.u8(0..5) {
        0 => Attachment::Classic(LOAD_BALANCERS[rng.usize(4..6)].into()),
        _ => Attachment::TargetGroup(TARGET_GROUPS[rng.usize(0..TARGET_GROUPS.len())].into()),
    };
    match rng.u8(0..10) {
        0 => vec![],
        1..=2 => vec![attachment(rng), attachment(rng)],
        _ => vec![attachment(rng)],
    }
}

fn tag(rng: &mut Rng) -> (String, String) {
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
    let (key, value) = all[rng.usize(0..all.len())];
    (format!("discovery:{key}"), value.into())
}

fn act(rng: &mut Rng, environments: &[EnvironmentConfig]) -> Act {
    match rng.u8(0..100) {
        0..=29 => {
            let tags = if rng.u8(0..3) == 0 { vec![tag(rng)] } else { vec![] };
            let task_sets = if rng.u8(0..6) == 0 {
                vec![("ACTIVE".into(), attachments(rng)), ("PRIMARY".into(), attachments(rng))]
            } else {
                vec![]
            };
            let (service, load_balancers) = (service(rng), attachments(rng));
            Act::CreateService { service, load_balancers, task_sets, tags }
        }
        30..=49 => {
            let drains_ms = if rng.bool() { 0 } else { rng.u64(0..20_000) };
            Act::DeleteService { service: service(rng), drains_ms }
        }
        50..=59 => {
            let (service, load_balancers) = (service(rng), attachments(rng));
            Act::ReplaceLoadBalancers { service, load_balancers }
        }
        60..=63 => Act::Scale { service: service(rng) },
        64..=66 => {
            let (service, load_balancers) = (service(rng), attachments(rng));
            Act::CreateTaskSet { service, load_balancers }
        }
        67..=78 => {
            let (key, value) = tag(rng);
            let service = service(rng);
            Act::Tag { service, key, value: (rng.u8(0..3) > 0).then_some(value) }
        }
        79..=82 => {
            let name = LOAD_BALANCERS[rng.usize(0..LOAD_BALANCERS.len())];
            let load_balancer = rng.bool().then(|| load_balancer(rng, name));
            Act::LoadBalancer { name: name.into(), load_balancer }
        }
        83..=85 => {
            let name = TARGET_GROUPS[rng.usize(0..TARGET_GROUPS.len())].into();
            let load_balancer = (rng.u8(0..4) > 0).then(|| LOAD_BALANCERS[rng.usize(0..4)].into());
            Act::TargetGroup { name, load_balancer }
        }
        86..=92 => {
            let zones = &environments[rng.usize(0..2)].zones;
            let (_, id, zone) = &zones[rng.usize(0..zones.len())];
            let label = ["orders", "shop-api", "shop", "web", "billing"][rng.usize(0..5)];
            let record = match rng.u8(0..7) {
                0 => None,
                1..=2 => Some(("A", "10.0.0.7".to_owned())),
                3 => Some(("TXT", "\"of a person\"".to_owned())),
                4 => Some(("CNAME", "somewhere.example.com".to_owned())),
                5 => Some(("AAAA", dns_name(LOAD_BALANCERS[rng.usize(0..4)]))),
                // The handler may adopt this one.
                _ => Some(("CNAME", dns_name(LOAD_BALANCERS[rng.usize(0..4)]))),
            };
            Act::ChangeRecord {
                zone: id.clone(),
                name: format!("{label}.{zone}."),
                record: record.map(|(kind, value)| (kind.to_owned(), value)),
            }
        }
        93..=95 => Act::FullPass,
        _ => {
            let texts = [
                "null",
                "[]",
                "{\"detail\":7,\"detail-type\":[]}",
                "no JSON",
                "{\"Records\":[{\"messageId\":\"1\",\"eventSource\":\"aws:sqs\",\"body\":\"{\"}]}",
                "{\"source\":\"aws.ecs\",\"detail-type\":\"AWS API Call via CloudTrail\",\"detail\":{\"eventSource\":\"ecs.amazonaws.com\",\"eventName\":\"DeleteService\",\"requestParameters\":{\"cluster\":\"dev\",\"service\":\"orders\"}}}",
                "{\"source\":\"aws.ecs\",\"detail-type\":\"AWS API Call via CloudTrail\",\"detail\":{\"eventSource\":\"ecs.amazonaws.com\",\"eventName\":\"CreateService\",\"requestParameters\":{\"cluster\":\"dev\",\"serviceName\":\"never-made\",\"loadBalancers\":[{\"targetGroupArn\":\"arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/tg1/1\"}]}}}",
            ];
            Act::Payload { text: texts[rng.usize(0..texts.len())].into() }
        }
    }
}

fn delivery(rng: &mut Rng, is_lossy: bool) -> EventDelivery {
    let delay = |rng: &mut Rng| match rng.u8(0..10) {
        0..=5 => rng.u64(0..500),
        6..=8 => rng.u64(0..8_000),
        _ => rng.u64(0..60_000),
    };
    let copies = if is_lossy && rng.u8(0..3) == 0 { 0 } else { 1 + usize::from(rng.u8(0..4) == 0) };
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
        "eventSource": "ecs.amazonaws.com", "eventName": call,
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
        writeln!(f, "faults: {:?}", self.faults)?;
        for environment in &self.environments {
            writeln!(f, "environment: {}", environment.to_json())?;
        }
        writeln!(f, "load balancers: {:?}", self.account.load_balancers)?;
        writeln!(f, "target groups: {:?}", self.account.target_groups)?;
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

//! What a seed makes: a world, what people do in it, and how the events of that travel.

use std::fmt;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::account::{Balancer, Behind, Cloud, Ecs, ServiceName, cluster_arn, service_arn};
use crate::faults::Weather;
use crate::oracle::Environment;
use crate::route53::Zone;

/// Two of them become the same host name, one cannot become one.
const SERVICES: [&str; 6] = ["orders", "Shop_API", "shop-api", "web", "odd_", "basket"];
const CLUSTERS: [&str; 2] = ["dev", "blue"];
const BALANCERS: [&str; 6] = ["lb0", "lb1", "lb2", "lb3", "old0", "old1"];
const GROUPS: [&str; 6] = ["tg0", "tg1", "tg2", "tg3", "tg4", "tg5"];

#[derive(Clone, Debug)]
pub enum Act {
    Create {
        service: ServiceName,
        behind: Vec<Behind>,
        task_sets: Vec<(String, Vec<Behind>)>,
        tags: Vec<(String, String)>,
    },
    Move {
        service: ServiceName,
        behind: Vec<Behind>,
    },
    /// An update that says nothing of load balancers.
    Scale {
        service: ServiceName,
    },
    TaskSet {
        service: ServiceName,
        behind: Vec<Behind>,
    },
    Tag {
        service: ServiceName,
        key: String,
        value: Option<String>,
    },
    Delete {
        service: ServiceName,
        drains_ms: u64,
    },
    /// A load balancer comes or goes.
    Balancer {
        name: String,
        balancer: Option<Balancer>,
    },
    /// A target group gets another load balancer, or none.
    Listen {
        group: String,
        balancer: Option<String>,
    },
    /// A person puts a record in a zone, or takes what stands at a name.
    Person {
        zone: String,
        name: String,
        record: Option<(String, String)>,
    },
    FullPass,
    Payload {
        text: String,
    },
}

/// How the events of one act travel.
#[derive(Clone, Debug, Default)]
pub struct Travel {
    /// When each copy arrives, in milliseconds after the act. Empty if all are lost.
    pub arrives_ms: Vec<u64>,
    pub truncated: bool,
    pub with_arns: bool,
    pub with_response: bool,
    /// ECS's own event besides.
    pub native: bool,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub at_ms: u64,
    pub act: Act,
    pub travel: Travel,
}

#[derive(Clone, Debug)]
pub struct History {
    pub seed: u64,
    pub environments: Vec<Environment>,
    pub cloud: Cloud,
    pub weather: Weather,
    pub poison: Option<String>,
    /// Through a queue instead of directly.
    pub queue: bool,
    pub steps: Vec<Step>,
}

impl History {
    pub fn of(seed: u64) -> History {
        let mut rng = Rng::with_seed(seed);
        let environments = environments(&mut rng);
        let mut cloud = Cloud {
            ecs: Ecs { clusters: CLUSTERS.map(str::to_owned).to_vec(), ..Ecs::default() },
            ..Cloud::default()
        };
        for environment in &environments {
            for (_, id, name) in &environment.zones {
                cloud.zones.entry(id.clone()).or_insert_with(|| Zone::new(name));
            }
        }
        for name in BALANCERS {
            if rng.u8(0..10) < 9 {
                cloud.balancers.insert(name.into(), balancer(&mut rng, name));
            }
        }
        for (index, group) in GROUPS.iter().enumerate() {
            if rng.u8(0..10) < 9 {
                let balancers = (rng.u8(0..10) < 9).then(|| BALANCERS[index % 4].to_owned());
                cloud.groups.insert((*group).into(), Vec::from_iter(balancers));
            }
        }
        let weather = weather(&mut rng);
        let poison = (rng.u8(0..8) == 0).then(|| {
            format!("{}.internal.", rng.choice(["orders", "web", "basket"]).unwrap_or("web"))
        });
        let lossy = rng.u8(0..3) == 0;
        let mut at_ms = 0;
        let steps = (0..rng.usize(3..14))
            .map(|_| {
                // Often at once, sometimes after all has come to rest.
                at_ms += match rng.u8(0..10) {
                    0..=4 => rng.u64(0..300),
                    5..=8 => rng.u64(0..5_000),
                    _ => rng.u64(0..90_000),
                };
                let act = act(&mut rng, &environments);
                let travel = travel(&mut rng, lossy);
                Step { at_ms, act, travel }
            })
            .collect();
        History { seed, environments, cloud, weather, poison, queue: rng.u8(0..3) == 0, steps }
    }

    /// Whether the second invariant can be asked for: no event is lost, and ECS is not stale.
    pub fn is_told_whole(&self) -> bool {
        let lost = self.steps.iter().any(|step| step.travel.arrives_ms.is_empty());
        !lost && self.weather.stale_ms == 0
    }
}

fn environments(rng: &mut Rng) -> Vec<Environment> {
    // One zone for both environments is nothing to recommend, and has to be safe.
    let shared = rng.u8(0..6) == 0;
    let scoped = rng.u8(0..4) == 0;
    let template = if rng.u8(0..4) == 0 { "{service}.{cluster}" } else { "{service}" };
    let mut environment = |name: &str, zones: &[(&str, &str, &str)]| Environment {
        name: name.into(),
        zones: zones
            .iter()
            .map(|(vpc, id, zone)| ((*vpc).into(), (*id).into(), (*zone).into()))
            .collect(),
        cluster: (scoped && name == "dev").then(|| "dev".into()),
        template: template.into(),
        alias: rng.u8(0..3) == 0,
        ttl: 60,
    };
    let second = if shared { "ZDEV" } else { "ZPROD" };
    vec![
        environment("dev", &[("vpc-1", "ZDEV", "internal"), ("vpc-3", "ZEU", "eu.internal")]),
        environment("prod", &[("vpc-2", second, "internal")]),
    ]
}

fn balancer(rng: &mut Rng, name: &str) -> Balancer {
    let vpc = match rng.u8(0..10) {
        0..=5 => "vpc-1",
        6..=7 => "vpc-2",
        8 => "vpc-3",
        _ => "vpc-9",
    };
    let classic = name.starts_with("old");
    Balancer { vpc: vpc.into(), internal: rng.bool(), dualstack: !classic && rng.bool(), classic }
}

fn weather(rng: &mut Rng) -> Weather {
    let calm = Weather { until_ms: 300_000, latency_ms: 200, ..Weather::default() };
    let mut weather = match rng.u8(0..10) {
        0..=3 => calm,
        4..=7 => Weather {
            latency_ms: 1_000,
            throttled: 30,
            server_errors: 20,
            dropped_before: 10,
            dropped_after: 30,
            hanging: 5,
            cut: 10,
            killed: 20,
            ..calm
        },
        _ => Weather {
            latency_ms: 4_000,
            throttled: 150,
            server_errors: 100,
            dropped_before: 60,
            dropped_after: 100,
            hanging: 30,
            cut: 60,
            killed: 150,
            ..calm
        },
    };
    weather.page = (rng.u8(0..4) == 0).then(|| rng.usize(1..4));
    weather.stale_ms = if rng.u8(0..5) == 0 { 8_000 } else { 0 };
    weather.denied = (rng.u8(0..10) == 0).then(|| {
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
    weather
}

fn service(rng: &mut Rng) -> ServiceName {
    // Few, so that they meet.
    let name = SERVICES[rng.usize(0..SERVICES.len()).min(rng.usize(0..SERVICES.len()))];
    let cluster = if rng.u8(0..5) == 0 { CLUSTERS[1] } else { CLUSTERS[0] };
    (cluster.into(), name.into())
}

fn behind(rng: &mut Rng) -> Vec<Behind> {
    let one = |rng: &mut Rng| match rng.u8(0..5) {
        0 => Behind::Classic(BALANCERS[rng.usize(4..6)].into()),
        _ => Behind::Group(GROUPS[rng.usize(0..GROUPS.len())].into()),
    };
    match rng.u8(0..10) {
        0 => vec![],
        1..=2 => vec![one(rng), one(rng)],
        _ => vec![one(rng)],
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

fn act(rng: &mut Rng, environments: &[Environment]) -> Act {
    match rng.u8(0..100) {
        0..=29 => {
            let tags = if rng.u8(0..3) == 0 { vec![tag(rng)] } else { vec![] };
            let task_sets = if rng.u8(0..6) == 0 {
                vec![("ACTIVE".into(), behind(rng)), ("PRIMARY".into(), behind(rng))]
            } else {
                vec![]
            };
            Act::Create { service: service(rng), behind: behind(rng), task_sets, tags }
        }
        30..=49 => {
            let drains_ms = if rng.bool() { 0 } else { rng.u64(0..20_000) };
            Act::Delete { service: service(rng), drains_ms }
        }
        50..=59 => Act::Move { service: service(rng), behind: behind(rng) },
        60..=63 => Act::Scale { service: service(rng) },
        64..=66 => Act::TaskSet { service: service(rng), behind: behind(rng) },
        67..=78 => {
            let (key, value) = tag(rng);
            Act::Tag { service: service(rng), key, value: (rng.u8(0..3) > 0).then_some(value) }
        }
        79..=82 => {
            let name = BALANCERS[rng.usize(0..BALANCERS.len())];
            Act::Balancer { name: name.into(), balancer: rng.bool().then(|| balancer(rng, name)) }
        }
        83..=85 => Act::Listen {
            group: GROUPS[rng.usize(0..GROUPS.len())].into(),
            balancer: (rng.u8(0..4) > 0).then(|| BALANCERS[rng.usize(0..4)].into()),
        },
        86..=92 => {
            let zones = &environments[rng.usize(0..2)].zones;
            let (_, id, zone) = &zones[rng.usize(0..zones.len())];
            let label = ["orders", "shop-api", "shop", "web", "billing"][rng.usize(0..5)];
            let record = match rng.u8(0..6) {
                0 => None,
                1..=2 => Some(("A", "10.0.0.7".to_owned())),
                3 => Some(("TXT", "\"of a person\"".to_owned())),
                4 => Some(("CNAME", "somewhere.example.com".to_owned())),
                // What the handler may adopt.
                _ => Some(("CNAME", crate::account::dns_name(BALANCERS[rng.usize(0..4)]))),
            };
            Act::Person {
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

fn travel(rng: &mut Rng, lossy: bool) -> Travel {
    let delay = |rng: &mut Rng| match rng.u8(0..10) {
        0..=5 => rng.u64(0..500),
        6..=8 => rng.u64(0..8_000),
        _ => rng.u64(0..60_000),
    };
    let copies = if lossy && rng.u8(0..3) == 0 { 0 } else { 1 + usize::from(rng.u8(0..4) == 0) };
    Travel {
        arrives_ms: (0..copies).map(|_| delay(rng)).collect(),
        truncated: rng.u8(0..20) == 0,
        with_arns: rng.bool(),
        with_response: rng.u8(0..3) == 0,
        native: rng.u8(0..4) == 0,
    }
}

/// The event of an API call as CloudTrail records it.
pub fn event(
    call: &str,
    service: &ServiceName,
    more: Value,
    travel: &Travel,
    failed: bool,
) -> Value {
    let named = if call == "CreateService" { "serviceName" } else { "service" };
    let mut request = if travel.with_arns {
        let name = if call == "CreateService" { service.1.clone() } else { service_arn(service) };
        json!({"cluster": cluster_arn(&service.0), named: name})
    } else {
        json!({"cluster": service.0, named: service.1})
    };
    if call.ends_with("TagResource") || call == "UntagResource" {
        request = json!({"resourceArn": service_arn(service)});
    }
    for (key, value) in more.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    let response = if travel.with_response && !failed {
        json!({"service": {"serviceArn": service_arn(service), "clusterArn": cluster_arn(&service.0)}})
    } else {
        Value::Null
    };
    let mut detail = json!({
        "eventSource": "ecs.amazonaws.com", "eventName": call,
        "requestParameters": request, "responseElements": response,
    });
    if travel.truncated {
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
        writeln!(f, "weather: {:?}", self.weather)?;
        for environment in &self.environments {
            writeln!(f, "environment: {}", environment.to_config())?;
        }
        writeln!(f, "load balancers: {:?}", self.cloud.balancers)?;
        writeln!(f, "target groups: {:?}", self.cloud.groups)?;
        if let Some(poison) = &self.poison {
            writeln!(f, "Route 53 refuses whatever is about {poison}")?;
        }
        writeln!(f, "delivered {}", if self.queue { "through a queue" } else { "directly" })?;
        for Step { at_ms, act, travel } in &self.steps {
            writeln!(f, "{at_ms:>7} ms  {act:?}\n            {travel:?}")?;
        }
        Ok(())
    }
}

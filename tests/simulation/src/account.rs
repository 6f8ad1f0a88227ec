//! What the simulated account holds, and the answers that ECS and Elastic Load Balancing give of it.
//!
//! Pages, limits and errors are AWS's. Knows no time and no faults: those are in `weather`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::route53::Zone;

pub const ACCOUNT: &str = "111122223333";
pub const REGION: &str = "eu-west-1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Active,
    Draining,
    Inactive,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "ACTIVE",
            Status::Draining => "DRAINING",
            Status::Inactive => "INACTIVE",
        }
    }
}

/// What a service or a task set stands behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Behind {
    /// A target group, by name.
    Group(String),
    Classic(String),
}

impl Behind {
    pub fn to_json(&self) -> Value {
        match self {
            Behind::Group(name) => {
                json!({"targetGroupArn": group_arn(name), "containerName": "app", "containerPort": 80})
            }
            Behind::Classic(name) => {
                json!({"loadBalancerName": name, "containerName": "app", "containerPort": 80})
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub status: Status,
    pub created_at: u64,
    pub behind: Vec<Behind>,
    /// Status and load balancers of each task set.
    pub task_sets: Vec<(String, Vec<Behind>)>,
    pub tags: BTreeMap<String, String>,
}

/// Cluster and name.
pub type ServiceName = (String, String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    pub vpc: String,
    pub internal: bool,
    pub dualstack: bool,
    pub classic: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ecs {
    pub clusters: Vec<String>,
    pub services: BTreeMap<ServiceName, Service>,
}

/// The account.
#[derive(Clone, Debug, Default)]
pub struct Cloud {
    pub ecs: Ecs,
    /// The load balancers behind each target group, by name.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Of both generations, by name.
    pub balancers: BTreeMap<String, Balancer>,
    pub zones: BTreeMap<String, Zone>,
}

pub fn service_arn((cluster, name): &ServiceName) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster}/{name}")
}

pub fn cluster_arn(name: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}")
}

pub fn group_arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/{name}/1")
}

pub fn balancer_arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/{name}/1")
}

/// As AWS writes it: with capitals, which the name in a zone has not.
pub fn dns_name(balancer: &str) -> String {
    format!("internal-{}-1.{REGION}.elb.amazonaws.com", balancer.to_uppercase())
}

pub const BALANCER_ZONE: &str = "ZLOADBALANCERS";

fn last(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// The name in an ARN that ends in `/<name>/<id>`.
fn named(arn: &str) -> &str {
    arn.rsplit('/').nth(1).unwrap_or(arn)
}

/// HTTP status and body.
pub type Answer = (u16, String);

fn ecs_error(code: &str, message: &str) -> Answer {
    (400, json!({"__type": code, "message": message}).to_string())
}

pub fn xml_error(status: u16, code: &str, message: &str) -> Answer {
    (
        status,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>R</RequestId></ErrorResponse>"
        ),
    )
}

/// A page of `all` that begins at the position which `token` tells, and the next token.
fn page<'a, T>(all: &'a [T], token: Option<&str>, size: usize) -> (&'a [T], Option<String>) {
    let from = token.and_then(|token| token.parse().ok()).unwrap_or(0).min(all.len());
    let to = (from + size.max(1)).min(all.len());
    (&all[from..to], (to < all.len()).then(|| to.to_string()))
}

impl Ecs {
    /// Answers an operation. `most` is the most that a page may hold, for an ECS that gives less.
    pub fn answer(&self, operation: &str, request: &Value, most: usize) -> Answer {
        let token = request["nextToken"].as_str();
        let size = |default: u64| {
            usize::try_from(request["maxResults"].as_u64().unwrap_or(default))
                .unwrap_or(1)
                .min(100)
                .min(most)
        };
        let cluster = last(request["cluster"].as_str().unwrap_or("default"));
        let exists = self.clusters.iter().any(|known| known == cluster);
        match operation {
            "ListClusters" => {
                let arns: Vec<String> =
                    self.clusters.iter().map(|name| cluster_arn(name)).collect();
                let (arns, next) = page(&arns, token, size(100));
                (200, json!({"clusterArns": arns, "nextToken": next}).to_string())
            }
            _ if !exists => ecs_error("ClusterNotFoundException", "Cluster not found."),
            "ListServices" => {
                let active = |(name, service): (&ServiceName, &Service)| {
                    (name.0 == cluster && service.status == Status::Active)
                        .then(|| service_arn(name))
                };
                let arns: Vec<String> = self.services.iter().filter_map(active).collect();
                let (arns, next) = page(&arns, token, size(10));
                (200, json!({"serviceArns": arns, "nextToken": next}).to_string())
            }
            "DescribeServices" => {
                let asked: Vec<&str> = request["services"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                if asked.is_empty() || asked.len() > 10 {
                    return ecs_error(
                        "InvalidParameterException",
                        "Services must have 1 to 10 members.",
                    );
                }
                let with_tags = request["include"]
                    .as_array()
                    .is_some_and(|include| include.contains(&json!("TAGS")));
                let (mut found, mut failures) = (Vec::new(), Vec::new());
                for reference in asked {
                    let name = (cluster.to_owned(), last(reference).to_owned());
                    match self.services.get(&name) {
                        Some(service) => found.push(service.to_json(&name, with_tags)),
                        None => {
                            failures.push(json!({"arn": service_arn(&name), "reason": "MISSING"}))
                        }
                    }
                }
                (200, json!({"services": found, "failures": failures}).to_string())
            }
            other => ecs_error("InvalidAction", other),
        }
    }
}

impl Service {
    pub fn to_json(&self, name: &ServiceName, with_tags: bool) -> Value {
        let sets = self.task_sets.iter().map(|(status, behind)| {
            json!({"status": status, "loadBalancers": behind.iter().map(Behind::to_json).collect::<Vec<_>>()})
        });
        let tags = self
            .tags
            .iter()
            .filter(|_| with_tags)
            .map(|(key, value)| json!({"key": key, "value": value}));
        json!({
            "serviceArn": service_arn(name), "serviceName": name.1, "clusterArn": cluster_arn(&name.0),
            "status": self.status.as_str(), "createdAt": self.created_at,
            "loadBalancers": self.behind.iter().map(Behind::to_json).collect::<Vec<_>>(),
            "taskSets": sets.collect::<Vec<_>>(), "tags": tags.collect::<Vec<_>>(),
        })
    }
}

impl Cloud {
    /// Answers an operation of Elastic Load Balancing, of either generation.
    pub fn elb(&self, operation: &str, form: &BTreeMap<String, String>, most: usize) -> Answer {
        let classic = form.get("Version").is_some_and(|version| version == "2012-06-01");
        let members = |list: &str| -> Vec<&str> {
            let prefix = format!("{list}.member.");
            form.iter()
                .filter(|(key, _)| key.starts_with(&prefix))
                .map(|(_, value)| value.as_str())
                .collect()
        };
        let size = form
            .get("PageSize")
            .and_then(|size| size.parse().ok())
            .unwrap_or(400)
            .min(400)
            .min(most);
        let token = form.get("Marker").map(String::as_str);
        let wrap = |result: &str, next: Option<String>| {
            let next =
                next.map_or(String::new(), |next| format!("<NextMarker>{next}</NextMarker>"));
            (
                200,
                format!(
                    "<{operation}Response><{operation}Result>{result}{next}</{operation}Result></{operation}Response>"
                ),
            )
        };
        let too_many = || xml_error(400, "ValidationError", "At most 20 may be asked for at once");
        match (operation, classic) {
            ("DescribeLoadBalancers", true) => {
                let names = members("LoadBalancerNames");
                let mut body = String::new();
                for name in names {
                    let Some(balancer) =
                        self.balancers.get(name).filter(|balancer| balancer.classic)
                    else {
                        return xml_error(
                            400,
                            "LoadBalancerNotFound",
                            &format!("There is no ACTIVE Load Balancer named '{name}'"),
                        );
                    };
                    body.push_str(&format!(
                        "<member><LoadBalancerName>{name}</LoadBalancerName><DNSName>{}</DNSName><CanonicalHostedZoneNameID>{BALANCER_ZONE}</CanonicalHostedZoneNameID><Scheme>{}</Scheme><VPCId>{}</VPCId></member>",
                        dns_name(name), balancer.scheme(), balancer.vpc
                    ));
                }
                wrap(&format!("<LoadBalancerDescriptions>{body}</LoadBalancerDescriptions>"), None)
            }
            ("DescribeLoadBalancers", false) => {
                let asked: Vec<&str> = members("LoadBalancerArns").into_iter().map(named).collect();
                let all: Vec<&String> = self
                    .balancers
                    .iter()
                    .filter(|(_, balancer)| !balancer.classic)
                    .map(|(name, _)| name)
                    .collect();
                if asked.len() > 20 {
                    return too_many();
                }
                if asked.iter().any(|name| !all.iter().any(|known| known == name)) {
                    return xml_error(
                        400,
                        "LoadBalancerNotFound",
                        "One or more load balancers not found",
                    );
                }
                let wanted: Vec<&String> = all
                    .into_iter()
                    .filter(|name| asked.is_empty() || asked.contains(&name.as_str()))
                    .collect();
                // What is asked for by ARN comes whole.
                let size = if asked.is_empty() { size } else { 20 };
                let (names, next) = page(&wanted, token, size);
                let member = |name: &&String| {
                    let balancer = &self.balancers[*name];
                    let stack = if balancer.dualstack { "dualstack" } else { "ipv4" };
                    format!(
                        "<member><LoadBalancerArn>{}</LoadBalancerArn><LoadBalancerName>{name}</LoadBalancerName><DNSName>{}</DNSName><CanonicalHostedZoneId>{BALANCER_ZONE}</CanonicalHostedZoneId><IpAddressType>{stack}</IpAddressType><Scheme>{}</Scheme><VpcId>{}</VpcId></member>",
                        balancer_arn(name),
                        dns_name(name),
                        balancer.scheme(),
                        balancer.vpc
                    )
                };
                let body: String = names.iter().map(member).collect();
                wrap(&format!("<LoadBalancers>{body}</LoadBalancers>"), next)
            }
            ("DescribeTargetGroups", false) => {
                let asked: Vec<&str> = members("TargetGroupArns").into_iter().map(named).collect();
                if asked.len() > 20 {
                    return too_many();
                }
                if asked.iter().any(|name| !self.groups.contains_key(*name)) {
                    return xml_error(
                        400,
                        "TargetGroupNotFound",
                        "One or more target groups not found",
                    );
                }
                let wanted: Vec<&String> = self
                    .groups
                    .keys()
                    .filter(|name| asked.is_empty() || asked.contains(&name.as_str()))
                    .collect();
                // What is asked for by ARN comes whole.
                let size = if asked.is_empty() { size } else { 20 };
                let (names, next) = page(&wanted, token, size);
                let member = |name: &&String| {
                    let arns: String = self.groups[*name]
                        .iter()
                        .map(|balancer| format!("<member>{}</member>", balancer_arn(balancer)))
                        .collect();
                    format!(
                        "<member><TargetGroupArn>{}</TargetGroupArn><LoadBalancerArns>{arns}</LoadBalancerArns></member>",
                        group_arn(name)
                    )
                };
                let body: String = names.iter().map(member).collect();
                wrap(&format!("<TargetGroups>{body}</TargetGroups>"), next)
            }
            (other, _) => xml_error(400, "InvalidAction", other),
        }
    }
}

impl Balancer {
    fn scheme(&self) -> &'static str {
        if self.internal { "internal" } else { "internet-facing" }
    }
}

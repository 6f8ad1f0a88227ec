//! The simulated account: its services, load balancers and zones, and how ECS and Elastic Load Balancing
//! answer requests about them.
//!
//! Pages, limits and errors are AWS's. This module contains no time and no faults: those are in
//! [`faults`](crate::faults).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::route53::HostedZone;

pub const ACCOUNT: &str = "111122223333";
pub const REGION: &str = "eu-west-1";

/// The zone of the load balancers' own names, as alias records give it.
pub const LOAD_BALANCER_ZONE: &str = "ZLOADBALANCERS";

/// The account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub ecs: EcsState,
    /// By the name of the target group, the names of its load balancers.
    pub target_groups: BTreeMap<String, Vec<String>>,
    /// Of both generations, by name.
    pub load_balancers: BTreeMap<String, StoredLoadBalancer>,
    /// By id.
    pub zones: BTreeMap<String, HostedZone>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EcsState {
    pub clusters: Vec<String>,
    pub services: BTreeMap<ServiceName, StoredService>,
}

/// A cluster's and a service's name.
pub type ServiceName = (String, String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredService {
    pub status: ServiceStatus,
    /// Seconds since 1970.
    pub created_at: u64,
    pub load_balancers: Vec<Attachment>,
    /// The status and the load balancers of each task set.
    pub task_sets: Vec<(String, Vec<Attachment>)>,
    pub tags: BTreeMap<String, String>,
    /// The primary deployment, if it is known.
    pub deployment: Option<Deployment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment {
    pub state: RolloutState,
    /// Seconds since 1970.
    pub updated_at: u64,
    /// Identifies the deployment.
    pub began: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutState {
    InProgress,
    Completed,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceStatus {
    Active,
    Draining,
    Inactive,
}

/// An entry of `loadBalancers` in a service or a task set, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    TargetGroup(String),
    Classic(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredLoadBalancer {
    pub vpc: String,
    pub internal: bool,
    pub dualstack: bool,
    pub classic: bool,
    /// Whether it is in the state `failed`. Classic load balancers have no states.
    pub has_failed: bool,
}

/// An HTTP status and a body.
pub type Reply = (u16, String);

pub fn service_arn((cluster, name): &ServiceName) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster}/{name}")
}

pub fn cluster_arn(name: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{name}")
}

pub fn target_group_arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/{name}/1")
}

pub fn load_balancer_arn(name: &str) -> String {
    format!("arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/{name}/1")
}

/// The DNS name of a load balancer. AWS keeps its capitals, while names in zones are in lower case.
pub fn dns_name(load_balancer: &str) -> String {
    format!("internal-{}-1.{REGION}.elb.amazonaws.com", load_balancer.to_uppercase())
}

fn last_segment(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

/// The name in an ARN that ends in `/<name>/<id>`.
pub(crate) fn name_in_arn(arn: &str) -> &str {
    arn.rsplit('/').nth(1).unwrap_or(arn)
}

fn ecs_error(code: &str, message: &str) -> Reply {
    (400, json!({"__type": code, "message": message}).to_string())
}

pub fn xml_error(status: u16, code: &str, message: &str) -> Reply {
    (
        status,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>R</RequestId></ErrorResponse>"
        ),
    )
}

/// The page of `all` after the item `token`, and the next token. An item that comes or goes between two pages does not
/// move the others.
fn page<'a, T: AsRef<str>>(
    all: &'a [T],
    token: Option<&str>,
    size: usize,
) -> (&'a [T], Option<String>) {
    let from = token.map_or(0, |token| {
        let found = all.iter().position(|item| item.as_ref() == token);
        found.map_or_else(|| all.partition_point(|item| item.as_ref() <= token), |at| at + 1)
    });
    let to = (from + size.max(1)).min(all.len());
    let last = all[from..to].last().filter(|_| to < all.len());
    (&all[from..to], last.map(|item| item.as_ref().to_owned()))
}

impl ServiceStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceStatus::Active => "ACTIVE",
            ServiceStatus::Draining => "DRAINING",
            ServiceStatus::Inactive => "INACTIVE",
        }
    }
}

impl Attachment {
    pub fn name(&self) -> &str {
        match self {
            Attachment::TargetGroup(name) | Attachment::Classic(name) => name,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Attachment::TargetGroup(name) => {
                json!({"targetGroupArn": target_group_arn(name), "containerName": "app", "containerPort": 80})
            }
            Attachment::Classic(name) => {
                json!({"loadBalancerName": name, "containerName": "app", "containerPort": 80})
            }
        }
    }
}

/// The field `loadBalancers` of services, task sets and requests.
pub fn attachments_to_json(attachments: &[Attachment]) -> Value {
    attachments.iter().map(Attachment::to_json).collect()
}

impl EcsState {
    /// Answers an operation. No page is larger than `max_page`.
    pub fn answer(&self, operation: &str, request: &Value, max_page: usize) -> Reply {
        let token = request["nextToken"].as_str();
        let size = |default: u64| {
            usize::try_from(request["maxResults"].as_u64().unwrap_or(default))
                .unwrap_or(1)
                .min(100)
                .min(max_page)
        };
        let cluster = last_segment(request["cluster"].as_str().unwrap_or("default"));
        let exists = self.clusters.iter().any(|other| other == cluster);
        match operation {
            "ListClusters" => {
                let arns: Vec<String> =
                    self.clusters.iter().map(|name| cluster_arn(name)).collect();
                let (arns, next) = page(&arns, token, size(100));
                (200, json!({"clusterArns": arns, "nextToken": next}).to_string())
            }
            _ if !exists => ecs_error("ClusterNotFoundException", "Cluster not found."),
            "ListServices" => {
                let active = |(name, service): (&ServiceName, &StoredService)| {
                    (name.0 == cluster && service.status == ServiceStatus::Active)
                        .then(|| service_arn(name))
                };
                let arns: Vec<String> = self.services.iter().filter_map(active).collect();
                let (arns, next) = page(&arns, token, size(10));
                (200, json!({"serviceArns": arns, "nextToken": next}).to_string())
            }
            "DescribeServices" => {
                let references: Vec<&str> = request["services"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                if references.is_empty() || references.len() > 10 {
                    return ecs_error(
                        "InvalidParameterException",
                        "Services must have 1 to 10 members.",
                    );
                }
                let with_tags = request["include"]
                    .as_array()
                    .is_some_and(|include| include.contains(&json!("TAGS")));
                let (mut found, mut failures) = (Vec::new(), Vec::new());
                for reference in references {
                    let name = (cluster.to_owned(), last_segment(reference).to_owned());
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

impl StoredService {
    fn to_json(&self, name: &ServiceName, with_tags: bool) -> Value {
        let sets = self.task_sets.iter().map(|(status, attachments)| {
            json!({"status": status, "loadBalancers": attachments_to_json(attachments)})
        });
        let tags = self
            .tags
            .iter()
            .filter(|_| with_tags)
            .map(|(key, value)| json!({"key": key, "value": value}));
        json!({
            "serviceArn": service_arn(name), "serviceName": name.1, "clusterArn": cluster_arn(&name.0),
            "status": self.status.as_str(), "createdAt": self.created_at,
            "loadBalancers": attachments_to_json(&self.load_balancers),
            "taskSets": sets.collect::<Vec<_>>(), "tags": tags.collect::<Vec<_>>(),
            "deployments": self.deployment.map(Deployment::to_json).into_iter().collect::<Vec<_>>(),
        })
    }

    /// The load balancers of the service itself, then those of its task sets.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        let of_sets = self.task_sets.iter().flat_map(|(_, attachments)| attachments);
        self.load_balancers.iter().chain(of_sets)
    }
}

impl Deployment {
    fn to_json(self) -> Value {
        let state = match self.state {
            RolloutState::InProgress => "IN_PROGRESS",
            RolloutState::Completed => "COMPLETED",
            RolloutState::Failed => "FAILED",
        };
        json!({"status": "PRIMARY", "rolloutState": state, "updatedAt": self.updated_at})
    }
}

/// The fields of a load balancer that the handler does not read. They make an answer as large as that of AWS.
const UNREAD_FIELDS: &str = "<CreatedTime>2026-01-01T00:00:00.000Z</CreatedTime><Type>application</Type>\
    <AvailabilityZones>\
    <member><ZoneName>eu-west-1a</ZoneName><SubnetId>subnet-0123456789abcdef0</SubnetId><LoadBalancerAddresses/></member>\
    <member><ZoneName>eu-west-1b</ZoneName><SubnetId>subnet-0123456789abcdef1</SubnetId><LoadBalancerAddresses/></member>\
    <member><ZoneName>eu-west-1c</ZoneName><SubnetId>subnet-0123456789abcdef2</SubnetId><LoadBalancerAddresses/></member>\
    </AvailabilityZones><SecurityGroups><member>sg-0123456789abcdef0</member></SecurityGroups>";

impl Account {
    /// Answers an operation of Elastic Load Balancing, of either generation. No page is larger than
    /// `max_page`.
    pub fn answer_elb(
        &self,
        operation: &str,
        form: &BTreeMap<String, String>,
        max_page: usize,
    ) -> Reply {
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
            .min(max_page);
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
        let too_many =
            || xml_error(400, "ValidationError", "Up to 20 resources can be described per request");
        match (operation, classic) {
            ("DescribeLoadBalancers", true) => {
                let mut names = members("LoadBalancerNames");
                let mut next = None;
                if names.is_empty() {
                    let all = self.load_balancers.iter().filter(|(_, one)| one.classic);
                    names = all.map(|(name, _)| name.as_str()).collect();
                    let (some, more) = page(&names, token, size);
                    (names, next) = (some.to_vec(), more);
                }
                let mut body = String::new();
                for name in names {
                    let Some(load_balancer) =
                        self.load_balancers.get(name).filter(|load_balancer| load_balancer.classic)
                    else {
                        return xml_error(
                            400,
                            "LoadBalancerNotFound",
                            &format!("There is no ACTIVE Load Balancer named '{name}'"),
                        );
                    };
                    body.push_str(&format!(
                        "<member><LoadBalancerName>{name}</LoadBalancerName><DNSName>{}</DNSName><CanonicalHostedZoneNameID>{LOAD_BALANCER_ZONE}</CanonicalHostedZoneNameID><Scheme>{}</Scheme><VPCId>{}</VPCId></member>",
                        dns_name(name), load_balancer.scheme(), load_balancer.vpc
                    ));
                }
                wrap(&format!("<LoadBalancerDescriptions>{body}</LoadBalancerDescriptions>"), next)
            }
            ("DescribeLoadBalancers", false) => {
                let mut requested: Vec<&str> =
                    members("LoadBalancerArns").into_iter().map(name_in_arn).collect();
                requested.extend(members("Names"));
                let all: Vec<&String> = self
                    .load_balancers
                    .iter()
                    .filter(|(_, load_balancer)| !load_balancer.classic)
                    .map(|(name, _)| name)
                    .collect();
                if requested.len() > 20 {
                    return too_many();
                }
                if requested.iter().any(|name| !all.iter().any(|other| other == name)) {
                    return xml_error(
                        400,
                        "LoadBalancerNotFound",
                        "One or more load balancers not found",
                    );
                }
                let selected: Vec<&String> = all
                    .into_iter()
                    .filter(|name| requested.is_empty() || requested.contains(&name.as_str()))
                    .collect();
                // A description by ARN has no pages.
                let size = if requested.is_empty() { size } else { 20 };
                let (names, next) = page(&selected, token, size);
                let member = |name: &&String| {
                    let load_balancer = &self.load_balancers[*name];
                    let stack = if load_balancer.dualstack { "dualstack" } else { "ipv4" };
                    format!(
                        "<member><LoadBalancerArn>{}</LoadBalancerArn><LoadBalancerName>{name}</LoadBalancerName><DNSName>{}</DNSName><CanonicalHostedZoneId>{LOAD_BALANCER_ZONE}</CanonicalHostedZoneId><IpAddressType>{stack}</IpAddressType><Scheme>{}</Scheme><VpcId>{}</VpcId><State><Code>{}</Code></State>{UNREAD_FIELDS}</member>",
                        load_balancer_arn(name),
                        dns_name(name),
                        load_balancer.scheme(),
                        load_balancer.vpc,
                        if load_balancer.has_failed { "failed" } else { "active" }
                    )
                };
                let body: String = names.iter().map(member).collect();
                wrap(&format!("<LoadBalancers>{body}</LoadBalancers>"), next)
            }
            ("DescribeTargetGroups", false) => {
                let requested: Vec<&str> =
                    members("TargetGroupArns").into_iter().map(name_in_arn).collect();
                if requested.len() > 20 {
                    return too_many();
                }
                if requested.iter().any(|name| !self.target_groups.contains_key(*name)) {
                    return xml_error(
                        400,
                        "TargetGroupNotFound",
                        "One or more target groups not found",
                    );
                }
                let selected: Vec<&String> = self
                    .target_groups
                    .keys()
                    .filter(|name| requested.is_empty() || requested.contains(&name.as_str()))
                    .collect();
                // A description by ARN has no pages.
                let size = if requested.is_empty() { size } else { 20 };
                let (names, next) = page(&selected, token, size);
                let member = |name: &&String| {
                    let arns: String = self.target_groups[*name]
                        .iter()
                        .map(|name| format!("<member>{}</member>", load_balancer_arn(name)))
                        .collect();
                    format!(
                        "<member><TargetGroupArn>{}</TargetGroupArn><LoadBalancerArns>{arns}</LoadBalancerArns></member>",
                        target_group_arn(name)
                    )
                };
                let body: String = names.iter().map(member).collect();
                wrap(&format!("<TargetGroups>{body}</TargetGroups>"), next)
            }
            (other, _) => xml_error(400, "InvalidAction", other),
        }
    }
}

impl StoredLoadBalancer {
    fn scheme(&self) -> &'static str {
        if self.internal { "internal" } else { "internet-facing" }
    }
}

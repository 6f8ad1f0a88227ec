//! What an invocation asks for: reads any payload and says which services to look at.
//!
//! A payload is a hint and never believed: nothing in it says what to write. Whatever cannot
//! be understood is ignored with a reason, since trying again would not help.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::service::{
    Behind, ClassicName, Home, HostedZoneId, ServiceArn, TargetGroupArn, last_segment,
};

/// What an invocation carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    One(Trigger),
    /// Messages of a queue, each of which may fail by itself.
    Batch(Vec<Message>),
}

/// A message of an SQS batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// By which SQS is told that it failed.
    pub id: String,
    pub trigger: Trigger,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    Reconcile {
        scope: Scope,
        options: Options,
    },
    /// Remove every record that this environment manages, or those in one zone, which need not be
    /// the environment's any more.
    Deregister {
        zone: Option<HostedZoneId>,
        options: Options,
    },
    /// Nothing, and why.
    Ignore {
        reason: String,
    },
    /// Nothing: it is neither an event nor a request. Whoever sent it should hear of it, where
    /// that is possible.
    Unreadable {
        reason: String,
    },
}

/// Which services to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Everything,
    Services(Named),
}

/// Services that were named, and what events said of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub services: BTreeSet<ServiceArn>,
    /// Load balancers and target groups that events mention: worth reading ahead, proof of
    /// nothing.
    pub hint: BTreeSet<Behind>,
    /// Those whose tags changed, so that they may hold a name which they told no longer.
    pub retagged: BTreeSet<ServiceArn>,
    /// Those that were deleted. If one lives, it was created again, perhaps with other tags.
    pub deleted: BTreeSet<ServiceArn>,
    /// When the first event happened, as it says; nothing depends on it but a metric.
    pub since: Option<String>,
}

/// What a person may ask for besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Write nothing, answer what would be written.
    pub dry_run: bool,
    /// Delete in a full pass as much as ECS says is gone.
    pub override_delete_limit: bool,
}

/// The calls of the ECS API after which a name may have to change.
const CALLS: [&str; 8] = [
    "CreateService",
    "UpdateService",
    "DeleteService",
    "CreateTaskSet",
    "DeleteTaskSet",
    "UpdateServicePrimaryTaskSet",
    "TagResource",
    "UntagResource",
];

impl Trigger {
    /// Reads an event or a request. Never fails: what is unknown is [`Trigger::Ignore`], and what
    /// is no JSON, or nested deeper than anything sensible is, [`Trigger::Unreadable`].
    #[must_use]
    pub fn read(payload: &str, home: &Home) -> Trigger {
        match serde_json::from_str(payload) {
            Ok(payload) => Trigger::parse(&payload, home),
            Err(error) => unreadable(error),
        }
    }

    /// Reads one that is JSON.
    #[must_use]
    pub fn parse(payload: &Value, home: &Home) -> Trigger {
        // Lambda wraps an event that failed; so it comes when it is moved back to be tried again.
        let payload = match (payload.get("requestContext"), payload.get("requestPayload")) {
            (Some(_), Some(failed)) => failed,
            _ => payload,
        };
        if payload.get("detail-type").is_some() {
            event(payload, home)
        } else if payload.get("RequestType").is_some() {
            deployment(payload, home)
        } else if payload.get("reconcile").is_some() || payload.get("deregister").is_some() {
            request(payload, home)
        } else {
            let reason = "the payload is neither an EventBridge event nor a request such as \
                          {\"reconcile\":\"all\"}";
            Trigger::Unreadable { reason: reason.into() }
        }
    }

    /// When the first event happened, as it says.
    #[must_use]
    pub fn since(&self) -> Option<&str> {
        match self {
            Trigger::Reconcile { scope: Scope::Services(named), .. } => named.since.as_deref(),
            _ => None,
        }
    }

    /// Whether one run can do both, and if so what that run is asked for.
    fn merge(&mut self, other: &Trigger) -> bool {
        match (self, other) {
            (
                Trigger::Deregister { zone, options },
                Trigger::Deregister { zone: another, options: others },
            ) => zone == another && options == others,
            (
                Trigger::Reconcile { scope, options },
                Trigger::Reconcile { scope: more, options: others },
            ) if options == others => {
                match (&mut *scope, more) {
                    (Scope::Services(named), Scope::Services(more)) => named.extend(more),
                    (Scope::Services(_), Scope::Everything) => *scope = Scope::Everything,
                    (Scope::Everything, _) => {}
                }
                true
            }
            _ => false,
        }
    }
}

impl Named {
    fn extend(&mut self, more: &Named) {
        self.services.extend(more.services.iter().cloned());
        self.hint.extend(more.hint.iter().cloned());
        self.retagged.extend(more.retagged.iter().cloned());
        self.deleted.extend(more.deleted.iter().cloned());
        // Both are written alike, so the smaller text is the earlier time.
        self.since = self.since.take().into_iter().chain(more.since.clone()).min();
    }
}

impl Payload {
    /// Reads a payload as Lambda hands it over. Never fails, like [`Trigger::read`].
    #[must_use]
    pub fn read(payload: &str, home: &Home) -> Payload {
        let payload: Value = match serde_json::from_str(payload) {
            Ok(payload) => payload,
            Err(error) => return Payload::One(unreadable(error)),
        };
        match messages(&payload, home) {
            Some(messages) => Payload::Batch(messages),
            None => Payload::One(Trigger::parse(&payload, home)),
        }
    }
}

/// The messages of an SQS batch; none if the payload is not one.
fn messages(payload: &Value, home: &Home) -> Option<Vec<Message>> {
    let records = payload.get("Records")?.as_array().filter(|records| !records.is_empty())?;
    let message = |record: &Value| {
        let id = record["messageId"].as_str().filter(|_| record["eventSource"] == "aws:sqs")?;
        let trigger = match record["body"].as_str() {
            Some(body) => Trigger::read(body, home),
            None => Trigger::Unreadable { reason: "the message has no body".into() },
        };
        Some(Message { id: id.to_owned(), trigger })
    };
    records.iter().map(message).collect()
}

/// As few runs as will do for a batch, in the order of their first messages; each with the
/// messages that it is for. Those that ask for nothing are in none.
#[must_use]
pub fn runs(messages: &[Message]) -> Vec<(Trigger, Vec<&Message>)> {
    let mut runs: Vec<(Trigger, Vec<&Message>)> = Vec::new();
    for message in messages {
        if matches!(message.trigger, Trigger::Ignore { .. } | Trigger::Unreadable { .. }) {
            continue;
        }
        match runs
            .iter_mut()
            .find_map(|(trigger, for_them)| trigger.merge(&message.trigger).then_some(for_them))
        {
            Some(for_them) => for_them.push(message),
            None => runs.push((message.trigger.clone(), vec![message])),
        }
    }
    runs
}

fn unreadable(error: serde_json::Error) -> Trigger {
    Trigger::Unreadable { reason: format!("the payload cannot be read as JSON: {error}") }
}

fn ignore(reason: impl Into<String>) -> Trigger {
    Trigger::Ignore { reason: reason.into() }
}

fn reconcile(scope: Scope) -> Trigger {
    Trigger::Reconcile { scope, options: Options::default() }
}

fn event(event: &Value, home: &Home) -> Trigger {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    match (text("source"), text("detail-type")) {
        ("aws.events", "Scheduled Event") => reconcile(Scope::Everything),
        ("aws.ecs", "AWS API Call via CloudTrail") => {
            api_call(&event["detail"], event["time"].as_str(), home)
        }
        ("aws.ecs", "ECS Deployment State Change" | "ECS Service Action") => {
            let Some(resource) = event["resources"][0].as_str() else {
                return ignore("the event names no service in resources[0]");
            };
            // Some of these events tell the cluster besides, for ARNs that do not.
            let cluster = event["detail"]["clusterArn"].as_str();
            match (ServiceArn::parse(resource), cluster) {
                (Ok(service), _) => one(service, home),
                (Err(error), _) if !is_short_service_arn(resource) => {
                    ignore(format!("resources[0]: {error}"))
                }
                (Err(_), Some(cluster)) => {
                    match ServiceArn::new(home, last_segment(cluster), last_segment(resource)) {
                        Ok(service) => one(service, home),
                        Err(error) => ignore(format!("resources[0]: {error}")),
                    }
                }
                (Err(_), None) => reconcile(Scope::Everything),
            }
        }
        (source, detail_type) => {
            ignore(format!("events {detail_type:?} of {source:?} change no name"))
        }
    }
}

/// A call of the ECS API that CloudTrail recorded. The crates that model these events refuse
/// real ones (a root user's empty `sessionIssuer`, absent fields), so only what is needed is
/// looked at, wherever it is.
fn api_call(detail: &Value, sent: Option<&str>, home: &Home) -> Trigger {
    let source = detail["eventSource"].as_str().unwrap_or_default();
    let call = detail["eventName"].as_str().unwrap_or_default();
    if source != "ecs.amazonaws.com" || !CALLS.contains(&call) {
        return ignore(format!("calls of {call:?} to {source:?} change no name"));
    }
    if let Some(code) = detail.get("errorCode").filter(|code| !code.is_null()) {
        return ignore(format!("the call failed with {code}, so it changed nothing"));
    }
    if call == "UpdateService" && keeps_its_load_balancers(detail) {
        return ignore("the call changed no load balancer, so it changes no name");
    }
    match identity(detail, call, home) {
        Identity::Service(service) => {
            let if_called = |calls: &[&str]| {
                calls.contains(&call).then(|| service.clone()).into_iter().collect()
            };
            let retagged = if_called(&["TagResource", "UntagResource"]);
            let deleted = if_called(&["DeleteService"]);
            let since = detail["eventTime"].as_str().or(sent).map(str::to_owned);
            let said = Named { hint: hint(detail), retagged, deleted, since, ..Named::default() };
            named(service, said, home)
        }
        Identity::NotAService(reason) => ignore(reason),
        // CloudTrail cuts fields over 100 KB: something happened, nobody knows to which service.
        Identity::Unknown => reconcile(Scope::Everything),
    }
}

/// Whether an update says nothing of load balancers: a new image or another count, mostly. Only
/// a request that is there as a whole can prove it.
fn keeps_its_load_balancers(detail: &Value) -> bool {
    let request = &detail["requestParameters"];
    let whole = request["service"].is_string() && detail.get("omitted").is_none();
    whole && request.get("loadBalancers").is_none() && request.get("omitted").is_none()
}

enum Identity {
    Service(ServiceArn),
    NotAService(String),
    Unknown,
}

fn identity(detail: &Value, call: &str, home: &Home) -> Identity {
    let request = &detail["requestParameters"];
    if matches!(call, "TagResource" | "UntagResource") {
        return match request["resourceArn"].as_str() {
            None => Identity::Unknown,
            Some(arn) if is_short_service_arn(arn) => Identity::Unknown,
            Some(arn) => match ServiceArn::parse(arn) {
                Ok(service) => Identity::Service(service),
                Err(_) => {
                    Identity::NotAService(format!("{arn:?} was tagged, which is not a service"))
                }
            },
        };
    }
    if let Some(arn) = detail["responseElements"]["service"]["serviceArn"].as_str()
        && let Ok(service) = ServiceArn::parse(arn)
    {
        return Identity::Service(service);
    }
    let named = if call == "CreateService" { "serviceName" } else { "service" };
    let Some(service) = request[named].as_str() else {
        return Identity::Unknown;
    };
    if let Ok(service) = ServiceArn::parse(service) {
        return Identity::Service(service);
    }
    // An absent cluster is the one called `default`, unless the request itself was cut.
    let cluster = match &request["cluster"] {
        Value::Null if detail["omitted"] == true || request["omitted"] == true => {
            return Identity::Unknown;
        }
        Value::Null => "default",
        cluster => cluster.as_str().unwrap_or_default(),
    };
    match ServiceArn::new(home, last_segment(cluster), last_segment(service)) {
        Ok(service) => Identity::Service(service),
        Err(_) => Identity::Unknown,
    }
}

/// `arn:…:service/<name>`, from before ARNs told the cluster.
fn is_short_service_arn(arn: &str) -> bool {
    arn.split_once(":service/").is_some_and(|(_, name)| !name.contains('/'))
}

fn one(service: ServiceArn, home: &Home) -> Trigger {
    named(service, Named::default(), home)
}

fn named(service: ServiceArn, mut named: Named, home: &Home) -> Trigger {
    if service.home() != home {
        return ignore(format!(
            "{service} is in another account or region than this handler ({}, {})",
            home.account, home.region
        ));
    }
    named.services.insert(service);
    reconcile(Scope::Services(named))
}

/// An id becomes a part of a request's path.
fn is_zone_id(text: &str) -> bool {
    (2..=32).contains(&text.len())
        && text.starts_with('Z')
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

/// More than one call may ask for is no hint any more.
const MAX_HINTS: usize = 20;

fn hint(detail: &Value) -> BTreeSet<Behind> {
    let lists = [
        &detail["requestParameters"]["loadBalancers"],
        &detail["responseElements"]["service"]["loadBalancers"],
    ];
    let behind = |entry: &Value| {
        if let Some(arn) = entry["targetGroupArn"].as_str() {
            return (arn.starts_with("arn:") && arn.contains(":targetgroup/"))
                .then(|| Behind::TargetGroup(TargetGroupArn::new(arn)));
        }
        let name = entry["loadBalancerName"].as_str()?;
        let plain = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain.then(|| Behind::Classic(ClassicName::new(name)))
    };
    let entries = lists.into_iter().filter_map(Value::as_array).flatten();
    entries.filter_map(behind).take(MAX_HINTS).collect()
}

/// What CloudFormation says of a resource: the request is in its property of the event's name
/// (`Create`, `Update` or `Delete`), if it has any.
fn deployment(payload: &Value, home: &Home) -> Trigger {
    let event = payload["RequestType"].as_str().unwrap_or_default();
    match payload["ResourceProperties"][event].as_str() {
        None => ignore(format!("the resource asks for nothing on {event:?}")),
        Some(text) => match serde_json::from_str(text) {
            Ok(asked) => request(&asked, home),
            Err(error) => unreadable(error),
        },
    }
}

/// A request made by a person or by the deployment.
fn request(payload: &Value, home: &Home) -> Trigger {
    try_request(payload, home).unwrap_or_else(|reason| Trigger::Unreadable { reason })
}

fn try_request(payload: &Value, home: &Home) -> Result<Trigger, String> {
    let mut options = Options::default();
    let fields = payload.as_object().ok_or("the payload is not an object")?;
    for (key, value) in fields {
        let flag = match key.as_str() {
            "reconcile" | "deregister" => continue,
            "dryRun" => &mut options.dry_run,
            "overrideDeleteLimit" => &mut options.override_delete_limit,
            other => {
                return Err(format!(
                    "unknown key {other:?}: known are reconcile, deregister, dryRun and overrideDeleteLimit"
                ));
            }
        };
        *flag =
            value.as_bool().ok_or_else(|| format!("{key} is {value}, expected true or false"))?;
    }
    match (fields.get("reconcile"), fields.get("deregister")) {
        (Some(_), Some(_)) => Err("either reconcile or deregister, not both".into()),
        (None, Some(what)) if what == "all" => Ok(Trigger::Deregister { zone: None, options }),
        (None, what) => {
            let zone = what
                .and_then(Value::as_object)
                .filter(|object| object.len() == 1)
                .and_then(|object| object.get("hostedZoneId")?.as_str())
                .filter(|id| is_zone_id(id))
                .ok_or_else(|| {
                    let found = what.unwrap_or(&Value::Null);
                    format!(
                        "deregister is {found}, expected \"all\" or {{\"hostedZoneId\":\"Z…\"}}"
                    )
                })?;
            Ok(Trigger::Deregister { zone: Some(HostedZoneId::new(zone)), options })
        }
        (Some(what), None) if what == "all" => {
            Ok(Trigger::Reconcile { scope: Scope::Everything, options })
        }
        (Some(what), None) => {
            let expected = "\"all\" or {\"cluster\":\"…\",\"service\":\"…\"}";
            let named = what
                .as_object()
                .filter(|object| object.keys().all(|key| key == "cluster" || key == "service"))
                .and_then(|object| {
                    let cluster = object.get("cluster").map_or(Some("default"), Value::as_str)?;
                    Some((cluster, object.get("service")?.as_str()?))
                });
            let (cluster, service) =
                named.ok_or_else(|| format!("reconcile is {what}, expected {expected}"))?;
            let service = match ServiceArn::parse(service) {
                Ok(service) => service,
                Err(_) => ServiceArn::new(home, last_segment(cluster), last_segment(service))
                    .map_err(|error| error.to_string())?,
            };
            match one(service, home) {
                Trigger::Reconcile { scope, .. } => Ok(Trigger::Reconcile { scope, options }),
                other => Ok(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use serde_json::json;

    fn home() -> Home {
        Home::of_function("arn:aws:lambda:eu-west-1:111122223333:function:discovery")
            .expect("a function's ARN")
    }

    fn check(payload: Value) -> String {
        show(&Trigger::parse(&payload, &home()))
    }

    fn show(trigger: &Trigger) -> String {
        match trigger {
            Trigger::Ignore { reason } => format!("ignored: {reason}"),
            Trigger::Unreadable { reason } => format!("unreadable: {reason}"),
            Trigger::Deregister { zone, options } => {
                let zone = zone.as_ref().map_or(String::new(), |zone| format!(" in {zone}"));
                format!("deregister{zone}{}", flags(*options))
            }
            Trigger::Reconcile { scope: Scope::Everything, options } => {
                format!("everything{}", flags(*options))
            }
            Trigger::Reconcile { scope: Scope::Services(named), options } => {
                let services: Vec<String> = named
                    .services
                    .iter()
                    .map(|service| {
                        let retagged =
                            if named.retagged.contains(service) { " retagged" } else { "" };
                        let deleted = if named.deleted.contains(service) { " deleted" } else { "" };
                        format!("{}/{}{retagged}{deleted}", service.cluster(), service.service())
                    })
                    .collect();
                let hint: Vec<String> = named
                    .hint
                    .iter()
                    .map(|behind| last_segment(&behind.to_string()).to_owned())
                    .collect();
                let hint = if hint.is_empty() {
                    String::new()
                } else {
                    format!(" hint {}", hint.join(", "))
                };
                format!("{}{hint}{}", services.join(", "), flags(*options))
            }
        }
    }

    fn flags(options: Options) -> String {
        let dry = if options.dry_run { " dry" } else { "" };
        let over = if options.override_delete_limit { " override" } else { "" };
        format!("{dry}{over}")
    }

    fn api_call(name: &str, request: Value, more: Value) -> Value {
        let mut detail = json!({
            "eventSource": "ecs.amazonaws.com", "eventName": name,
            "requestParameters": request, "responseElements": null,
        });
        for (key, value) in more.as_object().expect("an object") {
            detail[key] = value.clone();
        }
        json!({ "source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail", "detail": detail })
    }

    fn call(name: &str, request: Value) -> String {
        check(api_call(name, request, json!({})))
    }

    #[test]
    fn clusters_and_services_are_told_as_names_as_arns_or_not_at_all() {
        let cluster = "arn:aws:ecs:eu-west-1:111122223333:cluster/dev";
        let service = "arn:aws:ecs:eu-west-1:111122223333:service/dev/web";
        assert_snapshot!(call("CreateService", json!({"cluster": "dev", "serviceName": "web"})), @"dev/web");
        assert_snapshot!(call("CreateService", json!({"cluster": cluster, "serviceName": "web"})), @"dev/web");
        assert_snapshot!(call("CreateService", json!({"serviceName": "web"})), @"default/web");
        assert_snapshot!(call("UpdateService", json!({"cluster": "dev", "service": "web", "loadBalancers": []})), @"dev/web");
        assert_snapshot!(call("DeleteService", json!({"service": service})), @"dev/web deleted");
        assert_snapshot!(call("DeleteService", json!({"cluster": "dev", "service": "arn:aws:ecs:eu-west-1:111122223333:service/web"})), @"dev/web deleted");
        assert_snapshot!(call("CreateTaskSet", json!({"cluster": cluster, "service": service})), @"dev/web");
        assert_snapshot!(call("TagResource", json!({"resourceArn": service})), @"dev/web retagged");
    }

    #[test]
    fn the_response_is_preferred_to_the_request() {
        let response = json!({"responseElements": {"service": {"serviceArn": "arn:aws:ecs:eu-west-1:111122223333:service/blue/web"}}});
        assert_snapshot!(check(api_call("UpdateServicePrimaryTaskSet", json!({"service": "web"}), response)), @"blue/web");
    }

    #[test]
    fn load_balancers_of_the_event_are_only_a_hint() {
        let group = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web-tg/0123";
        assert_snapshot!(
            call("CreateService", json!({"serviceName": "web", "loadBalancers": [{"targetGroupArn": group}, {"targetGroupArn": "x"}, {"loadBalancerName": "old-web"}, {"loadBalancerName": "x/y"}, 7]})),
            @"default/web hint the target group arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web-tg/0123, the classic load balancer old-web"
        );
    }

    #[test]
    fn a_failed_call_changes_nothing() {
        assert_snapshot!(
            check(api_call("CreateService", json!({"serviceName": "web"}), json!({"errorCode": "InvalidParameterException"}))),
            @r#"ignored: the call failed with "InvalidParameterException", so it changed nothing"#
        );
    }

    #[test]
    fn an_update_that_leaves_the_load_balancers_alone_costs_nothing() {
        assert_snapshot!(
            call("UpdateService", json!({"cluster": "dev", "service": "web", "forceNewDeployment": true})),
            @"ignored: the call changed no load balancer, so it changes no name"
        );
        // What was cut away may have been about load balancers.
        assert_snapshot!(call("UpdateService", json!({"service": "web", "omitted": true})), @"everything");
    }

    #[test]
    fn an_event_that_does_not_tell_its_service_becomes_a_full_pass() {
        assert_snapshot!(call("UpdateService", json!({"omitted": true})), @"everything");
        assert_snapshot!(call("UpdateService", json!(null)), @"everything");
        assert_snapshot!(call("UpdateService", json!({"service": 7})), @"everything");
        assert_snapshot!(call("TagResource", json!({"resourceArn": "arn:aws:ecs:eu-west-1:111122223333:service/web"})), @"everything");
    }

    #[test]
    fn the_schedule_is_a_full_pass() {
        assert_snapshot!(check(json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}})), @"everything");
    }

    #[test]
    fn ecs_own_events_name_the_service_in_their_resources() {
        let event = |resources: Value| json!({"source": "aws.ecs", "detail-type": "ECS Service Action", "resources": resources, "detail": {}});
        assert_snapshot!(check(event(json!(["arn:aws:ecs:eu-west-1:111122223333:service/dev/web"]))), @"dev/web");
        assert_snapshot!(check(event(json!([]))), @"ignored: the event names no service in resources[0]");
        assert_snapshot!(check(event(json!(["arn:aws:ecs:eu-west-1:111122223333:cluster/dev"]))), @r#"ignored: resources[0]: "arn:aws:ecs:eu-west-1:111122223333:cluster/dev" is not an ECS service ARN, arn:…:ecs:<region>:<account>:service/<cluster>/<service>"#);
        let short = json!(["arn:aws:ecs:eu-west-1:111122223333:service/web"]);
        assert_snapshot!(check(event(short.clone())), @"everything");
        let mut telling = event(short);
        telling["detail"]["clusterArn"] = json!("arn:aws:ecs:eu-west-1:111122223333:cluster/dev");
        assert_snapshot!(check(telling), @"dev/web");
    }

    #[test]
    fn a_service_elsewhere_is_not_looked_at() {
        assert_snapshot!(
            call("DeleteService", json!({"service": "arn:aws:ecs:us-east-1:111122223333:service/dev/web"})),
            @"ignored: arn:aws:ecs:us-east-1:111122223333:service/dev/web is in another account or region than this handler (111122223333, eu-west-1)"
        );
    }

    #[test]
    fn what_changes_no_name_is_ignored_with_a_reason() {
        assert_snapshot!(call("RunTask", json!({})), @r#"ignored: calls of "RunTask" to "ecs.amazonaws.com" change no name"#);
        assert_snapshot!(call("TagResource", json!({"resourceArn": "arn:aws:ecs:eu-west-1:111122223333:cluster/dev"})), @r#"ignored: "arn:aws:ecs:eu-west-1:111122223333:cluster/dev" was tagged, which is not a service"#);
        assert_snapshot!(check(json!({"source": "aws.ec2", "detail-type": "x"})), @r#"ignored: events "x" of "aws.ec2" change no name"#);
        for payload in
            [json!(null), json!(7), json!("x"), json!([]), json!({}), json!({"detail": {}})]
        {
            assert!(check(payload).starts_with("unreadable: the payload is neither"));
        }
    }

    #[test]
    fn a_person_asks_by_name() {
        assert_snapshot!(check(json!({"reconcile": "all"})), @"everything");
        assert_snapshot!(check(json!({"reconcile": "all", "dryRun": true, "overrideDeleteLimit": true})), @"everything dry override");
        assert_snapshot!(check(json!({"reconcile": {"cluster": "dev", "service": "orders"}, "dryRun": true})), @"dev/orders dry");
        assert_snapshot!(check(json!({"reconcile": {"service": "orders"}})), @"default/orders");
        assert_snapshot!(check(json!({"deregister": "all"})), @"deregister");
    }

    #[test]
    fn a_wrong_request_is_told_what_was_expected() {
        assert_snapshot!(check(json!({"reconcile": "everything"})), @r#"unreadable: reconcile is "everything", expected "all" or {"cluster":"…","service":"…"}"#);
        assert_snapshot!(check(json!({"reconcile": {"cluster": "dev"}})), @r#"unreadable: reconcile is {"cluster":"dev"}, expected "all" or {"cluster":"…","service":"…"}"#);
        assert_snapshot!(check(json!({"reconcile": "all", "dryrun": true})), @r#"unreadable: unknown key "dryrun": known are reconcile, deregister, dryRun and overrideDeleteLimit"#);
        assert_snapshot!(check(json!({"reconcile": "all", "dryRun": "yes"})), @r#"unreadable: dryRun is "yes", expected true or false"#);
        assert_snapshot!(check(json!({"deregister": "orders"})), @r#"unreadable: deregister is "orders", expected "all" or {"hostedZoneId":"Z…"}"#);
        assert_snapshot!(check(json!({"deregister": {"hostedZoneId": "Z1", "name": "x"}})), @r#"unreadable: deregister is {"hostedZoneId":"Z1","name":"x"}, expected "all" or {"hostedZoneId":"Z…"}"#);
        assert_snapshot!(check(json!({"deregister": {"hostedZoneId": "Z1/rrset"}})), @r#"unreadable: deregister is {"hostedZoneId":"Z1/rrset"}, expected "all" or {"hostedZoneId":"Z…"}"#);
        assert_snapshot!(check(json!({"deregister": {"hostedZoneId": "Z1"}})), @"deregister in Z1");
        assert_snapshot!(check(json!({"deregister": "all", "reconcile": "all"})), @"unreadable: either reconcile or deregister, not both");
    }

    /// Any JSON, with the keys that the parser looks for among its keys.
    fn any_json() -> impl Strategy<Value = Value> {
        let key = prop_oneof![
            Just("detail"),
            Just("detail-type"),
            Just("source"),
            Just("resources"),
            Just("requestParameters"),
            Just("responseElements"),
            Just("service"),
            Just("cluster"),
            Just("serviceArn"),
            Just("loadBalancers"),
            Just("reconcile"),
            Just("deregister"),
            Just("eventSource"),
            Just("eventName"),
            Just("errorCode"),
            Just("x"),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            Just(json!("all")),
            Just(json!("aws.ecs")),
            Just(json!("CreateService")),
            Just(json!("ecs.amazonaws.com")),
            Just(json!("AWS API Call via CloudTrail")),
        ];
        leaf.prop_recursive(5, 40, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone().prop_map(str::to_owned), inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    #[test]
    fn a_payload_nested_without_end_is_ignored() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let Payload::One(Trigger::Unreadable { reason }) = Payload::read(&deep, &home()) else {
            panic!("it was taken for something");
        };
        assert!(
            reason.starts_with("the payload cannot be read as JSON: recursion limit"),
            "{reason}"
        );
    }

    fn batch(bodies: &[Value]) -> Vec<Message> {
        let records = bodies.iter().enumerate().map(|(number, body)| {
            json!({"messageId": number.to_string(), "eventSource": "aws:sqs", "body": body})
        });
        let payload = json!({"Records": records.collect::<Vec<_>>()});
        match Payload::read(&payload.to_string(), &home()) {
            Payload::Batch(messages) => messages,
            Payload::One(trigger) => panic!("not a batch: {}", show(&trigger)),
        }
    }

    #[test]
    fn a_deployment_asks_for_what_its_resource_says() {
        let asks = |event: &str| {
            let properties = json!({"Create": r#"{"reconcile":"all"}"#, "Delete": r#"{"deregister":{"hostedZoneId":"Z1"}}"#});
            check(
                json!({"RequestType": event, "ResponseURL": "https://example.com", "ResourceProperties": properties}),
            )
        };
        assert_snapshot!(asks("Create"), @"everything");
        assert_snapshot!(asks("Delete"), @"deregister in Z1");
        assert_snapshot!(asks("Update"), @r#"ignored: the resource asks for nothing on "Update""#);
        assert_snapshot!(check(json!({"RequestType": 7, "ResourceProperties": 7})), @r#"ignored: the resource asks for nothing on """#);
        let broken = json!({"RequestType": "Create", "ResourceProperties": {"Create": "{"}});
        assert_snapshot!(check(broken), @"unreadable: the payload cannot be read as JSON: EOF while parsing an object at line 1 column 1");
    }

    #[test]
    fn an_event_that_failed_before_is_found_in_what_lambda_made_of_it() {
        let event =
            api_call("DeleteService", json!({"cluster": "dev", "service": "web"}), json!({}));
        let failed = json!({
            "version": "1.0", "requestContext": {"condition": "RetriesExhausted"},
            "requestPayload": event, "responsePayload": {"errorMessage": "…"},
        });
        assert_snapshot!(check(failed.clone()), @"dev/web deleted");
        let twice = json!({"requestContext": {}, "requestPayload": failed});
        assert!(check(twice).starts_with("unreadable"), "it is unwrapped once");
    }

    #[test]
    fn of_several_events_the_first_tells_since_when() {
        let at = |service: &str, time: &str| {
            let request = json!({"cluster": "dev", "service": service});
            let more = json!({"eventTime": time});
            Value::from(api_call("DeleteService", request, more).to_string())
        };
        let messages = batch(&[
            at("a", "2026-11-01T10:00:07Z"),
            at("b", "2026-11-01T10:00:03Z"),
            Value::from(json!({"reconcile": {"cluster": "dev", "service": "c"}}).to_string()),
        ]);
        let all = runs(&messages);
        let since: Vec<_> = all.iter().map(|(trigger, _)| trigger.since()).collect();
        assert_eq!(since, [Some("2026-11-01T10:00:03Z")]);
    }

    #[test]
    fn the_messages_of_a_queue_become_as_few_runs_as_will_do() {
        let text = |value: Value| Value::from(value.to_string());
        let service = |name: &str, dry: bool| {
            text(json!({"reconcile": {"cluster": "dev", "service": name}, "dryRun": dry}))
        };
        let messages = batch(&[
            service("a", false),
            text(api_call("RunTask", json!({}), json!({}))),
            service("b", true),
            text(api_call("DeleteService", json!({"cluster": "dev", "service": "c"}), json!({}))),
            json!("not JSON"),
            json!(7),
            text(json!({"deregister": "all"})),
            text(json!({"deregister": "all"})),
        ]);
        let show_runs = |messages: &[Message]| {
            let line = |(trigger, messages): &(Trigger, Vec<&Message>)| {
                let ids: Vec<&str> = messages.iter().map(|message| message.id.as_str()).collect();
                format!("{}: {}", ids.join(", "), show(trigger))
            };
            runs(messages).iter().map(line).collect::<Vec<_>>().join("\n")
        };
        assert_snapshot!(show_runs(&messages), @r"
        0, 3: dev/a, dev/c deleted
        2: dev/b dry
        6, 7: deregister
        ");
        assert_snapshot!(show(&messages[4].trigger), @"unreadable: the payload cannot be read as JSON: expected ident at line 1 column 2");
        assert_snapshot!(show(&messages[5].trigger), @"unreadable: the message has no body");
        let all = batch(&[service("a", false), text(json!({"reconcile": "all"}))]);
        assert_snapshot!(show_runs(&all), @"0, 1: everything");
    }

    #[test]
    fn what_is_not_a_queue_is_not_taken_for_one() {
        for records in [json!([]), json!([{"messageId": "1", "eventSource": "aws:s3"}]), json!(7)] {
            let payload = json!({ "Records": records }).to_string();
            assert!(matches!(
                Payload::read(&payload, &home()),
                Payload::One(Trigger::Unreadable { .. })
            ));
        }
    }

    proptest! {
        /// Invariant 8: of any text, too.
        #[test]
        fn invariant_8_no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Payload::read(&text, &home());
        }

        /// Invariant 8: no input, however malformed, crashes the handler.
        #[test]
        fn invariant_8_no_payload_makes_the_parser_panic(payload in any_json()) {
            let _ = Trigger::parse(&payload, &home());
        }
    }
}

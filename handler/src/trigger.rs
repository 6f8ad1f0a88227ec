//! What an invocation asks for: reads any payload and says which services to look at.
//!
//! A payload is a hint and never believed: nothing in it says what to write. Whatever cannot
//! be understood is ignored with a reason, since trying again would not help.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::service::{Home, ServiceArn, TargetGroupArn, last_segment};

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    Reconcile {
        scope: Scope,
        options: Options,
    },
    /// Remove every record that this environment manages.
    Deregister {
        options: Options,
    },
    /// Nothing, and why.
    Ignore {
        reason: String,
    },
}

/// Which services to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    Everything,
    Service {
        service: ServiceArn,
        /// Target groups that the event mentions: worth reading ahead, proof of nothing.
        hint: BTreeSet<TargetGroupArn>,
        /// Whether its tags changed, so that it may hold a name which they told no longer.
        retagged: bool,
    },
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
    /// Reads a payload as Lambda hands it over. Never fails: what is unknown, or nested deeper
    /// than anything sensible is, is [`Trigger::Ignore`].
    #[must_use]
    pub fn read(payload: &str, home: &Home) -> Trigger {
        match serde_json::from_str(payload) {
            Ok(payload) => Trigger::parse(&payload, home),
            Err(error) => ignore(format!("the payload cannot be read as JSON: {error}")),
        }
    }

    /// Reads a payload that is JSON.
    #[must_use]
    pub fn parse(payload: &Value, home: &Home) -> Trigger {
        if payload.get("detail-type").is_some() {
            event(payload, home)
        } else if payload.get("reconcile").is_some() || payload.get("deregister").is_some() {
            request(payload, home).unwrap_or_else(ignore)
        } else {
            ignore(
                "the payload is neither an EventBridge event nor a request such as {\"reconcile\":\"all\"}",
            )
        }
    }
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
        ("aws.ecs", "AWS API Call via CloudTrail") => api_call(&event["detail"], home),
        ("aws.ecs", "ECS Deployment State Change" | "ECS Service Action") => {
            let Some(resource) = event["resources"][0].as_str() else {
                return ignore("the event names no service in resources[0]");
            };
            // Some of these events tell the cluster besides, for ARNs that do not.
            let cluster = event["detail"]["clusterArn"].as_str();
            match (ServiceArn::parse(resource), cluster) {
                (Ok(service), _) => one(service, BTreeSet::new(), false, home),
                (Err(error), _) if !is_short_service_arn(resource) => {
                    ignore(format!("resources[0]: {error}"))
                }
                (Err(_), Some(cluster)) => {
                    match ServiceArn::new(home, last_segment(cluster), last_segment(resource)) {
                        Ok(service) => one(service, BTreeSet::new(), false, home),
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
fn api_call(detail: &Value, home: &Home) -> Trigger {
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
            let retagged = matches!(call, "TagResource" | "UntagResource");
            one(service, hint(detail), retagged, home)
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

fn one(
    service: ServiceArn,
    hint: BTreeSet<TargetGroupArn>,
    retagged: bool,
    home: &Home,
) -> Trigger {
    if service.home() != home {
        return ignore(format!(
            "{service} is in another account or region than this handler ({}, {})",
            home.account, home.region
        ));
    }
    reconcile(Scope::Service { service, hint, retagged })
}

fn hint(detail: &Value) -> BTreeSet<TargetGroupArn> {
    let lists = [
        &detail["requestParameters"]["loadBalancers"],
        &detail["responseElements"]["service"]["loadBalancers"],
    ];
    lists
        .into_iter()
        .filter_map(Value::as_array)
        .flatten()
        .filter_map(|entry| entry["targetGroupArn"].as_str())
        .filter(|arn| arn.starts_with("arn:") && arn.contains(":targetgroup/"))
        // More than one call may ask for is no hint any more.
        .take(20)
        .map(TargetGroupArn::new)
        .collect()
}

/// A request made by a person or by the deployment.
fn request(payload: &Value, home: &Home) -> Result<Trigger, String> {
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
        (None, Some(what)) if what == "all" => Ok(Trigger::Deregister { options }),
        (None, what) => {
            Err(format!("deregister is {}, expected \"all\"", what.unwrap_or(&Value::Null)))
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
            match one(service, BTreeSet::new(), false, home) {
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
        match Trigger::parse(&payload, &home()) {
            Trigger::Ignore { reason } => format!("ignored: {reason}"),
            Trigger::Deregister { options } => format!("deregister{}", flags(options)),
            Trigger::Reconcile { scope: Scope::Everything, options } => {
                format!("everything{}", flags(options))
            }
            Trigger::Reconcile { scope: Scope::Service { service, hint, retagged }, options } => {
                let hint: Vec<_> = hint.iter().map(|arn| last_segment(arn.as_str())).collect();
                let hint = if hint.is_empty() {
                    String::new()
                } else {
                    format!(" hint {}", hint.join(","))
                };
                let retagged = if retagged { " retagged" } else { "" };
                let flags = flags(options);
                format!("{}/{}{hint}{retagged}{flags}", service.cluster(), service.service())
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
        assert_snapshot!(call("DeleteService", json!({"service": service})), @"dev/web");
        assert_snapshot!(call("DeleteService", json!({"cluster": "dev", "service": "arn:aws:ecs:eu-west-1:111122223333:service/web"})), @"dev/web");
        assert_snapshot!(call("CreateTaskSet", json!({"cluster": cluster, "service": service})), @"dev/web");
        assert_snapshot!(call("TagResource", json!({"resourceArn": service})), @"dev/web retagged");
    }

    #[test]
    fn the_response_is_preferred_to_the_request() {
        let response = json!({"responseElements": {"service": {"serviceArn": "arn:aws:ecs:eu-west-1:111122223333:service/blue/web"}}});
        assert_snapshot!(check(api_call("UpdateServicePrimaryTaskSet", json!({"service": "web"}), response)), @"blue/web");
    }

    #[test]
    fn target_groups_of_the_event_are_only_a_hint() {
        let group = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web-tg/0123";
        assert_snapshot!(
            call("CreateService", json!({"serviceName": "web", "loadBalancers": [{"targetGroupArn": group}, {"targetGroupArn": "x"}, 7]})),
            @"default/web hint 0123"
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
            assert!(check(payload).starts_with("ignored: the payload is neither"));
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
        assert_snapshot!(check(json!({"reconcile": "everything"})), @r#"ignored: reconcile is "everything", expected "all" or {"cluster":"…","service":"…"}"#);
        assert_snapshot!(check(json!({"reconcile": {"cluster": "dev"}})), @r#"ignored: reconcile is {"cluster":"dev"}, expected "all" or {"cluster":"…","service":"…"}"#);
        assert_snapshot!(check(json!({"reconcile": "all", "dryrun": true})), @r#"ignored: unknown key "dryrun": known are reconcile, deregister, dryRun and overrideDeleteLimit"#);
        assert_snapshot!(check(json!({"reconcile": "all", "dryRun": "yes"})), @r#"ignored: dryRun is "yes", expected true or false"#);
        assert_snapshot!(check(json!({"deregister": "orders"})), @r#"ignored: deregister is "orders", expected "all""#);
        assert_snapshot!(check(json!({"deregister": "all", "reconcile": "all"})), @"ignored: either reconcile or deregister, not both");
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
        let Trigger::Ignore { reason } = Trigger::read(&deep, &home()) else {
            panic!("it was taken for something");
        };
        assert!(
            reason.starts_with("the payload cannot be read as JSON: recursion limit"),
            "{reason}"
        );
    }

    proptest! {
        /// Invariant 8: of any text, too.
        #[test]
        fn invariant_8_no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Trigger::read(&text, &home());
        }

        /// Invariant 8: no input, however malformed, crashes the handler.
        #[test]
        fn invariant_8_no_payload_makes_the_parser_panic(payload in any_json()) {
            let _ = Trigger::parse(&payload, &home());
        }
    }
}

//! Parses EventBridge events: calls recorded by CloudTrail, ECS's own events, and the schedule.
//!
//! Decides which service an event is about. Contains no rule about names or records.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::domain::service::{
    AwsLocation, ClassicName, LoadBalancerRef, ServiceArn, TargetGroupArn, last_segment,
};
use crate::domain::tags::TAG_PREFIX;
use crate::domain::trigger::{Reach, Scope, Targets, Trigger};

/// The calls of the ECS API that can change a service's name. The EventBridge rule lists the same calls.
pub const ECS_CALLS: [&str; 11] = [
    "CreateService",
    "UpdateService",
    "DeleteService",
    "CreateTaskSet",
    "DeleteTaskSet",
    "UpdateServicePrimaryTaskSet",
    "TagResource",
    "UntagResource",
    "CreateExpressGatewayService",
    "UpdateExpressGatewayService",
    "DeleteExpressGatewayService",
];

/// The calls of the Elastic Load Balancing API after which a service may need another record: those that connect
/// target groups with load balancers or separate them, create or delete load balancers, or change the types of
/// their addresses. The EventBridge rule lists the same calls, with the reasons for the others.
pub const LOAD_BALANCER_CALLS: [&str; 10] = [
    "CreateLoadBalancer",
    "DeleteLoadBalancer",
    "CreateListener",
    "ModifyListener",
    "DeleteListener",
    "CreateRule",
    "ModifyRule",
    "DeleteRule",
    "SetIpAddressType",
    "SetSubnets",
];

/// ECS's own events after which a service may need another record: a name moves to another load balancer when the
/// deployment or the task set that uses it is complete. The EventBridge rule lists the same events.
///
/// All others leave names alone, or accompany a call of [`ECS_CALLS`]. So SERVICE_STEADY_STATE, which ECS repeats, and the
/// events of autoscaling cost no request.
pub const SERVICE_EVENTS: [&str; 3] =
    ["SERVICE_DEPLOYMENT_COMPLETED", "SERVICE_DEPLOYMENT_FAILED", "TASKSET_STEADY_STATE"];

const DEPLOYMENT_FAILED: &str = "SERVICE_DEPLOYMENT_FAILED";

/// ECS sends this event for each new service, but also for each new image. The rule leaves it out, because the event
/// about the end of the deployment follows. If it arrives from another rule, the service is read.
const DEPLOYMENT_BEGAN: &str = "SERVICE_DEPLOYMENT_IN_PROGRESS";

/// The limit of load balancers that are read ahead for one event. It is also the limit of one Describe
/// request.
const MAX_HINTS: usize = 20;

pub(super) fn parse(event: &Value, location: &AwsLocation) -> Trigger {
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    match (text("source"), text("detail-type")) {
        ("aws.events", "Scheduled Event") => Trigger::Scheduled,
        ("aws.ecs", "AWS API Call via CloudTrail") => {
            api_call(&event["detail"], event["time"].as_str(), location)
        }
        ("aws.elasticloadbalancing", "AWS API Call via CloudTrail") => {
            load_balancer_call(&event["detail"])
        }
        ("aws.ecs", "ECS Deployment State Change" | "ECS Service Action") => {
            ecs_event(event, location)
        }
        ("aws.tag", "Tag Change on Resource") => tag_event(event, location),
        (source, detail_type) => {
            Trigger::ignore(format!("events {detail_type:?} of {source:?} do not change names"))
        }
    }
}

/// ECS's own event about a service. One without a name may be any of them.
fn ecs_event(event: &Value, location: &AwsLocation) -> Trigger {
    let name = event["detail"]["eventName"].as_str();
    let counts = |name: &str| SERVICE_EVENTS.contains(&name) || name == DEPLOYMENT_BEGAN;
    if let Some(name) = name.filter(|name| !counts(name)) {
        return Trigger::ignore(format!("the event {name} of ECS changes no name"));
    }
    match service_event(event, location) {
        Trigger::Reconcile { scope: Scope::Services(mut targets), options } => {
            // If a deployment fails, ECS may give the service its former load balancers back, without any call.
            let is_unmoved = name.is_some_and(|name| name != DEPLOYMENT_FAILED);
            let reach = if is_unmoved { Reach::Unmoved } else { Reach::Anywhere };
            let services = targets.services.iter();
            targets.reach = services.map(|service| (service.clone(), reach)).collect();
            Trigger::Reconcile { scope: Scope::Services(targets), options }
        }
        other => other,
    }
}

/// An event that names the service in its resources.
fn service_event(event: &Value, location: &AwsLocation) -> Trigger {
    let Some(resource) = event["resources"][0].as_str() else {
        return Trigger::ignore("the event's resources[0] names no service");
    };
    let invalid = |error| Trigger::ignore(format!("the event's resources[0]: {error}"));
    let targets = Targets::default();
    match (ServiceArn::parse(resource), event["detail"]["clusterArn"].as_str()) {
        (Ok(service), _) => Trigger::service(service, targets, location),
        (Err(error), _) if !is_short_service_arn(resource) => invalid(error),
        // Some of these events contain the cluster, which a short ARN omits.
        (Err(_), Some(cluster)) => {
            match ServiceArn::new(location, last_segment(cluster), last_segment(resource)) {
                Ok(service) => Trigger::service(service, targets, location),
                Err(error) => invalid(error),
            }
        }
        (Err(_), None) => Trigger::reconcile(Scope::full_pass()),
    }
}

/// EventBridge's own event about changed tags. It arrives also after changes in the Tag Editor, which calls no
/// ECS API.
fn tag_event(event: &Value, location: &AwsLocation) -> Trigger {
    let detail = &event["detail"];
    if detail["service"] != "ecs" || detail["resource-type"] != "service" {
        return Trigger::ignore("the tags of another kind of resource changed");
    }
    if !concerns_discovery(detail["changed-tag-keys"].as_array(), Value::as_str) {
        return Trigger::ignore("no discovery tag changed, so no name changes");
    }
    match service_event(event, location) {
        Trigger::Reconcile { scope: Scope::Services(targets), options } => {
            let retagged = targets.services.clone();
            Trigger::Reconcile { scope: Scope::Services(Targets { retagged, ..targets }), options }
        }
        other => other,
    }
}

/// Whether a list of changed tags may contain one of this project. A missing list may.
fn concerns_discovery<'a>(
    tags: Option<&'a Vec<Value>>,
    key: impl Fn(&'a Value) -> Option<&'a str>,
) -> bool {
    tags.is_none_or(|tags| {
        tags.is_empty()
            || tags.iter().any(|tag| key(tag).is_none_or(|key| key.starts_with(TAG_PREFIX)))
    })
}

/// A call of the ECS API that CloudTrail recorded. Only the needed fields are read, each of them as
/// optional: the crates that model these events reject real ones (a root user's empty `sessionIssuer`,
/// absent fields).
fn api_call(detail: &Value, sent: Option<&str>, location: &AwsLocation) -> Trigger {
    let call = match successful_call(detail, "ecs.amazonaws.com", &ECS_CALLS) {
        Ok(call) => call,
        Err(reason) => return Trigger::ignore(reason),
    };
    if call == "UpdateService" && keeps_its_load_balancers(detail) {
        return Trigger::ignore("the update does not change load balancers, so it changes no name");
    }
    let request = &detail["requestParameters"];
    let changes_discovery_tags = match call {
        "TagResource" => concerns_discovery(request["tags"].as_array(), |tag| tag["key"].as_str()),
        "UntagResource" => concerns_discovery(request["tagKeys"].as_array(), Value::as_str),
        _ => true,
    };
    if !changes_discovery_tags {
        return Trigger::ignore("the call changes no discovery tag, so it changes no name");
    }
    match identity(detail, call, location) {
        Identity::Service(service) => {
            let service_if = |calls: &[&str]| {
                calls.contains(&call).then(|| service.clone()).into_iter().collect()
            };
            let since = detail["eventTime"].as_str().or(sent).map(str::to_owned);
            let created = service_if(&["CreateService", "CreateExpressGatewayService"]);
            let deleted: BTreeSet<ServiceArn> =
                service_if(&["DeleteService", "DeleteExpressGatewayService"]);
            let times = created.union(&deleted).zip(since.clone());
            let reach = if !created.is_empty() {
                Reach::New
            } else if !deleted.is_empty() && is_unattached(detail) {
                Reach::Unattached
            } else {
                Reach::Anywhere
            };
            let targets = Targets {
                services: BTreeSet::new(),
                hint: hint(detail),
                times: times.map(|(service, at)| (service.clone(), at)).collect(),
                created,
                retagged: service_if(&["TagResource", "UntagResource"]),
                deleted,
                reach: BTreeMap::from([(service.clone(), reach)]),
                since,
            };
            Trigger::service(service, targets, location)
        }
        Identity::NotAService(reason) => Trigger::ignore(reason),
        // CloudTrail cuts fields over 100 KB, so the event may not say which service changed.
        Identity::Unknown => Trigger::reconcile(Scope::full_pass()),
    }
}

/// A call of the Elastic Load Balancing API that CloudTrail recorded. It names load balancers, listeners or rules,
/// never a service, and a deleted load balancer can no longer be described. So a full pass finds the services.
fn load_balancer_call(detail: &Value) -> Trigger {
    match successful_call(detail, "elasticloadbalancing.amazonaws.com", &LOAD_BALANCER_CALLS) {
        Ok(_) => Trigger::reconcile(Scope::full_pass()),
        Err(reason) => Trigger::ignore(reason),
    }
}

/// The name of a recorded call, if it is one of `calls` to the API `source` and succeeded. Otherwise the reason why
/// it changes no name.
fn successful_call<'a>(detail: &'a Value, source: &str, calls: &[&str]) -> Result<&'a str, String> {
    let found = detail["eventSource"].as_str().unwrap_or_default();
    let call = detail["eventName"].as_str().unwrap_or_default();
    if found != source || !calls.contains(&call) {
        return Err(format!("calls of {call:?} to {found:?} do not change names"));
    }
    match detail.get("errorCode").filter(|code| !code.is_null()) {
        Some(code) => Err(format!("the call failed with {code}, so it changed nothing")),
        None => Ok(call),
    }
}

/// Whether an UpdateService call leaves the load balancers alone. Most updates change the image or the
/// number of tasks. Only a complete request proves it.
fn keeps_its_load_balancers(detail: &Value) -> bool {
    let request = &detail["requestParameters"];
    let is_complete = request["service"].is_string() && detail.get("omitted").is_none();
    is_complete && request.get("loadBalancers").is_none() && request.get("omitted").is_none()
}

/// Whether a deleted service had no load balancers, according to the response of the call.
fn is_unattached(detail: &Value) -> bool {
    let service = &detail["responseElements"]["service"];
    let is_empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
    is_empty(&service["loadBalancers"])
        && (service["taskSets"].is_null() || is_empty(&service["taskSets"]))
}

/// The subject of a call.
enum Identity {
    Service(ServiceArn),
    NotAService(String),
    Unknown,
}

fn identity(detail: &Value, call: &str, location: &AwsLocation) -> Identity {
    let request = &detail["requestParameters"];
    if matches!(call, "TagResource" | "UntagResource") {
        return match request["resourceArn"].as_str() {
            None => Identity::Unknown,
            Some(arn) if is_short_service_arn(arn) => Identity::Unknown,
            Some(arn) => match ServiceArn::parse(arn) {
                Ok(service) => Identity::Service(service),
                Err(_) => {
                    Identity::NotAService(format!("the tagged resource {arn:?} is no service"))
                }
            },
        };
    }
    if let Some(arn) = detail["responseElements"]["service"]["serviceArn"].as_str()
        && let Ok(service) = ServiceArn::parse(arn)
    {
        return Identity::Service(service);
    }
    let key = match call {
        "CreateService" | "CreateExpressGatewayService" => "serviceName",
        "UpdateExpressGatewayService" | "DeleteExpressGatewayService" => "serviceArn",
        _ => "service",
    };
    let Some(service) = request[key].as_str() else {
        return Identity::Unknown;
    };
    if let Ok(service) = ServiceArn::parse(service) {
        return Identity::Service(service);
    }
    // Without a cluster the call is about the cluster `default`, unless CloudTrail cut the request.
    let cluster = match &request["cluster"] {
        Value::Null if detail["omitted"] == true || request["omitted"] == true => {
            return Identity::Unknown;
        }
        Value::Null => "default",
        cluster => cluster.as_str().unwrap_or_default(),
    };
    match ServiceArn::new(location, last_segment(cluster), last_segment(service)) {
        Ok(service) => Identity::Service(service),
        Err(_) => Identity::Unknown,
    }
}

/// Whether an ARN has the old form without a cluster: `arn:…:service/<name>`.
fn is_short_service_arn(arn: &str) -> bool {
    arn.split_once(":service/").is_some_and(|(_, name)| !name.contains('/'))
}

/// The load balancers and target groups that a call mentions.
fn hint(detail: &Value) -> BTreeSet<LoadBalancerRef> {
    let lists = [
        &detail["requestParameters"]["loadBalancers"],
        &detail["responseElements"]["service"]["loadBalancers"],
    ];
    let reference = |entry: &Value| {
        if let Some(arn) = entry["targetGroupArn"].as_str() {
            return (arn.starts_with("arn:") && arn.contains(":targetgroup/"))
                .then(|| LoadBalancerRef::TargetGroup(TargetGroupArn::new(arn)));
        }
        let name = entry["loadBalancerName"].as_str()?;
        let is_valid = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_valid.then(|| LoadBalancerRef::Classic(ClassicName::new(name)))
    };
    let entries = lists.into_iter().filter_map(Value::as_array).flatten();
    entries.filter_map(reference).take(MAX_HINTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{location, show};
    use insta::assert_snapshot;
    use serde_json::json;

    fn check(payload: Value) -> String {
        show(&Trigger::parse(&payload, &location()))
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
    fn services_and_clusters_are_names_arns_or_absent() {
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
    fn load_balancers_in_an_event_are_only_a_hint() {
        let group = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web-tg/0123";
        assert_snapshot!(
            call("CreateService", json!({"serviceName": "web", "loadBalancers": [{"targetGroupArn": group}, {"targetGroupArn": "x"}, {"loadBalancerName": "old-web"}, {"loadBalancerName": "x/y"}, 7]})),
            @"default/web hint the target group arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web-tg/0123, the classic load balancer old-web"
        );
        for other in ["arn:aws:s3:::x", "x:targetgroup/web-tg/0123"] {
            let request =
                json!({"serviceName": "web", "loadBalancers": [{"targetGroupArn": other}]});
            assert_eq!(call("CreateService", request), "default/web");
        }
    }

    #[test]
    fn a_failed_call_is_ignored() {
        assert_snapshot!(
            check(api_call("CreateService", json!({"serviceName": "web"}), json!({"errorCode": "InvalidParameterException"}))),
            @r#"ignored: the call failed with "InvalidParameterException", so it changed nothing"#
        );
    }

    #[test]
    fn an_update_without_load_balancers_is_ignored() {
        assert_snapshot!(
            call("UpdateService", json!({"cluster": "dev", "service": "web", "forceNewDeployment": true})),
            @"ignored: the update does not change load balancers, so it changes no name"
        );
        // The part that CloudTrail cut may have contained load balancers.
        assert_snapshot!(call("UpdateService", json!({"service": "web", "omitted": true})), @"full pass");
    }

    #[test]
    fn an_event_without_an_identifiable_service_becomes_a_full_pass() {
        assert_snapshot!(call("UpdateService", json!({"omitted": true})), @"full pass");
        assert_snapshot!(call("UpdateService", json!(null)), @"full pass");
        assert_snapshot!(call("UpdateService", json!({"service": 7})), @"full pass");
        assert_snapshot!(call("TagResource", json!({"resourceArn": "arn:aws:ecs:eu-west-1:111122223333:service/web"})), @"full pass");
    }

    #[test]
    fn a_change_of_other_tags_is_ignored() {
        let arn = "arn:aws:ecs:eu-west-1:111122223333:service/dev/web";
        let tag = |keys: &[&str]| {
            let tags: Vec<Value> =
                keys.iter().map(|key| json!({"key": key, "value": "x"})).collect();
            call("TagResource", json!({"resourceArn": arn, "tags": tags}))
        };
        let untag =
            |keys: &[&str]| call("UntagResource", json!({"resourceArn": arn, "tagKeys": keys}));
        assert_snapshot!(tag(&["cost-center"]), @"ignored: the call changes no discovery tag, so it changes no name");
        assert_snapshot!(tag(&["cost-center", "discovery:name"]), @"dev/web retagged");
        assert_snapshot!(untag(&["cost-center"]), @"ignored: the call changes no discovery tag, so it changes no name");
        assert_snapshot!(untag(&["discovery:nmae"]), @"dev/web retagged");
        // CloudTrail may have cut the list.
        assert_snapshot!(call("TagResource", json!({"resourceArn": arn})), @"dev/web retagged");
        assert_snapshot!(call("TagResource", json!({"resourceArn": arn, "tags": {"omitted": true}})), @"dev/web retagged");
        assert_snapshot!(tag(&[]), @"dev/web retagged");
    }

    #[test]
    fn the_tag_editor_changes_tags_without_a_call_of_ecs() {
        let event = |keys: Value, kind: &str| {
            check(json!({
                "source": "aws.tag", "detail-type": "Tag Change on Resource",
                "resources": ["arn:aws:ecs:eu-west-1:111122223333:service/dev/web"],
                "detail": {"service": "ecs", "resource-type": kind, "changed-tag-keys": keys},
            }))
        };
        assert_snapshot!(event(json!(["discovery:name"]), "service"), @"dev/web retagged");
        assert_snapshot!(event(json!(["team"]), "service"), @"ignored: no discovery tag changed, so no name changes");
        assert_snapshot!(event(json!(["discovery:name"]), "cluster"), @"ignored: the tags of another kind of resource changed");
    }

    #[test]
    fn express_services_are_identified_by_name_or_arn() {
        let arn = "arn:aws:ecs:eu-west-1:111122223333:service/dev/web";
        assert_snapshot!(call("CreateExpressGatewayService", json!({"cluster": "dev", "serviceName": "web"})), @"dev/web");
        assert_snapshot!(call("CreateExpressGatewayService", json!({"serviceName": "web"})), @"default/web");
        assert_snapshot!(call("UpdateExpressGatewayService", json!({"serviceArn": arn})), @"dev/web");
        assert_snapshot!(call("DeleteExpressGatewayService", json!({"serviceArn": arn})), @"dev/web deleted");
    }

    #[test]
    fn a_call_that_may_change_the_load_balancer_of_a_target_group_is_a_full_pass() {
        let call = |name: &str, more: Value| {
            let mut event = api_call(name, json!(null), more);
            event["source"] = json!("aws.elasticloadbalancing");
            check(event)
        };
        let of_elb = || json!({"eventSource": "elasticloadbalancing.amazonaws.com"});
        for name in LOAD_BALANCER_CALLS {
            assert_eq!(call(name, of_elb()), "full pass", "{name}");
        }
        assert_snapshot!(call("RegisterTargets", of_elb()), @r#"ignored: calls of "RegisterTargets" to "elasticloadbalancing.amazonaws.com" do not change names"#);
        let mut failed = of_elb();
        failed["errorCode"] = json!("ResourceInUseException");
        assert_snapshot!(call("DeleteLoadBalancer", failed), @r#"ignored: the call failed with "ResourceInUseException", so it changed nothing"#);
        // Each API has its own list.
        assert_snapshot!(call("CreateListener", json!({})), @r#"ignored: calls of "CreateListener" to "ecs.amazonaws.com" do not change names"#);
        assert_snapshot!(call("DeleteService", of_elb()), @r#"ignored: calls of "DeleteService" to "elasticloadbalancing.amazonaws.com" do not change names"#);
        assert_snapshot!(check(api_call("CreateListener", json!(null), of_elb())), @r#"ignored: calls of "CreateListener" to "elasticloadbalancing.amazonaws.com" do not change names"#);
    }

    #[test]
    fn the_schedule_is_a_full_pass() {
        assert_snapshot!(check(json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}})), @"full pass of the schedule");
    }

    #[test]
    fn ecs_events_name_their_service_in_the_resources() {
        let event = |resources: Value| json!({"source": "aws.ecs", "detail-type": "ECS Service Action", "resources": resources, "detail": {}});
        assert_snapshot!(check(event(json!(["arn:aws:ecs:eu-west-1:111122223333:service/dev/web"]))), @"dev/web");
        assert_snapshot!(check(event(json!([]))), @"ignored: the event's resources[0] names no service");
        assert_snapshot!(check(event(json!(["arn:aws:ecs:eu-west-1:111122223333:cluster/dev"]))), @r#"ignored: the event's resources[0]: expected an ECS service ARN like arn:…:ecs:<region>:<account>:service/<cluster>/<service>; found "arn:aws:ecs:eu-west-1:111122223333:cluster/dev""#);
        let short = json!(["arn:aws:ecs:eu-west-1:111122223333:service/web"]);
        assert_snapshot!(check(event(short.clone())), @"full pass");
        let mut with_cluster = event(short);
        with_cluster["detail"]["clusterArn"] =
            json!("arn:aws:ecs:eu-west-1:111122223333:cluster/dev");
        assert_snapshot!(check(with_cluster), @"dev/web");
    }

    #[test]
    fn of_the_events_of_ecs_only_those_that_end_a_deployment_cost_a_request() {
        let event = |name: Value| {
            check(json!({
                "source": "aws.ecs", "detail-type": "ECS Deployment State Change",
                "resources": ["arn:aws:ecs:eu-west-1:111122223333:service/dev/web"],
                "detail": {"eventName": name},
            }))
        };
        for name in SERVICE_EVENTS.into_iter().chain([DEPLOYMENT_BEGAN]) {
            assert_eq!(event(json!(name)), "dev/web", "{name}");
        }
        assert_eq!(event(json!(null)), "dev/web");
        for name in ["SERVICE_STEADY_STATE", "SERVICE_DESIRED_COUNT_UPDATED"] {
            let ignored = format!("ignored: the event {name} of ECS changes no name");
            assert_eq!(event(json!(name)), ignored);
        }
    }

    #[test]
    fn an_event_determines_where_its_service_may_have_a_name() {
        let reach = |event: &Value| match Trigger::parse(event, &location()) {
            Trigger::Reconcile { scope: Scope::Services(targets), .. } => {
                targets.reach.values().next().copied()
            }
            other => panic!("{}", show(&other)),
        };
        let service = json!({"service": "web", "serviceName": "web", "loadBalancers": []});
        let call = |name: &str, response: Value| {
            reach(&api_call(name, service.clone(), json!({"responseElements": response})))
        };
        assert_eq!(call("CreateService", json!(null)), Some(Reach::New));
        for name in ["UpdateService", "CreateTaskSet", "DeleteTaskSet", "DeleteService"] {
            assert_eq!(call(name, json!(null)), Some(Reach::Anywhere), "{name}");
        }
        let deleted = |service: Value| call("DeleteService", json!({"service": service}));
        let group = json!([{"targetGroupArn": "arn"}]);
        assert_eq!(deleted(json!({"loadBalancers": []})), Some(Reach::Unattached));
        assert_eq!(deleted(json!({"loadBalancers": group})), Some(Reach::Anywhere));
        assert_eq!(deleted(json!({})), Some(Reach::Anywhere));
        let task_sets = json!({"loadBalancers": [], "taskSets": [{"loadBalancers": group}]});
        assert_eq!(deleted(task_sets), Some(Reach::Anywhere));
        let ended = |name: Value| {
            reach(&json!({
                "source": "aws.ecs", "detail-type": "ECS Deployment State Change",
                "resources": ["arn:aws:ecs:eu-west-1:111122223333:service/dev/web"],
                "detail": {"eventName": name},
            }))
        };
        assert_eq!(ended(json!("SERVICE_DEPLOYMENT_COMPLETED")), Some(Reach::Unmoved));
        assert_eq!(ended(json!("SERVICE_DEPLOYMENT_FAILED")), Some(Reach::Anywhere));
        assert_eq!(ended(json!(null)), Some(Reach::Anywhere));
    }

    #[test]
    fn a_service_of_another_region_is_ignored() {
        assert_snapshot!(
            call("DeleteService", json!({"service": "arn:aws:ecs:us-east-1:111122223333:service/dev/web"})),
            @"ignored: this handler works in account 111122223333, region eu-west-1; the service belongs to another: arn:aws:ecs:us-east-1:111122223333:service/dev/web"
        );
    }

    #[test]
    fn other_events_and_payloads_are_ignored_with_a_reason() {
        assert_snapshot!(call("RunTask", json!({})), @r#"ignored: calls of "RunTask" to "ecs.amazonaws.com" do not change names"#);
        assert_snapshot!(call("TagResource", json!({"resourceArn": "arn:aws:ecs:eu-west-1:111122223333:cluster/dev"})), @r#"ignored: the tagged resource "arn:aws:ecs:eu-west-1:111122223333:cluster/dev" is no service"#);
        assert_snapshot!(check(json!({"source": "aws.ec2", "detail-type": "x"})), @r#"ignored: events "x" of "aws.ec2" do not change names"#);
        for payload in
            [json!(null), json!(7), json!("x"), json!([]), json!({}), json!({"detail": {}})]
        {
            assert!(check(payload).starts_with("unreadable: the payload is neither"));
        }
    }
}

//! The request that an invocation carries: which services to look at, and which options apply.
//!
//! An event only selects the services to read. It never determines which record is written. A request can also
//! deregister names and set options. An unknown payload is ignored with a reason, since a retry would not help;
//! in a batch its message fails. [`event`](super::event) parses events, [`request`](super::request) parses
//! commands. This module contains their common result, and merges the messages of a queue's batch into as few
//! runs as possible.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::domain::delivery::Delivery;
use crate::domain::deployment::{Departure, ResourceEvent};
use crate::domain::service::{AwsLocation, HostedZoneId, LoadBalancerRef, ServiceArn};
use crate::domain::{event, request};

/// The payload of an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    One(Trigger),
    Resource(ResourceEvent),
    /// Messages of a queue, each of which may fail alone.
    Batch(Vec<Message>),
}

/// The alias of the function through which it makes dry runs only, for people who may look but not change anything.
pub const DRY_RUN_ALIAS: &str = "dry-run";

impl Payload {
    /// Refuses everything except requests for dry runs.
    pub fn only_dry_runs(self) -> Payload {
        match &self {
            Payload::One(
                Trigger::Reconcile { options, .. } | Trigger::Deregister { options, .. },
            ) if options.dry_run => self,
            Payload::One(Trigger::Unreadable { .. }) => self,
            _ => Payload::One(Trigger::Unreadable {
                reason: format!(
                    "the alias {DRY_RUN_ALIAS} of the function only accepts requests with \
                     \"dryRun\": true"
                ),
            }),
        }
    }
}

/// A message of an SQS batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Identifies the message in the answer to SQS.
    pub id: String,
    pub trigger: Trigger,
    pub delivery: Option<Delivery>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    Reconcile {
        scope: Scope,
        options: Options,
    },
    /// A full pass of the schedule. If it fails, the next one does the same work, so it is not retried.
    Scheduled,
    /// Deletes every record that this environment manages. With `zone`, only those of one zone, which may
    /// have been removed from the configuration.
    Deregister {
        zone: Option<HostedZoneId>,
        options: Options,
    },
    /// Sets how long resolvers may remember that a name of a zone does not exist. Only a deployment sends it.
    SetNegativeTtl {
        zone: HostedZoneId,
        seconds: i64,
    },
    /// Checks all zones of the environment. Only a deployment sends it.
    CheckZones,
    /// Deletes the records of zones that leave the environment, or of the whole environment. Only a deployment sends it.
    Leave(Departure),
    /// A payload that needs no work.
    Ignore {
        reason: String,
    },
    /// Neither an event nor a valid request. In a batch the message fails, so that the sender finds it in
    /// the dead-letter queue.
    Unreadable {
        reason: String,
    },
}

/// The services that a run looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All services. The targets of merged events come along, because the delete limit does not count
    /// services that events named and ECS calls gone.
    FullPass(Targets),
    Services(Targets),
}

impl Scope {
    /// The full pass that no event started.
    pub fn full_pass() -> Scope {
        Scope::FullPass(Targets::default())
    }

    /// The services that events or requests named.
    pub fn targets(&self) -> &Targets {
        let (Scope::FullPass(targets) | Scope::Services(targets)) = self;
        targets
    }
}

/// Where a service may have a name, according to the events about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// The service had no load balancers when it was deleted, so it lost its name before. No zone is searched for its
    /// marker.
    Unattached,
    /// The service was created: only in the zones of its load balancers.
    New,
    /// No call changed the service, but a deployment succeeded, and a name moves then. If the service has no name in
    /// the zones of its load balancers, it may have one in another zone.
    Unmoved,
    /// The load balancers of the service may have changed: in each zone.
    Anywhere,
}

/// The services that events or requests name, with the facts that the events report about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    pub services: BTreeSet<ServiceArn>,
    /// The load balancers and target groups in the events. They are read ahead, and prove nothing.
    pub hint: BTreeSet<LoadBalancerRef>,
    /// Services whose tags changed. They may still own a name that their current tags no longer give.
    pub retagged: BTreeSet<ServiceArn>,
    /// Services that were created, and not deleted after that.
    pub created: BTreeSet<ServiceArn>,
    /// Services that were deleted. One that is alive was created again, maybe with other tags.
    pub deleted: BTreeSet<ServiceArn>,
    /// Where the services may have a name. A service that is missing here may have one anywhere.
    pub reach: BTreeMap<ServiceArn, Reach>,
    /// The time of the latest creation or deletion of a service, taken from the event. An answer of ECS that
    /// contradicts a recent one is outdated.
    pub times: BTreeMap<ServiceArn, String>,
    /// The time of the first event, taken from the event. Only a metric uses it.
    pub since: Option<String>,
}

impl Targets {
    /// `services`, with the facts that the events report about them.
    pub fn narrowed_to(&self, services: BTreeSet<ServiceArn>) -> Targets {
        let both = |set: &BTreeSet<ServiceArn>| set.intersection(&services).cloned().collect();
        let (retagged, created, deleted) =
            (both(&self.retagged), both(&self.created), both(&self.deleted));
        let times = self.times.iter().filter(|(service, _)| services.contains(*service));
        let times = times.map(|(service, at)| (service.clone(), at.clone())).collect();
        let reach = self.reach.iter().filter(|(service, _)| services.contains(*service));
        let reach = reach.map(|(service, reach)| (service.clone(), *reach)).collect();
        let (hint, since) = (BTreeSet::new(), self.since.clone());
        Targets { services, hint, retagged, created, deleted, reach, times, since }
    }
}

/// The options of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Write nothing, and report the changes that a real run would make.
    pub dry_run: bool,
    /// Ignore the delete limit of the full pass.
    pub override_delete_limit: bool,
    /// A deployment requested the run, so the present version of the function is the newest one.
    pub is_deployment: bool,
}

impl Trigger {
    /// Reads an event or a request. Never fails: an event that needs no work becomes [`Trigger::Ignore`]. A
    /// payload that is no JSON, no event and no valid request becomes [`Trigger::Unreadable`].
    pub fn read(payload: &str, location: &AwsLocation) -> Trigger {
        match serde_json::from_str(payload) {
            Ok(payload) => Trigger::parse(&payload, location),
            Err(error) => Trigger::not_json(&error),
        }
    }

    pub fn parse(payload: &Value, location: &AwsLocation) -> Trigger {
        let payload = unwrapped(payload);
        if payload.get("detail-type").is_some() {
            event::parse(payload, location)
        } else if payload.get("RequestType").is_some() {
            Trigger::ignore("the event of CloudFormation has no known type")
        } else if payload.get("reconcile").is_some() || payload.get("deregister").is_some() {
            request::parse(payload, location)
        } else {
            let reason = "the payload is neither an EventBridge event nor a request such as \
                          {\"reconcile\":\"all\"}";
            Trigger::Unreadable { reason: reason.into() }
        }
    }

    /// Reads a message of a queue. Whoever may send a message is not allowed to command the handler, and an old command
    /// may come back with a redrive, so only events count.
    fn of_message(body: &str, location: &AwsLocation) -> Trigger {
        let payload: Value = match serde_json::from_str(body) {
            Ok(payload) => payload,
            Err(error) => return Trigger::not_json(&error),
        };
        let message = unwrapped(&payload);
        let is_command =
            ["reconcile", "deregister", "RequestType"].iter().any(|key| message.get(key).is_some());
        if is_command && message.get("detail-type").is_none() {
            return Trigger::ignore(
                "a command in a message of a queue does not count; invoke the function with it",
            );
        }
        Trigger::parse(message, location)
    }

    /// A run without options.
    pub(super) fn reconcile(scope: Scope) -> Trigger {
        Trigger::Reconcile { scope, options: Options::default() }
    }

    /// A run for one service. A service of another account or region is ignored, because this handler
    /// cannot read it.
    pub(super) fn service(
        service: ServiceArn,
        mut targets: Targets,
        location: &AwsLocation,
    ) -> Trigger {
        if service.location() != location {
            return Trigger::ignore(format!(
                "this handler works in account {}, region {}; the service belongs to another: {service}",
                location.account, location.region
            ));
        }
        targets.services.insert(service);
        Trigger::reconcile(Scope::Services(targets))
    }

    pub(super) fn ignore(reason: impl Into<String>) -> Trigger {
        Trigger::Ignore { reason: reason.into() }
    }

    pub(super) fn not_json(error: &serde_json::Error) -> Trigger {
        Trigger::Unreadable { reason: format!("the payload is not valid JSON: {error}") }
    }

    /// The run that this trigger requests.
    fn as_run(&self) -> Trigger {
        match self {
            Trigger::Scheduled => Trigger::reconcile(Scope::full_pass()),
            other => other.clone(),
        }
    }

    /// The time of the first event, in the event's own spelling.
    pub fn since(&self) -> Option<&str> {
        match self {
            Trigger::Reconcile { scope: Scope::Services(targets), .. } => targets.since.as_deref(),
            _ => None,
        }
    }

    /// The services that events or requests named.
    pub fn services(&self) -> Option<&BTreeSet<ServiceArn>> {
        match self {
            Trigger::Reconcile { scope, .. } => Some(&scope.targets().services),
            _ => None,
        }
    }

    /// Whether this asks for a full pass and names no service, so that a full pass for another reason does all its work.
    pub fn is_plain_full_pass(&self) -> bool {
        match self {
            Trigger::Reconcile { scope: Scope::FullPass(targets), .. } => {
                targets.services.is_empty()
            }
            _ => false,
        }
    }

    /// Extends this trigger by `other`, if one run can serve both. Returns whether it did.
    fn merge(&mut self, other: &Trigger) -> bool {
        match (self, other) {
            (
                Trigger::Reconcile { scope, options },
                Trigger::Reconcile { scope: other_scope, options: other_options },
            ) if options == other_options => {
                if let (Scope::Services(targets), Scope::FullPass(_)) = (&mut *scope, other_scope) {
                    *scope = Scope::FullPass(std::mem::take(targets));
                }
                let (Scope::FullPass(targets) | Scope::Services(targets)) = scope;
                targets.extend(other_scope.targets());
                true
            }
            _ => false,
        }
    }
}

impl Targets {
    /// The services that were created, and not deleted after that according to `other`. Of two events in the same
    /// second the deletion counts.
    fn created_since<'a>(&'a self, other: &'a Targets) -> impl Iterator<Item = &'a ServiceArn> {
        self.created.iter().filter(|service| {
            let was_deleted = other.deleted.contains(service);
            !was_deleted || other.times.get(service) < self.times.get(service)
        })
    }

    fn reach_of(&self, service: &ServiceArn) -> Option<Reach> {
        let known = self.reach.get(service).copied().unwrap_or(Reach::Anywhere);
        self.services.contains(service).then_some(known)
    }

    fn extend(&mut self, more: &Targets) {
        let services = self.services.union(&more.services);
        let furthest = |service: &ServiceArn| {
            let reach = self.reach_of(service).max(more.reach_of(service))?;
            Some((service.clone(), reach))
        };
        self.reach = services.filter_map(furthest).collect();
        self.services.extend(more.services.iter().cloned());
        self.hint.extend(more.hint.iter().cloned());
        self.retagged.extend(more.retagged.iter().cloned());
        self.created = self.created_since(more).chain(more.created_since(self)).cloned().collect();
        self.deleted.extend(more.deleted.iter().cloned());
        for (service, at) in &more.times {
            let latest = self.times.entry(service.clone()).or_default();
            if *at > *latest {
                latest.clone_from(at);
            }
        }
        // Both times have the same format, so the smaller text is the earlier time.
        self.since = self.since.take().into_iter().chain(more.since.clone()).min();
    }
}

impl Payload {
    /// Reads a payload as Lambda passes it. Never fails, like [`Trigger::read`].
    pub fn read(payload: &str, location: &AwsLocation) -> Payload {
        let payload: Value = match serde_json::from_str(payload) {
            Ok(payload) => payload,
            Err(error) => return Payload::One(Trigger::not_json(&error)),
        };
        if let Some(event) = ResourceEvent::parse(&payload, location) {
            return Payload::Resource(event);
        }
        match messages(&payload, location) {
            Some(messages) => Payload::Batch(messages),
            None => Payload::One(Trigger::parse(&payload, location)),
        }
    }
}

/// The event in a payload. Lambda wraps a failed event before it sends it to the failure destination. After a redrive
/// the event arrives in that wrapper.
fn unwrapped(payload: &Value) -> &Value {
    match (payload.get("requestContext"), payload.get("requestPayload")) {
        (Some(_), Some(failed)) => failed,
        _ => payload,
    }
}

/// The messages of an SQS batch. `None` if the payload is not one.
fn messages(payload: &Value, location: &AwsLocation) -> Option<Vec<Message>> {
    let records = payload.get("Records")?.as_array().filter(|records| !records.is_empty())?;
    let message = |record: &Value| {
        let id = record["messageId"].as_str().filter(|_| record["eventSource"] == "aws:sqs")?;
        let trigger = match record["body"].as_str() {
            Some(body) => Trigger::of_message(body, location),
            None => Trigger::Unreadable { reason: "the message has no body".into() },
        };
        Some(Message { id: id.to_owned(), trigger, delivery: Delivery::of_record(record) })
    };
    records.iter().map(message).collect()
}

/// Merges the messages of a batch into as few runs as possible, in the order of their first messages. Each
/// run comes with its messages. Messages that need no run are left out.
pub fn runs(messages: &[Message]) -> Vec<(Trigger, Vec<&Message>)> {
    let mut runs: Vec<(Trigger, Vec<&Message>)> = Vec::new();
    for message in messages {
        if matches!(message.trigger, Trigger::Ignore { .. } | Trigger::Unreadable { .. }) {
            continue;
        }
        let run = message.trigger.as_run();
        match runs.iter_mut().find_map(|(trigger, merged)| trigger.merge(&run).then_some(merged)) {
            Some(merged) => merged.push(message),
            None => runs.push((run, vec![message])),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{location, show};
    use insta::assert_snapshot;
    use proptest::prelude::*;
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
            Just(json!("aws.elasticloadbalancing")),
            Just(json!("elasticloadbalancing.amazonaws.com")),
            Just(json!("CreateListener")),
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

    fn batch(bodies: &[Value]) -> Vec<Message> {
        let records = bodies.iter().enumerate().map(|(number, body)| {
            json!({"messageId": number.to_string(), "eventSource": "aws:sqs", "body": body})
        });
        let payload = json!({"Records": records.collect::<Vec<_>>()});
        match Payload::read(&payload.to_string(), &location()) {
            Payload::Batch(messages) => messages,
            other => panic!("not a batch: {other:?}"),
        }
    }

    #[test]
    fn a_deeply_nested_payload_is_unreadable() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let Payload::One(Trigger::Unreadable { reason }) = Payload::read(&deep, &location()) else {
            panic!("the payload was accepted");
        };
        assert!(reason.starts_with("the payload is not valid JSON: recursion limit"), "{reason}");
    }

    #[test]
    fn an_event_is_unwrapped_from_lambdas_failure_record() {
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
    fn a_merged_run_has_the_time_of_its_first_event() {
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
    fn in_a_batch_a_service_may_have_a_name_wherever_one_of_its_events_says() {
        let event = |call: &str, key: &str| {
            let more = json!({"responseElements": {"service": {"loadBalancers": []}}});
            let request = json!({"cluster": "dev", key: "orders", "loadBalancers": []});
            Value::from(api_call(call, request, more).to_string())
        };
        let (create, update, delete) = (
            event("CreateService", "serviceName"),
            event("UpdateService", "service"),
            event("DeleteService", "service"),
        );
        let other =
            Value::from(json!({"reconcile": {"cluster": "dev", "service": "x"}}).to_string());
        let reach = |bodies: &[&Value]| {
            let bodies: Vec<Value> = bodies.iter().copied().cloned().collect();
            match &runs(&batch(&bodies))[0].0 {
                Trigger::Reconcile { scope: Scope::Services(targets), .. } => {
                    let mut all = targets.reach.iter();
                    all.find(|(service, _)| service.service() == "orders").map(|(_, reach)| *reach)
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(reach(&[&delete]), Some(Reach::Unattached));
        assert_eq!(reach(&[&delete, &other]), Some(Reach::Unattached));
        assert_eq!(reach(&[&other, &create]), Some(Reach::New));
        assert_eq!(reach(&[&delete, &create]), Some(Reach::New));
        assert_eq!(reach(&[&update, &delete]), Some(Reach::Anywhere));
        assert_eq!(reach(&[&delete, &update]), Some(Reach::Anywhere));
    }

    #[test]
    fn in_a_batch_the_later_of_a_creation_and_a_deletion_counts() {
        let event = |call: &str, key: &str, second: u8| {
            let time = json!({"eventTime": format!("2026-01-01T00:00:0{second}Z")});
            let body = api_call(call, json!({"cluster": "dev", key: "orders"}), time);
            Value::from(body.to_string())
        };
        let creation = |second| event("CreateService", "serviceName", second);
        let deletion = |second| event("DeleteService", "service", second);
        let is_created = |bodies: &[Value]| match &runs(&batch(bodies))[0].0 {
            Trigger::Reconcile { scope: Scope::Services(targets), .. } => {
                assert_eq!(targets.deleted.len(), 1, "a name from an earlier tag is searched");
                !targets.created.is_empty()
            }
            other => panic!("{other:?}"),
        };
        assert!(!is_created(&[creation(1), deletion(2)]));
        assert!(!is_created(&[deletion(2), creation(1)]));
        assert!(is_created(&[deletion(1), creation(2)]));
        assert!(is_created(&[creation(2), deletion(1)]));
        assert!(!is_created(&[creation(1), deletion(1)]));

        // Another event has no part in this.
        let update = event("CreateTaskSet", "service", 3);
        let messages = batch(&[update, deletion(2)]);
        let all = runs(&messages);
        let Trigger::Reconcile { scope, .. } = &all[0].0 else { panic!("{all:?}") };
        let times: Vec<&String> = scope.targets().times.values().collect();
        assert_eq!(times, ["2026-01-01T00:00:02Z"]);
    }

    #[test]
    fn messages_of_a_batch_are_merged_into_as_few_runs_as_possible() {
        let text = |value: Value| Value::from(value.to_string());
        let deletion = |name: &str| {
            text(api_call("DeleteService", json!({"cluster": "dev", "service": name}), json!({})))
        };
        let full_pass =
            json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
        let messages = batch(&[
            deletion("a"),
            text(api_call("RunTask", json!({}), json!({}))),
            deletion("c"),
            json!("not JSON"),
            json!(7),
        ]);
        let show_runs = |messages: &[Message]| {
            let line = |(trigger, messages): &(Trigger, Vec<&Message>)| {
                let ids: Vec<&str> = messages.iter().map(|message| message.id.as_str()).collect();
                format!("{}: {}", ids.join(", "), show(trigger))
            };
            runs(messages).iter().map(line).collect::<Vec<_>>().join("\n")
        };
        assert_snapshot!(show_runs(&messages), @"0, 2: dev/a deleted, dev/c deleted");
        assert_snapshot!(show(&messages[3].trigger), @"unreadable: the payload is not valid JSON: expected ident at line 1 column 2");
        assert_snapshot!(show(&messages[4].trigger), @"unreadable: the message has no body");
        let all = batch(&[deletion("a"), text(full_pass)]);
        assert_snapshot!(show_runs(&all), @"0, 1: full pass");
    }

    #[test]
    fn commands_in_messages_do_not_count() {
        let resource = json!({"RequestType": "Delete", "ResourceProperties": {"Zones": ["Z1"]}});
        let failed = json!({"requestContext": {}, "requestPayload": {"deregister": "all"}});
        let commands = [
            json!({"deregister": "all"}),
            json!({"reconcile": "all", "overrideDeleteLimit": true}),
            json!({"reconcile": {"service": "orders"}}),
            resource,
            failed,
        ];
        for message in batch(&commands.map(|command| Value::from(command.to_string()))) {
            assert_eq!(
                show(&message.trigger),
                "ignored: a command in a message of a queue does not count; invoke the function with it"
            );
        }
    }

    #[test]
    fn records_of_other_sources_are_no_batch() {
        for records in [json!([]), json!([{"messageId": "1", "eventSource": "aws:s3"}]), json!(7)] {
            let payload = json!({ "Records": records }).to_string();
            assert!(matches!(
                Payload::read(&payload, &location()),
                Payload::One(Trigger::Unreadable { .. })
            ));
        }
    }

    proptest! {
        /// Invariant 8 for any text.
        #[test]
        fn invariant_8_no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Payload::read(&text, &location());
        }

        /// Invariant 8: no input, however malformed, crashes the handler.
        #[test]
        fn invariant_8_no_payload_makes_the_parser_panic(payload in any_json()) {
            let _ = Trigger::parse(&payload, &location());
        }
    }
}

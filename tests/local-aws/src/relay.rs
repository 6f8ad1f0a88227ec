//! Takes the place of CloudTrail's delivery to EventBridge, which MiniStack does not have.
//!
//! MiniStack records API calls as CloudTrail does, and evaluates patterns as EventBridge does. The relay reads
//! the recorded calls with LookupEvents, wraps each one in an EventBridge event, matches it against every
//! deployed rule, and invokes the targets of the rules that match, with the input that the target has configured.
//! It contains no knowledge of the handler: if the deployed pattern is wrong, the relay invokes nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::api::{Api, JsonService, queue_url};
use crate::ministack::{ACCOUNT, LocalAws, REGION};
use crate::terminal::print_error;

/// The most events that LookupEvents returns, the newest first.
const MAX_EVENTS_PER_LOOKUP: usize = 50;

/// The APIs whose calls are delivered.
const APIS: [&str; 2] = ["ecs", "elasticloadbalancing"];

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// An event that reached a target.
#[derive(Clone, Debug)]
pub struct DeliveredEvent {
    /// The API call, such as `CreateService`.
    pub call: String,
    /// The name of the service in the call.
    pub service: String,
    /// The ARN of the function or the queue.
    pub target: String,
    /// The function's answer or its error. Null for a queue.
    pub answer: Result<Value, String>,
    /// When the relay read the event, in milliseconds since 1970.
    pub at_ms: i64,
    /// From the reading of the event until the function had answered.
    pub took: Duration,
}

/// Delivers events until it is dropped.
#[derive(Debug)]
pub struct Relay {
    deliveries: broadcast::Sender<DeliveredEvent>,
    withheld: Arc<Mutex<Withheld>>,
    task: JoinHandle<()>,
}

/// The services whose events the relay does not deliver at once.
#[derive(Debug, Default)]
struct Withheld {
    /// Services in the form `cluster/service`, as below.
    lost: BTreeSet<String>,
    /// The events of each service since [`Relay::hold`], the oldest first.
    held: BTreeMap<String, Vec<Value>>,
    /// Held events that the relay delivers next.
    released: Vec<Value>,
}

impl Withheld {
    /// The events to deliver now: the released ones, and those of `new` that are neither lost nor held.
    fn deliverable(&mut self, new: Vec<Value>) -> Vec<Value> {
        let mut deliverable = std::mem::take(&mut self.released);
        for detail in new {
            let service = place(&detail);
            if let Some(held) = self.held.get_mut(&service) {
                held.push(detail);
            } else if !self.lost.contains(&service) {
                deliverable.push(detail);
            }
        }
        deliverable
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Delivers the events from now on.
    pub fn start(aws: &LocalAws) -> Relay {
        let deliverer = Deliverer {
            api: aws.api,
            endpoint: aws.endpoint.clone(),
            deliveries: broadcast::channel(1_000).0,
        };
        let withheld = Arc::new(Mutex::new(Withheld::default()));
        let deliveries = deliverer.deliveries.clone();
        let task = tokio::spawn(relay(Arc::new(deliverer), Arc::clone(&withheld)));
        Relay { deliveries, withheld, task }
    }

    /// Receives every event that is delivered from now on.
    pub fn deliveries(&self) -> broadcast::Receiver<DeliveredEvent> {
        self.deliveries.subscribe()
    }

    /// Loses the events about a service from now on. CloudTrail may lose events, too.
    pub fn lose(&self, cluster: &str, service: &str) {
        self.withheld().lost.insert(format!("{cluster}/{service}"));
    }

    /// Delivers events about a service again.
    pub fn stop_losing(&self, cluster: &str, service: &str) {
        self.withheld().lost.remove(&format!("{cluster}/{service}"));
    }

    /// Holds the events about a service back until [`Relay::release`]. CloudTrail delivers events in any order.
    pub fn hold(&self, cluster: &str, service: &str) {
        self.withheld().held.entry(format!("{cluster}/{service}")).or_default();
    }

    /// Delivers the held events about services, all at once, and holds no more of them.
    pub fn release(&self, cluster: &str, services: &[&str]) {
        let mut withheld = self.withheld();
        for service in services {
            let held = withheld.held.remove(&format!("{cluster}/{service}")).unwrap_or_default();
            withheld.released.extend(held);
        }
    }

    fn withheld(&self) -> MutexGuard<'_, Withheld> {
        self.withheld.lock().expect("no thread panics with the lock")
    }
}

#[derive(Debug)]
struct Deliverer {
    api: Api,
    endpoint: String,
    deliveries: broadcast::Sender<DeliveredEvent>,
}

/// A deployed rule that matches events. Rules with a schedule have no pattern.
#[derive(Debug, PartialEq, Eq)]
struct EventRule {
    name: String,
    pattern: String,
}

fn event_rules(rules: &[Value]) -> Vec<EventRule> {
    let event_rule = |rule: &Value| {
        let (name, pattern) = (rule["Name"].as_str()?, rule["EventPattern"].as_str()?);
        Some(EventRule { name: name.to_owned(), pattern: pattern.to_owned() })
    };
    rules.iter().filter_map(event_rule).collect()
}

async fn relay(deliverer: Arc<Deliverer>, withheld: Arc<Mutex<Withheld>>) {
    let mut seen: HashSet<String> = HashSet::new();
    let mut tasks = JoinSet::new();
    let since = SystemTime::now();
    loop {
        let mut events = Vec::new();
        for api in APIS {
            match deliverer.new_events(api, since, &mut seen).await {
                Ok(new) => events.extend(new),
                Err(error) => print_error(format!("relay: {error:#}")),
            }
        }
        let events = withheld.lock().expect("no thread panics with the lock").deliverable(events);
        if !events.is_empty() {
            deliver_all(&deliverer, events, &mut tasks).await;
        }
        while let Some(done) = tasks.try_join_next() {
            if let Ok(Err(error)) = done {
                print_error(format!("relay: {error:#}"));
            }
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// Starts the deliveries of events. The rules are read after the events, so that each rule that existed at the
/// time of an event is among them.
async fn deliver_all(
    deliverer: &Arc<Deliverer>,
    events: Vec<Value>,
    tasks: &mut JoinSet<Result<()>>,
) {
    let rules = match deliverer.api.rules().await {
        Ok(rules) => Arc::new(event_rules(&rules)),
        Err(error) => {
            print_error(format!("relay: {} events are lost: {error:#}", events.len()));
            return;
        }
    };
    for detail in events {
        let (deliverer, rules) = (Arc::clone(deliverer), Arc::clone(&rules));
        tasks.spawn(async move { deliverer.deliver(&detail, &rules).await });
    }
}

/// The name of the service that a call concerns. The request has the name or the ARN.
fn service(detail: &Value) -> String {
    let request = &detail["requestParameters"];
    let keys = ["service", "serviceName", "resourceArn"];
    let found = keys.iter().find_map(|key| request[key].as_str()).unwrap_or_default();
    found.rsplit('/').next().unwrap_or_default().to_owned()
}

/// The cluster and the name of the service that a call concerns, as `cluster/service`.
fn place(detail: &Value) -> String {
    let request = &detail["requestParameters"];
    let of_request = request["cluster"].as_str().and_then(|name| name.rsplit('/').next());
    let of_arn = ["resourceArn", "service"].iter().find_map(|key| {
        let (_, path) = request[*key].as_str()?.split_once(":service/")?;
        Some(path.split_once('/')?.0)
    });
    format!("{}/{}", of_request.or(of_arn).unwrap_or("default"), service(detail))
}

/// A recorded call as EventBridge delivers it.
fn event(detail: &Value) -> Value {
    let api = detail["eventSource"].as_str().unwrap_or_default().trim_end_matches(".amazonaws.com");
    json!({
        "version": "0",
        "id": detail["eventID"],
        "detail-type": "AWS API Call via CloudTrail",
        "source": format!("aws.{api}"),
        "account": ACCOUNT,
        "time": detail["eventTime"],
        "region": REGION,
        "resources": [],
        "detail": detail,
    })
}

/// Adds the details of the calls of a page that are not in `seen` yet to `details`, the newest first. If older ones may be
/// missing, returns the time of the oldest.
fn take_unseen(
    page: &[Value],
    seen: &mut HashSet<String>,
    details: &mut Vec<Value>,
) -> Result<Option<f64>> {
    let mut oldest = None;
    for event in page {
        let id = event["EventId"].as_str().context("LookupEvents: an event has no id")?;
        oldest = None;
        if seen.insert(id.to_owned()) {
            details.push(detail(event["CloudTrailEvent"].as_str().unwrap_or_default())?);
            oldest = event["EventTime"].as_f64();
        }
    }
    Ok(oldest.filter(|_| page.len() == MAX_EVENTS_PER_LOOKUP))
}

/// The detail of a recorded call. MiniStack does not find the name of a call in a form, which Elastic Load Balancing
/// uses, and records the form's parameters instead.
fn detail(recorded: &str) -> Result<Value> {
    let mut detail: Value =
        serde_json::from_str(recorded).context("LookupEvents: an event is not valid JSON")?;
    if let Some(action) = detail["requestParameters"]["Action"].as_str() {
        detail["eventName"] = action.to_owned().into();
    }
    Ok(detail)
}

/// The input of a target: the event, or the text of the target's input transformer, in which the values of paths into
/// the event replace their names.
fn input(target: &Value, event: &Value) -> String {
    let transformer = &target["InputTransformer"];
    let Some(template) = transformer["InputTemplate"].as_str() else { return event.to_string() };
    let paths = transformer["InputPathsMap"].as_object().into_iter().flatten();
    paths.fold(template.to_owned(), |text, (name, path)| {
        let path = path.as_str().unwrap_or_default();
        let pointer = path.trim_start_matches('$').replace('.', "/");
        let value = event.pointer(&pointer).unwrap_or(&Value::Null);
        text.replace(&format!("<{name}>"), &value.to_string())
    })
}

impl Deliverer {
    /// The recorded calls of an API that are not in `seen` yet, the oldest first.
    async fn new_events(
        &self,
        api: &str,
        since: SystemTime,
        seen: &mut HashSet<String>,
    ) -> Result<Vec<Value>> {
        let since = since.duration_since(UNIX_EPOCH)?.as_secs_f64();
        // A rule receives no call that only reads.
        let attributes = json!([
            {"AttributeKey": "EventSource", "AttributeValue": format!("{api}.amazonaws.com")},
            {"AttributeKey": "ReadOnly", "AttributeValue": "false"},
        ]);
        let mut request = json!({"LookupAttributes": attributes, "StartTime": since});
        let mut details = Vec::new();
        loop {
            let answer = self.api.call(JsonService::CloudTrail, "LookupEvents", &request).await?;
            let page = answer["Events"].as_array().context("LookupEvents returned no events")?;
            // MiniStack's LookupEvents has no token for the next page.
            let Some(until) = take_unseen(page, seen, &mut details)? else { break };
            request["EndTime"] = until.into();
        }
        details.reverse();
        Ok(details)
    }

    async fn deliver(&self, detail: &Value, rules: &[EventRule]) -> Result<()> {
        let begun = Instant::now();
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let at_ms = i64::try_from(at_ms)?;
        let call = detail["eventName"].as_str().unwrap_or_default();
        let event = event(detail);
        for rule in rules {
            if !self.api.matches(&rule.pattern, &event.to_string()).await? {
                continue;
            }
            let request = json!({"Rule": rule.name});
            let answer = self.api.call(JsonService::EventBridge, "ListTargetsByRule", &request);
            let answer = answer.await?;
            let targets = answer["Targets"].as_array().into_iter().flatten();
            for target in targets {
                let input = input(target, &event);
                let Some(target) = target["Arn"].as_str() else { continue };
                let answer = if target.contains(":sqs:") {
                    self.api.send_message(&queue_url(&self.endpoint, target), &input).await?;
                    Ok(Value::Null)
                } else {
                    self.api.invoke(target, &input).await?
                };
                // Fails if nothing receives deliveries at the moment.
                let _ = self.deliveries.send(DeliveredEvent {
                    call: call.to_owned(),
                    service: service(detail),
                    target: target.to_owned(),
                    answer,
                    at_ms,
                    took: begun.elapsed(),
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_with_a_schedule_matches_no_events() {
        let rules = [
            json!({"Name": "ApiCalls", "EventPattern": "{\"source\":[\"aws.ecs\"]}"}),
            json!({"Name": "FullPass", "ScheduleExpression": "rate(15 minutes)"}),
        ];
        let pattern = r#"{"source":["aws.ecs"]}"#.into();
        assert_eq!(event_rules(&rules), [EventRule { name: "ApiCalls".into(), pattern }]);
    }

    #[test]
    fn the_service_of_a_call_is_the_last_part_of_its_name_or_arn() {
        let arn = "arn:aws:ecs:eu-central-2:000000000000:service/dev/orders";
        for request in [
            json!({"cluster": "dev", "serviceName": "orders"}),
            json!({"cluster": "dev", "service": "orders"}),
            json!({"cluster": "dev", "service": arn}),
            json!({"resourceArn": arn, "tags": []}),
        ] {
            let detail = json!({ "requestParameters": request });
            assert_eq!((service(&detail), place(&detail)), ("orders".into(), "dev/orders".into()));
        }
        assert_eq!(service(&json!({"requestParameters": null})), "");
    }

    #[test]
    fn held_events_are_delivered_after_their_release_and_lost_ones_never() {
        let call = |service: &str| json!({"requestParameters": {"cluster": "dev", "serviceName": service}});
        let mut withheld = Withheld::default();
        withheld.lost.insert("dev/lost".into());
        withheld.held.insert("dev/held".into(), Vec::new());
        let new = vec![call("held"), call("lost"), call("orders")];
        assert_eq!(withheld.deliverable(new), [call("orders")]);
        assert_eq!(withheld.held["dev/held"], [call("held")]);
        withheld.released = withheld.held.remove("dev/held").unwrap_or_default();
        assert_eq!(withheld.deliverable(vec![call("held")]), [call("held"), call("held")]);
        assert!(withheld.deliverable(Vec::new()).is_empty());
    }

    #[test]
    fn a_call_becomes_an_event_with_the_call_as_its_detail() {
        let detail = json!({"eventID": "1", "eventSource": "ecs.amazonaws.com", "eventName": "CreateService"});
        let event = event(&detail);
        assert_eq!(event["source"], "aws.ecs");
        assert_eq!(event["detail-type"], "AWS API Call via CloudTrail");
        assert_eq!((&event["id"], &event["detail"]), (&json!("1"), &detail));
    }

    #[test]
    fn a_call_sent_as_a_form_has_the_name_of_its_action() {
        let form = r#"{"eventName": "POST.elasticloadbalancing", "requestParameters": {"Action": "CreateListener"}}"#;
        assert_eq!(detail(form).expect("it is valid")["eventName"], "CreateListener");
        let json =
            r#"{"eventName": "CreateService", "requestParameters": {"serviceName": "orders"}}"#;
        assert_eq!(detail(json).expect("it is valid")["eventName"], "CreateService");
    }

    #[test]
    fn more_calls_than_a_lookup_returns_are_all_found_once_and_in_order() {
        let recorded = |at: u32| {
            let detail = json!({"eventID": at.to_string()}).to_string();
            // Some calls have the same time.
            json!({"EventId": at.to_string(), "EventTime": f64::from(at / 3), "CloudTrailEvent": detail})
        };
        let mut seen = HashSet::new();
        for (all, new, lookups) in [(170, 0..170, 4), (170, 0..0, 1), (260, 170..260, 2)] {
            let (mut details, mut until) = (Vec::new(), f64::MAX);
            for lookup in 1.. {
                let calls = (0..all).rev().map(recorded);
                let page = calls.filter(|call| call["EventTime"].as_f64() <= Some(until));
                let page: Vec<Value> = page.take(MAX_EVENTS_PER_LOOKUP).collect();
                match take_unseen(&page, &mut seen, &mut details).expect("the calls are valid") {
                    Some(oldest) => until = oldest,
                    None => {
                        assert_eq!(lookup, lookups);
                        break;
                    }
                }
            }
            let found = details.iter().rev().cloned();
            let new = new.map(|at| json!({"eventID": at.to_string()}));
            assert_eq!(found.collect::<Vec<_>>(), new.collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_input_of_a_target_is_the_event_unless_it_has_a_transformer() {
        let event =
            json!({"detail-type": "x", "detail": {"eventName": "CreateListener", "more": 7}});
        assert_eq!(input(&json!({"Arn": "a"}), &event), event.to_string());
        let transformer = json!({
            "InputPathsMap": {"detail-type": "$.detail-type", "detail-eventName": "$.detail.eventName"},
            "InputTemplate": r#"{"detail-type":<detail-type>,"detail":{"eventName":<detail-eventName>}}"#,
        });
        assert_eq!(
            input(&json!({"Arn": "a", "InputTransformer": transformer}), &event),
            r#"{"detail-type":"x","detail":{"eventName":"CreateListener"}}"#
        );
    }
}

//! Takes the place of CloudTrail's delivery to EventBridge, which MiniStack does not have.
//!
//! MiniStack records API calls as CloudTrail does, and evaluates patterns as EventBridge does. The relay reads
//! the recorded calls with LookupEvents, wraps each one in an EventBridge event, matches it against every
//! deployed rule, and invokes the targets of the rules that match. It contains no knowledge of the handler: if
//! the deployed pattern is wrong, the relay invokes nothing.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
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
    lost: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
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
        let lost = Arc::new(Mutex::new(BTreeSet::new()));
        let deliveries = deliverer.deliveries.clone();
        let task = tokio::spawn(relay(Arc::new(deliverer), Arc::clone(&lost)));
        Relay { deliveries, lost, task }
    }

    /// Receives every event that is delivered from now on.
    pub fn deliveries(&self) -> broadcast::Receiver<DeliveredEvent> {
        self.deliveries.subscribe()
    }

    /// Loses the events about a service from now on. CloudTrail may lose events, too.
    pub fn lose(&self, service: &str) {
        self.lost.lock().expect("no thread panics with the lock").insert(service.to_owned());
    }

    /// Delivers events about a service again.
    pub fn stop_losing(&self, service: &str) {
        self.lost.lock().expect("no thread panics with the lock").remove(service);
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

async fn relay(deliverer: Arc<Deliverer>, lost: Arc<Mutex<BTreeSet<String>>>) {
    let mut seen: HashSet<String> = HashSet::new();
    let mut tasks = JoinSet::new();
    let since = SystemTime::now();
    let mut first = true;
    loop {
        match deliverer.new_events(since, &mut seen).await {
            Ok(events) => {
                if events.len() == MAX_EVENTS_PER_LOOKUP && !first {
                    print_error(format!(
                        "relay: {MAX_EVENTS_PER_LOOKUP} events between two lookups; more may be lost"
                    ));
                }
                first &= events.is_empty();
                if !events.is_empty() {
                    deliver_all(&deliverer, events, &lost, &mut tasks).await;
                }
            }
            Err(error) => print_error(format!("relay: {error:#}")),
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
    lost: &Mutex<BTreeSet<String>>,
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
        let is_lost =
            lost.lock().expect("no thread panics with the lock").contains(&service(&detail));
        if !is_lost {
            let (deliverer, rules) = (Arc::clone(deliverer), Arc::clone(&rules));
            tasks.spawn(async move { deliverer.deliver(&detail, &rules).await });
        }
    }
}

/// The name of the service that a call concerns. The request has the name or the ARN.
fn service(detail: &Value) -> String {
    let request = &detail["requestParameters"];
    let keys = ["service", "serviceName", "resourceArn"];
    let found = keys.iter().find_map(|key| request[key].as_str()).unwrap_or_default();
    found.rsplit('/').next().unwrap_or_default().to_owned()
}

/// A recorded call as EventBridge delivers it.
fn event(detail: &Value) -> Value {
    json!({
        "version": "0",
        "id": detail["eventID"],
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.ecs",
        "account": ACCOUNT,
        "time": detail["eventTime"],
        "region": REGION,
        "resources": [],
        "detail": detail,
    })
}

impl Deliverer {
    /// The recorded ECS calls that are not in `seen` yet, the oldest first.
    async fn new_events(
        &self,
        since: SystemTime,
        seen: &mut HashSet<String>,
    ) -> Result<Vec<Value>> {
        let source = json!({
            "AttributeKey": "EventSource",
            "AttributeValue": "ecs.amazonaws.com",
        });
        let since = since.duration_since(UNIX_EPOCH)?.as_secs_f64();
        let request = json!({"LookupAttributes": [source], "StartTime": since});
        let answer = self.api.call(JsonService::CloudTrail, "LookupEvents", &request).await?;
        let events = answer["Events"].as_array().into_iter().flatten().rev();
        let mut details = Vec::new();
        for event in events {
            let id = event["EventId"].as_str().context("LookupEvents: an event has no id")?;
            if seen.insert(id.to_owned()) {
                let detail = event["CloudTrailEvent"].as_str().unwrap_or_default();
                let detail = serde_json::from_str(detail);
                details.push(detail.context("LookupEvents: an event is not valid JSON")?);
            }
        }
        Ok(details)
    }

    async fn deliver(&self, detail: &Value, rules: &[EventRule]) -> Result<()> {
        let begun = Instant::now();
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let at_ms = i64::try_from(at_ms)?;
        let call = detail["eventName"].as_str().unwrap_or_default();
        let event = event(detail).to_string();
        for rule in rules {
            if !self.api.matches(&rule.pattern, &event).await? {
                continue;
            }
            let request = json!({"Rule": rule.name});
            let answer = self.api.call(JsonService::EventBridge, "ListTargetsByRule", &request);
            let answer = answer.await?;
            let targets = answer["Targets"].as_array().into_iter().flatten();
            for target in targets.filter_map(|target| target["Arn"].as_str()) {
                let answer = if target.contains(":sqs:") {
                    self.api.send_message(&queue_url(&self.endpoint, target), &event).await?;
                    Ok(Value::Null)
                } else {
                    self.api.invoke(target, &event).await?
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
            assert_eq!(service(&json!({ "requestParameters": request })), "orders");
        }
        assert_eq!(service(&json!({"requestParameters": null})), "");
    }

    #[test]
    fn a_call_becomes_an_event_with_the_call_as_its_detail() {
        let detail = json!({"eventID": "1", "eventName": "CreateService"});
        let event = event(&detail);
        assert_eq!(event["detail-type"], "AWS API Call via CloudTrail");
        assert_eq!((&event["id"], &event["detail"]), (&json!("1"), &detail));
    }
}

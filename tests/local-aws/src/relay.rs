//! Stands in for CloudTrail's delivery to EventBridge, which MiniStack lacks.
//!
//! MiniStack records API calls as CloudTrail does, and knows how EventBridge matches. So: what
//! LookupEvents tells is wrapped as EventBridge would, each deployed rule is asked whether it
//! matches, and the targets of those that do are invoked. Nothing here knows what the handler
//! looks for; if the deployed pattern is wrong, nothing is invoked.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_cloudtrail::types::{Event, LookupAttribute, LookupAttributeKey};
use aws_sdk_lambda::primitives::Blob;
use aws_smithy_types::DateTime;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

use crate::ministack::{ACCOUNT, LocalAws, REGION};

/// LookupEvents gives at most so many, the newest first.
const PAGE: usize = 50;

const POLL: Duration = Duration::from_millis(50);

/// An event that reached a function, or the queue before it.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// `CreateService`.
    pub call: String,
    /// The service that it was about, as the caller wrote it.
    pub service: String,
    /// The ARN of the function or the queue.
    pub target: String,
    /// What the function answered, or how it failed; null for a queue.
    pub answer: Result<Value, String>,
    /// When the relay saw the event, in milliseconds since 1970.
    pub at_ms: i64,
    /// From when the relay saw the event until the function had answered.
    pub took: Duration,
}

/// Carries events until it is dropped.
#[derive(Debug)]
pub struct Relay {
    deliveries: broadcast::Sender<Delivery>,
    lost: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Begins with the events from now on, and the rules that are deployed by now.
    ///
    /// # Errors
    /// If the rules cannot be read.
    pub async fn start(aws: &LocalAws) -> Result<Relay> {
        let carrier = Carrier {
            cloudtrail: aws.cloudtrail.clone(),
            eventbridge: aws.eventbridge.clone(),
            lambda: aws.lambda.clone(),
            sqs: aws.sqs.clone(),
            endpoint: aws.endpoint.clone(),
            rules: rules(&aws.eventbridge).await?,
            deliveries: broadcast::channel(1_000).0,
        };
        ensure!(!carrier.rules.is_empty(), "no rule is deployed");
        let lost = Arc::new(Mutex::new(BTreeSet::new()));
        let deliveries = carrier.deliveries.clone();
        let task = tokio::spawn(carry(Arc::new(carrier), Arc::clone(&lost)));
        Ok(Relay { deliveries, lost, task })
    }

    /// Everything that is delivered from now on.
    pub fn deliveries(&self) -> broadcast::Receiver<Delivery> {
        self.deliveries.subscribe()
    }

    /// Loses every event about a service from now on, as CloudTrail may.
    pub fn lose(&self, service: &str) {
        self.lost.lock().expect("no holder of the lock panics").insert(service.to_owned());
    }

    /// Carries events about a service again.
    pub fn carry(&self, service: &str) {
        self.lost.lock().expect("no holder of the lock panics").remove(service);
    }
}

struct Rule {
    pattern: String,
    targets: Vec<String>,
}

struct Carrier {
    cloudtrail: aws_sdk_cloudtrail::Client,
    eventbridge: aws_sdk_eventbridge::Client,
    lambda: aws_sdk_lambda::Client,
    sqs: aws_sdk_sqs::Client,
    endpoint: String,
    rules: Vec<Rule>,
    deliveries: broadcast::Sender<Delivery>,
}

/// The deployed rules that wait for events, with the functions and queues that they go to.
async fn rules(eventbridge: &aws_sdk_eventbridge::Client) -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for rule in eventbridge.list_rules().send().await?.rules() {
        let (Some(name), Some(pattern)) = (rule.name(), rule.event_pattern()) else {
            continue;
        };
        let targets = eventbridge.list_targets_by_rule().rule(name).send().await?;
        let targets = targets.targets().iter().map(|target| target.arn().to_owned()).collect();
        rules.push(Rule { pattern: pattern.to_owned(), targets });
    }
    Ok(rules)
}

async fn carry(carrier: Arc<Carrier>, lost: Arc<Mutex<BTreeSet<String>>>) {
    let mut seen: HashSet<String> = HashSet::new();
    let mut tasks = JoinSet::new();
    let since = DateTime::from(std::time::SystemTime::now());
    let mut first = true;
    loop {
        match carrier.look_up(since).await {
            Ok(events) => {
                let known =
                    events.iter().any(|event| event.event_id().is_some_and(|id| seen.contains(id)));
                assert!(
                    first || known || events.len() < PAGE,
                    "more than {PAGE} events at once: some may have been passed over"
                );
                first = events.is_empty() && first;
                for event in events.into_iter().rev() {
                    let id = event.event_id().unwrap_or_default().to_owned();
                    if seen.insert(id) && !is_lost(&event, &lost) {
                        let carrier = Arc::clone(&carrier);
                        tasks.spawn(async move { carrier.deliver(&event).await });
                    }
                }
            }
            Err(error) => eprintln!("relay: {error:#}"),
        }
        while let Some(done) = tasks.try_join_next() {
            if let Ok(Err(error)) = done {
                eprintln!("relay: {error:#}");
            }
        }
        sleep(POLL).await;
    }
}

fn detail(event: &Event) -> Option<Value> {
    serde_json::from_str(event.cloud_trail_event()?).ok()
}

/// The service that a call was about, by the last part of its name or ARN.
fn service(detail: &Value) -> String {
    let request = &detail["requestParameters"];
    let named = ["service", "serviceName", "resourceArn"];
    let named = named.iter().find_map(|key| request[key].as_str()).unwrap_or_default();
    named.rsplit('/').next().unwrap_or_default().to_owned()
}

fn is_lost(event: &Event, lost: &Mutex<BTreeSet<String>>) -> bool {
    let lost = lost.lock().expect("no holder of the lock panics");
    detail(event).is_some_and(|detail| lost.contains(&service(&detail)))
}

impl Carrier {
    async fn look_up(&self, since: DateTime) -> Result<Vec<Event>> {
        let source = LookupAttribute::builder()
            .attribute_key(LookupAttributeKey::EventSource)
            .attribute_value("ecs.amazonaws.com")
            .build()?;
        let request = self.cloudtrail.lookup_events().lookup_attributes(source);
        let answer = request.start_time(since).send().await.context("LookupEvents")?;
        Ok(answer.events.unwrap_or_default())
    }

    async fn deliver(&self, event: &Event) -> Result<()> {
        let begun = Instant::now();
        let at_ms = DateTime::from(std::time::SystemTime::now()).to_millis()?;
        let detail = detail(event).context("an event without content")?;
        let call = detail["eventName"].as_str().unwrap_or_default().to_owned();
        let service = service(&detail);
        let envelope = json!({
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
        .to_string();
        for rule in &self.rules {
            let test = self.eventbridge.test_event_pattern().event_pattern(&rule.pattern);
            if !test.event(&envelope).send().await.context("TestEventPattern")?.result() {
                continue;
            }
            for target in &rule.targets {
                let answer = if target.contains(":sqs:") {
                    let url = queue_url(&self.endpoint, target);
                    let message = self.sqs.send_message().queue_url(url).message_body(&envelope);
                    message.send().await.context("SendMessage")?;
                    Ok(Value::Null)
                } else {
                    invoke(&self.lambda, target, &envelope).await?
                };
                // Nobody may be listening.
                let _ = self.deliveries.send(Delivery {
                    call: call.clone(),
                    service: service.clone(),
                    target: target.clone(),
                    answer,
                    at_ms,
                    took: begun.elapsed(),
                });
            }
        }
        Ok(())
    }
}

/// The URL of a queue on the local AWS, from its ARN.
pub fn queue_url(endpoint: &str, arn: &str) -> String {
    let name = arn.rsplit(':').next().unwrap_or_default();
    format!("{endpoint}/{ACCOUNT}/{name}")
}

/// Invokes a function and waits for its answer, or for what it says of its failure.
///
/// # Errors
/// If it could not be invoked.
pub async fn invoke(
    lambda: &aws_sdk_lambda::Client,
    function: &str,
    payload: &str,
) -> Result<Result<Value, String>> {
    let payload = Blob::new(payload.as_bytes());
    let request = lambda.invoke().function_name(function).payload(payload);
    let answer = request.send().await.with_context(|| format!("Invoke {function}"))?;
    let payload = answer.payload().map(Blob::as_ref).unwrap_or_default();
    if answer.function_error().is_some() {
        return Ok(Err(String::from_utf8_lossy(payload).into_owned()));
    }
    Ok(Ok(serde_json::from_slice(payload)?))
}

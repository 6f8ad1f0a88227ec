//! A local AWS with service discovery deployed to it. The demo and the scenarios run on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep, timeout};

use crate::api::JsonService;
use crate::deploy::{self, Network};
use crate::fixtures::LocalEnvironment;
use crate::ministack::LocalAws;
use crate::outcomes;
use crate::relay::{DeliveredEvent, Relay};
use crate::resolver::{DnsAnswer, PATIENCE, Resolver};

/// Deployed environments, and a relay that delivers events to them.
pub struct System {
    pub aws: Arc<LocalAws>,
    pub relay: Relay,
    pub environments: BTreeMap<String, LocalEnvironment>,
    /// The networks of the environments, and those without service discovery, by name.
    pub networks: BTreeMap<String, Network>,
}

impl System {
    /// Deploys environments, given by name and options, all with the zone name `internal`. Creates `more`
    /// networks without service discovery. `progress` receives each finished step and its duration.
    ///
    /// The rules that start full passes are disabled, so that a full pass does not register a service at a random time
    /// of the demo or of a scenario. [`System::resume_full_passes`] enables them.
    pub async fn deploy(
        aws: Arc<LocalAws>,
        options: &[(&str, Value)],
        more: &[&str],
        progress: impl Fn(&str, Duration),
    ) -> Result<System> {
        let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
        let begun = Instant::now();
        let all = [names.as_slice(), more].concat();
        let networks = tokio::try_join!(deploy::networks(&aws, &all), deploy::bootstrap(&aws))?.0;
        aws.register_task_definition().await?;
        progress("cdk bootstrap, a VPC and a cluster per environment", begun.elapsed());

        let begun = Instant::now();
        let data: Map<String, Value> = options
            .iter()
            .map(|(name, more)| {
                ((*name).to_owned(), deploy::environment(&networks[*name], "internal", more))
            })
            .collect();
        let mut deployed = deploy::discovery(&aws, &Value::Object(data)).await?;
        let stacks: Vec<String> = names.iter().map(|name| format!("EcsDiscovery-{name}")).collect();
        progress(&format!("cdk deploy {}", stacks.join(" ")), begun.elapsed());

        let mut environments = BTreeMap::new();
        for (name, network) in networks.clone() {
            if more.contains(&name.as_str()) {
                continue;
            }
            let discovery = deployed.remove(&name).context("an environment was not deployed")?;
            let resolver = Resolver::start(&aws, &[&discovery.zone]).await?;
            let environment = LocalEnvironment { name: name.clone(), network, discovery, resolver };
            environments.insert(name, environment);
        }
        let relay = Relay::start(&aws);
        let system = System { aws, relay, environments, networks };
        system.switch_rules("DisableRule", starts_full_passes).await?;
        Ok(system)
    }

    /// Lets MiniStack run the deployed schedules at their rate, and the relay deliver Elastic Load Balancing calls.
    pub async fn resume_full_passes(&self) -> Result<()> {
        self.switch_rules("EnableRule", starts_full_passes).await
    }

    /// Delivers Elastic Load Balancing calls to an environment. MiniStack waits for no batching window, so each call
    /// starts a full pass at once.
    pub async fn deliver_load_balancer_calls(&self, environment: &str) -> Result<()> {
        let stack = format!("EcsDiscovery-{environment}-");
        let name = |rule: &Value| rule["Name"].as_str().unwrap_or_default().to_owned();
        let of_stack = |rule: &Value| name(rule).starts_with(&stack);
        self.switch_rules("EnableRule", |rule| of_stack(rule) && matches_load_balancer_calls(rule))
            .await
    }

    async fn switch_rules(&self, operation: &str, selects: impl Fn(&Value) -> bool) -> Result<()> {
        let api = self.aws.api;
        let rules = api.call(JsonService::EventBridge, "ListRules", &json!({})).await?;
        for rule in rules["Rules"].as_array().into_iter().flatten().filter(|rule| selects(rule)) {
            let request = json!({"Name": rule["Name"]});
            api.call(JsonService::EventBridge, operation, &request).await?;
        }
        Ok(())
    }

    /// A deployed environment.
    pub fn environment(&self, name: &str) -> &LocalEnvironment {
        &self.environments[name]
    }

    /// Invokes an environment's handler. Its error is an error here.
    pub async fn invoke(&self, environment: &LocalEnvironment, payload: &Value) -> Result<Value> {
        let function = &environment.discovery.function;
        match self.aws.api.invoke(function, &payload.to_string()).await? {
            Ok(answer) => Ok(answer),
            Err(error) => bail!("{function} failed: {error}"),
        }
    }

    /// The event that the schedule of full passes sends.
    pub fn scheduled() -> Value {
        json!({
            "version": "0",
            "id": "00000000-0000-4000-8000-000000000000",
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "resources": [],
            "detail": {},
        })
    }
}

fn starts_full_passes(rule: &Value) -> bool {
    let schedule = rule["ScheduleExpression"].as_str().unwrap_or_default();
    !schedule.is_empty() || matches_load_balancer_calls(rule)
}

fn matches_load_balancer_calls(rule: &Value) -> bool {
    rule["EventPattern"]
        .as_str()
        .is_some_and(|pattern| pattern.contains("aws.elasticloadbalancing"))
}

impl LocalEnvironment {
    /// Waits until a name resolves as expected in the VPC, and returns how long that took.
    pub async fn resolves(&self, name: &str, expected: &DnsAnswer) -> Result<Duration> {
        self.resolver.resolves(name, expected).await.with_context(|| format!("in {}", self.name))
    }

    /// Waits for the outcome of an event about a service. `deliveries` must have been subscribed to before the
    /// event. With direct delivery the outcome is in the function's answer, with a queue in its log.
    pub async fn outcome(
        &self,
        aws: &LocalAws,
        deliveries: &mut Receiver<DeliveredEvent>,
        call: &str,
        service: &str,
    ) -> Result<Value> {
        let found = timeout(PATIENCE, async {
            loop {
                let delivery = deliveries.recv().await.context("the relay ended")?;
                if delivery.call != call || delivery.service != service {
                    continue;
                }
                if delivery.target == self.discovery.event_queue {
                    return self.logged_outcome(aws, delivery.at_ms, service).await;
                }
                if !delivery.target.ends_with(&format!(":{}", self.discovery.function)) {
                    continue;
                }
                let answer = delivery.answer.map_err(|error| anyhow::anyhow!(error))?;
                // The event may concern a service with the same name in another cluster.
                if let Some(outcome) = outcome_of(&answer, &self.network.cluster, service) {
                    return Ok(outcome.clone());
                }
            }
        });
        found.await.with_context(|| format!("{call} of {service} did not reach {}", self.name))?
    }

    async fn logged_outcome(&self, aws: &LocalAws, since_ms: i64, service: &str) -> Result<Value> {
        loop {
            let lines = aws.log_lines(&self.discovery.log_group, since_ms).await?;
            let outcomes = lines.iter().filter(|line| line["message"] == "outcome");
            let outcomes: Vec<Value> = outcomes.map(outcomes::logged_outcome).collect();
            let answer = json!({ "outcomes": outcomes });
            if let Some(outcome) = outcome_of(&answer, &self.network.cluster, service) {
                return Ok(outcome.clone());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A message in a log group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogEvent {
    /// In milliseconds since 1970.
    pub timestamp: i64,
    pub message: String,
}

impl LocalAws {
    /// The messages of a log group since a time, in order.
    pub async fn log_events(&self, log_group: &str, since_ms: i64) -> Result<Vec<LogEvent>> {
        let mut found = Vec::new();
        let mut request = json!({"logGroupName": log_group, "startTime": since_ms});
        loop {
            let page = self.api.call(JsonService::Logs, "FilterLogEvents", &request).await?;
            for event in page["events"].as_array().into_iter().flatten() {
                found.push(LogEvent {
                    timestamp: event["timestamp"].as_i64().unwrap_or_default(),
                    message: event["message"].as_str().unwrap_or_default().to_owned(),
                });
            }
            match page["nextToken"].as_str() {
                Some(next) => request["nextToken"] = next.into(),
                None => return Ok(found),
            }
        }
    }

    /// The JSON lines of a log group since a time, in order.
    pub async fn log_lines(&self, log_group: &str, since_ms: i64) -> Result<Vec<Value>> {
        let events = self.log_events(log_group, since_ms).await?;
        let lines = events.iter().flat_map(|event| event.message.lines());
        Ok(lines.filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

/// The outcome for a service in a handler's answer.
pub fn outcome_of<'a>(answer: &'a Value, cluster: &str, service: &str) -> Option<&'a Value> {
    let end = format!(":service/{cluster}/{service}");
    answer["outcomes"]
        .as_array()?
        .iter()
        .find(|outcome| outcome["service"].as_str().is_some_and(|arn| arn.ends_with(&end)))
}

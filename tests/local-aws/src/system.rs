//! A local AWS with service discovery deployed to it: what the story and the scenarios begin with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep, timeout};

use crate::deploy::{self, Network};
use crate::fixtures::Environment;
use crate::ministack::LocalAws;
use crate::relay::{Delivery, Relay, invoke};
use crate::resolver::{Answer, Resolver};

/// How long anything may take that happens at once on an idle machine. These are not idle.
const PATIENCE: Duration = Duration::from_secs(60);

/// Environments that run, with events carried to them.
pub struct Stage {
    pub aws: Arc<LocalAws>,
    pub relay: Relay,
    pub environments: BTreeMap<String, Environment>,
    /// All networks, by name: those of the environments, and those without service discovery.
    pub networks: BTreeMap<String, Network>,
}

impl Stage {
    /// Deploys environments, by name with their options, all with the zone name `internal`, and
    /// makes `more` networks without service discovery. `say` is told what is done and how long it took.
    ///
    /// # Errors
    /// If a step fails.
    pub async fn set(
        aws: Arc<LocalAws>,
        options: &[(&str, Value)],
        more: &[&str],
        say: impl Fn(&str, Duration),
    ) -> Result<Stage> {
        let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
        let begun = Instant::now();
        let all = [names.as_slice(), more].concat();
        let networks = tokio::try_join!(deploy::networks(&aws, &all), deploy::bootstrap(&aws))?.0;
        aws.register_task_definition().await?;
        say("cdk bootstrap, and a VPC and a cluster for each environment", begun.elapsed());

        let begun = Instant::now();
        let data: Map<String, Value> = options
            .iter()
            .map(|(name, more)| {
                ((*name).to_owned(), deploy::environment(&networks[*name], "internal", more))
            })
            .collect();
        let mut deployed = deploy::discovery(&aws, &Value::Object(data)).await?;
        let stacks: Vec<String> = names.iter().map(|name| format!("EcsDiscovery-{name}")).collect();
        say(&format!("cdk deploy {}", stacks.join(" ")), begun.elapsed());

        let mut environments = BTreeMap::new();
        for (name, network) in networks.clone() {
            if more.contains(&name.as_str()) {
                continue;
            }
            let discovery = deployed.remove(&name).context("an environment was not deployed")?;
            let resolver = Resolver::start(&aws, &[&discovery.zone]).await?;
            environments.insert(name.clone(), Environment { name, network, discovery, resolver });
        }
        let relay = Relay::start(&aws).await?;
        Ok(Stage { aws, relay, environments, networks })
    }

    /// One of the environments that were deployed.
    pub fn environment(&self, name: &str) -> &Environment {
        &self.environments[name]
    }

    /// Invokes an environment's handler.
    ///
    /// # Errors
    /// If it fails.
    pub async fn invoke(&self, environment: &Environment, payload: &Value) -> Result<Value> {
        let function = &environment.discovery.function;
        match invoke(&self.aws.lambda, function, &payload.to_string()).await? {
            Ok(answer) => Ok(answer),
            Err(error) => bail!("{function} failed: {error}"),
        }
    }

    /// What the schedule sends.
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

impl Environment {
    /// Waits until a name resolves as expected, and says how long that took.
    ///
    /// # Errors
    /// If it does not, with what it resolved to instead.
    pub async fn resolves(&self, name: &str, expected: &Answer) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let answer = self.resolver.ask(name).await?;
            if answer == *expected {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > PATIENCE {
                let environment = &self.name;
                bail!(
                    "in {environment}, {name} is {answer:?} after {PATIENCE:?}, expected {expected:?}"
                );
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the outcome of an event about a service, from deliveries asked for before it: as
    /// the function answered, or where a queue is between as its log says.
    ///
    /// # Errors
    /// If none comes, or the handler failed.
    pub async fn outcome(
        &self,
        aws: &LocalAws,
        deliveries: &mut Receiver<Delivery>,
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
                // A service of that name in another cluster is another service.
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
            let outcomes: Vec<Value> =
                lines.into_iter().filter(|line| line["message"] == "outcome").collect();
            let answer = json!({ "outcomes": outcomes });
            if let Some(outcome) = outcome_of(&answer, &self.network.cluster, service) {
                return Ok(outcome.clone());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl LocalAws {
    /// The lines of a log group since then that are JSON, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn log_lines(&self, log_group: &str, since_ms: i64) -> Result<Vec<Value>> {
        let mut lines = Vec::new();
        let mut next = None;
        loop {
            let request = self.logs.filter_log_events().log_group_name(log_group);
            let request = request.start_time(since_ms).set_next_token(next);
            let page = request.send().await.context("FilterLogEvents")?;
            let texts = page.events().iter().filter_map(|event| event.message());
            lines.extend(
                texts.flat_map(str::lines).filter_map(|line| serde_json::from_str(line).ok()),
            );
            next = page.next_token().map(str::to_owned);
            if next.is_none() {
                return Ok(lines);
            }
        }
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

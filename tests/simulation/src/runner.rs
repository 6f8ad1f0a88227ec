//! Plays a history on virtual time: changes the account, delivers the events, and lets the real handlers
//! answer them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use handler::domain::report::{ApiCalls, Status};
use handler::invocation::Answer;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::faults::Rejection;
use crate::history::{Act, History};
use crate::invariants::{Exemptions, NameRecords, Violation, check_zones, name_of};
use crate::lambda::Lambda;
use crate::queue::{EVENTS, LOAD_BALANCER_CALLS, Message, payload};
use crate::state::{Simulation, Tally};
use crate::virtual_time;

pub(crate) const FULL_PASS: &str =
    r#"{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}"#;

/// Unlike the schedule, a person is told of a failure.
const REQUESTED_FULL_PASS: &str = r#"{"reconcile":"all"}"#;

/// How often an event is delivered before it is given up.
const MAX_DELIVERIES: usize = 16;

pub(crate) struct Runner {
    pub(crate) lambda: Lambda,
    has_queue: bool,
    next_message: AtomicU64,
    /// One queue per environment.
    queues: Vec<Mutex<VecDeque<Message>>>,
}

fn is_event(message: &Message) -> bool {
    serde_json::from_str::<Value>(&message.body).is_ok_and(|body| body.get("detail-type").is_some())
}

/// Plays a history and checks every invariant on it.
///
/// # Errors
/// The first violation.
pub fn play(history: &History) -> Result<Tally, Violation> {
    virtual_time::run(history.seed, async {
        let mut simulation = Simulation::new(
            history.account.clone(),
            history.environments.clone(),
            history.faults.clone(),
            history.seed,
        );
        let rejected = history.rejected_name.clone();
        simulation.rejected_names.extend(rejected.map(|name| (name, Rejection::Unexplained)));
        simulation.function_timeout = history.function_timeout;
        let runner = Arc::new(Runner {
            lambda: Lambda::new(simulation),
            has_queue: history.has_queue,
            next_message: AtomicU64::new(1),
            queues: history.environments.iter().map(|_| Mutex::default()).collect(),
        });
        runner.play(history).await
    })
}

impl Runner {
    async fn play(self: &Arc<Self>, history: &History) -> Result<Tally, Violation> {
        self.lambda.simulation().count(format!("histories about {:?}", history.theme));
        let exemptions = self.play_steps(history).await;
        self.first_violation()?;
        if self.lambda.simulation().is_compromised {
            return Ok(std::mem::take(&mut self.lambda.simulation().tally));
        }
        // A full pass that an event started may stop at the delete limit.
        let is_refused = self.lambda.simulation().tally.contains_key("outcomes refused");
        // An event in the dead-letter queue was not handled.
        let is_given_up = self.lambda.simulation().tally.contains_key("events given up");
        if history.is_fully_reported() && !is_refused && !is_given_up {
            let simulation = self.lambda.simulation();
            for environment in &simulation.environments {
                let zones = &simulation.account.zones;
                found(check_zones(&simulation, environment, zones, Some(&exemptions)))?;
            }
        }

        let faults_end = {
            let simulation = self.lambda.simulation();
            simulation.begun + Duration::from_millis(simulation.faults.until_ms)
        };
        sleep_until(faults_end).await;
        sleep(Duration::from_secs(60)).await;
        for environment in 0..history.environments.len() {
            self.full_passes(environment).await?;
        }
        if history.seed.is_multiple_of(4) {
            self.deregister(0).await?;
        }
        Ok(std::mem::take(&mut self.lambda.simulation().tally))
    }

    /// Performs all acts and waits until their events are handled or given up.
    async fn play_steps(self: &Arc<Self>, history: &History) -> Exemptions {
        let mut tasks = JoinSet::new();
        let mut exemptions = Exemptions::default();
        let begun = self.lambda.simulation().begun;
        for step in &history.steps {
            sleep_until(begun + Duration::from_millis(step.at_ms)).await;
            self.exempt_foreign_names(&mut exemptions);
            let payloads = self.perform(step, &mut tasks, &mut exemptions);
            self.exempt_foreign_names(&mut exemptions);
            exemptions.note_renamed(&step.act, &self.lambda.simulation());
            if step.delivery.arrives_ms.is_empty() && !payloads.is_empty() {
                self.lambda.simulation().count("events lost");
            }
            let delay = match step.act {
                Act::LoadBalancer { .. } | Act::TargetGroup { .. } => LOAD_BALANCER_CALLS.delay,
                _ => EVENTS.delay,
            };
            for payload in payloads {
                let arrives_ms = step.delivery.arrives_ms.clone();
                tasks.spawn_local(Arc::clone(self).send(payload, arrives_ms, delay));
            }
        }
        while tasks.join_next().await.is_some() {}
        exemptions
    }

    /// Delivers copies of an event to every environment, until they are handled or given up.
    pub(crate) async fn send(
        self: Arc<Self>,
        payload: String,
        arrives_ms: Vec<u64>,
        delay: Duration,
    ) {
        let mut copies = Vec::new();
        for (copy, after) in arrives_ms.into_iter().enumerate() {
            if copy > 0 {
                self.lambda.simulation().count("events delivered twice");
            }
            let after = delay + Duration::from_millis(after);
            for environment in 0..self.queues.len() {
                let (runner, payload) = (&self, payload.clone());
                copies.push(async move {
                    if runner.has_queue {
                        runner.enqueue(environment, payload, after).await;
                    } else {
                        runner.deliver(environment, payload, after).await;
                    }
                });
            }
        }
        join_all(copies).await;
    }

    /// Invokes a handler with a payload until the invocation succeeds. After the last delivery the event is
    /// in the dead-letter queue.
    pub(crate) async fn deliver(&self, environment: usize, payload: String, after: Duration) {
        sleep(after).await;
        for _ in 0..MAX_DELIVERIES {
            if self.lambda.invoke(environment, &payload).await.is_some()
                || self.first_violation().is_err()
            {
                return;
            }
            let pause = self.lambda.simulation().rng.u64(20_000..120_000);
            sleep(Duration::from_millis(pause)).await;
        }
        self.lambda.simulation().count("events given up");
    }

    /// Sends a payload to the queue of an environment, and receives messages from there.
    async fn enqueue(&self, environment: usize, payload: String, after: Duration) {
        sleep(after).await;
        let id = self.next_message.fetch_add(1, Ordering::Relaxed);
        self.queue(environment).push_back(Message::new(id, payload));
        let window = self.lambda.simulation().rng.u64(100..1_000);
        sleep(Duration::from_millis(window)).await;
        self.receive(environment).await;
    }

    /// Invokes a handler with batches from its queue, until the queue is empty and the messages that failed here were
    /// handled or given up.
    async fn receive(&self, environment: usize) {
        let mut invisible: Vec<(Instant, Message)> = Vec::new();
        loop {
            let now = Instant::now();
            let (visible, rest): (Vec<_>, Vec<_>) =
                invisible.into_iter().partition(|(at, _)| *at <= now);
            invisible = rest;
            let batch: Vec<Message> = {
                let mut queue = self.queue(environment);
                queue.extend(visible.into_iter().map(|(_, message)| message));
                let size = queue.len().min(10);
                queue.drain(..size).collect()
            };
            if self.first_violation().is_err() {
                return;
            }
            if batch.is_empty() {
                match invisible.iter().map(|(at, _)| *at).min() {
                    Some(next) => sleep_until(next).await,
                    None => return,
                }
                continue;
            }
            invisible.extend(self.receive_batch(environment, batch).await);
        }
    }

    /// Invokes a handler with one batch. Returns the failed messages, with the time at which SQS delivers them again.
    async fn receive_batch(
        &self,
        environment: usize,
        batch: Vec<Message>,
    ) -> Vec<(Instant, Message)> {
        let received = Instant::now();
        let payload = payload(&format!("events-{environment}"), &batch);
        let answer = self.lambda.invoke(environment, &payload).await;
        let has_failed = |message: &Message| message.has_failed(answer.as_ref());
        let has_schedule = batch.iter().any(|message| message.body == FULL_PASS);
        // A message that is no event fails each time, and needs no further delivery here.
        let failed: Vec<Message> =
            batch.into_iter().filter(|message| has_failed(message) && is_event(message)).collect();
        if let Some(Answer::Batch(answer)) = &answer
            && failed.is_empty()
            && !has_schedule
            && answer
                .runs
                .iter()
                .any(|run| run.failures().next().is_some() || !run.read_errors.is_empty())
        {
            let message = format!("a run failed, but none of its messages: {}", json!(answer));
            self.lambda.simulation().violate(Violation::new(2, message));
        }
        let mut simulation = self.lambda.simulation();
        let again = |message: Message| message.again(received, EVENTS, &mut simulation);
        failed.into_iter().filter_map(again).collect()
    }

    fn queue(&self, environment: usize) -> MutexGuard<'_, VecDeque<Message>> {
        self.queues[environment].lock().expect("no holder panics")
    }

    pub(crate) fn first_violation(&self) -> Result<(), Violation> {
        found(self.lambda.simulation().violation.clone())
    }

    /// Checks the invariants 1, 3 and 9 of full passes, without faults.
    async fn full_passes(&self, environment: usize) -> Result<(), Violation> {
        // The two dry runs get the same answers in another order.
        let dry = r#"{"reconcile":"all","dryRun":true,"overrideDeleteLimit":true}"#;
        let mut plans = Vec::new();
        for _ in 0..2 {
            if let Some(Answer::Report(mut report)) = self.lambda.invoke(environment, dry).await {
                (report.api_calls, report.throttles) = <(ApiCalls, ApiCalls)>::default();
                plans.push(report);
            }
        }
        if let [first, second] = plans.as_slice()
            && first != second
        {
            let message = format!("{}\nthen {}", json!(first), json!(second));
            return Err(Violation::new(9, message));
        }
        let before = self.lambda.simulation().account.zones.clone();
        let answer = self.lambda.invoke(environment, REQUESTED_FULL_PASS).await;
        self.first_violation()?;
        let is_refused = matches!(&answer, Some(Answer::Report(report))
            if report.outcomes.iter().any(|outcome| outcome.status == Status::Refused));
        if is_refused {
            self.lambda.simulation().count("full passes over the delete limit");
            let payload = r#"{"reconcile":"all","overrideDeleteLimit":true}"#;
            self.lambda.invoke(environment, payload).await;
            self.first_violation()?;
        }
        if answer.is_none() && !self.lambda.simulation().has_lasting_failure() {
            return Err(Violation::new(3, "a full pass failed without any fault"));
        }
        {
            let simulation = self.lambda.simulation();
            let environment = &simulation.environments[environment];
            found(check_zones(&simulation, environment, &before, None))?;
        }
        let first = self.change_batches();
        self.lambda.invoke(environment, FULL_PASS).await;
        self.first_violation()?;
        if self.change_batches() != first {
            return Err(Violation::new(1, "the second of two full passes changed a zone"));
        }
        Ok(())
    }

    fn change_batches(&self) -> u64 {
        let simulation = self.lambda.simulation();
        simulation.tally.get("change batches applied").copied().unwrap_or_default()
    }

    async fn deregister(&self, environment: usize) -> Result<(), Violation> {
        self.lambda.invoke(environment, r#"{"deregister":"all"}"#).await;
        self.first_violation()?;
        let simulation = self.lambda.simulation();
        let environment = &simulation.environments[environment];
        if simulation.has_lasting_failure() {
            return Ok(());
        }
        // A record whose marker somebody deleted or made unreadable stays.
        for (id, zone) in &simulation.account.zones {
            for (rrset, _) in zone.all() {
                let holder = NameRecords::read(zone, name_of(rrset)).holder(environment);
                if let Some(holder) = holder.filter(|_| environment.has_zone(id)) {
                    let name = &environment.name;
                    let message =
                        format!("{holder:?} still has {rrset:?} after {name} was deregistered");
                    return Err(Violation::new(3, message));
                }
            }
        }
        Ok(())
    }

    /// Exempts the names that have records without a holder: those of others. No event reports their end.
    fn exempt_foreign_names(&self, exemptions: &mut Exemptions) {
        let simulation = self.lambda.simulation();
        for environment in &simulation.environments {
            for (_, id, _) in &environment.zones {
                let Some(zone) = simulation.account.zones.get(id) else { continue };
                for (rrset, _) in zone.all() {
                    let name = name_of(rrset);
                    if NameRecords::read(zone, name).holder(environment).is_none() {
                        exemptions.names.insert(name.to_owned());
                    }
                }
            }
        }
    }
}

fn found(violation: Option<Violation>) -> Result<(), Violation> {
    violation.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_plays_the_same_history_every_time() {
        for seed in 0..20 {
            let first = play(&History::of(seed)).expect("every invariant holds");
            let second = play(&History::of(seed)).expect("every invariant holds");
            assert_eq!(first, second, "seed {seed}");
        }
    }
}

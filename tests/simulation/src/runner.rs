//! Plays a history: what people do, the events of it, and the real handlers that answer them, all on
//! virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use handler::domain::marker::Nonce;
use handler::domain::report::Report;
use handler::invocation::{Answer, answer_until};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::account::{Behind, Service, ServiceName, Status, service_arn};
use crate::faults::{Counts, Invocation, Sim, lock};
use crate::history::{Act, History, Travel, event};
use crate::invariants::{Excuses, Violation, check_zones};
use crate::lambda::{Container, FUNCTION, FUNCTION_TIMEOUT};
use crate::oracle::{Due, due};
use crate::route53::{Action, Author, Rrset};
use crate::virtual_time;

const FULL_PASS: &str = r#"{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}"#;

/// All that plays.
struct Stage {
    sim: Arc<Mutex<Sim>>,
    idle: Mutex<Vec<Container>>,
    invocations: AtomicU64,
    queues: Vec<Mutex<VecDeque<(u64, String)>>>,
}

/// Plays a history and checks every invariant on it.
///
/// # Errors
/// With the first that is broken.
///
/// # Panics
/// If no runtime can be made.
pub fn play(history: &History) -> Result<Counts, Violation> {
    virtual_time::run(history.seed, async {
        let mut sim = Sim::new(
            history.cloud.clone(),
            history.environments.clone(),
            history.weather.clone(),
            history.seed,
        );
        sim.poison.clone_from(&history.poison);
        let stage = Arc::new(Stage {
            sim: Arc::new(Mutex::new(sim)),
            idle: Mutex::default(),
            invocations: AtomicU64::new(1),
            queues: history.environments.iter().map(|_| Mutex::default()).collect(),
        });
        stage.play(history).await
    })
}

fn violation(invariant: u8, what: impl Into<String>) -> Violation {
    Violation { invariant, what: what.into() }
}

impl Stage {
    /// Invokes an environment's handler. None if it failed, or was ended in the middle.
    async fn invoke(&self, environment: usize, payload: &str) -> Option<Value> {
        let idle = |container: &Container| container.environment == environment;
        let found = {
            let mut all = self.idle.lock().expect("no holder panics");
            let at = all.iter().position(idle);
            at.map(|at| all.swap_remove(at))
        };
        let config = lock(&self.sim).environments[environment].clone();
        let container = found.unwrap_or_else(|| Container::new(environment, &config, &self.sim));
        let id = self.invocations.fetch_add(1, Ordering::Relaxed);
        container.wire.invocation.store(id, Ordering::Relaxed);
        let killed_after = {
            let mut sim = lock(&self.sim);
            let deregisters = payload.contains("deregister");
            sim.invocations
                .insert(id, Invocation { environment, deregisters, ..Invocation::default() });
            sim.count("invocations");
            let killed = sim.is_bad() && sim.rng.u32(0..1_000) < sim.weather.killed;
            if killed { Duration::from_millis(sim.rng.u64(0..3_000)) } else { FUNCTION_TIMEOUT }
        };
        let stop_at = Instant::now() + FUNCTION_TIMEOUT - Duration::from_secs(10);
        let run = answer_until(&container.reconciler, FUNCTION, Nonce::new(id), stop_at, payload);
        let run = timeout(killed_after, AssertUnwindSafe(run).catch_unwind()).await;
        lock(&self.sim).invocations.get_mut(&id).expect("it was put there").told =
            crate::oracle::Told::default();
        match run {
            Err(_) => {
                lock(&self.sim).count("invocations killed");
                None
            }
            Ok(Err(_)) => {
                lock(&self.sim).violate(violation(8, format!("the handler crashed on {payload}")));
                None
            }
            Ok(Ok(answer)) => {
                self.idle.lock().expect("no holder panics").push(container);
                let mut sim = lock(&self.sim);
                match answer {
                    Err(_) => {
                        sim.count("invocations failed");
                        None
                    }
                    Ok(answer) => {
                        let reports: &[Report] = match &answer {
                            Answer::Report(report) => std::slice::from_ref(report),
                            Answer::Batch(batch) => &batch.runs,
                        };
                        for outcome in reports.iter().flat_map(|report| &report.outcomes) {
                            sim.count(format!("outcomes {}", outcome.status.as_str()));
                        }
                        serde_json::to_value(&answer).ok()
                    }
                }
            }
        }
    }

    /// Delivers a payload directly, and again until it is handled: whoever gives up in the end
    /// tells it by a dead-letter queue.
    async fn deliver(self: Arc<Self>, environment: usize, payload: String, after: Duration) {
        sleep(after).await;
        for _ in 0..40 {
            if self.invoke(environment, &payload).await.is_some()
                || lock(&self.sim).violation.is_some()
            {
                return;
            }
            let wait = lock(&self.sim).rng.u64(20_000..120_000);
            sleep(Duration::from_millis(wait)).await;
        }
        lock(&self.sim).count("events given up");
    }

    /// Takes batches of messages from a queue until all have been handled.
    async fn poll(self: Arc<Self>, environment: usize, from: Instant) {
        sleep_until(from).await;
        let mut tries = 0;
        loop {
            let batch: Vec<(u64, String)> = {
                let mut queue = self.queues[environment].lock().expect("no holder panics");
                let most = queue.len().min(10);
                queue.drain(..most).collect()
            };
            if batch.is_empty() || tries == 40 || lock(&self.sim).violation.is_some() {
                return;
            }
            tries += 1;
            let records: Vec<Value> = batch.iter().map(|(id, body)| json!({"messageId": id.to_string(), "eventSource": "aws:sqs", "body": body})).collect();
            let answer = self.invoke(environment, &json!({"Records": records}).to_string()).await;
            let failed = |id: &u64| match &answer {
                None => true,
                Some(answer) => answer["batchItemFailures"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|item| item["itemIdentifier"].as_str() == Some(&id.to_string())),
            };
            let again: Vec<(u64, String)> = batch
                .into_iter()
                .filter(|(id, body)| {
                    failed(id)
                        && serde_json::from_str::<Value>(body)
                            .is_ok_and(|body| body.get("detail-type").is_some())
                })
                .collect();
            if !again.is_empty() {
                lock(&self.sim).count("messages that came again");
                self.queues[environment].lock().expect("no holder panics").extend(again);
                sleep(Duration::from_secs(30)).await;
            }
        }
    }

    async fn play(self: &Arc<Self>, history: &History) -> Result<Counts, Violation> {
        let mut tasks = JoinSet::new();
        let mut excuses = Excuses::default();
        let mut message = 0;
        let begun = lock(&self.sim).begun;
        for step in &history.steps {
            sleep_until(begun + Duration::from_millis(step.at_ms)).await;
            self.wants(&mut excuses);
            let payloads = self.perform(&step.act, &step.travel, &mut tasks, &mut excuses);
            self.wants(&mut excuses);
            if step.travel.arrives_ms.is_empty() && !payloads.is_empty() {
                lock(&self.sim).count("events lost");
            }
            for payload in &payloads {
                for (copy, after) in step.travel.arrives_ms.iter().enumerate() {
                    if copy > 0 {
                        lock(&self.sim).count("events doubled");
                    }
                    for environment in 0..history.environments.len() {
                        let after = Duration::from_millis(*after);
                        if history.queue {
                            message += 1;
                            let (stage, text, id) = (Arc::clone(self), payload.clone(), message);
                            tasks.spawn_local(async move {
                                sleep(after).await;
                                stage.queues[environment]
                                    .lock()
                                    .expect("no holder panics")
                                    .push_back((id, text));
                                let from = Instant::now() + Duration::from_millis(200);
                                stage.poll(environment, from).await;
                            });
                        } else {
                            tasks.spawn_local(Arc::clone(self).deliver(
                                environment,
                                payload.clone(),
                                after,
                            ));
                        }
                    }
                }
            }
        }
        while tasks.join_next().await.is_some() {}
        self.broken()?;

        if history.is_told_whole()
            && lock(&self.sim).weather.denied.is_none()
            && history.poison.is_none()
        {
            let sim = lock(&self.sim);
            for environment in &sim.environments {
                check_zones(&sim, environment, &sim.cloud.zones, Some(&excuses))
                    .map_or(Ok(()), Err)?;
            }
        }
        // From here on nothing goes wrong any more.
        let calm = {
            let sim = lock(&self.sim);
            sim.begun + Duration::from_millis(sim.weather.until_ms)
        };
        sleep_until(calm).await;
        sleep(Duration::from_secs(60)).await;
        for environment in 0..history.environments.len() {
            self.full_passes(environment).await?;
        }
        if history.seed.is_multiple_of(4) {
            self.deregister(0).await?;
        }
        let mut sim = lock(&self.sim);
        Ok(std::mem::take(&mut sim.counts))
    }

    fn broken(&self) -> Result<(), Violation> {
        lock(&self.sim).violation.clone().map_or(Ok(()), Err)
    }

    async fn full_passes(&self, environment: usize) -> Result<(), Violation> {
        // 9: the same answers in another order give the same plan.
        let dry = r#"{"reconcile":"all","dryRun":true,"overrideDeleteLimit":true}"#;
        let mut plans = Vec::new();
        for _ in 0..2 {
            if let Some(mut report) = self.invoke(environment, dry).await {
                report["apiCalls"] = Value::Null;
                plans.push(report);
            }
        }
        if let [first, second] = plans.as_slice()
            && first != second
        {
            return Err(violation(9, format!("{first}\nand then {second}")));
        }
        let before = lock(&self.sim).cloud.zones.clone();
        let poisoned = lock(&self.sim).poison.is_some();
        let answer = self.invoke(environment, FULL_PASS).await;
        self.broken()?;
        let refused = answer.as_ref().is_some_and(|answer| {
            answer["outcomes"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|outcome| outcome["status"] == "refused")
        });
        if refused {
            lock(&self.sim).count("passes with too many deletions");
            self.invoke(environment, r#"{"reconcile":"all","overrideDeleteLimit":true}"#).await;
            self.broken()?;
        }
        if answer.is_none() && !poisoned {
            return Err(violation(3, "a full pass failed though nothing was wrong"));
        }
        {
            let sim = lock(&self.sim);
            check_zones(&sim, &sim.environments[environment], &before, None).map_or(Ok(()), Err)?;
        }
        // 1: a second one changes nothing.
        let changes = |stage: &Stage| {
            lock(&stage.sim).counts.get("change batches applied").copied().unwrap_or_default()
        };
        let first = changes(self);
        self.invoke(environment, FULL_PASS).await;
        self.broken()?;
        if changes(self) != first {
            return Err(violation(1, "the second of two full passes changed something"));
        }
        Ok(())
    }

    async fn deregister(&self, environment: usize) -> Result<(), Violation> {
        let poisoned = lock(&self.sim).poison.is_some();
        self.invoke(environment, r#"{"deregister":"all"}"#).await;
        self.broken()?;
        let sim = lock(&self.sim);
        let name = &sim.environments[environment].name;
        let author = Author::Handler(name.clone());
        let left =
            sim.cloud.zones.values().flat_map(|zone| zone.all()).find(|(_, by)| *by == author);
        match left {
            Some((rrset, _)) if !poisoned => {
                Err(violation(3, format!("{rrset:?} was left when {name} was deregistered")))
            }
            _ => Ok(()),
        }
    }

    /// Notes the names that several want: whoever does not get one waits for the next full pass.
    fn wants(&self, excuses: &mut Excuses) {
        let sim = lock(&self.sim);
        for environment in &sim.environments {
            let mut wanted: BTreeMap<String, ServiceName> = BTreeMap::new();
            for (id, zone) in &sim.cloud.zones {
                for (rrset, _) in zone.all() {
                    let name = rrset.name.strip_prefix("_discovery.").unwrap_or(&rrset.name);
                    let stand = crate::invariants::Stand::at(zone, name);
                    match stand.holder(environment) {
                        Some(holder) => drop(wanted.insert(format!("{id} {name}"), holder)),
                        None => drop(excuses.names.insert(name.to_owned())),
                    }
                }
            }
            for (service, state) in &sim.cloud.ecs.services {
                if let Due::Record { zone, name, .. } =
                    due(environment, service, Some(state), &sim.cloud)
                    && wanted
                        .insert(format!("{zone} {name}"), service.clone())
                        .is_some_and(|other| other != *service)
                {
                    excuses.names.insert(name);
                }
            }
        }
    }

    /// Does what an act says, if it can be done, and tells the events of it.
    fn perform(
        self: &Arc<Self>,
        act: &Act,
        travel: &Travel,
        tasks: &mut JoinSet<()>,
        excuses: &mut Excuses,
    ) -> Vec<String> {
        let mut sim = lock(&self.sim);
        let now = sim.begun.elapsed().as_secs();
        let listed = |behind: &[Behind]| json!({"loadBalancers": behind.iter().map(Behind::to_json).collect::<Vec<_>>()});
        let told = |call: &str, service: &ServiceName, more: Value, failed: bool| {
            let mut events = vec![event(call, service, more, travel, failed).to_string()];
            if travel.native && !failed && !call.contains("Tag") && call != "DeleteService" {
                let own = json!({"source": "aws.ecs", "detail-type": "ECS Deployment State Change", "resources": [service_arn(service)], "detail": {}});
                events.push(own.to_string());
            }
            events
        };
        let lives = |sim: &Sim, service: &ServiceName| {
            sim.cloud.ecs.services.get(service).is_some_and(|found| found.status == Status::Active)
        };
        match act {
            Act::Create { service, behind, task_sets, tags } => {
                let more = listed(behind);
                if sim
                    .cloud
                    .ecs
                    .services
                    .get(service)
                    .is_some_and(|found| found.status != Status::Inactive)
                {
                    return told("CreateService", service, more, true);
                }
                sim.before_change();
                let made = Service {
                    status: Status::Active,
                    created_at: now,
                    behind: behind.clone(),
                    task_sets: task_sets.clone(),
                    tags: tags.iter().cloned().collect(),
                };
                sim.cloud.ecs.services.insert(service.clone(), made);
                told("CreateService", service, more, false)
            }
            Act::Scale { service } => {
                told("UpdateService", service, json!({"desiredCount": 3}), !lives(&sim, service))
            }
            Act::Move { service, .. } | Act::TaskSet { service, .. } | Act::Tag { service, .. }
                if !lives(&sim, service) =>
            {
                Vec::new()
            }
            Act::Move { service, behind } => {
                sim.before_change();
                sim.cloud
                    .ecs
                    .services
                    .get_mut(service)
                    .expect("it lives")
                    .behind
                    .clone_from(behind);
                told("UpdateService", service, listed(behind), false)
            }
            Act::TaskSet { service, behind } => {
                sim.before_change();
                let sets =
                    &mut sim.cloud.ecs.services.get_mut(service).expect("it lives").task_sets;
                sets.insert(0, ("ACTIVE".into(), behind.clone()));
                told("CreateTaskSet", service, json!({}), false)
            }
            Act::Tag { service, key, value } => {
                sim.before_change();
                let tags = &mut sim.cloud.ecs.services.get_mut(service).expect("it lives").tags;
                match value {
                    Some(value) => drop(tags.insert(key.clone(), value.clone())),
                    None => drop(tags.remove(key)),
                }
                told(
                    if value.is_some() { "TagResource" } else { "UntagResource" },
                    service,
                    json!({}),
                    false,
                )
            }
            Act::Delete { service, .. } if !lives(&sim, service) => {
                told("DeleteService", service, json!({}), true)
            }
            Act::Delete { service, drains_ms } => {
                sim.before_change();
                sim.cloud.ecs.services.get_mut(service).expect("it lives").status =
                    Status::Draining;
                let (stage, service_name, drains) =
                    (Arc::clone(self), service.clone(), Duration::from_millis(*drains_ms));
                if drains.is_zero() {
                    sim.cloud.ecs.services.get_mut(service).expect("it lives").status =
                        Status::Inactive;
                }
                tasks.spawn_local(async move {
                    sleep(drains).await;
                    stage.becomes(&service_name, Status::Draining, Some(Status::Inactive));
                    sleep(Duration::from_secs(40)).await;
                    stage.becomes(&service_name, Status::Inactive, None);
                });
                told("DeleteService", service, json!({}), false)
            }
            Act::Balancer { name, balancer } => {
                excuses.behind.insert(name.clone());
                let through =
                    sim.cloud.groups.iter().filter(|(_, balancers)| balancers.contains(name));
                excuses.behind.extend(through.map(|(group, _)| group.clone()));
                match balancer {
                    Some(balancer) => {
                        drop(sim.cloud.balancers.insert(name.clone(), balancer.clone()))
                    }
                    None => {
                        sim.cloud.balancers.remove(name);
                        for balancers in sim.cloud.groups.values_mut() {
                            balancers.retain(|other| other != name);
                        }
                    }
                }
                Vec::new()
            }
            Act::Listen { group, balancer } => {
                excuses.behind.insert(group.clone());
                let there = balancer.clone().filter(|name| sim.cloud.balancers.contains_key(name));
                sim.cloud.groups.insert(group.clone(), Vec::from_iter(there));
                Vec::new()
            }
            Act::Person { zone, name, record } => {
                excuses.names.insert(name.clone());
                let Some(zone) = sim.cloud.zones.get_mut(zone) else { return Vec::new() };
                let changes: Vec<(Action, Rrset)> = match record {
                    None => {
                        zone.at(name).map(|(rrset, _)| (Action::Delete, rrset.clone())).collect()
                    }
                    Some((kind, value)) => {
                        let rrset = Rrset {
                            name: name.clone(),
                            kind: kind.clone(),
                            ttl: Some(300),
                            values: vec![value.clone()],
                            alias: None,
                        };
                        vec![(Action::Create, rrset)]
                    }
                };
                // Where Route 53 refuses, the person gives up.
                let done = zone.change(&changes, &Author::Person).is_ok();
                sim.count(if done {
                    "records changed by a person"
                } else {
                    "records refused to a person"
                });
                Vec::new()
            }
            Act::FullPass => vec![FULL_PASS.to_owned()],
            Act::Payload { text } => vec![text.clone()],
        }
    }

    fn becomes(&self, service: &ServiceName, from: Status, to: Option<Status>) {
        let mut sim = lock(&self.sim);
        if sim.cloud.ecs.services.get(service).is_some_and(|found| found.status == from) {
            sim.before_change();
            match to {
                Some(status) => {
                    sim.cloud.ecs.services.get_mut(service).expect("it is there").status = status
                }
                None => drop(sim.cloud.ecs.services.remove(service)),
            }
        }
    }
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

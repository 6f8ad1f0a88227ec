//! Plays a history on virtual time: changes the account, delivers the events, and lets the real handlers
//! answer them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use handler::domain::report::{ApiCalls, Status};
use handler::invocation::Answer;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::account::{
    Attachment, LOAD_BALANCER_ZONE, ServiceName, ServiceStatus, StoredService, attachments_to_json,
    service_arn,
};
use crate::history::{Act, EventDelivery, History, event};
use crate::invariants::{Exemptions, NameRecords, Violation, check_zones, name_of};
use crate::lambda::Lambda;
use crate::route53::{Action, Author, StoredRrset};
use crate::state::{Simulation, Tally};
use crate::virtual_time;

const FULL_PASS: &str = r#"{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}"#;

/// How often an event or a batch is delivered before it is given up.
const MAX_DELIVERIES: usize = 40;

struct Runner {
    lambda: Lambda,
    /// One queue per environment, with the id and the body of each message.
    queues: Vec<Mutex<VecDeque<(u64, String)>>>,
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
        simulation.rejected_name.clone_from(&history.rejected_name);
        let runner = Arc::new(Runner {
            lambda: Lambda::new(simulation),
            queues: history.environments.iter().map(|_| Mutex::default()).collect(),
        });
        runner.play(history).await
    })
}

impl Runner {
    async fn play(self: &Arc<Self>, history: &History) -> Result<Tally, Violation> {
        let exemptions = self.play_steps(history).await;
        self.first_violation()?;
        if history.is_fully_reported() {
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
        let mut message = 0;
        let begun = self.lambda.simulation().begun;
        for step in &history.steps {
            sleep_until(begun + Duration::from_millis(step.at_ms)).await;
            self.exempt_foreign_names(&mut exemptions);
            let payloads = self.perform(&step.act, &step.delivery, &mut tasks, &mut exemptions);
            self.exempt_foreign_names(&mut exemptions);
            if step.delivery.arrives_ms.is_empty() && !payloads.is_empty() {
                self.lambda.simulation().count("events lost");
            }
            for payload in &payloads {
                for (copy, after) in step.delivery.arrives_ms.iter().enumerate() {
                    if copy > 0 {
                        self.lambda.simulation().count("events delivered twice");
                    }
                    let after = Duration::from_millis(*after);
                    for environment in 0..history.environments.len() {
                        let (runner, payload) = (Arc::clone(self), payload.clone());
                        if history.has_queue {
                            message += 1;
                            tasks.spawn_local(runner.enqueue(environment, message, payload, after));
                        } else {
                            tasks.spawn_local(runner.deliver(environment, payload, after));
                        }
                    }
                }
            }
        }
        while tasks.join_next().await.is_some() {}
        exemptions
    }

    /// Invokes a handler with a payload until the invocation succeeds. After the last delivery the event is
    /// in the dead-letter queue.
    async fn deliver(self: Arc<Self>, environment: usize, payload: String, after: Duration) {
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
    async fn enqueue(
        self: Arc<Self>,
        environment: usize,
        message: u64,
        payload: String,
        after: Duration,
    ) {
        sleep(after).await;
        self.queue(environment).push_back((message, payload));
        sleep(Duration::from_millis(200)).await;
        self.receive(environment).await;
    }

    /// Invokes a handler with batches from its queue until the queue is empty.
    async fn receive(&self, environment: usize) {
        for delivery in 0..=MAX_DELIVERIES {
            let batch: Vec<(u64, String)> = {
                let mut queue = self.queue(environment);
                let size = queue.len().min(10);
                queue.drain(..size).collect()
            };
            if batch.is_empty() || delivery == MAX_DELIVERIES || self.first_violation().is_err() {
                return;
            }
            let records: Vec<Value> = batch.iter().map(|(id, body)| json!({"messageId": id.to_string(), "eventSource": "aws:sqs", "body": body})).collect();
            let payload = json!({"Records": records}).to_string();
            let answer = self.lambda.invoke(environment, &payload).await;
            let has_failed = |id: &u64| match &answer {
                None => true,
                Some(Answer::Report(_)) => false,
                Some(Answer::Batch(answer)) => answer
                    .batch_item_failures
                    .iter()
                    .any(|failure| failure.item_identifier == id.to_string()),
            };
            // A message that is no event fails each time, and needs no further delivery here.
            let is_event = |body: &str| {
                serde_json::from_str::<Value>(body)
                    .is_ok_and(|body| body.get("detail-type").is_some())
            };
            let failed: Vec<(u64, String)> =
                batch.into_iter().filter(|(id, body)| has_failed(id) && is_event(body)).collect();
            if !failed.is_empty() {
                self.lambda.simulation().count("batches with messages delivered again");
                self.queue(environment).extend(failed);
                sleep(Duration::from_secs(30)).await;
            }
        }
    }

    fn queue(&self, environment: usize) -> MutexGuard<'_, VecDeque<(u64, String)>> {
        self.queues[environment].lock().expect("no holder panics")
    }

    fn first_violation(&self) -> Result<(), Violation> {
        found(self.lambda.simulation().violation.clone())
    }

    /// Checks the invariants 1, 3 and 9 of full passes, without faults.
    async fn full_passes(&self, environment: usize) -> Result<(), Violation> {
        // The two dry runs get the same answers in another order.
        let dry = r#"{"reconcile":"all","dryRun":true,"overrideDeleteLimit":true}"#;
        let mut plans = Vec::new();
        for _ in 0..2 {
            if let Some(Answer::Report(mut report)) = self.lambda.invoke(environment, dry).await {
                report.api_calls = ApiCalls::default();
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
        let has_rejected_name = self.lambda.simulation().rejected_name.is_some();
        let answer = self.lambda.invoke(environment, FULL_PASS).await;
        self.first_violation()?;
        let is_refused = matches!(&answer, Some(Answer::Report(report))
            if report.outcomes.iter().any(|outcome| outcome.status == Status::Refused));
        if is_refused {
            self.lambda.simulation().count("full passes over the delete limit");
            let payload = r#"{"reconcile":"all","overrideDeleteLimit":true}"#;
            self.lambda.invoke(environment, payload).await;
            self.first_violation()?;
        }
        if answer.is_none() && !has_rejected_name {
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
        let has_rejected_name = self.lambda.simulation().rejected_name.is_some();
        self.lambda.invoke(environment, r#"{"deregister":"all"}"#).await;
        self.first_violation()?;
        let simulation = self.lambda.simulation();
        let name = &simulation.environments[environment].name;
        let ours = Author::Handler(name.clone());
        let zones = simulation.account.zones.values();
        match zones.flat_map(|zone| zone.all()).find(|(_, author)| *author == ours) {
            Some((rrset, _)) if !has_rejected_name => {
                let message = format!("{rrset:?} still exists after {name} was deregistered");
                Err(Violation::new(3, message))
            }
            _ => Ok(()),
        }
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

    /// Performs an act, if it is possible, and returns its events.
    fn perform(
        self: &Arc<Self>,
        act: &Act,
        delivery: &EventDelivery,
        tasks: &mut JoinSet<()>,
        exemptions: &mut Exemptions,
    ) -> Vec<String> {
        let mut simulation = self.lambda.simulation();
        let simulation = &mut *simulation;
        let now = simulation.begun.elapsed().as_secs();
        let listed =
            |attachments: &[Attachment]| json!({"loadBalancers": attachments_to_json(attachments)});
        let events = |call: &str, service: &ServiceName, parameters: Value, failed: bool| {
            let mut events = vec![event(call, service, parameters, delivery, failed).to_string()];
            let has_ecs_event = !call.contains("Tag") && call != "DeleteService";
            if delivery.with_ecs_event && has_ecs_event && !failed {
                let own = json!({"source": "aws.ecs", "detail-type": "ECS Deployment State Change", "resources": [service_arn(service)], "detail": {}});
                events.push(own.to_string());
            }
            events
        };
        match act {
            Act::CreateService { service, load_balancers, task_sets, tags } => {
                let parameters = listed(load_balancers);
                let services = &simulation.account.ecs.services;
                if services.get(service).is_some_and(|old| old.status != ServiceStatus::Inactive) {
                    return events("CreateService", service, parameters, true);
                }
                simulation.before_change();
                let created = StoredService {
                    status: ServiceStatus::Active,
                    created_at: now,
                    load_balancers: load_balancers.clone(),
                    task_sets: task_sets.clone(),
                    tags: tags.iter().cloned().collect(),
                };
                simulation.account.ecs.services.insert(service.clone(), created);
                events("CreateService", service, parameters, false)
            }
            Act::Scale { service } => {
                let failed = !is_active(simulation, service);
                events("UpdateService", service, json!({"desiredCount": 3}), failed)
            }
            Act::ReplaceLoadBalancers { service, load_balancers } => {
                let change =
                    |stored: &mut StoredService| stored.load_balancers.clone_from(load_balancers);
                if !change_active(simulation, service, change) {
                    return Vec::new();
                }
                events("UpdateService", service, listed(load_balancers), false)
            }
            Act::CreateTaskSet { service, load_balancers } => {
                let set = ("ACTIVE".into(), load_balancers.clone());
                if !change_active(simulation, service, |stored| stored.task_sets.insert(0, set)) {
                    return Vec::new();
                }
                events("CreateTaskSet", service, json!({}), false)
            }
            Act::Tag { service, key, value } => {
                let change = |stored: &mut StoredService| match value {
                    Some(value) => drop(stored.tags.insert(key.clone(), value.clone())),
                    None => drop(stored.tags.remove(key)),
                };
                if !change_active(simulation, service, change) {
                    return Vec::new();
                }
                let call = if value.is_some() { "TagResource" } else { "UntagResource" };
                events(call, service, json!({}), false)
            }
            Act::DeleteService { service, drains_ms } => {
                let status =
                    if *drains_ms == 0 { ServiceStatus::Inactive } else { ServiceStatus::Draining };
                if !change_active(simulation, service, |stored| stored.status = status) {
                    return events("DeleteService", service, json!({}), true);
                }
                let (runner, name) = (Arc::clone(self), service.clone());
                let drains = Duration::from_millis(*drains_ms);
                tasks.spawn_local(async move {
                    sleep(drains).await;
                    runner.change_status(
                        &name,
                        ServiceStatus::Draining,
                        Some(ServiceStatus::Inactive),
                    );
                    sleep(Duration::from_secs(40)).await;
                    runner.change_status(&name, ServiceStatus::Inactive, None);
                });
                events("DeleteService", service, json!({}), false)
            }
            Act::LoadBalancer { name, load_balancer } => {
                let account = &mut simulation.account;
                exemptions.load_balancers.insert(name.clone());
                let groups = account.target_groups.iter().filter(|(_, names)| names.contains(name));
                exemptions.load_balancers.extend(groups.map(|(group, _)| group.clone()));
                match load_balancer {
                    Some(load_balancer) => {
                        account.load_balancers.insert(name.clone(), load_balancer.clone());
                    }
                    None => {
                        account.load_balancers.remove(name);
                        for names in account.target_groups.values_mut() {
                            names.retain(|other| other != name);
                        }
                    }
                }
                Vec::new()
            }
            Act::TargetGroup { name, load_balancer } => {
                let account = &mut simulation.account;
                exemptions.load_balancers.insert(name.clone());
                let attached = load_balancer
                    .clone()
                    .filter(|load_balancer| account.load_balancers.contains_key(load_balancer));
                account.target_groups.insert(name.clone(), Vec::from_iter(attached));
                Vec::new()
            }
            Act::ChangeRecord { zone, name, record } => {
                exemptions.names.insert(name.clone());
                let Some(zone) = simulation.account.zones.get_mut(zone) else { return Vec::new() };
                let changes: Vec<(Action, StoredRrset)> = match record {
                    None => {
                        zone.at(name).map(|(rrset, _)| (Action::Delete, rrset.clone())).collect()
                    }
                    Some((kind, value)) => {
                        let is_alias = kind == "AAAA";
                        // Route 53 returns the target of an alias in lower case.
                        let target = format!("{}.", value.to_lowercase());
                        let target = (LOAD_BALANCER_ZONE.to_owned(), target);
                        let rrset = StoredRrset {
                            name: name.clone(),
                            kind: kind.clone(),
                            ttl: (!is_alias).then_some(300),
                            values: if is_alias { vec![] } else { vec![value.clone()] },
                            alias: is_alias.then_some(target),
                        };
                        vec![(Action::Create, rrset)]
                    }
                };
                // If Route 53 refuses the change, the person gives up.
                let is_applied = zone.change(&changes, &Author::Person).is_ok();
                simulation.count(if is_applied {
                    "records changed by a person"
                } else {
                    "changes of a person refused"
                });
                Vec::new()
            }
            Act::FullPass => vec![FULL_PASS.to_owned()],
            Act::Payload { text } => vec![text.clone()],
        }
    }

    /// Changes the status of a service from `from` to `to`, or removes the service.
    fn change_status(&self, service: &ServiceName, from: ServiceStatus, to: Option<ServiceStatus>) {
        let mut simulation = self.lambda.simulation();
        let services = &simulation.account.ecs.services;
        if services.get(service).is_some_and(|stored| stored.status == from) {
            simulation.before_change();
            let services = &mut simulation.account.ecs.services;
            match (to, services.get_mut(service)) {
                (Some(status), Some(stored)) => stored.status = status,
                _ => drop(services.remove(service)),
            }
        }
    }
}

fn found(violation: Option<Violation>) -> Result<(), Violation> {
    violation.map_or(Ok(()), Err)
}

fn is_active(simulation: &Simulation, service: &ServiceName) -> bool {
    let stored = simulation.account.ecs.services.get(service);
    stored.is_some_and(|stored| stored.status == ServiceStatus::Active)
}

/// Changes a service and returns true, or returns false if it is not active.
fn change_active(
    simulation: &mut Simulation,
    service: &ServiceName,
    change: impl FnOnce(&mut StoredService),
) -> bool {
    if !is_active(simulation, service) {
        return false;
    }
    simulation.before_change();
    if let Some(stored) = simulation.account.ecs.services.get_mut(service) {
        change(stored);
    }
    true
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

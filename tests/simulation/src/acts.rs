//! Carries out the acts of people in the account, together with the changes that follow from them later.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::account::{
    Attachment, Deployment, RolloutState, ServiceName, ServiceStatus, StoredLoadBalancer,
    StoredService, attachments_to_json, service_arn,
};
use crate::history::{Act, EventDelivery, RecordChange, Rollout, Step, Tampering, event};
use crate::invariants::{Exemptions, note_taken};
use crate::lambda::DEPLOYMENT;
use crate::queue::EVENTS;
use crate::route53::{Action, Author, StoredRrset, Writer};
use crate::runner::{FULL_PASS, Runner};
use crate::state::Simulation;
use handler::invocation::Answer;

/// How long ECS still describes a service that is INACTIVE.
const INACTIVE_PERIOD: Duration = Duration::from_secs(40);

impl Runner {
    /// Performs an act, if it is possible, and returns its events.
    pub(crate) fn perform(
        self: &Arc<Self>,
        Step { act, delivery, .. }: &Step,
        tasks: &mut JoinSet<()>,
        exemptions: &mut Exemptions,
    ) -> Vec<String> {
        let mut simulation = self.lambda.simulation();
        let simulation = &mut *simulation;
        let (now, time) = (simulation.seconds(), simulation.event_time());
        let listed =
            |attachments: &[Attachment]| json!({"loadBalancers": attachments_to_json(attachments)});
        let events = |call: &str, service: &ServiceName, parameters: Value, failed: bool| {
            let first = event(call, service, parameters, delivery, failed, &time);
            let mut events = vec![first.to_string()];
            let has_ecs_event = !call.contains("Tag") && call != "DeleteService";
            if delivery.with_ecs_event && has_ecs_event && !failed {
                events.push(deployment_event(service, "SERVICE_DEPLOYMENT_IN_PROGRESS"));
            }
            events
        };
        match act {
            Act::CreateService { service, load_balancers, task_sets, tags, rollout } => {
                let parameters = listed(load_balancers);
                let stored = simulation.account.ecs.services.get(service);
                let status = stored.map(|stored| stored.status);
                if !matches!(status, None | Some(ServiceStatus::Inactive))
                    || simulation.invisible.contains(service)
                {
                    return events("CreateService", service, parameters, true);
                }
                let created = StoredService {
                    status: ServiceStatus::Active,
                    created_at: now,
                    load_balancers: load_balancers.clone(),
                    task_sets: task_sets.clone(),
                    tags: tags.iter().cloned().collect(),
                    deployment: deployment(*rollout, now),
                };
                // An answer with the former service of the same name is no sign that the answer is outdated.
                let delay = match status {
                    None => simulation.visibility_delay(service),
                    Some(_) => None,
                };
                let name = service.clone();
                let insert = move |simulation: &mut Simulation| {
                    simulation.before_change();
                    simulation.account.ecs.services.insert(name, created);
                };
                self.change_later(simulation, service, delay, tasks, insert);
                self.roll_out(service, *rollout, &[], now, delivery, tasks);
                events("CreateService", service, parameters, false)
            }
            Act::Scale { service } => {
                let failed = !is_active(simulation, service);
                events("UpdateService", service, json!({"desiredCount": 3}), failed)
            }
            Act::ReplaceLoadBalancers { service, load_balancers, rollout } => {
                let mut former = Vec::new();
                let change = |stored: &mut StoredService| {
                    former = std::mem::replace(&mut stored.load_balancers, load_balancers.clone());
                    stored.deployment = deployment(*rollout, now);
                };
                if !change_active(simulation, service, change) {
                    return Vec::new();
                }
                self.roll_out(service, *rollout, &former, now, delivery, tasks);
                events("UpdateService", service, listed(load_balancers), false)
            }
            Act::CreateTaskSet { service, load_balancers } => {
                let set = ("ACTIVE".into(), load_balancers.clone());
                if !change_active(simulation, service, |stored| stored.task_sets.insert(0, set)) {
                    return Vec::new();
                }
                events("CreateTaskSet", service, json!({}), false)
            }
            Act::DeleteTaskSet { service, index } => {
                let has_it = has_task_set(simulation, service, *index);
                let delete = |stored: &mut StoredService| drop(stored.task_sets.remove(*index));
                if !has_it || !change_active(simulation, service, delete) {
                    return Vec::new();
                }
                simulation.count("task sets deleted");
                events("DeleteTaskSet", service, json!({"taskSet": "ecs-svc/1"}), false)
            }
            Act::SetPrimaryTaskSet { service, index } => {
                let has_it = has_task_set(simulation, service, *index);
                let change = |stored: &mut StoredService| {
                    for (at, (status, _)) in stored.task_sets.iter_mut().enumerate() {
                        *status = if at == *index { "PRIMARY" } else { "ACTIVE" }.into();
                    }
                };
                if !has_it || !change_active(simulation, service, change) {
                    return Vec::new();
                }
                simulation.count("primary task sets replaced");
                let parameters = json!({"primaryTaskSet": "ecs-svc/1"});
                events("UpdateServicePrimaryTaskSet", service, parameters, false)
            }
            Act::Tag { service, key, value } => {
                let change = |stored: &mut StoredService| match value {
                    Some(value) => drop(stored.tags.insert(key.clone(), value.clone())),
                    None => drop(stored.tags.remove(key)),
                };
                if !change_active(simulation, service, change) {
                    return Vec::new();
                }
                match value {
                    Some(value) => {
                        let tags = json!({"tags": [{"key": key, "value": value}]});
                        events("TagResource", service, tags, false)
                    }
                    None => events("UntagResource", service, json!({"tagKeys": [key]}), false),
                }
            }
            Act::DeleteService { service, drains_ms } => {
                if !is_active(simulation, service) {
                    return events("DeleteService", service, json!({}), true);
                }
                let status =
                    if *drains_ms == 0 { ServiceStatus::Inactive } else { ServiceStatus::Draining };
                let delay = simulation.visibility_delay(service);
                let name = service.clone();
                let end = move |simulation: &mut Simulation| {
                    change_status(simulation, &name, ServiceStatus::Active, Some(status));
                };
                self.change_later(simulation, service, delay, tasks, end);
                let (runner, name) = (Arc::clone(self), service.clone());
                let drains = delay.unwrap_or_default() + Duration::from_millis(*drains_ms);
                tasks.spawn_local(async move {
                    use ServiceStatus::{Draining, Inactive};
                    sleep(drains).await;
                    change_status(&mut runner.lambda.simulation(), &name, Draining, Some(Inactive));
                    sleep(INACTIVE_PERIOD).await;
                    change_status(&mut runner.lambda.simulation(), &name, Inactive, None);
                });
                events("DeleteService", service, json!({}), false)
            }
            Act::LoadBalancer { name, load_balancer } => {
                change_load_balancer(simulation, name, load_balancer.as_ref());
                let calls = ["CreateLoadBalancer", "DeleteLoadBalancer", "SetIpAddressType"];
                vec![load_balancer_event(calls[simulation.rng.usize(0..3)], &time)]
            }
            Act::TargetGroup { name, load_balancer } => {
                let account = &mut simulation.account;
                let attached = load_balancer
                    .clone()
                    .filter(|load_balancer| account.load_balancers.contains_key(load_balancer));
                account.target_groups.insert(name.clone(), Vec::from_iter(attached));
                simulation.count("target groups moved to another load balancer");
                vec![load_balancer_event("ModifyListener", &time)]
            }
            Act::ChangeRecords { zone, name, change } => {
                exemptions.names.insert(name.clone());
                if let Some(before) = simulation.account.zones.get(zone).cloned() {
                    change_records(simulation, zone, name, change);
                    note_taken(simulation, zone, &before, name);
                }
                Vec::new()
            }
            Act::Configure { environment, template, alias, ttl } => {
                simulation.count("settings changed");
                let (runner, environment, alias, ttl) =
                    (Arc::clone(self), *environment, *alias, *ttl);
                let template = template.clone();
                tasks.spawn_local(async move {
                    let change = |config: &mut crate::oracle::EnvironmentConfig| {
                        (config.template, config.alias, config.ttl) = (template, alias, ttl);
                    };
                    runner.lambda.configure(environment, change);
                    // CloudFormation repeats a run that was killed. Later full passes continue what failed.
                    let mut answer = None;
                    while answer.is_none() && runner.first_violation().is_ok() {
                        answer = runner.lambda.invoke(environment, DEPLOYMENT).await;
                    }
                    let is_complete = answer.is_some_and(|answer| match answer {
                        Answer::Resource(answer) => {
                            let report = &answer.report;
                            report.failures().next().is_none() && report.read_errors.is_empty()
                        }
                        Answer::Report(_) | Answer::Batch(_) => false,
                    });
                    if !is_complete {
                        let event = load_balancer_event("CreateRule", &time);
                        runner.deliver(environment, event, Duration::from_secs(60)).await;
                    }
                });
                Vec::new()
            }
            Act::Deregister { environment, zone } => {
                simulation.count("deregistrations beside other work");
                let request = match zone {
                    None => json!({"deregister": "all"}),
                    Some(zone) => json!({"deregister": {"hostedZoneId": zone}}),
                };
                let (runner, environment) = (Arc::clone(self), *environment);
                tasks.spawn_local(async move {
                    runner.lambda.invoke(environment, &request.to_string()).await;
                });
                Vec::new()
            }
            Act::FullPass { is_scheduled: true } => vec![FULL_PASS.to_owned()],
            Act::FullPass { is_scheduled: false } => vec![load_balancer_event("CreateRule", &time)],
            Act::Payload { text } => vec![text.clone()],
        }
    }

    /// Makes a change of a service, after the time until it is visible.
    fn change_later(
        self: &Arc<Self>,
        simulation: &mut Simulation,
        service: &ServiceName,
        delay: Option<Duration>,
        tasks: &mut JoinSet<()>,
        change: impl FnOnce(&mut Simulation) + 'static,
    ) {
        let Some(delay) = delay else {
            change(simulation);
            return;
        };
        let (runner, service) = (Arc::clone(self), service.clone());
        tasks.spawn_local(async move {
            sleep(delay).await;
            let mut simulation = runner.lambda.simulation();
            change(&mut simulation);
            simulation.invisible.remove(&service);
        });
    }

    /// The course of a deployment that began now. ECS's own events about it are never lost.
    fn roll_out(
        self: &Arc<Self>,
        service: &ServiceName,
        rollout: Rollout,
        former: &[Attachment],
        began: u64,
        delivery: &EventDelivery,
        tasks: &mut JoinSet<()>,
    ) {
        let (runner, service, former) = (Arc::clone(self), service.clone(), former.to_vec());
        let arrives_ms = match delivery.arrives_ms.as_slice() {
            [] => vec![0],
            times => times.to_vec(),
        };
        // Whether the deployment is still the one that began with this act.
        let advance = move |runner: &Runner, state, load_balancers: Option<Vec<Attachment>>| {
            let mut simulation = runner.lambda.simulation();
            let updated_at = simulation.seconds();
            let is_mine = |stored: &StoredService| {
                stored
                    .deployment
                    .is_some_and(|one| one.began == began && one.state != RolloutState::Completed)
            };
            let stored = simulation.account.ecs.services.get(&service);
            if !stored.is_some_and(is_mine) {
                return None;
            }
            simulation.count(match state {
                RolloutState::InProgress => "deployments moved back",
                RolloutState::Completed => "deployments completed",
                RolloutState::Failed => "deployments failed",
            });
            let change = |stored: &mut StoredService| {
                stored.deployment = Some(Deployment { state, updated_at, began });
                if let Some(load_balancers) = load_balancers {
                    stored.load_balancers = load_balancers;
                }
            };
            let name = match state {
                RolloutState::InProgress => "SERVICE_DEPLOYMENT_IN_PROGRESS",
                RolloutState::Completed => "SERVICE_DEPLOYMENT_COMPLETED",
                RolloutState::Failed => "SERVICE_DEPLOYMENT_FAILED",
            };
            change_active(&mut simulation, &service, change)
                .then(|| deployment_event(&service, name))
        };
        tasks.spawn_local(async move {
            let completes_ms = match rollout {
                Rollout::Unknown | Rollout::Hangs => return,
                Rollout::CompletesAfter { ms } => ms,
                Rollout::FailsAfter { ms, back_ms } => {
                    sleep(Duration::from_millis(ms)).await;
                    let failed = advance(&runner, RolloutState::Failed, None);
                    let back = advance(&runner, RolloutState::InProgress, Some(former));
                    for payload in failed.into_iter().chain(back) {
                        Arc::clone(&runner).send(payload, arrives_ms.clone(), EVENTS.delay).await;
                    }
                    back_ms
                }
            };
            sleep(Duration::from_millis(completes_ms)).await;
            if let Some(payload) = advance(&runner, RolloutState::Completed, None) {
                Arc::clone(&runner).send(payload, arrives_ms, EVENTS.delay).await;
            }
        });
    }
}

fn deployment(rollout: Rollout, now: u64) -> Option<Deployment> {
    let state = RolloutState::InProgress;
    (rollout != Rollout::Unknown).then_some(Deployment { state, updated_at: now, began: now })
}

fn deployment_event(service: &ServiceName, name: &str) -> String {
    json!({
        "source": "aws.ecs", "detail-type": "ECS Deployment State Change",
        "resources": [service_arn(service)], "detail": {"eventName": name},
    })
    .to_string()
}

/// A call of Elastic Load Balancing. It names no service.
fn load_balancer_event(call: &str, time: &str) -> String {
    let detail = json!({
        "eventSource": "elasticloadbalancing.amazonaws.com", "eventName": call, "eventTime": time,
    });
    json!({"source": "aws.elasticloadbalancing", "detail-type": "AWS API Call via CloudTrail", "detail": detail})
        .to_string()
}

fn change_load_balancer(
    simulation: &mut Simulation,
    name: &str,
    load_balancer: Option<&StoredLoadBalancer>,
) {
    let account = &mut simulation.account;
    match load_balancer {
        Some(load_balancer) => {
            account.load_balancers.insert(name.to_owned(), load_balancer.clone());
        }
        None => {
            account.load_balancers.remove(name);
            for names in account.target_groups.values_mut() {
                names.retain(|other| other != name);
            }
        }
    }
    simulation.count("load balancers replaced or deleted");
}

/// A change by a person. If Route 53 refuses it, the person gives up.
fn change_records(simulation: &mut Simulation, zone: &str, name: &str, change: &RecordChange) {
    let Some(zone) = simulation.account.zones.get_mut(zone) else { return };
    let (kind, changes): (&str, Vec<(Action, StoredRrset)>) = match change {
        RecordChange::Delete => ("records deleted by a person", delete(zone.at(name))),
        RecordChange::Create(rrsets) => {
            let kind = match rrsets.as_slice() {
                [one, ..] if one.set_identifier.is_some() => "weighted records of others",
                [one, ..] if one.health_check.is_some() => "records of others with a health check",
                [one, ..] if one.evaluates_health => "aliases of others that evaluate health",
                [_, marker] if marker.name.starts_with("_discovery.") => "markers of others",
                [_, marker] if marker.name.starts_with("cname-") => "records of external-dns",
                _ => "records created by a person",
            };
            (kind, rrsets.iter().map(|rrset| (Action::Create, rrset.clone())).collect())
        }
        RecordChange::Tamper(tampering) => {
            let at = format!("_discovery.{name}");
            let mut changes = delete(zone.at(&at));
            for (_, marker) in changes.clone() {
                let values = match tampering {
                    Tampering::Delete => continue,
                    Tampering::SecondValue => {
                        [marker.values.clone(), vec!["\"verification=7\"".into()]].concat()
                    }
                    Tampering::UpperCase => {
                        marker.values.iter().map(|value| value.to_uppercase()).collect()
                    }
                };
                changes.push((Action::Create, StoredRrset { values, ..marker }));
            }
            if *tampering == Tampering::Delete && !changes.is_empty() {
                // Whoever deletes the marker takes the records over. The handler gets them back only by adoption.
                changes.extend(delete(zone.at(name)));
                let records = zone.at(name).map(|(rrset, _)| (Action::Create, rrset.clone()));
                changes.extend(records);
            }
            ("markers tampered with", changes)
        }
    };
    if changes.is_empty() {
        return;
    }
    zone.writer = Writer { invocation: 0, change: zone.writer.change + 1 };
    let is_applied = zone.change(&changes, &Author::Person).is_ok();
    simulation.count(if is_applied { kind } else { "changes of a person refused" });
}

fn delete<'a>(
    rrsets: impl Iterator<Item = &'a (StoredRrset, Author)>,
) -> Vec<(Action, StoredRrset)> {
    rrsets.map(|(rrset, _)| (Action::Delete, rrset.clone())).collect()
}

fn is_active(simulation: &Simulation, service: &ServiceName) -> bool {
    let stored = simulation.account.ecs.services.get(service);
    stored.is_some_and(|stored| stored.status == ServiceStatus::Active)
        && !simulation.invisible.contains(service)
}

fn has_task_set(simulation: &Simulation, service: &ServiceName, index: usize) -> bool {
    let stored = simulation.account.ecs.services.get(service);
    stored.is_some_and(|stored| stored.task_sets.len() > index)
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

/// Changes the status of a service from `from` to `to`, or removes the service.
fn change_status(
    simulation: &mut Simulation,
    service: &ServiceName,
    from: ServiceStatus,
    to: Option<ServiceStatus>,
) {
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

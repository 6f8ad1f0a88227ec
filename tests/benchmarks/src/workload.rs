//! How much the handler asks of AWS, and how long it takes beside what AWS's quotas allow.
//!
//! On virtual time and the strict account, so every figure is a count, or follows from counts: the
//! same on every machine. A fleet is as many services as are asked for, each behind a load balancer of
//! its own, in one cluster and one zone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handler::domain::marker::Nonce;
use handler::invocation::{Answer, answer_until};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use simulation::account::{Balancer, Behind, Cloud, Ecs, Service, ServiceName, Status, group_arn};
use simulation::faults::{Sim, Traced, Weather, lock};
use simulation::history::{Travel, event};
use simulation::invariants::Stand;
use simulation::lambda::{Container, FUNCTION, FUNCTION_TIMEOUT};
use simulation::oracle::Environment;
use simulation::route53::Zone;
use simulation::virtual_time;

const CLUSTER: &str = "prod";
const ZONE: &str = "Z1";
const VPC: &str = "vpc-1";
const FULL_PASS: &str = r#"{"reconcile":"all"}"#;

/// What one request takes, there and back.
pub const TRIP: Duration = Duration::from_millis(50);

/// Route 53's quota of requests for the whole account.
pub const ROUTE53_PER_SECOND: f64 = 10.0;

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Requests that were answered, by operation; those that were throttled are not in it.
    pub calls: BTreeMap<String, usize>,
    /// Requests that were throttled.
    pub throttled: usize,
    /// From the beginning until all names were right.
    pub took: Duration,
    /// Until the last change was applied and its answer had come; none if there was none.
    pub written: Option<Duration>,
    /// The most requests to Route 53 that came within one second.
    pub route53_peak: usize,
    /// Services whose names are right in the end.
    pub right: usize,
    /// Invocations that failed.
    pub failed: usize,
    /// The account afterwards.
    pub cloud: Cloud,
}

impl Figures {
    /// Requests to one of ECS, Elastic Load Balancing (`elb`) and Route 53.
    pub fn to(&self, service: &str) -> usize {
        let of = |operation: &str| match operation {
            "DescribeServices" | "ListServices" | "ListClusters" => "ecs",
            "ListResourceRecordSets" | "ChangeResourceRecordSets" => "route53",
            _ => "elb",
        };
        self.calls.iter().filter(|(name, _)| of(name) == service).map(|(_, count)| count).sum()
    }

    pub fn of(&self, operation: &str) -> usize {
        self.calls.get(operation).copied().unwrap_or_default()
    }
}

/// The environment of all figures.
pub fn environment() -> Environment {
    Environment {
        name: "prod".into(),
        zones: vec![(VPC.into(), ZONE.into(), "internal".into())],
        cluster: Some(CLUSTER.into()),
        template: "{service}".into(),
        alias: false,
        ttl: 60,
    }
}

fn name(number: usize) -> ServiceName {
    (CLUSTER.into(), format!("service-{number:05}"))
}

/// An account with so many services, none of them registered.
pub fn fleet(services: usize) -> Cloud {
    let mut cloud =
        Cloud { ecs: Ecs { clusters: vec![CLUSTER.into()], ..Ecs::default() }, ..Cloud::default() };
    cloud.zones.insert(ZONE.into(), Zone::new("internal"));
    for number in 0..services {
        add(&mut cloud, number);
    }
    cloud
}

fn add(cloud: &mut Cloud, number: usize) {
    let name = name(number);
    let balancer = Balancer { vpc: VPC.into(), internal: true, dualstack: false, classic: false };
    cloud.balancers.insert(name.1.clone(), balancer);
    cloud.groups.insert(name.1.clone(), vec![name.1.clone()]);
    let service = Service {
        status: Status::Active,
        created_at: u64::try_from(number).unwrap_or_default(),
        behind: vec![Behind::Group(name.1.clone())],
        task_sets: vec![],
        tags: BTreeMap::new(),
    };
    cloud.ecs.services.insert(name, service);
}

/// The event of a service's creation, as CloudTrail tells it; with or without its target groups.
pub fn created(number: usize, with_groups: bool) -> String {
    let service = name(number);
    let group = group_arn(&service.1);
    let more =
        if with_groups { json!({"loadBalancers": [{"targetGroupArn": group}]}) } else { json!({}) };
    call("CreateService", number, more)
}

/// The event of another call about a service.
pub fn call(call: &str, number: usize, more: Value) -> String {
    let travel = Travel { with_response: true, ..Travel::default() };
    event(call, &name(number), more, &travel, false).to_string()
}

/// Deletes a service, or moves it behind the load balancer of another.
pub fn delete(cloud: &mut Cloud, number: usize) {
    if let Some(service) = cloud.ecs.services.get_mut(&name(number)) {
        service.status = Status::Inactive;
    }
}

/// See [`delete`].
pub fn move_behind(cloud: &mut Cloud, number: usize, other: usize) {
    if let Some(service) = cloud.ecs.services.get_mut(&name(number)) {
        service.behind = vec![Behind::Group(name(other).1)];
    }
}

/// How events come to the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Each is an invocation, and tried again after one and two minutes.
    Direct,
    /// A queue between: a batch when so many messages are there, or so long after the first; two
    /// batches at once. As the stack configures it.
    Queue { batch: usize, window: Duration },
}

/// Runs one payload on an account, with quotas that nobody has used yet.
pub fn one(cloud: Cloud, payload: &str) -> Figures {
    run(cloud, Delivery::Direct, vec![(Duration::ZERO, payload.to_owned())])
}

/// A full pass.
pub fn full_pass(cloud: Cloud) -> Figures {
    one(cloud, FULL_PASS)
}

/// Services that are all there, and whose events come at these times.
///
/// # Panics
/// If no runtime can be made.
pub fn run(cloud: Cloud, delivery: Delivery, events: Vec<(Duration, String)>) -> Figures {
    virtual_time::run(7, async {
        let steady_ms = u64::try_from(TRIP.as_millis()).ok();
        let weather = Weather { steady_ms, ..Weather::default() };
        let mut sim = Sim::new(cloud, vec![environment()], weather, 7);
        sim.trace = Some(Vec::new());
        let lambda = Arc::new(Lambda {
            sim: Arc::new(Mutex::new(sim)),
            idle: Mutex::default(),
            invocations: Mutex::default(),
            failed: Mutex::default(),
        });
        let begun = Instant::now();
        match delivery {
            Delivery::Direct => direct(&lambda, begun, events).await,
            Delivery::Queue { batch, window } => queue(&lambda, begun, batch, window, events).await,
        }
        let failed = *lambda.failed.lock().expect("no holder panics");
        let sim = lock(&lambda.sim);
        figures(&sim, failed)
    })
}

/// The function, with as many containers as it needs.
struct Lambda {
    sim: Arc<Mutex<Sim>>,
    idle: Mutex<Vec<Container>>,
    invocations: Mutex<u64>,
    failed: Mutex<usize>,
}

impl Lambda {
    /// None if it failed.
    async fn invoke(&self, payload: &str) -> Option<Answer> {
        let found = self.idle.lock().expect("no holder panics").pop();
        let container = found.unwrap_or_else(|| Container::new(0, &environment(), &self.sim));
        let id = {
            let mut all = self.invocations.lock().expect("no holder panics");
            *all += 1;
            *all
        };
        container.wire.invocation.store(id, Ordering::Relaxed);
        let stop_at = Instant::now() + FUNCTION_TIMEOUT - Duration::from_secs(10);
        let nonce = Nonce::new(id);
        let answer = answer_until(&container.reconciler, FUNCTION, nonce, stop_at, payload).await;
        self.idle.lock().expect("no holder panics").push(container);
        if answer.is_err() {
            *self.failed.lock().expect("no holder panics") += 1;
        }
        answer.ok()
    }
}

async fn direct(lambda: &Arc<Lambda>, begun: Instant, events: Vec<(Duration, String)>) {
    let mut tasks = JoinSet::new();
    for (at, payload) in events {
        let lambda = Arc::clone(lambda);
        tasks.spawn_local(async move {
            sleep_until(begun + at).await;
            for again in [Some(60), Some(120), None] {
                if lambda.invoke(&payload).await.is_some() {
                    return;
                }
                match again {
                    Some(seconds) => sleep(Duration::from_secs(seconds)).await,
                    None => lock(&lambda.sim).count("given up"),
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Messages that are there, and a bell for when some come.
#[derive(Default)]
struct Messages {
    waiting: Mutex<VecDeque<(usize, String)>>,
    bell: Notify,
}

async fn queue(
    lambda: &Arc<Lambda>,
    begun: Instant,
    batch: usize,
    window: Duration,
    events: Vec<(Duration, String)>,
) {
    let all = events.len();
    let messages = Arc::new(Messages::default());
    let slots = Arc::new(Semaphore::new(2));
    let done = Arc::new(Mutex::new(0_usize));
    let mut tasks = JoinSet::new();
    let sending = Arc::clone(&messages);
    tasks.spawn_local(async move {
        for (id, (at, body)) in events.into_iter().enumerate() {
            sleep_until(begun + at).await;
            sending.waiting.lock().expect("no holder panics").push_back((id, body));
            sending.bell.notify_one();
        }
    });
    while *done.lock().expect("no holder panics") < all {
        let slot = Arc::clone(&slots).acquire_owned().await.expect("nobody closes it");
        let until_some = async {
            while messages.waiting.lock().expect("no holder panics").is_empty() {
                messages.bell.notified().await;
            }
        };
        // A batch that fails rings nobody when the last one was under way.
        if timeout_at(Instant::now() + Duration::from_secs(1), until_some).await.is_err() {
            continue;
        }
        let full_at = Instant::now() + window;
        while messages.waiting.lock().expect("no holder panics").len() < batch
            && timeout_at(full_at, messages.bell.notified()).await.is_ok()
        {}
        let taken: Vec<(usize, String)> = {
            let mut waiting = messages.waiting.lock().expect("no holder panics");
            let most = batch.min(waiting.len());
            waiting.drain(..most).collect()
        };
        let (lambda, messages, done) =
            (Arc::clone(lambda), Arc::clone(&messages), Arc::clone(&done));
        tasks.spawn_local(async move {
            let _slot = slot;
            let records: Vec<Value> = taken
                .iter()
                .map(|(id, body)| json!({"messageId": id.to_string(), "eventSource": "aws:sqs", "body": body}))
                .collect();
            let failed: Vec<String> = match lambda.invoke(&json!({"Records": records}).to_string()).await {
                Some(Answer::Batch(answer)) => {
                    let failures = answer.batch_item_failures.into_iter();
                    failures.map(|failure| failure.item_identifier).collect()
                }
                _ => taken.iter().map(|(id, _)| id.to_string()).collect(),
            };
            *done.lock().expect("no holder panics") += taken.len() - failed.len();
            if !failed.is_empty() {
                *lambda.failed.lock().expect("no holder panics") += failed.len();
                // The queue's visibility timeout.
                sleep(FUNCTION_TIMEOUT * 6).await;
                let again = taken.into_iter().filter(|(id, _)| failed.contains(&id.to_string()));
                messages.waiting.lock().expect("no holder panics").extend(again);
                messages.bell.notify_one();
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

fn figures(sim: &Sim, failed: usize) -> Figures {
    let trace = sim.trace.as_deref().unwrap_or_default();
    let mut calls = BTreeMap::new();
    let mut throttled = 0;
    for Traced { operation, status, .. } in trace {
        if *status == 200 {
            *calls.entry(operation.clone()).or_default() += 1;
        } else {
            throttled += 1;
        }
    }
    let to_route53: Vec<Duration> = trace
        .iter()
        .filter(|traced| traced.operation.ends_with("ResourceRecordSets"))
        .map(|traced| traced.at)
        .collect();
    let within = |from: &Duration| {
        let end = *from + Duration::from_secs(1);
        to_route53.iter().filter(|at| *at >= from && **at < end).count()
    };
    let change =
        |traced: &&Traced| traced.operation == "ChangeResourceRecordSets" && traced.status == 200;
    let written = trace.iter().filter(change).map(|traced| traced.at).max();
    let environment = environment();
    let zone = &sim.cloud.zones[ZONE];
    let right = |(name, service): (&ServiceName, &Service)| {
        let holder = Stand::at(zone, &format!("{}.internal.", name.1)).holder(&environment);
        (service.status == Status::Active) == (holder.as_ref() == Some(name))
    };
    Figures {
        calls,
        throttled,
        took: written.unwrap_or_default(),
        written: written.map(|at| at + TRIP / 2),
        route53_peak: to_route53.iter().map(within).max().unwrap_or_default(),
        right: sim.cloud.ecs.services.iter().filter(|service| right(*service)).count(),
        failed,
        cloud: sim.cloud.clone(),
    }
}

/// What a token bucket allows at best: the time until `tokens` are taken.
pub fn at_best(tokens: usize, burst: f64, per_second: f64) -> Duration {
    let tokens = f64::from(u32::try_from(tokens).unwrap_or(u32::MAX));
    Duration::from_secs_f64(((tokens - burst) / per_second).max(0.0))
}

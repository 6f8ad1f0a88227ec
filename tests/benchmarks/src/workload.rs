//! Workloads on the simulated account: the number of requests that the handler sends, and the time until
//! the names are right, compared with AWS's quotas.
//!
//! Time is virtual, so all figures are the same on every machine. A fleet is a number of services in one
//! cluster and one zone, each with its own load balancer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use handler::invocation::Answer;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use simulation::account::{
    ACCOUNT, Account, Attachment, EcsState, REGION, ServiceName, ServiceStatus, StoredLoadBalancer,
    StoredService, target_group_arn,
};
use simulation::faults::{Faults, Rejection};
use simulation::history::{EventDelivery, event};
use simulation::invariants::{NameRecords, name_of};
use simulation::lambda::{DEPLOYMENT, Lambda};
use simulation::oracle::{EnvironmentConfig, Expected, expected};
use simulation::queue::{self, MAX_CONCURRENT_BATCHES, Message, QueueSettings};
use simulation::route53::{Action, Author, HostedZone, StoredRrset};
use simulation::state::{Simulation, TracedRequest};
use simulation::virtual_time;

const CLUSTER: &str = "prod";
const ZONE: &str = "Z1";
pub const FULL_PASS: &str = r#"{"reconcile":"all"}"#;
const SCHEDULED: &str = r#"{"source":"aws.events","detail-type":"Scheduled Event","detail":{}}"#;

/// The time of a request and its response together.
pub const ROUND_TRIP: Duration = Duration::from_millis(50);

/// The queue of the events of ECS.
pub const QUEUE: DeliveryMode = DeliveryMode::Queue(queue::EVENTS);

/// The queue of Elastic Load Balancing calls.
pub const LOAD_BALANCER_QUEUE: DeliveryMode = DeliveryMode::Queue(queue::LOAD_BALANCER_CALLS);

/// The figures of one workload.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Requests that succeeded, by operation.
    pub calls: BTreeMap<String, usize>,
    /// Requests that failed. Without faults, AWS only throttles.
    pub throttled: usize,
    /// The bytes in the bodies of all responses.
    pub received: usize,
    /// From the beginning until the last change was applied.
    pub took: Duration,
    /// From the beginning until the response to the last change arrived. `None` without changes.
    pub written: Option<Duration>,
    /// The greatest number of requests to Route 53 within one second.
    pub route53_peak: usize,
    /// The greatest number of requests to ECS within one second.
    pub ecs_peak: usize,
    /// The requests to ECS, Elastic Load Balancing and Route 53 within the first second.
    pub first_second: [usize; 3],
    /// Services with the right names at the end.
    pub right: usize,
    right_services: BTreeSet<ServiceName>,
    /// Invocations and messages that failed.
    pub failed: usize,
    /// The longest invocation.
    pub longest: Duration,
    /// When each invocation began.
    pub invoked_at: Vec<Duration>,
    /// Messages in the dead-letter queue.
    pub given_up: usize,
    /// The account at the end.
    pub account: Account,
}

impl Figures {
    /// Requests to ECS (`ecs`), Elastic Load Balancing (`elb`) or Route 53 (`route53`).
    pub fn to(&self, api: &str) -> usize {
        self.calls.iter().filter(|(name, _)| api_of(name) == api).map(|(_, count)| count).sum()
    }

    /// The services among these that have the right names at the end.
    pub fn right_among(&self, numbers: Range<usize>) -> usize {
        numbers.filter(|number| self.right_services.contains(&name(*number))).count()
    }

    /// Requests of one operation.
    pub fn of(&self, operation: &str) -> usize {
        self.calls.get(operation).copied().unwrap_or_default()
    }
}

fn api_of(operation: &str) -> &'static str {
    match operation {
        "DescribeServices" | "ListServices" | "ListClusters" => "ecs",
        "ListResourceRecordSets" | "ChangeResourceRecordSets" => "route53",
        _ => "elb",
    }
}

/// The environment of most workloads.
pub fn environment() -> EnvironmentConfig {
    environment_with_zones(1)
}

/// An environment with a number of zones, each for a VPC of its own.
fn environment_with_zones(zones: usize) -> EnvironmentConfig {
    let zone = |number| (format!("vpc-{number}"), format!("Z{number}"), "internal".into());
    EnvironmentConfig {
        name: "prod".into(),
        zones: (1..=zones).map(zone).collect(),
        cluster: Some(CLUSTER.into()),
        template: "{service}".into(),
        alias: false,
        ttl: 60,
        delete_limit: (3, 30),
        version: 1,
    }
}

fn name(number: usize) -> ServiceName {
    (CLUSTER.into(), format!("service-{number:05}"))
}

/// An account with this number of services, without records.
pub fn fleet(services: usize) -> Account {
    fleet_behind(services, services)
}

/// An account with this number of services, without records. They share the load balancers.
pub fn fleet_behind(load_balancers: usize, services: usize) -> Account {
    let mut account = Account {
        ecs: EcsState { clusters: vec![CLUSTER.into()], ..EcsState::default() },
        ..Account::default()
    };
    account.zones.insert(ZONE.into(), zone());
    for number in 0..services {
        add(&mut account, number, number % load_balancers, 1);
    }
    account
}

/// An account with a number of services in each of several zones, without records. The services of the first zone have
/// the lowest numbers.
pub fn fleet_in_zones(zones: &[usize]) -> Account {
    let mut account = fleet(0);
    let mut number = 0;
    for (zone_number, services) in (1..).zip(zones) {
        account.zones.insert(format!("Z{zone_number}"), zone());
        for _ in 0..*services {
            add(&mut account, number, number, zone_number);
            number += 1;
        }
    }
    account
}

/// A zone that belongs to this version of the function, as after a deployment.
fn zone() -> HostedZone {
    let record = |name: &str, text: &str| {
        let rrset = StoredRrset {
            name: name.into(),
            kind: "TXT".into(),
            ttl: Some(300),
            values: vec![format!("\"heritage=ecs-discovery,version=1,{text}\"")],
            ..StoredRrset::default()
        };
        (Action::Create, rrset)
    };
    let mut zone = HostedZone::new("internal");
    // The records of 5,000 services fill the default quota, and the zone has more than these.
    zone.max_rrsets = 20_000;
    let changes = [
        record("_discovery-prod-eu-west-1.internal.", "generation=v1"),
        record("since._discovery-prod-eu-west-1.internal.", "since=0"),
    ];
    zone.change(&changes, &Author::Person).expect("the zone is empty");
    zone
}

fn add(account: &mut Account, number: usize, load_balancer: usize, zone: usize) {
    let (name, balancer) = (name(number), name(load_balancer).1);
    let load_balancer = StoredLoadBalancer {
        vpc: format!("vpc-{zone}"),
        internal: true,
        ..StoredLoadBalancer::default()
    };
    account.load_balancers.insert(balancer.clone(), load_balancer);
    account.target_groups.insert(name.1.clone(), vec![balancer]);
    let service = StoredService {
        status: ServiceStatus::Active,
        created_at: u64::try_from(number).unwrap_or_default(),
        load_balancers: vec![Attachment::TargetGroup(name.1.clone())],
        task_sets: vec![],
        tags: BTreeMap::new(),
        deployment: None,
    };
    account.ecs.services.insert(name, service);
}

/// Adds records of others to the zone: `records` names of one label each that begins with `prefix`, below `parent`.
///
/// # Panics
/// If the zone does not accept the records.
pub fn add_records(account: &mut Account, prefix: &str, parent: &str, records: usize) {
    let zone = account.zones.get_mut(ZONE).expect("the zone of all workloads");
    let create = |number: usize| {
        let rrset = StoredRrset {
            name: format!("{prefix}{number:05}.{parent}."),
            kind: "A".into(),
            ttl: Some(60),
            values: vec!["10.0.0.7".into()],
            ..StoredRrset::default()
        };
        (Action::Create, rrset)
    };
    let numbers: Vec<usize> = (0..records).collect();
    for numbers in numbers.chunks(1_000) {
        let changes: Vec<_> = numbers.iter().copied().map(create).collect();
        zone.change(&changes, &Author::Person).expect("the zone accepts the records");
    }
}

/// The name of a service in the zone.
pub fn record_name(number: usize) -> String {
    format!("{}.internal", name(number).1)
}

/// The event of a service's creation, with or without its target groups.
pub fn created(number: usize, with_target_groups: bool) -> String {
    let arn = target_group_arn(&name(number).1);
    let parameters = if with_target_groups {
        json!({"loadBalancers": [{"targetGroupArn": arn}]})
    } else {
        json!({})
    };
    call("CreateService", number, parameters)
}

/// ECS's own event about a service.
pub fn ecs_event(name: &str, number: usize) -> String {
    let (cluster, service) = self::name(number);
    json!({
        "source": "aws.ecs", "detail-type": "ECS Deployment State Change",
        "resources": [format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster}/{service}")],
        "detail": {"eventName": name},
    })
    .to_string()
}

/// The event of a call that changes a tag of a service.
pub fn tagged(key: &str, number: usize) -> String {
    let (cluster, service) = name(number);
    let arn = format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster}/{service}");
    call("TagResource", number, json!({"resourceArn": arn, "tags": [{"key": key, "value": "x"}]}))
}

/// The event of the deletion of a service that had no load balancer.
pub fn deleted_unattached(number: usize) -> String {
    let event: Value =
        serde_json::from_str(&call("DeleteService", number, json!({}))).expect("JSON");
    let mut event = event;
    event["detail"]["responseElements"]["service"]["loadBalancers"] = json!([]);
    event.to_string()
}

/// The time in all events: the beginning of the virtual time.
const EVENT_TIME: &str = "2026-01-01T00:00:00Z";

/// The event of an API call for a service.
pub fn call(call: &str, number: usize, parameters: Value) -> String {
    let delivery = EventDelivery { with_response: true, ..EventDelivery::default() };
    event(call, &name(number), parameters, &delivery, false, EVENT_TIME).to_string()
}

pub fn delete(account: &mut Account, number: usize) {
    if let Some(service) = account.ecs.services.get_mut(&name(number)) {
        service.status = ServiceStatus::Inactive;
    }
}

/// Takes the load balancers away from a service.
pub fn detach(account: &mut Account, number: usize) {
    if let Some(service) = account.ecs.services.get_mut(&name(number)) {
        service.load_balancers.clear();
    }
}

/// Connects the target group of a service with the load balancer of another one.
pub fn reconnect(account: &mut Account, number: usize, other: usize) {
    account.target_groups.insert(name(number).1, vec![name(other).1]);
}

/// A call of the Elastic Load Balancing API that connects target groups with load balancers.
pub fn load_balancer_call() -> String {
    json!({
        "source": "aws.elasticloadbalancing", "detail-type": "AWS API Call via CloudTrail",
        "detail": {"eventSource": "elasticloadbalancing.amazonaws.com", "eventName": "ModifyListener"},
    })
    .to_string()
}

/// Replaces the load balancer of a service by that of another service.
pub fn replace_load_balancer(account: &mut Account, number: usize, other: usize) {
    if let Some(service) = account.ecs.services.get_mut(&name(number)) {
        service.load_balancers = vec![Attachment::TargetGroup(name(other).1)];
    }
}

/// The way of events to the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// Each event is an invocation. Lambda retries a failed one after one and after two more minutes.
    Direct,
    /// Events go through a queue.
    Queue(QueueSettings),
}

/// Runs one payload, with full quotas.
pub fn one(account: Account, payload: &str) -> Figures {
    run(account, DeliveryMode::Direct, vec![(Duration::ZERO, payload.to_owned())])
}

/// Runs one payload in an environment with a number of zones, with full quotas.
pub fn one_with_zones(account: Account, zones: usize, payload: &str) -> Figures {
    one_with_zones_and(account, zones, payload, |_| {})
}

/// Runs one payload in an environment with a number of zones. `prepare` changes the account or injects faults.
pub fn one_with_zones_and(
    mut account: Account,
    zones: usize,
    payload: &str,
    prepare: impl FnOnce(&mut Simulation),
) -> Figures {
    for number in 2..=zones {
        account.zones.entry(format!("Z{number}")).or_insert_with(zone);
    }
    let events = vec![(Duration::ZERO, payload.to_owned())];
    run_in(environment_with_zones(zones), account, DeliveryMode::Direct, events, prepare)
}

/// Deploys a change of the configuration of an environment with a number of zones, which registers all services.
pub fn deploy(
    account: Account,
    zones: usize,
    change: impl FnOnce(&mut EnvironmentConfig),
) -> Figures {
    one_with_zones_and(account, zones, DEPLOYMENT, |simulation| {
        let environment = &mut simulation.environments[0];
        environment.version += 1;
        change(environment);
    })
}

/// Runs a full pass, with full quotas.
pub fn full_pass(account: Account) -> Figures {
    one(account, FULL_PASS)
}

/// Delivers events at these times, and waits until all of them are handled or given up.
///
/// # Panics
/// If the handler breaks an invariant.
pub fn run(account: Account, mode: DeliveryMode, events: Vec<(Duration, String)>) -> Figures {
    run_in(environment(), account, mode, events, |_| {})
}

/// Runs full passes that start at the same time. `prepare` changes the account or injects faults.
pub fn full_passes(
    account: Account,
    number: usize,
    prepare: impl FnOnce(&mut Simulation),
) -> Figures {
    let events = vec![(Duration::ZERO, SCHEDULED.to_owned()); number];
    run_in(environment(), account, DeliveryMode::Direct, events, prepare)
}

/// Runs one event. `prepare` changes the account or injects faults.
pub fn one_with(account: Account, payload: &str, prepare: impl FnOnce(&mut Simulation)) -> Figures {
    let events = vec![(Duration::ZERO, payload.to_owned())];
    run_in(environment(), account, DeliveryMode::Direct, events, prepare)
}

/// Delivers events at these times. `prepare` changes the account or injects faults.
pub fn run_with(
    account: Account,
    mode: DeliveryMode,
    events: Vec<(Duration, String)>,
    prepare: impl FnOnce(&mut Simulation),
) -> Figures {
    run_in(environment(), account, mode, events, prepare)
}

/// Route 53 never accepts the names of these services.
pub fn reject(simulation: &mut Simulation, numbers: impl Iterator<Item = usize>, why: Rejection) {
    simulation.rejected_names.extend(numbers.map(|number| (full_name(number), why)));
}

/// The name of the zone's records of a service, as Route 53 spells it.
pub fn full_name(number: usize) -> String {
    format!("{}.", record_name(number))
}

/// Tags a service so that it should have the name of another one.
pub fn rename(account: &mut Account, number: usize, other: usize) {
    if let Some(service) = account.ecs.services.get_mut(&name(number)) {
        service.tags.insert("discovery:name".into(), name(other).1);
    }
}

/// Leaves room in the zone for this number of record sets.
pub fn leave_room(account: &mut Account, rrsets: usize) {
    let zone = account.zones.get_mut(ZONE).expect("the zone of all workloads");
    zone.max_rrsets = zone.len() + rrsets;
}

fn run_in(
    environment: EnvironmentConfig,
    account: Account,
    mode: DeliveryMode,
    events: Vec<(Duration, String)>,
    prepare: impl FnOnce(&mut Simulation),
) -> Figures {
    virtual_time::run(7, async {
        let steady_ms = u64::try_from(ROUND_TRIP.as_millis()).ok();
        let faults = Faults { steady_ms, ..Faults::default() };
        let mut simulation = Simulation::new(account, vec![environment], faults, 7);
        simulation.trace = Some(Vec::new());
        prepare(&mut simulation);
        let workload = Arc::new(Workload {
            lambda: Lambda::new(simulation),
            failed: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
            invocations: Mutex::default(),
            begun: Instant::now(),
        });
        match mode {
            DeliveryMode::Direct => workload.deliver(events).await,
            DeliveryMode::Queue(settings) => workload.queue(settings, events).await,
        }
        let simulation = workload.lambda.simulation();
        assert_eq!(simulation.violation, None, "the workload breaks an invariant");
        figures(&simulation, &workload)
    })
}

struct Workload {
    lambda: Lambda,
    /// Invocations and messages that failed.
    failed: AtomicUsize,
    /// Messages in the dead-letter queue.
    given_up: AtomicUsize,
    /// When each invocation began and how long it took.
    invocations: Mutex<Vec<(Duration, Duration)>>,
    begun: Instant,
}

impl Workload {
    async fn invoke(&self, payload: &str) -> Option<Answer> {
        let begun = Instant::now();
        let answer = self.lambda.invoke(0, payload).await;
        let invocation = (begun - self.begun, begun.elapsed());
        self.invocations.lock().expect("no holder panics").push(invocation);
        if answer.is_none() {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }

    async fn deliver(self: &Arc<Self>, events: Vec<(Duration, String)>) {
        let mut tasks = JoinSet::new();
        for (at, payload) in events {
            let workload = Arc::clone(self);
            tasks.spawn_local(async move {
                sleep_until(workload.begun + at).await;
                for pause in [Some(60), Some(120), None] {
                    if workload.invoke(&payload).await.is_some() {
                        return;
                    }
                    if let Some(seconds) = pause {
                        sleep(Duration::from_secs(seconds)).await;
                    }
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    async fn queue(self: &Arc<Self>, settings: QueueSettings, events: Vec<(Duration, String)>) {
        let all = events.len();
        let messages = Arc::new(Messages::default());
        let slots = Arc::new(Semaphore::new(MAX_CONCURRENT_BATCHES));
        let mut tasks = JoinSet::new();
        let (sending, begun) = (Arc::clone(&messages), self.begun);
        tasks.spawn_local(async move {
            for (id, (at, body)) in (0..).zip(events) {
                sleep_until(begun + at + settings.delay).await;
                sending.add(Message::new(id, body));
            }
        });
        while messages.done.load(Ordering::Relaxed) < all {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("it is never closed");
            let first_message = async {
                while messages.count() == 0 {
                    messages.added.notified().await;
                }
            };
            // The last batch may still run. If it succeeds, no message arrives any more.
            if timeout_at(Instant::now() + Duration::from_secs(1), first_message).await.is_err() {
                continue;
            }
            let window_end = Instant::now() + settings.window;
            while messages.count() < settings.batch
                && timeout_at(window_end, messages.added.notified()).await.is_ok()
            {}
            let (workload, messages) = (Arc::clone(self), Arc::clone(&messages));
            let batch = messages.take(settings.batch);
            tasks.spawn_local(async move {
                let received = Instant::now();
                let failed = workload.handle(batch, &messages).await;
                drop(slot);
                workload.return_failed(failed, received, settings, &messages).await;
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Invokes the function with one batch. Returns the failed messages.
    async fn handle(&self, batch: Vec<Message>, messages: &Messages) -> Vec<Message> {
        let answer = self.invoke(&queue::payload("events", &batch)).await;
        let (failed, done): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|message| message.has_failed(answer.as_ref()));
        self.failed.fetch_add(failed.len(), Ordering::Relaxed);
        messages.done.fetch_add(done.len(), Ordering::Relaxed);
        failed
    }

    /// Puts failed messages back into the queue when they are visible again.
    async fn return_failed(
        &self,
        failed: Vec<Message>,
        received: Instant,
        settings: QueueSettings,
        messages: &Messages,
    ) {
        let mut again = Vec::new();
        for message in failed {
            match message.again(received, settings, &mut self.lambda.simulation()) {
                Some(message) => again.push(message),
                None => {
                    self.given_up.fetch_add(1, Ordering::Relaxed);
                    messages.done.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        again.sort_by_key(|(at, _)| *at);
        for (at, message) in again {
            sleep_until(at).await;
            messages.add(message);
        }
    }
}

/// The messages in the queue.
#[derive(Default)]
struct Messages {
    waiting: Mutex<VecDeque<Message>>,
    added: Notify,
    /// Messages that were handled successfully or given up.
    done: AtomicUsize,
}

impl Messages {
    fn add(&self, message: Message) {
        self.waiting.lock().expect("no holder panics").push_back(message);
        self.added.notify_one();
    }

    fn count(&self) -> usize {
        self.waiting.lock().expect("no holder panics").len()
    }

    fn take(&self, batch: usize) -> Vec<Message> {
        let mut waiting = self.waiting.lock().expect("no holder panics");
        let size = batch.min(waiting.len());
        waiting.drain(..size).collect()
    }
}

fn figures(simulation: &Simulation, workload: &Workload) -> Figures {
    let trace = simulation.trace.as_deref().unwrap_or_default();
    let mut calls = BTreeMap::new();
    let mut throttled = 0;
    for TracedRequest { operation, status, .. } in trace {
        if *status == 200 {
            *calls.entry(operation.clone()).or_default() += 1;
        } else {
            throttled += 1;
        }
    }
    let peak = |api: &str| {
        let requests = trace.iter().filter(|request| api_of(&request.operation) == api);
        let at: Vec<Duration> = requests.map(|request| request.at).collect();
        let within_a_second = |from: &Duration| {
            let end = *from + Duration::from_secs(1);
            at.iter().filter(|at| *at >= from && **at < end).count()
        };
        at.iter().map(within_a_second).max().unwrap_or_default()
    };
    let is_change = |request: &&TracedRequest| {
        request.operation == "ChangeResourceRecordSets" && request.status == 200
    };
    let written = trace.iter().filter(is_change).map(|request| request.at).max();
    let in_first_second = |api: &str| {
        let early = trace.iter().filter(|request| request.at < Duration::from_secs(1));
        early.filter(|request| api_of(&request.operation) == api).count()
    };
    let right_services = right_services(simulation);
    let invocations = workload.invocations.lock().expect("no holder panics");
    Figures {
        calls,
        throttled,
        received: trace.iter().map(|request| request.bytes).sum(),
        took: written.unwrap_or_default(),
        written: written.map(|at| at + ROUND_TRIP / 2),
        route53_peak: peak("route53"),
        ecs_peak: peak("ecs"),
        first_second: ["ecs", "elb", "route53"].map(in_first_second),
        right: right_services.len(),
        right_services,
        failed: workload.failed.load(Ordering::Relaxed),
        longest: invocations.iter().map(|(_, took)| *took).max().unwrap_or_default(),
        invoked_at: invocations.iter().map(|(at, _)| *at).collect(),
        given_up: workload.given_up.load(Ordering::Relaxed),
        account: simulation.account.clone(),
    }
}

/// The services that have exactly the records that they should have, and no other name.
fn right_services(simulation: &Simulation) -> BTreeSet<ServiceName> {
    let (environment, account) = (&simulation.environments[0], &simulation.account);
    let mut held: BTreeMap<ServiceName, Vec<(&str, &str)>> = BTreeMap::new();
    for (id, zone) in &account.zones {
        let names: BTreeSet<&str> = zone.all().map(|(rrset, _)| name_of(rrset)).collect();
        for name in names {
            if let Some(holder) = NameRecords::read(zone, name).holder(environment) {
                held.entry(holder).or_default().push((id, name));
            }
        }
    }
    let is_right = |service: &ServiceName, stored: &StoredService| {
        let held = held.get(service).map_or(&[][..], Vec::as_slice);
        let now = simulation.seconds();
        match expected(environment, service, Some(stored), account, now) {
            Expected::Record { zone, name, rrsets, .. } => {
                let found = NameRecords::read(&account.zones[&zone], &name).at_name;
                held == [(zone.as_str(), name.as_str())]
                    && found.into_iter().map(|(rrset, _)| rrset).eq(rrsets)
            }
            _ => held.is_empty(),
        }
    };
    let services = account.ecs.services.iter();
    services
        .filter(|(name, service)| is_right(name, service))
        .map(|(name, _)| name.clone())
        .collect()
}

/// The shortest time in which a quota of `burst` and `per_second` allows this number of tokens.
pub fn quota_time(tokens: usize, burst: f64, per_second: f64) -> Duration {
    let tokens = f64::from(u32::try_from(tokens).unwrap_or(u32::MAX));
    Duration::from_secs_f64(((tokens - burst) / per_second).max(0.0))
}

//! The state of a simulation: the account, its quotas, its past, and everything that is counted and checked
//! while a history runs. All chance comes from one seed, and all time is virtual.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::{DateTime, Format};
use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::account::{Account, EcsState, Reply, ServiceName, name_in_arn, service_arn, xml_error};
use crate::connector::Request;
use crate::faults::{Faults, Rejection, Subject};
use crate::invariants::{
    Losses, Violation, changed_names, check_change, check_losses, check_version,
    deletes_repeated_marker,
};
use crate::lambda::FUNCTION_TIMEOUT;
use crate::oracle::{Described, EnvironmentConfig};
use crate::route53::{
    Action, Author, EXCEEDED, HostedZone, StoredRrset, Writer, read_changes, refusal,
};

/// The beginning of the virtual time, in seconds since 1970: the first of January 2026.
pub const EPOCH: u64 = 1_767_225_600;

/// How often each thing happened. A simulation in which nothing goes wrong proves nothing.
pub type Tally = BTreeMap<String, u64>;

#[derive(Debug)]
pub struct Simulation {
    pub account: Account,
    pub environments: Vec<EnvironmentConfig>,
    pub faults: Faults,
    pub rng: Rng,
    pub begun: Instant,
    /// The zones and names that handlers changed, each with the environment.
    pub(crate) changed: BTreeSet<(String, String, String)>,
    /// Route 53 rejects every change of these names.
    pub rejected_names: BTreeMap<String, Rejection>,
    /// The payloads that reached a former version after a deployment, each with its environment. If that version has
    /// nothing to change, they take effect with the next full pass.
    pub former_payloads: Vec<(String, String)>,
    pub invocations: BTreeMap<u64, InvocationLog>,
    /// The first violation.
    pub violation: Option<Violation>,
    pub tally: Tally,
    /// The timeout of the functions.
    pub function_timeout: Duration,
    /// Whether requests count towards the quotas.
    pub has_quotas: bool,
    /// All requests, if they are collected.
    pub trace: Option<Vec<TracedRequest>>,
    /// Whether an invocation created the same marker twice, and another one took the second for the first. The nonce
    /// does not distinguish them, so the rest of the history proves nothing.
    pub is_compromised: bool,
    /// Services whose creation or deletion is not visible in ECS yet.
    pub invisible: BTreeSet<ServiceName>,
    /// When SQS delivers messages again whose visibility the handler changed, by receipt.
    pub visible_at: BTreeMap<String, Instant>,
    /// The state of ECS before each of its changes, and the time of the change.
    past: Vec<(Instant, EcsState)>,
    /// The zones before each of their changes, and the time of the change, if lists lag.
    past_zones: Vec<(Instant, String, HostedZone)>,
    /// The newest version of each environment that changed a zone.
    pub versions: BTreeMap<(String, String), u64>,
    quotas: BTreeMap<&'static str, Quota>,
    /// Until when Route 53 processes the latest change of a zone.
    busy: BTreeMap<String, Instant>,
}

/// An invocation of a handler, with everything that AWS described to it.
#[derive(Clone, Debug)]
pub struct InvocationLog {
    pub config: EnvironmentConfig,
    pub deregisters: bool,
    pub described: Described,
    /// When Lambda ends the invocation.
    pub deadline: Instant,
    /// The names that services lose, if the invocation is limited in that.
    pub losses: Option<Losses>,
    /// Clusters that ECS did not find once, or a service of them, although they exist.
    not_found: BTreeSet<String>,
}

impl InvocationLog {
    pub fn new(config: EnvironmentConfig, payload: &str, deadline: Instant) -> InvocationLog {
        InvocationLog {
            config,
            deregisters: payload.contains("deregister"),
            described: Described::default(),
            deadline,
            losses: Losses::of(payload),
            not_found: BTreeSet::new(),
        }
    }
}

/// A request that reached the account.
#[derive(Clone, Debug)]
pub struct TracedRequest {
    /// The time since the beginning.
    pub at: Duration,
    pub operation: String,
    /// The HTTP status of the response.
    pub status: u16,
    /// The size of the response's body.
    pub bytes: usize,
}

/// A token bucket: allows `burst` requests at once, then `per_second`.
#[derive(Clone, Copy, Debug)]
struct Quota {
    left: f64,
    burst: f64,
    per_second: f64,
    at: Instant,
}

impl Quota {
    fn take(&mut self, tokens: f64) -> bool {
        let now = Instant::now();
        self.left = (self.left + (now - self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = now;
        let is_enough = self.left >= tokens;
        if is_enough {
            self.left -= tokens;
        }
        is_enough
    }
}

/// Locks the simulation. A panic elsewhere does not make its state unusable.
pub fn lock(simulation: &Mutex<Simulation>) -> MutexGuard<'_, Simulation> {
    simulation.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulation {
    pub fn new(
        account: Account,
        environments: Vec<EnvironmentConfig>,
        faults: Faults,
        seed: u64,
    ) -> Simulation {
        Simulation {
            account,
            environments,
            faults,
            rng: Rng::with_seed(seed),
            begun: Instant::now(),
            changed: BTreeSet::new(),
            rejected_names: BTreeMap::new(),
            former_payloads: Vec::new(),
            invocations: BTreeMap::new(),
            violation: None,
            tally: Tally::new(),
            function_timeout: FUNCTION_TIMEOUT,
            has_quotas: true,
            trace: None,
            is_compromised: false,
            invisible: BTreeSet::new(),
            visible_at: BTreeMap::new(),
            past: Vec::new(),
            past_zones: Vec::new(),
            versions: BTreeMap::new(),
            quotas: BTreeMap::new(),
            busy: BTreeMap::new(),
        }
    }

    pub fn count(&mut self, event: impl Into<String>) {
        *self.tally.entry(event.into()).or_default() += 1;
    }

    pub fn violate(&mut self, violation: Violation) {
        if self.is_compromised {
            return;
        }
        self.violation.get_or_insert(violation);
    }

    /// The time until a creation or a deletion of a service is visible, if it is not visible at once.
    pub fn visibility_delay(&mut self, service: &ServiceName) -> Option<Duration> {
        let max = self.faults.visible_ms;
        if max == 0 || !self.has_faults() {
            return None;
        }
        self.count("creations and deletions that are visible late");
        self.invisible.insert(service.clone());
        Some(Duration::from_millis(self.rng.u64(0..max)))
    }

    /// Stores the state of ECS, for stale reads after the change that follows.
    pub fn before_change(&mut self) {
        self.past.push((Instant::now(), self.account.ecs.clone()));
    }

    /// The virtual time.
    pub fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH) + self.begun.elapsed()
    }

    /// The virtual time in seconds since 1970.
    pub fn seconds(&self) -> u64 {
        EPOCH + self.begun.elapsed().as_secs()
    }

    /// The virtual time as CloudTrail writes it, in whole seconds.
    pub fn event_time(&self) -> String {
        let time = DateTime::from_secs(i64::try_from(self.seconds()).unwrap_or_default());
        time.fmt(Format::DateTime).unwrap_or_default()
    }

    /// Whether faults can happen now.
    pub fn has_faults(&self) -> bool {
        self.begun.elapsed() < Duration::from_millis(self.faults.until_ms)
    }

    pub(crate) fn is_denied(&self, request: &Request) -> bool {
        self.faults.denied.as_ref().is_some_and(|denied| {
            self.begun.elapsed() >= Duration::from_millis(denied.from_ms)
                && (denied.is_permanent || self.has_faults())
                && denied.operation == request.operation
                && denied.subject.as_ref().is_none_or(|subject| subject.is_in(request))
        })
    }

    /// Whether a fault of this history is left when all others have ended.
    pub fn has_lasting_failure(&self) -> bool {
        !self.rejected_names.is_empty()
            || self.faults.denied.as_ref().is_some_and(|denied| denied.is_permanent)
            || self.account.zones.keys().any(|id| self.is_full(id))
    }

    /// Whether a zone may lack the room for one more name.
    pub fn is_full(&self, zone: &str) -> bool {
        self.account.zones.get(zone).is_some_and(|zone| zone.len() + 3 > zone.max_rrsets)
    }

    pub(crate) fn losses(&mut self, invocation: u64) -> Option<&mut Losses> {
        self.invocations.get_mut(&invocation)?.losses.as_mut()
    }

    /// Whether a permission is denied for good without which nothing about a service or a name is decided.
    pub(crate) fn is_out_of_reach(&self, service: &ServiceName, zone: &str, name: &str) -> bool {
        let denied = self.faults.denied.as_ref().filter(|denied| denied.is_permanent);
        denied.is_some_and(|denied| match &denied.subject {
            None => true,
            Some(Subject::Cluster(cluster)) => *cluster == service.0,
            Some(Subject::Zone(id)) => id == zone,
            Some(Subject::Name(other)) => other == name,
        })
    }

    pub(crate) fn happens(&mut self, per_mille: u32) -> bool {
        self.has_faults() && self.rng.u32(0..1_000) < per_mille
    }

    /// The time of one way through the network.
    pub(crate) fn latency(&mut self) -> Duration {
        let max = if self.has_faults() { self.faults.latency_ms } else { 20 };
        match self.faults.steady_ms {
            Some(both) => Duration::from_millis(both) / 2,
            None => Duration::from_millis(self.rng.u64(1..=max.max(1))),
        }
    }

    fn within_quota(
        &mut self,
        name: &'static str,
        burst: f64,
        per_second: f64,
        tokens: f64,
    ) -> bool {
        if !self.has_quotas {
            return true;
        }
        let full = Quota { left: burst, burst, per_second, at: Instant::now() };
        let is_within = self.quotas.entry(name).or_insert(full).take(tokens);
        if !is_within {
            self.count(format!("quota exceeded: {name}"));
        }
        is_within
    }

    /// The index in `past` of the state that answers one request, or `None` for the present state.
    fn stale_ecs(&mut self) -> Option<usize> {
        if self.faults.stale_ms == 0 || !self.has_faults() {
            return None;
        }
        let age = Duration::from_millis(self.rng.u64(0..self.faults.stale_ms));
        let now = Instant::now();
        let stale = self.past.iter().position(|(at, _)| now.duration_since(*at) < age)?;
        self.count("stale reads");
        Some(stale)
    }

    /// Carries out a request. Returns the reply, and the services and load balancers that it describes.
    pub fn answer(&mut self, request: &Request, invocation: u64) -> (Reply, Described) {
        let max_page = self.faults.max_page.filter(|_| self.has_faults()).unwrap_or(usize::MAX);
        if request.is_sqs() {
            (self.answer_sqs(request), Described::default())
        } else if request.is_route53() {
            self.answer_route53(request, invocation, max_page)
        } else if request.is_ecs() {
            self.answer_ecs(request, invocation, max_page)
        } else {
            self.answer_elb(request, invocation, max_page)
        }
    }

    fn answer_sqs(&mut self, request: &Request) -> Reply {
        if request.operation == "GetQueueUrl" {
            return (200, json!({"QueueUrl": "https://sqs/queue"}).to_string());
        }
        let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
        for entry in body["Entries"].as_array().into_iter().flatten() {
            let receipt = entry["ReceiptHandle"].as_str().unwrap_or_default().to_owned();
            let seconds = entry["VisibilityTimeout"].as_u64().unwrap_or_default();
            self.visible_at.insert(receipt, Instant::now() + Duration::from_secs(seconds));
        }
        (200, json!({"Successful": [], "Failed": []}).to_string())
    }

    fn answer_ecs(
        &mut self,
        request: &Request,
        invocation: u64,
        max_page: usize,
    ) -> (Reply, Described) {
        let mut described = Described::default();
        let (quota, burst) = if request.operation == "ListClusters" {
            ("ECS clusters", 50.0)
        } else {
            ("ECS services", 100.0)
        };
        if !self.within_quota(quota, burst, 20.0, 1.0) {
            return (request.throttled(), described);
        }
        let stale = self.stale_ecs();
        let ecs = stale.map_or(&self.account.ecs, |index| &self.past[index].1);
        let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let (status, reply) = ecs.answer(&request.operation, &body, max_page);
        let mut reply: Value = serde_json::from_str(&reply).unwrap_or_default();
        if request.operation == "DescribeServices" {
            let cluster = body["cluster"].as_str().unwrap_or("default");
            for name in body["services"].as_array().into_iter().flatten().filter_map(Value::as_str)
            {
                let name = (cluster.to_owned(), name.to_owned());
                let service = ecs.services.get(&name).cloned();
                if status == 200 || reply["__type"] == "ClusterNotFoundException" {
                    described.services.insert(name, service);
                }
            }
        }
        if request.operation == "DescribeServices" && status == 200 {
            let cluster = body["cluster"].as_str().unwrap_or("default");
            if self.happens(self.faults.not_found) && self.once(invocation, cluster.to_owned()) {
                self.count("clusters not found once");
                described.services.values_mut().for_each(|service| *service = None);
                described.miss_all();
                let body =
                    json!({"__type": "ClusterNotFoundException", "message": "Cluster not found."});
                return ((400, body.to_string()), described);
            }
            self.spoil(&mut reply, &mut described, invocation);
        }
        described.miss_all();
        // AWS documents no order.
        for list in ["services", "failures"] {
            if let Some(list) = reply[list].as_array_mut() {
                self.rng.shuffle(list);
            }
        }
        ((status, reply.to_string()), described)
    }

    /// Leaves out a service, or reports it as missing.
    fn spoil(&mut self, reply: &mut Value, described: &mut Described, invocation: u64) {
        let Some(services) = reply["services"].as_array_mut().filter(|all| !all.is_empty()) else {
            return;
        };
        let at = self.rng.usize(0..services.len());
        let name = services[at]["serviceName"].as_str().unwrap_or_default().to_owned();
        let Some(name) = described.services.keys().find(|(_, other)| *other == name).cloned()
        else {
            return;
        };
        if self.happens(self.faults.incomplete) {
            services.remove(at);
            self.count("services omitted from an answer");
            described.services.remove(&name);
            described.is_incomplete = true;
        } else if self.happens(self.faults.not_found) && self.once(invocation, name.0.clone()) {
            services.remove(at);
            self.count("services not found once");
            let failure = json!({"arn": service_arn(&name), "reason": "MISSING"});
            if let Some(failures) = reply["failures"].as_array_mut() {
                failures.push(failure);
            }
            described.services.insert(name, None);
        }
    }

    /// Whether this is the first time for `cluster` in the invocation. So a second read corrects the first.
    fn once(&mut self, invocation: u64, cluster: String) -> bool {
        let log = self.invocations.get_mut(&invocation);
        log.is_some_and(|log| log.not_found.insert(cluster))
    }

    fn answer_elb(
        &mut self,
        request: &Request,
        invocation: u64,
        max_page: usize,
    ) -> (Reply, Described) {
        let classic = request.query.get("Version").is_some_and(|version| version == "2012-06-01");
        let quota = if classic { "classic load balancers" } else { "load balancers" };
        if !self.within_quota(quota, 40.0, 10.0, 1.0) {
            return (request.throttled(), Described::default());
        }
        let mut reply = self.account.answer_elb(&request.operation, &request.query, max_page);
        let mut described = if self.invocations.contains_key(&invocation) {
            self.described_by_elb(request, &reply)
        } else {
            Described::default()
        };
        if !described.load_balancers.is_empty() && self.happens(self.faults.incomplete) {
            let fields = ["VpcId", "VPCId", "IpAddressType", "Scheme"];
            let field = fields[self.rng.usize(0..fields.len())];
            let at = self.rng.usize(0..described.load_balancers.len());
            let name = described.load_balancers.keys().nth(at).cloned().unwrap_or_default();
            if let Some(body) = without_field(&reply.1, &name, field) {
                reply.1 = body;
                self.count("fields missing from an answer");
                described.load_balancers.remove(&name);
                described.is_incomplete = true;
            }
        }
        (reply, described)
    }

    /// The target groups and load balancers in a reply, and those that it reports as missing.
    fn described_by_elb(&self, request: &Request, (status, body): &Reply) -> Described {
        let mut described = Described::default();
        let is_target_groups = request.operation == "DescribeTargetGroups";
        if *status != 200 {
            let mut members = request
                .query
                .iter()
                .filter(|(key, _)| key.contains(".member."))
                .map(|(_, value)| value.as_str());
            // With several members, the error does not say which of them is missing.
            if let (Some(member), None, true) =
                (members.next(), members.next(), body.contains("NotFound"))
            {
                let name = if member.starts_with("arn:") { name_in_arn(member) } else { member }
                    .to_owned();
                if is_target_groups {
                    described.target_groups.insert(name, Vec::new());
                } else if !self.account.load_balancers.contains_key(&name) {
                    // Otherwise the other generation of Elastic Load Balancing has it.
                    described.load_balancers.insert(name, None);
                }
            }
            return described;
        }
        if is_target_groups {
            for name in names_between(body, "targetgroup/", '/') {
                if let Some(load_balancers) = self.account.target_groups.get(name) {
                    described.target_groups.insert(name.to_owned(), load_balancers.clone());
                }
            }
        } else {
            for name in names_between(body, "<LoadBalancerName>", '<') {
                if let Some(load_balancer) = self.account.load_balancers.get(name) {
                    let load_balancer = Some(load_balancer.clone());
                    described.load_balancers.insert(name.to_owned(), load_balancer);
                }
            }
        }
        described
    }

    fn answer_route53(
        &mut self,
        request: &Request,
        invocation: u64,
        max_page: usize,
    ) -> (Reply, Described) {
        if !self.within_quota("Route 53 requests", 50.0, 10.0, 1.0) {
            return (request.throttled(), Described::default());
        }
        let id = request
            .path
            .split("hostedzone/")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default()
            .to_owned();
        let Some(zone) = self.account.zones.get(&id) else {
            let message = format!("No hosted zone found with ID: {id}");
            return (xml_error(404, "NoSuchHostedZone", &message), Described::default());
        };
        if request.method == "GET" {
            let query = |key: &str| request.query.get(key).map_or("", String::as_str);
            let start = (query("name"), query("type"), query("identifier"));
            let max_items =
                request.query.get("maxitems").and_then(|items| items.parse().ok()).unwrap_or(300);
            let (page, writers) = self.listed_zone(&id, zone).list(start, max_items, max_page);
            let rrsets = writers.into_iter().map(|(key, writer)| (id.clone(), key, writer));
            return ((200, page), Described { rrsets: rrsets.collect(), ..Described::default() });
        }
        (self.answer_change(request, invocation, &id), Described::default())
    }

    /// The state of a zone that Route 53 lists.
    fn listed_zone<'a>(&'a self, id: &str, present: &'a HostedZone) -> &'a HostedZone {
        let lag = Duration::from_millis(self.faults.list_lag_ms);
        let now = Instant::now();
        let mut past = self.past_zones.iter().filter(|(_, of, _)| of == id);
        let listed = past.find(|(changed, ..)| now.duration_since(*changed) < lag);
        listed.filter(|_| self.has_faults()).map_or(present, |(.., zone)| zone)
    }

    /// The reply to a change of names that Route 53 never accepts.
    fn rejection(&mut self, changes: &[(Action, StoredRrset)], bare: bool) -> Option<Reply> {
        let rejected = |rrset: &StoredRrset| self.rejected_names.get(&rrset.name).copied();
        let first = changes.iter().find_map(|(_, rrset)| rejected(rrset))?;
        let messages = match first {
            Rejection::Unexplained => vec!["The request was refused".to_owned()],
            Rejection::Protected => changes
                .iter()
                .filter(|(_, rrset)| rejected(rrset).is_some())
                .map(|(_, rrset)| format!("The record set {} is protected", rrset.name))
                .collect(),
            Rejection::InvalidInput => {
                return Some(xml_error(400, "InvalidInput", "Invalid request"));
            }
        };
        if first == Rejection::Unexplained {
            self.count("refusals that name no change");
        }
        Some((400, refusal(&messages, bare)))
    }

    fn answer_change(&mut self, request: &Request, invocation: u64, id: &str) -> Reply {
        let Some(changes) = read_changes(&request.body) else {
            return xml_error(400, "InvalidInput", "Invalid XML");
        };
        let tokens: u32 =
            changes.iter().map(|(action, _)| if *action == Action::Upsert { 2 } else { 1 }).sum();
        if !self.within_quota("Route 53 changes", 1_500.0, 100.0, f64::from(tokens)) {
            return request.throttled();
        }
        let now = Instant::now();
        if self.busy.get(id).is_some_and(|until| *until > now) {
            self.count("prior request not complete");
            return xml_error(
                400,
                "PriorRequestNotComplete",
                "The request was rejected because Route 53 was still processing a prior request.",
            );
        }
        let bare = self.rng.bool();
        if let Some(reply) = self.rejection(&changes, bare) {
            return reply;
        }
        let config = self.invocations.get(&invocation).map(|invocation| &invocation.config);
        let author = Author::Handler(config.unwrap_or(&self.environments[0]).name.clone());
        let Some(zone) = self.account.zones.get_mut(id) else {
            return xml_error(404, "NoSuchHostedZone", "the zone was deleted");
        };
        let before = zone.clone();
        if self.faults.list_lag_ms > 0 {
            self.past_zones.push((now, id.to_owned(), before.clone()));
        }
        zone.writer = Writer { invocation, change: zone.writer.change + 1 };
        match zone.change(&changes, &author) {
            Err(messages) => {
                if messages.iter().any(|message| message.ends_with(EXCEEDED)) {
                    let message = format!("a batch was too large: {}", messages.join(", "));
                    self.violate(Violation::new(7, message));
                }
                if messages.iter().any(|message| message.contains("cannot have more than")) {
                    self.count("refusals of a full zone");
                }
                self.count(if bare {
                    "refusals without an error code"
                } else {
                    "refusals with an error code"
                });
                (400, refusal(&messages, bare))
            }
            Ok(()) => {
                self.count("change batches applied");
                if deletes_repeated_marker(self, id, &before, &changes, invocation) {
                    self.count("markers deleted that an invocation created twice");
                    self.is_compromised = true;
                }
                self.busy.insert(id.to_owned(), now + Duration::from_millis(self.rng.u64(1..60)));
                if let Some(violation) = check_change(self, id, &before, &changes, invocation) {
                    self.violate(violation);
                }
                if let Some(log) = self.invocations.get(&invocation) {
                    let of = |name: &str| (id.to_owned(), name.to_owned(), log.config.name.clone());
                    self.changed.extend(changed_names(&changes).into_iter().map(of));
                }
                if let Some(violation) = check_version(self, id, invocation) {
                    self.violate(violation);
                }
                if let Some(violation) = check_losses(self, id, &before, &changes, invocation) {
                    self.violate(violation);
                }
                (200, "<ChangeResourceRecordSetsResponse><ChangeInfo><Id>C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>".into())
            }
        }
    }
}

/// An answer of Elastic Load Balancing without one field of the load balancer `name`, if it has that field.
fn without_field(body: &str, name: &str, field: &str) -> Option<String> {
    let at = body.find(&format!("<LoadBalancerName>{name}<"))?;
    let end = at + body[at..].find("</member>")?;
    let from = at + body[at..end].find(&format!("<{field}>"))?;
    let close = format!("</{field}>");
    let to = from + body[from..end].find(&close)? + close.len();
    Some(format!("{}{}", &body[..from], &body[to..]))
}

/// Every text in `body` between `before` and the next `after`.
fn names_between<'a>(body: &'a str, before: &'a str, after: char) -> impl Iterator<Item = &'a str> {
    body.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
}

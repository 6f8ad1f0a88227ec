//! The wire between the SDK and the simulated account: latency, quotas, and all that goes wrong on
//! the way, from one seed and on virtual time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use fastrand::Rng;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::account::{Answer, Cloud, Ecs, xml_error};
use crate::invariants::{self, Violation};
use crate::oracle::{Environment, Told};
use crate::route53::{Author, read_changes, refusal};

/// How bad it is, in thousandths of all requests, until it is over.
#[derive(Clone, Debug, Default)]
pub struct Weather {
    pub until_ms: u64,
    pub latency_ms: u64,
    /// What each request takes, there and back, where it is always the same.
    pub steady_ms: Option<u64>,
    pub throttled: u32,
    pub server_errors: u32,
    /// Connections that break before, and after, the request was carried out.
    pub dropped_before: u32,
    pub dropped_after: u32,
    pub hanging: u32,
    /// Answers that end in the middle.
    pub cut: u32,
    /// Invocations that are ended in the middle.
    pub killed: u32,
    /// The most that a page holds.
    pub page: Option<usize>,
    /// How old what ECS says may be.
    pub stale_ms: u64,
    /// An operation that is denied.
    pub denied: Option<String>,
}

/// What happened, so that nobody believes in a simulation in which nothing did.
pub type Counts = BTreeMap<String, u64>;

/// A token bucket: so many at once, so many a second.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    burst: f64,
    per_second: f64,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, tokens: f64) -> bool {
        let now = Instant::now();
        self.left = (self.left + (now - self.at).as_secs_f64() * self.per_second).min(self.burst);
        self.at = now;
        let enough = self.left >= tokens;
        if enough {
            self.left -= tokens;
        }
        enough
    }
}

/// One invocation of a handler, as far as its requests go.
#[derive(Clone, Debug, Default)]
pub struct Invocation {
    pub environment: usize,
    pub deregisters: bool,
    pub told: Told,
    pub changes: u64,
}

/// A request that reached the account.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Since the beginning.
    pub at: Duration,
    pub operation: String,
    /// The HTTP status of the answer.
    pub status: u16,
}

#[derive(Debug)]
pub struct Sim {
    pub cloud: Cloud,
    pub environments: Vec<Environment>,
    pub weather: Weather,
    pub rng: Rng,
    pub begun: Instant,
    /// What ECS was before each change.
    pub past: Vec<(Instant, Ecs)>,
    /// A name that Route 53 refuses whatever is asked, without saying why.
    pub poison: Option<String>,
    pub invocations: BTreeMap<u64, Invocation>,
    pub violation: Option<Violation>,
    pub counts: Counts,
    /// Whether requests count against the quotas.
    pub quotas: bool,
    /// Every request, if that is wanted.
    pub trace: Option<Vec<Traced>>,
    buckets: BTreeMap<&'static str, Bucket>,
    busy: BTreeMap<String, Instant>,
}

impl Sim {
    pub fn new(cloud: Cloud, environments: Vec<Environment>, weather: Weather, seed: u64) -> Sim {
        Sim {
            cloud,
            environments,
            weather,
            rng: Rng::with_seed(seed),
            begun: Instant::now(),
            past: Vec::new(),
            poison: None,
            invocations: BTreeMap::new(),
            violation: None,
            counts: Counts::new(),
            quotas: true,
            trace: None,
            buckets: BTreeMap::new(),
            busy: BTreeMap::new(),
        }
    }

    pub fn count(&mut self, what: impl Into<String>) {
        *self.counts.entry(what.into()).or_default() += 1;
    }

    pub fn is_bad(&self) -> bool {
        self.begun.elapsed() < Duration::from_millis(self.weather.until_ms)
    }

    /// Remembers what ECS is before it changes.
    pub fn before_change(&mut self) {
        self.past.push((Instant::now(), self.cloud.ecs.clone()));
    }

    pub fn violate(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    fn happens(&mut self, per_mille: u32) -> bool {
        self.is_bad() && self.rng.u32(0..1_000) < per_mille
    }

    fn bucket(&mut self, name: &'static str, burst: f64, per_second: f64, tokens: f64) -> bool {
        if !self.quotas {
            return true;
        }
        let full = Bucket { left: burst, burst, per_second, at: Instant::now() };
        let enough = self.buckets.entry(name).or_insert(full).take(tokens);
        if !enough {
            self.count(format!("quota used up: {name}"));
        }
        enough
    }

    /// The state of ECS that one request is answered from.
    fn ecs(&mut self) -> Ecs {
        if self.weather.stale_ms > 0 && self.is_bad() {
            let age = Duration::from_millis(self.rng.u64(0..self.weather.stale_ms));
            let now = Instant::now();
            let later = self.past.iter().find(|(at, _)| now.duration_since(*at) < age);
            if let Some((_, then)) = later {
                let then = then.clone();
                self.count("stale reads");
                return then;
            }
        }
        self.cloud.ecs.clone()
    }
}

/// # Panics
/// Never: a poisoned lock is as good as another.
pub fn lock(sim: &Mutex<Sim>) -> MutexGuard<'_, Sim> {
    sim.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wire of one handler.
#[derive(Clone, Debug)]
pub struct Wire {
    pub sim: Arc<Mutex<Sim>>,
    /// Which invocation the handler is at.
    pub invocation: Arc<AtomicU64>,
}

/// A request, as far as the account looks at it.
pub struct Request {
    pub operation: String,
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: String,
}

enum Fate {
    Fine,
    Answered(Answer),
    DroppedBefore,
    DroppedAfter,
    Hangs,
    Cut,
}

impl Request {
    fn read(request: &HttpRequest) -> Request {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let target = request.headers().get("x-amz-target");
        Request::parse(request.method(), request.uri(), target, body)
    }

    /// `target` is the header `X-Amz-Target`.
    pub fn parse(method: &str, uri: &str, target: Option<&str>, body: String) -> Request {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let pairs = |text: &str| form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        let query: BTreeMap<String, String> = pairs(query);
        let form: BTreeMap<String, String> = pairs(&body);
        let target = target.and_then(|name| name.rsplit('.').next());
        let (operation, query) = match (target, form.get("Action")) {
            (Some(target), _) => (target.to_owned(), query),
            (None, Some(action)) => (action.clone(), form),
            (None, None) if method == "GET" => ("ListResourceRecordSets".into(), query),
            (None, None) => ("ChangeResourceRecordSets".into(), query),
        };
        Request { operation, method: method.to_owned(), path: path.to_owned(), query, body }
    }

    fn is_ecs(&self) -> bool {
        matches!(self.operation.as_str(), "ListClusters" | "ListServices" | "DescribeServices")
    }

    fn is_route53(&self) -> bool {
        self.operation.ends_with("ResourceRecordSets")
    }

    fn throttled(&self) -> Answer {
        if self.is_ecs() {
            (400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#.into())
        } else {
            xml_error(400, "Throttling", "Rate exceeded")
        }
    }
}

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = Request::read(&request);
        let wire = self.clone();
        HttpConnectorFuture::new(async move { wire.carry(request).await })
    }
}

impl Wire {
    /// What clients are made with: everything as in the handler but the connection.
    pub fn sdk(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        let keys = aws_sdk_route53::config::Credentials::new("k", "s", None, None, "simulation");
        SdkConfig::builder()
            .behavior_version(aws_sdk_route53::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_route53::config::Region::from_static(crate::account::REGION))
            .credentials_provider(aws_sdk_route53::config::SharedCredentialsProvider::new(keys))
            .retry_config(handler::aws::retries())
            .timeout_config(handler::aws::timeouts())
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }

    async fn carry(self, request: Request) -> Result<HttpResponse, ConnectorError> {
        let broken = || {
            let cause = std::io::Error::other("Connection reset by peer (os error 104)");
            ConnectorError::io(cause.into())
        };
        let (there, back, fate) = {
            let mut sim = lock(&self.sim);
            sim.count(format!("calls of {}", request.operation));
            let most = if sim.is_bad() { sim.weather.latency_ms } else { 20 };
            let steady = sim.weather.steady_ms;
            let mut trip = || match steady {
                Some(both) => Duration::from_millis(both) / 2,
                None => Duration::from_millis(sim.rng.u64(1..=most.max(1))),
            };
            let (there, back) = (trip(), trip());
            (there, back, fate(&mut sim, &request))
        };
        sleep(there).await;
        match fate {
            Fate::Answered(answer) => {
                sleep(back).await;
                return Ok(response(answer));
            }
            Fate::DroppedBefore => return Err(broken()),
            Fate::Hangs => sleep(Duration::from_secs(3_600)).await,
            Fate::Fine | Fate::DroppedAfter | Fate::Cut => {}
        }
        let id = self.invocation.load(Ordering::Relaxed);
        let (answer, told) = {
            let mut sim = lock(&self.sim);
            let (answer, told) = sim.answer(&request, id);
            let at = sim.begun.elapsed();
            if let Some(trace) = &mut sim.trace {
                trace.push(Traced { at, operation: request.operation.clone(), status: answer.0 });
            }
            (answer, told)
        };
        sleep(back).await;
        match fate {
            Fate::DroppedAfter => Err(broken()),
            // Content-Length and chunks tell the HTTP client that the rest is missing.
            Fate::Cut => {
                let cause = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                Err(ConnectorError::io(cause.into()))
            }
            _ => {
                if let Some(invocation) = lock(&self.sim).invocations.get_mut(&id) {
                    invocation.told.services.extend(told.services);
                    invocation.told.groups.extend(told.groups);
                    invocation.told.balancers.extend(told.balancers);
                }
                Ok(response(answer))
            }
        }
    }
}

fn fate(sim: &mut Sim, request: &Request) -> Fate {
    let weather = sim.weather.clone();
    let fate = if sim.is_bad() && weather.denied.as_deref() == Some(&request.operation) {
        let denied = if request.is_ecs() {
            (400, r#"{"__type":"AccessDeniedException","message":"not authorized"}"#.into())
        } else {
            xml_error(403, "AccessDenied", "not authorized")
        };
        ("denied", Fate::Answered(denied))
    } else if sim.happens(weather.throttled) {
        ("throttled", Fate::Answered(request.throttled()))
    } else if sim.happens(weather.server_errors) {
        (
            "server errors",
            Fate::Answered((
                503,
                "<ErrorResponse><Error><Code>ServiceUnavailable</Code></Error></ErrorResponse>"
                    .into(),
            )),
        )
    } else if sim.happens(weather.dropped_before) {
        ("connections dropped before", Fate::DroppedBefore)
    } else if sim.happens(weather.dropped_after) {
        ("connections dropped after", Fate::DroppedAfter)
    } else if sim.happens(weather.hanging) {
        ("requests left hanging", Fate::Hangs)
    } else if sim.happens(weather.cut) {
        ("answers cut", Fate::Cut)
    } else {
        return Fate::Fine;
    };
    sim.count(fate.0);
    fate.1
}

fn response((status, body): Answer) -> HttpResponse {
    let status = status.try_into().unwrap_or_else(|_| 500.try_into().expect("a status"));
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("x-amzn-requestid", "R");
    response
}

impl Sim {
    /// Carries a request out. What the answer tells of services and load balancers comes beside it.
    pub fn answer(&mut self, request: &Request, invocation: u64) -> (Answer, Told) {
        let most = self.weather.page.filter(|_| self.is_bad()).unwrap_or(usize::MAX);
        if request.is_route53() {
            return (self.route53(request, invocation, most), Told::default());
        }
        let mut told = Told::default();
        if request.is_ecs() {
            let (bucket, burst) = if request.operation == "ListClusters" {
                ("ECS clusters", 50.0)
            } else {
                ("ECS services", 100.0)
            };
            if !self.bucket(bucket, burst, 20.0, 1.0) {
                return (request.throttled(), told);
            }
            let ecs = self.ecs();
            let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
            let (status, answer) = ecs.answer(&request.operation, &body, most);
            let mut answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            if request.operation == "DescribeServices" {
                let cluster = body["cluster"].as_str().unwrap_or("default");
                for name in
                    body["services"].as_array().into_iter().flatten().filter_map(Value::as_str)
                {
                    let name = (cluster.to_owned(), name.to_owned());
                    let service = ecs.services.get(&name).cloned();
                    if status == 200 || answer["__type"] == "ClusterNotFoundException" {
                        told.services.insert(name, service);
                    }
                }
            }
            // AWS promises no order.
            for list in ["services", "failures"] {
                if let Some(list) = answer[list].as_array_mut() {
                    self.rng.shuffle(list);
                }
            }
            return ((status, answer.to_string()), told);
        }
        let classic = request.query.get("Version").is_some_and(|version| version == "2012-06-01");
        let bucket = if classic { "classic load balancers" } else { "load balancers" };
        if !self.bucket(bucket, 40.0, 10.0, 1.0) {
            return (request.throttled(), told);
        }
        let answer = self.cloud.elb(&request.operation, &request.query, most);
        if self.invocations.contains_key(&invocation) {
            self.tell(request, &answer, &mut told);
        }
        (answer, told)
    }

    /// Notes which groups and load balancers an answer speaks of, those that it says do not exist
    /// included.
    fn tell(&self, request: &Request, (status, body): &Answer, told: &mut Told) {
        let asked: Vec<&str> = request
            .query
            .iter()
            .filter(|(key, _)| key.contains(".member."))
            .map(|(_, value)| {
                if value.starts_with("arn:") {
                    value.rsplit('/').nth(1).unwrap_or(value)
                } else {
                    value
                }
            })
            .collect();
        let groups = request.operation == "DescribeTargetGroups";
        if *status != 200 {
            if let ([absent], true) = (asked.as_slice(), body.contains("NotFound")) {
                if groups {
                    told.groups.insert((*absent).to_owned(), Vec::new());
                } else {
                    told.balancers.insert((*absent).to_owned(), None);
                }
            }
            return;
        }
        for (name, balancers) in self.cloud.groups.iter().filter(|_| groups) {
            if body.contains(&format!("targetgroup/{name}/")) {
                told.groups.insert(name.clone(), balancers.clone());
            }
        }
        for (name, balancer) in self.cloud.balancers.iter().filter(|_| !groups) {
            if body.contains(&format!("<LoadBalancerName>{name}<")) {
                told.balancers.insert(name.clone(), Some(balancer.clone()));
            }
        }
    }

    fn route53(&mut self, request: &Request, invocation: u64, most: usize) -> Answer {
        if !self.bucket("Route 53 requests", 50.0, 10.0, 1.0) {
            return request.throttled();
        }
        let id = request
            .path
            .split("hostedzone/")
            .nth(1)
            .and_then(|rest| rest.split('/').next())
            .unwrap_or_default()
            .to_owned();
        if !self.cloud.zones.contains_key(&id) {
            return xml_error(
                404,
                "NoSuchHostedZone",
                &format!("No hosted zone found with ID: {id}"),
            );
        }
        if request.method == "GET" {
            let start = request
                .query
                .get("name")
                .map(|name| (name.as_str(), request.query.get("type").map(String::as_str)));
            let max_items =
                request.query.get("maxitems").and_then(|items| items.parse().ok()).unwrap_or(300);
            return (200, self.cloud.zones[&id].list(start, max_items, most));
        }
        let Some(changes) = read_changes(&request.body) else {
            return xml_error(400, "InvalidInput", "Invalid XML");
        };
        let tokens: u32 = changes
            .iter()
            .map(|(action, _)| if *action == crate::route53::Action::Upsert { 2 } else { 1 })
            .sum();
        if !self.bucket("Route 53 changes", 1_500.0, 100.0, f64::from(tokens)) {
            return request.throttled();
        }
        let now = Instant::now();
        if self.busy.get(&id).is_some_and(|until| *until > now) {
            self.count("prior request not complete");
            return xml_error(
                400,
                "PriorRequestNotComplete",
                "The request was rejected because Route 53 was still processing a prior request.",
            );
        }
        let bare = self.rng.bool();
        if let Some(poison) = &self.poison
            && changes.iter().any(|(_, rrset)| rrset.name == *poison)
        {
            self.count("refusals that name nothing");
            return (400, refusal(&["The request was refused".to_owned()], bare));
        }
        let environment =
            self.invocations.get(&invocation).map_or(0, |invocation| invocation.environment);
        let author = Author::Handler(self.environments[environment].name.clone());
        let before = self.cloud.zones[&id].clone();
        let Some(zone) = self.cloud.zones.get_mut(&id) else {
            return xml_error(404, "NoSuchHostedZone", "gone");
        };
        match zone.change(&changes, &author) {
            Err(messages) => {
                self.count(if bare { "refusals, bare" } else { "refusals, coded" });
                (400, refusal(&messages, bare))
            }
            Ok(()) => {
                self.count("change batches applied");
                self.busy.insert(id.clone(), now + Duration::from_millis(self.rng.u64(1..60)));
                if let Some(invocation) = self.invocations.get_mut(&invocation) {
                    invocation.changes += 1;
                }
                let found = invariants::check_change(self, &id, &before, &changes, invocation);
                if let Some(violation) = found {
                    self.violate(violation);
                }
                (200, "<ChangeResourceRecordSetsResponse><ChangeInfo><Id>C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>".into())
            }
        }
    }
}

//! Connects the SDK's clients to the simulated account instead of to AWS.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_types::SdkConfig;
use tokio::time::{Instant, sleep};

use crate::account::{REGION, Reply, xml_error};
use crate::faults::Fate;
use crate::invariants::Violation;
use crate::state::{Simulation, TracedRequest, lock};

/// The connection between the clients of one container and the account.
#[derive(Clone, Debug)]
pub struct SdkConnector {
    pub simulation: Arc<Mutex<Simulation>>,
    /// The present invocation of the container.
    pub invocation: Arc<AtomicU64>,
}

/// A request, with the parts that the account reads.
pub struct Request {
    pub operation: String,
    pub(crate) method: String,
    pub(crate) path: String,
    /// The parameters, from the URI or from a form in the body.
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: String,
    /// Whether the SDK does not repeat an earlier request.
    pub(crate) is_first_attempt: bool,
}

/// The handler starts no request in its last ten seconds.
const LATEST_REQUEST: Duration = Duration::from_secs(10);

impl Request {
    fn of_sdk(request: &HttpRequest) -> Request {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let target = request.headers().get("x-amz-target");
        let attempt = request.headers().get("amz-sdk-request").unwrap_or_default();
        let is_first_attempt = attempt.contains("attempt=1");
        Request {
            is_first_attempt,
            ..Request::parse(request.method(), request.uri(), target, body)
        }
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
        let (method, path) = (method.to_owned(), path.to_owned());
        Request { operation, method, path, query, body, is_first_attempt: true }
    }

    pub(crate) fn is_ecs(&self) -> bool {
        matches!(self.operation.as_str(), "ListClusters" | "ListServices" | "DescribeServices")
    }

    pub(crate) fn is_sqs(&self) -> bool {
        matches!(self.operation.as_str(), "GetQueueUrl" | "ChangeMessageVisibilityBatch")
    }

    pub(crate) fn is_route53(&self) -> bool {
        self.operation.ends_with("ResourceRecordSets")
    }

    pub(crate) fn throttled(&self) -> Reply {
        if self.is_ecs() || self.is_sqs() {
            (400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#.into())
        } else {
            xml_error(400, "Throttling", "Rate exceeded")
        }
    }
}

impl HttpConnector for SdkConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let request = Request::of_sdk(&request);
        let connector = self.clone();
        HttpConnectorFuture::new(async move { connector.send(request).await })
    }
}

impl SdkConnector {
    /// The configuration of the clients: the handler's own, except for the connection.
    pub fn sdk_config(&self) -> SdkConfig {
        let connector = SharedHttpConnector::new(self.clone());
        let keys = aws_sdk_route53::config::Credentials::new("k", "s", None, None, "simulation");
        SdkConfig::builder()
            .behavior_version(aws_sdk_route53::config::BehaviorVersion::v2026_01_12())
            .region(aws_sdk_route53::config::Region::from_static(REGION))
            .credentials_provider(aws_sdk_route53::config::SharedCredentialsProvider::new(keys))
            .retry_config(handler::aws::retries())
            .timeout_config(handler::aws::timeouts())
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build()
    }

    async fn send(self, request: Request) -> Result<HttpResponse, ConnectorError> {
        let sent = Instant::now();
        let reset = || {
            let cause = std::io::Error::other("Connection reset by peer (os error 104)");
            ConnectorError::io(cause.into())
        };
        let (there, back, fate) = {
            let mut simulation = lock(&self.simulation);
            simulation.count(format!("calls of {}", request.operation));
            let log = simulation.invocations.get(&self.invocation.load(Ordering::Relaxed));
            let left = log.map(|log| log.deadline.saturating_duration_since(sent));
            if let Some(left) = left.filter(|left| *left < LATEST_REQUEST)
                && request.is_first_attempt
            {
                let operation = &request.operation;
                let message =
                    format!("a {operation} request was sent {left:?} before the deadline");
                simulation.violate(Violation::new(11, message));
            }
            if simulation.is_denied(&request)
                && request.operation != "ChangeResourceRecordSets"
                && let Some(log) =
                    simulation.invocations.get_mut(&self.invocation.load(Ordering::Relaxed))
            {
                log.described.was_denied = true;
            }
            let (there, back) = (simulation.latency(), simulation.latency());
            (there, back, Fate::of(&request, &mut simulation))
        };
        sleep(there).await;
        match fate {
            Fate::Rejected(reply) => {
                sleep(back).await;
                return Ok(response(reply));
            }
            Fate::DroppedBefore => return Err(reset()),
            Fate::Hanging => sleep(Duration::from_secs(3_600)).await,
            Fate::Fine | Fate::DroppedAfter | Fate::Truncated => {}
        }
        let invocation = self.invocation.load(Ordering::Relaxed);
        let (reply, described) = {
            let mut simulation = lock(&self.simulation);
            let lost = simulation.losses(invocation).map(|losses| losses.lost.clone());
            let (reply, described) = simulation.answer(&request, invocation);
            // A handler that does not know what it deleted cannot count it.
            if matches!(fate, Fate::DroppedAfter | Fate::Truncated)
                && let (Some(lost), Some(losses)) = (lost, simulation.losses(invocation))
            {
                losses.lost = lost;
            }
            let at = simulation.begun.elapsed();
            if let Some(trace) = &mut simulation.trace {
                let operation = request.operation.clone();
                trace.push(TracedRequest { at, operation, status: reply.0, bytes: reply.1.len() });
            }
            (reply, described)
        };
        sleep(back).await;
        match fate {
            Fate::DroppedAfter => Err(reset()),
            // A real HTTP client detects the missing end by Content-Length or by the last chunk.
            Fate::Truncated => {
                let cause = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                Err(ConnectorError::io(cause.into()))
            }
            _ => {
                if let Some(invocation) = lock(&self.simulation).invocations.get_mut(&invocation) {
                    invocation.described.extend(described);
                }
                Ok(response(reply))
            }
        }
    }
}

fn response((status, body): Reply) -> HttpResponse {
    let status = status.try_into().unwrap_or_else(|_| 500.try_into().expect("a status"));
    let mut response = HttpResponse::new(status, SdkBody::from(body));
    response.headers_mut().insert("x-amzn-requestid", "R");
    response
}

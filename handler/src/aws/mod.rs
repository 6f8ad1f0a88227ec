//! The modules that send requests to AWS, one for each API.
//!
//! This module defines their errors, counts their requests, and describes many resources by name.

pub mod deadline;
pub mod ecs;
pub mod elb;
pub mod elb_classic;
mod pages;
pub mod rate_limiter;
pub mod route53;
pub mod sqs;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_smithy_runtime::client::retries::classifiers::run_classifiers_on_ctx;
use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::retries::classifiers::{
    ClassifyRetry, RetryAction, RetryReason,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::{ErrorKind, RetryConfig};
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::request_id::RequestId;
use futures_util::{StreamExt, stream};

use crate::aws::deadline::{OutOfTime, note_failed_attempt};
use crate::domain::report::ApiCalls;
use crate::domain::service::{ReadError, ReadResult};

/// The clients of a process, created once during init.
#[derive(Debug)]
pub struct Aws {
    pub ecs: ecs::Ecs,
    pub elb: elb::Elb,
    pub elb_classic: elb_classic::ElbClassic,
    pub route53: route53::Route53,
    pub sqs: sqs::Sqs,
}

impl Aws {
    /// Requests since the previous call, without the SDK's retries.
    pub fn take_requests(&self) -> ApiCalls {
        self.take(RequestCounter::take_requests)
    }

    /// Throttled attempts since the previous call, the SDK's retries included.
    pub fn take_throttles(&self) -> ApiCalls {
        self.take(RequestCounter::take_throttles)
    }

    fn take(&self, take: impl Fn(&RequestCounter) -> u32) -> ApiCalls {
        ApiCalls {
            ecs: take(&self.ecs.counter),
            elb: take(&self.elb.counter) + take(&self.elb_classic.counter),
            route53: take(&self.route53.counter),
        }
    }
}

/// A request to AWS that failed after the SDK's retries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} for {subject} failed: {cause}")]
pub struct AwsError {
    /// In IAM's spelling: `ecs:DescribeServices`.
    pub operation: &'static str,
    /// The resources that the request was about.
    pub subject: String,
    /// AWS's code, message and request id, or the SDK's error with all its causes.
    pub cause: String,
}

impl AwsError {
    /// For an answer that cannot be used although AWS reported success.
    pub fn new(
        operation: &'static str,
        subject: impl Into<String>,
        cause: impl Into<String>,
    ) -> AwsError {
        AwsError { operation, subject: subject.into(), cause: cause.into() }
    }

    pub fn sdk<E>(
        operation: &'static str,
        subject: impl Into<String>,
        error: &SdkError<E, HttpResponse>,
    ) -> AwsError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        AwsError::new(operation, subject, cause(error))
    }
}

impl From<AwsError> for ReadError {
    fn from(error: AwsError) -> ReadError {
        ReadError(error.to_string())
    }
}

fn cause<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let Some(out_of_time) = error.source().and_then(|error| error.downcast_ref::<OutOfTime>()) {
        return out_of_time.to_string();
    }
    let request_id = error.request_id().map_or(String::new(), |id| format!(" (request id {id})"));
    if let Some(service) = error.as_service_error()
        && let Some(code) = service.code()
    {
        let message = service.message().unwrap_or("without a message");
        return format!("{code}: {message}{request_id}");
    }
    let answer =
        error.raw_response().map_or(String::new(), |response| format!(" ({})", answer(response)));
    format!("{}{answer}{request_id}", chain(error))
}

/// The status of an answer, and the first 300 characters of its body, on one line.
fn answer(response: &HttpResponse) -> String {
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    let excerpt = body.split_whitespace().collect::<Vec<_>>().join(" ");
    let excerpt: String = excerpt.chars().take(300).collect();
    format!("HTTP status {}: {excerpt}", response.status().as_u16())
}

/// An error with all its causes. The SDK's own text is often only "dispatch failure".
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Whether AWS answered, neither throttled the request nor had an error of its own. The reason is then in the
/// request, so a request for a part of it may succeed.
pub(crate) fn is_rejection<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let is_retryable = |code| THROTTLING_ERRORS.contains(&code) || TRANSIENT_ERRORS.contains(&code);
    let status = error.raw_response().map_or(0, |response| response.status().as_u16());
    (400..500).contains(&status) && ![408, 429].contains(&status) && !code.is_some_and(is_retryable)
}

/// The most requests that are under way at once to describe resources.
pub(crate) const MAX_CONCURRENT_DESCRIBES: usize = 5;

/// Limits how often requests are halved. One rejected resource among twenty needs about five halvings. Without a
/// limit, a missing permission would cost two requests for each resource.
#[derive(Debug)]
pub(crate) struct Halvings(AtomicUsize);

impl Halvings {
    pub(crate) fn for_requests(number: usize) -> Halvings {
        Halvings(AtomicUsize::new(20 + number))
    }

    /// Whether one more halving is allowed.
    pub(crate) fn take(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Why a request that describes several resources failed.
pub enum DescribeError {
    /// At least one of the resources does not exist. AWS does not report which one.
    NotFound,
    /// AWS rejected the request because of at least one of the resources, and does not report which one.
    Rejected(AwsError),
    Failed(AwsError),
}

impl DescribeError {
    pub(crate) fn sdk<E>(
        operation: &'static str,
        subject: impl Into<String>,
        error: &SdkError<E, HttpResponse>,
    ) -> DescribeError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let failed = AwsError::sdk(operation, subject, error);
        if is_rejection(error) {
            DescribeError::Rejected(failed)
        } else {
            DescribeError::Failed(failed)
        }
    }
}

/// Describes resources by id, `max_per_request` at a time. The result has one entry per id.
///
/// One missing or rejected resource fails a request for many, so such a chunk is halved until the resource is
/// alone. A missing one gets the value `missing`. An id that an answer omits is a [`ReadError`], never proof
/// that the resource is gone.
pub(crate) async fn describe_many<Id, T, F>(
    operation: &'static str,
    ids: &BTreeSet<Id>,
    max_per_request: usize,
    missing: T,
    request: impl Fn(Vec<String>) -> F,
) -> BTreeMap<Id, ReadResult<T>>
where
    Id: Clone + Ord + Display,
    T: Clone,
    F: Future<Output = Result<Vec<(Id, ReadResult<T>)>, DescribeError>>,
{
    let ids: Vec<Id> = ids.iter().cloned().collect();
    let halvings = Halvings::for_requests(ids.len().div_ceil(max_per_request));
    let (halvings, request, missing) = (&halvings, &request, &missing);
    let chunk = async |chunk: &[Id]| {
        let mut chunks = vec![chunk];
        let mut described = BTreeMap::new();
        while let Some(chunk) = chunks.pop() {
            let same = |result: &ReadResult<T>| -> Vec<(Id, ReadResult<T>)> {
                chunk.iter().map(|id| (id.clone(), result.clone())).collect()
            };
            match request(chunk.iter().map(ToString::to_string).collect()).await {
                Ok(found) => {
                    let omitted = chunk.iter().map(|id| (id.clone(), Err(omitted(operation, id))));
                    described.extend(omitted);
                    described.extend(found);
                }
                Err(DescribeError::NotFound) if chunk.len() > 1 => {
                    let (left, right) = chunk.split_at(chunk.len() / 2);
                    chunks.extend([left, right]);
                }
                Err(DescribeError::Rejected(_)) if chunk.len() > 1 && halvings.take() => {
                    let (left, right) = chunk.split_at(chunk.len() / 2);
                    chunks.extend([left, right]);
                }
                Err(DescribeError::NotFound) => described.extend(same(&Ok(missing.clone()))),
                Err(DescribeError::Rejected(error) | DescribeError::Failed(error)) => {
                    described.extend(same(&Err(error.into())));
                }
            }
        }
        described
    };
    let chunks: Vec<_> = ids.chunks(max_per_request).map(chunk).collect();
    let described: Vec<_> =
        stream::iter(chunks).buffer_unordered(MAX_CONCURRENT_DESCRIBES).collect().await;
    described.into_iter().flatten().collect()
}

/// The error for a resource that was requested and that a successful answer omits.
pub(crate) fn omitted(operation: &'static str, subject: &impl ToString) -> ReadError {
    AwsError::new(operation, subject.to_string(), "the answer omits it").into()
}

/// A field that AWS always returns. Its absence is a failed read, never a value.
pub(crate) fn required<T>(
    operation: &'static str,
    subject: &impl ToString,
    field: &'static str,
    value: Option<T>,
) -> ReadResult<T> {
    value.ok_or_else(|| {
        AwsError::new(operation, subject.to_string(), format!("the answer has no {field}")).into()
    })
}

/// Route 53 allows ten requests a second for the whole account, so a burst is throttled for seconds. The
/// SDK's default of three attempts would be used up.
pub fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(8)
}

/// The retries of one client, without the SDK's quota for a whole process. That quota loses tokens with each request
/// that fails in the end, so after some minutes of errors a warm process would no longer retry at all. The number of
/// attempts, their growing pauses and the invocation's deadline limit the retries instead.
pub(crate) fn retry_partition(client: &'static str) -> RetryPartition {
    RetryPartition::custom(client).token_bucket(TokenBucket::unlimited()).build()
}

/// Retries requests that are answered with the HTTP status 429. The SDK knows only error codes, which an answer of
/// a proxy does not have.
#[derive(Debug)]
pub(crate) struct TooManyRequests;

impl ClassifyRetry for TooManyRequests {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        match context.response() {
            Some(response) if response.status().as_u16() == 429 => RetryAction::throttling_error(),
            _ => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "TooManyRequests"
    }
}

/// The time limits of one attempt.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(10))
        .build()
}

/// Counts the requests of one client.
#[derive(Clone, Debug, Default)]
pub struct RequestCounter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU32,
    throttles: AtomicU32,
}

impl RequestCounter {
    fn take_requests(&self) -> u32 {
        self.0.requests.swap(0, Ordering::Relaxed)
    }

    fn take_throttles(&self) -> u32 {
        self.0.throttles.swap(0, Ordering::Relaxed)
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for RequestCounter {
    fn name(&self) -> &'static str {
        "RequestCounter"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        components: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Err(error)) = context.inner().output_or_error() {
            note_failed_attempt(match context.inner().response() {
                Some(response) => answer(response),
                None => chain(error),
            });
        }
        // By the SDK's own classification, so that every throttled attempt counts that it retries as such.
        let action = run_classifiers_on_ctx(components.retry_classifiers(), context.inner());
        let is_throttled = matches!(
            action,
            RetryAction::RetryIndicated(RetryReason::RetryableError {
                kind: ErrorKind::ThrottlingError,
                ..
            })
        );
        if is_throttled {
            self.0.throttles.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

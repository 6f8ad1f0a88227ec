//! The modules that send requests to AWS, one for each API.
//!
//! This module defines their errors, counts their requests, and describes many resources by name.

pub mod ecs;
pub mod elb;
pub mod elb_classic;
pub mod rate_limiter;
pub mod route53;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::request_id::RequestId;

use crate::domain::report::ApiCalls;
use crate::domain::service::{ReadError, ReadResult};

/// The clients of a process, created once during init.
#[derive(Debug)]
pub struct Aws {
    pub ecs: ecs::Ecs,
    pub elb: elb::Elb,
    pub elb_classic: elb_classic::ElbClassic,
    pub route53: route53::Route53,
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
    let request_id = error.request_id().map_or(String::new(), |id| format!(" (request id {id})"));
    if let Some(service) = error.as_service_error()
        && let Some(code) = service.code()
    {
        let message = service.message().unwrap_or("without a message");
        return format!("{code}: {message}{request_id}");
    }
    let answer = error.raw_response().map_or(String::new(), |response| {
        format!(" (HTTP status {}: {})", response.status().as_u16(), excerpt(response))
    });
    format!("{}{answer}{request_id}", chain(error))
}

/// The first 300 characters of an answer that the SDK could not parse, on one line.
fn excerpt(response: &HttpResponse) -> String {
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    body.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
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

/// Why a request that describes several resources failed.
pub enum DescribeError {
    /// At least one of the resources does not exist. AWS does not report which one.
    NotFound,
    Failed(AwsError),
}

/// Describes resources by id, `max_per_request` at a time. The result has one entry per id.
///
/// One missing resource fails a request for many, so such a chunk is halved until the missing ones are
/// alone. Those get the value `missing`. An id that an answer omits is a [`ReadError`], never proof
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
    let mut chunks: Vec<&[Id]> = ids.chunks(max_per_request).collect();
    let mut described = BTreeMap::new();
    while let Some(chunk) = chunks.pop() {
        let same = |result: &ReadResult<T>| -> Vec<(Id, ReadResult<T>)> {
            chunk.iter().map(|id| (id.clone(), result.clone())).collect()
        };
        match request(chunk.iter().map(ToString::to_string).collect()).await {
            Ok(found) => {
                described.extend(chunk.iter().map(|id| (id.clone(), Err(omitted(operation, id)))));
                described.extend(found);
            }
            Err(DescribeError::NotFound) if chunk.len() > 1 => {
                let (left, right) = chunk.split_at(chunk.len() / 2);
                chunks.extend([left, right]);
            }
            Err(DescribeError::NotFound) => described.extend(same(&Ok(missing.clone()))),
            Err(DescribeError::Failed(error)) => described.extend(same(&Err(error.into()))),
        }
    }
    described
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
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().is_some_and(is_throttled) {
            self.0.throttles.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The APIs report throttling with different statuses and codes: `Throttling` (400) in XML,
/// `ThrottlingException` (400) in JSON, and any of them may answer 429.
fn is_throttled(response: &HttpResponse) -> bool {
    let status = response.status().as_u16();
    let reports_throttling = || {
        let body = response.body().bytes().and_then(|body| std::str::from_utf8(body).ok());
        body.is_some_and(|body| body.contains("Throttl"))
    };
    status == 429 || (status >= 400 && reports_throttling())
}

//! What the edges share: an error that tells all that AWS and the SDK know, and a count of calls.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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
use tokio::time::{Instant, sleep_until};

use crate::service::Unread;

/// A request to AWS that failed after the SDK's retries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} for {subject} failed: {cause}")]
pub struct AwsError {
    /// As IAM writes it: `ecs:DescribeServices`.
    pub operation: &'static str,
    /// What was asked about.
    pub subject: String,
    /// AWS's code, message and request id, or the whole chain of what went wrong on the way.
    pub cause: String,
}

impl AwsError {
    /// For an answer that was given but cannot be used.
    #[must_use]
    pub fn new(
        operation: &'static str,
        subject: impl Into<String>,
        cause: impl Into<String>,
    ) -> AwsError {
        AwsError { operation, subject: subject.into(), cause: cause.into() }
    }

    /// For an error of the SDK.
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

impl From<AwsError> for Unread {
    fn from(error: AwsError) -> Unread {
        Unread(error.to_string())
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

/// The beginning of an answer that the SDK does not understand, on one line.
fn excerpt(response: &HttpResponse) -> String {
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    body.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

/// An error with all of its causes: "dispatch failure" alone would help nobody.
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

/// One name that does not exist fails a call for many, and is not told, so it is looked for by
/// halving.
#[must_use]
pub fn halves<T>(several: &[T]) -> [&[T]; 2] {
    let (left, right) = several.split_at(several.len() / 2);
    [left, right]
}

/// For what an answer does not mention though it was asked for: that proves nothing.
pub fn silence(operation: &'static str, subject: &impl ToString) -> Unread {
    AwsError::new(operation, subject.to_string(), "the answer does not mention it").into()
}

/// What was asked about, in words.
pub fn list(names: &[impl ToString]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How often the SDK tries. Route 53 allows ten requests a second in the whole account, so being
/// throttled for seconds is normal in a burst, and three attempts, the default, are soon used up.
#[must_use]
pub fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(8)
}

/// How long the SDK waits for one attempt.
#[must_use]
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(10))
        .build()
}

/// Spreads what is sent, so that it stays below a rate: so many at once after a rest, then one after
/// the other.
#[derive(Debug)]
pub struct Pace {
    interval: Duration,
    at_once: u32,
    /// When all that went so far would be over, one after the other.
    over: Mutex<Option<Instant>>,
}

impl Pace {
    #[must_use]
    pub const fn new(interval: Duration, at_once: u32) -> Pace {
        Pace { interval, at_once, over: Mutex::new(None) }
    }

    /// Waits until `count` more may go.
    pub async fn turn(&self, count: u32) {
        let turn = {
            let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let before = over.map_or(now, |over| over.max(now));
            *over = Some(before + self.interval * count);
            let ahead = self.interval * self.at_once.saturating_sub(count);
            before.checked_sub(ahead).unwrap_or(now)
        };
        sleep_until(turn).await;
    }
}

/// Counts what the clients of one service do in a run.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU32,
    throttles: AtomicU32,
}

impl Calls {
    /// Requests, without the SDK's retries, since the last time that this was asked.
    pub fn take(&self) -> u32 {
        self.0.requests.swap(0, Ordering::Relaxed)
    }

    /// Refusals because of too many requests, retries included.
    pub fn take_throttles(&self) -> u32 {
        self.0.throttles.swap(0, Ordering::Relaxed)
    }
}

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for Calls {
    fn name(&self) -> &'static str {
        "Calls"
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

/// The three APIs say so with different statuses and codes: `Throttling` (400) in XML,
/// `ThrottlingException` (400) in JSON; any may answer 429.
fn is_throttled(response: &HttpResponse) -> bool {
    let status = response.status().as_u16();
    let says = || {
        let body = response.body().bytes().and_then(|body| std::str::from_utf8(body).ok());
        body.is_some_and(|body| body.contains("Throttl"))
    };
    status == 429 || (status >= 400 && says())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pace_keeps_its_rate_however_many_ask_at_once() {
        let begun = Instant::now();
        let pace = Pace::new(Duration::from_millis(200), 1);
        let turns = (0..6).map(async |_| {
            pace.turn(1).await;
            begun.elapsed().as_millis()
        });
        let at = futures_util::future::join_all(turns).await;
        assert_eq!(at, [0, 200, 400, 600, 800, 1_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_rest_so_many_go_at_once_and_no_more() {
        let begun = Instant::now();
        let pace = Pace::new(Duration::from_millis(10), 1_000);
        let mut at = Vec::new();
        for count in [600, 300, 300, 100] {
            pace.turn(count).await;
            at.push(begun.elapsed().as_millis());
        }
        // 1,000 at once, then each as long after as it counts.
        assert_eq!(at, [0, 0, 2_000, 3_000]);
    }
}

//! What the edges share: an error that tells all that AWS and the SDK know, and a count of calls.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::request_id::RequestId;

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
    let status = error
        .raw_response()
        .map_or(String::new(), |response| format!(" (HTTP status {})", response.status().as_u16()));
    format!("{}{status}{request_id}", chain(error))
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

/// Counts the requests of one run.
#[derive(Debug, Default)]
pub struct Calls(AtomicU32);

impl Calls {
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many since the last time that this was asked.
    pub fn take(&self) -> u32 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

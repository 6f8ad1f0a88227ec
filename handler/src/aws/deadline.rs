//! Keeps requests within the time of the invocation.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The time of a request, the SDK's retries and their pauses included.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start_by: Instant,
    end_by: Instant,
}

tokio::task_local! {
    /// The error of the latest attempt of a request.
    static LAST_ERROR: Arc<Mutex<Option<String>>>;
}

/// Notes the error of an attempt, for the case that the deadline ends the next one.
pub(super) fn note_failed_attempt(error: String) {
    // Outside of `Deadline::send`, the SDK returns the error itself.
    let _ = LAST_ERROR.try_with(|last| {
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    });
}

/// Why a request has no response, although its retries are not used up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutOfTime {
    #[error("the invocation was about to time out, so the request was not sent")]
    NotSent,
    #[error("no attempt succeeded before the invocation was about to time out")]
    NoResponse,
    #[error(
        "no attempt succeeded before the invocation was about to time out; the last error was: {0}"
    )]
    Failed(String),
}

impl Deadline {
    /// No request starts or continues after `end`.
    pub fn at(end: Instant) -> Deadline {
        Deadline { start_by: end, end_by: end }
    }

    /// No request starts after `start_by`. One that started before may continue for `grace`.
    pub fn with_grace(start_by: Instant, grace: Duration) -> Deadline {
        Deadline { start_by, end_by: start_by + grace }
    }

    /// The same grace after an earlier start.
    pub(crate) fn earlier(self, by: Duration) -> Deadline {
        let start_by = self.start_by.checked_sub(by).unwrap_or(self.start_by);
        Deadline { start_by, ..self }
    }

    /// Half of the time that is left.
    pub(crate) fn half(self) -> Deadline {
        let now = Instant::now();
        Deadline::at(now + self.start_by.saturating_duration_since(now) / 2)
    }

    /// Whether a request may start at `time`.
    pub(crate) fn allows(self, time: Instant) -> bool {
        time < self.start_by
    }

    /// Whether no request may start any more.
    pub(crate) fn has_passed(self) -> bool {
        !self.allows(Instant::now())
    }

    /// Waits, but not beyond the deadline.
    pub(crate) async fn sleep(self, pause: Duration) {
        sleep_until((Instant::now() + pause).min(self.end_by)).await;
    }

    /// Sends a request and waits for its response.
    pub(crate) async fn send<T, E>(
        self,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, SdkError<E, HttpResponse>> {
        if self.has_passed() {
            return Err(OutOfTime::NotSent.into());
        }
        let last_error = Arc::default();
        // On the heap, because the futures of the SDK are large, and several layers contain them.
        let request = LAST_ERROR.scope(Arc::clone(&last_error), Box::pin(request));
        if let Ok(answer) = timeout_at(self.end_by, request).await {
            return answer;
        }
        let last_error = last_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(last_error.map_or(OutOfTime::NoResponse, OutOfTime::Failed).into())
    }
}

impl<E> From<OutOfTime> for SdkError<E, HttpResponse> {
    fn from(error: OutOfTime) -> Self {
        SdkError::timeout_error(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_neither_starts_nor_continues_after_its_deadline() {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let send = async |deadline: Deadline, takes: u64| {
            let request = async {
                tokio::time::sleep(seconds(takes)).await;
                Ok::<_, SdkError<std::io::Error, HttpResponse>>(())
            };
            let error = deadline.send(request).await.err()?;
            std::error::Error::source(&error)?.downcast_ref::<OutOfTime>().cloned()
        };
        let deadline = Deadline::with_grace(start + seconds(10), seconds(5));
        assert_eq!(send(deadline, 9).await, None);
        assert_eq!(send(deadline, 60).await, Some(OutOfTime::NoResponse));
        assert_eq!(start.elapsed(), seconds(15));
        assert_eq!(send(deadline, 0).await, Some(OutOfTime::NotSent));
        assert_eq!(send(Deadline::at(start), 0).await, Some(OutOfTime::NotSent));
        assert_eq!(start.elapsed(), seconds(15));
    }
}

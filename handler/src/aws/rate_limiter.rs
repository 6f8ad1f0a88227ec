//! Keeps requests below AWS's documented rates.
//!
//! AWS counts the requests of a whole account. So a full pass uses half of each rate, and leaves the other half to other
//! tools, to events and to a second pass.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use tokio::time::{Instant, sleep_until};

use crate::aws::deadline::{Deadline, OutOfTime};

/// How a run shares AWS's rates with the rest of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A client waits for the name: requests are sent at once.
    Event,
    /// A full pass or a large batch: it uses half of each rate.
    Background,
}

/// A token bucket: it allows `burst` units at once, then one per `interval`.
#[derive(Debug)]
pub struct RateLimiter {
    interval: Duration,
    burst: u32,
    /// When the bucket would be full again if every unit acquired so far took one `interval`.
    busy_until: Mutex<Option<Instant>>,
}

impl RateLimiter {
    pub const fn new(interval: Duration, burst: u32) -> RateLimiter {
        RateLimiter { interval, burst, busy_until: Mutex::new(None) }
    }

    /// Acquires `units` for a run in the background. An event does not wait.
    pub async fn acquire_in_background(
        &self,
        priority: Priority,
        units: u32,
        deadline: Deadline,
    ) -> Result<(), OutOfTime> {
        match priority {
            Priority::Event => Ok(()),
            Priority::Background => self.acquire(units, deadline).await,
        }
    }

    /// Sends a request, for a run in the background as soon as the rate allows it.
    pub(super) async fn send<T, E>(
        &self,
        priority: Priority,
        deadline: Deadline,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, SdkError<E, HttpResponse>> {
        // On the heap, so that the large future does not use up the stack of each function that awaits it.
        let request = Box::pin(request);
        self.acquire_in_background(priority, 1, deadline).await?;
        deadline.send(request).await
    }

    /// Waits until the rate allows `units` more. If that is after the deadline, it acquires nothing and returns at
    /// once.
    pub async fn acquire(&self, units: u32, deadline: Deadline) -> Result<(), OutOfTime> {
        let allowed_at = {
            let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let start = busy_until.map_or(now, |until| until.max(now));
            let ahead = self.interval * self.burst.saturating_sub(units);
            let allowed_at = start.checked_sub(ahead).unwrap_or(now).max(now);
            if !deadline.allows(allowed_at) {
                return Err(OutOfTime::NotSent);
            }
            *busy_until = Some(start + self.interval * units);
            allowed_at
        };
        sleep_until(allowed_at).await;
        Ok(())
    }
}

/// Half of the 40 requests at once and ten a second that each generation of Elastic Load Balancing allows for the whole
/// account.
pub(super) fn half_of_elb_rate() -> RateLimiter {
    RateLimiter::new(Duration::from_millis(200), 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_minute() -> Deadline {
        Deadline::at(Instant::now() + Duration::from_secs(60))
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_acquired_after_the_deadline() {
        let start = Instant::now();
        let limiter = RateLimiter::new(Duration::from_secs(1), 1);
        let deadline = Deadline::at(start + Duration::from_millis(1_500));
        let acquired = (0..4).map(|_| limiter.acquire(1, deadline));
        let acquired = futures_util::future::join_all(acquired).await;
        assert_eq!(acquired, [Ok(()), Ok(()), Err(OutOfTime::NotSent), Err(OutOfTime::NotSent)]);
        // The refused units do not delay later ones.
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        assert_eq!(limiter.acquire(1, in_a_minute()).await, Ok(()));
        assert_eq!(start.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_callers_share_one_rate() {
        let start = Instant::now();
        let limiter = RateLimiter::new(Duration::from_millis(200), 1);
        let acquired = (0..6).map(async |_| {
            limiter.acquire(1, in_a_minute()).await.expect("there is time");
            start.elapsed().as_millis()
        });
        let at = futures_util::future::join_all(acquired).await;
        assert_eq!(at, [0, 200, 400, 600, 800, 1_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_limiter_allows_one_burst_and_then_the_rate() {
        let start = Instant::now();
        let limiter = RateLimiter::new(Duration::from_millis(10), 1_000);
        let mut at = Vec::new();
        for units in [600, 300, 300, 100] {
            limiter.acquire(units, in_a_minute()).await.expect("there is time");
            at.push(start.elapsed().as_millis());
        }
        // The first 1,000 units pass at once. Later units wait until the bucket has refilled.
        assert_eq!(at, [0, 0, 2_000, 3_000]);
    }
}

//! One invocation: from a payload to the answer or the error that makes Lambda call again, and
//! to the log.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::Instant;

use crate::marker::Stamp;
use crate::measure;
use crate::reconcile::{Invocation, Reconciler};
use crate::report::{Outcome, Report, Status};
use crate::service::{ArnError, Home};
use crate::trigger::{Message, Payload, Scope, Trigger, runs};

/// What an invocation answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Report(Report),
    Batch(BatchAnswer),
}

/// What SQS is told of a batch: the messages that are to come again, or go to the dead-letter
/// queue in the end. All others are done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    pub batch_item_failures: Vec<BatchItemFailure>,
    /// The runs that the batch came to.
    pub runs: Vec<Report>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemFailure {
    pub item_identifier: String,
}

/// Why an invocation failed. It is safe to be called again, and worth it.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    #[error("the function's own ARN: {0}")]
    Home(#[from] ArnError),
    #[error("not everything could be read, so not everything was decided: {0}")]
    Unread(String),
    #[error("{count} of {of} services failed; the first is {first}")]
    Services { count: usize, of: usize, first: String },
}

impl InvocationError {
    /// One of a closed set, for whoever counts failures.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            InvocationError::Home(_) => "FunctionArn",
            InvocationError::Unread(_) => "ReadFailed",
            InvocationError::Services { .. } => "ServicesFailed",
        }
    }
}

/// How long before the function's deadline it stops, to have time for its answer.
const RESERVE: Duration = Duration::from_secs(10);

/// Answers one payload. `deadline` is when Lambda would end the function.
///
/// # Errors
/// If reading was incomplete or a service failed; for a batch of messages the answer tells which
/// failed.
pub async fn answer(
    reconciler: &Reconciler,
    function_arn: &str,
    deadline: SystemTime,
    payload: &str,
) -> Result<Answer, InvocationError> {
    let now = SystemTime::now();
    let left = deadline.duration_since(now).unwrap_or_default();
    let stop_at = Instant::now() + left.saturating_sub(RESERVE);
    // Invocations that could meet hardly begin in the same microsecond of a day.
    let micros = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    let stamp = Stamp::new(u64::try_from(micros).unwrap_or_default());
    answer_until(reconciler, function_arn, stamp, stop_at, payload).await
}

/// Answers one payload, and begins no write from `stop_at` on.
///
/// # Errors
/// As [`answer`].
pub async fn answer_until(
    reconciler: &Reconciler,
    function_arn: &str,
    stamp: Stamp,
    stop_at: Instant,
    payload: &str,
) -> Result<Answer, InvocationError> {
    let home = Home::of_function(function_arn)
        .inspect_err(|error| tracing::error!(error = %error, "the invocation failed"))?;
    let payload = Payload::read(payload, &home);
    let invocation = Invocation { home, stamp, stop_at };
    match payload {
        Payload::One(trigger) => {
            let report = reconciler.run(&trigger, &invocation).await;
            log(&report);
            measure::record(&report, trigger.since(), SystemTime::now());
            match failure(&report) {
                None => Ok(Answer::Report(report)),
                Some(error) => {
                    tracing::error!(error = %error, "the invocation failed");
                    Err(error)
                }
            }
        }
        Payload::Batch(messages) => {
            Ok(Answer::Batch(batch(reconciler, &invocation, &messages).await))
        }
    }
}

async fn batch(
    reconciler: &Reconciler,
    invocation: &Invocation,
    messages: &[Message],
) -> BatchAnswer {
    let mut failed = Vec::new();
    for Message { id, trigger } in messages {
        match trigger {
            Trigger::Ignore { reason } => {
                tracing::info!(message_id = id, reason, "the message was ignored");
            }
            Trigger::Unreadable { reason } => {
                tracing::error!(message_id = id, reason, "the message failed");
                failed.push(id);
            }
            Trigger::Reconcile { .. } | Trigger::Deregister { .. } => {}
        }
    }
    let mut reports = Vec::new();
    for (trigger, messages) in runs(messages) {
        let report = reconciler.run(&trigger, invocation).await;
        log(&report);
        measure::record(&report, trigger.since(), SystemTime::now());
        if let Some(error) = failure(&report) {
            tracing::error!(error = %error, "a run of the batch failed");
        }
        for message in messages {
            if concerns(&report, &trigger, &message.trigger) {
                failed.push(&message.id);
            }
        }
        reports.push(report);
    }
    let failures = failed.into_iter().map(|id| BatchItemFailure { item_identifier: id.clone() });
    BatchAnswer { batch_item_failures: failures.collect(), runs: reports }
}

/// Whether a run failed in what a message, one of those that it was for, asked of it. What failed
/// for a service that no message named, such as one that holds a name which another wants,
/// concerns them all.
fn concerns(report: &Report, run: &Trigger, asked: &Trigger) -> bool {
    let names = |trigger: &Trigger, outcome: &Outcome| match trigger {
        Trigger::Reconcile { scope: Scope::Services(named), .. } => {
            named.services.contains(&outcome.service)
        }
        _ => true,
    };
    let mut failures = report.failures();
    !report.unread.is_empty()
        || failures.any(|outcome| names(asked, outcome) || !names(run, outcome))
}

fn failure(report: &Report) -> Option<InvocationError> {
    if let Some(first) = report.failures().next() {
        let reason = first.reason.as_deref().unwrap_or("without a reason");
        return Some(InvocationError::Services {
            count: report.failures().count(),
            of: report.outcomes.len(),
            first: format!("{}: {reason}", first.service),
        });
    }
    report.unread.first().map(|first| InvocationError::Unread(first.clone()))
}

fn log(report: &Report) {
    let environment = report.environment.as_str();
    if let Some(reason) = &report.reason {
        tracing::info!(environment, reason, "the payload was ignored");
        return;
    }
    for reason in &report.unread {
        tracing::error!(environment, reason, "something could not be read");
    }
    for outcome in &report.outcomes {
        log_outcome(environment, report.dry_run, outcome);
    }
    tracing::info!(
        environment,
        scope = ?report.scope,
        dry_run = report.dry_run,
        services = report.outcomes.len(),
        created = report.changes.created,
        deleted = report.changes.deleted,
        ecs_calls = report.api_calls.ecs,
        elb_calls = report.api_calls.elb,
        route53_calls = report.api_calls.route53,
        "the run is done"
    );
}

fn log_outcome(environment: &str, dry_run: bool, outcome: &Outcome) {
    let Outcome { service, name, zone, status, target, reason } = outcome;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                environment,
                dry_run,
                service = %service,
                name = name.as_ref().map(tracing::field::display),
                zone = zone.as_ref().map(tracing::field::display),
                target = target.as_ref().map(tracing::field::display),
                status = status.as_str(),
                reason,
                "outcome"
            )
        };
    }
    match status {
        Status::Unchanged => {}
        Status::Failed => line!(error),
        Status::Conflict | Status::Invalid | Status::Refused => line!(warn),
        Status::Registered
        | Status::Updated
        | Status::Adopted
        | Status::Deregistered
        | Status::Ignored
        | Status::Waiting => line!(info),
    }
}

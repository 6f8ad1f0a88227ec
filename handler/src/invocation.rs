//! One invocation: from a payload to the answer or the error that makes Lambda call again, and
//! to the log.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::aws::AwsError;
use crate::reconcile::Reconciler;
use crate::report::{Outcome, Report, Status};
use crate::service::{ArnError, Home};
use crate::trigger::Trigger;

/// Why an invocation failed. It is safe to be called again, and worth it.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    #[error("the function's own ARN: {0}")]
    Home(#[from] ArnError),
    #[error("the run stopped before it wrote anything more: {0}")]
    Read(#[from] AwsError),
    #[error("{count} of {of} services failed; the first is {first}")]
    Services { count: usize, of: usize, first: String },
}

impl InvocationError {
    /// One of a closed set, for whoever counts failures.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            InvocationError::Home(_) => "FunctionArn",
            InvocationError::Read(_) => "ReadFailed",
            InvocationError::Services { .. } => "ServicesFailed",
        }
    }
}

/// How long before the function's deadline it stops, to have time for its answer.
const RESERVE: Duration = Duration::from_secs(10);

/// Answers one payload. `deadline` is when Lambda would end the function.
///
/// # Errors
/// If reading was incomplete or a service failed.
pub async fn answer(
    reconciler: &Reconciler,
    function_arn: &str,
    deadline: SystemTime,
    payload: &str,
) -> Result<Report, InvocationError> {
    let left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
    let stop_at = Instant::now() + left.saturating_sub(RESERVE);
    let result = run(reconciler, function_arn, stop_at, payload).await;
    if let Err(error) = &result {
        tracing::error!(error = %error, "the invocation failed");
    }
    result
}

async fn run(
    reconciler: &Reconciler,
    function_arn: &str,
    stop_at: Instant,
    payload: &str,
) -> Result<Report, InvocationError> {
    let home = Home::of_function(function_arn)?;
    let trigger = Trigger::read(payload, &home);
    let report = reconciler.run(&trigger, &home, stop_at).await?;
    log(&report);
    if let Some(first) = report.failures().next() {
        let reason = first.reason.as_deref().unwrap_or("without a reason");
        return Err(InvocationError::Services {
            count: report.failures().count(),
            of: report.outcomes.len(),
            first: format!("{}: {reason}", first.service),
        });
    }
    Ok(report)
}

fn log(report: &Report) {
    let environment = report.environment.as_str();
    if let Some(reason) = &report.reason {
        tracing::info!(environment, reason, "the payload was ignored");
        return;
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

//! One invocation: from the payload to the runs, the log, the metrics, and the answer or the error that
//! makes Lambda retry.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::aws::deadline::Deadline;
use crate::domain::deployment::{
    Action, Attributes, ResourceAnswer, ResourceEvent, achieved_nothing, summary,
};
use crate::domain::marker::Nonce;
use crate::domain::report::{Outcome, Report};
use crate::domain::service::{ArnError, AwsLocation, HostedZoneId, ServiceArn, qualifier};
use crate::domain::trigger::{DRY_RUN_ALIAS, Message, Payload, Scope, Trigger, runs};
use crate::log;
use crate::metrics::{self, Cause};
use crate::reconcile::{Invocation, Reconciler};

/// The answer of an invocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    Report(Report),
    Resource(ResourceAnswer),
    Batch(BatchAnswer),
}

/// The most bytes of an answer. Lambda's limit is 6 MB.
const ANSWER_SIZE: usize = 5_000_000;

impl Answer {
    /// The answer as JSON. If it is too large for Lambda, its outcomes are compressed.
    pub fn into_json(mut self) -> Result<Box<RawValue>, serde_json::Error> {
        let json = serde_json::value::to_raw_value(&self)?;
        if json.get().len() <= ANSWER_SIZE {
            return Ok(json);
        }
        let reports = match &mut self {
            Answer::Report(report) => std::slice::from_mut(report),
            Answer::Batch(batch) => &mut batch.runs,
            // Its report is not a part of the answer.
            Answer::Resource(_) => return Ok(json),
        };
        for report in reports {
            let outcomes = std::mem::take(&mut report.outcomes);
            report.compressed_outcomes = Some(compressed(&outcomes)?);
        }
        serde_json::value::to_raw_value(&self)
    }
}

fn compressed(outcomes: &[Outcome]) -> Result<String, serde_json::Error> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    serde_json::to_writer(&mut gzip, outcomes)?;
    let bytes = gzip.finish().map_err(serde_json::Error::io)?;
    Ok(aws_smithy_types::base64::encode(bytes))
}

/// The answer for a batch of SQS messages. SQS keeps the failed messages, delivers them again, and moves
/// them to the dead-letter queue in the end. It deletes all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchAnswer {
    pub batch_item_failures: Vec<BatchItemFailure>,
    /// The runs for the batch.
    pub runs: Vec<Report>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchItemFailure {
    pub item_identifier: String,
}

/// Why an invocation failed. Every one of these is safe to retry, and a retry can succeed.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    #[error("the function's own ARN is invalid: {0}")]
    FunctionArn(#[from] ArnError),
    #[error("{0}; whatever depends on this read was left unchanged")]
    ReadFailed(String),
    #[error("{count} of {of} services failed. The first: {first}")]
    ServicesFailed { count: usize, of: usize, first: String },
    #[error("the zone {zone} has no room for more names, so its quota has to be raised: {reason}")]
    ZoneFull { zone: HostedZoneId, reason: String },
}

impl InvocationError {
    /// A label from a closed set, for counting failures.
    pub fn kind(&self) -> &'static str {
        match self {
            InvocationError::FunctionArn(_) => "FunctionArn",
            InvocationError::ReadFailed(_) => "ReadFailed",
            InvocationError::ServicesFailed { .. } => "ServicesFailed",
            InvocationError::ZoneFull { .. } => "ZoneFull",
        }
    }
}

/// The time of a batch's invocation that is left to let failed messages return sooner.
const QUEUE_RESERVE: Duration = Duration::from_secs(10);

/// The most messages that an invocation lets return sooner, so that this takes a bounded number of requests: as many
/// as the event queue delivers at once.
const MAX_RETURNED: usize = 100;

/// The time before the function's deadline that is left for the answer.
pub const SHUTDOWN_RESERVE: Duration = Duration::from_secs(10);

/// Answers one payload. `deadline` is the time at which Lambda ends the function.
pub async fn answer(
    reconciler: &Reconciler,
    function_arn: &str,
    deadline: SystemTime,
    payload: &str,
) -> Result<Answer, InvocationError> {
    let now = SystemTime::now();
    let left = deadline.duration_since(now).unwrap_or_default();
    let stop_at = Instant::now() + left.saturating_sub(SHUTDOWN_RESERVE);
    answer_until(reconciler, function_arn, now, stop_at, payload).await
}

/// Answers one payload that arrived at `now`, and starts no write after `stop_at`.
pub async fn answer_until(
    reconciler: &Reconciler,
    function_arn: &str,
    now: SystemTime,
    stop_at: Instant,
    payload: &str,
) -> Result<Answer, InvocationError> {
    let location = AwsLocation::of_function(function_arn)
        .inspect_err(|error| tracing::error!(error = %error, "invocation failed"))?;
    let mut payload = Payload::read(payload, &location);
    if qualifier(function_arn) == Some(DRY_RUN_ALIAS) {
        payload = payload.only_dry_runs();
    }
    // Two invocations at the same time rarely start in the same microsecond of the day.
    let micros = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    let nonce = Nonce::new(u64::try_from(micros).unwrap_or_default());
    let invocation = Invocation { location, nonce, now, stop_at };
    match payload {
        Payload::One(trigger) => {
            let none = BTreeSet::new();
            let scheduled_with = (trigger == Trigger::Scheduled).then_some(&none);
            let report = run(reconciler, &invocation, &trigger, scheduled_with).await;
            let Some(error) = failure(&report) else { return Ok(Answer::Report(report)) };
            // A retry of a dry run would change nothing, and somebody waits for its outcomes.
            if report.dry_run {
                return Ok(Answer::Report(report));
            }
            tracing::error!(error = %error, "invocation failed");
            match trigger {
                Trigger::Scheduled => Ok(Answer::Report(report)),
                _ => Err(error),
            }
        }
        Payload::Resource(event) => resource(reconciler, &invocation, event).await,
        Payload::Batch(messages) => {
            Ok(Answer::Batch(batch(reconciler, &invocation, &messages).await))
        }
    }
}

/// Answers an event of CloudFormation. Its summary becomes an attribute of the resource.
///
/// An update never fails. It may belong to a rollback, which would leave the stack stuck. A creation fails if it achieved
/// nothing, which includes zones that cannot be used.
async fn resource(
    reconciler: &Reconciler,
    invocation: &Invocation,
    event: ResourceEvent,
) -> Result<Answer, InvocationError> {
    let report = run(reconciler, invocation, &event.trigger, None).await;
    let error = failure(&report);
    let fails = match event.action {
        Action::Create => achieved_nothing(&report),
        Action::Update => false,
        Action::Delete => true,
    };
    if let Some(error) = error {
        tracing::error!(error = %error, "invocation failed");
        if fails {
            return Err(error);
        }
    }
    Ok(Answer::Resource(ResourceAnswer {
        physical_resource_id: event.physical_id,
        data: Attributes { summary: summary(&report) },
        report,
    }))
}

/// `scheduled_with`: if the schedule asked for the run, the services that events named.
async fn run(
    reconciler: &Reconciler,
    invocation: &Invocation,
    trigger: &Trigger,
    scheduled_with: Option<&BTreeSet<ServiceArn>>,
) -> Report {
    let report = reconciler.run(trigger, invocation).await;
    log::report(&report, trigger.services());
    let cause = Cause { since: trigger.since(), scheduled_with };
    metrics::record(&report, cause, SystemTime::now());
    report
}

async fn batch(
    reconciler: &Reconciler,
    invocation: &Invocation,
    messages: &[Message],
) -> BatchAnswer {
    let stop_at = invocation.stop_at;
    let earlier = stop_at.checked_sub(QUEUE_RESERVE).unwrap_or(stop_at);
    let invocation = &Invocation { stop_at: earlier, ..invocation.clone() };
    let mut failed = Vec::new();
    for message in messages {
        match &message.trigger {
            Trigger::Ignore { reason } => {
                tracing::info!(message_id = message.id, reason, "message ignored");
            }
            Trigger::Unreadable { reason } => {
                tracing::error!(message_id = message.id, reason, "message unreadable");
                failed.push(message);
            }
            Trigger::Reconcile { .. }
            | Trigger::Scheduled
            | Trigger::Deregister { .. }
            | Trigger::SetNegativeTtl { .. }
            | Trigger::CheckZones
            | Trigger::Leave(_) => {}
        }
    }
    let mut reports = Vec::new();
    for (trigger, messages) in runs(messages) {
        let is_scheduled = messages.iter().any(|message| message.trigger == Trigger::Scheduled);
        let scheduled_with = trigger.services().filter(|_| is_scheduled);
        let report = run(reconciler, invocation, &trigger, scheduled_with).await;
        if let Some(error) = failure(&report) {
            tracing::error!(error = %error, "run of the batch failed");
        }
        let mut repeats_full_pass = false;
        for message in messages {
            if message.trigger == Trigger::Scheduled || !fails(&message.trigger, &trigger, &report)
            {
                continue;
            }
            // One message is enough to repeat a full pass.
            if message.trigger.is_plain_full_pass()
                && std::mem::replace(&mut repeats_full_pass, true)
            {
                continue;
            }
            failed.push(message);
        }
        reports.push(report);
    }
    let deliveries = failed.iter().filter_map(|message| {
        let is_readable = !matches!(message.trigger, Trigger::Unreadable { .. });
        let delivery = message.delivery.as_ref()?;
        Some((delivery, delivery.delay(is_readable)))
    });
    let deliveries: Vec<_> = deliveries.take(MAX_RETURNED).collect();
    for error in reconciler.aws.sqs.return_after(&deliveries, Deadline::at(stop_at)).await {
        tracing::warn!(error = %error, "a failed message returns only after the visibility timeout");
    }
    let failures =
        failed.into_iter().map(|message| BatchItemFailure { item_identifier: message.id.clone() });
    BatchAnswer { batch_item_failures: failures.collect(), runs: reports }
}

/// Whether a message of a merged run failed: one of its own services did, or a service that no message
/// named, for example the holder of a name that another service needs.
fn fails(message: &Trigger, run: &Trigger, report: &Report) -> bool {
    let targets = |trigger: &Trigger, outcome: &Outcome| match trigger {
        Trigger::Reconcile { scope: Scope::Services(targets), .. } => {
            targets.services.contains(&outcome.service)
        }
        _ => true,
    };
    let mut failures = report.failures();
    !report.read_errors.is_empty()
        || failures.any(|outcome| targets(message, outcome) || !targets(run, outcome))
}

fn failure(report: &Report) -> Option<InvocationError> {
    if let Some(first) = report.failures().next() {
        let reason = first.reason.as_deref().unwrap_or("without a reason");
        return Some(InvocationError::ServicesFailed {
            count: report.failures().count(),
            of: report.outcomes.len(),
            first: format!("{}: {reason}", first.service),
        });
    }
    if let Some(first) = report.read_errors.first() {
        return Some(InvocationError::ReadFailed(first.clone()));
    }
    // A full zone affects every new service until somebody raises its quota, so the full pass is not complete.
    let full = report.full_pass.iter().flat_map(|full_pass| &full_pass.full_zones).next()?;
    Some(InvocationError::ZoneFull { zone: full.zone.clone(), reason: full.reason.clone() })
}

#[cfg(test)]
mod tests {
    use flate2::read::GzDecoder;
    use serde_json::Value;

    use super::*;
    use crate::domain::fixtures::{arn, name};
    use crate::domain::report::{ReportScope, Status};

    fn report(services: usize) -> Report {
        let outcomes = (0..services).map(|number| Outcome {
            service: arn(&format!("service-{number}")),
            name: Some(name(&format!("service-{number}.dev.internal"))),
            zone: Some(HostedZoneId::new("Z0123456789ABCDEFGHIJ")),
            status: Status::Unchanged,
            target: Some(name(&format!("internal-{number}.eu-west-1.elb.amazonaws.com"))),
            reason: None,
            applied: Some(false),
        });
        let outcomes = outcomes.collect();
        Report { outcomes, ..Report::new("dev", ReportScope::All, true) }
    }

    fn json(answer: Answer) -> Value {
        let json = answer.into_json().expect("JSON");
        assert!(json.get().len() < 6_000_000, "{}", json.get().len());
        serde_json::from_str(json.get()).expect("JSON")
    }

    #[test]
    fn an_answer_has_its_outcomes_in_plain_text_as_long_as_lambda_accepts_that() {
        let answer = json(Answer::Report(report(10_000)));
        assert_eq!(answer["outcomes"].as_array().map(Vec::len), Some(10_000));
        assert_eq!(answer.get("compressedOutcomes"), None);
    }

    #[test]
    fn the_outcomes_of_an_answer_above_the_limit_of_lambda_are_compressed() {
        let large = report(50_000);
        let batch = BatchAnswer { batch_item_failures: Vec::new(), runs: vec![large.clone()] };
        for answer in
            [json(Answer::Report(large.clone())), json(Answer::Batch(batch))["runs"][0].take()]
        {
            assert_eq!(answer["outcomes"], serde_json::json!([]));
            let text = answer["compressedOutcomes"].as_str().expect("text");
            let bytes = aws_smithy_types::base64::decode(text).expect("base64");
            let outcomes: Value =
                serde_json::from_reader(GzDecoder::new(bytes.as_slice())).expect("JSON");
            assert_eq!(outcomes, serde_json::to_value(&large.outcomes).expect("JSON"));
        }
    }
}

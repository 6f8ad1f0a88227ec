//! What a run measures of itself. CloudWatch makes metrics of lines in the log (its embedded metric
//! format), so nothing is called for them.
//!
//! Everything has the dimension `Environment`; the others are bounded: `Status` by the outcomes that
//! there are, `Service` by the APIs that are called, `Zone` by the configuration.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::{DateTime, Format};
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};

use crate::report::{Report, ReportScope, Status};

/// The namespace of the metrics.
pub const NAMESPACE: &str = "EcsDiscovery";

/// What keeps the metrics of a run until they are written.
pub struct Measures(Option<&'static Collector>);

impl Measures {
    /// Collects the metrics of this process. If something else does already, nothing is written.
    #[must_use]
    pub fn of(environment: &str) -> Measures {
        let collector = Builder::new()
            .cloudwatch_namespace(NAMESPACE)
            .with_dimension("Environment", environment.to_owned())
            .init()
            .inspect_err(|error| tracing::error!(error = %error, "there will be no metrics"))
            .ok();
        describe_histogram!("EventToChange", Unit::Seconds, "");
        describe_histogram!("LastPassAge", Unit::Seconds, "");
        for name in ["CompletePasses", "ManagedNames", "Conflicts", "Refused", "ZoneRecords"] {
            describe_histogram!(name, Unit::Count, "");
        }
        for name in
            ["Outcomes", "Created", "Deleted", "FailedRuns", "Failures", "ApiCalls", "Throttles"]
        {
            describe_counter!(name, Unit::Count, "");
        }
        Measures(collector)
    }

    /// Writes what was recorded since the last time: a line for each set of dimensions.
    pub fn write(&self, to: impl std::io::Write) {
        if let Some(collector) = self.0
            && let Err(error) = collector.flush(to)
        {
            tracing::error!(error = %error, "the metrics could not be written");
        }
    }
}

/// When this process saw the last complete full pass. Another process may have seen a later one, so
/// of what several say the least is right.
static LAST_PASS: Mutex<Option<SystemTime>> = Mutex::new(None);

/// Records a run that ended just now. `since` is when its first event happened, as that says (RFC
/// 3339).
pub fn record(report: &Report, since: Option<&str>, now: SystemTime) {
    if report.dry_run || report.scope == ReportScope::None {
        return;
    }
    let failures = report.failures().count() + report.unread.len();
    for outcome in &report.outcomes {
        counter!("Outcomes", "Status" => outcome.status.as_str()).increment(1);
    }
    counter!("Created").increment(count(report.changes.created));
    counter!("Deleted").increment(count(report.changes.deleted));
    counter!("Failures").increment(count(failures));
    counter!("FailedRuns").increment(u64::from(failures > 0));
    let (calls, throttles) = (&report.api_calls, &report.throttles);
    for (service, calls, throttles) in [
        ("ecs", calls.ecs, throttles.ecs),
        ("elb", calls.elb, throttles.elb),
        ("route53", calls.route53, throttles.route53),
    ] {
        counter!("ApiCalls", "Service" => service).increment(calls.into());
        counter!("Throttles", "Service" => service).increment(throttles.into());
    }
    let changed = report.changes.created + report.changes.deleted > 0;
    if let Some(age) = since.filter(|_| changed).and_then(|since| age(since, now)) {
        histogram!("EventToChange").record(age.as_secs_f64());
    }
    if let Ok(mut last) = LAST_PASS.lock() {
        if report.pass.is_some() && failures == 0 {
            *last = Some(now);
        }
        if let Some(age) = last.and_then(|last| now.duration_since(last).ok()) {
            histogram!("LastPassAge").record(age.as_secs_f64());
        }
    }
    if let Some(pass) = &report.pass {
        let with = |status| report.outcomes.iter().filter(|found| found.status == status).count();
        let complete = failures == 0;
        histogram!("CompletePasses").record(level(usize::from(complete)));
        // A pass that could not see everything may say what it saw, and not that there was nothing.
        let seen = |number: &usize| complete || *number > 0;
        if let Some(managed) = Some(pass.managed_names).filter(seen) {
            histogram!("ManagedNames").record(level(managed));
        }
        if let Some(conflicts) = Some(with(Status::Conflict)).filter(seen) {
            histogram!("Conflicts").record(level(conflicts));
        }
        if let Some(refused) = Some(with(Status::Refused)).filter(seen) {
            histogram!("Refused").record(level(refused));
        }
        for (zone, records) in pass.zone_records.iter().filter(|(_, records)| seen(records)) {
            histogram!("ZoneRecords", "Zone" => zone.to_string()).record(level(*records));
        }
    }
}

/// How long ago something was; none if it cannot be told, or is said to be in the future.
fn age(since: &str, now: SystemTime) -> Option<Duration> {
    let since = DateTime::from_str(since, Format::DateTimeWithOffset).ok()?;
    now.duration_since(SystemTime::try_from(since).ok()?).ok()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn level(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

//! The metrics of a run. CloudWatch extracts them from lines in the log (its embedded metric format), so
//! they cost no API call.
//!
//! Every metric has the dimension `Environment`. The values of `Status` are the statuses, those of `Api` the
//! APIs, and those of `Zone` the configured zones.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use aws_smithy_types::date_time::{DateTime, Format};
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};

use crate::domain::report::{Changes, Outcome, Report, ReportScope, Status};
use crate::domain::service::ServiceArn;

pub const NAMESPACE: &str = "EcsDiscovery";

/// Collects the metrics of this process until they are written.
pub struct Metrics(Option<&'static Collector>);

impl Metrics {
    /// Starts the collection. A process has one collector. If it exists already, this one writes nothing.
    pub fn new(environment: &str) -> Metrics {
        let collector = Builder::new()
            .cloudwatch_namespace(NAMESPACE)
            .with_dimension("Environment", environment.to_owned())
            .init()
            .inspect_err(|error| tracing::error!(error = %error, "metrics are disabled"))
            .ok();
        describe_histogram!("EventToChange", Unit::Seconds, "");
        describe_histogram!("LastFullPassAge", Unit::Seconds, "");
        for name in [
            "CompleteFullPasses",
            "RepairedByFullPass",
            "ManagedNames",
            "ExpectedNames",
            "Conflicts",
            "Refused",
            "Waiting",
            "Invalid",
            "Rejected",
            "ZoneRecords",
        ] {
            describe_histogram!(name, Unit::Count, "");
        }
        for name in
            ["Outcomes", "Created", "Deleted", "FailedRuns", "Failures", "ApiCalls", "Throttles"]
        {
            describe_counter!(name, Unit::Count, "");
        }
        Metrics(collector)
    }

    /// Writes all metrics recorded since the last call, one line per set of dimensions.
    pub fn write(&self, to: impl std::io::Write) {
        if let Some(collector) = self.0
            && let Err(error) = collector.flush(to)
        {
            tracing::error!(error = %error, "metrics could not be written");
        }
    }
}

/// When this process finished its last complete full pass. Another process may have finished a later one,
/// so the minimum over all processes is the right age.
static LAST_FULL_PASS: Mutex<Option<SystemTime>> = Mutex::new(None);

/// Why a run took place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cause<'a> {
    /// The time of its first event, taken from the event (RFC 3339).
    pub since: Option<&'a str>,
    /// If the schedule asked for it: the services that events of the same batch named.
    pub scheduled_with: Option<&'a BTreeSet<ServiceArn>>,
}

/// Records a run that ended at `now`.
pub fn record(report: &Report, cause: Cause<'_>, now: SystemTime) {
    let is_requested_dry_run = report.dry_run && !report.observed;
    if is_requested_dry_run || report.scope == ReportScope::None {
        return;
    }
    let full_zones = report.full_pass.as_ref().map_or(0, |full_pass| full_pass.full_zones.len());
    let failures = report.failures().count() + report.read_errors.len() + full_zones;
    for outcome in &report.outcomes {
        counter!("Outcomes", "Status" => outcome.status.as_str()).increment(1);
    }
    let written = if report.dry_run { Changes::default() } else { report.changes };
    counter!("Created").increment(count(written.created));
    counter!("Deleted").increment(count(written.deleted));
    counter!("Failures").increment(count(failures));
    counter!("FailedRuns").increment(u64::from(failures > 0));
    let (calls, throttles) = (&report.api_calls, &report.throttles);
    for (api, calls, throttles) in [
        ("ecs", calls.ecs, throttles.ecs),
        ("elb", calls.elb, throttles.elb),
        ("route53", calls.route53, throttles.route53),
    ] {
        counter!("ApiCalls", "Api" => api).increment(calls.into());
        counter!("Throttles", "Api" => api).increment(throttles.into());
    }
    let changed = written.created + written.deleted > 0;
    if let Some(age) = cause.since.filter(|_| changed).and_then(|since| age(since, now)) {
        histogram!("EventToChange").record(age.as_secs_f64());
    }
    if let Ok(mut last) = LAST_FULL_PASS.lock() {
        if report.full_pass.is_some() && failures == 0 {
            *last = Some(now);
        }
        if let Some(age) = last.and_then(|last| now.duration_since(last).ok()) {
            histogram!("LastFullPassAge").record(age.as_secs_f64());
        }
    }
    if let Some(full_pass) = &report.full_pass {
        let with =
            |status| report.outcomes.iter().filter(|outcome| outcome.status == status).count();
        let complete = failures == 0;
        histogram!("CompleteFullPasses").record(level(usize::from(complete)));
        if let Some(named) = cause.scheduled_with.filter(|_| !report.dry_run) {
            let is_repair = |outcome: &&Outcome| {
                outcome.status.is_change() && !named.contains(&outcome.service)
            };
            let repaired = report.outcomes.iter().filter(is_repair).count();
            histogram!("RepairedByFullPass").record(level(repaired));
        }
        // An incomplete full pass reports the numbers that it counted, but never a zero.
        let counted = |number: &usize| complete || *number > 0;
        if let Some(managed) = Some(full_pass.managed_names).filter(counted) {
            histogram!("ManagedNames").record(level(managed));
        }
        let expected =
            report.outcomes.iter().filter(|outcome| outcome.status.expects_a_name()).count();
        if let Some(expected) = Some(expected).filter(counted) {
            histogram!("ExpectedNames").record(level(expected));
        }
        if let Some(conflicts) = Some(with(Status::Conflict)).filter(counted) {
            histogram!("Conflicts").record(level(conflicts));
        }
        if let Some(refused) = Some(with(Status::Refused)).filter(counted) {
            histogram!("Refused").record(level(refused));
        }
        if let Some(waiting) = Some(with(Status::Waiting)).filter(counted) {
            histogram!("Waiting").record(level(waiting));
        }
        if let Some(invalid) = Some(with(Status::Invalid)).filter(counted) {
            histogram!("Invalid").record(level(invalid));
        }
        if let Some(rejected) = Some(with(Status::Rejected)).filter(counted) {
            histogram!("Rejected").record(level(rejected));
        }
        for (zone, records) in full_pass.zone_records.iter().filter(|(_, records)| counted(records))
        {
            histogram!("ZoneRecords", "Zone" => zone.to_string()).record(level(*records));
        }
        if let Some(largest) = full_pass.zone_records.values().copied().max().filter(counted) {
            histogram!("ZoneRecords").record(level(largest));
        }
    }
}

/// The time since `since`. `None` if that is no timestamp, or in the future.
fn age(since: &str, now: SystemTime) -> Option<Duration> {
    now.duration_since(parse_time(since)?).ok()
}

/// The time in an event (RFC 3339).
pub(crate) fn parse_time(text: &str) -> Option<SystemTime> {
    let time = DateTime::from_str(text, Format::DateTimeWithOffset).ok()?;
    SystemTime::try_from(time).ok()
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn level(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

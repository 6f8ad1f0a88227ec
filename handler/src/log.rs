//! The log: one JSON object per line. No field has a name to which log services give a meaning of their own, such as
//! `status` or `service`.

use std::collections::BTreeSet;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::domain::report::{FullZone, LongNegativeTtl, Outcome, Report, Status, UnreadableMarker};
use crate::domain::service::ServiceArn;

/// Lambda sets it to the log level that the function's configuration has.
pub const LEVEL_VARIABLE: &str = "AWS_LAMBDA_LOG_LEVEL";

tokio::task_local! {
    /// The id of the invocation, in each line that it writes.
    pub static REQUEST_ID: String;
}

/// Writes the log of this process to the standard output. `level` is the value of [`LEVEL_VARIABLE`].
pub fn init(level: Option<&str>) {
    subscriber(level, std::io::stdout).init();
}

fn subscriber<W>(level: Option<&str>, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let mut lines = json_subscriber::layer()
        .with_writer(writer)
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false);
    lines
        .inner_layer_mut()
        .add_dynamic_field("request_id", |_, _| REQUEST_ID.try_with(String::clone).ok());
    tracing_subscriber::registry().with(lines).with(filter(level))
}

/// The lines of a level, and of those that are more important. The most important ones are errors.
fn filter(level: Option<&str>) -> LevelFilter {
    match level {
        Some("TRACE") => LevelFilter::TRACE,
        Some("DEBUG") => LevelFilter::DEBUG,
        Some("WARN") => LevelFilter::WARN,
        Some("ERROR" | "FATAL") => LevelFilter::ERROR,
        _ => LevelFilter::INFO,
    }
}

/// Writes the lines of a run. `named` are the services that events or a request named. A full pass finds each service
/// that has no name on purpose again, so it logs only those that are named.
pub fn report(report: &Report, named: Option<&BTreeSet<ServiceArn>>) {
    let environment = report.environment.as_str();
    if let Some(reason) = &report.reason {
        tracing::info!(environment, reason, "payload ignored");
        return;
    }
    for reason in &report.read_errors {
        tracing::error!(environment, reason, "read failed");
    }
    for note in &report.notes {
        tracing::warn!(environment, note, "names stay");
    }
    let is_new = |service| named.is_some_and(|named| named.contains(service));
    for one in &report.outcomes {
        if one.status != Status::Ignored || report.full_pass.is_none() || is_new(&one.service) {
            outcome(environment, report.dry_run, one);
        }
    }
    for marker in report.full_pass.iter().flat_map(|full_pass| &full_pass.unreadable_markers) {
        let UnreadableMarker { name, zone, reason } = marker;
        tracing::warn!(environment, dns_name = %name, hosted_zone = %zone, reason, "marker unreadable");
    }
    for long in report.full_pass.iter().flat_map(|full_pass| &full_pass.long_negative_ttls) {
        let LongNegativeTtl { zone, seconds, command } = long;
        tracing::warn!(environment, hosted_zone = %zone, seconds, command, "negative TTL too long");
    }
    for FullZone { zone, reason } in
        report.full_pass.iter().flat_map(|full_pass| &full_pass.full_zones)
    {
        tracing::error!(environment, hosted_zone = %zone, reason, "zone full");
    }
    tracing::info!(
        environment,
        scope = report.scope.as_str(),
        dry_run = report.dry_run,
        services = report.outcomes.len(),
        created = report.changes.created,
        deleted = report.changes.deleted,
        ecs_calls = report.api_calls.ecs,
        elb_calls = report.api_calls.elb,
        route53_calls = report.api_calls.route53,
        version = env!("CARGO_PKG_VERSION"),
        "run finished"
    );
}

fn outcome(environment: &str, dry_run: bool, outcome: &Outcome) {
    let Outcome { service, name, zone, status, target, reason, applied: _ } = outcome;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                environment,
                dry_run,
                ecs_service = %service,
                dns_name = name.as_ref().map(tracing::field::display),
                hosted_zone = zone.as_ref().map(tracing::field::display),
                target = target.as_ref().map(tracing::field::display),
                outcome = status.as_str(),
                reason,
                "outcome"
            )
        };
    }
    match status {
        Status::Unchanged => {}
        Status::Failed => line!(error),
        Status::Conflict | Status::Invalid | Status::Refused | Status::Rejected => line!(warn),
        Status::Registered
        | Status::Updated
        | Status::Adopted
        | Status::Deregistered
        | Status::Ignored
        | Status::Waiting => line!(info),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_level_is_that_of_lambda_and_otherwise_info() {
        for (value, expected) in [
            (None, LevelFilter::INFO),
            (Some("TRACE"), LevelFilter::TRACE),
            (Some("DEBUG"), LevelFilter::DEBUG),
            (Some("INFO"), LevelFilter::INFO),
            (Some("WARN"), LevelFilter::WARN),
            (Some("ERROR"), LevelFilter::ERROR),
            (Some("FATAL"), LevelFilter::ERROR),
            (Some(""), LevelFilter::INFO),
            (Some("loud"), LevelFilter::INFO),
        ] {
            assert_eq!(filter(value), expected, "{value:?}");
        }
    }

    /// The lines that `work` writes at a level.
    fn lines(level: &str, work: impl FnOnce()) -> Vec<Value> {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        tracing::subscriber::with_default(subscriber(Some(level), Arc::new(writer)), work);
        let lines = std::io::read_to_string(reader).expect("text");
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn a_line_has_its_fields_and_the_id_of_the_request_at_its_top_level() {
        let lines = lines("INFO", || {
            REQUEST_ID.sync_scope("r-1".to_owned(), || {
                tracing::warn!(dns_name = "orders.internal", reason = None::<&str>, "zone full");
            });
            tracing::error!("the Lambda runtime stopped");
        });
        let [mut line, outside] = lines.try_into().expect("two lines");
        assert!(outside.get("request_id").is_none(), "{outside}");
        let time = line["timestamp"].take();
        assert!(time.as_str().is_some_and(|time| time.ends_with('Z')), "{time}");
        line.as_object_mut().expect("an object").remove("timestamp");
        assert_eq!(
            line,
            json!({
                "level": "WARN", "message": "zone full", "request_id": "r-1",
                "dns_name": "orders.internal",
            })
        );
    }

    #[test]
    fn lines_below_the_level_are_left_out() {
        let work = || {
            tracing::info!("run finished");
            tracing::error!("read failed");
        };
        assert_eq!(lines("INFO", work).len(), 2);
        assert_eq!(lines("ERROR", work).len(), 1);
    }
}

//! The metrics that a run writes for CloudWatch. A process has one collector, so this is one test.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use common::service_arn;
use handler::domain::dns::DnsName;
use handler::domain::report::{ApiCalls, Changes, FullPass, Outcome, Report, ReportScope, Status};
use handler::domain::service::{HostedZoneId, ServiceArn};
use handler::metrics::{Cause, Metrics, record};
use serde_json::Value;

fn outcome(service: &str, status: Status) -> Outcome {
    Outcome {
        service: ServiceArn::parse(&service_arn(service)).expect("a valid ARN"),
        name: DnsName::parse("orders.internal").ok(),
        zone: None,
        status,
        target: None,
        reason: None,
        applied: None,
    }
}

fn report(outcomes: Vec<Outcome>, full_pass: Option<FullPass>) -> Report {
    Report {
        environment: "dev".into(),
        scope: if full_pass.is_some() { ReportScope::All } else { ReportScope::Service },
        dry_run: false,
        observed: false,
        reason: None,
        outcomes,
        compressed_outcomes: None,
        read_errors: vec![],
        notes: vec![],
        changes: Changes { created: 2, deleted: 0 },
        api_calls: ApiCalls { ecs: 2, elb: 2, route53: 2 },
        throttles: ApiCalls { ecs: 0, elb: 0, route53: 1 },
        full_pass,
    }
}

fn full_pass() -> Option<FullPass> {
    let zone_records = BTreeMap::from([(HostedZoneId::new("Z1"), 7)]);
    Some(FullPass {
        managed_names: 3,
        zone_records,
        unreadable_markers: vec![],
        long_negative_ttls: vec![],
        full_zones: vec![],
    })
}

/// All written metrics, sorted, in the form `name{dimension}: value unit`.
fn written(metrics: &Metrics) -> Vec<String> {
    let mut lines = Vec::new();
    metrics.write(&mut lines);
    let mut all = Vec::new();
    for line in String::from_utf8(lines).expect("text").lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let set = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(set["Namespace"], "EcsDiscovery");
        assert_eq!(line["Environment"], "dev");
        let names = set["Dimensions"][0].as_array().expect("dimensions").iter();
        let dimensions: Vec<&str> = names
            .filter_map(|name| name.as_str().filter(|name| *name != "Environment"))
            .filter_map(|name| line[name].as_str())
            .collect();
        for metric in set["Metrics"].as_array().expect("metrics") {
            let name = metric["Name"].as_str().expect("a name");
            let unit = metric["Unit"].as_str().expect("a unit");
            let dimensions = dimensions.join(",");
            all.push(format!("{name}{{{dimensions}}}: {} {unit}", line[name]));
        }
    }
    all.sort();
    all
}

#[test]
fn a_run_writes_metrics_only_for_the_numbers_that_it_could_count() {
    let metrics = Metrics::new("dev");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_007);

    record(
        &report(vec![outcome("a", Status::Registered)], None),
        Cause { since: Some("2001-09-09T01:46:40Z"), ..Cause::default() },
        now,
    );
    insta::assert_snapshot!(written(&metrics).join("\n"), @r"
    ApiCalls{ecs}: 2 Count
    ApiCalls{elb}: 2 Count
    ApiCalls{route53}: 2 Count
    Created{}: 2 Count
    EventToChange{}: [7.0] Seconds
    Outcomes{registered}: 1 Count
    Throttles{route53}: 1 Count
    ");

    // A complete full pass writes zeros, too.
    record(&report(vec![outcome("a", Status::Conflict)], full_pass()), Cause::default(), now);
    insta::assert_snapshot!(written(&metrics).join("\n"), @"
    ApiCalls{ecs}: 2 Count
    ApiCalls{elb}: 2 Count
    ApiCalls{route53}: 2 Count
    CompleteFullPasses{}: [1.0] Count
    Conflicts{}: [1.0] Count
    Created{}: 2 Count
    ExpectedNames{}: [1.0] Count
    Invalid{}: [0.0] Count
    LastFullPassAge{}: [0.0] Seconds
    ManagedNames{}: [3.0] Count
    Outcomes{conflict}: 1 Count
    Refused{}: [0.0] Count
    Rejected{}: [0.0] Count
    Throttles{route53}: 1 Count
    Waiting{}: [0.0] Count
    ZoneRecords{Z1}: [7.0] Count
    ZoneRecords{}: [7.0] Count
    ");

    // A scheduled full pass counts the names that it changed, except those of services that events named.
    let outcomes = [
        ("lost", Status::Registered),
        ("stale", Status::Deregistered),
        ("named", Status::Updated),
        ("right", Status::Unchanged),
    ];
    let outcomes = outcomes.map(|(service, status)| outcome(service, status)).to_vec();
    let named = BTreeSet::from([outcomes[2].service.clone()]);
    let cause = Cause { scheduled_with: Some(&named), ..Cause::default() };
    record(&report(outcomes, full_pass()), cause, now);
    insta::assert_snapshot!(written(&metrics).join("\n"), @"
    ApiCalls{ecs}: 2 Count
    ApiCalls{elb}: 2 Count
    ApiCalls{route53}: 2 Count
    CompleteFullPasses{}: [1.0] Count
    Conflicts{}: [0.0] Count
    Created{}: 2 Count
    ExpectedNames{}: [3.0] Count
    Invalid{}: [0.0] Count
    LastFullPassAge{}: [0.0] Seconds
    ManagedNames{}: [3.0] Count
    Outcomes{deregistered}: 1 Count
    Outcomes{registered}: 1 Count
    Outcomes{unchanged}: 1 Count
    Outcomes{updated}: 1 Count
    Refused{}: [0.0] Count
    Rejected{}: [0.0] Count
    RepairedByFullPass{}: [2.0] Count
    Throttles{route53}: 1 Count
    Waiting{}: [0.0] Count
    ZoneRecords{Z1}: [7.0] Count
    ZoneRecords{}: [7.0] Count
    ");

    // An incomplete full pass writes no zeros for its counts, and the age of the last complete one grows.
    let now = now + Duration::from_secs(900);
    let incomplete = Report {
        read_errors: vec!["denied".into()],
        ..report(vec![outcome("a", Status::Failed)], full_pass())
    };
    record(&incomplete, Cause::default(), now);
    insta::assert_snapshot!(written(&metrics).join("\n"), @"
    ApiCalls{ecs}: 2 Count
    ApiCalls{elb}: 2 Count
    ApiCalls{route53}: 2 Count
    CompleteFullPasses{}: [0.0] Count
    Created{}: 2 Count
    ExpectedNames{}: [1.0] Count
    FailedRuns{}: 1 Count
    Failures{}: 2 Count
    LastFullPassAge{}: [900.0] Seconds
    ManagedNames{}: [3.0] Count
    Outcomes{failed}: 1 Count
    Throttles{route53}: 1 Count
    ZoneRecords{Z1}: [7.0] Count
    ZoneRecords{}: [7.0] Count
    ");

    // Services without a name are levels of full passes, also of incomplete ones. Events count towards `Outcomes` only.
    let outcomes = [
        ("early", Status::Waiting),
        ("odd", Status::Invalid),
        ("late", Status::Waiting),
        ("protected", Status::Rejected),
    ];
    let outcomes = outcomes.map(|(service, status)| outcome(service, status)).to_vec();
    let levels = |written: Vec<String>| {
        let is_level = |metric: &String| {
            ["Waiting", "Invalid", "Rejected"].iter().any(|name| metric.starts_with(name))
        };
        written.into_iter().filter(is_level).collect::<Vec<_>>().join("\n")
    };
    record(&report(outcomes.clone(), None), Cause::default(), now);
    assert_eq!(levels(written(&metrics)), "");
    let incomplete = Report { read_errors: vec!["denied".into()], ..report(outcomes, full_pass()) };
    record(&incomplete, Cause::default(), now);
    insta::assert_snapshot!(levels(written(&metrics)), @"
    Invalid{}: [1.0] Count
    Rejected{}: [1.0] Count
    Waiting{}: [2.0] Count
    ");

    // A run writes no `EventToChange` for an invalid or future time, or without a change.
    for since in ["yesterday", "2101-01-01T00:00:00Z", ""] {
        record(&report(vec![], None), Cause { since: Some(since), ..Cause::default() }, now);
    }
    let idle = Report { changes: Changes::default(), ..report(vec![], None) };
    let since = Some("2001-09-09T01:46:40Z");
    record(&idle, Cause { since, ..Cause::default() }, now);
    assert!(!written(&metrics).iter().any(|metric| metric.starts_with("EventToChange")));

    // With the mode observe, runs write what they found, but no changes.
    let observed = Report {
        dry_run: true,
        observed: true,
        ..report(vec![outcome("a", Status::Registered)], full_pass())
    };
    let cause = Cause { since: Some("2001-09-09T01:46:40Z"), scheduled_with: Some(&named) };
    record(&observed, cause, now);
    let names = written(&metrics).join("\n");
    assert!(names.contains("CompleteFullPasses{}: [1.0] Count"), "{names}");
    for absent in ["Created", "RepairedByFullPass", "EventToChange"] {
        assert!(!names.contains(absent), "{names}");
    }

    // Dry runs and ignored payloads write nothing.
    record(&Report { dry_run: true, ..report(vec![], full_pass()) }, Cause::default(), now);
    record(&Report { scope: ReportScope::None, ..report(vec![], None) }, Cause::default(), now);
    assert_eq!(written(&metrics), Vec::<String>::new());
}

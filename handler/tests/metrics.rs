//! What a run writes for CloudWatch. The collector is one for the process, so this is one test.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use handler::domain::dns::DnsName;
use handler::domain::report::{ApiCalls, Changes, FullPass, Outcome, Report, ReportScope, Status};
use handler::domain::service::{HostedZoneId, ServiceArn};
use handler::metrics::{Metrics, record};
use serde_json::Value;

fn outcome(service: &str, status: Status) -> Outcome {
    let arn = format!("arn:aws:ecs:eu-west-1:111122223333:service/dev/{service}");
    Outcome {
        service: ServiceArn::parse(&arn).expect("a valid ARN"),
        name: DnsName::parse("orders.internal").ok(),
        zone: None,
        status,
        target: None,
        reason: None,
    }
}

fn report(outcomes: Vec<Outcome>, full_pass: Option<FullPass>) -> Report {
    Report {
        environment: "dev".into(),
        scope: if full_pass.is_some() { ReportScope::All } else { ReportScope::Service },
        dry_run: false,
        reason: None,
        outcomes,
        read_errors: vec![],
        changes: Changes { created: 2, deleted: 0 },
        api_calls: ApiCalls { ecs: 2, elb: 2, route53: 2 },
        throttles: ApiCalls { ecs: 0, elb: 0, route53: 1 },
        full_pass,
    }
}

fn pass() -> Option<FullPass> {
    let zone_records = BTreeMap::from([(HostedZoneId::new("Z1"), 7)]);
    Some(FullPass { managed_names: 3, zone_records })
}

/// All metrics of the lines that were written, a line each: `name{dimension}: value unit`.
fn written(measures: &Metrics) -> Vec<String> {
    let mut lines = Vec::new();
    measures.write(&mut lines);
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
            let of = dimensions.join(",");
            all.push(format!("{name}{{{of}}}: {} {unit}", line[name]));
        }
    }
    all.sort();
    all
}

#[test]
fn a_run_is_measured_and_only_what_it_saw() {
    let measures = Metrics::new("dev");
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_007);

    record(
        &report(vec![outcome("a", Status::Registered)], None),
        Some("2001-09-09T01:46:40Z"),
        now,
    );
    insta::assert_snapshot!(written(&measures).join("\n"), @r"
    ApiCalls{ecs}: 2 Count
    ApiCalls{elb}: 2 Count
    ApiCalls{route53}: 2 Count
    Created{}: 2 Count
    EventToChange{}: [7.0] Seconds
    Outcomes{registered}: 1 Count
    Throttles{route53}: 1 Count
    ");

    // A full pass says how many there are, also where there are none.
    record(&report(vec![outcome("a", Status::Conflict)], pass()), None, now);
    insta::assert_snapshot!(written(&measures).join("\n"), @r"
    ApiCalls{ecs}: 2 Count
    ApiCalls{elb}: 2 Count
    ApiCalls{route53}: 2 Count
    CompleteFullPasses{}: [1.0] Count
    Conflicts{}: [1.0] Count
    Created{}: 2 Count
    LastFullPassAge{}: [0.0] Seconds
    ManagedNames{}: [3.0] Count
    Outcomes{conflict}: 1 Count
    Refused{}: [0.0] Count
    Throttles{route53}: 1 Count
    ZoneRecords{Z1}: [7.0] Count
    ");

    // One that could not see everything does not say that there were none, and the last complete one
    // gets older.
    let now = now + Duration::from_secs(900);
    record(&report(vec![outcome("a", Status::Failed)], pass()), None, now);
    insta::assert_snapshot!(written(&measures).join("\n"), @r"
    ApiCalls{ecs}: 2 Count
    ApiCalls{elb}: 2 Count
    ApiCalls{route53}: 2 Count
    CompleteFullPasses{}: [0.0] Count
    Created{}: 2 Count
    FailedRuns{}: 1 Count
    Failures{}: 1 Count
    LastFullPassAge{}: [900.0] Seconds
    ManagedNames{}: [3.0] Count
    Outcomes{failed}: 1 Count
    Throttles{route53}: 1 Count
    ZoneRecords{Z1}: [7.0] Count
    ");

    // Times that cannot be are no metrics, and what changed nothing took no time.
    for since in ["yesterday", "2101-01-01T00:00:00Z", ""] {
        record(&report(vec![], None), Some(since), now);
    }
    let idle = Report { changes: Changes::default(), ..report(vec![], None) };
    record(&idle, Some("2001-09-09T01:46:40Z"), now);
    assert!(!written(&measures).iter().any(|metric| metric.starts_with("EventToChange")));

    // Nor are dry runs, and payloads that were ignored.
    record(&Report { dry_run: true, ..report(vec![], pass()) }, None, now);
    record(&Report { scope: ReportScope::None, ..report(vec![], None) }, None, now);
    assert_eq!(written(&measures), Vec::<String>::new());
}

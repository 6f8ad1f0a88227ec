//! The rows about much work, and about failures: their costs, and which services they affect.

use std::time::Duration;

use benchmarks::workload::{
    DeliveryMode, FULL_PASS, Figures, LOAD_BALANCER_QUEUE, QUEUE, call, created, deploy, fleet,
    fleet_in_zones, full_name, full_pass, full_passes, leave_room, load_balancer_call, one,
    one_with, one_with_zones, one_with_zones_and, reconnect, reject, rename, run_with, tagged,
};
use serde_json::json;
use simulation::account::Account;
use simulation::faults::{Denied, Faults, Rejection, Subject};
use simulation::lambda::FUNCTION_TIMEOUT;
use simulation::oracle::EnvironmentConfig;

use crate::table::{Table, calls, ratio, seconds, show_calls};

/// A time after all workloads.
const NEVER_MS: u64 = u64::MAX / 2;

/// Changes of the configuration that change the records of 5,000 services.
pub(crate) fn deployments(table: &mut Table) {
    table.section("Changes of all names");
    let registered =
        |zones: &[usize]| one_with_zones(fleet_in_zones(zones), zones.len(), FULL_PASS).account;
    let (one_zone, four_zones) = (registered(&[5_000]), registered(&[1_250; 4]));
    let ttl: fn(&mut EnvironmentConfig) = |environment| environment.ttl = 30;
    let template: fn(&mut EnvironmentConfig) =
        |environment| environment.template = "{service}-x".into();
    let alias: fn(&mut EnvironmentConfig) = |environment| environment.alias = true;
    for (subject, place, zones, account, change) in [
        ("another TTL", "one zone", 1, &one_zone, ttl),
        ("another TTL", "4 zones", 4, &four_zones, ttl),
        ("another template", "4 zones", 4, &four_zones, template),
        ("aliases instead of CNAME records", "4 zones", 4, &four_zones, alias),
    ] {
        let figures = deploy(account.clone(), zones, change);
        table.row(
            format!("{subject} for 5,000 services in {place}: time in one invocation"),
            format!("{} names are right after {}", figures.right, seconds(figures.longest)),
            format!("all, in the function's {}", seconds(FUNCTION_TIMEOUT)),
            figures.right == 5_000 && figures.longest < FUNCTION_TIMEOUT,
        );
    }
}

pub(crate) fn failures(table: &mut Table) {
    table.section("Failures");
    throttling(table);
    refused_names(table);
    refused_zones(table);

    let alone = full_passes(fleet(1_000), 1, |_| {});
    let figures = full_passes(fleet(1_000), 2, |_| {});
    let over = ratio(figures.longest, alone.longest);
    table.row(
        "two full passes over 1,000 new services at once, compared with one",
        format!(
            "{over:.2} times as long, {} refused requests, {} names are right",
            figures.throttled, figures.right
        ),
        "2 times, all names",
        figures.right == 1_000 && over <= 2.0,
    );

    let mut chain = full_pass(fleet(12)).account;
    for number in 0..12 {
        rename(&mut chain, number, number + 1);
    }
    let figures = one(chain, &tagged("discovery:name", 0));
    table.row(
        "the tag of the first of 12 services, each of which has the name that the one before should have",
        format!(
            "{}, {} names are right, {} invocations failed",
            show_calls(calls(&figures)),
            figures.right,
            figures.failed
        ),
        "at most 60 calls, all names, no failure",
        calls(&figures).iter().sum::<usize>() <= 60 && figures.right == 12 && figures.failed == 0,
    );

    let lag = Duration::from_secs(1);
    let events = [0, 100].map(|at| (Duration::from_millis(at), created(0, true)));
    let figures = run_with(fleet(1), DeliveryMode::Direct, events.to_vec(), |simulation| {
        let faults = &mut simulation.faults;
        (faults.list_lag_ms, faults.until_ms) = (1_000, NEVER_MS);
    });
    table.row(
        "an event delivered twice while lists of record sets lag one second",
        format!(
            "{} failed invocations, {} refused changes, the longest invocation took {}",
            figures.failed,
            figures.throttled,
            seconds(figures.longest)
        ),
        "no failed invocation, less than 10 s",
        figures.failed == 0 && figures.right == 1 && figures.longest < lag * 10,
    );
}

/// Requests that AWS throttles.
fn throttling(table: &mut Table) {
    let throttled = |operation: Option<&str>| Faults {
        throttled: 1_000,
        throttled_operation: operation.map(str::to_owned),
        until_ms: NEVER_MS,
        ..Faults::default()
    };
    let short = Duration::from_secs(60);
    let figures = one_with(fleet(1), &created(0, true), |simulation| {
        simulation.faults = throttled(None);
        simulation.function_timeout = short;
    });
    table.row(
        "every request throttled, a function with 60 s: longest of the three attempts at an event",
        seconds(figures.longest),
        "less than 60 s, with a report",
        figures.longest < short && figures.failed == 3,
    );
    let short = Duration::from_secs(300);
    let pass = |operation: Option<&str>| {
        full_passes(fleet(220), 1, |simulation| {
            simulation.faults = throttled(operation);
            simulation.function_timeout = short;
        })
    };
    let figures = pass(None);
    table.row(
        "every request throttled, a function with 300 s: full pass over 220 services",
        seconds(figures.longest),
        "less than 300 s, with a report",
        figures.longest < short && figures.failed == 0,
    );
    for operation in [
        "DescribeServices",
        "DescribeTargetGroups",
        "DescribeLoadBalancers",
        "ListResourceRecordSets",
        "ChangeResourceRecordSets",
    ] {
        let figures = pass(Some(operation));
        table.row(
            format!(
                "every {operation} throttled, a function with 300 s: full pass over 220 services"
            ),
            seconds(figures.longest),
            "less than 300 s, with a report",
            figures.longest < short && figures.failed == 0,
        );
    }
    let interval = Duration::from_secs(20);
    let events = (0..180).map(|number| (interval * number, created(number as usize, true)));
    let figures = run_with(fleet(180), DeliveryMode::Direct, events.collect(), |simulation| {
        simulation.faults =
            Faults { throttled: 600, until_ms: 3_600_000, ..simulation.faults.clone() };
    });
    table.row(
        "an hour in which 60 % of all requests are throttled, a new service every 20 s",
        format!(
            "{} of 180 names are right, {} of {} invocations failed",
            figures.right,
            figures.failed,
            figures.invoked_at.len()
        ),
        "all names, a quarter of the invocations",
        figures.right == 180 && figures.failed * 4 <= figures.invoked_at.len(),
    );
}

/// Names that Route 53 never accepts, among others.
fn refused_names(table: &mut Table) {
    let requests = |figures: &Figures| figures.of("ChangeResourceRecordSets") + figures.throttled;
    let denied = Denied {
        operation: "ChangeResourceRecordSets".into(),
        subject: Some(Subject::Name(full_name(2))),
        from_ms: 0,
        is_permanent: true,
    };
    let figures = full_passes(fleet(5), 1, |simulation| simulation.faults.denied = Some(denied));
    table.row(
        "a permission missing for one of five new names",
        format!("{} names are right after {} change requests", figures.right, requests(&figures)),
        "4",
        figures.right == 4,
    );
    let figures = full_passes(fleet(5), 1, |simulation| {
        reject(simulation, 2..3, Rejection::InvalidInput);
    });
    table.row(
        "one of five new names refused as InvalidInput",
        format!("{} names are right after {} change requests", figures.right, requests(&figures)),
        "4",
        figures.right == 4,
    );

    let pass = |account: Account, rejection| {
        full_passes(account, 1, |simulation| reject(simulation, 0..1, rejection))
    };
    let first = pass(fleet(100), Rejection::Protected);
    let next = pass(first.account.clone(), Rejection::Protected);
    table.row(
        "one of 100 names refused as protected: refusals in each full pass",
        format!("{} and {}; {} names are right", first.throttled, next.throttled, next.right),
        "1, 99 names",
        first.throttled <= 1 && next.throttled <= 1 && next.right == 99,
    );
    let first = pass(fleet(5_000), Rejection::Unexplained);
    let next = pass(first.account, Rejection::Unexplained);
    table.row(
        "one of 5,000 names refused for good, without a reason: calls of the next full pass",
        format!(
            "{}, and {} refusals; {} names are right",
            show_calls(calls(&next)),
            next.throttled,
            next.right
        ),
        "at most 10 % more than in sync, 4999 names",
        next.right == 4_999 && next.to("ecs") <= 606 && next.throttled <= 30,
    );

    for (subject, services, refused) in [
        ("100 of 200 names", 200, (0..100).collect::<Vec<usize>>()),
        ("every 20th of 1,000 names", 1_000, (0..1_000).step_by(20).collect()),
    ] {
        let healthy = services - refused.len();
        let pass = |account: Account| {
            full_passes(account, 1, |simulation| {
                reject(simulation, refused.iter().copied(), Rejection::Unexplained);
            })
        };
        let first = pass(fleet(services));
        let next = pass(first.account.clone());
        table.row(
            format!("{subject} refused for good, without a reason: two full passes"),
            format!(
                "{} refusals in {} and {} in {}; {} and {} names are right",
                first.throttled,
                seconds(first.longest),
                next.throttled,
                seconds(next.longest),
                first.right,
                next.right
            ),
            format!("all {healthy} other names, at most 200 refusals in the second"),
            next.right == healthy && next.throttled <= 200,
        );
    }
}

/// Zones in which Route 53 accepts no name or has no room.
fn refused_zones(table: &mut Table) {
    for refused in [100, 1_000] {
        let zones = [refused, 100];
        let pass = |account: Account| {
            one_with_zones_and(account, zones.len(), FULL_PASS, |simulation| {
                reject(simulation, 0..refused, Rejection::Unexplained);
            })
        };
        let first = pass(fleet_in_zones(&zones));
        let next = pass(first.account.clone());
        let healthy = first.right_among(refused..refused + 100);
        table.row(
            format!("a zone whose {refused} names are all refused, and a healthy zone: two full passes"),
            format!(
                "{} refusals in {} and {} in {}; {healthy} of 100 names of the healthy zone are right",
                first.throttled,
                seconds(first.longest),
                next.throttled,
                seconds(next.longest)
            ),
            "at most 200 refusals in each, all names of the healthy zone in the first",
            healthy == 100 && first.throttled <= 200 && next.throttled <= 200,
        );
    }

    let mut full = full_pass(fleet(20)).account;
    leave_room(&mut full, 0);
    let newcomers = fleet(40);
    full.ecs = newcomers.ecs;
    full.load_balancers = newcomers.load_balancers;
    full.target_groups = newcomers.target_groups;
    let figures = full_passes(full, 1, |_| {});
    table.row(
        "20 new services in a full zone: change requests in a full pass",
        format!("{}; {} names are right", figures.throttled, figures.right),
        "at most 10, the 20 other names",
        figures.throttled <= 10 && figures.right == 20,
    );
}

/// The queues: when failed messages return, and how long a call of Elastic Load Balancing takes.
pub(crate) fn queues(table: &mut Table) {
    table.section("Queues");
    let denied = Denied {
        operation: "DescribeServices".into(),
        subject: None,
        from_ms: 0,
        is_permanent: true,
    };
    let event = vec![(Duration::ZERO, call("CreateService", 0, json!({})))];
    let figures = run_with(fleet(1), QUEUE, event, |simulation| {
        simulation.faults.denied = Some(denied);
    });
    let pauses: Vec<Duration> = figures.invoked_at.windows(2).map(|two| two[1] - two[0]).collect();
    let total = figures.invoked_at.last().copied().unwrap_or_default();
    let goal = [1, 2, 4, 8].map(|minutes| Duration::from_secs(60 * minutes));
    // The batching window, and the invocation itself.
    let most = Duration::from_secs(10);
    table.row(
        "an event that fails each time: pauses between its deliveries",
        format!(
            "{}; in the dead-letter queue after {}",
            pauses.iter().copied().map(seconds).collect::<Vec<_>>().join(", "),
            seconds(total)
        ),
        "1, 2, 4 and 8 minutes, and the batching window",
        pauses.len() == 4
            && pauses.iter().zip(goal).all(|(pause, goal)| *pause >= goal && *pause <= goal + most)
            && figures.given_up == 1,
    );

    for services in [100, 5_000] {
        let mut account = full_pass(fleet(services)).account;
        reconnect(&mut account, 0, 1);
        let call = vec![(Duration::ZERO, load_balancer_call())];
        let figures = run_with(account, LOAD_BALANCER_QUEUE, call, |_| {});
        table.row(
            format!("{services} services, a call of Elastic Load Balancing: time until the name is right"),
            format!("{}, {} names are right", seconds(figures.took), figures.right),
            "150 s: the queue's delay of 30 s, its batching window of 60 s, and a full pass",
            figures.right == services && figures.took <= Duration::from_secs(150),
        );
    }
}

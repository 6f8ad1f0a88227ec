//! `npm run bench`: measures the handler and prints the results. With a path it also writes them as a
//! Markdown document.

mod failures;
mod table;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use benchmarks::binary::{LATENCY, Process};
use benchmarks::workload::{
    DeliveryMode, Figures, QUEUE, ROUND_TRIP, add_records, call, created, delete,
    deleted_unattached, detach, ecs_event, fleet, fleet_behind, full_pass, one, one_with_zones,
    quota_time, record_name, replace_load_balancer, run, tagged,
};
use serde_json::json;
use simulation::account::Account;

use crate::table::{
    Table, calls, mebibytes, median, millis, per_service, print, ratio, seconds, show_calls,
};

const USAGE: &str = "usage: benchmarks HANDLER NOOP PLANNER-OUTPUT [DOCUMENT]

  HANDLER         the handler's release binary
  NOOP            the release binary of a function that does nothing
  PLANNER-OUTPUT  a file with the output of the planner's benchmark
  DOCUMENT        the file to which the results are written, none by default

npm run bench builds all of these and passes them.";

/// Numbers of load balancers and of records, and the round trips until a new service is written.
const LARGE_ACCOUNTS: [(usize, usize, u128); 4] =
    [(5, 0, 2), (400, 0, 3), (5, 9_000, 2), (400, 9_000, 3)];

/// The events over which the processor time of one is measured, because the system counts it in hundredths of a second.
const MEASURED_EVENTS: usize = 100;

/// The load balancers that the handler reads ahead for an event.
const PREFETCHED: usize = 20;

/// The events over which the time of one is measured with each size of memory.
const TIMED_EVENTS: usize = 40;

/// The memory of the function.
const MEMORY: u64 = 256;

/// The exit status for invalid arguments.
const INVALID_ARGUMENTS: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help" || argument == "-h") {
        print(USAGE);
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = arguments.iter().find(|argument| argument.starts_with('-')) {
        eprintln!("unknown argument {unknown:?}\n\n{USAGE}");
        return ExitCode::from(INVALID_ARGUMENTS);
    }
    let paths: Vec<PathBuf> = arguments.iter().map(PathBuf::from).collect();
    let ([handler, noop, planner], document) = match paths.as_slice() {
        [handler, noop, planner] => ([handler, noop, planner], None),
        [handler, noop, planner, document] => ([handler, noop, planner], Some(document)),
        _ => {
            eprintln!("{} arguments, expected 3 or 4\n\n{USAGE}", paths.len());
            return ExitCode::from(INVALID_ARGUMENTS);
        }
    };
    match measure(handler, noop, planner, document.map(PathBuf::as_path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(
    handler: &Path,
    noop: &Path,
    planner: &Path,
    document: Option<&Path>,
) -> Result<(), String> {
    // A missing file is reported before the minutes that the rest takes.
    for path in [handler, noop, planner] {
        std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut table = Table::default();
    events(&mut table);
    large_accounts(&mut table);
    bursts(&mut table);
    full_passes(&mut table);
    failures::deployments(&mut table);
    failures::failures(&mut table);
    failures::queues(&mut table);
    processes(&mut table, handler, noop)?;
    shares(&mut table, handler)?;
    plans(&mut table, planner)?;
    if let Some(document) = document {
        let (head, foot) = (include_str!("head.md"), include_str!("foot.md"));
        std::fs::write(document, format!("{head}{}{foot}", table.markdown()))
            .map_err(|error| format!("{}: {error}", document.display()))?;
        print(&format!("\nwritten to {}", document.display()));
    }
    Ok(())
}

fn events(table: &mut Table) {
    table.section("One event");
    let round_trips = |figures: &Figures| {
        let written = figures.written.unwrap_or_default();
        written.as_millis() / ROUND_TRIP.as_millis()
    };
    let with_target_groups = round_trips(&one(fleet(1), &created(0, true)));
    table.row(
        "round trips until a new service is written, with its target groups in the event",
        with_target_groups.to_string(),
        "2",
        with_target_groups <= 2,
    );
    let new = one(fleet(1), &created(0, false));
    let without = round_trips(&new);
    table.row(
        "round trips until a new service is written, without target groups in the event",
        without.to_string(),
        "3",
        without <= 3,
    );

    let [ecs, elb, route53] = calls(&new);
    table.row(
        "calls: new service, including the recheck",
        show_calls([ecs, elb, route53]),
        "ECS 2 · ELB 2 · Route 53 2",
        ecs <= 2 && elb <= 2 && route53 <= 2,
    );
    let again = one(new.account.clone(), &created(0, false));
    table.row(
        "calls: unchanged service",
        show_calls(calls(&again)),
        "no write",
        again.written.is_none(),
    );
    let registered = full_pass(fleet(2)).account;
    let mut moved = registered.clone();
    replace_load_balancer(&mut moved, 0, 1);
    let figures = one(moved, &call("UpdateService", 0, json!({"loadBalancers": []})));
    table.row(
        "calls: service with another load balancer, including the recheck",
        show_calls(calls(&figures)),
        "1 write",
        figures.of("ChangeResourceRecordSets") == 1,
    );
    let mut deleted = registered.clone();
    delete(&mut deleted, 0);
    let figures = one(deleted, &call("DeleteService", 0, json!({})));
    table.row(
        "calls: deleted service, including the recheck",
        show_calls(calls(&figures)),
        "1 write",
        figures.of("ChangeResourceRecordSets") == 1,
    );
    for (subject, payload) in [
        ("service with a new image", call("UpdateService", 0, json!({"desiredCount": 3}))),
        ("new task", call("RunTask", 0, json!({}))),
        ("tag without a discovery key", tagged("cost-center", 0)),
        ("service in a steady state", ecs_event("SERVICE_STEADY_STATE", 0)),
        ("step of autoscaling", ecs_event("SERVICE_DESIRED_COUNT_UPDATED", 0)),
    ] {
        let figures = one(registered.clone(), &payload);
        table.row(
            format!("calls: {subject}"),
            show_calls(calls(&figures)),
            "none",
            calls(&figures) == [0; 3],
        );
    }
    // The rule leaves the event IN_PROGRESS out. If another rule sends it, the service is read.
    for event in ["SERVICE_DEPLOYMENT_IN_PROGRESS", "SERVICE_DEPLOYMENT_COMPLETED"] {
        let figures = one(registered.clone(), &ecs_event(event, 0));
        table.row(
            format!("calls: {event} of an unchanged service"),
            show_calls(calls(&figures)),
            "ECS 1 · ELB 2 · Route 53 1",
            calls(&figures) == [1, 2, 1],
        );
    }
}

/// The costs of an event in large accounts, zones and environments.
fn large_accounts(table: &mut Table) {
    table.section("One event in a large account");
    let round_trips = |figures: &Figures| {
        let written = figures.written.unwrap_or_default();
        written.as_millis() / ROUND_TRIP.as_millis()
    };
    for (load_balancers, records, most) in LARGE_ACCOUNTS {
        let mut account = fleet_behind(load_balancers, load_balancers);
        add_records(&mut account, "tenant-", "internal", records);
        let figures = one(account, &created(load_balancers - 1, true));
        let found = round_trips(&figures);
        table.row(
            format!("new service, {load_balancers} load balancers, {records} records: received"),
            format!("{} KiB, written after {found} round trips", figures.received.div_ceil(1_024)),
            format!("64 KiB, {most} round trips"),
            figures.received <= 64 * 1_024 && found <= most,
        );
    }
    let new = one_with_zones(fleet(1), 30, &created(0, true));
    table.row(
        "30 zones, new service: calls, including the recheck",
        format!("{}, written after {} round trips", show_calls(calls(&new)), round_trips(&new)),
        "as with one zone, 3 round trips",
        calls(&new) == [2, 2, 2] && round_trips(&new) <= 3,
    );
    let completed = ecs_event("SERVICE_DEPLOYMENT_COMPLETED", 0);
    let completed = one_with_zones(new.account, 30, &completed);
    table.row(
        "30 zones, deployment of a new image completed: calls",
        show_calls(calls(&completed)),
        "as with one zone",
        calls(&completed) == [1, 2, 1],
    );
    let mut detached = fleet(1);
    detach(&mut detached, 0);
    let completed = ecs_event("SERVICE_DEPLOYMENT_COMPLETED", 0);
    let completed = one_with_zones(detached, 30, &completed);
    table.row(
        "30 zones, deployment of a service without load balancers completed: calls",
        show_calls(calls(&completed)),
        "ECS 1",
        calls(&completed) == [1, 0, 0],
    );
    let mut crowded = full_pass(fleet(1)).account;
    add_records(&mut crowded, "1", &record_name(0), 4_000);
    let figures = one(crowded, &created(0, true));
    table.row(
        "name with 4,000 names below it: Route 53 calls",
        figures.to("route53").to_string(),
        "2",
        figures.to("route53") <= 2,
    );
    let mut never = fleet(1);
    add_records(&mut never, "tenant-", "internal", 9_000);
    delete(&mut never, 0);
    let without = one(never.clone(), &deleted_unattached(0));
    table.row(
        "deleted service that never had a load balancer, 9,000 records: calls",
        show_calls(calls(&without)),
        "ECS 1 · ELB 0 · Route 53 1",
        calls(&without) == [1, 0, 1],
    );
    let searched = one(never, &call("DeleteService", 0, json!({})));
    table.row(
        "deleted service with a load balancer that never had a name, 9,000 records: calls",
        format!(
            "{}, at most {} of Route 53 in a second",
            show_calls(calls(&searched)),
            searched.route53_peak
        ),
        "one search of the zone, at half of the rate",
        searched.route53_peak <= 7,
    );
}

fn bursts(table: &mut Table) {
    table.section("Bursts");
    let events = |services: usize, interval: Duration| -> Vec<(Duration, String)> {
        let at = |number: usize| interval * u32::try_from(number).unwrap_or_default();
        (0..services).map(|number| (at(number), created(number, true))).collect()
    };
    let fifth = Duration::from_millis(200);

    let figures = run(fleet(500), QUEUE, events(500, fifth));
    // The names cannot be right before the last event.
    queued(table, "500 services at 5 per second", &figures, 500, fifth * 499);
    let figures = run(fleet(2_000), QUEUE, events(2_000, Duration::ZERO));
    // Each service has a record and a marker.
    queued(table, "2,000 services at once", &figures, 2_000, quota_time(4_000, 1_500.0, 100.0));

    let figures = run(fleet(500), DeliveryMode::Direct, events(500, fifth));
    table.row(
        "direct, 500 services at 5 per second",
        format!(
            "{} of 500 names right after {}, {:.1} Route 53 calls per service",
            figures.right,
            seconds(figures.took),
            per_service(figures.to("route53"), 500)
        ),
        "no name missing, at most 2 Route 53 calls per service",
        figures.right == 500 && figures.failed == 0 && figures.to("route53") <= 1_000,
    );

    // Events that Lambda gave up stay in the dead-letter queue. The next full pass does not need them.
    let mut all = events(2_000, Duration::ZERO);
    all.push((Duration::from_secs(900), r#"{"reconcile":"all"}"#.to_owned()));
    let figures = run(fleet(2_000), DeliveryMode::Direct, all);
    let calls = per_service(figures.to("route53"), 2_000);
    table.row(
        "direct, 2,000 services at once",
        format!(
            "{} of 2,000 names right after the next full pass, {calls:.1} Route 53 calls per service; {} invocations failed before, each within {}",
            figures.right,
            figures.failed,
            seconds(figures.longest)
        ),
        "no name missing, at most 2 Route 53 calls per service",
        figures.right == 2_000 && calls <= 2.0,
    );
}

fn queued(table: &mut Table, burst: &str, figures: &Figures, services: usize, shortest: Duration) {
    let max_batches = services / 25;
    let batches = figures.of("ChangeResourceRecordSets");
    let is_right = figures.right == services && figures.failed == 0;
    let over = ratio(figures.took, shortest);
    table.row(
        format!("queue, {burst}: time until all names are right"),
        format!(
            "{}, {over:.2} times the shortest possible time of {}",
            seconds(figures.took),
            seconds(shortest)
        ),
        "1.2 times, no name missing",
        is_right && over <= 1.2,
    );
    table.row(
        format!("queue, {burst}: change batches"),
        format!("{batches}, and {} Route 53 calls in total", figures.to("route53")),
        format!("{max_batches}: 1 per 25 services"),
        batches <= max_batches,
    );
}

/// The smallest numbers of calls that AWS's page sizes allow: 1 list of clusters, 100 services per list, 10
/// per description and per recheck, 400 load balancers or target groups, and 300 record sets.
fn fewest_calls(services: usize, is_missing: bool) -> [usize; 3] {
    let pages = |size: usize| services.div_ceil(size).max(1);
    let describe = pages(10) * if is_missing { 2 } else { 1 };
    let records = if is_missing { 1 } else { (2 * services).div_ceil(300) };
    [1 + pages(100) + describe, 2 * pages(400), records]
}

fn full_passes(table: &mut Table) {
    table.section("Full passes");
    for services in [100, 1_000, 5_000] {
        let missing = full_pass(fleet(services));
        let in_sync = full_pass(missing.account.clone());
        for (state, figures, is_missing) in
            [("all records missing", &missing, true), ("in sync", &in_sync, false)]
        {
            let batches = figures.of("ChangeResourceRecordSets");
            let [ecs, elb, route53] = fewest_calls(services, is_missing);
            let fewest: usize = ecs + elb + route53 + batches;
            let sum: usize = calls(figures).iter().sum();
            table.row(
                format!("{services} services, {state}: calls"),
                format!(
                    "{} (change batches: {batches}); the minimum is {fewest}; {} names are right",
                    show_calls(calls(figures)),
                    figures.right
                ),
                if is_missing { "at most 5 % more" } else { "at most 5 % more, no write" },
                figures.right == services
                    && sum * 100 <= fewest * 105
                    && (is_missing || batches == 0),
            );
            let peak = figures.route53_peak;
            table.row(
                format!(
                    "{services} services, {state}: greatest number of Route 53 requests in a second"
                ),
                format!("{peak} of the account's 10"),
                "5",
                peak <= 5,
            );
        }
        let [ecs, elb, _] = in_sync.first_second;
        table.row(
            format!("{services} services, in sync: requests in the first second"),
            format!("ECS {ecs} of the account's 100 at once · ELB {elb} of 40"),
            "half of the requests at once and of the rate: ECS 60 · ELB 25",
            ecs <= 60 && elb <= 25,
        );
        let shortest =
            quota_time(2 * services, 750.0, 50.0) + quota_time(services / 10, 50.0, 10.0);
        table.row(
            format!("{services} services, all records missing: time until all names are right"),
            format!(
                "{}; half of Route 53's and ECS's quotas allow {}",
                seconds(missing.took),
                seconds(shortest)
            ),
            "290 s",
            missing.took < Duration::from_secs(290),
        );
    }
}

fn processes(table: &mut Table, handler: &Path, noop: &Path) -> Result<(), String> {
    table.section("The release binary as a process");
    // Alternately: other work of the machine then affects both.
    let (mut handler_starts, mut noop_starts) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        handler_starts.push(Process::start(handler, Account::default())?.started);
        noop_starts.push(Process::start(noop, Account::default())?.started);
    }
    let (handler_start, noop_start) = (median(handler_starts), median(noop_starts));
    let over = ratio(handler_start, noop_start);
    table.row(
        "time from exec to the first request for an event, compared with a function that does nothing",
        format!("{over:.2} times ({:.1} ms and {:.1} ms)", millis(handler_start), millis(noop_start)),
        "1.5 times",
        over <= 1.5,
    );
    let size = compressed_size(handler)?;
    table.row(
        "compressed size",
        format!("{:.2} MiB", mebibytes(size)),
        "3.2 MiB",
        size <= 3_355_443,
    );

    let (mut first_events, mut second_events) = (Vec::new(), Vec::new());
    let (mut later_connections, mut resident) = (0, 0);
    for _ in 0..7 {
        let process = Process::start(handler, fleet(2))?;
        first_events.push(process.invoke(&created(0, true))?.took);
        let second = process.invoke(&created(1, true))?;
        second_events.push(second.took);
        later_connections = later_connections.max(second.connections);
        resident = process.memory_kib()?.0;
    }
    table.row(
        "memory after the first two events",
        format!("{:.1} MiB", mebibytes(resident * 1024)),
        "10 MiB",
        resident <= 10 * 1024,
    );
    let (first, second) = (median(first_events), median(second_events));
    let difference = first.saturating_sub(second);
    // A connection takes one round trip before the handshake, and one for the handshake.
    let handshake = 2 * LATENCY;
    table.row(
        "time of the first event, with TLS handshakes, compared with the second",
        format!(
            "{:.0} ms and {:.0} ms, a difference of {:.0} ms; {later_connections} later connections",
            millis(first),
            millis(second),
            millis(difference)
        ),
        format!(
            "one handshake of {} ms and its computing time, two would take {} ms; no later connection",
            handshake.as_millis(),
            2 * handshake.as_millis()
        ),
        difference < handshake * 3 / 2 && later_connections == 0,
    );

    let mut smallest = None;
    for (load_balancers, records, _) in LARGE_ACCOUNTS {
        let mut account = fleet_behind(load_balancers, load_balancers + 1 + MEASURED_EVENTS);
        add_records(&mut account, "tenant-", "internal", records);
        let process = Process::start(handler, account)?;
        process.invoke(&created(load_balancers, true))?;
        let before = process.cpu()?;
        for number in 1..=MEASURED_EVENTS {
            process.invoke(&created(load_balancers + number, true))?;
        }
        let cpu = (process.cpu()? - before) / MEASURED_EVENTS.try_into().unwrap_or(u32::MAX);
        let over = ratio(cpu, *smallest.get_or_insert(cpu));
        table.row(
            format!(
                "new service, {load_balancers} load balancers, {records} records: processor time"
            ),
            format!("{:.1} ms, {over:.2} times that of the smallest account", millis(cpu)),
            "3 ms, 1.5 times",
            cpu <= Duration::from_millis(3) && over <= 1.5,
        );
    }

    let mut peaks = Vec::new();
    for services in [100, 5_000] {
        let process = Process::start(handler, full_pass(fleet(services)).account)?;
        let before = process.cpu()?;
        let answer = process.invoke(r#"{"reconcile":"all"}"#)?;
        let is_done = answer.body.contains("\"scope\":\"all\"");
        let cpu = process.cpu()? - before;
        let (_, peak) = process.memory_kib()?;
        peaks.push(peak);
        if services == 5_000 {
            table.row(
                "full pass over 5,000 services in sync: peak memory",
                format!("{:.1} MiB", mebibytes(peak * 1024)),
                "64 MiB",
                is_done && peak <= 64 * 1024,
            );
            table.row(
                "full pass over 5,000 services in sync: processor time",
                seconds(cpu),
                "2 s",
                is_done && cpu <= Duration::from_secs(2),
            );
        }
    }
    let growth = (peaks[1] - peaks[0]) * 1024 / 4_900;
    table.row(
        "memory per additional service",
        format!("{:.1} KiB", mebibytes(growth) * 1024.0),
        "6 KiB",
        growth <= 6 * 1024,
    );
    Ok(())
}

/// The median time of the first event and of the later ones, with a share of a processor. If the system does not allow
/// shares, the times are without a limit.
fn timed(
    handler: &Path,
    load_balancers: usize,
    records: usize,
    memory: u64,
) -> Result<(Result<(), String>, Duration, Duration), String> {
    let mut account = fleet_behind(load_balancers, load_balancers + 1 + TIMED_EVENTS);
    add_records(&mut account, "tenant-", "internal", records);
    let mut process = Process::start(handler, account)?;
    let limited = process.limit_to(memory);
    let first = process.invoke(&created(load_balancers, true))?.took;
    let mut later = Vec::new();
    for number in 1..=TIMED_EVENTS {
        later.push(process.invoke(&created(load_balancers + number, true))?.took);
    }
    Ok((limited, first, median(later)))
}

/// The time of an event with the share of a processor that Lambda gives a function of several sizes of memory.
fn shares(table: &mut Table, handler: &Path) -> Result<(), String> {
    table.section("The release binary with Lambda's share of a processor");
    for (load_balancers, records, _) in [LARGE_ACCOUNTS[0], LARGE_ACCOUNTS[3]] {
        let mut whole = None;
        for memory in [1_769, 512, MEMORY, 128] {
            let (limited, first, later) = timed(handler, load_balancers, records, memory)?;
            let (whole_first, whole_later) = *whole.get_or_insert((first, later));
            let over = ratio(later, whole_later);
            let measured = format!(
                "first event {:.0} ms, another one {:.0} ms: {:.2} and {over:.2} times the times with 1,769 MiB",
                millis(first),
                millis(later),
                ratio(first, whole_first),
            );
            let (goal, is_met) = if memory == MEMORY {
                ("1.25 times for another event", over <= 1.25)
            } else {
                ("for comparison", true)
            };
            table.row(
                format!(
                    "new service, {load_balancers} load balancers, {records} records, {memory} MiB"
                ),
                limited
                    .clone()
                    .map_or_else(|error| format!("not measured: {error}"), |()| measured),
                goal,
                is_met && limited.is_ok(),
            );
        }
    }
    // The most load balancers that are read ahead, and one more, for which an event takes a third round trip.
    let mut small = None;
    for load_balancers in [PREFETCHED, PREFETCHED + 1] {
        let (limited, _, later) = timed(handler, load_balancers, 0, MEMORY)?;
        let before = *small.get_or_insert(later);
        let measured = format!("another event {:.0} ms", millis(later));
        table.row(
            format!("new service, {load_balancers} load balancers, {MEMORY} MiB"),
            limited.clone().map_or_else(|error| format!("not measured: {error}"), |()| measured),
            if load_balancers == PREFETCHED {
                "for comparison"
            } else {
                "more: reading ahead saves the round trip"
            },
            limited.is_ok() && (load_balancers == PREFETCHED || later > before),
        );
    }
    Ok(())
}

/// The size of a binary in a zip file.
fn compressed_size(binary: &Path) -> Result<u64, String> {
    let content =
        std::fs::read(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    let mut zip = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    let written = zip.write_all(&content).and_then(|()| zip.finish());
    let zip = written.map_err(|error| error.to_string())?;
    Ok(zip.len().try_into().unwrap_or(u64::MAX))
}

/// Reads the output of the planner's benchmark. The fastest time is the one with the least influence of
/// other processes.
fn plans(table: &mut Table, output: &Path) -> Result<(), String> {
    table.section("The planner");
    let text = std::fs::read_to_string(output)
        .map_err(|error| format!("{}: {error}", output.display()))?;
    let fastest = |services: &str| -> Result<f64, String> {
        let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = lines.find(|words| words.get(1) == Some(&services));
        let millis = line.as_ref().and_then(|words| {
            let value: f64 = words.get(2)?.parse().ok()?;
            Some(if *words.get(3)? == "µs" { value / 1_000.0 } else { value })
        });
        millis.ok_or_else(|| format!("{} has no time for {services}:\n{text}", output.display()))
    };
    let (five, ten) = (fastest("5000")?, fastest("10000")?);
    table.row("plan and check for 5,000 services", format!("{five:.1} ms"), "20 ms", five < 20.0);
    let growth = ten / five;
    table.row(
        "time for 10,000 services, compared with 5,000",
        format!("{growth:.2} times"),
        "2.5 times: the time is linear",
        growth < 2.5,
    );
    Ok(())
}

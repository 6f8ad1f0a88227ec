//! `npm run bench`: measures, prints the table, and writes `docs/benchmarks.md`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use benchmarks::binary::Process;
use benchmarks::workload::{
    self, Delivery, Figures, at_best, call, created, delete, fleet, full_pass, move_behind, one,
    run,
};
use simulation::account::Cloud;

/// What the stack configures.
const QUEUE: Delivery = Delivery::Queue { batch: 100, window: Duration::from_secs(5) };

struct Row {
    what: String,
    figure: String,
    reach: String,
    met: bool,
}

#[derive(Default)]
struct Table(Vec<(&'static str, Vec<Row>)>);

impl Table {
    fn part(&mut self, title: &'static str) {
        println!("\n{title}");
        self.0.push((title, Vec::new()));
    }

    fn row(
        &mut self,
        what: impl Into<String>,
        figure: String,
        reach: impl Into<String>,
        met: bool,
    ) {
        let row = Row { what: what.into(), figure, reach: reach.into(), met };
        println!("  {} {}: {} (to reach: {})", mark(&row), row.what, row.figure, row.reach);
        let _ = std::io::stdout().flush();
        if let Some((_, rows)) = self.0.last_mut() {
            rows.push(row);
        }
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        for (title, rows) in &self.0 {
            let _ =
                writeln!(text, "\n## {title}\n\n| | measured | to reach | |\n|---|---|---|---|");
            for row in rows {
                let Row { what, figure, reach, .. } = row;
                let _ = writeln!(text, "| {what} | {figure} | {reach} | {} |", mark(row));
            }
        }
        text
    }
}

fn mark(row: &Row) -> &'static str {
    if row.met { "✓" } else { "✗" }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let [handler, noop, planner, document] = arguments.as_slice() else {
        eprintln!("usage: bench HANDLER NOOP PLANNER-OUTPUT DOCUMENT; npm run bench knows them");
        return ExitCode::FAILURE;
    };
    let mut table = Table::default();
    events(&mut table);
    bursts(&mut table);
    passes(&mut table);
    if let Err(error) =
        processes(&mut table, handler, noop).and_then(|()| plans(&mut table, planner))
    {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let text =
        format!("{}{}{}", include_str!("head.md"), table.markdown(), include_str!("foot.md"));
    if let Err(error) = std::fs::write(document, text) {
        eprintln!("{}: {error}", document.display());
        return ExitCode::FAILURE;
    }
    println!("\nwritten to {}", document.display());
    ExitCode::SUCCESS
}

/// ECS, Elastic Load Balancing and Route 53.
fn calls(figures: &Figures) -> [usize; 3] {
    ["ecs", "elb", "route53"].map(|service| figures.to(service))
}

fn told([ecs, elb, route53]: [usize; 3]) -> String {
    format!("ECS {ecs} · ELB {elb} · Route 53 {route53}")
}

fn events(table: &mut Table) {
    table.part("One event");
    let trips = |figures: &Figures| {
        let written = figures.written.unwrap_or_default();
        written.as_millis() / workload::TRIP.as_millis()
    };
    let hinted = one(fleet(1), &created(0, true));
    let round = trips(&hinted);
    table.row(
        "round trips until a new service is written, its target groups in the event",
        round.to_string(),
        "2",
        round <= 2,
    );
    let plain = one(fleet(1), &created(0, false));
    let round = trips(&plain);
    table.row("round trips without", round.to_string(), "3", round <= 3);

    let [ecs, elb, route53] = calls(&plain);
    // The look after writing is one of ECS's.
    let met = ecs <= 2 && elb <= 2 && route53 <= 2;
    table.row(
        "calls: new, the look afterwards included",
        told([ecs, elb, route53]),
        "ECS 1 + 1 · ELB 2 · Route 53 2",
        met,
    );
    let again = one(plain.cloud.clone(), &created(0, false));
    table.row("calls: unchanged", told(calls(&again)), "no write", again.written.is_none());
    let registered = full_pass(fleet(2)).cloud;
    let mut moved = registered.clone();
    move_behind(&mut moved, 0, 1);
    let figures = one(moved, &call("UpdateService", 0, serde_json::json!({"loadBalancers": []})));
    table.row(
        "calls: moved, the look afterwards included",
        told(calls(&figures)),
        "1 write",
        figures.of("ChangeResourceRecordSets") == 1,
    );
    let mut gone = registered.clone();
    delete(&mut gone, 0);
    let figures = one(gone, &call("DeleteService", 0, serde_json::json!({})));
    table.row(
        "calls: deleted, the look afterwards included",
        told(calls(&figures)),
        "1 write",
        figures.of("ChangeResourceRecordSets") == 1,
    );
    for (what, payload) in [
        ("a new image", call("UpdateService", 0, serde_json::json!({"desiredCount": 3}))),
        ("a task that runs", call("RunTask", 0, serde_json::json!({}))),
    ] {
        let figures = one(registered.clone(), &payload);
        table.row(
            format!("calls: {what}"),
            told(calls(&figures)),
            "none",
            calls(&figures) == [0; 3],
        );
    }
}

fn bursts(table: &mut Table) {
    table.part("Bursts");
    let every = |services: usize, apart: Duration| -> Vec<(Duration, String)> {
        let at = |number: usize| apart * u32::try_from(number).unwrap_or_default();
        (0..services).map(|number| (at(number), created(number, true))).collect()
    };
    let fifth = Duration::from_millis(200);

    let figures = run(fleet(500), QUEUE, every(500, fifth));
    // The last event comes then: no sooner can all be right.
    let bound = fifth * 499;
    queued(table, "500 services, 5 a second", &figures, 500, bound);
    let figures = run(fleet(2_000), QUEUE, every(2_000, Duration::ZERO));
    // A record and a marker for each.
    let bound = at_best(4_000, 1_500.0, 100.0);
    queued(table, "2,000 services at once", &figures, 2_000, bound);

    let figures = run(fleet(500), Delivery::Direct, every(500, fifth));
    let met = figures.right == 500 && figures.failed == 0 && figures.to("route53") <= 1_000;
    let figure = format!(
        "all right after {}, {:.1} Route 53 calls a service",
        seconds(figures.took),
        per(figures.to("route53"), 500)
    );
    table.row(
        "direct: 500 services, 5 a second",
        figure,
        "nothing lost, at most 2 Route 53 calls a service",
        met,
    );

    // What Lambda gave up waits in the dead-letter queue; the next full pass does not wait for it.
    let mut all = every(2_000, Duration::ZERO);
    all.push((Duration::from_secs(900), r#"{"reconcile":"all"}"#.to_owned()));
    let figures = run(fleet(2_000), Delivery::Direct, all);
    let calls = per(figures.to("route53"), 2_000);
    let figure = format!(
        "{} of 2,000 right after the next full pass, {calls:.1} Route 53 calls a service; {} invocations failed on the way",
        figures.right, figures.failed
    );
    table.row(
        "direct: 2,000 services at once",
        figure,
        "nothing lost, at most 2 Route 53 calls a service",
        figures.right == 2_000 && calls <= 2.0,
    );
}

#[allow(clippy::cast_precision_loss, reason = "counts of calls")]
fn per(calls: usize, services: usize) -> f64 {
    calls as f64 / services as f64
}

fn queued(table: &mut Table, what: &str, figures: &Figures, services: usize, bound: Duration) {
    let most = services / 25;
    let batches = figures.of("ChangeResourceRecordSets");
    let right = figures.right == services && figures.failed == 0;
    let over = ratio(figures.took, bound);
    table.row(
        format!("queue: {what}: until all names are right"),
        format!(
            "{}, {over:.2} of the {} that the quotas give",
            seconds(figures.took),
            seconds(bound)
        ),
        "1.2, nothing lost",
        right && over <= 1.2,
    );
    table.row(
        format!("queue: {what}: change batches"),
        format!("{batches}, and {} Route 53 calls in all", figures.to("route53")),
        format!("{most}: 1 for 25 services"),
        batches <= most,
    );
}

/// The fewest calls that page sizes allow: clusters, lists of 100, descriptions of 10, and the look
/// afterwards; pages of 400; pages of 300.
fn fewest(services: usize, missing: bool) -> [usize; 3] {
    let pages = |of: usize| services.div_ceil(of).max(1);
    let describe = pages(10) * if missing { 2 } else { 1 };
    let records = if missing { 1 } else { (2 * services).div_ceil(300) };
    [1 + pages(100) + describe, 2 * pages(400), records]
}

fn passes(table: &mut Table) {
    table.part("Full passes");
    for services in [100, 1_000, 5_000] {
        let missing = full_pass(fleet(services));
        let in_sync = full_pass(missing.cloud.clone());
        for (what, figures, is_missing) in
            [("everything missing", &missing, true), ("in sync", &in_sync, false)]
        {
            let batches = figures.of("ChangeResourceRecordSets");
            let [ecs, elb, route53] = fewest(services, is_missing);
            let fewest: usize = ecs + elb + route53 + batches;
            let sum: usize = calls(figures).iter().sum();
            let met = figures.right == services
                && sum * 100 <= fewest * 105
                && (is_missing || batches == 0);
            table.row(
                format!("{services} services, {what}"),
                format!(
                    "{}, {batches} of them change batches; the fewest are {fewest}",
                    told(calls(figures))
                ),
                if is_missing { "within 5 %" } else { "within 5 %, no write" },
                met,
            );
            let peak = figures.route53_peak;
            table.row(
                format!("{services} services, {what}: most Route 53 requests in a second"),
                format!("{peak} of the account's 10"),
                "5",
                peak <= 5,
            );
        }
        let took = missing.took;
        let bound = at_best(2 * services, 750.0, 50.0) + at_best(services / 10, 100.0, 20.0);
        table.row(
            format!("{services} services, everything missing: until all names are right"),
            format!(
                "{}; half of Route 53's changes and all of ECS's descriptions give {}",
                seconds(took),
                seconds(bound)
            ),
            "before the function's time is up: 290 s",
            took < Duration::from_secs(290),
        );
    }
}

fn processes(table: &mut Table, handler: &Path, noop: &Path) -> Result<(), String> {
    table.part("The release binary as a process");
    // In turn, so that what the machine does besides meets both.
    let (mut ours, mut nothing) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        ours.push(Process::start(handler, Cloud::default())?.started);
        nothing.push(Process::start(noop, Cloud::default())?.started);
    }
    let (ours, nothing) = (median(ours), median(nothing));
    let over = ratio(ours, nothing);
    table.row(
        "from exec to the first question for an event, against a function that does nothing",
        format!("{over:.2} times ({:.1} ms and {:.1} ms)", millis(ours), millis(nothing)),
        "1.5",
        over <= 1.5,
    );
    let size = zipped(handler)?;
    table.row("size, zipped", format!("{:.2} MiB", mebi(size)), "3.2 MiB", size <= 3_355_443);

    let (mut cold, mut warm, mut later, mut held) = (Vec::new(), Vec::new(), 0, 0);
    for _ in 0..7 {
        let process = Process::start(handler, fleet(2))?;
        cold.push(process.invoke(&created(0, true))?.took);
        let second = process.invoke(&created(1, true))?;
        warm.push(second.took);
        later = later.max(second.connections);
        held = process.memory_kib()?.0;
    }
    table.row(
        "held after the first events",
        format!("{:.1} MiB", mebi(held * 1024)),
        "10 MiB",
        held <= 10 * 1024,
    );
    // A connection costs the network's time before the handshake, and the handshake's own.
    let (cold, warm) = (median(cold), median(warm));
    let more = cold.saturating_sub(warm);
    let handshake = 2 * benchmarks::binary::LATENCY;
    table.row(
        "the first event, with TLS, against the next",
        format!(
            "{:.0} ms and {:.0} ms, so {:.0} ms more; {later} connections are opened later",
            millis(cold),
            millis(warm),
            millis(more)
        ),
        format!(
            "one handshake, {} ms and its computing, where two would be {}; no connection later",
            handshake.as_millis(),
            2 * handshake.as_millis()
        ),
        more < handshake * 3 / 2 && later == 0,
    );

    let mut peaks = Vec::new();
    for services in [100, 5_000] {
        let process = Process::start(handler, full_pass(fleet(services)).cloud)?;
        let before = process.cpu()?;
        let answer = process.invoke(r#"{"reconcile":"all"}"#)?;
        let done = answer.body.contains("\"scope\":\"all\"");
        let cpu = process.cpu()? - before;
        let (_, peak) = process.memory_kib()?;
        peaks.push(peak);
        if services == 5_000 {
            table.row(
                "a full pass over 5,000 services in sync: memory at most",
                format!("{:.1} MiB", mebi(peak * 1024)),
                "64 MiB",
                done && peak <= 64 * 1024,
            );
            table.row(
                "a full pass over 5,000 services in sync: processor",
                seconds(cpu),
                "2 s",
                done && cpu <= Duration::from_secs(2),
            );
        }
    }
    let growth = (peaks[1] - peaks[0]) * 1024 / 4_900;
    table.row(
        "memory for each service more",
        format!("{:.1} KiB", mebi(growth) * 1024.0),
        "6 KiB",
        growth <= 6 * 1024,
    );
    Ok(())
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[allow(clippy::cast_precision_loss, reason = "sizes of files and processes")]
fn mebi(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn zipped(binary: &Path) -> Result<u64, String> {
    let content =
        std::fs::read(binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    let mut zip = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    let written = zip.write_all(&content).and_then(|()| zip.finish());
    let zip = written.map_err(|error| error.to_string())?;
    Ok(zip.len().try_into().unwrap_or(u64::MAX))
}

/// Reads what divan printed: the fastest of many, since anything slower is somebody else's doing.
fn plans(table: &mut Table, output: &Path) -> Result<(), String> {
    table.part("The planner");
    let text = std::fs::read_to_string(output)
        .map_err(|error| format!("{}: {error}", output.display()))?;
    let fastest = |services: &str| -> Result<f64, String> {
        let mut words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let line = words.find(|words| words.get(1) == Some(&services));
        let line = line.ok_or_else(|| format!("{services} is missing in {text}"))?;
        let value: f64 = line[2].parse().map_err(|_| text.clone())?;
        Ok(if line[3] == "µs" { value / 1_000.0 } else { value })
    };
    let (five, ten) = (fastest("5000")?, fastest("10000")?);
    table.row("plan and check for 5,000 services", format!("{five:.1} ms"), "20 ms", five < 20.0);
    let growth = ten / five;
    table.row(
        "twice as many services take",
        format!("{growth:.2} times as long"),
        "2.5: linear",
        growth < 2.5,
    );
    Ok(())
}

//! Plays histories and tells what they came to.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use simulation::faults::Counts;
use simulation::history::History;
use simulation::invariants::Violation;
use simulation::runner::play;
use simulation::shrink::shrink;

const USAGE: &str = "usage: npm run simulate -- [--seeds N] [--first-seed N] [--fresh N]

  --seeds N       how many histories to play, 1000 if it is not said
  --first-seed N  the seed of the first, 0 if it is not said
  --fresh N       so many more, with seeds that nobody has seen";

struct Arguments {
    seeds: u64,
    first: u64,
    fresh: u64,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { seeds: 1_000, first: 0, fresh: 0 };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let place = match name.as_str() {
            "--seeds" => &mut arguments.seeds,
            "--first-seed" => &mut arguments.first,
            "--fresh" => &mut arguments.fresh,
            other => return Err(format!("unknown argument {other:?}\n{USAGE}")),
        };
        let value = given.next().unwrap_or_default();
        *place = value
            .parse()
            .map_err(|_| format!("{name} is {value:?}, expected a whole number\n{USAGE}"))?;
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let Arguments { seeds, first, fresh } = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    // A crash is found and told by the simulation itself.
    std::panic::set_hook(Box::new(|_| {}));
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let fresh_from = since << 20;
    let mut all: Vec<u64> = (first..first + seeds).collect();
    all.extend(fresh_from..fresh_from + fresh);
    if fresh > 0 {
        println!("fresh seeds: --first-seed {fresh_from} --seeds {fresh}");
    }

    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let counts = Mutex::new(Counts::new());
    let failure: Mutex<Option<(u64, Violation)>> = Mutex::new(None);
    let begun = Instant::now();
    let total = all.len() as u64;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(seed) = usize::try_from(index).ok().and_then(|index| all.get(index))
                    else {
                        break;
                    };
                    match play(&History::of(*seed)) {
                        Ok(some) => {
                            let mut counts = counts.lock().expect("no holder panics");
                            for (what, many) in some {
                                *counts.entry(what).or_default() += many;
                            }
                        }
                        Err(violation) => {
                            let mut failure = failure.lock().expect("no holder panics");
                            if failure.as_ref().is_none_or(|(other, _)| seed < other) {
                                *failure = Some((*seed, violation));
                            }
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut told = Instant::now();
        while done.load(Ordering::Relaxed) < total && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                progress(done.load(Ordering::Relaxed), total, begun);
            }
        }
    });
    progress(done.load(Ordering::Relaxed), total, begun);
    if let Some((seed, violation)) = failure.into_inner().expect("no holder panics") {
        tell(seed, &violation);
        return ExitCode::FAILURE;
    }
    println!("\nAll invariants held. What happened on the way:");
    let counts = counts.into_inner().expect("no holder panics");
    for (what, many) in &counts {
        println!("{many:>12}  {what}");
    }
    let missing: Vec<&str> =
        EXERCISED.into_iter().filter(|what| !counts.contains_key(*what)).collect();
    if total >= ENOUGH && !missing.is_empty() {
        println!("\n✗ none of these ever happened, so nothing is proven: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// So many histories have some of everything.
const ENOUGH: u64 = 1_000;

/// What has to happen somewhere in so many, or they exercise too little.
const EXERCISED: [&str; 22] = [
    "change batches applied",
    "connections dropped after",
    "connections dropped before",
    "denied",
    "events doubled",
    "events lost",
    "invocations failed",
    "invocations killed",
    "messages that came again",
    "outcomes adopted",
    "outcomes conflict",
    "outcomes deregistered",
    "outcomes invalid",
    "outcomes updated",
    "prior request not complete",
    "records changed by a person",
    "refusals that name nothing",
    "refusals, bare",
    "refusals, coded",
    "requests left hanging",
    "stale reads",
    "throttled",
];

fn progress(done: u64, total: u64, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let rate = done as f64 / seconds;
    println!("{done} of {total} histories, {rate:.0} a second, {seconds:.0} s");
}

fn tell(seed: u64, violation: &Violation) {
    println!("\n✗ seed {seed} breaks invariant {}: {}", violation.invariant, violation.what);
    println!("\nmaking it smaller …");
    let (history, violation) = shrink(&History::of(seed), violation);
    println!(
        "\nWhat is left of it:\n{history}\ninvariant {}: {}",
        violation.invariant, violation.what
    );
    println!("\nTo see it again: npm run simulate -- --first-seed {seed} --seeds 1");
}

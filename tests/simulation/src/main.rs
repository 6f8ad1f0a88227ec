//! `npm run simulate`: plays histories and reports the first seed that breaks an invariant.

use std::fmt::Display;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use simulation::history::History;
use simulation::invariants::Violation;
use simulation::lambda::panic_message;
use simulation::runner::play;
use simulation::shrink::shrink;
use simulation::state::Tally;

const USAGE: &str = "usage: npm run simulate -- [--seeds N] [--first-seed N] [--fresh N]

  --seeds N       the number of histories to play, 1000 by default
  --first-seed N  the seed of the first history, 0 by default
  --fresh N       the number of additional histories, with new seeds at every run, 0 by default";

/// The exit status for invalid arguments.
const INVALID_ARGUMENTS: u8 = 2;

/// A run with this many histories must meet every event in [`EXPECTED_EVENTS`].
const ENOUGH: u64 = 1_000;

/// Without one of these events, the histories exercise too little of the handler.
const EXPECTED_EVENTS: [&str; 54] = [
    "aliases of others that evaluate health",
    "change batches applied",
    "clusters not found once",
    "connections dropped after the request",
    "connections dropped before the request",
    "creations and deletions that are visible late",
    "deployments completed",
    "deployments failed",
    "deployments moved back",
    "deregistrations beside other work",
    "events delivered twice",
    "events lost",
    "fields missing from an answer",
    "full passes at once",
    "full passes over the delete limit",
    "histories about Fleet",
    "histories about LongNames",
    "invocations failed",
    "invocations killed",
    "load balancers replaced or deleted",
    "markers of others",
    "markers tampered with",
    "messages that return after the visibility timeout",
    "messages that return soon",
    "outcomes adopted",
    "outcomes conflict",
    "outcomes deregistered",
    "outcomes invalid",
    "outcomes refused",
    "outcomes updated",
    "outcomes waiting",
    "primary task sets replaced",
    "prior request not complete",
    "records created by a person",
    "records deleted by a person",
    "records of external-dns",
    "records of others with a health check",
    "refusals of a full zone",
    "refusals that name no change",
    "refusals with an error code",
    "refusals without an error code",
    "requests denied for one cluster",
    "requests denied for one name",
    "requests denied for one zone",
    "requests denied",
    "requests throttled",
    "requests without a response",
    "services not found once",
    "services omitted from an answer",
    "settings changed",
    "stale reads",
    "target groups moved to another load balancer",
    "task sets deleted",
    "weighted records of others",
];

/// The seeds of a run: a fixed range and a range of new ones.
struct Seeds {
    first: u64,
    fixed: u64,
    first_fresh: u64,
    fresh: u64,
}

impl Seeds {
    fn count(&self) -> u64 {
        self.fixed + self.fresh
    }

    fn get(&self, index: u64) -> Option<u64> {
        if index < self.fixed {
            Some(self.first + index)
        } else {
            (index < self.count()).then(|| self.first_fresh + (index - self.fixed))
        }
    }
}

enum Command {
    Help,
    Play(Seeds),
}

fn command(arguments: impl Iterator<Item = String>) -> Result<Command, String> {
    // Every second gives other fresh seeds, and room for a million of them.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut seeds = Seeds { first: 0, fixed: 1_000, first_fresh: now << 20, fresh: 0 };
    let mut arguments = arguments;
    while let Some(name) = arguments.next() {
        let number = match name.as_str() {
            "--help" | "-h" => return Ok(Command::Help),
            "--seeds" => &mut seeds.fixed,
            "--first-seed" => &mut seeds.first,
            "--fresh" => &mut seeds.fresh,
            other => return Err(format!("unknown argument {other:?}")),
        };
        let value = arguments.next().unwrap_or_default();
        *number =
            value.parse().map_err(|_| format!("{name} is {value:?}, expected a whole number"))?;
    }
    if seeds.fixed == 0 && seeds.fresh == 0 {
        return Err("--seeds is 0, so no history would be played and nothing checked".into());
    }
    let ends =
        [(seeds.first, seeds.fixed), (seeds.first_fresh, seeds.fresh), (seeds.fixed, seeds.fresh)];
    if ends.iter().any(|(from, count)| from.checked_add(*count).is_none()) {
        return Err(format!("the seeds do not fit below {}", u64::MAX));
    }
    Ok(Command::Play(seeds))
}

/// Prints a line. A closed pipe changes neither the run nor its exit status.
fn print(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn main() -> ExitCode {
    match command(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            print(USAGE);
            ExitCode::SUCCESS
        }
        Ok(Command::Play(seeds)) => run(&seeds),
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            ExitCode::from(INVALID_ARGUMENTS)
        }
    }
}

fn run(seeds: &Seeds) -> ExitCode {
    if seeds.fresh > 0 {
        print(format!("fresh seeds: --first-seed {} --seeds {}", seeds.first_fresh, seeds.fresh));
    }
    // The violation reports a crash of the handler. A single history also prints the place of the crash.
    if seeds.count() > 1 {
        silence_panics();
    }
    match play_all(seeds) {
        Ok(tally) => report(seeds, &tally),
        Err((seed, Failure::Violation(violation))) => {
            report_violation(seed, &violation);
            ExitCode::FAILURE
        }
        Err((seed, Failure::Panic(message))) => {
            print(format!("\n✗ seed {seed} crashes the simulation itself: {message}"));
            report_command(seed);
            ExitCode::FAILURE
        }
    }
}

fn silence_panics() {
    std::panic::set_hook(Box::new(|_| {}));
}

/// The failure of one history.
enum Failure {
    Violation(Violation),
    /// The simulation has a defect.
    Panic(String),
}

fn play_one(seed: u64) -> Result<Tally, Failure> {
    match catch_unwind(AssertUnwindSafe(|| play(&History::of(seed)))) {
        Ok(result) => result.map_err(Failure::Violation),
        Err(panic) => Err(Failure::Panic(panic_message(&*panic).to_owned())),
    }
}

/// Plays all histories on all processors. Stops after the first failure, and returns the one with the
/// smallest seed.
fn play_all(seeds: &Seeds) -> Result<Tally, (u64, Failure)> {
    let next = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    let is_stopped = AtomicBool::new(false);
    let tally = Mutex::new(Tally::new());
    let failure: Mutex<Option<(u64, Failure)>> = Mutex::new(None);
    let begun = Instant::now();
    let progress = || {
        let seconds = begun.elapsed().as_secs_f64();
        let (done, all) = (done.load(Ordering::Relaxed), seeds.count());
        #[allow(clippy::cast_precision_loss, reason = "the rate is rounded")]
        let rate = done as f64 / seconds;
        print(format!("{done} of {all} histories, {rate:.0} a second, {seconds:.0} s"));
    };
    let work = || {
        while !is_stopped.load(Ordering::Relaxed) {
            let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            match play_one(seed) {
                Ok(one) => {
                    let mut tally = tally.lock().expect("no holder panics");
                    for (event, count) in one {
                        *tally.entry(event).or_default() += count;
                    }
                }
                Err(found) => {
                    let mut failure = failure.lock().expect("no holder panics");
                    if failure.as_ref().is_none_or(|(other, _)| seed < *other) {
                        *failure = Some((seed, found));
                    }
                    is_stopped.store(true, Ordering::Relaxed);
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
        let mut printed = Instant::now();
        while done.load(Ordering::Relaxed) < seeds.count() && !is_stopped.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(50));
            if printed.elapsed() > Duration::from_secs(10) {
                printed = Instant::now();
                progress();
            }
        }
    });
    progress();
    match failure.into_inner().expect("no holder panics") {
        Some(failure) => Err(failure),
        None => Ok(tally.into_inner().expect("no holder panics")),
    }
}

fn report(seeds: &Seeds, tally: &Tally) -> ExitCode {
    print(format!("\nAll invariants held in {} histories, in which this happened:", seeds.count()));
    for (event, count) in tally {
        print(format!("{count:>12}  {event}"));
    }
    let missing: Vec<&str> =
        EXPECTED_EVENTS.into_iter().filter(|event| !tally.contains_key(*event)).collect();
    if seeds.count() >= ENOUGH && !missing.is_empty() {
        let missing = missing.join(", ");
        print(format!(
            "\n✗ the histories exercise too little, these events never happened: {missing}"
        ));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn report_violation(seed: u64, violation: &Violation) {
    let Violation { invariant, message } = violation;
    print(format!("\n✗ seed {seed} breaks invariant {invariant}: {message}"));
    print("\nshrinking the history …");
    silence_panics();
    let (history, violation) = shrink(&History::of(seed), violation);
    let Violation { invariant, message } = violation;
    print(format!("\nThe shrunk history:\n{history}\nIt breaks invariant {invariant}: {message}"));
    report_command(seed);
}

fn report_command(seed: u64) {
    print(format!("\nTo play it again: npm run simulate -- --first-seed {seed} --seeds 1"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &str) -> String {
        match command(arguments.split_whitespace().map(str::to_owned)) {
            Ok(Command::Help) => "help".into(),
            Ok(Command::Play(seeds)) => {
                let last = seeds.get(seeds.count() - 1).expect("the last seed");
                assert_eq!(seeds.get(seeds.count()), None);
                let last = last.checked_sub(seeds.first_fresh).unwrap_or(last);
                format!("{} from {}, the last is {last}", seeds.count(), seeds.first)
            }
            Err(error) => error,
        }
    }

    #[test]
    fn arguments_are_checked_before_anything_is_played() {
        assert_eq!(check(""), "1000 from 0, the last is 999");
        assert_eq!(check("--first-seed 7 --seeds 3"), "3 from 7, the last is 9");
        assert_eq!(check("--seeds 0 --fresh 5"), "5 from 0, the last is 4");
        assert_eq!(check("--seeds 5 --help"), "help");
        assert_eq!(
            check("--seeds 0"),
            "--seeds is 0, so no history would be played and nothing checked"
        );
        assert_eq!(check("--seeds"), "--seeds is \"\", expected a whole number");
        assert_eq!(check("--seeds -1"), "--seeds is \"-1\", expected a whole number");
        assert_eq!(check("--sedes 1"), "unknown argument \"--sedes\"");
        assert_eq!(
            check("--first-seed 18446744073709551615 --seeds 1"),
            "the seeds do not fit below 18446744073709551615"
        );
    }
}

//! Makes a failing history small: leaves out what it fails without.

use crate::faults::Weather;
use crate::history::History;
use crate::invariants::Violation;
use crate::runner::play;

/// So many histories are tried at most.
const TRIES: usize = 400;

pub fn shrink(history: &History, violation: &Violation) -> (History, Violation) {
    let mut best = (history.clone(), violation.clone());
    let mut tries = 0;
    let mut better = |best: &mut (History, Violation), candidate: History| {
        tries += 1;
        if tries > TRIES {
            return false;
        }
        match play(&candidate) {
            Err(violation) if violation.invariant == best.1.invariant => {
                *best = (candidate, violation);
                true
            }
            _ => false,
        }
    };
    let calm = Weather {
        until_ms: best.0.weather.until_ms,
        latency_ms: best.0.weather.latency_ms,
        ..Weather::default()
    };
    let candidate = History { weather: calm, ..best.0.clone() };
    better(&mut best, candidate);
    let mut size = best.0.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < best.0.steps.len() {
            let mut candidate = best.0.clone();
            candidate.steps.drain(at..(at + size).min(candidate.steps.len()));
            if !better(&mut best, candidate) {
                at += size;
            }
        }
        size /= 2;
    }
    for at in 0..best.0.steps.len() {
        let mut candidate = best.0.clone();
        let travel = &mut candidate.steps[at].travel;
        travel.arrives_ms.truncate(1);
        travel.native = false;
        travel.truncated = false;
        better(&mut best, candidate);
    }
    best
}

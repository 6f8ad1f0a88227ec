//! Makes a failing history smaller: removes everything that the violation does not need.

use crate::faults::Faults;
use crate::history::History;
use crate::invariants::Violation;
use crate::runner::play;

/// The number of smaller histories that are played.
const MAX_TRIES: usize = 400;

pub fn shrink(history: &History, violation: &Violation) -> (History, Violation) {
    let mut best = (history.clone(), violation.clone());
    let mut tries = 0;
    let mut is_better = |best: &mut (History, Violation), candidate: History| {
        tries += 1;
        if tries > MAX_TRIES {
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
    let no_faults = Faults {
        until_ms: best.0.faults.until_ms,
        latency_ms: best.0.faults.latency_ms,
        ..Faults::default()
    };
    let candidate = History { faults: no_faults, ..best.0.clone() };
    is_better(&mut best, candidate);
    let mut size = best.0.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < best.0.steps.len() {
            let mut candidate = best.0.clone();
            candidate.steps.drain(at..(at + size).min(candidate.steps.len()));
            if !is_better(&mut best, candidate) {
                at += size;
            }
        }
        size /= 2;
    }
    for at in 0..best.0.steps.len() {
        let mut candidate = best.0.clone();
        let delivery = &mut candidate.steps[at].delivery;
        delivery.arrives_ms.truncate(1);
        delivery.with_ecs_event = false;
        delivery.truncated = false;
        is_better(&mut best, candidate);
    }
    best
}

//! Sends a checked plan to Route 53, batch by batch, and isolates refused changes.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;

use crate::aws::deadline::Deadline;
use crate::aws::rate_limiter::Priority;
use crate::aws::route53::{ChangeError, Refusal, Route53};
use crate::domain::check::{Batch, SafePlan};
use crate::domain::plan::NameChange;
use crate::domain::search::{Search, halves};
use crate::domain::service::HostedZoneId;
use crate::turns::Turns;

/// Changes that were not applied, with the reason.
pub(crate) type NotApplied<'a> = (Vec<&'a NameChange>, String);

/// The result of applying a plan.
#[derive(Default)]
pub(crate) struct Applied<'a> {
    pub(crate) done: Vec<&'a NameChange>,
    /// Changes that no longer fit the zone, with Route 53's messages. Another run was faster, so the
    /// world is read again.
    pub(crate) refused: Vec<NotApplied<'a>>,
    /// Changes that Route 53 will refuse each time, with its messages.
    pub(crate) rejected: Vec<NotApplied<'a>>,
    pub(crate) failed: Vec<NotApplied<'a>>,
    /// Changes whose request AWS rejected for another reason than their content, usually a missing permission.
    pub(crate) denied: Vec<NotApplied<'a>>,
    /// Changes that were not sent because Route 53 refused too many others of their zone.
    pub(crate) given_up: Vec<NotApplied<'a>>,
    /// Zones without room for more records, with Route 53's messages.
    pub(crate) full_zones: BTreeMap<HostedZoneId, String>,
}

/// The most refused proofs for one zone in one round. Versions that take over a zone from each other must not keep a
/// round busy.
const MAX_REFUSED_PROOFS: usize = 5;

/// The time that the recheck of one service takes at half of the rate of ECS.
const RECHECK_TIME: Duration = Duration::from_millis(10);

/// Applies `plan`, and starts no batch after the deadline, or so late that no time is left to recheck the services.
///
/// The zones are written side by side, so that none of them waits for another one.
pub(crate) async fn apply<'a>(
    route53: &Route53,
    plan: &'a SafePlan,
    turns: &Turns<'_>,
    priority: Priority,
    deadline: Deadline,
    first_place: u32,
) -> Applied<'a> {
    let mut zones: BTreeMap<&HostedZoneId, Vec<Batch<'a>>> = BTreeMap::new();
    for batch in plan.batches() {
        if let Some(change) = batch.iter().copied().flatten().next() {
            zones.entry(&change.zone).or_default().push(batch);
        }
    }
    let done = Cell::new(0);
    let writer = Writer { route53, turns, priority, deadline, first_place, done: &done };
    let mut applied = Applied::default();
    for zone in join_all(zones.into_values().map(|batches| writer.write(batches))).await {
        applied.done.extend(zone.done);
        applied.refused.extend(zone.refused);
        applied.rejected.extend(zone.rejected);
        applied.failed.extend(zone.failed);
        applied.denied.extend(zone.denied);
        applied.given_up.extend(zone.given_up);
        applied.full_zones.extend(zone.full_zones);
    }
    applied
}

struct Writer<'w> {
    route53: &'w Route53,
    turns: &'w Turns<'w>,
    priority: Priority,
    deadline: Deadline,
    /// Where the search for refused changes tries single ones. It differs between runs.
    first_place: u32,
    /// The number of changes that were applied, in all zones.
    done: &'w Cell<u32>,
}

impl Writer<'_> {
    /// Writes the batches of one zone, one after the other.
    ///
    /// One refused change takes its whole batch with it. The groups of the changes that the refusal names are set
    /// aside, and the rest is sent again. If the refusal names none of them, a [`Search`] finds the refused groups. The
    /// same applies to every other answer that rejects the request, for example because a policy of the role excludes a
    /// name, since AWS does not report which one.
    async fn write<'a>(&self, batches: Vec<Batch<'a>>) -> Applied<'a> {
        let mut applied = Applied::default();
        let mut refused_proofs = 0;
        let mut room = Room::default();
        let mut search = Search::new(batches, self.first_place);
        while let Some(batch) = search.next_part() {
            let batch = room.split(batch, &mut applied);
            if batch.is_empty() {
                continue;
            }
            let changes = all(&batch);
            let zone = &changes[0].zone;
            let proof = match self.turns.proof(zone) {
                Ok(proof) => proof,
                Err(reason) => {
                    applied.failed.push((changes, reason));
                    continue;
                }
            };
            let is_about_proof = |refusal: &Refusal| {
                proof.as_ref().is_some_and(|proof| refusal.blames_within(&proof.name))
            };
            let error = match self.send(proof.as_ref(), &changes).await {
                Ok(()) => {
                    search.accepted();
                    applied.done.extend(changes);
                    continue;
                }
                Err(error) => error,
            };
            let reason = error.to_string();
            match error {
                ChangeError::Failed(_) | ChangeError::OutOfTime => {
                    applied.failed.push((changes, reason));
                    continue;
                }
                // The zone belongs to another version of the function, or to none yet.
                ChangeError::Refused(refusal)
                    if is_about_proof(&refusal) && refused_proofs < MAX_REFUSED_PROOFS =>
                {
                    refused_proofs += 1;
                    self.turns.decide(zone, self.priority, self.deadline).await;
                    search.again([batch]);
                }
                ChangeError::Rejected { .. } if batch.len() > 1 => search.refused(halves(batch)),
                ChangeError::Rejected { is_permanent, .. } => {
                    let kind =
                        if is_permanent { &mut applied.rejected } else { &mut applied.denied };
                    kind.push((changes, reason));
                    search.refused([]);
                }
                ChangeError::Refused(refusal) if refusal.is_about_room() => {
                    let (growing, rest): (Vec<_>, Vec<_>) =
                        batch.iter().partition(|group| growth(group) > 0);
                    if !growing.is_empty() && !rest.is_empty() {
                        // Those that need no room come first.
                        search.refused([rest, growing]);
                    } else if batch.len() > 1 {
                        search.refused(halves(batch));
                    } else {
                        applied.full_zones.insert(changes[0].zone.clone(), refusal.to_string());
                        room = Room(Some((growth(batch[0]), reason.clone())));
                        applied.rejected.push((changes, reason));
                        search.refused([]);
                    }
                }
                ChangeError::Refused(refusal) => {
                    let (blamed, rest): (Vec<_>, Vec<_>) = batch
                        .iter()
                        .partition(|group| group.iter().any(|change| refusal.blames(change)));
                    if blamed.is_empty() && batch.len() > 1 {
                        search.refused(halves(batch));
                        continue;
                    }
                    let set_aside = if blamed.is_empty() { &batch } else { &blamed };
                    let kind = match refusal.is_outdated() {
                        true => &mut applied.refused,
                        false => &mut applied.rejected,
                    };
                    kind.push((all(set_aside), reason));
                    // A message may name only the first refused changes. Each attempt takes its part of the rate, so the
                    // attempts become smaller.
                    let is_first = search.refusals_in_a_row() == 0;
                    match blamed.is_empty() {
                        true => search.refused([]),
                        false if is_first || rest.len() < 2 => search.refused([rest]),
                        false => search.refused(halves(rest)),
                    }
                }
            }
        }
        let in_a_row = search.refusals_in_a_row();
        for batch in search.rest() {
            let batch = room.split(batch, &mut applied);
            let Some(change) = batch.iter().copied().flatten().next() else { continue };
            let reason = format!(
                "skipped: Route 53 refused {in_a_row} other requests in a row for the zone {}, so the handler gave the \
                 zone up",
                change.zone
            );
            applied.given_up.push((all(&batch), reason));
        }
        applied
    }

    async fn send(
        &self,
        proof: Option<&NameChange>,
        changes: &[&NameChange],
    ) -> Result<(), ChangeError> {
        let changed = self.done.get() + u32::try_from(changes.len()).unwrap_or(u32::MAX);
        let deadline = self.deadline.earlier(RECHECK_TIME * changed);
        if deadline.has_passed() {
            return Err(ChangeError::OutOfTime);
        }
        self.route53.change(proof, changes, self.priority, deadline).await?;
        self.done.set(self.done.get() + u32::try_from(changes.len()).unwrap_or(u32::MAX));
        Ok(())
    }
}

/// The growth of the zone, in record sets, for which Route 53 has no room, with its message.
#[derive(Default)]
struct Room(Option<(usize, String)>);

impl Room {
    /// The groups of a batch that may fit. The changes of the others are rejected.
    fn split<'a>(&self, batch: Batch<'a>, applied: &mut Applied<'a>) -> Batch<'a> {
        let Some((too_much, reason)) = &self.0 else { return batch };
        let (too_large, fitting): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|group| growth(group) >= *too_much);
        if !too_large.is_empty() {
            applied.rejected.push((all(&too_large), reason.clone()));
        }
        fitting
    }
}

fn all<'a>(batch: &Batch<'a>) -> Vec<&'a NameChange> {
    batch.iter().copied().flatten().collect()
}

/// The number of record sets by which a group enlarges the zone.
fn growth(group: &[NameChange]) -> usize {
    let counts = || group.iter().map(NameChange::count);
    let created: usize = counts().map(|changes| changes.created).sum();
    created.saturating_sub(counts().map(|changes| changes.deleted).sum())
}

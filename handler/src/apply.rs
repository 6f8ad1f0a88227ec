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

/// The most refusals in a row for one zone in one round. One refused name in a full batch needs about ten. Without a
/// limit, a role without the permission would cost two requests for each name.
const MAX_REFUSALS_IN_A_ROW: usize = 30;

/// The most refusals for one zone in one round.
const MAX_REFUSALS: usize = 100;

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
) -> Applied<'a> {
    let mut zones: BTreeMap<&HostedZoneId, Vec<Batch<'a>>> = BTreeMap::new();
    for batch in plan.batches() {
        if let Some(change) = batch.iter().copied().flatten().next() {
            zones.entry(&change.zone).or_default().push(batch);
        }
    }
    let done = Cell::new(0);
    let writer = Writer { route53, turns, priority, deadline, done: &done };
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
    /// The number of changes that were applied, in all zones.
    done: &'w Cell<u32>,
}

impl Writer<'_> {
    /// Writes the batches of one zone, one after the other.
    ///
    /// One refused change takes its whole batch with it. The groups of the changes that the refusal names are set
    /// aside, and the rest is sent again. If the refusal names none of them, the batch is halved until the refused
    /// groups are alone. The same applies to every other answer that rejects the request, for example because a policy
    /// of the role excludes a name, since AWS does not report which one.
    async fn write<'a>(&self, mut batches: Vec<Batch<'a>>) -> Applied<'a> {
        let mut applied = Applied::default();
        let (mut refusals, mut in_a_row, mut refused_proofs) = (0, 0, 0);
        let mut room = Room::default();
        batches.reverse();
        while let Some(batch) = batches.pop() {
            let (batch, too_large) = room.split(batch);
            if let Some((changes, reason)) = too_large {
                applied.rejected.push((changes, reason));
            }
            if batch.is_empty() {
                continue;
            }
            let changes = all(&batch);
            if refusals == MAX_REFUSALS || in_a_row == MAX_REFUSALS_IN_A_ROW {
                let reason = format!(
                    "skipped: Route 53 refused {refusals} other requests for the zone {}, so the handler gave \
                     the zone up",
                    changes[0].zone
                );
                applied.given_up.push((changes, reason));
                continue;
            }
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
                    in_a_row = 0;
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
                    batches.push(batch);
                    continue;
                }
                ChangeError::Rejected { .. } if batch.len() > 1 => batches.extend(halves(&batch)),
                ChangeError::Rejected { is_permanent: true, .. } => {
                    applied.rejected.push((changes, reason));
                }
                ChangeError::Rejected { .. } => applied.denied.push((changes, reason)),
                ChangeError::Refused(refusal) if refusal.is_about_room() => {
                    let (growing, rest): (Vec<_>, Vec<_>) =
                        batch.iter().partition(|group| growth(group) > 0);
                    if !growing.is_empty() && !rest.is_empty() {
                        // Those that need no room come first.
                        batches.extend([growing, rest]);
                    } else if batch.len() > 1 {
                        batches.extend(halves(&batch));
                    } else {
                        applied.full_zones.insert(changes[0].zone.clone(), refusal.to_string());
                        room = Room(Some((growth(batch[0]), reason.clone())));
                        applied.rejected.push((changes, reason));
                    }
                }
                ChangeError::Refused(refusal) => {
                    let (blamed, rest): (Vec<_>, Vec<_>) = batch
                        .iter()
                        .partition(|group| group.iter().any(|change| refusal.blames(change)));
                    if blamed.is_empty() && batch.len() > 1 {
                        batches.extend(halves(&batch));
                    } else {
                        let set_aside = if blamed.is_empty() { &batch } else { &blamed };
                        let set_aside = (all(set_aside), reason);
                        if refusal.is_outdated() {
                            applied.refused.push(set_aside);
                        } else {
                            applied.rejected.push(set_aside);
                        }
                        // A message may name only the first refused changes. Each attempt takes its part of the
                        // rate, so the attempts become smaller.
                        if !blamed.is_empty() && rest.len() > 1 && in_a_row > 0 {
                            batches.extend(halves(&rest));
                        } else if !blamed.is_empty() && !rest.is_empty() {
                            batches.push(rest);
                        }
                    }
                }
            }
            refusals += 1;
            in_a_row += 1;
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
    /// The groups of a batch that may fit, and the changes of those that do not.
    fn split<'a>(&self, batch: Batch<'a>) -> (Batch<'a>, Option<NotApplied<'a>>) {
        let Some((too_much, reason)) = &self.0 else { return (batch, None) };
        let (too_large, fitting): (Vec<_>, Vec<_>) =
            batch.into_iter().partition(|group| growth(group) >= *too_much);
        let rejected = (!too_large.is_empty()).then(|| (all(&too_large), reason.clone()));
        (fitting, rejected)
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

/// The halves of a batch, the first one last.
fn halves<'a>(batch: &Batch<'a>) -> [Batch<'a>; 2] {
    let (left, right) = batch.split_at(batch.len() / 2);
    [right.to_vec(), left.to_vec()]
}

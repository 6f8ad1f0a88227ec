//! Sends a checked plan to Route 53, batch by batch, and isolates refused changes.

use tokio::time::Instant;

use crate::aws::route53::{ChangeError, Priority, Refusal, Route53};
use crate::domain::check::{Batch, SafePlan};
use crate::domain::plan::NameChange;
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
    pub(crate) failed: Vec<NotApplied<'a>>,
}

/// The most denied batches that a round halves. One denied name in a full batch needs about ten. Without a limit, a
/// role without the permission would cost two requests for each name.
const MAX_DENIALS: usize = 30;

/// The most refused proofs of a round. Versions that take over a zone from each other must not keep a round busy.
const MAX_REFUSED_PROOFS: usize = 20;

/// Applies `plan`, and starts no batch after `stop_at`.
///
/// One refused change takes its whole batch with it. The groups of the changes that the refusal names are set
/// aside, and the rest is sent again. If the refusal names none of them or all of them, the batch is halved
/// until the refused groups are alone. The same applies to a denial, since a policy may exclude single names.
pub(crate) async fn apply<'a>(
    route53: &Route53,
    plan: &'a SafePlan,
    turns: &mut Turns<'_>,
    priority: Priority,
    stop_at: Instant,
) -> Applied<'a> {
    let mut applied = Applied::default();
    let mut denials = 0;
    let mut proofs = MAX_REFUSED_PROOFS;
    let mut batches = plan.batches();
    batches.reverse();
    while let Some(batch) = batches.pop() {
        let changes: Vec<&NameChange> = batch.iter().copied().flatten().collect();
        if Instant::now() >= stop_at {
            let reason = "skipped: the invocation was about to time out".to_owned();
            applied.failed.push((changes, reason));
            continue;
        }
        let Some(zone) = changes.first().map(|change| change.zone.clone()) else { continue };
        let proof = match turns.proof(&zone) {
            Ok(proof) => proof,
            Err(reason) => {
                applied.failed.push((changes, reason));
                continue;
            }
        };
        let is_about_proof = |refusal: &Refusal| {
            proof.as_ref().is_some_and(|proof| refusal.blames_within(&proof.name))
        };
        match route53.change(proof.as_ref(), &changes, priority).await {
            Ok(()) => applied.done.extend(changes),
            // The zone belongs to another version of the function, or to none yet.
            Err(ChangeError::Refused(refusal)) if is_about_proof(&refusal) && proofs > 0 => {
                proofs -= 1;
                turns.decide(&zone, priority).await;
                batches.push(batch);
            }
            // The policy of the role may exclude single names. IAM does not report which of them.
            Err(ChangeError::Denied(_)) if batch.len() > 1 && denials < MAX_DENIALS => {
                denials += 1;
                batches.extend(halves(&batch));
            }
            Err(ChangeError::Denied(error) | ChangeError::Failed(error)) => {
                applied.failed.push((changes, error.to_string()));
            }
            Err(ChangeError::Refused(refusal)) => {
                let (blamed, rest): (Vec<_>, Vec<_>) = batch
                    .iter()
                    .partition(|group| group.iter().any(|change| refusal.blames(change)));
                let reason = ChangeError::Refused(refusal).to_string();
                if batch.len() == 1 {
                    applied.refused.push((changes, reason));
                } else if blamed.is_empty() || rest.is_empty() {
                    batches.extend(halves(&batch));
                } else {
                    applied.refused.push((blamed.into_iter().flatten().collect(), reason));
                    batches.push(rest);
                }
            }
        }
    }
    applied
}

/// The halves of a batch, the first one last.
fn halves<'a>(batch: &Batch<'a>) -> [Batch<'a>; 2] {
    let (left, right) = batch.split_at(batch.len() / 2);
    [right.to_vec(), left.to_vec()]
}

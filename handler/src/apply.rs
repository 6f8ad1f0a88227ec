//! Sends a checked plan to Route 53, batch by batch, and isolates refused changes.

use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::aws::route53::{ChangeError, Priority, Route53};
use crate::domain::check::SafePlan;
use crate::domain::plan::NameChange;
use crate::domain::service::ServiceArn;

/// The result of applying a plan.
#[derive(Default)]
pub(crate) struct Applied<'a> {
    pub(crate) done: Vec<&'a NameChange>,
    /// Changes that no longer fit the zone, with Route 53's messages. Another run was faster, so the
    /// world is read again.
    pub(crate) refused: Vec<(BTreeSet<ServiceArn>, String)>,
    pub(crate) failed: Vec<(BTreeSet<ServiceArn>, String)>,
}

/// Applies `plan`, and starts no batch after `stop_at`.
///
/// One refused change takes its whole batch with it. The changes that the refusal names are set aside, and
/// the rest is sent again. If the refusal names none of them or all of them, the batch is halved until the
/// refused changes are alone.
pub(crate) async fn apply<'a>(
    route53: &Route53,
    plan: &'a SafePlan,
    priority: Priority,
    stop_at: Instant,
) -> Applied<'a> {
    let mut applied = Applied::default();
    let mut batches = plan.batches();
    batches.reverse();
    while let Some(batch) = batches.pop() {
        if Instant::now() >= stop_at {
            let reason = "skipped: the invocation was about to time out".to_owned();
            applied.failed.push((services(&batch), reason));
            continue;
        }
        match route53.change(&batch, priority).await {
            Ok(()) => applied.done.extend(batch),
            Err(ChangeError::Failed(error)) => {
                applied.failed.push((services(&batch), error.to_string()));
            }
            Err(ChangeError::Refused(refusal)) => {
                let (blamed, rest): (Vec<_>, Vec<_>) =
                    batch.iter().partition(|change| refusal.blames(change));
                let reason = ChangeError::Refused(refusal).to_string();
                if batch.len() == 1 {
                    applied.refused.push((services(&batch), reason));
                } else if blamed.is_empty() || rest.is_empty() {
                    let (left, right) = batch.split_at(batch.len() / 2);
                    batches.extend([right.to_vec(), left.to_vec()]);
                } else {
                    applied.refused.push((services(&blamed), reason));
                    batches.push(rest);
                }
            }
        }
    }
    applied
}

fn services(batch: &[&NameChange]) -> BTreeSet<ServiceArn> {
    batch.iter().flat_map(|change| change.services.iter().cloned()).collect()
}

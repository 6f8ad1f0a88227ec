//! Turns a plan into one that may be applied: without deletions that look like an accident, and in batches
//! that Route 53 accepts.
//!
//! [`SafePlan`] has private fields and no constructor but the check, so an unchecked plan cannot be
//! applied.

use std::collections::BTreeSet;

use crate::domain::config::DeleteLimit;
use crate::domain::plan::{NameChange, Plan};
use crate::domain::report::{Outcome, Status};
use crate::domain::service::ServiceArn;

/// Route 53's quota of values in one change batch.
const MAX_VALUES_PER_BATCH: usize = 1_000;

/// Route 53's quota of characters in all values of one change batch.
const MAX_CHARACTERS_PER_BATCH: usize = 32_000;

/// A plan that may be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafePlan {
    changes: Vec<NameChange>,
    outcomes: Vec<Outcome>,
    managed: usize,
}

impl Plan {
    /// Checks the plan of the first round.
    pub fn check(self, limit: Option<DeleteLimit>) -> SafePlan {
        self.check_after(0, limit)
    }

    /// Removes all losses from the plan if they exceed `limit`: so many at once look like an accident.
    /// `lost` is the number of names that earlier rounds of the same pass lost, since the limit is for the
    /// whole pass. Without a limit every deletion is allowed.
    pub fn check_after(self, lost: usize, limit: Option<DeleteLimit>) -> SafePlan {
        let Plan { mut changes, mut outcomes, managed } = self;
        let (all, mut losses) = (managed + lost, lost);
        losses += changes.iter().filter(|change| change.is_loss).count();
        if let Some(DeleteLimit { free, percent }) = limit
            && losses > lost.max(free)
            && losses * 100 > all * percent
        {
            let reason = format!(
                "the delete limit stopped this full pass: it would delete {losses} of {all} names, \
                 more than {free} and more than {percent} %, so it deletes none; if the deletions are \
                 intended, invoke the function with {{\"reconcile\":\"all\",\
                 \"overrideDeleteLimit\":true}}"
            );
            let (kept, refused) = changes.into_iter().partition(|change| !change.is_loss);
            changes = kept;
            let refused: BTreeSet<ServiceArn> =
                refused.into_iter().flat_map(|change: NameChange| change.services).collect();
            for outcome in outcomes.iter_mut().filter(|outcome| refused.contains(&outcome.service))
            {
                outcome.status = Status::Refused;
                outcome.reason = Some(reason.clone());
            }
        }
        SafePlan { changes, outcomes, managed }
    }
}

impl SafePlan {
    pub fn changes(&self) -> &[NameChange] {
        &self.changes
    }

    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The number of names that the environment manages now, among those that were read.
    pub fn managed(&self) -> usize {
        self.managed
    }

    /// The changes in batches, each of one zone and within Route 53's quotas.
    pub fn batches(&self) -> Vec<Vec<&NameChange>> {
        let mut batches: Vec<Vec<&NameChange>> = Vec::new();
        let (mut values, mut characters) = (0, 0);
        for change in &self.changes {
            let more_values = change.values().count();
            let more_characters: usize = change.values().map(|value| value.chars().count()).sum();
            match batches.last_mut() {
                Some(batch)
                    if batch[0].zone == change.zone
                        && values + more_values <= MAX_VALUES_PER_BATCH
                        && characters + more_characters <= MAX_CHARACTERS_PER_BATCH =>
                {
                    batch.push(change);
                    values += more_values;
                    characters += more_characters;
                }
                _ => {
                    batches.push(vec![change]);
                    (values, characters) = (more_values, more_characters);
                }
            }
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::DesiredState;
    use crate::domain::fixtures::{Scene, arn, record};
    use crate::domain::service::Gone;
    use insta::assert_snapshot;

    #[test]
    fn renames_do_not_count_towards_the_delete_limit() {
        let limit = Some(DeleteLimit { free: 1, percent: 10 });
        let deletes = |scene: &Scene| {
            let safe = scene.plan().check(limit);
            safe.changes().iter().filter(|change| change.removes_the_name()).count()
        };
        let mut moved = Scene::default();
        for service in ["a", "b", "c"] {
            let state = record(&format!("{service}.dev"), "lb");
            moved = moved.managed(service, service, "lb").service(service, state);
        }
        assert_eq!(deletes(&moved), 3);
        // A service whose new name is taken would lose its only name.
        let taken = moved.clone().foreign("a.dev", "A", "10.0.0.7");
        assert_eq!(deletes(&taken), 3, "one loss is within the limit");
        let taken = taken.foreign("b.dev", "A", "10.0.0.7");
        assert_eq!(deletes(&taken), 1);
    }

    #[test]
    fn a_full_pass_over_the_delete_limit_deletes_nothing_and_creates_the_rest() {
        let mut scene = Scene::default().service("new", record("new", "lb"));
        for service in ["a", "b", "c", "d"] {
            scene = scene
                .managed(service, service, "lb")
                .service(service, DesiredState::Gone(Gone::Missing));
        }
        for service in ["e", "f", "g", "h"] {
            scene = scene.managed(service, service, "lb").service(service, record(service, "lb"));
        }
        let limit = Some(DeleteLimit { free: 3, percent: 30 });
        let safe = scene.plan().check(limit);
        let created: Vec<_> = safe.changes().iter().map(|change| change.name.as_str()).collect();
        assert_eq!(created, ["new.internal"]);
        let refused = safe.outcomes().iter().find(|outcome| outcome.service == arn("a"));
        assert_snapshot!(refused.and_then(|outcome| outcome.reason.clone()).unwrap_or_default(),
            @r#"the delete limit stopped this full pass: it would delete 4 of 8 names, more than 3 and more than 30 %, so it deletes none; if the deletions are intended, invoke the function with {"reconcile":"all","overrideDeleteLimit":true}"#);

        let deletes = |limit| {
            let safe = scene.plan().check(limit);
            safe.changes().iter().filter(|change| change.removes_the_name()).count()
        };
        assert_eq!(deletes(Some(DeleteLimit { free: 4, percent: 30 })), 4);
        assert_eq!(deletes(Some(DeleteLimit { free: 3, percent: 50 })), 4);
        assert_eq!(deletes(None), 4);
    }

    #[test]
    fn batches_keep_both_limits_and_never_split_a_name() {
        let mut scene = Scene::default();
        for number in 0..600 {
            let service = format!("service-{number}");
            scene = scene.service(&service, record(&service, "lb"));
        }
        let safe = scene.plan().check(None);
        let batches = safe.batches();
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 600);
        for batch in &batches {
            let values: Vec<_> = batch.iter().flat_map(|change| change.values()).collect();
            assert!(values.len() <= MAX_VALUES_PER_BATCH);
            assert!(
                values.iter().map(|value| value.len()).sum::<usize>() <= MAX_CHARACTERS_PER_BATCH
            );
        }
        // The limit of characters is reached first: each name has 133.
        assert_eq!(batches.len(), 3);
    }
}

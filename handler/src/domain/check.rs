//! Turns a plan into one that may be applied: without deletions that look like an accident, and in batches
//! that Route 53 accepts.
//!
//! [`SafePlan`] has private fields and no constructor but the check, so an unchecked plan cannot be
//! applied.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::config::DeleteLimit;
use crate::domain::desired::Basis;
use crate::domain::dns::DnsName;
use crate::domain::generation;
use crate::domain::plan::{NameChange, Plan};
use crate::domain::report::{Outcome, Status};
use crate::domain::service::{HostedZoneId, ServiceArn};
use crate::domain::zone::ZoneName;

/// Route 53's quota of values in one change batch.
const MAX_VALUES_PER_BATCH: usize = 1_000;

/// Route 53's quota of characters in all values of one change batch.
const MAX_CHARACTERS_PER_BATCH: usize = 32_000;

/// The losses that a run may apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LossPolicy {
    /// All of them: a person requested the deletions.
    All,
    /// Those that ECS reports about the service itself. A name that a service loses because of the
    /// configuration or of Elastic Load Balancing stays until a full pass, which sees how many names are lost
    /// for that reason: one mistake there affects every service, and each event alone would look harmless.
    ReportedByEcs,
    /// None: the mode of the environment is `create-and-update`.
    Nothing,
    /// As many as the delete limit allows.
    Limited {
        limit: DeleteLimit,
        /// Services that events named. If ECS reports that they are gone, their losses do not count.
        named: BTreeSet<ServiceArn>,
    },
}

/// The earlier rounds of a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Earlier {
    /// The losses that count towards the delete limit.
    pub lost: usize,
    /// The managed names before the pass. A later round reads only a part of them.
    pub managed: usize,
}

/// A plan that may be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafePlan {
    /// Changes that must be in one batch, which is within Route 53's quotas.
    groups: Vec<Vec<NameChange>>,
    outcomes: Vec<Outcome>,
    former_names: BTreeMap<ServiceArn, Vec<DnsName>>,
    unfinished: BTreeSet<ServiceArn>,
    managed: usize,
}

/// The changes of one request to Route 53, which applies all or none of them. Each element is a group that
/// must not be split.
pub type Batch<'a> = Vec<&'a [NameChange]>;

impl Plan {
    /// Checks the plan of the first round.
    pub fn check(self, policy: &LossPolicy) -> SafePlan {
        self.check_after(Earlier::default(), policy)
    }

    /// Removes the losses that `policy` does not allow. The limit is for the whole pass, so the losses and the
    /// managed names of its earlier rounds count.
    pub fn check_after(mut self, earlier: Earlier, policy: &LossPolicy) -> SafePlan {
        let Earlier { lost, managed } = earlier;
        match policy {
            LossPolicy::All => {}
            LossPolicy::Nothing => self.keep_names(),
            LossPolicy::ReportedByEcs => {
                let is_refused = |change: &NameChange| change.loss == Some(Basis::Environment);
                self.refuse(is_refused, Status::Waiting, |_, reason| {
                    format!(
                        "{}; an event does not delete the name for that reason, but the next full pass \
                         does, within the delete limit",
                        reason.unwrap_or("the service should have no name")
                    )
                });
            }
            LossPolicy::Limited { limit: DeleteLimit { free, percent }, .. } => {
                let all = managed.max(self.managed + lost);
                let losses =
                    lost + self.changes.iter().filter(|change| policy.counts(change)).count();
                if losses > lost.max(*free) && losses * 100 > all * percent {
                    self.refuse(|change| policy.counts(change), Status::Refused, |_, _| {
                        format!(
                            "the delete limit stopped this full pass: it would delete {losses} of \
                             {all} names, more than {free} and more than {percent} %, so it deletes \
                             none; if the deletions are intended, invoke the function with \
                             {{\"reconcile\":\"all\",\"overrideDeleteLimit\":true}}"
                        )
                    });
                }
            }
        }
        let Plan { changes, mut outcomes, former_names, mut unfinished, managed, .. } = self;
        let mut groups = Vec::new();
        for group in groups_of(changes) {
            let (now, later) = split(group);
            // The services of the rest have their turn in the next round, if the first part was applied.
            unfinished.extend(later.iter().flat_map(NameChange::services).cloned());
            if now.is_empty() {
                let services: BTreeSet<&ServiceArn> =
                    later.iter().flat_map(NameChange::services).collect();
                for outcome in outcomes.iter_mut().filter(|one| services.contains(&one.service)) {
                    outcome.status = Status::Failed;
                    outcome.reason = Some(format!(
                        "{} services exchange their names in a circle, which does not fit into one \
                         change batch of Route 53",
                        later.len()
                    ));
                }
            } else {
                groups.push(now);
            }
        }
        SafePlan { groups, outcomes, former_names, unfinished, managed }
    }

    /// Keeps contested names that nobody would have any more, because not all services that should have them could
    /// be read, with the first error. A name that passes to a service which was read does so: that service is alive.
    pub fn keep_contested(&mut self, error: Option<&str>) {
        let contested = std::mem::take(&mut self.contested);
        let error = error.map_or(String::new(), |error| format!(": {error}"));
        self.refuse(
            |change| change.removes_the_name() && contested.contains(&change.at()),
            Status::Failed,
            |_, _| {
                format!(
                    "the name is contested, and not all services that should have it could be read, so it \
                     stays{error}"
                )
            },
        );
    }

    /// Keeps names that nobody would have any more, although a service should have them: its load balancers could not be
    /// read. `wanted` has these names and the failed reads.
    pub fn keep_wanted(&mut self, wanted: &BTreeMap<ZoneName, String>) {
        self.refuse(
            |change| change.removes_the_name() && wanted.contains_key(&change.at()),
            Status::Failed,
            |change, _| {
                let read = wanted.get(&change.at()).map_or("", String::as_str);
                format!(
                    "a service that should have the name could not be read, so the name stays: {read}"
                )
            },
        );
    }

    /// Removes the changes that remove names. A service that gets another name keeps the former one, too.
    fn keep_names(&mut self) {
        const REASON: &str = "the mode create-and-update removes no name";
        let before = self.outcomes.clone();
        self.refuse(NameChange::removes_the_record, Status::Ignored, |_, reason| {
            format!("{}; {REASON}", reason.unwrap_or("the service should have no name"))
        });
        let changed: BTreeSet<&ServiceArn> =
            self.changes.iter().flat_map(NameChange::services).collect();
        for (outcome, before) in self.outcomes.iter_mut().zip(before) {
            if *outcome != before && before.target.is_some() {
                let reason = before.reason.iter().map(String::as_str).chain([REASON]);
                let reason = Some(reason.collect::<Vec<_>>().join("; "));
                *outcome = Outcome { reason, ..before };
                // It got its new name in an earlier run.
                if !changed.contains(&outcome.service) {
                    outcome.status = Status::Unchanged;
                }
            }
        }
    }

    /// Removes changes, and all that depend on them: a service that does not get its new name keeps the former
    /// one. A marker still notes that another service should have the name. `status` and `reason` are for the services that would have lost their names.
    fn refuse(
        &mut self,
        is_refused: impl Fn(&NameChange) -> bool,
        status: Status,
        reason: impl Fn(&NameChange, Option<&str>) -> String,
    ) {
        let mut refused: BTreeMap<ZoneName, NameChange> = BTreeMap::new();
        loop {
            let depends = |change: &NameChange| {
                change.replacement().is_some_and(|other| refused.contains_key(&other))
            };
            let (more, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.changes)
                .into_iter()
                .partition(|change| is_refused(change) || depends(change));
            self.changes = kept;
            if more.is_empty() {
                break;
            }
            refused.extend(more.into_iter().map(|change| (change.at(), change)));
        }
        // Without the loss of the other name, nothing needs its proof.
        let replacements = self.changes.iter().filter_map(NameChange::replacement);
        let replacements: BTreeSet<ZoneName> = replacements.collect();
        self.changes.retain(|change| !change.is_proof() || replacements.contains(&change.at()));
        let outcomes = self.outcomes.iter_mut().map(|outcome| (outcome.service.clone(), outcome));
        let mut outcomes: BTreeMap<ServiceArn, &mut Outcome> = outcomes.collect();
        for change in refused.values() {
            let Some(holder) = &change.holder else { continue };
            if let Some(winner) = change.winner.as_ref().filter(|winner| *winner != holder)
                && let Some(outcome) = outcomes.get_mut(winner)
            {
                outcome.status = Status::Conflict;
                outcome.target = None;
                let kept = self.former_names.get(winner).into_iter().flatten();
                let kept: Vec<&str> = kept.map(DnsName::as_str).collect();
                let kept = match kept.as_slice() {
                    [] => String::new(),
                    kept => format!("; the service keeps {}", kept.join(", ")),
                };
                outcome.reason = Some(format!("the name is held by {holder}{kept}"));
            }
        }
        for change in refused.values().filter(|change| is_refused(change)) {
            if let Some(outcome) = change.holder.as_ref().and_then(|one| outcomes.get_mut(one)) {
                outcome.status = status;
                outcome.reason = Some(reason(change, outcome.reason.as_deref()));
            }
        }
        self.changes.extend(refused.into_values().filter_map(NameChange::only_noted));
    }
}

impl LossPolicy {
    /// Whether a change counts towards the delete limit.
    pub fn counts(&self, change: &NameChange) -> bool {
        match self {
            LossPolicy::All | LossPolicy::Nothing | LossPolicy::ReportedByEcs => false,
            LossPolicy::Limited { named, .. } => match change.loss {
                None => false,
                Some(Basis::Gone) => !change.holder.as_ref().is_some_and(|one| named.contains(one)),
                Some(Basis::Service | Basis::Environment) => true,
            },
        }
    }
}

impl SafePlan {
    pub fn changes(&self) -> impl Iterator<Item = &NameChange> {
        self.groups.iter().flatten()
    }

    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The names that `service` keeps if it does not get its new one.
    pub fn former_names(&self, service: &ServiceArn) -> &[DnsName] {
        self.former_names.get(service).map_or(&[], Vec::as_slice)
    }

    /// Services with work that becomes possible after this plan is applied.
    pub fn unfinished(&self) -> &BTreeSet<ServiceArn> {
        &self.unfinished
    }

    /// The number of names that the environment manages now, among those that were read.
    pub fn managed(&self) -> usize {
        self.managed
    }

    /// The groups in batches, each of one zone and within Route 53's quotas. Batches that create names come
    /// first, in case that the time does not suffice for all.
    pub fn batches(&self) -> Vec<Batch<'_>> {
        let creates = |group: &[NameChange]| group.iter().any(|change| !change.removes_the_name());
        let mut groups: Vec<&[NameChange]> = self.groups.iter().map(Vec::as_slice).collect();
        groups.sort_by_key(|group| (zone(group), !creates(group)));
        let mut batches: Vec<Batch<'_>> = Vec::new();
        let mut size = Size::default();
        for group in groups {
            let with_group = size + Size::of(group);
            match batches.last_mut() {
                Some(batch) if zone(batch[0]) == zone(group) && with_group.fits() => {
                    batch.push(group);
                    size = with_group;
                }
                _ => {
                    batches.push(vec![group]);
                    size = Size::of(group);
                }
            }
        }
        batches.sort_by_key(|batch| !batch.iter().any(|group| creates(group)));
        batches
    }
}

fn zone(group: &[NameChange]) -> Option<&HostedZoneId> {
    group.first().map(|change| &change.zone)
}

/// The size of changes, as Route 53 counts it.
#[derive(Clone, Copy, Default)]
struct Size {
    values: usize,
    characters: usize,
}

impl Size {
    fn of(changes: &[NameChange]) -> Size {
        let values = || changes.iter().flat_map(NameChange::values);
        Size {
            values: values().count(),
            characters: values().map(|value| value.chars().count()).sum(),
        }
    }

    fn fits(self) -> bool {
        self.values + generation::PROOF_VALUES <= MAX_VALUES_PER_BATCH
            && self.characters + generation::PROOF_CHARACTERS <= MAX_CHARACTERS_PER_BATCH
    }
}

impl std::ops::Add for Size {
    type Output = Size;

    fn add(self, more: Size) -> Size {
        Size { values: self.values + more.values, characters: self.characters + more.characters }
    }
}

/// The changes in groups. A name that is replaced by another one is in the group of the other, and after it.
fn groups_of(changes: Vec<NameChange>) -> Vec<Vec<NameChange>> {
    let replacements: BTreeMap<ZoneName, ZoneName> = changes
        .iter()
        .filter_map(|change| {
            Some((change.at(), (change.zone.clone(), change.replaced_by.clone()?)))
        })
        .collect();
    let mut followers: BTreeMap<&ZoneName, Vec<&ZoneName>> = BTreeMap::new();
    for (at, replacement) in &replacements {
        followers.entry(replacement).or_default().push(at);
    }
    // The name on which all others of a group depend. In a circle it is any of the circle.
    let first_of = |at: &ZoneName| {
        let (mut first, mut seen) = (at.clone(), BTreeSet::new());
        while let Some(next) = replacements.get(&first)
            && seen.insert(first.clone())
        {
            first = next.clone();
        }
        first
    };
    let order: Vec<ZoneName> = changes.iter().map(NameChange::at).collect();
    let mut changes: BTreeMap<ZoneName, NameChange> =
        changes.into_iter().map(|change| (change.at(), change)).collect();
    let mut groups = Vec::new();
    for at in &order {
        if !changes.contains_key(at) {
            continue;
        }
        let mut group = Vec::new();
        let mut next = vec![first_of(at)];
        while let Some(at) = next.pop() {
            if let Some(change) = changes.remove(&at) {
                group.push(change);
                next.extend(followers.get(&at).into_iter().flatten().map(|at| (*at).clone()));
            }
        }
        groups.push(group);
    }
    groups
}

/// The part of a group that fits into one batch, and the rest. A chain of names can be cut anywhere, because
/// each change depends only on the one before it. A circle cannot.
fn split(mut group: Vec<NameChange>) -> (Vec<NameChange>, Vec<NameChange>) {
    if Size::of(&group).fits() {
        return (group, Vec::new());
    }
    if group.first().is_some_and(|first| first.replaced_by.is_some()) {
        return (Vec::new(), group);
    }
    let mut size = Size::default();
    let fitting = group.iter().take_while(|change| {
        size = size + Size::of(std::slice::from_ref(change));
        size.fits()
    });
    let fitting = fitting.count();
    let later = group.split_off(fitting);
    (group, later)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::desired::DesiredState;
    use crate::domain::fixtures::{Scene, arn, name, record, show_plan};
    use crate::domain::service::Gone;
    use insta::assert_snapshot;

    fn limited(free: usize, percent: usize) -> LossPolicy {
        LossPolicy::Limited { limit: DeleteLimit { free, percent }, named: BTreeSet::new() }
    }

    fn deletions(safe: &SafePlan) -> usize {
        safe.changes().filter(|change| change.removes_the_name()).count()
    }

    #[test]
    fn renames_do_not_count_towards_the_delete_limit() {
        let mut moved = Scene::default();
        for service in ["a", "b", "c"] {
            let state = record(&format!("{service}.dev"), "lb");
            moved = moved.managed(service, service, "lb").service(service, state);
        }
        assert_eq!(deletions(&moved.plan().check(&limited(0, 0))), 3);
        // A service whose new name is taken keeps the former one.
        let taken = moved.foreign("a.dev", "A", "10.0.0.7");
        assert_eq!(deletions(&taken.plan().check(&limited(0, 0))), 2);
    }

    #[test]
    fn services_that_events_named_and_that_are_gone_do_not_count() {
        let mut scene = Scene::default();
        for service in ["a", "b", "c"] {
            let gone = DesiredState::Gone(Gone::Missing);
            scene = scene.managed(service, service, "lb").service(service, gone);
        }
        let named = |services: &[&str]| LossPolicy::Limited {
            limit: DeleteLimit { free: 1, percent: 0 },
            named: services.iter().map(|service| arn(service)).collect(),
        };
        assert_eq!(deletions(&scene.plan().check(&named(&["a", "b"]))), 3);
        // The limit stops the other losses only.
        assert_eq!(deletions(&scene.plan().check(&named(&["a"]))), 1);
    }

    #[test]
    fn an_event_does_not_delete_a_name_because_of_the_configuration() {
        let scene = |basis| {
            let state = DesiredState::Nothing { reason: "no zone fits".into(), basis };
            Scene::default().managed("orders", "orders", "lb").service("orders", state)
        };
        let check = |basis| show_plan(&scene(basis).plan().check(&LossPolicy::ReportedByEcs));
        assert_snapshot!(check(Basis::Environment), @"orders waiting: no zone fits; an event does not delete the name for that reason, but the next full pass does, within the delete limit");
        assert_snapshot!(check(Basis::Service), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders deregistered: no zone fits
        "#);
        assert_eq!(deletions(&scene(Basis::Environment).plan().check(&limited(1, 0))), 1);
    }

    /// Services whose names move by one: each takes the name of the next.
    fn chain(length: usize, is_circle: bool) -> Scene {
        let mut scene = Scene::default();
        for number in 0..length {
            let next = if is_circle { (number + 1) % length } else { number + 1 };
            let service = format!("service-{number:03}");
            scene = scene
                .managed(&service, &service, "lb")
                .service(&service, record(&format!("service-{next:03}"), "lb"));
        }
        scene
    }

    #[test]
    fn a_chain_that_fits_into_no_batch_is_cut_and_a_circle_is_refused() {
        let small = chain(5, true).plan().check(&LossPolicy::All);
        assert_eq!(small.batches().len(), 1);
        let mut scene = chain(600, false);
        let mut rounds = 0;
        loop {
            let safe = scene.plan().check(&LossPolicy::All);
            for batch in safe.batches() {
                let changes: Vec<NameChange> = batch.into_iter().flatten().cloned().collect();
                assert!(Size::of(&changes).fits());
            }
            scene.apply(&safe).expect("it fits the zone");
            rounds += 1;
            if safe.unfinished().is_empty() {
                break;
            }
        }
        assert!((2..20).contains(&rounds), "{rounds} rounds");
        assert_eq!(scene.plan().check(&LossPolicy::All).changes().count(), 0);
        let circle = chain(600, true).plan().check(&LossPolicy::All);
        assert_eq!(circle.changes().count(), 0);
        assert!(circle.outcomes().iter().all(|outcome| outcome.status == Status::Failed));
    }

    #[test]
    fn a_former_name_outside_of_a_circle_is_in_the_group_of_the_circle() {
        let scene = chain(3, true).managed("another", "service-001", "lb");
        let safe = scene.plan().check(&LossPolicy::All);
        let batches = safe.batches();
        assert_eq!((batches.len(), batches[0].len(), batches[0][0].len()), (1, 1, 4));
    }

    #[test]
    fn a_name_does_not_pass_from_a_live_service_because_of_the_configuration_in_an_event() {
        let nothing =
            DesiredState::Nothing { reason: "no zone fits".into(), basis: Basis::Environment };
        let scene = Scene::default()
            .managed("shop", "holder", "lb1")
            .managed("former", "rival", "lb2")
            .service("holder", nothing)
            .service("rival", record("shop", "lb2"));
        // The rival keeps its former name, because it does not get the new one. The marker notes that it should have it.
        assert_snapshot!(show_plan(&scene.plan().check(&LossPolicy::ReportedByEcs)), @r#"
        - _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/holder,records=CNAME"
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/holder,records=CNAME,contested"
        holder waiting: no zone fits; an event does not delete the name for that reason, but the next full pass does, within the delete limit
        rival conflict: the name is held by …/dev/holder; the service keeps former.internal
        "#);
        assert_snapshot!(show_plan(&scene.plan().check(&limited(0, 0))), @r#"
        - _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/holder,records=CNAME"
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/holder,records=CNAME,contested"
        holder refused: the delete limit stopped this full pass: it would delete 1 of 2 names, more than 0 and more than 0 %, so it deletes none; if the deletions are intended, invoke the function with {"reconcile":"all","overrideDeleteLimit":true}
        rival conflict: the name is held by …/dev/holder; the service keeps former.internal
        "#);
        assert_eq!(scene.plan().check(&limited(1, 0)).changes().count(), 2);
    }

    #[test]
    fn contested_names_stay_while_not_all_candidates_were_read() {
        let gone = || DesiredState::Gone(Gone::Missing);
        let mut scene = Scene::default()
            .managed("shop", "holder", "lb1")
            .managed("web", "web", "lb2")
            .service("holder", record("shop", "lb1"))
            .service("rival", record("shop", "lb2"));
        scene.apply(&scene.plan().check(&LossPolicy::All)).expect("the marker becomes contested");
        scene.desired.clear();
        let scene = scene.service("holder", gone()).service("web", gone());
        // A service that was read gets the name.
        let known = scene.clone().service("rival", record("shop", "lb2"));
        let mut plan = known.plan();
        plan.keep_contested(None);
        assert_eq!(plan.changes, known.plan().changes);
        let mut plan = scene.plan();
        assert_eq!(plan.contested().len(), 1);
        plan.keep_contested(Some("ecs:DescribeServices failed"));
        assert_snapshot!(show_plan(&plan.check(&LossPolicy::All)), @r#"
        - web.internal CNAME lb2.elb.amazonaws.com
        - _discovery.web.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/web,records=CNAME"
        holder failed: the name is contested, and not all services that should have it could be read, so it stays: ecs:DescribeServices failed
        web deregistered: ECS reports MISSING
        "#);
    }

    #[test]
    fn a_name_stays_while_a_service_that_should_have_it_could_not_be_read() {
        let gone = || DesiredState::Gone(Gone::Missing);
        let scene = Scene::default()
            .managed("shop", "holder", "lb1")
            .managed("web", "web", "lb2")
            .service("holder", gone())
            .service("web", gone());
        let at = |text: &str| (HostedZoneId::new("Z1"), name(text));
        let read = "…/blue/shop: elasticloadbalancing:DescribeLoadBalancers failed".to_owned();
        let wanted = BTreeMap::from([(at("shop"), read)]);
        let mut plan = scene.plan();
        plan.keep_wanted(&wanted);
        assert_snapshot!(show_plan(&plan.check(&LossPolicy::All)), @r#"
        - web.internal CNAME lb2.elb.amazonaws.com
        - _discovery.web.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/web,records=CNAME"
        holder failed: a service that should have the name could not be read, so the name stays: …/blue/shop: elasticloadbalancing:DescribeLoadBalancers failed
        web deregistered: ECS reports MISSING
        "#);
        // A service that was read gets the name.
        let known = scene.service("rival", record("shop", "lb3"));
        let mut plan = known.plan();
        plan.keep_wanted(&wanted);
        assert_eq!(plan.changes, known.plan().changes);
    }

    #[test]
    fn batches_that_create_names_come_first() {
        let mut scene = Scene::default();
        for number in 0..300 {
            let (old, new) = (format!("a-{number}"), format!("b-{number}"));
            let gone = DesiredState::Gone(Gone::Missing);
            scene = scene
                .managed(&old, &old, "lb")
                .service(&old, gone)
                .service(&new, record(&new, "lb"));
        }
        let safe = scene.plan().check(&LossPolicy::All);
        let kinds: Vec<bool> = safe
            .batches()
            .iter()
            .map(|batch| batch.iter().any(|group| group.iter().any(|one| !one.removes_the_name())))
            .collect();
        assert!(
            kinds.len() > 2 && kinds.is_sorted_by(|first, second| first >= second),
            "{kinds:?}"
        );
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
        let safe = scene.plan().check(&limited(3, 30));
        let created: Vec<_> = safe.changes().map(|change| change.name.as_str()).collect();
        assert_eq!(created, ["new.internal"]);
        let refused = safe.outcomes().iter().find(|outcome| outcome.service == arn("a"));
        assert_snapshot!(refused.and_then(|outcome| outcome.reason.clone()).unwrap_or_default(),
            @r#"the delete limit stopped this full pass: it would delete 4 of 8 names, more than 3 and more than 30 %, so it deletes none; if the deletions are intended, invoke the function with {"reconcile":"all","overrideDeleteLimit":true}"#);

        assert_eq!(deletions(&scene.plan().check(&limited(4, 30))), 4);
        assert_eq!(deletions(&scene.plan().check(&limited(3, 50))), 4);
        assert_eq!(deletions(&scene.plan().check(&LossPolicy::All)), 4);
    }

    #[test]
    fn losses_of_earlier_rounds_count_towards_the_delete_limit() {
        let mut scene = Scene::default().managed("a", "a", "lb");
        scene = scene.service("a", DesiredState::Gone(Gone::Missing));
        for service in ["b", "c", "d"] {
            scene = scene.managed(service, service, "lb").service(service, record(service, "lb"));
        }
        let deletions_after = |lost, percent| {
            let earlier = Earlier { lost, managed: 0 };
            deletions(&scene.plan().check_after(earlier, &limited(0, percent)))
        };
        assert_eq!(deletions_after(0, 25), 1, "one of four names");
        assert_eq!(deletions_after(1, 39), 0, "two of five names");
        assert_eq!(deletions_after(1, 40), 1, "two of five names");
    }

    #[test]
    fn batches_keep_both_limits_and_never_split_a_name() {
        let mut scene = Scene::default();
        for number in 0..600 {
            let service = format!("service-{number}");
            scene = scene.service(&service, record(&service, "lb"));
        }
        let safe = scene.plan().check(&LossPolicy::All);
        let batches = safe.batches();
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 600);
        for batch in &batches {
            let values: Vec<_> =
                batch.iter().copied().flatten().flat_map(NameChange::values).collect();
            assert!(values.len() <= MAX_VALUES_PER_BATCH);
            assert!(
                values.iter().map(|value| value.len()).sum::<usize>() <= MAX_CHARACTERS_PER_BATCH
            );
        }
        // The limit of characters is reached first: each name has 133.
        assert_eq!(batches.len(), 3);
    }

    #[test]
    fn the_mode_create_and_update_removes_no_name() {
        let check = |scene: &Scene| show_plan(&scene.plan().check(&LossPolicy::Nothing));
        let gone = Scene::default()
            .managed("orders", "orders", "lb")
            .service("orders", DesiredState::Gone(Gone::Missing));
        assert_snapshot!(check(&gone), @"orders ignored: ECS reports MISSING; the mode create-and-update removes no name");
        let renamed = Scene::default()
            .managed("orders", "orders", "lb")
            .service("orders", record("shop", "lb"));
        assert_snapshot!(check(&renamed), @r#"
        + shop.internal CNAME lb.elb.amazonaws.com
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders updated: renamed from orders.internal; the mode create-and-update removes no name
        "#);
        let both = Scene::default()
            .managed("orders", "orders", "lb")
            .managed("shop", "orders", "lb")
            .service("orders", record("shop", "lb"));
        assert_snapshot!(check(&both), @"orders unchanged: renamed from orders.internal; the mode create-and-update removes no name");
        // A name passes from a service that is gone to another one, since it still resolves then.
        let heir = Scene::default()
            .managed("orders", "orders", "lb")
            .service("orders", DesiredState::Gone(Gone::Missing))
            .service("web", record("orders", "lb2"));
        assert_snapshot!(check(&heir), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        + orders.internal CNAME lb2.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/web,records=CNAME"
        orders deregistered: ECS reports MISSING
        web registered: the name was held by …/dev/orders
        "#);
    }
}

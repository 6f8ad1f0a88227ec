//! The difference between what the zones hold and what they should hold, as changes that
//! cannot overwrite anything.
//!
//! Knows neither AWS's services nor how a change is sent. A [`Plan`] cannot be applied: only
//! its check gives a [`SafePlan`], which can.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::DeleteLimit;
use crate::desired::{Desire, Record, Wish};
use crate::dns::{DnsName, RecordType, Rrset};
use crate::marker::Stamp;
use crate::report::{Changes, Outcome, Status};
use crate::service::{HostedZoneId, ServiceArn, Unread};
use crate::zone::{Holding, Managed, Owner, ZoneView, list};

/// All that changes at one name. It is applied whole or not at all, so a record and its marker
/// are never apart.
///
/// The marker is deleted and created again even where only the record changes: Route 53 then
/// refuses the change if the name has come to another service since it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameChange {
    pub zone: HostedZoneId,
    pub name: DnsName,
    /// Exactly as they were seen.
    pub deletes: Vec<Rrset>,
    pub creates: Vec<Rrset>,
    /// Whose outcome depends on it: the service that gets the name and the one that had it.
    pub services: BTreeSet<ServiceArn>,
    /// Whether it leaves a service without any name. One that has another in the same plan has
    /// moved, as after a change of the template, and is not lost.
    pub is_loss: bool,
}

impl NameChange {
    /// Whether the name resolves no more after this change.
    #[must_use]
    pub fn removes_the_name(&self) -> bool {
        self.creates.is_empty()
    }

    /// Whether the name was not managed before this change.
    #[must_use]
    pub fn begins_the_name(&self) -> bool {
        self.deletes.iter().all(|rrset| rrset.name == self.name)
    }

    #[must_use]
    pub fn count(&self) -> Changes {
        Changes { created: self.creates.len(), deleted: self.deletes.len() }
    }

    fn values(&self) -> impl Iterator<Item = &String> {
        self.deletes.iter().chain(&self.creates).flat_map(Rrset::values)
    }
}

/// What would have to change, not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    changes: Vec<NameChange>,
    outcomes: Vec<Outcome>,
    /// How many names this environment manages now, among those that were looked at.
    managed: usize,
}

/// A plan that may be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafePlan {
    changes: Vec<NameChange>,
    outcomes: Vec<Outcome>,
    managed: usize,
}

/// What happens at one name.
struct Place<'a> {
    holding: Holding,
    /// The services that want the name, the one with the first claim first.
    claims: Vec<Claim<'a>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Claim<'a> {
    created_at_ms: i64,
    service: &'a ServiceArn,
    record: &'a Record,
}

/// What happened to a service at the names that it held or wants.
#[derive(Default)]
struct Course {
    /// At the name that it wants.
    gained: Option<Gain>,
    /// The names that it loses.
    lost: Vec<(HostedZoneId, DnsName)>,
    /// A name that it holds and keeps though it does not ask for it now.
    kept: Option<(HostedZoneId, DnsName)>,
}

impl Course {
    /// Whether the service has the name that it wants, or gets it.
    fn has_its_name(&self) -> bool {
        match &self.gained {
            Some(
                Gain::Held
                | Gain::Renamed
                | Gain::Created { .. }
                | Gain::Replaced { .. }
                | Gain::Adopted,
            ) => true,
            Some(Gain::Denied { .. } | Gain::Unread(_)) | None => false,
        }
    }
}

enum Gain {
    Held,
    /// Its marker has a former name of the environment.
    Renamed,
    Created {
        from: Option<ServiceArn>,
    },
    Replaced {
        before: Vec<Rrset>,
    },
    Adopted,
    Denied {
        reason: String,
    },
    /// Nobody knows whose the name is.
    Unread(Unread),
}

/// Compares what is desired with what is there. The same input in any order gives the same plan.
///
/// Every name that a service in `desires` wants must have been looked at.
#[must_use]
pub fn plan(
    desires: &BTreeMap<ServiceArn, Desire>,
    zones: &BTreeMap<HostedZoneId, ZoneView>,
    owner: &Owner,
    stamp: Stamp,
) -> Plan {
    let places = places(desires, zones, owner);
    let mut changes = Vec::new();
    let mut courses: BTreeMap<ServiceArn, Course> = BTreeMap::new();

    for ((zone, name), place) in &places {
        let at = || (zone.clone(), name.clone());
        let holder = place.holder();
        let winner = place.winner(desires);
        let removed =
            winner.is_none() && holder.is_some_and(|holder| !place.keeps(holder, desires));

        for claim in &place.claims {
            let gain = match &place.holding {
                Holding::Unread(why) => Gain::Unread(why.clone()),
                holding if winner == Some(claim) => gain(holding, claim),
                holding => Gain::Denied { reason: denial(holding, claim, winner) },
            };
            courses.entry(claim.service.clone()).or_default().gained = Some(gain);
        }
        if let Some(holder) = holder {
            let course = courses.entry(holder.service.clone()).or_default();
            match winner {
                Some(winner) if *winner.service == holder.service => {}
                None if !removed => course.kept = Some(at()),
                Some(_) | None => course.lost.push(at()),
            }
        }

        let in_order = match winner {
            Some(winner) => is_held(&place.holding, winner),
            None => !removed,
        };
        if !in_order {
            let mut creates = Vec::new();
            if let Some(winner) = winner {
                creates.extend(winner.record.rrsets());
                let before = holder.map(|holder| &holder.marker);
                creates.push(owner.marker(winner.service).rrset(name, stamp, before));
            }
            let services = winner.map(|winner| winner.service).into_iter();
            changes.push(NameChange {
                zone: zone.clone(),
                name: name.clone(),
                deletes: place.stands(),
                creates,
                services: services.chain(holder.map(|holder| &holder.service)).cloned().collect(),
                is_loss: removed,
            });
        }
    }
    for change in changes.iter_mut().filter(|change| change.is_loss) {
        let named = |service| courses.get(service).is_some_and(Course::has_its_name);
        change.is_loss = !change.services.iter().all(named);
    }

    let managed = places.values().filter(|place| place.holder().is_some()).count();
    let outcomes = desires
        .iter()
        .map(|(service, desire)| {
            outcome(service, &desire.wish, courses.remove(service).unwrap_or_default())
        })
        .collect();
    Plan { changes, outcomes, managed }
}

impl<'a> Place<'a> {
    fn holder(&self) -> Option<&Managed> {
        match &self.holding {
            Holding::Managed(holder) => Some(holder),
            Holding::Free | Holding::Unmarked(_) | Holding::Foreign(_) | Holding::Unread(_) => None,
        }
    }

    /// What has to go if anything changes here.
    fn stands(&self) -> Vec<Rrset> {
        match &self.holding {
            Holding::Managed(holder) => holder.rrsets().cloned().collect(),
            Holding::Unmarked(records) => records.clone(),
            Holding::Free | Holding::Foreign(_) | Holding::Unread(_) => Vec::new(),
        }
    }

    /// Whether the service that holds this name goes on to, as far as is known.
    fn keeps(&self, holder: &Managed, desires: &BTreeMap<ServiceArn, Desire>) -> bool {
        let claims = self.claims.iter().any(|claim| *claim.service == holder.service);
        claims || stays(desires, &holder.service)
    }

    /// The claim that is met: the one that holds the name keeps it while it lives.
    fn winner(&self, desires: &BTreeMap<ServiceArn, Desire>) -> Option<&Claim<'a>> {
        match &self.holding {
            Holding::Foreign(_) | Holding::Unread(_) => None,
            Holding::Free => self.claims.first(),
            Holding::Unmarked(records) => {
                self.claims.iter().find(|claim| claim.record.may_adopt(records))
            }
            Holding::Managed(holder) => {
                let keeps = self.keeps(holder, desires);
                self.claims.iter().find(|claim| {
                    fits(holder, claim) && (!keeps || *claim.service == holder.service)
                })
            }
        }
    }
}

/// Whether what others put at a name leaves room for the record that is claimed. A CNAME can only
/// stand alone; aliases can stand beside other types.
fn fits(holder: &Managed, claim: &Claim) -> bool {
    let wanted = claim.record.rrsets();
    holder.others.iter().all(|(other, _)| {
        *other != RecordType::Cname
            && wanted
                .iter()
                .all(|rrset| rrset.record_type != *other && rrset.record_type != RecordType::Cname)
    })
}

/// Whether a claim is met by what stands there.
fn is_held(holding: &Holding, claim: &Claim) -> bool {
    let Holding::Managed(holder) = holding else { return false };
    holder.service == *claim.service && holder.is_current && claim.record.is_met_by(&holder.records)
}

/// What meeting a claim means for the one who makes it.
fn gain(holding: &Holding, claim: &Claim) -> Gain {
    match holding {
        Holding::Free | Holding::Foreign(_) | Holding::Unread(_) => Gain::Created { from: None },
        Holding::Unmarked(_) => Gain::Adopted,
        Holding::Managed(holder) if holder.service != *claim.service => {
            Gain::Created { from: Some(holder.service.clone()) }
        }
        held if is_held(held, claim) => Gain::Held,
        Holding::Managed(holder) if claim.record.is_met_by(&holder.records) => Gain::Renamed,
        Holding::Managed(holder) => Gain::Replaced { before: holder.records.clone() },
    }
}

/// Every name that is managed now or wanted.
fn places<'a>(
    desires: &'a BTreeMap<ServiceArn, Desire>,
    zones: &BTreeMap<HostedZoneId, ZoneView>,
    owner: &Owner,
) -> BTreeMap<(HostedZoneId, DnsName), Place<'a>> {
    let mut places = BTreeMap::new();
    for (zone, view) in zones {
        for (name, managed) in view.managed(owner) {
            let holding = Holding::Managed(managed);
            places.insert((zone.clone(), name.clone()), Place { holding, claims: Vec::new() });
        }
    }
    for (service, desire) in desires {
        if let Wish::Record(record) = &desire.wish {
            let looked_up = || zones.get(&record.zone)?.holding(&record.name, owner);
            places
                .entry((record.zone.clone(), record.name.clone()))
                .or_insert_with(|| Place {
                    // What nobody looked at is unknown, never free.
                    holding: looked_up().unwrap_or_else(|| {
                        Holding::Unread(Unread("the name was not looked at".into()))
                    }),
                    claims: Vec::new(),
                })
                .claims
                .push(Claim { created_at_ms: desire.created_at_ms, service, record });
        }
    }
    for place in places.values_mut() {
        // The older service has the first claim, then the smaller ARN.
        place.claims.sort_by_key(|claim| (claim.created_at_ms, claim.service));
    }
    places
}

/// Whether the holder of a name keeps it though it does not ask for it: because it was not
/// looked at, or what it should hold cannot be told now.
fn stays(desires: &BTreeMap<ServiceArn, Desire>, holder: &ServiceArn) -> bool {
    match desires.get(holder).map(|desire| &desire.wish) {
        None | Some(Wish::Waiting { .. } | Wish::Invalid { .. } | Wish::Unread(_)) => true,
        // It asks for another name, for none, or ECS says that it is gone.
        Some(Wish::Record(_) | Wish::Nothing { .. } | Wish::Gone(_)) => false,
    }
}

fn denial(holding: &Holding, claim: &Claim, winner: Option<&Claim>) -> String {
    match (holding, winner) {
        (Holding::Foreign(what), _) => format!("the name is taken: {what}"),
        (Holding::Unmarked(records), None) => {
            format!("the name is taken: it holds {}, without a marker", list(records))
        }
        (Holding::Managed(holder), None) if !fits(holder, claim) => {
            let others: Vec<&str> = holder.others.iter().map(|(_, what)| what.as_str()).collect();
            format!(
                "the name also holds {}, which was not written by this tool",
                others.join(" and ")
            )
        }
        (Holding::Managed(holder), None) => format!("the name is held by {}", holder.service),
        (Holding::Managed(holder), Some(winner)) if holder.service == *winner.service => {
            format!("the name is held by {}", holder.service)
        }
        (_, Some(winner)) => format!("the name goes to {}, which is older", winner.service),
        (Holding::Free | Holding::Unread(_), None) => "the name is taken".into(),
    }
}

/// What a record said before, its TTL included: where only that changed, the rest would puzzle.
fn before_words(before: &[Rrset]) -> String {
    let ttl = before.iter().find_map(|rrset| Some(rrset.cname_target()?.1));
    let ttl = ttl.map_or(String::new(), |seconds| format!(", {seconds} s"));
    format!("it was {}{ttl}", list(before))
}

/// The report's side: what a service is told.
fn outcome(service: &ServiceArn, wish: &Wish, course: Course) -> Outcome {
    let Course { gained, lost, kept } = course;
    let lost_names = lost.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
    let somewhere = kept.or_else(|| lost.first().cloned());
    let at = |place: Option<(HostedZoneId, DnsName)>, status, reason: Option<String>| {
        let (zone, name) = place.unzip();
        Outcome { service: service.clone(), name, zone, status, target: None, reason }
    };
    match wish {
        Wish::Record(record) => {
            let (status, reason) = match gained {
                Some(Gain::Denied { reason }) => (Status::Conflict, Some(reason)),
                Some(Gain::Unread(why)) => (Status::Failed, Some(why.to_string())),
                Some(Gain::Held) if lost.is_empty() => (Status::Unchanged, None),
                Some(Gain::Held | Gain::Created { .. }) if !lost.is_empty() => {
                    (Status::Updated, Some(format!("it is no longer called {lost_names}")))
                }
                Some(Gain::Created { from: Some(before) }) => {
                    (Status::Registered, Some(format!("the name was held by {before}")))
                }
                Some(Gain::Replaced { before }) if before.is_empty() => {
                    (Status::Updated, Some("its record was missing beside its marker".into()))
                }
                Some(Gain::Replaced { before }) => (Status::Updated, Some(before_words(&before))),
                Some(Gain::Renamed) => {
                    let reason = "its marker had a former name of the environment";
                    (Status::Updated, Some(reason.into()))
                }
                Some(Gain::Adopted) => {
                    (Status::Adopted, Some("the record was there, without a marker".into()))
                }
                Some(Gain::Held | Gain::Created { from: None }) | None => {
                    (Status::Registered, None)
                }
            };
            Outcome {
                // Else the name leads somewhere else, or nobody knows where.
                target: (!matches!(status, Status::Conflict | Status::Failed))
                    .then(|| record.target.clone()),
                ..at(Some((record.zone.clone(), record.name.clone())), status, reason)
            }
        }
        Wish::Nothing { reason } if lost.is_empty() => {
            at(None, Status::Ignored, Some(reason.clone()))
        }
        Wish::Nothing { reason } => at(somewhere, Status::Deregistered, Some(reason.clone())),
        Wish::Gone(gone) if lost.is_empty() => {
            at(None, Status::Unchanged, Some(format!("ECS says {gone}, and it holds no name")))
        }
        Wish::Gone(gone) => at(somewhere, Status::Deregistered, Some(format!("ECS says {gone}"))),
        Wish::Waiting { reason } => at(somewhere, Status::Waiting, Some(reason.clone())),
        Wish::Invalid { reason } => at(somewhere, Status::Invalid, Some(reason.clone())),
        Wish::Unread(why) => at(somewhere, Status::Failed, Some(why.to_string())),
    }
}

impl Plan {
    /// Lets a plan pass, without its deletes if they are more than `limit` allows: so many at
    /// once look like an accident. No limit for a run that was told to delete.
    #[must_use]
    pub fn check(self, limit: Option<DeleteLimit>) -> SafePlan {
        self.check_after(0, limit)
    }

    /// The same for a later round of a pass that has lost `lost` names already: the limit is for
    /// all of it.
    #[must_use]
    pub fn check_after(self, lost: usize, limit: Option<DeleteLimit>) -> SafePlan {
        let Plan { mut changes, mut outcomes, managed } = self;
        let (all, mut deletes) = (managed + lost, lost);
        deletes += changes.iter().filter(|change| change.is_loss).count();
        if let Some(DeleteLimit { free, percent }) = limit
            && deletes > lost.max(free)
            && deletes * 100 > all * percent
        {
            let reason = format!(
                "this pass would delete {deletes} of {all} names, more than {free} and more \
                 than {percent} %, so it deletes none; if they are to go, run {{\"reconcile\":\
                 \"all\",\"overrideDeleteLimit\":true}}"
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

/// At most so many values in one change batch (Route 53's quota).
const MAX_ELEMENTS: usize = 1_000;

/// At most so many characters in all values of one change batch (Route 53's quota).
const MAX_CHARACTERS: usize = 32_000;

impl SafePlan {
    #[must_use]
    pub fn changes(&self) -> &[NameChange] {
        &self.changes
    }

    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// How many names the environment manages now, among those that were looked at.
    #[must_use]
    pub fn managed(&self) -> usize {
        self.managed
    }

    /// The changes in batches, each of one zone and within Route 53's limits.
    #[must_use]
    pub fn batches(&self) -> Vec<Vec<&NameChange>> {
        let mut batches: Vec<Vec<&NameChange>> = Vec::new();
        let (mut elements, mut characters) = (0, 0);
        for change in &self.changes {
            let more_elements = change.values().count();
            let more_characters: usize = change.values().map(|value| value.chars().count()).sum();
            match batches.last_mut() {
                Some(batch)
                    if batch[0].zone == change.zone
                        && elements + more_elements <= MAX_ELEMENTS
                        && characters + more_characters <= MAX_CHARACTERS =>
                {
                    batch.push(change);
                    elements += more_elements;
                    characters += more_characters;
                }
                _ => {
                    batches.push(vec![change]);
                    (elements, characters) = (more_elements, more_characters);
                }
            }
        }
        batches
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::Form;
    use crate::dns::{RecordData, Ttl};
    use crate::marker::Marker;
    use crate::service::{Gone, Home};
    use insta::assert_snapshot;
    use proptest::prelude::*;

    fn owner() -> Owner {
        let home = Home::of_function("arn:aws:lambda:eu-west-1:111122223333:function:x");
        Owner {
            environment: "dev".into(),
            former_names: BTreeSet::from(["old-dev".into()]),
            home: home.expect("a function's ARN"),
        }
    }

    fn arn(service: &str) -> ServiceArn {
        ServiceArn::new(&owner().home, "dev", service).expect("a valid name")
    }

    fn name(text: &str) -> DnsName {
        DnsName::parse(&format!("{text}.internal")).expect("a valid name")
    }

    fn balancer(text: &str) -> DnsName {
        DnsName::parse(&format!("{text}.elb.amazonaws.com")).expect("a valid name")
    }

    fn wants(at: &str, target: &str) -> Wish {
        Wish::Record(Record {
            zone: HostedZoneId::new("Z1"),
            name: name(at),
            target: balancer(target),
            form: Form::Cname(Ttl::DEFAULT),
        })
    }

    fn nothing() -> Wish {
        Wish::Nothing { reason: "the service has no load balancer".into() }
    }

    fn waiting() -> Wish {
        Wish::Waiting { reason: "not there yet".into() }
    }

    /// One zone with what stands in it, and what the services wish.
    #[derive(Clone, Debug, Default)]
    struct Scene {
        rrsets: Vec<Rrset>,
        desires: Vec<(ServiceArn, Desire)>,
    }

    impl Scene {
        /// A record of this environment, with its marker.
        fn managed(mut self, at: &str, service: &str, target: &str) -> Scene {
            self.rrsets.push(Rrset::cname(name(at), &balancer(target), Ttl::DEFAULT));
            self.rrsets.push(owner().marker(&arn(service)).rrset(
                &name(at),
                Stamp::default(),
                None,
            ));
            self
        }

        fn marker_only(mut self, at: &str, service: &str) -> Scene {
            self.rrsets.push(owner().marker(&arn(service)).rrset(
                &name(at),
                Stamp::default(),
                None,
            ));
            self
        }

        fn foreign(mut self, at: &str, record_type: &str, value: &str) -> Scene {
            self.rrsets.push(Rrset {
                name: name(at),
                record_type: RecordType::parse(record_type),
                data: RecordData::Plain { ttl_seconds: 60, values: vec![value.into()] },
            });
            self
        }

        fn service(self, service: &str, wish: Wish) -> Scene {
            self.older_service(service, 0, wish)
        }

        fn older_service(mut self, service: &str, created_at_ms: i64, wish: Wish) -> Scene {
            self.desires.push((arn(service), Desire { created_at_ms, wish }));
            self
        }

        fn plan(&self) -> Plan {
            let view = ZoneView::whole(self.rrsets.clone());
            let zones = BTreeMap::from([(HostedZoneId::new("Z1"), view)]);
            plan(&self.desires.iter().cloned().collect(), &zones, &owner(), Stamp::default())
        }

        /// Applies a plan as Route 53 would: strictly.
        fn apply(&mut self, plan: &SafePlan) -> Result<(), String> {
            for change in plan.changes() {
                for rrset in &change.deletes {
                    let at = self.rrsets.iter().position(|present| present == rrset);
                    self.rrsets.remove(at.ok_or(format!("delete of absent {rrset:?}"))?);
                }
                for rrset in &change.creates {
                    let taken = self.rrsets.iter().any(|present| {
                        present.name == rrset.name
                            && (present.record_type == rrset.record_type
                                || present.record_type == RecordType::Cname
                                || rrset.record_type == RecordType::Cname)
                    });
                    if taken {
                        return Err(format!("create over {rrset:?}"));
                    }
                    self.rrsets.push(rrset.clone());
                }
            }
            Ok(())
        }
    }

    fn show(plan: &SafePlan) -> String {
        let mut lines = Vec::new();
        for change in plan.changes() {
            let rrset = |sign, rrset: &Rrset| format!("{sign} {} {rrset}", rrset.name);
            lines.extend(change.deletes.iter().map(|deleted| rrset('-', deleted)));
            lines.extend(change.creates.iter().map(|created| rrset('+', created)));
        }
        for outcome in plan.outcomes() {
            let reason = outcome.reason.as_ref().map_or(String::new(), |text| format!(": {text}"));
            let status = outcome.status.as_str();
            lines.push(format!("{} {status}{reason}", outcome.service.service()));
        }
        lines.join("\n").replace("arn:aws:ecs:eu-west-1:111122223333:service/", "…/")
    }

    fn check(scene: Scene) -> String {
        show(&scene.plan().check(None))
    }

    #[test]
    fn a_new_service_gets_a_record_and_its_marker() {
        assert_snapshot!(check(Scene::default().service("orders", wants("orders", "lb"))), @r#"
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders registered
        "#);
    }

    #[test]
    fn a_service_in_order_is_left_alone() {
        let scene = Scene::default()
            .managed("orders", "orders", "lb")
            .service("orders", wants("orders", "lb"));
        assert_snapshot!(check(scene), @"orders unchanged");
    }

    #[test]
    fn a_moved_service_is_replaced_in_one_change() {
        let scene = Scene::default()
            .managed("orders", "orders", "old")
            .service("orders", wants("orders", "new"));
        assert_snapshot!(check(scene), @r#"
        - orders.internal CNAME old.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        + orders.internal CNAME new.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders updated: it was CNAME old.elb.amazonaws.com, 60 s
        "#);
    }

    #[test]
    fn a_renamed_service_loses_its_old_name_in_the_same_run() {
        let scene = Scene::default()
            .managed("orders", "orders", "lb")
            .service("orders", wants("shop", "lb"));
        assert_snapshot!(check(scene), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        + shop.internal CNAME lb.elb.amazonaws.com
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders updated: it is no longer called orders.internal
        "#);
    }

    #[test]
    fn a_service_that_is_gone_or_wants_no_name_loses_it() {
        let held = Scene::default().managed("orders", "orders", "lb");
        assert_snapshot!(check(held.clone().service("orders", Wish::Gone(Gone::Draining))), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders deregistered: ECS says DRAINING
        "#);
        assert_snapshot!(check(held.service("orders", nothing())), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders deregistered: the service has no load balancer
        "#);
    }

    #[test]
    fn a_service_without_a_name_that_wants_none_is_ignored() {
        assert_snapshot!(check(Scene::default().service("orders", nothing())), @"orders ignored: the service has no load balancer");
        assert_snapshot!(check(Scene::default().service("orders", Wish::Gone(Gone::Missing))), @"orders unchanged: ECS says MISSING, and it holds no name");
    }

    #[test]
    fn what_cannot_be_told_now_keeps_what_it_holds() {
        let scene = Scene::default().managed("orders", "orders", "lb").service("orders", waiting());
        assert_snapshot!(check(scene), @"orders waiting: not there yet");
    }

    #[test]
    fn a_holder_that_nobody_looked_at_keeps_its_name() {
        let scene = Scene::default()
            .managed("orders", "elder", "lb")
            .service("orders", wants("orders", "lb2"));
        assert_snapshot!(check(scene), @"orders conflict: the name is held by …/dev/elder");
    }

    #[test]
    fn a_record_that_a_person_made_is_a_conflict() {
        let scene = Scene::default()
            .foreign("orders", "A", "10.0.0.7")
            .service("orders", wants("orders", "lb"));
        assert_snapshot!(check(scene), @"orders conflict: the name is taken: it holds A 10.0.0.7, without a marker");
    }

    #[test]
    fn a_record_that_says_the_right_thing_already_is_adopted() {
        let there = Scene::default().foreign("orders", "CNAME", "LB.elb.amazonaws.com.");
        assert_snapshot!(check(there.clone().service("orders", wants("orders", "lb"))), @r#"
        - orders.internal CNAME LB.elb.amazonaws.com.
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders adopted: the record was there, without a marker
        "#);
        assert_snapshot!(
            check(there.service("orders", wants("orders", "lb2"))),
            @"orders conflict: the name is taken: it holds CNAME LB.elb.amazonaws.com., without a marker"
        );
    }

    #[test]
    fn a_cname_becomes_an_alias_in_one_change() {
        let alias = Wish::Record(Record {
            zone: HostedZoneId::new("Z1"),
            name: name("orders"),
            target: balancer("lb"),
            form: Form::Alias { zone: "ZLB".into(), dualstack: true },
        });
        let mut scene = Scene::default().managed("orders", "orders", "lb").service("orders", alias);
        assert_snapshot!(check(scene.clone()), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        + orders.internal A alias to lb.elb.amazonaws.com.
        + orders.internal AAAA alias to lb.elb.amazonaws.com.
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders updated: it was CNAME lb.elb.amazonaws.com, 60 s
        "#);
        scene.apply(&scene.plan().check(None)).expect("it fits");
        assert_snapshot!(check(scene.clone()), @"orders unchanged");
        // And back.
        scene.desires.clear();
        assert_snapshot!(check(scene.service("orders", wants("orders", "lb"))), @r#"
        - orders.internal A alias to lb.elb.amazonaws.com.
        - orders.internal AAAA alias to lb.elb.amazonaws.com.
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders updated: it was A alias to lb.elb.amazonaws.com. and AAAA alias to lb.elb.amazonaws.com.
        "#);
    }

    #[test]
    fn what_others_put_beside_aliases_stays_and_leaves_no_room_for_a_cname() {
        let alias = Wish::Record(Record {
            zone: HostedZoneId::new("Z1"),
            name: name("orders"),
            target: balancer("lb"),
            form: Form::Alias { zone: "ZLB".into(), dualstack: false },
        });
        let mut scene = Scene::default().service("orders", alias.clone());
        scene.apply(&scene.plan().check(None)).expect("it fits");
        let scene = scene.foreign("orders", "TXT", "\"proof\"");
        assert_snapshot!(check(scene.clone()), @"orders unchanged");
        let wishing = |wish: Wish| {
            let mut scene = scene.clone();
            scene.desires.clear();
            check(scene.service("orders", wish))
        };
        assert_snapshot!(wishing(wants("orders", "lb")), @r#"orders conflict: the name also holds TXT "proof", which was not written by this tool"#);
        assert_snapshot!(wishing(Wish::Gone(Gone::Missing)), @r#"
        - orders.internal A alias to lb.elb.amazonaws.com.
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders deregistered: ECS says MISSING
        "#);
    }

    #[test]
    fn what_could_not_be_read_changes_nothing_and_stops_no_other() {
        let scene = Scene::default()
            .managed("orders", "orders", "lb")
            .service("orders", Wish::Unread(Unread("denied".into())))
            .service("rival", wants("orders", "lb2"))
            .service("web", wants("web", "lb"));
        assert_snapshot!(check(scene), @r#"
        + web.internal CNAME lb.elb.amazonaws.com
        + _discovery.web.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/web"
        orders failed: denied
        rival conflict: the name is held by …/dev/orders
        web registered
        "#);
        let desires = Scene::default().service("orders", wants("orders", "lb")).desires;
        let mut view = ZoneView::default();
        view.set_unread(Unread("denied".into()));
        let zones = BTreeMap::from([(HostedZoneId::new("Z1"), view)]);
        let plan = plan(&desires.into_iter().collect(), &zones, &owner(), Stamp::default());
        assert_snapshot!(show(&plan.check(None)), @"orders failed: denied");
    }

    #[test]
    fn one_conflict_does_not_stop_the_others() {
        let scene = Scene::default()
            .foreign("orders", "A", "10.0.0.7")
            .service("orders", wants("orders", "lb"))
            .service("web", wants("web", "lb"));
        assert_snapshot!(check(scene), @r#"
        + web.internal CNAME lb.elb.amazonaws.com
        + _discovery.web.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/web"
        orders conflict: the name is taken: it holds A 10.0.0.7, without a marker
        web registered
        "#);
    }

    #[test]
    fn the_holder_of_a_name_keeps_it_while_it_lives() {
        let scene = Scene::default()
            .managed("shop", "young", "lb")
            .older_service("young", 9, wants("shop", "lb"))
            .older_service("old", 1, wants("shop", "lb2"));
        assert_snapshot!(check(scene), @r"
        old conflict: the name is held by …/dev/young
        young unchanged
        ");
    }

    #[test]
    fn among_newcomers_the_older_wins_then_the_smaller_arn() {
        let scene = Scene::default()
            .older_service("a", 9, wants("shop", "a"))
            .older_service("b", 1, wants("shop", "b"))
            .older_service("c", 1, wants("shop", "c"));
        assert_snapshot!(check(scene), @r#"
        + shop.internal CNAME b.elb.amazonaws.com
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/b"
        a conflict: the name goes to …/dev/b, which is older
        b registered
        c conflict: the name goes to …/dev/b, which is older
        "#);
    }

    #[test]
    fn a_name_passes_from_a_service_that_is_gone_in_one_change() {
        let scene = Scene::default()
            .managed("shop", "old", "lb")
            .service("old", Wish::Gone(Gone::Inactive))
            .service("new", wants("shop", "lb"));
        assert_snapshot!(check(scene), @r#"
        - shop.internal CNAME lb.elb.amazonaws.com
        - _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/old"
        + shop.internal CNAME lb.elb.amazonaws.com
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/new"
        new registered: the name was held by …/dev/old
        old deregistered: ECS says INACTIVE
        "#);
    }

    #[test]
    fn a_record_missing_beside_its_marker_is_repaired() {
        let scene = Scene::default()
            .marker_only("orders", "orders")
            .service("orders", wants("orders", "lb"));
        assert_snapshot!(check(scene), @r#"
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders updated: its record was missing beside its marker
        "#);
    }

    #[test]
    fn a_marker_with_a_former_name_of_the_environment_is_written_anew() {
        let mut scene = Scene::default().service("orders", wants("orders", "lb"));
        let marker = Marker { environment: "old-dev".into(), service: arn("orders") };
        scene = scene.managed("orders", "orders", "lb");
        scene.rrsets.pop();
        scene.rrsets.push(marker.rrset(&name("orders"), Stamp::default(), None));
        assert_snapshot!(check(scene), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=old-dev,service=…/dev/orders"
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders"
        orders updated: its marker had a former name of the environment
        "#);
    }

    #[test]
    fn names_that_move_are_not_limited_as_names_that_are_lost() {
        let limit = Some(DeleteLimit { free: 1, percent: 10 });
        let deletes = |scene: &Scene| {
            let safe = scene.plan().check(limit);
            safe.changes().iter().filter(|change| change.removes_the_name()).count()
        };
        let mut moved = Scene::default();
        for service in ["a", "b", "c"] {
            let wish = wants(&format!("{service}.dev"), "lb");
            moved = moved.managed(service, service, "lb").service(service, wish);
        }
        assert_eq!(deletes(&moved), 3);
        // What is taken at its new name would be lost at its old one.
        let taken = moved.clone().foreign("a.dev", "A", "10.0.0.7");
        assert_eq!(deletes(&taken), 3, "one of three is free");
        let taken = taken.foreign("b.dev", "A", "10.0.0.7");
        assert_eq!(deletes(&taken), 1);
    }

    #[test]
    fn a_pass_that_would_delete_too_much_deletes_nothing_and_goes_on() {
        let mut scene = Scene::default().service("new", wants("new", "lb"));
        for service in ["a", "b", "c", "d"] {
            scene =
                scene.managed(service, service, "lb").service(service, Wish::Gone(Gone::Missing));
        }
        for service in ["e", "f", "g", "h"] {
            scene = scene.managed(service, service, "lb").service(service, wants(service, "lb"));
        }
        let limit = Some(DeleteLimit { free: 3, percent: 30 });
        let safe = scene.plan().check(limit);
        let created: Vec<_> = safe.changes().iter().map(|change| change.name.as_str()).collect();
        assert_eq!(created, ["new.internal"]);
        let refused = safe.outcomes().iter().find(|outcome| outcome.service == arn("a"));
        assert_snapshot!(refused.and_then(|outcome| outcome.reason.clone()).unwrap_or_default(),
            @r#"this pass would delete 4 of 8 names, more than 3 and more than 30 %, so it deletes none; if they are to go, run {"reconcile":"all","overrideDeleteLimit":true}"#);

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
            scene = scene.service(&service, wants(&service, "lb"));
        }
        let safe = scene.plan().check(None);
        let batches = safe.batches();
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 600);
        for batch in &batches {
            let values: Vec<_> = batch.iter().flat_map(|change| change.values()).collect();
            assert!(values.len() <= MAX_ELEMENTS);
            assert!(values.iter().map(|value| value.len()).sum::<usize>() <= MAX_CHARACTERS);
        }
        // The characters are what binds here: 133 for each name.
        assert_eq!(batches.len(), 3);
    }

    /// Any small scene: few names and services, so that they meet often.
    fn any_scene() -> impl Strategy<Value = Scene> {
        let label = || prop::sample::select(vec!["a", "b", "c", "d"]);
        let wish = prop_oneof![
            4 => (label(), prop::sample::select(vec!["x", "y"])).prop_map(|(at, lb)| wants(at, lb)),
            1 => Just(nothing()),
            1 => Just(Wish::Gone(Gone::Missing)),
            1 => Just(waiting()),
            1 => Just(Wish::Invalid { reason: "no".into() }),
        ];
        let desires = prop::collection::btree_map(
            prop::sample::select(vec!["s1", "s2", "s3", "s4"]),
            (0_i64..3, wish),
            0..4,
        );
        let standing = prop::collection::btree_map(
            label(),
            prop_oneof![
                (
                    prop::sample::select(vec!["s1", "s2", "s3", "s4", "s5"]),
                    prop::sample::select(vec!["x", "y"])
                )
                    .prop_map(|(service, lb)| (0, service, lb)),
                prop::sample::select(vec!["s1", "s5"]).prop_map(|service| (1, service, "")),
                Just((2, "", "")),
                Just((3, "", "")),
                Just((4, "s1", "")),
                Just((5, "", "")),
            ],
            0..4,
        );
        (standing, desires).prop_map(|(standing, desires)| {
            let mut scene = Scene::default();
            for (at, (kind, service, lb)) in standing {
                scene = match kind {
                    0 => scene.managed(at, service, lb),
                    1 => scene.marker_only(at, service),
                    2 => scene.foreign(at, "A", "10.0.0.7"),
                    3 => scene.foreign(at, "CNAME", "person.example.com"),
                    // Adopted by whoever wants just that.
                    5 => scene.foreign(at, "CNAME", "x.elb.amazonaws.com"),
                    _ => scene.foreign(at, "A", "10.0.0.7").marker_only(at, service),
                };
            }
            for (service, (age, wish)) in desires {
                scene = scene.older_service(service, age, wish);
            }
            scene
        })
    }

    /// What may never be touched: whatever has no marker, except what a service may adopt.
    fn foreign(scene: &Scene) -> Vec<Rrset> {
        let marked =
            |rrset: &&Rrset| scene.rrsets.iter().any(|other| other.name == rrset.name.marker());
        let is_foreign = |rrset: &&Rrset| match rrset.cname_target() {
            Some((target, _)) => !marked(rrset) && target.as_str() == "person.example.com",
            None => rrset.record_type != RecordType::Txt,
        };
        scene.rrsets.iter().filter(is_foreign).cloned().collect()
    }

    proptest! {
        #[test]
        fn invariant_1_a_second_run_changes_nothing(scene in any_scene()) {
            let mut after = scene.clone();
            after.apply(&scene.plan().check(None)).map_err(TestCaseError::fail)?;
            let again = after.plan().check(None);
            prop_assert_eq!(again.changes(), &[], "{}", show(&again));
        }

        #[test]
        fn invariant_4_what_is_foreign_is_never_touched(scene in any_scene()) {
            let safe = scene.plan().check(None);
            let before = foreign(&scene);
            for change in safe.changes() {
                for rrset in &change.deletes {
                    prop_assert!(!before.contains(rrset), "{rrset:?} is foreign");
                }
            }
            let mut after = scene.clone();
            after.apply(&safe).map_err(TestCaseError::fail)?;
            for rrset in &before {
                prop_assert!(after.rrsets.contains(rrset), "{rrset:?} is lost");
            }
        }

        #[test]
        fn invariant_6_a_record_and_its_marker_change_together(scene in any_scene()) {
            let types = |rrsets: &[Rrset]| {
                rrsets.iter().map(|rrset| rrset.record_type.clone()).collect::<Vec<_>>()
            };
            let both = [RecordType::Cname, RecordType::Txt];
            for change in scene.plan().check(None).changes() {
                let (deleted, created) = (types(&change.deletes), types(&change.creates));
                prop_assert!(created.is_empty() || created == both);
                // One without the other is what somebody else left, or what is adopted.
                let half = deleted == [RecordType::Txt]
                    || (deleted == [RecordType::Cname] && created == both);
                prop_assert!(deleted.is_empty() || deleted == both || half, "{deleted:?}");
            }
        }

        #[test]
        fn invariant_7_what_cannot_be_registered_stops_no_other(scene in any_scene()) {
            let mut with = scene.clone().foreign("taken", "A", "10.0.0.7");
            let without = with.plan();
            with = with.service("unlucky", wants("taken", "x"));
            prop_assert_eq!(with.plan().changes, without.changes);
        }

        #[test]
        fn invariant_9_the_order_of_what_was_read_never_changes_the_plan(
            scene in any_scene(), seed in any::<u64>()
        ) {
            let mut shuffled = scene.clone();
            let mut state = seed | 1;
            let mut next = |below: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(state >> 33).unwrap_or(0) % below
            };
            for index in (1..shuffled.rrsets.len()).rev() {
                shuffled.rrsets.swap(index, next(index + 1));
            }
            for index in (1..shuffled.desires.len()).rev() {
                shuffled.desires.swap(index, next(index + 1));
            }
            prop_assert_eq!(scene.plan(), shuffled.plan());
        }
    }
}

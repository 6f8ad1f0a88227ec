//! Compares the current records of the zones with the desired ones, and decides every name.
//!
//! A *candidate* is a service that should have the name. The oldest candidate comes first, then the one
//! with the smaller ARN. The *holder* is the service in the name's marker.
//!
//! | current state of the name | candidates | result |
//! |---|---|---|
//! | free | none | – |
//! | free | one or more | the first is `registered`; the others are a `conflict` |
//! | managed, holder alive | the holder, same record | `unchanged`; others are a `conflict` |
//! | managed, holder alive, its deployment in progress, the record's load balancer exists | the holder, other target | `waiting`: the record stays |
//! | managed, holder alive | the holder, other record | `updated` in one change; others are a `conflict` |
//! | managed, record missing beside the marker | the holder | `updated`: the record is created again |
//! | managed under a former name of the environment | the holder | `updated`: the marker is written again |
//! | managed, holder gone or opted out | none | the name is deleted: `deregistered` |
//! | managed, holder renamed, its new name free in the same zone | none | both names change in one batch: `updated` |
//! | managed, holder renamed, it has its new name in the same zone already | none | the name is deleted in one batch with a change of the other marker, which proves that the holder has it: `updated` |
//! | managed, holder renamed, it has its new name in another zone already | none | the name is deleted: `updated` |
//! | managed, holder renamed, its new name free in another zone | none | the name stays until the holder has the new one; the next round deletes it |
//! | managed, holder renamed, its deployment in progress, the record's load balancer exists | none | the name stays beside the new one until the deployment is completed |
//! | managed, holder renamed, its new name taken, or failed to read | any service | the holder keeps the name; the candidates are a `conflict` |
//! | managed, holder gone, opted out, or leaving as above | other services | the first is `registered` in one change; the others are a `conflict` |
//! | managed, holder `waiting`, `invalid`, failed to read, or not read in this run | none | the record stays |
//! | managed, holder `waiting`, `invalid`, failed to read, or not read in this run | other services | `conflict` for all of them; the record stays |
//! | managed, with records of others that exclude the desired record | any service | `conflict` for all of them; a holder keeps its record, or loses it if it is gone |
//! | unmarked: one CNAME, or aliases | a service with the same target | the first of these services is `adopted` in one change; the others are a `conflict` |
//! | unmarked: one CNAME, or aliases | only services with other targets | `conflict` for all of them |
//! | foreign | any service | `conflict` for all of them |
//! | not read, or failed to read | any service | `failed` for all of them |
//!
//! This module neither describes services nor sends changes. A [`Plan`] cannot be applied:
//! only the [check](super::check) turns it into a [`SafePlan`](super::check::SafePlan), which can.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::desired::{Basis, Desired, DesiredState, Record};
use crate::domain::dns::{DnsName, RecordType, Rrset};
use crate::domain::marker::{Marker, Nonce};
use crate::domain::report::{Changes, Outcome, Status};
use crate::domain::service::{HostedZoneId, ReadError, ServiceArn};
use crate::domain::zone::{
    EnvironmentIdentity, Managed, NameState, ZoneName, ZoneView, list, types_of,
};

/// Everything that changes at one name. Route 53 applies it whole or not at all, so a record and its marker
/// are never separated.
///
/// The marker is deleted and created again even where only the record changes. So Route 53 refuses the
/// change if another service got the name after it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameChange {
    pub zone: HostedZoneId,
    pub name: DnsName,
    /// Exactly the record sets that were read.
    pub deletes: Vec<Rrset>,
    pub creates: Vec<Rrset>,
    /// The service that has the name after the change.
    pub winner: Option<ServiceArn>,
    /// The service that had the name before the change.
    pub holder: Option<ServiceArn>,
    /// The name in the same zone that the holder gets instead. Both change in one batch, so that no client
    /// sees the holder without a name.
    pub replaced_by: Option<DnsName>,
    /// Why the holder loses its only name. A service that has another name after the plan, as after a change
    /// of the template, loses nothing. A name that passes from a service that is gone to another one is no loss
    /// either. If the holder lives, it is one.
    pub loss: Option<Basis>,
    /// If the name passes to another service: the holder's marker, and one that notes that another service should have
    /// the name.
    pub note: Option<Box<(Rrset, Rrset)>>,
}

impl NameChange {
    /// Only notes in the holder's marker that another service should have the name, so that it gets the name when the
    /// holder is deleted.
    pub(super) fn only_noted(self) -> Option<NameChange> {
        let (before, after) = *self.note?;
        Some(NameChange {
            deletes: vec![before],
            creates: vec![after],
            winner: self.holder.clone(),
            replaced_by: None,
            loss: None,
            note: None,
            ..self
        })
    }

    pub fn at(&self) -> ZoneName {
        (self.zone.clone(), self.name.clone())
    }

    /// The services whose outcome depends on the change.
    pub fn services(&self) -> impl Iterator<Item = &ServiceArn> {
        let holder = self.holder.iter().filter(|holder| self.winner.as_ref() != Some(holder));
        self.winner.iter().chain(holder)
    }

    /// The name that the holder has instead.
    pub(super) fn replacement(&self) -> Option<ZoneName> {
        Some((self.zone.clone(), self.replaced_by.clone()?))
    }

    /// Whether the change only proves that the holder has the name: the marker gets another TTL.
    pub(super) fn is_proof(&self) -> bool {
        match (self.deletes.as_slice(), self.creates.as_slice()) {
            ([before], [after]) => before.name == after.name && before.values() == after.values(),
            _ => false,
        }
    }

    /// Whether the environment does not have the name after the change.
    pub fn removes_the_name(&self) -> bool {
        self.winner.is_none()
    }

    /// Whether the name has a record before the change, and none after it.
    pub fn removes_the_record(&self) -> bool {
        let has_record = |rrsets: &[Rrset]| rrsets.iter().any(|rrset| rrset.name == self.name);
        has_record(&self.deletes) && !has_record(&self.creates)
    }

    /// Whether the name was not managed before the change.
    pub fn adds_the_name(&self) -> bool {
        self.deletes.iter().all(|rrset| rrset.name == self.name)
    }

    pub fn count(&self) -> Changes {
        Changes { created: self.creates.len(), deleted: self.deletes.len() }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &String> {
        self.deletes.iter().chain(&self.creates).flat_map(Rrset::values)
    }
}

/// The changes that lead from the current state to the desired one, not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub(super) changes: Vec<NameChange>,
    pub(super) outcomes: Vec<Outcome>,
    /// The names that a service loses only together with or after the change that gives it its new one.
    pub(super) former_names: BTreeMap<ServiceArn, Vec<DnsName>>,
    /// Services that keep a name in one zone until they have their name in another. If they get it, another
    /// round deletes the former one.
    pub(super) unfinished: BTreeSet<ServiceArn>,
    /// Contested names that their holders lose. Services outside of the run's scope may be candidates.
    pub(super) contested: BTreeSet<ZoneName>,
    /// The number of names that the environment manages now, among those that were read.
    pub(super) managed: usize,
}

impl Plan {
    /// Contested names that their holders lose. Before the plan is applied, the run must have read the
    /// services that should have them.
    pub fn contested(&self) -> &BTreeSet<ZoneName> {
        &self.contested
    }

    /// All names that their holders lose.
    pub fn lost(&self) -> impl Iterator<Item = ZoneName> {
        let is_lost =
            |change: &&NameChange| change.holder.is_some() && change.winner != change.holder;
        self.changes.iter().filter(is_lost).map(NameChange::at)
    }
}

/// One row of the table: a name with its current state and its candidates.
struct Case<'a> {
    current: NameState,
    /// The first one has the best claim.
    candidates: Vec<Candidate<'a>>,
    /// Whether all services were read that may want the name, if it is contested.
    all_are_known: bool,
}

/// A service that should have the name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Candidate<'a> {
    created_at_ms: i64,
    service: &'a ServiceArn,
    record: &'a Record,
}

/// The decisions about one service, at all names that it holds or should have.
#[derive(Default)]
struct Decision {
    /// At the name that it should have.
    result: Option<(Status, Option<String>)>,
    /// The names that it loses.
    lost: Vec<ZoneName>,
    /// The names that it keeps although it should have another one, or although its desired state is unknown.
    kept: Vec<ZoneName>,
}

/// Compares the desired records with the current ones. The order of the input never changes the plan.
///
/// Every name that a service in `desired` should have must have been read, and so must have been the services that may
/// want a contested name whose holder goes.
pub fn plan(
    desired: &BTreeMap<ServiceArn, Desired>,
    zones: &BTreeMap<HostedZoneId, ZoneView>,
    identity: &EnvironmentIdentity,
    nonce: Nonce,
) -> Plan {
    decide(desired, zones, identity, nonce, true)
}

/// Like [`plan`], but services that could not be read may want a contested name, so it stays contested on its way to
/// another service.
pub fn plan_without_all_candidates(
    desired: &BTreeMap<ServiceArn, Desired>,
    zones: &BTreeMap<HostedZoneId, ZoneView>,
    identity: &EnvironmentIdentity,
    nonce: Nonce,
) -> Plan {
    decide(desired, zones, identity, nonce, false)
}

fn decide(
    desired: &BTreeMap<ServiceArn, Desired>,
    zones: &BTreeMap<HostedZoneId, ZoneView>,
    identity: &EnvironmentIdentity,
    nonce: Nonce,
    all_are_known: bool,
) -> Plan {
    let cases = cases(desired, zones, identity, all_are_known);
    let winners = Winners::decide(&cases, desired);
    let mut changes = Vec::new();
    let mut decisions: BTreeMap<ServiceArn, Decision> = BTreeMap::new();
    let mut former_names: BTreeMap<ServiceArn, Vec<DnsName>> = BTreeMap::new();
    let mut unfinished = BTreeSet::new();
    let mut contested = BTreeSet::new();
    let is_removed = |at: &ZoneName, case: &Case<'_>| {
        winners.at(at).is_none()
            && case
                .holder()
                .is_some_and(|holder| !winners.kept.contains(at) && !case.keeps(holder, desired))
    };
    // The names that services have instead of those that they lose. Another run may take such a name away at the same
    // time, so a change of its marker in the same batch proves that the service still has it.
    let proofs: BTreeSet<ZoneName> = cases
        .iter()
        .filter_map(|(at, case)| {
            let holder = &case.holder()?.service;
            let winner = winners.at(at);
            let loses_it = winner.is_some_and(|winner| winner.service != holder);
            if !loses_it && !is_removed(at, case) {
                return None;
            }
            match winners.release(at, holder, &cases, desired) {
                Release::With(other) => Some((at.0.clone(), other.clone())),
                Release::Now | Release::After | Release::Never => None,
            }
        })
        .collect();

    for (at, case) in &cases {
        let (zone, name) = at;
        let holder = case.holder();
        let winner = winners.at(at);
        let is_removed = is_removed(at, case);

        for candidate in &case.candidates {
            let result = match &case.current {
                NameState::ReadFailed(error) => (Status::Failed, Some(error.to_string())),
                current if winner == Some(candidate) && waits(current, candidate) => {
                    waiting(current)
                }
                current if winner == Some(candidate) => success(current, candidate),
                current => (Status::Conflict, Some(conflict(current, candidate, winner))),
            };
            decisions.entry(candidate.service.clone()).or_default().result = Some(result);
        }
        let mut replaced_by = None;
        if let Some(holder) = holder
            && winner.is_none_or(|winner| *winner.service != holder.service)
        {
            let decision = decisions.entry(holder.service.clone()).or_default();
            if winner.is_some() || is_removed {
                decision.lost.push(at.clone());
                if let Release::With(other) = winners.release(at, &holder.service, &cases, desired)
                {
                    former_names.entry(holder.service.clone()).or_default().push(name.clone());
                    replaced_by = Some(other.clone());
                }
            } else {
                decision.kept.push(at.clone());
                if let Release::After = winners.release(at, &holder.service, &cases, desired) {
                    former_names.entry(holder.service.clone()).or_default().push(name.clone());
                    unfinished.insert(holder.service.clone());
                }
            }
        }

        let owner = match winner {
            Some(winner) => Some(winner.service),
            None => holder.map(|holder| &holder.service).filter(|_| !is_removed),
        };
        let marker = |service: &ServiceArn, types, is_contested| {
            let before = holder.map(|holder| &holder.marker);
            identity.marker(service, types, is_contested).rrset(name, nonce, before)
        };
        let change = case.change(winner, owner, marker).or_else(|| {
            let holder = holder.filter(|_| proofs.contains(at))?;
            let marker = marker(&holder.service, holder.types_to_list(), holder.is_contested);
            Some((vec![holder.marker.clone()], vec![marker]))
        });
        let Some((deletes, creates)) = change else { continue };
        if let Some(holder) = holder
            && holder.is_contested
            && owner != Some(&holder.service)
        {
            contested.insert(at.clone());
        }
        let note = holder.filter(|holder| !holder.is_contested && winner.is_some());
        let note = note.filter(|holder| owner != Some(&holder.service)).map(|holder| {
            let after = marker(&holder.service, holder.types_to_list(), true);
            Box::new((holder.marker.clone(), after))
        });
        let holder = holder.map(|holder| holder.service.clone());
        changes.push(NameChange {
            zone: zone.clone(),
            name: name.clone(),
            deletes,
            creates,
            winner: owner.cloned(),
            loss: holder
                .as_ref()
                .filter(|holder| owner != Some(holder))
                .and_then(|holder| loss(desired, holder))
                .filter(|basis| is_removed || *basis == Basis::Environment),
            holder,
            replaced_by,
            note,
        });
    }

    let managed = cases.values().filter(|case| case.holder().is_some()).count();
    let outcomes = desired
        .iter()
        .map(|(service, desired)| {
            outcome(service, &desired.state, decisions.remove(service).unwrap_or_default())
        })
        .collect();
    Plan { changes, outcomes, former_names, unfinished, contested, managed }
}

/// Why a service without a name after the plan has none. `None` if it should have a name: then it has one,
/// since it loses no name before it has another.
fn loss(desired: &BTreeMap<ServiceArn, Desired>, holder: &ServiceArn) -> Option<Basis> {
    match &desired.get(holder)?.state {
        DesiredState::Gone(_) => Some(Basis::Gone),
        DesiredState::Nothing { basis, .. } => Some(*basis),
        DesiredState::Record(_)
        | DesiredState::Waiting { .. }
        | DesiredState::Invalid { .. }
        | DesiredState::ReadFailed(_) => None,
    }
}

/// The winner of each name. A service that should have another name keeps its former one unless the plan gives
/// it the new one, so one lost contest can decide others.
struct Winners<'a> {
    winners: BTreeMap<&'a ZoneName, &'a Candidate<'a>>,
    /// Names whose holders keep them although they should have another name.
    kept: BTreeSet<&'a ZoneName>,
}

/// Whether a service that should have another name gives up the name that it holds.
enum Release<'a> {
    /// It is gone or has no desired name, or it has its desired name in another zone already.
    Now,
    /// In one batch with the change that gives it this name of the same zone, or proves that it has the name.
    With(&'a DnsName),
    /// After it has its desired name, which is in another zone.
    After,
    /// It does not get its desired name, or that name leads to a load balancer that a deployment has not reached.
    Never,
}

impl<'a> Winners<'a> {
    /// Starts with all former names given up. Each name whose holder does not get its new one is then taken
    /// from its winner, which may keep its own former name for that reason.
    fn decide(
        cases: &'a BTreeMap<ZoneName, Case<'a>>,
        desired: &BTreeMap<ServiceArn, Desired>,
    ) -> Winners<'a> {
        let winner = |(at, case): (&'a ZoneName, &'a Case<'a>)| Some((at, case.winner(desired)?));
        let mut winners =
            Winners { winners: cases.iter().filter_map(winner).collect(), kept: BTreeSet::new() };
        let mut held: BTreeMap<&ServiceArn, Vec<&'a ZoneName>> = BTreeMap::new();
        for (at, case) in cases {
            if let Some(holder) = case.holder() {
                held.entry(&holder.service).or_default().push(at);
            }
        }
        let mut unchecked: Vec<&'a ZoneName> = held.values().flatten().copied().collect();
        while let Some(at) = unchecked.pop() {
            let Some(holder) = cases.get(at).and_then(Case::holder) else { continue };
            let release = winners.release(at, &holder.service, cases, desired);
            if matches!(release, Release::After | Release::Never)
                && winners.kept.insert(at)
                && let Some(loser) = winners.winners.remove(at)
            {
                unchecked.extend(held.get(loser.service).into_iter().flatten());
            }
        }
        winners
    }

    fn at(&self, at: &ZoneName) -> Option<&'a Candidate<'a>> {
        self.winners.get(at).copied()
    }

    fn release<'b>(
        &self,
        at: &ZoneName,
        holder: &ServiceArn,
        cases: &BTreeMap<ZoneName, Case<'_>>,
        desired: &'b BTreeMap<ServiceArn, Desired>,
    ) -> Release<'b> {
        let Some(DesiredState::Record(record)) = desired.get(holder).map(|desired| &desired.state)
        else {
            return Release::Now;
        };
        let wanted = record.at();
        if wanted == *at {
            return Release::Now;
        }
        // The load balancer of the desired record may have no running task until the deployment is completed.
        let held = cases.get(at).and_then(Case::holder);
        if held.is_some_and(|held| record.waits_for_deployment(&held.records)) {
            return Release::Never;
        }
        let has_it = cases
            .get(&wanted)
            .and_then(Case::holder)
            .is_some_and(|managed| managed.service == *holder && !managed.records.is_empty());
        match self.at(&wanted) {
            Some(winner) if *winner.service == *holder => {
                if record.zone == at.0 {
                    Release::With(&record.name)
                } else if has_it {
                    Release::Now
                } else {
                    Release::After
                }
            }
            Some(_) | None => Release::Never,
        }
    }
}

impl<'a> Case<'a> {
    fn holder(&self) -> Option<&Managed> {
        match &self.current {
            NameState::Managed(holder) => Some(holder),
            NameState::Free
            | NameState::Unmarked(_)
            | NameState::Foreign(_)
            | NameState::ReadFailed(_) => None,
        }
    }

    /// The record sets that a change at this name deletes.
    fn replaceable(&self) -> Vec<Rrset> {
        match &self.current {
            NameState::Managed(holder) => holder.rrsets().cloned().collect(),
            NameState::Unmarked(records) => records.clone(),
            NameState::Free | NameState::Foreign(_) | NameState::ReadFailed(_) => Vec::new(),
        }
    }

    /// The record sets to delete and to create, if any. `owner` is the service that has the name afterwards, the
    /// winner or a holder that is no candidate.
    fn change(
        &self,
        winner: Option<&Candidate>,
        owner: Option<&ServiceArn>,
        marker: impl Fn(&ServiceArn, Option<BTreeSet<RecordType>>, bool) -> Rrset,
    ) -> Option<(Vec<Rrset>, Vec<Rrset>)> {
        let holder = self.holder();
        // Other candidates may be outside of the run's scope, so the marker of a holder stays contested.
        let was_contested = holder.is_some_and(|held| {
            held.is_contested && (owner == Some(&held.service) || !self.all_are_known)
        });
        let is_contested =
            was_contested || self.candidates.iter().any(|one| Some(one.service) != owner);
        match (winner, holder) {
            (Some(winner), _)
                if !is_in_sync(&self.current, winner) && !waits(&self.current, winner) =>
            {
                let mut creates = winner.record.rrsets();
                creates.push(marker(winner.service, types_of(&creates), is_contested));
                Some((self.replaceable(), creates))
            }
            (None, Some(holder)) if owner.is_none() => {
                Some((self.replaceable(), Marker::remainder(&holder.marker).into_iter().collect()))
            }
            // The records stay. Only the marker notes the other candidates.
            (_, Some(holder)) if is_contested && !holder.is_contested => {
                let marker = marker(&holder.service, holder.types_to_list(), is_contested);
                Some((vec![holder.marker.clone()], vec![marker]))
            }
            _ => None,
        }
    }

    /// Whether the holder has the name in its desired state, or may have it.
    fn keeps(&self, holder: &Managed, desired: &BTreeMap<ServiceArn, Desired>) -> bool {
        let is_candidate =
            self.candidates.iter().any(|candidate| *candidate.service == holder.service);
        is_candidate || may_keep(desired, &holder.service)
    }

    /// The candidate that gets or keeps the name. A holder keeps its name while it lives.
    fn winner(&self, desired: &BTreeMap<ServiceArn, Desired>) -> Option<&Candidate<'a>> {
        match &self.current {
            NameState::Foreign(_) | NameState::ReadFailed(_) => None,
            NameState::Free => self.candidates.first(),
            NameState::Unmarked(records) => {
                self.candidates.iter().find(|candidate| candidate.record.may_adopt(records))
            }
            NameState::Managed(holder) => {
                let keeps = self.keeps(holder, desired);
                self.candidates.iter().find(|candidate| {
                    fits(holder, candidate) && (!keeps || *candidate.service == holder.service)
                })
            }
        }
    }
}

/// Whether the records of others at a managed name leave room for the candidate's record. A CNAME tolerates
/// no other record. Aliases tolerate records of other types.
fn fits(holder: &Managed, candidate: &Candidate) -> bool {
    let rrsets = candidate.record.rrsets();
    holder.others.iter().all(|(other, _)| {
        *other != RecordType::Cname
            && rrsets
                .iter()
                .all(|rrset| rrset.record_type != *other && rrset.record_type != RecordType::Cname)
    })
}

/// Whether the name already has exactly the candidate's record and a current marker.
fn is_in_sync(current: &NameState, candidate: &Candidate) -> bool {
    let NameState::Managed(holder) = current else { return false };
    holder.service == *candidate.service
        && holder.is_current
        && candidate.record.is_met_by(&holder.records)
}

/// Whether the candidate's present record stays until the deployment of the service is completed.
fn waits(current: &NameState, candidate: &Candidate) -> bool {
    let NameState::Managed(holder) = current else { return false };
    holder.service == *candidate.service && candidate.record.waits_for_deployment(&holder.records)
}

fn waiting(current: &NameState) -> (Status, Option<String>) {
    let present = match current {
        NameState::Managed(holder) => list(&holder.records),
        _ => "the present record".into(),
    };
    (Status::Waiting, Some(format!("the deployment is in progress; the record is still {present}")))
}

/// The result for the candidate that gets or keeps the name.
fn success(current: &NameState, candidate: &Candidate) -> (Status, Option<String>) {
    match current {
        NameState::Free | NameState::Foreign(_) | NameState::ReadFailed(_) => {
            (Status::Registered, None)
        }
        NameState::Unmarked(_) => {
            (Status::Adopted, Some("the record existed without a marker".into()))
        }
        NameState::Managed(holder) if holder.service != *candidate.service => {
            (Status::Registered, Some(format!("the name was held by {}", holder.service)))
        }
        current if is_in_sync(current, candidate) => (Status::Unchanged, None),
        NameState::Managed(holder) if candidate.record.is_met_by(&holder.records) => {
            (Status::Updated, Some("the marker had a former name of the environment".into()))
        }
        NameState::Managed(holder) if holder.records.is_empty() => {
            (Status::Updated, Some("the record was missing beside its marker".into()))
        }
        NameState::Managed(holder) => {
            (Status::Updated, Some(format!("the record was {}", with_ttl(&holder.records))))
        }
    }
}

/// Every name that is managed now, or that a service should have.
fn cases<'a>(
    desired: &'a BTreeMap<ServiceArn, Desired>,
    zones: &BTreeMap<HostedZoneId, ZoneView>,
    identity: &EnvironmentIdentity,
    all_are_known: bool,
) -> BTreeMap<(HostedZoneId, DnsName), Case<'a>> {
    let mut cases = BTreeMap::new();
    for (zone, view) in zones {
        for (name, managed) in view.managed(identity) {
            let current = NameState::Managed(managed);
            cases.insert(
                (zone.clone(), name.clone()),
                Case { current, candidates: Vec::new(), all_are_known },
            );
        }
    }
    for (service, desired) in desired {
        if let DesiredState::Record(record) = &desired.state {
            let current = || zones.get(&record.zone)?.state(&record.name, identity);
            cases
                .entry(record.at())
                .or_insert_with(|| Case {
                    // The state of a name that nobody read is unknown, never free.
                    current: current().unwrap_or_else(|| {
                        NameState::ReadFailed(ReadError("the name was not read".into()))
                    }),
                    candidates: Vec::new(),
                    all_are_known,
                })
                .candidates
                .push(Candidate { created_at_ms: desired.created_at_ms, service, record });
        }
    }
    for case in cases.values_mut() {
        case.candidates.sort_by_key(|candidate| (candidate.created_at_ms, candidate.service));
    }
    cases
}

/// Whether a holder that is no candidate keeps its name: it was not read, or its desired state is unknown.
fn may_keep(desired: &BTreeMap<ServiceArn, Desired>, holder: &ServiceArn) -> bool {
    match desired.get(holder).map(|desired| &desired.state) {
        None
        | Some(
            DesiredState::Waiting { .. }
            | DesiredState::Invalid { .. }
            | DesiredState::ReadFailed(_),
        ) => true,
        // It should have another name or none, or ECS reports that it is gone.
        Some(DesiredState::Record(_) | DesiredState::Nothing { .. } | DesiredState::Gone(_)) => {
            false
        }
    }
}

/// The reason for a candidate that does not get the name.
fn conflict(current: &NameState, candidate: &Candidate, winner: Option<&Candidate>) -> String {
    match (current, winner) {
        (NameState::Foreign(owner), _) => format!("the name is taken by {owner}"),
        (NameState::Unmarked(records), None) => {
            format!("the name is taken by {}, which has no marker", list(records))
        }
        (NameState::Managed(holder), None) if !fits(holder, candidate) => {
            let others: Vec<&str> =
                holder.others.iter().map(|(_, record)| record.as_str()).collect();
            format!("the name also has a record of others: {}", others.join(" and "))
        }
        (NameState::Managed(holder), None) => format!("the name is held by {}", holder.service),
        (NameState::Managed(holder), Some(winner)) if holder.service == *winner.service => {
            format!("the name is held by {}", holder.service)
        }
        (_, Some(winner)) => {
            format!("the name goes to an older service: {}", winner.service)
        }
        (NameState::Free | NameState::ReadFailed(_), None) => "the name is taken".into(),
    }
}

/// Describes records with their TTL, because two records may differ only in it.
fn with_ttl(records: &[Rrset]) -> String {
    let ttl = records.iter().find_map(|rrset| Some(rrset.cname_target()?.1));
    let ttl = ttl.map_or(String::new(), |seconds| format!(", TTL {seconds} s"));
    format!("{}{ttl}", list(records))
}

/// The outcome of one service.
fn outcome(service: &ServiceArn, state: &DesiredState, decision: Decision) -> Outcome {
    let Decision { result, lost, kept } = decision;
    let at = |name: Option<ZoneName>, status, reason: Option<String>| {
        let (zone, name) = name.unzip();
        let service = service.clone();
        Outcome { service, name, zone, status, target: None, reason, applied: None }
    };
    let names = |names: &[ZoneName]| {
        let names: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
        names.join(", ")
    };
    let affected = kept.first().or(lost.first()).cloned();
    let is_lost = !lost.is_empty();
    match state {
        DesiredState::Record(record) => {
            let missing = || (Status::Failed, Some("the name was not planned".to_owned()));
            let (status, reason) = match result.unwrap_or_else(missing) {
                (Status::Unchanged | Status::Registered, _) if is_lost => {
                    (Status::Updated, Some(format!("renamed from {}", names(&lost))))
                }
                (status @ (Status::Conflict | Status::Failed), Some(reason))
                    if !kept.is_empty() =>
                {
                    (status, Some(format!("{reason}; the service keeps {}", names(&kept))))
                }
                (status, _) if !kept.is_empty() => {
                    let reason = match kept.iter().any(|(zone, _)| *zone != record.zone) {
                        true => ", which is in another zone, is deleted when this record exists",
                        false => " is deleted when the deployment is completed",
                    };
                    (status, Some(format!("{}{reason}", names(&kept))))
                }
                result => result,
            };
            // In a conflict the name leads to another target. After a failure its target is unknown.
            let leads_to_target =
                !matches!(status, Status::Conflict | Status::Failed | Status::Waiting);
            Outcome {
                target: leads_to_target.then(|| record.target.clone()),
                ..at(Some(record.at()), status, reason)
            }
        }
        DesiredState::Nothing { reason, .. } if is_lost => {
            at(affected, Status::Deregistered, Some(reason.clone()))
        }
        DesiredState::Nothing { reason, .. } => at(None, Status::Ignored, Some(reason.clone())),
        DesiredState::Gone(gone) if is_lost => {
            at(affected, Status::Deregistered, Some(format!("ECS reports {gone}")))
        }
        DesiredState::Gone(gone) => at(
            None,
            Status::Unchanged,
            Some(format!("ECS reports {gone}; the service had no name")),
        ),
        DesiredState::Waiting { reason } => at(affected, Status::Waiting, Some(reason.clone())),
        DesiredState::Invalid { reason } => at(affected, Status::Invalid, Some(reason.clone())),
        DesiredState::ReadFailed(error) => at(affected, Status::Failed, Some(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::check::LossPolicy;
    use crate::domain::desired::Form;
    use crate::domain::fixtures::{
        Scene, arn, balancer, cname, identity, marker_of, name, plain, record, show_plan,
    };
    use crate::domain::service::Gone;
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn nothing() -> DesiredState {
        DesiredState::Nothing {
            reason: "the service has no load balancer of its own".into(),
            basis: Basis::Service,
        }
    }

    fn waiting() -> DesiredState {
        DesiredState::Waiting { reason: "not there yet".into() }
    }

    /// A record that leads to the load balancer `new`, while a deployment is in progress and these exist.
    fn deploying(name: &str, existing: &[&str]) -> DesiredState {
        match record(name, "new") {
            DesiredState::Record(record) => {
                let kept_targets = Arc::new(existing.iter().map(|text| balancer(text)).collect());
                DesiredState::Record(Record { kept_targets, ..record })
            }
            other => other,
        }
    }

    fn check(scene: Scene) -> String {
        show_plan(&scene.plan().check(&LossPolicy::All))
    }

    #[test]
    fn a_new_service_gets_a_record_and_its_marker() {
        assert_snapshot!(check(Scene::default().service("orders", record("orders", "lb"))), @r#"
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders registered
        "#);
    }

    #[test]
    fn a_service_in_order_is_left_alone() {
        let scene = Scene::default()
            .managed("orders", "orders", "lb")
            .service("orders", record("orders", "lb"));
        assert_snapshot!(check(scene), @"orders unchanged");
    }

    #[test]
    fn a_moved_service_is_replaced_in_one_change() {
        let scene = Scene::default()
            .managed("orders", "orders", "old")
            .service("orders", record("orders", "new"));
        assert_snapshot!(check(scene), @r#"
        - orders.internal CNAME old.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        + orders.internal CNAME new.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders updated: the record was CNAME old.elb.amazonaws.com, TTL 60 s
        "#);
    }

    #[test]
    fn a_record_moves_when_the_deployment_is_completed_or_its_load_balancer_is_gone() {
        let deploying = |existing: &[&str]| deploying("orders", existing);
        let held = || Scene::default().managed("orders", "orders", "old");
        assert_snapshot!(check(held().service("orders", deploying(&["old", "new"]))), @"orders waiting: the deployment is in progress; the record is still CNAME old.elb.amazonaws.com");
        assert_snapshot!(check(held().service("orders", deploying(&["new"]))), @r#"
        - orders.internal CNAME old.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        + orders.internal CNAME new.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders updated: the record was CNAME old.elb.amazonaws.com, TTL 60 s
        "#);
        // A new name has no load balancer to keep.
        assert_snapshot!(check(Scene::default().service("orders", deploying(&["old", "new"]))), @r#"
        + orders.internal CNAME new.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders registered
        "#);
    }

    #[test]
    fn a_service_that_is_renamed_during_its_deployment_keeps_its_former_name_beside_the_new_one() {
        let deploying = |existing: &[&str]| deploying("shop", existing);
        let held = Scene::default().managed("orders", "orders", "old");
        let both = held.clone().managed("shop", "orders", "new");
        assert_snapshot!(check(held.service("orders", deploying(&["old", "new"]))), @r#"
        + shop.internal CNAME new.elb.amazonaws.com
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders registered: orders.internal is deleted when the deployment is completed
        "#);
        assert_snapshot!(check(both.clone().service("orders", deploying(&["old", "new"]))), @"orders unchanged: orders.internal is deleted when the deployment is completed");
        assert_snapshot!(check(both.service("orders", deploying(&["new"]))), @r#"
        - _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        - orders.internal CNAME old.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders updated: renamed from orders.internal
        "#);
    }

    #[test]
    fn a_renamed_service_loses_its_old_name_in_the_same_run() {
        let scene = Scene::default()
            .managed("orders", "orders", "lb")
            .service("orders", record("shop", "lb"));
        assert_snapshot!(check(scene), @r#"
        + shop.internal CNAME lb.elb.amazonaws.com
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders updated: renamed from orders.internal
        "#);
    }

    #[test]
    fn a_service_loses_a_second_name_only_if_it_still_has_the_other_one() {
        let scene = Scene::default()
            .managed("orders", "orders", "lb")
            .managed("shop", "orders", "lb")
            .service("orders", record("shop", "lb"));
        // The change of the other marker proves that.
        assert_snapshot!(check(scene), @r#"
        - _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders updated: renamed from orders.internal
        "#);
    }

    #[test]
    fn a_renamed_service_keeps_its_name_while_the_new_one_is_taken() {
        let scene = Scene::default()
            .managed("orders", "orders", "lb")
            .foreign("shop", "A", "10.0.0.7")
            .service("orders", record("shop", "lb"));
        assert_snapshot!(check(scene.clone()), @"orders conflict: the name is taken by A 10.0.0.7, which has no marker; the service keeps orders.internal");
        // So a service that should have the former name does not get it, and keeps its own.
        let scene = scene.managed("web", "web", "lb").service("web", record("orders", "lb"));
        assert_snapshot!(check(scene), @r#"
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME,contested"
        orders conflict: the name is taken by A 10.0.0.7, which has no marker; the service keeps orders.internal
        web conflict: the name is held by …/dev/orders; the service keeps web.internal
        "#);
    }

    #[test]
    fn services_exchange_their_names_in_one_batch() {
        let scene = Scene::default()
            .managed("a", "one", "lb1")
            .managed("b", "two", "lb2")
            .service("one", record("b", "lb1"))
            .service("two", record("a", "lb2"));
        let safe = scene.plan().check(&LossPolicy::All);
        let batches = safe.batches();
        assert_eq!((batches.len(), batches[0].len()), (1, 1), "one group");
        assert_snapshot!(show_plan(&safe), @r#"
        - a.internal CNAME lb1.elb.amazonaws.com
        - _discovery.a.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/one,records=CNAME"
        + a.internal CNAME lb2.elb.amazonaws.com
        + _discovery.a.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/two,records=CNAME"
        - b.internal CNAME lb2.elb.amazonaws.com
        - _discovery.b.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/two,records=CNAME"
        + b.internal CNAME lb1.elb.amazonaws.com
        + _discovery.b.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/one,records=CNAME"
        one updated: renamed from a.internal
        two updated: renamed from b.internal
        "#);
    }

    #[test]
    fn a_name_in_another_zone_is_deleted_after_the_new_one_exists() {
        let other = HostedZoneId::new("Z2");
        let mut desired = Scene::default().service("orders", record("orders", "lb")).desired;
        if let DesiredState::Record(record) = &mut desired[0].1.state {
            record.zone = other.clone();
        }
        let desired: BTreeMap<_, _> = desired.into_iter().collect();
        let held = Scene::default().managed("orders", "orders", "lb").rrsets;
        let plan = |new: Vec<Rrset>| {
            let zones = BTreeMap::from([
                (HostedZoneId::new("Z1"), ZoneView::whole(held.clone())),
                (other.clone(), ZoneView::whole(new)),
            ]);
            plan(&desired, &zones, &identity(), Nonce::default()).check(&LossPolicy::All)
        };
        let first = plan(Vec::new());
        assert_snapshot!(show_plan(&first), @r#"
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders registered: orders.internal, which is in another zone, is deleted when this record exists
        "#);
        assert_eq!(*first.unfinished(), BTreeSet::from([arn("orders")]));
        let second = plan(held.clone());
        assert_snapshot!(show_plan(&second), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders updated: renamed from orders.internal
        "#);
        assert_eq!(second.unfinished().len(), 0);
        assert_snapshot!(show_plan(&plan(vec![plain("orders", "A", "10.0.0.7")])), @"orders conflict: the name is taken by A 10.0.0.7, which has no marker; the service keeps orders.internal");
    }

    #[test]
    fn a_service_that_is_gone_or_opted_out_loses_its_name() {
        let held = Scene::default().managed("orders", "orders", "lb");
        assert_snapshot!(check(held.clone().service("orders", DesiredState::Gone(Gone::Draining { created_at_ms: 0 }))), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders deregistered: ECS reports DRAINING
        "#);
        assert_snapshot!(check(held.service("orders", nothing())), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders deregistered: the service has no load balancer of its own
        "#);
    }

    #[test]
    fn a_service_without_current_and_desired_name_is_ignored() {
        assert_snapshot!(check(Scene::default().service("orders", nothing())), @"orders ignored: the service has no load balancer of its own");
        assert_snapshot!(check(Scene::default().service("orders", DesiredState::Gone(Gone::Missing))), @"orders unchanged: ECS reports MISSING; the service had no name");
    }

    #[test]
    fn a_waiting_service_keeps_its_record() {
        let scene = Scene::default().managed("orders", "orders", "lb").service("orders", waiting());
        assert_snapshot!(check(scene), @"orders waiting: not there yet");
    }

    #[test]
    fn a_holder_that_was_not_read_keeps_its_name() {
        let scene = Scene::default()
            .managed("orders", "elder", "lb")
            .service("orders", record("orders", "lb2"));
        assert_snapshot!(check(scene), @r#"
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/elder,records=CNAME"
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/elder,records=CNAME,contested"
        orders conflict: the name is held by …/dev/elder
        "#);
    }

    #[test]
    fn a_record_of_another_owner_is_a_conflict() {
        let scene = Scene::default()
            .foreign("orders", "A", "10.0.0.7")
            .service("orders", record("orders", "lb"));
        assert_snapshot!(check(scene), @"orders conflict: the name is taken by A 10.0.0.7, which has no marker");
    }

    #[test]
    fn an_unmarked_record_with_the_same_target_is_adopted() {
        let there = Scene::default().foreign("orders", "CNAME", "LB.elb.amazonaws.com.");
        assert_snapshot!(check(there.clone().service("orders", record("orders", "lb"))), @r#"
        - orders.internal CNAME LB.elb.amazonaws.com.
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders adopted: the record existed without a marker
        "#);
        assert_snapshot!(
            check(there.service("orders", record("orders", "lb2"))),
            @"orders conflict: the name is taken by CNAME LB.elb.amazonaws.com., which has no marker"
        );
    }

    #[test]
    fn a_cname_becomes_an_alias_in_one_change() {
        let alias = DesiredState::Record(Record {
            zone: HostedZoneId::new("Z1"),
            name: name("orders"),
            target: balancer("lb"),
            form: Form::Alias { zone: "ZLB".into(), dualstack: true },
            adopts: true,
            kept_targets: Arc::default(),
        });
        let mut scene = Scene::default().managed("orders", "orders", "lb").service("orders", alias);
        assert_snapshot!(check(scene.clone()), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        + orders.internal A alias to lb.elb.amazonaws.com.
        + orders.internal AAAA alias to lb.elb.amazonaws.com.
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=A+AAAA"
        orders updated: the record was CNAME lb.elb.amazonaws.com, TTL 60 s
        "#);
        scene.apply(&scene.plan().check(&LossPolicy::All)).expect("it fits");
        assert_snapshot!(check(scene.clone()), @"orders unchanged");
        // And back.
        scene.desired.clear();
        assert_snapshot!(check(scene.service("orders", record("orders", "lb"))), @r#"
        - orders.internal A alias to lb.elb.amazonaws.com.
        - orders.internal AAAA alias to lb.elb.amazonaws.com.
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=A+AAAA"
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders updated: the record was A alias to lb.elb.amazonaws.com. and AAAA alias to lb.elb.amazonaws.com.
        "#);
    }

    #[test]
    fn records_of_others_beside_aliases_stay_and_leave_no_room_for_a_cname() {
        let alias = DesiredState::Record(Record {
            zone: HostedZoneId::new("Z1"),
            name: name("orders"),
            target: balancer("lb"),
            form: Form::Alias { zone: "ZLB".into(), dualstack: false },
            adopts: true,
            kept_targets: Arc::default(),
        });
        let mut scene = Scene::default().service("orders", alias.clone());
        scene.apply(&scene.plan().check(&LossPolicy::All)).expect("it fits");
        let scene = scene.foreign("orders", "TXT", "\"proof\"");
        assert_snapshot!(check(scene.clone()), @"orders unchanged");
        let with_desired = |state: DesiredState| {
            let mut scene = scene.clone();
            scene.desired.clear();
            check(scene.service("orders", state))
        };
        assert_snapshot!(with_desired(record("orders", "lb")), @r#"orders conflict: the name also has a record of others: TXT "proof"; the service keeps orders.internal"#);
        assert_snapshot!(with_desired(DesiredState::Gone(Gone::Missing)), @r#"
        - orders.internal A alias to lb.elb.amazonaws.com.
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=A"
        orders deregistered: ECS reports MISSING
        "#);
    }

    #[test]
    fn a_failed_read_keeps_the_record_and_stops_no_other_service() {
        let scene = Scene::default()
            .managed("orders", "orders", "lb")
            .service("orders", DesiredState::ReadFailed(ReadError("denied".into())))
            .service("rival", record("orders", "lb2"))
            .service("web", record("web", "lb"));
        assert_snapshot!(check(scene), @r#"
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME,contested"
        + web.internal CNAME lb.elb.amazonaws.com
        + _discovery.web.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/web,records=CNAME"
        orders failed: denied
        rival conflict: the name is held by …/dev/orders
        web registered
        "#);
        let desired = Scene::default().service("orders", record("orders", "lb")).desired;
        let mut view = ZoneView::default();
        view.set_failed(ReadError("denied".into()));
        let zones = BTreeMap::from([(HostedZoneId::new("Z1"), view)]);
        let plan = plan(&desired.into_iter().collect(), &zones, &identity(), Nonce::default());
        assert_snapshot!(show_plan(&plan.check(&LossPolicy::All)), @"orders failed: denied");
    }

    #[test]
    fn one_conflict_does_not_stop_the_others() {
        let scene = Scene::default()
            .foreign("orders", "A", "10.0.0.7")
            .service("orders", record("orders", "lb"))
            .service("web", record("web", "lb"));
        assert_snapshot!(check(scene), @r#"
        + web.internal CNAME lb.elb.amazonaws.com
        + _discovery.web.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/web,records=CNAME"
        orders conflict: the name is taken by A 10.0.0.7, which has no marker
        web registered
        "#);
    }

    #[test]
    fn the_holder_of_a_name_keeps_it_while_it_lives() {
        let scene = Scene::default()
            .managed("shop", "young", "lb")
            .older_service("young", 9, record("shop", "lb"))
            .older_service("old", 1, record("shop", "lb2"));
        assert_snapshot!(check(scene), @r#"
        - _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/young,records=CNAME"
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/young,records=CNAME,contested"
        old conflict: the name is held by …/dev/young
        young unchanged
        "#);
    }

    #[test]
    fn a_contested_marker_stays_contested_when_only_the_holder_is_read() {
        let mut scene = Scene::default()
            .managed("shop", "holder", "lb")
            .service("holder", record("shop", "lb"))
            .service("rival", record("shop", "lb2"));
        scene.apply(&scene.plan().check(&LossPolicy::All)).expect("it fits");
        scene.desired.clear();
        let scene = scene.service("holder", record("shop", "new"));
        assert_snapshot!(check(scene), @r#"
        - shop.internal CNAME lb.elb.amazonaws.com
        - _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/holder,records=CNAME,contested"
        + shop.internal CNAME new.elb.amazonaws.com
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/holder,records=CNAME,contested"
        holder updated: the record was CNAME lb.elb.amazonaws.com, TTL 60 s
        "#);
    }

    #[test]
    fn among_newcomers_the_older_wins_then_the_smaller_arn() {
        let scene = Scene::default()
            .older_service("a", 9, record("shop", "a"))
            .older_service("b", 1, record("shop", "b"))
            .older_service("c", 1, record("shop", "c"));
        assert_snapshot!(check(scene), @r#"
        + shop.internal CNAME b.elb.amazonaws.com
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/b,records=CNAME,contested"
        a conflict: the name goes to an older service: …/dev/b
        b registered
        c conflict: the name goes to an older service: …/dev/b
        "#);
    }

    #[test]
    fn a_name_passes_from_a_service_that_is_gone_in_one_change() {
        let scene = Scene::default()
            .managed("shop", "old", "lb")
            .service("old", DesiredState::Gone(Gone::Inactive { created_at_ms: 0 }))
            .service("new", record("shop", "lb"));
        let with_another = scene.clone().older_service("newest", 9, record("shop", "lb2"));
        assert_snapshot!(check(with_another), @r#"
        - shop.internal CNAME lb.elb.amazonaws.com
        - _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/old,records=CNAME"
        + shop.internal CNAME lb.elb.amazonaws.com
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/new,records=CNAME,contested"
        new registered: the name was held by …/dev/old
        newest conflict: the name goes to an older service: …/dev/new
        old deregistered: ECS reports INACTIVE
        "#);
        assert_snapshot!(check(scene), @r#"
        - shop.internal CNAME lb.elb.amazonaws.com
        - _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/old,records=CNAME"
        + shop.internal CNAME lb.elb.amazonaws.com
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/new,records=CNAME"
        new registered: the name was held by …/dev/old
        old deregistered: ECS reports INACTIVE
        "#);
    }

    #[test]
    fn a_record_missing_beside_its_marker_is_repaired() {
        let scene = Scene::default()
            .marker_only("orders", "orders")
            .service("orders", record("orders", "lb"));
        assert_snapshot!(check(scene), @r#"
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders updated: the record was missing beside its marker
        "#);
    }

    #[test]
    fn a_marker_whose_record_is_missing_still_lists_its_type_when_it_becomes_contested() {
        let failed = DesiredState::ReadFailed(ReadError("denied".into()));
        let scene = Scene::default()
            .marker_only("shop", "holder")
            .service("holder", failed)
            .service("rival", record("shop", "lb"));
        assert_snapshot!(check(scene), @r#"
        - _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/holder,records=CNAME"
        + _discovery.shop.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/holder,records=CNAME,contested"
        holder failed: denied
        rival conflict: the name is held by …/dev/holder
        "#);
    }

    #[test]
    fn a_marker_with_a_former_name_of_the_environment_is_written_again() {
        let mut scene = Scene::default().service("orders", record("orders", "lb"));
        scene.rrsets = vec![cname("orders", "lb"), marker_of("old-dev", "orders", arn("orders"))];
        assert_snapshot!(check(scene), @r#"
        - orders.internal CNAME lb.elb.amazonaws.com
        - _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=old-dev,service=…/dev/orders,records=CNAME"
        + orders.internal CNAME lb.elb.amazonaws.com
        + _discovery.orders.internal TXT "heritage=ecs-discovery,version=1,environment=dev,service=…/dev/orders,records=CNAME"
        orders updated: the marker had a former name of the environment
        "#);
    }

    /// Any small scene: few names and services, so that they often compete.
    fn any_scene() -> impl Strategy<Value = Scene> {
        let label = || prop::sample::select(vec!["a", "b", "c", "d"]);
        let state = prop_oneof![
            4 => (label(), prop::sample::select(vec!["x", "y"])).prop_map(|(at, lb)| record(at, lb)),
            1 => Just(nothing()),
            1 => Just(DesiredState::Gone(Gone::Missing)),
            1 => Just(waiting()),
            1 => Just(DesiredState::Invalid { reason: "no".into() }),
        ];
        let desired = prop::collection::btree_map(
            prop::sample::select(vec!["s1", "s2", "s3", "s4"]),
            (0_i64..3, state),
            0..4,
        );
        let current = prop::collection::btree_map(
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
        (current, desired).prop_map(|(current, desired)| {
            let mut scene = Scene::default();
            for (at, (kind, service, lb)) in current {
                scene = match kind {
                    0 => scene.managed(at, service, lb),
                    1 => scene.marker_only(at, service),
                    2 => scene.foreign(at, "A", "10.0.0.7"),
                    3 => scene.foreign(at, "CNAME", "foreign.example.com"),
                    // A service with this target adopts it.
                    5 => scene.foreign(at, "CNAME", "x.elb.amazonaws.com"),
                    _ => scene.foreign(at, "A", "10.0.0.7").marker_only(at, service),
                };
            }
            for (service, (age, state)) in desired {
                scene = scene.older_service(service, age, state);
            }
            scene
        })
    }

    /// The records that no change may touch: those without a marker, except those that a service may adopt.
    fn foreign(scene: &Scene) -> Vec<Rrset> {
        let marked =
            |rrset: &&Rrset| scene.rrsets.iter().any(|other| other.name == rrset.name.marker());
        let is_foreign = |rrset: &&Rrset| match rrset.cname_target() {
            Some((target, _)) => !marked(rrset) && target.as_str() == "foreign.example.com",
            None => rrset.record_type != RecordType::Txt,
        };
        scene.rrsets.iter().filter(is_foreign).cloned().collect()
    }

    proptest! {
        #[test]
        fn invariant_1_a_second_run_changes_nothing(scene in any_scene()) {
            let mut after = scene.clone();
            after.apply(&scene.plan().check(&LossPolicy::All)).map_err(TestCaseError::fail)?;
            let again = after.plan().check(&LossPolicy::All);
            prop_assert_eq!(again.changes().count(), 0, "{}", show_plan(&again));
        }

        #[test]
        fn invariant_10_a_service_that_should_have_a_name_keeps_one(scene in any_scene()) {
            let safe = scene.plan().check(&LossPolicy::All);
            let names = |scene: &Scene, service: &ServiceArn| {
                let view = ZoneView::whole(scene.rrsets.clone());
                let identity = identity();
                let mut managed = view.managed(&identity);
                managed.any(|(_, managed)| managed.service == *service && !managed.records.is_empty())
            };
            let mut now = scene.clone();
            for batch in safe.batches() {
                let before = now.clone();
                now.apply_changes(batch.iter().copied().flatten()).map_err(TestCaseError::fail)?;
                for (service, desired) in &scene.desired {
                    if matches!(desired.state, DesiredState::Record(_)) && names(&before, service) {
                        prop_assert!(names(&now, service), "{service}\n{}", show_plan(&safe));
                    }
                }
            }
        }

        #[test]
        fn invariant_4_a_foreign_record_is_never_touched(scene in any_scene()) {
            let safe = scene.plan().check(&LossPolicy::All);
            let before = foreign(&scene);
            for change in safe.changes() {
                for rrset in &change.deletes {
                    prop_assert!(!before.contains(rrset), "{rrset:?} is foreign");
                }
            }
            let mut after = scene.clone();
            after.apply(&safe).map_err(TestCaseError::fail)?;
            for rrset in &before {
                prop_assert!(after.rrsets.contains(rrset), "{rrset:?} is gone");
            }
        }

        #[test]
        fn invariant_6_a_record_and_its_marker_change_together(scene in any_scene()) {
            let types = |rrsets: &[Rrset]| {
                rrsets.iter().map(|rrset| rrset.record_type.clone()).collect::<Vec<_>>()
            };
            let both = [RecordType::Cname, RecordType::Txt];
            let marker = [RecordType::Txt];
            for change in scene.plan().check(&LossPolicy::All).changes() {
                let (deleted, created) = (types(&change.deletes), types(&change.creates));
                if created == marker {
                    // Only the marker changes, beside a record that stays.
                    prop_assert_eq!(&deleted, &marker);
                    continue;
                }
                prop_assert!(created.is_empty() || created == both);
                // A marker alone was left by somebody, and a record alone is adopted.
                let half = deleted == [RecordType::Txt]
                    || (deleted == [RecordType::Cname] && created == both);
                prop_assert!(deleted.is_empty() || deleted == both || half, "{deleted:?}");
            }
        }

        #[test]
        fn invariant_7_an_unregistrable_service_stops_no_other(scene in any_scene()) {
            let mut with = scene.clone().foreign("taken", "A", "10.0.0.7");
            let without = with.plan();
            with = with.service("unlucky", record("taken", "x"));
            prop_assert_eq!(with.plan().changes, without.changes);
        }

        #[test]
        fn invariant_9_the_order_of_input_never_changes_the_plan(
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
            for index in (1..shuffled.desired.len()).rev() {
                shuffled.desired.swap(index, next(index + 1));
            }
            prop_assert_eq!(scene.plan(), shuffled.plan());
        }
    }
}

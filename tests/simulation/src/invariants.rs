//! The invariants. Some are checked after every change that Route 53 applies, the others at the end of a
//! history.
//!
//! 1. The second of two runs changes nothing.
//! 2. After all events of every service, in any order and with duplicates, the zones match ECS.
//! 3. If events were lost, one full pass makes the zones match ECS.
//! 4. No foreign record is changed or deleted.
//! 5. Nothing is written or deleted that the invocation's own reads do not justify.
//! 6. No record exists without its marker, and no marker without its record.
//! 7. A service that cannot be registered stops no other.
//! 8. No payload crashes the handler.
//! 9. The order of AWS's answers does not change the plan.
//! 10. A live service that should have a name never loses the one it has before it has another, and a name
//!     that live services should have passes between them in one change.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::{ServiceName, service_arn};
use crate::oracle::{EnvironmentConfig, Expected, expected};
use crate::route53::{Action, Author, HostedZone, StoredRrset};
use crate::state::Simulation;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: u8,
    pub message: String,
}

impl Violation {
    pub fn new(invariant: u8, message: impl Into<String>) -> Violation {
        Violation { invariant, message: message.into() }
    }
}

/// The record sets of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameRecords {
    pub at_name: Vec<(StoredRrset, Author)>,
    /// The record sets at the name of the marker.
    pub at_marker: Vec<(StoredRrset, Author)>,
}

impl NameRecords {
    pub fn read(zone: &HostedZone, name: &str) -> NameRecords {
        let all = |name: &str| zone.at(name).cloned().collect();
        NameRecords { at_name: all(name), at_marker: all(&marker_name(name)) }
    }

    /// The service in the marker, if the marker belongs to `environment`.
    pub fn holder(&self, environment: &EnvironmentConfig) -> Option<ServiceName> {
        let prefix =
            format!("\"heritage=ecs-discovery,version=1,environment={},service=", environment.name);
        let arn = self.marker_text()?.strip_prefix(&prefix)?.split([',', '"']).next()?;
        let (cluster, name) = arn.rsplit_once("service/")?.1.split_once('/')?;
        Some((cluster.to_owned(), name.to_owned()))
    }

    fn marker_text(&self) -> Option<&str> {
        let [(marker, _)] = self.at_marker.as_slice() else { return None };
        let [value] = marker.values.as_slice() else { return None };
        (marker.kind == "TXT").then_some(value)
    }

    /// Whether the marker notes that another service should have the name.
    fn is_contested(&self) -> bool {
        self.marker_text().is_some_and(|text| text.ends_with(",contested\""))
    }

    /// The record sets that a handler may have written: those of the types in the marker.
    pub fn addresses(&self) -> Vec<&StoredRrset> {
        let types = self.marker_text().and_then(|text| text.split_once(",records="));
        let types = types.and_then(|(_, rest)| rest.split([',', '"']).next());
        let is_address = |rrset: &&StoredRrset| {
            let is_written =
                types.is_none_or(|types| types.split('+').any(|one| one == rrset.kind));
            let leads_to_a_target = rrset.kind == "CNAME"
                || (rrset.alias.is_some() && (rrset.kind == "A" || rrset.kind == "AAAA"));
            is_written && leads_to_a_target
        };
        self.at_name.iter().map(|(rrset, _)| rrset).filter(is_address).collect()
    }

    fn all(&self) -> impl Iterator<Item = &(StoredRrset, Author)> {
        self.at_name.iter().chain(&self.at_marker)
    }

    fn is_empty(&self) -> bool {
        self.at_name.is_empty() && self.at_marker.is_empty()
    }
}

fn marker_name(name: &str) -> String {
    format!("_discovery.{name}")
}

/// The name to which a record set or a marker belongs.
pub(crate) fn name_of(rrset: &StoredRrset) -> &str {
    rrset.name.strip_prefix("_discovery.").unwrap_or(&rrset.name)
}

/// The target of a CNAME or an alias.
fn target(rrset: &StoredRrset) -> Option<String> {
    let text = rrset.alias.as_ref().map(|(_, target)| target).or(rrset.values.first())?;
    Some(text.trim_end_matches('.').to_lowercase())
}

/// Checks the invariants 4, 5 and 6 on an applied change.
pub fn check_change(
    simulation: &Simulation,
    zone: &str,
    before: &HostedZone,
    changes: &[(Action, StoredRrset)],
    invocation: u64,
) -> Option<Violation> {
    let invocation = simulation.invocations.get(&invocation)?;
    let environment = &simulation.environments[invocation.environment];
    let after = &simulation.account.zones[zone];
    let names: BTreeSet<&str> = changes.iter().map(|(_, rrset)| name_of(rrset)).collect();
    for name in names {
        let (was, is) = (NameRecords::read(before, name), NameRecords::read(after, name));
        let at = format!("{name} in {zone}, changed by the handler of {}", environment.name);
        let (old_holder, new_holder) = (was.holder(environment), is.holder(environment));

        if new_holder.is_some() && is.addresses().is_empty() {
            return Some(Violation::new(
                6,
                format!(
                    "{at}: the marker names {new_holder:?}, but the records are {:?}",
                    is.at_name
                ),
            ));
        }
        let ours = Author::Handler(environment.name.clone());
        if is.addresses().iter().any(|rrset| is.at_name.contains(&((*rrset).clone(), ours.clone())))
            && new_holder.is_none()
        {
            return Some(Violation::new(
                6,
                format!("{at}: its record has no marker: {:?}", is.at_name),
            ));
        }

        for (rrset, author) in was.all() {
            let stays = is.all().any(|(other, by)| other == rrset && by == author);
            if stays || *author == ours {
                continue;
            }
            let is_address = was.addresses().contains(&rrset);
            let was_managed = old_holder.is_some() && is_address;
            let is_adopted = was.at_marker.is_empty()
                && is_address
                && new_holder.is_some()
                && is.addresses().iter().any(|new| target(new) == target(rrset));
            if !was_managed && !is_adopted {
                return Some(Violation::new(
                    4,
                    format!("{at}: {rrset:?} by {author:?} was changed or deleted"),
                ));
            }
        }

        if invocation.deregisters {
            continue;
        }
        let described = &invocation.described;
        let justified = |service: &ServiceName| match described.services.get(service) {
            Some(found) => expected(environment, service, found.as_ref(), described),
            None if environment.cluster.as_ref().is_some_and(|only| *only != service.0) => {
                Expected::Nothing
            }
            None => Expected::Unknown,
        };
        if let Some(loser) = old_holder.as_ref().filter(|held| new_holder.as_ref() != Some(*held)) {
            let expected = justified(loser);
            let should_have_it = matches!(&expected, Expected::Record { zone: at, name: other, .. } if at == zone && other == name);
            if should_have_it || matches!(expected, Expected::Unchanged | Expected::Unknown) {
                return Some(Violation::new(
                    5,
                    format!("{at}: {loser:?} lost it without proof; expected {expected:?}"),
                ));
            }
            if let Expected::Record { zone: at_zone, name: other, .. } = &expected {
                let other_records = NameRecords::read(&simulation.account.zones[at_zone], other);
                if other_records.holder(environment).as_ref() != Some(loser) {
                    return Some(Violation::new(
                        10,
                        format!("{at}: {loser:?} lost it before it had {other} in {at_zone}"),
                    ));
                }
            }
            let heir = described.services.keys().find(|service| {
                let expected = justified(service);
                matches!(expected, Expected::Record { zone: at, name: other, .. } if at == zone && other == name)
            });
            if let (None, Some(heir), true) = (&new_holder, heir, is.is_empty()) {
                return Some(Violation::new(
                    10,
                    format!(
                        "{at}: {loser:?} lost it, and {heir:?}, which should have it, did not get it"
                    ),
                ));
            }
        }
        if new_holder == old_holder && was.is_contested() && !is.is_contested() {
            return Some(Violation::new(
                10,
                format!("{at}: the new marker of {new_holder:?} is not contested any more"),
            ));
        }
        let is_noted_only = new_holder == old_holder && was.addresses() == is.addresses();
        if let Some(winner) = new_holder.as_ref().filter(|_| !is_noted_only) {
            let expected = justified(winner);
            let is_proven = match &expected {
                Expected::Record { zone: at, name: other, rrsets } => {
                    at == zone
                        && other == name
                        && is.addresses() == rrsets.iter().collect::<Vec<_>>()
                }
                _ => false,
            };
            if !is_proven {
                return Some(Violation::new(
                    5,
                    format!(
                        "{at}: {winner:?} got {:?} without proof; expected {expected:?}",
                        is.addresses()
                    ),
                ));
            }
        }
    }
    None
}

/// The names and services for which invariant 2 makes no promise, collected while a history runs.
#[derive(Clone, Debug, Default)]
pub struct Exemptions {
    /// Names that a person changed. They may have to wait for the next full pass.
    pub names: BTreeSet<String>,
    /// Target groups and load balancers that changed. ECS sends no event about them.
    pub load_balancers: BTreeSet<String>,
}

/// Checks that an environment's zones match ECS. With `exemptions` they match as after the runs of events,
/// without as after a full pass. `before` contains the zones before that full pass.
pub fn check_zones(
    simulation: &Simulation,
    environment: &EnvironmentConfig,
    before: &BTreeMap<String, HostedZone>,
    exemptions: Option<&Exemptions>,
) -> Option<Violation> {
    let invariant = if exemptions.is_some() { 2 } else { 3 };
    let account = &simulation.account;
    let all_expected: BTreeMap<ServiceName, Expected> = account
        .ecs
        .services
        .iter()
        .map(|(name, service)| (name.clone(), expected(environment, name, Some(service), account)))
        .collect();
    let is_disturbed = |service: &ServiceName| {
        exemptions.is_some_and(|exemptions| {
            account.ecs.services.get(service).is_some_and(|service| {
                service
                    .attachments()
                    .any(|attachment| exemptions.load_balancers.contains(attachment.name()))
            })
        })
    };
    let is_exempt =
        |name: &str| exemptions.is_some_and(|exemptions| exemptions.names.contains(name));
    let is_rejected = |name: &str| simulation.rejected_name.as_deref() == Some(name);
    // With a name that Route 53 rejects, a difference at any other name breaks invariant 7.
    let invariant =
        if simulation.rejected_name.is_some() && exemptions.is_none() { 7 } else { invariant };

    for (id, zone) in &account.zones {
        if !environment.zones.iter().any(|(_, other, _)| other == id) {
            continue;
        }
        let names: BTreeSet<&str> = zone.all().map(|(rrset, _)| name_of(rrset)).collect();
        for name in names {
            let current = NameRecords::read(zone, name);
            let Some(holder) = current.holder(environment) else { continue };
            let is_wrong = match all_expected.get(&holder) {
                None | Some(Expected::Nothing) => true,
                Some(Expected::NoZone) => exemptions.is_none(),
                Some(Expected::Unchanged | Expected::Unknown) => false,
                Some(Expected::Record { zone: at, name: other, rrsets }) => {
                    let has_others = current.at_name.len() > current.addresses().len();
                    if at == id && other == name {
                        !has_others && current.addresses() != rrsets.iter().collect::<Vec<_>>()
                    } else {
                        // A service keeps a former name until it has its new one.
                        let other =
                            account.zones.get(at).map(|zone| NameRecords::read(zone, other));
                        other.is_some_and(|other| other.holder(environment) == Some(holder.clone()))
                    }
                }
            };
            if is_wrong && !is_disturbed(&holder) && !is_exempt(name) && !is_rejected(name) {
                return Some(Violation::new(
                    invariant,
                    format!(
                        "{name} in {id} belongs to {holder:?} with {:?}, expected is {:?}",
                        current.addresses(),
                        all_expected.get(&holder)
                    ),
                ));
            }
        }
    }
    for (service, expected) in &all_expected {
        let Expected::Record { zone: id, name, .. } = expected else { continue };
        if is_disturbed(service) || is_exempt(name) || is_rejected(name) {
            continue;
        }
        let Some(zone) = account.zones.get(id) else { continue };
        let current = NameRecords::read(zone, name);
        match current.holder(environment) {
            Some(holder) if holder == *service => {}
            Some(holder) => {
                // Another service may have the name if it had it before, or if it is older.
                let held_before = before
                    .get(id)
                    .map(|zone| NameRecords::read(zone, name))
                    .and_then(|records| records.holder(environment));
                let age = |name: &ServiceName| {
                    let service = account.ecs.services.get(name);
                    service.map(|service| (service.created_at, service_arn(name)))
                };
                let is_older = age(&holder) < age(service);
                if held_before != Some(holder.clone()) && !is_older {
                    return Some(Violation::new(
                        invariant,
                        format!("{name} was given to {holder:?} although {service:?} is older"),
                    ));
                }
            }
            None if current.is_empty() => {
                return Some(Violation::new(
                    invariant,
                    format!("{service:?} is not registered as {name} in {id}"),
                ));
            }
            None => {
                // The name is occupied. At least one of its records must be foreign.
                let ours = Author::Handler(environment.name.clone());
                if current.all().all(|(_, author)| *author == ours) {
                    return Some(Violation::new(
                        invariant,
                        format!(
                            "{name} in {id} has no holder, but all its records are the handler's: {current:?}"
                        ),
                    ));
                }
            }
        }
    }
    None
}

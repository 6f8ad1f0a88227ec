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
//!     that live services should have passes between them in one change, for which the marker notes each conflict. A
//!     record does not move to a load balancer that a deployment has not reached yet.
//! 11. The handler starts no change shortly before its deadline.
//! 12. A full pass deletes no more names than the delete limit allows, and an event deletes none because of the
//!     configuration.
//! 13. No older version of the function changes a zone after a newer one did.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use handler::domain::report::{Outcome, Report, Status};
use handler::domain::service::ServiceArn;
use serde_json::Value;

use crate::account::{ACCOUNT, REGION, ServiceName, ServiceStatus, dns_name, service_arn};
use crate::history::Act;
use crate::oracle::{Described, EnvironmentConfig, Expected, expected};
use crate::route53::{Action, Author, HostedZone, Key, StoredRrset, Writer, key};
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
            format!("heritage=ecs-discovery,version=1,environment={},service=", environment.name);
        let text = self.marker_text()?;
        let arn = text.strip_prefix(&prefix)?.split(',').next()?;
        let local = arn.strip_prefix(&format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/"))?;
        let (cluster, name) = local.split_once('/')?;
        Some((cluster.to_owned(), name.to_owned()))
    }

    /// The text of the marker, without its quotes. Values of others beside it do not matter, but a second marker or
    /// one of an unknown version makes all of them unreadable.
    fn marker_text(&self) -> Option<String> {
        let plain = self.at_marker.iter().map(|(rrset, _)| rrset).filter(|rrset| {
            rrset.kind == "TXT" && rrset.set_identifier.is_none() && rrset.health_check.is_none()
        });
        let mut texts =
            plain.flat_map(|rrset| &rrset.values).filter_map(|value| text_of_marker(value));
        texts.next().filter(|_| texts.next().is_none())
    }

    /// Whether the marker notes that another service should have the name.
    fn is_contested(&self) -> bool {
        self.marker_text().is_some_and(|text| text.ends_with(",contested"))
    }

    /// The record sets that a handler may have written: those of the types in the marker.
    pub fn addresses(&self) -> Vec<&StoredRrset> {
        let text = self.marker_text();
        let types = text.as_ref().and_then(|text| text.split_once(",records="));
        let types = types.and_then(|(_, rest)| rest.split(',').next());
        let is_address = |rrset: &&StoredRrset| {
            let is_written =
                types.is_none_or(|types| types.split('+').any(|one| one == rrset.kind));
            let is_plain = rrset.set_identifier.is_none() && rrset.health_check.is_none();
            let leads_to_a_target = rrset.kind == "CNAME"
                || (rrset.alias.is_some() && (rrset.kind == "A" || rrset.kind == "AAAA"));
            is_written && is_plain && leads_to_a_target
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

/// The text of a TXT value that claims to be a marker. A long text consists of several strings.
fn text_of_marker(value: &str) -> Option<String> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?.replace("\" \"", "");
    text.starts_with("heritage=ecs-discovery,version=").then_some(text)
}

/// Whether the marker lists the types of records that the handler writes.
fn lists_types(marker: &str) -> bool {
    let list = marker.split(",records=").nth(1).and_then(|rest| rest.split(',').next());
    list.is_some_and(|list| list.split('+').all(|kind| ["A", "AAAA", "CNAME"].contains(&kind)))
}

/// Whether external-dns marks a record. It does so at `<type>-<name>`.
fn is_of_external_dns(zone: &HostedZone, rrset: &StoredRrset) -> bool {
    let at = format!("{}-{}", rrset.kind.to_lowercase(), rrset.name);
    let mut values = zone.at(&at).flat_map(|(other, _)| &other.values);
    values.any(|value| value.starts_with("\"heritage=external-dns"))
}

fn marker_name(name: &str) -> String {
    format!("_discovery.{name}")
}

/// The name to which a record set or a marker belongs.
pub fn name_of(rrset: &StoredRrset) -> &str {
    rrset.name.strip_prefix("_discovery.").unwrap_or(&rrset.name)
}

/// The target of a CNAME or an alias.
fn target(rrset: &StoredRrset) -> Option<String> {
    let text = rrset.alias.as_ref().map(|(_, target)| target).or(rrset.values.first())?;
    Some(text.trim_end_matches('.').to_lowercase())
}

/// The names with their markers, without the generation of the zone.
pub(crate) fn changed_names(changes: &[(Action, StoredRrset)]) -> BTreeSet<&str> {
    let names = changes.iter().map(|(_, rrset)| name_of(rrset));
    names.filter(|name| !is_generation(name)).collect()
}

/// Whether this is the name of a record with the generation that a zone belongs to.
fn is_generation(name: &str) -> bool {
    name.strip_prefix("since.").unwrap_or(name).starts_with("_discovery-")
}

/// Checks invariant 13: an older version changes no zone after a newer one did, unless the zone was deregistered since
/// and so belongs to no version.
pub fn check_version(
    simulation: &mut Simulation,
    zone: &str,
    invocation: u64,
) -> Option<Violation> {
    let log = simulation.invocations.get(&invocation)?;
    let EnvironmentConfig { name, version, .. } = &log.config;
    let at = (name.clone(), zone.to_owned());
    if log.deregisters {
        simulation.versions.remove(&at);
        return None;
    }
    let newest = simulation.versions.entry(at).or_default();
    if *version < *newest {
        let message =
            format!("version {version} of {name} changed {zone} after version {newest} did");
        return Some(Violation::new(13, message));
    }
    *newest = *version;
    None
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
    let environment = &invocation.config;
    let after = &simulation.account.zones[zone];
    let now = simulation.seconds();
    for (marker, read) in deleted_markers(zone, before, changes) {
        if read.2.invocation > 0 && !invocation.described.rrsets.contains(&read) {
            let message =
                format!("{marker:?} in {zone} was deleted, but a marker before it was read");
            return Some(Violation::new(5, message));
        }
    }
    // ECS may still describe a service that is deleted, although an event or another answer says so. The run does
    // not rely on it then.
    let is_ending = |service: &ServiceName| {
        let stored = simulation.account.ecs.services.get(service);
        (simulation.faults.visible_ms > 0 || simulation.faults.stale_ms > 0)
            && (simulation.invisible.contains(service)
                || stored.is_none_or(|stored| stored.status != ServiceStatus::Active))
    };
    let described = &invocation.described;
    let justified = |service: &ServiceName| match described.services.get(service) {
        Some(found) => expected(environment, service, found.as_ref(), described, now),
        None if environment.cluster.as_ref().is_some_and(|only| *only != service.0) => {
            Expected::Nothing
        }
        None => Expected::Unknown,
    };
    // A later round does not read all services again.
    let is_alive = |service: &ServiceName| {
        let stored = simulation.account.ecs.services.get(service);
        stored.is_some_and(|stored| stored.status == ServiceStatus::Active)
    };
    // The first service that should have each name in the zone.
    let heirs = LazyCell::new(|| {
        let mut heirs: BTreeMap<String, &ServiceName> = BTreeMap::new();
        for service in described.services.keys().filter(|one| is_alive(one) && !is_ending(one)) {
            if let Expected::Record { zone: at, name, .. } = justified(service)
                && at == zone
            {
                heirs.entry(name).or_insert(service);
            }
        }
        heirs
    });
    for name in changed_names(changes) {
        let (was, is) = (NameRecords::read(before, name), NameRecords::read(after, name));
        let at = format!("{name} in {zone}, changed by the handler of {}", environment.name);
        let (old_holder, new_holder) = (was.holder(environment), is.holder(environment));

        let text = is.marker_text().unwrap_or_default();
        if new_holder.is_some() && is.at_marker != was.at_marker && !lists_types(&text) {
            return Some(Violation::new(6, format!("{at}: the handler cannot read {text:?}")));
        }
        // A person may have deleted the record, while the handler only notes in the marker that the name is contested.
        let was_apart = was.addresses().is_empty() && old_holder == new_holder;
        if new_holder.is_some() && is.addresses().is_empty() && !was_apart {
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
                && !is_of_external_dns(before, rrset)
                && new_holder.is_some()
                && is.addresses().iter().any(|new| target(new) == target(rrset));
            // Whoever changed the marker of a managed name last, the values of others in it stay.
            let stays_without_marker = old_holder.is_some()
                && was.at_marker.iter().any(|(other, _)| other == rrset)
                && rrset.values.iter().all(|value| {
                    let mut after = is.at_marker.iter().flat_map(|(other, _)| &other.values);
                    text_of_marker(value).is_some() || after.any(|other| other == value)
                });
            if !was_managed && !is_adopted && !stays_without_marker {
                return Some(Violation::new(
                    4,
                    format!("{at}: {rrset:?} by {author:?} was changed or deleted"),
                ));
            }
        }

        if invocation.deregisters {
            continue;
        }
        if let Some(loser) = old_holder.as_ref().filter(|held| new_holder.as_ref() != Some(*held)) {
            // If answers are outdated, a later one may describe a service as it was before its end.
            let expected = match simulation.faults.stale_ms > 0 && described.ended.contains(loser) {
                true => Expected::Nothing,
                false => justified(loser),
            };
            if is_missing_once(described, loser) {
                let message = format!("{at}: {loser:?} lost it after it was missing only once");
                return Some(Violation::new(5, message));
            }
            let should_have_it = matches!(&expected, Expected::Record { zone: at, name: other, .. } if at == zone && other == name);
            if should_have_it || matches!(expected, Expected::Unchanged | Expected::Unknown) {
                return Some(Violation::new(
                    5,
                    format!("{at}: {loser:?} lost it without proof; expected {expected:?}"),
                ));
            }
            if let Expected::Record { zone: at_zone, name: other, .. } = &expected {
                let other_records = NameRecords::read(&simulation.account.zones[at_zone], other);
                // Two runs may move a service in opposite directions. Each of them then deletes the name that the other
                // one relies on, and the run with the outdated view rechecks the service. Zones have no common
                // changes, so nothing prevents this between zones.
                let other_name = (at_zone.clone(), other.clone(), loser.clone());
                let had_it = (at_zone != zone || simulation.faults.stale_ms > 0)
                    && invocation
                        .losses
                        .as_ref()
                        .is_some_and(|losses| losses.taken.contains(&other_name));
                if other_records.holder(environment).as_ref() != Some(loser) && !had_it {
                    return Some(Violation::new(
                        10,
                        format!("{at}: {loser:?} lost it before it had {other} in {at_zone}"),
                    ));
                }
            }
            let is_heir_known = !described.is_incomplete && !described.balancers_changed;
            if let (None, Some(heir), true, true) =
                (&new_holder, heirs.get(name), is.is_empty(), is_heir_known)
            {
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
        if let Some(holder) =
            new_holder.as_ref().filter(|_| new_holder == old_holder && !is_noted_only)
            && waits(simulation, environment, described, holder, &was)
        {
            let message = format!(
                "{at}: {holder:?} got {:?} instead of {:?} before it was deployed",
                is.addresses(),
                was.addresses()
            );
            return Some(Violation::new(10, message));
        }
        if let Some(winner) = new_holder.as_ref().filter(|_| !is_noted_only) {
            let expected = justified(winner);
            let is_proven = match &expected {
                Expected::Record { zone: at, name: other, rrsets, .. } => {
                    at == zone
                        && other == name
                        && is.addresses() == rrsets.iter().collect::<Vec<_>>()
                }
                _ => false,
            };
            let is_full_pass = invocation.losses.as_ref().is_some_and(|losses| losses.is_full_pass);
            let age = |service: &ServiceName| {
                let stored = described.services.get(service).and_then(Option::as_ref);
                stored.map(|stored| (stored.created_at, service_arn(service)))
            };
            let older = described.services.keys().filter(|other| is_alive(other)).find(|other| {
                let should_have_it = matches!(justified(other), Expected::Record { zone: at, name: other, .. } if at == zone && other == name);
                should_have_it && !is_ending(other) && age(other) < age(winner)
            });
            let is_certain = !described.is_incomplete && !described.was_denied;
            if let (true, true, Some(older), true) =
                (is_full_pass, was.is_empty(), older, is_certain)
            {
                let message = format!("{at}: {winner:?} got it although {older:?} is older");
                return Some(Violation::new(3, message));
            }
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

fn name_of_service(arn: &ServiceArn) -> ServiceName {
    (arn.cluster().to_owned(), arn.service().to_owned())
}

/// Checks the conflicts that an invocation reported: the marker of the service that has the name notes that another one
/// should have it, too. `described` is what the invocation read. A marker that changed since then may have been written
/// by an invocation that did not know the other service.
pub fn check_conflicts(
    simulation: &Simulation,
    environment: &EnvironmentConfig,
    described: &Described,
    reports: &[Report],
) -> Option<Violation> {
    let outcomes =
        reports.iter().filter(|report| !report.dry_run).flat_map(|report| &report.outcomes);
    for outcome in outcomes.filter(|outcome| outcome.status == Status::Conflict) {
        let (Some(name), Some(id)) = (&outcome.name, &outcome.zone) else { continue };
        let Some(zone) = simulation.account.zones.get(id.as_str()) else { continue };
        let records = NameRecords::read(zone, name.as_str());
        let was_read = records.all().all(|(rrset, _)| {
            let key = key(rrset);
            let writer = zone.writer_of(&key);
            described.rrsets.contains(&(id.to_string(), key, writer))
        });
        let Some(holder) = records.holder(environment).filter(|_| was_read) else { continue };
        // The note is a part of a change of the holder's record, which a full zone has no room for.
        let is_refused = |other: &Outcome| {
            matches!(other.status, Status::Rejected | Status::Failed)
                && name_of_service(&other.service) == holder
        };
        if reports.iter().flat_map(|report| &report.outcomes).any(is_refused) {
            continue;
        }
        let service = name_of_service(&outcome.service);
        if holder != service && !records.is_contested() && !records.addresses().is_empty() {
            let message = format!(
                "{name} in {id}: {service:?} has a conflict, which the marker of {holder:?} does not note"
            );
            return Some(Violation::new(10, message));
        }
    }
    None
}

/// The markers that a change deletes, each as the invocation must have read it.
fn deleted_markers<'a>(
    zone: &'a str,
    before: &'a HostedZone,
    changes: &'a [(Action, StoredRrset)],
) -> impl Iterator<Item = (&'a StoredRrset, (String, Key, Writer))> {
    let deleted = changes.iter().filter(|(action, _)| *action == Action::Delete);
    let markers = deleted.filter(|(_, rrset)| rrset.name.starts_with("_discovery."));
    markers.map(move |(_, marker)| {
        let key = key(marker);
        let writer = before.writer_of(&key);
        (marker, (zone.to_owned(), key, writer))
    })
}

/// Whether a change deletes a marker that was not read, but an earlier one of the same invocation was. Both have the
/// same TTL.
pub(crate) fn deletes_repeated_marker(
    simulation: &Simulation,
    zone: &str,
    before: &HostedZone,
    changes: &[(Action, StoredRrset)],
    invocation: u64,
) -> bool {
    let Some(log) = simulation.invocations.get(&invocation) else { return false };
    let rrsets = &log.described.rrsets;
    deleted_markers(zone, before, changes).any(|(_, read)| {
        let is_same = |other: &&(String, Key, Writer)| {
            (&other.0, &other.1, other.2.invocation) == (&read.0, &read.1, read.2.invocation)
        };
        !rrsets.contains(&read) && read.2.invocation > 0 && rrsets.iter().find(is_same).is_some()
    })
}

/// Whether a service counts as gone because it was missing, and no second answer confirmed this.
fn is_missing_once(described: &Described, service: &ServiceName) -> bool {
    let times = described.missing.get(service).map(Vec::as_slice).unwrap_or_default();
    let is_confirmed = times
        .first()
        .zip(times.last())
        .is_some_and(|(first, last)| last.duration_since(*first) >= Duration::from_millis(500));
    described.services.get(service) == Some(&None) && !is_confirmed
}

/// Whether the records of a service stay because its deployment is in progress and their load balancers exist.
fn waits(
    simulation: &Simulation,
    environment: &EnvironmentConfig,
    described: &Described,
    service: &ServiceName,
    current: &NameRecords,
) -> bool {
    let Some(Some(stored)) = described.services.get(service) else { return false };
    match expected(environment, service, Some(stored), described, simulation.seconds()) {
        Expected::Record { rrsets, is_deploying: true, .. } => {
            stays(simulation, current, &rrsets)
                && current.addresses().len() == current.at_name.len()
        }
        _ => false,
    }
}

/// Whether the records lead to load balancers that exist, other than the expected one.
fn stays(simulation: &Simulation, current: &NameRecords, expected: &[StoredRrset]) -> bool {
    let load_balancers = &simulation.account.load_balancers;
    let exists = |target: &str| {
        load_balancers.iter().any(|(name, load_balancer)| {
            dns_name(name).to_lowercase() == target && !load_balancer.has_failed
        })
    };
    let new = expected.first().and_then(target);
    let addresses = current.addresses();
    !addresses.is_empty()
        && addresses.iter().all(|rrset| {
            target(rrset).is_some_and(|target| Some(&target) != new.as_ref() && exists(&target))
        })
}

/// The names that services lose because of one invocation.
#[derive(Clone, Debug)]
pub struct Losses {
    pub(crate) is_full_pass: bool,
    /// Services that it names do not count if they are gone.
    payload: String,
    /// The names that it took. A name counts once, even if another invocation registers it again in between.
    pub(crate) lost: BTreeSet<(String, String)>,
    /// All names that were managed since the invocation began.
    managed: BTreeSet<(String, String)>,
    /// The names that services lost since then, because of any invocation.
    taken: BTreeSet<(String, String, ServiceName)>,
}

/// Notes for the invocations that go on that a person took a name from its service. They may rely on it.
pub(crate) fn note_taken(simulation: &mut Simulation, id: &str, before: &HostedZone, name: &str) {
    let after = &simulation.account.zones[id];
    for log in simulation.invocations.values_mut() {
        let Some(losses) = &mut log.losses else { continue };
        let holder = |zone: &HostedZone| NameRecords::read(zone, name).holder(&log.config);
        let held = holder(before).filter(|held| holder(after).as_ref() != Some(held));
        losses.taken.extend(held.map(|held| (id.to_owned(), name.to_owned(), held)));
    }
}

impl Losses {
    /// `None` if the payload requests deletions, or is no event.
    pub(crate) fn of(text: &str) -> Option<Losses> {
        let payload: Value = serde_json::from_str(text).ok()?;
        let is_full_pass = |event: &Value| {
            let request = &event["detail"]["requestParameters"];
            event["detail-type"] == "Scheduled Event"
                || event["reconcile"] == "all"
                || event["RequestType"] == "Update"
                || event["source"] == "aws.elasticloadbalancing"
                || request["omitted"] == true
        };
        if payload.get("deregister").is_some() || payload.get("overrideDeleteLimit").is_some() {
            return None;
        }
        let messages: Vec<Value> = match payload["Records"].as_array() {
            None => vec![payload],
            Some(records) => records
                .iter()
                .filter_map(|record| serde_json::from_str(record["body"].as_str()?).ok())
                .collect(),
        };
        Some(Losses {
            is_full_pass: messages.iter().any(is_full_pass),
            payload: text.to_owned(),
            lost: BTreeSet::new(),
            managed: BTreeSet::new(),
            taken: BTreeSet::new(),
        })
    }

    pub(crate) fn add_managed(
        &mut self,
        simulation_zones: &BTreeMap<String, HostedZone>,
        config: &EnvironmentConfig,
    ) {
        for (id, zone) in simulation_zones {
            if config.has_zone(id) {
                self.managed.extend(managed(zone, config).map(|name| (id.clone(), name)));
            }
        }
    }
}

/// The names of a zone that belong to an environment.
fn managed<'a>(
    zone: &'a HostedZone,
    environment: &'a EnvironmentConfig,
) -> impl Iterator<Item = String> + 'a {
    let markers = zone.all().filter(|(rrset, _)| rrset.name.starts_with("_discovery."));
    let names = markers.map(|(rrset, _)| name_of(rrset));
    names
        .filter(|name| NameRecords::read(zone, name).holder(environment).is_some())
        .map(str::to_owned)
}

/// Checks invariant 12 on an applied change.
pub fn check_losses(
    simulation: &mut Simulation,
    zone: &str,
    before: &HostedZone,
    changes: &[(Action, StoredRrset)],
    invocation: u64,
) -> Option<Violation> {
    let now = simulation.seconds();
    let after = &simulation.account.zones[zone];
    let names = changed_names(changes);
    for log in simulation.invocations.values_mut() {
        let Some(losses) = &mut log.losses else { continue };
        let added = names
            .iter()
            .filter(|name| NameRecords::read(after, name).holder(&log.config).is_some());
        losses.managed.extend(added.map(|name| (zone.to_owned(), (*name).to_owned())));
        let taken = names.iter().filter_map(|name| {
            let holder = NameRecords::read(before, name).holder(&log.config)?;
            let is_kept =
                NameRecords::read(after, name).holder(&log.config).as_ref() == Some(&holder);
            (!is_kept).then(|| (zone.to_owned(), (*name).to_owned(), holder))
        });
        losses.taken.extend(taken);
    }
    let log = simulation.invocations.get_mut(&invocation)?;
    let (environment, described) = (&log.config, &log.described);
    let losses = log.losses.as_mut()?;
    let lost_before = losses.lost.len();
    for name in names {
        let new_holder = NameRecords::read(after, name).holder(environment);
        let Some(loser) = NameRecords::read(before, name).holder(environment) else { continue };
        if new_holder.as_ref() == Some(&loser) {
            continue;
        }
        let service = described.services.get(&loser).cloned().flatten();
        let is_outside = environment.cluster.as_ref().is_some_and(|only| *only != loser.0);
        let is_alive = service.as_ref().is_some_and(|one| one.status == ServiceStatus::Active);
        let is_of_the_environment = is_outside
            || matches!(
                expected(environment, &loser, service.as_ref(), described, now),
                Expected::NoZone
            );
        let has_another_name = matches!(
            expected(environment, &loser, service.as_ref(), described, now),
            Expected::Record { .. }
        );
        if !losses.is_full_pass && is_of_the_environment {
            let message = format!("an event took {name} in {zone} from {loser:?}, which is alive");
            return Some(Violation::new(12, message));
        }
        let is_named = !is_alive && !is_outside && losses.payload.contains(&loser.1);
        if losses.is_full_pass
            && !has_another_name
            && !is_named
            && (new_holder.is_none() || is_of_the_environment)
        {
            losses.lost.insert((zone.to_owned(), name.to_owned()));
        }
    }
    let (free, percent) = environment.delete_limit;
    let (lost, all) = (losses.lost.len(), losses.managed.len());
    (lost > lost_before && lost > free && lost * 100 > all * percent).then(|| {
        let message = format!(
            "a full pass deleted {lost} of {all} names, the limit is {free} or {percent} %"
        );
        Violation::new(12, message)
    })
}

/// The names for which invariant 2 makes no promise, collected while a history runs.
#[derive(Clone, Debug, Default)]
pub struct Exemptions {
    /// Names that a person changed. They may have to wait for the next full pass.
    pub names: BTreeSet<String>,
    /// Services that got another name while no load balancer of theirs could have it, by environment. When an event
    /// registers the new name, nobody knows the former one, which the next full pass deletes.
    pub renamed_without_name: BTreeSet<(String, ServiceName)>,
    /// The zones and names of services that kept a former name for their deployment: that one, and the name that they
    /// should have. The deletion of such a service finds only one of them.
    pub kept_for_deployment: BTreeSet<(String, String, ServiceName)>,
    /// Whether a tag or the settings changed.
    pub has_renamed: bool,
}

impl Exemptions {
    /// Notes the services that could not have a name when a tag or the settings changed, or later, and the names that
    /// deployments kept.
    pub(crate) fn note_renamed(&mut self, act: &Act, simulation: &Simulation) {
        self.has_renamed |= matches!(act, Act::Tag { .. } | Act::Configure { .. });
        if !self.has_renamed {
            return;
        }
        let (account, now) = (&simulation.account, simulation.seconds());
        for environment in &simulation.environments {
            for (name, service) in &account.ecs.services {
                let expected = expected(environment, name, Some(service), account, now);
                match expected {
                    Expected::NoZone | Expected::Unchanged | Expected::Unknown => {
                        self.renamed_without_name.insert((environment.name.clone(), name.clone()));
                    }
                    Expected::Record { zone, name: wanted, is_deploying: true, .. } => {
                        let wanted = (zone, wanted);
                        let mut names: Vec<_> = names_of(simulation, environment, name)
                            .filter(|at| *at != wanted)
                            .collect();
                        if !names.is_empty() {
                            names.push(wanted);
                        }
                        let names =
                            names.into_iter().map(|(zone, held)| (zone, held, name.clone()));
                        self.kept_for_deployment.extend(names);
                    }
                    Expected::Record { .. } | Expected::Nothing => {}
                }
            }
        }
    }
}

/// The zones and names that a service has.
fn names_of<'a>(
    simulation: &'a Simulation,
    environment: &'a EnvironmentConfig,
    service: &'a ServiceName,
) -> impl Iterator<Item = (String, String)> + 'a {
    let zones = simulation.account.zones.iter().filter(|(id, _)| environment.has_zone(id));
    zones.flat_map(move |(id, zone)| {
        let names = managed(zone, environment);
        let held = names.filter(move |name| {
            NameRecords::read(zone, name).holder(environment).as_ref() == Some(service)
        });
        held.map(move |name| (id.clone(), name))
    })
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
        .map(|(name, service)| {
            (
                name.clone(),
                expected(environment, name, Some(service), account, simulation.seconds()),
            )
        })
        .collect();
    let is_exempt =
        |name: &str| exemptions.is_some_and(|exemptions| exemptions.names.contains(name));
    // If some names cannot change, a difference at any other name breaks invariant 7.
    let invariant =
        if simulation.has_lasting_failure() && exemptions.is_none() { 7 } else { invariant };
    let cannot_change = |service: &ServiceName, zone: &str, name: &str| {
        simulation.rejected_names.contains_key(name)
            || simulation.is_out_of_reach(service, zone, name)
    };
    // A service whose present name cannot change keeps it, and gets no other one.
    let mut keepers: BTreeSet<ServiceName> = BTreeSet::new();
    for (id, zone) in account.zones.iter().filter(|(id, _)| environment.has_zone(id)) {
        for name in zone.all().map(|(rrset, _)| name_of(rrset)) {
            let holder = NameRecords::read(zone, name).holder(environment);
            keepers.extend(holder.filter(|holder| cannot_change(holder, id, name)));
        }
    }
    let is_stuck = |service: &ServiceName, zone: &str, name: &str| {
        cannot_change(service, zone, name) || keepers.contains(service)
    };
    let is_of_former_version = |(_, service): &ServiceName| {
        let mut payloads = simulation.former_payloads.iter();
        exemptions.is_some()
            && payloads
                .any(|(name, payload)| *name == environment.name && payload.contains(service))
    };
    // Without all reads, nobody knows whether a contested name has an heir.
    let keeps_contested = simulation.faults.denied.as_ref().is_some_and(|denied| {
        denied.is_permanent && !denied.operation.ends_with("ResourceRecordSets")
    });

    for (id, zone) in &account.zones {
        if !environment.has_zone(id) {
            continue;
        }
        let names: BTreeSet<&str> = zone.all().map(|(rrset, _)| name_of(rrset)).collect();
        for name in names {
            let current = NameRecords::read(zone, name);
            let Some(holder) = current.holder(environment) else { continue };
            let is_wrong = match all_expected.get(&holder) {
                None | Some(Expected::Nothing) => !exemptions.is_some_and(|exemptions| {
                    let kept = (id.clone(), name.to_owned(), holder.clone());
                    exemptions.kept_for_deployment.contains(&kept)
                }),
                Some(Expected::NoZone) => exemptions.is_none(),
                Some(Expected::Unchanged | Expected::Unknown) => false,
                Some(Expected::Record { zone: at, name: other, rrsets, is_deploying }) => {
                    let has_others = current.at_name.len() > current.addresses().len();
                    if at == id && other == name {
                        let is_met = current.addresses() == rrsets.iter().collect::<Vec<_>>();
                        let stays = *is_deploying && stays(simulation, &current, rrsets);
                        !has_others && !is_met && !stays && !simulation.is_full(id)
                    } else {
                        // A service keeps a former name until it has its new one.
                        let other =
                            account.zones.get(at).map(|zone| NameRecords::read(zone, other));
                        let has_other = other
                            .is_some_and(|other| other.holder(environment) == Some(holder.clone()));
                        let is_former = exemptions.is_some_and(|exemptions| {
                            let holder = (environment.name.clone(), holder.clone());
                            exemptions.renamed_without_name.contains(&holder)
                        });
                        // It stays until its deployment is completed. Two runs at once may register both names, and the
                        // event of the deployment's end finds the new one.
                        let stays = *is_deploying && stays(simulation, &current, rrsets);
                        let service = account.ecs.services.get(&holder);
                        let was_deployed = service.is_some_and(|one| one.deployment.is_some());
                        let is_excused = is_former || exemptions.is_some() && was_deployed;
                        has_other && !stays && !is_excused
                    }
                }
            };
            // The name of a service that is gone passes to another one in one change, for which the zone has no room.
            let heirs = all_expected.iter().filter(|(heir, expected)| {
                **heir != holder
                    && matches!(expected, Expected::Record { zone, name: wanted, .. }
                        if zone == id && wanted == name)
            });
            let heirs: Vec<&ServiceName> = heirs.map(|(heir, _)| heir).collect();
            let has_heir = !heirs.is_empty();
            let has_known_heir = heirs.iter().any(|heir| !is_stuck(heir, id, name));
            let is_excused = is_exempt(name)
                || (simulation.is_full(id) && has_heir)
                || is_stuck(&holder, id, name)
                || is_of_former_version(&holder)
                || (keeps_contested && current.is_contested() && !has_known_heir);
            if is_wrong && !is_excused {
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
        if is_exempt(name)
            || is_stuck(service, id, name)
            || is_of_former_version(service)
            || simulation.is_full(id)
        {
            continue;
        }
        let Some(zone) = account.zones.get(id) else { continue };
        let current = NameRecords::read(zone, name);
        match current.holder(environment) {
            Some(holder) if holder == *service => {}
            Some(holder) => {
                // Another service may have the name if it had it before, if it is older, or if it adopted the record
                // of somebody else, which may lead to its load balancer only.
                let was = before.get(id).map(|zone| NameRecords::read(zone, name));
                let was_unmarked = was
                    .as_ref()
                    .is_some_and(|was| !was.at_name.is_empty() && was.at_marker.is_empty());
                let held_before = was.and_then(|records| records.holder(environment));
                let age = |name: &ServiceName| {
                    let service = account.ecs.services.get(name);
                    service.map(|service| (service.created_at, service_arn(name)))
                };
                let is_older = age(&holder) < age(service);
                if held_before != Some(holder.clone()) && !is_older && !was_unmarked {
                    return Some(Violation::new(
                        invariant,
                        format!("{name} was given to {holder:?} although {service:?} is older"),
                    ));
                }
            }
            // No event reports that another environment gave the name up.
            None if current.is_empty()
                && exemptions.is_some()
                && simulation.changed.iter().any(|(zone, changed, by)| {
                    zone == id && changed == name && *by != environment.name
                }) => {}
            None if current.is_empty() => {
                return Some(Violation::new(
                    invariant,
                    format!("{service:?} is not registered as {name} in {id}"),
                ));
            }
            None => {
                // The name is occupied. At least one of its records must be foreign.
                let ours = Author::Handler(environment.name.clone());
                let is_remainder = !current.at_marker.is_empty();
                if !is_remainder && current.all().all(|(_, author)| *author == ours) {
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

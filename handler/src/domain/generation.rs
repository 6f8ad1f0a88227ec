//! Which version of the function may change a zone, while two versions run side by side.
//!
//! After a deployment, invocations that began before it still run for some minutes, with the former code and
//! configuration. They would bring former names back. So each zone has two records:
//!
//! `_discovery-<environment>-<region>.<zone>        TXT  "heritage=ecs-discovery,version=1,generation=…"`
//! `since._discovery-<environment>-<region>.<zone>  TXT  "heritage=ecs-discovery,version=1,since=…"`
//!
//! The first one contains the *generation*, a hash of the code and the configuration, of the version that the zone
//! belongs to. Each batch deletes and creates it again. So Route 53 refuses the batches of every other version, and
//! an event costs no request more. Only after such a refusal the handler reads both records. The second one contains when
//! the present version was certainly the newest one. A version that was so later takes the zone over. An older one
//! changes nothing.

use crate::domain::dns::{DnsName, RecordData, RecordType, Rrset};
use crate::domain::marker::unquote;
use crate::domain::plan::NameChange;
use crate::domain::service::HostedZoneId;
use crate::domain::zone::EnvironmentIdentity;

const TTL_SECONDS: i64 = 300;

const PREFIX: &str = "heritage=ecs-discovery,version=1,";

/// The values that the proof adds to a batch: one that it deletes, and one that it creates.
pub const PROOF_VALUES: usize = 2;

/// At least as many characters as these values have.
pub const PROOF_CHARACTERS: usize = 250;

/// The longest time for which two versions run side by side. Lambda ends an invocation after 15 minutes at most. An
/// older version takes a zone over after this time, because a failed deployment may have left it as the only one.
const MAX_OVERLAP_MS: u64 = 15 * 60 * 1_000;

/// The version of the function that carries out a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub generation: String,
    /// When it was certainly the newest version: when this process started, or when its deployment invoked it.
    pub newest_at_ms: u64,
    pub now_ms: u64,
}

/// What the records of a zone say about a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The zone belongs to the version.
    Current,
    /// The version takes the zone over with this change.
    TakeOver(NameChange),
    /// The zone belongs to a newer version. The text is the reason for the services.
    Outdated(String),
    /// Somebody else's records are at the name, so the zone cannot be protected.
    Unprotected,
}

/// The name of the record with the generation. `None` if it would be too long for DNS.
pub fn record_name(identity: &EnvironmentIdentity, zone: &DnsName) -> Option<DnsName> {
    let region = &identity.location.region;
    let name = format!("_discovery-{}-{region}.{zone}", identity.environment);
    let is_short = since_text(&name).len() <= 253;
    DnsName::parse(&name).ok().filter(|_| is_short)
}

/// The change with which a batch shows that the zone still belongs to `generation`. Route 53 refuses it otherwise.
pub fn proof(zone: &HostedZoneId, name: &DnsName, generation: &str) -> NameChange {
    let record = record(name, generation);
    change(zone, name, vec![record.clone()], vec![record])
}

impl Version {
    /// Decides about a zone with these records at `name` and below it.
    pub fn turn(&self, zone: &HostedZoneId, name: &DnsName, rrsets: &[Rrset]) -> Turn {
        let since_name = since_name(name);
        let is_here =
            |rrset: &&Rrset| rrset.name == *name || Some(&rrset.name) == since_name.as_ref();
        if rrsets.iter().filter(is_here).any(|rrset| !is_own(rrset)) {
            return Turn::Unprotected;
        }
        let at = |at: &DnsName| rrsets.iter().find(|rrset| rrset.name == *at);
        let (present, since) = (at(name), since_name.as_ref().and_then(at));
        let mine = record(name, &self.generation);
        if present == Some(&mine) {
            return Turn::Current;
        }
        let newest_at = since.and_then(read_since).filter(|_| present.is_some());
        if newest_at.is_some_and(|newest_at| !self.is_newer(newest_at)) {
            return Turn::Outdated(format!(
                "the zone {zone} belongs to another version of the function or of its configuration, and this \
                 invocation belongs to an older one, so it changes nothing; a retry uses the newer version"
            ));
        }
        let deletes = [present, since].into_iter().flatten().cloned().collect();
        let since = since_name.map(|name| text(&name, &format!("since={}", self.newest_at_ms)));
        let creates = [mine].into_iter().chain(since).collect();
        Turn::TakeOver(change(zone, name, deletes, creates))
    }

    /// Whether a zone with these records belongs to another version.
    pub fn belongs_to_another(&self, name: &DnsName, rrsets: &[Rrset]) -> bool {
        let mine = record(name, &self.generation);
        let mut present = rrsets.iter().filter(|rrset| rrset.name == *name && is_own(rrset));
        present.any(|rrset| *rrset != mine)
    }

    /// Whether this is a newer version than one that was certainly the newest one at this time.
    fn is_newer(&self, newest_at: u64) -> bool {
        self.newest_at_ms > newest_at || self.now_ms.saturating_sub(newest_at) >= MAX_OVERLAP_MS
    }
}

/// The change that removes the records from a zone that leaves the environment. `None` if it has none.
pub fn removal(zone: &HostedZoneId, name: &DnsName, rrsets: Vec<Rrset>) -> Option<NameChange> {
    let since = since_name(name);
    let is_here = |rrset: &Rrset| rrset.name == *name || Some(&rrset.name) == since.as_ref();
    let own: Vec<Rrset> =
        rrsets.into_iter().filter(|rrset| is_here(rrset) && is_own(rrset)).collect();
    (!own.is_empty()).then(|| change(zone, name, own, Vec::new()))
}

fn is_own(rrset: &Rrset) -> bool {
    let text = rrset.single_value().and_then(|(value, _)| unquote(value));
    rrset.record_type == RecordType::Txt && text.is_some_and(|text| text.starts_with(PREFIX))
}

fn since_text(name: &str) -> String {
    format!("since.{name}")
}

fn since_name(name: &DnsName) -> Option<DnsName> {
    DnsName::parse(&since_text(name.as_str())).ok()
}

fn record(name: &DnsName, generation: &str) -> Rrset {
    text(name, &format!("generation={generation}"))
}

fn text(name: &DnsName, text: &str) -> Rrset {
    let values = vec![format!("\"{PREFIX}{text}\"")];
    let data = RecordData::Plain { ttl_seconds: TTL_SECONDS, values };
    Rrset { name: name.clone(), record_type: RecordType::Txt, data }
}

fn read_since(rrset: &Rrset) -> Option<u64> {
    let text = unquote(rrset.single_value()?.0)?;
    text.strip_prefix(PREFIX)?.strip_prefix("since=")?.parse().ok()
}

fn change(
    zone: &HostedZoneId,
    name: &DnsName,
    deletes: Vec<Rrset>,
    creates: Vec<Rrset>,
) -> NameChange {
    NameChange {
        zone: zone.clone(),
        name: name.clone(),
        deletes,
        creates,
        winner: None,
        holder: None,
        replaced_by: None,
        note: None,
        loss: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{cname, identity, name};

    fn at(seconds: u64) -> u64 {
        1_795_651_200_000 + seconds * 1_000
    }

    fn version(generation: &str, started: u64, now: u64) -> Version {
        Version { generation: generation.into(), newest_at_ms: at(started), now_ms: at(now) }
    }

    fn zone() -> HostedZoneId {
        HostedZoneId::new("Z1")
    }

    fn record_of_zone() -> DnsName {
        record_name(&identity(), &name("internal")).expect("short")
    }

    /// The records after `version` took a zone over.
    fn taken_by(version: &Version, before: &[Rrset]) -> Vec<Rrset> {
        match version.turn(&zone(), &record_of_zone(), before) {
            Turn::TakeOver(change) => {
                assert_eq!(change.deletes, before);
                change.creates
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_outdated(version: &Version, records: &[Rrset]) -> bool {
        matches!(version.turn(&zone(), &record_of_zone(), records), Turn::Outdated(_))
    }

    #[test]
    fn a_version_takes_a_new_zone_over_and_keeps_it() {
        let first = version("a", 0, 5);
        let records = taken_by(&first, &[]);
        assert_eq!(first.turn(&zone(), &record_of_zone(), &records), Turn::Current);
        let proof = proof(&zone(), &record_of_zone(), "a");
        assert_eq!((&proof.deletes[..], &proof.creates[..]), (&records[..1], &records[..1]));
    }

    #[test]
    fn the_version_that_started_later_takes_the_zone_over_and_the_other_one_yields() {
        let old = version("a", 0, 60);
        let records = taken_by(&old, &[]);
        let new = version("b", 100, 101);
        let records = taken_by(&new, &records);
        // Another container of the former version may have started late, but not after the deployment.
        assert!(is_outdated(&version("a", 90, 102), &records));
        assert!(!is_outdated(&new, &records));
        assert!(!is_outdated(&version("c", 110, 111), &records));
    }

    #[test]
    fn an_older_version_takes_the_zone_over_when_no_other_one_can_run_any_more() {
        let records = taken_by(&version("b", 100, 101), &[]);
        let overlap = MAX_OVERLAP_MS / 1_000;
        assert!(is_outdated(&version("a", 0, 100 + overlap - 1), &records));
        taken_by(&version("a", 0, 100 + overlap), &records);
    }

    #[test]
    fn a_zone_that_an_older_version_took_while_it_belonged_to_none_goes_to_the_newer_one() {
        // A person deregistered the zone after the deployment of "b".
        let records = taken_by(&version("a", 0, 93), &[]);
        taken_by(&version("b", 81, 100), &records);
    }

    #[test]
    fn records_of_others_stay() {
        let odd = Rrset { name: record_of_zone(), ..cname("orders", "x") };
        let turn = version("a", 0, 1).turn(&zone(), &record_of_zone(), &[odd]);
        assert_eq!(turn, Turn::Unprotected);
    }

    #[test]
    fn incomplete_records_are_replaced() {
        let mine = version("a", 0, 1);
        let mut records = taken_by(&mine, &[]);
        records.remove(0);
        taken_by(&mine, &records);
        let since = text(&since_name(&record_of_zone()).expect("short"), "since=soon");
        taken_by(&mine, &[record(&record_of_zone(), "b"), since]);
    }

    #[test]
    fn a_batch_has_room_for_the_proof() {
        let proof = proof(&zone(), &record_of_zone(), &"f".repeat(64));
        assert_eq!(proof.values().count(), PROOF_VALUES);
        assert!(proof.values().map(String::len).sum::<usize>() <= PROOF_CHARACTERS);
    }

    #[test]
    fn a_zone_that_leaves_the_environment_keeps_only_records_of_others() {
        let mut records = taken_by(&version("a", 0, 5), &[]);
        let own = records.clone();
        records.push(cname("orders", "x"));
        let change = removal(&zone(), &record_of_zone(), records).expect("a change");
        assert_eq!((change.deletes, change.creates), (own, vec![]));
        assert_eq!(removal(&zone(), &record_of_zone(), vec![]), None);
    }

    #[test]
    fn a_name_that_is_too_long_has_no_generation() {
        let long = format!(
            "{}.a-zone-with-a-long-name.internal",
            ["a", "b", "c"].map(|letter| letter.repeat(63)).join(".")
        );
        let zone = DnsName::zone(&long).expect("valid");
        assert_eq!(record_name(&identity(), &zone), None);
    }
}

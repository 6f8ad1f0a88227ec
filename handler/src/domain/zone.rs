//! What stands at the names of a zone, and whose it is.
//!
//! Sorts what was listed into free, managed and foreign. Only what is managed carries the
//! record sets on, so foreign ones can neither be changed nor deleted: nobody has them.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::dns::{DnsName, RecordType, Rrset};
use crate::domain::marker::Marker;
use crate::domain::service::{AwsLocation, ReadError, ReadResult, ServiceArn};

/// Whose markers count: those of this environment, for services that can be read from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentIdentity {
    pub environment: String,
    /// Whose markers count as well, until they are written anew.
    pub former_names: BTreeSet<String>,
    pub location: AwsLocation,
}

impl EnvironmentIdentity {
    pub fn marker(&self, service: &ServiceArn) -> Marker {
        Marker { environment: self.environment.clone(), service: service.clone() }
    }
}

/// The names of one zone that were looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneView {
    rest: Rest,
    names: BTreeMap<DnsName, ReadResult<NameView>>,
}

/// What is known of the names that were not looked at one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Rest {
    #[default]
    Unknown,
    /// The zone was listed from its beginning to its end, so nothing stands there.
    Free,
    /// It was to be listed, and could not be.
    ReadFailed(ReadError),
}

/// All that stands at a name and at the place of its marker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NameView {
    records: Vec<Rrset>,
    beside: Vec<Rrset>,
}

/// Whose a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameState {
    Free,
    Managed(Box<Managed>),
    /// Nobody's: records such as this tool writes, without a marker. They stay as they are,
    /// unless a service wants just what they say already.
    Unmarked(Vec<Rrset>),
    /// Not this environment's, and what stands there instead, in words.
    Foreign(String),
    /// It could not be looked at.
    ReadFailed(ReadError),
}

/// A name of this environment, with just what is needed to delete it exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    pub service: ServiceArn,
    /// A CNAME, or aliases. Empty if somebody deleted them and left the marker.
    pub records: Vec<Rrset>,
    pub marker: Rrset,
    /// Whether the marker has the environment's present name.
    pub is_current: bool,
    /// What somebody else put at the name: its types, to tell what there is room for, and words.
    pub others: Vec<(RecordType, String)>,
}

impl Managed {
    /// All record sets, as Route 53 has them.
    pub fn rrsets(&self) -> impl Iterator<Item = &Rrset> {
        self.records.iter().chain([&self.marker])
    }
}

impl ZoneView {
    /// The view of a zone that was listed from its beginning to its end.
    pub fn whole(rrsets: Vec<Rrset>) -> ZoneView {
        let mut views: BTreeMap<DnsName, NameView> = BTreeMap::new();
        for rrset in rrsets {
            match rrset.name.marked() {
                Some(name) => views.entry(name).or_default().beside.push(rrset),
                None => views.entry(rrset.name.clone()).or_default().records.push(rrset),
            }
        }
        let names = views.into_iter().map(|(name, view)| (name, Ok(view))).collect();
        ZoneView { rest: Rest::Free, names }
    }

    /// Adds what a listing found at `name` and at its marker's place; anything else in it is
    /// passed over, since a listing that began at `name` may not have all of that.
    pub fn add(&mut self, name: &DnsName, rrsets: Vec<Rrset>) {
        let marker = name.marker();
        let mut view = NameView::default();
        for rrset in rrsets {
            if rrset.name == *name {
                view.records.push(rrset);
            } else if rrset.name == marker {
                view.beside.push(rrset);
            }
        }
        self.names.insert(name.clone(), Ok(view));
    }

    /// Notes that `name` could not be looked at.
    pub fn add_failed(&mut self, name: &DnsName, why: ReadError) {
        self.names.insert(name.clone(), Err(why));
    }

    /// Notes that the zone could not be listed. Names that were looked at before stay known.
    pub fn set_failed(&mut self, why: ReadError) {
        self.rest = Rest::ReadFailed(why);
    }

    /// How many record sets were found, whoever made them.
    pub fn records(&self) -> usize {
        let found = self.names.values().filter_map(|view| view.as_ref().ok());
        found.map(|view| view.records.len() + view.beside.len()).sum()
    }

    /// Whether the zone was listed, or that was tried.
    pub fn was_listed(&self) -> bool {
        self.rest != Rest::Unknown
    }

    /// Whether `name` was looked at, or that was tried.
    pub fn was_read(&self, name: &DnsName) -> bool {
        self.was_listed() || self.names.contains_key(name)
    }

    /// Why the zone, or names in it, could not be looked at.
    pub fn read_errors(&self) -> impl Iterator<Item = &ReadError> {
        let rest = match &self.rest {
            Rest::ReadFailed(why) => Some(why),
            Rest::Unknown | Rest::Free => None,
        };
        rest.into_iter().chain(self.names.values().filter_map(|view| view.as_ref().err()))
    }

    /// Whose `name` is; none if nobody looked.
    pub fn state(&self, name: &DnsName, identity: &EnvironmentIdentity) -> Option<NameState> {
        match (self.names.get(name), &self.rest) {
            (Some(Ok(view)), _) => Some(view.state(identity)),
            (Some(Err(why)), _) | (None, Rest::ReadFailed(why)) => {
                Some(NameState::ReadFailed(why.clone()))
            }
            (None, Rest::Free) => Some(NameState::Free),
            (None, Rest::Unknown) => None,
        }
    }

    /// The managed names among those that were looked at, in order.
    pub fn managed<'a>(
        &'a self,
        identity: &'a EnvironmentIdentity,
    ) -> impl Iterator<Item = (&'a DnsName, Box<Managed>)> + 'a {
        self.names.iter().filter_map(|(name, view)| match view.as_ref().ok()?.state(identity) {
            NameState::Managed(managed) => Some((name, managed)),
            _ => None,
        })
    }
}

impl NameView {
    fn state(&self, identity: &EnvironmentIdentity) -> NameState {
        let marker = match self.beside.as_slice() {
            [] => return self.unmarked(),
            [marker] => marker,
            several => return NameState::Foreign(format!("beside it stand {}", list(several))),
        };
        let (value, _) = match marker.single_value() {
            Some(value) if marker.record_type == RecordType::Txt => value,
            _ => return NameState::Foreign(format!("beside it stands {marker}")),
        };
        let Marker { environment, service } = match Marker::parse(value) {
            Ok(marker) => marker,
            Err(error) => return NameState::Foreign(format!("beside it stands {marker}; {error}")),
        };
        let is_current = environment == identity.environment;
        if !is_current && !identity.former_names.contains(&environment) {
            return NameState::Foreign(format!(
                "the environment {environment} manages it for {service}"
            ));
        }
        if *service.location() != identity.location {
            return NameState::Foreign(format!(
                "it is managed for {service}, which is in another account or region"
            ));
        }
        // Others may have put records there too: a TXT beside aliases, or an address in place of
        // what was written from here.
        let (records, others): (Vec<_>, Vec<_>) =
            self.records.iter().cloned().partition(|rrset| rrset.leads_to().is_some());
        let others = others.iter().map(|rrset| (rrset.record_type.clone(), rrset.to_string()));
        let (others, marker) = (others.collect(), marker.clone());
        NameState::Managed(Box::new(Managed { service, records, marker, is_current, others }))
    }

    fn unmarked(&self) -> NameState {
        if self.records.is_empty() {
            NameState::Free
        } else if could_be_ours(&self.records) {
            NameState::Unmarked(self.records.clone())
        } else {
            NameState::Foreign(format!("it holds {}, without a marker", list(&self.records)))
        }
    }
}

/// Whether records are of the kind that this tool writes: one CNAME, or aliases for addresses.
fn could_be_ours(records: &[Rrset]) -> bool {
    match records {
        [record] => record.leads_to().is_some(),
        several => several.iter().all(|record| record.alias_target().is_some()),
    }
}

/// Record sets in words.
pub fn list(rrsets: &[Rrset]) -> String {
    rrsets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dns::{RecordData, Ttl};
    use crate::domain::marker::Nonce;
    use insta::assert_snapshot;

    fn identity() -> EnvironmentIdentity {
        let location = AwsLocation::of_function("arn:aws:lambda:eu-west-1:111122223333:function:x");
        EnvironmentIdentity {
            environment: "dev".into(),
            former_names: BTreeSet::from(["old-dev".into()]),
            location: location.expect("a function's ARN"),
        }
    }

    fn name(text: &str) -> DnsName {
        DnsName::parse(text).expect("a valid name")
    }

    fn plain(at: &str, record_type: &str, value: &str) -> Rrset {
        Rrset {
            name: name(at),
            record_type: RecordType::parse(record_type),
            data: RecordData::Plain { ttl_seconds: 60, values: vec![value.into()] },
        }
    }

    fn marker(environment: &str, region: &str) -> Rrset {
        let service = format!("arn:aws:ecs:{region}:111122223333:service/dev/orders");
        let service = ServiceArn::parse(&service).expect("a valid ARN");
        Marker { environment: environment.into(), service }.rrset(
            &name("orders.internal"),
            Nonce::default(),
            None,
        )
    }

    fn cname() -> Rrset {
        Rrset::cname(name("orders.internal"), &name("lb.example.com"), Ttl::DEFAULT)
    }

    fn check(rrsets: Vec<Rrset>) -> String {
        match ZoneView::whole(rrsets).state(&name("orders.internal"), &identity()) {
            None => "unknown".into(),
            Some(NameState::Free) => "free".into(),
            Some(NameState::Managed(managed)) => {
                let records = list(&managed.records);
                let others: String =
                    managed.others.iter().map(|(_, what)| format!(", and {what}")).collect();
                let former = if managed.is_current { "" } else { " under a former name" };
                format!("managed{former} for {}: {records}{others}", managed.service.service())
            }
            Some(NameState::ReadFailed(why)) => format!("unread: {why}"),
            Some(NameState::Unmarked(records)) => format!("unmarked: {}", list(&records)),
            Some(NameState::Foreign(what)) => format!("foreign: {what}"),
        }
    }

    #[test]
    fn a_name_is_managed_only_with_a_marker_of_this_environment() {
        assert_snapshot!(check(vec![]), @"free");
        assert_snapshot!(check(vec![cname(), marker("dev", "eu-west-1")]), @"managed for orders: CNAME lb.example.com");
        assert_snapshot!(check(vec![marker("dev", "eu-west-1")]), @"managed for orders: ");
        assert_snapshot!(check(vec![cname()]), @"unmarked: CNAME lb.example.com");
        assert_snapshot!(check(vec![plain("orders.internal", "A", "10.0.0.7")]), @"foreign: it holds A 10.0.0.7, without a marker");
        assert_snapshot!(check(vec![cname(), marker("prod", "eu-west-1")]), @"foreign: the environment prod manages it for arn:aws:ecs:eu-west-1:111122223333:service/dev/orders");
        assert_snapshot!(check(vec![cname(), marker("old-dev", "eu-west-1")]), @"managed under a former name for orders: CNAME lb.example.com");
        assert_snapshot!(check(vec![cname(), marker("dev", "us-east-1")]), @"foreign: it is managed for arn:aws:ecs:us-east-1:111122223333:service/dev/orders, which is in another account or region");
    }

    #[test]
    fn aliases_for_addresses_are_managed_together() {
        let alias = |record_type| {
            let lb = name("lb.example.com");
            Rrset::alias(name("orders.internal"), record_type, "Z2", &lb)
        };
        assert_snapshot!(
            check(vec![alias(RecordType::A), alias(RecordType::Aaaa), marker("dev", "eu-west-1")]),
            @"managed for orders: A alias to lb.example.com. and AAAA alias to lb.example.com."
        );
        assert_snapshot!(
            check(vec![alias(RecordType::A), plain("orders.internal", "TXT", "x"), marker("dev", "eu-west-1")]),
            @"managed for orders: A alias to lb.example.com., and TXT x"
        );
    }

    #[test]
    fn what_was_not_written_here_is_foreign_in_spite_of_a_marker() {
        assert_snapshot!(
            check(vec![plain("orders.internal", "A", "10.0.0.7"), marker("dev", "eu-west-1")]),
            @"managed for orders: , and A 10.0.0.7"
        );
        let weighted = Rrset { data: RecordData::Special("weighted, \"blue\"".into()), ..cname() };
        assert_snapshot!(
            check(vec![weighted, marker("dev", "eu-west-1")]),
            @r#"managed for orders: , and CNAME (weighted, "blue")"#
        );
    }

    #[test]
    fn what_stands_at_the_marker_place_and_is_no_marker_makes_the_name_foreign() {
        assert_snapshot!(
            check(vec![cname(), plain("_discovery.orders.internal", "TXT", "\"hello\"")]),
            @r#"foreign: beside it stands TXT "hello"; it is not a marker of this tool"#
        );
    }

    #[test]
    fn a_listing_that_began_at_a_name_tells_of_that_name_only() {
        let mut view = ZoneView::default();
        view.add(&name("orders.internal"), vec![cname(), plain("web.internal", "A", "10.0.0.7")]);
        assert!(view.was_read(&name("orders.internal")));
        assert_eq!(view.state(&name("web.internal"), &identity()), None);
    }

    #[test]
    fn what_was_read_stays_known_though_the_zone_cannot_be_listed() {
        let mut view = ZoneView::default();
        view.add(&name("orders.internal"), vec![]);
        view.set_failed(ReadError("denied".into()));
        assert_eq!(view.state(&name("orders.internal"), &identity()), Some(NameState::Free));
        let denied = NameState::ReadFailed(ReadError("denied".into()));
        assert_eq!(view.state(&name("web.internal"), &identity()), Some(denied));
        assert_eq!(view.read_errors().count(), 1);
    }
}

//! The current state of the names in a zone: free, managed, unmarked or foreign.
//!
//! Decides who owns a name, not who should have it. The state of a foreign name contains no record sets, only a
//! text, so no later step can change or delete foreign records.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::dns::{DnsName, RecordData, RecordType, Rrset};
use crate::domain::marker::{self, Marker, MarkerError};
use crate::domain::service::{AwsLocation, HostedZoneId, ReadError, ReadResult, ServiceArn};

/// A name in a zone.
pub type ZoneName = (HostedZoneId, DnsName);

/// The owner of this environment's names. A marker counts only if it contains one of the environment's names
/// and a service at the same location, because the handler can read no other services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentIdentity {
    pub environment: String,
    /// Earlier names of the environment. Their markers count until the handler writes them again.
    pub former_names: BTreeSet<String>,
    pub location: AwsLocation,
}

impl EnvironmentIdentity {
    /// The marker beside records of these types.
    pub fn marker(
        &self,
        service: &ServiceArn,
        records: Option<BTreeSet<RecordType>>,
        is_contested: bool,
    ) -> Marker {
        let (environment, service) = (self.environment.clone(), service.clone());
        Marker { environment, service, records, is_contested }
    }
}

/// The types that a marker lists beside `records`. A marker cannot list none.
pub fn types_of(records: &[Rrset]) -> Option<BTreeSet<RecordType>> {
    let types = records.iter().map(|rrset| rrset.record_type.clone()).collect();
    Some(types).filter(|types: &BTreeSet<_>| !types.is_empty())
}

/// The names of one zone, as far as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneView {
    names: BTreeMap<DnsName, ReadResult<NameView>>,
    other_names: OtherNames,
    /// The TXT records with which external-dns marks its records, if the whole zone was listed.
    external_dns: BTreeSet<DnsName>,
    /// Names whose marker was the same in two reads, one after the other.
    confirmed: BTreeSet<DnsName>,
}

/// The state of all names that are not in `ZoneView::names`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum OtherNames {
    #[default]
    NotRead,
    /// The whole zone was listed, so all other names are free.
    Free,
    /// Listing the zone failed.
    ReadFailed(ReadError),
}

/// The record sets at a name and at the name of its marker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct NameView {
    records: Vec<Rrset>,
    marker_records: Vec<Rrset>,
}

/// The current state of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameState {
    Free,
    Managed(Box<Managed>),
    /// One CNAME, or aliases, without a marker. They stay unchanged unless a service should have exactly this
    /// target.
    Unmarked(Vec<Rrset>),
    /// The name has another owner. The text completes the sentence `the name is taken by …`.
    Foreign(String),
    ReadFailed(ReadError),
}

/// A name of this environment, with the record sets that a change must delete exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    pub service: ServiceArn,
    /// A CNAME, or aliases. Empty if somebody deleted them and left the marker.
    pub records: Vec<Rrset>,
    /// The TXT record of the marker. It may have values of others, too.
    pub marker: Rrset,
    /// The types that the marker lists. `None` in markers that were written before the types were listed.
    pub types: Option<BTreeSet<RecordType>>,
    /// Whether the marker contains the environment's current name.
    pub is_current: bool,
    /// Whether the marker notes that another service should have the name, too.
    pub is_contested: bool,
    /// Records of others at the name. The types decide whether a new record fits. The texts are for operators.
    pub others: Vec<(RecordType, String)>,
}

impl Managed {
    /// All record sets of the environment at the name, unchanged from Route 53.
    pub fn rrsets(&self) -> impl Iterator<Item = &Rrset> {
        self.records.iter().chain([&self.marker])
    }

    /// The types that the marker lists after a change of the marker alone. The records may be missing beside it.
    pub fn types_to_list(&self) -> Option<BTreeSet<RecordType>> {
        self.types.clone().or_else(|| types_of(&self.records))
    }
}

impl ZoneView {
    /// A zone that was listed completely.
    pub fn whole(rrsets: Vec<Rrset>) -> ZoneView {
        let mut views: BTreeMap<DnsName, NameView> = BTreeMap::new();
        let mut external_dns = BTreeSet::new();
        for rrset in rrsets {
            if is_external_dns(&rrset) {
                external_dns.insert(rrset.name.clone());
            }
            match rrset.name.marked() {
                Some(name) => views.entry(name).or_default().marker_records.push(rrset),
                None => views.entry(rrset.name.clone()).or_default().records.push(rrset),
            }
        }
        let names = views.into_iter().map(|(name, view)| (name, Ok(view))).collect();
        let other_names = OtherNames::Free;
        ZoneView { names, other_names, external_dns, confirmed: BTreeSet::new() }
    }

    /// Replaces the view by one of the whole zone that was read later.
    pub fn replace(&mut self, mut later: ZoneView) {
        let is_same = |(name, view): &(&DnsName, &ReadResult<NameView>)| {
            view.as_ref().is_ok_and(|view| self.has_marker(name, view))
        };
        later.confirmed =
            later.names.iter().filter(is_same).map(|(name, _)| name.clone()).collect();
        *self = later;
    }

    /// Whether the marker at `name` is the same as in `other`.
    fn has_marker(&self, name: &DnsName, other: &NameView) -> bool {
        let view = self.names.get(name).and_then(|view| view.as_ref().ok());
        view.is_some_and(|view| view.marker_records == other.marker_records)
    }

    /// Managed names without a record that their marker lists, unless a second read confirmed it.
    ///
    /// A list has pages. Between the page with the record and the one with its marker, another run may have written
    /// both. Each write changes the marker. So if the marker is the same in two reads, the record that the second one
    /// did not find is missing.
    pub fn unconfirmed<'a>(
        &'a self,
        identity: &'a EnvironmentIdentity,
    ) -> impl Iterator<Item = &'a DnsName> + 'a {
        self.names.iter().filter_map(|(name, view)| {
            let view = view.as_ref().ok()?;
            let is_suspect = view.lacks_a_record()
                && !self.confirmed.contains(name)
                && matches!(view.state(identity), NameState::Managed(_));
            is_suspect.then_some(name)
        })
    }

    /// Adds the record sets at `name` and at the name of its marker. All others are skipped, because a listing
    /// that started at `name` may contain only a part of them.
    pub fn add(&mut self, name: &DnsName, rrsets: Vec<Rrset>) {
        let marker = name.marker();
        let mut view = NameView::default();
        for rrset in rrsets {
            if rrset.name == *name {
                view.records.push(rrset);
            } else if rrset.name == marker {
                view.marker_records.push(rrset);
            }
        }
        if self.has_marker(name, &view) {
            self.confirmed.insert(name.clone());
        } else {
            self.confirmed.remove(name);
        }
        self.names.insert(name.clone(), Ok(view));
    }

    /// Adds a name that could not be read.
    pub fn add_failed(&mut self, name: &DnsName, error: ReadError) {
        self.names.insert(name.clone(), Err(error));
    }

    /// Notes that listing the zone failed. The view keeps the names that were read before, except those without a
    /// record that their marker lists, which nobody could confirm.
    pub fn set_failed(&mut self, error: ReadError) {
        for view in self.names.values_mut() {
            if view.as_ref().is_ok_and(NameView::lacks_a_record) {
                *view = Err(error.clone());
            }
        }
        self.other_names = OtherNames::ReadFailed(error);
    }

    /// The number of record sets that were read, those of other owners included.
    pub fn records(&self) -> usize {
        let found = self.names.values().filter_map(|view| view.as_ref().ok());
        found.map(|view| view.records.len() + view.marker_records.len()).sum()
    }

    /// Whether the zone was listed, with success or not.
    pub fn was_listed(&self) -> bool {
        self.other_names != OtherNames::NotRead
    }

    /// Whether `name` was read, with success or not.
    pub fn was_read(&self, name: &DnsName) -> bool {
        self.was_listed() || self.names.contains_key(name)
    }

    /// The errors of all failed reads.
    pub fn read_errors(&self) -> impl Iterator<Item = &ReadError> {
        let listing = match &self.other_names {
            OtherNames::ReadFailed(error) => Some(error),
            OtherNames::NotRead | OtherNames::Free => None,
        };
        listing.into_iter().chain(self.names.values().filter_map(|view| view.as_ref().err()))
    }

    /// The state of `name`, or `None` if it was not read.
    pub fn state(&self, name: &DnsName, identity: &EnvironmentIdentity) -> Option<NameState> {
        match (self.names.get(name), &self.other_names) {
            (Some(Ok(view)), listing) => match (view.state(identity), listing) {
                (NameState::Unmarked(records), OtherNames::Free) => {
                    Some(match self.external_dns_marker(name) {
                        None => NameState::Unmarked(records),
                        Some(marker) => NameState::Foreign(format!(
                            "{}, which external-dns manages according to {marker}",
                            list(&records)
                        )),
                    })
                }
                // Another tool may have marked the record elsewhere in the zone.
                (NameState::Unmarked(_), OtherNames::ReadFailed(error)) => {
                    Some(NameState::ReadFailed(error.clone()))
                }
                (state, _) => Some(state),
            },
            (Some(Err(error)), _) | (None, OtherNames::ReadFailed(error)) => {
                Some(NameState::ReadFailed(error.clone()))
            }
            (None, OtherNames::Free) => Some(NameState::Free),
            (None, OtherNames::NotRead) => None,
        }
    }

    /// The managed names among those that were read, sorted.
    pub fn managed<'a>(
        &'a self,
        identity: &'a EnvironmentIdentity,
    ) -> impl Iterator<Item = (&'a DnsName, Box<Managed>)> + 'a {
        self.names.iter().filter_map(|(name, view)| match view.as_ref().ok()?.state(identity) {
            NameState::Managed(managed) => Some((name, managed)),
            _ => None,
        })
    }

    /// The record sets at `name`, if it was read.
    pub fn records_at(&self, name: &DnsName) -> &[Rrset] {
        self.names.get(name).and_then(|view| view.as_ref().ok()).map_or(&[], |view| &view.records)
    }

    /// The names whose marker cannot be read, each with the reason.
    pub fn unreadable_markers(&self) -> impl Iterator<Item = (&DnsName, String)> {
        self.names
            .iter()
            .filter_map(|(name, view)| Some((name, view.as_ref().ok()?.marker().err()?)))
    }

    /// The TXT record with which external-dns marks the record at `name`. By default it stands at
    /// `<type>-<name>`. external-dns can be configured with a prefix or a suffix of the first label, which the
    /// handler does not know.
    fn external_dns_marker(&self, name: &DnsName) -> Option<&DnsName> {
        self.external_dns.iter().find(|marker| {
            let marked = marker.without_type().filter(|marked| self.names.contains_key(marked));
            marked.map_or_else(|| marker.contains_name(name), |marked| marked == *name)
        })
    }
}

impl NameView {
    fn state(&self, identity: &EnvironmentIdentity) -> NameState {
        let (parsed, marker) = match self.marker() {
            Ok(Some(marker)) => marker,
            Ok(None) => return self.unmarked(),
            Err(record) => return NameState::Foreign(format!("the record at {record}")),
        };
        let Marker { environment, service, records: types, is_contested } = parsed;
        let is_current = environment == identity.environment;
        if !is_current && !identity.former_names.contains(&environment) {
            return NameState::Foreign(format!(
                "the environment {environment}, for the service {service}"
            ));
        }
        if *service.location() != identity.location {
            return NameState::Foreign(format!(
                "a service in another account or region: {service}"
            ));
        }
        // A managed name can have records of others: a TXT record or an alias of another type beside aliases,
        // or an address that replaced the environment's record.
        let is_written =
            |rrset: &Rrset| types.as_ref().is_none_or(|types| types.contains(&rrset.record_type));
        let (records, others): (Vec<_>, Vec<_>) = self
            .records
            .iter()
            .cloned()
            .partition(|rrset| rrset.leads_to().is_some() && is_written(rrset));
        let others = others.iter().map(|rrset| (rrset.record_type.clone(), rrset.to_string()));
        let (others, marker) = (others.collect(), marker.clone());
        NameState::Managed(Box::new(Managed {
            service,
            records,
            marker,
            types,
            is_current,
            is_contested,
            others,
        }))
    }

    /// Whether a record that the marker lists is not at the name.
    fn lacks_a_record(&self) -> bool {
        let Ok(Some((marker, _))) = self.marker() else { return false };
        let is_there =
            |kind: &RecordType| self.records.iter().any(|rrset| rrset.record_type == *kind);
        match marker.records {
            Some(types) => !types.iter().all(is_there),
            None => self.records.is_empty(),
        }
    }

    /// The marker with the TXT record that contains it. `None` without records at the marker's name. The error
    /// says where there are records, why they are no marker, and what they are.
    fn marker(&self) -> Result<Option<(Marker, &Rrset)>, String> {
        let Some(Rrset { name, .. }) = self.marker_records.first() else { return Ok(None) };
        let values = |rrset: &'_ Rrset| match &rrset.data {
            RecordData::Plain { values, .. } if rrset.record_type == RecordType::Txt => {
                values.iter().map(|value| Marker::parse(value)).collect()
            }
            _ => Vec::new(),
        };
        let (mut markers, mut error) = (Vec::new(), MarkerError::NotAMarker);
        for rrset in &self.marker_records {
            for value in values(rrset) {
                match value {
                    Ok(marker) => markers.push((marker, rrset)),
                    Err(MarkerError::NotAMarker) => {}
                    Err(unknown @ MarkerError::UnknownVersion(_)) => error = unknown,
                }
            }
        }
        let all = list(&self.marker_records);
        match (markers.pop(), error) {
            (None, error) => Err(format!("{name}, which is {error}: {all}")),
            (Some(marker), MarkerError::NotAMarker) if markers.is_empty() => Ok(Some(marker)),
            _ => Err(format!("{name}, which has several markers: {all}")),
        }
    }

    fn unmarked(&self) -> NameState {
        if self.records.is_empty() {
            NameState::Free
        } else if could_be_ours(&self.records) {
            NameState::Unmarked(self.records.clone())
        } else {
            NameState::Foreign(format!("{}, which has no marker", list(&self.records)))
        }
    }
}

/// Whether this tool could have written the records: one CNAME, or A and AAAA aliases.
fn could_be_ours(records: &[Rrset]) -> bool {
    match records {
        [record] => record.leads_to().is_some(),
        several => several.iter().all(|record| record.alias_target().is_some()),
    }
}

fn is_external_dns(rrset: &Rrset) -> bool {
    rrset.record_type == RecordType::Txt
        && rrset.values().iter().any(|value| {
            marker::unquote(value).is_some_and(|text| text.starts_with("heritage=external-dns"))
        })
}

/// Record sets as text for operators.
pub fn list(rrsets: &[Rrset]) -> String {
    rrsets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{arn, balancer, cname, identity, marker, marker_of, name, plain};
    use crate::domain::marker::Nonce;
    use insta::assert_snapshot;

    fn check(rrsets: Vec<Rrset>) -> String {
        match ZoneView::whole(rrsets).state(&name("orders"), &identity()) {
            None => "not read".into(),
            Some(NameState::Free) => "free".into(),
            Some(NameState::Managed(managed)) => {
                let Managed { service, records, is_current, others, .. } = *managed;
                let former = if is_current { "" } else { " under a former name" };
                let records = if records.is_empty() { "no record".into() } else { list(&records) };
                let others: String =
                    others.iter().map(|(_, record)| format!("; of others: {record}")).collect();
                format!("managed{former} for {}: {records}{others}", service.service())
            }
            Some(NameState::ReadFailed(error)) => format!("read failed: {error}"),
            Some(NameState::Unmarked(records)) => format!("unmarked: {}", list(&records)),
            Some(NameState::Foreign(owner)) => format!("taken by {owner}"),
        }
    }

    #[test]
    fn a_name_is_managed_only_with_a_marker_of_this_environment() {
        let elsewhere = "arn:aws:ecs:us-east-1:111122223333:service/dev/orders";
        let elsewhere = ServiceArn::parse(elsewhere).expect("a valid ARN");
        assert_snapshot!(check(vec![]), @"free");
        assert_snapshot!(check(vec![cname("orders", "lb"), marker("orders", "orders")]), @"managed for orders: CNAME lb.elb.amazonaws.com");
        assert_snapshot!(check(vec![marker("orders", "orders")]), @"managed for orders: no record");
        assert_snapshot!(check(vec![cname("orders", "lb")]), @"unmarked: CNAME lb.elb.amazonaws.com");
        assert_snapshot!(check(vec![plain("orders", "A", "10.0.0.7")]), @"taken by A 10.0.0.7, which has no marker");
        assert_snapshot!(check(vec![cname("orders", "lb"), marker_of("prod", "orders", arn("orders"))]), @"taken by the environment prod, for the service arn:aws:ecs:eu-west-1:111122223333:service/dev/orders");
        assert_snapshot!(check(vec![cname("orders", "lb"), marker_of("old-dev", "orders", arn("orders"))]), @"managed under a former name for orders: CNAME lb.elb.amazonaws.com");
        assert_snapshot!(check(vec![cname("orders", "lb"), marker_of("dev", "orders", elsewhere)]), @"taken by a service in another account or region: arn:aws:ecs:us-east-1:111122223333:service/dev/orders");
    }

    #[test]
    fn aliases_for_addresses_are_managed_together() {
        let alias = |record_type| Rrset::alias(name("orders"), record_type, "ZLB", &balancer("lb"));
        let marker = |records: &[Rrset]| {
            let marker = identity().marker(&arn("orders"), types_of(records), false);
            marker.rrset(&name("orders"), Nonce::default(), None)
        };
        let both = [alias(RecordType::A), alias(RecordType::Aaaa)];
        assert_snapshot!(
            check([both.as_slice(), &[marker(&both)]].concat()),
            @"managed for orders: A alias to lb.elb.amazonaws.com. and AAAA alias to lb.elb.amazonaws.com."
        );
        // The marker lists the types that the handler wrote.
        assert_snapshot!(check([both.as_slice(), &[marker(&both[..1])]].concat()), @"managed for orders: A alias to lb.elb.amazonaws.com.; of others: AAAA alias to lb.elb.amazonaws.com.");
        assert_snapshot!(
            check(vec![alias(RecordType::A), plain("orders", "TXT", "x"), marker(&both[..1])]),
            @"managed for orders: A alias to lb.elb.amazonaws.com.; of others: TXT x"
        );
    }

    #[test]
    fn records_that_the_handler_cannot_have_written_belong_to_others_in_spite_of_a_marker() {
        assert_snapshot!(check(vec![plain("orders", "A", "10.0.0.7"), marker("orders", "orders")]), @"managed for orders: no record; of others: A 10.0.0.7");
        let data = RecordData::Special("weighted, \"blue\"".into());
        let weighted = Rrset { data, ..cname("orders", "lb") };
        assert_snapshot!(check(vec![weighted, marker("orders", "orders")]), @r#"managed for orders: no record; of others: CNAME (weighted, "blue")"#);
    }

    #[test]
    fn a_name_without_a_valid_marker_at_the_markers_name_is_foreign_and_reported() {
        let with = |records: &[Rrset]| check([&[cname("orders", "lb")], records].concat());
        let at = "_discovery.orders";
        assert_snapshot!(with(&[plain(at, "TXT", "\"hello\"")]), @r#"taken by the record at _discovery.orders.internal, which is no marker of this tool: TXT "hello""#);
        assert_snapshot!(with(&[plain(at, "A", "10.0.0.7")]), @"taken by the record at _discovery.orders.internal, which is no marker of this tool: A 10.0.0.7");
        assert_snapshot!(with(&[plain(at, "TXT", "\"HERITAGE=ecs-discovery\"")]), @r#"taken by the record at _discovery.orders.internal, which is no marker of this tool: TXT "HERITAGE=ecs-discovery""#);
        let text = "\"heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders\"";
        assert_snapshot!(with(&[plain(at, "SPF", text)]), @r#"taken by the record at _discovery.orders.internal, which is no marker of this tool: SPF "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders""#);
        assert_snapshot!(with(&[plain(at, "TXT", "\"heritage=ecs-discovery,version=2,x\"")]), @r#"taken by the record at _discovery.orders.internal, which is a marker of the unsupported version "2": TXT "heritage=ecs-discovery,version=2,x""#);
    }

    #[test]
    fn a_marker_may_have_records_and_values_of_others_beside_it() {
        let touched = |values: &[&str]| {
            let mut marker = marker("orders", "orders");
            let RecordData::Plain { values: all, .. } = &mut marker.data else { unreachable!() };
            all.extend(values.iter().map(|value| value.to_string()));
            marker
        };
        let with = |records: &[Rrset]| check([&[cname("orders", "lb")], records].concat());
        assert_snapshot!(with(&[touched(&["\"hello\""])]), @"managed for orders: CNAME lb.elb.amazonaws.com");
        assert_snapshot!(with(&[plain("_discovery.orders", "A", "10.0.0.7"), touched(&[])]), @"managed for orders: CNAME lb.elb.amazonaws.com");
        let other = marker_of("prod", "orders", arn("orders"));
        let other = other.single_value().expect("one value").0;
        assert_snapshot!(with(&[touched(&[other])]), @r#"taken by the record at _discovery.orders.internal, which has several markers: TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders,records=CNAME", "heritage=ecs-discovery,version=1,environment=prod,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders,records=CNAME""#);
        let newer = other.replace("version=1", "version=2");
        assert_snapshot!(with(&[touched(&[&newer])]), @r#"taken by the record at _discovery.orders.internal, which has several markers: TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders,records=CNAME", "heritage=ecs-discovery,version=2,environment=prod,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders,records=CNAME""#);
    }

    #[test]
    fn a_record_that_external_dns_marks_is_foreign() {
        let heritage = "\"heritage=external-dns,external-dns/owner=k8s\"";
        let with = |marker: &str, others: &[&str]| {
            let others = others.iter().map(|at| cname(at, "lb"));
            check(
                [cname("orders", "lb"), plain(marker, "TXT", heritage)]
                    .into_iter()
                    .chain(others)
                    .collect(),
            )
        };
        let is_foreign =
            |marker: &str, others: &[&str]| with(marker, others).starts_with("taken by");
        assert_snapshot!(with("cname-orders", &[]), @"taken by CNAME lb.elb.amazonaws.com, which external-dns manages according to cname-orders.internal");
        for marker in [
            "a-orders",
            "edns.cname-orders",
            "edns-cname-orders",
            "edns-orders",
            "_edns.orders",
            "cname-orders-edns",
            "cname-ordersedns",
            "orders-edns",
        ] {
            assert!(is_foreign(marker, &[]), "{marker}");
        }
        for (marker, others) in [
            ("cname-web", vec!["web"]),
            ("cname-reorders", vec![]),
            ("cname-orders2", vec!["orders2"]),
            ("orders2", vec![]),
            ("cname-orders-api", vec!["orders-api"]),
            ("cname-my-orders", vec!["my-orders"]),
            ("cname-orders.team", vec![]),
        ] {
            assert!(!is_foreign(marker, &others), "{marker}");
        }
        let hello = plain("cname-orders", "TXT", "\"hello\"");
        assert_snapshot!(check(vec![cname("orders", "lb"), hello]), @"unmarked: CNAME lb.elb.amazonaws.com");
    }

    #[test]
    fn an_unmarked_record_is_not_adopted_if_the_zone_could_not_be_searched_for_markers_of_others() {
        let mut view = ZoneView::default();
        view.add(&name("orders"), vec![cname("orders", "lb")]);
        view.set_failed(ReadError("denied".into()));
        let denied = NameState::ReadFailed(ReadError("denied".into()));
        assert_eq!(view.state(&name("orders"), &identity()), Some(denied));
    }

    #[test]
    fn a_listing_that_started_at_a_name_is_used_for_that_name_only() {
        let mut view = ZoneView::default();
        view.add(&name("orders"), vec![cname("orders", "lb"), plain("web", "A", "10.0.0.7")]);
        assert!(view.was_read(&name("orders")));
        assert_eq!(view.state(&name("web"), &identity()), None);
    }

    #[test]
    fn a_failed_listing_keeps_the_names_that_were_read_before() {
        let mut view = ZoneView::default();
        view.add(&name("orders"), vec![]);
        view.set_failed(ReadError("denied".into()));
        assert_eq!(view.state(&name("orders"), &identity()), Some(NameState::Free));
        let denied = NameState::ReadFailed(ReadError("denied".into()));
        assert_eq!(view.state(&name("web"), &identity()), Some(denied));
        assert_eq!(view.read_errors().count(), 1);
    }

    #[test]
    fn a_missing_record_is_confirmed_by_a_second_read_with_the_same_marker() {
        let suspects = |view: &ZoneView| view.unconfirmed(&identity()).count();
        let (record, other) = (cname("orders", "lb"), cname("web", "lb"));
        let marker = |ttl_seconds| {
            let marker = marker("orders", "orders");
            let values = marker.values().to_vec();
            Rrset { data: RecordData::Plain { ttl_seconds, values }, ..marker }
        };
        let mut view = ZoneView::whole(vec![marker(300), other.clone()]);
        assert_eq!(suspects(&view), 1);
        view.add(&name("orders"), vec![marker(301)]);
        assert_eq!(suspects(&view), 1, "another run wrote the marker");
        view.replace(ZoneView::whole(vec![marker(301), other]));
        assert_eq!(suspects(&view), 0);
        view.add(&name("orders"), vec![marker(302), record]);
        assert_eq!(suspects(&view), 0, "the record is there");
        view.add(&name("orders"), vec![marker(303)]);
        assert_eq!(suspects(&view), 1);
        view.set_failed(ReadError("denied".into()));
        assert_eq!(suspects(&view), 0, "a failed read is not repeated");
        let state = view.state(&name("orders"), &identity());
        assert_eq!(state, Some(NameState::ReadFailed(ReadError("denied".into()))));
    }

    #[test]
    fn every_record_that_a_marker_lists_has_to_be_there() {
        let alias = |record_type| Rrset::alias(name("orders"), record_type, "ZLB", &balancer("lb"));
        let (ipv4, ipv6) = (alias(RecordType::A), alias(RecordType::Aaaa));
        let suspects = |records: &[&Rrset], written: &[&Rrset]| {
            let written: Vec<Rrset> = written.iter().copied().cloned().collect();
            let marker = identity().marker(&arn("orders"), types_of(&written), false);
            let marker = marker.rrset(&name("orders"), Nonce::default(), None);
            let all = records.iter().copied().chain([&marker]).cloned().collect();
            ZoneView::whole(all).unconfirmed(&identity()).count()
        };
        assert_eq!(suspects(&[&ipv4], &[&ipv4]), 0);
        assert_eq!(suspects(&[&ipv4], &[&ipv4, &ipv6]), 1);
        assert_eq!(suspects(&[&cname("orders", "lb")], &[&ipv4]), 1, "the CNAME is older");
    }
}

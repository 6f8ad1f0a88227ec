//! A strict Route 53: hosted zones with the rules that AWS documents, and their XML.
//!
//! Atomic batches, exact deletes, exclusive CNAMEs, limits, order, pages and refusals are Route 53's. This
//! module contains no time and no quotas: those are in [`faults`](crate::faults).

use std::collections::{BTreeMap, BTreeSet};

use roxmltree::{Document, Node};

/// Record sets in one page.
const MAX_PAGE: usize = 300;
/// ResourceRecord elements in one batch. Those of an UPSERT count twice.
const MAX_ELEMENTS: usize = 1_000;
/// Characters in all values of one batch.
const MAX_CHARACTERS: usize = 32_000;
/// Record sets in one zone.
const MAX_RRSETS: usize = 10_000;
/// The end of a refusal of a batch that is too large.
pub(crate) const EXCEEDED: &str = "exceeded.";

/// The author of a record set. Route 53 does not store it, but the invariants need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Author {
    Route53,
    Person,
    /// The handler of an environment.
    Handler(String),
}

/// The change that created a record set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Writer {
    /// Zero for people.
    pub(crate) invocation: u64,
    /// The number of the change in its zone.
    pub(crate) change: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRrset {
    /// In lower case, with the trailing dot and octal escapes.
    pub name: String,
    pub kind: String,
    pub ttl: Option<i64>,
    pub values: Vec<String>,
    /// The zone and the name of an alias target.
    pub alias: Option<(String, String)>,
    /// Whether the alias evaluates the health of its target.
    pub evaluates_health: bool,
    /// Identifies one of several weighted record sets with the same name and type.
    pub set_identifier: Option<String>,
    pub health_check: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Create,
    Delete,
    Upsert,
}

/// The reversed labels, each with its dot, the type, and the set identifier. Route 53 lists record sets in this
/// order.
pub(crate) type Key = (String, String, String);

#[derive(Clone, Debug)]
pub struct HostedZone {
    pub name: String,
    /// The quota of record sets.
    pub max_rrsets: usize,
    rrsets: BTreeMap<Key, (StoredRrset, Author)>,
    /// The writer of each record set.
    writers: BTreeMap<Key, Writer>,
    /// The writer that creates record sets now.
    pub(crate) writer: Writer,
}

/// A name as Route 53 stores it: in lower case, with the trailing dot, and with octal escapes for everything
/// except letters, digits, `-`, `_` and `.`.
pub fn normalize(name: &str) -> String {
    let mut out = String::new();
    let mut bytes = name.trim_end_matches('.').bytes().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                let digits: String = (0..3).filter_map(|_| bytes.next()).map(char::from).collect();
                out.push_str(&format!("\\{digits}"));
            }
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(char::from(byte)),
            b'A'..=b'Z' => out.push(char::from(byte.to_ascii_lowercase())),
            other => out.push_str(&format!("\\{other:03o}")),
        }
    }
    out + "."
}

/// A name as Route 53 sorts it.
fn reversed(name: &str) -> String {
    let mut labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
    labels.reverse();
    labels.join(".") + "."
}

pub(crate) fn key(rrset: &StoredRrset) -> Key {
    (reversed(&rrset.name), rrset.kind.clone(), rrset.set_identifier.clone().unwrap_or_default())
}

impl HostedZone {
    /// A new zone, which contains its SOA and NS.
    pub fn new(name: &str) -> HostedZone {
        let name = normalize(name);
        let mut zone = HostedZone {
            name: name.clone(),
            max_rrsets: MAX_RRSETS,
            rrsets: BTreeMap::new(),
            writers: BTreeMap::new(),
            writer: Writer::default(),
        };
        for (kind, value) in [
            ("NS", "ns-0.awsdns-00.com."),
            ("SOA", "ns-0.awsdns-00.com. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400"),
        ] {
            let rrset = StoredRrset {
                name: name.clone(),
                kind: kind.into(),
                ttl: Some(900),
                values: vec![value.into()],
                ..StoredRrset::default()
            };
            zone.rrsets.insert(key(&rrset), (rrset, Author::Route53));
        }
        zone
    }

    /// All record sets at a name.
    pub fn at(&self, name: &str) -> impl Iterator<Item = &(StoredRrset, Author)> {
        let labels = reversed(&normalize(name));
        self.rrsets
            .range((labels.clone(), String::new(), String::new())..)
            .take_while(move |((at, ..), _)| *at == labels)
            .map(|(_, found)| found)
    }

    /// The writer that created a record set.
    pub(crate) fn writer_of(&self, key: &Key) -> Writer {
        self.writers.get(key).copied().unwrap_or_default()
    }

    /// The number of record sets.
    pub fn len(&self) -> usize {
        self.rrsets.len()
    }

    /// Never true: a zone contains its SOA and NS.
    pub fn is_empty(&self) -> bool {
        self.rrsets.is_empty()
    }

    /// All record sets, in Route 53's order.
    pub fn all(&self) -> impl Iterator<Item = &(StoredRrset, Author)> {
        self.rrsets.values()
    }

    /// Applies all changes in their order, or none of them.
    ///
    /// # Errors
    /// Route 53's message for each change that does not fit the zone.
    pub fn change(
        &mut self,
        changes: &[(Action, StoredRrset)],
        author: &Author,
    ) -> Result<(), Vec<String>> {
        let mut elements = 0;
        let mut characters = 0;
        for (action, rrset) in changes {
            let times = if *action == Action::Upsert { 2 } else { 1 };
            let values = rrset.values.len() + usize::from(rrset.alias.is_some());
            elements += times * values;
            characters +=
                times * rrset.values.iter().map(|value| value.chars().count()).sum::<usize>();
        }
        if elements > MAX_ELEMENTS {
            return Err(vec![format!("Number of records limit of {MAX_ELEMENTS} {EXCEEDED}")]);
        }
        if characters > MAX_CHARACTERS {
            return Err(vec![format!("Number of characters limit of {MAX_CHARACTERS} {EXCEEDED}")]);
        }
        let mut next = self.clone();
        let mut messages = Vec::new();
        let mut seen: BTreeSet<(Action, Key)> = BTreeSet::new();
        for (action, rrset) in changes {
            let rrset = StoredRrset { name: normalize(&rrset.name), ..rrset.clone() };
            if !seen.insert((*action, key(&rrset))) {
                messages.push(format!(
                    "The request contains an invalid set of changes for a resource record set '{} {}'",
                    rrset.kind, rrset.name
                ));
                continue;
            }
            if let Err(message) = next.apply(*action, rrset, author) {
                messages.push(message);
            }
        }
        if !messages.is_empty() {
            return Err(messages);
        }
        if next.len() > self.max_rrsets.max(self.len()) {
            return Err(vec![format!(
                "The hosted zone cannot have more than {} resource record sets",
                self.max_rrsets
            )]);
        }
        *self = next;
        Ok(())
    }

    fn apply(&mut self, action: Action, rrset: StoredRrset, author: &Author) -> Result<(), String> {
        let StoredRrset { name, kind, .. } = &rrset;
        let zone = &self.name;
        let key = key(&rrset);
        let subject = format!("resource record set [name='{name}', type='{kind}']");
        if !(name == zone || name.ends_with(&format!(".{zone}"))) {
            return Err(format!("RRSet with DNS name {name} is not permitted in zone {zone}"));
        }
        match (action, self.rrsets.get(&key)) {
            (Action::Delete, None) => {
                return Err(format!("Tried to delete {subject} but it was not found"));
            }
            (Action::Delete, Some((found, _))) if *found != rrset => {
                return Err(format!(
                    "Tried to delete {subject} but the values provided do not match the current values"
                ));
            }
            (Action::Delete, Some(_)) => {
                if name == zone && (kind == "SOA" || kind == "NS") {
                    return Err(format!("A HostedZone must contain at least one {kind} record"));
                }
                self.rrsets.remove(&key);
                self.writers.remove(&key);
                return Ok(());
            }
            (Action::Create, Some(_)) => {
                return Err(format!("Tried to create {subject} but it already exists"));
            }
            (Action::Create | Action::Upsert, _) => {}
        }
        check_values(&rrset)?;
        if kind == "CNAME" && name == zone {
            return Err(format!(
                "RRSet of type CNAME with DNS name {name} is not permitted at apex in zone {zone}"
            ));
        }
        let others: Vec<&str> = self
            .at(name)
            .map(|(other, _)| other.kind.as_str())
            .filter(|other| other != kind)
            .collect();
        if kind == "CNAME" && !others.is_empty() {
            return Err(format!(
                "RRSet of type CNAME with DNS name {name} is not permitted as it conflicts with other records with the same DNS name in zone {zone}"
            ));
        }
        if others.contains(&"CNAME") {
            return Err(format!(
                "RRSet of type {kind} with DNS name {name} is not permitted because a conflicting RRSet of type CNAME with the same DNS name already exists in zone {zone}"
            ));
        }
        let is_weighted = |rrset: &StoredRrset| rrset.set_identifier.is_some();
        let same_type = self
            .at(name)
            .find(|(other, _)| other.kind == *kind && is_weighted(other) != is_weighted(&rrset));
        if same_type.is_some() {
            return Err(format!(
                "RRSet with DNS name {name}, type {kind} cannot be created as other RRSets exist with the same name and type."
            ));
        }
        self.writers.insert(key.clone(), self.writer);
        self.rrsets.insert(key, (rrset, author.clone()));
        Ok(())
    }

    /// One page, as XML, with at most `max_items` and at most `max_page` record sets, and the record sets in it
    /// with their writers.
    pub(crate) fn list(
        &self,
        (name, kind, set_identifier): (&str, &str, &str),
        max_items: usize,
        max_page: usize,
    ) -> (String, Vec<(Key, Writer)>) {
        let labels = if name.is_empty() { String::new() } else { reversed(&normalize(name)) };
        let from: Key = (labels, kind.to_owned(), set_identifier.to_owned());
        let size = max_items.min(MAX_PAGE).min(max_page).max(1);
        let mut rest = self.rrsets.range(from..);
        let mut body = String::from("<ListResourceRecordSetsResponse><ResourceRecordSets>");
        let mut writers = Vec::new();
        for (key, (rrset, _)) in rest.by_ref().take(size) {
            body.push_str(&rrset.to_xml());
            writers.push((key.clone(), self.writer_of(key)));
        }
        body.push_str("</ResourceRecordSets>");
        match rest.next() {
            Some((_, (next, _))) => {
                body.push_str(&format!(
                    "<IsTruncated>true</IsTruncated><NextRecordName>{}</NextRecordName><NextRecordType>{}</NextRecordType>",
                    next.name, next.kind
                ));
                if let Some(identifier) = &next.set_identifier {
                    body.push_str(&format!(
                        "<NextRecordIdentifier>{identifier}</NextRecordIdentifier>"
                    ));
                }
            }
            None => body.push_str("<IsTruncated>false</IsTruncated>"),
        }
        body.push_str(&format!("<MaxItems>{size}</MaxItems></ListResourceRecordSetsResponse>"));
        (body, writers)
    }
}

fn check_values(rrset: &StoredRrset) -> Result<(), String> {
    if rrset.alias.is_none() && (rrset.values.is_empty() || rrset.ttl.is_none()) {
        return Err("Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and ResourceRecords]], but found none".into());
    }
    if rrset.kind == "CNAME" && rrset.values.len() > 1 {
        return Err(format!("Duplicate Resource Record: '{}'", rrset.values.join(", ")));
    }
    if rrset.kind == "TXT" {
        for value in &rrset.values {
            let strings: Vec<&str> = value.split('"').collect();
            // Quoted strings, separated by white space. Every second part is within quotation marks.
            let quoted = strings.len() >= 3 && strings.len() % 2 == 1;
            let between = strings.iter().step_by(2).all(|part| part.trim().is_empty());
            if !quoted || !between {
                return Err(format!(
                    "Invalid Resource Record: 'FATAL problem: InvalidCharacterString (Value should be enclosed in quotation marks) encountered with '{value}''"
                ));
            }
            if strings.iter().skip(1).step_by(2).any(|part| part.len() > 255) {
                return Err(format!(
                    "Invalid Resource Record: 'FATAL problem: CharacterStringTooLong (Value is too long) encountered with '{value}''"
                ));
            }
        }
    }
    Ok(())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;").replace('\'', "&apos;")
}

impl StoredRrset {
    fn to_xml(&self) -> String {
        let data = match &self.alias {
            Some((zone, target)) => format!(
                "<AliasTarget><HostedZoneId>{zone}</HostedZoneId><DNSName>{target}</DNSName><EvaluateTargetHealth>{}</EvaluateTargetHealth></AliasTarget>",
                self.evaluates_health
            ),
            None => {
                let value = |value: &String| {
                    format!("<ResourceRecord><Value>{}</Value></ResourceRecord>", escape(value))
                };
                let values: String = self.values.iter().map(value).collect();
                format!(
                    "<TTL>{}</TTL><ResourceRecords>{values}</ResourceRecords>",
                    self.ttl.unwrap_or_default()
                )
            }
        };
        let StoredRrset { name, kind, .. } = self;
        let set = self.set_identifier.as_ref().map_or(String::new(), |identifier| {
            format!("<SetIdentifier>{identifier}</SetIdentifier><Weight>1</Weight>")
        });
        let check = self
            .health_check
            .as_ref()
            .map_or(String::new(), |id| format!("<HealthCheckId>{id}</HealthCheckId>"));
        format!(
            "<ResourceRecordSet><Name>{name}</Name><Type>{kind}</Type>{set}{data}{check}</ResourceRecordSet>"
        )
    }

    fn from_xml(node: Node) -> Option<StoredRrset> {
        let text = |node: Node, tag: &str| {
            let child = node.children().find(|child| child.has_tag_name_local(tag))?;
            Some(child.text().unwrap_or_default().to_owned())
        };
        let child = |tag: &str| node.children().find(|child| child.has_tag_name_local(tag));
        let values = child("ResourceRecords").into_iter().flat_map(|records| records.children());
        Some(StoredRrset {
            name: normalize(&text(node, "Name")?),
            kind: text(node, "Type")?,
            ttl: text(node, "TTL").and_then(|ttl| ttl.parse().ok()),
            values: values.filter_map(|record| text(record, "Value")).collect(),
            alias: child("AliasTarget").and_then(|alias| {
                Some((text(alias, "HostedZoneId")?, normalize(&text(alias, "DNSName")?)))
            }),
            evaluates_health: child("AliasTarget")
                .and_then(|alias| text(alias, "EvaluateTargetHealth"))
                .is_some_and(|text| text == "true"),
            set_identifier: text(node, "SetIdentifier"),
            health_check: text(node, "HealthCheckId"),
        })
    }
}

/// Elements by their name without the namespace.
trait LocalName {
    fn has_tag_name_local(&self, name: &str) -> bool;
}

impl LocalName for Node<'_, '_> {
    fn has_tag_name_local(&self, name: &str) -> bool {
        self.is_element() && self.tag_name().name() == name
    }
}

/// The changes of a ChangeResourceRecordSets request. `None` if it is malformed.
pub fn read_changes(body: &str) -> Option<Vec<(Action, StoredRrset)>> {
    let document = Document::parse(body).ok()?;
    let changes = document.descendants().filter(|node| node.has_tag_name_local("Change"));
    changes
        .map(|change| {
            let action = change.children().find(|child| child.has_tag_name_local("Action"))?;
            let action = match action.text()? {
                "CREATE" => Action::Create,
                "DELETE" => Action::Delete,
                "UPSERT" => Action::Upsert,
                _ => return None,
            };
            let rrset =
                change.children().find(|child| child.has_tag_name_local("ResourceRecordSet"))?;
            Some((action, StoredRrset::from_xml(rrset)?))
        })
        .collect()
}

/// The body of a refusal. Route 53 has two forms: one with an error code, and a `bare` one without.
pub fn refusal(messages: &[String], bare: bool) -> String {
    if bare {
        let messages: String = messages
            .iter()
            .map(|message| format!("<Message>{}</Message>", escape(message)))
            .collect();
        return format!(
            "<InvalidChangeBatch><Messages>{messages}</Messages><RequestId>R</RequestId></InvalidChangeBatch>"
        );
    }
    let joined = escape(&format!("[{}]", messages.join(", ")));
    format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidChangeBatch</Code><Message>{joined}</Message></Error><RequestId>R</RequestId></ErrorResponse>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rrset(name: &str, kind: &str, value: &str) -> StoredRrset {
        StoredRrset {
            name: name.into(),
            kind: kind.into(),
            ttl: Some(60),
            values: vec![value.into()],
            ..StoredRrset::default()
        }
    }

    fn check(zone: &mut HostedZone, changes: &[(Action, StoredRrset)]) -> String {
        match zone.change(changes, &Author::Person) {
            Ok(()) => "applied".into(),
            Err(messages) => messages.join("\n"),
        }
    }

    #[test]
    fn a_batch_is_atomic_and_must_fit_the_zone() {
        use Action::{Create, Delete};
        let mut zone = HostedZone::new("internal");
        let record = || rrset("x.internal", "CNAME", "a.example.com");
        assert_eq!(check(&mut zone, &[(Create, record())]), "applied");
        assert_eq!(
            check(&mut zone, &[(Create, rrset("y.internal", "A", "10.0.0.7")), (Create, record())]),
            "Tried to create resource record set [name='x.internal.', type='CNAME'] but it already exists"
        );
        assert_eq!(zone.at("y.internal").count(), 0, "a refused batch changes nothing");
        assert_eq!(
            check(&mut zone, &[(Delete, StoredRrset { ttl: Some(61), ..record() })]),
            "Tried to delete resource record set [name='x.internal.', type='CNAME'] but the values provided do not match the current values"
        );
        assert_eq!(
            check(&mut zone, &[(Delete, rrset("z.internal", "A", "10.0.0.7"))]),
            "Tried to delete resource record set [name='z.internal.', type='A'] but it was not found"
        );
        assert_eq!(
            check(&mut zone, &[(Create, rrset("x.internal", "TXT", "\"x\""))]),
            "RRSet of type TXT with DNS name x.internal. is not permitted because a conflicting RRSet of type CNAME with the same DNS name already exists in zone internal."
        );
        assert_eq!(
            check(&mut zone, &[(Create, rrset("internal", "CNAME", "a.example.com"))]),
            "RRSet of type CNAME with DNS name internal. is not permitted at apex in zone internal."
        );
        let again = [(Delete, record()), (Create, rrset("x.internal", "A", "10.0.0.7"))];
        assert_eq!(
            check(&mut zone, &again),
            "applied",
            "a create may follow the delete that makes room for it"
        );
        assert_eq!(
            check(&mut zone, &[(Create, record())]),
            "RRSet of type CNAME with DNS name x.internal. is not permitted as it conflicts with other records with the same DNS name in zone internal."
        );
        let twice = rrset("w.internal", "A", "10.0.0.7");
        assert_eq!(
            check(&mut zone, &[(Create, twice.clone()), (Create, twice)]),
            "The request contains an invalid set of changes for a resource record set 'A w.internal.'"
        );
        assert!(
            check(&mut zone, &[(Create, rrset("t.internal", "TXT", "x"))])
                .contains("quotation marks")
        );
        assert!(
            check(&mut zone, &[(Create, rrset("t.example", "A", "10.0.0.7"))])
                .contains("not permitted in zone")
        );
    }

    #[test]
    fn a_batch_has_two_limits_and_an_upsert_counts_twice() {
        let many = |action, count: usize, value: &str| {
            let change = |number| (action, rrset(&format!("n{number}.internal"), "TXT", value));
            check(&mut HostedZone::new("internal"), &(0..count).map(change).collect::<Vec<_>>())
        };
        assert_eq!(many(Action::Create, 1_000, "\"x\""), "applied");
        assert_eq!(
            many(Action::Create, 1_001, "\"x\""),
            "Number of records limit of 1000 exceeded."
        );
        assert_eq!(many(Action::Upsert, 501, "\"x\""), "Number of records limit of 1000 exceeded.");
        let long = format!("\"{}\"", "x".repeat(198));
        assert_eq!(many(Action::Create, 160, &long), "applied");
        assert_eq!(
            many(Action::Create, 161, &long),
            "Number of characters limit of 32000 exceeded."
        );
    }

    #[test]
    fn names_are_listed_by_reversed_labels_with_octal_escapes_in_pages() {
        let mut zone = HostedZone::new("internal");
        for name in [
            "orders.internal",
            "_discovery.orders.internal",
            "orders-api.internal",
            "*.internal",
            "A.internal",
        ] {
            check(&mut zone, &[(Action::Create, rrset(name, "TXT", "\"x\""))]);
        }
        let names: Vec<&str> = zone.all().map(|(rrset, _)| rrset.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "internal.",
                "internal.",
                "\\052.internal.",
                "a.internal.",
                "orders-api.internal.",
                "orders.internal.",
                "_discovery.orders.internal."
            ]
        );
        let (page, _) = zone.list(("orders.internal", "", ""), 300, 1);
        assert!(page.contains("<Name>orders.internal.</Name>"), "{page}");
        assert!(
            page.contains(
                "<IsTruncated>true</IsTruncated><NextRecordName>_discovery.orders.internal."
            ),
            "{page}"
        );
    }
}

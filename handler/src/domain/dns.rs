//! Names and records in Route 53's notation, and the rules for registered names.
//!
//! Contains neither services nor ownership.

use std::fmt;
use std::sync::Arc;

/// The label of ownership markers.
const MARKER_LABEL: &str = "_discovery";

/// The limit of a whole domain name in text (RFC 1035, section 2.3.4).
const MAX_NAME_LENGTH: usize = 253;

/// The limit of one label (RFC 1035, section 2.3.4).
const MAX_LABEL_LENGTH: usize = 63;

/// An absolute domain name: lower case, without the trailing dot, special characters as the octal escapes of
/// Route 53's answers (`*` is `\052`). The text is shared, because a plan contains most names more than once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(Arc<str>);

/// Why a text is no valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

/// With these, the names begin that external-dns gives to its marks of address records.
const TYPES: [&str; 3] = ["a-", "aaaa-", "cname-"];

impl DnsName {
    /// Parses any name that Route 53 or Elastic Load Balancing may return: labels of printable ASCII.
    pub fn parse(text: &str) -> Result<DnsName, NameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(NameError("the name is empty".into()));
        }
        if let Some(odd) = name.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(NameError(format!(
                "the name {name:?} contains {odd:?}; expected printable ASCII"
            )));
        }
        if name.split('.').any(str::is_empty) {
            return Err(NameError(format!("the name {name:?} has an empty label")));
        }
        Ok(DnsName(name.to_ascii_lowercase().into()))
    }

    /// Parses the name of a hosted zone. Its labels follow the rules of [`DnsName::in_zone`].
    pub fn zone(text: &str) -> Result<DnsName, NameError> {
        let name = DnsName::parse(text)?;
        check_labels(&name.0)?;
        name.check_length()?;
        Ok(name)
    }

    /// The name of a service: `relative`, one or more labels, below `zone`.
    ///
    /// Letters become lower case and `_` becomes `-`, since ECS allows both in service names and host names
    /// allow neither. Each label has 1 to 63 characters of `a-z 0-9 -` and does not start or end with `-`. The
    /// name of the marker has at most 253 characters.
    pub fn in_zone(relative: &str, zone: &DnsName) -> Result<DnsName, NameError> {
        let relative = relative.to_ascii_lowercase().replace('_', "-");
        check_labels(&relative)?;
        let name = DnsName(format!("{relative}.{}", zone.0).into());
        name.marker().check_length()?;
        Ok(name)
    }

    /// The part of `name` before this zone's name, or all of `name` if it does not end with the zone's name.
    /// People often write the whole name where a relative one is expected.
    pub fn relative<'a>(&self, name: &'a str) -> &'a str {
        let absolute = name.strip_suffix('.').unwrap_or(name);
        let Some(start) = absolute.len().checked_sub(self.0.len()) else { return name };
        match absolute.get(start..) {
            // The zone's own name leaves an empty label, which is invalid.
            Some(end) if end.eq_ignore_ascii_case(&self.0) && start == 0 => "",
            Some(end) if end.eq_ignore_ascii_case(&self.0) => {
                absolute[..start].strip_suffix('.').unwrap_or(name)
            }
            _ => name,
        }
    }

    /// The name of this name's ownership marker.
    pub fn marker(&self) -> DnsName {
        DnsName(format!("{MARKER_LABEL}.{}", self.0).into())
    }

    /// The name that a marker at this name belongs to. `None` if this is no marker name.
    pub fn marked(&self) -> Option<DnsName> {
        let rest = self.0.strip_prefix(MARKER_LABEL)?.strip_prefix('.')?;
        Some(DnsName(rest.into()))
    }

    /// Whether this is `ancestor` itself or a name below it.
    pub fn is_within(&self, ancestor: &DnsName) -> bool {
        self.0.strip_suffix(&*ancestor.0).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The rest of a name that begins with a type of address records, like `cname-orders.dev.internal`.
    pub fn without_type(&self) -> Option<DnsName> {
        let rest = TYPES.iter().find_map(|prefix| self.0.strip_prefix(prefix))?;
        DnsName::parse(rest).ok()
    }

    /// Whether this is `name` with more text before it, or around its first label, separated by `-` or `.`. After a type
    /// of address records, the text behind the label needs no separator.
    pub fn contains_name(&self, name: &DnsName) -> bool {
        let is_separated = |before: &str| before.is_empty() || before.ends_with(['-', '.']);
        let (label, parent) = name.0.split_once('.').unwrap_or((&name.0, ""));
        self.0.strip_suffix(parent).and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| {
            rest.match_indices(label).any(|(start, _)| {
                let after = &rest[start + label.len()..];
                let before = &rest[..start];
                let is_suffix = after.starts_with('-') || TYPES.contains(&before);
                is_separated(before) && (after.is_empty() || is_suffix && !after.contains('.'))
            })
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn check_length(&self) -> Result<(), NameError> {
        if self.0.len() > MAX_NAME_LENGTH {
            return Err(NameError(format!(
                "the name {} has {} characters; DNS allows {MAX_NAME_LENGTH}",
                self.0,
                self.0.len()
            )));
        }
        Ok(())
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_labels(name: &str) -> Result<(), NameError> {
    for label in name.split('.') {
        let fault = if label.is_empty() {
            "has an empty label".to_owned()
        } else if label.len() > MAX_LABEL_LENGTH {
            format!("has a label of {} characters; DNS allows {MAX_LABEL_LENGTH}", label.len())
        } else if let Some(odd) = label.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'))
        {
            format!("contains {odd:?}; a label consists of a-z, 0-9 and -")
        } else if label.starts_with('-') || label.ends_with('-') {
            format!("has the label {label:?}, which starts or ends with -")
        } else {
            continue;
        };
        return Err(NameError(format!("the name {name:?} {fault}")));
    }
    Ok(())
}

/// The time to live of an answer: 1 to 86,400 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(u32);

impl Ttl {
    pub const DEFAULT: Ttl = Ttl(60);

    pub fn from_seconds(seconds: u32) -> Option<Ttl> {
        (1..=86_400).contains(&seconds).then_some(Ttl(seconds))
    }

    pub fn seconds(self) -> i64 {
        i64::from(self.0)
    }
}

/// The record types that the handler writes. All others belong to other owners.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordType {
    A,
    Aaaa,
    Cname,
    Txt,
    Other(String),
}

impl RecordType {
    pub fn parse(text: &str) -> RecordType {
        match text {
            "A" => RecordType::A,
            "AAAA" => RecordType::Aaaa,
            "CNAME" => RecordType::Cname,
            "TXT" => RecordType::Txt,
            other => RecordType::Other(other.to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            RecordType::A => "A",
            RecordType::Aaaa => "AAAA",
            RecordType::Cname => "CNAME",
            RecordType::Txt => "TXT",
            RecordType::Other(other) => other,
        }
    }
}

/// A resource record set: all records of one type at one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rrset {
    pub name: DnsName,
    pub record_type: RecordType,
    pub data: RecordData,
}

/// The data of a resource record set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordData {
    /// Values with a TTL, unchanged from Route 53: a DELETE must repeat both exactly.
    Plain { ttl_seconds: i64, values: Vec<String> },
    /// An alias to a name in another zone. With target-health evaluation, an alias to a load balancer without
    /// healthy targets does not resolve. The handler never writes it, but external-dns, the console and
    /// Terraform's examples do.
    Alias { zone: String, target: String, evaluates_health: bool },
    /// A record with a routing policy or a health check, as text. It cannot be written, so it cannot be
    /// deleted by mistake.
    Special(String),
}

/// The kind of record that a service gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A CNAME to the load balancer's name, with a TTL.
    Cname,
    /// Alias records: A, and AAAA for a dualstack load balancer. They have no TTL.
    Alias,
}

impl RecordKind {
    /// `CNAME` or `ALIAS`.
    pub fn parse(text: &str) -> Option<RecordKind> {
        match text {
            "CNAME" => Some(RecordKind::Cname),
            "ALIAS" => Some(RecordKind::Alias),
            _ => None,
        }
    }
}

impl Rrset {
    pub fn cname(name: DnsName, target: &DnsName, ttl: Ttl) -> Rrset {
        Rrset {
            name,
            record_type: RecordType::Cname,
            data: RecordData::Plain {
                ttl_seconds: ttl.seconds(),
                values: vec![target.to_string()],
            },
        }
    }

    /// An alias record. `zone` is the canonical hosted zone of the target.
    pub fn alias(name: DnsName, record_type: RecordType, zone: &str, target: &DnsName) -> Rrset {
        let data = RecordData::Alias {
            zone: zone.to_owned(),
            target: format!("{target}."),
            evaluates_health: false,
        };
        Rrset { name, record_type, data }
    }

    /// The value and the TTL of a plain record set with exactly one value.
    pub fn single_value(&self) -> Option<(&str, i64)> {
        match &self.data {
            RecordData::Plain { ttl_seconds, values } => match values.as_slice() {
                [value] => Some((value, *ttl_seconds)),
                _ => None,
            },
            RecordData::Alias { .. } | RecordData::Special(_) => None,
        }
    }

    /// The target of an A or AAAA alias. AWS's console adds `dualstack.` to the names of load balancers, which
    /// resolve in the same way without it.
    pub fn alias_target(&self) -> Option<DnsName> {
        match (&self.record_type, &self.data) {
            (RecordType::A | RecordType::Aaaa, RecordData::Alias { target, .. }) => {
                DnsName::parse(target.strip_prefix("dualstack.").unwrap_or(target)).ok()
            }
            _ => None,
        }
    }

    /// The target of a plain CNAME, and its TTL in seconds.
    pub fn cname_target(&self) -> Option<(DnsName, i64)> {
        if self.record_type != RecordType::Cname {
            return None;
        }
        let (value, ttl_seconds) = self.single_value()?;
        Some((DnsName::parse(value).ok()?, ttl_seconds))
    }

    /// The target of a CNAME or an address alias.
    pub fn leads_to(&self) -> Option<DnsName> {
        self.cname_target().map(|(target, _)| target).or_else(|| self.alias_target())
    }

    /// The values that count against the limits of a change batch.
    pub fn values(&self) -> &[String] {
        match &self.data {
            RecordData::Plain { values, .. } => values,
            RecordData::Alias { target, .. } => std::slice::from_ref(target),
            RecordData::Special(_) => &[],
        }
    }
}

/// The name of the load balancer in its DNS name, for example `orders` in
/// `dualstack.internal-orders-1234.eu-west-1.elb.amazonaws.com`. It may lack the upper case of the real one.
pub fn load_balancer_name(target: &DnsName) -> Option<&str> {
    let text = target.as_str();
    let (label, rest) = text.strip_prefix("dualstack.").unwrap_or(text).split_once('.')?;
    let label = label.strip_prefix("internal-").unwrap_or(label);
    let (name, _) = label.rsplit_once('-')?;
    (!name.is_empty() && rest.split('.').any(|one| one == "elb")).then_some(name)
}

/// Text for operators: `A 10.0.0.7` or `A alias to x`.
impl fmt::Display for Rrset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record_type = self.record_type.as_str();
        match &self.data {
            RecordData::Plain { values, .. } => write!(f, "{record_type} {}", values.join(", ")),
            RecordData::Alias { target, evaluates_health, .. } => {
                let health = if *evaluates_health { " with health evaluation" } else { "" };
                write!(f, "{record_type} alias to {target}{health}")
            }
            RecordData::Special(text) => write!(f, "{record_type} ({text})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dns_name_of_a_load_balancer_contains_its_name() {
        let name = |text: &str| {
            let target = DnsName::parse(text).expect("a DNS name");
            load_balancer_name(&target).map(str::to_owned)
        };
        for text in [
            "internal-my-lb-1-1234567890.eu-west-1.elb.amazonaws.com",
            "dualstack.internal-my-lb-1-1234567890.eu-west-1.elb.amazonaws.com",
            "my-lb-1-1234567890.us-east-1.elb.amazonaws.com",
            "my-lb-1-0123456789abcdef.elb.eu-west-1.amazonaws.com.cn",
        ] {
            assert_eq!(name(text).as_deref(), Some("my-lb-1"), "{text}");
        }
        for text in
            ["shop.example.com", "elb.amazonaws.com", "internal-1.elb.eu-west-1.example.com"]
        {
            assert_eq!(name(text), None, "{text}");
        }
    }
    use insta::assert_snapshot;
    use proptest::prelude::*;

    fn check(relative: &str) -> String {
        let zone = DnsName::zone("dev.internal").expect("a valid zone");
        match DnsName::in_zone(relative, &zone) {
            Ok(name) => name.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn a_service_name_becomes_a_host_name() {
        assert_snapshot!(check("orders"), @"orders.dev.internal");
        assert_snapshot!(check("Orders_API"), @"orders-api.dev.internal");
        assert_snapshot!(check("orders.team-a"), @"orders.team-a.dev.internal");
    }

    #[test]
    fn an_invalid_name_is_reported_with_its_fault() {
        assert_snapshot!(check(""), @r#"error: the name "" has an empty label"#);
        assert_snapshot!(check("a..b"), @r#"error: the name "a..b" has an empty label"#);
        assert_snapshot!(check("*"), @r#"error: the name "*" contains '*'; a label consists of a-z, 0-9 and -"#);
        assert_snapshot!(check("_dmarc"), @r#"error: the name "-dmarc" has the label "-dmarc", which starts or ends with -"#);
        assert_snapshot!(check("orders-"), @r#"error: the name "orders-" has the label "orders-", which starts or ends with -"#);
        assert_snapshot!(check("bücher"), @r#"error: the name "bücher" contains 'ü'; a label consists of a-z, 0-9 and -"#);
        assert!(check(&"a".repeat(64)).contains("has a label of 64 characters"));
    }

    #[test]
    fn a_whole_name_is_relative_to_its_zone() {
        let zone = DnsName::zone("dev.internal").expect("a valid zone");
        for (name, relative) in [
            ("shop", "shop"),
            ("shop.eu", "shop.eu"),
            ("shop.dev.internal", "shop"),
            ("Shop.Dev.Internal.", "Shop"),
            ("shop.eu.dev.internal", "shop.eu"),
            ("shop.prod.internal", "shop.prod.internal"),
            ("dev.internal", ""),
            ("übung", "übung"),
        ] {
            assert_eq!(zone.relative(name), relative, "{name}");
        }
        assert_eq!(zone.relative("shopdev.internal"), "shopdev.internal");
    }

    #[test]
    fn a_name_leaves_room_for_its_marker() {
        let label = "a".repeat(63);
        let fits = format!("{label}.{label}.{label}.{}", "b".repeat(37));
        assert_eq!(check(&fits).len() + "_discovery.".len(), MAX_NAME_LENGTH);
        assert!(check(&format!("{fits}b")).starts_with("error: the name _discovery."));
    }

    #[test]
    fn a_name_is_within_itself_and_its_ancestors_only() {
        let name = |text| DnsName::parse(text).expect("a valid name");
        assert!(name("orders.internal").is_within(&name("internal.")));
        assert!(name("internal").is_within(&name("internal")));
        assert!(!name("xinternal").is_within(&name("internal")));
    }

    #[test]
    fn a_marker_name_gives_the_name_it_belongs_to() {
        let name = DnsName::parse("orders.internal").expect("a valid name");
        assert_eq!(name.marker().as_str(), "_discovery.orders.internal");
        assert_eq!(name.marker().marked(), Some(name.clone()));
        assert_eq!(name.marked(), None);
    }

    proptest! {
        #[test]
        fn every_accepted_name_is_a_host_name_below_the_zone(relative in ".{0,80}") {
            let zone = DnsName::zone("dev.internal").expect("a valid zone");
            if let Ok(name) = DnsName::in_zone(&relative, &zone) {
                prop_assert!(name.is_within(&zone) && name != zone);
                prop_assert!(name.marker().as_str().len() <= MAX_NAME_LENGTH);
                prop_assert_eq!(&DnsName::zone(name.as_str()).expect("still valid"), &name);
            }
        }

        #[test]
        fn displaying_and_parsing_a_name_changes_nothing(text in "[!-~]{1,60}") {
            if let Ok(name) = DnsName::parse(&text) {
                let again = DnsName::parse(&format!("{name}.")).expect("still a name");
                prop_assert_eq!(again, name);
            }
        }
    }
}

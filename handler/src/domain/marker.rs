//! The ownership marker: a TXT record that accompanies each managed record and names its owner.
//!
//! `_discovery.<name>  TXT  "heritage=ecs-discovery,version=1,environment=dev,service=arn:…,records=A+AAAA"`
//!
//! `records` lists the types of the records that were written. Records of other types at the name belong to
//! others. `,contested` follows if another service should have the name, too: whichever run ends the owner's
//! claim then looks for that service, and gives it the name in the same change.
//!
//! Any TXT value that is not exactly of this form is foreign. A marker of an unknown version is foreign, too: a
//! reported conflict does less harm than a deleted record. Values of others beside a marker stay whenever the
//! marker is written again or deleted.

use std::collections::BTreeSet;
use std::fmt;

use crate::domain::dns::{DnsName, RecordData, RecordType, Rrset};
use crate::domain::service::ServiceArn;

/// The limit of one TXT string (RFC 1035, section 3.3). A longer text becomes several strings of one value.
const MAX_STRING_LENGTH: usize = 255;

/// The smallest TTL of a marker. No client resolves markers, so the TTL has no other effect.
const MIN_TTL_SECONDS: i64 = 300;

/// A number that differs between invocations. The handler encodes it in the TTL of each marker that it writes. A
/// DELETE has to repeat the TTL, so a DELETE that was planned on an outdated view does not match a newer marker:
/// 1. A person deletes the record of a name. Its marker stays.
/// 2. A first run reads the marker. The service is gone, so the run plans to delete the marker.
/// 3. The service is created again, and a second run writes record and marker.
/// 4. Without a nonce, the DELETE of the first run would match the new marker and leave the record without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nonce(u64);

/// The number of different TTLs.
const NONCE_COUNT: i64 = 86_400;

impl Nonce {
    /// `number` should differ between invocations that run at the same time.
    pub fn new(number: u64) -> Nonce {
        Nonce(number)
    }

    /// Where the search for refused changes begins. It differs between invocations, and between the rounds of each.
    pub fn place(self, round: usize) -> u32 {
        let number = u32::try_from(self.0 & u64::from(u32::MAX)).unwrap_or_default();
        number.wrapping_add(u32::try_from(round * 1_000).unwrap_or_default())
    }

    /// The TTL of a marker that replaces one with the TTL `before`. The two always differ.
    fn ttl_seconds(self, before: Option<i64>) -> i64 {
        let ttl = MIN_TTL_SECONDS + i64::try_from(self.0 % NONCE_COUNT.unsigned_abs()).unwrap_or(0);
        if before == Some(ttl) { ttl + NONCE_COUNT } else { ttl }
    }
}

/// The owner of the record at a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marker {
    pub environment: String,
    pub service: ServiceArn,
    /// `None` in markers that were written before the types were listed.
    pub records: Option<BTreeSet<RecordType>>,
    pub is_contested: bool,
}

/// Why a TXT value is no valid marker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    #[error("no marker of this tool")]
    NotAMarker,
    #[error("a marker of the unsupported version {0:?}")]
    UnknownVersion(String),
}

impl Marker {
    /// Parses a TXT value in Route 53's notation: quoted strings, separated by spaces.
    pub fn parse(value: &str) -> Result<Marker, MarkerError> {
        let text = unquote(value).ok_or(MarkerError::NotAMarker)?;
        let rest =
            text.strip_prefix("heritage=ecs-discovery,version=").ok_or(MarkerError::NotAMarker)?;
        let (version, rest) = rest.split_once(',').unwrap_or((rest, ""));
        if version != "1" {
            return Err(MarkerError::UnknownVersion(version.to_owned()));
        }
        rest.strip_prefix("environment=")
            .and_then(|rest| rest.split_once(",service="))
            .filter(|(environment, _)| is_environment(environment))
            .and_then(|(environment, rest)| {
                let mut parts = rest.split(',').peekable();
                let service = ServiceArn::parse(parts.next()?).ok()?;
                let records = parts.next_if(|part| part.starts_with("records="));
                let records = match records.and_then(|part| part.strip_prefix("records=")) {
                    Some(types) => Some(types.split('+').map(written_type).collect::<Option<_>>()?),
                    None => None,
                };
                let is_contested = parts.next_if_eq(&"contested").is_some();
                let marker =
                    Marker { environment: environment.to_owned(), service, records, is_contested };
                parts.next().is_none().then_some(marker)
            })
            .ok_or(MarkerError::NotAMarker)
    }

    /// The marker of `name`, which replaces the marker `before` and keeps the values of others there.
    pub fn rrset(&self, name: &DnsName, nonce: Nonce, before: Option<&Rrset>) -> Rrset {
        let text = self.to_string();
        let strings: Vec<String> = text
            .as_bytes()
            .chunks(MAX_STRING_LENGTH)
            .map(|chunk| format!("\"{}\"", String::from_utf8_lossy(chunk)))
            .collect();
        let (before, others) = before.map_or((None, Vec::new()), |before| match &before.data {
            RecordData::Plain { ttl_seconds, .. } => (Some(*ttl_seconds), values_of_others(before)),
            RecordData::Alias { .. } | RecordData::Special(_) => (None, Vec::new()),
        });
        Rrset {
            name: name.marker(),
            record_type: RecordType::Txt,
            data: RecordData::Plain {
                ttl_seconds: nonce.ttl_seconds(before),
                values: [vec![strings.join(" ")], others].concat(),
            },
        }
    }

    /// What stays at the marker's name without the marker, if others have values there.
    pub fn remainder(marker: &Rrset) -> Option<Rrset> {
        let RecordData::Plain { ttl_seconds, .. } = marker.data else { return None };
        let values = values_of_others(marker);
        (!values.is_empty())
            .then(|| Rrset { data: RecordData::Plain { ttl_seconds, values }, ..marker.clone() })
    }
}

fn values_of_others(marker: &Rrset) -> Vec<String> {
    marker.values().iter().filter(|value| Marker::parse(value).is_err()).cloned().collect()
}

/// The text of the marker without quotes. It is ASCII and contains neither quotes nor backslashes.
impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Marker { environment, service, records, is_contested } = self;
        write!(f, "heritage=ecs-discovery,version=1,environment={environment},service={service}")?;
        if let Some(records) = records {
            let types: Vec<&str> = records.iter().map(RecordType::as_str).collect();
            write!(f, ",records={}", types.join("+"))?;
        }
        f.write_str(if *is_contested { ",contested" } else { "" })
    }
}

/// A type that the handler writes beside a marker.
fn written_type(text: &str) -> Option<RecordType> {
    match RecordType::parse(text) {
        RecordType::Txt | RecordType::Other(_) => None,
        written => Some(written),
    }
}

/// Whether a text is a valid environment name: 1 to 32 characters of `a-z 0-9 -`, valid in markers, stack
/// names and metric dimensions.
pub fn is_environment(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Joins the quoted strings of one TXT value. A marker contains no escapes, so a value with a backslash is
/// no marker.
pub(super) fn unquote(value: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        let (string, after) = rest.strip_prefix('"')?.split_once('"')?;
        if string.contains('\\') || string.len() > MAX_STRING_LENGTH {
            return None;
        }
        text.push_str(string);
        rest = after.trim_start();
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{arn, name};
    use insta::assert_snapshot;
    use proptest::prelude::*;

    const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:service/dev/orders";

    fn check(value: &str) -> String {
        match Marker::parse(value) {
            Ok(Marker { environment, service, records, is_contested }) => {
                let records = records.map_or("no types".into(), |types| format!("{types:?}"));
                let contested = if is_contested { ", contested" } else { "" };
                format!("{} of {environment}, {records}{contested}", service.service())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_marker_names_environment_and_service() {
        let value = format!("\"heritage=ecs-discovery,version=1,environment=dev,service={ARN}\"");
        assert_snapshot!(check(&value), @"orders of dev, no types");
    }

    #[test]
    fn a_marker_lists_record_types_and_may_be_contested() {
        let check = |more: &str| {
            check(&format!(
                "\"heritage=ecs-discovery,version=1,environment=dev,service={ARN},{more}\""
            ))
        };
        assert_snapshot!(check("records=A+AAAA"), @"orders of dev, {A, Aaaa}");
        assert_snapshot!(check("records=CNAME,contested"), @"orders of dev, {Cname}, contested");
        assert_snapshot!(check("contested"), @"orders of dev, no types, contested");
        for more in
            ["", "records=", "records=TXT", "records=A,", "contested,records=A", "records=A,x"]
        {
            assert_eq!(check(more), "no marker of this tool", "{more}");
        }
    }

    #[test]
    fn an_unknown_version_is_foreign() {
        assert_snapshot!(
            check("\"heritage=ecs-discovery,version=2,environment=dev\""),
            @r#"a marker of the unsupported version "2""#
        );
    }

    #[test]
    fn any_other_value_is_no_marker() {
        for value in [
            "".to_owned(),
            "\"v=spf1 -all\"".to_owned(),
            "\"heritage=external-dns,external-dns/identity=x\"".to_owned(),
            format!("heritage=ecs-discovery,version=1,environment=dev,service={ARN}"),
            format!("\"heritage=ecs-discovery,version=1,environment=DEV,service={ARN}\""),
            format!("\"heritage=ecs-discovery,version=1,service={ARN},environment=dev\""),
            format!("\"heritage=ecs-discovery,version=1,environment=dev,service={ARN},x=y\""),
            format!("\"heritage=ecs-discovery,version=1,environment=dev,service={ARN}"),
            "\"heritage=ecs-discovery,version=1\\044environment=dev\"".to_owned(),
            format!("\"heritage=ecs-discovery,version={}\"", "1".repeat(255)),
        ] {
            assert_eq!(check(&value), "no marker of this tool", "{value}");
        }
    }

    #[test]
    fn a_long_marker_is_split_into_strings_that_txt_allows() {
        let service = arn(&format!("{}/{}", "c".repeat(255), "s".repeat(255)));
        let marker =
            Marker { environment: "dev".into(), service, records: None, is_contested: true };
        let rrset = marker.rrset(&name("orders"), Nonce::default(), None);
        let (value, _) = rrset.single_value().expect("one value");
        assert_eq!(value.matches("\" \"").count(), 2);
        assert_eq!(Marker::parse(value), Ok(marker));
    }

    #[test]
    fn markers_with_the_same_text_differ_in_their_ttl() {
        let service = arn("orders");
        let marker =
            Marker { environment: "dev".into(), service, records: None, is_contested: false };
        let name = name("orders");
        let first = marker.rrset(&name, Nonce::new(7), None);
        let other = marker.rrset(&name, Nonce::new(8), None);
        let same = marker.rrset(&name, Nonce::new(7), Some(&first));
        let again = marker.rrset(&name, Nonce::new(7), Some(&same));
        assert_ne!(first, other, "another invocation");
        assert_ne!(first, same, "a replacement");
        assert_ne!(same, again, "a replacement");
        for rrset in [first, other, same, again] {
            assert_eq!(
                Marker::parse(rrset.single_value().expect("one value").0),
                Ok(marker.clone())
            );
        }
    }

    #[test]
    fn route_53_accepts_the_ttl_of_every_marker() {
        let marker = Marker {
            environment: "dev".into(),
            service: arn("orders"),
            records: None,
            is_contested: false,
        };
        for nonce in [0, 86_399] {
            let mut before = None;
            for _ in 0..3 {
                let rrset = marker.rrset(&name("orders"), Nonce::new(nonce), before.as_ref());
                let (_, ttl_seconds) = rrset.single_value().expect("one value");
                assert!((0..=i64::from(i32::MAX)).contains(&ttl_seconds), "{ttl_seconds}");
                before = Some(rrset);
            }
        }
    }

    proptest! {
        #[test]
        fn writing_and_parsing_a_marker_changes_nothing(
            environment in "[a-z0-9-]{1,32}",
            cluster in "[A-Za-z0-9_-]{1,255}",
            service in "[A-Za-z0-9_-]{1,255}",
            aliases: bool,
            is_contested: bool,
        ) {
            let service = arn(&format!("{cluster}/{service}"));
            let records = Some(match aliases {
                true => BTreeSet::from([RecordType::A, RecordType::Aaaa]),
                false => BTreeSet::from([RecordType::Cname]),
            });
            let marker = Marker { environment, service, records, is_contested };
            let rrset = marker.rrset(&name("orders"), Nonce::default(), None);
            let (value, _) = rrset.single_value().expect("one value");
            prop_assert_eq!(Marker::parse(value), Ok(marker));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Marker::parse(&text);
            let _ = Marker::parse(&format!("\"heritage=ecs-discovery,version=1,{text}\""));
        }
    }
}

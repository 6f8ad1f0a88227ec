//! The ownership marker: a TXT record beside each managed record, which says whose it is.
//!
//! `_discovery.<name>  TXT  "heritage=ecs-discovery,version=1,environment=dev,service=arn:…"`
//!
//! Decides whether a TXT value is such a marker. What is not one word for word is foreign, an
//! unknown version included: better a conflict that a person sees than a record lost.

use std::fmt;

use crate::domain::dns::{DnsName, RecordData, RecordType, Rrset};
use crate::domain::service::ServiceArn;

/// A TXT string holds at most 255 characters (RFC 1035, section 3.3); longer text goes into
/// several strings of one value.
const MAX_STRING: usize = 255;

/// The least TTL of a marker. Nobody resolves one, so it matters to nobody else.
const TTL_SECONDS: i64 = 300;

/// What tells the markers that one invocation writes from those of others, though they say the
/// same: they get TTLs of their own. A DELETE has to tell the TTL, too, so one that was planned on
/// an outdated view does not fit a marker that was written since:
/// 1. a name's record is deleted by a person, and its marker stays;
/// 2. one run sees the marker alone, its service gone, and is about to delete it;
/// 3. another writes the pair anew for the same service, which was created again;
/// 4. the first one's DELETE would fit, and leave the record alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nonce(u64);

/// How many different TTLs stamps give.
const STAMPS: i64 = 86_400;

impl Nonce {
    /// Any number that other invocations do not have.
    pub fn new(number: u64) -> Nonce {
        Nonce(number)
    }

    /// Never the TTL of the marker that stands there.
    fn ttl_seconds(self, before: Option<i64>) -> i64 {
        let ttl = TTL_SECONDS + i64::try_from(self.0 % STAMPS.unsigned_abs()).unwrap_or(0);
        if before == Some(ttl) { ttl + STAMPS } else { ttl }
    }
}

/// Whose the record at a name is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Marker {
    pub environment: String,
    pub service: ServiceArn,
}

/// Why a TXT value is not a marker of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    #[error("it is not a marker of this tool")]
    NotAMarker,
    #[error("it is a marker of version {0:?}, and this handler knows version 1")]
    UnknownVersion(String),
}

impl Marker {
    /// Reads the value of a TXT record as Route 53 writes it: quoted strings with spaces between.
    ///
    /// # Errors
    /// If it is not a marker word for word.
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
            .and_then(|(environment, service)| {
                let service = ServiceArn::parse(service).ok()?;
                Some(Marker { environment: environment.to_owned(), service })
            })
            .ok_or(MarkerError::NotAMarker)
    }

    /// The record set that says that `name` is managed, in place of `before`.
    pub fn rrset(&self, name: &DnsName, nonce: Nonce, before: Option<&Rrset>) -> Rrset {
        let before = before.and_then(Rrset::single_value).map(|(_, ttl_seconds)| ttl_seconds);
        let text = self.to_string();
        let strings: Vec<String> = text
            .as_bytes()
            .chunks(MAX_STRING)
            .map(|chunk| format!("\"{}\"", String::from_utf8_lossy(chunk)))
            .collect();
        Rrset {
            name: name.marker(),
            record_type: RecordType::Txt,
            data: RecordData::Plain {
                ttl_seconds: nonce.ttl_seconds(before),
                values: vec![strings.join(" ")],
            },
        }
    }
}

/// The text of the marker, not yet quoted. All of it is ASCII without quotes and backslashes.
impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Marker { environment, service } = self;
        write!(f, "heritage=ecs-discovery,version=1,environment={environment},service={service}")
    }
}

/// Whether a text may name an environment: 1 to 32 of `a-z 0-9 -`, so that it can stand in
/// markers, stack names and metric dimensions alike.
pub fn is_environment(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Joins the quoted strings of one TXT value. A marker has nothing to escape, so a backslash
/// means that this is not one.
fn unquote(value: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = value.trim();
    while !rest.is_empty() {
        let (string, after) = rest.strip_prefix('"')?.split_once('"')?;
        if string.contains('\\') || string.len() > MAX_STRING {
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
    use insta::assert_snapshot;
    use proptest::prelude::*;

    const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:service/dev/orders";

    fn check(value: &str) -> String {
        match Marker::parse(value) {
            Ok(marker) => format!("{} of {}", marker.service, marker.environment),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_marker_says_whose_a_record_is() {
        let value = format!("\"heritage=ecs-discovery,version=1,environment=dev,service={ARN}\"");
        assert_snapshot!(check(&value), @"arn:aws:ecs:eu-west-1:111122223333:service/dev/orders of dev");
    }

    #[test]
    fn an_unknown_version_is_foreign() {
        assert_snapshot!(
            check("\"heritage=ecs-discovery,version=2,environment=dev\""),
            @r#"it is a marker of version "2", and this handler knows version 1"#
        );
    }

    #[test]
    fn what_is_not_a_marker_word_for_word_is_foreign() {
        for value in [
            "".to_owned(),
            "\"v=spf1 -all\"".to_owned(),
            "\"heritage=external-dns,external-dns/identity=x\"".to_owned(),
            format!("heritage=ecs-discovery,version=1,environment=dev,service={ARN}"),
            format!("\"heritage=ecs-discovery,version=1,environment=DEV,service={ARN}\""),
            format!("\"heritage=ecs-discovery,version=1,service={ARN},environment=dev\""),
            format!("\"heritage=ecs-discovery,version=1,environment=dev,service={ARN},x=y\""),
            format!("\"heritage=ecs-discovery,version=1,environment=dev,service={ARN}"),
        ] {
            assert_eq!(check(&value), "it is not a marker of this tool", "{value}");
        }
    }

    #[test]
    fn a_long_marker_is_split_into_strings_that_txt_allows() {
        let service = format!(
            "arn:aws:ecs:eu-west-1:111122223333:service/{}/{}",
            "c".repeat(255),
            "s".repeat(255)
        );
        let marker = Marker {
            environment: "dev".into(),
            service: ServiceArn::parse(&service).expect("a valid ARN"),
        };
        let name = DnsName::parse("orders.internal").expect("a valid name");
        let rrset = marker.rrset(&name, Nonce::default(), None);
        let (value, _) = rrset.single_value().expect("one value");
        assert_eq!(value.matches("\" \"").count(), 2);
        assert_eq!(Marker::parse(value), Ok(marker));
    }

    #[test]
    fn a_marker_differs_from_every_other_though_it_says_the_same() {
        let marker = Marker {
            environment: "dev".into(),
            service: ServiceArn::parse(ARN).expect("a valid ARN"),
        };
        let name = DnsName::parse("orders.internal").expect("a valid name");
        let first = marker.rrset(&name, Nonce::new(7), None);
        let other = marker.rrset(&name, Nonce::new(8), None);
        let same = marker.rrset(&name, Nonce::new(7), Some(&first));
        let again = marker.rrset(&name, Nonce::new(7), Some(&same));
        assert_ne!(first, other, "of another invocation");
        assert_ne!(first, same, "in its place");
        assert_ne!(same, again, "in its place");
        for rrset in [first, other, same, again] {
            assert_eq!(
                Marker::parse(rrset.single_value().expect("one value").0),
                Ok(marker.clone())
            );
        }
    }

    proptest! {
        #[test]
        fn parsing_what_was_written_gives_the_same_marker(
            environment in "[a-z0-9-]{1,32}",
            cluster in "[A-Za-z0-9_-]{1,255}",
            service in "[A-Za-z0-9_-]{1,255}",
        ) {
            let arn = format!("arn:aws:ecs:eu-west-1:111122223333:service/{cluster}/{service}");
            let marker = Marker { environment, service: ServiceArn::parse(&arn).expect("valid") };
            let name = DnsName::parse("orders.internal").expect("a valid name");
            let rrset = marker.rrset(&name, Nonce::default(), None);
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

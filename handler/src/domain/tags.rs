//! The tags of a service.
//!
//! An unknown `discovery:` tag and an invalid value are errors, so that a typo such as `discovery:nmae` is
//! reported instead of ignored.

use std::collections::BTreeMap;

use crate::domain::dns::{RecordKind, Ttl};

/// The prefix of all tags that this project reads.
pub const TAG_PREFIX: &str = "discovery:";

/// The settings of one service. `None` where the environment's configuration applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// `discovery:enabled`: `false` excludes the service. `true` includes it in an environment that registers only
    /// services with this tag.
    pub enabled: Option<bool>,
    /// `discovery:name`: one or more labels, relative to the zone.
    pub name: Option<String>,
    /// `discovery:ttl`: seconds.
    pub ttl: Option<Ttl>,
    /// `discovery:record`: `CNAME` or `ALIAS`.
    pub record: Option<RecordKind>,
    /// `discovery:load-balancer`: the name of the load balancer to use.
    pub load_balancer: Option<String>,
}

/// An invalid tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    #[error(
        "the tag {key} is unknown; expected discovery:enabled, discovery:name, discovery:ttl, \
         discovery:record or discovery:load-balancer"
    )]
    UnknownKey { key: String },
    #[error("the tag {key} is {value:?}; expected {expected}")]
    InvalidValue { key: String, value: String, expected: &'static str },
}

impl Tags {
    /// Reads the tags whose keys start with [`TAG_PREFIX`]. Reports the first invalid one, by key.
    pub fn parse(tags: &BTreeMap<String, String>) -> Result<Tags, TagError> {
        let mut parsed = Tags::default();
        for (key, value) in tags {
            let invalid = |expected| TagError::InvalidValue {
                key: key.clone(),
                value: value.clone(),
                expected,
            };
            match key.strip_prefix(TAG_PREFIX) {
                Some("enabled") => {
                    parsed.enabled = match value.as_str() {
                        "true" => Some(true),
                        "false" => Some(false),
                        _ => return Err(invalid("true or false")),
                    }
                }
                Some("name") if value.is_empty() => {
                    return Err(invalid("one or more labels, relative to the zone"));
                }
                Some("name") => parsed.name = Some(value.clone()),
                Some("ttl") => {
                    let ttl = value.parse().ok().and_then(Ttl::from_seconds);
                    parsed.ttl = Some(ttl.ok_or_else(|| invalid("1 to 86400 seconds"))?);
                }
                Some("record") => {
                    let kind = RecordKind::parse(value);
                    parsed.record = Some(kind.ok_or_else(|| invalid("CNAME or ALIAS"))?);
                }
                Some("load-balancer") if value.is_empty() => {
                    return Err(invalid("the name of a load balancer of the service"));
                }
                Some("load-balancer") => parsed.load_balancer = Some(value.clone()),
                Some(_) => return Err(TagError::UnknownKey { key: key.clone() }),
                None => {}
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use proptest::prelude::*;

    fn check(tags: &[(&str, &str)]) -> String {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        match Tags::parse(&tags.collect()) {
            Ok(tags) => format!("{tags:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn all_five_tags_are_read() {
        assert_snapshot!(
            check(&[
                ("discovery:enabled", "true"),
                ("discovery:name", "api.shop"),
                ("discovery:ttl", "5"),
                ("discovery:record", "ALIAS"),
                ("discovery:load-balancer", "inside"),
                ("team", "shop"),
            ]),
            @r#"Tags { enabled: Some(true), name: Some("api.shop"), ttl: Some(Ttl(5)), record: Some(Alias), load_balancer: Some("inside") }"#
        );
    }

    #[test]
    fn an_invalid_tag_is_reported_with_its_value_and_the_expected_one() {
        assert_snapshot!(check(&[("discovery:enabled", "no")]), @r#"the tag discovery:enabled is "no"; expected true or false"#);
        assert_snapshot!(check(&[("discovery:ttl", "0")]), @r#"the tag discovery:ttl is "0"; expected 1 to 86400 seconds"#);
        assert_snapshot!(check(&[("discovery:ttl", "1h")]), @r#"the tag discovery:ttl is "1h"; expected 1 to 86400 seconds"#);
        assert_snapshot!(check(&[("discovery:record", "A")]), @r#"the tag discovery:record is "A"; expected CNAME or ALIAS"#);
        assert_snapshot!(check(&[("discovery:name", "")]), @r#"the tag discovery:name is ""; expected one or more labels, relative to the zone"#);
        assert_snapshot!(check(&[("discovery:load-balancer", "")]), @r#"the tag discovery:load-balancer is ""; expected the name of a load balancer of the service"#);
        assert_snapshot!(check(&[("discovery:nmae", "x")]), @"the tag discovery:nmae is unknown; expected discovery:enabled, discovery:name, discovery:ttl, discovery:record or discovery:load-balancer");
    }

    proptest! {
        #[test]
        fn no_tag_makes_the_parser_panic(key in ".{0,20}", value in ".{0,20}") {
            let _ = check(&[(&format!("discovery:{key}"), &value), ("discovery:ttl", &value)]);
        }
    }
}

//! What the tags of a service ask for.
//!
//! A tag with the prefix that is not known, or whose value is not allowed, is an error that
//! names it: whoever mistypes `discovery:nmae` should not wonder why nothing happens.

use std::collections::BTreeMap;

use crate::domain::dns::{RecordKind, Ttl};

/// The tags of services that are meant for this handler.
pub const TAG_PREFIX: &str = "discovery:";

/// The wishes of one service; none where the environment's configuration decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// `discovery:enabled`: `false` keeps the service out.
    pub opted_out: bool,
    /// `discovery:name`: one or more labels, relative to the zone.
    pub name: Option<String>,
    /// `discovery:ttl`: seconds.
    pub ttl: Option<Ttl>,
    /// `discovery:record`: `CNAME` or `ALIAS`.
    pub record: Option<RecordKind>,
    /// `discovery:load-balancer`: the name of the one to use.
    pub load_balancer: Option<String>,
}

/// A tag that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tag {key} is {value:?}, and {allowed}")]
pub struct TagError {
    pub key: String,
    pub value: String,
    pub allowed: &'static str,
}

impl Tags {
    /// Reads the tags whose keys begin with [`TAG_PREFIX`].
    ///
    /// # Errors
    /// On the first, by key, that is not known or has a value that is not allowed.
    pub fn parse(tags: &BTreeMap<String, String>) -> Result<Tags, TagError> {
        let mut wishes = Tags::default();
        for (key, value) in tags {
            let error = |allowed| TagError { key: key.clone(), value: value.clone(), allowed };
            match key.strip_prefix(TAG_PREFIX) {
                Some("enabled") => {
                    wishes.opted_out = match value.as_str() {
                        "true" => false,
                        "false" => true,
                        _ => return Err(error("it may be true or false")),
                    }
                }
                Some("name") if value.is_empty() => {
                    return Err(error("it may be one or more labels, relative to the zone"));
                }
                Some("name") => wishes.name = Some(value.clone()),
                Some("ttl") => {
                    let ttl = value.parse().ok().and_then(Ttl::from_seconds);
                    wishes.ttl = Some(ttl.ok_or_else(|| error("it may be 1 to 86400 seconds"))?);
                }
                Some("record") => {
                    let kind = RecordKind::parse(value);
                    wishes.record = Some(kind.ok_or_else(|| error("it may be CNAME or ALIAS"))?);
                }
                Some("load-balancer") if value.is_empty() => {
                    return Err(error("it may be the name of one of the service's load balancers"));
                }
                Some("load-balancer") => wishes.load_balancer = Some(value.clone()),
                Some(_) => {
                    return Err(error(
                        "known are discovery:enabled, discovery:name, discovery:ttl, \
                         discovery:record and discovery:load-balancer",
                    ));
                }
                None => {}
            }
        }
        Ok(wishes)
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
            @r#"Tags { opted_out: false, name: Some("api.shop"), ttl: Some(Ttl(5)), record: Some(Alias), load_balancer: Some("inside") }"#
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_value_and_what_is_allowed() {
        assert_snapshot!(check(&[("discovery:enabled", "no")]), @r#"the tag discovery:enabled is "no", and it may be true or false"#);
        assert_snapshot!(check(&[("discovery:ttl", "0")]), @r#"the tag discovery:ttl is "0", and it may be 1 to 86400 seconds"#);
        assert_snapshot!(check(&[("discovery:ttl", "1h")]), @r#"the tag discovery:ttl is "1h", and it may be 1 to 86400 seconds"#);
        assert_snapshot!(check(&[("discovery:record", "A")]), @r#"the tag discovery:record is "A", and it may be CNAME or ALIAS"#);
        assert_snapshot!(check(&[("discovery:name", "")]), @r#"the tag discovery:name is "", and it may be one or more labels, relative to the zone"#);
        assert_snapshot!(check(&[("discovery:nmae", "x")]), @r#"the tag discovery:nmae is "x", and known are discovery:enabled, discovery:name, discovery:ttl, discovery:record and discovery:load-balancer"#);
    }

    proptest! {
        #[test]
        fn no_tag_makes_the_parser_panic(key in ".{0,20}", value in ".{0,20}") {
            let _ = check(&[(&format!("discovery:{key}"), &value), ("discovery:ttl", &value)]);
        }
    }
}

//! The configuration: what the CDK app wrote into `DISCOVERY_CONFIG`, checked once, at init.
//!
//! A mistake stops the handler before it touches anything, and says which key, what was found
//! and what was expected.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use wildmatch::WildMatch;

use crate::domain::dns::{DnsName, NameError, RecordKind, Ttl};
use crate::domain::marker::is_environment;
use crate::domain::service::{HostedZoneId, ServiceArn, VpcId};

/// The environment variable that holds the configuration, as JSON.
pub const VARIABLE: &str = "DISCOVERY_CONFIG";

/// One environment: its zones, which services belong to it, and how they are registered.
#[derive(Clone, Debug)]
pub struct Config {
    pub environment: String,
    /// What the environment was called before: records under these names are its own.
    pub former_names: BTreeSet<String>,
    zones: BTreeMap<VpcId, Zone>,
    clusters: Vec<WildMatch>,
    name_template: NameTemplate,
    pub record: RecordKind,
    pub ttl: Ttl,
    pub delete_limit: DeleteLimit,
}

/// The private hosted zone of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub id: HostedZoneId,
    pub name: DnsName,
}

/// How many names a full pass may delete: up to `free`, or up to `percent` of those it manages,
/// whichever is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DeleteLimit {
    pub free: usize,
    pub percent: usize,
}

/// A mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE}: {key}: found {found}, expected {expected}")]
pub struct ConfigError {
    /// The path of the key, like `zones[0].name`.
    pub key: String,
    pub found: String,
    pub expected: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawConfig {
    environment: String,
    #[serde(default)]
    former_names: Vec<String>,
    zones: Vec<RawZone>,
    #[serde(default = "all_clusters")]
    clusters: Vec<String>,
    #[serde(default = "service_template")]
    name_template: String,
    #[serde(default = "cname")]
    record: String,
    #[serde(default = "default_ttl")]
    ttl_seconds: u32,
    #[serde(default = "default_limit")]
    delete_limit: DeleteLimit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawZone {
    vpc_id: String,
    hosted_zone_id: String,
    name: String,
}

fn all_clusters() -> Vec<String> {
    vec!["*".into()]
}

fn service_template() -> String {
    "{service}".into()
}

fn cname() -> String {
    "CNAME".into()
}

fn default_ttl() -> u32 {
    60
}

fn default_limit() -> DeleteLimit {
    DeleteLimit { free: 3, percent: 30 }
}

impl Config {
    /// Reads the value of [`VARIABLE`]; none if it is not set.
    ///
    /// # Errors
    /// On the first mistake, with its key.
    pub fn parse(json: Option<&str>) -> Result<Config, ConfigError> {
        let mistake = |key: &str, found: String, expected: &str| ConfigError {
            key: key.to_owned(),
            found,
            expected: expected.to_owned(),
        };
        let json = json.ok_or_else(|| {
            mistake("(the variable)", "nothing".into(), "the JSON that the CDK app writes")
        })?;
        let raw: RawConfig =
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json))
                .map_err(|error| shape_mistake(&error))?;

        if !is_environment(&raw.environment) {
            return Err(mistake(
                "environment",
                format!("{:?}", raw.environment),
                "1 to 32 of a-z, 0-9 and -",
            ));
        }
        for (index, name) in raw.former_names.iter().enumerate() {
            if !is_environment(name) || *name == raw.environment {
                let expected = "another name, 1 to 32 of a-z, 0-9 and -";
                let key = format!("formerNames[{index}]");
                return Err(mistake(&key, format!("{name:?}"), expected));
            }
        }
        if raw.zones.is_empty() {
            return Err(mistake("zones", "an empty list".into(), "at least one zone"));
        }
        let mut zones = BTreeMap::new();
        for (index, zone) in raw.zones.into_iter().enumerate() {
            let key = |name: &str| format!("zones[{index}].{name}");
            if !is_id(&zone.vpc_id, "vpc-") {
                let found = format!("{:?}", zone.vpc_id);
                return Err(mistake(&key("vpcId"), found, "a VPC's id, like vpc-0a1b2c3d"));
            }
            if !is_id(&zone.hosted_zone_id, "Z") {
                let found = format!("{:?}", zone.hosted_zone_id);
                let expected = "a hosted zone's id, like Z0123456789ABC, without /hostedzone/";
                return Err(mistake(&key("hostedZoneId"), found, expected));
            }
            let name = DnsName::zone(&zone.name).map_err(|error| {
                mistake(
                    &key("name"),
                    format!("{:?} ({error})", zone.name),
                    "a zone's name, like dev.internal",
                )
            })?;
            let vpc = VpcId::new(zone.vpc_id);
            let id = HostedZoneId::new(zone.hosted_zone_id);
            if let Some(other) =
                zones.values().find(|zone: &&Zone| zone.id == id && zone.name != name)
            {
                let found = format!(
                    "{:?}, and {:?} for the same hosted zone",
                    zone.name,
                    other.name.as_str()
                );
                return Err(mistake(&key("name"), found, "one name for one hosted zone"));
            }
            if zones.insert(vpc.clone(), Zone { id, name }).is_some() {
                let found = format!("a second zone for {vpc}");
                return Err(mistake(&key("vpcId"), found, "one zone for each VPC"));
            }
        }
        for (index, glob) in raw.clusters.iter().enumerate() {
            if glob.is_empty()
                || glob.bytes().any(|b| !(b.is_ascii_alphanumeric() || b"_-*?".contains(&b)))
            {
                return Err(mistake(
                    &format!("clusters[{index}]"),
                    format!("{glob:?}"),
                    "a cluster's name, in which * stands for any characters and ? for one",
                ));
            }
        }
        let name_template = NameTemplate::parse(&raw.name_template)
            .map_err(|found| mistake("nameTemplate", found, "labels made of a-z, 0-9, - and {service}, {cluster}, with {service} in one of them"))?;
        let record = RecordKind::parse(&raw.record)
            .ok_or_else(|| mistake("record", format!("{:?}", raw.record), "CNAME or ALIAS"))?;
        let ttl = Ttl::from_seconds(raw.ttl_seconds).ok_or_else(|| {
            mistake("ttlSeconds", raw.ttl_seconds.to_string(), "1 to 86400 seconds")
        })?;
        if raw.delete_limit.percent > 100 {
            let found = raw.delete_limit.percent.to_string();
            return Err(mistake("deleteLimit.percent", found, "0 to 100 percent"));
        }
        Ok(Config {
            environment: raw.environment,
            former_names: raw.former_names.into_iter().collect(),
            zones,
            clusters: raw.clusters.iter().map(|glob| WildMatch::new(glob)).collect(),
            name_template,
            record,
            ttl,
            delete_limit: raw.delete_limit,
        })
    }

    /// The zone of a VPC, if it belongs to this environment.
    pub fn zone(&self, vpc: &VpcId) -> Option<&Zone> {
        self.zones.get(vpc)
    }

    /// All zones, each once, though several VPCs may share one.
    pub fn zones(&self) -> BTreeMap<HostedZoneId, DnsName> {
        self.zones.values().map(|zone| (zone.id.clone(), zone.name.clone())).collect()
    }

    /// Whether the services of a cluster belong to this environment.
    pub fn has_cluster(&self, cluster: &str) -> bool {
        self.clusters.iter().any(|glob| glob.matches(cluster))
    }

    /// The name that a service gets in `zone`: `tagged`, or what the template gives.
    ///
    /// # Errors
    /// If that is not a host name.
    pub fn name(
        &self,
        service: &ServiceArn,
        tagged: Option<&str>,
        zone: &DnsName,
    ) -> Result<DnsName, NameError> {
        match tagged {
            Some(name) => DnsName::in_zone(name, zone),
            None => DnsName::in_zone(&self.name_template.fill(service), zone),
        }
    }
}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        (1..=32).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

/// Serde says what it found and expected in one sentence; the path is what it leaves out.
fn shape_mistake(error: &serde_path_to_error::Error<serde_json::Error>) -> ConfigError {
    let path = error.path().to_string();
    let message = error.inner().to_string();
    // In one long line a column helps nobody.
    let message = message.split_once(" at line ").map_or(message.as_str(), |(text, _)| text);
    let (found, expected) = match message.split_once(", expected ") {
        Some((found, expected)) => {
            let expected =
                expected.replace("u32", "a whole number").replace("usize", "a whole number");
            (found.to_owned(), expected)
        }
        None => (message.to_owned(), "every required key, well-formed, once".to_owned()),
    };
    // The path of a key that is an empty text is empty, too.
    let key = if path == "." || path.is_empty() { "(top level)".into() } else { path };
    ConfigError { key, found, expected }
}

/// `{service}`, `{service}.{cluster}`, `{cluster}-{service}.apps`…
#[derive(Clone, Debug)]
struct NameTemplate(String);

impl NameTemplate {
    fn parse(text: &str) -> Result<NameTemplate, String> {
        // Without the service in it, all services would fight for one name.
        if !text.contains("{service}") {
            return Err(format!("{text:?}, which lacks {{service}}"));
        }
        let sample = text.replace("{service}", "s").replace("{cluster}", "c");
        match DnsName::zone(&sample) {
            Ok(_) => Ok(NameTemplate(text.to_owned())),
            Err(error) => {
                Err(format!("{text:?} (for a service \"s\" in a cluster \"c\", {error})"))
            }
        }
    }

    fn fill(&self, service: &ServiceArn) -> String {
        // Neither name can hold a brace, so the order of the two does not matter.
        self.0.replace("{service}", service.service()).replace("{cluster}", service.cluster())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn valid() -> Value {
        json!({
            "environment": "dev",
            "zones": [{ "vpcId": "vpc-0a1b", "hostedZoneId": "Z0123", "name": "dev.internal" }],
        })
    }

    /// Changes one key of a valid configuration, and shows what the parser says.
    fn check(key: &str, value: Value) -> String {
        let mut config = valid();
        config[key] = value;
        match Config::parse(Some(&config.to_string())) {
            Ok(_) => "ok".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn environment_and_zones_are_enough() {
        let config = Config::parse(Some(&valid().to_string())).expect("valid");
        let arn = "arn:aws:ecs:eu-west-1:111122223333:service/blue/Orders_API";
        let service = ServiceArn::parse(arn).expect("valid");
        let zone = config.zone(&VpcId::new("vpc-0a1b")).expect("configured");
        assert_eq!(
            config.name(&service, None, &zone.name).expect("valid").as_str(),
            "orders-api.dev.internal"
        );
        assert!(config.has_cluster("any"));
        assert_eq!(config.ttl.seconds(), 60);
        assert_eq!(config.delete_limit, DeleteLimit { free: 3, percent: 30 });
    }

    #[test]
    fn a_missing_variable_is_said() {
        assert_snapshot!(
            Config::parse(None).expect_err("nothing there"),
            @"DISCOVERY_CONFIG: (the variable): found nothing, expected the JSON that the CDK app writes"
        );
    }

    #[test]
    fn every_mistake_names_its_key_and_what_was_expected() {
        assert_snapshot!(check("environment", json!("Dev")), @r#"DISCOVERY_CONFIG: environment: found "Dev", expected 1 to 32 of a-z, 0-9 and -"#);
        assert_snapshot!(check("zones", json!([])), @"DISCOVERY_CONFIG: zones: found an empty list, expected at least one zone");
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":7,"name":"x"}])), @"DISCOVERY_CONFIG: zones[0].hostedZoneId: found invalid type: integer `7`, expected a string");
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":"/hostedzone/Z1","name":"x"}])), @r#"DISCOVERY_CONFIG: zones[0].hostedZoneId: found "/hostedzone/Z1", expected a hosted zone's id, like Z0123456789ABC, without /hostedzone/"#);
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":"Z1","name":"-x"}])), @r#"DISCOVERY_CONFIG: zones[0].name: found "-x" (the name "-x" has the label "-x", which starts or ends with -), expected a zone's name, like dev.internal"#);
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":"Z1","name":"x"},{"vpcId":"vpc-1","hostedZoneId":"Z2","name":"y"}])), @"DISCOVERY_CONFIG: zones[1].vpcId: found a second zone for vpc-1, expected one zone for each VPC");
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":"Z1","name":"x"},{"vpcId":"vpc-2","hostedZoneId":"Z1","name":"y"}])), @r#"DISCOVERY_CONFIG: zones[1].name: found "y", and "x" for the same hosted zone, expected one name for one hosted zone"#);
        assert_snapshot!(check("clusters", json!(["dev/*"])), @r#"DISCOVERY_CONFIG: clusters[0]: found "dev/*", expected a cluster's name, in which * stands for any characters and ? for one"#);
        assert_snapshot!(check("nameTemplate", json!("{cluster}")), @r#"DISCOVERY_CONFIG: nameTemplate: found "{cluster}", which lacks {service}, expected labels made of a-z, 0-9, - and {service}, {cluster}, with {service} in one of them"#);
        assert_snapshot!(check("nameTemplate", json!("{service}_{name}")), @r#"DISCOVERY_CONFIG: nameTemplate: found "{service}_{name}" (for a service "s" in a cluster "c", the name "s_{name}" holds '_', and a label is made of a-z, 0-9 and -), expected labels made of a-z, 0-9, - and {service}, {cluster}, with {service} in one of them"#);
        assert_snapshot!(check("record", json!("AAAA")), @r#"DISCOVERY_CONFIG: record: found "AAAA", expected CNAME or ALIAS"#);
        assert_snapshot!(check("ttlSeconds", json!(0)), @"DISCOVERY_CONFIG: ttlSeconds: found 0, expected 1 to 86400 seconds");
        assert_snapshot!(check("deleteLimit", json!({"free":1,"percent":101})), @"DISCOVERY_CONFIG: deleteLimit.percent: found 101, expected 0 to 100 percent");
        assert_snapshot!(check("ttl", json!(60)), @"DISCOVERY_CONFIG: ttl: found unknown field `ttl`, expected one of `environment`, `formerNames`, `zones`, `clusters`, `nameTemplate`, `record`, `ttlSeconds`, `deleteLimit`");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Config::parse(Some(&text));
        }

        #[test]
        fn no_template_makes_a_name_outside_its_zone(template in "[a-z.{}*_-]{0,12}\\{service\\}[a-z.{}*_-]{0,12}") {
            let mut raw = valid();
            raw["nameTemplate"] = json!(template);
            if let Ok(config) = Config::parse(Some(&raw.to_string())) {
                let arn = "arn:aws:ecs:eu-west-1:111122223333:service/blue/orders";
                let service = ServiceArn::parse(arn).expect("valid");
                let zone = DnsName::zone("dev.internal").expect("valid");
                if let Ok(name) = config.name(&service, None, &zone) {
                    prop_assert!(name.is_within(&zone) && name != zone);
                }
            }
        }
    }
}

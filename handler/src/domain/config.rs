//! The configuration: the JSON that the construct writes into `DISCOVERY_CONFIG`, parsed once during init.
//!
//! An invalid configuration stops the handler before it calls AWS. The error contains the key, the expected
//! value and the value found.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use wildmatch::WildMatch;

use crate::domain::dns::{DnsName, NameError, RecordKind, Ttl};
use crate::domain::marker::is_environment;
use crate::domain::service::{HostedZoneId, ServiceArn, VpcId};

/// The environment variable with the configuration.
pub const VARIABLE: &str = "DISCOVERY_CONFIG";

/// One environment: its zones, its clusters, and how its services are registered.
#[derive(Clone, Debug)]
pub struct Config {
    pub environment: String,
    /// Earlier names of the environment. Records with these names in their markers belong to it, too.
    pub former_names: BTreeSet<String>,
    zones: BTreeMap<VpcId, Zone>,
    clusters: Vec<WildMatch>,
    name_template: NameTemplate,
    pub record: RecordKind,
    pub ttl: Ttl,
    pub delete_limit: DeleteLimit,
    /// Whether an unmarked record that already leads to a service's load balancer is taken over.
    pub adopt: bool,
    pub register: Register,
    pub mode: Mode,
    /// A hash of the function's code and configuration, for the time in which two versions run side by side.
    pub generation: Option<String>,
    /// The id in the template of the custom resource with the names.
    pub names_resource: Option<String>,
    /// Whether deployments and full passes check that the zones are the ones that the configuration describes. That
    /// takes a permission of its own.
    check_zones: bool,
}

/// The services that get names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Register {
    #[default]
    All,
    /// Those with the tag `discovery:enabled=true`.
    Tagged,
}

/// What the handler may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Nothing. Every run is a dry run.
    Observe,
    /// Names are created and changed, and none is removed.
    CreateAndUpdate,
    #[default]
    Sync,
}

/// The private hosted zone of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    pub id: HostedZoneId,
    pub name: DnsName,
}

/// A full pass may delete `free` names, or `percent` percent of the managed names, whichever is more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct DeleteLimit {
    pub free: usize,
    pub percent: usize,
}

/// The first invalid setting of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{VARIABLE}: {key}: expected {expected}; found {found}")]
pub struct ConfigError {
    /// The path of the key, like `zones[0].name`.
    pub key: String,
    pub expected: String,
    pub found: String,
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
    #[serde(default = "yes")]
    adopt: bool,
    #[serde(default)]
    register: Register,
    #[serde(default)]
    mode: Mode,
    generation: Option<String>,
    names_resource: Option<String>,
    #[serde(default)]
    check_zones: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawZone {
    name: String,
    /// Pairs of a VPC and its zone. An entry for all zones of a name is much shorter than an entry for each zone, and
    /// Lambda limits all environment variables together to 4 KB.
    #[serde(default)]
    vpcs: Vec<(String, String)>,
    /// The only VPC, instead of `vpcs`.
    vpc_id: Option<String>,
    hosted_zone_id: Option<String>,
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

fn yes() -> bool {
    true
}

fn default_limit() -> DeleteLimit {
    DeleteLimit { free: 3, percent: 30 }
}

impl Config {
    /// Parses the value of [`VARIABLE`], which is `None` if the variable is not set.
    pub fn parse(json: Option<&str>) -> Result<Config, ConfigError> {
        let invalid = |key: &str, expected: &str, found: String| ConfigError {
            key: key.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let json = json.ok_or_else(|| {
            let expected = "the JSON that the construct writes";
            invalid(TOP_LEVEL, expected, "no such environment variable".into())
        })?;
        let raw: RawConfig =
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json))
                .map_err(|error| shape_error(&error))?;

        if !is_environment(&raw.environment) {
            return Err(invalid(
                "environment",
                "a name of 1 to 32 characters of a-z, 0-9 and -",
                format!("{:?}", raw.environment),
            ));
        }
        for (index, name) in raw.former_names.iter().enumerate() {
            if !is_environment(name) || *name == raw.environment {
                return Err(invalid(
                    &format!("formerNames[{index}]"),
                    "another name of 1 to 32 characters of a-z, 0-9 and -",
                    format!("{name:?}"),
                ));
            }
        }
        if raw.zones.is_empty() {
            return Err(invalid("zones", "at least one zone", "[]".into()));
        }
        let mut zones: BTreeMap<VpcId, Zone> = BTreeMap::new();
        for (index, raw) in raw.zones.into_iter().enumerate() {
            let key = |name: &str| format!("zones[{index}].{name}");
            let name = DnsName::zone(&raw.name).map_err(|error| {
                let found = format!("{:?} ({error})", raw.name);
                invalid(&key("name"), "the name of a zone, like dev.internal", found)
            })?;
            let is_single = raw.vpcs.is_empty();
            let pairs = match (raw.vpc_id, raw.hosted_zone_id) {
                (None, None) if !is_single => raw.vpcs,
                (Some(vpc), Some(id)) if is_single => vec![(vpc, id)],
                _ => {
                    let expected = "either vpcs with at least one pair, or vpcId and hostedZoneId";
                    let found = "another combination of these keys".to_owned();
                    return Err(invalid(&format!("zones[{index}]"), expected, found));
                }
            };
            for (pair, (vpc, id)) in pairs.into_iter().enumerate() {
                let [vpc_key, id_key] = if is_single {
                    [key("vpcId"), key("hostedZoneId")]
                } else {
                    [0, 1].map(|half| key(&format!("vpcs[{pair}][{half}]")))
                };
                if !is_id(&vpc, "vpc-") {
                    let expected = "a VPC id, like vpc-0a1b2c3d";
                    return Err(invalid(&vpc_key, expected, format!("{vpc:?}")));
                }
                if !is_id(&id, "Z") {
                    let expected = "a hosted zone id, like Z0123456789ABC, without /hostedzone/";
                    return Err(invalid(&id_key, expected, format!("{id:?}")));
                }
                let (vpc, id) = (VpcId::new(vpc), HostedZoneId::new(id));
                let is_other = |zone: &&Zone| zone.id == id && zone.name != name;
                if let Some(other) = zones.values().find(is_other) {
                    let expected = format!(
                        "the same name for the same hosted zone {id}, which is {} above",
                        other.name
                    );
                    return Err(invalid(&key("name"), &expected, format!("{:?}", raw.name)));
                }
                let zone = Zone { id, name: name.clone() };
                if zones.insert(vpc.clone(), zone).is_some() {
                    let found = format!("{:?}", vpc.as_str());
                    return Err(invalid(&vpc_key, "each VPC once", found));
                }
            }
        }
        for (index, glob) in raw.clusters.iter().enumerate() {
            if glob.is_empty()
                || glob.bytes().any(|b| !(b.is_ascii_alphanumeric() || b"_-*?".contains(&b)))
            {
                return Err(invalid(
                    &format!("clusters[{index}]"),
                    "the name of a cluster, with * for any characters and ? for one",
                    format!("{glob:?}"),
                ));
            }
        }
        if let Some(generation) = &raw.generation
            && !((1..=64).contains(&generation.len())
                && generation.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
        {
            let expected = "1 to 64 characters of a-z and 0-9";
            return Err(invalid("generation", expected, format!("{generation:?}")));
        }
        let name_template = NameTemplate::parse(&raw.name_template).map_err(|found| {
            let expected =
                "labels of a-z, 0-9, -, {service} and {cluster}, with {service} in at least one";
            invalid("nameTemplate", expected, found)
        })?;
        let record = RecordKind::parse(&raw.record)
            .ok_or_else(|| invalid("record", "CNAME or ALIAS", format!("{:?}", raw.record)))?;
        let ttl = Ttl::from_seconds(raw.ttl_seconds).ok_or_else(|| {
            invalid("ttlSeconds", "1 to 86400 seconds", raw.ttl_seconds.to_string())
        })?;
        if raw.delete_limit.percent > 100 {
            let found = raw.delete_limit.percent.to_string();
            return Err(invalid("deleteLimit.percent", "0 to 100 percent", found));
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
            adopt: raw.adopt,
            register: raw.register,
            mode: raw.mode,
            generation: raw.generation,
            names_resource: raw.names_resource,
            check_zones: raw.check_zones,
        })
    }

    /// The zone of a VPC.
    pub fn zone(&self, vpc: &VpcId) -> Option<&Zone> {
        self.zones.get(vpc)
    }

    /// The zones that have to be checked, with their names and VPCs: all of them or none.
    pub fn zones_to_check(&self) -> BTreeMap<HostedZoneId, (DnsName, Vec<VpcId>)> {
        let mut zones: BTreeMap<HostedZoneId, (DnsName, Vec<VpcId>)> = BTreeMap::new();
        for (vpc, zone) in self.zones.iter().filter(|_| self.check_zones) {
            let (_, vpcs) =
                zones.entry(zone.id.clone()).or_insert_with(|| (zone.name.clone(), Vec::new()));
            vpcs.push(vpc.clone());
        }
        zones
    }

    /// The name of each zone. Several VPCs may share a zone.
    pub fn zones(&self) -> BTreeMap<HostedZoneId, DnsName> {
        self.zones.values().map(|zone| (zone.id.clone(), zone.name.clone())).collect()
    }

    /// Whether the services of a cluster belong to this environment.
    pub fn has_cluster(&self, cluster: &str) -> bool {
        self.clusters.iter().any(|glob| glob.matches(cluster))
    }

    /// The name of a service in `zone`: the one from its tag, or else from the template.
    pub fn name(
        &self,
        service: &ServiceArn,
        tagged: Option<&str>,
        zone: &DnsName,
    ) -> Result<DnsName, NameError> {
        match tagged {
            Some(name) => DnsName::in_zone(zone.relative(name), zone),
            None => DnsName::in_zone(&self.name_template.fill(service), zone),
        }
    }
}

fn is_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        (1..=32).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric())
    })
}

/// The key of an error that concerns the whole configuration.
const TOP_LEVEL: &str = "(top level)";

/// An error for JSON of the wrong shape. Serde's message has the form `FOUND, expected EXPECTED at line L
/// column C`, and omits the path.
fn shape_error(error: &serde_path_to_error::Error<serde_json::Error>) -> ConfigError {
    let path = error.path().to_string();
    let message = error.inner().to_string();
    // The configuration is one long line, so the error omits the position.
    let message = message.split_once(" at line ").map_or(message.as_str(), |(text, _)| text);
    let (expected, found) = match message.split_once(", expected ") {
        Some((found, expected)) => {
            let expected =
                expected.replace("u32", "a whole number").replace("usize", "a whole number");
            let found = found.trim_start_matches("invalid type: ");
            (expected, found.trim_start_matches("invalid value: ").to_owned())
        }
        None => ("valid JSON with each required key once".into(), format!("an error: {message}")),
    };
    // The path of the key "" is empty.
    let key = if path == "." || path.is_empty() { TOP_LEVEL.into() } else { path };
    ConfigError { key, expected, found }
}

/// `{service}`, `{service}.{cluster}`, `{cluster}-{service}.apps`…
#[derive(Clone, Debug)]
struct NameTemplate(String);

impl NameTemplate {
    /// The error describes the invalid template.
    fn parse(text: &str) -> Result<NameTemplate, String> {
        // Without {service} all services would compete for one name.
        if !text.contains("{service}") {
            return Err(format!("{text:?}"));
        }
        let sample = text.replace("{service}", "s").replace("{cluster}", "c");
        match DnsName::zone(&sample) {
            Ok(_) => Ok(NameTemplate(text.to_owned())),
            Err(error) => {
                Err(format!("{text:?} (for the service \"s\" in the cluster \"c\", {error})"))
            }
        }
    }

    fn fill(&self, service: &ServiceArn) -> String {
        // Neither name can contain a brace, so the order of the replacements does not matter.
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

    /// Parses a valid configuration in which one key has another value.
    fn check(key: &str, value: Value) -> String {
        let mut config = valid();
        config[key] = value;
        match Config::parse(Some(&config.to_string())) {
            Ok(_) => "ok".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn only_environment_and_zones_are_required() {
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
    fn one_entry_can_have_all_zones_of_a_name() {
        let mut config = valid();
        config["zones"] = json!([
            { "name": "dev.internal", "vpcs": [["vpc-1", "Z1"], ["vpc-2", "Z2"]] },
            { "name": "test.internal", "vpcs": [["vpc-3", "Z3"]] },
        ]);
        let config = Config::parse(Some(&config.to_string())).expect("valid");
        let zone_of = |vpc| config.zone(&VpcId::new(vpc)).map(|zone| zone.id.as_str().to_owned());
        assert_eq!(
            ["vpc-1", "vpc-2", "vpc-3"].map(zone_of),
            ["Z1", "Z2", "Z3"].map(|id| Some(id.into()))
        );
    }

    #[test]
    fn all_zones_are_checked_if_the_configuration_asks_for_it() {
        let mut config = valid();
        config["zones"] = json!([{ "name": "dev.internal", "vpcs": [["vpc-1", "Z1"], ["vpc-2", "Z1"], ["vpc-3", "Z3"]] }]);
        let to_check = |config: &Value| {
            let config = Config::parse(Some(&config.to_string())).expect("valid");
            let zones = config.zones_to_check().into_iter();
            let zones = zones.map(|(zone, (name, vpcs))| {
                let vpcs: Vec<&str> = vpcs.iter().map(VpcId::as_str).collect();
                format!("{zone} {name} {}", vpcs.join(" "))
            });
            zones.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(to_check(&config), "");
        config["checkZones"] = json!(true);
        assert_eq!(to_check(&config), "Z1 dev.internal vpc-1 vpc-2, Z3 dev.internal vpc-3");
    }

    #[test]
    fn optional_settings_accept_the_limits_of_their_ranges() {
        assert_eq!(check("formerNames", json!(["old-dev", "a"])), "ok");
        assert_eq!(check("ttlSeconds", json!(86_400)), "ok");
        assert_eq!(check("deleteLimit", json!({"free": 0, "percent": 100})), "ok");
    }

    #[test]
    fn a_missing_variable_is_an_error() {
        assert_snapshot!(
            Config::parse(None).expect_err("the variable is not set"),
            @"DISCOVERY_CONFIG: (top level): expected the JSON that the construct writes; found no such environment variable"
        );
    }

    #[test]
    fn an_error_contains_the_key_the_expected_value_and_the_value_found() {
        assert_snapshot!(check("environment", json!("Dev")), @r#"DISCOVERY_CONFIG: environment: expected a name of 1 to 32 characters of a-z, 0-9 and -; found "Dev""#);
        assert_snapshot!(check("formerNames", json!(["old", "Dev"])), @r#"DISCOVERY_CONFIG: formerNames[1]: expected another name of 1 to 32 characters of a-z, 0-9 and -; found "Dev""#);
        assert_snapshot!(check("formerNames", json!(["dev"])), @r#"DISCOVERY_CONFIG: formerNames[0]: expected another name of 1 to 32 characters of a-z, 0-9 and -; found "dev""#);
        assert_snapshot!(check("zones", json!([])), @"DISCOVERY_CONFIG: zones: expected at least one zone; found []");
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":7,"name":"x"}])), @"DISCOVERY_CONFIG: zones[0].hostedZoneId: expected a string; found integer `7`");
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":"/hostedzone/Z1","name":"x"}])), @r#"DISCOVERY_CONFIG: zones[0].hostedZoneId: expected a hosted zone id, like Z0123456789ABC, without /hostedzone/; found "/hostedzone/Z1""#);
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":"Z1/rrset","name":"x"}])), @r#"DISCOVERY_CONFIG: zones[0].hostedZoneId: expected a hosted zone id, like Z0123456789ABC, without /hostedzone/; found "Z1/rrset""#);
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":"Z1","name":"-x"}])), @r#"DISCOVERY_CONFIG: zones[0].name: expected the name of a zone, like dev.internal; found "-x" (the name "-x" has the label "-x", which starts or ends with -)"#);
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":"Z1","name":"x"},{"vpcId":"vpc-1","hostedZoneId":"Z2","name":"y"}])), @r#"DISCOVERY_CONFIG: zones[1].vpcId: expected each VPC once; found "vpc-1""#);
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":"Z1","name":"x"},{"vpcId":"vpc-2","hostedZoneId":"Z1","name":"y"}])), @r#"DISCOVERY_CONFIG: zones[1].name: expected the same name for the same hosted zone Z1, which is x above; found "y""#);
        assert_snapshot!(check("zones", json!([{"name":"x"}])), @"DISCOVERY_CONFIG: zones[0]: expected either vpcs with at least one pair, or vpcId and hostedZoneId; found another combination of these keys");
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","name":"x"}])), @"DISCOVERY_CONFIG: zones[0]: expected either vpcs with at least one pair, or vpcId and hostedZoneId; found another combination of these keys");
        assert_snapshot!(check("zones", json!([{"vpcId":"vpc-1","hostedZoneId":"Z1","vpcs":[["vpc-2","Z2"]],"name":"x"}])), @"DISCOVERY_CONFIG: zones[0]: expected either vpcs with at least one pair, or vpcId and hostedZoneId; found another combination of these keys");
        assert_snapshot!(check("zones", json!([{"vpcs":[["vpc-1","Z1"],["vpc-1","Z2"]],"name":"x"}])), @r#"DISCOVERY_CONFIG: zones[0].vpcs[1][0]: expected each VPC once; found "vpc-1""#);
        assert_snapshot!(check("zones", json!([{"vpcs":[["vpc-1","Z1"],["2","Z2"]],"name":"x"}])), @r#"DISCOVERY_CONFIG: zones[0].vpcs[1][0]: expected a VPC id, like vpc-0a1b2c3d; found "2""#);
        assert_snapshot!(check("zones", json!([{"vpcs":[["vpc-1","1"]],"name":"x"}])), @r#"DISCOVERY_CONFIG: zones[0].vpcs[0][1]: expected a hosted zone id, like Z0123456789ABC, without /hostedzone/; found "1""#);
        assert_snapshot!(check("clusters", json!(["dev/*"])), @r#"DISCOVERY_CONFIG: clusters[0]: expected the name of a cluster, with * for any characters and ? for one; found "dev/*""#);
        assert_snapshot!(check("nameTemplate", json!("{cluster}")), @r#"DISCOVERY_CONFIG: nameTemplate: expected labels of a-z, 0-9, -, {service} and {cluster}, with {service} in at least one; found "{cluster}""#);
        assert_snapshot!(check("nameTemplate", json!("{service}_{name}")), @r#"DISCOVERY_CONFIG: nameTemplate: expected labels of a-z, 0-9, -, {service} and {cluster}, with {service} in at least one; found "{service}_{name}" (for the service "s" in the cluster "c", the name "s_{name}" contains '_'; a label consists of a-z, 0-9 and -)"#);
        assert_snapshot!(check("record", json!("AAAA")), @r#"DISCOVERY_CONFIG: record: expected CNAME or ALIAS; found "AAAA""#);
        assert_snapshot!(check("ttlSeconds", json!(0)), @"DISCOVERY_CONFIG: ttlSeconds: expected 1 to 86400 seconds; found 0");
        assert_snapshot!(check("deleteLimit", json!({"free":1,"percent":101})), @"DISCOVERY_CONFIG: deleteLimit.percent: expected 0 to 100 percent; found 101");
        assert_snapshot!(check("ttl", json!(60)), @"DISCOVERY_CONFIG: ttl: expected one of `environment`, `formerNames`, `zones`, `clusters`, `nameTemplate`, `record`, `ttlSeconds`, `deleteLimit`, `adopt`, `register`, `mode`, `generation`, `namesResource`, `checkZones`; found unknown field `ttl`");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,200}") {
            let _ = Config::parse(Some(&text));
        }

        #[test]
        fn no_template_gives_a_name_outside_its_zone(template in "[a-z.{}*_-]{0,12}\\{service\\}[a-z.{}*_-]{0,12}") {
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

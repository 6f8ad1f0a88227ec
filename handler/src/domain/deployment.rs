//! What a deployment asks of the handler: the custom resources of its stack.
//!
//! The resource with the zones has the ids of all zones of the environment as its property `Zones`. If a zone leaves
//! the environment, the resource gets another physical id, so that CloudFormation deletes the former one at the end
//! of the deployment, with the former zones. If the whole stack goes, CloudFormation deletes the resource itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::domain::config::Config;
use crate::domain::report::{Report, Status};
use crate::domain::request;
use crate::domain::service::{AwsLocation, HostedZoneId};
use crate::domain::trigger::{Options, Trigger};

/// What CloudFormation does with a custom resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Create,
    Update,
    Delete,
}

/// An event of CloudFormation about a custom resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceEvent {
    pub action: Action,
    /// The id that the resource has after the event. `None` for a resource that needs no id of its own.
    pub physical_id: Option<String>,
    pub trigger: Trigger,
}

/// The deletion of a resource with zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departure {
    pub zones: BTreeSet<HostedZoneId>,
    /// The resource's id in the template.
    pub logical_id: String,
    /// Whether the names stay when the whole stack goes.
    pub keeps_names: bool,
}

/// The answer to the provider framework of the CDK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ResourceAnswer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub physical_resource_id: Option<String>,
    /// The attributes of the resource.
    pub data: Attributes,
    /// The run behind the answer. CloudFormation's limit for answers leaves no room for it.
    #[serde(skip)]
    pub report: Report,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attributes {
    /// What the run did, like `212 unchanged, 1 conflict`.
    pub summary: String,
}

impl ResourceEvent {
    /// `None` if the payload is no event of CloudFormation.
    pub fn parse(payload: &Value, location: &AwsLocation) -> Option<ResourceEvent> {
        let text = |key: &str| payload[key].as_str().unwrap_or_default().to_owned();
        let action = match payload.get("RequestType")?.as_str()? {
            "Create" => Action::Create,
            "Update" => Action::Update,
            "Delete" => Action::Delete,
            _ => return None,
        };
        let (properties, former) =
            (&payload["ResourceProperties"], &payload["OldResourceProperties"]);
        let Some(zones) = zones(properties) else {
            let trigger =
                request(properties, &text("RequestType"), &text("LogicalResourceId"), location);
            return Some(ResourceEvent { action, physical_id: None, trigger });
        };
        let former_zones = self::zones(former).unwrap_or_default();
        let event = match action {
            Action::Create => {
                let trigger = Trigger::CheckZones { zones };
                ResourceEvent { action, physical_id: Some(text("RequestId")), trigger }
            }
            Action::Update => {
                let is_left = !former_zones.is_subset(&zones);
                let id = if is_left { "RequestId" } else { "PhysicalResourceId" };
                let zones = zones.difference(&former_zones).cloned().collect();
                let trigger = Trigger::CheckZones { zones };
                ResourceEvent { action, physical_id: Some(text(id)), trigger }
            }
            Action::Delete => {
                let trigger = Trigger::Leave(Departure {
                    zones,
                    logical_id: text("LogicalResourceId"),
                    keeps_names: properties["OnDestroy"] == "keep",
                });
                ResourceEvent { action, physical_id: Some(text("PhysicalResourceId")), trigger }
            }
        };
        Some(event)
    }
}

fn zones(properties: &Value) -> Option<BTreeSet<HostedZoneId>> {
    let zones = properties.get("Zones")?.as_array()?.iter().filter_map(Value::as_str);
    Some(zones.filter(|id| request::is_zone_id(id)).map(HostedZoneId::new).collect())
}

/// The request in the property with the name of the event.
fn request(properties: &Value, event: &str, logical_id: &str, location: &AwsLocation) -> Trigger {
    let Some(text) = properties[event].as_str() else {
        return Trigger::ignore(format!("the custom resource has no request for {event:?}"));
    };
    let request = match serde_json::from_str::<Value>(text) {
        Ok(request) => request,
        Err(error) => return Trigger::not_json(&error),
    };
    if let Some(subject) = request.get("negativeTtl") {
        return request::negative_ttl(subject);
    }
    match request::parse(&request, location) {
        Trigger::Reconcile { scope, options } => {
            Trigger::Reconcile { scope, options: Options { is_deployment: true, ..options } }
        }
        // Stacks of earlier versions have one such resource for each zone.
        Trigger::Deregister { zone: Some(zone), .. } => Trigger::Leave(Departure {
            zones: BTreeSet::from([zone]),
            logical_id: logical_id.to_owned(),
            keeps_names: false,
        }),
        other => other,
    }
}

impl Departure {
    /// Whether the whole stack goes. Otherwise a resource is deleted that another one replaces.
    pub fn is_whole_stack(&self, config: &Config) -> bool {
        let is_present = config.zones_resource.as_ref() == Some(&self.logical_id);
        is_present && self.zones.iter().eq(config.zones().keys())
    }

    /// The zones whose names have to be deleted: never one that the environment still has, unless the whole stack
    /// goes.
    pub fn zones_to_empty(&self, config: &Config) -> BTreeSet<HostedZoneId> {
        let own = config.zones();
        match self.is_whole_stack(config) {
            true if self.keeps_names => BTreeSet::new(),
            true => self.zones.clone(),
            false => self.zones.iter().filter(|zone| !own.contains_key(*zone)).cloned().collect(),
        }
    }
}

/// What a run did, in the words of the statuses: `212 unchanged, 1 conflict`.
pub fn summary(report: &Report) -> String {
    if let Some(reason) = &report.reason {
        return reason.clone();
    }
    let mut counts: BTreeMap<Status, usize> = BTreeMap::new();
    for outcome in &report.outcomes {
        *counts.entry(outcome.status).or_default() += 1;
    }
    let mut parts: Vec<String> =
        counts.iter().map(|(status, count)| format!("{count} {}", status.as_str())).collect();
    parts.extend(report.read_errors.first().map(|error| {
        // CloudFormation limits an answer to 4,096 characters.
        let error: String = error.chars().take(500).collect();
        format!("{} failed reads, the first: {error}", report.read_errors.len())
    }));
    let summary = if parts.is_empty() { "no services".into() } else { parts.join(", ") };
    if report.observed {
        format!("{summary}; nothing was written, because the mode is observe")
    } else {
        summary
    }
}

/// Whether a run achieved nothing: every service failed, or nothing could be read.
pub fn achieved_nothing(report: &Report) -> bool {
    let failures = report.failures().count();
    failures == report.outcomes.len() && (failures > 0 || !report.read_errors.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{location, show};
    use crate::domain::report::ReportScope;
    use insta::assert_snapshot;
    use serde_json::json;

    fn event(kind: &str, properties: Value, former: Value) -> ResourceEvent {
        let payload = json!({
            "RequestType": kind, "RequestId": "new-id", "PhysicalResourceId": "old-id",
            "LogicalResourceId": "Zones", "ResponseURL": "https://example.com",
            "ResourceProperties": properties, "OldResourceProperties": former,
        });
        ResourceEvent::parse(&payload, &location()).expect("an event of CloudFormation")
    }

    fn check(kind: &str, zones: &[&str], former: &[&str]) -> String {
        let event = event(kind, json!({"Zones": zones}), json!({"Zones": former}));
        format!("{} as {}", show(&event.trigger), event.physical_id.expect("an id"))
    }

    fn config(zones: &[&str]) -> Config {
        let zone = |(number, id): (usize, &&str)| json!({"vpcId": format!("vpc-{number}"), "hostedZoneId": id, "name": "internal"});
        let zones: Vec<Value> = zones.iter().enumerate().map(zone).collect();
        let config = json!({"environment": "dev", "zones": zones, "zonesResource": "Zones"});
        Config::parse(Some(&config.to_string())).expect("valid")
    }

    fn emptied(kind: &str, zones: &[&str], now: &[&str]) -> String {
        let properties = json!({"Zones": zones, "OnDestroy": kind});
        let Trigger::Leave(departure) = event("Delete", properties, json!({})).trigger else {
            panic!("no departure")
        };
        let zones = departure.zones_to_empty(&config(now));
        zones.iter().map(HostedZoneId::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_resource_of_the_zones_is_replaced_if_a_zone_leaves() {
        assert_snapshot!(check("Create", &["Z1", "Z2"], &[]), @"check zones Z1, Z2 as new-id");
        assert_snapshot!(check("Update", &["Z1", "Z2"], &["Z1"]), @"check zones Z2 as old-id");
        assert_snapshot!(check("Update", &["Z2"], &["Z1"]), @"check zones Z2 as new-id");
        assert_snapshot!(check("Delete", &["Z1"], &[]), @"leave zones Z1 as old-id");
    }

    #[test]
    fn a_zone_that_the_environment_has_is_emptied_only_with_the_whole_stack() {
        assert_eq!(emptied("deregister", &["Z1", "Z2"], &["Z1", "Z2"]), "Z1 Z2");
        assert_eq!(emptied("keep", &["Z1", "Z2"], &["Z1", "Z2"]), "");
        assert_eq!(emptied("keep", &["Z1", "Z2"], &["Z2"]), "Z1");
        assert_eq!(emptied("deregister", &["Z1"], &["Z2"]), "Z1");
        // The same zone, now given by its id, and a rename of the construct.
        assert_eq!(emptied("deregister", &["Z1"], &["Z1", "Z2"]), "");
        let renamed = Departure {
            zones: BTreeSet::from([HostedZoneId::new("Z1")]),
            logical_id: "FormerZones".into(),
            keeps_names: false,
        };
        assert_eq!(renamed.zones_to_empty(&config(&["Z1"])), BTreeSet::new());
    }

    #[test]
    fn a_custom_resource_carries_one_request_per_event() {
        let request = |event_name: &str| {
            let properties = json!({"Create": r#"{"reconcile":"all"}"#, "Delete": r#"{"deregister":{"hostedZoneId":"Z1"}}"#});
            show(&event(event_name, properties, json!({})).trigger)
        };
        let create =
            |request: &str| show(&event("Create", json!({"Create": request}), json!({})).trigger);
        assert_snapshot!(create(r#"{"negativeTtl":{"hostedZoneId":"Z1","seconds":5}}"#), @"negative TTL 5 in Z1");
        assert_snapshot!(create(r#"{"negativeTtl":{"hostedZoneId":"Z1","seconds":0}}"#), @r#"unreadable: negativeTtl is {"hostedZoneId":"Z1","seconds":0}; expected {"hostedZoneId":"Z…","seconds":1 to 86400}"#);
        assert_snapshot!(request("Create"), @"full pass");
        assert_snapshot!(request("Delete"), @"leave zones Z1");
        assert_snapshot!(request("Update"), @r#"ignored: the custom resource has no request for "Update""#);
        assert_snapshot!(create("{"), @"unreadable: the payload is not valid JSON: EOF while parsing an object at line 1 column 1");
        assert_eq!(ResourceEvent::parse(&json!({"RequestType": 7}), &location()), None);
    }

    #[test]
    fn the_summary_counts_the_outcomes_and_is_short() {
        let mut report = Report::new("dev", ReportScope::All, false);
        assert_eq!(summary(&report), "no services");
        assert!(!achieved_nothing(&report));
        report.read_errors.push("x".repeat(5_000));
        assert!(achieved_nothing(&report));
        assert!(summary(&report).len() < 600);
        assert!(summary(&report).starts_with("1 failed reads, the first: xxx"));
    }
}

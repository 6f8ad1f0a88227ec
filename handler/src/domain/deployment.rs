//! What a deployment asks of the handler: the custom resources of its stack.
//!
//! The resource with the zones has the ids of all zones of the environment as its property `Zones`. If a zone leaves
//! the environment, the resource gets another physical id, so that CloudFormation deletes the former one at the end
//! of the deployment, with the former zones. After a rollback, the deleted one may have the zones of the present
//! template, so its deletion never means that the whole stack goes.
//!
//! Each other resource carries one request for each kind of event, and keeps its physical id. So CloudFormation deletes
//! the resource with the names only together with the whole stack.
//!
//! No event shows whether it belongs to a rollback. But a rollback creates no resource, so only creations may fail
//! because of a zone or a service, and the template has a new resource for each new set of zones.

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

/// The deletion of a resource, because of which names may have to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The former zones of an environment that stays.
    Zones(BTreeSet<HostedZoneId>),
    /// The resource with the names.
    Names {
        /// The resource's id in the template.
        logical_id: String,
    },
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
        let is_left = self::zones(former).is_some_and(|former| !former.is_subset(&zones));
        let id = match action {
            Action::Create => "RequestId",
            Action::Update if is_left => "RequestId",
            Action::Update | Action::Delete => "PhysicalResourceId",
        };
        let trigger = match action {
            Action::Create | Action::Update => {
                Trigger::ignore("names are deleted only after a zone has left the environment")
            }
            Action::Delete => Trigger::Leave(Departure::Zones(zones)),
        };
        Some(ResourceEvent { action, physical_id: Some(text(id)), trigger })
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
    if request.get("check").is_some_and(|subject| subject == "zones") {
        return Trigger::CheckZones;
    }
    match request::parse(&request, location) {
        Trigger::Reconcile { scope, options } => {
            Trigger::Reconcile { scope, options: Options { is_deployment: true, ..options } }
        }
        Trigger::Deregister { zone: None, .. } => {
            Trigger::Leave(Departure::Names { logical_id: logical_id.to_owned() })
        }
        // Stacks of earlier versions have one such resource for each zone.
        Trigger::Deregister { zone: Some(zone), .. } => {
            Trigger::Leave(Departure::Zones(BTreeSet::from([zone])))
        }
        other => other,
    }
}

impl Departure {
    /// The zones whose names have to be deleted: never one that the environment still has, unless the whole stack
    /// goes.
    pub fn zones_to_empty(&self, config: &Config) -> BTreeSet<HostedZoneId> {
        let own = config.zones();
        match self {
            Departure::Zones(zones) => {
                zones.iter().filter(|zone| !own.contains_key(*zone)).cloned().collect()
            }
            Departure::Names { logical_id }
                if config.names_resource.as_ref() == Some(logical_id) =>
            {
                own.into_keys().collect()
            }
            // The template has another resource with the names, for example after a construct was renamed.
            Departure::Names { .. } => BTreeSet::new(),
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
    parts.extend(report.notes.first().map(|note| note.chars().take(500).collect()));
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

    /// The trigger and the physical id of an event of the resource with the zones.
    fn check(kind: &str, zones: &[&str], former: &[&str]) -> String {
        let event = event(kind, json!({"Zones": zones}), json!({"Zones": former}));
        let trigger = show(&event.trigger);
        let trigger = if trigger.starts_with("ignored") { "nothing" } else { &trigger };
        format!("{trigger} as {}", event.physical_id.expect("an id"))
    }

    fn config(zones: &[&str]) -> Config {
        let zone = |(number, id): (usize, &&str)| json!({"vpcId": format!("vpc-{number}"), "hostedZoneId": id, "name": "internal"});
        let zones: Vec<Value> = zones.iter().enumerate().map(zone).collect();
        let config = json!({"environment": "dev", "zones": zones, "namesResource": "Names"});
        Config::parse(Some(&config.to_string())).expect("valid")
    }

    /// The zones that the deletion of a resource empties, if the environment has the zones `now`.
    fn emptied(logical_id: &str, properties: Value, now: &[&str]) -> String {
        let payload = json!({
            "RequestType": "Delete", "PhysicalResourceId": "former-id",
            "LogicalResourceId": logical_id, "ResourceProperties": properties,
        });
        let event = ResourceEvent::parse(&payload, &location()).expect("an event");
        let Trigger::Leave(departure) = event.trigger else { panic!("no departure") };
        let zones = departure.zones_to_empty(&config(now));
        zones.iter().map(HostedZoneId::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_resource_of_the_zones_is_replaced_if_a_zone_leaves() {
        assert_snapshot!(check("Create", &["Z1", "Z2"], &[]), @"nothing as new-id");
        assert_snapshot!(check("Update", &["Z1", "Z2"], &["Z1"]), @"nothing as old-id");
        assert_snapshot!(check("Update", &["Z2"], &["Z1"]), @"nothing as new-id");
        assert_snapshot!(check("Delete", &["Z1"], &[]), @"leave zones Z1 as old-id");
    }

    #[test]
    fn a_zone_that_the_environment_has_is_emptied_only_with_the_whole_stack() {
        let names = || json!({"Delete": r#"{"deregister":"all"}"#});
        assert_eq!(emptied("Names", names(), &["Z1", "Z2"]), "Z1 Z2");
        // A rename of the construct.
        assert_eq!(emptied("FormerNames", names(), &["Z1"]), "");

        let zones = |zones: &[&str]| json!({ "Zones": zones });
        assert_eq!(emptied("Zones", zones(&["Z1", "Z2"]), &["Z2"]), "Z1");
        assert_eq!(emptied("Zones", zones(&["Z1"]), &["Z2"]), "Z1");
        // The same zone, now given by its id.
        assert_eq!(emptied("Zones", zones(&["Z1"]), &["Z1", "Z2"]), "");
        let of_an_earlier_version = json!({"Delete": r#"{"deregister":{"hostedZoneId":"Z1"}}"#});
        assert_eq!(emptied("Zone1", of_an_earlier_version, &["Z1"]), "");
    }

    #[test]
    fn after_a_rollback_the_deletion_of_a_former_physical_id_empties_no_zone_of_the_environment() {
        // An update from Z1 and Z2 to Z1 and Z3 replaced the resource, and so did its rollback.
        let before = ["Z1", "Z2"];
        assert_snapshot!(check("Update", &["Z1", "Z3"], &before), @"nothing as new-id");
        assert_snapshot!(check("Update", &before, &["Z1", "Z3"]), @"nothing as new-id");
        // CloudFormation deletes one of the former ids, with the zones of either template.
        assert_eq!(emptied("Zones", json!({ "Zones": before }), &before), "");
        assert_eq!(emptied("Zones", json!({ "Zones": ["Z1", "Z3"] }), &before), "Z3");
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
        assert_snapshot!(create(r#"{"check":"zones"}"#), @"check zones");
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
        report.read_errors.clear();
        report.notes.push("denied; names stay".into());
        assert_eq!(summary(&report), "denied; names stay");
    }
}

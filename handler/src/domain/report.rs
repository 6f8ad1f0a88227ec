//! The report of a run: one outcome for each service, with a reason for operators.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::domain::dns::DnsName;
use crate::domain::service::{HostedZoneId, ServiceArn};
use crate::domain::zone::ZoneName;

/// The result of a run for one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Registered,
    Updated,
    Unchanged,
    /// An existing record without a marker is managed from now on.
    Adopted,
    Deregistered,
    /// The name belongs to another service, or to a record that this environment does not manage.
    Conflict,
    /// The service is not registered: no load balancer, opted out, or outside of the environment.
    Ignored,
    /// The name or a tag is invalid.
    Invalid,
    /// The load balancer or the deployment is not ready yet, or only a full pass may delete the name.
    Waiting,
    /// The name was not deleted, because of the delete limit.
    Refused,
    /// Route 53 does not accept the change, and will not accept it in a later run either: the zone is full, or the
    /// record set is protected.
    Rejected,
    Failed,
}

impl Status {
    /// Whether the run changed a name of the service.
    pub fn is_change(self) -> bool {
        use Status::{Adopted, Deregistered, Registered, Updated};
        matches!(self, Registered | Updated | Adopted | Deregistered)
    }

    /// Whether the service has a name, or should have one.
    pub fn expects_a_name(self) -> bool {
        !matches!(self, Status::Ignored | Status::Deregistered)
    }

    /// The text in the answer, for example `registered`.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Registered => "registered",
            Status::Updated => "updated",
            Status::Unchanged => "unchanged",
            Status::Adopted => "adopted",
            Status::Deregistered => "deregistered",
            Status::Conflict => "conflict",
            Status::Ignored => "ignored",
            Status::Invalid => "invalid",
            Status::Waiting => "waiting",
            Status::Refused => "refused",
            Status::Rejected => "rejected",
            Status::Failed => "failed",
        }
    }
}

/// The result for one service, with its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    #[serde(serialize_with = "as_text")]
    pub service: ServiceArn,
    #[serde(serialize_with = "as_optional_text")]
    pub name: Option<DnsName>,
    #[serde(serialize_with = "as_optional_text")]
    pub zone: Option<HostedZoneId>,
    pub status: Status,
    #[serde(serialize_with = "as_optional_text")]
    pub target: Option<DnsName>,
    pub reason: Option<String>,
    /// `false` in a dry run, which changed nothing. Absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<bool>,
}

/// The number of record sets that were created and deleted. In a dry run, those that a real run would
/// create and delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub created: usize,
    pub deleted: usize,
}

impl std::ops::AddAssign for Changes {
    fn add_assign(&mut self, more: Changes) {
        self.created += more.created;
        self.deleted += more.deleted;
    }
}

/// Requests to each API, without the SDK's retries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ApiCalls {
    pub ecs: u32,
    pub elb: u32,
    pub route53: u32,
}

/// A name whose marker cannot be read, for example because somebody edited it. The handler leaves the name
/// unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnreadableMarker {
    #[serde(serialize_with = "as_text")]
    pub name: DnsName,
    #[serde(serialize_with = "as_text")]
    pub zone: HostedZoneId,
    pub reason: String,
}

/// A zone in which resolvers remember for long that a name does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LongNegativeTtl {
    #[serde(serialize_with = "as_text")]
    pub zone: HostedZoneId,
    pub seconds: i64,
    /// The command that shortens it.
    pub command: String,
}

/// A zone that has no room for another name. Its quota of records has to be raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FullZone {
    #[serde(serialize_with = "as_text")]
    pub zone: HostedZoneId,
    /// Route 53's message.
    pub reason: String,
}

/// The counts of a full pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FullPass {
    /// Names that the environment manages after the full pass.
    pub managed_names: usize,
    /// All record sets of each zone before the full pass. The quota of a zone is 10,000.
    #[serde(serialize_with = "as_text_keys")]
    pub zone_records: BTreeMap<HostedZoneId, usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unreadable_markers: Vec<UnreadableMarker>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub long_negative_ttls: Vec<LongNegativeTtl>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub full_zones: Vec<FullZone>,
}

/// The scope of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportScope {
    Service,
    All,
    Deregister,
    /// The check of the zones.
    Zones,
    /// The negative TTL of a zone.
    #[serde(rename = "negativeTtl")]
    NegativeTtl,
    /// The payload was ignored.
    None,
}

impl ReportScope {
    /// The text in the answer, for example `all`.
    pub fn as_str(self) -> &'static str {
        match self {
            ReportScope::Service => "service",
            ReportScope::All => "all",
            ReportScope::Deregister => "deregister",
            ReportScope::Zones => "zones",
            ReportScope::NegativeTtl => "negativeTtl",
            ReportScope::None => "none",
        }
    }
}

/// The answer to an invocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub environment: String,
    pub scope: ReportScope,
    pub dry_run: bool,
    /// Whether this was a dry run because the mode of the environment is `observe`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub observed: bool,
    /// Why the payload was ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub outcomes: Vec<Outcome>,
    /// The outcomes of a large answer, in place of `outcomes`: their JSON as gzip, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed_outcomes: Option<String>,
    /// Errors while listing services and names. Nothing that depends on the missing data was decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_errors: Vec<String>,
    /// What a deployment should know although nothing failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    pub changes: Changes,
    pub api_calls: ApiCalls,
    /// Throttled attempts. The SDK retried them.
    pub throttles: ApiCalls,
    /// Present after a full pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full_pass: Option<FullPass>,
}

impl Report {
    /// A report without outcomes.
    pub fn new(environment: &str, scope: ReportScope, dry_run: bool) -> Report {
        Report {
            environment: environment.to_owned(),
            scope,
            dry_run,
            observed: false,
            reason: None,
            outcomes: Vec::new(),
            compressed_outcomes: None,
            read_errors: Vec::new(),
            notes: Vec::new(),
            changes: Changes::default(),
            api_calls: ApiCalls::default(),
            throttles: ApiCalls::default(),
            full_pass: None,
        }
    }

    /// The outcomes that a retry may change.
    pub fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(|outcome| outcome.status == Status::Failed)
    }
}

/// The outcomes of a run of several rounds.
#[derive(Clone, Debug, Default)]
pub struct Outcomes(BTreeMap<ServiceArn, Outcome>);

impl Outcomes {
    /// Adds the outcomes of a later round. They replace earlier ones, with one exception: if an earlier round
    /// changed the service and the later one found it in sync, the change is reported.
    pub fn add(&mut self, round: impl IntoIterator<Item = Outcome>) {
        for outcome in round {
            let changed_before = self.0.get(&outcome.service).is_some_and(|before| {
                matches!(
                    before.status,
                    Status::Registered | Status::Updated | Status::Adopted | Status::Deregistered
                )
            });
            let is_in_sync = matches!(outcome.status, Status::Unchanged | Status::Ignored);
            if !(changed_before && is_in_sync) {
                self.0.insert(outcome.service.clone(), outcome);
            }
        }
    }

    pub fn has_failed(&self, service: &ServiceArn) -> bool {
        self.0.get(service).is_some_and(|outcome| outcome.status == Status::Failed)
    }

    /// Replaces the status and the reason of a service by a failure.
    pub fn fail(&mut self, service: &ServiceArn, reason: &str) {
        self.replace(service, Status::Failed, reason);
    }

    /// Replaces the status and the reason of a service.
    pub fn replace(&mut self, service: &ServiceArn, status: Status, reason: &str) {
        let blank = || Outcome {
            service: service.clone(),
            name: None,
            zone: None,
            status,
            target: None,
            reason: None,
            applied: None,
        };
        let outcome = self.0.entry(service.clone()).or_insert_with(blank);
        outcome.status = status;
        outcome.reason = Some(reason.to_owned());
    }

    /// Adds a name that a service lost to the service's outcome, unless the outcome contains it already.
    pub fn add_loss(&mut self, service: &ServiceArn, (zone, name): &ZoneName) {
        let outcome = self.0.entry(service.clone()).or_insert_with(|| Outcome {
            service: service.clone(),
            name: Some(name.clone()),
            zone: Some(zone.clone()),
            status: Status::Deregistered,
            target: None,
            reason: None,
            applied: None,
        });
        let is_contained = outcome.reason.as_ref().is_some_and(|text| text.contains(name.as_str()));
        if outcome.name.as_ref() != Some(name) && !is_contained {
            let before =
                outcome.reason.take().map_or(String::new(), |reason| format!("{reason}; "));
            outcome.reason = Some(format!("{before}the service no longer has {name}"));
        }
    }

    /// Sorted by ARN.
    pub fn into_vec(self) -> Vec<Outcome> {
        self.0.into_values().collect()
    }
}

fn as_text<S: serde::Serializer>(
    value: &impl std::fmt::Display,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn as_text_keys<S: serde::Serializer>(
    map: &BTreeMap<HostedZoneId, usize>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(map.iter().map(|(zone, records)| (zone.as_str(), records)))
}

#[allow(clippy::ref_option, reason = "serde passes the field by reference")]
fn as_optional_text<S: serde::Serializer>(
    value: &Option<impl std::fmt::Display>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{arn, name};

    fn outcome(status: Status) -> Outcome {
        Outcome {
            service: arn("orders"),
            name: Some(name("orders")),
            zone: Some(HostedZoneId::new("Z1")),
            status,
            target: None,
            reason: None,
            applied: None,
        }
    }

    fn check(rounds: &[Status]) -> Vec<&'static str> {
        let mut outcomes = Outcomes::default();
        for status in rounds {
            outcomes.add([outcome(*status)]);
        }
        outcomes.into_vec().iter().map(|outcome| outcome.status.as_str()).collect()
    }

    #[test]
    fn a_change_of_an_earlier_round_is_reported_although_a_later_one_finds_it_in_sync() {
        assert_eq!(check(&[Status::Registered, Status::Unchanged]), ["registered"]);
        assert_eq!(check(&[Status::Deregistered, Status::Ignored]), ["deregistered"]);
        assert_eq!(check(&[Status::Registered, Status::Conflict]), ["conflict"]);
        assert_eq!(check(&[Status::Failed, Status::Unchanged]), ["unchanged"]);
    }

    #[test]
    fn a_lost_name_is_part_of_the_outcome() {
        let at = |text: &str| (HostedZoneId::new("Z1"), name(text));
        let mut outcomes = Outcomes::default();
        outcomes.add([outcome(Status::Conflict)]);
        for lost in ["orders", "old", "old"] {
            outcomes.add_loss(&arn("orders"), &at(lost));
        }
        outcomes.add_loss(&arn("web"), &at("web"));
        let shown: Vec<String> = outcomes
            .into_vec()
            .iter()
            .map(|Outcome { name, status, reason, .. }| format!("{name:?} {status:?} {reason:?}"))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r#"
        Some(DnsName("orders.internal")) Conflict Some("the service no longer has old.internal")
        Some(DnsName("web.internal")) Deregistered None
        "#);
    }

    #[test]
    fn the_answer_has_the_documented_shape() {
        let report = Report {
            outcomes: vec![outcome(Status::Registered)],
            changes: Changes { created: 2, deleted: 0 },
            api_calls: ApiCalls { ecs: 1, elb: 2, route53: 2 },
            ..Report::new("dev", ReportScope::Service, false)
        };
        insta::assert_json_snapshot!(report, @r#"
        {
          "environment": "dev",
          "scope": "service",
          "dryRun": false,
          "outcomes": [
            {
              "service": "arn:aws:ecs:eu-west-1:111122223333:service/dev/orders",
              "name": "orders.internal",
              "zone": "Z1",
              "status": "registered",
              "target": null,
              "reason": null
            }
          ],
          "changes": {
            "created": 2,
            "deleted": 0
          },
          "apiCalls": {
            "ecs": 1,
            "elb": 2,
            "route53": 2
          },
          "throttles": {
            "ecs": 0,
            "elb": 0,
            "route53": 0
          }
        }
        "#);
    }
}

//! Shared by the tests of the domain: one account, one environment, and values in short notation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::domain::check::SafePlan;
use crate::domain::deployment::Departure;
use crate::domain::desired::{Desired, DesiredState, Form, Record};
use crate::domain::dns::{DnsName, RecordData, RecordType, Rrset, Ttl};
use crate::domain::marker::{Marker, Nonce};
use crate::domain::plan::{NameChange, Plan, plan};
use crate::domain::service::{AwsLocation, HostedZoneId, ServiceArn};
use crate::domain::trigger::{Options, Scope, Trigger};
use crate::domain::zone::{EnvironmentIdentity, ZoneView};

pub(crate) fn location() -> AwsLocation {
    AwsLocation::of_function("arn:aws:lambda:eu-west-1:111122223333:function:discovery")
        .expect("a function's ARN")
}

/// The environment `dev`, formerly `old-dev`.
pub(crate) fn identity() -> EnvironmentIdentity {
    EnvironmentIdentity {
        environment: "dev".into(),
        former_names: BTreeSet::from(["old-dev".into()]),
        location: location(),
    }
}

/// A service of the cluster `dev`, or of another one in the form `cluster/service`.
pub(crate) fn arn(service: &str) -> ServiceArn {
    let (cluster, service) = service.split_once('/').unwrap_or(("dev", service));
    ServiceArn::new(&location(), cluster, service).expect("a valid name")
}

/// `text.internal`.
pub(crate) fn name(text: &str) -> DnsName {
    DnsName::parse(&format!("{text}.internal")).expect("a valid name")
}

/// The DNS name of a load balancer.
pub(crate) fn balancer(text: &str) -> DnsName {
    DnsName::parse(&format!("{text}.elb.amazonaws.com")).expect("a valid name")
}

pub(crate) fn cname(at: &str, target: &str) -> Rrset {
    Rrset::cname(name(at), &balancer(target), Ttl::DEFAULT)
}

pub(crate) fn plain(at: &str, record_type: &str, value: &str) -> Rrset {
    Rrset {
        name: name(at),
        record_type: RecordType::parse(record_type),
        data: RecordData::Plain { ttl_seconds: 60, values: vec![value.into()] },
    }
}

/// A marker of the environment `dev`.
pub(crate) fn marker(at: &str, service: &str) -> Rrset {
    marker_of("dev", at, arn(service))
}

pub(crate) fn marker_of(environment: &str, at: &str, service: ServiceArn) -> Rrset {
    let records = Some(BTreeSet::from([RecordType::Cname]));
    let marker = Marker { environment: environment.into(), service, records, is_contested: false };
    marker.rrset(&name(at), Nonce::default(), None)
}

/// A trigger on one line.
pub(crate) fn show(trigger: &Trigger) -> String {
    let flags = |options: &Options| {
        let dry = if options.dry_run { " dry" } else { "" };
        let over = if options.override_delete_limit { " override" } else { "" };
        format!("{dry}{over}")
    };
    let join = |zones: &BTreeSet<HostedZoneId>| {
        zones.iter().map(HostedZoneId::as_str).collect::<Vec<_>>().join(", ")
    };
    match trigger {
        Trigger::Ignore { reason } => format!("ignored: {reason}"),
        Trigger::Unreadable { reason } => format!("unreadable: {reason}"),
        Trigger::Scheduled => "full pass of the schedule".into(),
        Trigger::CheckZones => "check zones".into(),
        Trigger::Leave(Departure::Zones(zones)) => format!("leave zones {}", join(zones)),
        Trigger::Leave(Departure::Names { logical_id }) => format!("leave as {logical_id}"),
        Trigger::SetNegativeTtl { zone, seconds } => format!("negative TTL {seconds} in {zone}"),
        Trigger::Deregister { zone, options } => {
            let zone = zone.as_ref().map_or(String::new(), |zone| format!(" in {zone}"));
            format!("deregister{zone}{}", flags(options))
        }
        Trigger::Reconcile { scope: Scope::FullPass(_), options } => {
            format!("full pass{}", flags(options))
        }
        Trigger::Reconcile { scope: Scope::Services(targets), options } => {
            let services = targets.services.iter().map(|service| {
                let retagged = if targets.retagged.contains(service) { " retagged" } else { "" };
                let deleted = if targets.deleted.contains(service) { " deleted" } else { "" };
                format!("{}/{}{retagged}{deleted}", service.cluster(), service.service())
            });
            let services = services.collect::<Vec<_>>().join(", ");
            let hint: Vec<String> = targets.hint.iter().map(ToString::to_string).collect();
            let hint = match hint.as_slice() {
                [] => String::new(),
                hint => format!(" hint {}", hint.join(", ")),
            };
            format!("{services}{hint}{}", flags(options))
        }
    }
}

/// The desired state: a CNAME to a load balancer.
pub(crate) fn record(at: &str, target: &str) -> DesiredState {
    DesiredState::Record(Record {
        zone: HostedZoneId::new("Z1"),
        name: name(at),
        target: balancer(target),
        form: Form::Cname(Ttl::DEFAULT),
        adopts: true,
        kept_targets: Arc::default(),
    })
}

/// One zone with its records, and the desired states of the services.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scene {
    pub(crate) rrsets: Vec<Rrset>,
    pub(crate) desired: Vec<(ServiceArn, Desired)>,
}

impl Scene {
    /// A record of this environment, with its marker.
    pub(crate) fn managed(mut self, at: &str, service: &str, target: &str) -> Scene {
        self.rrsets.extend([cname(at, target), marker(at, service)]);
        self
    }

    pub(crate) fn marker_only(mut self, at: &str, service: &str) -> Scene {
        self.rrsets.push(marker(at, service));
        self
    }

    pub(crate) fn foreign(mut self, at: &str, record_type: &str, value: &str) -> Scene {
        self.rrsets.push(plain(at, record_type, value));
        self
    }

    pub(crate) fn service(self, service: &str, state: DesiredState) -> Scene {
        self.older_service(service, 0, state)
    }

    pub(crate) fn older_service(
        mut self,
        service: &str,
        created_at_ms: i64,
        state: DesiredState,
    ) -> Scene {
        self.desired.push((arn(service), Desired { created_at_ms, state }));
        self
    }

    pub(crate) fn plan(&self) -> Plan {
        let view = ZoneView::whole(self.rrsets.clone());
        let zones = BTreeMap::from([(HostedZoneId::new("Z1"), view)]);
        plan(&self.desired.iter().cloned().collect(), &zones, &identity(), Nonce::default())
    }

    /// Applies a plan with Route 53's rules.
    pub(crate) fn apply(&mut self, plan: &SafePlan) -> Result<(), String> {
        for batch in plan.batches() {
            self.apply_changes(batch.into_iter().flatten())?;
        }
        Ok(())
    }

    /// Applies one batch. Its order does not matter, because Route 53 compares a batch with the zone as a whole.
    pub(crate) fn apply_changes<'a>(
        &mut self,
        changes: impl Iterator<Item = &'a NameChange>,
    ) -> Result<(), String> {
        for change in changes {
            for rrset in &change.deletes {
                let at = self.rrsets.iter().position(|present| present == rrset);
                self.rrsets.remove(at.ok_or(format!("delete of absent {rrset:?}"))?);
            }
            for rrset in &change.creates {
                let taken = self.rrsets.iter().any(|present| {
                    present.name == rrset.name
                        && (present.record_type == rrset.record_type
                            || present.record_type == RecordType::Cname
                            || rrset.record_type == RecordType::Cname)
                });
                if taken {
                    return Err(format!("create over {rrset:?}"));
                }
                self.rrsets.push(rrset.clone());
            }
        }
        Ok(())
    }
}

/// A plan, one line per record set and outcome.
pub(crate) fn show_plan(plan: &SafePlan) -> String {
    let mut lines = Vec::new();
    for change in plan.changes() {
        let rrset = |sign, rrset: &Rrset| format!("{sign} {} {rrset}", rrset.name);
        lines.extend(change.deletes.iter().map(|deleted| rrset('-', deleted)));
        lines.extend(change.creates.iter().map(|created| rrset('+', created)));
    }
    for outcome in plan.outcomes() {
        let reason = outcome.reason.as_ref().map_or(String::new(), |text| format!(": {text}"));
        let status = outcome.status.as_str();
        lines.push(format!("{} {status}{reason}", outcome.service.service()));
    }
    lines.join("\n").replace("arn:aws:ecs:eu-west-1:111122223333:service/", "…/")
}

//! Proves to Route 53 that a zone belongs to this version of the function, and takes zones over from older versions.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::aws::deadline::Deadline;
use crate::aws::rate_limiter::Priority;
use crate::aws::route53::{ChangeError, ListError, Route53};
use crate::domain::dns::DnsName;
use crate::domain::generation::{Turn, Version, proof, record_name, removal};
use crate::domain::plan::NameChange;
use crate::domain::service::HostedZoneId;
use crate::domain::zone::EnvironmentIdentity;

/// The most attempts to take a zone over. Each of them follows a refusal, because another version took the zone over
/// at the same time.
const MAX_ATTEMPTS: usize = 3;

/// Why the records of this version stay in a zone that leaves the environment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaveError {
    /// AWS rejected a request, for example because of a missing permission. A retry does not help.
    #[error("{0}")]
    Rejected(String),
    #[error("{0}")]
    Failed(String),
}

/// What a run knows about the zones that it changes.
pub(crate) struct Turns<'a> {
    route53: &'a Route53,
    /// `None` if the configuration has no generation: then every version may change the zones.
    version: Option<Version>,
    identity: EnvironmentIdentity,
    names: BTreeMap<HostedZoneId, DnsName>,
    /// A zone that is missing here belongs to this version, as far as the run knows.
    read: RefCell<BTreeMap<HostedZoneId, Turn>>,
}

impl<'a> Turns<'a> {
    pub(crate) fn new(
        route53: &'a Route53,
        version: Option<Version>,
        identity: EnvironmentIdentity,
        zones: BTreeMap<HostedZoneId, DnsName>,
    ) -> Turns<'a> {
        let names = zones.into_iter().filter_map(|(zone, name)| {
            let name = record_name(&identity, &name)?;
            Some((zone, name))
        });
        let names = names.collect();
        Turns { route53, version, identity, names, read: RefCell::default() }
    }

    /// For a run that may change the zones whatever version they belong to.
    pub(crate) fn without_proof(self) -> Turns<'a> {
        let read = self.names.keys().map(|zone| (zone.clone(), Turn::Unprotected)).collect();
        Turns { read: RefCell::new(read), ..self }
    }

    /// What a batch of `zone` has to contain, or the reason why this version may not change the zone.
    pub(crate) fn proof(&self, zone: &HostedZoneId) -> Result<Option<NameChange>, String> {
        let (Some(version), Some(name)) = (&self.version, self.names.get(zone)) else {
            return Ok(None);
        };
        match self.read.borrow().get(zone) {
            Some(Turn::Outdated(reason)) => Err(reason.clone()),
            Some(Turn::Unprotected) => Ok(None),
            None | Some(Turn::Current | Turn::TakeOver(_)) => {
                Ok(Some(proof(zone, name, &version.generation)))
            }
        }
    }

    /// Decides whose turn it is in a zone, because Route 53 refused the proof or because of a deployment. If this is a
    /// newer version than the zone belongs to, it takes the zone over.
    pub(crate) async fn decide(&self, zone: &HostedZoneId, priority: Priority, deadline: Deadline) {
        let turn = self.take_over(zone, priority, deadline).await.unwrap_or_else(|error| {
            Turn::Outdated(format!("{error}; so the version that changes the zone is unknown"))
        });
        self.read.borrow_mut().insert(zone.clone(), turn);
    }

    /// Takes all zones over for a deployment, even those without a change. Returns the errors.
    pub(crate) async fn decide_all(&self, priority: Priority, deadline: Deadline) -> Vec<String> {
        let mut errors = Vec::new();
        for zone in self.names.keys() {
            self.decide(zone, priority, deadline).await;
            errors.extend(self.proof(zone).err());
        }
        errors
    }

    async fn take_over(
        &self,
        zone: &HostedZoneId,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<Turn, String> {
        let (Some(version), Some(name)) = (&self.version, self.names.get(zone)) else {
            return Ok(Turn::Unprotected);
        };
        for _ in 0..MAX_ATTEMPTS {
            let rrsets = self.route53.list(zone, Some(name), priority, deadline).await;
            let turn = version.turn(zone, name, &rrsets.map_err(|error| error.to_string())?);
            let Turn::TakeOver(change) = &turn else { return Ok(turn) };
            match self.route53.change(None, &[change], priority, deadline).await {
                Ok(()) => return Ok(Turn::Current),
                // Another version took the zone over since.
                Err(ChangeError::Refused(refusal)) if refusal.blames_within(name) => {}
                // There is no room in the zone. That must not stop the changes of records that exist.
                Err(ChangeError::Refused(_)) => return Ok(Turn::Unprotected),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(format!("other versions took over the zone {zone} {MAX_ATTEMPTS} times in a row"))
    }

    /// Why the names of a zone have to stay although the zone or the whole stack goes: they belong to another stack by
    /// now, or the zone cannot be read, so that nothing can be deleted. An error that a retry may overcome is no such
    /// reason.
    pub(crate) async fn reason_to_stay(
        &self,
        zone: &HostedZoneId,
        deadline: Deadline,
    ) -> Option<String> {
        let (route53, priority) = (self.route53, Priority::Background);
        let protected = self.version.as_ref().zip(self.names.get(zone));
        let belongs_to_another = match protected {
            Some((version, name)) => route53
                .list(zone, Some(name), priority, deadline)
                .await
                .map(|rrsets| version.belongs_to_another(name, &rrsets)),
            None => route53.probe(zone, priority, deadline).await.map(|()| false),
        };
        match belongs_to_another {
            Ok(belongs_to_another) => belongs_to_another.then(|| {
                format!(
                    "the zone {zone} belongs to another stack or version by now, so its names stay"
                )
            }),
            Err(error @ ListError::Rejected(_)) => {
                Some(format!("{error}; the names of the zone stay"))
            }
            Err(ListError::NoSuchZone(_) | ListError::Failed(_)) => None,
        }
    }

    /// Removes the generation from a zone that leaves the environment.
    pub(crate) async fn leave(
        &self,
        zone: &HostedZoneId,
        deadline: Deadline,
    ) -> Result<(), LeaveError> {
        if self.version.is_none() {
            return Ok(());
        }
        let priority = Priority::Background;
        let records = async {
            let Some(name) = self.name_in(zone, priority, deadline).await? else {
                return Ok(None);
            };
            let rrsets = self.route53.list(zone, Some(&name), priority, deadline).await?;
            Ok(Some((name, rrsets)))
        };
        let (name, rrsets) = match records.await {
            Ok(Some(records)) => records,
            Ok(None) | Err(ListError::NoSuchZone(_)) => return Ok(()),
            Err(error @ ListError::Rejected(_)) => {
                return Err(LeaveError::Rejected(error.to_string()));
            }
            Err(error @ ListError::Failed(_)) => return Err(LeaveError::Failed(error.to_string())),
        };
        let Some(change) = removal(zone, &name, rrsets) else { return Ok(()) };
        let sent = self.route53.change(None, &[&change], priority, deadline).await;
        sent.map_err(|error| match error {
            ChangeError::Rejected { .. } => LeaveError::Rejected(error.to_string()),
            _ => LeaveError::Failed(error.to_string()),
        })
    }

    /// The name of the record with the generation. The configuration does not have a zone that has left it.
    async fn name_in(
        &self,
        zone: &HostedZoneId,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<Option<DnsName>, ListError> {
        if let Some(name) = self.names.get(zone) {
            return Ok(Some(name.clone()));
        }
        let apex = self.route53.apex(zone, priority, deadline).await?;
        Ok(apex.and_then(|apex| record_name(&self.identity, &apex)))
    }
}

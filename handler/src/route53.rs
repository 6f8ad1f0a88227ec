//! Reads and changes the records of Route 53 hosted zones.
//!
//! The only writer. A change is a CREATE or a DELETE of exactly what was seen, never an UPSERT,
//! so Route 53 refuses what was planned on an outdated view.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_route53::Client;
use aws_sdk_route53::config::Builder;
use aws_sdk_route53::error::SdkError;
use aws_sdk_route53::operation::change_resource_record_sets::ChangeResourceRecordSetsError;
use aws_sdk_route53::operation::list_resource_record_sets::ListResourceRecordSetsError;
use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::aws::{AwsError, Calls, Pace};
use crate::dns::{DnsName, RecordData, RecordType, Rrset};
use crate::plan::NameChange;
use crate::service::HostedZoneId;

/// Route 53 gives at most 300 record sets a page.
const PAGE: i32 = 300;

const LIST: &str = "route53:ListResourceRecordSets";
const CHANGE: &str = "route53:ChangeResourceRecordSets";

/// Half of the ten requests a second that Route 53 takes from the whole account.
fn requests() -> Pace {
    Pace::new(Duration::from_millis(200), 1)
}

/// Half of the hundred changes a second, and of the 1,500 at once, that Route 53 takes from the whole
/// account. Two batches of a queue, of which no more are handled at once, use it up and do not go over.
fn changes() -> Pace {
    Pace::new(Duration::from_millis(20), 750)
}

#[derive(Debug)]
pub struct Route53 {
    client: Client,
    pub calls: Calls,
    unhurried: AtomicBool,
    requests: Pace,
    changes: Pace,
}

/// Why a change batch was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Some change in it does not fit what the zone holds: nothing of the batch was applied.
    #[error("Route 53 refused the change: {0}")]
    Refused(Refusal),
    /// It is not known whether it was applied.
    #[error(transparent)]
    Failed(AwsError),
}

/// Why a zone could not be listed.
struct ListError {
    error: AwsError,
    /// Whether the zone does not exist.
    is_gone: bool,
}

/// What Route 53 says against a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    /// Whether it speaks of the change's name or marker. Its sentences have several forms, but
    /// all of them tell the name whole.
    #[must_use]
    pub fn blames(&self, change: &NameChange) -> bool {
        let apart = |c: char| c.is_whitespace() || "'\"[]()=,;".contains(c);
        let (name, marker) = (&change.name, change.name.marker());
        self.0
            .split(apart)
            .filter_map(|word| DnsName::parse(word).ok())
            .any(|word| word == *name || word == marker)
    }
}

impl Route53 {
    #[must_use]
    pub fn new(config: Builder) -> Route53 {
        let calls = Calls::default();
        let config = config.interceptor(calls.clone()).build();
        Route53 {
            client: Client::from_conf(config),
            calls,
            unhurried: AtomicBool::new(false),
            requests: requests(),
            changes: changes(),
        }
    }

    /// Whether what comes now is in no hurry, and leaves half of the rate to others in the account.
    pub fn set_unhurried(&self, unhurried: bool) {
        self.unhurried.store(unhurried, Ordering::Relaxed);
    }

    async fn turn(&self, changes: usize) {
        if self.unhurried.load(Ordering::Relaxed) {
            self.changes.turn(u32::try_from(changes).unwrap_or(u32::MAX)).await;
            self.requests.turn(1).await;
        }
    }

    /// Lists a zone from its beginning to its end.
    ///
    /// # Errors
    /// If any page could not be read.
    pub async fn list_zone(&self, zone: &HostedZoneId) -> Result<Vec<Rrset>, AwsError> {
        self.list(zone, None).await
    }

    /// The same for a zone that may be gone: then nothing stands there any more.
    ///
    /// # Errors
    /// If any page could not be read.
    pub async fn list_zone_if_any(&self, zone: &HostedZoneId) -> Result<Vec<Rrset>, AwsError> {
        match self.list_pages(zone, None).await {
            Err(ListError { is_gone: true, .. }) => Ok(Vec::new()),
            Err(ListError { error, .. }) => Err(error),
            Ok(rrsets) => Ok(rrsets),
        }
    }

    /// Lists what stands at `name` and below it, its marker among that. In Route 53's order
    /// (by labels from the right) all of that stands together, mostly on one page.
    ///
    /// # Errors
    /// If any page could not be read.
    pub async fn list_name(
        &self,
        zone: &HostedZoneId,
        name: &DnsName,
    ) -> Result<Vec<Rrset>, AwsError> {
        self.list(zone, Some(name)).await
    }

    async fn list(
        &self,
        zone: &HostedZoneId,
        name: Option<&DnsName>,
    ) -> Result<Vec<Rrset>, AwsError> {
        self.list_pages(zone, name).await.map_err(|ListError { error, .. }| error)
    }

    async fn list_pages(
        &self,
        zone: &HostedZoneId,
        name: Option<&DnsName>,
    ) -> Result<Vec<Rrset>, ListError> {
        let subject = || match name {
            Some(name) => format!("{name} in the zone {zone}"),
            None => format!("the zone {zone}"),
        };
        let mut rrsets = Vec::new();
        let mut request = self.client.list_resource_record_sets().hosted_zone_id(zone.as_str());
        if let Some(name) = name {
            request = request.start_record_name(name.as_str());
        }
        loop {
            self.turn(0).await;
            let page = request.max_items(PAGE).send().await.map_err(|error| ListError {
                is_gone: error
                    .as_service_error()
                    .is_some_and(ListResourceRecordSetsError::is_no_such_hosted_zone),
                error: AwsError::sdk(LIST, subject(), &error),
            })?;
            for rrset in page.resource_record_sets() {
                rrsets.push(read(rrset).map_err(|error| ListError {
                    is_gone: false,
                    error: AwsError::new(LIST, subject(), error.to_string()),
                })?);
            }
            let Some(next) = page.next_record_name().filter(|_| page.is_truncated()) else {
                return Ok(rrsets);
            };
            let beyond = name
                .is_some_and(|name| DnsName::parse(next).is_ok_and(|next| !next.is_within(name)));
            if beyond {
                return Ok(rrsets);
            }
            request = self
                .client
                .list_resource_record_sets()
                .hosted_zone_id(zone.as_str())
                .start_record_name(next)
                .set_start_record_type(page.next_record_type().cloned())
                .set_start_record_identifier(page.next_record_identifier().map(str::to_owned));
        }
    }

    /// Applies a batch of changes, all of one zone, whole or not at all.
    ///
    /// # Errors
    /// If Route 53 refused it, or could not be asked.
    pub async fn change(&self, batch: &[&NameChange]) -> Result<(), ChangeError> {
        let Some(first) = batch.first() else {
            return Ok(());
        };
        let subject = || match batch {
            [only] => only.name.to_string(),
            several => format!("{} and {} more names", first.name, several.len() - 1),
        };
        let failed = |cause: String| ChangeError::Failed(AwsError::new(CHANGE, subject(), cause));
        let mut changes = Vec::new();
        for name_change in batch {
            // First the deletes: a CNAME can only be created where nothing stands any more.
            let deletes = name_change.deletes.iter().map(|rrset| (ChangeAction::Delete, rrset));
            let creates = name_change.creates.iter().map(|rrset| (ChangeAction::Create, rrset));
            for (action, rrset) in deletes.chain(creates) {
                let rrset = write(rrset).map_err(&failed)?;
                let change = Change::builder().action(action).resource_record_set(rrset).build();
                changes.push(change.map_err(|error| failed(error.to_string()))?);
            }
        }
        self.turn(changes.len()).await;
        let changes = ChangeBatch::builder().set_changes(Some(changes)).build();
        let changes = changes.map_err(|error| failed(error.to_string()))?;
        self.client
            .change_resource_record_sets()
            .hosted_zone_id(first.zone.as_str())
            .change_batch(changes)
            .send()
            .await
            .map(drop)
            .map_err(|error| match refusal(&error) {
                Some(messages) => ChangeError::Refused(Refusal(messages)),
                None => ChangeError::Failed(AwsError::sdk(CHANGE, subject(), &error)),
            })
    }
}

/// What Route 53 says against a batch, if it refused it. It says so in two forms: an
/// `ErrorResponse` with the code InvalidChangeBatch, which the SDK understands, and a bare
/// `InvalidChangeBatch` with a list of messages, which the SDK leaves unhandled.
fn refusal(error: &SdkError<ChangeResourceRecordSetsError, HttpResponse>) -> Option<String> {
    if let Some(ChangeResourceRecordSetsError::InvalidChangeBatch(refusal)) =
        error.as_service_error()
    {
        let mut messages: Vec<&str> = refusal.messages().iter().map(String::as_str).collect();
        messages.extend(refusal.message());
        return Some(messages.join(", "));
    }
    let body = error.raw_response()?.body().bytes()?;
    let body = std::str::from_utf8(body).ok()?;
    bare_refusal(body)
}

fn bare_refusal(body: &str) -> Option<String> {
    let (_, inside) = body.split_once("<InvalidChangeBatch")?;
    let messages: Vec<String> = inside
        .split("<Message>")
        .skip(1)
        .filter_map(|rest| rest.split_once("</Message>"))
        .map(|(message, _)| {
            // The five entities that XML predefines; `&amp;` last, or it would make new ones.
            message
                .replace("&lt;", "<")
                .replace("&gt;", ">")
                .replace("&quot;", "\"")
                .replace("&apos;", "'")
                .replace("&amp;", "&")
        })
        .collect();
    Some(messages.join(", "))
}

fn read(rrset: &ResourceRecordSet) -> Result<Rrset, crate::dns::NameError> {
    let special = if let Some(identifier) = rrset.set_identifier() {
        Some(format!("one of several by routing policy, {identifier:?}"))
    } else if rrset.health_check_id().is_some() {
        Some("with a health check".to_owned())
    } else if rrset.traffic_policy_instance_id().is_some() {
        Some("made by a traffic policy".to_owned())
    } else {
        None
    };
    let data = match (special, rrset.alias_target(), rrset.ttl()) {
        (Some(what), _, _) => RecordData::Special(what),
        (None, Some(alias), _) if alias.evaluate_target_health() => RecordData::Special(format!(
            "an alias to {} that depends on its health",
            alias.dns_name()
        )),
        (None, Some(alias), _) => RecordData::Alias {
            zone: alias.hosted_zone_id().to_owned(),
            target: alias.dns_name().to_owned(),
        },
        (None, None, None) => RecordData::Special("without a TTL".to_owned()),
        (None, None, Some(ttl_seconds)) => RecordData::Plain {
            ttl_seconds,
            values: rrset
                .resource_records()
                .iter()
                .map(|record| record.value().to_owned())
                .collect(),
        },
    };
    Ok(Rrset {
        name: DnsName::parse(rrset.name())?,
        record_type: RecordType::parse(rrset.r#type().as_str()),
        data,
    })
}

fn write(rrset: &Rrset) -> Result<ResourceRecordSet, String> {
    let builder = ResourceRecordSet::builder()
        .name(rrset.name.as_str())
        .r#type(RrType::from(rrset.record_type.as_str()));
    let builder = match &rrset.data {
        RecordData::Plain { ttl_seconds, values } => {
            let records: Result<Vec<_>, _> =
                values.iter().map(|value| ResourceRecord::builder().value(value).build()).collect();
            let records = records.map_err(|error| error.to_string())?;
            builder.ttl(*ttl_seconds).set_resource_records(Some(records))
        }
        RecordData::Alias { zone, target } => {
            let alias = AliasTarget::builder().hosted_zone_id(zone).dns_name(target);
            // With it, a load balancer without targets would not resolve at all.
            let alias = alias.evaluate_target_health(false).build();
            builder.alias_target(alias.map_err(|error| error.to_string())?)
        }
        RecordData::Special(_) => return Err(format!("{} {rrset} cannot be written", rrset.name)),
    };
    builder.build().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    #[test]
    fn a_refusal_tells_which_names_it_is_about() {
        let blamed = |messages: &str| {
            let blames = |name: &&str| {
                let name = format!("{name}.example.internal");
                Refusal(messages.into()).blames(&NameChange {
                    zone: HostedZoneId::new("Z1"),
                    name: DnsName::parse(&name).expect("a valid name"),
                    deletes: vec![],
                    creates: vec![],
                    services: std::collections::BTreeSet::new(),
                    is_loss: false,
                })
            };
            ["a", "b", "c"].into_iter().filter(blames).collect::<String>()
        };
        assert_eq!(
            blamed(
                "Tried to create resource record set [name='a.example.internal.', type='CNAME'] but it already exists"
            ),
            "a"
        );
        assert_eq!(
            blamed(
                "[Tried to delete resource record set [name='_discovery.b.example.internal.', type='TXT'] but it was not found, RRSet of type CNAME with DNS name C.example.internal. is not permitted as it conflicts with other records with the same DNS name in zone example.internal.]"
            ),
            "bc"
        );
        assert_eq!(
            blamed(
                "RRSet of type A with DNS name a.example.internal. is not permitted because a conflicting RRSet of type CNAME with the same DNS name already exists in zone example.internal."
            ),
            "a"
        );
        assert_eq!(
            blamed(
                "The request contains an invalid set of changes for a resource record set 'TXT _discovery.c.example.internal.'"
            ),
            "c"
        );
        assert_eq!(blamed("Some changes in example.internal. are not permitted"), "");
    }

    #[test]
    fn the_bare_form_of_a_refusal_is_read() {
        let body = "<?xml version=\"1.0\"?><InvalidChangeBatch xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Messages><Message>Tried to create resource record set [name=&apos;x.&apos;, type=&apos;CNAME&apos;] but it already exists</Message><Message>a &amp;lt; b</Message></Messages></InvalidChangeBatch>";
        assert_snapshot!(
            bare_refusal(body).unwrap_or_default(),
            @"Tried to create resource record set [name='x.', type='CNAME'] but it already exists, a &lt; b"
        );
        assert_eq!(
            bare_refusal("<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>"),
            None
        );
    }
}

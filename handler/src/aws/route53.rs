//! Lists and changes the records of Route 53 hosted zones.
//!
//! The only writer. Every change is a CREATE, or a DELETE of exactly the record that was read, never an
//! UPSERT. So Route 53 refuses a change that was planned on an outdated view. The one exception is a zone's SOA record,
//! which belongs to no service.

use std::time::Duration;

use aws_sdk_route53::Client;
use aws_sdk_route53::config::Builder;
use aws_sdk_route53::error::SdkError;
use aws_sdk_route53::operation::change_resource_record_sets::ChangeResourceRecordSetsError;
use aws_sdk_route53::operation::get_hosted_zone::GetHostedZoneError;
use aws_sdk_route53::operation::list_resource_record_sets::ListResourceRecordSetsError;
use aws_sdk_route53::types::{
    AliasTarget, Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::aws::deadline::{Deadline, OutOfTime};
use crate::aws::pages::Pages;
use crate::aws::rate_limiter::{Priority, RateLimiter};
use crate::aws::{AwsError, RequestCounter, TooManyRequests, is_rejection, retry_partition};
use crate::domain::dns::{DnsName, NameError, RecordData, RecordType, Rrset};
use crate::domain::plan::NameChange;
use crate::domain::service::{HostedZoneId, ReadError, VpcId};

const MAX_PAGE_SIZE: i32 = 300;

/// The record sets that a request for one name returns: those of the name, its marker, and some of the names that
/// follow. A whole page would have 300, and cost the processor more time than the rest of an event.
const FIRST_ITEMS: i32 = 8;

const LIST: &str = "route53:ListResourceRecordSets";
const GET: &str = "route53:GetHostedZone";
const CHANGE: &str = "route53:ChangeResourceRecordSets";

/// Half of the ten requests a second that Route 53 allows for the whole account.
fn request_limiter() -> RateLimiter {
    RateLimiter::new(Duration::from_millis(200), 1)
}

/// Route 53 allows 1,500 changes at once and then 100 per second for the whole account. A run uses half of this,
/// because the handler may process two batches of the queue at once.
fn change_limiter() -> RateLimiter {
    RateLimiter::new(Duration::from_millis(20), 750)
}

#[derive(Debug)]
pub struct Route53 {
    client: Client,
    pub(super) counter: RequestCounter,
    request_limiter: RateLimiter,
    change_limiter: RateLimiter,
}

/// Why a change batch was not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// At least one change does not fit the zone's records. Route 53 applied nothing of the batch.
    #[error("Route 53 refused the change: {0}")]
    Refused(Refusal),
    /// AWS answered that the request itself is at fault: the role may not make one of the changes, or one of them
    /// is invalid. Nothing of the batch was applied.
    #[error("{error}")]
    Rejected { error: AwsError, is_permanent: bool },
    /// Nothing was sent.
    #[error("skipped: the invocation was about to time out")]
    OutOfTime,
    /// Route 53 may or may not have applied the batch.
    #[error(transparent)]
    Failed(AwsError),
}

/// Why a zone could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    #[error(transparent)]
    NoSuchZone(AwsError),
    /// AWS rejected the request, for example because of a missing permission. A retry does not help.
    #[error(transparent)]
    Rejected(AwsError),
    #[error(transparent)]
    Failed(AwsError),
}

/// Why a zone cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// It is not the zone that the configuration describes.
    #[error("{0}")]
    WrongZone(String),
    #[error(transparent)]
    Unread(#[from] ListError),
}

impl From<ListError> for ReadError {
    fn from(error: ListError) -> ReadError {
        ReadError(error.to_string())
    }
}

/// Route 53's messages about a batch that it refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    /// Whether the zone has no room for more records. No message names the change then. AWS does not document its
    /// text.
    pub fn is_about_room(&self) -> bool {
        let text = self.0.to_ascii_lowercase();
        text.contains("limit") && text.contains("exceeded")
            || text.contains("cannot have more than")
    }

    /// Whether the refused changes do not fit the records that Route 53 has now. They may fit after they are planned
    /// again. With any other message, Route 53 will refuse the same change each time: the zone is full, or the
    /// record set is protected.
    pub fn is_outdated(&self) -> bool {
        const MESSAGES: [&str; 6] = [
            "already exist",
            "not found",
            "do not match",
            "conflict",
            "rdata provided is invalid",
            "invalid set of changes",
        ];
        self.0.is_empty() || MESSAGES.iter().any(|message| self.0.contains(message))
    }

    /// Whether one of Route 53's messages contains the name of the change or of its marker. The messages have
    /// several forms. All of them contain the whole name.
    pub fn blames(&self, change: &NameChange) -> bool {
        let (name, marker) = (&change.name, change.name.marker());
        self.names().any(|word| word == *name || word == marker)
    }

    /// Whether one of Route 53's messages contains `name` or a name below it.
    pub fn blames_within(&self, name: &DnsName) -> bool {
        self.names().any(|word| word.is_within(name))
    }

    fn names(&self) -> impl Iterator<Item = DnsName> {
        let is_separator = |c: char| c.is_whitespace() || "'\"[]()=,;".contains(c);
        self.0.split(is_separator).filter_map(|word| DnsName::parse(word).ok())
    }
}

impl Route53 {
    pub fn new(config: Builder) -> Route53 {
        let counter = RequestCounter::default();
        let config = config
            .interceptor(counter.clone())
            .retry_classifier(TooManyRequests)
            .retry_partition(retry_partition("route53"))
            .build();
        Route53 {
            client: Client::from_conf(config),
            counter,
            request_limiter: request_limiter(),
            change_limiter: change_limiter(),
        }
    }

    async fn acquire(
        &self,
        priority: Priority,
        changes: usize,
        deadline: Deadline,
    ) -> Result<(), OutOfTime> {
        let changes = u32::try_from(changes).unwrap_or(u32::MAX);
        self.change_limiter.acquire_in_background(priority, changes, deadline).await?;
        self.request_limiter.acquire_in_background(priority, 1, deadline).await
    }

    /// Lists a whole zone, or only the records at the name `within` and below it. Route 53 sorts names by their labels
    /// from the right, so those records follow each other.
    pub async fn list(
        &self,
        zone: &HostedZoneId,
        within: Option<&DnsName>,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<Vec<Rrset>, ListError> {
        let subject = || match within {
            Some(name) => subject(zone, name),
            None => format!("the zone {zone}"),
        };
        let mut list = Listing::new(self, zone, &subject, priority, deadline);
        let (mut start, mut max_items) = match within {
            Some(name) => (Some(Start::at(name)), FIRST_ITEMS),
            None => (None, MAX_PAGE_SIZE),
        };
        loop {
            match list.page(start, max_items).await? {
                Some(next) if within.is_none_or(|name| next.may_be_within(name)) => {
                    start = Some(next);
                }
                _ => return Ok(list.rrsets),
            }
            max_items = MAX_PAGE_SIZE;
        }
    }

    /// Lists the records at `name` and at the name of its marker, and maybe some others. The marker is below `name`,
    /// where thousands of other names may come before it. So if it is not on the first page, a second request starts
    /// at it.
    pub async fn list_name(
        &self,
        zone: &HostedZoneId,
        name: &DnsName,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<Vec<Rrset>, ListError> {
        let marker = name.marker();
        let subject = || subject(zone, name);
        let mut list = Listing::new(self, zone, &subject, priority, deadline);
        let (mut start, mut max_items) = (Start::at(name), FIRST_ITEMS);
        let mut has_reached_marker = false;
        loop {
            let Some(next) = list.page(Some(start), max_items).await? else {
                return Ok(list.rrsets);
            };
            has_reached_marker |= list.rrsets.iter().any(|rrset| rrset.name == marker);
            if next.is_at(name) || next.is_at(&marker) {
                (start, max_items) = (next, MAX_PAGE_SIZE);
            } else if has_reached_marker || !next.may_be_within(name) {
                return Ok(list.rrsets);
            } else {
                (start, max_items) = (Start::at(&marker), FIRST_ITEMS);
                has_reached_marker = true;
            }
        }
    }

    /// Checks that a zone is private, has this name, and belongs to these VPCs. In a public zone everybody could read
    /// the names, and in a zone of other VPCs nobody could resolve them.
    pub async fn check(
        &self,
        zone: &HostedZoneId,
        name: &DnsName,
        vpcs: &[VpcId],
        priority: Priority,
        deadline: Deadline,
    ) -> Result<(), CheckError> {
        let subject = || format!("the zone {zone}");
        let wrong = |problem: String| Err(CheckError::WrongZone(problem));
        let request = self.client.get_hosted_zone().id(zone.as_str());
        let send = async {
            self.acquire(priority, 0, deadline).await?;
            deadline.send(request.send()).await
        };
        let answer = send.await.map_err(|error| {
            let failed = AwsError::sdk(GET, subject(), &error);
            match error.as_service_error() {
                Some(GetHostedZoneError::NoSuchHostedZone(_)) => ListError::NoSuchZone(failed),
                _ if is_rejection(&error) => ListError::Rejected(failed),
                _ => ListError::Failed(failed),
            }
        })?;
        let Some(found) = &answer.hosted_zone else {
            let incomplete = AwsError::new(GET, subject(), "the answer has no HostedZone");
            return Err(ListError::Failed(incomplete).into());
        };
        if !found.config().is_some_and(|config| config.private_zone()) {
            return wrong(format!(
                "the zone {zone} ({}) is public, so everybody could read its names; give a private zone",
                found.name()
            ));
        }
        if DnsName::parse(found.name()).ok().as_ref() != Some(name) {
            return wrong(format!("the zone {zone} has the name {}, not {name}", found.name()));
        }
        for vpc in vpcs {
            if !answer.vpcs().iter().any(|found| found.vpc_id() == Some(vpc.as_str())) {
                return wrong(format!(
                    "the zone {zone} ({name}) is not associated with {vpc}, so nobody there could resolve its names; \
                     associate it with `aws route53 associate-vpc-with-hosted-zone --hosted-zone-id {zone} \
                     --vpc VPCRegion=REGION,VPCId={vpc}`"
                ));
            }
        }
        Ok(())
    }

    /// Finds out whether a zone can be listed, with one request.
    pub async fn probe(
        &self,
        zone: &HostedZoneId,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<(), ListError> {
        let subject = || format!("the zone {zone}");
        Listing::new(self, zone, &subject, priority, deadline).page(None, 1).await.map(drop)
    }

    /// The name of a zone. Route 53 lists the records at it first, and they always exist.
    pub async fn apex(
        &self,
        zone: &HostedZoneId,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<Option<DnsName>, ListError> {
        let subject = || format!("the zone {zone}");
        let mut listing = Listing::new(self, zone, &subject, priority, deadline);
        listing.page(None, 1).await?;
        Ok(listing.rrsets.into_iter().next().map(|first| first.name))
    }

    /// The SOA record of a zone.
    pub async fn soa(
        &self,
        zone: &HostedZoneId,
        name: &DnsName,
        deadline: Deadline,
    ) -> Result<Rrset, AwsError> {
        let subject = || format!("the SOA record of {name} in the zone {zone}");
        let request = self
            .client
            .list_resource_record_sets()
            .hosted_zone_id(zone.as_str())
            .start_record_name(name.as_str())
            .start_record_type(RrType::Soa)
            .max_items(1);
        let page = deadline
            .send(request.send())
            .await
            .map_err(|error| AwsError::sdk(LIST, subject(), &error))?;
        let first = page.resource_record_sets().first().map(read);
        let missing =
            || AwsError::new(LIST, subject(), "Route 53 returned no such record".to_owned());
        match first {
            Some(Ok(rrset)) if rrset.name == *name && rrset.record_type.as_str() == "SOA" => {
                Ok(rrset)
            }
            Some(Err(error)) => Err(AwsError::new(LIST, subject(), error.to_string())),
            _ => Err(missing()),
        }
    }

    /// Replaces the SOA record of a zone. A zone always has one, so this is the only UPSERT.
    pub async fn replace_soa(
        &self,
        zone: &HostedZoneId,
        soa: &Rrset,
        deadline: Deadline,
    ) -> Result<(), AwsError> {
        let failed =
            |cause: String| AwsError::new(CHANGE, format!("the SOA record of {}", soa.name), cause);
        let rrset = write(soa).map_err(failed)?;
        let change = Change::builder().action(ChangeAction::Upsert).resource_record_set(rrset);
        let change = change.build().map_err(|error| failed(error.to_string()))?;
        let batch = ChangeBatch::builder().changes(change).build();
        let batch = batch.map_err(|error| failed(error.to_string()))?;
        let request = self.client.change_resource_record_sets().hosted_zone_id(zone.as_str());
        let subject = || format!("the SOA record of {}", soa.name);
        let sent = deadline.send(request.change_batch(batch).send()).await;
        sent.map(drop).map_err(|error| AwsError::sdk(CHANGE, subject(), &error))
    }

    /// Applies a batch of changes of one zone, after the proof that the zone belongs to this version of the function.
    /// Route 53 applies all of them or none.
    pub async fn change(
        &self,
        proof: Option<&NameChange>,
        batch: &[&NameChange],
        priority: Priority,
        deadline: Deadline,
    ) -> Result<(), ChangeError> {
        let Some(first) = batch.first() else {
            return Ok(());
        };
        let subject = || match batch {
            [only] => only.name.to_string(),
            several => format!("{} and {} more names", first.name, several.len() - 1),
        };
        let failed = |cause: String| ChangeError::Failed(AwsError::new(CHANGE, subject(), cause));
        let mut changes = Vec::new();
        for name_change in proof.iter().chain(batch) {
            // Deletes come first: a CNAME can only be created at a name without other records.
            let deletes = name_change.deletes.iter().map(|rrset| (ChangeAction::Delete, rrset));
            let creates = name_change.creates.iter().map(|rrset| (ChangeAction::Create, rrset));
            for (action, rrset) in deletes.chain(creates) {
                let rrset = write(rrset).map_err(&failed)?;
                let change = Change::builder().action(action).resource_record_set(rrset).build();
                changes.push(change.map_err(|error| failed(error.to_string()))?);
            }
        }
        let acquired = self.acquire(priority, changes.len(), deadline).await;
        acquired.map_err(|_| ChangeError::OutOfTime)?;
        let changes = ChangeBatch::builder().set_changes(Some(changes)).build();
        let changes = changes.map_err(|error| failed(error.to_string()))?;
        let request = self
            .client
            .change_resource_record_sets()
            .hosted_zone_id(first.zone.as_str())
            .change_batch(changes);
        deadline.send(request.send()).await.map(drop).map_err(|error| match refusal(&error) {
            Some(messages) => ChangeError::Refused(Refusal(messages)),
            None => {
                let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
                let is_permanent = code == Some("InvalidInput");
                let is_rejected = is_rejection(&error);
                let error = AwsError::sdk(CHANGE, subject(), &error);
                if is_rejected {
                    ChangeError::Rejected { error, is_permanent }
                } else {
                    ChangeError::Failed(error)
                }
            }
        })
    }
}

fn subject(zone: &HostedZoneId, name: &DnsName) -> String {
    format!("{name} in the zone {zone}")
}

/// The record set that a page of a list begins with.
struct Start {
    name: String,
    record_type: Option<RrType>,
    identifier: Option<String>,
}

impl Start {
    fn at(name: &DnsName) -> Start {
        Start { name: name.as_str().to_owned(), record_type: None, identifier: None }
    }

    fn is_at(&self, name: &DnsName) -> bool {
        DnsName::parse(&self.name).is_ok_and(|start| start == *name)
    }

    /// Whether the page may contain records at `name` or below it.
    fn may_be_within(&self, name: &DnsName) -> bool {
        !DnsName::parse(&self.name).is_ok_and(|start| !start.is_within(name))
    }

    fn token(&self) -> String {
        let Start { name, record_type, identifier } = self;
        let record_type = record_type.as_ref().map_or("", RrType::as_str);
        [name, record_type, identifier.as_deref().unwrap_or_default()].join(" ")
    }
}

/// A list of record sets, page by page.
struct Listing<'a> {
    route53: &'a Route53,
    zone: &'a HostedZoneId,
    subject: &'a (dyn Fn() -> String + Sync),
    priority: Priority,
    deadline: Deadline,
    pages: Pages,
    rrsets: Vec<Rrset>,
}

impl<'a> Listing<'a> {
    fn new(
        route53: &'a Route53,
        zone: &'a HostedZoneId,
        subject: &'a (dyn Fn() -> String + Sync),
        priority: Priority,
        deadline: Deadline,
    ) -> Listing<'a> {
        let (pages, rrsets) = (Pages::default(), Vec::new());
        Listing { route53, zone, subject, priority, deadline, pages, rrsets }
    }

    /// Reads one page, and returns the start of the next one. `None` after the last page.
    async fn page(
        &mut self,
        start: Option<Start>,
        max_items: i32,
    ) -> Result<Option<Start>, ListError> {
        let subject = self.subject;
        let incomplete = |cause: &str| ListError::Failed(AwsError::new(LIST, subject(), cause));
        self.pages.next(start.as_ref().map(Start::token)).map_err(incomplete)?;
        let mut request = self
            .route53
            .client
            .list_resource_record_sets()
            .hosted_zone_id(self.zone.as_str())
            .max_items(max_items);
        if let Some(Start { name, record_type, identifier }) = start {
            request = request
                .start_record_name(name)
                .set_start_record_type(record_type)
                .set_start_record_identifier(identifier);
        }
        let send = async {
            self.route53.acquire(self.priority, 0, self.deadline).await?;
            self.deadline.send(request.send()).await
        };
        let page = send.await.map_err(|error| {
            let failed = AwsError::sdk(LIST, subject(), &error);
            match error.as_service_error() {
                Some(ListResourceRecordSetsError::NoSuchHostedZone(_)) => {
                    ListError::NoSuchZone(failed)
                }
                _ if is_rejection(&error) => ListError::Rejected(failed),
                _ => ListError::Failed(failed),
            }
        })?;
        for rrset in page.resource_record_sets() {
            let rrset = read(rrset).map_err(|error| incomplete(&error.to_string()))?;
            self.rrsets.push(rrset);
        }
        if !page.is_truncated() {
            return Ok(None);
        }
        let next = page
            .next_record_name
            .ok_or_else(|| incomplete("a page that is not the last one has no next"))?;
        let next = Start {
            name: next,
            record_type: page.next_record_type,
            identifier: page.next_record_identifier,
        };
        Ok(Some(next))
    }
}

/// Route 53's messages if it refused the batch. They arrive in two forms: an `ErrorResponse` with the code
/// InvalidChangeBatch, which the SDK parses, and a bare `InvalidChangeBatch` element with a list of
/// messages, which the SDK leaves unhandled.
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
            // The five predefined entities of XML. `&amp;` comes last, so that it creates no new ones.
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

fn read(rrset: &ResourceRecordSet) -> Result<Rrset, NameError> {
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
        (Some(special), _, _) => RecordData::Special(special),
        (None, Some(alias), _) => RecordData::Alias {
            zone: alias.hosted_zone_id().to_owned(),
            target: alias.dns_name().to_owned(),
            evaluates_health: alias.evaluate_target_health(),
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
        RecordData::Alias { zone, target, evaluates_health } => {
            let alias = AliasTarget::builder().hosted_zone_id(zone).dns_name(target);
            let alias = alias.evaluate_target_health(*evaluates_health).build();
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
    fn a_refusal_blames_exactly_the_names_in_its_messages() {
        let blamed = |messages: &str| {
            let blames = |name: &&str| {
                let name = format!("{name}.example.internal");
                Refusal(messages.into()).blames(&NameChange {
                    zone: HostedZoneId::new("Z1"),
                    name: DnsName::parse(&name).expect("a valid name"),
                    deletes: vec![],
                    creates: vec![],
                    winner: None,
                    holder: None,
                    replaced_by: None,
                    note: None,
                    loss: None,
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
    fn the_bare_form_of_a_refusal_is_parsed() {
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

//! Answers DNS questions from the hosted zones, as the resolver of each VPC would.
//!
//! Nothing is kept between two questions, so an answer shows what Route 53 holds at that moment.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_route53::types::ResourceRecordSet;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Message, Metadata, Query, ResponseCode};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use crate::ministack::LocalAws;

/// The resolver of one VPC, until it is dropped.
pub struct Resolver {
    pub address: SocketAddr,
    _server: Server<View>,
}

/// What an application in the VPC is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name is an alias of another (CNAME), without the trailing dot.
    Alias(String),
    /// Something else stands there, in zone file form.
    Records(Vec<String>),
    /// There is no such name (NXDOMAIN).
    NoSuchName,
    /// There is the name, but nothing of the type that was asked for.
    NoData,
}

struct View {
    route53: aws_sdk_route53::Client,
    /// The private zones that the VPC is associated with, by name.
    zones: Vec<(Name, String)>,
}

impl Resolver {
    /// Serves a VPC's view on a free port of the loopback interface, over UDP and TCP. The zones
    /// are those that the VPC is associated with: MiniStack forgets that of zones which
    /// CloudFormation makes, so it cannot be asked.
    ///
    /// # Errors
    /// If no port is free, or a zone is not there.
    pub async fn start(aws: &LocalAws, zones: &[&str]) -> Result<Resolver> {
        let mut named = Vec::new();
        for zone in zones {
            let found = aws.route53.get_hosted_zone().id(*zone).send().await;
            let found = found.with_context(|| format!("GetHostedZone {zone}"))?;
            let name = found.hosted_zone().context("a zone without content")?.name();
            named.push((Name::from_ascii(name)?, (*zone).to_owned()));
        }
        let view = View { route53: aws.route53.clone(), zones: named };
        let mut server = Server::new(view);
        let (udp, tcp) = same_port().await?;
        let address = udp.local_addr()?;
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 16);
        Ok(Resolver { address, _server: server })
    }

    /// Asks as an application would, for an address.
    ///
    /// # Errors
    /// If there is no answer, or one that says that the resolver failed.
    pub async fn ask(&self, name: &str) -> Result<Answer> {
        let mut question = Message::query();
        question.add_query(Query::query(Name::from_ascii(format!("{name}."))?, RecordType::A));
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(self.address).await?;
        socket.send(&question.to_vec()?).await?;
        let mut buffer = vec![0; 4096];
        let length = timeout(Duration::from_secs(10), socket.recv(&mut buffer))
            .await
            .with_context(|| format!("no DNS answer for {name} from {}", self.address))??;
        let answer = Message::from_vec(&buffer[..length])?;
        ensure!(answer.metadata.id == question.metadata.id, "an answer to another question");
        match answer.metadata.response_code {
            ResponseCode::NXDomain => return Ok(Answer::NoSuchName),
            ResponseCode::NoError => {}
            other => anyhow::bail!("the resolver answered {other} for {name}"),
        }
        let data: Vec<&RData> = answer.answers.iter().map(|record| &record.data).collect();
        Ok(match data.as_slice() {
            [] => Answer::NoData,
            [RData::CNAME(target)] => {
                Answer::Alias(target.to_string().trim_end_matches('.').to_owned())
            }
            several => Answer::Records(several.iter().map(ToString::to_string).collect()),
        })
    }
}

/// A UDP and a TCP socket on one free port.
async fn same_port() -> Result<(UdpSocket, TcpListener)> {
    for _ in 0..20 {
        let udp = UdpSocket::bind("127.0.0.1:0").await?;
        if let Ok(tcp) = TcpListener::bind(udp.local_addr()?).await {
            return Ok((udp, tcp));
        }
    }
    anyhow::bail!("no port is free for both UDP and TCP")
}

#[async_trait::async_trait]
impl RequestHandler for View {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let mut answers = Vec::new();
        let mut authority = Vec::new();
        metadata.response_code = match request.request_info() {
            Err(_) => ResponseCode::FormErr,
            Ok(info) => {
                let name = Name::from(info.query.name());
                match self.find(&name, info.query.query_type()).await {
                    Err(error) => {
                        eprintln!("DNS, {name}: {error:#}");
                        ResponseCode::ServFail
                    }
                    Ok(found) => {
                        metadata.authoritative = found.code != ResponseCode::Refused;
                        answers = found.answers;
                        authority = found.authority;
                        found.code
                    }
                }
            }
        };
        let response = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            answers.iter(),
            [],
            authority.iter(),
            [],
        );
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                eprintln!("DNS: {error}");
                hickory_server::proto::op::Header {
                    metadata,
                    counts: hickory_server::proto::op::HeaderCounts::default(),
                }
                .into()
            }
        }
    }
}

struct Found {
    code: ResponseCode,
    answers: Vec<Record>,
    authority: Vec<Record>,
}

impl View {
    async fn find(&self, name: &Name, record_type: RecordType) -> Result<Found> {
        let mut zones: Vec<&(Name, String)> =
            self.zones.iter().filter(|(zone, _)| zone.zone_of(name)).collect();
        // The most specific zone answers, with no falling back to another.
        zones.sort_by_key(|(zone, _)| zone.num_labels());
        let Some((_, zone)) = zones.pop() else {
            return Ok(Found {
                code: ResponseCode::Refused,
                answers: Vec::new(),
                authority: Vec::new(),
            });
        };
        let rrsets = self.list(zone).await?;
        let named = |rrset: &&ResourceRecordSet| {
            Name::from_ascii(rrset.name()).is_ok_and(|found| found == *name)
        };
        let mut answers = Vec::new();
        for rrset in rrsets.iter().filter(named) {
            let found: RecordType = rrset.r#type().as_str().parse()?;
            if found == record_type || found == RecordType::CNAME {
                answers.extend(records(rrset, found)?);
            }
        }
        let below = |rrset: &ResourceRecordSet| {
            Name::from_ascii(rrset.name()).is_ok_and(|found| name.zone_of(&found))
        };
        let exists = rrsets.iter().any(below);
        let mut authority = Vec::new();
        if answers.is_empty() {
            for rrset in rrsets.iter().filter(|rrset| rrset.r#type().as_str() == "SOA") {
                authority.extend(records(rrset, RecordType::SOA)?);
            }
        }
        let code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        Ok(Found { code, answers, authority })
    }

    async fn list(&self, zone: &str) -> Result<Vec<ResourceRecordSet>> {
        let mut all = Vec::new();
        let mut request = self.route53.list_resource_record_sets().hosted_zone_id(zone);
        loop {
            let page = request.send().await.context("ListResourceRecordSets")?;
            all.extend_from_slice(page.resource_record_sets());
            let Some(next) = page.next_record_name().filter(|_| page.is_truncated()) else {
                return Ok(all);
            };
            request = self
                .route53
                .list_resource_record_sets()
                .hosted_zone_id(zone)
                .start_record_name(next)
                .set_start_record_type(page.next_record_type().cloned())
                .set_start_record_identifier(page.next_record_identifier().map(str::to_owned));
        }
    }
}

fn records(rrset: &ResourceRecordSet, record_type: RecordType) -> Result<Vec<Record>> {
    let name = Name::from_ascii(rrset.name())?;
    let ttl = u32::try_from(rrset.ttl().unwrap_or_default())?;
    let record = |value: &str| -> Result<Record> {
        // Names in values are absolute, with or without the dot that says so.
        let named = matches!(record_type, RecordType::CNAME | RecordType::NS);
        let absolute =
            if named && !value.ends_with('.') { format!("{value}.") } else { value.to_owned() };
        let data = RData::try_from_str(record_type, &absolute)
            .map_err(|error| anyhow::anyhow!("{value:?} as {record_type}: {error}"))?;
        Ok(Record::from_rdata(name.clone(), ttl, data))
    };
    rrset.resource_records().iter().map(|value| record(value.value())).collect()
}

//! A DNS server for each VPC that answers from its hosted zones, like the resolver of a VPC.
//!
//! It keeps nothing between two queries, so an answer shows the records of Route 53 at that moment.
//!
//! Unlike the resolver of a VPC, it does not resolve names outside of the zones. The load balancers of the
//! local AWS have no addresses, so a CNAME is answered alone, and an ALIAS record with an address that is
//! [made up](made_up_ipv4) from the load balancer's name.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use aws_sdk_route53::types::ResourceRecordSet;
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::proto::op::{Message, Metadata, Query, ResponseCode};
use hickory_server::proto::rr::{Name, RData, Record, RecordType};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::{Instant, sleep, timeout};

use crate::ministack::LocalAws;
use crate::terminal::print_error;

/// The longest time for a step that takes milliseconds on an idle machine. The tests' machines are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The DNS server of one VPC. It runs until it is dropped.
pub struct Resolver {
    pub address: SocketAddr,
    _server: Server<Zones>,
}

/// The answer to a query for an IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsAnswer {
    /// The name is a CNAME of this name, which has no trailing dot.
    Cname(String),
    /// Other records, in the form of a zone file.
    Records(Vec<String>),
    /// The name does not exist (NXDOMAIN).
    NoSuchName,
    /// The name exists, but has no record of the type.
    NoData,
}

/// Lists the records of a hosted zone.
#[async_trait]
trait ListRecords: Send + Sync {
    async fn list(&self, zone: &str) -> Result<Vec<ResourceRecordSet>>;
}

/// The private hosted zones of a VPC.
struct Zones {
    records: Box<dyn ListRecords>,
    /// The name and the id of each zone.
    zones: Vec<(Name, String)>,
}

impl Resolver {
    /// Serves these zones on a free port of the loopback interface, over UDP and TCP. MiniStack does not
    /// return the VPCs of zones that CloudFormation created, so the caller passes the zones.
    pub async fn start(aws: &LocalAws, zones: &[&str]) -> Result<Resolver> {
        let mut named = Vec::new();
        for zone in zones {
            let found = aws.route53.get_hosted_zone().id(*zone).send().await;
            let found = found.with_context(|| format!("GetHostedZone {zone}"))?;
            let name = found.hosted_zone().context("GetHostedZone returned no zone")?.name();
            named.push((Name::from_ascii(name)?, (*zone).to_owned()));
        }
        Resolver::serve(Zones { records: Box::new(aws.route53.clone()), zones: named }).await
    }

    async fn serve(zones: Zones) -> Result<Resolver> {
        let mut server = Server::new(zones);
        let (udp, tcp) = same_port().await?;
        let address = udp.local_addr()?;
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 16);
        Ok(Resolver { address, _server: server })
    }

    /// Queries the IPv4 address of a name.
    pub async fn query(&self, name: &str) -> Result<DnsAnswer> {
        let data = match self.query_type(name, RecordType::A).await? {
            (ResponseCode::NXDomain, _) => return Ok(DnsAnswer::NoSuchName),
            (ResponseCode::NoError, data) => data,
            (other, _) => bail!("the resolver answered {other} for {name}"),
        };
        Ok(match data.as_slice() {
            [] => DnsAnswer::NoData,
            [RData::CNAME(target)] => {
                DnsAnswer::Cname(target.to_string().trim_end_matches('.').to_owned())
            }
            several => DnsAnswer::Records(several.iter().map(ToString::to_string).collect()),
        })
    }

    /// Waits until a name resolves as expected, and returns how long that took.
    pub async fn resolves(&self, name: &str, expected: &DnsAnswer) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let answer = self.query(name).await?;
            if answer == *expected {
                return Ok(begun.elapsed());
            }
            if begun.elapsed() > PATIENCE {
                bail!("{name} is {answer:?} after {PATIENCE:?}, expected {expected:?}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn query_type(
        &self,
        name: &str,
        record_type: RecordType,
    ) -> Result<(ResponseCode, Vec<RData>)> {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(format!("{name}."))?, record_type));
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        socket.connect(self.address).await?;
        socket.send(&query.to_vec()?).await?;
        let mut buffer = vec![0; 4096];
        let length = timeout(Duration::from_secs(10), socket.recv(&mut buffer))
            .await
            .with_context(|| format!("no DNS answer for {name} from {}", self.address))??;
        let answer = Message::from_vec(&buffer[..length])?;
        ensure!(answer.metadata.id == query.metadata.id, "the answer belongs to another query");
        let data = answer.answers.into_iter().map(|record| record.data).collect();
        Ok((answer.metadata.response_code, data))
    }
}

/// The address with which an ALIAS record to this name is answered. It lies in 198.18.0.0/15, which is reserved
/// for benchmarks (RFC 2544), so nothing answers there.
pub fn made_up_ipv4(name: &str) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + (hash(name) & 0x1_ffff))
}

/// Like [`made_up_ipv4`], in 2001:2::/48, the range for benchmarks of IPv6 (RFC 5180).
pub fn made_up_ipv6(name: &str) -> Ipv6Addr {
    let range = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0);
    Ipv6Addr::from_bits(range.to_bits() + u128::from(hash(name)))
}

fn hash(name: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    name.trim_end_matches('.').to_ascii_lowercase().hash(&mut hasher);
    u32::try_from(hasher.finish() >> 32).unwrap_or_default()
}

/// A UDP and a TCP socket on one free port.
async fn same_port() -> Result<(UdpSocket, TcpListener)> {
    for _ in 0..20 {
        let udp = UdpSocket::bind("127.0.0.1:0").await?;
        if let Ok(tcp) = TcpListener::bind(udp.local_addr()?).await {
            return Ok((udp, tcp));
        }
    }
    bail!("no port is free for both UDP and TCP")
}

#[async_trait]
impl RequestHandler for Zones {
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
                        print_error(format!("DNS, {name}: {error:#}"));
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
                print_error(format!("DNS: {error}"));
                hickory_server::proto::op::Header {
                    metadata,
                    counts: hickory_server::proto::op::HeaderCounts::default(),
                }
                .into()
            }
        }
    }
}

struct FoundRecords {
    code: ResponseCode,
    answers: Vec<Record>,
    authority: Vec<Record>,
}

impl Zones {
    async fn find(&self, name: &Name, record_type: RecordType) -> Result<FoundRecords> {
        let mut zones: Vec<&(Name, String)> =
            self.zones.iter().filter(|(zone, _)| zone.zone_of(name)).collect();
        // Like Route 53, only the most specific zone answers. The others are not searched.
        zones.sort_by_key(|(zone, _)| zone.num_labels());
        let Some((_, zone)) = zones.pop() else {
            return Ok(FoundRecords {
                code: ResponseCode::Refused,
                answers: Vec::new(),
                authority: Vec::new(),
            });
        };
        look_up(&self.records.list(zone).await?, name, record_type)
    }
}

/// Looks up a name in the records of its zone.
fn look_up(
    rrsets: &[ResourceRecordSet],
    name: &Name,
    record_type: RecordType,
) -> Result<FoundRecords> {
    let mut answers = Vec::new();
    for rrset in at_name(rrsets, name) {
        let found: RecordType = rrset.r#type().as_str().parse()?;
        if found == record_type || found == RecordType::CNAME {
            answers.extend(records(rrset, found, rrsets)?);
        }
    }
    let below = |rrset: &ResourceRecordSet| {
        Name::from_ascii(rrset.name()).is_ok_and(|found| name.zone_of(&found))
    };
    let exists = rrsets.iter().any(below);
    let mut authority = Vec::new();
    if answers.is_empty() {
        for rrset in rrsets.iter().filter(|rrset| rrset.r#type().as_str() == "SOA") {
            authority.extend(records(rrset, RecordType::SOA, rrsets)?.into_iter().map(negative));
        }
    }
    let code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
    Ok(FoundRecords { code, answers, authority })
}

/// The SOA record of a negative answer. Its TTL is the time for which resolvers remember the answer (RFC 2308,
/// section 3).
fn negative(mut soa: Record) -> Record {
    if let RData::SOA(data) = &soa.data {
        soa.ttl = soa.ttl.min(data.minimum);
    }
    soa
}

fn at_name<'a>(
    rrsets: &'a [ResourceRecordSet],
    name: &Name,
) -> impl Iterator<Item = &'a ResourceRecordSet> {
    rrsets
        .iter()
        .filter(move |rrset| Name::from_ascii(rrset.name()).is_ok_and(|found| found == *name))
}

/// The records of a set. `zone` contains all sets, among them the target of an alias within the zone.
fn records(
    rrset: &ResourceRecordSet,
    record_type: RecordType,
    zone: &[ResourceRecordSet],
) -> Result<Vec<Record>> {
    let name = Name::from_ascii(rrset.name())?;
    if let Some(alias) = rrset.alias_target() {
        let target = Name::from_ascii(alias.dns_name())?;
        let inside = at_name(zone, &target)
            .find(|found| found.r#type() == rrset.r#type() && found.alias_target().is_none());
        return match inside {
            Some(inside) => {
                let mut found = records(inside, record_type, &[])?;
                found.iter_mut().for_each(|record| record.name = name.clone());
                Ok(found)
            }
            None => {
                let data = match record_type {
                    RecordType::A => RData::A(made_up_ipv4(alias.dns_name()).into()),
                    RecordType::AAAA => RData::AAAA(made_up_ipv6(alias.dns_name()).into()),
                    _ => return Ok(Vec::new()),
                };
                // The TTL that Elastic Load Balancing has for its names.
                Ok(vec![Record::from_rdata(name, 60, data)])
            }
        };
    }
    let ttl = u32::try_from(rrset.ttl().unwrap_or_default())?;
    let record = |value: &str| -> Result<Record> {
        // Route 53 takes names in values as absolute, with or without a trailing dot.
        let has_name = matches!(record_type, RecordType::CNAME | RecordType::NS);
        let absolute =
            if has_name && !value.ends_with('.') { format!("{value}.") } else { value.to_owned() };
        let data = RData::try_from_str(record_type, &absolute)
            .map_err(|error| anyhow::anyhow!("{value:?} as {record_type}: {error}"))?;
        Ok(Record::from_rdata(name.clone(), ttl, data))
    };
    rrset.resource_records().iter().map(|value| record(value.value())).collect()
}

#[async_trait]
impl ListRecords for aws_sdk_route53::Client {
    async fn list(&self, zone: &str) -> Result<Vec<ResourceRecordSet>> {
        let mut all = Vec::new();
        let mut request = self.list_resource_record_sets().hosted_zone_id(zone);
        loop {
            let page = request.send().await.context("ListResourceRecordSets")?;
            all.extend_from_slice(page.resource_record_sets());
            let Some(next) = page.next_record_name().filter(|_| page.is_truncated()) else {
                return Ok(all);
            };
            request = self
                .list_resource_record_sets()
                .hosted_zone_id(zone)
                .start_record_name(next)
                .set_start_record_type(page.next_record_type().cloned())
                .set_start_record_identifier(page.next_record_identifier().map(str::to_owned));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_route53::types::{AliasTarget, ResourceRecord, RrType};

    const BALANCER: &str = "orders-1.eu-central-2.elb.amazonaws.com";

    struct FixedRecords(Vec<(&'static str, ResourceRecordSet)>);

    #[async_trait]
    impl ListRecords for FixedRecords {
        async fn list(&self, zone: &str) -> Result<Vec<ResourceRecordSet>> {
            let found = self.0.iter().filter(|(id, _)| *id == zone);
            Ok(found.map(|(_, rrset)| rrset.clone()).collect())
        }
    }

    fn plain(name: &str, record_type: &str, value: &str) -> ResourceRecordSet {
        let value = ResourceRecord::builder().value(value).build().expect("it has a value");
        ResourceRecordSet::builder()
            .name(name)
            .r#type(RrType::from(record_type))
            .ttl(60)
            .resource_records(value)
            .build()
            .expect("it is complete")
    }

    fn alias(name: &str, record_type: &str, target: &str) -> ResourceRecordSet {
        let target = AliasTarget::builder()
            .dns_name(target)
            .hosted_zone_id("ZBALANCERS")
            .evaluate_target_health(false)
            .build()
            .expect("it is complete");
        ResourceRecordSet::builder()
            .name(name)
            .r#type(RrType::from(record_type))
            .alias_target(target)
            .build()
            .expect("it is complete")
    }

    async fn resolver() -> Resolver {
        let soa = "ns.internal. hostmaster.internal. 1 7200 900 1209600 86400";
        let upper_case = format!("dualstack.{}.", BALANCER.to_uppercase());
        let records = vec![
            ("Z1", plain("internal.", "SOA", soa)),
            ("Z1", plain("orders.internal.", "CNAME", BALANCER)),
            ("Z1", plain("_discovery.orders.internal.", "TXT", "\"heritage=ecs-discovery\"")),
            ("Z1", plain("billing.internal.", "A", "10.0.0.7")),
            ("Z1", plain("_discovery.below.internal.", "TXT", "\"x\"")),
            ("Z1", alias("shop.internal.", "A", &upper_case)),
            ("Z1", alias("shop.internal.", "AAAA", &upper_case)),
            ("Z1", alias("invoices.internal.", "A", "billing.internal.")),
            ("Z1", plain("hidden.dev.internal.", "A", "10.0.0.8")),
            ("Z2", plain("dev.internal.", "SOA", soa)),
        ];
        let name = |name| Name::from_ascii(name).expect("it is a name");
        let zones = vec![(name("internal."), "Z1".into()), (name("dev.internal."), "Z2".into())];
        let zones = Zones { records: Box::new(FixedRecords(records)), zones };
        Resolver::serve(zones).await.expect("a port is free")
    }

    async fn check(name: &str, expected: DnsAnswer) {
        let resolver = resolver().await;
        assert_eq!(resolver.query(name).await.expect("it answers"), expected, "{name}");
    }

    #[tokio::test]
    async fn a_cname_is_answered_with_its_target() {
        check("orders.internal", DnsAnswer::Cname(BALANCER.into())).await;
    }

    #[tokio::test]
    async fn an_alias_of_a_load_balancer_is_answered_with_a_made_up_address() {
        let target = format!("dualstack.{BALANCER}");
        let address = made_up_ipv4(&target);
        assert_eq!(address.octets()[..1], [198]);
        assert!([18, 19].contains(&address.octets()[1]), "{address}");
        check("shop.internal", DnsAnswer::Records(vec![address.to_string()])).await;

        let answer = resolver().await.query_type("shop.internal", RecordType::AAAA).await;
        let expected = vec![RData::AAAA(made_up_ipv6(&target).into())];
        assert_eq!(answer.expect("it answers"), (ResponseCode::NoError, expected));
        assert_ne!(made_up_ipv4("a.example.com"), made_up_ipv4("b.example.com"));
    }

    #[tokio::test]
    async fn an_alias_within_the_zone_is_answered_with_the_records_of_its_target() {
        check("invoices.internal", DnsAnswer::Records(vec!["10.0.0.7".into()])).await;
    }

    #[tokio::test]
    async fn a_name_without_records_does_not_exist() {
        check("nobody.internal", DnsAnswer::NoSuchName).await;
    }

    #[tokio::test]
    async fn a_name_with_other_records_or_with_names_below_it_has_no_data() {
        check("_discovery.orders.internal", DnsAnswer::NoData).await;
        check("below.internal", DnsAnswer::NoData).await;
    }

    #[test]
    fn a_negative_answer_has_the_lesser_of_the_two_negative_ttls_of_the_zone() {
        let name = Name::from_ascii("nobody.internal.").expect("it is a name");
        for (minimum, expected) in [(5, 5), (86400, 60)] {
            let soa = format!("ns.internal. hostmaster.internal. 1 7200 900 1209600 {minimum}");
            let rrsets = [plain("internal.", "SOA", &soa)];
            let found = look_up(&rrsets, &name, RecordType::A).expect("the records are valid");
            assert_eq!(found.code, ResponseCode::NXDomain);
            let ttls: Vec<u32> = found.authority.iter().map(|record| record.ttl).collect();
            assert_eq!(ttls, [expected]);
        }
    }

    #[tokio::test]
    async fn only_the_most_specific_zone_answers() {
        check("hidden.dev.internal", DnsAnswer::NoSuchName).await;
    }

    #[tokio::test]
    async fn a_name_outside_of_the_zones_is_refused() {
        let answer = resolver().await.query_type("example.com", RecordType::A).await;
        assert_eq!(answer.expect("it answers").0, ResponseCode::Refused);
    }
}

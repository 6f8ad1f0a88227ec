//! Whole runs of the handler with its real SDK clients. A mock of AWS answers their HTTP requests, each after
//! 50 ms of virtual time.

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_ecs::config::{Credentials, SharedCredentialsProvider};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use common::{FUNCTION_ARN, location, service_arn};
use handler::aws::Aws;
use handler::aws::ecs::Ecs;
use handler::aws::elb::Elb;
use handler::aws::elb_classic::ElbClassic;
use handler::aws::route53::Route53;
use handler::aws::sqs::Sqs;
use handler::domain::config::{Config, Mode};
use handler::domain::deployment::ResourceAnswer;
use handler::domain::marker::Nonce;
use handler::domain::report::{Changes, Report, ReportScope, Status};
use handler::domain::service::ServiceArn;
use handler::domain::trigger::{Options, Payload, Scope, Targets, Trigger};
use handler::invocation::{Answer, InvocationError, answer, answer_until};
use handler::reconcile::{Invocation, Reconciler};
use insta::assert_snapshot;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const ROUND_TRIP: Duration = Duration::from_millis(50);
const GROUP: &str = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/orders/1";
const BALANCER: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/orders/2";
const MARKER: &str = "&quot;heritage=ecs-discovery,version=1,environment=dev,service=SERVICE&quot;";

/// A request from the handler.
struct Call {
    /// `DescribeServices`, `ListResourceRecordSets`…
    operation: String,
    path: String,
    body: String,
}

/// The HTTP status and the body. The status 0 means that the connection breaks.
type MockResponse = (u16, String);

/// Replaces the usual response to a request. `None` keeps it.
type Script = Box<dyn FnMut(&Call) -> Option<MockResponse> + Send>;

/// An account with one service, one load balancer and one zone.
struct MockAws {
    /// The record sets of the zone, as XML.
    zone: Vec<String>,
    script: Script,
    /// Each operation with the time at which its request was sent.
    log: Vec<(String, Duration)>,
    /// The bodies of all change requests.
    batches: Vec<String>,
    /// The id and the name of each zone, if there are several.
    names: Vec<(String, String)>,
}

#[derive(Clone)]
struct MockConnector {
    aws: Arc<Mutex<MockAws>>,
    start: Instant,
}

impl std::fmt::Debug for MockConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MockConnector")
    }
}

impl HttpConnector for MockConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let target = request.headers().get("x-amz-target").and_then(|name| name.split('.').nth(1));
        let action = body.strip_prefix("Action=").and_then(|rest| rest.split('&').next());
        let operation = match (target.or(action), request.method()) {
            // The requests of the two generations of the API differ only in the version.
            (Some(operation), _) if body.contains("Version=2012-06-01") => {
                format!("Classic{operation}")
            }
            (Some(operation), _) => operation.to_owned(),
            (None, "GET") if !request.uri().contains("/rrset") => "GetHostedZone".to_owned(),
            (None, "GET") => "ListResourceRecordSets".to_owned(),
            (None, _) => "ChangeResourceRecordSets".to_owned(),
        };
        let path = request.uri().to_owned();
        let call = Call { operation, path, body };
        let this = self.clone();
        HttpConnectorFuture::new(async move {
            let sent = this.start.elapsed();
            sleep(ROUND_TRIP).await;
            let (status, body) = {
                let mut aws = this.aws.lock().expect("no holder panics");
                aws.log.push((call.operation.clone(), sent));
                aws.respond(&call)
            };
            if status == 0 {
                let cause = std::io::Error::other("Connection reset by peer (os error 104)");
                return Err(ConnectorError::io(cause.into()));
            }
            let mut response =
                HttpResponse::new(status.try_into().expect("a status"), SdkBody::from(body));
            response.headers_mut().insert("x-amzn-requestid", "REQUEST-7");
            Ok(response)
        })
    }
}

impl MockAws {
    fn respond(&mut self, call: &Call) -> MockResponse {
        if call.operation == "ChangeResourceRecordSets" {
            self.batches.push(call.body.clone());
        }
        if let Some(response) = (self.script)(call) {
            return response;
        }
        let ok = |body: String| (200, body);
        match call.operation.as_str() {
            "DescribeServices" => ok(services(&[("orders", "ACTIVE")])),
            "DescribeTargetGroups" => ok(elb(
                "DescribeTargetGroups",
                &format!(
                    "<TargetGroups><member><TargetGroupArn>{GROUP}</TargetGroupArn><LoadBalancerArns><member>{BALANCER}</member></LoadBalancerArns></member></TargetGroups>"
                ),
            )),
            "DescribeLoadBalancers" => ok(elb(
                "DescribeLoadBalancers",
                &format!(
                    "<LoadBalancers><member><LoadBalancerArn>{BALANCER}</LoadBalancerArn><LoadBalancerName>orders</LoadBalancerName><DNSName>internal-Orders-1.eu-west-1.elb.amazonaws.com</DNSName><CanonicalHostedZoneId>ZLB</CanonicalHostedZoneId><IpAddressType>dualstack</IpAddressType><Scheme>internal</Scheme><VpcId>vpc-1</VpcId></member></LoadBalancers>"
                ),
            )),
            "ListResourceRecordSets" => page(&self.records_of(&call.path), None),
            "ChangeResourceRecordSets" => self.change(&call.body),
            "ListClusters" => {
                ok(json!({"clusterArns": ["arn:aws:ecs:eu-west-1:111122223333:cluster/dev"]})
                    .to_string())
            }
            "ListServices" => ok(json!({"serviceArns": [service_arn("orders")]}).to_string()),
            "GetQueueUrl" => ok(json!({"QueueUrl": "https://sqs/queue"}).to_string()),
            "ChangeMessageVisibilityBatch" => {
                ok(json!({"Successful": [], "Failed": []}).to_string())
            }
            other => panic!("no response for {other}"),
        }
    }

    /// The record sets of the zone in a request's path.
    fn records_of(&self, path: &str) -> Vec<String> {
        let name = self.names.iter().find(|(id, _)| path.contains(&format!("/{id}/")));
        let is_inside = |rrset: &&String| {
            name.is_none_or(|(_, name)| text(rrset, "Name").ends_with(&format!(".{name}")))
        };
        self.zone.iter().filter(is_inside).cloned().collect()
    }

    /// Applies a batch whole or not at all. A DELETE must repeat the record set exactly.
    fn change(&mut self, body: &str) -> MockResponse {
        let mut zone = self.zone.clone();
        for change in body.split("<Change>").skip(1) {
            let (_, rest) = change.split_once("<ResourceRecordSet>").expect("a record set");
            let (inside, _) = rest.split_once("</ResourceRecordSet>").expect("its end");
            let rrset = format!("<ResourceRecordSet>{inside}</ResourceRecordSet>");
            let present = zone.iter().position(|present| *present == rrset);
            if change.starts_with("<Action>DELETE") {
                match present {
                    Some(at) => drop(zone.remove(at)),
                    None => {
                        return refused(&format!(
                            "Tried to delete resource record set [name='{}'] but it was not found",
                            text(inside, "Name")
                        ));
                    }
                }
            } else {
                if present.is_some() {
                    return refused("it already exists");
                }
                zone.push(rrset);
            }
        }
        self.zone = zone;
        (200, "<ChangeResourceRecordSetsResponse><ChangeInfo><Id>C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>".into())
    }
}

/// The response of DescribeServices for services with their statuses.
fn services(all: &[(&str, &str)]) -> String {
    let service = |(name, status): &(&str, &str)| {
        let cluster = "arn:aws:ecs:eu-west-1:111122223333:cluster/dev";
        json!({
            "serviceName": name, "status": status, "clusterArn": cluster, "createdAt": 1.0,
            "loadBalancers": [{"targetGroupArn": GROUP}],
        })
    };
    json!({"services": all.iter().map(service).collect::<Vec<_>>(), "failures": []}).to_string()
}

/// A response of Elastic Load Balancing.
fn elb(operation: &str, result: &str) -> String {
    format!(
        "<{operation}Response><{operation}Result>{result}</{operation}Result></{operation}Response>"
    )
}

/// A record set, as Route 53 returns it.
fn rrset(name: &str, record_type: &str, ttl: u32, value: &str) -> String {
    format!(
        "<ResourceRecordSet><Name>{name}</Name><Type>{record_type}</Type><TTL>{ttl}</TTL><ResourceRecords><ResourceRecord><Value>{value}</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>"
    )
}

/// The record of `orders` and its marker.
fn registered(target: &str) -> Vec<String> {
    vec![
        rrset("orders.internal", "CNAME", 60, target),
        rrset(
            "_discovery.orders.internal",
            "TXT",
            300,
            &MARKER.replace("SERVICE", &service_arn("orders")),
        ),
    ]
}

/// The records of a service in the cluster `dev` under another name.
fn registered_as(name: &str, service: &str) -> Vec<String> {
    let orders = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    let rename = |rrset: &String| {
        let rrset = rrset.replace("orders.internal", &format!("{name}.internal"));
        rrset.replace("dev/orders", &format!("dev/{service}"))
    };
    orders.iter().map(rename).collect()
}

/// A page of a zone. `next` is the name of the next page's first record.
fn page(rrsets: &[String], next: Option<&str>) -> MockResponse {
    let (is_truncated, rrsets) = (next.is_some(), rrsets.concat());
    let next =
        next.map_or(String::new(), |name| format!("<NextRecordName>{name}</NextRecordName>"));
    (
        200,
        format!(
            "<ListResourceRecordSetsResponse><ResourceRecordSets>{rrsets}</ResourceRecordSets><IsTruncated>{is_truncated}</IsTruncated>{next}<MaxItems>300</MaxItems></ListResourceRecordSetsResponse>"
        ),
    )
}

/// A denied request to an API that answers in XML.
fn access_denied() -> MockResponse {
    (403, "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error><RequestId>REQUEST-7</RequestId></ErrorResponse>".to_owned())
}

/// A refusal of a change batch.
fn refused(message: &str) -> MockResponse {
    (
        400,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidChangeBatch</Code><Message>{message}</Message></Error><RequestId>R</RequestId></ErrorResponse>"
        ),
    )
}

/// The text of the first element with this tag.
fn text(xml: &str, tag: &str) -> String {
    let rest = xml.split_once(&format!("<{tag}>")).map_or("", |(_, rest)| rest);
    rest.split_once("</").map_or("", |(text, _)| text).to_owned()
}

struct TestRun {
    report: Report,
    aws: Arc<Mutex<MockAws>>,
}

impl TestRun {
    /// The error of the first failed service, or else the first read error.
    fn error(&self) -> &str {
        let failure = self.report.failures().next();
        let reason = failure.and_then(|failure| failure.reason.as_ref());
        reason.or(self.report.read_errors.first()).expect("the run failed")
    }

    /// The record sets of the zone after the run.
    fn zone(&self) -> Vec<String> {
        self.aws.lock().expect("no holder panics").zone.clone()
    }

    /// `STATUS: REASON` of each service, one per line.
    fn statuses(&self) -> String {
        let outcomes = self.report.outcomes.iter();
        let line = |outcome: &handler::domain::report::Outcome| {
            let reason = outcome.reason.as_ref().map_or(String::new(), |text| format!(": {text}"));
            format!("{}{reason}", outcome.status.as_str())
        };
        outcomes.map(line).collect::<Vec<_>>().join("\n")
    }

    /// The number of the round trip in which an operation was requested first. The first one is 1.
    fn round_trip(&self, operation: &str) -> u128 {
        let aws = self.aws.lock().expect("no holder panics");
        let first = aws.log.iter().filter(|(done, _)| done == operation).map(|(_, at)| *at).min();
        first.expect("the operation was requested").as_millis() / ROUND_TRIP.as_millis() + 1
    }

    /// The number of requests for an operation.
    fn count(&self, operation: &str) -> usize {
        let aws = self.aws.lock().expect("no holder panics");
        aws.log.iter().filter(|(done, _)| done == operation).count()
    }

    /// The change batches, one change per line.
    fn batches(&self) -> String {
        let aws = self.aws.lock().expect("no holder panics");
        let batch = |body: &String| {
            let line = |change: &str| {
                let [action, name, kind, ttl, value, alias] =
                    ["Action", "Name", "Type", "TTL", "Value", "DNSName"]
                        .map(|tag| text(change, tag));
                let data = if alias.is_empty() { value } else { format!("alias to {alias}") };
                format!("{action} {name} {ttl} {kind} {}", data.replace("&quot;", "\""))
            };
            body.split("<Change>").skip(1).map(line).collect::<Vec<_>>().join("\n")
        };
        aws.batches.iter().map(batch).collect::<Vec<_>>().join("\n--\n")
    }
}

async fn run(payload: Value, zone: Vec<String>, script: Script) -> TestRun {
    run_until(Duration::from_secs(300), payload, zone, script).await
}

async fn run_until(time: Duration, payload: Value, zone: Vec<String>, script: Script) -> TestRun {
    run_trigger(time, &trigger_of(&payload), zone, script).await
}

fn trigger_of(payload: &Value) -> Trigger {
    match Payload::read(&payload.to_string(), &location()) {
        Payload::One(trigger) => trigger,
        Payload::Resource(event) => event.trigger,
        Payload::Batch(messages) => panic!("{messages:?}"),
    }
}

async fn run_trigger(
    time: Duration,
    trigger: &Trigger,
    zone: Vec<String>,
    script: Script,
) -> TestRun {
    let aws = mock(zone, script);
    let report = reconciler(&aws).run(trigger, &invocation(time)).await;
    TestRun { report, aws }
}

/// A run with other zones than the usual one.
async fn run_with_zones(
    zones: Value,
    payload: Value,
    zone: Vec<String>,
    script: Script,
) -> TestRun {
    let aws = mock(zone, script);
    let text = |zone: &Value, key: &str| zone[key].as_str().expect("text").to_owned();
    aws.lock().expect("no holder panics").names = zones
        .as_array()
        .expect("zones")
        .iter()
        .map(|zone| (text(zone, "hostedZoneId"), text(zone, "name")))
        .collect();
    let config = json!({"environment": "dev", "zones": zones}).to_string();
    let config = Config::parse(Some(&config)).expect("valid");
    let trigger = Trigger::parse(&payload, &location());
    let invocation = invocation(Duration::from_secs(300));
    let report = Reconciler { config, ..reconciler(&aws) }.run(&trigger, &invocation).await;
    TestRun { report, aws }
}

/// An invocation that may write for `time`.
fn invocation(time: Duration) -> Invocation {
    let now = std::time::SystemTime::now();
    Invocation { location: location(), nonce: Nonce::new(1), now, stop_at: Instant::now() + time }
}

fn mock(zone: Vec<String>, script: Script) -> Arc<Mutex<MockAws>> {
    // Without any subscriber in another thread, tracing may remember that nobody wants an event.
    static LOG_EVERYTHING: std::sync::Once = std::sync::Once::new();
    LOG_EVERYTHING.call_once(|| tracing_subscriber::fmt().with_writer(std::io::sink).init());
    let (log, batches, names) = (Vec::new(), Vec::new(), Vec::new());
    Arc::new(Mutex::new(MockAws { zone, script, log, batches, names }))
}

fn reconciler(aws: &Arc<Mutex<MockAws>>) -> Reconciler {
    with_attempts(aws, 3)
}

fn with_attempts(aws: &Arc<Mutex<MockAws>>, attempts: u32) -> Reconciler {
    let connector = MockConnector { aws: Arc::clone(aws), start: Instant::now() };
    let keys = Credentials::new("k", "s", None, None, "test");
    let sdk = aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .retry_config(RetryConfig::standard().with_max_attempts(attempts))
        .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
        .http_client(http_client_fn(move |_, _| SharedHttpConnector::new(connector.clone())))
        .build();
    let zone = r#"{"vpcId":"vpc-1","hostedZoneId":"Z1","name":"internal"}"#;
    let config = format!(r#"{{"environment":"dev","zones":[{zone}]}}"#);
    Reconciler {
        config: Config::parse(Some(&config)).expect("valid"),
        aws: Aws {
            ecs: Ecs::new((&sdk).into()),
            elb: Elb::new((&sdk).into()),
            elb_classic: ElbClassic::new((&sdk).into()),
            route53: Route53::new((&sdk).into()),
            sqs: Sqs::new((&sdk).into()),
        },
        started_at: std::time::SystemTime::now(),
    }
}

/// No special responses.
fn usual() -> Script {
    Box::new(|_| None)
}

/// A request for the service `orders`.
fn one() -> Value {
    json!({"reconcile": {"cluster": "dev", "service": "orders"}})
}

/// CreateService for `orders`, with its target group.
fn created() -> Value {
    json!({
        "source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "ecs.amazonaws.com", "eventName": "CreateService",
            "requestParameters": {
                "cluster": "dev", "serviceName": "orders",
                "loadBalancers": [{"targetGroupArn": GROUP}],
            },
        },
    })
}

/// DeleteService for a service in the cluster `dev`.
fn deleted(name: &str) -> Value {
    json!({
        "source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "ecs.amazonaws.com", "eventName": "DeleteService",
            "requestParameters": {"cluster": "dev", "service": name},
        },
    })
}

/// An ECS with these services, all of them with the same load balancer.
fn fleet<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Script {
    let arns: Vec<String> =
        names.into_iter().map(|name| service_arn(&Into::<String>::into(name))).collect();
    Box::new(move |call| {
        let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
        match call.operation.as_str() {
            "ListServices" => Some((200, json!({"serviceArns": arns}).to_string())),
            "DescribeServices" => Some((200, services(&requested(&request)))),
            _ => None,
        }
    })
}

/// An ECS that describes each service with the status that `status` gives to its name.
fn with_status(mut status: impl FnMut(&str) -> &'static str + Send + 'static) -> Script {
    Box::new(move |call| {
        let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
        (call.operation == "DescribeServices").then(|| {
            let all = requested(&request).into_iter().map(|(name, _)| (name, status(name)));
            (200, services(&all.collect::<Vec<_>>()))
        })
    })
}

/// The services in a request of DescribeServices, all of them active.
fn requested(request: &Value) -> Vec<(&str, &str)> {
    let names = request["services"].as_array().expect("names of services");
    names.iter().filter_map(Value::as_str).map(|name| (name, "ACTIVE")).collect()
}

/// The response of `first`, or else of `second`.
fn either(mut first: Script, mut second: Script) -> Script {
    Box::new(move |call| first(call).or_else(|| second(call)))
}

#[tokio::test(start_paused = true)]
async fn a_new_service_is_registered_in_the_third_round_trip_or_the_second_with_a_hint() {
    let without_hint = run(one(), vec![], usual()).await;
    assert_eq!(without_hint.statuses(), "registered");
    assert_eq!(without_hint.round_trip("ChangeResourceRecordSets"), 3);
    let with_hint = run(created(), vec![], usual()).await;
    assert_eq!(with_hint.statuses(), "registered");
    assert_eq!(with_hint.round_trip("ChangeResourceRecordSets"), 2);
    assert_snapshot!(with_hint.batches(), @r#"
    CREATE orders.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    CREATE _discovery.orders.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders,records=CNAME"
    "#);
    // The recheck is one more request to ECS and none to other APIs.
    let calls = with_hint.report.api_calls;
    assert_eq!((calls.ecs, calls.elb, calls.route53), (2, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_that_is_not_among_the_first_ones_costs_one_more_round_trip() {
    let script: Script = Box::new(|call| {
        let is_page = !call.body.contains("LoadBalancerArns.member");
        (call.operation == "DescribeLoadBalancers" && is_page).then(|| {
            assert!(call.body.contains("PageSize=20"), "{}", call.body);
            (200, elb("DescribeLoadBalancers", "<LoadBalancers/><NextMarker>t</NextMarker>"))
        })
    });
    let outcome = run(created(), vec![], script).await;
    assert_eq!(outcome.statuses(), "registered");
    assert_eq!(outcome.round_trip("ChangeResourceRecordSets"), 3);
    assert_eq!(outcome.report.api_calls.elb, 3);
}

#[tokio::test(start_paused = true)]
async fn the_event_of_a_deleted_service_reads_no_load_balancer() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    let outcome = run(deleted("orders"), zone, with_status(|_| "INACTIVE")).await;
    assert_eq!(outcome.statuses(), "deregistered: ECS reports INACTIVE");
    assert_eq!(outcome.report.api_calls.elb, 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_in_sync_causes_no_write() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    let outcome = run(one(), zone, usual()).await;
    assert_eq!(outcome.statuses(), "unchanged");
    assert_eq!(outcome.batches(), "");
}

#[tokio::test(start_paused = true)]
async fn a_record_with_another_target_is_replaced_in_one_batch_with_exact_deletes() {
    let outcome = run(one(), registered("old.elb.amazonaws.com"), usual()).await;
    assert_snapshot!(outcome.statuses(), @"updated: the record was CNAME old.elb.amazonaws.com, TTL 60 s");
    assert_snapshot!(outcome.batches(), @r#"
    DELETE orders.internal 60 CNAME old.elb.amazonaws.com
    DELETE _discovery.orders.internal 300 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    CREATE orders.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    CREATE _discovery.orders.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders,records=CNAME"
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_draining_service_loses_its_record_with_exact_deletes() {
    let draining = |call: &Call| {
        (call.operation == "DescribeServices").then(|| (200, services(&[("orders", "DRAINING")])))
    };
    let zone = registered("old.elb.amazonaws.com");
    let outcome = run(one(), zone, Box::new(draining)).await;
    assert_eq!(outcome.statuses(), "deregistered: ECS reports DRAINING");
    assert_snapshot!(outcome.batches(), @r#"
    DELETE orders.internal 60 CNAME old.elb.amazonaws.com
    DELETE _discovery.orders.internal 300 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    "#);
}

#[tokio::test(start_paused = true)]
async fn the_services_of_a_deleted_cluster_are_deregistered() {
    let gone = |call: &Call| {
        let body = json!({"__type": "ClusterNotFoundException", "message": "Cluster not found."});
        (call.operation == "DescribeServices").then(|| (400, body.to_string()))
    };
    let outcome = run(one(), registered("old.elb.amazonaws.com"), Box::new(gone)).await;
    assert_eq!(outcome.statuses(), "deregistered: ECS reports MISSING");
}

#[tokio::test(start_paused = true)]
async fn a_record_stays_while_a_deployment_is_in_progress_and_its_load_balancer_exists() {
    // A deployment that changed and began some seconds ago.
    let lasting = async |old: &'static str,
                         state: &'static str,
                         changed: u64,
                         began: u64,
                         old_exists: bool| {
        let script = move |call: &Call| match call.operation.as_str() {
            "DescribeServices" => {
                let ago = |seconds| {
                    let at = std::time::SystemTime::now() - Duration::from_secs(seconds);
                    at.duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs()
                };
                let mut answer: Value =
                    serde_json::from_str(&services(&[("orders", "ACTIVE")])).expect("JSON");
                answer["services"][0]["deployments"] = json!([{
                    "status": "PRIMARY", "rolloutState": state,
                    "updatedAt": ago(changed), "createdAt": ago(began),
                }]);
                Some((200, answer.to_string()))
            }
            "DescribeLoadBalancers" if old_exists => {
                let balancer = |arn: &str, name: &str| {
                    format!(
                        "<member><LoadBalancerArn>{arn}</LoadBalancerArn><LoadBalancerName>{name}</LoadBalancerName><DNSName>{name}.elb.amazonaws.com</DNSName><IpAddressType>ipv4</IpAddressType><Scheme>internal</Scheme><VpcId>vpc-1</VpcId></member>"
                    )
                };
                let all = balancer(BALANCER, "new") + &balancer("arn:old", "old");
                let all = format!("<LoadBalancers>{all}</LoadBalancers>");
                Some((200, elb("DescribeLoadBalancers", &all)))
            }
            "ClassicDescribeLoadBalancers" => {
                let vpc = if old == "partial" { "" } else { "<VPCId>vpc-1</VPCId>" };
                let all = format!(
                    "<LoadBalancerDescriptions><member><LoadBalancerName>classic</LoadBalancerName><DNSName>classic.elb.amazonaws.com</DNSName><Scheme>internal</Scheme>{vpc}</member></LoadBalancerDescriptions>"
                );
                match state {
                    "FAILED" if !old_exists => Some(access_denied()),
                    _ => Some((200, elb("DescribeLoadBalancers", &all))),
                }
            }
            _ => None,
        };
        let zone = registered(&format!("{old}.elb.amazonaws.com"));
        run(one(), zone, Box::new(script)).await.statuses()
    };
    let with = async |old, state, age, old_exists| lasting(old, state, age, age, old_exists).await;
    let statuses = async |state, age, old_exists| with("old", state, age, old_exists).await;
    let waiting =
        "waiting: the deployment is in progress; the record is still CNAME old.elb.amazonaws.com";
    let moved = "updated: the record was CNAME old.elb.amazonaws.com, TTL 60 s";
    assert_eq!(statuses("IN_PROGRESS", 60, true).await, waiting);
    assert_eq!(statuses("FAILED", 60, true).await, waiting);
    assert_eq!(statuses("COMPLETED", 60, true).await, moved);
    assert_eq!(statuses("IN_PROGRESS", 60, false).await, moved);
    assert_eq!(statuses("IN_PROGRESS", 4_000, true).await, moved);
    // ECS starts tasks again and again that end at once.
    assert_eq!(lasting("old", "IN_PROGRESS", 60, 80_000, true).await, waiting);
    assert_eq!(lasting("old", "IN_PROGRESS", 60, 90_000, true).await, moved);
    assert_eq!(
        with("classic", "IN_PROGRESS", 60, false).await,
        waiting.replace("old.elb", "classic.elb")
    );
    // A load balancer that AWS describes only partially may be the one that the record leads to.
    assert_snapshot!(with("partial", "IN_PROGRESS", 60, false).await, @"failed: elasticloadbalancing:DescribeLoadBalancers for classic failed: the answer has no VPCId");
    assert_snapshot!(statuses("FAILED", 60, false).await, @"failed: elasticloadbalancing:DescribeLoadBalancers for all classic load balancers failed: AccessDenied: not you (request id REQUEST-7)");
}

/// A pass of an event for a service that is being deployed and whose record leads to `target`. Returns the outcome, and
/// the requests to Elastic Load Balancing after those that every such event needs.
async fn deployed_from(target: &str, exists: &'static str) -> (String, Vec<String>) {
    let script: Script = Box::new(move |call| {
        match call.operation.as_str() {
        "DescribeServices" => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            let mut answer: Value =
                serde_json::from_str(&services(&[("orders", "ACTIVE")])).expect("JSON");
            answer["services"][0]["deployments"] = json!([{
                "status": "PRIMARY", "rolloutState": "IN_PROGRESS",
                "updatedAt": now.expect("a time").as_secs(),
            }]);
            Some((200, answer.to_string()))
        }
        "DescribeLoadBalancers" if call.body.contains("Names.member.1=old") => Some(match exists {
            "v2" => (200, elb("DescribeLoadBalancers", "<LoadBalancers><member><LoadBalancerArn>arn:old</LoadBalancerArn><LoadBalancerName>old</LoadBalancerName><DNSName>internal-old-1.eu-west-1.elb.amazonaws.com</DNSName><IpAddressType>ipv4</IpAddressType><Scheme>internal</Scheme><VpcId>vpc-1</VpcId></member></LoadBalancers>")),
            _ => (400, "<ErrorResponse><Error><Code>LoadBalancerNotFound</Code><Message>no</Message></Error></ErrorResponse>".into()),
        }),
        "ClassicDescribeLoadBalancers" => Some(match exists {
            "classic" => (200, elb("DescribeLoadBalancers", "<LoadBalancerDescriptions><member><LoadBalancerName>old</LoadBalancerName><DNSName>internal-old-1.eu-west-1.elb.amazonaws.com</DNSName><Scheme>internal</Scheme><VPCId>vpc-1</VPCId></member></LoadBalancerDescriptions>")),
            _ if call.body.contains("Names.member.1=old") => (400, "<ErrorResponse><Error><Code>LoadBalancerNotFound</Code><Message>no</Message></Error></ErrorResponse>".into()),
            _ => (200, elb("DescribeLoadBalancers", "<LoadBalancerDescriptions/>")),
        }),
        _ => None,
    }
    });
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&requests);
    let logged: Script = Box::new(move |call| {
        let is_read_ahead = call.body.contains("PageSize=20");
        if call.operation.ends_with("DescribeLoadBalancers") && !is_read_ahead {
            let request = format!("{} {}", call.operation, call.body.contains("Names"));
            log.lock().expect("no holder panics").push(request);
        }
        None
    });
    let outcome = run(one(), registered(target), either(logged, script)).await;
    let requests = std::mem::take(&mut *requests.lock().expect("no holder panics"));
    (outcome.statuses(), requests)
}

#[tokio::test(start_paused = true)]
async fn the_load_balancer_of_a_record_is_found_by_its_name_during_a_deployment() {
    let old = "internal-old-1.eu-west-1.elb.amazonaws.com";
    let waiting =
        format!("waiting: the deployment is in progress; the record is still CNAME {old}");
    let by_name = "DescribeLoadBalancers true".to_owned();
    let classic = "ClassicDescribeLoadBalancers true".to_owned();
    assert_eq!(deployed_from(old, "v2").await, (waiting.clone(), vec![by_name.clone()]));
    assert_eq!(deployed_from(old, "classic").await, (waiting, vec![by_name, classic]));
    // Only a list of all load balancers proves that it is gone.
    let (statuses, requests) = deployed_from(old, "nowhere").await;
    assert!(statuses.starts_with("updated"), "{statuses}");
    assert!(requests.contains(&"DescribeLoadBalancers false".to_owned()), "{requests:?}");
    assert!(requests.contains(&"ClassicDescribeLoadBalancers false".to_owned()), "{requests:?}");
}

/// An ECS whose description of each service has these fields, too. `null` removes one.
fn with_fields(fields: Value) -> Script {
    Box::new(move |call| {
        let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
        (call.operation == "DescribeServices").then(|| {
            let mut answer: Value =
                serde_json::from_str(&services(&requested(&request))).expect("JSON");
            for service in answer["services"].as_array_mut().expect("services") {
                for (key, value) in fields.as_object().expect("fields") {
                    service[key] = value.clone();
                }
                let fields = service.as_object_mut().expect("an object");
                fields.retain(|_, value| !value.is_null());
            }
            (200, answer.to_string())
        })
    })
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_ecs_without_a_field_that_it_always_has_changes_nothing() {
    for field in ["loadBalancers", "status"] {
        let zone = registered("old.eu-west-1.elb.amazonaws.com");
        let outcome = run(one(), zone, with_fields(json!({ field: null }))).await;
        let expected = format!("the answer has no {field}");
        assert!(outcome.error().ends_with(&expected), "{}", outcome.statuses());
        assert_eq!(outcome.count("ChangeResourceRecordSets"), 0, "{field}");
    }
    // ECS describes no load balancers of a service of Express Mode.
    let fields = json!({"loadBalancers": null, "resourceManagementType": "ECS"});
    let outcome = run(one(), vec![], with_fields(fields)).await;
    assert!(outcome.statuses().starts_with("ignored"), "{}", outcome.statuses());
}

/// Fields of a service that is being deployed, with the controller ECS or with another one.
fn deploying(controller: &str, is_unfinished: bool) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("a time").as_secs();
    if controller == "ECS" {
        let state = if is_unfinished { "IN_PROGRESS" } else { "COMPLETED" };
        json!({"deployments": [{"status": "PRIMARY", "rolloutState": state, "updatedAt": now}]})
    } else {
        let state = if is_unfinished { "STABILIZING" } else { "STEADY_STATE" };
        let group = json!([{"targetGroupArn": GROUP}]);
        json!({"loadBalancers": [], "taskSets": [
            {"status": "ACTIVE", "stabilityStatus": "STEADY_STATE", "loadBalancers": []},
            {"status": "PRIMARY", "stabilityStatus": state, "stabilityStatusAt": now,
             "loadBalancers": group},
        ]})
    }
}

/// The load balancer `old` exists, too.
fn old_load_balancer(vpc: &'static str) -> Script {
    Box::new(move |call| {
        (call.operation == "DescribeLoadBalancers" && call.body.contains("Names.member.1=old")).then(|| {
            (200, elb("DescribeLoadBalancers", &format!("<LoadBalancers><member><LoadBalancerArn>arn:old</LoadBalancerArn><LoadBalancerName>old</LoadBalancerName><DNSName>internal-old-1.eu-west-1.elb.amazonaws.com</DNSName><IpAddressType>ipv4</IpAddressType><Scheme>internal</Scheme><VpcId>{vpc}</VpcId></member></LoadBalancers>")))
        })
    })
}

#[tokio::test(start_paused = true)]
async fn a_record_stays_until_the_primary_task_set_is_stable() {
    for controller in ["ECS", "CODE_DEPLOY"] {
        for (is_unfinished, expected) in [(true, "waiting"), (false, "updated")] {
            let zone = registered("internal-old-1.eu-west-1.elb.amazonaws.com");
            let fields = with_fields(deploying(controller, is_unfinished));
            let outcome = run(one(), zone, either(old_load_balancer("vpc-1"), fields)).await;
            let statuses = outcome.statuses();
            assert!(statuses.starts_with(expected), "{controller} {is_unfinished}: {statuses}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_in_another_zone_stays_until_the_deployment_is_completed() {
    let zones = json!([
        {"vpcId": "vpc-1", "hostedZoneId": "Z1", "name": "one.internal"},
        {"vpcId": "vpc-2", "hostedZoneId": "Z2", "name": "two.internal"},
    ]);
    for (is_unfinished, expected) in [(true, false), (false, true)] {
        let zone: Vec<String> = registered_as("orders.two", "orders")
            .iter()
            .map(|rrset| rrset.replace("internal-orders-1", "internal-old-1"))
            .collect();
        let script =
            either(old_load_balancer("vpc-2"), with_fields(deploying("ECS", is_unfinished)));
        let outcome = run_with_zones(zones.clone(), one(), zone, script).await;
        let batches = outcome.batches();
        assert!(batches.contains("CREATE orders.one.internal"), "{batches}");
        assert_eq!(batches.contains("DELETE orders.two.internal"), expected, "{batches}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_deployment_renames_a_service_that_waited_with_its_former_name() {
    for name in ["SERVICE_DEPLOYMENT_COMPLETED", "SERVICE_DEPLOYMENT_FAILED"] {
        let event = json!({
            "source": "aws.ecs", "detail-type": "ECS Deployment State Change",
            "resources": [service_arn("orders")], "detail": {"eventName": name},
        });
        // Neither the template nor a tag gives this name any more.
        let outcome = run(event.clone(), registered_as("shop", "orders"), usual()).await;
        assert_eq!(outcome.statuses(), "updated: renamed from shop.internal", "{name}");
        // A service that has its name needs no search.
        let outcome = run(event.clone(), registered_as("orders", "orders"), usual()).await;
        assert_eq!(outcome.statuses(), "unchanged", "{name}");
        assert_eq!(outcome.count("ListResourceRecordSets"), 1, "{name}");
        // Without its new name, a service keeps the former one.
        let mut taken = registered_as("shop", "orders");
        taken.push(rrset("orders.internal", "A", 300, "10.0.0.7"));
        let outcome = run(event.clone(), taken, usual()).await;
        assert!(outcome.statuses().starts_with("conflict"), "{}", outcome.statuses());
        assert_eq!(outcome.count("ListResourceRecordSets"), 1, "{name}");
        // A stack that only observes has no names.
        let aws = mock(vec![], usual());
        let mut observing = reconciler(&aws);
        observing.config.mode = Mode::Observe;
        let time = Duration::from_secs(300);
        let report = observing.run(&trigger_of(&event), &invocation(time)).await;
        let outcome = TestRun { report, aws };
        assert_eq!(outcome.statuses(), "registered", "{name}");
        assert_eq!(outcome.count("ListResourceRecordSets"), 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deletion_of_a_service_without_load_balancers_reads_no_name_in_a_large_environment() {
    let mut event = deleted("orders");
    event["detail"]["responseElements"] = json!({"service": {"loadBalancers": []}});
    let zone = |number: usize| json!({"vpcId": format!("vpc-{number}"), "hostedZoneId": format!("Z{number}"), "name": format!("z{number}.internal")});
    let run = async |zones: usize, script: Script| {
        let zones: Vec<Value> = (1..=zones).map(zone).collect();
        let gone = with_status(|_| "DRAINING");
        run_with_zones(zones.into(), event.clone(), vec![], either(script, gone)).await
    };
    let outcome = run(4, usual()).await;
    assert_eq!(outcome.count("ListResourceRecordSets"), 0);
    assert_eq!(run(3, usual()).await.count("ListResourceRecordSets"), 3);
    // It lost its name before, so a zone that cannot be read does not matter.
    let denied: Script = Box::new(|call| call.path.contains("/Z2/").then(access_denied));
    let outcome = run(3, denied).await;
    assert!(outcome.statuses().starts_with("unchanged"), "{}", outcome.statuses());
}

/// ECS's answer about a service that it does not find.
fn missing() -> MockResponse {
    let arn = service_arn("orders");
    let failure = json!({"arn": arn, "reason": "MISSING"});
    (200, json!({"services": [], "failures": [failure]}).to_string())
}

#[tokio::test(start_paused = true)]
async fn a_service_that_ecs_does_not_find_once_keeps_its_record() {
    let no_cluster = json!({"__type": "ClusterNotFoundException", "message": "Cluster not found."});
    for answer in [missing(), (400, no_cluster.to_string())] {
        let mut answers = vec![answer];
        let script = move |call: &Call| {
            (call.operation == "DescribeServices").then(|| answers.pop()).flatten()
        };
        let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
        let outcome = run(one(), zone, Box::new(script)).await;
        assert_eq!(outcome.statuses(), "unchanged");
    }
}

/// An event of some time ago.
fn at(mut event: Value, age: Duration) -> Value {
    let time = aws_smithy_types::DateTime::from(std::time::SystemTime::now() - age);
    let time = time.fmt(aws_smithy_types::date_time::Format::DateTime).expect("a time");
    event["detail"]["eventTime"] = time.into();
    event
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_ecs_that_contradicts_a_recent_event_fails_the_run() {
    let is_missing = || -> Script {
        Box::new(|call: &Call| (call.operation == "DescribeServices").then(missing))
    };
    let (recent, old) = (Duration::from_secs(5), Duration::from_secs(3_600));
    let held = || registered("internal-orders-1.eu-west-1.elb.amazonaws.com");

    let outcome = run(at(created(), recent), vec![], is_missing()).await;
    assert_snapshot!(outcome.statuses(), @"failed: ECS does not return the service yet, although it was created a moment ago");
    let outcome = run(at(created(), old), vec![], is_missing()).await;
    assert_snapshot!(outcome.statuses(), @"unchanged: ECS reports MISSING; the service had no name");
    let outcome = run(at(deleted("orders"), recent), held(), usual()).await;
    assert_snapshot!(outcome.statuses(), @"failed: ECS still returns the service as alive, although it was deleted a moment ago");
    let outcome = run(at(deleted("orders"), old), held(), usual()).await;
    assert_snapshot!(outcome.statuses(), @"unchanged");
}

/// Refuses the first batch in one of Route 53's two forms. Then somebody's record exists at the name.
async fn refused_once(form: MockResponse) -> TestRun {
    let mut refusals = vec![form];
    let mut listed = 0;
    run(
        one(),
        vec![],
        Box::new(move |call| match call.operation.as_str() {
            "ChangeResourceRecordSets" => refusals.pop(),
            "ListResourceRecordSets" => {
                listed += 1;
                (listed > 1).then(|| page(&[rrset("orders.internal", "A", 60, "10.0.0.7")], None))
            }
            _ => None,
        }),
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn a_run_reads_and_plans_again_after_a_refusal_in_either_form() {
    let message = "Tried to create resource record set [name=&apos;orders.internal.&apos;, type=&apos;CNAME&apos;] but it already exists";
    let coded = refused(message);
    let bare = (
        400,
        format!(
            "<InvalidChangeBatch><Messages><Message>{message}</Message></Messages><RequestId>R</RequestId></InvalidChangeBatch>"
        ),
    );
    for form in [coded, bare] {
        let outcome = refused_once(form).await;
        assert_eq!(
            outcome.statuses(),
            "conflict: the name is taken by A 10.0.0.7, which has no marker"
        );
        assert_eq!(outcome.count("ChangeResourceRecordSets"), 1);
        assert_eq!(outcome.count("ListResourceRecordSets"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_route_53_always_refuses_fails_with_its_message() {
    let always = |call: &Call| {
        (call.operation == "ChangeResourceRecordSets").then(|| refused("it already exists"))
    };
    let outcome = run(one(), vec![], Box::new(always)).await;
    assert_snapshot!(outcome.statuses(), @"failed: Route 53 refused the change: it already exists (5 times in a row)");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_deleted_during_its_registration_loses_its_record_again() {
    let mut described = 0;
    let script = move |call: &Call| {
        if call.operation != "DescribeServices" {
            return None;
        }
        described += 1;
        (described > 1).then(|| (200, services(&[("orders", "DRAINING")])))
    };
    let outcome = run(one(), vec![], Box::new(script)).await;
    assert_eq!(outcome.statuses(), "deregistered: ECS reports DRAINING");
    assert!(outcome.zone().is_empty());
}

#[tokio::test(start_paused = true)]
async fn invariant_5_a_failed_read_changes_nothing_and_reports_the_error_of_aws() {
    for (failing, subject) in [
        ("DescribeServices", "the cluster dev"),
        ("DescribeTargetGroups", GROUP),
        ("DescribeLoadBalancers", BALANCER),
        ("ListResourceRecordSets", "the zone Z1"),
    ] {
        for payload in [one(), json!({"reconcile": "all"})] {
            let script = move |call: &Call| {
                (call.operation == failing).then(|| match failing {
                    "DescribeServices" => (
                        400,
                        json!({"__type": "AccessDeniedException", "message": "not you"})
                            .to_string(),
                    ),
                    _ => access_denied(),
                })
            };
            let zone = registered("old.elb.amazonaws.com");
            let outcome = run(payload, zone.clone(), Box::new(script)).await;
            let error = outcome.error();
            assert!(error.contains(failing), "{error}");
            assert!(error.contains(&format!("{subject} failed: AccessDenied")), "{error}");
            assert!(error.contains(": not you (request id REQUEST-7)"), "{error}");
            assert_eq!(outcome.zone(), zone);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_reported_with_its_cause() {
    let broken = |call: &Call| (call.operation == "DescribeServices").then(|| (0, String::new()));
    let outcome = run(one(), vec![], Box::new(broken)).await;
    assert_eq!(outcome.count("DescribeServices"), 3, "the SDK makes all of its attempts");
    assert_snapshot!(
        outcome.error(),
        @"ecs:DescribeServices for the cluster dev failed: dispatch failure: io error: Connection reset by peer (os error 104)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_that_an_answer_of_ecs_omits_keeps_its_record() {
    let silent = |call: &Call| (call.operation == "DescribeServices").then(|| (200, services(&[])));
    let zone = registered("old.elb.amazonaws.com");
    let outcome = run(one(), zone.clone(), Box::new(silent)).await;
    assert_snapshot!(
        outcome.error(),
        @"ecs:DescribeServices for arn:aws:ecs:eu-west-1:111122223333:service/dev/orders failed: the answer omits it"
    );
    assert_eq!(outcome.zone(), zone);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_a_list_of_ecs_omits_keeps_its_record() {
    let empty = |call: &Call| {
        (call.operation == "ListServices").then(|| (200, json!({"serviceArns": []}).to_string()))
    };
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    let outcome = run(json!({"reconcile": "all"}), zone, Box::new(empty)).await;
    assert_eq!(outcome.statuses(), "unchanged");
    assert_eq!(outcome.batches(), "");
}

#[tokio::test(start_paused = true)]
async fn a_service_with_a_missing_target_group_is_waiting() {
    let missing = |call: &Call| {
        let error = "<ErrorResponse><Error><Type>Sender</Type><Code>TargetGroupNotFound</Code><Message>One or more target groups not found</Message></Error><RequestId>R</RequestId></ErrorResponse>";
        (call.operation == "DescribeTargetGroups").then(|| (400, error.to_owned()))
    };
    let outcome = run(created(), vec![], Box::new(missing)).await;
    assert!(
        outcome.statuses().starts_with("waiting: the target group does not exist: "),
        "{}",
        outcome.statuses()
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_pass_reads_all_pages_and_describes_ten_services_per_request() {
    let names: BTreeSet<String> = (0..25).map(|number| format!("service-{number}")).collect();
    let all: Vec<String> = names.iter().cloned().collect();
    let script = move |call: &Call| {
        let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
        match call.operation.as_str() {
            "ListServices" => {
                let second = request["nextToken"] == "second";
                let page = if second { &all[20..] } else { &all[..20] };
                let arns: Vec<String> = page.iter().map(|name| service_arn(name)).collect();
                let token = if second { Value::Null } else { json!("second") };
                Some((200, json!({"serviceArns": arns, "nextToken": token}).to_string()))
            }
            "DescribeServices" => {
                let requested = requested(&request);
                assert!(requested.len() <= 10);
                Some((200, services(&requested)))
            }
            "DescribeLoadBalancers" if !call.body.contains("Marker=second") => Some((
                200,
                elb("DescribeLoadBalancers", "<LoadBalancers/><NextMarker>second</NextMarker>"),
            )),
            "DescribeTargetGroups" if !call.body.contains("Marker=second") => Some((
                200,
                elb("DescribeTargetGroups", "<TargetGroups/><NextMarker>second</NextMarker>"),
            )),
            _ => None,
        }
    };
    let outcome = run(json!({"reconcile": "all"}), vec![], Box::new(script)).await;
    assert_eq!(outcome.report.outcomes.len(), 25);
    assert!(outcome.statuses().lines().all(|status| status == "registered"));
    assert_eq!(outcome.count("ListServices"), 2);
    // Three requests for the first read, and three for the recheck.
    assert_eq!(outcome.count("DescribeServices"), 6);
    assert_eq!(outcome.count("DescribeLoadBalancers"), 2);
    assert_eq!(outcome.count("DescribeTargetGroups"), 2);
    assert_eq!(outcome.count("ChangeResourceRecordSets"), 1);
}

#[tokio::test(start_paused = true)]
async fn one_refused_change_does_not_stop_the_others() {
    let refusal: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets" && call.body.contains("<Name>c.internal"))
            .then(|| refused("RRSet of type CNAME with DNS name c.internal. is not permitted"))
    });
    let script = either(refusal, fleet(["a", "b", "c", "d", "e"]));
    let outcome = run(json!({"reconcile": "all"}), vec![], script).await;
    assert_snapshot!(outcome.statuses(), @r"
    registered
    registered
    rejected: Route 53 refused the change: RRSet of type CNAME with DNS name c.internal. is not permitted
    registered
    registered
    ");
}

#[tokio::test(start_paused = true)]
async fn one_denied_change_does_not_stop_the_others() {
    let denied = |name: &'static str| -> Script {
        Box::new(move |call| {
            (call.operation == "ChangeResourceRecordSets" && call.body.contains(name))
                .then(access_denied)
        })
    };
    let script = either(denied("<Name>c.internal"), fleet(["a", "b", "c", "d", "e"]));
    let outcome = run(json!({"reconcile": "all"}), vec![], script).await;
    let statuses = outcome.statuses();
    assert_eq!(statuses.matches("registered").count(), 4, "{statuses}");
    assert!(statuses.contains("failed: route53:ChangeResourceRecordSets for c.internal"));

    // Without any permission, the number of requests stays small.
    let script =
        either(denied("<Name>"), fleet((0..600).map(|number| format!("service-{number}"))));
    let outcome = run(json!({"reconcile": "all"}), vec![], script).await;
    assert!(outcome.count("ChangeResourceRecordSets") < 70);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_names_no_change_stops_only_the_refused_one() {
    let refusal: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets" && call.body.contains("<Name>c.internal"))
            .then(|| refused("a change is not permitted"))
    });
    let script = either(refusal, fleet(["a", "b", "c", "d", "e"]));
    let outcome = run(json!({"reconcile": "all"}), vec![], script).await;
    let statuses = outcome.statuses();
    assert_eq!(statuses.matches("registered").count(), 4, "{statuses}");
    let rejected = "rejected: Route 53 refused the change: a change is not permitted";
    assert!(statuses.contains(rejected), "{statuses}");
}

/// Refuses every change, and names all of them.
fn all_protected() -> Script {
    Box::new(|call| {
        let names = call.body.split("<Name>").skip(1).filter_map(|rest| rest.split_once("</Name>"));
        let messages = names.map(|(name, _)| format!("Record set {name}. is protected"));
        let message = messages.collect::<Vec<_>>().join(", ");
        (call.operation == "ChangeResourceRecordSets").then(|| refused(&message))
    })
}

#[tokio::test(start_paused = true)]
async fn names_that_route_53_never_takes_are_rejected_with_its_words_after_one_request() {
    let names = (0..100).map(|number| format!("service-{number}"));
    let script = either(all_protected(), fleet(names));
    let outcome = run(json!({"reconcile": "all"}), vec![], script).await;
    let statuses = outcome.statuses();
    assert_eq!(statuses.matches("rejected: Route 53 refused the change: Record set").count(), 100);
    assert_eq!(outcome.count("ChangeResourceRecordSets"), 1);
    // Nothing is read again for them.
    assert_eq!(outcome.count("DescribeServices"), 10);
    assert_eq!(outcome.count("ListResourceRecordSets"), 1);
    assert_eq!(outcome.report.failures().count(), 0, "the pass succeeds");
}

#[tokio::test(start_paused = true)]
async fn a_full_zone_costs_a_handful_of_requests_and_fails_the_full_pass() {
    let full: Script = Box::new(|call| {
        let count = |action| call.body.matches(action).count();
        (call.operation == "ChangeResourceRecordSets" && count(">CREATE<") > count(">DELETE<"))
            .then(|| refused("[Number of records limit of 10000 exceeded.]"))
    });
    let zone = registered_as("moved", "moved")
        .iter()
        .map(|rrset| rrset.replace("internal-orders-1", "old"))
        .collect();
    let names = (0..20).map(|number| format!("service-{number}")).chain(["moved".to_owned()]);
    let script = either(full, fleet(names));
    let outcome = run(json!({"reconcile": "all"}), zone, script).await;
    let statuses = outcome.statuses();
    let rejected =
        "rejected: Route 53 refused the change: [Number of records limit of 10000 exceeded.]";
    assert_eq!(statuses.matches(rejected).count(), 20, "{statuses}");
    assert_eq!(statuses.matches("updated").count(), 1, "a move needs no room: {statuses}");
    assert_eq!(outcome.count("ChangeResourceRecordSets"), 7);
    let full_pass = outcome.report.full_pass.expect("a full pass");
    assert_eq!(full_pass.full_zones.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_passes_to_a_larger_record_stays_until_the_zone_has_room() {
    let with = async |has_room: bool| {
        let full: Script = Box::new(move |call| {
            let count = |action| call.body.matches(action).count();
            let grows = count(">CREATE<") > count(">DELETE<");
            (call.operation == "ChangeResourceRecordSets" && grows && !has_room)
                .then(|| refused("[Number of records limit of 10000 exceeded.]"))
        });
        // The mock's load balancer is dualstack, so an alias needs three record sets with its marker.
        let tagged: Script = Box::new(|call| {
            let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
            (call.operation == "DescribeServices").then(|| {
                let status = |name: &str| if name == "old" { "INACTIVE" } else { "ACTIVE" };
                let all = requested(&request).into_iter().map(|(name, _)| (name, status(name)));
                let mut answer: Value =
                    serde_json::from_str(&services(&all.collect::<Vec<_>>())).expect("JSON");
                for service in answer["services"].as_array_mut().expect("services") {
                    service["tags"] = json!([
                        {"key": "discovery:name", "value": "shop"},
                        {"key": "discovery:record", "value": "ALIAS"},
                    ]);
                }
                (200, answer.to_string())
            })
        });
        let zone = registered_as("shop", "old");
        run(json!({"reconcile": "all"}), zone, either(full, tagged)).await
    };
    let outcome = with(false).await;
    let statuses = outcome.statuses();
    assert!(statuses.contains("rejected: Route 53 refused the change: [Number"), "{statuses}");
    assert_eq!(outcome.aws.lock().expect("no holder panics").zone.len(), 2, "the record stays");
    let statuses = with(true).await.statuses();
    assert!(statuses.contains("registered: the name was held by"), "{statuses}");
}

#[tokio::test(start_paused = true)]
async fn a_zone_is_given_up_after_many_refusals_and_does_not_delay_another_one() {
    // Route 53 names only one of the refused changes of Z1 in each message.
    let taken: Script = Box::new(|call| {
        let (_, rest) = call.body.split_once("<Name>")?;
        let (name, _) = rest.split_once("</Name>")?;
        (call.operation == "ChangeResourceRecordSets" && name.ends_with(".one.internal"))
            .then(|| refused(&format!("Tried to create [name='{name}.'] but it already exists")))
    });
    let zones = json!([
        {"vpcId": "vpc-1", "hostedZoneId": "Z1", "name": "one.internal"},
        {"vpcId": "vpc-2", "hostedZoneId": "Z2", "name": "two.internal"},
    ]);
    let balancers: Script = Box::new(|call| {
        let group = |number| format!("{GROUP}{number}");
        let balancer = |number| format!("{BALANCER}{number}");
        let members = |all: [String; 2]| all.concat();
        match call.operation.as_str() {
            "DescribeTargetGroups" => Some((200, elb("DescribeTargetGroups", &format!("<TargetGroups>{}</TargetGroups>", members([1, 2].map(|n| format!("<member><TargetGroupArn>{}</TargetGroupArn><LoadBalancerArns><member>{}</member></LoadBalancerArns></member>", group(n), balancer(n)))))))),
            "DescribeLoadBalancers" => Some((200, elb("DescribeLoadBalancers", &format!("<LoadBalancers>{}</LoadBalancers>", members([1, 2].map(|n| format!("<member><LoadBalancerArn>{}</LoadBalancerArn><LoadBalancerName>lb{n}</LoadBalancerName><DNSName>lb{n}.elb.amazonaws.com</DNSName><IpAddressType>ipv4</IpAddressType><Scheme>internal</Scheme><VpcId>vpc-{n}</VpcId></member>", balancer(n)))))))),
            "DescribeServices" => {
                let request: Value = serde_json::from_str(&call.body).expect("JSON");
                let mut answer: Value = serde_json::from_str(&services(&requested(&request))).expect("JSON");
                for service in answer["services"].as_array_mut().expect("services") {
                    let number = if service["serviceName"].as_str().expect("a name").starts_with("two") { 2 } else { 1 };
                    service["loadBalancers"] = json!([{"targetGroupArn": group(number)}]);
                }
                Some((200, answer.to_string()))
            }
            _ => None,
        }
    });
    let names = (0..200).map(|number| format!("one-{number}")).chain(["two".to_owned()]);
    let script = either(taken, either(balancers, fleet(names)));
    let outcome = run_with_zones(zones, json!({"reconcile": "all"}), vec![], script).await;
    let statuses = outcome.statuses();
    assert_eq!(statuses.matches("registered").count(), 1, "{statuses}");
    assert_eq!(outcome.report.failures().count(), 200);
    let given_up = "skipped: Route 53 refused 30 other requests in a row for the zone Z1, so the handler gave the zone up";
    assert!(statuses.contains(given_up), "{statuses}");
    assert!(
        outcome.count("ChangeResourceRecordSets") < 160,
        "{}",
        outcome.count("ChangeResourceRecordSets")
    );
    let aws = outcome.aws.lock().expect("no holder panics");
    let order: Vec<bool> = aws.batches.iter().map(|body| body.contains("two.internal")).collect();
    assert!(order[..2].contains(&true), "the zones take turns: {order:?}");
}

/// A full pass over this number of services, of which Route 53 refuses some without naming them. Returns how many were
/// registered, and the number of change requests.
async fn pass_with_refusals(
    services: usize,
    is_refused: impl Fn(usize) -> bool + Send + 'static,
) -> (usize, usize) {
    let refusal: Script = Box::new(move |call| {
        let numbers = call.body.split("<Name>s-").skip(1).filter_map(|rest| rest.get(..4));
        let mut numbers = numbers.filter_map(|number| number.parse().ok());
        (call.operation == "ChangeResourceRecordSets" && numbers.any(&is_refused))
            .then(|| refused("a change is not permitted"))
    });
    let script = either(refusal, fleet((0..services).map(|number| format!("s-{number:04}"))));
    let payload = json!({"reconcile": "all"});
    let outcome = run_until(Duration::from_secs(840), payload, vec![], script).await;
    let registered = outcome.statuses().matches("registered").count();
    (registered, outcome.count("ChangeResourceRecordSets"))
}

#[tokio::test(start_paused = true)]
async fn refused_names_that_no_message_names_keep_no_other_name_from_its_record() {
    // Beside each other, spread, and many.
    assert_eq!(pass_with_refusals(200, |number| number < 100).await.0, 100);
    assert_eq!(pass_with_refusals(1_000, |number| number % 20 == 0).await.0, 950);
    assert_eq!(pass_with_refusals(300, |number| number % 5 == 0).await.0, 240);
    // A role without the permission costs a bounded number of requests.
    let (registered, requests) = pass_with_refusals(1_000, |_| true).await;
    assert_eq!(registered, 0);
    assert!(requests <= 60, "{requests} requests");
}

/// A full pass over 600 services, which need four batches.
async fn large_pass(time: Duration) -> TestRun {
    let script = fleet((0..600).map(|number| format!("service-{number}")));
    run_until(time, json!({"reconcile": "all"}), vec![], script).await
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_out_of_time_starts_no_batch_and_reports_the_other_services_as_failed() {
    let whole = large_pass(Duration::from_secs(300)).await;
    assert_eq!(whole.count("ChangeResourceRecordSets"), 4);
    assert_eq!(whole.report.changes.created, 1_200);

    // The time suffices for the reads, which have three quarters of it, and for the first batch with its recheck.
    let first = u32::try_from(whole.round_trip("ChangeResourceRecordSets")).expect("a few");
    let cut = large_pass(ROUND_TRIP * first * 2).await;
    assert_eq!(cut.count("ChangeResourceRecordSets"), 1);
    let created = cut.report.changes.created;
    assert!(created > 0 && created < 1_200, "{created}");
    assert_eq!(cut.report.failures().count(), 600 - created / 2);
    let failure = cut.report.failures().next().and_then(|failure| failure.reason.clone());
    assert_eq!(failure.as_deref(), Some("skipped: the invocation was about to time out"));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_writes_nothing_and_reports_the_changes_of_a_real_run() {
    let outcome = run(json!({"reconcile": "all", "dryRun": true}), vec![], usual()).await;
    assert_eq!(outcome.statuses(), "registered");
    assert_eq!(outcome.batches(), "");
    assert_eq!(outcome.report.changes.created, 2);
}

/// A run with the mode of an environment.
async fn run_in_mode(mode: &str, payload: Value, zone: Vec<String>, script: Script) -> TestRun {
    let aws = mock(zone, script);
    let zone = json!({"vpcId": "vpc-1", "hostedZoneId": "Z1", "name": "internal"});
    let config = json!({"environment": "dev", "zones": [zone], "mode": mode});
    let config = Config::parse(Some(&config.to_string())).expect("valid");
    let trigger = trigger_of(&payload);
    let invocation = invocation(Duration::from_secs(300));
    let report = Reconciler { config, ..reconciler(&aws) }.run(&trigger, &invocation).await;
    TestRun { report, aws }
}

#[tokio::test(start_paused = true)]
async fn the_mode_observe_writes_nothing_and_reports_what_would_happen() {
    let zone = registered("old.elb.amazonaws.com");
    let leave = json!({
        "RequestType": "Delete", "ResourceType": "Custom::EcsDiscoveryZones",
        "LogicalResourceId": "Zones", "PhysicalResourceId": "zones",
        "ResourceProperties": {"Zones": ["Z2"]},
    });
    let payloads = [
        created(),
        json!({"reconcile": "all"}),
        json!({"reconcile": "all", "overrideDeleteLimit": true}),
        json!({"deregister": "all"}),
        leave,
    ];
    for payload in payloads {
        let script = fleet(["orders"]);
        let outcome = run_in_mode("observe", payload.clone(), zone.clone(), script).await;
        assert_eq!(outcome.zone(), zone, "{payload}");
        assert_eq!(outcome.count("ChangeResourceRecordSets"), 0, "{payload}");
        assert!(outcome.report.observed && outcome.report.dry_run, "{payload}");
    }
    let payload = json!({"reconcile": "all"});
    let outcome = run_in_mode("observe", payload, zone, fleet(["orders"])).await;
    assert!(outcome.statuses().starts_with("updated"), "{}", outcome.statuses());
    assert_eq!(outcome.report.changes, Changes { created: 2, deleted: 2 });
    assert!(outcome.report.full_pass.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_mode_create_and_update_keeps_the_names_of_services_that_are_gone() {
    let mut zone = registered_as("gone", "gone");
    zone.extend(registered("old.elb.amazonaws.com"));
    let status = || with_status(|name| if name == "gone" { "INACTIVE" } else { "ACTIVE" });
    for payload in [deleted("gone"), json!({"reconcile": "all"})] {
        let script = either(status(), fleet(["orders"]));
        let outcome = run_in_mode("create-and-update", payload.clone(), zone.clone(), script).await;
        let kept = zone[..2].iter().all(|rrset| outcome.zone().contains(rrset));
        assert!(kept, "{payload}: {:?}", outcome.zone());
        let reason = "ignored: ECS reports INACTIVE; the mode create-and-update removes no name";
        assert!(outcome.statuses().contains(reason), "{}", outcome.statuses());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_reports_all_outcomes_although_one_service_fails() {
    let answer = |payload: &'static str| async {
        let aws = mock(
            vec![],
            Box::new(|call| (call.operation == "ListResourceRecordSets").then(access_denied)),
        );
        let stop_at = Instant::now() + Duration::from_secs(300);
        answer_until(
            &reconciler(&aws),
            FUNCTION_ARN,
            std::time::SystemTime::now(),
            stop_at,
            payload,
        )
        .await
    };
    let Ok(Answer::Report(report)) = answer(r#"{"reconcile":"all","dryRun":true}"#).await else {
        panic!("no report");
    };
    let [orders] = report.outcomes.as_slice() else { panic!("one service") };
    assert_eq!((orders.status.as_str(), orders.applied), ("failed", Some(false)));
    let error = answer(r#"{"reconcile":"all"}"#).await.expect_err("a real run fails");
    assert_eq!(error.kind(), "ServicesFailed");
}

#[tokio::test(start_paused = true)]
async fn an_outcome_contains_what_was_done_and_not_what_was_planned() {
    let mut described = 0;
    let script: Script = Box::new(move |call| match call.operation.as_str() {
        "ChangeResourceRecordSets" => Some(refused("it already exists")),
        "DescribeServices" => {
            described += 1;
            let status = if described > 1 { "INACTIVE" } else { "ACTIVE" };
            Some((200, services(&[("orders", status)])))
        }
        _ => None,
    });
    let run = run(one(), vec![], script).await;
    assert_snapshot!(run.statuses(), @"unchanged: ECS reports INACTIVE; the service had no name");
    assert_eq!(run.report.changes.created, 0);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_external_dns_is_neither_adopted_nor_deleted() {
    let record =
        rrset("orders.internal", "CNAME", 60, "internal-orders-1.eu-west-1.elb.amazonaws.com");
    let heritage = "&quot;heritage=external-dns,external-dns/owner=k8s&quot;";
    let zone = vec![record, rrset("cname-orders.internal", "TXT", 300, heritage)];
    for (payload, status) in
        [(one(), "ACTIVE"), (one(), "INACTIVE"), (json!({"reconcile": "all"}), "ACTIVE")]
    {
        let described = described(services(&[("orders", status)]));
        let run = run(payload, zone.clone(), described).await;
        assert_eq!(run.zone(), zone, "{status}");
        assert!(
            run.statuses().contains("external-dns") || status == "INACTIVE",
            "{}",
            run.statuses()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn values_of_others_at_the_markers_name_stay() {
    let other =
        "<ResourceRecord><Value>&quot;hello&quot;</Value></ResourceRecord></ResourceRecords>";
    let zone = |target: &str| {
        registered(target)
            .iter()
            .map(|rrset| match rrset.contains("TXT") {
                true => rrset.replace("</ResourceRecords>", other),
                false => rrset.clone(),
            })
            .collect::<Vec<_>>()
    };
    let moved = run(one(), zone("old.elb.amazonaws.com"), usual()).await;
    assert!(moved.zone().iter().any(|rrset| rrset.contains("hello") && rrset.contains("heritage")));
    let gone =
        run(one(), zone("old.elb.amazonaws.com"), described(services(&[("orders", "DRAINING")])))
            .await;
    assert_snapshot!(gone.zone().join("\n"), @"<ResourceRecordSet><Name>_discovery.orders.internal</Name><Type>TXT</Type><TTL>300</TTL><ResourceRecords><ResourceRecord><Value>&quot;hello&quot;</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>");
    assert_snapshot!(gone.statuses(), @"deregistered: ECS reports DRAINING");
}

#[tokio::test(start_paused = true)]
async fn a_full_pass_reports_each_name_whose_marker_cannot_be_read() {
    let zone: Vec<String> = registered("old.elb.amazonaws.com")
        .iter()
        .map(|rrset| {
            rrset.replace("orders.internal", "web.internal").replace("heritage", "HERITAGE")
        })
        .collect();
    let run = run(json!({"reconcile": "all"}), zone.clone(), usual()).await;
    assert!(zone.iter().all(|rrset| run.zone().contains(rrset)), "nothing of it changed");
    let full_pass = run.report.full_pass.expect("a full pass");
    insta::assert_json_snapshot!(full_pass.unreadable_markers, @r#"
    [
      {
        "name": "web.internal",
        "zone": "Z1",
        "reason": "_discovery.web.internal, which is no marker of this tool: TXT \"HERITAGE=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders\""
      }
    ]
    "#);
}

const SOA: &str = "ns-1.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400";

#[tokio::test(start_paused = true)]
async fn a_deployment_sets_the_negative_ttl_of_a_zone_once() {
    let payload = |zone: &str| {
        let request = json!({"negativeTtl": {"hostedZoneId": zone, "seconds": 5}}).to_string();
        json!({"RequestType": "Create", "ResourceProperties": {"Create": request}})
    };
    let soa = vec![rrset("internal", "SOA", 900, SOA)];
    let mut denied = 2;
    let script: Script = Box::new(move |call| {
        (call.operation == "ChangeResourceRecordSets").then(|| match denied {
            0 => (200, "<ChangeResourceRecordSetsResponse><ChangeInfo><Id>C1</Id><Status>PENDING</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></ChangeResourceRecordSetsResponse>".into()),
            _ => {
                denied -= 1;
                access_denied()
            }
        })
    });
    let slow = run(payload("Z1"), soa, script).await;
    assert!(slow.report.read_errors.is_empty(), "{:?}", slow.report.read_errors);
    assert_eq!(slow.report.changes.created, 1);
    assert_snapshot!(slow.batches().lines().last().expect("a change"), @"UPSERT internal 5 SOA ns-1.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 5");

    let short = vec![rrset("internal", "SOA", 5, &SOA.replace("86400", "5"))];
    let again = run(payload("Z1"), short, usual()).await;
    assert_eq!(again.count("ChangeResourceRecordSets"), 0);

    let unknown = run(payload("Z9"), vec![], usual()).await;
    assert_snapshot!(unknown.error(), @"the configuration has no zone Z9");
}

#[tokio::test(start_paused = true)]
async fn a_full_pass_reports_zones_with_a_long_negative_ttl_and_the_command_that_shortens_it() {
    let pass = |last: &'static str| async move {
        let zone = vec![rrset("internal", "SOA", 900, &SOA.replace("86400", last))];
        let run = run(json!({"reconcile": "all"}), zone, usual()).await;
        run.report.full_pass.expect("a full pass").long_negative_ttls
    };
    insta::assert_json_snapshot!(pass("86400").await, @r#"
    [
      {
        "zone": "Z1",
        "seconds": 900,
        "command": "aws route53 change-resource-record-sets --hosted-zone-id Z1 --change-batch '{\"Changes\":[{\"Action\":\"UPSERT\",\"ResourceRecordSet\":{\"Name\":\"internal\",\"Type\":\"SOA\",\"TTL\":5,\"ResourceRecords\":[{\"Value\":\"ns-1.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 5\"}]}}]}'"
      }
    ]
    "#);
    assert_eq!(pass("60").await, []);
}

#[tokio::test(start_paused = true)]
async fn a_deregistration_deletes_all_managed_records_and_no_others() {
    let foreign = rrset("billing.internal", "A", 60, "10.0.0.7");
    let mut zone = registered("old.elb.amazonaws.com");
    zone.push(foreign.clone());
    let outcome = run(json!({"deregister": "all"}), zone, usual()).await;
    assert_eq!(outcome.statuses(), "deregistered: the zone's names are being deregistered");
    assert_eq!(outcome.zone(), [foreign]);
}

#[tokio::test(start_paused = true)]
async fn a_zone_outside_the_configuration_can_be_deregistered_alone() {
    let payload = json!({"deregister": {"hostedZoneId": "Z2"}});
    let outcome = run(payload, registered("old.elb.amazonaws.com"), usual()).await;
    assert_eq!(outcome.statuses(), "deregistered: the zone's names are being deregistered");
    let aws = outcome.aws.lock().expect("no holder panics");
    // Only requests for that zone.
    let operations: Vec<&str> = aws.log.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(operations, ["ListResourceRecordSets", "ChangeResourceRecordSets"]);
    assert!(aws.zone.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_missing_zone_is_empty_in_a_deregistration_and_a_read_error_in_a_full_pass() {
    let gone = || -> Script {
        Box::new(|call| {
            let text = "<ErrorResponse><Error><Code>NoSuchHostedZone</Code><Message>No hosted zone found with ID: Z1</Message></Error></ErrorResponse>";
            (call.operation == "ListResourceRecordSets").then(|| (404, text.to_owned()))
        })
    };
    let outcome = run(json!({"deregister": "all"}), vec![], gone()).await;
    assert_eq!(outcome.report.read_errors, Vec::<String>::new());
    let outcome = run(json!({"reconcile": "all"}), vec![], gone()).await;
    assert!(
        outcome.report.read_errors[0].contains("NoSuchHostedZone"),
        "{:?}",
        outcome.report.read_errors
    );
}

/// The response of DescribeServices for `orders` with tags.
fn tagged(tags: &[(&str, &str)]) -> String {
    let mut answer: Value = serde_json::from_str(&services(&[("orders", "ACTIVE")])).expect("JSON");
    let tags =
        tags.iter().map(|(key, value)| json!({"key": format!("discovery:{key}"), "value": value}));
    answer["services"][0]["tags"] = tags.collect();
    answer.to_string()
}

/// Responds to each DescribeServices with `body`.
fn described(body: String) -> Script {
    Box::new(move |call| {
        if call.operation != "DescribeServices" {
            return None;
        }
        assert!(call.body.contains("\"include\":[\"TAGS\"]"), "{}", call.body);
        Some((200, body.clone()))
    })
}

#[tokio::test(start_paused = true)]
async fn a_service_with_the_alias_tag_gets_aliases_for_ipv4_and_ipv6() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    let outcome = run(one(), zone, described(tagged(&[("record", "ALIAS")]))).await;
    assert_snapshot!(outcome.batches(), @r#"
    DELETE orders.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    DELETE _discovery.orders.internal 300 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    CREATE orders.internal  A alias to internal-orders-1.eu-west-1.elb.amazonaws.com.
    CREATE orders.internal  AAAA alias to internal-orders-1.eu-west-1.elb.amazonaws.com.
    CREATE _discovery.orders.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders,records=A+AAAA"
    "#);
    let zone = outcome.zone();
    let again = run(one(), zone, described(tagged(&[("record", "ALIAS")]))).await;
    assert_eq!(again.statuses(), "unchanged");
    assert_eq!(again.batches(), "");
}

/// TagResource for `orders`.
fn retagged() -> Value {
    json!({
        "source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "ecs.amazonaws.com", "eventName": "TagResource",
            "requestParameters": {"resourceArn": service_arn("orders"), "tags": []},
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_retagged_service_loses_a_name_that_neither_its_tags_nor_the_template_give() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com")
        .iter()
        .map(|rrset| rrset.replace("orders.internal", "basket.internal"))
        .collect();
    let outcome = run(retagged(), zone, described(tagged(&[("name", "shop")]))).await;
    assert_eq!(outcome.statuses(), "updated: renamed from basket.internal");
    let zone = outcome.zone();
    assert_eq!(zone.len(), 2);
    assert!(zone.iter().all(|rrset| rrset.contains("shop.internal")), "{zone:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_from_a_tag_of_a_deleted_service_is_found_by_its_marker() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com")
        .iter()
        .map(|rrset| rrset.replace("orders.internal", "shop.internal"))
        .collect();
    let inactive = described(services(&[("orders", "INACTIVE")]));
    let outcome = run(one(), zone, inactive).await;
    assert_eq!(outcome.statuses(), "deregistered: ECS reports INACTIVE");
    assert!(outcome.zone().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_renamed_during_its_registration_keeps_only_its_last_name() {
    let mut described = 0;
    let script = move |call: &Call| {
        if call.operation != "DescribeServices" {
            return None;
        }
        described += 1;
        let name = if described > 1 { "second" } else { "first" };
        Some((200, tagged(&[("name", name)])))
    };
    let outcome = run(one(), vec![], Box::new(script)).await;
    let zone = outcome.zone();
    assert!(zone.iter().all(|rrset| rrset.contains("second.internal")), "{zone:?}");
    assert_eq!(zone.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_invalid_tag_leaves_the_current_record_unchanged() {
    let zone = registered("old.elb.amazonaws.com");
    let outcome = run(one(), zone.clone(), described(tagged(&[("ttl", "never")]))).await;
    assert_eq!(
        outcome.statuses(),
        "invalid: the tag discovery:ttl is \"never\"; expected 1 to 86400 seconds"
    );
    assert_eq!(outcome.zone(), zone);
}

#[tokio::test(start_paused = true)]
async fn an_unmarked_record_with_the_same_target_is_adopted_in_one_batch() {
    let target = "internal-Orders-1.eu-west-1.elb.amazonaws.com.";
    let zone = vec![rrset("orders.internal", "CNAME", 300, target)];
    let outcome = run(one(), zone, usual()).await;
    assert_eq!(outcome.statuses(), "adopted: the record existed without a marker");
    assert_snapshot!(outcome.batches(), @r#"
    DELETE orders.internal 300 CNAME internal-Orders-1.eu-west-1.elb.amazonaws.com.
    CREATE orders.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    CREATE _discovery.orders.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders,records=CNAME"
    "#);
}

/// Describes `orders` with these load balancers and task sets. The only classic load balancer is `old-orders`.
fn with_balancers(balancers: Value, task_sets: Value) -> Script {
    let mut answer: Value = serde_json::from_str(&services(&[("orders", "ACTIVE")])).expect("JSON");
    answer["services"][0]["loadBalancers"] = balancers;
    answer["services"][0]["taskSets"] = task_sets;
    let body = answer.to_string();
    Box::new(move |call| {
        match call.operation.as_str() {
        "DescribeServices" => Some((200, body.clone())),
        "ClassicDescribeLoadBalancers" if call.body.contains("LoadBalancerNames.member.1=old-orders") => {
            Some((200, elb(
                "DescribeLoadBalancers",
                "<LoadBalancerDescriptions><member><LoadBalancerName>old-orders</LoadBalancerName><DNSName>internal-old-orders-1.eu-west-1.elb.amazonaws.com</DNSName><CanonicalHostedZoneNameID>ZLB</CanonicalHostedZoneNameID><Scheme>internal</Scheme><VPCId>vpc-1</VPCId></member></LoadBalancerDescriptions>",
            )))
        }
        "ClassicDescribeLoadBalancers" => Some((400, "<ErrorResponse><Error><Type>Sender</Type><Code>LoadBalancerNotFound</Code><Message>There is no ACTIVE Load Balancer named 'gone'</Message></Error><RequestId>R</RequestId></ErrorResponse>".to_owned())),
        _ => None,
    }
    })
}

#[tokio::test(start_paused = true)]
async fn a_service_behind_a_classic_load_balancer_is_registered() {
    let classic =
        with_balancers(json!([{"loadBalancerName": "old-orders", "containerPort": 80}]), json!([]));
    let outcome = run(one(), vec![], classic).await;
    assert_eq!(outcome.statuses(), "registered");
    assert_snapshot!(outcome.batches(), @r#"
    CREATE orders.internal 60 CNAME internal-old-orders-1.eu-west-1.elb.amazonaws.com
    CREATE _discovery.orders.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders,records=CNAME"
    "#);
    assert_eq!(outcome.count("DescribeTargetGroups"), 0);
    // The first page of all load balancers, and the classic load balancer.
    assert_eq!(outcome.report.api_calls.elb, 2);

    let gone = with_balancers(json!([{"loadBalancerName": "gone"}]), json!([]));
    let outcome = run(one(), vec![], gone).await;
    assert_eq!(outcome.statuses(), "waiting: the classic load balancer gone does not exist yet");

    let denied: Script =
        Box::new(|call| (call.operation == "ClassicDescribeLoadBalancers").then(access_denied));
    let gone = with_balancers(json!([{"loadBalancerName": "gone"}]), json!([]));
    let outcome = run(one(), vec![], either(denied, gone)).await;
    assert_snapshot!(outcome.statuses(), @"failed: elasticloadbalancing:DescribeLoadBalancers for gone failed: AccessDenied: not you (request id REQUEST-7)");
}

#[tokio::test(start_paused = true)]
async fn the_load_balancer_of_the_primary_task_set_is_preferred_and_a_draining_one_comes_last() {
    let set =
        |status: &str, balancer: Value| json!({"status": status, "loadBalancers": [balancer]});
    let old = json!({"loadBalancerName": "old-orders"});
    let new = json!({"targetGroupArn": GROUP});
    for (preferred, other, target) in
        [(&old, &new, "internal-old-orders-1"), (&new, &old, "internal-orders-1")]
    {
        for (status, other_status) in [("PRIMARY", "ACTIVE"), ("ACTIVE", "DRAINING")] {
            let sets = json!([set(other_status, other.clone()), set(status, preferred.clone())]);
            let outcome = run(one(), vec![], with_balancers(json!([]), sets)).await;
            assert_eq!(outcome.statuses(), "registered");
            assert!(
                outcome.batches().contains(&format!("CNAME {target}")),
                "{}",
                outcome.batches()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_read_affects_only_the_services_that_depend_on_it() {
    // Eleven services are described in two requests, and the second one is denied.
    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "orders"];
    let denied: Script = Box::new(|call| {
        let body = json!({"__type": "AccessDeniedException", "message": "not you"}).to_string();
        (call.operation == "DescribeServices" && call.body.contains("orders"))
            .then_some((400, body))
    });
    let zone = registered("old.elb.amazonaws.com");
    let outcome =
        run(json!({"reconcile": "all"}), zone.clone(), either(denied, fleet(names))).await;
    let statuses = outcome.statuses();
    assert_eq!(statuses.matches("registered").count(), 10, "{statuses}");
    assert!(
        statuses.contains("failed: ecs:DescribeServices for the cluster dev failed"),
        "{statuses}"
    );
    let now = outcome.zone();
    assert!(zone.iter().all(|rrset| now.contains(rrset)), "{now:?}");
}

#[tokio::test(start_paused = true)]
async fn load_balancers_are_read_one_by_one_after_a_failed_prefetch() {
    let outcome = run(
        json!({"reconcile": "all"}),
        vec![],
        Box::new(|call| {
            let all =
                matches!(call.operation.as_str(), "DescribeTargetGroups" | "DescribeLoadBalancers")
                    && call.body.contains("PageSize");
            all.then(|| {
                (
                    503,
                    "<ErrorResponse><Error><Code>ServiceUnavailable</Code></Error></ErrorResponse>"
                        .to_owned(),
                )
            })
        }),
    )
    .await;
    assert_eq!(outcome.statuses(), "registered");
    assert!(outcome.report.read_errors.is_empty(), "{:?}", outcome.report.read_errors);
}

#[tokio::test(start_paused = true)]
async fn a_process_reads_load_balancers_ahead_only_until_it_knows_that_the_account_is_large() {
    let more: Script = Box::new(|call| {
        let is_ahead = call.operation == "DescribeLoadBalancers" && call.body.contains("PageSize");
        is_ahead.then(|| {
            let page = "<LoadBalancers/><NextMarker>more</NextMarker>";
            (200, elb("DescribeLoadBalancers", page))
        })
    });
    let aws = mock(vec![], more);
    let reconciler = reconciler(&aws);
    let described = async || {
        let before = aws.lock().expect("no holder panics").log.len();
        let time = Duration::from_secs(300);
        let report = reconciler.run(&trigger_of(&created()), &invocation(time)).await;
        assert_eq!(report.failures().count(), 0);
        let aws = aws.lock().expect("no holder panics");
        let balancers = aws.log[before..].iter().filter(|(one, _)| one == "DescribeLoadBalancers");
        balancers.count()
    };
    assert_eq!(described().await, 2, "one page ahead, and the load balancer by its ARN");
    assert_eq!(described().await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_changes_that_a_refusal_names_are_set_aside_and_the_rest_is_sent_again() {
    let taken: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets" && call.body.contains("<Name>c.internal"))
            .then(|| refused("[Tried to create resource record set [name=&apos;c.internal.&apos;, type=&apos;CNAME&apos;] but it already exists]"))
    });
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let outcome = run(json!({"reconcile": "all"}), vec![], either(taken, fleet(names))).await;
    assert_eq!(outcome.statuses().matches("registered").count(), 7);
    // One request for all eight, one for the other seven, and four more rounds for the refused one.
    assert_eq!(outcome.count("ChangeResourceRecordSets"), 6);
}

/// A batch of SQS messages, as Lambda passes it.
fn queued(bodies: &[String]) -> String {
    let records = bodies.iter().enumerate().map(|(number, body)| {
        json!({
            "messageId": format!("m{number}"), "eventSource": "aws:sqs", "body": body,
            "eventSourceARN": "arn:aws:sqs:eu-west-1:111122223333:events",
            "receiptHandle": format!("receipt-{number}"),
            "attributes": {"ApproximateReceiveCount": (number + 1).to_string()},
        })
    });
    json!({"Records": records.collect::<Vec<_>>()}).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_messages_becomes_one_run_and_a_bad_message_fails_alone() {
    let denied: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets" && call.body.contains("<Name>bad.internal"))
            .then(|| refused("bad.internal. is not permitted as it conflicts with other records"))
    });
    let aws = mock(vec![], either(denied, fleet([""; 0])));
    let service = |name: &str| {
        let mut event = deleted(name);
        event["detail"]["eventName"] = json!("UpdateService");
        event["detail"]["requestParameters"]["loadBalancers"] = json!([]);
        event.to_string()
    };
    let bodies =
        [service("good"), service("bad"), "no JSON".into(), service("good"), service("fine")];
    let now = std::time::SystemTime::now();
    let stop_at = Instant::now() + Duration::from_secs(300);
    let answer =
        answer_until(&reconciler(&aws), FUNCTION_ARN, now, stop_at, &queued(&bodies)).await;
    let Ok(Answer::Batch(answer)) = answer else { panic!("{answer:?}") };
    let answer = serde_json::to_value(answer).expect("JSON");
    assert_eq!(
        answer["batchItemFailures"],
        json!([{"itemIdentifier": "m2"}, {"itemIdentifier": "m1"}])
    );
    assert_eq!(answer["runs"].as_array().map(Vec::len), Some(1));
    assert_eq!(answer["runs"][0]["outcomes"].as_array().map(Vec::len), Some(3));
    let aws = aws.lock().expect("no holder panics");
    assert_eq!(aws.zone.len(), 4, "{:?}", aws.zone);
}

/// As many as fit into a batch of Lambda.
#[tokio::test(start_paused = true)]
async fn thousands_of_elastic_load_balancing_calls_in_a_batch_become_one_full_pass() {
    let name = "create-listener-from-queue";
    let call = common::events().remove(name).expect("a sample event");
    let aws = mock(registered("internal-replaced-0.eu-west-1.elb.amazonaws.com"), usual());
    let stop_at = Instant::now() + Duration::from_secs(300);
    let payload = queued(&vec![call; 5_000]);
    let answer = answer_until(
        &reconciler(&aws),
        FUNCTION_ARN,
        std::time::SystemTime::now(),
        stop_at,
        &payload,
    )
    .await;
    let Ok(Answer::Batch(answer)) = answer else { panic!("{answer:?}") };
    assert!(answer.batch_item_failures.is_empty());
    let runs: Vec<_> = answer.runs.iter().map(|report| (report.scope, report.changes)).collect();
    assert_eq!(runs, [(ReportScope::All, Changes { created: 2, deleted: 2 })]);
    let aws = aws.lock().expect("no holder panics");
    assert!(aws.zone[0].contains("internal-orders-1.eu-west-1.elb"), "{:?}", aws.zone);
}

/// Sends a batch to the handler, and returns the ids of the failed messages and the requests to SQS.
async fn failed_messages(bodies: &[String], script: Script) -> (Vec<String>, Vec<Value>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let sent = Arc::clone(&requests);
    let record: Script = Box::new(move |call| {
        if call.operation == "ChangeMessageVisibilityBatch" {
            let request: Value = serde_json::from_str(&call.body).expect("JSON");
            sent.lock().expect("no holder panics").push(request["Entries"].clone());
        }
        None
    });
    let aws = mock(vec![], either(record, script));
    let (now, stop_at) = (std::time::SystemTime::now(), Instant::now() + Duration::from_secs(290));
    let answer = answer_until(&reconciler(&aws), FUNCTION_ARN, now, stop_at, &queued(bodies)).await;
    let Ok(Answer::Batch(answer)) = answer else { panic!("{answer:?}") };
    let ids = answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier);
    let requests = requests.lock().expect("no holder panics").clone();
    (ids.collect(), requests)
}

#[tokio::test(start_paused = true)]
async fn failed_messages_return_after_1_2_4_and_8_minutes_and_not_after_the_visibility_timeout() {
    let denied: Script = Box::new(|call| {
        (call.operation == "DescribeServices" && call.body.contains("bad")).then(access_denied)
    });
    let bodies = ["bad-1", "good", "bad-2", "bad-3"].map(|name| deleted(name).to_string());
    let script = either(denied, with_status(|_| "INACTIVE"));
    let (ids, requests) = failed_messages(&bodies, script).await;
    assert_eq!(ids, ["m0", "m2", "m3"]);
    assert_eq!(
        requests,
        [json!([
            {"Id": "0", "ReceiptHandle": "receipt-0", "VisibilityTimeout": 60},
            {"Id": "1", "ReceiptHandle": "receipt-2", "VisibilityTimeout": 240},
            {"Id": "2", "ReceiptHandle": "receipt-3", "VisibilityTimeout": 480},
        ])]
    );
    // An unreadable message fails each time.
    let (ids, requests) = failed_messages(&["no JSON".to_owned()], usual()).await;
    assert_eq!((ids.len(), requests[0][0]["VisibilityTimeout"].as_i64()), (1, Some(0)));
    // If SQS refuses, the messages have failed all the same.
    let refused: Script = Box::new(|call| (call.operation == "GetQueueUrl").then(access_denied));
    let denied: Script =
        Box::new(|call| (call.operation == "DescribeServices").then(access_denied));
    let (ids, requests) = failed_messages(&bodies, either(refused, denied)).await;
    assert_eq!((ids.len(), requests.len()), (4, 0));
    let (ids, requests) = failed_messages(&bodies, with_status(|_| "INACTIVE")).await;
    assert_eq!((ids.len(), requests.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_message_repeats_a_failed_full_pass_for_thousands() {
    let call = common::events().remove("create-listener-from-queue").expect("a sample event");
    let mut bodies = vec![call; 5_000];
    bodies.push(deleted("orders").to_string());
    let denied: Script = Box::new(|call| (call.operation == "ListClusters").then(access_denied));
    let (ids, requests) = failed_messages(&bodies, denied).await;
    assert_eq!(ids, ["m0", "m5000"]);
    assert_eq!(requests[0].as_array().map(Vec::len), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_failed_full_pass_of_the_schedule_is_reported_and_not_retried() {
    let denied =
        || -> Script { Box::new(|call| (call.operation == "ListClusters").then(access_denied)) };
    let schedule = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
    let (ids, _) =
        failed_messages(&[schedule.to_string(), deleted("orders").to_string()], denied()).await;
    assert_eq!(ids, ["m1"], "the event returns to the queue");
    let (answer, log) = invoke(FUNCTION_ARN, Duration::from_secs(300), schedule, denied()).await;
    let Ok(Answer::Report(report)) = answer else { panic!("{answer:?}") };
    assert!(report.read_errors[0].contains("ecs:ListClusters"), "{:?}", report.read_errors);
    assert!(log.contains("ERROR invocation failed"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_created_again_with_another_name_loses_the_old_one() {
    let target = "internal-orders-1.eu-west-1.elb.amazonaws.com";
    let before: Vec<String> = registered(target)
        .iter()
        .map(|rrset| rrset.replace("orders.internal", "shop.internal"))
        .collect();
    let outcome = run(deleted("orders"), before, usual()).await;
    assert_eq!(outcome.statuses(), "updated: renamed from shop.internal");
    let zone = outcome.zone();
    assert!(zone.iter().all(|rrset| rrset.contains("orders.internal")), "{zone:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_pass_reports_its_changes_and_the_records_of_the_zones() {
    let target = "internal-orders-1.eu-west-1.elb.amazonaws.com";
    let mut zone: Vec<String> =
        ["gone", "a", "b"].iter().flat_map(|name| registered_as(name, name)).collect();
    zone.push(rrset("adopted.internal", "CNAME", 300, target));
    zone.push(rrset("foreign.internal", "A", 60, "10.0.0.7"));
    let status = with_status(|name| if name == "gone" { "INACTIVE" } else { "ACTIVE" });
    let script = either(status, fleet(["a", "b", "adopted", "new"]));
    let outcome = run(json!({"reconcile": "all"}), zone, script).await;
    let Report { changes, full_pass, .. } = &outcome.report;
    assert_eq!((changes.created, changes.deleted), (4, 3));
    let full_pass = full_pass.as_ref().expect("the counts of the full pass");
    assert_eq!(full_pass.managed_names, 4);
    assert_eq!(full_pass.zone_records.values().copied().collect::<Vec<_>>(), [8]);
}

#[tokio::test(start_paused = true)]
async fn only_throttled_attempts_count_as_throttles() {
    let mut failures = vec![
        ("DescribeServices", 400, json!({"__type": "ThrottlingException", "message": "Rate exceeded"}).to_string()),
        ("DescribeServices", 400, json!({"__type": "ThrottlingException", "message": "Rate exceeded"}).to_string()),
        ("DescribeTargetGroups", 429, "<ErrorResponse><Error><Code>TooManyRequestsException</Code></Error></ErrorResponse>".into()),
        ("ListResourceRecordSets", 400, "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>".into()),
        ("ListResourceRecordSets", 503, String::new()),
    ];
    let script = move |call: &Call| {
        let at = failures.iter().position(|(operation, ..)| *operation == call.operation)?;
        let (_, status, body) = failures.remove(at);
        Some((status, body))
    };
    let outcome = run(one(), vec![], Box::new(script)).await;
    assert_eq!(outcome.statuses(), "registered");
    let throttles = outcome.report.throttles;
    assert_eq!((throttles.ecs, throttles.elb, throttles.route53), (2, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_sdk_cannot_parse_is_part_of_the_error() {
    let page = "<html>\n  <h1>502 Bad Gateway</h1>\n</html>";
    let broken =
        move |call: &Call| (call.operation == "DescribeServices").then(|| (502, page.to_owned()));
    let outcome = run(one(), vec![], Box::new(broken)).await;
    assert_snapshot!(outcome.error(), @r#"ecs:DescribeServices for the cluster dev failed: response error: invalid input: malformed JSON error body: Error at offset 0: unexpected token '<'. Expected one of '{', '[', '"', 'null', 'true', 'false', <number> (HTTP status 502: <html> <h1>502 Bad Gateway</h1> </html>) (request id REQUEST-7)"#);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_deleted_during_a_full_pass_is_no_error_and_a_denied_list_is_one() {
    let listing = |code: &'static str| {
        let failing: Script = Box::new(move |call| {
            let body = json!({"__type": code, "message": "no list"}).to_string();
            (call.operation == "ListServices").then_some((400, body))
        });
        let status = with_status(|_| "INACTIVE");
        run(
            json!({"reconcile": "all"}),
            registered("old.elb.amazonaws.com"),
            either(failing, status),
        )
    };
    let deleted = listing("ClusterNotFoundException").await;
    assert_eq!(deleted.statuses(), "deregistered: ECS reports INACTIVE");
    assert_eq!(deleted.report.read_errors, Vec::<String>::new());
    let denied = listing("AccessDeniedException").await;
    assert_snapshot!(denied.report.read_errors.join("\n"), @"ecs:ListServices for the cluster dev failed: AccessDeniedException: no list (request id REQUEST-7)");
}

#[tokio::test(start_paused = true)]
async fn the_records_at_a_name_are_read_from_all_pages_that_contain_it() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    for (next, pages) in [("_discovery.orders.internal", 2), ("other.internal", 1)] {
        let records = zone.clone();
        let mut listed = 0;
        let script = move |call: &Call| {
            (call.operation == "ListResourceRecordSets").then(|| {
                listed += 1;
                match (listed, pages) {
                    (1, 2) => page(&records[..1], Some(next)),
                    (1, _) => page(&records, Some(next)),
                    _ => page(&records[1..], None),
                }
            })
        };
        let outcome = run(one(), zone.clone(), Box::new(script)).await;
        assert_eq!(outcome.statuses(), "unchanged");
        assert_eq!(outcome.count("ListResourceRecordSets"), pages);
    }
}

/// Between the two pages of a list, another run replaces a CNAME and its marker by aliases and theirs.
#[tokio::test(start_paused = true)]
async fn a_record_and_a_marker_that_do_not_belong_together_are_read_again() {
    let former = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    let aliases = run(one(), former.clone(), described(tagged(&[("record", "ALIAS")]))).await;
    let (record, later) = (former[0].clone(), aliases.zone());
    let marker = later.last().expect("the marker").clone();
    for payload in [one(), json!({"reconcile": "all"}), json!({"deregister": "all"})] {
        let (record, marker) = (record.clone(), marker.clone());
        let mut listed = 0;
        let script = move |call: &Call| match call.operation.as_str() {
            "DescribeServices" => Some(missing()),
            "ListServices" => Some((200, json!({"serviceArns": []}).to_string())),
            "ListResourceRecordSets" => {
                listed += 1;
                match listed {
                    1 => Some(page(
                        std::slice::from_ref(&record),
                        Some("_discovery.orders.internal"),
                    )),
                    2 => Some(page(std::slice::from_ref(&marker), None)),
                    _ => None,
                }
            }
            _ => None,
        };
        let outcome = run(payload, later.clone(), Box::new(script)).await;
        assert_eq!(outcome.zone(), Vec::<String>::new(), "{}", outcome.statuses());
        assert_eq!(outcome.count("ListResourceRecordSets"), 3);
    }
}

/// A person deleted the records of many names, and left the markers.
#[tokio::test(start_paused = true)]
async fn many_missing_records_are_confirmed_by_one_more_list() {
    let names = || (0..40).map(|number| format!("service-{number}"));
    let markers: Vec<String> = names().flat_map(|name| registered_as(&name, &name).pop()).collect();
    let outcome = run(json!({"reconcile": "all"}), markers, fleet(names())).await;
    assert_eq!(outcome.zone().len(), 80);
    assert_eq!(outcome.count("ListResourceRecordSets"), 2);
}

#[tokio::test(start_paused = true)]
async fn thousands_of_names_below_a_name_cost_one_more_request() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    for (below, requests) in [("10-0-0-7.orders.internal", 2), ("web.orders.internal", 1)] {
        let records = zone.clone();
        let script = move |call: &Call| {
            (call.operation == "ListResourceRecordSets").then(|| {
                assert!(call.path.contains("maxitems=8"), "{}", call.path);
                let name = rrset(below, "A", 60, "10.0.0.7");
                let next = Some("x.orders.internal");
                if requests == 1 {
                    return page(&[records.as_slice(), &[name]].concat(), next);
                }
                match call.path.contains("name=_discovery.orders.internal") {
                    false => page(&[records[0].clone(), name], next),
                    true => page(&records[1..], next),
                }
            })
        };
        let outcome = run(one(), zone.clone(), Box::new(script)).await;
        assert_eq!(outcome.statuses(), "unchanged");
        assert_eq!(outcome.count("ListResourceRecordSets"), requests);
    }
}

#[tokio::test(start_paused = true)]
async fn an_alias_with_health_evaluation_is_replaced_with_an_exact_delete() {
    let with_alias = || described(tagged(&[("record", "ALIAS")]));
    let created = run(one(), vec![], with_alias()).await;
    let zone = created.zone().iter().map(|rrset| rrset.replace(">false<", ">true<")).collect();
    let outcome = run(one(), zone, with_alias()).await;
    assert_snapshot!(outcome.statuses(), @"updated: the record was A alias to internal-orders-1.eu-west-1.elb.amazonaws.com. with health evaluation and AAAA alias to internal-orders-1.eu-west-1.elb.amazonaws.com. with health evaluation");
    assert!(!outcome.zone().concat().contains(">true<"));
}

#[tokio::test(start_paused = true)]
async fn requests_for_few_services_are_sent_at_once_and_for_many_at_half_of_the_rate() {
    let change = async |number: usize| {
        let services = (0..number).map(|number| format!("service-{number}"));
        let arns =
            services.clone().map(|name| ServiceArn::parse(&service_arn(&name)).expect("an ARN"));
        let targets = Targets { services: arns.collect(), ..Targets::default() };
        let (scope, options) = (Scope::Services(targets), Options::default());
        let trigger = Trigger::Reconcile { scope, options };
        let time = Duration::from_secs(300);
        run_trigger(time, &trigger, vec![], fleet(services))
            .await
            .round_trip("ChangeResourceRecordSets")
    };
    assert_eq!(change(20).await, 3);
    // The second request waits until 200 ms after the first one.
    assert_eq!(change(21).await, 5);
    assert_eq!(change(30).await, 5);
}

#[tokio::test(start_paused = true)]
async fn the_search_of_a_zone_for_an_event_uses_half_of_the_rate_of_route_53() {
    // A zone of 30 pages, without the name of the deleted service.
    let mut pages = 0;
    let zone: Script = Box::new(move |call| {
        (call.operation == "ListResourceRecordSets").then(|| {
            pages += 1;
            let next = format!("x{pages}.internal.");
            page(&[], (pages < 30).then_some(next.as_str()))
        })
    });
    let script = either(zone, with_status(|_| "INACTIVE"));
    let outcome = run(deleted("orders"), vec![], script).await;
    assert!(outcome.count("ListResourceRecordSets") >= 30);
    let aws = outcome.aws.lock().expect("no holder panics");
    let lists: Vec<Duration> = aws
        .log
        .iter()
        .filter(|(operation, _)| operation == "ListResourceRecordSets")
        .map(|(_, at)| *at)
        .collect();
    // The name is read first, at once. Each page of the whole zone follows 200 ms after the one before.
    assert!(
        lists[2..].windows(2).all(|two| two[1] - two[0] >= Duration::from_millis(200)),
        "{lists:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_pass_uses_half_of_the_rates_of_ecs_and_elastic_load_balancing() {
    // The pages of Elastic Load Balancing follow each other, so without a limit there would be 20 of them in a second.
    let mut pages = BTreeSet::from([String::new()]);
    let load_balancers: Script = Box::new(move |call| {
        (call.operation == "DescribeLoadBalancers").then(|| {
            pages.insert(call.body.clone());
            let next = format!("<LoadBalancers/><NextMarker>{}</NextMarker>", pages.len());
            let next = if pages.len() > 100 { "<LoadBalancers/>" } else { &next };
            (200, elb("DescribeLoadBalancers", next))
        })
    });
    let names = (0..700).map(|number| format!("service-{number}"));
    let script = either(load_balancers, fleet(names));
    let outcome = run(json!({"reconcile": "all"}), vec![], script).await;
    let aws = outcome.aws.lock().expect("no holder panics");
    let peak = |operation: &str, seconds: u64| {
        let at = |(name, at): &(String, Duration)| (name == operation).then_some(*at);
        let all: Vec<Duration> = aws.log.iter().filter_map(at).collect();
        let within = |from: &Duration| {
            let end = *from + Duration::from_secs(seconds);
            all.iter().filter(|at| *at >= from && **at < end).count()
        };
        all.iter().map(within).max().expect("requests")
    };
    // Half of the burst, and half of what the rate allows in the time.
    let (to_ecs, to_elb) = (peak("DescribeServices", 1), peak("DescribeLoadBalancers", 10));
    assert!(to_ecs > 40 && to_ecs <= 50 + 10, "{to_ecs}");
    assert!(to_elb > 40 && to_elb <= 20 + 50, "{to_elb}");
}

#[tokio::test(start_paused = true)]
async fn the_override_lifts_the_delete_limit_of_one_full_pass() {
    let names = ["a", "b", "c", "d"];
    let zone = || names.iter().flat_map(|name| registered_as(name, name)).collect();
    let none = || either(with_status(|_| "INACTIVE"), fleet([""; 0]));
    let refused = run(json!({"reconcile": "all"}), zone(), none()).await;
    assert_eq!(refused.statuses().matches("refused").count(), 4);
    assert_eq!(refused.batches(), "");
    let request = json!({"reconcile": "all", "overrideDeleteLimit": true});
    let applied = run(request, zone(), none()).await;
    assert_eq!(applied.statuses().matches("deregistered").count(), 4);
    assert!(applied.zone().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_delete_limit_counts_the_deletions_of_all_rounds() {
    // Three deletions are free. A service that is deleted after its registration is the fourth.
    let mut described = 0;
    let status = with_status(move |name| {
        described += usize::from(name == "new");
        if name == "new" && described == 1 { "ACTIVE" } else { "INACTIVE" }
    });
    let zone = ["a", "b", "c"].iter().flat_map(|name| registered_as(name, name)).collect();
    let script = either(status, fleet(["new"]));
    let outcome = run(json!({"reconcile": "all"}), zone, script).await;
    assert_snapshot!(outcome.statuses(), @r#"
    deregistered: ECS reports INACTIVE
    deregistered: ECS reports INACTIVE
    deregistered: ECS reports INACTIVE
    refused: the delete limit stopped this full pass: it would delete 4 of 4 names, more than 3 and more than 30 %, so it deletes none; if the deletions are intended, invoke the function with {"reconcile":"all","overrideDeleteLimit":true}
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_cannot_be_rechecked_after_the_write_has_failed() {
    let mut described = 0;
    let script = move |call: &Call| {
        if call.operation != "DescribeServices" {
            return None;
        }
        described += 1;
        let body = json!({"__type": "AccessDeniedException", "message": "not you"}).to_string();
        (described > 1).then_some((400, body))
    };
    let outcome = run(one(), vec![], Box::new(script)).await;
    assert_snapshot!(outcome.statuses(), @"failed: ecs:DescribeServices for the cluster dev failed: AccessDeniedException: not you (request id REQUEST-7); the record was written, but the service could not be rechecked");
    assert_eq!(outcome.zone().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_gone_in_another_way_at_the_recheck_needs_no_further_round() {
    let mut statuses = vec!["INACTIVE", "DRAINING"];
    let script = move |call: &Call| {
        (call.operation == "DescribeServices")
            .then(|| (200, services(&[("orders", statuses.pop().unwrap_or("INACTIVE"))])))
    };
    let outcome = run(one(), registered("old.elb.amazonaws.com"), Box::new(script)).await;
    assert_eq!(outcome.statuses(), "deregistered: ECS reports DRAINING");
    assert_eq!(outcome.count("DescribeServices"), 2);
}

/// Writes the log of a test into memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no holder panics").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Invokes the handler, and returns its answer and its log, one event per line.
async fn invoke(
    function_arn: &str,
    deadline: Duration,
    payload: Value,
    script: Script,
) -> (Result<Answer, InvocationError>, String) {
    let aws = mock(vec![], script);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .with_max_level(tracing::Level::INFO)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let deadline = std::time::SystemTime::now() + deadline;
    let answer = answer(&reconciler(&aws), function_arn, deadline, &payload.to_string()).await;
    drop(guard);
    let log = log.0.lock().expect("no holder panics").clone();
    (answer, String::from_utf8(log).expect("text"))
}

#[tokio::test(start_paused = true)]
async fn an_invocation_logs_each_outcome_and_the_numbers_of_its_run() {
    let time = Duration::from_secs(300);
    let (answer, log) = invoke(FUNCTION_ARN, time, one(), usual()).await;
    assert!(matches!(answer, Ok(Answer::Report(_))), "{answer:?}");
    let log = log.replace(env!("CARGO_PKG_VERSION"), "the present one");
    assert_snapshot!(log, @r#"
    INFO outcome environment="dev" dry_run=false ecs_service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders dns_name=orders.internal hosted_zone=Z1 target=internal-orders-1.eu-west-1.elb.amazonaws.com outcome="registered"
    INFO run finished environment="dev" scope="service" dry_run=false services=1 created=2 deleted=0 ecs_calls=2 elb_calls=2 route53_calls=2 version="the present one"
    "#);
    let (_, log) = invoke(FUNCTION_ARN, time, json!({"hello": "world"}), usual()).await;
    assert_snapshot!(log, @r#" INFO payload ignored environment="dev" reason="the payload is neither an EventBridge event nor a request such as {\"reconcile\":\"all\"}""#);
}

#[tokio::test(start_paused = true)]
async fn the_alias_for_dry_runs_accepts_nothing_else() {
    let function = format!("{FUNCTION_ARN}:dry-run");
    let scope = async |function: &str, payload: Value| {
        let time = Duration::from_secs(300);
        match invoke(function, time, payload, usual()).await.0.expect("it succeeds") {
            Answer::Report(report) => (report.scope.as_str(), report.dry_run, report.reason),
            other => panic!("{other:?}"),
        }
    };
    let mut dry = one();
    dry["dryRun"] = true.into();
    assert_eq!(scope(&function, dry).await, ("service", true, None));
    let refused = "the alias dry-run of the function only accepts requests with \"dryRun\": true";
    let batch = serde_json::from_str(&queued(&[created().to_string()])).expect("JSON");
    for payload in [one(), json!({"deregister": "all"}), created(), batch] {
        assert_eq!(scope(&function, payload).await, ("none", false, Some(refused.to_owned())));
    }
    // Other qualifiers change nothing, and neither does a function with this name.
    for function in [
        format!("{FUNCTION_ARN}:live"),
        "arn:aws:lambda:eu-west-1:111122223333:function:dry-run".to_owned(),
    ] {
        assert_eq!(scope(&function, one()).await, ("service", false, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_pass_logs_services_without_a_name_only_if_an_event_named_them() {
    let schedule = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
    let texts = [created().to_string(), schedule.to_string()];
    let both = queued(&texts);
    let both = serde_json::from_str(&both).expect("JSON");
    for (payload, lines) in [(created(), 1), (schedule, 0), (both, 1)] {
        let express = with_fields(json!({"resourceManagementType": "ECS"}));
        let (answer, log) = invoke(FUNCTION_ARN, Duration::from_secs(300), payload, express).await;
        answer.expect("it succeeds");
        assert!(log.contains("run finished"), "{log}");
        assert_eq!(log.matches("outcome=\"ignored\"").count(), lines, "{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_invocation_has_a_kind_and_a_reason() {
    let failure = async |function_arn: &str, payload: Value, script: Script| {
        let (answer, log) = invoke(function_arn, Duration::from_secs(300), payload, script).await;
        let error = answer.expect_err("the invocation failed");
        assert!(log.contains("ERROR invocation failed"), "{log}");
        format!("{}: {error}", error.kind())
    };
    assert_snapshot!(failure("arn:aws:lambda:x", one(), usual()).await, @r#"FunctionArn: the function's own ARN is invalid: expected the ARN of a Lambda function; found "arn:aws:lambda:x""#);
    let denied = || -> Script {
        Box::new(|call| (call.operation == "ListResourceRecordSets").then(access_denied))
    };
    assert_snapshot!(failure(FUNCTION_ARN, one(), denied()).await, @"ServicesFailed: 1 of 1 services failed. The first: arn:aws:ecs:eu-west-1:111122223333:service/dev/orders: route53:ListResourceRecordSets for orders.internal in the zone Z1 failed: AccessDenied: not you (request id REQUEST-7)");
    assert_snapshot!(failure(FUNCTION_ARN, json!({"deregister": "all"}), denied()).await, @"ReadFailed: route53:ListResourceRecordSets for the zone Z1 failed: AccessDenied: not you (request id REQUEST-7); whatever depends on this read was left unchanged");
}

#[tokio::test(start_paused = true)]
async fn an_invocation_starts_no_change_in_its_last_ten_seconds() {
    let (answer, _) = invoke(FUNCTION_ARN, Duration::from_secs(9), one(), usual()).await;
    assert_snapshot!(answer.expect_err("the invocation failed"), @"1 of 1 services failed. The first: arn:aws:ecs:eu-west-1:111122223333:service/dev/orders: ecs:DescribeServices for the cluster dev failed: the invocation was about to time out, so the request was not sent");
}

#[tokio::test(start_paused = true)]
async fn deletions_that_events_reported_pass_the_delete_limit_of_a_full_pass_in_the_same_batch() {
    let all = ["gone-1", "gone-2", "gone-3", "gone-4", "a", "b", "c", "d"];
    let zone = all.iter().flat_map(|name| registered_as(name, name)).collect();
    let status = with_status(|name| if name.starts_with("gone") { "INACTIVE" } else { "ACTIVE" });
    let aws = mock(zone, either(status, fleet(["a", "b", "c", "d"])));
    let schedule = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
    let events = all[..4].iter().map(|name| deleted(name)).chain([schedule]);
    let payload = queued(&events.map(|event| event.to_string()).collect::<Vec<_>>());
    let stop_at = Instant::now() + Duration::from_secs(300);
    let answer = answer_until(
        &reconciler(&aws),
        FUNCTION_ARN,
        std::time::SystemTime::now(),
        stop_at,
        &payload,
    )
    .await;
    let Ok(Answer::Batch(answer)) = answer else { panic!("{answer:?}") };
    assert_eq!(answer.batch_item_failures, []);
    let zone = aws.lock().expect("no holder panics").zone.concat();
    assert!(!zone.contains("gone") && zone.contains("<Name>d.internal"), "{zone}");
}

#[tokio::test(start_paused = true)]
async fn a_deletion_of_a_batch_fails_alone_while_ecs_still_calls_its_service_alive() {
    let zone = ["gone", "late"].iter().flat_map(|name| registered_as(name, name)).collect();
    let status = with_status(|name| if name == "gone" { "INACTIVE" } else { "ACTIVE" });
    let aws = mock(zone, either(status, usual()));
    let recent = Duration::from_secs(5);
    let events = ["gone", "late"].map(|name| at(deleted(name), recent).to_string());
    let (location, now) = (FUNCTION_ARN, std::time::SystemTime::now());
    let stop_at = Instant::now() + Duration::from_secs(300);
    let answer = answer_until(&reconciler(&aws), location, now, stop_at, &queued(&events)).await;
    let Ok(Answer::Batch(answer)) = answer else { panic!("{answer:?}") };
    let failed: Vec<_> =
        answer.batch_item_failures.iter().map(|one| &one.item_identifier).collect();
    assert_eq!(failed, ["m1"]);
    let zone = aws.lock().expect("no holder panics").zone.concat();
    assert!(!zone.contains("gone") && zone.contains("<Name>late.internal"), "{zone}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_moves_to_another_zone_keeps_its_name_until_the_new_one_exists() {
    let zones = json!([
        {"vpcId": "vpc-1", "hostedZoneId": "Z2", "name": "two.internal"},
        {"vpcId": "vpc-9", "hostedZoneId": "Z1", "name": "one.internal"},
    ]);
    let zone: Vec<String> = registered("old.elb.amazonaws.com")
        .iter()
        .map(|rrset| rrset.replace("orders.internal", "orders.one.internal"))
        .collect();
    let moved = run_with_zones(zones.clone(), one(), zone.clone(), usual()).await;
    assert_eq!(moved.statuses(), "updated: renamed from orders.one.internal");
    assert_snapshot!(moved.batches(), @r#"
    CREATE orders.two.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    CREATE _discovery.orders.two.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders,records=CNAME"
    --
    DELETE orders.one.internal 60 CNAME old.elb.amazonaws.com
    DELETE _discovery.orders.one.internal 300 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    "#);

    let denied: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets" && call.body.contains("two.internal"))
            .then(access_denied)
    });
    let failed = run_with_zones(zones.clone(), one(), zone.clone(), denied).await;
    assert_snapshot!(failed.statuses(), @"failed: route53:ChangeResourceRecordSets for orders.two.internal failed: AccessDenied: not you (request id REQUEST-7); the service keeps orders.one.internal");
    assert_eq!(failed.zone(), zone);

    // The former name comes from an earlier template, and the first change is refused. The next round does not list
    // the zone again, but deletes that name all the same.
    let zone: Vec<String> =
        zone.iter().map(|rrset| rrset.replace("orders.one", "dev-orders.one")).collect();
    let mut is_first = true;
    let refused_once: Script = Box::new(move |call| {
        let is_new =
            call.operation == "ChangeResourceRecordSets" && call.body.contains("two.internal");
        (is_new && std::mem::take(&mut is_first)).then(|| refused("it already exists"))
    });
    let moved = run_with_zones(zones, json!({"reconcile": "all"}), zone, refused_once).await;
    assert_eq!(moved.statuses(), "updated: renamed from dev-orders.one.internal");
    assert_eq!(moved.zone().len(), 2, "{:?}", moved.zone());
}

#[tokio::test(start_paused = true)]
async fn a_renamed_service_keeps_its_name_if_the_new_one_is_taken_or_refused() {
    let renamed = || described(tagged(&[("name", "shop")]));
    let held = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    let mut taken = held.clone();
    taken.push(rrset("shop.internal", "A", 60, "10.0.0.7"));
    let outcome = run(retagged(), taken.clone(), renamed()).await;
    assert_snapshot!(outcome.statuses(), @"conflict: the name is taken by A 10.0.0.7, which has no marker; the service keeps orders.internal");
    assert_eq!(outcome.zone(), taken);

    let refusal: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets")
            .then(|| refused("RRSet of type CNAME with DNS name shop.internal. is not permitted"))
    });
    let outcome = run(retagged(), held.clone(), either(refusal, renamed())).await;
    assert_snapshot!(outcome.statuses(), @"rejected: Route 53 refused the change: RRSet of type CNAME with DNS name shop.internal. is not permitted; the service keeps orders.internal");
    assert_eq!(outcome.zone(), held);
}

#[tokio::test(start_paused = true)]
async fn a_service_waits_for_another_attempt_if_the_one_that_should_get_its_name_did_not_get_it() {
    let both = ["Shop_API", "shop-api"];
    let denied: Script =
        Box::new(|call| (call.operation == "ChangeResourceRecordSets").then(access_denied));
    let updated = |name: &str| {
        let mut event = created();
        event["detail"]["requestParameters"]["serviceName"] = name.into();
        event.to_string()
    };
    let payload = queued(&both.map(updated));
    let stop_at = Instant::now() + Duration::from_secs(300);
    let aws = mock(vec![], either(denied, fleet(both)));
    let now = std::time::SystemTime::now();
    let answer = answer_until(&reconciler(&aws), FUNCTION_ARN, now, stop_at, &payload).await;
    let Ok(Answer::Batch(answer)) = answer else { panic!("{answer:?}") };
    let statuses: Vec<Status> =
        answer.runs[0].outcomes.iter().map(|outcome| outcome.status).collect();
    assert_eq!(statuses, [Status::Failed, Status::Failed]);
    assert_eq!(answer.batch_item_failures.len(), 2);
}

/// The contested name `shop`, which `old` has.
fn contested_shop() -> Vec<String> {
    let rrsets = registered_as("shop", "old");
    rrsets.iter().map(|rrset| rrset.replace("dev/old&", "dev/old,contested&")).collect()
}

/// Services that should all have the name `shop`. `old` and `orders` are deleted, and `denied` cannot be read.
fn all_want_shop(call: &Call) -> Option<MockResponse> {
    let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
    (call.operation == "DescribeServices").then(|| {
        let all = requested(&request);
        if all.iter().any(|(name, _)| *name == "denied") {
            let body = json!({"__type": "AccessDeniedException", "message": "not you"});
            return (400, body.to_string());
        }
        let status = |name| if matches!(name, "old" | "orders") { "DRAINING" } else { "ACTIVE" };
        let all = all.into_iter().map(|(name, _)| (name, status(name)));
        let mut answer: Value =
            serde_json::from_str(&services(&all.collect::<Vec<_>>())).expect("JSON");
        for service in answer["services"].as_array_mut().expect("services") {
            service["tags"] = json!([{"key": "discovery:name", "value": "shop"}]);
        }
        (200, answer.to_string())
    })
}

#[tokio::test(start_paused = true)]
async fn the_event_of_a_deleted_holder_passes_its_contested_name_to_the_other_service() {
    let zone = contested_shop();
    let mut all = zone.clone();
    all.extend(registered_as("web", "new"));
    let outcome = run(deleted("old"), zone, either(Box::new(all_want_shop), fleet(["new"]))).await;
    assert_snapshot!(outcome.batches(), @r#"
    DELETE shop.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    DELETE _discovery.shop.internal 300 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/old,contested"
    CREATE shop.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    CREATE _discovery.shop.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/new,records=CNAME"
    "#);
    // The other service loses the name that it kept until now.
    let outcome = run(deleted("old"), all, either(Box::new(all_want_shop), fleet(["new"]))).await;
    let names: Vec<String> = outcome.zone().iter().map(|rrset| text(rrset, "Name")).collect();
    assert_eq!(names, ["shop.internal", "_discovery.shop.internal"]);
}

#[tokio::test(start_paused = true)]
async fn a_contested_name_passes_on_although_another_service_cannot_be_read() {
    let zone = contested_shop();
    for event in [deleted("old"), json!({"reconcile": "all"})] {
        let script = either(Box::new(all_want_shop), fleet(["denied", "new"]));
        let outcome = run(event.clone(), zone.clone(), script).await;
        let shop = outcome.zone().concat();
        // The service that cannot be read may want the name, so that the next holder's end needs another search.
        assert!(shop.contains("dev/new,records=CNAME,contested"), "{event}: {shop}");
        assert!(!outcome.statuses().contains("not all services"), "{}", outcome.statuses());
        // Without another service that was read, the name stays.
        let script = either(Box::new(all_want_shop), fleet(["denied"]));
        let outcome = run(event.clone(), zone.clone(), script).await;
        assert_eq!(outcome.zone(), zone, "{event}");
        assert!(outcome.statuses().contains("not all services"), "{}", outcome.statuses());
    }
    // Other messages of the batch do not fail for that.
    let payload = queued(&[deleted("old").to_string(), deleted("orders").to_string()]);
    let aws = mock(zone, either(Box::new(all_want_shop), fleet(["denied"])));
    let now = std::time::SystemTime::now();
    let stop_at = Instant::now() + Duration::from_secs(300);
    let answer = answer_until(&reconciler(&aws), FUNCTION_ARN, now, stop_at, &payload).await;
    let Ok(Answer::Batch(answer)) = answer else { panic!("{answer:?}") };
    let failed: Vec<&str> =
        answer.batch_item_failures.iter().map(|one| one.item_identifier.as_str()).collect();
    assert_eq!(failed, ["m0"], "{:?}", answer.runs);
}

#[tokio::test(start_paused = true)]
async fn a_name_stays_while_the_load_balancers_of_a_service_that_should_have_it_cannot_be_read() {
    let zone = registered_as("shop", "old");
    let failing = || -> Script {
        Box::new(|call| (call.operation == "DescribeTargetGroups").then(access_denied))
    };
    let with_tag = || either(Box::new(all_want_shop), fleet(["new"]));
    let with_name = || {
        either(
            with_status(|name| if name == "old" { "DRAINING" } else { "ACTIVE" }),
            fleet(["shop"]),
        )
    };
    for (name, script) in [("new", &with_tag as &dyn Fn() -> Script), ("shop", &with_name)] {
        let mut event = created();
        event["detail"]["requestParameters"]["serviceName"] = name.into();
        for event in [event, json!({"reconcile": "all"})] {
            let outcome = run(event.clone(), zone.clone(), either(failing(), script())).await;
            assert_eq!(outcome.zone(), zone, "{event}");
            let stays = "failed: a service that should have the name could not be read, so the name stays: ";
            assert!(outcome.statuses().contains(stays), "{}", outcome.statuses());
            // The next attempt moves it.
            let outcome = run(event, zone.clone(), script()).await;
            let service = format!("dev/{name},records=CNAME");
            assert!(outcome.zone().concat().contains(&service), "{}", outcome.statuses());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_stays_if_a_service_that_should_have_it_can_only_be_read_at_first() {
    let changes = AtomicUsize::new(0);
    // The holder lives in the first round, and is gone in the second one.
    let script = move |call: &Call| -> Option<MockResponse> {
        let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
        match call.operation.as_str() {
            "ChangeResourceRecordSets" => (changes.fetch_add(1, Ordering::Relaxed) == 0)
                .then(|| refused("the record was not found")),
            "DescribeServices" => {
                let is_first = changes.load(Ordering::Relaxed) == 0;
                let names: Vec<_> = requested(&request).into_iter().map(|(name, _)| name).collect();
                if !is_first && names.contains(&"shop") {
                    return Some(access_denied());
                }
                let status = |name| if is_first || name == "shop" { "ACTIVE" } else { "DRAINING" };
                let all: Vec<_> = names.into_iter().map(|name| (name, status(name))).collect();
                Some((200, services(&all)))
            }
            _ => None,
        }
    };
    let mut event = created();
    event["detail"]["requestParameters"]["serviceName"] = "shop".into();
    let zone = registered_as("shop", "old");
    let outcome = run(event, zone.clone(), either(Box::new(script), fleet(["shop"]))).await;
    assert!(outcome.statuses().contains("failed: ecs:DescribeServices"), "{}", outcome.statuses());
    assert_eq!(outcome.zone(), zone, "{}", outcome.statuses());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_vpc_in_the_configuration_deletes_no_names() {
    let zones = json!([{"vpcId": "vpc-2", "hostedZoneId": "Z1", "name": "internal"}]);
    let names = ["a", "b", "c", "orders"];
    let zone: Vec<String> = names.iter().flat_map(|name| registered_as(name, name)).collect();
    let full_pass = json!({"reconcile": "all"});
    let outcome = run_with_zones(zones.clone(), full_pass, zone.clone(), fleet(names)).await;
    assert_eq!(outcome.statuses().matches("refused: the delete limit").count(), 4);
    assert_eq!(outcome.zone(), zone);
    let outcome = run_with_zones(zones, created(), zone.clone(), fleet(names)).await;
    assert_snapshot!(outcome.statuses(), @"waiting: no load balancer of the service is in a VPC with a zone of this environment: orders in vpc-1; an event does not delete the name for that reason, but the next full pass does, within the delete limit");
    assert_eq!(outcome.zone(), zone);
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_without_a_required_field_is_a_failed_read() {
    for field in ["VpcId", "Scheme", "IpAddressType"] {
        let script = move |call: &Call| {
            (call.operation == "DescribeLoadBalancers").then(|| {
                let fields = [("IpAddressType", "ipv4"), ("Scheme", "internal"), ("VpcId", "vpc-1")]
                    .into_iter()
                    .filter(|(name, _)| *name != field)
                    .map(|(name, value)| format!("<{name}>{value}</{name}>"))
                    .collect::<String>();
                let balancer = format!("<LoadBalancers><member><LoadBalancerArn>{BALANCER}</LoadBalancerArn><LoadBalancerName>orders</LoadBalancerName><DNSName>orders.elb.amazonaws.com</DNSName>{fields}</member></LoadBalancers>");
                (200, elb("DescribeLoadBalancers", &balancer))
            })
        };
        let zone = registered("old.elb.amazonaws.com");
        let outcome = run(one(), zone.clone(), Box::new(script)).await;
        let error = outcome.error();
        assert!(
            error.ends_with(&format!("{BALANCER} failed: the answer has no {field}")),
            "{error}"
        );
        assert_eq!(outcome.zone(), zone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_chain_of_names_from_tags_is_not_followed() {
    // Each service has the name that the template gives to the next one.
    let next = |name: &str| {
        let number: usize = name.trim_start_matches('s').parse().expect("a number");
        format!("s{}", (number + 1) % 25)
    };
    let tagged = move |call: &Call| {
        let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
        (call.operation == "DescribeServices").then(|| {
            let mut answer: Value =
                serde_json::from_str(&services(&requested(&request))).expect("JSON");
            for service in answer["services"].as_array_mut().expect("services") {
                let name = next(service["serviceName"].as_str().expect("a name"));
                service["tags"] = json!([{"key": "discovery:name", "value": name}]);
            }
            (200, answer.to_string())
        })
    };
    let names = (0..25).map(|number| format!("s{number}"));
    let zone = names.flat_map(|name| registered_as(&next(&name), &name)).collect();
    let payload = json!({"reconcile": {"cluster": "dev", "service": "s0"}});
    let outcome = run(payload, zone, Box::new(tagged)).await;
    assert_eq!(outcome.report.read_errors, Vec::<String>::new());
    assert!(outcome.statuses().lines().all(|status| status == "unchanged"));
    assert_eq!(outcome.count("DescribeServices"), 2);
}

/// The configuration of a version of the function.
fn version(generation: &str, name_template: &str) -> Config {
    let zones = json!([{"vpcId": "vpc-1", "hostedZoneId": "Z1", "name": "internal"}]);
    let config = json!({
        "environment": "dev", "zones": zones, "nameTemplate": name_template,
        "generation": generation,
    });
    Config::parse(Some(&config.to_string())).expect("valid")
}

/// The request of a deployment, as CloudFormation sends it.
fn deployment() -> Value {
    let request = json!({"reconcile": "all"}).to_string();
    json!({"RequestType": "Update", "ResourceProperties": {"Update": request}})
}

const OUTDATED: &str = "failed: the zone Z1 belongs to another version of the function or of its configuration, \
    and this invocation belongs to an older one, so it changes nothing; a retry uses the newer version";

#[tokio::test(start_paused = true)]
async fn after_a_deployment_the_former_version_changes_nothing() {
    let aws = mock(vec![], usual());
    let now = std::time::SystemTime::now();
    let at = |seconds: u64| now + Duration::from_secs(seconds);
    let container = |config: Config, started: u64| Reconciler {
        config,
        started_at: at(started),
        ..reconciler(&aws)
    };
    let old = container(version("a", "{service}"), 0);
    let new = container(version("b", "{service}-new"), 20);
    let invoke = async |container: &Reconciler, payload: Value, seconds: u64| {
        let invocation = Invocation { now: at(seconds), ..invocation(Duration::from_secs(300)) };
        let report = container.run(&trigger_of(&payload), &invocation).await;
        TestRun { report, aws: Arc::clone(&aws) }
    };
    let names = || {
        let zone = aws.lock().expect("no holder panics").zone.clone();
        let names = zone.iter().map(|rrset| text(rrset, "Name"));
        let mut names: Vec<String> = names.filter(|name| !name.contains("_discovery")).collect();
        names.sort();
        names
    };

    // The first version takes the zone over with its first event.
    assert_eq!(invoke(&old, one(), 1).await.report.changes.created, 2);
    assert_eq!(names(), ["orders.internal"]);
    let generation = "_discovery-dev-eu-west-1.internal";
    assert!(aws.lock().expect("no holder panics").zone.concat().contains(generation));
    let deployed = invoke(&new, deployment(), 21).await;
    assert_eq!(deployed.report.read_errors, [] as [String; 0]);
    assert_eq!(names(), ["orders-new.internal"]);

    for payload in [one(), json!({"reconcile": "all"})] {
        let outcome = invoke(&old, payload, 22).await;
        assert!(outcome.statuses().starts_with(OUTDATED), "{}", outcome.statuses());
        assert_eq!(names(), ["orders-new.internal"]);
    }
    // A rollback starts the former version again.
    let former = container(version("a", "{service}"), 30);
    invoke(&former, json!({"reconcile": "all"}), 31).await;
    assert_eq!(names(), ["orders.internal"]);
    invoke(&former, json!({"deregister": "all"}), 32).await;
    assert_eq!(aws.lock().expect("no holder panics").zone, [] as [String; 0]);
}

fn resource(kind: &str, properties: &Value, former: &Value) -> Value {
    json!({
        "RequestType": kind, "RequestId": "R", "PhysicalResourceId": "P", "LogicalResourceId": "Names",
        "ResourceProperties": properties, "OldResourceProperties": former,
    })
}

/// The configuration of a stack, as the construct writes it.
fn stack(generation: &str) -> Config {
    let zones = json!([{"vpcId": "vpc-1", "hostedZoneId": "Z1", "name": "internal"}]);
    let config = json!({
        "environment": "dev", "zones": zones, "generation": generation, "namesResource": "Names",
        "checkZones": true,
    });
    Config::parse(Some(&config.to_string())).expect("valid")
}

/// Answers an event of CloudFormation.
async fn deploy(
    aws: &Arc<Mutex<MockAws>>,
    config: Config,
    event: &Value,
) -> Result<ResourceAnswer, InvocationError> {
    let (now, stop_at) = (std::time::SystemTime::now(), Instant::now() + Duration::from_secs(290));
    let reconciler = Reconciler { config, ..reconciler(aws) };
    let answer = answer_until(&reconciler, FUNCTION_ARN, now, stop_at, &event.to_string()).await?;
    let Answer::Resource(answer) = answer else { panic!("{answer:?}") };
    Ok(answer)
}

/// The deletion of the whole stack.
fn destruction() -> Value {
    let request = json!({"deregister": "all"}).to_string();
    resource("Delete", &json!({ "Delete": request }), &json!({}))
}

/// Registers `orders` with the generation `a`.
async fn registered_stack() -> Arc<Mutex<MockAws>> {
    let aws = mock(vec![], usual());
    let reconciler = Reconciler { config: stack("a"), ..reconciler(&aws) };
    let report = reconciler.run(&trigger_of(&one()), &invocation(Duration::from_secs(300))).await;
    assert_eq!(report.changes.created, 2);
    aws
}

fn set_script(aws: &Arc<Mutex<MockAws>>, script: Script) {
    aws.lock().expect("no holder panics").script = script;
}

/// The names in the zone.
fn names_in(aws: &Arc<Mutex<MockAws>>) -> Vec<String> {
    let aws = aws.lock().expect("no holder panics");
    let names = aws.zone.iter().map(|rrset| text(rrset, "Name"));
    names.filter(|name| !name.contains("_discovery")).collect()
}

#[tokio::test(start_paused = true)]
async fn the_names_of_a_zone_go_with_its_stack_unless_the_zone_belongs_to_another_one() {
    let aws = registered_stack().await;
    let answer = deploy(&aws, stack("a"), &destruction()).await.expect("success");
    assert_eq!(aws.lock().expect("no holder panics").zone, [] as [String; 0]);
    assert_eq!((answer.report.notes, answer.physical_resource_id), (vec![], None));

    let aws = registered_stack().await;
    let answer = deploy(&aws, stack("b"), &destruction()).await.expect("success");
    assert_eq!(names_in(&aws), ["orders.internal"]);
    assert_snapshot!(answer.data.summary, @"the zone Z1 belongs to another stack or version by now, so its names stay");

    // Another resource of the template, for example of a renamed construct.
    let aws = registered_stack().await;
    let mut event = destruction();
    event["LogicalResourceId"] = "FormerNames".into();
    deploy(&aws, stack("a"), &event).await.expect("success");
    assert_eq!(names_in(&aws), ["orders.internal"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_rollback_the_deletion_of_the_former_zones_leaves_the_names() {
    let aws = registered_stack().await;
    let mut event = resource("Delete", &json!({"Zones": ["Z1"]}), &json!({}));
    event["LogicalResourceId"] = "Zones".into();
    deploy(&aws, stack("a"), &event).await.expect("success");
    assert_eq!(names_in(&aws), ["orders.internal"]);
}

#[tokio::test(start_paused = true)]
async fn a_stack_can_be_deleted_without_its_permissions_and_its_names_stay() {
    let aws = registered_stack().await;
    set_script(&aws, Box::new(|call| call.operation.starts_with("List").then(access_denied)));
    let answer = deploy(&aws, stack("a"), &destruction()).await.expect("success");
    assert_snapshot!(answer.data.summary, @"route53:ListResourceRecordSets for _discovery-dev-eu-west-1.internal in the zone Z1 failed: AccessDenied: not you (request id REQUEST-7); the names of the zone stay");

    // Without the permission to change records, and with so many names that the zone is given up.
    let names = |count: usize| (0..count).map(|number| format!("service-{number}"));
    for count in [1, 100, 1_000] {
        let zone = names(count).flat_map(|name| registered_as(&name, &name)).collect();
        let aws =
            mock(zone, Box::new(|call| call.operation.starts_with("Change").then(access_denied)));
        let answer = deploy(&aws, stack("a"), &destruction()).await.expect("success");
        assert_eq!(names_in(&aws).len(), count);
        let expected = format!("{count} rejected, route53:ChangeResourceRecordSets for ");
        assert!(answer.data.summary.starts_with(&expected), "{}", answer.data.summary);
        assert!(
            answer.data.summary.ends_with("; names stay in the zone Z1"),
            "{}",
            answer.data.summary
        );
        assert_eq!(answer.report.notes.len(), 1);
        let reasons = answer.report.outcomes.iter().filter_map(|outcome| outcome.reason.as_ref());
        assert_eq!(reasons.count(), count);
    }
    // One name of several is denied.
    let zone = names(2).flat_map(|name| registered_as(&name, &name)).collect();
    let aws = mock(zone, Box::new(|call| call.body.contains("service-1").then(access_denied)));
    let answer = deploy(&aws, stack("a"), &destruction()).await.expect("success");
    assert_eq!(names_in(&aws), ["service-1.internal"]);
    assert!(
        answer.data.summary.starts_with("1 deregistered, 1 rejected, "),
        "{}",
        answer.data.summary
    );

    // The record with the generation alone.
    let aws = registered_stack().await;
    set_script(
        &aws,
        Box::new(|call| {
            (call.operation.starts_with("Change") && !call.body.contains("orders"))
                .then(access_denied)
        }),
    );
    let answer = deploy(&aws, stack("a"), &destruction()).await.expect("success");
    assert_eq!((names_in(&aws).len(), answer.report.notes.len()), (0, 1));

    // An error that a retry may overcome fails the deletion, and so does a denied command of a person.
    let aws = registered_stack().await;
    set_script(
        &aws,
        Box::new(|call| call.operation.starts_with("Change").then(|| (500, String::new()))),
    );
    let error = deploy(&aws, stack("a"), &destruction()).await.expect_err("failure");
    assert_eq!(error.kind(), "ServicesFailed");
    set_script(&aws, Box::new(|call| call.operation.starts_with("Change").then(access_denied)));
    let reconciler = Reconciler { config: stack("a"), ..reconciler(&aws) };
    let payload = json!({"deregister": "all"}).to_string();
    let failed = answer_until(
        &reconciler,
        FUNCTION_ARN,
        std::time::SystemTime::now(),
        Instant::now() + Duration::from_secs(290),
        &payload,
    );
    assert!(failed.await.is_err());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_in_a_zone_that_leaves_an_environment() {
    let aws = registered_stack().await;
    // Route 53 lists the zone's own records first, those with the first types before the others.
    let mail = rrset("internal", "MX", 300, "10 mail.example.com.");
    aws.lock().expect("no holder panics").zone.insert(0, mail.clone());
    let mut event = resource("Delete", &json!({"Zones": ["Z2"]}), &json!({}));
    event["LogicalResourceId"] = "Zones".into();
    deploy(&aws, stack("a"), &event).await.expect("success");
    // Otherwise Route 53 would not delete the zone.
    assert_eq!(aws.lock().expect("no holder panics").zone, [mail]);
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_leaves_an_environment_without_permissions_keeps_its_names() {
    let mut event = resource("Delete", &json!({"Zones": ["Z2"]}), &json!({}));
    event["LogicalResourceId"] = "Zones".into();
    for operation in ["List", "Change"] {
        let denied = move |call: &Call| {
            (call.operation.starts_with(operation) && call.path.contains("/Z2/"))
                .then(access_denied)
        };
        let aws = mock(registered("old.elb.amazonaws.com"), Box::new(denied));
        let answer = deploy(&aws, stack("a"), &event).await.expect("success");
        assert_eq!(names_in(&aws), ["orders.internal"], "{operation}");
        assert!(answer.data.summary.contains("stay"), "{}", answer.data.summary);
    }
}

fn hosted_zone(name: &str, is_private: bool, vpc: &str) -> MockResponse {
    (
        200,
        format!(
            "<GetHostedZoneResponse><HostedZone><Id>/hostedzone/Z1</Id><Name>{name}</Name><CallerReference>C</CallerReference><Config><PrivateZone>{is_private}</PrivateZone></Config></HostedZone><VPCs><VPC><VPCRegion>eu-west-1</VPCRegion><VPCId>{vpc}</VPCId></VPC></VPCs></GetHostedZoneResponse>"
        ),
    )
}

/// The creation of the resource that checks the zones.
fn zone_check() -> Value {
    resource("Create", &json!({"Create": json!({"check": "zones"}).to_string()}), &json!({}))
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_is_public_or_another_one_is_refused_at_deployment_and_in_full_passes() {
    let problem =
        async |name: &'static str, is_private: bool, vpc: &'static str, payload: &Value| {
            let script: Script = Box::new(move |call| {
                (call.operation == "GetHostedZone").then(|| hosted_zone(name, is_private, vpc))
            });
            let aws = mock(vec![], script);
            let report = Reconciler { config: stack("a"), ..reconciler(&aws) }
                .run(&trigger_of(payload), &invocation(Duration::from_secs(300)))
                .await;
            let is_empty = aws.lock().expect("no holder panics").zone.is_empty();
            assert_eq!(is_empty, report.changes.created == 0);
            (report.read_errors.join("\n"), is_empty)
        };
    let pass = json!({"reconcile": "all"});
    for payload in [&zone_check(), &pass] {
        let problem = async |name, is_private, vpc| {
            let (error, is_empty) = problem(name, is_private, vpc, payload).await;
            assert!(is_empty);
            error
        };
        assert_eq!(
            problem("internal.", false, "vpc-1").await,
            "the zone Z1 (internal.) is public, so everybody could read its names; give a private zone"
        );
        assert_eq!(
            problem("other.", true, "vpc-1").await,
            "the zone Z1 has the name other., not internal"
        );
        assert!(problem("internal.", true, "vpc-2").await.starts_with("the zone Z1 (internal) is not associated with vpc-1, so nobody there could resolve its names; associate it with `aws route53 "));
    }
    assert_eq!(problem("internal.", true, "vpc-1", &zone_check()).await, (String::new(), true));
    assert_eq!(problem("internal.", true, "vpc-1", &pass).await, (String::new(), false));
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_cannot_be_used_fails_a_deployment_and_never_a_rollback() {
    let missing = || -> Script {
        Box::new(|call| {
            let text = "<ErrorResponse><Error><Code>NoSuchHostedZone</Code><Message>no Z1</Message></Error></ErrorResponse>";
            ["GetHostedZone", "ListResourceRecordSets"]
                .contains(&call.operation.as_str())
                .then(|| (404, text.to_owned()))
        })
    };
    let aws = mock(vec![], missing());
    let error = deploy(&aws, stack("a"), &zone_check()).await.expect_err("failure");
    assert!(error.to_string().contains("NoSuchHostedZone"), "{error}");

    // A rollback updates the resources that the failed update changed, and deletes those that it created.
    let (two, one) = (json!({"Zones": ["Z1", "Z2"]}), json!({"Zones": ["Z2"]}));
    let pass = json!({"Update": json!({"reconcile": "all"}).to_string()});
    let check = zone_check()["ResourceProperties"].clone();
    for event in [
        resource("Update", &two, &one),
        resource("Update", &pass, &pass),
        resource("Delete", &check, &json!({})),
    ] {
        let aws = mock(vec![], missing());
        deploy(&aws, stack("a"), &event).await.expect("success");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deployment_checks_that_each_zone_can_be_listed_and_waits_for_the_permission() {
    let zone = || hosted_zone("internal.", true, "vpc-1");
    let script = |mut denied: usize| -> Script {
        Box::new(move |call| match call.operation.as_str() {
            "GetHostedZone" => Some(zone()),
            "ListResourceRecordSets" if denied > 0 => {
                denied -= 1;
                Some(access_denied())
            }
            _ => None,
        })
    };
    let aws = mock(vec![], script(2));
    deploy(&aws, stack("a"), &zone_check()).await.expect("success");
    let aws = mock(vec![], script(usize::MAX));
    let error = deploy(&aws, stack("a"), &zone_check()).await.expect_err("failure");
    assert!(
        error.to_string().contains("route53:ListResourceRecordSets for the zone Z1"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_check_of_many_zones_stays_below_the_rate_of_route_53() {
    let vpcs: Vec<_> =
        (1..=30).map(|number| (format!("vpc-{number}"), format!("Z{number}"))).collect();
    let config = |check: bool| {
        let zones = json!([{"name": "internal", "vpcs": vpcs}]);
        let config = json!({"environment": "dev", "zones": zones, "checkZones": check});
        Config::parse(Some(&config.to_string())).expect("valid")
    };
    for event in [zone_check(), json!({"reconcile": "all"})] {
        let script: Script = Box::new(|call| {
            let number =
                call.path.rsplit("/Z").next().and_then(|rest| rest.split(['/', '?']).next());
            let vpc = format!("vpc-{}", number.unwrap_or_default());
            (call.operation == "GetHostedZone").then(|| hosted_zone("internal.", true, &vpc))
        });
        let aws = mock(vec![], script);
        let reconciler = Reconciler { config: config(true), ..reconciler(&aws) };
        let (trigger, invocation) = (trigger_of(&event), invocation(Duration::from_secs(300)));
        let report = reconciler.run(&trigger, &invocation).await;
        assert_eq!(report.read_errors, [] as [String; 0]);
        let aws = aws.lock().expect("no holder panics");
        let to_route53 = aws.log.iter().filter(|(operation, _)| {
            ["GetHostedZone", "ListResourceRecordSets"].contains(&operation.as_str())
        });
        let mut times: Vec<Duration> = to_route53.map(|(_, at)| *at).collect();
        times.sort();
        assert_eq!(times.len(), 60);
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(200)));
    }

    // A configuration that does not ask for it needs no permission for it.
    let aws = mock(vec![], usual());
    let reconciler = Reconciler { config: config(false), ..reconciler(&aws) };
    let pass = trigger_of(&json!({"reconcile": "all"}));
    reconciler.run(&pass, &invocation(Duration::from_secs(300))).await;
    assert!(
        aws.lock().expect("no holder panics").log.iter().all(|(name, _)| name != "GetHostedZone")
    );
}

#[tokio::test(start_paused = true)]
async fn a_deployment_fails_only_if_it_is_the_first_one_and_achieves_nothing() {
    let deploy = async |kind: &str, script: Script| {
        let aws = mock(vec![], script);
        let request = json!({"reconcile": "all"}).to_string();
        let payload = resource(kind, &json!({"Create": request, "Update": request}), &json!({}));
        let (now, stop_at) =
            (std::time::SystemTime::now(), Instant::now() + Duration::from_secs(290));
        let payload = payload.to_string();
        match answer_until(&reconciler(&aws), FUNCTION_ARN, now, stop_at, &payload).await {
            Ok(Answer::Resource(answer)) => {
                serde_json::to_value(answer).expect("JSON")["Data"]["Summary"]
                    .as_str()
                    .expect("text")
                    .to_owned()
            }
            other => format!("{:?}", other.map_err(|error| error.kind())),
        }
    };
    let denied =
        || -> Script { Box::new(|call| call.operation.starts_with("Change").then(access_denied)) };
    let one_denied = || -> Script {
        let denied: Script = Box::new(|call| {
            (call.operation.starts_with("Change") && call.body.contains("bad.internal"))
                .then(access_denied)
        });
        either(denied, fleet(["bad", "good"]))
    };
    assert_eq!(deploy("Create", usual()).await, "1 registered");
    assert_eq!(deploy("Create", denied()).await, "Err(\"ServicesFailed\")");
    assert_eq!(deploy("Create", one_denied()).await, "1 registered, 1 failed");
    assert_eq!(deploy("Update", denied()).await, "1 failed");
    let unreadable =
        || -> Script { Box::new(|call| (call.operation == "ListClusters").then(access_denied)) };
    assert_eq!(deploy("Create", unreadable()).await, "Err(\"ReadFailed\")");
    assert!(
        deploy("Update", unreadable())
            .await
            .starts_with("1 failed reads, the first: ecs:ListClusters")
    );
}

#[tokio::test(start_paused = true)]
async fn a_full_zone_does_not_stop_changes_of_records_that_exist() {
    let full = |call: &Call| {
        (call.operation == "ChangeResourceRecordSets"
            && call.body.contains("<Value>&quot;heritage=ecs-discovery,version=1,since="))
        .then(|| refused("The zone internal cannot have more than 10000 records"))
    };
    let aws = mock(registered("internal-former-1.eu-west-1.elb.amazonaws.com"), Box::new(full));
    let reconciler = Reconciler { config: version("a", "{service}"), ..reconciler(&aws) };
    let trigger = Trigger::parse(&one(), &location());
    let report = reconciler.run(&trigger, &invocation(Duration::from_secs(300))).await;
    let outcome = TestRun { report, aws };
    assert_snapshot!(outcome.statuses(), @"updated: the record was CNAME internal-former-1.eu-west-1.elb.amazonaws.com, TTL 60 s");
}

/// Answers every request for `operation` with `status` and `body`.
fn always(operation: &'static str, status: u16, body: &'static str) -> Script {
    Box::new(move |call| (call.operation == operation).then(|| (status, body.to_owned())))
}

const THROTTLED: &str = "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>";

#[tokio::test(start_paused = true)]
async fn invariant_11_a_run_ends_before_its_deadline_with_a_report_although_an_api_fails_or_is_slow()
 {
    let throttled_ecs = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
    let faults: [(&str, u16, &'static str); 7] = [
        ("DescribeServices", 400, throttled_ecs),
        ("ListServices", 400, throttled_ecs),
        ("DescribeTargetGroups", 400, THROTTLED),
        ("DescribeLoadBalancers", 503, ""),
        ("ListResourceRecordSets", 400, THROTTLED),
        ("ChangeResourceRecordSets", 400, THROTTLED),
        ("ChangeResourceRecordSets", 503, ""),
    ];
    for (operation, status, body) in faults {
        for payload in [created(), json!({"reconcile": "all"}), json!({"deregister": "all"})] {
            let start = Instant::now();
            let aws = mock(registered("old.elb.amazonaws.com"), always(operation, status, body));
            let reconciler = with_attempts(&aws, 1_000);
            let trigger = Trigger::parse(&payload, &location());
            let time = Duration::from_secs(20);
            let report = reconciler.run(&trigger, &invocation(time)).await;
            // The handler has five more seconds for a change batch, and five for the report.
            assert!(
                start.elapsed() <= time + Duration::from_secs(5),
                "{operation}: {:?}",
                start.elapsed()
            );
            let text = format!("{:?}{:?}", report.outcomes, report.read_errors);
            let is_needed =
                aws.lock().expect("no holder panics").log.iter().any(|(one, _)| one == operation);
            let reason =
                format!("about to time out; the last error was: HTTP status {status}: {body}");
            let is_reported = text.replace("\\\"", "\"").contains(&reason);
            assert!(!is_needed || is_reported, "{operation} {payload}: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reading_ends_early_enough_to_write_what_is_decided() {
    // One of two services has a target group that AWS does not describe in time.
    let slow: Script = Box::new(|call| {
        (call.operation == "DescribeTargetGroups").then(|| (400, THROTTLED.to_owned()))
    });
    let mut classic: Value =
        serde_json::from_str(&services(&[("a", "ACTIVE"), ("b", "ACTIVE")])).expect("JSON");
    classic["services"][0]["loadBalancers"] = json!([{"loadBalancerName": "old"}]);
    let described: Script = Box::new(move |call| match call.operation.as_str() {
        "DescribeServices" => {
            let request: Value = serde_json::from_str(&call.body).expect("JSON");
            let names: Vec<&str> = requested(&request).into_iter().map(|(name, _)| name).collect();
            let mut answer = classic.clone();
            answer["services"]
                .as_array_mut()
                .expect("services")
                .retain(|one| names.contains(&one["serviceName"].as_str().expect("a name")));
            Some((200, answer.to_string()))
        }
        "ClassicDescribeLoadBalancers" => Some((
            200,
            elb(
                "DescribeLoadBalancers",
                "<LoadBalancerDescriptions><member><LoadBalancerName>old</LoadBalancerName><DNSName>old.elb.amazonaws.com</DNSName><Scheme>internal</Scheme><VPCId>vpc-1</VPCId></member></LoadBalancerDescriptions>",
            ),
        )),
        _ => None,
    });
    let aws = mock(vec![], either(slow, either(described, fleet(["a", "b"]))));
    let trigger = Trigger::parse(&json!({"reconcile": "all"}), &location());
    let report =
        with_attempts(&aws, 1_000).run(&trigger, &invocation(Duration::from_secs(60))).await;
    let statuses: Vec<&str> =
        report.outcomes.iter().map(|outcome| outcome.status.as_str()).collect();
    assert_eq!(statuses, ["registered", "failed"], "{:?}", report.outcomes);
}

/// A full pass over `orders` whose write takes longer than the pass that follows a change of a load balancer waits.
/// Elastic Load Balancing answers with `elb` after the write.
async fn long_pass(elb: fn(&Call) -> Option<MockResponse>) -> TestRun {
    let (mut throttled, mut is_written) = (0, false);
    let script: Script = Box::new(move |call| match call.operation.as_str() {
        "ChangeResourceRecordSets" if throttled < 14 => {
            throttled += 1;
            Some((400, THROTTLED.to_owned()))
        }
        "ChangeResourceRecordSets" => {
            is_written = true;
            None
        }
        _ if is_written => elb(call),
        _ => None,
    });
    let aws = mock(vec![], script);
    let trigger = Trigger::parse(&json!({"reconcile": "all"}), &location());
    let report =
        with_attempts(&aws, 1_000).run(&trigger, &invocation(Duration::from_secs(300))).await;
    TestRun { report, aws }
}

#[tokio::test(start_paused = true)]
async fn a_long_run_reads_the_load_balancers_again_after_its_write() {
    let unchanged = long_pass(|_| None).await;
    assert_eq!(unchanged.statuses(), "registered");
    assert_eq!(unchanged.count("DescribeTargetGroups"), 2);
    assert_eq!(unchanged.count("ChangeResourceRecordSets"), 15);

    let replaced = long_pass(|call| {
        let body = format!(
            "<LoadBalancers><member><LoadBalancerArn>{BALANCER}</LoadBalancerArn><DNSName>orders-2.elb.amazonaws.com</DNSName><IpAddressType>ipv4</IpAddressType><Scheme>internal</Scheme><VpcId>vpc-1</VpcId></member></LoadBalancers>"
        );
        (call.operation == "DescribeLoadBalancers").then(|| (200, elb(&call.operation, &body)))
    })
    .await;
    assert_eq!(text(&replaced.zone()[0], "Value"), "orders-2.elb.amazonaws.com");

    let failed =
        long_pass(|call| call.operation.starts_with("DescribeTarget").then(access_denied)).await;
    assert!(failed.statuses().starts_with("failed"), "{}", failed.statuses());
    assert!(
        failed.statuses().contains("the service could not be rechecked"),
        "{}",
        failed.statuses()
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_leads_to_itself_or_has_no_next_page_is_a_failed_read() {
    let lists: [(&str, String); 6] = [
        ("ListClusters", json!({"clusterArns": [], "nextToken": "t"}).to_string()),
        (
            "ListServices",
            json!({"serviceArns": [service_arn("orders")], "nextToken": "t"}).to_string(),
        ),
        (
            "DescribeLoadBalancers",
            elb("DescribeLoadBalancers", "<LoadBalancers/><NextMarker>t</NextMarker>"),
        ),
        (
            "DescribeTargetGroups",
            elb("DescribeTargetGroups", "<TargetGroups/><NextMarker>t</NextMarker>"),
        ),
        ("ListResourceRecordSets", page(&[], Some("orders.internal")).1),
        ("ListResourceRecordSets", page(&[], None).1.replace(">false<", ">true<")),
    ];
    for (operation, answer) in lists {
        let script: Script = Box::new(move |call| {
            let is_list = !call.body.contains("Arns.member");
            (call.operation == operation && is_list).then(|| (200, answer.clone()))
        });
        let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
        let outcome = run(json!({"reconcile": "all"}), zone.clone(), script).await;
        assert!(outcome.count(operation) < 6, "{operation}");
        let is_prefetch = operation.starts_with("Describe");
        assert_eq!(outcome.report.read_errors.is_empty(), is_prefetch, "{operation}");
        assert_eq!(outcome.zone(), zone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_retried_after_the_status_429() {
    for operation in [
        "DescribeServices",
        "DescribeTargetGroups",
        "ListResourceRecordSets",
        "ChangeResourceRecordSets",
    ] {
        let mut answers = vec![(429, "<html><h1>429</h1></html>".to_owned())];
        let script: Script =
            Box::new(move |call| (call.operation == operation).then(|| answers.pop()).flatten());
        let outcome = run(created(), vec![], script).await;
        assert_eq!(outcome.statuses(), "registered", "{operation}");
        let throttles = outcome.report.throttles;
        assert_eq!(throttles.ecs + throttles.elb + throttles.route53, 1, "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_code_that_the_sdk_knows_counts_as_a_throttle() {
    for code in ["RequestLimitExceeded", "PriorRequestNotComplete", "SlowDown", "Throttling"] {
        let mut answers = vec![(400, THROTTLED.replace("Throttling", code))];
        let script: Script = Box::new(move |call| {
            (call.operation == "ChangeResourceRecordSets").then(|| answers.pop()).flatten()
        });
        let outcome = run(one(), vec![], script).await;
        assert_eq!(outcome.statuses(), "registered", "{code}");
        assert_eq!(outcome.report.throttles.route53, 1, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_warm_process_still_retries_after_an_hour_of_errors() {
    // Each minute, an event fails because of Route 53. Then every first attempt of a change is throttled.
    let outage = Arc::new(Mutex::new((true, 0)));
    let shared = Arc::clone(&outage);
    let script: Script = Box::new(move |call| {
        let mut outage = shared.lock().expect("no holder panics");
        if call.operation != "ChangeResourceRecordSets" {
            return None;
        }
        outage.1 += 1;
        (outage.0 || outage.1 % 2 == 1).then(|| (400, THROTTLED.to_owned()))
    });
    let aws = mock(vec![], script);
    let reconciler = with_attempts(&aws, 8);
    let trigger = Trigger::parse(&one(), &location());
    for _ in 0..60 {
        let report = reconciler.run(&trigger, &invocation(Duration::from_secs(290))).await;
        assert_eq!(report.failures().count(), 1);
    }
    let (_, attempts) = std::mem::take(&mut *outage.lock().expect("no holder panics"));
    assert_eq!(attempts, 60 * 8, "attempts of all events together");
    let report = reconciler.run(&trigger, &invocation(Duration::from_secs(290))).await;
    assert_eq!(report.outcomes[0].status.as_str(), "registered", "{:?}", report.outcomes);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_whose_services_are_denied_leaves_the_others_readable() {
    let cluster = |name: &str| format!("arn:aws:ecs:eu-west-1:111122223333:cluster/{name}");
    let names: Vec<String> = (0..200).map(|number| format!("s{number}")).collect();
    let script: Script = Box::new(move |call| {
        let is_dev = call.body.contains("dev");
        match call.operation.as_str() {
            "ListClusters" => {
                Some((200, json!({"clusterArns": [cluster("denied"), cluster("dev")]}).to_string()))
            }
            "ListServices" => {
                let place = if is_dev { "dev" } else { "denied" };
                let arns = names.iter().map(|name| {
                    format!("arn:aws:ecs:eu-west-1:111122223333:service/{place}/{name}")
                });
                Some((200, json!({"serviceArns": arns.collect::<Vec<_>>()}).to_string()))
            }
            "DescribeServices" if is_dev && !call.body.contains("\"s7\"") => {
                let request: Value = serde_json::from_str(&call.body).expect("JSON");
                Some((200, services(&requested(&request))))
            }
            "DescribeServices" => {
                let body = json!({"__type": "AccessDeniedException", "message": "not you"});
                Some((400, body.to_string()))
            }
            _ => None,
        }
    });
    let outcome = run(json!({"reconcile": "all"}), vec![], script).await;
    let statuses = outcome.statuses();
    assert_eq!(statuses.matches("registered").count(), 199);
    assert_eq!(outcome.report.failures().count(), 201);
}

#[tokio::test(start_paused = true)]
async fn one_denied_or_invalid_resource_fails_only_itself() {
    let names: Vec<String> = (0..10).map(|number| format!("s{number}")).collect();
    let group =
        |name: &str| format!("arn:aws:elasticloadbalancing:eu-west-1:1:targetgroup/{name}/1");
    for failing in ["DescribeServices", "DescribeTargetGroups"] {
        let bad: Script = Box::new(move |call| {
            let is_bad = call.operation == failing
                && (call.body.contains("\"s3\"") || call.body.contains("%2Fs3%2F"));
            is_bad.then(|| match failing {
                "DescribeServices" => (400, json!({"__type": "AccessDeniedException", "message": "not you"}).to_string()),
                _ => (400, "<ErrorResponse><Error><Code>ValidationError</Code><Message>bad</Message></Error></ErrorResponse>".into()),
            })
        });
        let described: Script = Box::new(move |call| {
            let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
            match call.operation.as_str() {
                "DescribeServices" => {
                    let mut answer: Value =
                        serde_json::from_str(&services(&requested(&request))).expect("JSON");
                    for service in answer["services"].as_array_mut().expect("services") {
                        let name = service["serviceName"].as_str().expect("a name");
                        service["loadBalancers"] = json!([{"targetGroupArn": group(name)}]);
                    }
                    Some((200, answer.to_string()))
                }
                "DescribeTargetGroups" => {
                    let members = (0..10).filter(|number| call.body.contains(&format!("%2Fs{number}%2F"))).map(|number| {
                        let arn = group(&format!("s{number}"));
                        format!("<member><TargetGroupArn>{arn}</TargetGroupArn><LoadBalancerArns><member>{BALANCER}</member></LoadBalancerArns></member>")
                    });
                    Some((
                        200,
                        elb(
                            "DescribeTargetGroups",
                            &format!(
                                "<TargetGroups>{}</TargetGroups>",
                                members.collect::<String>()
                            ),
                        ),
                    ))
                }
                _ => None,
            }
        });
        let script = either(bad, either(described, fleet(names.clone())));
        let outcome = run(json!({"reconcile": "all"}), vec![], script).await;
        let statuses = outcome.statuses();
        assert_eq!(statuses.matches("registered").count(), 9, "{failing}: {statuses}");
        assert_eq!(outcome.report.failures().count(), 1, "{failing}: {statuses}");
    }

    // Without any permission, the number of requests stays small.
    let denied: Script = Box::new(|call| {
        let body = json!({"__type": "AccessDeniedException", "message": "not you"}).to_string();
        (call.operation == "DescribeServices").then_some((400, body))
    });
    let script = either(denied, fleet((0..600).map(|number| format!("service-{number}"))));
    let outcome = run(json!({"reconcile": "all"}), vec![], script).await;
    assert!(outcome.count("DescribeServices") < 250, "{}", outcome.count("DescribeServices"));
}

#[tokio::test(start_paused = true)]
async fn a_name_with_invalid_input_is_rejected_and_stops_no_other() {
    let invalid: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets" && call.body.contains("<Name>c.internal"))
            .then(|| {
                (
                    400,
                    THROTTLED
                        .replace("Throttling", "InvalidInput")
                        .replace("Rate exceeded", "bad value"),
                )
            })
    });
    let script = either(invalid, fleet(["a", "b", "c", "d", "e"]));
    let outcome = run(json!({"reconcile": "all"}), vec![], script).await;
    assert_snapshot!(outcome.statuses(), @r"
    registered
    registered
    rejected: route53:ChangeResourceRecordSets for c.internal failed: InvalidInput: bad value (request id REQUEST-7)
    registered
    registered
    ");
}

#[tokio::test(start_paused = true)]
async fn later_rounds_read_only_what_was_refused() {
    let taken: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets" && call.body.contains("<Name>service-7.internal"))
            .then(|| refused("[Tried to create resource record set [name=&apos;service-7.internal.&apos;, type=&apos;CNAME&apos;] but it already exists]"))
    });
    let names = (0..600).map(|number| format!("service-{number}"));
    let outcome = run(json!({"reconcile": "all"}), vec![], either(taken, fleet(names))).await;
    assert_eq!(outcome.statuses().matches("registered").count(), 599);
    // 60 requests for the first round, 60 for its recheck, and one for each of four more rounds.
    assert_eq!(outcome.count("DescribeServices"), 60 + 60 + 4);
    assert_eq!(outcome.count("ListServices"), 1);
    let full_pass = outcome.report.full_pass.expect("a full pass");
    assert_eq!(full_pass.managed_names, 599);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lags_behind_for_seconds_does_not_fail_the_run() {
    let zone = registered("old.elb.amazonaws.com");
    let start = Instant::now();
    let mut before = Some(zone.clone());
    let script: Script = Box::new(move |call| {
        if start.elapsed() > Duration::from_secs(3) {
            before = None;
        }
        let before = before.as_ref()?;
        match call.operation.as_str() {
            "ListResourceRecordSets" => Some(page(before, None)),
            "ChangeResourceRecordSets" => Some(refused(
                "Tried to delete [name=&apos;orders.internal.&apos;] but it was not found",
            )),
            _ => None,
        }
    });
    let outcome = run(one(), vec![], script).await;
    assert_eq!(outcome.statuses(), "registered");
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_cannot_be_read_fails_only_the_services_that_need_it() {
    let zones = json!([
        {"vpcId": "vpc-1", "hostedZoneId": "Z1", "name": "one.internal"},
        {"vpcId": "vpc-2", "hostedZoneId": "Z2", "name": "two.internal"},
    ]);
    let with = async |payload: Value, status: u16, body: &str, service: &'static str| {
        let body = body.to_owned();
        let unreadable: Script =
            Box::new(move |call| (call.path.contains("/Z2/")).then(|| (status, body.clone())));
        let script = either(unreadable, with_status(move |_| service));
        let zone = registered_as("orders.one", "orders")
            .iter()
            .map(|rrset| rrset.replace("internal-orders-1", "old"))
            .collect();
        run_with_zones(zones.clone(), payload, zone, script).await
    };
    let denied = access_denied().1;
    let outcome = with(one(), 403, &denied, "ACTIVE").await;
    assert!(outcome.statuses().starts_with("updated"), "{}", outcome.statuses());
    assert_eq!(outcome.report.read_errors, Vec::<String>::new());
    let outcome = with(one(), 403, &denied, "INACTIVE").await;
    assert!(outcome.statuses().starts_with("deregistered"), "{}", outcome.statuses());
    assert_eq!(outcome.report.read_errors, Vec::<String>::new());
    // A retry may read the zone, and an earlier name of the service may be there.
    let outcome = with(one(), 503, "", "ACTIVE").await;
    assert!(outcome.error().contains("HTTP status 503"), "{}", outcome.statuses());
    // A new service has no earlier name.
    let outcome = with(created(), 503, "", "ACTIVE").await;
    assert!(outcome.statuses().starts_with("updated"), "{}", outcome.statuses());
    assert_eq!(outcome.report.read_errors, Vec::<String>::new());
    // Nobody knows whether this service still has a name.
    let outcome =
        with(json!({"reconcile": {"cluster": "dev", "service": "web"}}), 403, &denied, "INACTIVE")
            .await;
    assert!(
        outcome.error().ends_with("the service may have a name there"),
        "{}",
        outcome.statuses()
    );
    // A full pass depends on all zones.
    let outcome = with(json!({"reconcile": "all"}), 403, &denied, "ACTIVE").await;
    assert!(!outcome.report.read_errors.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_services_each_of_which_has_the_name_of_the_next_moves_in_one_batch() {
    const LENGTH: usize = 12;
    let tagged: Script = Box::new(|call| {
        let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
        (call.operation == "DescribeServices").then(|| {
            let mut answer: Value =
                serde_json::from_str(&services(&requested(&request))).expect("JSON");
            for service in answer["services"].as_array_mut().expect("services") {
                let name = service["serviceName"].as_str().expect("a name");
                let number: usize = name.trim_start_matches('s').parse().expect("a number");
                service["tags"] =
                    json!([{"key": "discovery:name", "value": format!("n{}", number + 1)}]);
            }
            (200, answer.to_string())
        })
    });
    let zone =
        (0..LENGTH).flat_map(|number| registered_as(&format!("n{number}"), &format!("s{number}")));
    let payload = json!({"reconcile": {"cluster": "dev", "service": "s0"}});
    let outcome = run(payload, zone.collect(), tagged).await;
    assert_eq!(outcome.report.read_errors, Vec::<String>::new());
    // The event does not contain the former name of the first service.
    let statuses = outcome.statuses();
    assert!(statuses.starts_with("registered: the name was held by"), "{statuses}");
    assert_eq!(statuses.matches("updated: renamed from").count(), LENGTH - 1, "{statuses}");
    assert_eq!(outcome.count("ChangeResourceRecordSets"), 1);
}

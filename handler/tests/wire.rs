//! Whole runs of the handler with its real SDK clients. A mock of AWS answers their HTTP requests, each after
//! 50 ms of virtual time.

mod common;

use std::collections::BTreeSet;
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
use handler::domain::config::Config;
use handler::domain::marker::Nonce;
use handler::domain::report::Report;
use handler::domain::trigger::Trigger;
use handler::invocation::{Answer, answer_until};
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
            (None, "GET") => "ListResourceRecordSets".to_owned(),
            (None, _) => "ChangeResourceRecordSets".to_owned(),
        };
        let call = Call { operation, body };
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
            "ListResourceRecordSets" => ok(format!(
                "<ListResourceRecordSetsResponse><ResourceRecordSets>{}</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>300</MaxItems></ListResourceRecordSetsResponse>",
                self.zone.concat()
            )),
            "ChangeResourceRecordSets" => self.change(&call.body),
            "ListClusters" => {
                ok(json!({"clusterArns": ["arn:aws:ecs:eu-west-1:111122223333:cluster/dev"]})
                    .to_string())
            }
            "ListServices" => ok(json!({"serviceArns": [service_arn("orders")]}).to_string()),
            other => panic!("no response for {other}"),
        }
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
                    None => return refused("it was not found"),
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

/// A refusal of a change batch.
fn refused(message: &str) -> MockResponse {
    (
        400,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidChangeBatch</Code><Message>{message}</Message></Error><RequestId>R</RequestId></ErrorResponse>"
        ),
    )
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
        let text = |change: &str, tag: &str| {
            let rest = change.split_once(&format!("<{tag}>")).map_or("", |(_, rest)| rest);
            rest.split_once("</").map_or("", |(text, _)| text).to_owned()
        };
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
    let aws = mock(zone, script);
    let trigger = Trigger::parse(&payload, &location());
    let stop_at = Instant::now() + time;
    let now = std::time::SystemTime::now();
    let invocation = Invocation { location: location(), nonce: Nonce::new(1), now, stop_at };
    let report = reconciler(&aws).run(&trigger, &invocation).await;
    TestRun { report, aws }
}

fn mock(zone: Vec<String>, script: Script) -> Arc<Mutex<MockAws>> {
    Arc::new(Mutex::new(MockAws { zone, script, log: Vec::new(), batches: Vec::new() }))
}

fn reconciler(aws: &Arc<Mutex<MockAws>>) -> Reconciler {
    let connector = MockConnector { aws: Arc::clone(aws), start: Instant::now() };
    let keys = Credentials::new("k", "s", None, None, "test");
    let sdk = aws_config::SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("eu-west-1"))
        .credentials_provider(SharedCredentialsProvider::new(keys))
        .retry_config(RetryConfig::standard().with_max_attempts(3))
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
        },
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
    let statuses = async |state: &'static str, age: u64, old_exists: bool| {
        let script = move |call: &Call| match call.operation.as_str() {
            "DescribeServices" => {
                let now = std::time::SystemTime::now() - Duration::from_secs(age);
                let at = now.duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
                let mut answer: Value =
                    serde_json::from_str(&services(&[("orders", "ACTIVE")])).expect("JSON");
                answer["services"][0]["deployments"] =
                    json!([{"status": "PRIMARY", "rolloutState": state, "updatedAt": at}]);
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
            _ => None,
        };
        let zone = registered("old.elb.amazonaws.com");
        run(one(), zone, Box::new(script)).await.statuses()
    };
    let waiting =
        "waiting: the deployment is in progress; the record is still CNAME old.elb.amazonaws.com";
    let moved = "updated: the record was CNAME old.elb.amazonaws.com, TTL 60 s";
    assert_eq!(statuses("IN_PROGRESS", 60, true).await, waiting);
    assert_eq!(statuses("FAILED", 60, true).await, waiting);
    assert_eq!(statuses("COMPLETED", 60, true).await, moved);
    assert_eq!(statuses("IN_PROGRESS", 60, false).await, moved);
    assert_eq!(statuses("IN_PROGRESS", 4_000, true).await, moved);
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

#[tokio::test(start_paused = true)]
async fn an_answer_of_ecs_that_contradicts_a_recent_event_fails_the_run() {
    let at = |mut event: Value, age: Duration| {
        let time = aws_smithy_types::DateTime::from(std::time::SystemTime::now() - age);
        let time = time.fmt(aws_smithy_types::date_time::Format::DateTime).expect("a time");
        event["detail"]["eventTime"] = time.into();
        event
    };
    let is_missing = || -> Script {
        Box::new(|call: &Call| (call.operation == "DescribeServices").then(missing))
    };
    let mut deleted = created();
    deleted["detail"]["eventName"] = "DeleteService".into();
    deleted["detail"]["requestParameters"]["service"] = "orders".into();
    let (recent, old) = (Duration::from_secs(5), Duration::from_secs(3_600));
    let held = || registered("internal-orders-1.eu-west-1.elb.amazonaws.com");

    let outcome = run(at(created(), recent), vec![], is_missing()).await;
    assert_snapshot!(outcome.statuses(), @"failed: ECS does not return the service yet, although it was created a moment ago");
    let outcome = run(at(created(), old), vec![], is_missing()).await;
    assert_snapshot!(outcome.statuses(), @"unchanged: ECS reports MISSING; the service had no name");
    let outcome = run(at(deleted.clone(), recent), held(), usual()).await;
    assert_snapshot!(outcome.statuses(), @"failed: ECS still returns the service as alive, although it was deleted a moment ago");
    let outcome = run(at(deleted, old), held(), usual()).await;
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
                let foreign = rrset("orders.internal", "A", 60, "10.0.0.7");
                (listed > 1).then(|| (200, format!("<ListResourceRecordSetsResponse><ResourceRecordSets>{foreign}</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>300</MaxItems></ListResourceRecordSetsResponse>")))
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
    for failing in [
        "DescribeServices",
        "DescribeTargetGroups",
        "DescribeLoadBalancers",
        "ListResourceRecordSets",
    ] {
        for payload in [one(), json!({"reconcile": "all"})] {
            let script = move |call: &Call| {
                (call.operation == failing).then(|| match failing {
                    "DescribeServices" => (400, json!({"__type": "AccessDeniedException", "message": "not you"}).to_string()),
                    _ => (403, "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not you</Message></Error><RequestId>REQUEST-7</RequestId></ErrorResponse>".to_owned()),
                })
            };
            let zone = registered("old.elb.amazonaws.com");
            let outcome = run(payload, zone.clone(), Box::new(script)).await;
            let error = outcome.error();
            assert!(error.contains(failing), "{error}");
            assert!(error.contains("AccessDenied"), "{error}");
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
        outcome.statuses().starts_with("waiting: the target group has no load balancer yet: "),
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
    failed: Route 53 refused the change: RRSet of type CNAME with DNS name c.internal. is not permitted (5 times in a row)
    registered
    registered
    ");
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

    // The time suffices to start the first batch.
    let first = u32::try_from(whole.round_trip("ChangeResourceRecordSets")).expect("a few");
    let cut = large_pass(ROUND_TRIP * first - ROUND_TRIP / 2).await;
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

    let gone = with_balancers(json!([{"loadBalancerName": "gone"}]), json!([]));
    let outcome = run(one(), vec![], gone).await;
    assert_eq!(outcome.statuses(), "waiting: the classic load balancer gone does not exist yet");
}

#[tokio::test(start_paused = true)]
async fn the_load_balancer_of_the_primary_task_set_is_preferred() {
    let set =
        |status: &str, balancer: Value| json!({"status": status, "loadBalancers": [balancer]});
    let old = json!({"loadBalancerName": "old-orders"});
    let new = json!({"targetGroupArn": GROUP});
    for (primary, other, target) in
        [(&old, &new, "internal-old-orders-1"), (&new, &old, "internal-orders-1")]
    {
        let sets = json!([set("ACTIVE", other.clone()), set("PRIMARY", primary.clone())]);
        let outcome = run(one(), vec![], with_balancers(json!([]), sets)).await;
        assert_eq!(outcome.statuses(), "registered");
        assert!(outcome.batches().contains(&format!("CNAME {target}")), "{}", outcome.batches());
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
        json!({"messageId": format!("m{number}"), "eventSource": "aws:sqs", "body": body})
    });
    json!({"Records": records.collect::<Vec<_>>()}).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_messages_becomes_one_run_and_a_bad_message_fails_alone() {
    let denied: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets" && call.body.contains("<Name>bad.internal"))
            .then(|| refused("bad.internal. is not permitted"))
    });
    let aws = mock(vec![], either(denied, fleet([""; 0])));
    let service =
        |name: &str| json!({"reconcile": {"cluster": "dev", "service": name}}).to_string();
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

#[tokio::test(start_paused = true)]
async fn a_service_that_is_created_again_with_another_name_loses_the_old_one() {
    let target = "internal-orders-1.eu-west-1.elb.amazonaws.com";
    let before: Vec<String> = registered(target)
        .iter()
        .map(|rrset| rrset.replace("orders.internal", "shop.internal"))
        .collect();
    let deleted = json!({
        "source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "ecs.amazonaws.com", "eventName": "DeleteService",
            "requestParameters": {"cluster": "dev", "service": "orders"},
        },
    });
    let outcome = run(deleted, before, usual()).await;
    assert_eq!(outcome.statuses(), "updated: renamed from shop.internal");
    let zone = outcome.zone();
    assert!(zone.iter().all(|rrset| rrset.contains("orders.internal")), "{zone:?}");
}

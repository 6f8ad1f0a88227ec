//! The handler's run on the wire: its real SDK clients, and behind them answers that are made
//! here, each 50 ms of virtual time away.

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
use handler::aws::ecs::Ecs;
use handler::aws::elb::Elb;
use handler::aws::elb_classic::ElbClassic;
use handler::aws::route53::Route53;
use handler::domain::config::Config;
use handler::domain::marker::Nonce;
use handler::domain::report::Report;
use handler::domain::service::AwsLocation;
use handler::domain::trigger::Trigger;
use handler::invocation::{Answer as Answered, answer_until};
use handler::reconcile::{Invocation, Reconciler};
use insta::assert_snapshot;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const TRIP: Duration = Duration::from_millis(50);
const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:service/dev/orders";
const GROUP: &str = "arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/orders/1";
const BALANCER: &str =
    "arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/orders/2";
const MARKER: &str = "&quot;heritage=ecs-discovery,version=1,environment=dev,service=SERVICE&quot;";

/// A request, as the answers see it.
struct Call {
    /// `DescribeServices`, `ListResourceRecordSets`…
    operation: String,
    body: String,
}

type Answer = (u16, String);
/// None where the usual answer will do.
type Script = Box<dyn FnMut(&Call) -> Option<Answer> + Send>;

/// An AWS of one service behind one load balancer, with one zone.
struct Aws {
    /// The record sets of the zone, as XML.
    zone: Vec<String>,
    script: Script,
    /// Each operation, with the time from the start until its request was sent.
    log: Vec<(String, Duration)>,
    batches: Vec<String>,
}

#[derive(Clone)]
struct Connector {
    aws: Arc<Mutex<Aws>>,
    begun: Instant,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = String::from_utf8_lossy(request.body().bytes().unwrap_or_default()).into_owned();
        let target = request.headers().get("x-amz-target").and_then(|name| name.split('.').nth(1));
        let action = body.strip_prefix("Action=").and_then(|rest| rest.split('&').next());
        let operation = match (target.or(action), request.method()) {
            // The two generations of the API differ in nothing but the version.
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
            let sent = this.begun.elapsed();
            sleep(TRIP).await;
            let (status, body) = {
                let mut aws = this.aws.lock().expect("no holder panics");
                aws.log.push((call.operation.clone(), sent));
                aws.answer(&call)
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

impl Aws {
    fn answer(&mut self, call: &Call) -> Answer {
        if call.operation == "ChangeResourceRecordSets" {
            self.batches.push(call.body.clone());
        }
        if let Some(answer) = (self.script)(call) {
            return answer;
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
            "ListServices" => ok(json!({"serviceArns": [ARN]}).to_string()),
            other => panic!("no answer for {other}"),
        }
    }

    /// Whole or not at all, and only exact deletes.
    fn change(&mut self, body: &str) -> Answer {
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

fn elb(operation: &str, result: &str) -> String {
    format!(
        "<{operation}Response><{operation}Result>{result}</{operation}Result></{operation}Response>"
    )
}

fn rrset(name: &str, record_type: &str, ttl: u32, value: &str) -> String {
    format!(
        "<ResourceRecordSet><Name>{name}</Name><Type>{record_type}</Type><TTL>{ttl}</TTL><ResourceRecords><ResourceRecord><Value>{value}</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>"
    )
}

/// The record of `orders` and its marker.
fn registered(target: &str) -> Vec<String> {
    vec![
        rrset("orders.internal", "CNAME", 60, target),
        rrset("_discovery.orders.internal", "TXT", 300, &MARKER.replace("SERVICE", ARN)),
    ]
}

fn refused(message: &str) -> Answer {
    (
        400,
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidChangeBatch</Code><Message>{message}</Message></Error><RequestId>R</RequestId></ErrorResponse>"
        ),
    )
}

struct Outcome {
    report: Report,
    aws: Arc<Mutex<Aws>>,
}

impl Outcome {
    /// Why the invocation failed.
    fn error(&self) -> &str {
        let failure = self.report.failures().next();
        let reason = failure.and_then(|failure| failure.reason.as_ref());
        reason.or(self.report.unread.first()).expect("it was to fail")
    }

    /// `registered: why`, for each service.
    fn statuses(&self) -> String {
        let outcomes = self.report.outcomes.iter();
        let line = |outcome: &handler::domain::report::Outcome| {
            let reason = outcome.reason.as_ref().map_or(String::new(), |why| format!(": {why}"));
            format!("{}{reason}", outcome.status.as_str())
        };
        outcomes.map(line).collect::<Vec<_>>().join("\n")
    }

    /// The round trip, from 1, in which an operation was first asked for.
    fn trip(&self, operation: &str) -> u128 {
        let aws = self.aws.lock().expect("no holder panics");
        let first = aws.log.iter().filter(|(done, _)| done == operation).map(|(_, at)| *at).min();
        first.expect("it was asked for").as_millis() / TRIP.as_millis() + 1
    }

    fn count(&self, operation: &str) -> usize {
        let aws = self.aws.lock().expect("no holder panics");
        aws.log.iter().filter(|(done, _)| done == operation).count()
    }

    /// The change batches, one change a line.
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

async fn run(payload: Value, zone: Vec<String>, script: Script) -> Outcome {
    run_until(Duration::from_secs(300), payload, zone, script).await
}

async fn run_until(time: Duration, payload: Value, zone: Vec<String>, script: Script) -> Outcome {
    let aws = Aws { zone, script, log: Vec::new(), batches: Vec::new() };
    let aws = Arc::new(Mutex::new(aws));
    let location = AwsLocation::of_function(FUNCTION).expect("a function's ARN");
    let trigger = Trigger::parse(&payload, &location);
    let stop_at = Instant::now() + time;
    let invocation = Invocation { location, nonce: Nonce::new(1), stop_at };
    let report = reconciler(&aws).run(&trigger, &invocation).await;
    Outcome { report, aws }
}

const FUNCTION: &str = "arn:aws:lambda:eu-west-1:111122223333:function:x";

fn reconciler(aws: &Arc<Mutex<Aws>>) -> Reconciler {
    let connector = Connector { aws: Arc::clone(aws), begun: Instant::now() };
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
        ecs: Ecs::new((&sdk).into()),
        elb: Elb::new((&sdk).into()),
        elb_classic: ElbClassic::new((&sdk).into()),
        route53: Route53::new((&sdk).into()),
    }
}

fn usual() -> Script {
    Box::new(|_| None)
}

fn one() -> Value {
    json!({"reconcile": {"cluster": "dev", "service": "orders"}})
}

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

#[tokio::test(start_paused = true)]
async fn a_new_service_is_written_in_the_third_round_trip_or_the_second_with_a_hint() {
    let without_hint = run(one(), vec![], usual()).await;
    assert_eq!(without_hint.statuses(), "registered");
    assert_eq!(without_hint.trip("ChangeResourceRecordSets"), 3);
    let with_hint = run(created(), vec![], usual()).await;
    assert_eq!(with_hint.statuses(), "registered");
    assert_eq!(with_hint.trip("ChangeResourceRecordSets"), 2);
    assert_snapshot!(with_hint.batches(), @r#"
    CREATE orders.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    CREATE _discovery.orders.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    "#);
    // One look at ECS afterwards, and nothing else.
    let calls = with_hint.report.api_calls;
    assert_eq!((calls.ecs, calls.elb, calls.route53), (2, 2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_service_in_order_costs_no_write() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    let outcome = run(one(), zone, usual()).await;
    assert_eq!(outcome.statuses(), "unchanged");
    assert_eq!(outcome.batches(), "");
}

#[tokio::test(start_paused = true)]
async fn a_moved_service_is_replaced_in_one_batch_and_deleted_exactly() {
    let outcome = run(one(), registered("old.elb.amazonaws.com"), usual()).await;
    assert_snapshot!(outcome.statuses(), @"updated: it was CNAME old.elb.amazonaws.com, 60 s");
    assert_snapshot!(outcome.batches(), @r#"
    DELETE orders.internal 60 CNAME old.elb.amazonaws.com
    DELETE _discovery.orders.internal 300 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    CREATE orders.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    CREATE _discovery.orders.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_ecs_says_is_gone_is_deleted_exactly() {
    let draining = |call: &Call| {
        (call.operation == "DescribeServices").then(|| (200, services(&[("orders", "DRAINING")])))
    };
    let zone = registered("old.elb.amazonaws.com");
    let outcome = run(one(), zone, Box::new(draining)).await;
    assert_eq!(outcome.statuses(), "deregistered: ECS says DRAINING");
    assert_snapshot!(outcome.batches(), @r#"
    DELETE orders.internal 60 CNAME old.elb.amazonaws.com
    DELETE _discovery.orders.internal 300 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_gone_proves_that_its_services_are() {
    let gone = |call: &Call| {
        let body = json!({"__type": "ClusterNotFoundException", "message": "Cluster not found."});
        (call.operation == "DescribeServices").then(|| (400, body.to_string()))
    };
    let outcome = run(one(), registered("old.elb.amazonaws.com"), Box::new(gone)).await;
    assert_eq!(outcome.statuses(), "deregistered: ECS says MISSING");
}

/// Refuses the first batch in one of Route 53's two forms, and lets a person's record appear.
async fn refused_once(form: Answer) -> Outcome {
    let mut refusals = vec![form];
    let mut listed = 0;
    run(
        one(),
        vec![],
        Box::new(move |call| match call.operation.as_str() {
            "ChangeResourceRecordSets" => refusals.pop(),
            "ListResourceRecordSets" => {
                listed += 1;
                let person = rrset("orders.internal", "A", 60, "10.0.0.7");
                (listed > 1).then(|| (200, format!("<ListResourceRecordSetsResponse><ResourceRecordSets>{person}</ResourceRecordSets><IsTruncated>false</IsTruncated><MaxItems>300</MaxItems></ListResourceRecordSetsResponse>")))
            }
            _ => None,
        }),
    )
    .await
}

#[tokio::test(start_paused = true)]
async fn after_a_refusal_in_either_form_it_observes_and_plans_again() {
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
            "conflict: the name is taken: it holds A 10.0.0.7, without a marker"
        );
        assert_eq!(outcome.count("ChangeResourceRecordSets"), 1);
        assert_eq!(outcome.count("ListResourceRecordSets"), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_route_53_refuses_again_and_again_fails_with_its_words() {
    let always = |call: &Call| {
        (call.operation == "ChangeResourceRecordSets").then(|| refused("it already exists"))
    };
    let outcome = run(one(), vec![], Box::new(always)).await;
    assert_snapshot!(outcome.statuses(), @"failed: Route 53 refused the change: it already exists (5 times in a row)");
}

#[tokio::test(start_paused = true)]
async fn a_service_deleted_while_it_is_registered_does_not_stay() {
    let mut described = 0;
    let script = move |call: &Call| {
        if call.operation != "DescribeServices" {
            return None;
        }
        described += 1;
        (described > 1).then(|| (200, services(&[("orders", "DRAINING")])))
    };
    let outcome = run(one(), vec![], Box::new(script)).await;
    assert_eq!(outcome.statuses(), "deregistered: ECS says DRAINING");
    assert!(outcome.aws.lock().expect("no holder panics").zone.is_empty());
}

#[tokio::test(start_paused = true)]
async fn invariant_5_a_failed_read_changes_nothing_and_says_why() {
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
            assert_eq!(outcome.aws.lock().expect("no holder panics").zone, zone);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_is_told_with_its_cause() {
    let broken = |call: &Call| (call.operation == "DescribeServices").then(|| (0, String::new()));
    let outcome = run(one(), vec![], Box::new(broken)).await;
    assert_eq!(outcome.count("DescribeServices"), 3, "the SDK tries as often as it was told to");
    assert_snapshot!(
        outcome.error(),
        @"ecs:DescribeServices for the cluster dev failed: dispatch failure: io error: Connection reset by peer (os error 104)"
    );
}

#[tokio::test(start_paused = true)]
async fn silence_about_a_service_proves_nothing() {
    let silent = |call: &Call| (call.operation == "DescribeServices").then(|| (200, services(&[])));
    let zone = registered("old.elb.amazonaws.com");
    let outcome = run(one(), zone.clone(), Box::new(silent)).await;
    assert_snapshot!(
        outcome.error(),
        @"ecs:DescribeServices for arn:aws:ecs:eu-west-1:111122223333:service/dev/orders failed: the answer does not mention it"
    );
    assert_eq!(outcome.aws.lock().expect("no holder panics").zone, zone);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_misses_a_service_proves_nothing() {
    let empty = |call: &Call| {
        (call.operation == "ListServices").then(|| (200, json!({"serviceArns": []}).to_string()))
    };
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    let outcome = run(json!({"reconcile": "all"}), zone, Box::new(empty)).await;
    assert_eq!(outcome.statuses(), "unchanged");
    assert_eq!(outcome.batches(), "");
}

#[tokio::test(start_paused = true)]
async fn a_missing_target_group_is_waited_for() {
    let missing = |call: &Call| {
        let error = "<ErrorResponse><Error><Type>Sender</Type><Code>TargetGroupNotFound</Code><Message>One or more target groups not found</Message></Error><RequestId>R</RequestId></ErrorResponse>";
        (call.operation == "DescribeTargetGroups").then(|| (400, error.to_owned()))
    };
    let outcome = run(created(), vec![], Box::new(missing)).await;
    assert!(outcome.statuses().starts_with("waiting: the target group"), "{}", outcome.statuses());
}

#[tokio::test(start_paused = true)]
async fn a_full_pass_follows_all_pages_and_describes_in_tens() {
    let names: BTreeSet<String> = (0..25).map(|number| format!("service-{number}")).collect();
    let all: Vec<String> = names.iter().cloned().collect();
    let script = move |call: &Call| {
        let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
        match call.operation.as_str() {
            "ListServices" => {
                let second = request["nextToken"] == "second";
                let page = if second { &all[20..] } else { &all[..20] };
                let arns: Vec<String> =
                    page.iter().map(|name| ARN.replace("orders", name)).collect();
                let token = if second { Value::Null } else { json!("second") };
                Some((200, json!({"serviceArns": arns, "nextToken": token}).to_string()))
            }
            "DescribeServices" => {
                let asked = request["services"].as_array().cloned().unwrap_or_default();
                assert!(asked.len() <= 10);
                let asked: Vec<&str> = asked.iter().filter_map(Value::as_str).collect();
                let answer: Vec<(&str, &str)> =
                    asked.iter().map(|name| (*name, "ACTIVE")).collect();
                Some((200, services(&answer)))
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
    // Three to read them, and three to look at them again once they were written.
    assert_eq!(outcome.count("DescribeServices"), 6);
    assert_eq!(outcome.count("DescribeLoadBalancers"), 2);
    assert_eq!(outcome.count("DescribeTargetGroups"), 2);
    assert_eq!(outcome.count("ChangeResourceRecordSets"), 1);
}

#[tokio::test(start_paused = true)]
async fn one_refused_change_does_not_stop_the_others() {
    let all = ["a", "b", "c", "d", "e"];
    let script = move |call: &Call| match call.operation.as_str() {
        "ListServices" => {
            let arns: Vec<String> = all.iter().map(|name| ARN.replace("orders", name)).collect();
            Some((200, json!({"serviceArns": arns}).to_string()))
        }
        "DescribeServices" => Some((200, services(&all.map(|name| (name, "ACTIVE"))))),
        "ChangeResourceRecordSets" if call.body.contains("<Name>c.internal") => {
            Some(refused("RRSet of type CNAME with DNS name c.internal. is not permitted"))
        }
        _ => None,
    };
    let outcome = run(json!({"reconcile": "all"}), vec![], Box::new(script)).await;
    assert_snapshot!(outcome.statuses(), @r"
    registered
    registered
    failed: Route 53 refused the change: RRSet of type CNAME with DNS name c.internal. is not permitted (5 times in a row)
    registered
    registered
    ");
}

/// A full pass over so many services that they take several batches.
async fn large_pass(time: Duration) -> Outcome {
    let names: Vec<String> = (0..600).map(|number| format!("service-{number}")).collect();
    let script = move |call: &Call| {
        let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
        match call.operation.as_str() {
            "ListServices" => {
                let arns: Vec<_> = names.iter().map(|name| ARN.replace("orders", name)).collect();
                Some((200, json!({"serviceArns": arns}).to_string()))
            }
            "DescribeServices" => {
                let asked = request["services"].as_array().cloned().unwrap_or_default();
                let asked = asked.iter().filter_map(Value::as_str).map(|name| (name, "ACTIVE"));
                Some((200, services(&asked.collect::<Vec<_>>())))
            }
            _ => None,
        }
    };
    run_until(time, json!({"reconcile": "all"}), vec![], Box::new(script)).await
}

#[tokio::test(start_paused = true)]
async fn with_its_time_running_out_it_stops_between_batches_and_reports_what_is_left() {
    let whole = large_pass(Duration::from_secs(300)).await;
    assert_eq!(whole.count("ChangeResourceRecordSets"), 4);
    assert_eq!(whole.report.changes.created, 1_200);

    // So that only the first batch is begun in time.
    let first = u32::try_from(whole.trip("ChangeResourceRecordSets")).expect("a few");
    let cut = large_pass(TRIP * first - TRIP / 2).await;
    assert_eq!(cut.count("ChangeResourceRecordSets"), 1);
    let created = cut.report.changes.created;
    assert!(created > 0 && created < 1_200, "{created}");
    assert_eq!(cut.report.failures().count(), 600 - created / 2);
    let failure = cut.report.failures().next().and_then(|failure| failure.reason.clone());
    assert_eq!(failure.as_deref(), Some("there was no time left for it in this invocation"));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_writes_nothing_and_says_what_it_would() {
    let outcome = run(json!({"reconcile": "all", "dryRun": true}), vec![], usual()).await;
    assert_eq!(outcome.statuses(), "registered");
    assert_eq!(outcome.batches(), "");
    assert_eq!(outcome.report.changes.created, 2);
}

#[tokio::test(start_paused = true)]
async fn deregistering_removes_what_is_managed_and_nothing_else() {
    let foreign = rrset("billing.internal", "A", 60, "10.0.0.7");
    let mut zone = registered("old.elb.amazonaws.com");
    zone.push(foreign.clone());
    let outcome = run(json!({"deregister": "all"}), zone, usual()).await;
    assert_eq!(outcome.statuses(), "deregistered: everything was to be deregistered");
    assert_eq!(outcome.aws.lock().expect("no holder panics").zone, [foreign]);
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_is_no_longer_the_environments_is_deregistered_alone() {
    let asked = json!({"deregister": {"hostedZoneId": "Z2"}});
    let outcome = run(asked, registered("old.elb.amazonaws.com"), usual()).await;
    assert_eq!(outcome.statuses(), "deregistered: everything was to be deregistered");
    let aws = outcome.aws.lock().expect("no holder panics");
    // Of the zone that was asked for, and of nothing else.
    let operations: Vec<&str> = aws.log.iter().map(|(operation, _)| operation.as_str()).collect();
    assert_eq!(operations, ["ListResourceRecordSets", "ChangeResourceRecordSets"]);
    assert!(aws.zone.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_zone_that_is_gone_has_nothing_to_deregister_and_is_missed_by_a_full_pass() {
    let gone = || -> Script {
        Box::new(|call| {
            let text = "<ErrorResponse><Error><Code>NoSuchHostedZone</Code><Message>No hosted zone found with ID: Z1</Message></Error></ErrorResponse>";
            (call.operation == "ListResourceRecordSets").then(|| (404, text.to_owned()))
        })
    };
    let outcome = run(json!({"deregister": "all"}), vec![], gone()).await;
    assert_eq!(outcome.report.unread, Vec::<String>::new());
    let outcome = run(json!({"reconcile": "all"}), vec![], gone()).await;
    assert!(outcome.report.unread[0].contains("NoSuchHostedZone"), "{:?}", outcome.report.unread);
}

/// The service with tags, as DescribeServices answers.
fn tagged(tags: &[(&str, &str)]) -> String {
    let mut answer: Value = serde_json::from_str(&services(&[("orders", "ACTIVE")])).expect("JSON");
    let tags =
        tags.iter().map(|(key, value)| json!({"key": format!("discovery:{key}"), "value": value}));
    answer["services"][0]["tags"] = tags.collect();
    answer.to_string()
}

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
async fn a_service_tagged_alias_gets_alias_records_of_both_families() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com");
    let outcome = run(one(), zone, described(tagged(&[("record", "ALIAS")]))).await;
    assert_snapshot!(outcome.batches(), @r#"
    DELETE orders.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    DELETE _discovery.orders.internal 300 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    CREATE orders.internal  A alias to internal-orders-1.eu-west-1.elb.amazonaws.com.
    CREATE orders.internal  AAAA alias to internal-orders-1.eu-west-1.elb.amazonaws.com.
    CREATE _discovery.orders.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    "#);
    let zone = outcome.aws.lock().expect("no holder panics").zone.clone();
    let again = run(one(), zone, described(tagged(&[("record", "ALIAS")]))).await;
    assert_eq!(again.statuses(), "unchanged");
    assert_eq!(again.batches(), "");
}

/// TagResource of the service.
fn retagged() -> Value {
    json!({
        "source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "ecs.amazonaws.com", "eventName": "TagResource",
            "requestParameters": {"resourceArn": ARN, "tags": []},
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_renamed_service_loses_its_old_name_wherever_that_came_from() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com")
        .iter()
        .map(|rrset| rrset.replace("orders.internal", "basket.internal"))
        .collect();
    let outcome = run(retagged(), zone, described(tagged(&[("name", "shop")]))).await;
    assert_eq!(outcome.statuses(), "updated: it is no longer called basket.internal");
    let aws = outcome.aws.lock().expect("no holder panics");
    assert_eq!(aws.zone.len(), 2);
    assert!(aws.zone.iter().all(|rrset| rrset.contains("shop.internal")), "{:?}", aws.zone);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_gone_is_found_by_its_marker_though_its_name_came_from_a_tag() {
    let zone = registered("internal-orders-1.eu-west-1.elb.amazonaws.com")
        .iter()
        .map(|rrset| rrset.replace("orders.internal", "shop.internal"))
        .collect();
    let inactive = described(services(&[("orders", "INACTIVE")]));
    let outcome = run(one(), zone, inactive).await;
    assert_eq!(outcome.statuses(), "deregistered: ECS says INACTIVE");
    assert!(outcome.aws.lock().expect("no holder panics").zone.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_service_renamed_while_it_is_registered_keeps_its_last_name_only() {
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
    let aws = outcome.aws.lock().expect("no holder panics");
    assert!(aws.zone.iter().all(|rrset| rrset.contains("second.internal")), "{:?}", aws.zone);
    assert_eq!(aws.zone.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_cannot_be_followed_leaves_the_present_record() {
    let zone = registered("old.elb.amazonaws.com");
    let outcome = run(one(), zone.clone(), described(tagged(&[("ttl", "never")]))).await;
    assert_eq!(
        outcome.statuses(),
        "invalid: the tag discovery:ttl is \"never\", and it may be 1 to 86400 seconds"
    );
    assert_eq!(outcome.aws.lock().expect("no holder panics").zone, zone);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_says_the_right_thing_is_adopted_in_one_batch() {
    let target = "internal-Orders-1.eu-west-1.elb.amazonaws.com.";
    let zone = vec![rrset("orders.internal", "CNAME", 300, target)];
    let outcome = run(one(), zone, usual()).await;
    assert_eq!(outcome.statuses(), "adopted: the record was there, without a marker");
    assert_snapshot!(outcome.batches(), @r#"
    DELETE orders.internal 300 CNAME internal-Orders-1.eu-west-1.elb.amazonaws.com.
    CREATE orders.internal 60 CNAME internal-orders-1.eu-west-1.elb.amazonaws.com
    CREATE _discovery.orders.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    "#);
}

/// The service with load balancers and task sets of its own, as DescribeServices answers.
fn behind(balancers: Value, task_sets: Value) -> Script {
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
        behind(json!([{"loadBalancerName": "old-orders", "containerPort": 80}]), json!([]));
    let outcome = run(one(), vec![], classic).await;
    assert_eq!(outcome.statuses(), "registered");
    assert_snapshot!(outcome.batches(), @r#"
    CREATE orders.internal 60 CNAME internal-old-orders-1.eu-west-1.elb.amazonaws.com
    CREATE _discovery.orders.internal 301 TXT "heritage=ecs-discovery,version=1,environment=dev,service=arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"
    "#);
    assert_eq!(outcome.count("DescribeTargetGroups"), 0);

    let gone = behind(json!([{"loadBalancerName": "gone"}]), json!([]));
    let outcome = run(one(), vec![], gone).await;
    assert_eq!(outcome.statuses(), "waiting: there is no classic load balancer gone yet");
}

#[tokio::test(start_paused = true)]
async fn the_load_balancers_of_task_sets_count_the_primarys_first() {
    let set =
        |status: &str, balancer: Value| json!({"status": status, "loadBalancers": [balancer]});
    let old = json!({"loadBalancerName": "old-orders"});
    let new = json!({"targetGroupArn": GROUP});
    for (primary, other, target) in
        [(&old, &new, "internal-old-orders-1"), (&new, &old, "internal-orders-1")]
    {
        let sets = json!([set("ACTIVE", other.clone()), set("PRIMARY", primary.clone())]);
        let outcome = run(one(), vec![], behind(json!([]), sets)).await;
        assert_eq!(outcome.statuses(), "registered");
        assert!(outcome.batches().contains(&format!("CNAME {target}")), "{}", outcome.batches());
    }
}

/// ECS with the services given, all behind the same load balancer.
fn fleet(names: &'static [&'static str]) -> Script {
    Box::new(move |call| {
        let request: Value = serde_json::from_str(&call.body).unwrap_or_default();
        match call.operation.as_str() {
            "ListServices" => {
                let arns: Vec<_> = names.iter().map(|name| ARN.replace("orders", name)).collect();
                Some((200, json!({"serviceArns": arns}).to_string()))
            }
            "DescribeServices" => {
                let asked = request["services"].as_array().cloned().unwrap_or_default();
                let asked = asked.iter().filter_map(Value::as_str).map(|name| (name, "ACTIVE"));
                Some((200, services(&asked.collect::<Vec<_>>())))
            }
            _ => None,
        }
    })
}

/// What `first` answers, else what `second` does.
fn either(mut first: Script, mut second: Script) -> Script {
    Box::new(move |call| first(call).or_else(|| second(call)))
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_stops_only_what_depends_on_it() {
    // Eleven services are described in two calls, of which the second is denied.
    let names = &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "orders"];
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
    let now = outcome.aws.lock().expect("no holder panics").zone.clone();
    assert!(zone.iter().all(|rrset| now.contains(rrset)), "{now:?}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_ahead_is_read_by_name() {
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
    assert!(outcome.report.unread.is_empty(), "{:?}", outcome.report.unread);
}

#[tokio::test(start_paused = true)]
async fn what_a_refusal_names_is_set_aside_and_the_rest_is_sent_again_at_once() {
    let taken: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets" && call.body.contains("<Name>c.internal"))
            .then(|| refused("[Tried to create resource record set [name=&apos;c.internal.&apos;, type=&apos;CNAME&apos;] but it already exists]"))
    });
    let names = &["a", "b", "c", "d", "e", "f", "g", "h"];
    let outcome = run(json!({"reconcile": "all"}), vec![], either(taken, fleet(names))).await;
    assert_eq!(outcome.statuses().matches("registered").count(), 7);
    // All eight, the other seven, and four more tries for the one.
    assert_eq!(outcome.count("ChangeResourceRecordSets"), 6);
}

/// Messages of a queue, as Lambda hands them over.
fn queued(bodies: &[String]) -> String {
    let records = bodies.iter().enumerate().map(|(number, body)| {
        json!({"messageId": format!("m{number}"), "eventSource": "aws:sqs", "body": body})
    });
    json!({"Records": records.collect::<Vec<_>>()}).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_batch_of_messages_is_one_run_and_a_bad_one_fails_alone() {
    let denied: Script = Box::new(|call| {
        (call.operation == "ChangeResourceRecordSets" && call.body.contains("<Name>bad.internal"))
            .then(|| refused("bad.internal. is not permitted"))
    });
    let script = either(denied, fleet(&[]));
    let aws = Aws { zone: vec![], script, log: Vec::new(), batches: Vec::new() };
    let aws = Arc::new(Mutex::new(aws));
    let service =
        |name: &str| json!({"reconcile": {"cluster": "dev", "service": name}}).to_string();
    let bodies =
        [service("good"), service("bad"), "no JSON".into(), service("good"), service("fine")];
    let stop_at = Instant::now() + Duration::from_secs(300);
    let answer =
        answer_until(&reconciler(&aws), FUNCTION, Nonce::new(1), stop_at, &queued(&bodies)).await;
    let Ok(Answered::Batch(answer)) = answer else { panic!("{answer:?}") };
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
async fn a_service_created_again_under_another_name_loses_the_old_one() {
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
    assert_eq!(outcome.statuses(), "updated: it is no longer called shop.internal");
    let aws = outcome.aws.lock().expect("no holder panics");
    assert!(aws.zone.iter().all(|rrset| rrset.contains("orders.internal")), "{:?}", aws.zone);
}

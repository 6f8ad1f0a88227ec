//! Scenarios of operation: permissions, failed events, alarms and deployments.

use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerSchemeEnum::Internal;
use aws_sdk_route53::primitives::{DateTime, DateTimeFormat};
use local_aws::api::{JsonService, queue_url};
use local_aws::deploy;
use local_aws::fixtures::{LocalBalancer, LocalEnvironment};
use local_aws::ministack::{Permissions, REGION};
use local_aws::resolver::DnsAnswer::NoSuchName;
use local_aws::resolver::Resolver;
use local_aws::system::{System, outcome_of};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::command_line::doctor;
use super::{balancer, cname, registered, status};

/// The longest time for a step that takes milliseconds on an idle machine. The tests' machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The inline policy with the rest of a managed one.
const REST: &str = "Rest";

/// The handler's role.
struct Role<'a> {
    system: &'a System,
    name: String,
    /// The inline policies by name, as the stack created them.
    policies: Map<String, Value>,
    /// The managed policies by ARN.
    attached: Map<String, Value>,
}

impl<'a> Role<'a> {
    async fn of(system: &'a System, environment: &LocalEnvironment) -> Result<Role<'a>> {
        let configuration = configuration(system, environment).await?;
        let arn = configuration["Role"].as_str().context("the function has no role")?;
        let name = arn.rsplit('/').next().unwrap_or_default().to_owned();
        let listed = system.aws.cli(&["iam", "list-role-policies", "--role-name", &name]).await?;
        let mut policies = Map::new();
        for policy in listed["PolicyNames"].as_array().into_iter().flatten() {
            let policy = policy.as_str().context("the policy has no name")?;
            let command = ["iam", "get-role-policy", "--role-name", &name, "--policy-name", policy];
            let found = system.aws.cli(&command).await?;
            policies.insert(policy.to_owned(), found["PolicyDocument"].clone());
        }
        let command = ["iam", "list-attached-role-policies", "--role-name", &name];
        let listed = system.aws.cli(&command).await?;
        let mut attached = Map::new();
        for policy in listed["AttachedPolicies"].as_array().into_iter().flatten() {
            let arn = policy["PolicyArn"].as_str().context("the policy has no ARN")?;
            let found = system.aws.cli(&["iam", "get-policy", "--policy-arn", arn]).await?;
            let version = found["Policy"]["DefaultVersionId"]
                .as_str()
                .context("the policy has no version")?;
            let command =
                ["iam", "get-policy-version", "--policy-arn", arn, "--version-id", version];
            let found = system.aws.cli(&command).await?;
            attached.insert(arn.to_owned(), found["PolicyVersion"]["Document"].clone());
        }
        Ok(Role { system, name, policies, attached })
    }

    /// Removes the statements of one policy with these ids. The rest of a managed policy becomes an inline policy.
    async fn remove(&self, sids: &[&str]) -> Result<()> {
        let is_it = |statement: &Value| sids.iter().any(|sid| statement["Sid"] == *sid);
        for (arn, document) in &self.attached {
            let mut less = document.clone();
            let statements =
                less["Statement"].as_array_mut().context("the policy has no statements")?;
            if statements.iter().any(is_it) {
                statements.retain(|statement| !is_it(statement));
                self.change_attached("detach-role-policy", arn).await?;
                return self.put(REST, &less).await;
            }
        }
        for (policy, document) in &self.policies {
            let mut less = document.clone();
            let statements =
                less["Statement"].as_array_mut().context("the policy has no statements")?;
            let before = statements.len();
            statements.retain(|statement| !is_it(statement));
            // IAM refuses a policy without statements.
            if statements.is_empty() {
                return self.delete(policy).await;
            }
            if statements.len() < before {
                return self.put(policy, &less).await;
            }
        }
        bail!("the role {} has no statement {sids:?}: {:?}", self.name, self.policies)
    }

    async fn delete(&self, policy: &str) -> Result<()> {
        let command = ["iam", "delete-role-policy", "--role-name", &self.name];
        self.system.aws.cli(&[command.as_slice(), &["--policy-name", policy]].concat()).await?;
        Ok(())
    }

    async fn restore(&self) -> Result<()> {
        for arn in self.attached.keys() {
            self.change_attached("attach-role-policy", arn).await?;
        }
        let listed = ["iam", "list-role-policies", "--role-name", &self.name];
        let listed = self.system.aws.cli(&listed).await?;
        if listed["PolicyNames"].as_array().is_some_and(|names| names.contains(&REST.into())) {
            self.delete(REST).await?;
        }
        for (policy, document) in &self.policies {
            self.put(policy, document).await?;
        }
        Ok(())
    }

    async fn change_attached(&self, command: &str, arn: &str) -> Result<()> {
        let command = ["iam", command, "--role-name", &self.name, "--policy-arn", arn];
        self.system.aws.cli(&command).await?;
        Ok(())
    }

    async fn put(&self, policy: &str, document: &Value) -> Result<()> {
        let document = document.to_string();
        let command = ["iam", "put-role-policy", "--role-name", &self.name];
        let more = ["--policy-name", policy, "--policy-document", &document];
        self.system.aws.cli(&[command.as_slice(), more.as_slice()].concat()).await?;
        Ok(())
    }
}

/// Without its statement each call is denied. The handler reports the action, and changes no existing name.
pub(crate) async fn each_permission_is_granted_by_one_statement(system: &System) -> Result<()> {
    let guarded = system.environment("guarded");
    let existing = registered(system, guarded, "guarded").await?;
    let unregistered = balancer(system, guarded, "unregistered").await?;
    system.relay.lose("guarded", "unregistered");
    system.aws.create_service("guarded", "unregistered", &[&unregistered.target_group]).await?;
    let role = Role::of(system, guarded).await?;
    for (sid, action) in [
        ("ListClusters", "ecs:ListClusters"),
        ("ListServices", "ecs:ListServices"),
        ("DescribeServices", "ecs:DescribeServices"),
        ("DescribeLoadBalancers", "elasticloadbalancing:DescribeTargetGroups"),
        ("ReadZones", "route53:ListResourceRecordSets"),
        ("ChangeRecords", "route53:ChangeResourceRecordSets"),
    ] {
        // The local AWS ignores the condition that limits ChangeSoa to the SOA record.
        let is_change = sid == "ChangeRecords";
        role.remove(if is_change { &["ChangeRecords", "ChangeSoa"] } else { from_ref(&sid) })
            .await?;
        let error = system.invoke(guarded, &json!({"reconcile": "all"})).await;
        let error = error.err().with_context(|| format!("the run succeeded without {sid}"))?;
        let text = error.to_string();
        ensure!(text.contains(action) && text.contains("not authorized"), "without {sid}: {text}");
        ensure!(guarded.resolver.query("guarded.internal").await? == cname(&existing), "{sid}");
        if sid == "ListServices" {
            // The errors of the run are in the log before its end.
            let checked = doctor(system, "guarded").await?;
            for (id, result, finding) in
                [("fullPass", "warning", "It was not complete"), ("handler", "failed", action)]
            {
                let mut checks = checked["checks"].as_array().into_iter().flatten();
                let check = checks.find(|check| check["id"] == id).context("no such check")?;
                let text = check["finding"].as_str().unwrap_or_default();
                ensure!(check["result"] == result && text.contains(finding), "{check}");
            }
        }
        role.restore().await?;
    }
    system.invoke(guarded, &json!({"reconcile": "all"})).await?;
    guarded.resolves("unregistered.internal", &cname(&unregistered)).await?;
    Ok(())
}

/// The request names the zone, and the role denies the access.
pub(crate) async fn the_handler_cannot_read_or_change_a_zone_of_another_environment(
    system: &System,
) -> Result<()> {
    let (guarded, dev) = (system.environment("guarded"), system.environment("dev"));
    let other = &dev.discovery.zone;
    let error = system.invoke(guarded, &json!({"deregister": {"hostedZoneId": other}})).await;
    let error = error.err().context("the zone could be read")?.to_string();
    ensure!(error.contains("route53:ListResourceRecordSets"), "{error}");
    ensure!(error.contains("not authorized"), "{error}");
    Ok(())
}

/// An event that fails three times goes to the dead-letter queue, and an alarm fires. After the redrive the
/// handler processes it.
pub(crate) async fn a_failed_event_is_handled_after_a_redrive(system: &System) -> Result<()> {
    let outage = system.environment("outage");
    let function = &outage.discovery.function;
    let balancer = balancer(system, outage, "redriven").await?;
    system.relay.lose("outage", "redriven");
    system.aws.create_service("outage", "redriven", &[&balancer.target_group]).await?;
    let before = settings(system, outage).await?;
    configure(system, outage, "{}").await?;
    ensure!(
        system.invoke(outage, &System::scheduled()).await.is_err(),
        "the invalid configuration was accepted"
    );
    // EventBridge invokes the function asynchronously.
    let event = updated("outage", "redriven");
    system.aws.api.invoke_later(function, &event.to_string()).await?;

    let dead_letters = queue_url(&system.aws.endpoint, &outage.discovery.dead_letter_queue);
    let message = receive(system, &dead_letters).await?;
    let body: Value = serde_json::from_str(&message)?;
    ensure!(body["requestPayload"] == event, "{body}");
    ensure!(outage.resolver.query("redriven.internal").await? == NoSuchName);
    ensure!(state(system, "outage", "FunctionFails").await? == "ALARM", "no alarm fired");

    // Fix the cause, and move the message as a message move task does.
    configure(system, outage, &before).await?;
    let events = queue_url(&system.aws.endpoint, &outage.discovery.event_queue);
    system.aws.api.send_message(&events, &message).await?;
    outage.resolves("redriven.internal", &cname(&balancer)).await?;
    Ok(())
}

/// The event of an update that may have changed a service's load balancers.
pub(crate) fn updated(cluster: &str, service: &str) -> Value {
    json!({
        "source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "ecs.amazonaws.com", "eventName": "UpdateService",
            "requestParameters": {"cluster": cluster, "service": service, "loadBalancers": []},
        },
    })
}

async fn configuration(system: &System, environment: &LocalEnvironment) -> Result<Value> {
    let function = &environment.discovery.function;
    let command = ["lambda", "get-function-configuration", "--function-name", function];
    system.aws.cli(&command).await
}

/// The handler's configuration.
pub(crate) async fn settings(system: &System, environment: &LocalEnvironment) -> Result<String> {
    let configuration = configuration(system, environment).await?;
    let settings = configuration["Environment"]["Variables"]["DISCOVERY_CONFIG"].as_str();
    Ok(settings.context("the function has no configuration")?.to_owned())
}

/// Sets the handler's configuration.
pub(crate) async fn configure(
    system: &System,
    environment: &LocalEnvironment,
    config: &str,
) -> Result<()> {
    let function = &environment.discovery.function;
    let variables = json!({"Variables": {"DISCOVERY_CONFIG": config}}).to_string();
    let command = ["lambda", "update-function-configuration", "--function-name", function];
    let more = ["--environment", &variables];
    system.aws.cli(&[command.as_slice(), more.as_slice()].concat()).await?;
    Ok(())
}

/// An unreadable message is received five times before it goes to the dead-letter queue.
pub(crate) async fn an_unreadable_message_ends_in_the_dead_letter_queue(
    system: &System,
) -> Result<()> {
    let dev = system.environment("dev");
    let events = queue_url(&system.aws.endpoint, &dev.discovery.event_queue);
    system.aws.api.send_message(&events, "no event").await?;
    let dead_letters = queue_url(&system.aws.endpoint, &dev.discovery.dead_letter_queue);
    let message = receive(system, &dead_letters).await?;
    ensure!(message == "no event", "{message}");
    Ok(())
}

/// Waits for a message, deletes it from its queue, and returns its body.
async fn receive(system: &System, queue: &str) -> Result<String> {
    let api = system.aws.api;
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let request = json!({"QueueUrl": queue, "WaitTimeSeconds": 1});
        let received = api.call(JsonService::Sqs, "ReceiveMessage", &request).await?;
        let message = &received["Messages"][0];
        if let Some(body) = message["Body"].as_str() {
            let request = json!({"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]});
            api.call(JsonService::Sqs, "DeleteMessage", &request).await?;
            return Ok(body.to_owned());
        }
    }
    bail!("no message arrived in {queue} in {PATIENCE:?}")
}

/// Real runs cause each alarm, except `FunctionFails`, which another scenario causes, and `ZoneAlmostFull`, which would need
/// 8,000 record sets. MiniStack does not read the embedded metric format, so the scenario sends the
/// metrics of the handler's log to CloudWatch.
///
/// MiniStack evaluates an alarm by the name of its metric and ignores the dimensions, so one scenario causes
/// all alarms in turn.
pub(crate) async fn each_alarm_fires(system: &System) -> Result<()> {
    let (stalled, alarmed) = (system.environment("stalled"), system.environment("alarmed"));
    let cluster = &alarmed.network.cluster;
    let zone = &alarmed.discovery.zone;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let since_ms = i64::try_from(since.as_millis())?;
    let all = [
        "DeadLetters",
        "HandlerFails",
        "NoCompleteFullPass",
        "RepairsPersist",
        "DeletesRefused",
        "ConflictsPersist",
        "WaitingPersists",
        "RecordsSlow",
    ];
    for alarm in all {
        ensure!(
            state(system, "alarmed", alarm).await? != "ALARM",
            "{alarm} is in alarm before anything happened"
        );
    }

    // Without its zone, no run succeeds, and failed events go to the dead-letter queue.
    system.invoke(stalled, &json!({"deregister": "all"})).await?;
    system.aws.route53.delete_hosted_zone().id(&stalled.discovery.zone).send().await?;
    let call = json!({
        "source": "aws.elasticloadbalancing", "detail-type": "AWS API Call via CloudTrail",
        "detail": {"eventSource": "elasticloadbalancing.amazonaws.com", "eventName": "CreateListener"},
    });
    let messages = [System::scheduled(), call.clone()].map(|event| event.to_string());
    let queued: Vec<Value> = (0..)
        .zip(messages)
        .map(|(id, body)| json!({"messageId": format!("{id}"), "eventSource": "aws:sqs", "body": body}))
        .collect();
    let answer = system.invoke(stalled, &json!({ "Records": queued })).await?;
    // The schedule does not need another attempt.
    ensure!(answer["batchItemFailures"] == json!([{"itemIdentifier": "1"}]), "{answer}");
    fires(system, stalled, since_ms, "HandlerFails").await?;
    fires(system, stalled, since_ms, "NoCompleteFullPass").await?;
    system.aws.api.invoke_later(&stalled.discovery.function, &call.to_string()).await?;
    fires(system, stalled, since_ms, "DeadLetters").await?;

    // Three services, and an event that arrives after two minutes.
    let balancer = balancer(system, alarmed, "alarmed").await?;
    for name in ["one", "two", "three"] {
        system.relay.lose(cluster, name);
        system.aws.create_service(cluster, name, &[&balancer.target_group]).await?;
    }
    let past = DateTime::from(std::time::SystemTime::now() - Duration::from_secs(120));
    let past = past.fmt(DateTimeFormat::DateTime)?;
    let event = json!({
        "source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "ecs.amazonaws.com", "eventName": "CreateService", "eventTime": past,
            "requestParameters": {"cluster": cluster, "serviceName": "one"},
        },
    });
    system.invoke(alarmed, &event).await?;
    fires(system, alarmed, since_ms, "RecordsSlow").await?;

    // A name becomes taken, and a service has no load balancer yet.
    system.aws.create_record(zone, "two.internal", "A", "10.0.0.7").await?;
    system.relay.lose(cluster, "early");
    let group = system.aws.create_target_group(&alarmed.network, "alarmed-early").await?;
    system.aws.create_service(cluster, "early", &[&group]).await?;
    system.invoke(alarmed, &System::scheduled()).await?;
    fires(system, alarmed, since_ms, "ConflictsPersist").await?;
    fires(system, alarmed, since_ms, "WaitingPersists").await?;
    // The event of the third service was lost.
    fires(system, alarmed, since_ms, "RepairsPersist").await?;

    // A full pass would delete too many names.
    for name in ["one", "three"] {
        system.aws.delete_service(cluster, name).await?;
    }
    let answer = system.invoke(alarmed, &System::scheduled()).await?;
    status(outcome_of(&answer, cluster, "one").context("no outcome")?, "refused", "")?;
    fires(system, alarmed, since_ms, "DeletesRefused").await?;
    Ok(())
}

async fn stack_resources(system: &System, environment: &str) -> Result<Vec<Value>> {
    let stack = format!("EcsDiscovery-{environment}");
    let command = ["cloudformation", "describe-stack-resources", "--stack-name", &stack];
    let found = system.aws.cli(&command).await?;
    Ok(found["StackResources"].as_array().context("no resources")?.clone())
}

async fn state(system: &System, environment: &str, alarm: &str) -> Result<String> {
    // MiniStack evaluates its alarms when it receives a metric.
    let command = ["cloudwatch", "put-metric-data", "--namespace", "Nothing"];
    system
        .aws
        .cli(&[command.as_slice(), &["--metric-name", "Nothing", "--value", "0"]].concat())
        .await?;
    let resources = stack_resources(system, environment).await?;
    let mut resources = resources.iter();
    let is_alarm = |resource: &&Value| {
        let id = resource["LogicalResourceId"].as_str();
        id.is_some_and(|id| id.starts_with(&format!("DiscoveryAlarms{alarm}")))
    };
    let name = resources.find(is_alarm).and_then(|found| found["PhysicalResourceId"].as_str());
    let name = name.with_context(|| format!("the stack of {environment} has no alarm {alarm}"))?;
    let command = ["cloudwatch", "describe-alarms", "--alarm-names", name];
    let found = system.aws.cli(&command).await?;
    let state = found["MetricAlarms"][0]["StateValue"].as_str();
    Ok(state.with_context(|| format!("there is no alarm {name}"))?.to_owned())
}

/// Waits until an alarm fires. Meanwhile it sends the metrics that CloudWatch would derive from the log and from
/// the queue.
async fn fires(
    system: &System,
    environment: &LocalEnvironment,
    since_ms: i64,
    alarm: &str,
) -> Result<()> {
    let begun = Instant::now();
    let queue = queue_url(&system.aws.endpoint, &environment.discovery.dead_letter_queue);
    loop {
        let lines = system.aws.log_lines(&environment.discovery.log_group, since_ms).await?;
        let mut data: Vec<Value> = lines.iter().flat_map(metrics).collect();
        ensure!(!data.is_empty(), "the log has no metrics");
        // Only the last value of each metric, since MiniStack has evaluated the earlier ones.
        data.reverse();
        let mut seen = std::collections::BTreeSet::new();
        data.retain(|datum| {
            seen.insert((datum["MetricName"].to_string(), datum["Dimensions"].to_string()))
        });
        let data = Value::from(data).to_string();
        let command = [
            "cloudwatch",
            "put-metric-data",
            "--namespace",
            "EcsDiscovery",
            "--metric-data",
            &data,
        ];
        system.aws.cli(&command).await?;

        let name = "ApproximateNumberOfMessages";
        let request = json!({"QueueUrl": queue, "AttributeNames": [name]});
        let api = system.aws.api;
        let found = api.call(JsonService::Sqs, "GetQueueAttributes", &request).await?;
        let waiting = found["Attributes"][name].as_str().context("no number of messages")?;
        let command = ["cloudwatch", "put-metric-data", "--namespace", "AWS/SQS"];
        let more = ["--metric-name", "ApproximateNumberOfMessagesVisible", "--value", waiting];
        system.aws.cli(&[command.as_slice(), more.as_slice()].concat()).await?;

        if state(system, &environment.name, alarm).await? == "ALARM" {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "{alarm} did not fire; the metrics were {data}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// The metrics that CloudWatch derives from a line in the embedded metric format.
fn metrics(line: &Value) -> Vec<Value> {
    let sets = line["_aws"]["CloudWatchMetrics"].as_array().into_iter().flatten();
    sets.flat_map(|set| {
        let names = set["Dimensions"][0].as_array().into_iter().flatten();
        let dimensions: Vec<Value> = names
            .filter_map(Value::as_str)
            .map(|name| json!({"Name": name, "Value": line[name]}))
            .collect();
        let metrics = set["Metrics"].as_array().into_iter().flatten();
        metrics.map(move |metric| {
            let name = metric["Name"].as_str().unwrap_or_default();
            let values = match &line[name] {
                Value::Array(values) => values.clone(),
                value => vec![value.clone()],
            };
            json!({"MetricName": name, "Dimensions": dimensions, "Values": values})
        })
    })
    .collect()
}

/// The life of an environment that adopts the records of a predecessor. The name of the service `fixed` never
/// changes, and must resolve all the time.
pub(crate) async fn an_environment_is_deployed_changed_renamed_and_removed(
    system: &System,
) -> Result<()> {
    let aws = &system.aws;
    let (network, other) = (&system.networks["mover"], &system.networks["mover-b"]);
    // The first deployment checks the zone and fails, because it does not exist. The stack can be removed although there
    // is no zone to deregister names in.
    let wrong = json!({
        "vpcs": [{"vpcId": other.vpc, "zoneName": "internal", "hostedZoneId": "Z0NOSUCHZONE"}],
        "bootstrapRoles": system.aws.permissions == Permissions::Open,
    });
    let wrong = deploy::environment(other, "internal", &wrong);
    let failed = deploy::discovery(aws, &json!({ "misled": wrong })).await;
    let failed = failed.err().context("the deployment succeeded without a zone")?.to_string();
    ensure!(failed.contains("NoSuchHostedZone"), "{failed}");
    deploy::destroy(aws, &json!({ "misled": wrong })).await?;

    // AWS's reference architecture of 2016 left a zone with a CNAME and without a marker.
    let given = zone(system, &network.vpc).await?;
    let orders = aws.create_balancer(network, "mover-orders", Internal).await?;
    let fixed = aws.create_balancer(network, "mover-fixed", Internal).await?;
    let elsewhere = aws.create_balancer(other, "mover-elsewhere", Internal).await?;
    for (name, balancer) in [("orders", &orders), ("fixed", &fixed), ("elsewhere", &elsewhere)] {
        aws.create_service("mover", name, &[&balancer.target_group]).await?;
    }
    aws.tag_service("mover", "fixed", "discovery:name", "fixed").await?;
    aws.create_record(&given, "orders.internal", "CNAME", &orders.dns_name).await?;

    let vpc = |vpc: &str, zone: Option<&str>| match zone {
        Some(zone) => json!({"vpcId": vpc, "zoneName": "internal", "hostedZoneId": zone}),
        None => json!({"vpcId": vpc, "zoneName": "internal"}),
    };
    let first = vpc(&network.vpc, Some(&given));
    let mut data = deploy::environment(
        network,
        "internal",
        &json!({
            "vpcs": [first, vpc(&other.vpc, None)],
            "bootstrapRoles": system.aws.permissions == Permissions::Open,
        }),
    );
    // First the stack only observes.
    data["mode"] = "observe".into();
    deploy::discovery(aws, &json!({ "mover": data })).await?;
    ensure!(aws.records(&given, "orders.internal").await?.len() == 1, "the record is gone");
    for name in ["_discovery.orders.internal", "fixed.internal", "elsewhere.internal"] {
        ensure!(aws.records(&given, name).await?.is_empty(), "{name} was written");
    }
    data["mode"] = "sync".into();
    let deployed = deploy::discovery(aws, &json!({ "mover": data })).await?;
    let made = deployed["mover"].zones.iter().find(|zone| **zone != given);
    let made = made.context("the stack created no zone")?.clone();
    let resolver = Resolver::start(aws, &[&given]).await?;
    let other_resolver = Resolver::start(aws, &[&made]).await?;
    ensure!(resolver.query("orders.internal").await? == cname(&orders), "not adopted");
    ensure!(aws.records(&given, "_discovery.orders.internal").await?.len() == 1, "no marker");
    ensure!(resolver.query("fixed.internal").await? == cname(&fixed), "not registered");
    ensure!(other_resolver.query("elsewhere.internal").await? == cname(&elsewhere));

    let over = AtomicBool::new(false);
    let watch = resolves_until(&resolver, "fixed.internal", &fixed, &over);
    let change = async {
        let result = async {
            // A new template renames more services than the delete limit allows to delete.
            data["nameTemplate"] = "{service}.{cluster}".into();
            data["ttlSeconds"] = 5.into();
            deploy::discovery(aws, &json!({ "mover": data })).await?;
            ensure!(resolver.query("orders.mover.internal").await? == cname(&orders));
            ensure!(resolver.query("orders.internal").await? == NoSuchName);
            ensure!(other_resolver.query("elsewhere.mover.internal").await? == cname(&elsewhere));
            ensure!(other_resolver.query("elsewhere.internal").await? == NoSuchName);

            // A command in a queue counts for nothing.
            let queue = queue_url(&aws.endpoint, &deployed["mover"].event_queue);
            aws.api.send_message(&queue, &json!({"deregister": "all"}).to_string()).await?;

            // The stack created the zone of the second VPC, and removes it with the VPC.
            data["vpcs"] = json!([first]);
            deploy::discovery(aws, &json!({ "mover": data })).await?;
            let gone = aws.route53.get_hosted_zone().id(&made).send().await;
            ensure!(gone.is_err(), "the zone of the other VPC still exists");

            // A renamed environment is a new stack that takes the names over before the old stack is removed.
            let mut renamed = data.clone();
            renamed["formerNames"] = json!(["mover"]);
            deploy::discovery(aws, &json!({ "moved": renamed })).await?;
            let markers = aws.records(&given, "_discovery.fixed.internal").await?;
            ensure!(markers[0].contains("environment=moved"), "{markers:?}");
            deploy::destroy(aws, &json!({ "mover": data })).await?;
            anyhow::Ok(renamed)
        }
        .await;
        over.store(true, Ordering::Relaxed);
        result
    };
    let (watched, changed) = tokio::join!(watch, change);
    let mut data = changed?;
    watched?;

    // Change the type of all records.
    data["record"] = "ALIAS".into();
    deploy::discovery(aws, &json!({ "moved": data })).await?;
    let records = aws.records(&given, "orders.mover.internal").await?;
    ensure!(records[0].contains("A alias to"), "{records:?}");

    // A stack can go without its names, and come back.
    data["onDestroy"] = "keep".into();
    deploy::discovery(aws, &json!({ "moved": data })).await?;
    deploy::destroy(aws, &json!({ "moved": data })).await?;
    let kept = aws.records(&given, "orders.mover.internal").await?;
    ensure!(!kept.is_empty(), "the name is gone");
    data["onDestroy"] = "deregister".into();
    deploy::discovery(aws, &json!({ "moved": data })).await?;

    // The removal of the environment deletes its records, and only those, also after somebody stopped everything.
    aws.create_record(&given, "person.internal", "A", "10.0.0.7").await?;
    stop_everything(system, "moved").await?;
    deploy::destroy(aws, &json!({ "moved": data })).await?;
    ensure!(aws.records(&given, "person.internal").await?.len() == 1);
    for name in ["fixed.internal", "orders.mover.internal"] {
        ensure!(aws.records(&given, name).await?.is_empty(), "records of {name} are left");
    }
    Ok(())
}

/// Follows the section "Stop everything" of the documents.
async fn stop_everything(system: &System, environment: &str) -> Result<()> {
    let all = stack_resources(system, environment).await?;
    let of = |kind: &str| -> Vec<String> {
        let found = all.iter().filter(|resource| resource["ResourceType"] == kind);
        found.filter_map(|one| Some(one["PhysicalResourceId"].as_str()?.to_owned())).collect()
    };
    let (rules, mappings) = (of("AWS::Events::Rule"), of("AWS::Lambda::EventSourceMapping"));
    ensure!(rules.len() > 1 && !mappings.is_empty(), "{rules:?}, {mappings:?}");
    for rule in rules {
        system.aws.cli(&["events", "disable-rule", "--name", &rule]).await?;
    }
    for mapping in mappings {
        let command = ["lambda", "update-event-source-mapping", "--no-enabled", "--uuid", &mapping];
        system.aws.cli(&command).await?;
    }
    Ok(())
}

/// The settings of a stack that keeps its zone, and that the scenario can delete nevertheless.
fn keeping(system: &System, name: &str) -> Value {
    let more = json!({
        "bootstrapRoles": system.aws.permissions == Permissions::Open,
        "removalPolicy": "retain",
        "terminationProtection": false,
    });
    deploy::environment(&system.networks[name], "internal", &more)
}

/// An update that fails is rolled back to a stack that works. Then somebody writes down the id of the zone that the
/// stack created. The name resolves all the time.
pub(crate) async fn names_survive_a_failed_update_and_the_id_of_their_own_zone_in_the_configuration(
    system: &System,
) -> Result<()> {
    let aws = &system.aws;
    let network = &system.networks["owner"];
    let orders = aws.create_balancer(network, "owner-orders", Internal).await?;
    aws.create_service("owner", "orders", &[&orders.target_group]).await?;
    let mut data = keeping(system, "owner");
    let deployed = deploy::discovery(aws, &json!({ "owner": data })).await?;
    let made = deployed["owner"].zone.clone();
    let resolver = Resolver::start(aws, &[&made]).await?;
    ensure!(resolver.query("orders.internal").await? == cname(&orders), "not registered");

    let over = AtomicBool::new(false);
    let watch = resolves_until(&resolver, "orders.internal", &orders, &over);
    let change = async {
        let result = async {
            data["vpcs"][0]["hostedZoneId"] = "Z0NOSUCHZONE".into();
            let failed = deploy::discovery(aws, &json!({ "owner": data })).await;
            ensure!(failed.is_err(), "the deployment succeeded without a zone");
            ensure!(stack_events(system, "owner").await?.contains("NoSuchHostedZone"));
            ensure!(stack_status(system, "owner").await? == "UPDATE_ROLLBACK_COMPLETE");
            let basket = aws.create_balancer(network, "owner-basket", Internal).await?;
            aws.create_service("owner", "basket", &[&basket.target_group]).await?;
            let payload = json!({"reconcile": "all"}).to_string();
            let answer = aws.api.invoke(&deployed["owner"].function, &payload).await?;
            ensure!(answer.is_ok(), "the handler fails after the rollback: {answer:?}");
            ensure!(resolver.query("basket.internal").await? == cname(&basket));

            data["vpcs"][0]["hostedZoneId"] = made.clone().into();
            deploy::discovery(aws, &json!({ "owner": data })).await?;
            ensure!(
                zones_of(system, "owner").await? == std::slice::from_ref(&made),
                "another zone"
            );
            ensure!(resolver.query("basket.internal").await? == cname(&basket));
            anyhow::Ok(())
        }
        .await;
        over.store(true, Ordering::Relaxed);
        result
    };
    let (watched, changed) = tokio::join!(watch, change);
    changed?;
    watched?;
    deploy::destroy(aws, &json!({ "owner": data })).await?;
    ensure!(resolver.query("orders.internal").await? == NoSuchName, "the name is left");
    Ok(())
}

/// Route 53 is denied at first. What the deployment made goes with it, and does not block the second attempt.
pub(crate) async fn a_first_deployment_that_was_denied_succeeds_once_it_is_allowed(
    system: &System,
) -> Result<()> {
    let aws = &system.aws;
    let network = &system.networks["denied"];
    let mut balancers = Vec::new();
    for name in ["orders", "basket"] {
        let balancer = aws.create_balancer(network, &format!("denied-{name}"), Internal).await?;
        aws.create_service("denied", name, &[&balancer.target_group]).await?;
        balancers.push((name, balancer));
    }
    let mut data = json!({"denied": keeping(system, "denied")});
    let statements = ["ReadZones", "ChangeRecords", "ChangeSoa"];
    let denied = deploy::discovery_without(aws, &data, &statements).await;
    ensure!(denied.is_err(), "the deployment succeeded without permissions");
    ensure!(stack_events(system, "denied").await?.contains("AccessDenied"));
    ensure!(stack_status(system, "denied").await? == "ROLLBACK_COMPLETE");
    ensure!(zones_of(system, "denied").await?.is_empty(), "a zone is left");

    // The CDK publishes a template with the same hash only once, and the hash is older than the denial.
    data["denied"]["ttlSeconds"] = 30.into();
    let deployed = deploy::discovery(aws, &data).await?;
    let zone = deployed["denied"].zone.clone();
    ensure!(zones_of(system, "denied").await? == std::slice::from_ref(&zone));
    let resolver = Resolver::start(aws, &[&zone]).await?;
    for (name, balancer) in &balancers {
        let answer = resolver.query(&format!("{name}.internal")).await?;
        ensure!(answer == cname(balancer), "{name}.internal is {answer:?}");
    }
    deploy::destroy(aws, &data).await
}

/// Queries a name without a pause, and fails at the first answer that does not lead to the load balancer.
async fn resolves_until(
    resolver: &Resolver,
    name: &str,
    balancer: &LocalBalancer,
    over: &AtomicBool,
) -> Result<()> {
    let mut queries = 0;
    while !over.load(Ordering::Relaxed) {
        let answer = resolver.query(name).await?;
        ensure!(answer == cname(balancer), "{name} was {answer:?} for a moment");
        queries += 1;
        sleep(Duration::from_millis(10)).await;
    }
    ensure!(queries > 100, "only {queries} queries were sent");
    Ok(())
}

async fn stack_status(system: &System, environment: &str) -> Result<String> {
    let stack = format!("EcsDiscovery-{environment}");
    let command = ["cloudformation", "describe-stacks", "--stack-name", &stack];
    let described = system.aws.cli(&command).await?;
    Ok(described["Stacks"][0]["StackStatus"].as_str().unwrap_or_default().to_owned())
}

async fn stack_events(system: &System, environment: &str) -> Result<String> {
    let stack = format!("EcsDiscovery-{environment}");
    let command = ["cloudformation", "describe-stack-events", "--stack-name", &stack];
    Ok(system.aws.cli(&command).await?.to_string())
}

/// The ids of the private hosted zones of an environment's VPC.
async fn zones_of(system: &System, environment: &str) -> Result<Vec<String>> {
    let vpc = &system.networks[environment].vpc;
    let request = system.aws.route53.list_hosted_zones_by_vpc().vpc_id(vpc);
    let listed = request.vpc_region(REGION.into()).send().await?;
    let zones = listed.hosted_zone_summaries();
    Ok(zones.iter().map(|zone| zone.hosted_zone_id().to_owned()).collect())
}

/// Creates a private hosted zone that does not belong to a stack.
async fn zone(system: &System, vpc: &str) -> Result<String> {
    let vpc = aws_sdk_route53::types::Vpc::builder().vpc_id(vpc).vpc_region(REGION.into()).build();
    let request = system.aws.route53.create_hosted_zone().name("internal").vpc(vpc);
    let made = request.caller_reference("given").send().await?;
    let id = made.hosted_zone().context("CreateHostedZone returned no zone")?.id();
    Ok(id.trim_start_matches("/hostedzone/").to_owned())
}

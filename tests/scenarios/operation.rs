//! Scenarios of those who run it: permissions, events that fail, alarms, deployments.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerSchemeEnum::Internal;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use local_aws::deploy;
use local_aws::fixtures::Environment;
use local_aws::relay::queue_url;
use local_aws::resolver::Answer::NoSuchName;
use local_aws::resolver::Resolver;
use local_aws::system::{Stage, outcome_of};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::{alias, balancer, registered, status};

/// How long anything may take that the machine does at once when it is idle.
const PATIENCE: Duration = Duration::from_secs(90);

/// The handler's role, as the stack made it.
struct Role<'a> {
    stage: &'a Stage,
    name: String,
    /// Its inline policies by name.
    policies: Map<String, Value>,
}

impl<'a> Role<'a> {
    async fn of(stage: &'a Stage, environment: &Environment) -> Result<Role<'a>> {
        let function = &environment.discovery.function;
        let answer = stage.aws.lambda.get_function_configuration().function_name(function);
        let arn = answer.send().await?.role.context("a function without a role")?;
        let name = arn.rsplit('/').next().unwrap_or_default().to_owned();
        let listed = stage.aws.cli(&["iam", "list-role-policies", "--role-name", &name]).await?;
        let mut policies = Map::new();
        for policy in listed["PolicyNames"].as_array().into_iter().flatten() {
            let policy = policy.as_str().context("a policy without a name")?;
            let command = ["iam", "get-role-policy", "--role-name", &name, "--policy-name", policy];
            let found = stage.aws.cli(&command).await?;
            policies.insert(policy.to_owned(), found["PolicyDocument"].clone());
        }
        Ok(Role { stage, name, policies })
    }

    /// Takes the statement away that has this id.
    async fn deny(&self, sid: &str) -> Result<()> {
        for (policy, document) in &self.policies {
            let mut less = document.clone();
            let statements = less["Statement"].as_array_mut().context("no statements")?;
            let before = statements.len();
            statements.retain(|statement| statement["Sid"] != sid);
            if statements.len() < before {
                return self.put(policy, &less).await;
            }
        }
        bail!("the role {} has no statement {sid}: {:?}", self.name, self.policies)
    }

    async fn restore(&self) -> Result<()> {
        for (policy, document) in &self.policies {
            self.put(policy, document).await?;
        }
        Ok(())
    }

    async fn put(&self, policy: &str, document: &Value) -> Result<()> {
        let document = document.to_string();
        let command = ["iam", "put-role-policy", "--role-name", &self.name];
        let more = ["--policy-name", policy, "--policy-document", &document];
        self.stage.aws.cli(&[command.as_slice(), more.as_slice()].concat()).await?;
        Ok(())
    }
}

/// Every call is allowed by one statement, and without it denied: what the handler then says names
/// the action, and nothing that stands is touched.
pub(crate) async fn each_permission_is_granted_by_one_statement(stage: &Stage) -> Result<()> {
    let guarded = stage.environment("guarded");
    let behind = registered(stage, guarded, "guarded").await?;
    let unregistered = balancer(stage, guarded, "unregistered").await?;
    stage.relay.lose("unregistered");
    stage.aws.create_service("guarded", "unregistered", &[&unregistered.target_group]).await?;
    let role = Role::of(stage, guarded).await?;
    for (sid, action) in [
        ("ListClusters", "ecs:ListClusters"),
        ("ListServices", "ecs:ListServices"),
        ("DescribeServices", "ecs:DescribeServices"),
        ("DescribeLoadBalancers", "elasticloadbalancing:DescribeTargetGroups"),
        ("ListRecords", "route53:ListResourceRecordSets"),
        ("ChangeRecords", "route53:ChangeResourceRecordSets"),
    ] {
        role.deny(sid).await?;
        let error = stage.invoke(guarded, &json!({"reconcile": "all"})).await;
        let error = error.err().with_context(|| format!("all went well without {sid}"))?;
        let text = error.to_string();
        ensure!(text.contains(action) && text.contains("not authorized"), "without {sid}: {text}");
        ensure!(guarded.resolver.ask("guarded.internal").await? == alias(&behind), "{sid}");
        role.restore().await?;
    }
    stage.invoke(guarded, &json!({"reconcile": "all"})).await?;
    guarded.resolves("unregistered.internal", &alias(&unregistered)).await?;
    Ok(())
}

/// A zone that is not the environment's is out of the handler's reach, whatever it is asked for.
pub(crate) async fn another_environments_zone_cannot_be_read_or_changed(
    stage: &Stage,
) -> Result<()> {
    let (guarded, dev) = (stage.environment("guarded"), stage.environment("dev"));
    let other = &dev.discovery.zone;
    let error = stage.invoke(guarded, &json!({"deregister": {"hostedZoneId": other}})).await;
    let error = error.err().context("it was allowed")?.to_string();
    ensure!(error.contains("route53:ListResourceRecordSets"), "{error}");
    ensure!(error.contains("not authorized"), "{error}");
    Ok(())
}

/// An event that fails three times waits, an alarm says so, and it is handled when it is moved back.
pub(crate) async fn what_failed_waits_and_is_handled_after_a_redrive(stage: &Stage) -> Result<()> {
    let outage = stage.environment("outage");
    let function = &outage.discovery.function;
    let behind = balancer(stage, outage, "redriven").await?;
    stage.relay.lose("redriven");
    stage.aws.create_service("outage", "redriven", &[&behind.target_group]).await?;
    let lambda = &stage.aws.lambda;
    let before = lambda.get_function_configuration().function_name(function).send().await?;
    let before = before.environment().and_then(|all| all.variables()).context("no variables")?;
    let configure = async |config: &str| {
        let variables = aws_sdk_lambda::types::Environment::builder();
        let variables = variables.variables("DISCOVERY_CONFIG", config).build();
        let request = lambda.update_function_configuration().function_name(function);
        request.environment(variables).send().await
    };
    configure("{}").await?;
    ensure!(stage.invoke(outage, &Stage::scheduled()).await.is_err(), "it was to fail");
    // As EventBridge calls it: nobody waits for the answer.
    let event = json!({"reconcile": {"cluster": "outage", "service": "redriven"}});
    let request = lambda.invoke().function_name(function).invocation_type(InvocationType::Event);
    request.payload(Blob::new(event.to_string())).send().await?;

    let waiting = queue_url(&stage.aws.endpoint, &outage.discovery.dead_letter_queue);
    let message = received(stage, &waiting).await?;
    let body: Value = serde_json::from_str(message.body().context("no body")?)?;
    ensure!(body["requestPayload"] == event, "{body}");
    ensure!(outage.resolver.ask("redriven.internal").await? == NoSuchName);
    ensure!(state(stage, "outage", "HandlerFails").await? == "ALARM", "nobody noticed");

    // The cause is mended, and the message moved, as a message move task does.
    configure(&before["DISCOVERY_CONFIG"]).await?;
    let events = queue_url(&stage.aws.endpoint, &outage.discovery.event_queue);
    let moved = stage.aws.sqs.send_message().queue_url(&events);
    moved.message_body(message.body().unwrap_or_default()).send().await?;
    outage.resolves("redriven.internal", &alias(&behind)).await?;
    Ok(())
}

/// A message that nobody can read comes five times, disturbs nobody, and waits for a person.
pub(crate) async fn a_message_that_makes_no_sense_ends_in_the_dead_letter_queue(
    stage: &Stage,
) -> Result<()> {
    let senseless = stage.environment("dev");
    let events = queue_url(&stage.aws.endpoint, &senseless.discovery.event_queue);
    // Half an hour between two tries is too long for a test.
    let attributes = stage.aws.sqs.set_queue_attributes().queue_url(&events);
    let name = aws_sdk_sqs::types::QueueAttributeName::VisibilityTimeout;
    attributes.attributes(name, "1").send().await?;
    let sent = stage.aws.sqs.send_message().queue_url(&events);
    sent.message_body("no event").send().await?;
    let waiting = queue_url(&stage.aws.endpoint, &senseless.discovery.dead_letter_queue);
    ensure!(received(stage, &waiting).await?.body() == Some("no event"));
    Ok(())
}

/// Waits for a message, and takes it.
async fn received(stage: &Stage, queue: &str) -> Result<aws_sdk_sqs::types::Message> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let request = stage.aws.sqs.receive_message().queue_url(queue).wait_time_seconds(1);
        if let Some(message) = request.send().await?.messages().first() {
            let receipt = message.receipt_handle().unwrap_or_default();
            let request = stage.aws.sqs.delete_message().queue_url(queue);
            request.receipt_handle(receipt).send().await?;
            return Ok(message.clone());
        }
    }
    bail!("no message came to {queue} in {PATIENCE:?}")
}

/// What an alarm watches is driven into alarm by what really happens: the handler's own log lines
/// become metrics as CloudWatch would make them, since MiniStack does not read that format.
///
/// MiniStack looks at a metric's name and not at its dimensions, so all is in one scenario, one alarm
/// after the other.
pub(crate) async fn each_alarm_fires(stage: &Stage) -> Result<()> {
    let (stalled, alarmed) = (stage.environment("stalled"), stage.environment("alarmed"));
    let cluster = &alarmed.network.cluster;
    let zone = &alarmed.discovery.zone;
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let since_ms = i64::try_from(since.as_millis())?;
    let all = [
        "DeadLetters",
        "HandlerFails",
        "NoCompletePass",
        "DeletesRefused",
        "ConflictsPersist",
        "RecordsSlow",
    ];
    for alarm in all {
        ensure!(
            state(stage, "alarmed", alarm).await? != "ALARM",
            "{alarm} is on before anything happened"
        );
    }

    // Its zone is gone, so no run succeeds; and what failed for good waits.
    stage.aws.route53.delete_hosted_zone().id(&stalled.discovery.zone).send().await?;
    let pass = Stage::scheduled().to_string();
    let queued = json!({"messageId": "1", "eventSource": "aws:sqs", "body": pass});
    let answer = stage.invoke(stalled, &json!({ "Records": [queued] })).await?;
    ensure!(answer["batchItemFailures"][0]["itemIdentifier"] == "1", "{answer}");
    fires(stage, stalled, since_ms, "HandlerFails").await?;
    fires(stage, stalled, since_ms, "NoCompletePass").await?;
    let request = stage.aws.lambda.invoke().function_name(&stalled.discovery.function);
    let request = request.invocation_type(InvocationType::Event);
    request.payload(Blob::new(pass)).send().await?;
    fires(stage, stalled, since_ms, "DeadLetters").await?;

    // Three services whose events come late, by two minutes.
    let behind = balancer(stage, alarmed, "alarmed").await?;
    for name in ["one", "two", "three"] {
        stage.relay.lose(name);
        stage.aws.create_service(cluster, name, &[&behind.target_group]).await?;
    }
    let past = std::time::SystemTime::now() - Duration::from_secs(120);
    let past = aws_sdk_lambda::primitives::DateTime::from(past);
    let past = past.fmt(aws_sdk_lambda::primitives::DateTimeFormat::DateTime)?;
    let event = json!({
        "source": "aws.ecs", "detail-type": "AWS API Call via CloudTrail",
        "detail": {
            "eventSource": "ecs.amazonaws.com", "eventName": "CreateService", "eventTime": past,
            "requestParameters": {"cluster": cluster, "serviceName": "one"},
        },
    });
    stage.invoke(alarmed, &event).await?;
    fires(stage, alarmed, since_ms, "RecordsSlow").await?;

    // A name that is taken.
    stage.aws.create_record(zone, "two.internal", "A", "10.0.0.7").await?;
    stage.invoke(alarmed, &Stage::scheduled()).await?;
    fires(stage, alarmed, since_ms, "ConflictsPersist").await?;

    // Too much at once.
    for name in ["one", "three"] {
        stage.aws.delete_service(cluster, name).await?;
    }
    let answer = stage.invoke(alarmed, &Stage::scheduled()).await?;
    status(outcome_of(&answer, cluster, "one").context("no outcome")?, "refused", "")?;
    fires(stage, alarmed, since_ms, "DeletesRefused").await?;
    Ok(())
}

async fn state(stage: &Stage, environment: &str, alarm: &str) -> Result<String> {
    // MiniStack looks at its alarms when a metric comes.
    let command = ["cloudwatch", "put-metric-data", "--namespace", "Nothing"];
    stage
        .aws
        .cli(&[command.as_slice(), &["--metric-name", "Nothing", "--value", "0"]].concat())
        .await?;
    let name = format!("EcsDiscovery-{environment}-{alarm}");
    let command = ["cloudwatch", "describe-alarms", "--alarm-names", &name];
    let found = stage.aws.cli(&command).await?;
    let state = found["MetricAlarms"][0]["StateValue"].as_str();
    Ok(state.with_context(|| format!("there is no alarm {name}"))?.to_owned())
}

/// Waits until an alarm is on, while the metrics come that CloudWatch would make of the log and of
/// the queue.
async fn fires(stage: &Stage, environment: &Environment, since_ms: i64, alarm: &str) -> Result<()> {
    let begun = Instant::now();
    let queue = queue_url(&stage.aws.endpoint, &environment.discovery.dead_letter_queue);
    loop {
        let lines = stage.aws.log_lines(&environment.discovery.log_group, since_ms).await?;
        let mut data: Vec<Value> = lines.iter().flat_map(metrics).collect();
        ensure!(!data.is_empty(), "the log has no metrics");
        // Each metric as the last run left it: those before were looked at before.
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
        stage.aws.cli(&command).await?;

        let name = aws_sdk_sqs::types::QueueAttributeName::ApproximateNumberOfMessages;
        let request = stage.aws.sqs.get_queue_attributes().queue_url(&queue);
        let found = request.attribute_names(name.clone()).send().await?;
        let waiting = found.attributes().and_then(|found| found.get(&name)).cloned();
        let waiting = waiting.context("no number of messages")?;
        let command = ["cloudwatch", "put-metric-data", "--namespace", "AWS/SQS"];
        let more = ["--metric-name", "ApproximateNumberOfMessagesVisible", "--value", &waiting];
        stage.aws.cli(&[command.as_slice(), more.as_slice()].concat()).await?;

        if state(stage, &environment.name, alarm).await? == "ALARM" {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "{alarm} did not fire; the metrics were {data}");
        sleep(Duration::from_millis(200)).await;
    }
}

/// What CloudWatch makes of a line in the embedded metric format.
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

/// From the first deployment to the last: what was there before is found, what changes moves, and what
/// goes leaves nothing behind. One name does not change, and resolves all the time.
pub(crate) async fn an_environment_arrives_changes_and_departs(stage: &Stage) -> Result<()> {
    let aws = &stage.aws;
    let (network, other) = (&stage.networks["mover"], &stage.networks["mover-b"]);
    // A zone that does not exist: the pass at the end says so, and the deployment fails with that. What
    // was made for it goes again, though there is no zone to deregister anything in.
    let wrong = json!({
        "vpcs": [{"vpcId": other.vpc, "zoneName": "internal", "hostedZoneId": "Z0NOSUCHZONE"}],
        "bootstrapRoles": stage.aws.permissions == local_aws::ministack::Permissions::Open,
    });
    let wrong = deploy::environment(other, "internal", &wrong);
    let failed = deploy::discovery(aws, &json!({ "misled": wrong })).await;
    let failed = failed.err().context("the deployment was to fail")?.to_string();
    ensure!(failed.contains("NoSuchHostedZone"), "{failed}");
    deploy::destroy(aws, &json!({ "misled": wrong })).await?;

    // An account that ran the reference architecture of 2016: a zone with a CNAME, and no marker.
    let given = zone(stage, &network.vpc).await?;
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
            "bootstrapRoles": stage.aws.permissions == local_aws::ministack::Permissions::Open,
        }),
    );
    let deployed = deploy::discovery(aws, &json!({ "mover": data })).await?;
    let made = deployed["mover"].zones.iter().find(|zone| **zone != given);
    let made = made.context("no zone was made")?.clone();
    let resolver = Resolver::start(aws, &[&given]).await?;
    let other_resolver = Resolver::start(aws, &[&made]).await?;
    ensure!(resolver.ask("orders.internal").await? == alias(&orders), "not adopted");
    ensure!(aws.records(&given, "_discovery.orders.internal").await?.len() == 1, "no marker");
    ensure!(resolver.ask("fixed.internal").await? == alias(&fixed), "not registered");
    ensure!(other_resolver.ask("elsewhere.internal").await? == alias(&elsewhere));

    let over = AtomicBool::new(false);
    let watch = async {
        let mut asked = 0;
        while !over.load(Ordering::Relaxed) {
            let answer = resolver.ask("fixed.internal").await?;
            ensure!(answer == alias(&fixed), "fixed.internal was {answer:?} for a moment");
            asked += 1;
            sleep(Duration::from_millis(10)).await;
        }
        ensure!(asked > 100, "it was asked for {asked} times only");
        anyhow::Ok(())
    };
    let change = async {
        let result = async {
            // Other names, and another TTL. So many move that the delete limit would be met.
            data["nameTemplate"] = "{service}.{cluster}".into();
            data["ttlSeconds"] = 5.into();
            deploy::discovery(aws, &json!({ "mover": data })).await?;
            ensure!(resolver.ask("orders.mover.internal").await? == alias(&orders));
            ensure!(resolver.ask("orders.internal").await? == NoSuchName);
            ensure!(other_resolver.ask("elsewhere.mover.internal").await? == alias(&elsewhere));
            ensure!(other_resolver.ask("elsewhere.internal").await? == NoSuchName);

            // A VPC less. Its zone was made by the stack, so it goes, too.
            data["vpcs"] = json!([first]);
            deploy::discovery(aws, &json!({ "mover": data })).await?;
            let gone = aws.route53.get_hosted_zone().id(&made).send().await;
            ensure!(gone.is_err(), "the zone of the other VPC is still there");

            // Another name for the environment: a stack beside, and the end of the old one.
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

    // Another kind of record, for all names at once.
    data["record"] = "ALIAS".into();
    deploy::discovery(aws, &json!({ "moved": data })).await?;
    let records = aws.records(&given, "orders.mover.internal").await?;
    ensure!(records[0].contains("A alias to"), "{records:?}");

    // And the end: nothing is left of it, and everything that is not its own.
    aws.create_record(&given, "person.internal", "A", "10.0.0.7").await?;
    deploy::destroy(aws, &json!({ "moved": data })).await?;
    ensure!(aws.records(&given, "person.internal").await?.len() == 1);
    for name in ["fixed.internal", "orders.mover.internal"] {
        ensure!(aws.records(&given, name).await?.is_empty(), "{name} is left");
    }
    Ok(())
}

/// A private hosted zone that was there before.
async fn zone(stage: &Stage, vpc: &str) -> Result<String> {
    let vpc = aws_sdk_route53::types::Vpc::builder()
        .vpc_id(vpc)
        .vpc_region(local_aws::ministack::REGION.into())
        .build();
    let request = stage.aws.route53.create_hosted_zone().name("internal").vpc(vpc);
    let made = request.caller_reference("given").send().await?;
    let id = made.hosted_zone().context("no zone")?.id();
    Ok(id.trim_start_matches("/hostedzone/").to_owned())
}

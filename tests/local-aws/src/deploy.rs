//! Deploys networks and the project's own stacks to the local AWS, with the AWS CLI and the CDK's CLI.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::api::JsonService;
use crate::ministack::{ACCOUNT, LocalAws, Permissions, REGION, root, tool};

/// A VPC and an ECS cluster, without service discovery.
#[derive(Clone, Debug)]
pub struct Network {
    pub vpc: String,
    pub subnets: Vec<String>,
    /// The name of the cluster, which is also the name of the environment.
    pub cluster: String,
}

/// The outputs of a stack with service discovery.
#[derive(Clone, Debug)]
pub struct Discovery {
    pub function: String,
    pub log_group: String,
    /// The zone of the environment's first VPC.
    pub zone: String,
    pub zones: Vec<String>,
    /// The ARN of the queue that invokes the handler.
    pub event_queue: String,
    /// The ARN of the queue with the events that the handler could not process.
    pub dead_letter_queue: String,
}

/// Creates a VPC with two subnets and an ECS cluster for each name.
pub async fn networks(aws: &LocalAws, names: &[&str]) -> Result<BTreeMap<String, Network>> {
    let mut resources = Map::new();
    let mut outputs = Map::new();
    // CloudFormation allows only letters and digits in a logical id.
    let id = |name: &str| name.replace('-', "");
    for (index, name) in names.iter().enumerate() {
        let cluster = *name;
        let name = id(name);
        let vpc = json!({"Ref": format!("{name}Vpc")});
        let mut add = |id: &str, kind: &str, properties: Value| {
            resources.insert(
                format!("{name}{id}"),
                json!({"Type": format!("AWS::{kind}"), "Properties": properties}),
            );
        };
        add("Vpc", "EC2::VPC", json!({"CidrBlock": format!("10.{index}.0.0/16")}));
        for (id, zone) in [("A", "a"), ("B", "b")] {
            let block = format!("10.{index}.{}.0/24", usize::from(id == "B"));
            let zone = format!("{REGION}{zone}");
            let subnet = json!({"VpcId": vpc, "CidrBlock": block, "AvailabilityZone": zone});
            add(&format!("Subnet{id}"), "EC2::Subnet", subnet);
        }
        add("Cluster", "ECS::Cluster", json!({"ClusterName": cluster}));
        for id in ["Vpc", "SubnetA", "SubnetB"] {
            outputs.insert(format!("{name}{id}"), json!({"Value": {"Ref": format!("{name}{id}")}}));
        }
    }
    let template = aws.directory.join("networks.json");
    let text = json!({"Resources": resources, "Outputs": outputs}).to_string();
    tokio::fs::write(&template, text).await?;
    let mut command = aws.command(&tool("aws"));
    command.args(["cloudformation", "deploy", "--stack-name", "Networks", "--template-file"]);
    aws.run("networks", command.arg(&template)).await?;

    let answer =
        aws.cli(&["cloudformation", "describe-stacks", "--stack-name", "Networks"]).await?;
    let output = |key: String| -> Result<String> {
        let outputs = answer["Stacks"][0]["Outputs"].as_array().into_iter().flatten();
        let found = outputs.filter(|output| output["OutputKey"] == key.as_str());
        let value = found.filter_map(|output| output["OutputValue"].as_str()).next();
        Ok(value.with_context(|| format!("the stack Networks has no output {key}"))?.to_owned())
    };
    let network = |name: &&str| -> Result<(String, Network)> {
        let network = Network {
            vpc: output(format!("{}Vpc", id(name)))?,
            subnets: vec![
                output(format!("{}SubnetA", id(name)))?,
                output(format!("{}SubnetB", id(name)))?,
            ],
            cluster: (*name).to_owned(),
        };
        Ok(((*name).to_owned(), network))
    };
    names.iter().map(network).collect()
}

/// Runs `cdk bootstrap` for the account, and creates its trail.
pub async fn bootstrap(aws: &LocalAws) -> Result<()> {
    let target = format!("aws://{ACCOUNT}/{REGION}");
    aws.run("cdk-bootstrap", cdk(aws).args(["bootstrap", &target])).await?;
    let bucket = format!("cdk-hnb659fds-assets-{ACCOUNT}-{REGION}");
    let trail = json!({"Name": "audit", "S3BucketName": bucket});
    aws.api.call(JsonService::CloudTrail, "CreateTrail", &trail).await?;
    let started = json!({"Name": "audit"});
    aws.api.call(JsonService::CloudTrail, "StartLogging", &started).await?;
    Ok(())
}

/// The options of an environment on the local AWS. `more` adds options or replaces them.
///
/// The trail is an existing one, because MiniStack cannot create trails with CloudFormation.
pub fn environment(network: &Network, zone_name: &str, more: &Value) -> Value {
    let mut data = json!({
        "account": ACCOUNT,
        "region": REGION,
        "trail": "existing",
        "vpcs": [{"vpcId": network.vpc, "zoneName": zone_name}],
        "clusters": [network.cluster],
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" },
        "removalPolicy": "destroy",
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        data[key] = value.clone();
    }
    data
}

/// Only one command line of the CDK at a time can write to the cloud assembly.
static TURNS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Runs `cdk deploy` for the environments in `data`, a map of names to options.
pub async fn discovery(aws: &LocalAws, data: &Value) -> Result<BTreeMap<String, Discovery>> {
    discovery_without(aws, data, &[]).await
}

/// Runs `cdk deploy`, and denies what the statements with these ids allow. Needs enforced permissions.
pub async fn discovery_without(
    aws: &LocalAws,
    data: &Value,
    denied: &[&str],
) -> Result<BTreeMap<String, Discovery>> {
    let _turn = TURNS.lock().await;
    let outputs = aws.directory.join("outputs.json");
    let names: Vec<&String> = data.as_object().into_iter().flat_map(Map::keys).collect();
    let stacks: Vec<String> = names.iter().map(|name| format!("EcsDiscovery-{name}")).collect();
    let context = format!("environments={data}");
    let mut command = cdk(aws);
    if aws.permissions == Permissions::Enforced {
        let mut synth = cdk(aws);
        aws.run("cdk-synth", synth.args(["synth", "--quiet", "--context", &context])).await?;
        let assembly = aws.directory.join("cdk.out");
        for stack in &stacks {
            let template = assembly.join(format!("{stack}.template.json"));
            let text = tokio::fs::read_to_string(&template).await?;
            let mut content: Value = serde_json::from_str(&text)?;
            translate(&mut content);
            deny(&mut content, denied);
            tokio::fs::write(&template, content.to_string()).await?;
        }
        command.arg("--app").arg(assembly);
    } else {
        command.args(["--context", &context]);
    }
    command
        .arg("deploy")
        .args(stacks)
        .args(["--require-approval", "never", "--progress", "events", "--concurrency", "4"])
        .arg("--outputs-file")
        .arg(&outputs);
    aws.run("cdk-deploy", &mut command).await?;

    let outputs: Value = serde_json::from_str(&tokio::fs::read_to_string(outputs).await?)?;
    let deployed = |name: &&String| -> Result<(String, Discovery)> {
        let stack = &outputs[format!("EcsDiscovery-{name}")];
        let output = |starts: &str| -> Result<String> {
            let mut all = stack.as_object().into_iter().flatten();
            let found = all.find(|(key, _)| key.starts_with(starts));
            let value = found.and_then(|(_, value)| value.as_str());
            Ok(value
                .with_context(|| format!("the stack EcsDiscovery-{name} has no output {starts}"))?
                .to_owned())
        };
        let discovery = Discovery {
            function: output("FunctionName")?,
            log_group: output("LogGroupName")?,
            zone: output("Zone")?,
            zones: stack
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(key, _)| key.starts_with("Zone"))
                .filter_map(|(_, value)| value.as_str().map(str::to_owned))
                .collect(),
            event_queue: output("EventQueueArn")?,
            dead_letter_queue: output("DeadLetterQueueArn")?,
        };
        Ok(((*name).clone(), discovery))
    };
    names.iter().map(deployed).collect()
}

/// Runs `cdk destroy` for the environments in `data`, a map of names to options.
pub async fn destroy(aws: &LocalAws, data: &Value) -> Result<()> {
    let _turn = TURNS.lock().await;
    let names = data.as_object().into_iter().flat_map(Map::keys);
    let mut command = cdk(aws);
    command
        .args(["destroy", "--force", "--context", &format!("environments={data}")])
        .args(names.map(|name| format!("EcsDiscovery-{name}")));
    aws.run("cdk-destroy", &mut command).await
}

/// Changes four of the handler's permissions into the form that MiniStack evaluates. Turns the
/// statements that deny requests without TLS around, since MiniStack has no TLS.
///
/// For the calls of ECS, MiniStack compares the resource with the ARN of the cluster. AWS has no resource for
/// ListServices, but the condition key `ecs:cluster`, and for DescribeServices the ARNs of the services.
///
/// MiniStack does not know the condition keys of Route 53, so it would deny every change of records that has to have
/// them.
fn translate(template: &mut Value) {
    match template {
        Value::Object(fields) => {
            let sid = fields.get("Sid").and_then(Value::as_str).unwrap_or_default().to_owned();
            if sid == "ListServices"
                && let Some(condition) = fields.remove("Condition")
            {
                fields.insert("Resource".into(), condition["ArnLike"]["ecs:cluster"].clone());
            } else if fields.get("Action").is_some_and(|action| action == "ecs:DescribeServices")
                && let Some(resource) = fields.get_mut("Resource")
            {
                let services = resource.to_string();
                let clusters = services.replace(":service/", ":cluster/").replace("/*\"", "\"");
                *resource = serde_json::from_str(&clusters).unwrap_or_default();
            }
            if matches!(sid.as_str(), "ChangeRecords" | "ChangeSoa")
                && let Some(Value::Object(condition)) = fields.get_mut("Condition")
            {
                condition.remove("Null");
            }
            if let Some(denied) = fields.get_mut("aws:SecureTransport") {
                *denied = "true".into();
            }
            fields.values_mut().for_each(translate);
        }
        Value::Array(values) => values.iter_mut().for_each(translate),
        _ => {}
    }
}

fn deny(template: &mut Value, statements: &[&str]) {
    let is_denied = template["Sid"].as_str().is_some_and(|sid| statements.contains(&sid));
    if is_denied {
        template["Effect"] = "Deny".into();
    }
    match template {
        Value::Object(fields) => fields.values_mut().for_each(|one| deny(one, statements)),
        Value::Array(values) => values.iter_mut().for_each(|one| deny(one, statements)),
        _ => {}
    }
}

/// The CDK's CLI, with a cloud assembly in the folder of the run.
fn cdk(aws: &LocalAws) -> Command {
    let command_line: PathBuf = root().join("node_modules/aws-cdk/bin/cdk");
    let mut command = aws.command("node");
    command.arg(command_line).env("CDK_DISABLE_CLI_TELEMETRY", "true");
    command.arg("--no-notices").arg("--output").arg(aws.directory.join("cdk.out"));
    if let Some(handler) = &aws.handler {
        command.arg("--context").arg(format!("handlerCode={}", handler.display()));
    }
    command
}

//! Puts networks and the project's own stacks on the local AWS, with the real tools.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tokio::process::Command;

use crate::local_aws::{ACCOUNT, LocalAws, REGION, root, tool};

/// What one environment has of its own before service discovery comes: a VPC and a cluster.
#[derive(Clone, Debug)]
pub struct Network {
    pub vpc: String,
    pub subnets: Vec<String>,
    /// The cluster's name, which is the environment's.
    pub cluster: String,
}

/// What a deployment of service discovery made.
#[derive(Clone, Debug)]
pub struct Discovery {
    pub function: String,
    pub log_group: String,
    pub zone: String,
}

/// Makes a VPC with two subnets and an ECS cluster for each name.
///
/// # Errors
/// If the deployment fails.
pub async fn networks(aws: &LocalAws, names: &[&str]) -> Result<BTreeMap<String, Network>> {
    let mut resources = Map::new();
    let mut outputs = Map::new();
    for (index, name) in names.iter().enumerate() {
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
        add("Cluster", "ECS::Cluster", json!({"ClusterName": name}));
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

    let mut command = aws.command(&tool("aws"));
    command.args(["cloudformation", "describe-stacks", "--stack-name", "Networks"]);
    let output = command.output().await.context("the AWS CLI did not start")?;
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let output = |key: String| -> Result<String> {
        let outputs = answer["Stacks"][0]["Outputs"].as_array().into_iter().flatten();
        let found = outputs.filter(|output| output["OutputKey"] == key.as_str());
        let value = found.filter_map(|output| output["OutputValue"].as_str()).next();
        Ok(value.with_context(|| format!("the stack Networks has no output {key}"))?.to_owned())
    };
    let network = |name: &&str| -> Result<(String, Network)> {
        let network = Network {
            vpc: output(format!("{name}Vpc"))?,
            subnets: vec![output(format!("{name}SubnetA"))?, output(format!("{name}SubnetB"))?],
            cluster: (*name).to_owned(),
        };
        Ok(((*name).to_owned(), network))
    };
    names.iter().map(network).collect()
}

/// `cdk bootstrap`, once for the account.
///
/// # Errors
/// If the command fails.
pub async fn bootstrap(aws: &LocalAws) -> Result<()> {
    let target = format!("aws://{ACCOUNT}/{REGION}");
    aws.run("cdk-bootstrap", cdk(aws).args(["bootstrap", &target])).await
}

/// The data of an environment on the local AWS; `more` adds options or replaces them.
///
/// MiniStack has no trails as CloudFormation resources, so the one that exists is used.
#[must_use]
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

/// `cdk deploy` of all environments in `data`, by name.
///
/// # Errors
/// If the command fails.
pub async fn discovery(aws: &LocalAws, data: &Value) -> Result<BTreeMap<String, Discovery>> {
    let outputs = aws.directory.join("outputs.json");
    let names: Vec<&String> = data.as_object().into_iter().flat_map(Map::keys).collect();
    let mut command = cdk(aws);
    command
        .arg("deploy")
        .args(names.iter().map(|name| format!("EcsDiscovery-{name}")))
        .args(["--require-approval", "never", "--progress", "events", "--concurrency", "4"])
        .arg("--context")
        .arg(format!("environments={data}"))
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
            Ok(value.with_context(|| format!("EcsDiscovery-{name} has no {starts}"))?.to_owned())
        };
        let discovery = Discovery {
            function: output("FunctionName")?,
            log_group: output("LogGroupName")?,
            zone: output("Zone")?,
        };
        Ok(((*name).clone(), discovery))
    };
    names.iter().map(deployed).collect()
}

/// The CDK's own command line, with an assembly for this run only.
fn cdk(aws: &LocalAws) -> Command {
    let command_line: PathBuf = root().join("node_modules/aws-cdk/bin/cdk");
    let mut command = aws.command("node");
    command.arg(command_line).env("CDK_DISABLE_CLI_TELEMETRY", "true");
    command.arg("--no-notices").arg("--output").arg(aws.directory.join("cdk.out"));
    command
}

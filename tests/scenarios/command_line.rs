//! The command line tool on the deployed stacks.

use anyhow::{Context, Result, ensure};
use local_aws::api::queue_url;
use local_aws::fixtures::LocalEnvironment;
use local_aws::resolver::DnsAnswer::NoSuchName;
use local_aws::system::System;
use serde_json::Value;
use tokio::process::Command;

use super::operation::updated;
use super::{balancer, cname};

/// What the tool printed, and its exit status.
#[derive(Debug)]
struct Printed {
    status: Option<i32>,
    output: String,
    error: String,
}

async fn tool(system: &System, arguments: &[&str]) -> Result<Printed> {
    run(system.aws.command("node"), arguments).await
}

async fn run(mut command: Command, arguments: &[&str]) -> Result<Printed> {
    command.arg("cdk/bin/ecs-discovery.mjs").args(arguments);
    // A pipe gets no colours in CI either.
    command.env("CI", "true").env_remove("FORCE_COLOR");
    let ran = command.output().await.context("the tool did not start")?;
    Ok(Printed {
        status: ran.status.code(),
        output: String::from_utf8(ran.stdout)?,
        error: String::from_utf8(ran.stderr)?,
    })
}

/// No other scenario uses the environment, so the lists are exact.
pub(crate) async fn the_command_line_tool_waits_plans_applies_and_shows(
    system: &System,
) -> Result<()> {
    let operator = system.environment("operator");
    let orders = balancer(system, operator, "cli-orders").await?;
    let basket = balancer(system, operator, "cli-basket").await?;

    // It waits for a service that does not exist yet.
    let resolver = operator.resolver.address.to_string();
    let wait = ["wait", "operator/orders", "operator", "--timeout", "120", "--dns", &resolver];
    let groups = [orders.target_group.as_str()];
    let create = system.aws.create_service("operator", "orders", &groups);
    let (waited, created) = tokio::join!(tool(system, &wait), create);
    created?;
    let waited = waited?;
    ensure!(waited.status == Some(0), "{waited:?}");
    ensure!(waited.output.starts_with("orders.internal leads to"), "{waited:?}");
    operator.resolves("orders.internal", &cname(&orders)).await?;

    let in_sync = tool(system, &["plan", "operator"]).await?;
    ensure!(in_sync.status == Some(0), "{in_sync:?}");
    ensure!(in_sync.output == "operator: a full pass would change nothing\n", "{in_sync:?}");

    // It shows what lost events would have done, does it, and shows the result.
    system.relay.lose("operator", "basket");
    system.aws.create_service("operator", "basket", &[&basket.target_group]).await?;
    let pending = tool(system, &["plan", "operator"]).await?;
    ensure!(pending.status == Some(2), "{pending:?}");
    ensure!(
        pending.output
            == "operator: a full pass would change 1 name: 1 registered\n\n  \
                + basket.internal → cli-basket  (operator/basket)\n\nTo make the changes:\n  \
                npx ecs-discovery apply operator\n",
        "{pending:?}"
    );
    ensure!(operator.resolver.query("basket.internal").await? == NoSuchName);
    let late = ["wait", "basket.internal", "operator", "--timeout", "1"];
    let late = tool(system, &late).await?;
    ensure!(
        late.status == Some(1) && late.error.contains("The handler has not made the"),
        "{late:?}"
    );
    let applied = tool(system, &["apply", "operator"]).await?;
    ensure!(applied.status == Some(0), "{applied:?}");
    operator.resolves("basket.internal", &cname(&basket)).await?;
    let shown = tool(system, &["status", "operator"]).await?;
    ensure!(
        shown.output
            == "operator: 2 services registered\n\nRegistered\n  \
                NAME             SERVICE          LOAD BALANCER\n  \
                basket.internal  operator/basket  cli-basket\n  \
                orders.internal  operator/orders  cli-orders\n",
        "{shown:?}"
    );
    let json = tool(system, &["status", "operator", "--json"]).await?;
    let json: Value = serde_json::from_str(&json.output)?;
    ensure!(json["services"][1]["target"] == orders.dns_name.to_lowercase().as_str(), "{json}");

    let explained = tool(system, &["explain", "orders.internal", "operator"]).await?;
    ensure!(explained.status == Some(0), "{explained:?}");
    for text in [
        "orders.internal\n  registered, and in sync.",
        "Load balancer  cli-orders: application, internal, ",
        &format!("CNAME {}", orders.dns_name),
        "environment operator, service operator/orders",
    ] {
        ensure!(explained.output.contains(text), "no {text:?} in {explained:?}");
    }

    check_history(system).await?;
    check_report(system).await?;
    check_redrive(system, operator).await?;
    check_doctor(system).await?;

    // It explains what waiting cannot repair.
    let balancer = &orders.target_group;
    system.aws.create_service("operator", "odd_", &[balancer]).await?;
    let invalid = tool(system, &["wait", "operator/odd_", "operator"]).await?;
    ensure!(invalid.status == Some(1), "{invalid:?}");
    ensure!(invalid.error.starts_with("operator/odd_ has the status invalid: "), "{invalid:?}");
    let shown = tool(system, &["status", "operator"]).await?;
    ensure!(shown.status == Some(1), "{shown:?}");
    ensure!(shown.output.contains("Needs attention\n  invalid  operator/odd_"), "{shown:?}");

    let missing = tool(system, &["status", "nowhere"]).await?;
    ensure!(missing.status == Some(1), "{missing:?}");
    ensure!(
        missing.error.starts_with("The stack EcsDiscovery-nowhere does not exist"),
        "{missing:?}"
    );
    Ok(())
}

/// The names that the environment got, and the holder of one of them.
async fn check_history(system: &System) -> Result<()> {
    let changes = tool(system, &["history", "operator", "--json"]).await?;
    ensure!(changes.status == Some(0), "{changes:?}");
    let changes: Value = serde_json::from_str(&changes.output)?;
    let changes: Vec<_> = changes.as_array().into_iter().flatten().collect();
    let names: Vec<_> = changes.iter().filter_map(|change| change["name"].as_str()).collect();
    ensure!(names == ["orders.internal", "basket.internal"], "{changes:?}");
    for change in changes {
        ensure!(change["change"] == "registered", "{change}");
        ensure!(change["requestId"].as_str().is_some_and(|id| id.len() == 36), "{change}");
    }
    let holder = tool(system, &["history", "basket.internal", "operator"]).await?;
    ensure!(holder.status == Some(0), "{holder:?}");
    ensure!(holder.output.starts_with("basket.internal leads to"), "{holder:?}");
    ensure!(holder.output.contains("operator/basket got basket.internal"), "{holder:?}");
    Ok(())
}

/// A page with the names, and with the time since when each service has its name.
async fn check_report(system: &System) -> Result<()> {
    let file = system.aws.directory.join("report.html");
    let file = file.to_str().context("a path in UTF-8")?;
    let written = tool(system, &["report", "operator", "--html", file]).await?;
    ensure!(written.status == Some(0), "{written:?}");
    // Lines may break after the dots of a name.
    let page = tokio::fs::read_to_string(file).await?.replace("<wbr />", "");
    for text in ["2 services registered", "orders.internal", "operator/basket", "since <time"] {
        ensure!(page.contains(text), "no {text:?} in the page of {written:?}: {page}");
    }
    Ok(())
}

/// An event that failed, in words, and its second attempt.
async fn check_redrive(system: &System, operator: &LocalEnvironment) -> Result<()> {
    let empty = tool(system, &["redrive", "operator"]).await?;
    ensure!(empty.status == Some(0), "{empty:?}");
    ensure!(empty.output == "operator: the dead-letter queue is empty\n", "{empty:?}");
    let queue = queue_url(&system.aws.endpoint, &operator.discovery.dead_letter_queue);
    let event = updated("operator", "basket").to_string();
    system.aws.api.send_message(&queue, &event).await?;
    let listed = tool(system, &["redrive", "operator", "--list"]).await?;
    ensure!(listed.status == Some(1), "{listed:?}");
    ensure!(listed.output.contains("UpdateService of operator/basket"), "{listed:?}");
    let moved = tool(system, &["redrive", "operator", "--yes"]).await?;
    ensure!(moved.status == Some(0), "{moved:?}");
    ensure!(moved.output.contains("1 message was moved to the event queue"), "{moved:?}");
    let empty = tool(system, &["redrive", "operator", "--list"]).await?;
    ensure!(empty.status == Some(0), "{empty:?}");
    Ok(())
}

/// The checks of an environment that has a problem.
pub(crate) async fn doctor(system: &System, environment: &str) -> Result<Value> {
    let checked = tool(system, &["doctor", environment, "--json"]).await?;
    ensure!(checked.status == Some(1), "{checked:?}");
    Ok(serde_json::from_str(&checked.output)?)
}

/// Everything is well, apart from the schedule, which the scenarios replace.
async fn check_doctor(system: &System) -> Result<()> {
    let checked = doctor(system, "operator").await?;
    for check in checked["checks"].as_array().into_iter().flatten() {
        let expected = if check["id"] == "rules" { "failed" } else { "ok" };
        ensure!(check["result"] == expected, "{check}");
    }
    Ok(())
}

/// The stack's policies suffice for their commands, and the one to read for no others.
pub(crate) async fn the_policies_for_operators_allow_their_commands_and_no_others(
    system: &System,
) -> Result<()> {
    let stack = ["cloudformation", "describe-stacks", "--stack-name", "EcsDiscovery-passes"];
    let stack = system.aws.cli(&stack).await?;
    let output = |key: &str| {
        let mut outputs = stack["Stacks"][0]["Outputs"].as_array().into_iter().flatten();
        let output = outputs.find(|output| output["OutputKey"] == key);
        output.and_then(|output| output["OutputValue"].as_str()).context("an output is missing")
    };
    let reader = user(system, "reader", output("ReadPolicyArn")?).await?;
    let operator = user(system, "operator", output("OperatePolicyArn")?).await?;
    for arguments in [
        &["status", "passes", "--json"][..],
        &["plan", "passes", "--json"],
        &["history", "passes", "--json"],
        &["report", "passes", "--html"],
        &["doctor", "passes", "--json"],
        &["explain", "passes/nobody", "passes"],
    ] {
        for user in [&reader, &operator] {
            let ran = run(user.command(system), arguments).await?;
            let text = format!("{}{}", ran.output, ran.error);
            ensure!(!text.contains("not authorized") && !text.contains("AccessDenied"), "{ran:?}");
            let is_json = serde_json::from_str::<Value>(&ran.output).is_ok();
            ensure!(is_json || !arguments.contains(&"--json"), "{ran:?}");
            // Each part of `doctor` was read.
            ensure!(!text.contains("\"unknown\""), "{ran:?}");
        }
    }
    for arguments in [&["apply", "passes"][..], &["redrive", "passes", "--list"]] {
        let refused = run(reader.command(system), arguments).await?;
        ensure!(refused.status == Some(1), "{refused:?}");
        ensure!(refused.error.starts_with("A permission is missing: "), "{refused:?}");
        let allowed = run(operator.command(system), arguments).await?;
        ensure!(!allowed.error.contains("permission"), "{allowed:?}");
    }
    Ok(())
}

/// Credentials of a user with one policy.
struct User {
    id: String,
    secret: String,
}

impl User {
    fn command(&self, system: &System) -> Command {
        let mut command = system.aws.command("node");
        command.env("AWS_ACCESS_KEY_ID", &self.id).env("AWS_SECRET_ACCESS_KEY", &self.secret);
        command
    }
}

async fn user(system: &System, name: &str, policy: &str) -> Result<User> {
    system.aws.cli(&["iam", "create-user", "--user-name", name]).await?;
    let attach = ["iam", "attach-user-policy", "--user-name", name, "--policy-arn", policy];
    system.aws.cli(&attach).await?;
    let key = system.aws.cli(&["iam", "create-access-key", "--user-name", name]).await?;
    let text = |field: &str| key["AccessKey"][field].as_str().unwrap_or_default().to_owned();
    Ok(User { id: text("AccessKeyId"), secret: text("SecretAccessKey") })
}

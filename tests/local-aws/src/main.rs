//! `npm start`: the whole system on one machine, a story that shows it, and time to try it.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use local_aws::demo::{outcome_line, tell};
use local_aws::ministack::{LocalAws, Permissions, interrupted, root};
use local_aws::system::Stage;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader, SeekFrom};
use tokio::time::{Instant, sleep};

#[tokio::main]
async fn main() -> ExitCode {
    let once = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--once" => true,
        other => {
            eprintln!("npm start takes --once or nothing; found {}", other.join(" "));
            return ExitCode::FAILURE;
        }
    };
    match run(once).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n✗ {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(once: bool) -> Result<()> {
    let begun = Instant::now();
    let aws = tokio::select! {
        aws = LocalAws::start(Permissions::Open) => Arc::new(aws?),
        () = interrupted() => bail!("interrupted"),
    };
    done(&format!("MiniStack answers at {}", aws.endpoint), begun.elapsed());
    let result = tokio::select! {
        result = on_stage(&aws, once) => result,
        () = interrupted() => if once { Err(anyhow!("interrupted")) } else { Ok(()) },
    };
    let logs = aws.directory.clone();
    aws.stop().await;
    let logs = logs.strip_prefix(root()).map(Path::to_path_buf).unwrap_or(logs);
    println!("\n✓ everything is stopped; the logs are in {}", logs.display());
    result
}

async fn on_stage(aws: &Arc<LocalAws>, once: bool) -> Result<()> {
    println!("▸ deploying service discovery for dev and prod, both with the zone internal …");
    let stage =
        Stage::set(Arc::clone(aws), &[("dev", json!({})), ("prod", json!({}))], &[], done).await?;
    let story = tell(&stage).await;
    if let Err(error) = story {
        let log = aws.directory.join("ministack.log");
        bail!("the story broke off: {error:#}\n  The handler's log: {}", log.display());
    }
    println!("\n✓ every step held");
    if once {
        return Ok(());
    }
    invite(&stage).await?;
    follow(&aws.directory.join("ministack.log")).await
}

fn done(what: &str, took: Duration) {
    println!("✓ {what}, {:.1} s", took.as_secs_f32());
}

/// Says what can be tried now.
async fn invite(stage: &Stage) -> Result<()> {
    let aws = &stage.aws;
    let variables = aws.directory.join("aws.env");
    let mut lines: Vec<String> = aws
        .variables()
        .into_iter()
        .map(|(name, value)| format!("export {name}={value}\n"))
        .collect();
    lines.push(format!("export PATH={}:\"$PATH\"\n", root().join(".venv/bin").display()));
    let groups = aws.elb.describe_target_groups().names("orders-dev").send().await?;
    let group = groups.target_groups().first().and_then(|group| group.target_group_arn());
    lines.push(format!("export TARGET_GROUP={}\n", group.context("no target group orders-dev")?));
    for environment in stage.environments.values() {
        let name = environment.name.to_uppercase();
        lines.push(format!("export {name}_FUNCTION={}\n", environment.discovery.function));
        lines.push(format!("export {name}_LOGS={}\n", environment.discovery.log_group));
        lines.push(format!("export {name}_ZONE={}\n", environment.discovery.zone));
    }
    tokio::fs::write(&variables, lines.concat()).await?;

    let dev = stage.environment("dev").resolver.address;
    let prod = stage.environment("prod").resolver.address;
    println!(
        r#"
It stays up until Ctrl-C. In another terminal:

  . {variables}      # the AWS CLI, pointed at this local AWS

  aws ecs create-service --cluster dev --service-name shop --task-definition web \
      --desired-count 0 --load-balancers targetGroupArn=$TARGET_GROUP,containerName=web,containerPort=80
  dig @{dev_ip} -p {dev_port} shop.internal       # what an application in dev's VPC sees
  dig @{prod_ip} -p {prod_port} orders.internal     # and in prod's
  aws ecs delete-service --cluster dev --service shop --force

  aws lambda invoke --function-name $DEV_FUNCTION --payload '{{"reconcile":"all","dryRun":true}}' /tmp/answer.json
  aws route53 list-resource-record-sets --hosted-zone-id $DEV_ZONE
  aws logs filter-log-events --log-group-name $DEV_LOGS --query 'events[].message' --output text

The handler's log as it is written: {log}

Outcomes, as they happen:"#,
        variables = variables.display(),
        dev_ip = dev.ip(),
        dev_port = dev.port(),
        prod_ip = prod.ip(),
        prod_port = prod.port(),
        log = aws.directory.join("ministack.log").display(),
    );
    Ok(())
}

/// Shows each outcome that a handler logs from now on, whatever made it run.
async fn follow(log: &Path) -> Result<()> {
    let mut file = tokio::fs::File::open(log).await?;
    file.seek(SeekFrom::End(0)).await?;
    let mut lines = BufReader::new(file);
    let mut line = String::new();
    loop {
        if lines.read_line(&mut line).await? == 0 || !line.ends_with('\n') {
            // The end of what is written so far; a line may be there in part.
            sleep(Duration::from_millis(100)).await;
            continue;
        }
        if let Ok(entry) = serde_json::from_str::<Value>(&line)
            && entry["message"] == "outcome"
        {
            let environment = entry["environment"].as_str().unwrap_or("?");
            let time = entry["timestamp"].as_str().and_then(|time| time.get(11..19));
            println!("  {} {environment:<5} {}", time.unwrap_or(""), outcome_line(&entry));
        }
        line.clear();
    }
}

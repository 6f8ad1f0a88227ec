//! The time after the demo: hints for the terminal, and the outcomes as they happen.

use std::collections::{BTreeMap, HashSet};
use std::io::SeekFrom;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader};
use tokio::time::sleep;

use crate::ministack::{FOREIGN_VARIABLES, LocalAws, root};
use crate::outcomes::{OutcomeStream, start_failure, wrap};
use crate::system::{LogEvent, System};
use crate::terminal::print_line;

/// The rate of scheduled full passes in the playground, in minutes.
pub const FULL_PASS_MINUTES: u64 = 2;

/// How often the log groups are read.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

const TARGET_GROUP: &str = "orders-dev";

/// Prints the hints, resumes full passes, and prints outcomes until it is dropped.
pub async fn run(system: &System) -> Result<()> {
    let log = Log::at_end(&system.aws.log()).await?;
    let variables = system.aws.directory.join("aws.env");
    tokio::fs::write(&variables, shell_variables(system).await?).await?;
    let ports = ["dev", "prod"].map(|name| system.environment(name).resolver.address.port());
    print_line(hints(&variables, ports, &system.aws.log()));
    system.resume_full_passes().await?;
    follow(system, log).await
}

/// A shell script that makes the AWS CLI and the command line tool use this AWS.
async fn shell_variables(system: &System) -> Result<String> {
    let aws = &system.aws;
    let groups = aws.elb.describe_target_groups().names(TARGET_GROUP).send().await?;
    let group = groups.target_groups().first().and_then(|group| group.target_group_arn());
    let group = group.with_context(|| format!("there is no target group {TARGET_GROUP}"))?;
    let mut script = format!("unset {}\n", FOREIGN_VARIABLES.join(" "));
    let mut export = |name: &str, value: &str| {
        let quoted = value.replace('\'', r"'\''");
        script.push_str(&format!("export {name}='{quoted}'\n"));
    };
    for (name, value) in aws.variables() {
        export(name, &value);
    }
    // Version 2 of the AWS CLI opens a pager by default.
    export("AWS_PAGER", "");
    export("TARGET_GROUP", group);
    let tools = root().join(".venv/bin").display().to_string().replace('\'', r"'\''");
    script.push_str(&format!("export PATH='{tools}':\"$PATH\"\n"));
    Ok(script)
}

/// The commands work with both versions of the AWS CLI.
fn hints(variables: &Path, [dev, prod]: [u16; 2], log: &Path) -> String {
    format!(
        r#"
It runs until Ctrl-C. Try it in another terminal:

  . {variables}

  aws ecs create-service --cluster dev --service-name shop \
      --task-definition web --desired-count 0 --load-balancers \
      targetGroupArn=$TARGET_GROUP,containerName=web,containerPort=80
  dig @127.0.0.1 -p {dev} shop.internal      # in the VPC of dev
  dig @127.0.0.1 -p {prod} orders.internal    # in the VPC of prod
  aws ecs delete-service --cluster dev --service shop --force

  npx ecs-discovery status --stack EcsDiscovery-dev
  npx ecs-discovery explain billing.internal --stack EcsDiscovery-dev
  npx ecs-discovery history orders.internal --stack EcsDiscovery-dev
  npx ecs-discovery doctor --stack EcsDiscovery-dev
  npx ecs-discovery --help                   # all commands

Differences from AWS:

  - Services run no tasks, and ECS sends no deployment events.
  - Load balancers have no addresses. DNS answers a CNAME with its target only,
    and an ALIAS record with a made-up address in 198.18.0.0/15.
  - A load balancer that you create is in no VPC of dev or prod, so its services
    are ignored. Use $TARGET_GROUP.
  - DNS answers names in the zones of dev and prod only. Other environments that
    you deploy get events, but no DNS server and no lines below.
  - Permissions are not enforced. There are no metrics, so no alarm fires.
  - EventBridge does not retry a delivery that failed.

The log of all functions: {log}

A full pass runs every {FULL_PASS_MINUTES} minutes, and after each change of a load balancer.
Outcomes in dev and prod, as they happen:"#,
        variables = variables.display(),
        log = log.display(),
    )
}

/// Prints the outcomes of all runs from now on, and the errors of functions that cannot start.
async fn follow(system: &System, log: Log) -> Result<()> {
    let outcomes = follow_outcomes(system);
    let failures = follow_failures(log);
    tokio::try_join!(outcomes, failures).map(|((), ())| ())
}

/// Reads the handlers' log groups. The log of MiniStack lacks the runs that EventBridge starts.
async fn follow_outcomes(system: &System) -> Result<()> {
    let environments = system.environments.values();
    let clusters: BTreeMap<String, String> = environments
        .clone()
        .map(|environment| (environment.name.clone(), environment.network.cluster.clone()))
        .collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let now = i64::try_from(now)?;
    let mut readers: Vec<LogGroupReader> = environments
        .map(|environment| LogGroupReader::new(&environment.discovery.log_group, now))
        .collect();
    let mut outcomes = OutcomeStream::new(clusters);
    loop {
        for reader in &mut readers {
            let events = system.aws.log_events(&reader.log_group, reader.since_ms).await?;
            for message in reader.new_messages(events) {
                for line in message.lines() {
                    let entry = serde_json::from_str(line).unwrap_or_default();
                    if let Some(text) = outcomes.read(&entry) {
                        print_line(text);
                    }
                }
            }
        }
        sleep(POLL_INTERVAL).await;
    }
}

async fn follow_failures(mut log: Log) -> Result<()> {
    loop {
        if let Some(failure) = start_failure(&log.next_line().await?) {
            print_line(wrap("  ", &failure));
        }
    }
}

/// Recognizes the new messages among those that a log group returns.
struct LogGroupReader {
    log_group: String,
    since_ms: i64,
    seen: HashSet<LogEvent>,
}

impl LogGroupReader {
    /// Messages may arrive in another order than their timestamps.
    const OVERLAP_MS: i64 = 5_000;

    fn new(log_group: &str, since_ms: i64) -> LogGroupReader {
        LogGroupReader { log_group: log_group.to_owned(), since_ms, seen: HashSet::new() }
    }

    fn new_messages(&mut self, events: Vec<LogEvent>) -> Vec<String> {
        let newest = events.iter().map(|event| event.timestamp).max();
        let new: Vec<LogEvent> =
            events.into_iter().filter(|event| !self.seen.contains(event)).collect();
        self.seen.extend(new.iter().cloned());
        if let Some(newest) = newest {
            let since_ms = self.since_ms.max(newest - Self::OVERLAP_MS);
            self.seen.retain(|event| event.timestamp >= since_ms);
            self.since_ms = since_ms;
        }
        new.into_iter().map(|event| event.message).collect()
    }
}

/// Waits until a function cannot start, and returns its error.
pub async fn function_failure(aws: &LocalAws) -> Result<String> {
    let mut log = Log::open(&aws.log()).await?;
    loop {
        if let Some(failure) = start_failure(&log.next_line().await?) {
            return Ok(failure);
        }
    }
}

/// A log file that is being written.
struct Log(BufReader<tokio::fs::File>);

impl Log {
    async fn open(path: &Path) -> Result<Log> {
        Ok(Log(BufReader::new(tokio::fs::File::open(path).await?)))
    }

    async fn at_end(path: &Path) -> Result<Log> {
        let mut log = Log::open(path).await?;
        log.0.seek(SeekFrom::End(0)).await?;
        Ok(log)
    }

    /// Waits for the next complete line.
    async fn next_line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        loop {
            self.0.read_until(b'\n', &mut line).await?;
            if line.ends_with(b"\n") {
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hints_fit_the_terminal() {
        let text = hints(Path::new("/checkout/aws.env"), [65_535; 2], Path::new("/checkout/log"));
        let too_long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 80).collect();
        assert_eq!(too_long, Vec::<&str>::new());
    }

    #[test]
    fn each_message_of_a_log_group_is_read_once() {
        let event = |timestamp: i64, message: &str| LogEvent { timestamp, message: message.into() };
        let mut reader = LogGroupReader::new("group", 1_000);
        let first = [event(2_000, "a"), event(2_000, "b")];
        assert_eq!(reader.new_messages(first.to_vec()), ["a", "b"]);
        let late = event(1_900, "late");
        let second = [first.as_slice(), &[late, event(9_000, "a")]].concat();
        assert_eq!(reader.new_messages(second), ["late", "a"]);
        assert_eq!(reader.since_ms, 4_000);
        assert_eq!(reader.new_messages(vec![event(9_000, "a")]), Vec::<String>::new());
        assert_eq!(reader.seen.len(), 1, "old messages are forgotten");
    }

    #[tokio::test]
    async fn a_line_is_returned_when_it_is_complete() {
        let path = std::env::temp_dir().join(format!("local-aws-log-{}", std::process::id()));
        std::fs::write(&path, "before\nfir").expect("the file can be written");
        let mut log = Log::open(&path).await.expect("it exists");
        assert_eq!(log.next_line().await.expect("it is readable"), "before\n");
        let rest = async {
            sleep(Duration::from_millis(20)).await;
            std::fs::write(&path, "before\nfirst\nsecond\n").expect("the file can be written");
        };
        let (line, ()) = tokio::join!(log.next_line(), rest);
        assert_eq!(line.expect("it is readable"), "first\n");
        assert_eq!(log.next_line().await.expect("it is readable"), "second\n");
        std::fs::remove_file(path).expect("the file can be removed");
    }
}

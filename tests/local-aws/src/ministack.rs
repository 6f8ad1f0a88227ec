//! Starts and stops MiniStack, and hands out clients for it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// Where everything is deployed. MiniStack takes any; this one is not its default, so that what
/// would only work there is found.
pub const REGION: &str = "eu-west-1";

/// MiniStack's account.
pub const ACCOUNT: &str = "000000000000";

/// How many runs' logs are kept.
const KEPT_RUNS: usize = 5;

/// Whether the local AWS looks at permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// Everybody may do everything.
    Open,
    /// A function may do what its role says: actions and resources, and conditions as far as
    /// MiniStack knows their keys.
    Enforced,
}

/// A running local AWS. It has to be stopped.
#[derive(Debug)]
pub struct LocalAws {
    /// `http://127.0.0.1:<port>`.
    pub endpoint: String,
    pub permissions: Permissions,
    /// Where the logs of this run are.
    pub directory: PathBuf,
    pub cloudtrail: aws_sdk_cloudtrail::Client,
    pub ecs: aws_sdk_ecs::Client,
    pub elb: aws_sdk_elasticloadbalancingv2::Client,
    pub eventbridge: aws_sdk_eventbridge::Client,
    pub lambda: aws_sdk_lambda::Client,
    pub logs: aws_sdk_cloudwatchlogs::Client,
    pub route53: aws_sdk_route53::Client,
    pub sqs: aws_sdk_sqs::Client,
    ministack: Mutex<Child>,
}

impl LocalAws {
    /// Starts MiniStack on a free port of the loopback interface, and waits until it answers.
    ///
    /// # Errors
    /// If it does not start, with the end of its log.
    pub async fn start(permissions: Permissions) -> Result<LocalAws> {
        let directory = new_run_directory().await?;
        let (ministack, port) = start_ministack(&directory, permissions).await?;
        let endpoint = format!("http://127.0.0.1:{port}");
        let sdk = sdk_config(&endpoint).await;
        Ok(LocalAws {
            endpoint,
            permissions,
            directory,
            cloudtrail: aws_sdk_cloudtrail::Client::new(&sdk),
            ecs: aws_sdk_ecs::Client::new(&sdk),
            elb: aws_sdk_elasticloadbalancingv2::Client::new(&sdk),
            eventbridge: aws_sdk_eventbridge::Client::new(&sdk),
            lambda: aws_sdk_lambda::Client::new(&sdk),
            logs: aws_sdk_cloudwatchlogs::Client::new(&sdk),
            route53: aws_sdk_route53::Client::new(&sdk),
            sqs: aws_sdk_sqs::Client::new(&sdk),
            ministack: Mutex::new(ministack),
        })
    }

    /// Ends MiniStack and every handler that it runs. The logs stay.
    pub async fn stop(&self) {
        end(&mut *self.ministack.lock().await).await;
        // Only what can be made again: the handlers' code, the assembly.
        for scratch in ["tmp", "cdk.out"] {
            let _ = tokio::fs::remove_dir_all(self.directory.join(scratch)).await;
        }
    }

    /// A command that talks to this AWS, whatever the user's own configuration says.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(root()).kill_on_drop(true).envs(self.variables());
        for theirs in ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"] {
            command.env_remove(theirs);
        }
        // What `cargo test` sets would make the CDK's cargo build everything anew.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let of_cargo = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
            if of_cargo.iter().any(|prefix| name.starts_with(prefix))
                || ["CARGO", "LD_LIBRARY_PATH"].contains(&name.as_ref())
            {
                command.env_remove(name.as_ref());
            }
        }
        command
    }

    /// The environment variables that point an AWS tool here.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ENDPOINT_URL_S3", self.endpoint.clone()),
            ("AWS_REGION", REGION.into()),
            ("AWS_DEFAULT_REGION", REGION.into()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
            ("AWS_CONFIG_FILE", "/dev/null".into()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".into()),
            ("NO_PROXY", "127.0.0.1,localhost".into()),
        ]
    }

    /// What the AWS CLI answers to a command.
    ///
    /// # Errors
    /// If it fails, with what it says.
    pub async fn cli(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.command(&tool("aws"));
        command.args(arguments).args(["--output", "json"]).stdin(Stdio::null());
        let output = command.output().await.context("the AWS CLI did not start")?;
        if !output.status.success() {
            bail!("aws {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        match output.stdout.trim_ascii() {
            [] => Ok(Value::Null),
            json => Ok(serde_json::from_slice(json)?),
        }
    }

    /// Runs a command to its end, with its output in a log file of this run.
    ///
    /// # Errors
    /// If it fails, with the end of its output.
    pub async fn run(&self, name: &str, command: &mut Command) -> Result<()> {
        let log = self.directory.join(format!("{name}.log"));
        let file = std::fs::File::create(&log)?;
        let status = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .await
            .with_context(|| format!("{name} did not start"))?;
        if !status.success() {
            bail!("{name} failed ({status}). The end of {}:\n\n{}", log.display(), tail(&log));
        }
        Ok(())
    }
}

/// Waits for Ctrl-C, for the terminal's end, or for the end that another program asks for.
pub async fn interrupted() {
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hang_up)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hang_up.recv() => {}
    }
}

/// The project's checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// A tool of the virtual environment that the set-up made.
pub fn tool(name: &str) -> String {
    root().join(".venv/bin").join(name).display().to_string()
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// A directory for this run, and the oldest ones gone.
async fn new_run_directory() -> Result<PathBuf> {
    let runs = root().join(".local/runs");
    tokio::fs::create_dir_all(&runs).await?;
    let mut names: Vec<PathBuf> =
        std::fs::read_dir(&runs)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    names.sort();
    for old in names.iter().rev().skip(KEPT_RUNS - 1).filter(|old| !is_running(old)) {
        // Another run may be removing it too.
        let _ = tokio::fs::remove_dir_all(old).await;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    // By milliseconds: one process may run several.
    let directory = runs.join(format!("{}-{}", now.as_millis(), std::process::id()));
    tokio::fs::create_dir_all(directory.join("tmp")).await?;
    // MiniStack unpacks functions here. Those in Node.js are no modules, as the checkout is.
    tokio::fs::write(directory.join("tmp/package.json"), r#"{"type":"commonjs"}"#).await?;
    Ok(directory)
}

/// Whether the process whose run a directory is for still lives: `npm start` may stay up for days.
fn is_running(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let process = name.rsplit('-').next().and_then(|id| id.parse().ok()).map(Pid::from_raw);
    process.is_some_and(|process| kill(process, None).is_ok())
}

async fn start_ministack(directory: &Path, permissions: Permissions) -> Result<(Child, u16)> {
    const ATTEMPTS: usize = 5;
    let log = directory.join("ministack.log");
    for _ in 0..ATTEMPTS {
        // Another program may take the port before MiniStack does; then the next one is tried.
        let port = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
        let endpoint = format!("http://127.0.0.1:{port}");
        let file = std::fs::File::create(&log)?;
        let mut ministack = Command::new(tool("ministack"))
            .current_dir(directory)
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("MINISTACK_REGION", REGION)
            .env("MINISTACK_ACCOUNT_ID", ACCOUNT)
            .env("AUTH", (permissions == Permissions::Enforced).to_string())
            // What LookupEvents tells the relay.
            .env("CLOUDTRAIL_RECORDING", "1")
            // The functions inherit these, and find their AWS by them.
            .env("AWS_ENDPOINT_URL", &endpoint)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("TMPDIR", directory.join("tmp"))
            .env("NO_PROXY", "127.0.0.1,localhost")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // A group of its own: Ctrl-C is not meant for it, and all of it ends at once.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("MiniStack did not start; `npm run setup` installs it")?;
        if answers(&mut ministack, port).await {
            return Ok((ministack, port));
        }
        end(&mut ministack).await;
    }
    bail!("MiniStack did not start. The end of {}:\n\n{}", log.display(), tail(&log))
}

/// Waits until MiniStack answers, or has ended.
async fn answers(ministack: &mut Child, port: u16) -> bool {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let deadline = Instant::now() + Duration::from_secs(60);
    while Instant::now() < deadline {
        if matches!(ministack.try_wait(), Ok(Some(_)) | Err(_)) {
            return false;
        }
        if let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
            let request = "GET /_ministack/health HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n";
            let mut answer = String::new();
            if stream.write_all(request.as_bytes()).await.is_ok()
                && stream.read_to_string(&mut answer).await.is_ok()
                && answer.contains(" 200 ")
            {
                return true;
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    false
}

/// Ends a process and its whole group: MiniStack's handlers are its children.
async fn end(child: &mut Child) {
    let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw) else {
        return;
    };
    let _ = killpg(group, Signal::SIGTERM);
    let _ = timeout(Duration::from_secs(10), child.wait()).await;
    // Whoever did not listen, in the group or of it.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait().await;
}

async fn sdk_config(endpoint: &str) -> SdkConfig {
    let http_client = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(http_client)
        .endpoint_url(endpoint)
        .region(Region::from_static(REGION))
        .credentials_provider(Credentials::from_keys("test", "test", None))
        .load()
        .await
}

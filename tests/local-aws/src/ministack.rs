//! Starts and stops MiniStack, the emulator of AWS, and runs commands that use it.

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
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::api::Api;

/// The region of all deployments.
///
/// It is not MiniStack's default, which would hide mistakes. It is a young region, since version 1 of the AWS
/// CLI sends `aws sqs` in the older ones to a fixed address of AWS and ignores `AWS_ENDPOINT_URL`.
pub const REGION: &str = "eu-central-2";

/// MiniStack's account.
pub const ACCOUNT: &str = "000000000000";

/// The number of runs whose logs are kept.
const KEPT_RUNS: usize = 5;

/// Whether MiniStack checks permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permissions {
    /// Every request is allowed.
    Open,
    /// A function may only do what its role allows: actions, resources, and those conditions whose keys
    /// MiniStack supports.
    Enforced,
}

/// A running local AWS. [`LocalAws::stop`] ends it.
#[derive(Debug)]
pub struct LocalAws {
    /// `http://127.0.0.1:<port>`.
    pub endpoint: String,
    pub permissions: Permissions,
    /// The folder of the prebuilt handler, if the CDK does not build it.
    pub handler: Option<PathBuf>,
    /// The folder with the logs of this run.
    pub directory: PathBuf,
    pub api: Api,
    pub ecs: aws_sdk_ecs::Client,
    pub elb: aws_sdk_elasticloadbalancingv2::Client,
    pub route53: aws_sdk_route53::Client,
    processes: Mutex<Processes>,
}

impl LocalAws {
    /// Starts MiniStack on a free port of the loopback interface, and waits until it answers.
    pub async fn start(permissions: Permissions, handler: Option<PathBuf>) -> Result<LocalAws> {
        let directory = new_run_directory().await?;
        let (processes, api) = Processes::start(&directory, permissions).await?;
        let endpoint = format!("http://{}", api.address);
        let sdk = sdk_config(&endpoint).await;
        Ok(LocalAws {
            endpoint,
            permissions,
            handler,
            directory,
            api,
            ecs: aws_sdk_ecs::Client::new(&sdk),
            elb: aws_sdk_elasticloadbalancingv2::Client::new(&sdk),
            route53: aws_sdk_route53::Client::new(&sdk),
            processes: Mutex::new(processes),
        })
    }

    /// Ends MiniStack and the functions that it runs. The logs stay.
    pub async fn stop(&self) {
        self.processes.lock().await.end().await;
        // The functions' code and the cloud assembly are large, and each run creates them again.
        for scratch in ["tmp", "cdk.out"] {
            let _ = tokio::fs::remove_dir_all(self.directory.join(scratch)).await;
        }
    }

    /// The log of MiniStack, which contains the functions' output.
    pub fn log(&self) -> PathBuf {
        self.directory.join("ministack.log")
    }

    /// A command that uses this AWS, whatever the user's own configuration contains.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(root()).kill_on_drop(true).envs(self.variables());
        for name in FOREIGN_VARIABLES {
            command.env_remove(name);
        }
        // With the variables that `cargo test` sets, the CDK's cargo would build everything again.
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

    /// The environment variables that make AWS's tools use this AWS.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ENDPOINT_URL_S3", self.endpoint.clone()),
            ("AWS_REGION", REGION.into()),
            ("AWS_DEFAULT_REGION", REGION.into()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
            ("AWS_CONFIG_FILE", self.directory.join(CONFIG_FILE).display().to_string()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".into()),
            ("NO_PROXY", "127.0.0.1,localhost".into()),
        ]
    }

    /// Runs a command of the AWS CLI and returns its answer.
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

    /// Runs a command to its end, with its output in a log file of this run. The error contains the end of
    /// that log.
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

/// The user's own variables that would lead AWS's tools elsewhere.
pub const FOREIGN_VARIABLES: [&str; 3] = ["AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"];

/// The AWS CLI's configuration in the folder of a run. Version 2 reads payloads as base64 by default. Version
/// 1 reads them as text and ignores the setting.
const CONFIG_FILE: &str = "aws.config";
const CONFIG: &str = "[default]\ncli_binary_format = raw-in-base64-out\n";

/// The project's checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// The path of a tool in the virtual environment that `npm run setup` creates.
pub fn tool(name: &str) -> String {
    root().join(".venv/bin").join(name).display().to_string()
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Creates a folder for this run, and removes the oldest ones.
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
    // In milliseconds, since one process may start several runs.
    let directory = runs.join(format!("{}-{}", now.as_millis(), std::process::id()));
    tokio::fs::create_dir_all(directory.join("tmp")).await?;
    // MiniStack unpacks the functions there. Without this file, Node.js would take those in JavaScript for
    // ECMAScript modules, as package.json of the checkout says.
    tokio::fs::write(directory.join("tmp/package.json"), r#"{"type":"commonjs"}"#).await?;
    tokio::fs::write(directory.join(CONFIG_FILE), CONFIG).await?;
    Ok(directory)
}

/// Whether the process of a run is alive. `npm start` may stay up for days.
fn is_running(directory: &Path) -> bool {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let process = name.rsplit('-').next().and_then(|id| id.parse().ok()).map(Pid::from_raw);
    process.is_some_and(|process| kill(process, None).is_ok())
}

/// MiniStack with its functions, and the guard that ends them when this process is killed.
#[derive(Debug)]
struct Processes {
    ministack: Child,
    guard: Child,
}

impl Processes {
    async fn start(directory: &Path, permissions: Permissions) -> Result<(Processes, Api)> {
        const ATTEMPTS: usize = 5;
        let log = directory.join("ministack.log");
        for _ in 0..ATTEMPTS {
            // If another program takes the port before MiniStack does, the next attempt uses another one.
            let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
            let api = Api { address };
            let file = std::fs::File::create(&log)?;
            let ministack = Command::new(tool("python3"))
                .arg(root().join("tests/local-aws/start_ministack.py"))
                .current_dir(directory)
                .env("BIND_HOST", "127.0.0.1")
                // The host in the URLs of queues.
                .env("MINISTACK_HOST", "127.0.0.1")
                .env("GATEWAY_PORT", address.port().to_string())
                .env("MINISTACK_REGION", REGION)
                .env("MINISTACK_ACCOUNT_ID", ACCOUNT)
                .env("AUTH", (permissions == Permissions::Enforced).to_string())
                // The relay reads the recorded calls with LookupEvents.
                .env("CLOUDTRAIL_RECORDING", "1")
                // The functions inherit these variables, and use them to reach their AWS.
                .env("AWS_ENDPOINT_URL", format!("http://{address}"))
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "test")
                .env("TMPDIR", directory.join("tmp"))
                .env("NO_PROXY", "127.0.0.1,localhost")
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file)
                // In its own group it does not receive Ctrl-C, and one signal ends all of it.
                .process_group(0)
                .spawn()
                .context("MiniStack did not start; `npm run setup` installs it")?;
            let guard = guard(&ministack)?;
            let mut processes = Processes { ministack, guard };
            if processes.answers(api).await {
                return Ok((processes, api));
            }
            processes.end().await;
        }
        bail!("MiniStack did not start. The end of {}:\n\n{}", log.display(), tail(&log))
    }

    /// Waits until MiniStack answers, or has ended.
    async fn answers(&mut self, api: Api) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if matches!(self.ministack.try_wait(), Ok(Some(_)) | Err(_)) {
                return false;
            }
            if api.get("/_ministack/health").await.is_ok_and(|status| status == 200) {
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// Ends the whole group, since the functions are children of MiniStack.
    async fn end(&mut self) {
        if let Some(group) = group(&self.ministack) {
            let _ = killpg(group, Signal::SIGTERM);
            let _ = timeout(Duration::from_secs(10), self.ministack.wait()).await;
            // A function may have ignored SIGTERM.
            let _ = killpg(group, Signal::SIGKILL);
            let _ = self.ministack.wait().await;
        }
        let _ = self.guard.kill().await;
    }
}

/// The process group of a child that has not been awaited yet.
fn group(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
}

/// Starts a shell that ends MiniStack's group when this process dies, even by SIGKILL: the kernel then closes
/// the pipe that the shell reads.
fn guard(ministack: &Child) -> Result<Child> {
    let group = group(ministack).context("MiniStack ended at once")?;
    let script = "read -r _; kill -s TERM -- \"-$1\"; sleep 3; kill -s KILL -- \"-$1\"";
    Command::new("sh")
        .args(["-c", script, "guard", &group.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("the shell sh did not start")
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

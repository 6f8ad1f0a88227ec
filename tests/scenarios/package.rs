//! The package in an app of another repository.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use local_aws::ministack::{ACCOUNT, LocalAws, REGION, root};
use local_aws::resolver::Resolver;
use local_aws::system::System;
use serde_json::Value;
use tokio::process::Command;

use super::{Internal, cname};

/// The environment of the app, whose network has no service discovery yet.
const NAME: &str = "app";

/// The commands of the machine that the app needs.
const COMMANDS: [&str; 4] = ["node", "npm", "npx", "sh"];

/// An app without TypeScript, with the environments of `cdk.json`.
const JAVASCRIPT: &str = "
const { App } = require('aws-cdk-lib');
const { ServiceDiscoveryStack, parseEnvironments } = require('ecs-discovery');

const app = new App();
const environments = parseEnvironments({
  dev: {
    account: '111122223333',
    region: 'eu-west-1',
    vpcs: [{ vpcId: 'vpc-0a1b2c3d4e5f60718', zoneName: 'dev.internal' }],
    trail: 'existing',
  },
});
for (const [name, one] of Object.entries(environments)) new ServiceDiscoveryStack(app, name, one);
";

/// An app with a stage of CDK Pipelines.
const PIPELINE: &str = "
import { App, Stack, Stage } from 'aws-cdk-lib';
import { Repository } from 'aws-cdk-lib/aws-codecommit';
import { CodePipeline, CodePipelineSource, ShellStep } from 'aws-cdk-lib/pipelines';
import { Vpc } from 'aws-cdk-lib/aws-ec2';
import { EcsServiceDiscovery, TrailSource } from 'ecs-discovery';

const env = { account: '111122223333', region: 'eu-west-1' };
const app = new App();
const stack = new Stack(app, 'Pipeline', { env });
const source = CodePipelineSource.codeCommit(Repository.fromRepositoryName(stack, 'Code', 'shop'), 'main');
const synth = new ShellStep('Synth', { input: source, commands: ['npm ci', 'npx cdk synth'] });
const pipeline = new CodePipeline(stack, 'Pipeline', { synth });
const stage = new Stage(app, 'Prod', { env });
const discovery = new Stack(stage, 'Discovery');
const vpcId = 'vpc-0a1b2c3d4e5f60718';
const vpc = Vpc.fromVpcAttributes(discovery, 'Vpc', { vpcId, availabilityZones: ['eu-west-1a'] });
new EcsServiceDiscovery(discovery, 'Discovery', {
  environment: 'prod',
  vpcs: [{ vpc, zoneName: 'prod.internal' }],
  trail: TrailSource.EXISTING,
});
pipeline.addStage(stage);
";

/// An app as `cdk init` makes it, which has no other tools than Node.js.
struct App<'a> {
    aws: &'a LocalAws,
    folder: PathBuf,
    path: PathBuf,
}

impl App<'_> {
    async fn new(aws: &LocalAws) -> Result<App<'_>> {
        let folder = aws.directory.join(NAME);
        let path = aws.directory.join("path");
        tokio::fs::create_dir_all(&folder).await?;
        tokio::fs::create_dir_all(&path).await?;
        for command in COMMANDS {
            std::os::unix::fs::symlink(on_path(command)?, path.join(command))?;
        }
        Ok(App { aws, folder, path })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.aws.command(program);
        command.args(arguments).current_dir(&self.folder).env("PATH", &self.path);
        command.env("CDK_DISABLE_CLI_TELEMETRY", "true");
        command
    }

    async fn run(&self, name: &str, program: &str, arguments: &[&str]) -> Result<()> {
        self.aws.run(&format!("app-{name}"), &mut self.command(program, arguments)).await
    }

    async fn write(&self, file: &str, text: &str) -> Result<()> {
        Ok(tokio::fs::write(self.folder.join(file), text).await?)
    }
}

/// Where a command of the machine is.
fn on_path(command: &str) -> Result<PathBuf> {
    let folders = std::env::var_os("PATH").context("there is no PATH")?;
    let found = std::env::split_paths(&folders).map(|folder| folder.join(command));
    // The tools of this project are not those of the app.
    let found = found.filter(|file| !file.starts_with(root())).find(|file| file.exists());
    found.with_context(|| format!("{command} is not on the PATH"))
}

/// The tarball that `npm run package` made.
async fn tarball() -> Result<PathBuf> {
    let package: Value =
        serde_json::from_slice(&tokio::fs::read(root().join("package.json")).await?)?;
    let version = package["version"].as_str().unwrap_or_default();
    let file = root().join(format!(".local/package/ecs-discovery-{version}.tgz"));
    ensure!(file.exists(), "{} is missing; `npm run package` makes it", file.display());
    Ok(file)
}

/// The first example in TypeScript, as a function whose `this` is a stack.
async fn example_of_the_readme() -> Result<String> {
    let readme = tokio::fs::read_to_string(root().join("README.md")).await?;
    let (_, rest) = readme.split_once("```ts\n").context("README.md has no TypeScript")?;
    let (code, _) = rest.split_once("```").context("the example has no end")?;
    let (imports, statements) = code.split_once("\n\n").context("the example has no imports")?;
    let stack = "import type { Stack } from 'aws-cdk-lib';";
    Ok(format!("{imports}\n{stack}\nexport function example(this: Stack) {{\n{statements}}}\n"))
}

/// No Rust, zig or Python is on the PATH of the app.
pub(crate) async fn an_app_installs_the_package_and_deploys_it(system: &System) -> Result<()> {
    let aws = &system.aws;
    let network = &system.networks[NAME];
    let app = App::new(aws).await?;
    let cdk = root().join("node_modules/aws-cdk/bin/cdk").display().to_string();
    let init = ["init", "app", "--language", "typescript", "--generate-only"];
    app.run("init", "node", &[&[cdk.as_str()], init.as_slice()].concat()).await?;
    let tarball = tarball().await?.display().to_string();
    app.run("install", "npm", &["install", "--no-audit", "--no-fund", &tarball]).await?;

    let vpc = &network.vpc;
    let architecture = if cfg!(target_arch = "aarch64") { "ARM_64" } else { "X86_64" };
    let text = format!(
        "import {{ App, CfnOutput, RemovalPolicy, Stack }} from 'aws-cdk-lib';
import {{ Vpc }} from 'aws-cdk-lib/aws-ec2';
import {{ Architecture }} from 'aws-cdk-lib/aws-lambda';
import {{ EcsServiceDiscovery, TrailSource }} from 'ecs-discovery';

const app = new App();
const stack = new Stack(app, 'Discovery', {{ env: {{ account: '{ACCOUNT}', region: '{REGION}' }} }});
const zones = {{ availabilityZones: ['{REGION}a'] }};
const vpc = Vpc.fromVpcAttributes(stack, 'Vpc', {{ vpcId: '{vpc}', ...zones }});
const discovery = new EcsServiceDiscovery(stack, 'Discovery', {{
  environment: '{NAME}',
  vpcs: [{{ vpc, zoneName: 'internal' }}],
  clusterPatterns: ['{NAME}'],
  trail: TrailSource.EXISTING,
  architecture: Architecture.{architecture},
  removalPolicy: RemovalPolicy.DESTROY,
}});
new CfnOutput(stack, 'Function', {{ value: discovery.handler.functionName }});
for (const zone of discovery.zones) new CfnOutput(stack, 'Zone', {{ value: zone.hostedZoneId }});
"
    );
    app.write("bin/app.ts", &text).await?;
    // The compiler checks it during synthesis.
    app.write("lib/readme.ts", &example_of_the_readme().await?).await?;
    app.run("synth", "npx", &["cdk", "synth", "--quiet"]).await?;
    let deploy = ["cdk", "deploy", "--require-approval", "never", "--outputs-file", "outputs.json"];
    app.run("deploy", "npx", &deploy).await?;
    let outputs = tokio::fs::read(app.folder.join("outputs.json")).await?;
    let outputs: Value = serde_json::from_slice(&outputs)?;
    let output =
        |key: &str| outputs["Discovery"][key].as_str().with_context(|| format!("no {key}"));

    let balancer = aws.create_balancer(network, "app-orders", Internal).await?;
    aws.create_service(NAME, "orders", &[&balancer.target_group]).await?;
    let resolver = Resolver::start(aws, &[output("Zone")?]).await?;
    resolver.resolves("orders.internal", &cname(&balancer)).await?;
    let status = ["ecs-discovery", "status", "--function", output("Function")?];
    app.run("status", "npx", &status).await?;

    app.write("app.js", JAVASCRIPT).await?;
    app.write("pipeline.mjs", PIPELINE).await?;
    for file in ["app.js", "pipeline.mjs"] {
        let command = format!("node {file}");
        app.run(file, "npx", &["cdk", "synth", "--quiet", "--app", &command]).await?;
    }
    Ok(())
}

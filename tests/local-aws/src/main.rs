//! `npm start`: the whole system on one machine, with a demo, and then to be tried by hand.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use local_aws::arguments::{self, ParsedArguments, RunOptions, USAGE};
use local_aws::ministack::{LocalAws, Permissions, root};
use local_aws::outcomes::wrap;
use local_aws::playground::FULL_PASS_MINUTES;
use local_aws::system::System;
use local_aws::terminal::{interrupted, output_closed, print_error, print_line};
use local_aws::{demo, playground};
use serde_json::json;
use tokio::time::Instant;

/// The status of a wrong command line.
const USAGE_ERROR: u8 = 2;
/// The status of a process that SIGPIPE ended.
const OUTPUT_CLOSED: u8 = 141;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(ParsedArguments::Run(options)) => options,
        Ok(ParsedArguments::Help) => {
            print_line(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            print_error(format!("{problem}\n\n{USAGE}"));
            return ExitCode::from(USAGE_ERROR);
        }
    };
    run(&options).await
}

/// The reason why the run ended.
enum End {
    Done(Result<()>),
    Interrupted,
    OutputClosed,
}

impl End {
    /// Runs `work` until it is done or until something ends the program.
    async fn of(work: impl Future<Output = Result<()>>) -> End {
        tokio::select! {
            biased;
            () = interrupted() => End::Interrupted,
            () = output_closed() => End::OutputClosed,
            result = work => End::Done(result),
        }
    }
}

async fn run(options: &RunOptions) -> ExitCode {
    let begun = Instant::now();
    let mut started = None;
    let end = End::of(async {
        started = Some(LocalAws::start(Permissions::Open, options.handler.clone()).await?);
        Ok(())
    });
    let mut end = end.await;
    if let Some(aws) = started {
        let aws = Arc::new(aws);
        print_done(&format!("MiniStack answers at {}", aws.endpoint), begun.elapsed());
        end = End::of(present(&aws, options.once)).await;
        aws.stop().await;
        let logs = aws.directory.strip_prefix(root()).map_or(&*aws.directory, Path::new);
        print_line(format!("\n✓ everything is stopped; the logs are in {}", logs.display()));
    }
    match end {
        End::Done(Ok(())) => ExitCode::SUCCESS,
        End::Done(Err(error)) => {
            print_error(format!("\n✗ {error:#}"));
            ExitCode::FAILURE
        }
        End::Interrupted if options.once => {
            print_error("\n✗ interrupted");
            ExitCode::FAILURE
        }
        End::Interrupted => ExitCode::SUCCESS,
        End::OutputClosed => ExitCode::from(OUTPUT_CLOSED),
    }
}

/// Deploys the system, shows the demo, and prints outcomes until it is dropped.
async fn present(aws: &Arc<LocalAws>, once: bool) -> Result<()> {
    let log = aws.log();
    let system = tokio::select! {
        system = deploy_and_show(aws) => system?,
        failure = playground::function_failure(aws) => {
            bail!("{}\n  The log of all functions: {}", failure?, log.display());
        }
    };
    print_line("\n✓ every step was checked");
    if once {
        return Ok(());
    }
    playground::run(&system).await
}

async fn deploy_and_show(aws: &Arc<LocalAws>) -> Result<System> {
    print_line("▸ deploying service discovery for dev and prod, each with a zone internal …");
    if aws.handler.is_some() {
        let text = "The handler is a local, unoptimised build and not the binary that ships.";
        print_line(wrap("  ", text));
    }
    let options = json!({ "fullPassMinutes": FULL_PASS_MINUTES });
    let environments = [("dev", options.clone()), ("prod", options)];
    let system = System::deploy(Arc::clone(aws), &environments, &[], print_done).await?;
    if let Err(error) = demo::show(&system).await {
        bail!("the demo failed: {error:#}\n  The log of all functions: {}", aws.log().display());
    }
    Ok(system)
}

fn print_done(step: &str, took: Duration) {
    let text = format!("{step}, {:.1} s", took.as_secs_f32());
    print_line(wrap("✓ ", &text));
}

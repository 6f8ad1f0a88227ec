//! The AWS Lambda function: wires the configuration, the SDK clients and the Lambda runtime together.

// The futures of concurrent SDK calls nest deeper than the compiler follows by default.
#![recursion_limit = "256"]

use std::process::ExitCode;

use aws_config::environment::{
    EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider,
};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use handler::aws::ecs::Ecs;
use handler::aws::elb::Elb;
use handler::aws::elb_classic::ElbClassic;
use handler::aws::route53::Route53;
use handler::aws::sqs::Sqs;
use handler::aws::{Aws, retries, timeouts};
use handler::domain::config::{self, Config};
use handler::invocation::answer;
use handler::log;
use handler::metrics::Metrics;
use handler::reconcile::Reconciler;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::value::RawValue;

// At most memory sizes Lambda gives a function a part of one processor, and a run mostly waits for AWS.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let started_at = std::time::SystemTime::now();
    log::init(std::env::var(log::LEVEL_VARIABLE).ok().as_deref());

    let config = match Config::parse(std::env::var(config::VARIABLE).ok().as_deref()) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(error = %error, "invalid configuration");
            return ExitCode::FAILURE;
        }
    };
    let sdk = sdk_config().await;
    let aws = Aws {
        ecs: Ecs::new((&sdk).into()),
        elb: Elb::new((&sdk).into()),
        elb_classic: ElbClassic::new((&sdk).into()),
        route53: Route53::new((&sdk).into()),
        sqs: Sqs::new((&sdk).into()),
    };
    let reconciler = Reconciler { config, aws, started_at };

    let metrics = Metrics::new(&reconciler.config.environment);
    let (reconciler, metrics) = (&reconciler, &metrics);
    let handle = |event: LambdaEvent<Box<RawValue>>| async move {
        let LambdaEvent { payload, context } = event;
        let (function, deadline) = (&context.invoked_function_arn, context.deadline());
        let answer = answer(reconciler, function, deadline, payload.get());
        let answer = log::REQUEST_ID.scope(context.request_id.clone(), answer).await;
        let answer = answer.map_err(|error| diagnostic(error.kind(), &error));
        metrics.write(std::io::stdout().lock());
        let answer = answer?;
        answer.into_json().map_err(|error| diagnostic("Answer", &error))
    };
    match lambda_runtime::run(service_fn(handle)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %error, "the Lambda runtime stopped");
            ExitCode::FAILURE
        }
    }
}

fn diagnostic(kind: &str, error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic { error_type: kind.to_owned(), error_message: error.to_string() }
}

async fn sdk_config() -> SdkConfig {
    let http_client = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    // Lambda passes the region and the credentials in environment variables. Searching other places
    // would slow down init.
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(EnvironmentVariableRegionProvider::new())
        .credentials_provider(EnvironmentVariableCredentialsProvider::new())
        .http_client(http_client)
        .retry_config(retries())
        .timeout_config(timeouts())
        .load()
        .await
}

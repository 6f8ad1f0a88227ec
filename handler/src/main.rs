//! The AWS Lambda function: wiring only.

// The futures of concurrent SDK calls nest deeper than the compiler follows by default.
#![recursion_limit = "256"]

use std::process::ExitCode;

use aws_config::environment::{
    EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider,
};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use handler::config::{self, Config};
use handler::ecs::Ecs;
use handler::elb::Elb;
use handler::elb_classic::ElbClassic;
use handler::invocation::answer;
use handler::measure::Measures;
use handler::reconcile::Reconciler;
use handler::route53::Route53;
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde_json::value::RawValue;
use tracing::Instrument;

// Lambda gives one processor's share at most sizes, and all the work is waiting for AWS.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_target(false)
        .with_span_list(false)
        .with_max_level(tracing::Level::INFO)
        .init();

    let config = match Config::parse(std::env::var(config::VARIABLE).ok().as_deref()) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(error = %error, "the configuration is wrong");
            return ExitCode::FAILURE;
        }
    };
    let sdk = sdk_config().await;
    let reconciler = Reconciler {
        config,
        ecs: Ecs::new((&sdk).into()),
        elb: Elb::new((&sdk).into()),
        elb_classic: ElbClassic::new((&sdk).into()),
        route53: Route53::new((&sdk).into()),
    };

    let measures = Measures::of(&reconciler.config.environment);
    let (reconciler, measures) = (&reconciler, &measures);
    let handle = |event: LambdaEvent<Box<RawValue>>| async move {
        let LambdaEvent { payload, context } = event;
        let span = tracing::info_span!("invocation", request_id = context.request_id);
        let answer =
            answer(reconciler, &context.invoked_function_arn, context.deadline(), payload.get())
                .instrument(span)
                .await
                .map_err(|error| diagnostic(error.kind(), &error));
        measures.write(std::io::stdout().lock());
        let answer = answer?;
        serde_json::to_value(answer).map_err(|error| diagnostic("Answer", &error))
    };
    match lambda_runtime::run(service_fn(handle)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %error, "the Lambda runtime stopped");
            ExitCode::FAILURE
        }
    }
}

/// What Lambda keeps of an error.
fn diagnostic(kind: &str, error: &dyn std::error::Error) -> Diagnostic {
    Diagnostic { error_type: kind.to_owned(), error_message: error.to_string() }
}

async fn sdk_config() -> SdkConfig {
    let http_client = aws_smithy_http_client::Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    // Lambda says all of it in the environment; to look for it anywhere else would take time at init.
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .region(EnvironmentVariableRegionProvider::new())
        .credentials_provider(EnvironmentVariableCredentialsProvider::new())
        .http_client(http_client)
        .retry_config(handler::aws::retries())
        .timeout_config(handler::aws::timeouts())
        .load()
        .await
}

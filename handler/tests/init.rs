//! The start of the handler's process.

use std::process::Command;

fn start(config: Option<&str>) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_handler"));
    command.env_remove("DISCOVERY_CONFIG");
    // No runtime listens at this address, so a handler that accepts its configuration fails, too.
    command.env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1");
    for variable in ["AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION"] {
        command.env(variable, "x");
    }
    command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256");
    if let Some(config) = config {
        command.env("DISCOVERY_CONFIG", config);
    }
    let output = command.output().expect("the handler starts");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn an_invalid_configuration_stops_the_handler_and_is_logged_with_its_key() {
    let (success, log) = start(Some(r#"{"environment":"dev","zones":[],"ttlSeconds":"soon"}"#));
    assert!(!success);
    let line: serde_json::Value = serde_json::from_str(&log).expect("one line of JSON");
    assert_eq!(line["level"], "ERROR");
    insta::assert_snapshot!(
        line["error"].as_str().unwrap_or_default(),
        @r#"DISCOVERY_CONFIG: ttlSeconds: expected a whole number; found string "soon""#
    );
}

#[test]
fn a_missing_configuration_stops_the_handler() {
    let (success, log) = start(None);
    assert!(!success);
    assert!(
        log.contains("DISCOVERY_CONFIG: (top level): expected the JSON that the construct writes"),
        "{log}"
    );
}

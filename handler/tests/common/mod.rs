//! Shared by the integration tests: one account with one cluster, and sample events.

#![allow(dead_code, reason = "every test file compiles this module and uses a part of it")]

use std::collections::BTreeMap;
use std::path::Path;

use handler::domain::service::AwsLocation;

pub(crate) const FUNCTION_ARN: &str = "arn:aws:lambda:eu-west-1:111122223333:function:discovery";

pub(crate) fn location() -> AwsLocation {
    AwsLocation::of_function(FUNCTION_ARN).expect("a function's ARN")
}

/// The ARN of a service in the cluster `dev`.
pub(crate) fn service_arn(service: &str) -> String {
    format!("arn:aws:ecs:eu-west-1:111122223333:service/dev/{service}")
}

/// The sample events as JSON, by the names of their files.
pub(crate) fn events() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events");
    let read = |file: std::io::Result<std::fs::DirEntry>| {
        let path = file.expect("a file").path();
        let name = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("a readable file"))
    };
    std::fs::read_dir(folder).expect("the folder of the events").map(read).collect()
}

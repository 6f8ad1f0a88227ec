//! The templates that the example environments become, by a real `cdk synth` without
//! credentials, small enough to review.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::local_aws::root;

/// Replaces what changes with the handler's code: the hashes of assets.
fn scrub(value: &mut Value) {
    match value {
        Value::String(text) => {
            let hash = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
            let found: Vec<String> = text
                .split(|c: char| !c.is_ascii_hexdigit())
                .filter(|word| hash(word))
                .map(str::to_owned)
                .collect();
            for word in found {
                *text = text.replace(&word, "HASH");
            }
        }
        Value::Array(values) => values.iter_mut().for_each(scrub),
        Value::Object(fields) => fields.values_mut().for_each(scrub),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A `cdk` command line that knows no credentials and no account.
fn cdk(output: &std::path::Path) -> Command {
    let mut command = Command::new("node");
    command.current_dir(root()).arg(root().join("node_modules/aws-cdk/bin/cdk"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["AWS_", "CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
            || ["CARGO", "LD_LIBRARY_PATH"].contains(&text.as_ref())
        {
            command.env_remove(&name);
        }
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("CDK_DISABLE_CLI_TELEMETRY", "true")
        .args(["--no-notices", "--output"])
        .arg(output);
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("node starts");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{text}");
    text
}

/// A directory of this test's own, gone at its end.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_example_environments_become_reviewable_templates() {
    let scratch = Scratch(root().join(format!(".local/synth-{}", std::process::id())));
    run(cdk(&scratch.0).args(["synth", "--quiet"]));
    for name in ["dev", "test", "prod"] {
        let path = scratch.0.join(format!("EcsDiscovery-{name}.template.json"));
        let text = std::fs::read_to_string(&path).expect("a template");
        let mut template: Value = serde_json::from_str(&text).expect("JSON");
        // CDK's own check of the bootstrap version, the same in every stack.
        for boilerplate in ["Parameters", "Rules"] {
            template.as_object_mut().expect("an object").remove(boilerplate);
        }
        for resource in template["Resources"].as_object_mut().expect("resources").values_mut() {
            resource.as_object_mut().expect("a resource").remove("Metadata");
        }
        scrub(&mut template);
        insta::assert_yaml_snapshot!(name, template);
    }

    // And a diff against a template needs no credentials either.
    let template = scratch.0.join("EcsDiscovery-prod.template.json").display().to_string();
    let output = scratch.0.join("diff");
    let diff = run(cdk(&output).args(["diff", "EcsDiscovery-prod", "--template", &template]));
    assert!(diff.contains("There were no differences"), "{diff}");
}

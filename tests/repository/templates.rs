//! The templates that the example environments become, by a real `cdk synth` without
//! credentials, small enough to review.

use std::path::PathBuf;
use std::process::Command;

use repository::root;
use serde_json::Value;

/// Makes a template readable: what changes with the handler's code goes, joined texts become one
/// with `${…}` where something is filled in, and JSON in a text becomes JSON.
fn read(value: &mut Value) {
    if let Some(text) = joined(value) {
        *value = Value::String(text);
    }
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
            if text.starts_with('{')
                && let Ok(inside) = serde_json::from_str(text)
            {
                *value = inside;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(read),
        Value::Object(fields) => fields.values_mut().for_each(read),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text that a `Fn::Join` of nothing between makes; none if it is something else.
fn joined(value: &Value) -> Option<String> {
    let join = value.get("Fn::Join")?.as_array()?;
    let [Value::String(between), Value::Array(parts)] = join.as_slice() else { return None };
    let part = |part: &Value| match part {
        Value::String(text) => Some(text.clone()),
        Value::Object(_) => match (part["Ref"].as_str(), part["Fn::GetAtt"].as_array()) {
            (Some(id), _) => Some(format!("${{{id}}}")),
            (None, Some(of)) => Some(format!("${{{}.{}}}", of[0].as_str()?, of[1].as_str()?)),
            (None, None) => None,
        },
        _ => None,
    };
    between.is_empty().then(|| parts.iter().map(part).collect::<Option<String>>()).flatten()
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
        // The build is for the deployment. The asset's hash is that of the sources.
        .args(["--no-notices", "--context", "build=false", "--output"])
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
        read(&mut template);
        for resource in template["Resources"].as_object_mut().expect("resources").values_mut() {
            // What it shows is best looked at in CloudWatch; a test holds that it is measured.
            if let Some(widgets) = resource["Properties"]["DashboardBody"]["widgets"].as_array() {
                let titles = widgets.iter().map(|widget| widget["properties"]["title"].clone());
                resource["Properties"]["DashboardBody"] = titles.collect();
            }
        }
        insta::assert_yaml_snapshot!(name, template);
    }
}

#[test]
fn a_diff_shows_what_changed_and_nothing_else() {
    let scratch = Scratch(root().join(format!(".local/diff-{}", std::process::id())));
    run(cdk(&scratch.0).args(["synth", "--quiet"]));
    let template = scratch.0.join("EcsDiscovery-dev.template.json").display().to_string();
    let diff = |data: &Value| {
        let context = format!("environments={data}");
        let mut command = cdk(&scratch.0.join("diff"));
        command.args(["diff", "EcsDiscovery-dev", "--template", &template, "--context", &context]);
        run(&mut command)
    };
    let text = std::fs::read_to_string(root().join("cdk.json")).expect("cdk.json");
    let text: Value = serde_json::from_str(&text).expect("JSON");
    let mut data = text["context"]["environments"].clone();
    let same = diff(&data);
    assert!(same.contains("There were no differences"), "{same}");

    data["dev"]["ttlSeconds"] = 11.into();
    let changed = diff(&data);
    let marked = |line: &&str| line.contains("[+]") || line.contains("[-]") || line.contains("[~]");
    let resources: Vec<&str> = changed.lines().filter(marked).map(str::trim).collect();
    let changed_types: Vec<&str> =
        resources.iter().filter_map(|line| line.strip_prefix("[~] ")?.split(' ').next()).collect();
    assert_eq!(
        changed_types,
        ["AWS::Lambda::Function", "Custom::EcsDiscoveryFullPass"],
        "{changed}"
    );
    let lines = |sign: &str| -> Vec<String> {
        resources
            .iter()
            .filter(|line| line.contains(sign) && line.contains("ttlSeconds"))
            .map(|line| line.split("ttlSeconds").nth(1).unwrap_or_default()[..6].to_owned())
            .collect()
    };
    assert_eq!(lines("[-]"), ["\\\":10,", "\\\":10,"], "{changed}");
    assert_eq!(lines("[+]"), ["\\\":11,", "\\\":11,"], "{changed}");
}

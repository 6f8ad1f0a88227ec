//! Compares the templates of the example environments with snapshots that are small enough to review.
//!
//! The tests run the CDK's command line without AWS credentials and without a build of the handler.

use std::path::{Path, PathBuf};
use std::process::Command;

use repository::root;
use serde_json::Value;

/// Makes a template readable: replaces hashes by `HASH`, `Fn::Join` by one text with `${…}` for each
/// reference, and a text that contains JSON by the JSON.
fn simplify(value: &mut Value) {
    if let Some(text) = join(value) {
        *value = Value::String(text);
    }
    match value {
        Value::String(text) => {
            let words = text.split(|c: char| !c.is_ascii_hexdigit());
            // The hash of an asset, or the generation of the handler.
            let is_hash = |word: &&str| match word.len() {
                16 => !word.contains(|c: char| c.is_ascii_uppercase()),
                length => length == 64,
            };
            let hashes: Vec<String> = words.filter(is_hash).map(str::to_owned).collect();
            for hash in hashes {
                *text = text.replace(&hash, "HASH");
            }
            if text.starts_with('{')
                && let Ok(json) = serde_json::from_str(text)
            {
                *value = json;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(simplify),
        Value::Object(fields) => fields.values_mut().for_each(simplify),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text of a `Fn::Join` with an empty delimiter. `None` for any other value.
fn join(value: &Value) -> Option<String> {
    let arguments = value.get("Fn::Join")?.as_array()?;
    let [Value::String(delimiter), Value::Array(parts)] = arguments.as_slice() else { return None };
    let text = |part: &Value| match part {
        Value::String(text) => Some(text.clone()),
        Value::Object(_) => match (part["Ref"].as_str(), part["Fn::GetAtt"].as_array()) {
            (Some(id), _) => Some(format!("${{{id}}}")),
            (None, Some(attribute)) => {
                Some(format!("${{{}.{}}}", attribute[0].as_str()?, attribute[1].as_str()?))
            }
            (None, None) => join(part),
        },
        _ => None,
    };
    delimiter.is_empty().then(|| parts.iter().map(text).collect()).flatten()
}

/// The CDK's command line, without AWS credentials and without the variables that cargo sets for a test.
fn cdk(output: &Path) -> Command {
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

/// A folder that is deleted at the end of the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        Scratch(root().join(format!(".local/{name}-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_templates_of_the_example_environments_match_their_snapshots() {
    let scratch = Scratch::new("synth");
    run(cdk(&scratch.0).args(["synth", "--quiet"]));
    for name in ["dev", "test", "prod"] {
        let path = scratch.0.join(format!("EcsDiscovery-{name}.template.json"));
        let text = std::fs::read_to_string(&path).expect("a template");
        let mut template: Value = serde_json::from_str(&text).expect("JSON");
        // The CDK's check of the bootstrap version is the same in every stack.
        for boilerplate in ["Parameters", "Rules"] {
            template.as_object_mut().expect("an object").remove(boilerplate);
        }
        for resource in template["Resources"].as_object_mut().expect("resources").values_mut() {
            resource.as_object_mut().expect("a resource").remove("Metadata");
        }
        simplify(&mut template);
        for resource in template["Resources"].as_object_mut().expect("resources").values_mut() {
            // Titles suffice here. A test of the CDK app checks the metrics of the dashboard.
            if let Some(widgets) = resource["Properties"]["DashboardBody"]["widgets"].as_array() {
                let titles = widgets.iter().map(|widget| widget["properties"]["title"].clone());
                resource["Properties"]["DashboardBody"] = titles.collect();
            }
        }
        insta::assert_yaml_snapshot!(name, template);
    }
}

#[test]
fn a_diff_shows_only_the_resources_with_the_changed_option() {
    let scratch = Scratch::new("diff");
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
    // The setting has a line of its own. The generation of the handler is in both resources.
    let lines = |sign: &str| resources.iter().filter_map(|line| line.strip_prefix(sign)).collect();
    let before: Vec<&str> = lines("[-] ");
    assert_eq!(before[0], r#"  ",\"ttlSeconds\":10","#, "{changed}");
    assert_eq!(before.len(), 2, "{changed}");
    assert_eq!(lines("[+] ")[0], r#"  ",\"ttlSeconds\":11","#, "{changed}");
}

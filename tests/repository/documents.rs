//! Checks that the documents agree with the code: names in both, links, commands and sums.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use repository::root;

fn read(file: &str) -> String {
    let path = root().join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All documents, relative to the root.
fn documents() -> Vec<String> {
    let mut files: Vec<String> = Vec::new();
    for folder in ["", "docs/"] {
        for entry in std::fs::read_dir(root().join(folder)).expect("a folder") {
            let name = entry.expect("a file").file_name().to_string_lossy().into_owned();
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                files.push(format!("{folder}{name}"));
            }
        }
    }
    files.sort();
    assert!(files.len() > 10, "{files:?}");
    files
}

/// The text under a heading such as `## Metrics`, up to the next heading of the same or a higher level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let level = heading.find(' ').expect("a heading");
    let (_, rest) = text
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("no heading {heading:?}"));
    let ends = |line: &str| {
        let marks = line.len() - line.trim_start_matches('#').len();
        (1..=level).contains(&marks) && line[marks..].starts_with(' ')
    };
    let mut length = 0;
    let mut is_code = false;
    for line in rest.split_inclusive('\n') {
        is_code ^= line.trim_start().starts_with("```");
        if !is_code && ends(line) {
            break;
        }
        length += line.len();
    }
    &rest[..length]
}

/// The rows of the first table in `text`, each as its cells.
fn table(text: &str) -> Vec<Vec<String>> {
    let rows = text.lines().skip_while(|line| !line.starts_with('|'));
    rows.take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|row| {
            let row = row.strip_prefix('|').and_then(|row| row.strip_suffix('|')).expect("a row");
            row.split('|').map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

/// The words in backticks.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The words in backticks in the first column of the first table in `text`.
fn first_column(text: &str) -> BTreeSet<String> {
    table(text).iter().flat_map(|row| code(&row[0])).map(str::to_owned).collect()
}

/// All files in a folder and below it with one of these extensions.
fn files(folder: &str, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("a file").path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|found| extensions.iter().any(|extension| found == *extension))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The source of all Rust files in a folder, without their tests.
fn source(folder: &str) -> String {
    let text = |path: PathBuf| {
        let text = std::fs::read_to_string(path).expect("Rust");
        text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned()
    };
    files(folder, &["rs"]).into_iter().map(text).collect()
}

/// Every text between `start` and the next `end`.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    text.split(start).skip(1).filter_map(|rest| Some(rest.split_once(end)?.0)).collect()
}

/// The names of all Rust functions: tests and scenarios are among them.
fn functions() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["handler/src", "handler/tests", "tests"] {
        for path in files(folder, &["rs"]) {
            let text = std::fs::read_to_string(path).expect("Rust");
            let named = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
            names.extend(named.map(str::to_owned));
        }
    }
    names
}

/// Fails with all differences at once.
fn assert_none(problem: &str, found: &[String]) {
    assert!(found.is_empty(), "{problem}:\n  {}", found.join("\n  "));
}

fn assert_same(names: &str, documented: &BTreeSet<String>, used: &BTreeSet<String>) {
    assert!(!used.is_empty(), "found no {names}");
    let missing: Vec<_> = used.difference(documented).collect();
    let extra: Vec<_> = documented.difference(used).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "{names}: not documented: {missing:?}, documented but not in the code: {extra:?}"
    );
}

fn names_of_tests(rows: &[Vec<String>], column: usize) -> Vec<String> {
    let functions = functions();
    let mut missing = Vec::new();
    for row in rows {
        let tests = code(&row[column]);
        if tests.is_empty() {
            missing.push(format!("no test for: {}", row[0]));
        }
        let unknown = tests.iter().filter(|test| !functions.contains(**test));
        missing.extend(unknown.map(|test| (*test).to_owned()));
    }
    missing
}

#[test]
fn every_situation_is_tested_by_tests_that_exist() {
    let rows = table(section(&read("docs/behavior.md"), "## Situations"));
    assert!(rows.len() > 20, "{rows:?}");
    assert_none("docs/behavior.md names tests that do not exist", &names_of_tests(&rows, 2));
}

#[test]
fn every_invariant_is_tested_by_tests_that_exist() {
    let rows = table(section(&read("ARCHITECTURE.md"), "## Invariants"));
    let list = read("tests/simulation/src/invariants.rs");
    let numbers = list.lines().filter_map(|line| line.strip_prefix("//! ")?.split_once(". "));
    let numbers = numbers.filter(|(number, _)| number.parse::<u8>().is_ok());
    assert_eq!(rows.len(), numbers.count());
    assert_none("ARCHITECTURE.md names tests that do not exist", &names_of_tests(&rows, 3));
}

#[test]
fn every_metric_is_documented() {
    let source = source("handler/src");
    let mut used = BTreeSet::new();
    for macro_name in [" counter!(\"", " histogram!(\""] {
        used.extend(between(&source, macro_name, "\"").into_iter().map(str::to_owned));
    }
    assert!(used.len() > 10, "{used:?}");
    let text = read("docs/observability.md");
    let metrics = section(&text, "## Metrics");
    assert_same("metrics", &first_column(metrics), &used);
    for row in table(metrics) {
        assert!(["Count", "Seconds"].contains(&row[1].as_str()), "a unit in {row:?}");
    }
}

#[test]
fn every_status_is_documented() {
    let source = read("handler/src/domain/report.rs");
    let arms = between(&source, "Status::", "\",\n").into_iter();
    let used = arms.filter_map(|arm| Some(arm.split_once(" => \"")?.1.to_owned())).collect();
    let text = read("docs/observability.md");
    assert_same("statuses", &first_column(section(&text, "## Statuses")), &used);
}

/// The arguments of a macro call, from behind its opening bracket to the closing one.
fn arguments(text: &str) -> &str {
    let (mut depth, mut is_text) = (1, false);
    for (index, character) in text.char_indices() {
        match character {
            '"' => is_text = !is_text,
            '(' if !is_text => depth += 1,
            ')' if !is_text => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &text[..index];
        }
    }
    text
}

/// The last string in each call of a tracing macro.
fn log_messages() -> BTreeSet<String> {
    let source = source("handler/src");
    let mut messages = BTreeSet::new();
    for level in ["error", "warn", "info", "debug", "trace", "$level"] {
        for call in source.split(&format!("tracing::{level}!(")).skip(1) {
            let message = arguments(call).rsplit('"').nth(1);
            messages.insert(message.expect("each log line has a message").to_owned());
        }
    }
    messages
}

#[test]
fn every_log_message_is_documented() {
    let text = read("docs/observability.md");
    let documented = first_column(section(&text, "## Log messages"));
    assert_same("log messages", &documented, &log_messages());
}

#[test]
fn every_option_is_documented() {
    let source = read("cdk/lib/environment.ts");
    // The schema consists of three objects, with one option per key.
    let objects =
        ["\nconst vpc = object({\n", "\nconst options = {\n", "\nconst environment = object({\n"];
    let mut used = BTreeSet::new();
    for object in objects {
        let (_, rest) = source.split_once(object).unwrap_or_else(|| panic!("no {object}"));
        let lines = rest.lines().take_while(|line| !line.starts_with('}'));
        let keys = lines.filter_map(|line| line.strip_prefix("  ")?.split_once(':'));
        let is_key = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric());
        used.extend(keys.map(|(key, _)| key.to_owned()).filter(|key| is_key(key)));
    }
    assert!(used.len() > 20, "{used:?}");
    let text = read("docs/configuration.md");
    let documented = first_column(section(&text, "## Options"));
    let documented = documented.iter().map(|name| name.trim_start_matches("vpcs[].").to_owned());
    assert_same("options", &documented.collect(), &used);
}

#[test]
fn every_tag_is_documented() {
    let source = read("handler/src/domain/tags.rs");
    let used = between(&source, "/// `discovery:", "`")
        .into_iter()
        .map(|tag| format!("discovery:{tag}"))
        .collect();
    let text = read("docs/configuration.md");
    assert_same("tags", &first_column(section(&text, "## Tags")), &used);
}

#[test]
fn every_alarm_has_its_section_in_the_runbook() {
    let snapshot = read("tests/repository/snapshots/templates__dev.snap");
    let names: BTreeSet<String> = between(&snapshot, "  DiscoveryAlarms", ":\n")
        .into_iter()
        .map(|id| id[..id.len() - 8].to_owned())
        .collect();
    let anchors: BTreeSet<&str> = between(&snapshot, "RUNBOOK.md#", "\"").into_iter().collect();
    assert!(names.len() > 5, "{names:?}");
    assert_eq!(names.len(), anchors.len());

    let runbook = read("RUNBOOK.md");
    let alarms = section(&runbook, "## Alarms");
    let headings: Vec<&str> = alarms.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let sections: BTreeSet<String> = headings.iter().map(|heading| anchor(heading)).collect();
    assert_eq!(sections.iter().map(String::as_str).collect::<BTreeSet<_>>(), anchors);
    for heading in headings {
        let text = section(&runbook, &format!("### {heading}"));
        for part in ["**Description.**", "**Investigation.**", "**Resolution.**"] {
            assert!(text.contains(part), "{heading} has no {part}");
        }
    }
    let observability = read("docs/observability.md");
    let rows = table(section(&observability, "## Alarms"));
    let links = rows.iter().flat_map(|row| between(&row[0], "[", "]"));
    assert_same("alarms", &links.map(str::to_owned).collect(), &names);
}

#[test]
fn the_runbook_uses_outputs_that_the_stack_has() {
    let stack = read("cdk/lib/discovery-stack.ts");
    let runbook = read("RUNBOOK.md");
    let used = between(&runbook, "$(output ", ")");
    assert!(used.len() >= 4, "{used:?}");
    for output in used {
        assert!(stack.contains(&format!("'{output}'")), "there is no output {output}");
    }
}

/// The folders with sources, as the map in ARCHITECTURE.md has to list them.
fn source_folders() -> BTreeSet<String> {
    let mut folders = BTreeSet::from(["scripts".to_owned(), "docs".into(), "handler/src".into()]);
    for parent in ["handler", "handler/src", "cdk", "tests"] {
        for entry in std::fs::read_dir(root().join(parent)).expect("a folder") {
            let entry = entry.expect("a folder");
            let folder = format!("{parent}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() && !files(&folder, &["rs", "ts", "mjs"]).is_empty() {
                folders.insert(folder);
            }
        }
    }
    folders
}

#[test]
fn the_map_lists_every_source_folder_and_every_file_in_it() {
    let text = read("ARCHITECTURE.md");
    let map = section(&text, "## Map");
    let headings: Vec<&str> = map.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mapped: BTreeSet<String> =
        headings.iter().map(|heading| heading.trim_matches('`').to_owned()).collect();
    assert_same("source folders", &mapped, &source_folders());

    let mut wrong = Vec::new();
    for folder in &mapped {
        let text = section(map, &format!("### `{folder}`"));
        let named: BTreeSet<&str> = code(text).into_iter().collect();
        let mut stems = BTreeSet::new();
        for file in files(folder, &["rs", "ts", "mjs"]) {
            let inside = file.strip_prefix(root().join(folder)).expect("a file in the folder");
            let stem = inside.file_stem().expect("a name").to_string_lossy();
            let stem = stem.trim_end_matches(".test").to_owned();
            // Crates have their files in `src` and `tests`. A deeper folder is named as a whole.
            let parent = inside.parent().map(Path::to_string_lossy).unwrap_or_default();
            let is_root = ["lib", "mod", "index"].contains(&stem.as_str());
            if ["", "src", "tests"].contains(&&*parent) && !is_root && !named.contains(&*stem) {
                wrong.push(format!("{folder}: {} is missing", inside.display()));
            }
            stems.insert(stem);
        }
        let is_stem =
            |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-');
        let stale = named.iter().copied().filter(is_stem).filter(|word| !stems.contains(*word));
        wrong.extend(stale.map(|word| format!("{folder}: there is no {word}")));
    }
    assert_none("ARCHITECTURE.md's map", &wrong);
}

#[test]
fn the_table_where_to_change_what_names_files_that_exist() {
    let text = read("CONTRIBUTING.md");
    let rows = table(section(&text, "## Where to change what"));
    assert!(rows.len() > 12, "{rows:?}");
    let mut wrong = Vec::new();
    for row in rows {
        let files = code(&row[1]);
        let texts: Vec<String> = files
            .iter()
            .filter_map(|file| std::fs::read_to_string(root().join(file)).ok())
            .collect();
        wrong.extend(
            files
                .iter()
                .filter(|file| !root().join(file).exists())
                .map(|file| format!("{}: there is no {file}", row[0])),
        );
        // A folder has no text to search.
        if texts.len() == files.len() {
            let absent = code(&row[2])
                .into_iter()
                .filter(|text| !texts.iter().any(|file| file.contains(text)));
            wrong.extend(absent.map(|text| format!("{}: {text} is not in {}", row[0], row[1])));
        }
    }
    assert_none("CONTRIBUTING.md", &wrong);
}

#[test]
fn every_npm_command_in_the_documents_exists() {
    let package: serde_json::Value =
        serde_json::from_str(&read("package.json")).expect("package.json is JSON");
    let mut unknown = Vec::new();
    for document in documents() {
        let text = read(&document);
        for rest in text.split("npm run ").skip(1) {
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':';
            let name: String = rest.chars().take_while(|c| is_name(*c)).collect();
            if !name.is_empty() && package["scripts"][&name].is_null() {
                unknown.push(format!("{document}: npm run {name}"));
            }
        }
    }
    assert_none("commands that package.json does not have", &unknown);
}

/// The anchor that Markdown makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_');
    kept.collect::<String>().replace(' ', "-")
}

/// The anchors of a document.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        is_code ^= line.trim_start().starts_with("```");
        if !is_code && line.starts_with('#') {
            anchors.insert(anchor(line.trim_start_matches('#').trim()));
        }
    }
    anchors
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    let all: BTreeMap<String, String> =
        documents().into_iter().map(|file| (file.clone(), read(&file))).collect();
    let mut broken = Vec::new();
    for (document, text) in &all {
        for link in between(text, "](", ")") {
            if link.starts_with("https://") {
                continue;
            }
            let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
            let folder = Path::new(document).parent().unwrap_or(Path::new(""));
            let path = root().join(if file.is_empty() {
                PathBuf::from(document)
            } else {
                folder.join(file)
            });
            let is_found = match std::fs::read_to_string(&path) {
                Ok(target) => fragment.is_empty() || anchors(&target).contains(fragment),
                Err(_) => path.is_dir() && fragment.is_empty(),
            };
            if !is_found {
                broken.push(format!("{document}: {link}"));
            }
        }
    }
    assert_none("broken links", &broken);
}

#[test]
fn the_benchmarks_page_has_its_present_introduction_and_notes() {
    let page = read("docs/benchmarks.md");
    assert!(page.starts_with(&read("tests/benchmarks/src/head.md")), "run npm run bench");
    assert!(page.ends_with(&read("tests/benchmarks/src/foot.md")), "run npm run bench");
}

#[test]
fn the_costs_add_up() {
    let text = read("docs/costs.md");
    let rows = table(&text);
    let (sum, items) = rows.split_last().expect("rows");
    // In cents, since decimal fractions are not exact.
    let cents = |row: &[String], column: usize| -> u64 {
        row[column].trim_matches('*').replace('.', "").parse().expect("an amount")
    };
    for column in 1..=3 {
        let total: u64 = items.iter().map(|row| cents(row, column)).sum();
        assert_eq!(total, cents(sum, column), "column {column}");
    }
    let readme = read("README.md");
    let total = |column| cents(sum, column) / 100;
    let range = format!("about {} to {} US dollars", total(1), cents(sum, 3).div_ceil(100));
    assert!(readme.contains(&range), "README.md does not say {range:?}");
}

#[test]
fn the_documents_name_the_required_versions_of_rust_and_node() {
    let toolchain = read("rust-toolchain.toml");
    let rust = between(&toolchain, "channel = \"", "\"")[0];
    let package: serde_json::Value =
        serde_json::from_str(&read("package.json")).expect("package.json is JSON");
    let node = package["engines"]["node"].as_str().expect("a range");
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let node = node.split(|c| !is_number(c)).filter(|version| !version.is_empty());
    let versions: Vec<&str> =
        node.map(|version| version.trim_end_matches(".0")).chain([rust]).collect();
    for document in ["README.md", "CONTRIBUTING.md"] {
        let text = read(document);
        for version in &versions {
            assert!(text.contains(version), "{document} does not name version {version}");
        }
    }
}

#[test]
fn the_example_pipeline_pins_the_actions_of_ci() {
    let pins = |file: &str| -> BTreeMap<String, String> {
        let text = read(file);
        let uses = between(&text, "uses: ", "\n").into_iter();
        uses.filter_map(|action| action.split_once('@'))
            .map(|(action, version)| (action.to_owned(), version.to_owned()))
            .collect()
    };
    let ci = pins(".github/workflows/ci.yml");
    let mut wrong = Vec::new();
    for (action, version) in pins("docs/pipeline.yml") {
        let commit = version.split(' ').next().unwrap_or_default();
        if commit.len() != 40 || ci.get(&action).is_some_and(|pin| *pin != version) {
            wrong.push(format!("{action} is {version}, in CI {:?}", ci.get(&action)));
        }
    }
    assert_none("docs/pipeline.yml", &wrong);
}

#[test]
fn the_readme_fits_on_150_lines() {
    assert!(read("README.md").lines().count() <= 150);
}

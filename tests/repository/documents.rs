//! What the documents promise, and the tests that they name.

use std::collections::BTreeSet;
use std::path::Path;

use repository::root;

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).expect("a document")
}

/// The rows of the first table behind a heading, each as its cells.
fn table(text: &str, heading: &str) -> Vec<Vec<String>> {
    let (_, behind) = text.split_once(&format!("\n## {heading}")).expect("the heading");
    let rows = behind.lines().skip_while(|line| !line.starts_with('|'));
    rows.take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// The names of all functions that are tests or scenarios.
fn tests_in(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a file").path();
        if path.is_dir() {
            tests_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("Rust");
            let called = text.split("fn ").skip(1).filter_map(|rest| rest.split('(').next());
            names.extend(called.map(str::to_owned));
        }
    }
}

#[test]
fn every_row_of_what_happens_when_is_held_by_tests_that_exist() {
    let promised = table(&read("README.md"), "What happens when");
    let held = table(&read("ARCHITECTURE.md"), "What happens when");
    let first = |rows: &[Vec<String>]| rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>();
    assert!(promised.len() > 20, "{promised:?}");
    assert_eq!(first(&promised), first(&held));

    let mut names = BTreeSet::new();
    for folder in ["handler/src", "handler/tests", "tests"] {
        tests_in(&root().join(folder), &mut names);
    }
    for row in held {
        let named: Vec<&str> = row[1].split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{row:?}");
        for name in named {
            assert!(names.contains(name), "there is no {name}");
        }
    }
}

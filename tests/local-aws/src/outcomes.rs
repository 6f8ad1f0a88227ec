//! The handlers' logs as text for a terminal of 80 columns.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

const COLUMNS: usize = 80;

/// Breaks a text between its words so that its lines fit the terminal. `prefix` starts the first line, and
/// spaces of the same width, and two more, the others. A word that is too long gets its own line.
pub fn wrap(prefix: &str, text: &str) -> String {
    let indent = prefix.chars().count() + 2;
    let mut lines = String::from(prefix);
    let mut column = prefix.chars().count();
    let mut at_start = true;
    // The spaces that follow the status belong to it, and an arrow to its target.
    for word in text.replace("→ ", "→\u{a0}").split_inclusive(' ') {
        let width = word.trim_end_matches(' ').chars().count();
        if !at_start && column + width > COLUMNS {
            lines.truncate(lines.trim_end_matches(' ').len());
            lines.push('\n');
            lines.push_str(&" ".repeat(indent));
            column = indent;
        }
        lines.push_str(word);
        column += word.chars().count();
        at_start = false;
    }
    lines.replace('\u{a0}', " ")
}

/// An outcome of the handler's answer or log, for example
/// `registered    orders.internal → orders-1.eu-central-2.elb.amazonaws.com`. A dry run changed nothing, so
/// its line says what would be done.
pub fn outcome_text(outcome: &Value, dry_run: bool) -> String {
    let text = |key: &str| outcome[key].as_str();
    let service = text("service").and_then(|arn| arn.rsplit('/').next()).unwrap_or("?");
    let name = text("name").unwrap_or(service);
    let target = text("target").map_or(String::new(), |target| format!(" → {target}"));
    let reason = text("reason").map_or(String::new(), |reason| format!(": {reason}"));
    let status = match text("status").unwrap_or("?") {
        change @ ("registered" | "updated" | "adopted" | "deregistered" | "refused") if dry_run => {
            format!("would be {change}")
        }
        status => status.to_owned(),
    };
    format!("{status:<13} {name}{target}{reason}")
}

/// An outcome of the handler's log with the names that it has in the handler's answer.
pub fn logged_outcome(entry: &Value) -> Value {
    let mut outcome = entry.clone();
    for (logged, answered) in [
        ("ecs_service", "service"),
        ("dns_name", "name"),
        ("hosted_zone", "zone"),
        ("outcome", "status"),
    ] {
        outcome[answered] = outcome[logged].take();
    }
    outcome
}

/// Turns entries of the handlers' logs into lines for the terminal.
#[derive(Debug, Default)]
pub struct OutcomeStream {
    /// The cluster of each environment whose other outcomes are left out.
    clusters: BTreeMap<String, String>,
    /// The outcomes of the runs that have not finished yet, by environment.
    unfinished: BTreeMap<String, Vec<Value>>,
    /// The last text of each environment and service.
    shown: HashMap<(String, String), String>,
}

impl OutcomeStream {
    /// `clusters` maps environments to their clusters. Events reach the handlers of all environments, and each
    /// handler ignores the services of the others. These outcomes are left out.
    pub fn new(clusters: BTreeMap<String, String>) -> OutcomeStream {
        OutcomeStream { clusters, ..OutcomeStream::default() }
    }

    /// The text for an entry of a handler's log, if there is one.
    pub fn read(&mut self, entry: &Value) -> Option<String> {
        let environment = entry["environment"].as_str().unwrap_or_default().to_owned();
        match entry["message"].as_str()? {
            "outcome" => {
                let outcome = logged_outcome(entry);
                self.unfinished.entry(environment).or_default().push(outcome);
                None
            }
            "run finished" => {
                let outcomes = self.unfinished.remove(&environment).unwrap_or_default();
                let mut lines = self.outcomes(&environment, outcomes, entry);
                if entry["scope"] == FULL_PASS {
                    lines.push(wrap(&prefix(entry), &full_pass_text(entry)));
                }
                (!lines.is_empty()).then(|| lines.join("\n"))
            }
            message if entry["level"] == "ERROR" || message == "payload ignored" => {
                let detail = ["error", "reason"].iter().find_map(|key| entry[*key].as_str());
                let text = detail.map_or(message.to_owned(), |text| format!("{message}: {text}"));
                Some(wrap(&prefix(entry), &text))
            }
            _ => None,
        }
    }

    /// The outcomes of a run. A full pass reports those of all services, so only the new ones are shown.
    fn outcomes(&mut self, environment: &str, outcomes: Vec<Value>, run: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        for outcome in outcomes {
            let service = outcome["service"].as_str().unwrap_or_default();
            let foreign = self
                .clusters
                .get(environment)
                .is_some_and(|cluster| !service.contains(&format!(":service/{cluster}/")));
            if foreign {
                continue;
            }
            let text = outcome_text(&outcome, outcome["dry_run"] == true);
            let key = (environment.to_owned(), service.to_owned());
            let before = self.shown.insert(key, text.clone());
            if run["scope"] != FULL_PASS || before.as_ref() != Some(&text) {
                lines.push(wrap(&prefix(&outcome), &text));
            }
        }
        lines
    }
}

/// The scope of a full pass in the message "run finished".
const FULL_PASS: &str = "all";

/// The time and the environment of a log entry.
fn prefix(entry: &Value) -> String {
    let time = entry["timestamp"].as_str().and_then(|time| time.get(11..19)).unwrap_or_default();
    let environment = entry["environment"].as_str().unwrap_or_default();
    format!("  {time:<8} {environment:<5} ")
}

fn full_pass_text(entry: &Value) -> String {
    let [services, created, deleted] =
        ["services", "created", "deleted"].map(|key| entry[key].as_u64().unwrap_or_default());
    let dry_run = if entry["dry_run"] == true { " (dry run)" } else { "" };
    format!("full pass{dry_run}: {services} services, {created} records created, {deleted} deleted")
}

/// Why a function could not start, from a line of MiniStack's log. The output of a function that ends during
/// its start appears nowhere else.
pub fn start_failure(line: &str) -> Option<String> {
    let (_, failure) = line.split_once("provided-runtime execution error for ")?;
    let (function, reason) = failure.trim_end().split_once(": ")?;
    let output = reason.find('{').and_then(|start| serde_json::from_str(&reason[start..]).ok());
    let reason = match output {
        Some(Value::Object(entry)) => {
            let texts = ["message", "error"].iter().filter_map(|key| entry.get(*key)?.as_str());
            texts.collect::<Vec<_>>().join(": ")
        }
        _ => reason.to_owned(),
    };
    Some(format!("the function {function} failed: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TARGET: &str = "orders-dev-t0k5rz6v.eu-central-2.elb.amazonaws.com";
    const GROUP: &str =
        "arn:aws:elasticloadbalancing:eu-central-2:000000000000:targetgroup/early/6d0ecf831eec9f09";

    fn outcome(cluster: &str, service: &str, status: &str) -> Value {
        json!({
            "timestamp": "2026-11-01T12:00:05.123456Z", "level": "INFO", "message": "outcome",
            "environment": "dev", "dry_run": false,
            "ecs_service": format!("arn:aws:ecs:eu-central-2:000000000000:service/{cluster}/{service}"),
            "outcome": status,
        })
    }

    fn finished(scope: &str) -> Value {
        json!({
            "timestamp": "2026-11-01T12:00:05.123456Z", "level": "INFO",
            "message": "run finished", "environment": "dev", "scope": scope, "dry_run": false,
            "services": 3, "created": 2, "deleted": 0,
        })
    }

    /// The lines for some entries of the log of the environment dev, whose cluster has the same name.
    fn check(entries: &[Value]) -> String {
        let clusters = BTreeMap::from([("dev".to_owned(), "dev".to_owned())]);
        let mut stream = OutcomeStream::new(clusters);
        let lines: Vec<String> = entries.iter().filter_map(|entry| stream.read(entry)).collect();
        lines.join("\n")
    }

    fn longest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap_or_default()
    }

    #[test]
    fn an_outcome_fits_the_terminal() {
        let mut registered = outcome("dev", "orders", "registered");
        registered["dns_name"] = "orders.internal".into();
        registered["target"] = TARGET.into();
        let text = check(&[registered, finished("service")]);
        assert_eq!(
            text,
            format!("  12:00:05 dev   registered    orders.internal\n{:19}→ {TARGET}", "")
        );
        assert!(longest(&text) <= COLUMNS);
    }

    #[test]
    fn a_reason_breaks_between_words_and_an_arn_gets_its_own_line() {
        let mut waiting = outcome("dev", "early", "waiting");
        waiting["reason"] = format!("the target group has no load balancer yet: {GROUP}").into();
        assert_eq!(
            check(&[waiting, finished("service")]),
            format!(
                "  12:00:05 dev   waiting       early: the target group has no load balancer yet:\n\
                 {:19}{GROUP}",
                ""
            )
        );
        let words = "a sentence with rather short words ".repeat(20);
        assert!(longest(&wrap("     dev   ", &words)) <= COLUMNS);
        assert_eq!(wrap("  ", &words).replace("\n   ", "").replace("  ", " ").trim(), words.trim());
    }

    #[test]
    fn a_dry_run_says_what_would_be_done() {
        for (status, expected) in [
            ("registered", "would be registered orders"),
            ("deregistered", "would be deregistered orders"),
            ("conflict", "conflict      orders"),
        ] {
            assert_eq!(
                outcome_text(&logged_outcome(&outcome("dev", "orders", status)), true),
                expected
            );
        }
        assert_eq!(
            outcome_text(&logged_outcome(&outcome("dev", "orders", "registered")), false),
            "registered    orders"
        );
        let mut logged = outcome("dev", "orders", "registered");
        logged["dry_run"] = true.into();
        assert!(
            check(&[logged, finished("service")]).ends_with("dev   would be registered orders")
        );
    }

    #[test]
    fn services_of_other_environments_are_left_out() {
        let mut foreign = outcome("prod", "orders", "ignored");
        foreign["reason"] = "the cluster prod does not belong to this environment".into();
        assert_eq!(check(&[foreign, finished("service")]), "");
    }

    #[test]
    fn an_environment_that_was_deployed_later_is_shown() {
        let mut later = outcome("other", "orders", "registered");
        later["environment"] = "other".into();
        let mut end = finished("service");
        end["environment"] = "other".into();
        assert_eq!(check(&[later, end]), "  12:00:05 other registered    orders");
    }

    #[test]
    fn a_full_pass_shows_itself_and_only_new_outcomes() {
        let conflict = outcome("dev", "billing", "conflict");
        let changed = outcome("dev", "billing", "registered");
        let summary = "  12:00:05 dev   full pass: 3 services, 2 records created, 0 deleted";
        assert_eq!(
            check(&[
                conflict.clone(),
                finished("service"),
                conflict.clone(),
                finished(FULL_PASS),
                changed,
                finished(FULL_PASS),
            ]),
            format!(
                "  12:00:05 dev   conflict      billing\n{summary}\n  \
                 12:00:05 dev   registered    billing\n{summary}"
            )
        );
        let repeated =
            check(&[conflict.clone(), finished("service"), conflict, finished("service")]);
        assert_eq!(repeated.lines().count(), 2, "an event is shown each time");
    }

    #[test]
    fn errors_and_ignored_payloads_are_shown() {
        let entry = |level: &str, message: &str, key: &str, text: &str| {
            check(&[json!({
                "timestamp": "2026-11-01T12:00:05Z", "level": level, "message": message,
                key: text,
            })])
        };
        assert_eq!(
            entry("ERROR", "invalid configuration", "error", "no clusters"),
            "  12:00:05       invalid configuration: no clusters"
        );
        assert_eq!(
            entry("INFO", "payload ignored", "reason", "unknown"),
            "  12:00:05       payload ignored: unknown"
        );
        assert_eq!(entry("INFO", "something else", "reason", "unknown"), "");
    }

    #[test]
    fn a_function_that_cannot_start_is_shown_with_the_error_of_its_log() {
        let line = |reason: &str| {
            format!(
                "2026-11-01 12:00:05 ERROR [lambda] Warm provided-runtime execution error for \
                 EcsDiscovery-dev: {reason}"
            )
        };
        for (reason, expected) in [
            (
                "bootstrap exited during init with code 1: {\"level\":\"ERROR\",\
                 \"message\":\"invalid configuration\",\"error\":\"no clusters\"}",
                "invalid configuration: no clusters",
            ),
            (
                "bootstrap exited during init with code 127: libc.so.6 not found",
                "bootstrap exited during init with code 127: libc.so.6 not found",
            ),
        ] {
            let expected = format!("the function EcsDiscovery-dev failed: {expected}");
            assert_eq!(start_failure(&line(reason)), Some(expected));
        }
        assert_eq!(start_failure("INFO [lambda] Lambda function created: x"), None);
    }
}

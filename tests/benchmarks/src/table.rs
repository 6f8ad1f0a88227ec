//! The table of results, and how figures are written in it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use benchmarks::workload::Figures;

struct Row {
    subject: String,
    measured: String,
    goal: String,
    is_met: bool,
}

impl Row {
    fn mark(&self) -> &'static str {
        if self.is_met { "✓" } else { "✗" }
    }
}

/// The results, in sections with a title.
#[derive(Default)]
pub(crate) struct Table(Vec<(&'static str, Vec<Row>)>);

impl Table {
    pub(crate) fn section(&mut self, title: &'static str) {
        print(&format!("\n{title}"));
        self.0.push((title, Vec::new()));
    }

    /// Adds a row to the latest section, and prints it.
    pub(crate) fn row(
        &mut self,
        subject: impl Into<String>,
        measured: String,
        goal: impl Into<String>,
        is_met: bool,
    ) {
        let row = Row { subject: subject.into(), measured, goal: goal.into(), is_met };
        print(&format!("  {} {}: {} (goal: {})", row.mark(), row.subject, row.measured, row.goal));
        if let Some((_, rows)) = self.0.last_mut() {
            rows.push(row);
        }
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for (title, rows) in &self.0 {
            let _ = writeln!(text, "\n## {title}\n\n| | measured | goal | |\n|---|---|---|---|");
            for row in rows {
                let Row { subject, measured, goal, .. } = row;
                let _ = writeln!(text, "| {subject} | {measured} | {goal} | {} |", row.mark());
            }
        }
        text
    }
}

/// Prints a line. A closed pipe changes neither the measurement nor the document.
pub(crate) fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The calls to ECS, Elastic Load Balancing and Route 53.
pub(crate) fn calls(figures: &Figures) -> [usize; 3] {
    ["ecs", "elb", "route53"].map(|api| figures.to(api))
}

pub(crate) fn show_calls([ecs, elb, route53]: [usize; 3]) -> String {
    format!("ECS {ecs} · ELB {elb} · Route 53 {route53}")
}

pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

pub(crate) fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

pub(crate) fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all[all.len() / 2]
}

#[allow(clippy::cast_precision_loss, reason = "numbers of calls")]
pub(crate) fn per_service(calls: usize, services: usize) -> f64 {
    calls as f64 / services as f64
}

#[allow(clippy::cast_precision_loss, reason = "sizes of files and processes")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

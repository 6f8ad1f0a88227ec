//! The queues of the stack: their settings, how they pass messages to the function, and when a failed message returns.

use std::time::Duration;

use handler::invocation::Answer;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::account::{ACCOUNT, REGION};
use crate::state::Simulation;

/// How often a message is received before it goes to the dead-letter queue.
pub const MAX_RECEIVES: u32 = 5;

/// The number of batches of a queue that the function handles at the same time.
pub const MAX_CONCURRENT_BATCHES: usize = 2;

/// The settings of one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// The time until SQS delivers a message for the first time.
    pub delay: Duration,
    /// A batch starts with this number of messages, or `window` after the first one.
    pub batch: usize,
    pub window: Duration,
    /// The time after which SQS delivers a message again, unless the handler changes it.
    pub visibility_timeout: Duration,
}

/// The queue of the events of ECS.
pub const EVENTS: QueueSettings = QueueSettings {
    delay: Duration::ZERO,
    batch: 100,
    window: Duration::from_secs(5),
    visibility_timeout: Duration::from_secs(1_685),
};

/// The queue of Elastic Load Balancing calls.
pub const LOAD_BALANCER_CALLS: QueueSettings = QueueSettings {
    delay: Duration::from_secs(30),
    batch: 10_000,
    window: Duration::from_secs(60),
    visibility_timeout: Duration::from_secs(1_740),
};

/// A message in a queue.
#[derive(Clone, Debug)]
pub struct Message {
    id: u64,
    pub body: String,
    /// How often it was received, the next time included.
    receives: u32,
}

impl Message {
    pub fn new(id: u64, body: String) -> Message {
        Message { id, body, receives: 1 }
    }

    /// Identifies one delivery.
    fn receipt(&self) -> String {
        format!("{}-{}", self.id, self.receives)
    }

    fn record(&self, queue: &str) -> Value {
        json!({
            "messageId": self.id.to_string(), "eventSource": "aws:sqs", "body": self.body,
            "eventSourceARN": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"),
            "receiptHandle": self.receipt(),
            "attributes": {"ApproximateReceiveCount": self.receives.to_string()},
        })
    }

    /// Whether the function reported that this message failed. A failed invocation fails all of its messages.
    pub fn has_failed(&self, answer: Option<&Answer>) -> bool {
        match answer {
            None => true,
            Some(Answer::Report(_) | Answer::Resource(_)) => false,
            Some(Answer::Batch(answer)) => answer
                .batch_item_failures
                .iter()
                .any(|failure| failure.item_identifier == self.id.to_string()),
        }
    }

    /// When SQS delivers this message again after a delivery that began at `received` and failed. `None` if it goes to
    /// the dead-letter queue.
    pub fn again(
        self,
        received: Instant,
        queue: QueueSettings,
        simulation: &mut Simulation,
    ) -> Option<(Instant, Message)> {
        let changed = simulation.visible_at.remove(&self.receipt());
        if self.receives == MAX_RECEIVES {
            simulation.count("events given up");
            return None;
        }
        simulation.count(match changed {
            Some(_) => "messages that return soon",
            None => "messages that return after the visibility timeout",
        });
        let at = changed.unwrap_or(received + queue.visibility_timeout);
        Some((at, Message { receives: self.receives + 1, ..self }))
    }
}

/// The payload with which Lambda passes a batch of the queue with this name to the function.
pub fn payload(queue: &str, batch: &[Message]) -> String {
    let records: Vec<Value> = batch.iter().map(|message| message.record(queue)).collect();
    json!({"Records": records}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lambda::FUNCTION_TIMEOUT;

    const TEMPLATE: &str = include_str!("../../repository/snapshots/templates__prod.snap");

    /// A number in the only resource whose name begins with `resource` and continues with a hash.
    fn number(resource: &str, field: &str) -> u64 {
        let is_resource = |line: &&str| {
            let hash = line.strip_prefix("  ").and_then(|line| line.strip_prefix(resource));
            hash.and_then(|hash| hash.strip_suffix(':')).is_some_and(|hash| hash.len() == 8)
        };
        let mut lines = TEMPLATE.lines().skip_while(|line| !is_resource(line)).skip(1);
        let mut fields = lines.by_ref().take_while(|line| line.starts_with("   "));
        let value = fields.find_map(|line| line.trim().strip_prefix(field)?.strip_prefix(": "));
        let value = value.unwrap_or_else(|| panic!("{resource} has no {field}"));
        value.parse().expect("a number")
    }

    fn seconds(resource: &str, field: &str) -> Duration {
        Duration::from_secs(number(resource, field))
    }

    #[test]
    fn the_queues_and_the_function_have_the_settings_of_the_stack() {
        assert_eq!(seconds("DiscoveryHandlerFunction", "Timeout"), FUNCTION_TIMEOUT);
        for (name, settings) in [("Events", EVENTS), ("LoadBalancerCalls", LOAD_BALANCER_CALLS)] {
            let (queue, mapping) =
                (format!("Discovery{name}Queue"), format!("Discovery{name}Mapping"));
            assert_eq!(seconds(&queue, "VisibilityTimeout"), settings.visibility_timeout);
            assert_eq!(number(&queue, "maxReceiveCount"), u64::from(MAX_RECEIVES));
            if settings.delay > Duration::ZERO {
                assert_eq!(seconds(&queue, "DelaySeconds"), settings.delay);
            }
            assert_eq!(number(&mapping, "BatchSize"), settings.batch as u64);
            assert_eq!(seconds(&mapping, "MaximumBatchingWindowInSeconds"), settings.window);
            assert_eq!(number(&mapping, "MaximumConcurrency"), MAX_CONCURRENT_BATCHES as u64);
        }
    }
}

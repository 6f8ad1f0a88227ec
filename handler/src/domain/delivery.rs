//! How SQS delivered a message, and when it should deliver it again.

use serde_json::Value;

/// The seconds after the first failure. Each further pause is twice as long.
const FIRST_DELAY: i32 = 60;

/// The longest pause, in seconds.
const MAX_DELAY: i32 = 900;

/// The ARN of a queue: `arn:aws:sqs:REGION:ACCOUNT:NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueArn {
    arn: String,
    account: String,
    name: String,
}

impl QueueArn {
    fn parse(arn: &str) -> Option<QueueArn> {
        let [_, _, "sqs", _, account, name] = arn.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        let (account, name) = (account.to_owned(), name.to_owned());
        Some(QueueArn { arn: arn.to_owned(), account, name })
    }

    pub fn as_str(&self) -> &str {
        &self.arn
    }

    pub fn account(&self) -> &str {
        &self.account
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

/// One delivery of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub queue: QueueArn,
    /// Identifies this delivery to SQS.
    pub receipt: String,
    /// 1 for the first delivery.
    pub count: u32,
}

impl Delivery {
    /// Reads a record of an SQS batch. Without a delivery, a failed message returns after the queue's visibility
    /// timeout.
    pub(super) fn of_record(record: &Value) -> Option<Delivery> {
        Some(Delivery {
            queue: QueueArn::parse(record["eventSourceARN"].as_str()?)?,
            receipt: record["receiptHandle"].as_str()?.to_owned(),
            count: record["attributes"]["ApproximateReceiveCount"].as_str()?.parse().ok()?,
        })
    }

    /// The seconds until the next delivery if this one fails. An unreadable message is the same each time, so it passes
    /// through its attempts at once and is soon in the dead-letter queue.
    pub fn delay(&self, is_readable: bool) -> i32 {
        if !is_readable {
            return 0;
        }
        let doublings = self.count.saturating_sub(1).min(10);
        (FIRST_DELAY << doublings).min(MAX_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(count: &str) -> Value {
        json!({
            "eventSourceARN": "arn:aws:sqs:eu-west-1:111122223333:events", "receiptHandle": "R",
            "attributes": {"ApproximateReceiveCount": count},
        })
    }

    #[test]
    fn a_failed_message_returns_after_1_2_4_and_8_minutes() {
        let minutes = |count: u32| {
            Delivery::of_record(&record(&count.to_string())).expect("a delivery").delay(true) / 60
        };
        assert_eq!([1, 2, 3, 4, 5, u32::MAX].map(minutes), [1, 2, 4, 8, 15, 15]);
        assert_eq!(minutes(0), 1);
        assert_eq!(Delivery::of_record(&record("1")).expect("a delivery").delay(false), 0);
    }

    #[test]
    fn a_record_without_what_sqs_needs_has_no_delivery() {
        let queue = Delivery::of_record(&record("1")).expect("a delivery").queue;
        assert_eq!((queue.account(), queue.name()), ("111122223333", "events"));
        assert_eq!(Delivery::of_record(&record("x")), None);
        let mut other = record("1");
        other["eventSourceARN"] = json!("arn:aws:kinesis:eu-west-1:111122223333:stream/x");
        assert_eq!(Delivery::of_record(&other), None);
        assert_eq!(Delivery::of_record(&json!({})), None);
    }
}

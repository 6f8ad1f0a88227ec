//! Lets failed messages of a queue return sooner than after the queue's visibility timeout, which has to be several
//! times as long as an invocation.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use aws_sdk_sqs::config::Builder;
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry as Entry;
use aws_sdk_sqs::{Client, Config};
use futures_util::future::join_all;

use crate::aws::deadline::Deadline;
use crate::aws::{AwsError, TooManyRequests, retry_partition};
use crate::domain::delivery::{Delivery, QueueArn};

/// The limit of SQS.
const MAX_ENTRIES: usize = 10;

const CHANGE: &str = "sqs:ChangeMessageVisibility";
const QUEUE_URL: &str = "sqs:GetQueueUrl";

#[derive(Debug)]
pub struct Sqs {
    config: Config,
    /// Created on first use, since messages rarely fail and an SDK client costs time at each cold start.
    client: OnceLock<Client>,
}

impl Sqs {
    pub fn new(config: Builder) -> Sqs {
        let config = config
            .retry_classifier(TooManyRequests)
            .retry_partition(retry_partition("sqs"))
            .build();
        Sqs { config, client: OnceLock::new() }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::from_conf(self.config.clone()))
    }

    /// Makes each message visible again after its own number of seconds. Returns the errors: these messages return after the
    /// visibility timeout of their queue.
    pub async fn return_after(
        &self,
        failed: &[(&Delivery, i32)],
        deadline: Deadline,
    ) -> Vec<AwsError> {
        let mut queues: BTreeMap<&QueueArn, Vec<(&Delivery, i32)>> = BTreeMap::new();
        for (delivery, seconds) in failed {
            queues.entry(&delivery.queue).or_default().push((delivery, *seconds));
        }
        let queues = queues.into_iter().map(async |(queue, deliveries)| {
            match self.queue_url(queue, deadline).await {
                Ok(url) => {
                    let batches = deliveries.chunks(MAX_ENTRIES);
                    let sent = batches.map(|batch| self.change(queue, &url, batch, deadline));
                    join_all(sent).await.into_iter().flatten().collect()
                }
                Err(error) => vec![error],
            }
        });
        join_all(queues).await.into_iter().flatten().collect()
    }

    async fn queue_url(&self, queue: &QueueArn, deadline: Deadline) -> Result<String, AwsError> {
        let request = self
            .client()
            .get_queue_url()
            .queue_name(queue.name())
            .queue_owner_aws_account_id(queue.account());
        let answer = deadline.send(request.send()).await;
        let answer = answer.map_err(|error| AwsError::sdk(QUEUE_URL, queue.as_str(), &error))?;
        answer
            .queue_url
            .ok_or_else(|| AwsError::new(QUEUE_URL, queue.as_str(), "the answer has no QueueUrl"))
    }

    async fn change(
        &self,
        queue: &QueueArn,
        url: &str,
        batch: &[(&Delivery, i32)],
        deadline: Deadline,
    ) -> Vec<AwsError> {
        let failed = |cause: String| AwsError::new(CHANGE, queue.as_str(), cause);
        let entry = |(number, (delivery, seconds)): (usize, &(&Delivery, i32))| {
            let entry = Entry::builder().id(number.to_string());
            entry.visibility_timeout(*seconds).receipt_handle(&delivery.receipt).build()
        };
        let entries: Result<Vec<Entry>, _> = batch.iter().enumerate().map(entry).collect();
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return vec![failed(error.to_string())],
        };
        let request = self.client().change_message_visibility_batch().queue_url(url);
        let answer = deadline.send(request.set_entries(Some(entries)).send()).await;
        match answer {
            Ok(answer) => {
                let causes = answer.failed.into_iter();
                causes
                    .map(|one| failed(format!("{}: {}", one.code, one.message.unwrap_or_default())))
                    .collect()
            }
            Err(error) => vec![AwsError::sdk(CHANGE, queue.as_str(), &error)],
        }
    }
}

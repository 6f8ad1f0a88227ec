//! Reads clusters and services from Amazon ECS.
//!
//! Tells who lives, who is gone, and what a service stands behind. Knows no DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::Builder;
use aws_sdk_ecs::operation::describe_services::DescribeServicesOutput;
use aws_sdk_ecs::types::{ServiceField, TaskSet};
use futures_util::{StreamExt, stream};

use crate::aws::{AwsError, Calls, Pace, silence};
use crate::service::{
    Answer, Behind, ClassicName, Gone, Home, Service, ServiceArn, TargetGroupArn, last_segment,
};
use crate::tags::TAG_PREFIX;

/// DescribeServices takes at most ten services, all of one cluster.
const DESCRIBE_AT_ONCE: usize = 10;

/// ListServices and ListClusters give at most 100 a page.
const PAGE: i32 = 100;

/// Requests under way at a time.
const SIDE_BY_SIDE: usize = 5;

/// A little less than the 100 at once and the 20 a second that ECS takes from the whole account. Without
/// it a full pass over thousands of services may fail: what is throttled tries again among four others that
/// do not wait, and may lose all of its tries.
fn reads() -> Pace {
    Pace::new(Duration::from_millis(55), 80)
}

const DESCRIBE: &str = "ecs:DescribeServices";

#[derive(Debug)]
pub struct Ecs {
    client: Client,
    pub calls: Calls,
    reads: Pace,
}

impl Ecs {
    #[must_use]
    pub fn new(config: Builder) -> Ecs {
        let calls = Calls::default();
        let config = config.interceptor(calls.clone()).build();
        Ecs { client: Client::from_conf(config), calls, reads: reads() }
    }

    /// Describes services by name: one entry for each that was asked for. Where ECS does not say
    /// what a service is, or that it is missing, the entry is why.
    pub async fn describe(
        &self,
        arns: &BTreeSet<ServiceArn>,
    ) -> BTreeMap<ServiceArn, Answer<Service>> {
        let mut clusters: BTreeMap<&str, Vec<&ServiceArn>> = BTreeMap::new();
        for arn in arns {
            clusters.entry(arn.cluster()).or_default().push(arn);
        }
        let chunks: Vec<(&str, &[&ServiceArn])> = clusters
            .iter()
            .flat_map(|(cluster, arns)| {
                arns.chunks(DESCRIBE_AT_ONCE).map(move |chunk| (*cluster, chunk))
            })
            .collect();
        stream::iter(chunks)
            .map(|(cluster, chunk)| self.describe_chunk(cluster, chunk))
            .buffer_unordered(SIDE_BY_SIDE)
            .fold(BTreeMap::new(), |mut all, some| async move {
                all.extend(some);
                all
            })
            .await
    }

    async fn describe_chunk(
        &self,
        cluster: &str,
        arns: &[&ServiceArn],
    ) -> Vec<(ServiceArn, Answer<Service>)> {
        // By cluster and name: a service with the short form of ARN does not answer to the long.
        let names = arns.iter().map(|arn| arn.service().to_owned()).collect();
        self.reads.turn(1).await;
        let answer = self
            .client
            .describe_services()
            .cluster(cluster)
            .set_services(Some(names))
            .include(ServiceField::Tags)
            .send()
            .await;
        let each = |say: &dyn Fn(&ServiceArn) -> Answer<Service>| {
            arns.iter().map(|arn| ((*arn).clone(), say(arn))).collect()
        };
        match answer {
            Ok(answer) => each(&|arn| found(arn, &answer)),
            // A cluster can only be deleted when it holds no service any more.
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(|error| error.is_cluster_not_found_exception()) =>
            {
                each(&|_| Ok(Service::Gone(Gone::Missing)))
            }
            Err(error) => {
                let error = AwsError::sdk(DESCRIBE, format!("the cluster {cluster}"), &error);
                each(&|_| Err(error.clone().into()))
            }
        }
    }

    /// Lists the active services of the clusters that `wanted` picks by name, and the errors that
    /// keep the list from being complete.
    pub async fn list(
        &self,
        home: &Home,
        wanted: impl Fn(&str) -> bool,
    ) -> (BTreeSet<ServiceArn>, Vec<AwsError>) {
        let (clusters, gap) = self.list_clusters().await;
        let clusters: BTreeSet<String> = clusters
            .iter()
            .map(|arn| last_segment(arn).to_owned())
            .filter(|cluster| wanted(cluster))
            .collect();
        stream::iter(clusters)
            .map(|cluster| self.list_services(home, cluster))
            .buffer_unordered(SIDE_BY_SIDE)
            .fold(
                (BTreeSet::new(), Vec::from_iter(gap)),
                |(mut all, mut gaps), (some, gap)| async move {
                    all.extend(some);
                    gaps.extend(gap);
                    (all, gaps)
                },
            )
            .await
    }

    async fn list_clusters(&self) -> (Vec<String>, Option<AwsError>) {
        let mut arns = Vec::new();
        let mut token = None;
        loop {
            self.reads.turn(1).await;
            let request = self.client.list_clusters().max_results(PAGE).set_next_token(token);
            let page = match request.send().await {
                Ok(page) => page,
                Err(error) => {
                    let gap = AwsError::sdk("ecs:ListClusters", "all clusters", &error);
                    return (arns, Some(gap));
                }
            };
            arns.extend(page.cluster_arns.unwrap_or_default());
            token = page.next_token;
            if token.is_none() {
                return (arns, None);
            }
        }
    }

    async fn list_services(
        &self,
        home: &Home,
        cluster: String,
    ) -> (Vec<ServiceArn>, Option<AwsError>) {
        const LIST: &str = "ecs:ListServices";
        let subject = || format!("the cluster {cluster}");
        let mut services = Vec::new();
        let mut gap = None;
        let mut token = None;
        loop {
            self.reads.turn(1).await;
            let request = self.client.list_services().cluster(&cluster).max_results(PAGE);
            let page = match request.set_next_token(token).send().await {
                Ok(page) => page,
                // Deleted since the clusters were listed, with all its services.
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_cluster_not_found_exception()) =>
                {
                    return (services, gap);
                }
                Err(error) => {
                    return (services, Some(AwsError::sdk(LIST, subject(), &error)));
                }
            };
            for arn in page.service_arns.unwrap_or_default() {
                match ServiceArn::new(home, &cluster, last_segment(&arn)) {
                    Ok(service) => services.push(service),
                    Err(error) => gap = Some(AwsError::new(LIST, subject(), error.to_string())),
                }
            }
            token = page.next_token;
            if token.is_none() {
                return (services, gap);
            }
        }
    }
}

/// What an answer says of one service. Silence is an error: it proves nothing.
fn found(arn: &ServiceArn, answer: &DescribeServicesOutput) -> Answer<Service> {
    let named =
        answer.services().iter().filter(|service| service.service_name() == Some(arn.service()));
    // Deleted and created again, a name may for a while stand for both: the living one counts.
    let is_gone = |service: &&aws_sdk_ecs::types::Service| {
        matches!(service.status(), Some("DRAINING" | "INACTIVE"))
    };
    if let Some(service) = named.min_by_key(is_gone) {
        return Ok(match service.status() {
            Some("DRAINING") => Service::Gone(Gone::Draining),
            Some("INACTIVE") => Service::Gone(Gone::Inactive),
            _ => Service::Live {
                created_at_ms: service
                    .created_at()
                    .and_then(|at| at.to_millis().ok())
                    .unwrap_or_default(),
                behind: behind(service),
                tags: service
                    .tags()
                    .iter()
                    .filter_map(|tag| Some((tag.key()?, tag.value().unwrap_or_default())))
                    .filter(|(key, _)| key.starts_with(TAG_PREFIX))
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
            },
        });
    }
    let failure = answer
        .failures()
        .iter()
        .find(|failure| failure.arn().is_some_and(|failed| last_segment(failed) == arn.service()));
    match failure.map(|failure| failure.reason().unwrap_or("no reason given")) {
        Some("MISSING") => Ok(Service::Gone(Gone::Missing)),
        Some(reason) => Err(AwsError::new(DESCRIBE, arn.to_string(), reason).into()),
        None => Err(silence(DESCRIBE, arn)),
    }
}

/// What a service stands behind, each once: its own load balancers, and those of its task sets,
/// which the controllers CODE_DEPLOY and EXTERNAL give them instead. The primary task set comes
/// first, one that is draining last.
fn behind(service: &aws_sdk_ecs::types::Service) -> Vec<Behind> {
    let mut sets: Vec<&TaskSet> = service.task_sets().iter().collect();
    sets.sort_by_key(|set| match set.status() {
        Some("PRIMARY") => 0,
        Some("DRAINING") => 2,
        _ => 1,
    });
    let of_sets = sets.iter().flat_map(|set| set.load_balancers());
    let mut all = Vec::new();
    for balancer in service.load_balancers().iter().chain(of_sets) {
        let behind = match (balancer.target_group_arn(), balancer.load_balancer_name()) {
            (Some(arn), _) => Behind::TargetGroup(TargetGroupArn::new(arn)),
            (None, Some(name)) => Behind::Classic(ClassicName::new(name)),
            (None, None) => continue,
        };
        if !all.contains(&behind) {
            all.push(behind);
        }
    }
    all
}

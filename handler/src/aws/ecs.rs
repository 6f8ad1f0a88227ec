//! Lists and describes the services of Amazon ECS: which of them are alive, which are gone, and which
//! load balancers they use. Contains no DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use aws_sdk_ecs::Client;
use aws_sdk_ecs::config::Builder;
use aws_sdk_ecs::operation::describe_services::DescribeServicesOutput;
use aws_sdk_ecs::primitives::DateTime;
use aws_sdk_ecs::types::{
    DeploymentRolloutState, ResourceManagementType, ServiceField, StabilityStatus, TaskSet,
};
use futures_util::{StreamExt, stream};

use crate::aws::deadline::Deadline;
use crate::aws::pages::Pages;
use crate::aws::rate_limiter::{Priority, RateLimiter};
use crate::aws::{
    AwsError, Halvings, MAX_CONCURRENT_DESCRIBES, RequestCounter, TooManyRequests, is_rejection,
    omitted, required, retry_partition,
};
use crate::domain::service::{
    AwsLocation, ClassicName, Gone, LoadBalancerRef, ReadResult, Service, ServiceArn,
    TargetGroupArn, last_segment,
};
use crate::domain::tags::TAG_PREFIX;

/// One DescribeServices request takes ten services, all of one cluster.
const MAX_SERVICES_PER_DESCRIBE: usize = 10;

/// The limit of ListServices and ListClusters.
const MAX_PAGE_SIZE: i32 = 100;

/// Half of the 100 requests at once and 20 a second that ECS allows for the whole account. Without a limit a full pass
/// over thousands of services may fail: a throttled request retries beside four others that do not wait, and can lose
/// all of its attempts.
fn rate_limiter() -> RateLimiter {
    RateLimiter::new(Duration::from_millis(100), 50)
}

const DESCRIBE: &str = "ecs:DescribeServices";
const LIST_CLUSTERS: &str = "ecs:ListClusters";
const LIST_SERVICES: &str = "ecs:ListServices";

/// A deployment without any change for this time does not keep a record from moving.
const MAX_DEPLOYMENT_PAUSE: Duration = Duration::from_secs(3_600);

/// A deployment that began before this time does not keep a record from moving, even if ECS starts one task after the
/// other.
const MAX_DEPLOYMENT_DURATION: Duration = Duration::from_secs(24 * 3_600);

/// The pause before a missing service is described again.
const CONFIRMATION_DELAY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Ecs {
    client: Client,
    pub(super) counter: RequestCounter,
    rate_limiter: RateLimiter,
}

impl Ecs {
    pub fn new(config: Builder) -> Ecs {
        let counter = RequestCounter::default();
        let config = config
            .interceptor(counter.clone())
            .retry_classifier(TooManyRequests)
            .retry_partition(retry_partition("ecs"))
            .build();
        Ecs { client: Client::from_conf(config), counter, rate_limiter: rate_limiter() }
    }

    /// Describes services by name. The result has one entry per service. A service that the answer
    /// omits is a `ReadError`, never proof that it is gone.
    ///
    /// For some seconds ECS may not find a service or a cluster that exists. So the services that are missing
    /// are described a second time after a pause.
    ///
    /// A deployment that has not changed for a long time before `now` does not count as one.
    pub async fn describe(
        &self,
        arns: &BTreeSet<ServiceArn>,
        now: SystemTime,
        priority: Priority,
        deadline: Deadline,
    ) -> BTreeMap<ServiceArn, ReadResult<Service>> {
        let mut described = self.describe_once(arns, now, priority, deadline).await;
        let is_missing = |result: &ReadResult<Service>| *result == Ok(Service::Gone(Gone::Missing));
        let missing: BTreeSet<ServiceArn> = described
            .iter()
            .filter(|(_, result)| is_missing(result))
            .map(|(arn, _)| arn.clone())
            .collect();
        if !missing.is_empty() {
            deadline.sleep(CONFIRMATION_DELAY).await;
            described.extend(self.describe_once(&missing, now, priority, deadline).await);
        }
        described
    }

    async fn describe_once(
        &self,
        arns: &BTreeSet<ServiceArn>,
        now: SystemTime,
        priority: Priority,
        deadline: Deadline,
    ) -> BTreeMap<ServiceArn, ReadResult<Service>> {
        let mut clusters: BTreeMap<&str, Vec<&ServiceArn>> = BTreeMap::new();
        for arn in arns {
            clusters.entry(arn.cluster()).or_default().push(arn);
        }
        // Each cluster has its own, so that one whose services are denied leaves enough to the others.
        let halvings = |arns: &Vec<&ServiceArn>| {
            Halvings::for_requests(arns.len().div_ceil(MAX_SERVICES_PER_DESCRIBE))
        };
        let clusters: Vec<_> =
            clusters.into_iter().map(|(cluster, arns)| (cluster, halvings(&arns), arns)).collect();
        let chunks: Vec<(&str, &Halvings, &[&ServiceArn])> = clusters
            .iter()
            .flat_map(|(cluster, halvings, arns)| {
                arns.chunks(MAX_SERVICES_PER_DESCRIBE).map(move |chunk| (*cluster, halvings, chunk))
            })
            .collect();
        stream::iter(chunks)
            .map(|(cluster, halvings, chunk)| {
                self.describe_chunk(cluster, chunk, now, priority, deadline, halvings)
            })
            .buffer_unordered(MAX_CONCURRENT_DESCRIBES)
            .fold(BTreeMap::new(), |mut all, some| async move {
                all.extend(some);
                all
            })
            .await
    }

    /// Describes services of one cluster. ECS may reject the request because of one of them, so a rejected one is
    /// halved until that service is alone.
    async fn describe_chunk(
        &self,
        cluster: &str,
        arns: &[&ServiceArn],
        now: SystemTime,
        priority: Priority,
        deadline: Deadline,
        halvings: &Halvings,
    ) -> Vec<(ServiceArn, ReadResult<Service>)> {
        let mut described = Vec::new();
        let mut chunks = vec![arns];
        while let Some(chunk) = chunks.pop() {
            // By cluster and name: a service with the short form of ARN is not found by the long one.
            let names = chunk.iter().map(|arn| arn.service().to_owned()).collect();
            let request = self
                .client
                .describe_services()
                .cluster(cluster)
                .set_services(Some(names))
                .include(ServiceField::Tags);
            let answer = self.rate_limiter.send(priority, deadline, request.send()).await;
            let mut each = |result: &dyn Fn(&ServiceArn) -> ReadResult<Service>| {
                described.extend(chunk.iter().map(|arn| ((*arn).clone(), result(arn))));
            };
            match answer {
                Ok(answer) => each(&|arn| found(arn, &answer, now)),
                // ECS deletes a cluster only when it has no services left.
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_cluster_not_found_exception()) =>
                {
                    each(&|_| Ok(Service::Gone(Gone::Missing)));
                }
                Err(error) if chunk.len() > 1 && is_rejection(&error) && halvings.take() => {
                    let (left, right) = chunk.split_at(chunk.len() / 2);
                    chunks.extend([right, left]);
                }
                Err(error) => {
                    let error = AwsError::sdk(DESCRIBE, format!("the cluster {cluster}"), &error);
                    each(&|_| Err(error.clone().into()));
                }
            }
        }
        described
    }

    /// Lists the active services of the clusters whose names match `is_included`, together with the
    /// errors that keep the list from being complete.
    pub async fn list(
        &self,
        location: &AwsLocation,
        is_included: impl Fn(&str) -> bool,
        priority: Priority,
        deadline: Deadline,
    ) -> (BTreeSet<ServiceArn>, Vec<AwsError>) {
        let (clusters, error) = self.list_clusters(priority, deadline).await;
        let clusters: BTreeSet<String> = clusters
            .iter()
            .map(|arn| last_segment(arn).to_owned())
            .filter(|cluster| is_included(cluster))
            .collect();
        stream::iter(clusters)
            .map(|cluster| self.list_services(location, cluster, priority, deadline))
            .buffer_unordered(MAX_CONCURRENT_DESCRIBES)
            .fold(
                (BTreeSet::new(), Vec::from_iter(error)),
                |(mut all, mut errors), (some, error)| async move {
                    all.extend(some);
                    errors.extend(error);
                    (all, errors)
                },
            )
            .await
    }

    async fn list_clusters(
        &self,
        priority: Priority,
        deadline: Deadline,
    ) -> (Vec<String>, Option<AwsError>) {
        const ALL: &str = "all clusters";
        let mut arns = Vec::new();
        let mut token = None;
        let mut pages = Pages::default();
        loop {
            let request =
                self.client.list_clusters().max_results(MAX_PAGE_SIZE).set_next_token(token);
            let page = match self.rate_limiter.send(priority, deadline, request.send()).await {
                Ok(page) => page,
                Err(error) => return (arns, Some(AwsError::sdk(LIST_CLUSTERS, ALL, &error))),
            };
            arns.extend(page.cluster_arns.unwrap_or_default());
            token = match pages.next(page.next_token) {
                Ok(None) => return (arns, None),
                Ok(next) => next,
                Err(cause) => return (arns, Some(AwsError::new(LIST_CLUSTERS, ALL, cause))),
            };
        }
    }

    async fn list_services(
        &self,
        location: &AwsLocation,
        cluster: String,
        priority: Priority,
        deadline: Deadline,
    ) -> (Vec<ServiceArn>, Option<AwsError>) {
        let subject = || format!("the cluster {cluster}");
        let mut services = Vec::new();
        let mut invalid = None;
        let mut token = None;
        let mut pages = Pages::default();
        loop {
            let request = self.client.list_services().cluster(&cluster).max_results(MAX_PAGE_SIZE);
            let request = request.set_next_token(token);
            let page = match self.rate_limiter.send(priority, deadline, request.send()).await {
                Ok(page) => page,
                // The cluster was deleted, with all its services, after the clusters were listed.
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_cluster_not_found_exception()) =>
                {
                    return (services, invalid);
                }
                Err(error) => {
                    return (services, Some(AwsError::sdk(LIST_SERVICES, subject(), &error)));
                }
            };
            for arn in page.service_arns.unwrap_or_default() {
                match ServiceArn::new(location, &cluster, last_segment(&arn)) {
                    Ok(service) => services.push(service),
                    Err(error) => {
                        invalid = Some(AwsError::new(LIST_SERVICES, subject(), error.to_string()));
                    }
                }
            }
            token = match pages.next(page.next_token) {
                Ok(None) => return (services, invalid),
                Ok(next) => next,
                Err(cause) => {
                    return (services, Some(AwsError::new(LIST_SERVICES, subject(), cause)));
                }
            };
        }
    }
}

/// One service in an answer of DescribeServices.
fn found(
    arn: &ServiceArn,
    answer: &DescribeServicesOutput,
    now: SystemTime,
) -> ReadResult<Service> {
    let named =
        answer.services().iter().filter(|service| service.service_name() == Some(arn.service()));
    // After a service was deleted and created again, an answer may describe both. The live one counts.
    let is_gone = |service: &&aws_sdk_ecs::types::Service| {
        matches!(service.status(), Some("DRAINING" | "INACTIVE"))
    };
    if let Some(service) = named.min_by_key(is_gone) {
        return describe(arn, service, now);
    }
    let failure = answer
        .failures()
        .iter()
        .find(|failure| failure.arn().is_some_and(|failed| last_segment(failed) == arn.service()));
    match failure.map(|failure| failure.reason().unwrap_or("no reason given")) {
        Some("MISSING") => Ok(Service::Gone(Gone::Missing)),
        Some(reason) => Err(AwsError::new(DESCRIBE, arn.to_string(), reason).into()),
        None => Err(omitted(DESCRIBE, arn)),
    }
}

fn describe(
    arn: &ServiceArn,
    service: &aws_sdk_ecs::types::Service,
    now: SystemTime,
) -> ReadResult<Service> {
    let created_at_ms = service.created_at().and_then(|at| at.to_millis().ok());
    // The time only tells a service from a former one of the same name. Without it, the answer counts as one about the
    // service that the event is about, if that one is gone, and otherwise as one about the former service.
    let created_or_later = created_at_ms.unwrap_or(i64::MAX);
    let uses_shared_ingress =
        service.resource_management_type() == Some(&ResourceManagementType::Ecs);
    match required(DESCRIBE, arn, "status", service.status())? {
        "DRAINING" => Ok(Service::Gone(Gone::Draining { created_at_ms: created_or_later })),
        "INACTIVE" => Ok(Service::Gone(Gone::Inactive { created_at_ms: created_or_later })),
        _ => {
            // ECS describes no load balancers of an Express Mode service.
            if !uses_shared_ingress {
                required(DESCRIBE, arn, "loadBalancers", service.load_balancers.as_ref())?;
            }
            Ok(Service::Live {
                created_at_ms: created_at_ms.unwrap_or_default(),
                load_balancers: load_balancers(service),
                is_deploying: is_deploying(service, now),
                uses_shared_ingress,
                tags: service
                    .tags()
                    .iter()
                    .filter_map(|tag| Some((tag.key()?, tag.value().unwrap_or_default())))
                    .filter(|(key, _)| key.starts_with(TAG_PREFIX))
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
            })
        }
    }
}

/// Whether the present deployment has not reached its number of tasks, or has failed to: a failed one may be
/// rolled back. With the controllers CODE_DEPLOY and EXTERNAL, the primary task set keeps its load balancer until
/// its successor takes over, so only a primary task set that is not stable yet counts. A deployment that has not
/// changed for a long time, or that takes very long, does not.
fn is_deploying(service: &aws_sdk_ecs::types::Service, now: SystemTime) -> bool {
    let is_within = |limit: Duration, at: &DateTime| {
        let at = SystemTime::try_from(*at).ok();
        at.and_then(|at| at.checked_add(limit)).is_some_and(|end| end > now)
    };
    let is_recent = |changed: Option<&DateTime>, began: Option<&DateTime>| {
        changed.is_some_and(|at| is_within(MAX_DEPLOYMENT_PAUSE, at))
            && began.is_none_or(|at| is_within(MAX_DEPLOYMENT_DURATION, at))
    };
    let deployment = service.deployments().iter().find(|one| one.status() == Some("PRIMARY"));
    let task_set = service.task_sets().iter().find(|set| set.status() == Some("PRIMARY"));
    deployment.is_some_and(|deployment| {
        let unfinished = [DeploymentRolloutState::InProgress, DeploymentRolloutState::Failed];
        deployment.rollout_state().is_some_and(|state| unfinished.contains(state))
            && is_recent(deployment.updated_at(), deployment.created_at())
    }) || task_set.is_some_and(|set| {
        set.stability_status() == Some(&StabilityStatus::Stabilizing)
            && is_recent(set.stability_status_at(), set.created_at())
    })
}

/// The load balancers of a service, each once: its own ones, then those of its task sets, which the
/// deployment controllers CODE_DEPLOY and EXTERNAL use instead. The primary task set comes first, draining
/// ones come last.
fn load_balancers(service: &aws_sdk_ecs::types::Service) -> Vec<LoadBalancerRef> {
    let mut sets: Vec<&TaskSet> = service.task_sets().iter().collect();
    sets.sort_by_key(|set| match set.status() {
        Some("PRIMARY") => 0,
        Some("DRAINING") => 2,
        _ => 1,
    });
    let of_sets = sets.iter().flat_map(|set| set.load_balancers());
    let mut all = Vec::new();
    for balancer in service.load_balancers().iter().chain(of_sets) {
        let reference = match (balancer.target_group_arn(), balancer.load_balancer_name()) {
            (Some(arn), _) => LoadBalancerRef::TargetGroup(TargetGroupArn::new(arn)),
            (None, Some(name)) => LoadBalancerRef::Classic(ClassicName::new(name)),
            (None, None) => continue,
        };
        if !all.contains(&reference) {
            all.push(reference);
        }
    }
    all
}

//! Describes the target groups and the load balancers of Elastic Load Balancing v2: application and
//! network load balancers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::config::Builder;
use aws_sdk_elasticloadbalancingv2::operation::describe_load_balancers::builders::DescribeLoadBalancersFluentBuilder;
use aws_sdk_elasticloadbalancingv2::types::{
    LoadBalancer as Description, LoadBalancerSchemeEnum, LoadBalancerStateEnum, TargetGroup,
};

use crate::aws::deadline::Deadline;
use crate::aws::pages::Pages;
use crate::aws::rate_limiter::{Priority, RateLimiter, half_of_elb_rate};
use crate::aws::{
    AwsError, DescribeError, RequestCounter, TooManyRequests, describe_many, required,
    retry_partition,
};
use crate::domain::dns::DnsName;
use crate::domain::service::{
    LoadBalancer, LoadBalancerArn, ReadResult, Scheme, TargetGroupArn, VpcId,
};

const MAX_PAGE_SIZE: i32 = 400;

/// The load balancers that are read ahead for an event. Reading one costs about 1 KiB and 10 µs of processor time, so
/// that these cost less than the round trip that they save in a small account, and little in a large one.
const PREFETCH_SIZE: i32 = 20;

/// DescribeLoadBalancers documents this limit. DescribeTargetGroups enforces the same one.
const MAX_ARNS_PER_DESCRIBE: usize = 20;

const DESCRIBE_GROUPS: &str = "elasticloadbalancing:DescribeTargetGroups";
const DESCRIBE_BALANCERS: &str = "elasticloadbalancing:DescribeLoadBalancers";
const ALL_GROUPS: &str = "all target groups";
const ALL_BALANCERS: &str = "all load balancers";

/// The load balancers of each target group. `None` for a target group that does not exist.
pub type TargetGroups = BTreeMap<TargetGroupArn, ReadResult<Option<Vec<LoadBalancerArn>>>>;

/// `None` for a load balancer that does not exist.
pub type LoadBalancers = BTreeMap<LoadBalancerArn, ReadResult<Option<LoadBalancer>>>;

#[derive(Debug)]
pub struct Elb {
    client: Client,
    pub(super) counter: RequestCounter,
    rate_limiter: RateLimiter,
    /// Whether the account has more load balancers than are read ahead.
    is_large: AtomicBool,
}

struct Page {
    balancers: LoadBalancers,
    next: Option<String>,
}

impl Elb {
    pub fn new(config: Builder) -> Elb {
        let counter = RequestCounter::default();
        let config = config
            .interceptor(counter.clone())
            .retry_classifier(TooManyRequests)
            .retry_partition(retry_partition("elb"))
            .build();
        Elb {
            client: Client::from_conf(config),
            counter,
            rate_limiter: half_of_elb_rate(),
            is_large: AtomicBool::default(),
        }
    }

    /// The first few load balancers. A small account has no more, so this request often returns the needed load balancer
    /// before its ARN is known. In a large account it is described by its ARN afterwards. So once a process has found
    /// that the account has more, it sends this request no longer.
    pub async fn first_load_balancers(
        &self,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<LoadBalancers, AwsError> {
        if self.is_large.load(Ordering::Relaxed) {
            return Ok(LoadBalancers::new());
        }
        let page = self.page(PREFETCH_SIZE, None, priority, deadline).await?;
        self.is_large.store(page.next.is_some(), Ordering::Relaxed);
        Ok(page.balancers)
    }

    pub async fn all_load_balancers(
        &self,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<LoadBalancers, AwsError> {
        let mut all = LoadBalancers::new();
        let mut pages = Pages::default();
        let mut marker = None;
        loop {
            let mut page = self.page(MAX_PAGE_SIZE, marker, priority, deadline).await?;
            all.append(&mut page.balancers);
            let next = pages.next(page.next);
            marker =
                next.map_err(|cause| AwsError::new(DESCRIBE_BALANCERS, ALL_BALANCERS, cause))?;
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    async fn page(
        &self,
        size: i32,
        marker: Option<String>,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<Page, AwsError> {
        let request = self.client.describe_load_balancers().page_size(size).set_marker(marker);
        let page = self
            .rate_limiter
            .send(priority, deadline, request.send())
            .await
            .map_err(|error| AwsError::sdk(DESCRIBE_BALANCERS, ALL_BALANCERS, &error))?;
        let balancers = page.load_balancers().iter().filter_map(read_balancer);
        Ok(Page { balancers: balancers.collect(), next: page.next_marker })
    }

    pub async fn all_target_groups(
        &self,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<TargetGroups, AwsError> {
        let mut all = TargetGroups::new();
        let mut pages = Pages::default();
        let mut marker = None;
        loop {
            let request =
                self.client.describe_target_groups().page_size(MAX_PAGE_SIZE).set_marker(marker);
            let page = self
                .rate_limiter
                .send(priority, deadline, request.send())
                .await
                .map_err(|error| AwsError::sdk(DESCRIBE_GROUPS, ALL_GROUPS, &error))?;
            all.extend(page.target_groups().iter().filter_map(read_group));
            let next = pages.next(page.next_marker);
            marker = next.map_err(|cause| AwsError::new(DESCRIBE_GROUPS, ALL_GROUPS, cause))?;
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    pub async fn target_groups(
        &self,
        arns: &BTreeSet<TargetGroupArn>,
        priority: Priority,
        deadline: Deadline,
    ) -> TargetGroups {
        let request = async |arns: Vec<String>| {
            let subject = arns.join(", ");
            let request = self.client.describe_target_groups().set_target_group_arns(Some(arns));
            let answer = self.rate_limiter.send(priority, deadline, request.send()).await;
            let answer = answer.map_err(|error| match error.as_service_error() {
                Some(error) if error.is_target_group_not_found_exception() => {
                    DescribeError::NotFound
                }
                _ => DescribeError::sdk(DESCRIBE_GROUPS, subject, &error),
            })?;
            Ok(answer.target_groups().iter().filter_map(read_group).collect())
        };
        describe_many(DESCRIBE_GROUPS, arns, MAX_ARNS_PER_DESCRIBE, None, request).await
    }

    pub async fn load_balancers(
        &self,
        arns: &BTreeSet<LoadBalancerArn>,
        priority: Priority,
        deadline: Deadline,
    ) -> LoadBalancers {
        let request = async |arns: Vec<String>| {
            let subject = arns.join(", ");
            let request = self.client.describe_load_balancers().set_load_balancer_arns(Some(arns));
            let found = self.described(request, subject, priority, deadline).await?;
            Ok(found.iter().filter_map(read_balancer).collect())
        };
        describe_many(DESCRIBE_BALANCERS, arns, MAX_ARNS_PER_DESCRIBE, None, request).await
    }

    /// The load balancers with these names that exist. Errors are left out, so an absent one may exist.
    pub async fn named_load_balancers(
        &self,
        names: &BTreeSet<String>,
        priority: Priority,
        deadline: Deadline,
    ) -> LoadBalancers {
        let request = async |names: Vec<String>| {
            let subject = names.join(", ");
            let request = self.client.describe_load_balancers().set_names(Some(names));
            let found = self.described(request, subject, priority, deadline).await?;
            let named = found.iter().filter_map(|balancer| {
                let name = balancer.load_balancer_name()?.to_owned();
                Some((name, Ok(read_balancer(balancer))))
            });
            Ok(named.collect())
        };
        let named =
            describe_many(DESCRIBE_BALANCERS, names, MAX_ARNS_PER_DESCRIBE, None, request).await;
        named.into_values().filter_map(|read| read.ok().flatten()).collect()
    }

    /// Describes the load balancers that a request names.
    async fn described(
        &self,
        request: DescribeLoadBalancersFluentBuilder,
        subject: String,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<Vec<Description>, DescribeError> {
        let answer = self.rate_limiter.send(priority, deadline, request.send()).await;
        let answer = answer.map_err(|error| match error.as_service_error() {
            Some(error) if error.is_load_balancer_not_found_exception() => DescribeError::NotFound,
            _ => DescribeError::sdk(DESCRIBE_BALANCERS, subject, &error),
        })?;
        Ok(answer.load_balancers.unwrap_or_default())
    }
}

fn read_group(
    group: &TargetGroup,
) -> Option<(TargetGroupArn, ReadResult<Option<Vec<LoadBalancerArn>>>)> {
    let balancers = group.load_balancer_arns().iter().map(LoadBalancerArn::new).collect();
    Some((TargetGroupArn::new(group.target_group_arn()?), Ok(Some(balancers))))
}

fn read_balancer(
    balancer: &Description,
) -> Option<(LoadBalancerArn, ReadResult<Option<LoadBalancer>>)> {
    let arn = LoadBalancerArn::new(balancer.load_balancer_arn()?);
    let read = describe(balancer, &arn).map(Some);
    Some((arn, read))
}

fn describe(balancer: &Description, arn: &LoadBalancerArn) -> ReadResult<LoadBalancer> {
    let address_type =
        required(DESCRIBE_BALANCERS, arn, "IpAddressType", balancer.ip_address_type())?;
    Ok(LoadBalancer {
        name: balancer.load_balancer_name().unwrap_or(arn.as_str()).to_owned(),
        vpc: VpcId::new(required(DESCRIBE_BALANCERS, arn, "VpcId", balancer.vpc_id())?),
        scheme: match required(DESCRIBE_BALANCERS, arn, "Scheme", balancer.scheme())? {
            LoadBalancerSchemeEnum::Internal => Scheme::Internal,
            _ => Scheme::InternetFacing,
        },
        dns_name: balancer.dns_name().and_then(|name| DnsName::parse(name).ok()),
        canonical_zone: balancer.canonical_hosted_zone_id().map(str::to_owned),
        dualstack: address_type.as_str().starts_with("dualstack"),
        has_failed: balancer.state().and_then(|state| state.code())
            == Some(&LoadBalancerStateEnum::Failed),
    })
}

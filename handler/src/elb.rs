//! Reads target groups and load balancers from Elastic Load Balancing v2: application and network
//! load balancers.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::Client;
use aws_sdk_elasticloadbalancingv2::config::Builder;
use aws_sdk_elasticloadbalancingv2::types::{LoadBalancerSchemeEnum, TargetGroup};

use crate::aws::{AwsError, Calls, halves, list, silence};
use crate::dns::DnsName;
use crate::service::{
    Answer, LoadBalancer, LoadBalancerArn, Scheme, TargetGroupArn, Unread, VpcId,
};

/// At most so many of either in one page.
const PAGE: i32 = 400;

/// DescribeLoadBalancers takes at most 20 ARNs. That of DescribeTargetGroups is not documented.
const BY_ARN_AT_ONCE: usize = 20;

const GROUPS: &str = "elasticloadbalancing:DescribeTargetGroups";
const BALANCERS: &str = "elasticloadbalancing:DescribeLoadBalancers";

/// The load balancers behind each target group, or why they could not be read.
pub type TargetGroups = BTreeMap<TargetGroupArn, Answer<Vec<LoadBalancerArn>>>;

/// None for a load balancer that does not exist.
pub type LoadBalancers = BTreeMap<LoadBalancerArn, Answer<Option<LoadBalancer>>>;

#[derive(Debug)]
pub struct Elb {
    client: Client,
    pub calls: Calls,
}

/// A page of load balancers, and where the next begins.
struct Page {
    balancers: LoadBalancers,
    next: Option<String>,
}

impl Elb {
    #[must_use]
    pub fn new(config: Builder) -> Elb {
        let calls = Calls::default();
        let config = config.interceptor(calls.clone()).build();
        Elb { client: Client::from_conf(config), calls }
    }

    /// The first 400 load balancers: in nearly every account all of them, and readable before
    /// it is known which are needed.
    ///
    /// # Errors
    /// If the page could not be read.
    pub async fn first_load_balancers(&self) -> Result<LoadBalancers, AwsError> {
        Ok(self.page(None).await?.balancers)
    }

    /// # Errors
    /// If any page could not be read.
    pub async fn all_load_balancers(&self) -> Result<LoadBalancers, AwsError> {
        let mut page = self.page(None).await?;
        let mut all = page.balancers;
        while let Some(next) = page.next {
            page = self.page(Some(next)).await?;
            all.append(&mut page.balancers);
        }
        Ok(all)
    }

    async fn page(&self, marker: Option<String>) -> Result<Page, AwsError> {
        let request = self.client.describe_load_balancers().page_size(PAGE).set_marker(marker);
        let page = request
            .send()
            .await
            .map_err(|error| AwsError::sdk(BALANCERS, "all load balancers", &error))?;
        let balancers = page.load_balancers().iter().filter_map(read_balancer).collect();
        Ok(Page { balancers, next: page.next_marker })
    }

    /// # Errors
    /// If any page could not be read.
    pub async fn all_target_groups(&self) -> Result<TargetGroups, AwsError> {
        let mut all = TargetGroups::new();
        let mut marker = None;
        loop {
            let request = self.client.describe_target_groups().page_size(PAGE).set_marker(marker);
            let page = request
                .send()
                .await
                .map_err(|error| AwsError::sdk(GROUPS, "all target groups", &error))?;
            all.extend(page.target_groups().iter().filter_map(read_group));
            marker = page.next_marker;
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    /// One entry for each target group that was asked for; one that does not exist has none
    /// behind it.
    pub async fn target_groups(&self, arns: &BTreeSet<TargetGroupArn>) -> TargetGroups {
        let mut all = TargetGroups::new();
        let arns: Vec<_> = arns.iter().cloned().collect();
        let mut work: Vec<&[TargetGroupArn]> = arns.chunks(BY_ARN_AT_ONCE).collect();
        while let Some(chunk) = work.pop() {
            let texts = chunk.iter().map(ToString::to_string).collect();
            let request = self.client.describe_target_groups().set_target_group_arns(Some(texts));
            match request.send().await {
                Ok(answer) => {
                    all.extend(chunk.iter().map(|arn| (arn.clone(), Err(silence(GROUPS, arn)))));
                    all.extend(answer.target_groups().iter().filter_map(read_group));
                }
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_target_group_not_found_exception()) =>
                {
                    match chunk {
                        [absent] => drop(all.insert(absent.clone(), Ok(Vec::new()))),
                        several => work.extend(halves(several)),
                    }
                }
                Err(error) => {
                    let why = Unread::from(AwsError::sdk(GROUPS, list(chunk), &error));
                    all.extend(chunk.iter().map(|arn| (arn.clone(), Err(why.clone()))));
                }
            }
        }
        all
    }

    /// One entry for each load balancer that was asked for.
    pub async fn load_balancers(&self, arns: &BTreeSet<LoadBalancerArn>) -> LoadBalancers {
        let mut all = LoadBalancers::new();
        let arns: Vec<_> = arns.iter().cloned().collect();
        let mut work: Vec<&[LoadBalancerArn]> = arns.chunks(BY_ARN_AT_ONCE).collect();
        while let Some(chunk) = work.pop() {
            let texts = chunk.iter().map(ToString::to_string).collect();
            let request = self.client.describe_load_balancers().set_load_balancer_arns(Some(texts));
            match request.send().await {
                Ok(answer) => {
                    all.extend(chunk.iter().map(|arn| (arn.clone(), Err(silence(BALANCERS, arn)))));
                    all.extend(answer.load_balancers().iter().filter_map(read_balancer));
                }
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_load_balancer_not_found_exception()) =>
                {
                    match chunk {
                        [absent] => drop(all.insert(absent.clone(), Ok(None))),
                        several => work.extend(halves(several)),
                    }
                }
                Err(error) => {
                    let why = Unread::from(AwsError::sdk(BALANCERS, list(chunk), &error));
                    all.extend(chunk.iter().map(|arn| (arn.clone(), Err(why.clone()))));
                }
            }
        }
        all
    }
}

fn read_group(group: &TargetGroup) -> Option<(TargetGroupArn, Answer<Vec<LoadBalancerArn>>)> {
    let balancers = group.load_balancer_arns().iter().map(LoadBalancerArn::new).collect();
    Some((TargetGroupArn::new(group.target_group_arn()?), Ok(balancers)))
}

fn read_balancer(
    balancer: &aws_sdk_elasticloadbalancingv2::types::LoadBalancer,
) -> Option<(LoadBalancerArn, Answer<Option<LoadBalancer>>)> {
    let arn = LoadBalancerArn::new(balancer.load_balancer_arn()?);
    let read = LoadBalancer {
        name: balancer.load_balancer_name().unwrap_or(arn.as_str()).to_owned(),
        vpc: VpcId::new(balancer.vpc_id().unwrap_or_default()),
        scheme: match balancer.scheme() {
            Some(LoadBalancerSchemeEnum::Internal) => Scheme::Internal,
            _ => Scheme::InternetFacing,
        },
        dns_name: balancer.dns_name().and_then(|name| DnsName::parse(name).ok()),
        canonical_zone: balancer.canonical_hosted_zone_id().map(str::to_owned),
        dualstack: balancer
            .ip_address_type()
            .is_some_and(|kind| kind.as_str().starts_with("dualstack")),
    };
    Some((arn, Ok(Some(read))))
}

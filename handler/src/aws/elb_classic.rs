//! Describes classic load balancers. They have an API of their own, with its own rate limit, and are
//! identified by name instead of ARN.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use aws_sdk_elasticloadbalancing::config::Builder;
use aws_sdk_elasticloadbalancing::types::LoadBalancerDescription;
use aws_sdk_elasticloadbalancing::{Client, Config};

use crate::aws::deadline::Deadline;
use crate::aws::pages::Pages;
use crate::aws::rate_limiter::{Priority, RateLimiter, half_of_elb_rate};
use crate::aws::{
    AwsError, DescribeError, RequestCounter, TooManyRequests, describe_many, required,
    retry_partition,
};
use crate::domain::dns::DnsName;
use crate::domain::service::{ClassicName, LoadBalancer, ReadResult, Scheme, VpcId};

/// AWS documents no limit for names in one request. 20 is the limit of the newer API.
const MAX_NAMES_PER_DESCRIBE: usize = 20;

const MAX_PAGE_SIZE: i32 = 400;

const DESCRIBE: &str = "elasticloadbalancing:DescribeLoadBalancers";

/// `None` for a load balancer that does not exist.
pub type ClassicBalancers = BTreeMap<ClassicName, ReadResult<Option<LoadBalancer>>>;

#[derive(Debug)]
pub struct ElbClassic {
    config: Config,
    /// Created on first use: few environments have classic load balancers, and an SDK client costs time
    /// at each cold start.
    client: OnceLock<Client>,
    pub(super) counter: RequestCounter,
    rate_limiter: RateLimiter,
}

impl ElbClassic {
    pub fn new(config: Builder) -> ElbClassic {
        let counter = RequestCounter::default();
        let config = config
            .interceptor(counter.clone())
            .retry_classifier(TooManyRequests)
            .retry_partition(retry_partition("elb-classic"))
            .build();
        let rate_limiter = half_of_elb_rate();
        ElbClassic { config, client: OnceLock::new(), counter, rate_limiter }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::from_conf(self.config.clone()))
    }

    pub async fn all_load_balancers(
        &self,
        priority: Priority,
        deadline: Deadline,
    ) -> Result<ClassicBalancers, AwsError> {
        const ALL: &str = "all classic load balancers";
        let mut all = ClassicBalancers::new();
        let mut pages = Pages::default();
        let mut marker = None;
        loop {
            let request =
                self.client().describe_load_balancers().page_size(MAX_PAGE_SIZE).set_marker(marker);
            let page = self
                .rate_limiter
                .send(priority, deadline, request.send())
                .await
                .map_err(|error| AwsError::sdk(DESCRIBE, ALL, &error))?;
            all.extend(page.load_balancer_descriptions().iter().filter_map(read));
            let next = pages.next(page.next_marker);
            marker = next.map_err(|cause| AwsError::new(DESCRIBE, ALL, cause))?;
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    pub async fn load_balancers(
        &self,
        names: &BTreeSet<ClassicName>,
        priority: Priority,
        deadline: Deadline,
    ) -> ClassicBalancers {
        let request = async |names: Vec<String>| {
            let subject = names.join(", ");
            let request =
                self.client().describe_load_balancers().set_load_balancer_names(Some(names));
            let answer = self.rate_limiter.send(priority, deadline, request.send()).await;
            let answer = answer.map_err(|error| match error.as_service_error() {
                Some(error) if error.is_access_point_not_found_exception() => {
                    DescribeError::NotFound
                }
                _ => DescribeError::sdk(DESCRIBE, subject, &error),
            })?;
            Ok(answer.load_balancer_descriptions().iter().filter_map(read).collect())
        };
        describe_many(DESCRIBE, names, MAX_NAMES_PER_DESCRIBE, None, request).await
    }
}

fn read(
    balancer: &LoadBalancerDescription,
) -> Option<(ClassicName, ReadResult<Option<LoadBalancer>>)> {
    let name = ClassicName::new(balancer.load_balancer_name()?);
    let read = describe(balancer, &name).map(Some);
    Some((name, read))
}

fn describe(balancer: &LoadBalancerDescription, name: &ClassicName) -> ReadResult<LoadBalancer> {
    Ok(LoadBalancer {
        name: name.to_string(),
        vpc: VpcId::new(required(DESCRIBE, name, "VPCId", balancer.vpc_id())?),
        scheme: match required(DESCRIBE, name, "Scheme", balancer.scheme())? {
            "internal" => Scheme::Internal,
            _ => Scheme::InternetFacing,
        },
        dns_name: balancer.dns_name().and_then(|name| DnsName::parse(name).ok()),
        canonical_zone: balancer.canonical_hosted_zone_name_id().map(str::to_owned),
        // Inside a VPC, classic load balancers have IPv4 addresses only. They have no states.
        dualstack: false,
        has_failed: false,
    })
}

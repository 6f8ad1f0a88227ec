//! Reads classic load balancers. They have an API of their own, with its own limits, and names
//! instead of ARNs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use aws_sdk_elasticloadbalancing::config::Builder;
use aws_sdk_elasticloadbalancing::types::LoadBalancerDescription;
use aws_sdk_elasticloadbalancing::{Client, Config};

use crate::aws::{AwsError, Calls, halves, list, silence};
use crate::dns::DnsName;
use crate::service::{Answer, ClassicName, LoadBalancer, Scheme, Unread, VpcId};

/// How many names one call may have is not documented; so many ARNs are allowed elsewhere.
const BY_NAME_AT_ONCE: usize = 20;

const BALANCERS: &str = "elasticloadbalancing:DescribeLoadBalancers";

/// None for a load balancer that does not exist.
pub type ClassicBalancers = BTreeMap<ClassicName, Answer<Option<LoadBalancer>>>;

#[derive(Debug)]
pub struct ElbClassic {
    config: Config,
    /// Made when it is needed: few environments have classic load balancers, and what an SDK client costs
    /// is paid at each cold start.
    client: OnceLock<Client>,
    pub calls: Calls,
}

impl ElbClassic {
    #[must_use]
    pub fn new(config: Builder) -> ElbClassic {
        let calls = Calls::default();
        let config = config.interceptor(calls.clone()).build();
        ElbClassic { config, client: OnceLock::new(), calls }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| Client::from_conf(self.config.clone()))
    }

    /// One entry for each load balancer that was asked for.
    pub async fn load_balancers(&self, names: &BTreeSet<ClassicName>) -> ClassicBalancers {
        let mut all = ClassicBalancers::new();
        let names: Vec<_> = names.iter().cloned().collect();
        let mut work: Vec<&[ClassicName]> = names.chunks(BY_NAME_AT_ONCE).collect();
        while let Some(chunk) = work.pop() {
            let texts = chunk.iter().map(ToString::to_string).collect();
            let request = self.client().describe_load_balancers();
            match request.set_load_balancer_names(Some(texts)).send().await {
                Ok(answer) => {
                    all.extend(
                        chunk.iter().map(|name| (name.clone(), Err(silence(BALANCERS, name)))),
                    );
                    all.extend(answer.load_balancer_descriptions().iter().filter_map(read));
                }
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(|error| error.is_access_point_not_found_exception()) =>
                {
                    match chunk {
                        [absent] => drop(all.insert(absent.clone(), Ok(None))),
                        several => work.extend(halves(several)),
                    }
                }
                Err(error) => {
                    let why = Unread::from(AwsError::sdk(BALANCERS, list(chunk), &error));
                    all.extend(chunk.iter().map(|name| (name.clone(), Err(why.clone()))));
                }
            }
        }
        all
    }
}

fn read(balancer: &LoadBalancerDescription) -> Option<(ClassicName, Answer<Option<LoadBalancer>>)> {
    let name = balancer.load_balancer_name()?;
    let read = LoadBalancer {
        name: name.to_owned(),
        vpc: VpcId::new(balancer.vpc_id().unwrap_or_default()),
        scheme: match balancer.scheme() {
            Some("internal") => Scheme::Internal,
            _ => Scheme::InternetFacing,
        },
        dns_name: balancer.dns_name().and_then(|name| DnsName::parse(name).ok()),
        canonical_zone: balancer.canonical_hosted_zone_name_id().map(str::to_owned),
        // In a VPC they have IPv4 addresses only.
        dualstack: false,
    };
    Some((ClassicName::new(name), Ok(Some(read))))
}

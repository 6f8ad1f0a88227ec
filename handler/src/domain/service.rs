//! A service in AWS: its identity, whether it is alive, and its load balancers.
//!
//! This module contains data only. `aws` reads it, and `desired` derives the names.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::domain::dns::DnsName;

/// The account and the region of this handler. It cannot read services of other locations, so it decides
/// nothing about them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AwsLocation {
    pub partition: String,
    pub region: String,
    /// The twelve digits of the account.
    pub account: String,
}

/// An invalid ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}; found {found:?}")]
pub struct ArnError {
    pub found: String,
    pub expected: &'static str,
}

impl AwsLocation {
    /// The location in the ARN of a Lambda function.
    pub fn of_function(arn: &str) -> Result<AwsLocation, ArnError> {
        match split_arn(arn, "lambda") {
            Some((location, resource)) if resource.starts_with("function:") => Ok(location),
            _ => Err(ArnError { found: arn.to_owned(), expected: "the ARN of a Lambda function" }),
        }
    }
}

/// The alias or the version at the end of a function's ARN.
pub fn qualifier(function_arn: &str) -> Option<&str> {
    function_arn.split(':').nth(7)
}

/// The identity of a service: the long form of its ARN, also for services that have the short form
/// (`service/<name>`) from before 2018.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceArn {
    /// The whole ARN. It is the first field, so that comparisons need no other. The text is shared, because a
    /// plan contains most ARNs more than once.
    text: Arc<str>,
    location: Arc<AwsLocation>,
    /// The lengths of the two names at the end.
    cluster: usize,
    service: usize,
}

impl ServiceArn {
    /// The service `service` in the cluster `cluster`. Both are names of 1 to 255 characters of
    /// `A-Z a-z 0-9 _ -`.
    pub fn new(
        location: &AwsLocation,
        cluster: &str,
        service: &str,
    ) -> Result<ServiceArn, ArnError> {
        let wrong = |found: &str, expected| Err(ArnError { found: found.to_owned(), expected });
        if !is_ecs_name(cluster) {
            return wrong(
                cluster,
                "the name of an ECS cluster (1 to 255 characters of A-Z a-z 0-9 _ -)",
            );
        }
        if !is_ecs_name(service) {
            return wrong(
                service,
                "the name of an ECS service (1 to 255 characters of A-Z a-z 0-9 _ -)",
            );
        }
        let AwsLocation { partition, region, account } = location;
        let text = format!("arn:{partition}:ecs:{region}:{account}:service/{cluster}/{service}");
        Ok(ServiceArn {
            text: text.into(),
            location: Arc::new(location.clone()),
            cluster: cluster.len(),
            service: service.len(),
        })
    }

    /// Parses `arn:<partition>:ecs:<region>:<account>:service/<cluster>/<service>`. The short form is
    /// invalid, because it has no cluster.
    pub fn parse(arn: &str) -> Result<ServiceArn, ArnError> {
        split_arn(arn, "ecs")
            .and_then(|(location, resource)| {
                let (cluster, service) = resource.strip_prefix("service/")?.split_once('/')?;
                ServiceArn::new(&location, cluster, service).ok()
            })
            .ok_or_else(|| ArnError {
                found: arn.to_owned(),
                expected: "an ECS service ARN like arn:…:ecs:<region>:<account>:service/<cluster>/<service>",
            })
    }

    pub fn location(&self) -> &AwsLocation {
        &self.location
    }

    pub fn cluster(&self) -> &str {
        let end = self.text.len() - self.service - 1;
        &self.text[end - self.cluster..end]
    }

    pub fn service(&self) -> &str {
        &self.text[self.text.len() - self.service..]
    }
}

impl fmt::Display for ServiceArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The name in a reference that is a name or an ARN:
/// `dev` and `arn:aws:ecs:eu-west-1:111122223333:cluster/dev` are the same cluster.
pub fn last_segment(reference: &str) -> &str {
    if reference.starts_with("arn:") {
        reference.rsplit('/').next().unwrap_or(reference)
    } else {
        reference
    }
}

fn is_ecs_name(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Splits `arn:partition:service:region:account:resource`. `None` for another service, and for parts with
/// characters that no ARN has.
fn split_arn<'a>(arn: &'a str, aws_service: &str) -> Option<(AwsLocation, &'a str)> {
    let mut parts = arn.splitn(6, ':');
    let prefix = parts.next()?;
    let partition = parts.next()?;
    let found_service = parts.next()?;
    let region = parts.next()?;
    let account = parts.next()?;
    let resource = parts.next()?;
    let plain = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if prefix != "arn" || found_service != aws_service || !plain(partition) || !plain(region) {
        return None;
    }
    if account.len() != 12 || !account.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let location = AwsLocation {
        partition: partition.to_owned(),
        region: region.to_owned(),
        account: account.to_owned(),
    };
    Some((location, resource))
}

/// An identifier from AWS, which is only compared and sent back.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl Into<String>) -> $name {
                $name(text.into().into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identifier!(
    /// `arn:…:targetgroup/<name>/<id>`.
    TargetGroupArn
);
identifier!(
    /// `arn:…:loadbalancer/<kind>/<name>/<id>`.
    LoadBalancerArn
);
identifier!(
    /// The name of a classic load balancer, unique in its region. Classic load balancers have no ARN.
    ClassicName
);
identifier!(
    /// `vpc-0a1b…`.
    VpcId
);
identifier!(
    /// `Z0123…`, without the prefix `/hostedzone/` of Route 53.
    HostedZoneId
);

/// The answer to a read, or its error.
pub type ReadResult<T> = Result<T, ReadError>;

/// A failed read, with AWS's message. It proves nothing, so nothing that depends on it changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);

/// A load balancer of a service, in the way that ECS refers to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LoadBalancerRef {
    TargetGroup(TargetGroupArn),
    Classic(ClassicName),
}

impl fmt::Display for LoadBalancerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadBalancerRef::TargetGroup(arn) => write!(f, "the target group {arn}"),
            LoadBalancerRef::Classic(name) => write!(f, "the classic load balancer {name}"),
        }
    }
}

/// A service, described by ECS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    Live {
        /// Milliseconds since 1970. 0 if ECS does not return the time.
        created_at_ms: i64,
        /// In the order of the service. Those of its task sets follow, with the primary task set first.
        load_balancers: Vec<LoadBalancerRef>,
        /// The tags whose keys start with `discovery:`.
        tags: BTreeMap<String, String>,
        /// Whether clients reach the service through a load balancer that ECS manages and shares between
        /// services, as in Express Mode.
        uses_shared_ingress: bool,
        /// Whether ECS is still starting the tasks of the present deployment.
        is_deploying: bool,
    },
    Gone(Gone),
    /// A service of a cluster outside of the environment. The handler does not describe it.
    Outside,
}

/// ECS's confirmation that a service is gone. Nothing else proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The service or its cluster does not exist.
    Missing,
    /// With the time of the creation, in milliseconds since 1970.
    Draining {
        created_at_ms: i64,
    },
    Inactive {
        created_at_ms: i64,
    },
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gone::Missing => "MISSING",
            Gone::Draining { .. } => "DRAINING",
            Gone::Inactive { .. } => "INACTIVE",
        })
    }
}

/// A load balancer of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    pub name: String,
    pub vpc: VpcId,
    pub scheme: Scheme,
    /// `None` while AWS creates the load balancer.
    pub dns_name: Option<DnsName>,
    /// The hosted zone that an alias to the load balancer must contain.
    pub canonical_zone: Option<String>,
    /// Whether the load balancer also has IPv6 addresses.
    pub dualstack: bool,
    /// Whether AWS could not create it. Such a load balancer never serves.
    pub has_failed: bool,
}

/// The scheme of a load balancer. Internal ones are preferred for a private zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    Internal,
    InternetFacing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::location;
    use proptest::prelude::*;

    fn check(arn: &str) -> String {
        match ServiceArn::parse(arn) {
            Ok(arn) => format!("{} in {}", arn.service(), arn.cluster()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_service_arn_contains_cluster_and_service() {
        insta::assert_snapshot!(
            check("arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"),
            @"orders in dev"
        );
    }

    #[test]
    fn any_other_text_is_rejected_with_the_expected_form() {
        for arn in [
            "arn:aws:ecs:eu-west-1:111122223333:service/orders",
            "arn:aws:ecs:eu-west-1:111122223333:cluster/dev",
            "arn:aws:ecs:eu-west-1:1111:service/dev/orders",
            "arn:aws:ecs:eu_west_1:111122223333:service/dev/orders",
            "arn:aws:ecs::111122223333:service/dev/orders",
            "arn:aws:ecs:eu-west-1:111122223333:service/dev/or,ders",
            "orders",
        ] {
            assert!(check(arn).starts_with("expected an ECS service ARN"), "{arn}");
        }
    }

    #[test]
    fn a_function_arn_contains_its_location() {
        let location =
            AwsLocation::of_function("arn:aws:lambda:eu-west-1:111122223333:function:x:live");
        assert_eq!(location.expect("a function's ARN").region, "eu-west-1");
        for other in
            ["ecs:eu-west-1:111122223333:function:x", "lambda:eu-west-1:111122223333:layer:x"]
        {
            assert!(AwsLocation::of_function(&format!("arn:aws:{other}")).is_err(), "{other}");
        }
    }

    #[test]
    fn the_qualifier_is_the_part_behind_the_name_of_the_function() {
        let arn = "arn:aws:lambda:eu-west-1:111122223333:function:dry-run";
        assert_eq!(qualifier(arn), None);
        assert_eq!(qualifier(&format!("{arn}:7")), Some("7"));
        assert_eq!(qualifier("nonsense"), None);
    }

    proptest! {
        #[test]
        fn displaying_and_parsing_an_arn_changes_nothing(
            cluster in "[A-Za-z0-9_-]{1,255}", service in "[A-Za-z0-9_-]{1,255}"
        ) {
            let arn = ServiceArn::new(&location(), &cluster, &service).expect("valid names");
            prop_assert_eq!(ServiceArn::parse(&arn.to_string()).expect("its own text"), arn);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,120}") {
            let _ = ServiceArn::parse(&text);
            let _ = AwsLocation::of_function(&text);
        }
    }
}

//! What AWS says about a service: who it is, whether it lives, and which load balancers it
//! stands behind.
//!
//! Only identities and plain data: neither how they are read, nor what name follows from them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::domain::dns::DnsName;

/// Where this handler runs. A service anywhere else cannot be read, so nothing can be proven
/// about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AwsLocation {
    pub partition: String,
    pub region: String,
    /// The twelve digits of the account.
    pub account: String,
}

/// A text that is not the ARN it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not {expected}")]
pub struct ArnError {
    pub found: String,
    pub expected: &'static str,
}

impl AwsLocation {
    /// The location of a function, from its ARN.
    ///
    /// # Errors
    /// If the ARN is not one of a Lambda function.
    pub fn of_function(arn: &str) -> Result<AwsLocation, ArnError> {
        match split_arn(arn, "lambda") {
            Some((location, resource)) if resource.starts_with("function:") => Ok(location),
            _ => Err(ArnError { found: arn.to_owned(), expected: "the ARN of a Lambda function" }),
        }
    }
}

/// The identity of a service, in the long form of its ARN. Services that still carry the short
/// form (`service/<name>`, from before 2018) are given the long one, so that there is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceArn {
    /// The whole of it, and first, so that it alone is compared. Shared: plans hold most of them more
    /// than once.
    text: Arc<str>,
    location: Arc<AwsLocation>,
    /// How long the names at the end are.
    cluster: usize,
    service: usize,
}

impl ServiceArn {
    /// The service `service` in the cluster `cluster`, both by name.
    ///
    /// # Errors
    /// If either is not a name that ECS allows: 1 to 255 of `A-Z a-z 0-9 _ -`.
    pub fn new(
        location: &AwsLocation,
        cluster: &str,
        service: &str,
    ) -> Result<ServiceArn, ArnError> {
        let wrong = |found: &str, expected| Err(ArnError { found: found.to_owned(), expected });
        if !is_ecs_name(cluster) {
            return wrong(cluster, "the name of an ECS cluster (1 to 255 of A-Z a-z 0-9 _ -)");
        }
        if !is_ecs_name(service) {
            return wrong(service, "the name of an ECS service (1 to 255 of A-Z a-z 0-9 _ -)");
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

    /// `arn:<partition>:ecs:<region>:<account>:service/<cluster>/<service>`.
    ///
    /// # Errors
    /// If it is anything else, the short form included: that does not tell the cluster.
    pub fn parse(arn: &str) -> Result<ServiceArn, ArnError> {
        split_arn(arn, "ecs")
            .and_then(|(location, resource)| {
                let (cluster, service) = resource.strip_prefix("service/")?.split_once('/')?;
                ServiceArn::new(&location, cluster, service).ok()
            })
            .ok_or_else(|| ArnError {
                found: arn.to_owned(),
                expected: "an ECS service ARN, arn:…:ecs:<region>:<account>:service/<cluster>/<service>",
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

/// The name in a reference that callers of ECS may give as a name or as an ARN:
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

/// Splits `arn:partition:service:region:account:resource`; none if it is for another service
/// or a part has characters that no ARN has.
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

/// An identifier that AWS made and that is only compared and passed back.
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
    /// The name of a classic load balancer. They have no ARNs; a name is unique in its region.
    ClassicName
);
identifier!(
    /// `vpc-0a1b…`.
    VpcId
);
identifier!(
    /// `Z0123…`, without the `/hostedzone/` that Route 53 puts before it.
    HostedZoneId
);

/// What AWS said to a question, or why it did not.
pub type ReadResult<T> = Result<T, ReadError>;

/// Something that could not be read, and why, in AWS's words. It proves nothing, so nothing that
/// depends on it changes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(pub String);

/// What a service stands behind, as ECS names it.
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

/// A service as ECS described it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    Live {
        /// Milliseconds since 1970, as ECS says; 0 where it does not.
        created_at_ms: i64,
        /// In the order in which the service lists them; those of its task sets follow, the
        /// primary's first.
        load_balancers: Vec<LoadBalancerRef>,
        /// Those whose keys begin with `discovery:`, as they are.
        tags: BTreeMap<String, String>,
    },
    Gone(Gone),
    /// Its cluster is not one of this environment's, so it is not even asked for.
    Outside,
}

/// ECS's own word that a service is gone. Nothing else proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It does not exist, or its cluster does not.
    Missing,
    Draining,
    Inactive,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Gone::Missing => "MISSING",
            Gone::Draining => "DRAINING",
            Gone::Inactive => "INACTIVE",
        })
    }
}

/// A load balancer of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    pub name: String,
    pub vpc: VpcId,
    pub scheme: Scheme,
    /// None while it is being made.
    pub dns_name: Option<DnsName>,
    /// The zone that an alias to it has to name.
    pub canonical_zone: Option<String>,
    /// Whether it has IPv6 addresses too.
    pub dualstack: bool,
}

/// Which addresses a load balancer has. Internal ones are preferred for a private zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    Internal,
    InternetFacing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(arn: &str) -> String {
        match ServiceArn::parse(arn) {
            Ok(arn) => format!("{} in {}", arn.service(), arn.cluster()),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_service_arn_tells_cluster_and_service() {
        insta::assert_snapshot!(
            check("arn:aws:ecs:eu-west-1:111122223333:service/dev/orders"),
            @"orders in dev"
        );
    }

    #[test]
    fn anything_else_is_named_with_what_was_expected() {
        for arn in [
            "arn:aws:ecs:eu-west-1:111122223333:service/orders",
            "arn:aws:ecs:eu-west-1:111122223333:cluster/dev",
            "arn:aws:ecs:eu-west-1:1111:service/dev/orders",
            "arn:aws:ecs:eu-west-1:111122223333:service/dev/or,ders",
            "orders",
        ] {
            assert!(check(arn).contains("is not an ECS service ARN"), "{arn}");
        }
    }

    #[test]
    fn a_function_arn_tells_its_home() {
        let location =
            AwsLocation::of_function("arn:aws:lambda:eu-west-1:111122223333:function:x:live");
        assert_eq!(location.expect("a function's ARN").region, "eu-west-1");
        assert!(AwsLocation::of_function("arn:aws:ecs:eu-west-1:111122223333:function:x").is_err());
    }

    proptest! {
        #[test]
        fn parsing_what_was_displayed_gives_the_same_service(
            cluster in "[A-Za-z0-9_-]{1,255}", service in "[A-Za-z0-9_-]{1,255}"
        ) {
            let location = AwsLocation::of_function("arn:aws:lambda:eu-west-1:111122223333:function:x")
                .expect("a function's ARN");
            let arn = ServiceArn::new(&location, &cluster, &service).expect("valid names");
            prop_assert_eq!(ServiceArn::parse(&arn.to_string()).expect("its own text"), arn);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,120}") {
            let _ = ServiceArn::parse(&text);
            let _ = AwsLocation::of_function(&text);
        }
    }
}

//! A handler in its container, as Lambda runs it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime::client::retries::{RetryPartition, TokenBucket};
use handler::aws::Aws;
use handler::aws::ecs::Ecs;
use handler::aws::elb::Elb;
use handler::aws::elb_classic::ElbClassic;
use handler::aws::route53::Route53;
use handler::domain::config::Config;
use handler::reconcile::Reconciler;

use crate::faults::{Sim, Wire};
use crate::oracle::Environment;

pub const FUNCTION: &str = "arn:aws:lambda:eu-west-1:111122223333:function:discovery";

/// What the stack gives the function.
pub const FUNCTION_TIMEOUT: Duration = Duration::from_secs(300);

/// It does one invocation at a time.
pub struct Container {
    pub environment: usize,
    pub wire: Wire,
    pub reconciler: Reconciler,
}

impl Container {
    /// A container whose clients are on the wire to the simulated account.
    ///
    /// # Panics
    /// If the simulation's own configuration is wrong.
    pub fn new(environment: usize, config: &Environment, sim: &Arc<Mutex<Sim>>) -> Container {
        let wire = Wire { sim: Arc::clone(sim), invocation: Arc::default() };
        let sdk = wire.sdk();
        // Else the quota of retries is one for the whole process, and histories meet in it.
        let quota =
            || RetryPartition::custom("simulation").token_bucket(TokenBucket::default()).build();
        macro_rules! client {
            ($sdk:ident) => {
                $sdk::config::Builder::from(&sdk).retry_partition(quota())
            };
        }
        let reconciler = Reconciler {
            config: Config::parse(Some(&config.to_config()))
                .expect("the simulation's own configuration"),
            aws: Aws {
                ecs: Ecs::new(client!(aws_sdk_ecs)),
                elb: Elb::new(client!(aws_sdk_elasticloadbalancingv2)),
                elb_classic: ElbClassic::new(client!(aws_sdk_elasticloadbalancing)),
                route53: Route53::new(client!(aws_sdk_route53)),
            },
        };
        Container { environment, wire, reconciler }
    }
}

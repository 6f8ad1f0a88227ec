//! A simulated Lambda function: containers that run one invocation at a time, each invocation with its
//! deadline, and the pool of idle containers.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use handler::aws::Aws;
use handler::aws::ecs::Ecs;
use handler::aws::elb::Elb;
use handler::aws::elb_classic::ElbClassic;
use handler::aws::route53::Route53;
use handler::aws::sqs::Sqs;
use handler::domain::config::Config;
use handler::domain::report::Report;
use handler::invocation::{Answer, SHUTDOWN_RESERVE, answer_until};
use handler::reconcile::Reconciler;
use tokio::time::{Instant, timeout};

use crate::connector::SdkConnector;
use crate::invariants::{Violation, check_conflicts};
use crate::oracle::EnvironmentConfig;
use crate::state::{InvocationLog, Simulation, lock};

pub const FUNCTION_ARN: &str = "arn:aws:lambda:eu-west-1:111122223333:function:discovery";

/// The timeout that the stack configures.
pub const FUNCTION_TIMEOUT: Duration = Duration::from_secs(840);

/// How long containers of a former version are invoked after a deployment.
const MAX_OVERLAP: Duration = Duration::from_secs(20);

/// The request of a deployment, as CloudFormation sends it.
pub const DEPLOYMENT: &str =
    r#"{"RequestType":"Update","ResourceProperties":{"Update":"{\"reconcile\":\"all\"}"}}"#;

/// A container, with the handler that it created once.
struct Container {
    config: EnvironmentConfig,
    connector: SdkConnector,
    reconciler: Reconciler,
}

impl Container {
    fn new(config: EnvironmentConfig, simulation: &Arc<Mutex<Simulation>>) -> Container {
        let connector =
            SdkConnector { simulation: Arc::clone(simulation), invocation: Arc::default() };
        let sdk = connector.sdk_config();
        let reconciler = Reconciler {
            config: Config::parse(Some(&config.to_json()))
                .expect("the simulation's configurations are valid"),
            aws: Aws {
                ecs: Ecs::new((&sdk).into()),
                elb: Elb::new((&sdk).into()),
                elb_classic: ElbClassic::new((&sdk).into()),
                route53: Route53::new((&sdk).into()),
                sqs: Sqs::new((&sdk).into()),
            },
            started_at: lock(simulation).now(),
        };
        Container { config, connector, reconciler }
    }
}

/// The functions of all environments, with as many containers as they need.
pub struct Lambda {
    simulation: Arc<Mutex<Simulation>>,
    idle: Mutex<Vec<Container>>,
    next_invocation: AtomicU64,
    /// Until when containers of the former version of an environment may still be invoked.
    overlaps: Mutex<BTreeMap<usize, Instant>>,
    /// The full passes that run now.
    full_passes: AtomicU64,
}

impl Lambda {
    pub fn new(simulation: Simulation) -> Lambda {
        Lambda {
            overlaps: Mutex::default(),
            full_passes: AtomicU64::new(0),
            simulation: Arc::new(Mutex::new(simulation)),
            idle: Mutex::default(),
            next_invocation: AtomicU64::new(1),
        }
    }

    pub fn simulation(&self) -> MutexGuard<'_, Simulation> {
        lock(&self.simulation)
    }

    /// Invokes an environment's function. `None` if the invocation failed, crashed or was ended early.
    ///
    /// A crash breaks invariant 8. Lambda gives up a container that crashed or was ended.
    pub async fn invoke(&self, environment: usize, payload: &str) -> Option<Answer> {
        let container = self.container(environment, payload);
        let invocation = self.next_invocation.fetch_add(1, Ordering::Relaxed);
        container.connector.invocation.store(invocation, Ordering::Relaxed);
        let begun = Instant::now();
        let (now, deadline, killed_after, is_full_pass) = {
            let mut simulation = self.simulation();
            let deadline = begun + simulation.function_timeout;
            let mut log = InvocationLog::new(container.config.clone(), payload, deadline);
            let full_pass = log.losses.as_mut().filter(|losses| losses.is_full_pass);
            let is_full_pass = full_pass.is_some();
            if let Some(losses) = full_pass {
                losses.add_managed(&simulation.account.zones, &container.config);
            }
            simulation.invocations.insert(invocation, log);
            simulation.count("invocations");
            let killed = simulation.faults.killed;
            let killed_after = simulation
                .happens(killed)
                .then(|| Duration::from_millis(simulation.rng.u64(0..3_000)));
            // Virtual time has milliseconds, real time has more digits.
            let now = simulation.now() + Duration::from_micros(invocation % 1_000);
            (now, deadline, killed_after, is_full_pass)
        };
        let stop_at = deadline.checked_sub(SHUTDOWN_RESERVE).unwrap_or(begun);
        let run = answer_until(&container.reconciler, FUNCTION_ARN, now, stop_at, payload);
        let ended_after = killed_after.unwrap_or(deadline - begun);
        if is_full_pass && self.full_passes.fetch_add(1, Ordering::Relaxed) > 0 {
            self.simulation().count("full passes at once");
        }
        let result = timeout(ended_after, AssertUnwindSafe(run).catch_unwind()).await;
        if is_full_pass {
            self.full_passes.fetch_sub(1, Ordering::Relaxed);
        }

        let mut simulation = self.simulation();
        // A request that is still under way keeps its log, but the reads are not needed any more.
        let log = simulation.invocations.get_mut(&invocation);
        let described = log.map(|log| {
            log.losses = None;
            std::mem::take(&mut log.described)
        });
        if let (Ok(Ok(Ok(answer))), Some(described)) = (&result, described)
            && let Some(violation) = check_conflicts(
                &simulation,
                &simulation.invocations[&invocation].config,
                &described,
                reports(answer),
            )
        {
            simulation.violate(violation);
        }
        match result {
            Err(_) => {
                if killed_after.is_some() {
                    simulation.count("invocations killed");
                } else {
                    let message = format!("the invocation reached its timeout on {payload}");
                    simulation.violate(Violation::new(11, message));
                }
                None
            }
            Ok(Err(panic)) => {
                let message =
                    format!("the handler crashed on {payload}: {}", panic_message(&*panic));
                simulation.violate(Violation::new(8, message));
                None
            }
            Ok(Ok(answer)) => {
                self.idle.lock().expect("no holder panics").push(container);
                match answer {
                    Err(_) => {
                        simulation.count("invocations failed");
                        None
                    }
                    Ok(answer) => {
                        for outcome in reports(&answer).iter().flat_map(|report| &report.outcomes) {
                            simulation.count(format!("outcomes {}", outcome.status.as_str()));
                        }
                        Some(answer)
                    }
                }
            }
        }
    }

    /// Deploys an environment with another configuration. Invocations of the former version go on.
    pub fn configure(&self, environment: usize, change: impl FnOnce(&mut EnvironmentConfig)) {
        let mut simulation = self.simulation();
        let config = &mut simulation.environments[environment];
        change(config);
        config.version += 1;
        let until = Instant::now() + MAX_OVERLAP;
        self.overlaps.lock().expect("no holder panics").insert(environment, until);
    }

    /// An idle container with the environment's configuration, or a new one. For some time after a deployment, events
    /// may reach containers of the former version.
    fn container(&self, environment: usize, payload: &str) -> Container {
        let overlaps = self.overlaps.lock().expect("no holder panics");
        let is_overlap = overlaps.get(&environment).is_some_and(|until| Instant::now() < *until);
        let mut simulation = self.simulation();
        let config = simulation.environments[environment].clone();
        let mut idle = self.idle.lock().expect("no holder panics");
        let is_former = |container: &Container| {
            container.config.name == config.name && container.config.version + 1 == config.version
        };
        let former = idle
            .iter()
            .position(is_former)
            .filter(|_| is_overlap && payload != DEPLOYMENT && simulation.rng.bool());
        if former.is_some() {
            simulation.count("invocations of a former version");
            simulation.former_payloads.push((config.name.clone(), payload.to_owned()));
        }
        drop(simulation);
        let position =
            former.or_else(|| idle.iter().position(|container| container.config == config));
        match position {
            Some(position) => idle.swap_remove(position),
            None => Container::new(config, &self.simulation),
        }
    }
}

fn reports(answer: &Answer) -> &[Report] {
    match answer {
        Answer::Report(report) => std::slice::from_ref(report),
        Answer::Resource(answer) => std::slice::from_ref(&answer.report),
        Answer::Batch(batch) => &batch.runs,
    }
}

/// The message of a panic, as `catch_unwind` returns it.
pub fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

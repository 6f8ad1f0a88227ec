//! Scenarios of resolution: names that move while clients resolve them, and a resolver that remembers answers.

use std::pin::pin;

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use local_aws::api::{JsonService, queue_url};
use local_aws::fixtures::{LocalBalancer, LocalEnvironment, service_arn};
use local_aws::relay::DeliveredEvent;
use local_aws::resolver::DnsAnswer::{Cname, NoSuchName};
use local_aws::resolver::Resolver;
use local_aws::system::{System, outcome_of};
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::operation::{PATIENCE, configure, settings};
use super::{balancer, cname, deployment_event, reconcile, registered, status};

/// Repeats a check until `steps` has ended. Fails if the check fails once.
pub(crate) async fn while_checking<T>(
    check: impl AsyncFn() -> Result<()>,
    steps: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut steps = pin!(steps);
    let mut checks = 0;
    let result = loop {
        tokio::select! {
            result = &mut steps => break result?,
            checked = check() => checked?,
        }
        checks += 1;
    };
    ensure!(checks > 0, "no check ended before the steps");
    Ok(result)
}

/// Checks that a name resolves to one of these load balancers now.
pub(crate) async fn resolves_to(
    environment: &LocalEnvironment,
    name: &str,
    balancers: &[&LocalBalancer],
) -> Result<()> {
    let answer = environment.resolver.query(name).await?;
    let expected = balancers.iter().any(|balancer| answer == cname(balancer));
    ensure!(expected, "{name} was {answer:?}, expected one of {balancers:?}");
    Ok(())
}

/// The order in which the deletion of a name's holder and the update of its heir reach the handler.
enum Order {
    DeletionFirst,
    UpdateFirst,
    AtOnce,
}

pub(crate) async fn a_contested_name_passes_on_when_the_deletion_arrives_before_the_event_of_the_heir(
    system: &System,
) -> Result<()> {
    handover(system, "Abdicating", "abdicating", Order::DeletionFirst).await
}

pub(crate) async fn a_contested_name_passes_on_when_the_deletion_arrives_after_the_event_of_the_heir(
    system: &System,
) -> Result<()> {
    handover(system, "Succeeded", "succeeded", Order::UpdateFirst).await
}

pub(crate) async fn a_contested_name_passes_on_when_both_events_arrive_at_once(
    system: &System,
) -> Result<()> {
    handover(system, "Swapped", "swapped", Order::AtOnce).await
}

/// Registers the holder of a name, and creates its heir, so that the name is contested. The names of both services
/// differ only in upper case, so their names in DNS are the same. Returns the load balancers of both.
///
/// No full pass runs in the environment lab, so only the events move the name.
async fn contested(
    system: &System,
    holder: &str,
    heir: &str,
) -> Result<(LocalBalancer, LocalBalancer)> {
    let lab = system.environment("lab");
    let old = balancer(system, lab, &format!("{heir}-1")).await?;
    let new = balancer(system, lab, &format!("{heir}-2")).await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service("lab", holder, &[&old.target_group]).await?;
    lab.outcome(&system.aws, &mut deliveries, "CreateService", holder).await?;
    system.aws.create_service("lab", heir, &[&new.target_group]).await?;
    let outcome = lab.outcome(&system.aws, &mut deliveries, "CreateService", heir).await?;
    let held = format!("the name is held by {}", service_arn("lab", holder));
    status(&outcome, "conflict", &held)?;
    Ok((old, new))
}

/// Updates the heir of a contested name and deletes its holder, and then delivers both events in an order.
async fn handover(system: &System, holder: &str, heir: &str, order: Order) -> Result<()> {
    let lab = system.environment("lab");
    let name = &format!("{heir}.lab.internal");
    let (old, new) = contested(system, holder, heir).await?;
    let steps = async {
        let mut deliveries = system.relay.deliveries();
        system.relay.hold("lab", holder);
        system.relay.hold("lab", heir);
        system.aws.move_service("lab", heir, &[&new.target_group]).await?;
        system.aws.delete_service("lab", holder).await?;
        let (first, second) = match order {
            Order::DeletionFirst => (vec![holder], vec![heir]),
            Order::UpdateFirst => (vec![heir], vec![holder]),
            Order::AtOnce => (vec![holder, heir], vec![]),
        };
        for services in [first, second] {
            system.relay.release("lab", &services);
            handled(system, lab, &mut deliveries, &services).await?;
            resolves_to(lab, name, &[&new]).await?;
        }
        Ok(())
    };
    while_checking(async || resolves_to(lab, name, &[&old, &new]).await, steps).await
}

/// Waits until one event about each of these services has been delivered to an environment, and the handler has ended
/// their runs.
async fn handled(
    system: &System,
    environment: &LocalEnvironment,
    deliveries: &mut Receiver<DeliveredEvent>,
    services: &[&str],
) -> Result<()> {
    let discovery = &environment.discovery;
    let mut delivered = 0;
    while delivered < services.len() {
        let delivery = timeout(PATIENCE, deliveries.recv()).await.context("no event arrived")??;
        let is_own = delivery.target == discovery.event_queue
            || delivery.target.ends_with(&format!(":{}", discovery.function));
        delivered += usize::from(is_own && services.contains(&delivery.service.as_str()));
    }
    // With direct delivery, the function has answered, and the queue is empty.
    let names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
    let queue = queue_url(&system.aws.endpoint, &discovery.event_queue);
    let request = json!({"QueueUrl": queue, "AttributeNames": names});
    let begun = Instant::now();
    loop {
        let found = system.aws.api.call(JsonService::Sqs, "GetQueueAttributes", &request).await?;
        if names.iter().all(|name| found["Attributes"][name] == "0") {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "the queue still has messages: {found}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The heir is unknown to the handler until its first event arrives, so the name may be missing until then.
pub(crate) async fn a_name_passes_to_a_service_whose_creation_arrives_after_the_deletion_of_the_holder(
    system: &System,
) -> Result<()> {
    let lab = system.environment("lab");
    let old = balancer(system, lab, "unknown-1").await?;
    let new = balancer(system, lab, "unknown-2").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service("lab", "Unknown", &[&old.target_group]).await?;
    lab.outcome(&system.aws, &mut deliveries, "CreateService", "Unknown").await?;
    system.relay.hold("lab", "unknown");
    system.aws.create_service("lab", "unknown", &[&new.target_group]).await?;
    system.aws.delete_service("lab", "Unknown").await?;
    let outcome = lab.outcome(&system.aws, &mut deliveries, "DeleteService", "Unknown").await?;
    status(&outcome, "deregistered", "ECS reports")?;
    system.relay.release("lab", &["unknown"]);
    lab.resolves("unknown.lab.internal", &cname(&new)).await?;
    Ok(())
}

/// Registers a service with one task, and then gives it another load balancer. The deployment of this change stays
/// in progress. Returns the old and the new load balancer.
async fn deploying(system: &System, service: &str) -> Result<(LocalBalancer, LocalBalancer)> {
    let dev = system.environment("dev");
    let old = registered(system, dev, service).await?;
    let new = balancer(system, dev, &format!("{service}-2")).await?;
    system.aws.scale_service("dev", service, 1).await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.begin_deployment("dev", service, &[&new.target_group]).await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "UpdateService", service).await?;
    let waits =
        format!("the deployment is in progress; the record is still CNAME {}", old.dns_name);
    status(&outcome, "waiting", &waits)?;
    resolves_to(dev, &format!("{service}.internal"), &[&old]).await?;
    Ok((old, new))
}

pub(crate) async fn a_name_moves_when_the_deployment_of_its_new_load_balancer_is_completed(
    system: &System,
) -> Result<()> {
    let dev = system.environment("dev");
    let (old, new) = deploying(system, "patient").await?;
    let name = "patient.internal";
    let before = async {
        status(&reconcile(system, dev, "patient").await?, "waiting", "in progress")?;
        system.aws.let_deployment_complete("dev", "patient").await
    };
    while_checking(async || resolves_to(dev, name, &[&old]).await, before).await?;
    let completed = deployment_event(system, "patient", "SERVICE_DEPLOYMENT_COMPLETED");
    let outcome =
        while_checking(async || resolves_to(dev, name, &[&old, &new]).await, completed).await?;
    status(&outcome, "updated", "")?;
    resolves_to(dev, name, &[&new]).await
}

/// MiniStack does not fail deployments without Docker. The scenario sends the event of the failure, and rolls the
/// service back as a deployment circuit breaker does.
pub(crate) async fn a_name_stays_when_the_deployment_of_its_new_load_balancer_fails(
    system: &System,
) -> Result<()> {
    let dev = system.environment("dev");
    let (old, _) = deploying(system, "doomed").await?;
    let steps = async {
        let event = "SERVICE_DEPLOYMENT_FAILED";
        status(&deployment_event(system, "doomed", event).await?, "waiting", "in progress")?;
        system.aws.begin_deployment("dev", "doomed", &[&old.target_group]).await?;
        status(&reconcile(system, dev, "doomed").await?, "unchanged", "")?;
        system.aws.let_deployment_complete("dev", "doomed").await?;
        let event = "SERVICE_DEPLOYMENT_COMPLETED";
        status(&deployment_event(system, "doomed", event).await?, "unchanged", "")
    };
    while_checking(async || resolves_to(dev, "doomed.internal", &[&old]).await, steps).await
}

pub(crate) async fn each_service_resolves_while_a_new_template_renames_all_of_them(
    system: &System,
) -> Result<()> {
    let renamed = system.environment("renamed");
    let names = ["billing", "catalog", "orders", "search", "users"];
    let registering = names.map(async |name| {
        let balancer = balancer(system, renamed, &format!("renamed-{name}")).await?;
        system.aws.create_service("renamed", name, &[&balancer.target_group]).await?;
        renamed.resolves(&format!("renamed-{name}.internal"), &cname(&balancer)).await?;
        anyhow::Ok((name, balancer))
    });
    let services = &try_join_all(registering).await?;

    let steps = async {
        let mut config: Value = serde_json::from_str(&settings(system, renamed).await?)?;
        ensure!(config["nameTemplate"] == "{cluster}-{service}", "{config}");
        config["nameTemplate"] = "{service}".into();
        configure(system, renamed, &config.to_string()).await?;
        system.invoke(renamed, &json!({"reconcile": "all"})).await
    };
    // A client that asks for the old name and then for the new one finds one of them.
    let resolve = async || {
        for (name, balancer) in services {
            let old = renamed.resolver.query(&format!("renamed-{name}.internal")).await?;
            if old != cname(balancer) {
                ensure!(old == NoSuchName, "the old name of {name} was {old:?}");
                resolves_to(renamed, &format!("{name}.internal"), &[balancer]).await?;
            }
        }
        Ok(())
    };
    let answer = while_checking(resolve, steps).await?;
    for (name, balancer) in services {
        let outcome = outcome_of(&answer, "renamed", name).context("no outcome")?;
        status(outcome, "updated", &format!("renamed from renamed-{name}.internal"))?;
        resolves_to(renamed, &format!("{name}.internal"), &[balancer]).await?;
        let old = renamed.resolver.query(&format!("renamed-{name}.internal")).await?;
        ensure!(old == NoSuchName, "the old name of {name} is {old:?}");
    }
    Ok(())
}

/// A resolver with a cache, as clients use it, in front of a DNS server of the local AWS.
struct CachingResolver(hickory_resolver::TokioResolver);

/// The answer of a resolver with a cache.
#[derive(Debug, PartialEq, Eq)]
enum CachedAnswer {
    /// The name is a CNAME of this name.
    Cname(String),
    /// The name does not exist, and the resolver remembers this for so many more seconds.
    NoSuchName { remaining_s: u32 },
}

impl CachingResolver {
    fn of(server: &Resolver) -> Result<CachingResolver> {
        let mut connection = ConnectionConfig::udp();
        connection.port = server.address.port();
        let server = NameServerConfig::new(server.address.ip(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let provider = TokioRuntimeProvider::default();
        let resolver = hickory_resolver::TokioResolver::builder_with_config(config, provider);
        Ok(CachingResolver(resolver.build()?))
    }

    /// Queries the CNAME of a name. The load balancers of the local AWS have no addresses.
    async fn query(&self, name: &str) -> Result<CachedAnswer> {
        match self.0.lookup(format!("{name}."), RecordType::CNAME).await {
            Ok(found) => match found.answers().first().map(|record| &record.data) {
                Some(RData::CNAME(target)) => {
                    Ok(CachedAnswer::Cname(target.to_string().trim_end_matches('.').to_owned()))
                }
                other => bail!("the answer for {name} is {other:?}"),
            },
            Err(NetError::Dns(DnsError::NoRecordsFound(missing)))
                if missing.response_code == ResponseCode::NXDomain =>
            {
                let remaining_s = missing.negative_ttl.context("the answer has no SOA record")?;
                Ok(CachedAnswer::NoSuchName { remaining_s })
            }
            Err(error) => Err(error).with_context(|| format!("no answer for {name}")),
        }
    }
}

pub(crate) async fn a_resolver_that_was_asked_too_early_finds_the_name_after_the_negative_ttl(
    system: &System,
) -> Result<()> {
    let dev = system.environment("dev");
    let name = "hasty.internal";
    let caching = CachingResolver::of(&dev.resolver)?;
    // The deployment of the stack has set the negative TTL of its zone.
    let early = caching.query(name).await?;
    ensure!(early == CachedAnswer::NoSuchName { remaining_s: 5 }, "{early:?}");

    // A zone has a long negative TTL if nobody has changed it.
    let route53 = &system.aws.route53;
    let made = route53.create_hosted_zone().name("internal").caller_reference("unchanged-soa");
    let made = made.send().await?;
    let zone = made.hosted_zone().context("CreateHostedZone returned no zone")?.id();
    let zone = zone.trim_start_matches("/hostedzone/");
    let unchanged = Resolver::start(&system.aws, &[zone]).await?;
    let long_caching = CachingResolver::of(&unchanged)?;
    let early = long_caching.query(name).await?;
    ensure!(early == CachedAnswer::NoSuchName { remaining_s: 900 }, "{early:?}");

    let balancer = registered(system, dev, "hasty").await?;
    system.aws.create_record(zone, name, "CNAME", &balancer.dns_name).await?;
    ensure!(unchanged.query(name).await? == cname(&balancer));
    let Cname(target) = cname(&balancer) else { bail!("the load balancer has no name") };
    let found = CachedAnswer::Cname(target);
    let resolves = async {
        while caching.query(name).await? != found {
            sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, resolves).await.context("the name did not resolve")??;

    // The other resolver still remembers the early answer, although its zone has the record.
    let late = long_caching.query(name).await?;
    let CachedAnswer::NoSuchName { remaining_s } = late else { bail!("{late:?}") };
    ensure!(remaining_s > 900 - 300 && remaining_s < 900, "{remaining_s}");
    long_caching.0.clear_cache();
    ensure!(long_caching.query(name).await? == found);
    Ok(())
}

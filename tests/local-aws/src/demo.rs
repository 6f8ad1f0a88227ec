//! The demo of `npm start`: the life of a service, with a check of each step.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerSchemeEnum;
use serde_json::Value;
use tokio::time::Instant;

use crate::fixtures::{LocalBalancer, LocalEnvironment};
use crate::outcomes::{outcome_text, wrap};
use crate::resolver::DnsAnswer;
use crate::system::{System, outcome_of};
use crate::terminal::print_line;

/// Shows the demo. Its services and records remain, to be tried by hand.
pub async fn show(system: &System) -> Result<()> {
    let (dev, prod) = (system.environment("dev"), system.environment("prod"));
    let in_dev = balancer(system, dev, "orders-dev").await?;
    let in_prod = balancer(system, prod, "orders-prod").await?;
    let other = balancer(system, dev, "orders-dev-2").await?;

    chapter(1, "Create the service orders in dev and in prod");
    let (mut deliveries, mut in_prods) = (system.relay.deliveries(), system.relay.deliveries());
    let begun = Instant::now();
    for (environment, balancer) in [(dev, &in_dev), (prod, &in_prod)] {
        let cluster = &environment.network.cluster;
        system.aws.create_service(cluster, "orders", &[&balancer.target_group]).await?;
    }
    for (environment, deliveries) in [(dev, &mut deliveries), (prod, &mut in_prods)] {
        let outcome =
            environment.outcome(&system.aws, deliveries, "CreateService", "orders").await?;
        check(&outcome, "registered")?;
        print_outcome(&environment.name, &outcome);
    }

    chapter(2, "orders.internal resolves in each VPC to that VPC's load balancer");
    for (environment, balancer) in [(dev, &in_dev), (prod, &in_prod)] {
        environment.resolves("orders.internal", &cname(balancer)).await?;
        print_answer(&environment.name, "orders.internal", &balancer.dns_name, begun.elapsed());
    }

    chapter(3, "Move orders to another load balancer in dev");
    let begun = Instant::now();
    system.aws.move_service("dev", "orders", &[&other.target_group]).await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "UpdateService", "orders").await?;
    check(&outcome, "updated")?;
    print_outcome("dev", &outcome);
    dev.resolves("orders.internal", &cname(&other)).await?;
    print_answer("dev", "orders.internal", &other.dns_name, begun.elapsed());
    prod.resolves("orders.internal", &cname(&in_prod)).await?;

    chapter(4, "Create the service billing. Its name has a record made by a person");
    let zone = &dev.discovery.zone;
    system.aws.create_record(zone, "billing.internal", "A", "10.0.0.7").await?;
    system.aws.create_service("dev", "billing", &[&in_dev.target_group]).await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "CreateService", "billing").await?;
    check(&outcome, "conflict")?;
    print_outcome("dev", &outcome);
    dev.resolves("billing.internal", &DnsAnswer::Records(vec!["10.0.0.7".into()])).await?;
    print_text("dev", "The person's record stays: billing.internal → 10.0.0.7");

    chapter(5, "Create the service payments, and lose its event");
    system.relay.lose("dev", "payments");
    system.aws.create_service("dev", "payments", &[&in_dev.target_group]).await?;
    dev.resolves("payments.internal", &DnsAnswer::NoSuchName).await?;
    print_text("dev", "payments.internal does not resolve. The next full pass finds it:");
    let begun = Instant::now();
    let pass = system.invoke(dev, &System::scheduled()).await?;
    let repaired = outcome_of(&pass, "dev", "payments").context("no outcome for payments")?;
    check(repaired, "registered")?;
    print_outcome("dev", repaired);
    dev.resolves("payments.internal", &cname(&in_dev)).await?;
    print_answer("dev", "payments.internal", &in_dev.dns_name, begun.elapsed());
    system.relay.stop_losing("dev", "payments");

    chapter(6, "Delete orders in dev");
    let begun = Instant::now();
    system.aws.delete_service("dev", "orders").await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "DeleteService", "orders").await?;
    check(&outcome, "deregistered")?;
    print_outcome("dev", &outcome);
    dev.resolves("orders.internal", &DnsAnswer::NoSuchName).await?;
    let left = system.aws.records(zone, "orders.internal").await?;
    ensure!(left.is_empty(), "records of orders are left in dev: {left:?}");
    print_answer("dev", "orders.internal", "NXDOMAIN", begun.elapsed());
    prod.resolves("orders.internal", &cname(&in_prod)).await?;
    print_text("prod", &format!("still orders.internal → {}", in_prod.dns_name));
    Ok(())
}

async fn balancer(
    system: &System,
    environment: &LocalEnvironment,
    name: &str,
) -> Result<LocalBalancer> {
    let scheme = LoadBalancerSchemeEnum::Internal;
    system.aws.create_balancer(&environment.network, name, scheme).await
}

fn cname(balancer: &LocalBalancer) -> DnsAnswer {
    DnsAnswer::Cname(balancer.dns_name.clone())
}

fn check(outcome: &Value, status: &str) -> Result<()> {
    ensure!(outcome["status"] == status, "expected the status {status}, found {outcome}");
    Ok(())
}

fn chapter(number: usize, title: &str) {
    print_line(format!("\n{}", wrap(&format!("  {number}  "), title)));
}

fn print_answer(environment: &str, name: &str, target: &str, took: Duration) {
    print_text(environment, &format!("{name} → {target} ({} ms)", took.as_millis()));
}

fn print_outcome(environment: &str, outcome: &Value) {
    print_text(environment, &outcome_text(outcome, false));
}

fn print_text(environment: &str, text: &str) {
    print_line(wrap(&format!("     {environment:<5} "), text));
}

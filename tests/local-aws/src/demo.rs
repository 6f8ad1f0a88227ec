//! What a newcomer sees: the life of a service, each step checked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerSchemeEnum;
use serde_json::Value;
use tokio::time::Instant;

use crate::fixtures::{Balancer, Environment};
use crate::resolver::Answer;
use crate::system::{Stage, outcome_of};

/// Tells the story. What it leaves behind can be tried by hand.
///
/// # Errors
/// At the first step that does not hold.
pub async fn tell(stage: &Stage) -> Result<()> {
    let (dev, prod) = (stage.environment("dev"), stage.environment("prod"));
    let in_dev = balancer(stage, dev, "orders-dev").await?;
    let in_prod = balancer(stage, prod, "orders-prod").await?;
    let other = balancer(stage, dev, "orders-dev-2").await?;

    chapter(1, "orders is created in dev and in prod, each behind its own load balancer");
    let (mut deliveries, mut in_prods) = (stage.relay.deliveries(), stage.relay.deliveries());
    let begun = Instant::now();
    for (environment, balancer) in [(dev, &in_dev), (prod, &in_prod)] {
        let cluster = &environment.network.cluster;
        stage.aws.create_service(cluster, "orders", &[&balancer.target_group]).await?;
    }
    for (environment, deliveries) in [(dev, &mut deliveries), (prod, &mut in_prods)] {
        let outcome =
            environment.outcome(&stage.aws, deliveries, "CreateService", "orders").await?;
        check(&outcome, "registered")?;
        show(&environment.name, &outcome);
    }

    chapter(2, "orders.internal is asked for in each VPC");
    for (environment, balancer) in [(dev, &in_dev), (prod, &in_prod)] {
        environment.resolves("orders.internal", &alias(balancer)).await?;
        answer(&environment.name, "orders.internal", &balancer.dns_name, begun.elapsed());
    }

    chapter(3, "orders is moved to another load balancer in dev");
    let begun = Instant::now();
    stage.aws.move_service("dev", "orders", &[&other.target_group]).await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "UpdateService", "orders").await?;
    check(&outcome, "updated")?;
    show("dev", &outcome);
    dev.resolves("orders.internal", &alias(&other)).await?;
    answer("dev", "orders.internal", &other.dns_name, begun.elapsed());
    prod.resolves("orders.internal", &alias(&in_prod)).await?;

    chapter(4, "a person has a record for billing; the service billing wants the name");
    let zone = &dev.discovery.zone;
    stage.aws.create_record(zone, "billing.internal", "A", "10.0.0.7").await?;
    stage.aws.create_service("dev", "billing", &[&in_dev.target_group]).await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "CreateService", "billing").await?;
    check(&outcome, "conflict")?;
    show("dev", &outcome);
    dev.resolves("billing.internal", &Answer::Records(vec!["10.0.0.7".into()])).await?;
    println!("     dev   the person's record stays: billing.internal is 10.0.0.7");

    chapter(5, "payments is created, and its event is lost on the way");
    stage.relay.lose("payments");
    stage.aws.create_service("dev", "payments", &[&in_dev.target_group]).await?;
    dev.resolves("payments.internal", &Answer::NoSuchName).await?;
    println!("     dev   payments.internal does not resolve; then comes the scheduled full pass");
    let begun = Instant::now();
    let pass = stage.invoke(dev, &Stage::scheduled()).await?;
    let repaired = outcome_of(&pass, "dev", "payments").context("no outcome for payments")?;
    check(repaired, "registered")?;
    show("dev", repaired);
    dev.resolves("payments.internal", &alias(&in_dev)).await?;
    answer("dev", "payments.internal", &in_dev.dns_name, begun.elapsed());
    stage.relay.carry("payments");

    chapter(6, "orders is deleted in dev");
    let begun = Instant::now();
    stage.aws.delete_service("dev", "orders").await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "DeleteService", "orders").await?;
    check(&outcome, "deregistered")?;
    show("dev", &outcome);
    dev.resolves("orders.internal", &Answer::NoSuchName).await?;
    let left = stage.aws.records(zone, "orders.internal").await?;
    ensure!(left.is_empty(), "something is left of orders in dev: {left:?}");
    answer("dev", "orders.internal", "NXDOMAIN", begun.elapsed());
    prod.resolves("orders.internal", &alias(&in_prod)).await?;
    answer("prod", "orders.internal", &in_prod.dns_name, Duration::ZERO);
    Ok(())
}

async fn balancer(stage: &Stage, environment: &Environment, name: &str) -> Result<Balancer> {
    let scheme = LoadBalancerSchemeEnum::Internal;
    stage.aws.create_balancer(&environment.network, name, scheme).await
}

fn alias(balancer: &Balancer) -> Answer {
    Answer::Alias(balancer.dns_name.clone())
}

fn check(outcome: &Value, status: &str) -> Result<()> {
    ensure!(outcome["status"] == status, "expected the status {status}, found {outcome}");
    Ok(())
}

fn chapter(number: usize, title: &str) {
    println!("\n  {number}  {title}");
}

fn answer(environment: &str, name: &str, target: &str, took: Duration) {
    let after = match took.as_millis() {
        0 => "still".to_owned(),
        millis => format!("after {millis} ms"),
    };
    println!("     {environment:<5} {name} → {target}   ({after})");
}

/// Shows an outcome as the handler told it.
pub fn show(environment: &str, outcome: &Value) {
    println!("     {environment:<5} {}", outcome_line(outcome));
}

/// `registered  orders.internal → lb.elb.amazonaws.com: why`.
pub fn outcome_line(outcome: &Value) -> String {
    let text = |key: &str| outcome[key].as_str();
    let service = text("service").and_then(|arn| arn.rsplit('/').next()).unwrap_or("?");
    let name = text("name").unwrap_or(service);
    let target = text("target").map_or(String::new(), |target| format!(" → {target}"));
    let reason = text("reason").map_or(String::new(), |reason| format!(": {reason}"));
    let status = text("status").unwrap_or("?");
    format!("{status:<12} {name}{target}{reason}")
}

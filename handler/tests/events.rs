//! Sample events in the forms that AWS sends, and the trigger that each becomes.

mod common;

use common::{events, location};
use handler::domain::trigger::{Scope, Trigger};

fn show(trigger: Trigger) -> String {
    match trigger {
        Trigger::Ignore { reason } => format!("ignored: {reason}"),
        Trigger::Unreadable { reason } => format!("unreadable: {reason}"),
        Trigger::SetNegativeTtl { .. } => "negative TTL".into(),
        Trigger::CheckZones => "check zones".into(),
        Trigger::Leave(_) => "leave zones".into(),
        Trigger::Deregister { .. } => "deregister".into(),
        Trigger::Scheduled => "full pass of the schedule".into(),
        Trigger::Reconcile { scope: Scope::FullPass(_), .. } => "full pass".into(),
        Trigger::Reconcile { scope: Scope::Services(targets), .. } => {
            let services: Vec<String> = targets
                .services
                .iter()
                .map(|service| format!("{}/{}", service.cluster(), service.service()))
                .collect();
            format!("{}, load balancers: {}", services.join(" "), targets.hint.len())
        }
    }
}

#[test]
fn each_event_becomes_the_right_trigger() {
    let lines: Vec<String> = events()
        .iter()
        .map(|(name, event)| format!("{name}: {}", show(Trigger::read(event, &location()))))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    container-instance-state-change: ignored: events "ECS Container Instance State Change" of "aws.ecs" do not change names
    create-listener-from-queue: full pass
    create-service-by-cloudformation: dev/orders, load balancers: 1
    create-service-by-root-in-default-cluster: default/orders, load balancers: 0
    create-service-failed: ignored: the call failed with "InvalidParameterException", so it changed nothing
    delete-load-balancer: full pass
    delete-service-with-force: dev/orders, load balancers: 1
    deployment-state-change: dev/orders, load balancers: 0
    run-task: ignored: calls of "RunTask" to "ecs.amazonaws.com" do not change names
    schedule: full pass of the schedule
    service-action: ignored: the event SERVICE_STEADY_STATE of ECS changes no name
    tag-service: ignored: the call changes no discovery tag, so it changes no name
    update-service-by-arn: dev/orders, load balancers: 1
    update-service-truncated: full pass
    "#);
}

//! Whole events, of the shapes that AWS sends, and what each is taken for.

use std::path::Path;

use handler::domain::service::AwsLocation;
use handler::domain::trigger::{Scope, Trigger};

fn taken_for(trigger: Trigger) -> String {
    match trigger {
        Trigger::Ignore { reason } => format!("ignored: {reason}"),
        Trigger::Unreadable { reason } => format!("unreadable: {reason}"),
        Trigger::Deregister { .. } => "deregister".into(),
        Trigger::Reconcile { scope: Scope::Everything, .. } => "everything".into(),
        Trigger::Reconcile { scope: Scope::Services(named), .. } => {
            let services: Vec<String> = named
                .services
                .iter()
                .map(|service| format!("{}/{}", service.cluster(), service.service()))
                .collect();
            let mentioned = named.hint.len();
            format!("{}, {mentioned} load balancers mentioned", services.join(" "))
        }
    }
}

#[test]
fn every_event_is_taken_for_what_it_is() {
    let location =
        AwsLocation::of_function("arn:aws:lambda:eu-west-1:111122223333:function:discovery");
    let location = location.expect("a function's ARN");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events");
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the events") {
        let path = entry.expect("an event").path();
        let text = std::fs::read_to_string(&path).expect("readable");
        let event = serde_json::from_str(&text).expect("JSON");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        lines.push(format!("{name}: {}", taken_for(Trigger::parse(&event, &location))));
    }
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    container-instance-state-change: ignored: events "ECS Container Instance State Change" of "aws.ecs" change no name
    create-service-by-cloudformation: dev/orders, 1 load balancers mentioned
    create-service-by-root-in-default-cluster: default/orders, 0 load balancers mentioned
    create-service-failed: ignored: the call failed with "InvalidParameterException", so it changed nothing
    delete-service-with-force: dev/orders, 1 load balancers mentioned
    deployment-state-change: dev/orders, 0 load balancers mentioned
    run-task: ignored: calls of "RunTask" to "ecs.amazonaws.com" change no name
    schedule: everything
    service-action: dev/orders, 0 load balancers mentioned
    tag-service: dev/orders, 0 load balancers mentioned
    update-service-by-arn: dev/orders, 1 load balancers mentioned
    update-service-truncated: everything
    "#);
}

//! The specification, a sentence a scenario, on the real stacks: created through AWS's APIs,
//! carried by the deployed rules, answered by DNS.
//!
//! All scenarios share one local AWS and run side by side, each with services of its own.

mod operation;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerSchemeEnum::{Internal, InternetFacing};
use aws_sdk_route53::error::ProvideErrorMetadata;
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use futures_util::future::join_all;
use libtest_mimic::{Arguments, Trial};
use local_aws::fixtures::{Balancer, Environment};
use local_aws::ministack::{LocalAws, Permissions, interrupted};
use local_aws::resolver::Answer::{self, Alias, NoSuchName, Records};
use local_aws::system::{Stage, outcome_of};
use operation::{
    a_message_that_makes_no_sense_ends_in_the_dead_letter_queue,
    an_environment_arrives_changes_and_departs,
    another_environments_zone_cannot_be_read_or_changed, each_alarm_fires,
    each_permission_is_granted_by_one_statement, what_failed_waits_and_is_handled_after_a_redrive,
};
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};

/// How the scenarios are played: with either kind of delivery, and once under the handler's own role
/// as it was deployed.
const PLAYS: [(&str, Permissions); 2] =
    [("direct", Permissions::Enforced), ("queue", Permissions::Open)];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let runtime = Runtime::new().expect("a runtime");
    if arguments.list {
        let all = PLAYS.iter().flat_map(|(delivery, _)| trials(delivery, None, runtime.handle()));
        return libtest_mimic::run(&arguments, all.collect()).exit_code();
    }
    let mut status = ExitCode::SUCCESS;
    for (delivery, permissions) in PLAYS {
        let asked_for = arguments.filter.as_ref().is_none_or(|filter| {
            let wanted = |trial: &Trial| trial.name().contains(filter);
            trials(delivery, None, runtime.handle()).iter().any(wanted)
        });
        if asked_for && !play(&arguments, &runtime, delivery, permissions) {
            status = ExitCode::FAILURE;
        }
    }
    status
}

fn play(
    arguments: &Arguments,
    runtime: &Runtime,
    delivery: &str,
    permissions: Permissions,
) -> bool {
    let aws = match runtime.block_on(LocalAws::start(permissions)) {
        Ok(aws) => Arc::new(aws),
        Err(error) => {
            eprintln!("{error:#}");
            return false;
        }
    };
    // Whoever interrupts the tests does not want MiniStack to stay.
    let stopping = Arc::clone(&aws);
    let interruption = runtime.spawn(async move {
        interrupted().await;
        stopping.stop().await;
        std::process::exit(130);
    });

    let environments: Vec<(&str, Value)> = [
        ("dev", json!({})),
        ("prod", json!({})),
        // Other names, another TTL.
        ("lab", json!({"nameTemplate": "{service}.{cluster}", "ttlSeconds": 5})),
        // Swept by full passes, which may be faster than an event.
        ("swept", json!({})),
        // Emptied now and then.
        ("scratch", json!({"deleteLimit": {"free": 1, "percent": 10}})),
        // Its zone does not exist.
        ("broken", json!({})),
        // Its handler loses a permission now and then.
        ("guarded", json!({})),
        // Its handler is configured badly for a while.
        ("outage", json!({})),
        // Nothing goes well there.
        ("stalled", json!({})),
        ("alarmed", json!({"deleteLimit": {"free": 1, "percent": 10}})),
    ]
    .into_iter()
    .map(|(name, mut options)| {
        // An outage is one of the function, as it shows where it is called directly.
        options["delivery"] = if name == "outage" { "direct" } else { delivery }.into();
        // Where permissions are enforced, MiniStack does not let the bootstrap stack's roles publish.
        options["bootstrapRoles"] = (permissions == Permissions::Open).into();
        (name, options)
    })
    .collect();
    eprintln!("\ndelivery: {delivery}, permissions: {permissions:?}");
    let say =
        |what: &str, took: std::time::Duration| eprintln!("{what}, {:.1} s", took.as_secs_f32());
    let more = ["mover", "mover-b"];
    let stage = runtime.block_on(Stage::set(Arc::clone(&aws), &environments, &more, say));
    let succeeded = match stage {
        Ok(stage) => {
            let stage = Arc::new(stage);
            let trials = trials(delivery, Some(&stage), runtime.handle());
            !libtest_mimic::run(arguments, trials).has_failed()
        }
        Err(error) => {
            eprintln!("{error:#}");
            false
        }
    };
    eprintln!("the logs are in {}", aws.directory.display());
    interruption.abort();
    runtime.block_on(aws.stop());
    succeeded
}

macro_rules! scenarios {
    ($delivery:expr, $stage:expr, $runtime:expr, [$($name:ident,)*]) => {
        vec![$({
            let stage = $stage.cloned();
            let runtime = $runtime.clone();
            Trial::test(format!("{}::{}", $delivery, stringify!($name)), move || {
                let stage: Arc<Stage> = stage.ok_or("only listed")?;
                runtime.block_on($name(&stage)).map_err(|error| format!("{error:#}").into())
            })
        }),*]
    };
}

fn trials(delivery: &str, stage: Option<&Arc<Stage>>, runtime: &Handle) -> Vec<Trial> {
    let mut all = operations(delivery, stage, runtime);
    all.extend(scenarios!(
        delivery,
        stage,
        runtime,
        [
            a_created_service_resolves_in_its_vpc_only,
            the_same_name_lives_side_by_side_in_two_environments,
            a_moved_service_resolves_to_its_new_load_balancer,
            a_deleted_service_leaves_nothing_behind,
            a_deleted_service_loses_its_name_though_its_load_balancer_went_first,
            a_service_that_is_created_again_gets_its_name_again,
            clusters_and_services_may_be_given_as_arns,
            a_service_without_a_load_balancer_is_ignored,
            a_service_that_leaves_its_load_balancer_is_deregistered,
            a_load_balancer_that_comes_later_is_found_by_the_full_pass,
            a_load_balancer_in_another_vpc_is_not_registered,
            an_internal_load_balancer_is_preferred,
            upper_case_and_underscores_become_host_names,
            a_name_that_dns_forbids_is_invalid,
            the_template_and_the_ttl_are_those_of_the_environment,
            a_tag_renames_a_service_and_gives_its_name_back,
            a_tag_keeps_a_service_out,
            a_tag_that_cannot_be_followed_is_invalid_and_changes_nothing,
            a_service_deleted_under_a_tagged_name_leaves_nothing_behind,
            a_tag_turns_a_cname_into_an_alias_and_back,
            a_record_that_says_the_right_thing_is_adopted,
            a_record_that_a_person_made_is_never_touched,
            a_record_of_another_environment_is_never_touched,
            a_service_with_the_name_of_another_is_a_conflict_until_that_is_gone,
            lost_events_are_repaired_by_the_full_pass,
            invariant_1_a_second_run_changes_nothing,
            the_same_event_many_times_at_once_makes_one_record,
            a_dry_run_writes_nothing,
            a_deployment_that_ecs_tells_of_registers_its_service,
            a_failed_call_does_not_reach_the_handler,
            calls_that_change_no_name_do_not_reach_the_handler,
            what_cannot_be_understood_is_ignored_and_succeeds,
            too_many_deletions_are_refused_and_everything_can_be_deregistered,
            an_error_of_aws_is_told_with_code_and_request_id,
            the_messages_of_a_queue_become_one_run_and_a_bad_one_fails_alone,
            the_strict_route_53_of_the_simulation_answers_like_the_local_one,
        ]
    ));
    all
}

/// Those of operation, of which some need permissions that are enforced. The long ones come first.
fn operations(delivery: &str, stage: Option<&Arc<Stage>>, runtime: &Handle) -> Vec<Trial> {
    if delivery == "direct" {
        scenarios!(
            delivery,
            stage,
            runtime,
            [
                an_environment_arrives_changes_and_departs,
                each_permission_is_granted_by_one_statement,
                another_environments_zone_cannot_be_read_or_changed,
            ]
        )
    } else {
        scenarios!(
            delivery,
            stage,
            runtime,
            [
                each_alarm_fires,
                what_failed_waits_and_is_handled_after_a_redrive,
                a_message_that_makes_no_sense_ends_in_the_dead_letter_queue,
            ]
        )
    }
}

/// A load balancer in an environment, named after who uses it.
async fn balancer(stage: &Stage, environment: &Environment, name: &str) -> Result<Balancer> {
    stage.aws.create_balancer(&environment.network, name, Internal).await
}

/// Creates a service behind a load balancer of its own, and waits until it resolves and the run
/// that registered it has ended: that looks at ECS once more, and would find what comes next.
async fn registered(stage: &Stage, environment: &Environment, name: &str) -> Result<Balancer> {
    let balancer = balancer(stage, environment, name).await?;
    let cluster = &environment.network.cluster;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.create_service(cluster, name, &[&balancer.target_group]).await?;
    environment.outcome(&stage.aws, &mut deliveries, "CreateService", name).await?;
    environment.resolves(&format!("{name}.internal"), &alias(&balancer)).await?;
    Ok(balancer)
}

fn alias(balancer: &Balancer) -> Answer {
    Alias(balancer.dns_name.to_lowercase())
}

/// What an environment's handler says of a service when a person asks.
async fn reconcile(stage: &Stage, environment: &Environment, service: &str) -> Result<Value> {
    let cluster = &environment.network.cluster;
    let payload = json!({"reconcile": {"cluster": cluster, "service": service}});
    let answer = stage.invoke(environment, &payload).await?;
    Ok(outcome_of(&answer, cluster, service).context("no outcome")?.clone())
}

fn status(outcome: &Value, status: &str, reason: &str) -> Result<()> {
    let found = outcome["reason"].as_str().unwrap_or_default();
    ensure!(
        outcome["status"] == status && found.contains(reason),
        "expected {status} because of {reason:?}, found {outcome}"
    );
    Ok(())
}

async fn a_created_service_resolves_in_its_vpc_only(stage: &Stage) -> Result<()> {
    let (dev, prod) = (stage.environment("dev"), stage.environment("prod"));
    let mut deliveries = stage.relay.deliveries();
    let balancer = registered(stage, dev, "created").await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "CreateService", "created").await?;
    status(&outcome, "registered", "")?;
    ensure!(outcome["target"] == balancer.dns_name.as_str(), "{outcome}");
    ensure!(prod.resolver.ask("created.internal").await? == NoSuchName);
    let arn = "arn:aws:ecs:eu-west-1:000000000000:service/dev/created";
    ensure!(
        stage.aws.records(&dev.discovery.zone, "created.internal").await?
            == [
                format!("created.internal CNAME {}", balancer.dns_name),
                format!(
                    "_discovery.created.internal TXT \"heritage=ecs-discovery,version=1,environment=dev,service={arn}\""
                ),
            ]
    );
    Ok(())
}

async fn the_same_name_lives_side_by_side_in_two_environments(stage: &Stage) -> Result<()> {
    let (dev, prod) = (stage.environment("dev"), stage.environment("prod"));
    let in_dev = balancer(stage, dev, "twin-dev").await?;
    let in_prod = balancer(stage, prod, "twin-prod").await?;
    stage.aws.create_service("dev", "twin", &[&in_dev.target_group]).await?;
    stage.aws.create_service("prod", "twin", &[&in_prod.target_group]).await?;
    dev.resolves("twin.internal", &alias(&in_dev)).await?;
    prod.resolves("twin.internal", &alias(&in_prod)).await?;
    stage.aws.delete_service("dev", "twin").await?;
    dev.resolves("twin.internal", &NoSuchName).await?;
    ensure!(prod.resolver.ask("twin.internal").await? == alias(&in_prod));
    Ok(())
}

async fn a_moved_service_resolves_to_its_new_load_balancer(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    registered(stage, dev, "moved").await?;
    let other = balancer(stage, dev, "moved-2").await?;
    stage.aws.move_service("dev", "moved", &[&other.target_group]).await?;
    dev.resolves("moved.internal", &alias(&other)).await?;
    Ok(())
}

async fn a_deleted_service_leaves_nothing_behind(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    registered(stage, dev, "deleted").await?;
    stage.aws.delete_service("dev", "deleted").await?;
    dev.resolves("deleted.internal", &NoSuchName).await?;
    ensure!(stage.aws.records(&dev.discovery.zone, "deleted.internal").await?.is_empty());
    Ok(())
}

async fn a_deleted_service_loses_its_name_though_its_load_balancer_went_first(
    stage: &Stage,
) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = registered(stage, dev, "orphan").await?;
    stage.aws.elb.delete_load_balancer().load_balancer_arn(&balancer.arn).send().await?;
    status(&reconcile(stage, dev, "orphan").await?, "waiting", "no load balancer yet")?;
    ensure!(dev.resolver.ask("orphan.internal").await? == alias(&balancer), "it was dropped");
    stage.aws.delete_service("dev", "orphan").await?;
    dev.resolves("orphan.internal", &NoSuchName).await?;
    Ok(())
}

async fn a_service_that_is_created_again_gets_its_name_again(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = registered(stage, dev, "again").await?;
    stage.aws.delete_service("dev", "again").await?;
    dev.resolves("again.internal", &NoSuchName).await?;
    stage.aws.create_service("dev", "again", &[&balancer.target_group]).await?;
    dev.resolves("again.internal", &alias(&balancer)).await?;
    Ok(())
}

async fn clusters_and_services_may_be_given_as_arns(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let cluster = "arn:aws:ecs:eu-west-1:000000000000:cluster/dev";
    let service = "arn:aws:ecs:eu-west-1:000000000000:service/dev/by-arn";
    let (first, second) =
        (balancer(stage, dev, "by-arn").await?, balancer(stage, dev, "by-arn-2").await?);
    stage.aws.create_service(cluster, "by-arn", &[&first.target_group]).await?;
    dev.resolves("by-arn.internal", &alias(&first)).await?;
    stage.aws.move_service(cluster, service, &[&second.target_group]).await?;
    dev.resolves("by-arn.internal", &alias(&second)).await?;
    stage.aws.delete_service(cluster, service).await?;
    dev.resolves("by-arn.internal", &NoSuchName).await?;
    Ok(())
}

async fn a_service_without_a_load_balancer_is_ignored(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let mut deliveries = stage.relay.deliveries();
    stage.aws.create_service("dev", "worker", &[]).await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "CreateService", "worker").await?;
    status(&outcome, "ignored", "the service has no load balancer")
}

async fn a_service_that_leaves_its_load_balancer_is_deregistered(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    registered(stage, dev, "leaver").await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.move_service("dev", "leaver", &[]).await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "UpdateService", "leaver").await?;
    status(&outcome, "deregistered", "the service has no load balancer")?;
    dev.resolves("leaver.internal", &NoSuchName).await?;
    Ok(())
}

async fn a_load_balancer_that_comes_later_is_found_by_the_full_pass(stage: &Stage) -> Result<()> {
    let swept = stage.environment("swept");
    let group = stage.aws.create_target_group(&swept.network, "early").await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.create_service("swept", "early", &[&group]).await?;
    let outcome = swept.outcome(&stage.aws, &mut deliveries, "CreateService", "early").await?;
    status(&outcome, "waiting", "has no load balancer yet")?;
    let balancer = balancer(stage, swept, "late").await?;
    stage.aws.create_listener(&balancer.arn, &group, 81).await?;
    stage.invoke(swept, &Stage::scheduled()).await?;
    swept.resolves("early.internal", &alias(&balancer)).await?;
    Ok(())
}

async fn a_load_balancer_in_another_vpc_is_not_registered(stage: &Stage) -> Result<()> {
    let (dev, prod) = (stage.environment("dev"), stage.environment("prod"));
    let elsewhere = balancer(stage, prod, "elsewhere").await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.create_service("dev", "elsewhere", &[&elsewhere.target_group]).await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "CreateService", "elsewhere").await?;
    status(&outcome, "ignored", "no zone of this environment is for the VPC")?;
    ensure!(dev.resolver.ask("elsewhere.internal").await? == NoSuchName);
    ensure!(prod.resolver.ask("elsewhere.internal").await? == NoSuchName);
    Ok(())
}

async fn an_internal_load_balancer_is_preferred(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let public = stage.aws.create_balancer(&dev.network, "public", InternetFacing).await?;
    let inside = stage.aws.create_balancer(&dev.network, "inside", Internal).await?;
    let groups = [public.target_group.as_str(), inside.target_group.as_str()];
    stage.aws.create_service("dev", "preferred", &groups).await?;
    dev.resolves("preferred.internal", &alias(&inside)).await?;
    Ok(())
}

async fn upper_case_and_underscores_become_host_names(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = balancer(stage, dev, "shouting").await?;
    stage.aws.create_service("dev", "Shop_API", &[&balancer.target_group]).await?;
    dev.resolves("shop-api.internal", &alias(&balancer)).await?;
    Ok(())
}

async fn a_name_that_dns_forbids_is_invalid(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = balancer(stage, dev, "forbidden").await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.create_service("dev", "forbidden_", &[&balancer.target_group]).await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "CreateService", "forbidden_").await?;
    status(&outcome, "invalid", "starts or ends with -")
}

async fn the_template_and_the_ttl_are_those_of_the_environment(stage: &Stage) -> Result<()> {
    let lab = stage.environment("lab");
    let balancer = balancer(stage, lab, "templated").await?;
    stage.aws.create_service("lab", "templated", &[&balancer.target_group]).await?;
    lab.resolves("templated.lab.internal", &alias(&balancer)).await?;
    let zone = &lab.discovery.zone;
    let list = stage.aws.route53.list_resource_record_sets().hosted_zone_id(zone).send().await?;
    let named = |name: &str| name.starts_with("templated.lab.internal");
    let rrset = list.resource_record_sets().iter().find(|rrset| named(rrset.name()));
    ensure!(rrset.context("no record")?.ttl() == Some(5));
    Ok(())
}

async fn a_tag_renames_a_service_and_gives_its_name_back(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = registered(stage, dev, "plain").await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.tag_service("dev", "plain", "discovery:name", "fancy.shop").await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "TagResource", "plain").await?;
    status(&outcome, "updated", "no longer called plain.internal")?;
    ensure!(dev.resolver.ask("fancy.shop.internal").await? == alias(&balancer));
    ensure!(dev.resolver.ask("plain.internal").await? == NoSuchName);
    stage.aws.tag_service("dev", "plain", "discovery:name", "dashing").await?;
    dev.resolves("dashing.internal", &alias(&balancer)).await?;
    dev.resolves("fancy.shop.internal", &NoSuchName).await?;
    stage.aws.untag_service("dev", "plain", "discovery:name").await?;
    dev.resolves("plain.internal", &alias(&balancer)).await?;
    dev.resolves("dashing.internal", &NoSuchName).await?;
    Ok(())
}

async fn a_tag_keeps_a_service_out(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = registered(stage, dev, "shy").await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.tag_service("dev", "shy", "discovery:enabled", "false").await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "TagResource", "shy").await?;
    status(&outcome, "deregistered", "its tag discovery:enabled says false")?;
    dev.resolves("shy.internal", &NoSuchName).await?;
    stage.aws.untag_service("dev", "shy", "discovery:enabled").await?;
    dev.resolves("shy.internal", &alias(&balancer)).await?;
    Ok(())
}

async fn a_tag_that_cannot_be_followed_is_invalid_and_changes_nothing(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = registered(stage, dev, "mistyped").await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.tag_service("dev", "mistyped", "discovery:nmae", "shop").await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "TagResource", "mistyped").await?;
    status(&outcome, "invalid", "the tag discovery:nmae is \"shop\", and known are")?;
    ensure!(dev.resolver.ask("mistyped.internal").await? == alias(&balancer));
    Ok(())
}

async fn a_service_deleted_under_a_tagged_name_leaves_nothing_behind(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = registered(stage, dev, "alias-of").await?;
    stage.aws.tag_service("dev", "alias-of", "discovery:name", "pseudonym").await?;
    dev.resolves("pseudonym.internal", &alias(&balancer)).await?;
    stage.aws.delete_service("dev", "alias-of").await?;
    dev.resolves("pseudonym.internal", &NoSuchName).await?;
    ensure!(stage.aws.records(&dev.discovery.zone, "pseudonym.internal").await?.is_empty());
    Ok(())
}

async fn a_tag_turns_a_cname_into_an_alias_and_back(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = registered(stage, dev, "direct").await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.tag_service("dev", "direct", "discovery:record", "ALIAS").await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "TagResource", "direct").await?;
    status(&outcome, "updated", "it was CNAME")?;
    let records = stage.aws.records(&dev.discovery.zone, "direct.internal").await?;
    ensure!(
        records[0] == format!("direct.internal A alias to {}.", balancer.dns_name),
        "{records:?}"
    );
    ensure!(records.len() == 2 && records[1].contains("TXT"), "{records:?}");
    stage.aws.untag_service("dev", "direct", "discovery:record").await?;
    dev.resolves("direct.internal", &alias(&balancer)).await?;
    Ok(())
}

async fn a_record_that_says_the_right_thing_is_adopted(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let zone = &dev.discovery.zone;
    let balancer = balancer(stage, dev, "inherited").await?;
    // As a predecessor wrote it.
    let target = format!("{}.", balancer.dns_name);
    stage.aws.create_record(zone, "inherited.internal", "CNAME", &target).await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.create_service("dev", "inherited", &[&balancer.target_group]).await?;
    let outcome = dev.outcome(&stage.aws, &mut deliveries, "CreateService", "inherited").await?;
    status(&outcome, "adopted", "the record was there, without a marker")?;
    ensure!(stage.aws.records(zone, "inherited.internal").await?.len() == 2);
    stage.aws.delete_service("dev", "inherited").await?;
    dev.resolves("inherited.internal", &NoSuchName).await?;
    Ok(())
}

async fn a_record_that_a_person_made_is_never_touched(stage: &Stage) -> Result<()> {
    let swept = stage.environment("swept");
    let zone = &swept.discovery.zone;
    stage.aws.create_record(zone, "personal.internal", "A", "10.0.0.7").await?;
    let balancer = balancer(stage, swept, "personal").await?;
    let mut deliveries = stage.relay.deliveries();
    let untouched = Records(vec!["10.0.0.7".into()]);
    stage.aws.create_service("swept", "personal", &[&balancer.target_group]).await?;
    let outcome = swept.outcome(&stage.aws, &mut deliveries, "CreateService", "personal").await?;
    status(&outcome, "conflict", "it holds A 10.0.0.7, without a marker")?;
    stage.invoke(swept, &Stage::scheduled()).await?;
    stage.aws.delete_service("swept", "personal").await?;
    status(&reconcile(stage, swept, "personal").await?, "unchanged", "holds no name")?;
    ensure!(swept.resolver.ask("personal.internal").await? == untouched);
    Ok(())
}

async fn a_record_of_another_environment_is_never_touched(stage: &Stage) -> Result<()> {
    let swept = stage.environment("swept");
    let zone = &swept.discovery.zone;
    let marker = "\"heritage=ecs-discovery,version=1,environment=qa,service=arn:aws:ecs:eu-west-1:000000000000:service/qa/shared\"";
    stage.aws.create_record(zone, "shared.internal", "CNAME", "qa.example.com").await?;
    stage.aws.create_record(zone, "_discovery.shared.internal", "TXT", marker).await?;
    let before = stage.aws.records(zone, "shared.internal").await?;
    let balancer = balancer(stage, swept, "shared").await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.create_service("swept", "shared", &[&balancer.target_group]).await?;
    let outcome = swept.outcome(&stage.aws, &mut deliveries, "CreateService", "shared").await?;
    status(&outcome, "conflict", "the environment qa manages it")?;
    stage.invoke(swept, &Stage::scheduled()).await?;
    ensure!(stage.aws.records(zone, "shared.internal").await? == before);
    Ok(())
}

async fn a_service_with_the_name_of_another_is_a_conflict_until_that_is_gone(
    stage: &Stage,
) -> Result<()> {
    let swept = stage.environment("swept");
    let holder = balancer(stage, swept, "rival-1").await?;
    let rival = balancer(stage, swept, "rival-2").await?;
    stage.aws.create_service("swept", "Rival", &[&holder.target_group]).await?;
    swept.resolves("rival.internal", &alias(&holder)).await?;
    let mut deliveries = stage.relay.deliveries();
    stage.aws.create_service("swept", "rival", &[&rival.target_group]).await?;
    let outcome = swept.outcome(&stage.aws, &mut deliveries, "CreateService", "rival").await?;
    status(
        &outcome,
        "conflict",
        "is held by arn:aws:ecs:eu-west-1:000000000000:service/swept/Rival",
    )?;
    ensure!(swept.resolver.ask("rival.internal").await? == alias(&holder));
    stage.aws.delete_service("swept", "Rival").await?;
    stage.invoke(swept, &Stage::scheduled()).await?;
    swept.resolves("rival.internal", &alias(&rival)).await?;
    Ok(())
}

async fn lost_events_are_repaired_by_the_full_pass(stage: &Stage) -> Result<()> {
    let swept = stage.environment("swept");
    registered(stage, swept, "lost-deleted").await?;
    let balancer = balancer(stage, swept, "lost-created").await?;
    stage.relay.lose("lost-deleted");
    stage.relay.lose("lost-created");
    stage.aws.delete_service("swept", "lost-deleted").await?;
    stage.aws.create_service("swept", "lost-created", &[&balancer.target_group]).await?;
    stage.invoke(swept, &Stage::scheduled()).await?;
    swept.resolves("lost-created.internal", &alias(&balancer)).await?;
    swept.resolves("lost-deleted.internal", &NoSuchName).await?;
    Ok(())
}

async fn invariant_1_a_second_run_changes_nothing(stage: &Stage) -> Result<()> {
    let lab = stage.environment("lab");
    let balancer = balancer(stage, lab, "idle").await?;
    stage.aws.create_service("lab", "idle", &[&balancer.target_group]).await?;
    lab.resolves("idle.lab.internal", &alias(&balancer)).await?;
    let payload = json!({"reconcile": {"cluster": "lab", "service": "idle"}});
    let answer = stage.invoke(lab, &payload).await?;
    ensure!(answer["changes"] == json!({"created": 0, "deleted": 0}), "{answer}");
    ensure!(answer["apiCalls"] == json!({"ecs": 1, "elb": 2, "route53": 1}), "{answer}");
    Ok(())
}

async fn the_same_event_many_times_at_once_makes_one_record(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = balancer(stage, dev, "crowd").await?;
    stage.relay.lose("crowd");
    stage.aws.create_service("dev", "crowd", &[&balancer.target_group]).await?;
    let payload = json!({"reconcile": {"cluster": "dev", "service": "crowd"}});
    let all = (0..8).map(|_| stage.invoke(dev, &payload));
    let mut registered = 0;
    for answer in join_all(all).await {
        let answer = answer?;
        let outcome = outcome_of(&answer, "dev", "crowd").context("no outcome")?;
        ensure!(outcome["status"] == "registered" || outcome["status"] == "unchanged", "{outcome}");
        registered += answer["changes"]["created"].as_u64().unwrap_or_default();
    }
    ensure!(registered == 2, "one record and one marker were to be made, found {registered}");
    ensure!(stage.aws.records(&dev.discovery.zone, "crowd.internal").await?.len() == 2);
    Ok(())
}

async fn a_dry_run_writes_nothing(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = balancer(stage, dev, "rehearsed").await?;
    stage.relay.lose("rehearsed");
    stage.aws.create_service("dev", "rehearsed", &[&balancer.target_group]).await?;
    let payload = json!({"reconcile": {"cluster": "dev", "service": "rehearsed"}, "dryRun": true});
    let answer = stage.invoke(dev, &payload).await?;
    ensure!(answer["dryRun"] == true && answer["changes"]["created"] == 2, "{answer}");
    let outcome = outcome_of(&answer, "dev", "rehearsed").context("no outcome")?;
    status(outcome, "registered", "")?;
    ensure!(stage.aws.records(&dev.discovery.zone, "rehearsed.internal").await?.is_empty());
    Ok(())
}

/// An event as EventBridge delivers it.
fn event(detail_type: &str, resources: &[&str], detail: &Value) -> Value {
    json!({
        "version": "0", "id": "1", "detail-type": detail_type,
        "source": "aws.ecs", "account": "000000000000", "time": "2026-01-01T00:00:00Z",
        "region": "eu-west-1", "resources": resources, "detail": detail,
    })
}

/// How many rules of an environment would pass an event on.
async fn matching(stage: &Stage, event: &Value) -> Result<usize> {
    let mut matching = 0;
    let prefix = "EcsDiscovery-dev-";
    let rules = stage.aws.eventbridge.list_rules().name_prefix(prefix).send().await?;
    for pattern in rules.rules().iter().filter_map(|rule| rule.event_pattern()) {
        let test = stage.aws.eventbridge.test_event_pattern().event_pattern(pattern);
        matching += usize::from(test.event(event.to_string()).send().await?.result());
    }
    Ok(matching)
}

/// How many rules would pass an API call on.
async fn matching_call(stage: &Stage, detail: &Value) -> Result<usize> {
    matching(stage, &event("AWS API Call via CloudTrail", &[], detail)).await
}

async fn a_deployment_that_ecs_tells_of_registers_its_service(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let balancer = balancer(stage, dev, "deployed").await?;
    stage.relay.lose("deployed");
    stage.aws.create_service("dev", "deployed", &[&balancer.target_group]).await?;
    // MiniStack sends no such events, so what the deployed rule would pass on is handed over.
    let arn = "arn:aws:ecs:eu-west-1:000000000000:service/dev/deployed";
    let detail = json!({"eventType": "INFO", "eventName": "SERVICE_DEPLOYMENT_IN_PROGRESS"});
    let event = event("ECS Deployment State Change", &[arn], &detail);
    ensure!(matching(stage, &event).await? == 1);
    let answer = stage.invoke(dev, &event).await?;
    status(outcome_of(&answer, "dev", "deployed").context("no outcome")?, "registered", "")?;
    ensure!(dev.resolver.ask("deployed.internal").await? == alias(&balancer));
    Ok(())
}

async fn a_failed_call_does_not_reach_the_handler(stage: &Stage) -> Result<()> {
    let call = json!({"eventSource": "ecs.amazonaws.com", "eventName": "CreateService"});
    ensure!(matching_call(stage, &call).await? == 1);
    let mut failed = call.clone();
    failed["errorCode"] = json!("InvalidParameterException");
    ensure!(matching_call(stage, &failed).await? == 0);
    Ok(())
}

async fn calls_that_change_no_name_do_not_reach_the_handler(stage: &Stage) -> Result<()> {
    for call in ["RunTask", "SubmitTaskStateChange", "RegisterTaskDefinition"] {
        let call = json!({"eventSource": "ecs.amazonaws.com", "eventName": call});
        ensure!(matching_call(stage, &call).await? == 0, "{call}");
    }
    Ok(())
}

async fn what_cannot_be_understood_is_ignored_and_succeeds(stage: &Stage) -> Result<()> {
    let dev = stage.environment("dev");
    let mut deep = json!([]);
    for _ in 0..300 {
        deep = json!([deep]);
    }
    for payload in
        [deep, json!({}), json!([7]), json!("text"), json!({"reconcile": 7}), Value::Null]
    {
        let answer = stage.invoke(dev, &payload).await?;
        ensure!(answer["scope"] == "none" && answer["reason"].is_string(), "{answer}");
        ensure!(answer["apiCalls"] == json!({"ecs": 0, "elb": 0, "route53": 0}), "{answer}");
    }
    Ok(())
}

async fn too_many_deletions_are_refused_and_everything_can_be_deregistered(
    stage: &Stage,
) -> Result<()> {
    let scratch = stage.environment("scratch");
    let zone = &scratch.discovery.zone;
    for name in ["scratch-a", "scratch-b", "scratch-c"] {
        registered(stage, scratch, name).await?;
    }
    stage.aws.create_record(zone, "person.internal", "A", "10.0.0.7").await?;
    for name in ["scratch-a", "scratch-b"] {
        stage.relay.lose(name);
        stage.aws.delete_service("scratch", name).await?;
    }
    let answer = stage.invoke(scratch, &Stage::scheduled()).await?;
    let outcome = outcome_of(&answer, "scratch", "scratch-a").context("no outcome")?;
    status(outcome, "refused", "would delete 2 of 3 names, more than 1 and more than 10 %")?;
    ensure!(stage.aws.records(zone, "scratch-a.internal").await?.len() == 2);

    let overridden = json!({"reconcile": "all", "overrideDeleteLimit": true});
    stage.invoke(scratch, &overridden).await?;
    scratch.resolves("scratch-a.internal", &NoSuchName).await?;

    let answer = stage.invoke(scratch, &json!({"deregister": "all"})).await?;
    ensure!(answer["scope"] == "deregister", "{answer}");
    scratch.resolves("scratch-c.internal", &NoSuchName).await?;
    ensure!(scratch.resolver.ask("person.internal").await? == Records(vec!["10.0.0.7".into()]));
    Ok(())
}

async fn an_error_of_aws_is_told_with_code_and_request_id(stage: &Stage) -> Result<()> {
    let broken = stage.environment("broken");
    let zone = &broken.discovery.zone;
    stage.aws.route53.delete_hosted_zone().id(zone).send().await?;
    let error = stage.invoke(broken, &json!({"reconcile": "all"})).await;
    let error = error.err().context("it was to fail")?.to_string();
    for part in ["route53:ListResourceRecordSets", zone, "NoSuchHostedZone", "request id"] {
        ensure!(error.contains(part), "{part} is missing in {error}");
    }
    Ok(())
}

async fn the_messages_of_a_queue_become_one_run_and_a_bad_one_fails_alone(
    stage: &Stage,
) -> Result<()> {
    let dev = stage.environment("dev");
    registered(stage, dev, "queued-a").await?;
    registered(stage, dev, "queued-b").await?;
    let asked = |name: &str| json!({"reconcile": {"cluster": "dev", "service": name}}).to_string();
    let bodies = [asked("queued-a"), "no JSON".into(), asked("queued-b")];
    let records = bodies.iter().enumerate().map(|(number, body)| {
        json!({"messageId": format!("m{number}"), "eventSource": "aws:sqs", "body": body})
    });
    let payload = json!({"Records": records.collect::<Vec<_>>()});
    let answer = stage.invoke(dev, &payload).await?;
    ensure!(answer["batchItemFailures"] == json!([{"itemIdentifier": "m1"}]), "{answer}");
    ensure!(answer["runs"].as_array().is_some_and(|runs| runs.len() == 1), "{answer}");
    for name in ["queued-a", "queued-b"] {
        let outcome = outcome_of(&answer["runs"][0], "dev", name).context("no outcome")?;
        status(outcome, "unchanged", "")?;
    }
    Ok(())
}

/// A script of change batches, and what came of each: applied, or the error's code; then the zone.
///
/// Where the local Route 53 is laxer than AWS's documentation, nothing is asked: it keeps capitals,
/// takes names outside of the zone and CNAMEs beside other types, and sorts `a-b.` behind `a.`.
async fn script(route53: &aws_sdk_route53::Client, zone: &str) -> Result<Vec<String>> {
    let rrset = |name: &str, kind: &str, value: &str| {
        let value = ResourceRecord::builder().value(value).build();
        ResourceRecordSet::builder()
            .name(name)
            .r#type(RrType::from(kind))
            .ttl(60)
            .set_resource_records(value.ok().map(|value| vec![value]))
            .build()
    };
    let create = ChangeAction::Create;
    let delete = ChangeAction::Delete;
    let steps = [
        vec![(&create, "orders.internal", "CNAME", "a.example.com")],
        vec![(&create, "_discovery.orders.internal", "TXT", "\"one\" \"two\"")],
        vec![(&create, "orders.internal", "CNAME", "a.example.com")],
        // Whole or not at all.
        vec![
            (&create, "web.internal", "A", "10.0.0.7"),
            (&create, "orders.internal", "CNAME", "b.example.com"),
        ],
        // Only what is just so is deleted.
        vec![(&delete, "orders.internal", "CNAME", "b.example.com")],
        vec![(&delete, "nobody.internal", "CNAME", "b.example.com")],
        // A delete makes room for a create.
        vec![
            (&delete, "orders.internal", "CNAME", "a.example.com"),
            (&create, "orders.internal", "CNAME", "c.example.com"),
        ],
        vec![(&create, "shop.internal", "CNAME", "d.example.com")],
        vec![
            (&delete, "shop.internal", "CNAME", "d.example.com"),
            (&create, "shop.internal", "A", "10.0.0.8"),
        ],
    ];
    let mut told = Vec::new();
    for step in steps {
        let mut changes = Vec::new();
        for (action, name, kind, value) in step {
            let rrset = rrset(name, kind, value)?;
            changes
                .push(Change::builder().action(action.clone()).resource_record_set(rrset).build()?);
        }
        let batch = ChangeBatch::builder().set_changes(Some(changes)).build()?;
        let request = route53.change_resource_record_sets().hosted_zone_id(zone);
        told.push(match request.change_batch(batch).send().await {
            Ok(_) => "applied".into(),
            Err(error) => {
                let bare = error.raw_response().and_then(|response| response.body().bytes());
                let bare = bare.is_some_and(|body| {
                    String::from_utf8_lossy(body).contains("<InvalidChangeBatch")
                });
                let code = error.code().map(str::to_owned);
                code.or(bare.then(|| "InvalidChangeBatch".into())).context("no code")?
            }
        });
    }
    let listed = route53.list_resource_record_sets().hosted_zone_id(zone).send().await?;
    for rrset in listed.resource_record_sets() {
        let values: Vec<&str> =
            rrset.resource_records().iter().map(|record| record.value()).collect();
        if !matches!(rrset.r#type(), RrType::Soa | RrType::Ns) {
            told.push(format!("{} {} {}", rrset.name(), rrset.r#type().as_str(), values.join(",")));
        }
    }
    Ok(told)
}

async fn the_strict_route_53_of_the_simulation_answers_like_the_local_one(
    stage: &Stage,
) -> Result<()> {
    let made = stage.aws.route53.create_hosted_zone().name("internal").caller_reference("script");
    let made = made.send().await?;
    let local = made.hosted_zone().context("no zone was made")?.id().to_owned();
    let local = script(&stage.aws.route53, local.trim_start_matches("/hostedzone/")).await?;

    let mut cloud = simulation::account::Cloud::default();
    cloud.zones.insert("ZSTRICT".into(), simulation::route53::Zone::new("internal"));
    let environment = simulation::history::History::of(0).environments;
    let calm = simulation::faults::Weather::default();
    let sim = simulation::faults::Sim::new(cloud, environment, calm, 0);
    let sim = Arc::new(std::sync::Mutex::new(sim));
    let wire = simulation::faults::Wire { sim, invocation: Arc::default() };
    let strict = script(&aws_sdk_route53::Client::new(&wire.sdk()), "ZSTRICT").await?;
    ensure!(strict == local, "strict: {strict:#?}\nlocal: {local:#?}");
    Ok(())
}

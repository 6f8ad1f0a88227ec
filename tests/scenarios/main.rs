//! End-to-end scenarios on the deployed stacks: services are created through AWS's APIs, the deployed rules
//! match the events, and DNS answers the names.
//!
//! All scenarios share one local AWS and run concurrently, each with its own services.

mod command_line;
mod operation;
mod package;
mod resolution;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use aws_sdk_elasticloadbalancingv2::types::LoadBalancerSchemeEnum::{Internal, InternetFacing};
use aws_sdk_route53::error::ProvideErrorMetadata;
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use command_line::{
    the_command_line_tool_waits_plans_applies_and_shows,
    the_policies_for_operators_allow_their_commands_and_no_others,
};
use futures_util::future::join_all;
use libtest_mimic::{Arguments, Trial};
use local_aws::fixtures::{LocalBalancer, LocalEnvironment, service_arn};
use local_aws::ministack::{ACCOUNT, LocalAws, Permissions, REGION};
use local_aws::resolver::DnsAnswer::{self, Cname, NoSuchName, Records};
use local_aws::resolver::made_up_ipv4;
use local_aws::system::{System, outcome_of};
use local_aws::terminal::interrupted;
use operation::{
    a_failed_event_is_handled_after_a_redrive,
    a_first_deployment_that_was_denied_succeeds_once_it_is_allowed,
    an_environment_is_deployed_changed_renamed_and_removed,
    an_unreadable_message_ends_in_the_dead_letter_queue, each_alarm_fires,
    each_permission_is_granted_by_one_statement,
    names_survive_a_failed_update_and_the_id_of_their_own_zone_in_the_configuration,
    the_handler_cannot_read_or_change_a_zone_of_another_environment, updated,
};
use package::an_app_installs_the_package_and_deploys_it;
use resolution::{
    a_contested_name_passes_on_when_both_events_arrive_at_once,
    a_contested_name_passes_on_when_the_deletion_arrives_after_the_event_of_the_heir,
    a_contested_name_passes_on_when_the_deletion_arrives_before_the_event_of_the_heir,
    a_name_moves_when_the_deployment_of_its_new_load_balancer_is_completed,
    a_name_passes_to_a_service_whose_creation_arrives_after_the_deletion_of_the_holder,
    a_name_stays_when_the_deployment_of_its_new_load_balancer_fails,
    a_resolver_that_was_asked_too_early_finds_the_name_after_the_negative_ttl,
    each_service_resolves_while_a_new_template_renames_all_of_them, resolves_to, while_checking,
};
use serde_json::{Value, json};
use tokio::runtime::{Handle, Runtime};

/// The scenarios run with each kind of delivery, once with enforced permissions.
const VARIANTS: [(&str, Permissions); 2] =
    [("direct", Permissions::Enforced), ("queue", Permissions::Open)];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let runtime = Runtime::new().expect("a runtime");
    if arguments.list {
        let all =
            VARIANTS.iter().flat_map(|(delivery, _)| trials(delivery, None, runtime.handle()));
        return libtest_mimic::run(&arguments, all.collect()).exit_code();
    }
    let mut status = ExitCode::SUCCESS;
    for (delivery, permissions) in VARIANTS {
        let is_selected = arguments.filter.as_ref().is_none_or(|filter| {
            let matches = |trial: &Trial| trial.name().contains(filter);
            trials(delivery, None, runtime.handle()).iter().any(matches)
        });
        if is_selected && !run(&arguments, &runtime, delivery, permissions) {
            status = ExitCode::FAILURE;
        }
    }
    status
}

/// Runs the scenarios of a variant. Returns whether all of them succeeded.
fn run(arguments: &Arguments, runtime: &Runtime, delivery: &str, permissions: Permissions) -> bool {
    let aws = match runtime.block_on(LocalAws::start(permissions, None)) {
        Ok(aws) => Arc::new(aws),
        Err(error) => {
            eprintln!("{error:#}");
            return false;
        }
    };
    // An interrupted test run ends MiniStack, too.
    let stopping = Arc::clone(&aws);
    let interruption = runtime.spawn(async move {
        interrupted().await;
        stopping.stop().await;
        std::process::exit(130);
    });

    let environments: Vec<(&str, Value)> = [
        ("dev", json!({})),
        // A scenario lets calls of Elastic Load Balancing start full passes here.
        ("prod", json!({})),
        // A different template and TTL.
        ("lab", json!({"nameTemplate": "{service}.{cluster}", "ttlSeconds": 5})),
        // Full passes run here at any time, and may be faster than an event.
        ("passes", json!({"operatorPolicies": true})),
        // A scenario changes its template.
        ("renamed", json!({"nameTemplate": "{cluster}-{service}"})),
        // A scenario deletes all of its names.
        ("scratch", json!({"deleteLimit": {"free": 1, "percent": 10}})),
        // A scenario deletes its zone.
        ("broken", json!({})),
        // A scenario removes permissions of its handler.
        ("guarded", json!({})),
        // A scenario gives its handler an invalid configuration for some time.
        ("outage", json!({})),
        // A scenario makes each of its runs fail.
        ("stalled", json!({})),
        ("alarmed", json!({"deleteLimit": {"free": 1, "percent": 10}})),
        // A scenario uses the command line tool here.
        ("operator", json!({})),
    ]
    .into_iter()
    .map(|(name, mut options)| {
        // The failure destination of the function receives events with direct delivery only.
        options["delivery"] = if name == "outage" { "direct" } else { delivery }.into();
        // With enforced permissions, MiniStack does not allow the roles of the bootstrap stack to publish.
        options["bootstrapRoles"] = (permissions == Permissions::Open).into();
        (name, options)
    })
    .collect();
    eprintln!("\ndelivery: {delivery}, permissions: {permissions:?}");
    let progress =
        |step: &str, took: std::time::Duration| eprintln!("{step}, {:.1} s", took.as_secs_f32());
    let more = ["mover", "mover-b", "owner", "denied", "app"];
    let system = runtime.block_on(System::deploy(Arc::clone(&aws), &environments, &more, progress));
    let succeeded = match system {
        Ok(system) => {
            let system = Arc::new(system);
            let trials = trials(delivery, Some(&system), runtime.handle());
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
    ($delivery:expr, $system:expr, $runtime:expr, [$($name:ident,)*]) => {
        vec![$({
            let system = $system.cloned();
            let runtime = $runtime.clone();
            Trial::test(format!("{}::{}", $delivery, stringify!($name)), move || {
                let system: Arc<System> = system.ok_or("the scenarios are listed only")?;
                runtime.block_on($name(&system)).map_err(|error| format!("{error:#}").into())
            })
        }),*]
    };
}

fn trials(delivery: &str, system: Option<&Arc<System>>, runtime: &Handle) -> Vec<Trial> {
    let mut all = operations(delivery, system, runtime);
    all.extend(scenarios!(
        delivery,
        system,
        runtime,
        [
            the_command_line_tool_waits_plans_applies_and_shows,
            a_created_service_resolves_only_in_its_vpc,
            two_environments_can_use_the_same_name,
            a_moved_service_resolves_to_its_new_load_balancer,
            a_deleted_service_leaves_no_records,
            a_service_deleted_after_its_load_balancer_loses_its_name,
            a_service_that_is_created_again_gets_its_name_again,
            calls_may_name_clusters_and_services_by_arn,
            a_service_without_a_load_balancer_is_ignored,
            a_service_that_leaves_its_load_balancer_is_deregistered,
            the_full_pass_finds_a_load_balancer_that_was_added_later,
            a_name_follows_the_load_balancer_of_its_target_group_without_an_event_of_ecs,
            a_service_with_a_load_balancer_in_another_vpc_is_not_registered,
            an_internal_load_balancer_is_preferred,
            upper_case_and_underscores_are_converted_to_a_host_name,
            a_name_that_dns_forbids_is_invalid,
            names_and_ttls_follow_the_options_of_the_environment,
            a_tag_renames_a_service_until_it_is_removed,
            a_tag_excludes_a_service,
            an_invalid_tag_is_reported_and_changes_nothing,
            a_service_deleted_with_a_name_from_a_tag_leaves_no_records,
            a_tag_turns_a_cname_into_an_alias_and_back,
            a_record_that_leads_to_the_load_balancer_is_adopted,
            a_record_made_by_a_person_is_never_changed,
            a_record_of_another_environment_is_never_changed,
            a_contested_name_passes_to_the_other_service_when_its_holder_is_deleted,
            a_contested_name_passes_on_when_the_deletion_arrives_before_the_event_of_the_heir,
            a_contested_name_passes_on_when_the_deletion_arrives_after_the_event_of_the_heir,
            a_contested_name_passes_on_when_both_events_arrive_at_once,
            a_name_passes_to_a_service_whose_creation_arrives_after_the_deletion_of_the_holder,
            a_name_moves_when_the_deployment_of_its_new_load_balancer_is_completed,
            a_name_stays_when_the_deployment_of_its_new_load_balancer_fails,
            each_service_resolves_while_a_new_template_renames_all_of_them,
            a_resolver_that_was_asked_too_early_finds_the_name_after_the_negative_ttl,
            the_full_pass_repairs_lost_events,
            invariant_1_a_second_run_changes_nothing,
            concurrent_duplicates_of_an_event_create_one_record,
            a_dry_run_writes_nothing,
            a_deployment_event_of_ecs_registers_its_service,
            a_failed_call_does_not_reach_the_handler,
            calls_that_change_no_name_do_not_reach_the_handler,
            an_unknown_payload_is_ignored_and_succeeds,
            too_many_deletions_are_refused_and_all_names_can_be_deregistered,
            an_error_of_aws_is_reported_with_its_code_and_request_id,
            the_messages_of_a_batch_become_one_run_and_an_unreadable_one_fails_alone,
            the_route_53_of_the_simulation_answers_like_the_local_one,
        ]
    ));
    all
}

/// The scenarios of operation. Some of them need enforced permissions. The long ones come first.
fn operations(delivery: &str, system: Option<&Arc<System>>, runtime: &Handle) -> Vec<Trial> {
    if delivery == "direct" {
        scenarios!(
            delivery,
            system,
            runtime,
            [
                an_environment_is_deployed_changed_renamed_and_removed,
                names_survive_a_failed_update_and_the_id_of_their_own_zone_in_the_configuration,
                a_first_deployment_that_was_denied_succeeds_once_it_is_allowed,
                each_permission_is_granted_by_one_statement,
                the_policies_for_operators_allow_their_commands_and_no_others,
                the_handler_cannot_read_or_change_a_zone_of_another_environment,
            ]
        )
    } else {
        scenarios!(
            delivery,
            system,
            runtime,
            [
                an_app_installs_the_package_and_deploys_it,
                each_alarm_fires,
                a_failed_event_is_handled_after_a_redrive,
                an_unreadable_message_ends_in_the_dead_letter_queue,
            ]
        )
    }
}

/// Creates an internal load balancer in an environment.
async fn balancer(
    system: &System,
    environment: &LocalEnvironment,
    name: &str,
) -> Result<LocalBalancer> {
    system.aws.create_balancer(&environment.network, name, Internal).await
}

/// Creates a service with its own load balancer, and waits until it resolves and the run that registered it
/// has ended. That run rechecks the service, and could see the next change of the scenario.
async fn registered(
    system: &System,
    environment: &LocalEnvironment,
    name: &str,
) -> Result<LocalBalancer> {
    let balancer = balancer(system, environment, name).await?;
    let cluster = &environment.network.cluster;
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service(cluster, name, &[&balancer.target_group]).await?;
    environment.outcome(&system.aws, &mut deliveries, "CreateService", name).await?;
    environment.resolves(&format!("{name}.internal"), &cname(&balancer)).await?;
    Ok(balancer)
}

fn cname(balancer: &LocalBalancer) -> DnsAnswer {
    Cname(balancer.dns_name.to_lowercase())
}

/// The outcome of a manual run for one service.
async fn reconcile(
    system: &System,
    environment: &LocalEnvironment,
    service: &str,
) -> Result<Value> {
    let cluster = &environment.network.cluster;
    let payload = json!({"reconcile": {"cluster": cluster, "service": service}});
    let answer = system.invoke(environment, &payload).await?;
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

async fn a_created_service_resolves_only_in_its_vpc(system: &System) -> Result<()> {
    let (dev, prod) = (system.environment("dev"), system.environment("prod"));
    let mut deliveries = system.relay.deliveries();
    let balancer = registered(system, dev, "created").await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "CreateService", "created").await?;
    status(&outcome, "registered", "")?;
    ensure!(outcome["target"] == balancer.dns_name.as_str(), "{outcome}");
    ensure!(prod.resolver.query("created.internal").await? == NoSuchName);
    let arn = service_arn("dev", "created");
    ensure!(
        system.aws.records(&dev.discovery.zone, "created.internal").await?
            == [
                format!("created.internal CNAME {}", balancer.dns_name),
                format!(
                    "_discovery.created.internal TXT \"heritage=ecs-discovery,version=1,environment=dev,service={arn},records=CNAME\""
                ),
            ]
    );
    Ok(())
}

async fn two_environments_can_use_the_same_name(system: &System) -> Result<()> {
    let (dev, prod) = (system.environment("dev"), system.environment("prod"));
    let in_dev = balancer(system, dev, "twin-dev").await?;
    let in_prod = balancer(system, prod, "twin-prod").await?;
    system.aws.create_service("dev", "twin", &[&in_dev.target_group]).await?;
    system.aws.create_service("prod", "twin", &[&in_prod.target_group]).await?;
    dev.resolves("twin.internal", &cname(&in_dev)).await?;
    prod.resolves("twin.internal", &cname(&in_prod)).await?;
    system.aws.delete_service("dev", "twin").await?;
    dev.resolves("twin.internal", &NoSuchName).await?;
    ensure!(prod.resolver.query("twin.internal").await? == cname(&in_prod));
    Ok(())
}

async fn a_moved_service_resolves_to_its_new_load_balancer(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    registered(system, dev, "moved").await?;
    let other = balancer(system, dev, "moved-2").await?;
    system.aws.move_service("dev", "moved", &[&other.target_group]).await?;
    dev.resolves("moved.internal", &cname(&other)).await?;
    Ok(())
}

async fn a_deleted_service_leaves_no_records(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    registered(system, dev, "deleted").await?;
    system.aws.delete_service("dev", "deleted").await?;
    dev.resolves("deleted.internal", &NoSuchName).await?;
    ensure!(system.aws.records(&dev.discovery.zone, "deleted.internal").await?.is_empty());
    Ok(())
}

async fn a_service_deleted_after_its_load_balancer_loses_its_name(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = registered(system, dev, "orphan").await?;
    system.aws.elb.delete_load_balancer().load_balancer_arn(&balancer.arn).send().await?;
    status(&reconcile(system, dev, "orphan").await?, "waiting", "has no load balancer yet")?;
    ensure!(
        dev.resolver.query("orphan.internal").await? == cname(&balancer),
        "the name was deleted"
    );
    system.aws.delete_service("dev", "orphan").await?;
    dev.resolves("orphan.internal", &NoSuchName).await?;
    Ok(())
}

async fn a_service_that_is_created_again_gets_its_name_again(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = registered(system, dev, "again").await?;
    system.aws.delete_service("dev", "again").await?;
    dev.resolves("again.internal", &NoSuchName).await?;
    system.aws.create_service("dev", "again", &[&balancer.target_group]).await?;
    dev.resolves("again.internal", &cname(&balancer)).await?;
    Ok(())
}

async fn calls_may_name_clusters_and_services_by_arn(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let cluster = &format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/dev");
    let service = &service_arn("dev", "by-arn");
    let (first, second) =
        (balancer(system, dev, "by-arn").await?, balancer(system, dev, "by-arn-2").await?);
    system.aws.create_service(cluster, "by-arn", &[&first.target_group]).await?;
    dev.resolves("by-arn.internal", &cname(&first)).await?;
    system.aws.move_service(cluster, service, &[&second.target_group]).await?;
    dev.resolves("by-arn.internal", &cname(&second)).await?;
    system.aws.delete_service(cluster, service).await?;
    dev.resolves("by-arn.internal", &NoSuchName).await?;
    Ok(())
}

async fn a_service_without_a_load_balancer_is_ignored(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service("dev", "worker", &[]).await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "CreateService", "worker").await?;
    status(&outcome, "ignored", "the service has no load balancer")
}

async fn a_service_that_leaves_its_load_balancer_is_deregistered(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    registered(system, dev, "leaver").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.move_service("dev", "leaver", &[]).await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "UpdateService", "leaver").await?;
    status(&outcome, "deregistered", "the service has no load balancer")?;
    dev.resolves("leaver.internal", &NoSuchName).await?;
    Ok(())
}

async fn the_full_pass_finds_a_load_balancer_that_was_added_later(system: &System) -> Result<()> {
    let passes = system.environment("passes");
    let group = system.aws.create_target_group(&passes.network, "early").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service("passes", "early", &[&group]).await?;
    let outcome = passes.outcome(&system.aws, &mut deliveries, "CreateService", "early").await?;
    status(&outcome, "waiting", "has no load balancer yet")?;
    let balancer = balancer(system, passes, "late").await?;
    system.aws.create_listener(&balancer.arn, &group, 81).await?;
    system.invoke(passes, &System::scheduled()).await?;
    passes.resolves("early.internal", &cname(&balancer)).await?;
    Ok(())
}

/// The load balancer is attached after the creation of the service, and then replaced.
async fn a_name_follows_the_load_balancer_of_its_target_group_without_an_event_of_ecs(
    system: &System,
) -> Result<()> {
    let prod = system.environment("prod");
    let group = system.aws.create_target_group(&prod.network, "follower").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service("prod", "follower", &[&group]).await?;
    let outcome = prod.outcome(&system.aws, &mut deliveries, "CreateService", "follower").await?;
    status(&outcome, "waiting", "has no load balancer yet")?;

    system.deliver_load_balancer_calls("prod").await?;
    let first = balancer(system, prod, "follower-1").await?;
    system.aws.create_listener(&first.arn, &group, 81).await?;
    prod.resolves("follower.internal", &cname(&first)).await?;

    system.aws.elb.delete_load_balancer().load_balancer_arn(&first.arn).send().await?;
    let second = balancer(system, prod, "follower-2").await?;
    system.aws.create_listener(&second.arn, &group, 81).await?;
    prod.resolves("follower.internal", &cname(&second)).await?;
    Ok(())
}

async fn a_service_with_a_load_balancer_in_another_vpc_is_not_registered(
    system: &System,
) -> Result<()> {
    let (dev, prod) = (system.environment("dev"), system.environment("prod"));
    let elsewhere = balancer(system, prod, "elsewhere").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service("dev", "elsewhere", &[&elsewhere.target_group]).await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "CreateService", "elsewhere").await?;
    status(&outcome, "ignored", "no load balancer of the service is in a VPC with a zone")?;
    ensure!(dev.resolver.query("elsewhere.internal").await? == NoSuchName);
    ensure!(prod.resolver.query("elsewhere.internal").await? == NoSuchName);
    Ok(())
}

async fn an_internal_load_balancer_is_preferred(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let public = system.aws.create_balancer(&dev.network, "public", InternetFacing).await?;
    let inside = system.aws.create_balancer(&dev.network, "inside", Internal).await?;
    let groups = [public.target_group.as_str(), inside.target_group.as_str()];
    system.aws.create_service("dev", "preferred", &groups).await?;
    dev.resolves("preferred.internal", &cname(&inside)).await?;
    Ok(())
}

async fn upper_case_and_underscores_are_converted_to_a_host_name(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = balancer(system, dev, "shouting").await?;
    system.aws.create_service("dev", "Shop_API", &[&balancer.target_group]).await?;
    dev.resolves("shop-api.internal", &cname(&balancer)).await?;
    Ok(())
}

async fn a_name_that_dns_forbids_is_invalid(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = balancer(system, dev, "forbidden").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service("dev", "forbidden_", &[&balancer.target_group]).await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "CreateService", "forbidden_").await?;
    status(&outcome, "invalid", "starts or ends with -")
}

async fn names_and_ttls_follow_the_options_of_the_environment(system: &System) -> Result<()> {
    let lab = system.environment("lab");
    let balancer = balancer(system, lab, "templated").await?;
    system.aws.create_service("lab", "templated", &[&balancer.target_group]).await?;
    lab.resolves("templated.lab.internal", &cname(&balancer)).await?;
    let zone = &lab.discovery.zone;
    let list = system.aws.route53.list_resource_record_sets().hosted_zone_id(zone).send().await?;
    let named = |name: &str| name.starts_with("templated.lab.internal");
    let rrset = list.resource_record_sets().iter().find(|rrset| named(rrset.name()));
    ensure!(rrset.context("no record")?.ttl() == Some(5));
    Ok(())
}

async fn a_tag_renames_a_service_until_it_is_removed(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = registered(system, dev, "plain").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.tag_service("dev", "plain", "discovery:name", "fancy.shop").await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "TagResource", "plain").await?;
    status(&outcome, "updated", "renamed from plain.internal")?;
    ensure!(dev.resolver.query("fancy.shop.internal").await? == cname(&balancer));
    ensure!(dev.resolver.query("plain.internal").await? == NoSuchName);
    system.aws.tag_service("dev", "plain", "discovery:name", "dashing").await?;
    dev.resolves("dashing.internal", &cname(&balancer)).await?;
    dev.resolves("fancy.shop.internal", &NoSuchName).await?;
    system.aws.untag_service("dev", "plain", "discovery:name").await?;
    dev.resolves("plain.internal", &cname(&balancer)).await?;
    dev.resolves("dashing.internal", &NoSuchName).await?;
    Ok(())
}

async fn a_tag_excludes_a_service(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = registered(system, dev, "shy").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.tag_service("dev", "shy", "discovery:enabled", "false").await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "TagResource", "shy").await?;
    status(&outcome, "deregistered", "the tag discovery:enabled is false")?;
    dev.resolves("shy.internal", &NoSuchName).await?;
    system.aws.untag_service("dev", "shy", "discovery:enabled").await?;
    dev.resolves("shy.internal", &cname(&balancer)).await?;
    Ok(())
}

async fn an_invalid_tag_is_reported_and_changes_nothing(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = registered(system, dev, "mistyped").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.tag_service("dev", "mistyped", "discovery:nmae", "shop").await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "TagResource", "mistyped").await?;
    status(&outcome, "invalid", "the tag discovery:nmae is unknown; expected discovery:enabled")?;
    ensure!(dev.resolver.query("mistyped.internal").await? == cname(&balancer));
    Ok(())
}

async fn a_service_deleted_with_a_name_from_a_tag_leaves_no_records(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = registered(system, dev, "alias-of").await?;
    system.aws.tag_service("dev", "alias-of", "discovery:name", "pseudonym").await?;
    dev.resolves("pseudonym.internal", &cname(&balancer)).await?;
    system.aws.delete_service("dev", "alias-of").await?;
    dev.resolves("pseudonym.internal", &NoSuchName).await?;
    ensure!(system.aws.records(&dev.discovery.zone, "pseudonym.internal").await?.is_empty());
    Ok(())
}

async fn a_tag_turns_a_cname_into_an_alias_and_back(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = registered(system, dev, "direct").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.tag_service("dev", "direct", "discovery:record", "ALIAS").await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "TagResource", "direct").await?;
    status(&outcome, "updated", "the record was CNAME")?;
    let records = system.aws.records(&dev.discovery.zone, "direct.internal").await?;
    ensure!(
        records[0] == format!("direct.internal A alias to {}.", balancer.dns_name),
        "{records:?}"
    );
    ensure!(records.len() == 2 && records[1].contains("TXT"), "{records:?}");
    let address = made_up_ipv4(&balancer.dns_name).to_string();
    dev.resolves("direct.internal", &Records(vec![address])).await?;
    system.aws.untag_service("dev", "direct", "discovery:record").await?;
    dev.resolves("direct.internal", &cname(&balancer)).await?;
    Ok(())
}

async fn a_record_that_leads_to_the_load_balancer_is_adopted(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let zone = &dev.discovery.zone;
    let balancer = balancer(system, dev, "inherited").await?;
    // The record of a predecessor.
    let target = format!("{}.", balancer.dns_name);
    system.aws.create_record(zone, "inherited.internal", "CNAME", &target).await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service("dev", "inherited", &[&balancer.target_group]).await?;
    let outcome = dev.outcome(&system.aws, &mut deliveries, "CreateService", "inherited").await?;
    status(&outcome, "adopted", "the record existed without a marker")?;
    ensure!(system.aws.records(zone, "inherited.internal").await?.len() == 2);
    system.aws.delete_service("dev", "inherited").await?;
    dev.resolves("inherited.internal", &NoSuchName).await?;
    Ok(())
}

async fn a_record_made_by_a_person_is_never_changed(system: &System) -> Result<()> {
    let passes = system.environment("passes");
    let zone = &passes.discovery.zone;
    system.aws.create_record(zone, "personal.internal", "A", "10.0.0.7").await?;
    let balancer = balancer(system, passes, "personal").await?;
    let mut deliveries = system.relay.deliveries();
    let untouched = Records(vec!["10.0.0.7".into()]);
    system.aws.create_service("passes", "personal", &[&balancer.target_group]).await?;
    let outcome = passes.outcome(&system.aws, &mut deliveries, "CreateService", "personal").await?;
    status(&outcome, "conflict", "the name is taken by A 10.0.0.7, which has no marker")?;
    system.invoke(passes, &System::scheduled()).await?;
    system.aws.delete_service("passes", "personal").await?;
    status(&reconcile(system, passes, "personal").await?, "unchanged", "the service had no name")?;
    ensure!(passes.resolver.query("personal.internal").await? == untouched);
    Ok(())
}

async fn a_record_of_another_environment_is_never_changed(system: &System) -> Result<()> {
    let passes = system.environment("passes");
    let zone = &passes.discovery.zone;
    let arn = service_arn("qa", "shared");
    let marker = format!("\"heritage=ecs-discovery,version=1,environment=qa,service={arn}\"");
    system.aws.create_record(zone, "shared.internal", "CNAME", "qa.example.com").await?;
    system.aws.create_record(zone, "_discovery.shared.internal", "TXT", &marker).await?;
    let before = system.aws.records(zone, "shared.internal").await?;
    let balancer = balancer(system, passes, "shared").await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service("passes", "shared", &[&balancer.target_group]).await?;
    let outcome = passes.outcome(&system.aws, &mut deliveries, "CreateService", "shared").await?;
    status(&outcome, "conflict", "the name is taken by the environment qa")?;
    system.invoke(passes, &System::scheduled()).await?;
    ensure!(system.aws.records(zone, "shared.internal").await? == before);
    Ok(())
}

async fn a_contested_name_passes_to_the_other_service_when_its_holder_is_deleted(
    system: &System,
) -> Result<()> {
    let passes = system.environment("passes");
    let holder = balancer(system, passes, "rival-1").await?;
    let rival = balancer(system, passes, "rival-2").await?;
    system.aws.create_service("passes", "Rival", &[&holder.target_group]).await?;
    passes.resolves("rival.internal", &cname(&holder)).await?;
    let mut deliveries = system.relay.deliveries();
    system.aws.create_service("passes", "rival", &[&rival.target_group]).await?;
    let outcome = passes.outcome(&system.aws, &mut deliveries, "CreateService", "rival").await?;
    let holder_arn = service_arn("passes", "Rival");
    status(&outcome, "conflict", &format!("the name is held by {holder_arn}"))?;
    ensure!(passes.resolver.query("rival.internal").await? == cname(&holder));
    let mut deliveries = system.relay.deliveries();
    let deletion = async {
        system.aws.delete_service("passes", "Rival").await?;
        passes.outcome(&system.aws, &mut deliveries, "DeleteService", "Rival").await
    };
    let resolves = async || resolves_to(passes, "rival.internal", &[&holder, &rival]).await;
    let outcome = while_checking(resolves, deletion).await?;
    status(&outcome, "deregistered", "ECS reports")?;
    passes.resolves("rival.internal", &cname(&rival)).await?;
    Ok(())
}

async fn the_full_pass_repairs_lost_events(system: &System) -> Result<()> {
    let passes = system.environment("passes");
    registered(system, passes, "lost-deleted").await?;
    let balancer = balancer(system, passes, "lost-created").await?;
    system.relay.lose("passes", "lost-deleted");
    system.relay.lose("passes", "lost-created");
    system.aws.delete_service("passes", "lost-deleted").await?;
    system.aws.create_service("passes", "lost-created", &[&balancer.target_group]).await?;
    system.invoke(passes, &System::scheduled()).await?;
    passes.resolves("lost-created.internal", &cname(&balancer)).await?;
    passes.resolves("lost-deleted.internal", &NoSuchName).await?;
    Ok(())
}

async fn invariant_1_a_second_run_changes_nothing(system: &System) -> Result<()> {
    let lab = system.environment("lab");
    let balancer = balancer(system, lab, "idle").await?;
    system.aws.create_service("lab", "idle", &[&balancer.target_group]).await?;
    lab.resolves("idle.lab.internal", &cname(&balancer)).await?;
    let payload = json!({"reconcile": {"cluster": "lab", "service": "idle"}});
    let answer = system.invoke(lab, &payload).await?;
    ensure!(answer["changes"] == json!({"created": 0, "deleted": 0}), "{answer}");
    ensure!(answer["apiCalls"] == json!({"ecs": 1, "elb": 2, "route53": 1}), "{answer}");
    Ok(())
}

async fn concurrent_duplicates_of_an_event_create_one_record(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = balancer(system, dev, "crowd").await?;
    system.relay.lose("dev", "crowd");
    system.aws.create_service("dev", "crowd", &[&balancer.target_group]).await?;
    let payload = json!({"reconcile": {"cluster": "dev", "service": "crowd"}});
    let all = (0..8).map(|_| system.invoke(dev, &payload));
    let mut registered = 0;
    for answer in join_all(all).await {
        let answer = answer?;
        let outcome = outcome_of(&answer, "dev", "crowd").context("no outcome")?;
        ensure!(outcome["status"] == "registered" || outcome["status"] == "unchanged", "{outcome}");
        registered += answer["changes"]["created"].as_u64().unwrap_or_default();
    }
    ensure!(registered == 2, "expected one record and one marker, found {registered}");
    ensure!(system.aws.records(&dev.discovery.zone, "crowd.internal").await?.len() == 2);
    Ok(())
}

async fn a_dry_run_writes_nothing(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = balancer(system, dev, "rehearsed").await?;
    system.relay.lose("dev", "rehearsed");
    system.aws.create_service("dev", "rehearsed", &[&balancer.target_group]).await?;
    let payload = json!({"reconcile": {"cluster": "dev", "service": "rehearsed"}, "dryRun": true});
    let answer = system.invoke(dev, &payload).await?;
    ensure!(answer["dryRun"] == true && answer["changes"]["created"] == 2, "{answer}");
    let outcome = outcome_of(&answer, "dev", "rehearsed").context("no outcome")?;
    status(outcome, "registered", "")?;
    // Who may only invoke the alias for dry runs cannot leave out the option.
    let alias = format!("{}:dry-run", dev.discovery.function);
    let through_alias = async |payload: &Value| {
        let answer = system.aws.api.invoke(&alias, &payload.to_string()).await?;
        answer.map_err(|error| anyhow::anyhow!(error))
    };
    let answer = through_alias(&payload).await?;
    ensure!(answer["dryRun"] == true && answer["changes"]["created"] == 2, "{answer}");
    let refused = through_alias(&json!({"reconcile": payload["reconcile"]})).await?;
    ensure!(
        refused["scope"] == "none"
            && refused["reason"].as_str().is_some_and(|reason| reason.contains("dryRun")),
        "{refused}"
    );
    ensure!(system.aws.records(&dev.discovery.zone, "rehearsed.internal").await?.is_empty());
    Ok(())
}

/// An event as EventBridge delivers it.
fn event(detail_type: &str, resources: &[&str], detail: &Value) -> Value {
    json!({
        "version": "0", "id": "1", "detail-type": detail_type,
        "source": "aws.ecs", "account": ACCOUNT, "time": "2026-01-01T00:00:00Z",
        "region": REGION, "resources": resources, "detail": detail,
    })
}

/// The number of rules of the environment dev that match an event.
async fn matching(system: &System, event: &Value) -> Result<usize> {
    let mut matching = 0;
    for rule in system.aws.api.rules().await? {
        let is_dev =
            rule["Name"].as_str().is_some_and(|name| name.starts_with("EcsDiscovery-dev-"));
        if let Some(pattern) = rule["EventPattern"].as_str().filter(|_| is_dev) {
            matching += usize::from(system.aws.api.matches(pattern, &event.to_string()).await?);
        }
    }
    Ok(matching)
}

/// The number of rules of the environment dev that match an API call.
async fn matching_call(system: &System, detail: &Value) -> Result<usize> {
    matching(system, &event("AWS API Call via CloudTrail", &[], detail)).await
}

/// The outcome of an event about the deployment of a service of the environment dev. MiniStack does not send such
/// events, so the scenarios match the event and invoke the handler with it.
async fn deployment_event(system: &System, service: &str, name: &str) -> Result<Value> {
    let arn = &service_arn("dev", service);
    let kind = if name.ends_with("FAILED") { "ERROR" } else { "INFO" };
    let detail = json!({"eventType": kind, "eventName": name});
    let event = event("ECS Deployment State Change", &[arn], &detail);
    ensure!(matching(system, &event).await? == 1);
    let answer = system.invoke(system.environment("dev"), &event).await?;
    Ok(outcome_of(&answer, "dev", service).context("no outcome")?.clone())
}

async fn a_deployment_event_of_ecs_registers_its_service(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let balancer = balancer(system, dev, "deployed").await?;
    system.relay.lose("dev", "deployed");
    system.aws.create_service("dev", "deployed", &[&balancer.target_group]).await?;
    let outcome = deployment_event(system, "deployed", "SERVICE_DEPLOYMENT_COMPLETED").await?;
    status(&outcome, "registered", "")?;
    ensure!(dev.resolver.query("deployed.internal").await? == cname(&balancer));
    Ok(())
}

async fn a_failed_call_does_not_reach_the_handler(system: &System) -> Result<()> {
    let call = json!({"eventSource": "ecs.amazonaws.com", "eventName": "CreateService"});
    ensure!(matching_call(system, &call).await? == 1);
    let mut failed = call.clone();
    failed["errorCode"] = json!("InvalidParameterException");
    ensure!(matching_call(system, &failed).await? == 0);
    Ok(())
}

async fn calls_that_change_no_name_do_not_reach_the_handler(system: &System) -> Result<()> {
    for call in ["RunTask", "SubmitTaskStateChange", "RegisterTaskDefinition"] {
        let call = json!({"eventSource": "ecs.amazonaws.com", "eventName": call});
        ensure!(matching_call(system, &call).await? == 0, "{call}");
    }
    let is_matched = async |call: &str, request: Value| {
        let call = json!({
            "eventSource": "ecs.amazonaws.com", "eventName": call, "requestParameters": request,
        });
        Ok::<_, anyhow::Error>(matching_call(system, &call).await? == 1)
    };
    let tag = |key: &str| json!({"tags": [{"key": "team", "value": "x"}, {"key": key}]});
    ensure!(!is_matched("TagResource", tag("cost-center")).await?);
    ensure!(is_matched("TagResource", tag("discovery:name")).await?);
    ensure!(!is_matched("UntagResource", json!({"tagKeys": ["cost-center"]})).await?);
    ensure!(is_matched("UntagResource", json!({"tagKeys": ["discovery:name"]})).await?);
    // CloudTrail cuts large requests.
    ensure!(is_matched("TagResource", json!({"omitted": true})).await?);
    for name in ["SERVICE_DEPLOYMENT_IN_PROGRESS", "SERVICE_STEADY_STATE"] {
        let detail = json!({"eventName": name});
        let event = event("ECS Service Action", &[&service_arn("dev", "orders")], &detail);
        ensure!(matching(system, &event).await? == 0, "{name}");
    }
    Ok(())
}

async fn an_unknown_payload_is_ignored_and_succeeds(system: &System) -> Result<()> {
    let dev = system.environment("dev");
    let mut deep = json!([]);
    for _ in 0..300 {
        deep = json!([deep]);
    }
    for payload in
        [deep, json!({}), json!([7]), json!("text"), json!({"reconcile": 7}), Value::Null]
    {
        let answer = system.invoke(dev, &payload).await?;
        ensure!(answer["scope"] == "none" && answer["reason"].is_string(), "{answer}");
        ensure!(answer["apiCalls"] == json!({"ecs": 0, "elb": 0, "route53": 0}), "{answer}");
    }
    Ok(())
}

async fn too_many_deletions_are_refused_and_all_names_can_be_deregistered(
    system: &System,
) -> Result<()> {
    let scratch = system.environment("scratch");
    let zone = &scratch.discovery.zone;
    for name in ["scratch-a", "scratch-b", "scratch-c"] {
        registered(system, scratch, name).await?;
    }
    system.aws.create_record(zone, "person.internal", "A", "10.0.0.7").await?;
    for name in ["scratch-a", "scratch-b"] {
        system.relay.lose("scratch", name);
        system.aws.delete_service("scratch", name).await?;
    }
    let answer = system.invoke(scratch, &System::scheduled()).await?;
    let outcome = outcome_of(&answer, "scratch", "scratch-a").context("no outcome")?;
    status(outcome, "refused", "would delete 2 of 3 names, more than 1 and more than 10 %")?;
    ensure!(system.aws.records(zone, "scratch-a.internal").await?.len() == 2);

    let overridden = json!({"reconcile": "all", "overrideDeleteLimit": true});
    system.invoke(scratch, &overridden).await?;
    scratch.resolves("scratch-a.internal", &NoSuchName).await?;

    let answer = system.invoke(scratch, &json!({"deregister": "all"})).await?;
    ensure!(answer["scope"] == "deregister", "{answer}");
    scratch.resolves("scratch-c.internal", &NoSuchName).await?;
    ensure!(scratch.resolver.query("person.internal").await? == Records(vec!["10.0.0.7".into()]));
    Ok(())
}

async fn an_error_of_aws_is_reported_with_its_code_and_request_id(system: &System) -> Result<()> {
    let broken = system.environment("broken");
    let zone = &broken.discovery.zone;
    // Only a zone without records can be deleted.
    system.invoke(broken, &json!({"deregister": "all"})).await?;
    system.aws.route53.delete_hosted_zone().id(zone).send().await?;
    let error = system.invoke(broken, &json!({"reconcile": "all"})).await;
    let error = error.err().context("the run succeeded without a zone")?.to_string();
    for part in ["route53:ListResourceRecordSets", zone, "NoSuchHostedZone", "request id"] {
        ensure!(error.contains(part), "{part} is missing in {error}");
    }
    Ok(())
}

async fn the_messages_of_a_batch_become_one_run_and_an_unreadable_one_fails_alone(
    system: &System,
) -> Result<()> {
    let dev = system.environment("dev");
    registered(system, dev, "queued-a").await?;
    registered(system, dev, "queued-b").await?;
    let request = |name: &str| updated("dev", name).to_string();
    let bodies = [request("queued-a"), "no JSON".into(), request("queued-b")];
    let records = bodies.iter().enumerate().map(|(number, body)| {
        json!({"messageId": format!("m{number}"), "eventSource": "aws:sqs", "body": body})
    });
    let payload = json!({"Records": records.collect::<Vec<_>>()});
    let answer = system.invoke(dev, &payload).await?;
    ensure!(answer["batchItemFailures"] == json!([{"itemIdentifier": "m1"}]), "{answer}");
    ensure!(answer["runs"].as_array().is_some_and(|runs| runs.len() == 1), "{answer}");
    for name in ["queued-a", "queued-b"] {
        let outcome = outcome_of(&answer["runs"][0], "dev", name).context("no outcome")?;
        status(outcome, "unchanged", "")?;
    }
    // Each line has the id of the request.
    let lines = system.aws.log_lines(&dev.discovery.log_group, 0).await?;
    let line = lines.iter().find(|line| line["message"] == "message unreadable");
    let line = line.context("the message is not in the log")?;
    ensure!(line["request_id"].as_str().is_some_and(|id| id.len() == 36), "{line}");
    Ok(())
}

/// Sends change batches, and returns for each one `applied` or the code of its error, and in the end the
/// records of the zone.
///
/// The local Route 53 is less strict than AWS's documentation: it keeps upper case, accepts names outside of the
/// zone and CNAMEs beside other types, and sorts `a-b.` after `a.`. The batches avoid these cases.
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
        // A batch applies completely or not at all.
        vec![
            (&create, "web.internal", "A", "10.0.0.7"),
            (&create, "orders.internal", "CNAME", "b.example.com"),
        ],
        // A delete must match the record exactly.
        vec![(&delete, "orders.internal", "CNAME", "b.example.com")],
        vec![(&delete, "nobody.internal", "CNAME", "b.example.com")],
        // A delete allows a create in the same batch.
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
    let mut results = Vec::new();
    for step in steps {
        let mut changes = Vec::new();
        for (action, name, kind, value) in step {
            let rrset = rrset(name, kind, value)?;
            changes
                .push(Change::builder().action(action.clone()).resource_record_set(rrset).build()?);
        }
        let batch = ChangeBatch::builder().set_changes(Some(changes)).build()?;
        let request = route53.change_resource_record_sets().hosted_zone_id(zone);
        results.push(match request.change_batch(batch).send().await {
            Ok(_) => "applied".into(),
            Err(error) => {
                let bare = error.raw_response().and_then(|response| response.body().bytes());
                let bare = bare.is_some_and(|body| {
                    String::from_utf8_lossy(body).contains("<InvalidChangeBatch")
                });
                let code = error.code().map(str::to_owned);
                code.or(bare.then(|| "InvalidChangeBatch".into()))
                    .context("the error has no code")?
            }
        });
    }
    let listed = route53.list_resource_record_sets().hosted_zone_id(zone).send().await?;
    for rrset in listed.resource_record_sets() {
        let values: Vec<&str> =
            rrset.resource_records().iter().map(|record| record.value()).collect();
        if !matches!(rrset.r#type(), RrType::Soa | RrType::Ns) {
            results.push(format!(
                "{} {} {}",
                rrset.name(),
                rrset.r#type().as_str(),
                values.join(",")
            ));
        }
    }
    Ok(results)
}

async fn the_route_53_of_the_simulation_answers_like_the_local_one(system: &System) -> Result<()> {
    let made = system.aws.route53.create_hosted_zone().name("internal").caller_reference("script");
    let made = made.send().await?;
    let local = made.hosted_zone().context("CreateHostedZone returned no zone")?.id().to_owned();
    let local = script(&system.aws.route53, local.trim_start_matches("/hostedzone/")).await?;

    let mut account = simulation::account::Account::default();
    account.zones.insert("ZSTRICT".into(), simulation::route53::HostedZone::new("internal"));
    let environments = simulation::history::History::of(0).environments;
    let faults = simulation::faults::Faults::default();
    let simulation = simulation::state::Simulation::new(account, environments, faults, 0);
    let simulation = Arc::new(std::sync::Mutex::new(simulation));
    let connector = simulation::connector::SdkConnector { simulation, invocation: Arc::default() };
    let client = aws_sdk_route53::Client::new(&connector.sdk_config());
    let strict = script(&client, "ZSTRICT").await?;
    ensure!(strict == local, "strict: {strict:#?}\nlocal: {local:#?}");
    Ok(())
}

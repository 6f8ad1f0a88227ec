//! Load balancers, services and records, created through the same APIs that users call.

use anyhow::{Context, Result};
use aws_sdk_ecs::operation::update_service::builders::UpdateServiceFluentBuilder;
use aws_sdk_ecs::types::DeploymentConfiguration;
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, LoadBalancerSchemeEnum, ProtocolEnum, TargetTypeEnum,
};
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use aws_smithy_types::body::SdkBody;

use crate::deploy::{Discovery, Network};
use crate::ministack::{ACCOUNT, LocalAws, REGION};
use crate::resolver::Resolver;

/// A deployed environment with its network and its DNS server.
pub struct LocalEnvironment {
    pub name: String,
    pub network: Network,
    pub discovery: Discovery,
    pub resolver: Resolver,
}

/// A load balancer whose listener forwards to a target group.
#[derive(Clone, Debug)]
pub struct LocalBalancer {
    pub arn: String,
    pub dns_name: String,
    pub target_group: String,
}

impl LocalAws {
    /// Creates an application load balancer with a listener and a target group.
    pub async fn create_balancer(
        &self,
        network: &Network,
        name: &str,
        scheme: LoadBalancerSchemeEnum,
    ) -> Result<LocalBalancer> {
        let vpc = network.vpc.clone();
        let created = self
            .elb
            .create_load_balancer()
            .name(name)
            .scheme(scheme)
            .set_subnets(Some(network.subnets.clone()))
            .customize()
            // AWS derives the VPC from the subnets. MiniStack reads it from a parameter that AWS does not
            // have.
            .mutate_request(move |request| {
                let form = request.body().bytes().unwrap_or_default().to_vec();
                let form = format!("{}&VpcId={vpc}", String::from_utf8_lossy(&form));
                request.headers_mut().insert("content-length", form.len().to_string());
                *request.body_mut() = SdkBody::from(form);
            })
            .send()
            .await
            .context("CreateLoadBalancer")?;
        let balancer = created
            .load_balancers()
            .first()
            .context("CreateLoadBalancer returned no load balancer")?;
        let arn = balancer.load_balancer_arn().context("the load balancer has no ARN")?.to_owned();
        let dns_name = balancer.dns_name().context("the load balancer has no DNS name")?.to_owned();
        let target_group = self.create_target_group(network, name).await?;
        self.create_listener(&arn, &target_group, 80).await?;
        Ok(LocalBalancer { arn, dns_name, target_group })
    }

    /// Adds a listener to a load balancer that forwards to a target group.
    pub async fn create_listener(
        &self,
        balancer: &str,
        target_group: &str,
        port: i32,
    ) -> Result<()> {
        let forward = Action::builder()
            .r#type(ActionTypeEnum::Forward)
            .target_group_arn(target_group)
            .build();
        let request = self.elb.create_listener().load_balancer_arn(balancer).port(port);
        let request = request.protocol(ProtocolEnum::Http).default_actions(forward);
        request.send().await.context("CreateListener")?;
        Ok(())
    }

    /// Creates a target group that no load balancer uses.
    pub async fn create_target_group(&self, network: &Network, name: &str) -> Result<String> {
        let created = self
            .elb
            .create_target_group()
            .name(name)
            .protocol(ProtocolEnum::Http)
            .port(80)
            .vpc_id(&network.vpc)
            .target_type(TargetTypeEnum::Ip)
            .send()
            .await
            .context("CreateTargetGroup")?;
        let group = created.target_groups().first().and_then(|group| group.target_group_arn());
        Ok(group.context("CreateTargetGroup returned no target group")?.to_owned())
    }

    /// Creates a service with these target groups. It has no tasks, since MiniStack has nothing to run them
    /// on.
    pub async fn create_service(
        &self,
        cluster: &str,
        name: &str,
        target_groups: &[&str],
    ) -> Result<()> {
        self.ecs
            .create_service()
            .cluster(cluster)
            .service_name(name)
            .task_definition("web")
            .desired_count(0)
            .set_load_balancers(Some(ecs_load_balancers(target_groups)))
            .send()
            .await
            .with_context(|| format!("CreateService {name}"))?;
        Ok(())
    }

    /// Replaces the target groups of a service.
    pub async fn move_service(
        &self,
        cluster: &str,
        name: &str,
        target_groups: &[&str],
    ) -> Result<()> {
        let request = self.new_target_groups(cluster, name, target_groups);
        request.send().await.with_context(|| format!("UpdateService {name}"))?;
        Ok(())
    }

    fn new_target_groups(
        &self,
        cluster: &str,
        name: &str,
        target_groups: &[&str],
    ) -> UpdateServiceFluentBuilder {
        let request = self.ecs.update_service().cluster(cluster).service(name);
        request.set_load_balancers(Some(ecs_load_balancers(target_groups)))
    }

    /// Sets the number of tasks of a service.
    pub async fn scale_service(&self, cluster: &str, name: &str, count: i32) -> Result<()> {
        let request = self.ecs.update_service().cluster(cluster).service(name).desired_count(count);
        request.send().await.with_context(|| format!("UpdateService {name}"))?;
        Ok(())
    }

    /// Replaces the target groups of a service with one task. The deployment stays in progress until
    /// [`LocalAws::let_deployment_complete`], because it may neither stop the old task nor start a second one.
    pub async fn begin_deployment(
        &self,
        cluster: &str,
        name: &str,
        target_groups: &[&str],
    ) -> Result<()> {
        self.new_target_groups(cluster, name, target_groups)
            .force_new_deployment(true)
            .deployment_configuration(percent_of_tasks(100, 100))
            .send()
            .await
            .with_context(|| format!("UpdateService {name}"))?;
        Ok(())
    }

    /// Allows the deployment of a service to start its task.
    pub async fn let_deployment_complete(&self, cluster: &str, name: &str) -> Result<()> {
        let request = self.ecs.update_service().cluster(cluster).service(name);
        let request = request.deployment_configuration(percent_of_tasks(100, 200));
        request.send().await.with_context(|| format!("UpdateService {name}"))?;
        Ok(())
    }

    /// Sets a tag of a service.
    pub async fn tag_service(
        &self,
        cluster: &str,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<()> {
        let arn = service_arn(cluster, name);
        let tag = aws_sdk_ecs::types::Tag::builder().key(key).value(value).build();
        let request = self.ecs.tag_resource().resource_arn(arn).tags(tag);
        request.send().await.with_context(|| format!("TagResource {name}"))?;
        Ok(())
    }

    /// Removes a tag of a service.
    pub async fn untag_service(&self, cluster: &str, name: &str, key: &str) -> Result<()> {
        let arn = service_arn(cluster, name);
        let request = self.ecs.untag_resource().resource_arn(arn).tag_keys(key);
        request.send().await.with_context(|| format!("UntagResource {name}"))?;
        Ok(())
    }

    pub async fn delete_service(&self, cluster: &str, name: &str) -> Result<()> {
        let request = self.ecs.delete_service().cluster(cluster).service(name).force(true);
        request.send().await.with_context(|| format!("DeleteService {name}"))?;
        Ok(())
    }

    /// Creates a record that is not managed.
    pub async fn create_record(
        &self,
        zone: &str,
        name: &str,
        record_type: &str,
        value: &str,
    ) -> Result<()> {
        let record = ResourceRecord::builder().value(value).build()?;
        let rrset = ResourceRecordSet::builder()
            .name(name)
            .r#type(RrType::from(record_type))
            .ttl(60)
            .resource_records(record)
            .build()?;
        self.change_record(zone, ChangeAction::Create, rrset).await
    }

    /// Changes a record by hand.
    pub async fn change_record(
        &self,
        zone: &str,
        action: ChangeAction,
        rrset: ResourceRecordSet,
    ) -> Result<()> {
        let change = Change::builder().action(action).resource_record_set(rrset).build()?;
        self.route53
            .change_resource_record_sets()
            .hosted_zone_id(zone)
            .change_batch(ChangeBatch::builder().changes(change).build()?)
            .send()
            .await
            .context("ChangeResourceRecordSets")?;
        Ok(())
    }

    /// The records of a zone at a name and below it, as lines such as `name type value`.
    pub async fn records(&self, zone: &str, name: &str) -> Result<Vec<String>> {
        let page = self.route53.list_resource_record_sets().hosted_zone_id(zone).send().await?;
        let rrsets = page.resource_record_sets().iter();
        let below = rrsets.filter(|rrset| {
            let found = rrset.name().trim_end_matches('.');
            found == name || found.ends_with(&format!(".{name}"))
        });
        Ok(below
            .map(|rrset| {
                let values: Vec<&str> =
                    rrset.resource_records().iter().map(ResourceRecord::value).collect();
                let name = rrset.name().trim_end_matches('.');
                let record_type = rrset.r#type().as_str();
                match rrset.alias_target() {
                    Some(alias) => format!("{name} {record_type} alias to {}", alias.dns_name()),
                    None => format!("{name} {record_type} {}", values.join(", ")),
                }
            })
            .collect())
    }

    /// Registers the task definition that all services use.
    pub async fn register_task_definition(&self) -> Result<()> {
        let container = aws_sdk_ecs::types::ContainerDefinition::builder()
            .name("web")
            .image("web")
            .memory(64)
            .build();
        let request = self.ecs.register_task_definition().family("web");
        request.container_definitions(container).send().await.context("RegisterTaskDefinition")?;
        Ok(())
    }
}

/// The long form of a service's ARN.
pub fn service_arn(cluster: &str, name: &str) -> String {
    format!("arn:aws:ecs:{REGION}:{ACCOUNT}:service/{cluster}/{name}")
}

/// How many of its tasks a service may have during a deployment.
fn percent_of_tasks(minimum: i32, maximum: i32) -> DeploymentConfiguration {
    DeploymentConfiguration::builder()
        .minimum_healthy_percent(minimum)
        .maximum_percent(maximum)
        .build()
}

fn ecs_load_balancers(target_groups: &[&str]) -> Vec<aws_sdk_ecs::types::LoadBalancer> {
    let load_balancer = |group: &&str| {
        aws_sdk_ecs::types::LoadBalancer::builder()
            .target_group_arn(*group)
            .container_name("web")
            .container_port(80)
            .build()
    };
    target_groups.iter().map(load_balancer).collect()
}

//! The oracle: the records that a service should have, computed a second time from the specification.
//!
//! It shares no code with the handler. A mistake in one of them therefore shows as a difference.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;

use crate::account::{
    Account, Attachment, LOAD_BALANCER_ZONE, RolloutState, ServiceName, ServiceStatus,
    StoredLoadBalancer, StoredService, dns_name,
};
use crate::route53::{Key, StoredRrset, Writer};

/// The configuration of an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentConfig {
    pub name: String,
    /// The VPC, the id and the name of each hosted zone.
    pub zones: Vec<(String, String, String)>,
    /// `None` for all clusters.
    pub cluster: Option<String>,
    pub template: String,
    pub alias: bool,
    pub ttl: i64,
    /// `free` and `percent`.
    pub delete_limit: (usize, usize),
    /// Grows with each deployment.
    pub version: u64,
}

impl EnvironmentConfig {
    /// Whether a hosted zone belongs to the environment.
    pub fn has_zone(&self, id: &str) -> bool {
        self.zones.iter().any(|(_, other, _)| other == id)
    }

    /// The handler's configuration.
    pub fn to_json(&self) -> String {
        let zone = |(vpc, id, name): &(String, String, String)| serde_json::json!({"vpcId": vpc, "hostedZoneId": id, "name": name});
        serde_json::json!({
            "environment": self.name, "zones": self.zones.iter().map(zone).collect::<Vec<_>>(),
            "clusters": [self.cluster.as_deref().unwrap_or("*")], "nameTemplate": self.template,
            "record": if self.alias { "ALIAS" } else { "CNAME" }, "ttlSeconds": self.ttl,
            "deleteLimit": {"free": self.delete_limit.0, "percent": self.delete_limit.1},
            "generation": format!("v{}", self.version),
        })
        .to_string()
    }
}

/// The records that a service should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// These record sets at this name of this zone.
    Record {
        zone: String,
        name: String,
        rrsets: Vec<StoredRrset>,
        /// Whether a deployment is in progress. Until it is completed, a present record stays that leads to
        /// another load balancer, as long as that one exists.
        is_deploying: bool,
    },
    Nothing,
    /// No record, because no load balancer of the service is in a VPC with a zone. Only a full pass acts on
    /// that.
    NoZone,
    /// The record that it has, if any: its configuration is invalid, or its load balancer does not exist
    /// yet.
    Unchanged,
    /// Undecided, because something that it depends on was not read.
    Unknown,
}

/// The target groups and load balancers that are known. An outer `None` means that they were not read.
pub trait LoadBalancerSource {
    /// The names of a target group's load balancers.
    fn target_group(&self, name: &str) -> Option<Vec<String>>;
    /// A load balancer, or `None` within if it does not exist.
    fn load_balancer(&self, name: &str) -> Option<Option<StoredLoadBalancer>>;
}

/// A deployment without a change for this time, in seconds, does not count as one in progress.
const MAX_DEPLOYMENT_SECONDS: u64 = 3_600;

/// The records that a service should have at `now`, in seconds since 1970, as far as the facts in `source` decide
/// it.
pub fn expected(
    environment: &EnvironmentConfig,
    name: &ServiceName,
    service: Option<&StoredService>,
    source: &impl LoadBalancerSource,
    now: u64,
) -> Expected {
    let (cluster, plain) = name;
    if environment.cluster.as_ref().is_some_and(|only| only != cluster) {
        return Expected::Nothing;
    }
    let Some(service) = service.filter(|service| service.status == ServiceStatus::Active) else {
        return Expected::Nothing;
    };
    let tag = |key: &str| service.tags.get(&format!("discovery:{key}")).map(String::as_str);
    let valid_keys = ["enabled", "name", "ttl", "record", "load-balancer"];
    let has_invalid_key = service
        .tags
        .keys()
        .filter_map(|key| key.strip_prefix("discovery:"))
        .any(|key| !valid_keys.contains(&key));
    let ttl =
        tag("ttl").map(|text| text.parse::<i64>().ok().filter(|ttl| (1..=86_400).contains(ttl)));
    if has_invalid_key
        || ttl == Some(None)
        || tag("enabled").is_some_and(|text| text != "true" && text != "false")
        || tag("record").is_some_and(|text| text != "CNAME" && text != "ALIAS")
        || tag("name") == Some("")
        || tag("load-balancer") == Some("")
    {
        return Expected::Unchanged;
    }
    if tag("enabled") == Some("false") {
        return Expected::Nothing;
    }
    let mut sets: Vec<_> = service.task_sets.iter().collect();
    sets.sort_by_key(|(status, _)| (status != "PRIMARY", status == "DRAINING"));
    let of_sets = sets.iter().flat_map(|(_, attachments)| attachments);
    let attachments: Vec<&Attachment> = service.load_balancers.iter().chain(of_sets).collect();
    if attachments.is_empty() {
        return Expected::Nothing;
    }
    let mut candidates: Vec<(String, StoredLoadBalancer)> = Vec::new();
    let mut is_waiting = false;
    let mut has_failed = false;
    for attachment in attachments {
        let names = match attachment {
            Attachment::Classic(name) => Some(vec![name.clone()]),
            Attachment::TargetGroup(name) => source.target_group(name),
        };
        let Some(names) = names else { return Expected::Unknown };
        let before = candidates.len();
        for name in names {
            match source.load_balancer(&name) {
                None => return Expected::Unknown,
                Some(None) => {}
                Some(Some(load_balancer)) => {
                    has_failed |= load_balancer.has_failed;
                    candidates.push((name, load_balancer));
                }
            }
        }
        is_waiting |= candidates.len() == before;
    }
    let zone_of = |load_balancer: &StoredLoadBalancer| {
        environment.zones.iter().find(|(vpc, _, _)| *vpc == load_balancer.vpc)
    };
    let tagged = tag("load-balancer");
    let usable = |internal: bool| {
        candidates.iter().find(|(name, load_balancer)| {
            load_balancer.internal == internal
                && !load_balancer.has_failed
                && zone_of(load_balancer).is_some()
                && tagged.is_none_or(|tagged| tagged == name)
        })
    };
    let Some((chosen, load_balancer)) = usable(true).or_else(|| usable(false)) else {
        return if is_waiting || has_failed || tagged.is_some() {
            Expected::Unchanged
        } else {
            Expected::NoZone
        };
    };
    let Some((_, zone, zone_name)) = zone_of(load_balancer) else { return Expected::NoZone };
    let relative = tag("name").map_or_else(
        || environment.template.replace("{service}", plain).replace("{cluster}", cluster),
        str::to_owned,
    );
    let relative = relative.to_lowercase().replace('_', "-");
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !relative.split('.').all(is_label) {
        return Expected::Unchanged;
    }
    let name = format!("{relative}.{zone_name}.");
    // A name has at most 253 characters without its last dot, the marker's name included.
    if "_discovery.".len() + name.len() > 254 {
        return Expected::Unchanged;
    }
    let target = dns_name(chosen).to_lowercase();
    let alias = tag("record").map_or(environment.alias, |kind| kind == "ALIAS");
    let rrset = |kind: &str| StoredRrset {
        name: name.clone(),
        kind: kind.into(),
        ttl: (!alias).then(|| ttl.flatten().unwrap_or(environment.ttl)),
        values: if alias { vec![] } else { vec![target.clone()] },
        alias: alias.then(|| (LOAD_BALANCER_ZONE.to_owned(), format!("{target}."))),
        ..StoredRrset::default()
    };
    let rrsets = match (alias, load_balancer.dualstack) {
        (false, _) => vec![rrset("CNAME")],
        (true, false) => vec![rrset("A")],
        (true, true) => vec![rrset("A"), rrset("AAAA")],
    };
    let is_deploying = service.deployment.is_some_and(|deployment| {
        deployment.state != RolloutState::Completed
            && deployment.updated_at + MAX_DEPLOYMENT_SECONDS > now
    });
    Expected::Record { zone: zone.clone(), name, rrsets, is_deploying }
}

impl LoadBalancerSource for Account {
    fn target_group(&self, name: &str) -> Option<Vec<String>> {
        Some(self.target_groups.get(name).cloned().unwrap_or_default())
    }

    fn load_balancer(&self, name: &str) -> Option<Option<StoredLoadBalancer>> {
        Some(self.load_balancers.get(name).cloned())
    }
}

/// Everything that AWS described to one invocation. A service or load balancer that does not exist is
/// described as `None`.
#[derive(Clone, Debug, Default)]
pub struct Described {
    pub services: BTreeMap<ServiceName, Option<StoredService>>,
    /// Services that one of the answers described as DRAINING or INACTIVE.
    pub ended: BTreeSet<ServiceName>,
    /// When a service was missing from an answer, and from the answers before it without a break.
    pub missing: BTreeMap<ServiceName, Vec<Instant>>,
    pub target_groups: BTreeMap<String, Vec<String>>,
    pub load_balancers: BTreeMap<String, Option<StoredLoadBalancer>>,
    /// Whether an answer lacked a service or a field, so that the state of some service was unknown in one round.
    pub is_incomplete: bool,
    /// Whether a read was denied. A service that is known now may have been unknown when a name was given.
    pub was_denied: bool,
    /// Whether two answers about a target group or a load balancer differ. Later rounds read the services of their
    /// changes again, but not those that had no load balancer in the first round.
    pub balancers_changed: bool,
    /// The record sets that were listed, by zone, key and writer.
    pub(crate) rrsets: BTreeSet<(String, Key, Writer)>,
}

impl Described {
    /// Notes when the services were missing that do not exist according to this answer.
    pub(crate) fn miss_all(&mut self) {
        let missing = self.services.iter().filter(|(_, service)| service.is_none());
        self.missing = missing.map(|(name, _)| (name.clone(), vec![Instant::now()])).collect();
    }

    pub(crate) fn extend(&mut self, more: Described) {
        let ended = more.services.iter().filter(|(_, service)| {
            service.as_ref().is_some_and(|service| service.status != ServiceStatus::Active)
        });
        self.ended.extend(ended.map(|(name, _)| name.clone()));
        fn differ<T: PartialEq>(one: &BTreeMap<String, T>, other: &BTreeMap<String, T>) -> bool {
            one.iter().any(|(name, value)| other.get(name).is_some_and(|other| other != value))
        }
        self.balancers_changed |= differ(&self.target_groups, &more.target_groups)
            || differ(&self.load_balancers, &more.load_balancers);
        for name in more.services.iter().filter(|(_, found)| found.is_some()).map(|(name, _)| name)
        {
            self.missing.remove(name);
        }
        for (name, times) in more.missing {
            self.missing.entry(name).or_default().extend(times);
        }
        self.services.extend(more.services);
        self.target_groups.extend(more.target_groups);
        self.load_balancers.extend(more.load_balancers);
        self.rrsets.extend(more.rrsets);
        self.is_incomplete |= more.is_incomplete;
        self.was_denied |= more.was_denied;
    }
}

impl LoadBalancerSource for Described {
    fn target_group(&self, name: &str) -> Option<Vec<String>> {
        self.target_groups.get(name).cloned()
    }

    fn load_balancer(&self, name: &str) -> Option<Option<StoredLoadBalancer>> {
        self.load_balancers.get(name).cloned()
    }
}

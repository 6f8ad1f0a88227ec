//! What a service should hold, said a second time: from the specification, without the handler's
//! code, so that the two can disagree.

use std::collections::BTreeMap;

use crate::account::{
    BALANCER_ZONE, Balancer, Behind, Service, ServiceName, Status, dns_name, service_arn,
};
use crate::route53::Rrset;

/// An environment, as its configuration says.
#[derive(Clone, Debug)]
pub struct Environment {
    pub name: String,
    /// VPC, hosted zone, name of the zone.
    pub zones: Vec<(String, String, String)>,
    /// None for all of them.
    pub cluster: Option<String>,
    pub template: String,
    pub alias: bool,
    pub ttl: i64,
}

impl Environment {
    pub fn to_config(&self) -> String {
        let zone = |(vpc, id, name): &(String, String, String)| serde_json::json!({"vpcId": vpc, "hostedZoneId": id, "name": name});
        serde_json::json!({
            "environment": self.name, "zones": self.zones.iter().map(zone).collect::<Vec<_>>(),
            "clusters": [self.cluster.as_deref().unwrap_or("*")], "nameTemplate": self.template,
            "record": if self.alias { "ALIAS" } else { "CNAME" }, "ttlSeconds": self.ttl,
        })
        .to_string()
    }

    /// The value of the marker of a service.
    pub fn marker(&self, service: &ServiceName) -> String {
        format!(
            "\"heritage=ecs-discovery,version=1,environment={},service={}\"",
            self.name,
            service_arn(service)
        )
    }
}

/// What a service should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// These record sets at this name of this zone.
    Record {
        zone: String,
        name: String,
        rrsets: Vec<Rrset>,
    },
    Nothing,
    /// What it holds already: it cannot be told, or is not possible.
    AsItIs,
    /// Somebody did not read enough to tell.
    Unknown,
}

/// What is known of load balancers. The outer none is for what is not known.
pub trait Balancers {
    fn group(&self, name: &str) -> Option<Vec<String>>;
    fn balancer(&self, name: &str) -> Option<Option<Balancer>>;
}

/// # Panics
/// Never: what is missing is unknown.
pub fn due(
    environment: &Environment,
    name: &ServiceName,
    service: Option<&Service>,
    known: &impl Balancers,
) -> Due {
    let (cluster, plain) = name;
    if environment.cluster.as_ref().is_some_and(|only| only != cluster) {
        return Due::Nothing;
    }
    let Some(service) = service.filter(|service| service.status == Status::Active) else {
        return Due::Nothing;
    };
    let tag = |key: &str| service.tags.get(&format!("discovery:{key}")).map(String::as_str);
    let known_keys = ["enabled", "name", "ttl", "record", "load-balancer"];
    let odd = service
        .tags
        .keys()
        .filter_map(|key| key.strip_prefix("discovery:"))
        .any(|key| !known_keys.contains(&key));
    let ttl =
        tag("ttl").map(|text| text.parse::<i64>().ok().filter(|ttl| (1..=86_400).contains(ttl)));
    if odd
        || ttl == Some(None)
        || tag("enabled").is_some_and(|text| text != "true" && text != "false")
        || tag("record").is_some_and(|text| text != "CNAME" && text != "ALIAS")
        || tag("name") == Some("")
        || tag("load-balancer") == Some("")
    {
        return Due::AsItIs;
    }
    if tag("enabled") == Some("false") {
        return Due::Nothing;
    }
    let mut sets: Vec<_> = service.task_sets.iter().collect();
    sets.sort_by_key(|(status, _)| (status != "PRIMARY", status == "DRAINING"));
    let behind: Vec<&Behind> =
        service.behind.iter().chain(sets.iter().flat_map(|(_, behind)| behind)).collect();
    if behind.is_empty() {
        return Due::Nothing;
    }
    let mut candidates: Vec<(String, Balancer)> = Vec::new();
    let mut waiting = false;
    for one in behind {
        let names = match one {
            Behind::Classic(name) => Some(vec![name.clone()]),
            Behind::Group(name) => known.group(name),
        };
        let Some(names) = names else { return Due::Unknown };
        let before = candidates.len();
        for name in names {
            match known.balancer(&name) {
                None => return Due::Unknown,
                Some(None) => {}
                Some(Some(balancer)) => candidates.push((name, balancer)),
            }
        }
        waiting |= candidates.len() == before;
    }
    let zone_of =
        |balancer: &Balancer| environment.zones.iter().find(|(vpc, _, _)| *vpc == balancer.vpc);
    let tagged = tag("load-balancer");
    let usable = |internal: bool| {
        candidates.iter().find(|(name, balancer)| {
            balancer.internal == internal
                && zone_of(balancer).is_some()
                && tagged.is_none_or(|tagged| tagged == name)
        })
    };
    let Some((chosen, balancer)) = usable(true).or_else(|| usable(false)) else {
        return if waiting || tagged.is_some() { Due::AsItIs } else { Due::Nothing };
    };
    let Some((_, zone, zone_name)) = zone_of(balancer) else { return Due::Nothing };
    let relative = tag("name").map_or_else(
        || environment.template.replace("{service}", plain).replace("{cluster}", cluster),
        str::to_owned,
    );
    let relative = relative.to_lowercase().replace('_', "-");
    let fine = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if !relative.split('.').all(fine) {
        return Due::AsItIs;
    }
    let name = format!("{relative}.{zone_name}.");
    let target = dns_name(chosen).to_lowercase();
    let alias = tag("record").map_or(environment.alias, |kind| kind == "ALIAS");
    let rrset = |kind: &str| Rrset {
        name: name.clone(),
        kind: kind.into(),
        ttl: (!alias).then(|| ttl.flatten().unwrap_or(environment.ttl)),
        values: if alias { vec![] } else { vec![target.clone()] },
        alias: alias.then(|| (BALANCER_ZONE.to_owned(), format!("{target}."))),
    };
    let rrsets = match (alias, balancer.dualstack) {
        (false, _) => vec![rrset("CNAME")],
        (true, false) => vec![rrset("A")],
        (true, true) => vec![rrset("A"), rrset("AAAA")],
    };
    Due::Record { zone: zone.clone(), name, rrsets }
}

impl Balancers for crate::account::Cloud {
    fn group(&self, name: &str) -> Option<Vec<String>> {
        Some(self.groups.get(name).cloned().unwrap_or_default())
    }

    fn balancer(&self, name: &str) -> Option<Option<Balancer>> {
        Some(self.balancers.get(name).cloned())
    }
}

/// What one invocation was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub services: BTreeMap<ServiceName, Option<Service>>,
    pub groups: BTreeMap<String, Vec<String>>,
    pub balancers: BTreeMap<String, Option<Balancer>>,
}

impl Balancers for Told {
    fn group(&self, name: &str) -> Option<Vec<String>> {
        self.groups.get(name).cloned()
    }

    fn balancer(&self, name: &str) -> Option<Option<Balancer>> {
        self.balancers.get(name).cloned()
    }
}

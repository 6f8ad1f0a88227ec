//! The invariants, checked: some after every change that Route 53 applies, the others when a history
//! has come to its end.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::{Behind, ServiceName, service_arn};
use crate::faults::Sim;
use crate::oracle::{Due, Environment, due};
use crate::route53::{Action, Author, Rrset, Zone};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: u8,
    pub what: String,
}

fn violation(invariant: u8, what: impl Into<String>) -> Violation {
    Violation { invariant, what: what.into() }
}

/// What stands at a name and at the place of its marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stand {
    pub records: Vec<(Rrset, Author)>,
    pub beside: Vec<(Rrset, Author)>,
}

impl Stand {
    pub fn at(zone: &Zone, name: &str) -> Stand {
        let all = |name: &str| zone.at(name).cloned().collect();
        Stand { records: all(name), beside: all(&format!("_discovery.{name}")) }
    }

    /// Whose it is, by the marker of an environment.
    pub fn holder(&self, environment: &Environment) -> Option<ServiceName> {
        let [(marker, _)] = self.beside.as_slice() else { return None };
        let [value] = marker.values.as_slice() else { return None };
        let prefix =
            format!("\"heritage=ecs-discovery,version=1,environment={},service=", environment.name);
        let arn = value.strip_prefix(&prefix)?.strip_suffix('"')?;
        let (cluster, name) = arn.rsplit_once("service/")?.1.split_once('/')?;
        (marker.kind == "TXT").then(|| (cluster.to_owned(), name.to_owned()))
    }

    /// The records of the kind that handlers write.
    pub fn leading(&self) -> Vec<&Rrset> {
        let leads = |rrset: &&Rrset| {
            rrset.kind == "CNAME"
                || (rrset.alias.is_some() && (rrset.kind == "A" || rrset.kind == "AAAA"))
        };
        self.records.iter().map(|(rrset, _)| rrset).filter(leads).collect()
    }
}

/// Where a record leads to.
fn target(rrset: &Rrset) -> Option<String> {
    let text = rrset.alias.as_ref().map(|(_, target)| target).or(rrset.values.first())?;
    Some(text.trim_end_matches('.').to_lowercase())
}

/// What an applied change tells: 4, 5 and 6.
pub fn check_change(
    sim: &Sim,
    zone: &str,
    before: &Zone,
    changes: &[(Action, Rrset)],
    invocation: u64,
) -> Option<Violation> {
    let invocation = sim.invocations.get(&invocation)?;
    let environment = &sim.environments[invocation.environment];
    let after = &sim.cloud.zones[zone];
    let names: BTreeSet<&str> = changes
        .iter()
        .map(|(_, rrset)| rrset.name.strip_prefix("_discovery.").unwrap_or(&rrset.name))
        .collect();
    for name in names {
        let (was, is) = (Stand::at(before, name), Stand::at(after, name));
        let at = format!("{name} in {zone} by the handler of {}", environment.name);
        let (held, holds) = (was.holder(environment), is.holder(environment));

        if holds.is_some() == is.leading().is_empty()
            && (holds.is_some() || was.leading() != is.leading())
        {
            return Some(violation(6, format!("{at}: marker {holds:?}, records {:?}", is.records)));
        }
        let ours = Author::Handler(environment.name.clone());
        if is.leading().iter().any(|rrset| is.records.contains(&((*rrset).clone(), ours.clone())))
            && holds.is_none()
        {
            return Some(violation(6, format!("{at}: its record has no marker: {:?}", is.records)));
        }

        for (rrset, author) in was.records.iter().chain(&was.beside) {
            let stays = is
                .records
                .iter()
                .chain(&is.beside)
                .any(|(other, by)| other == rrset && by == author);
            if stays || *author == ours {
                continue;
            }
            let leads = was.leading().contains(&rrset);
            let marked = held.is_some() && leads;
            let adopted = was.beside.is_empty()
                && leads
                && holds.is_some()
                && is.leading().iter().any(|new| target(new) == target(rrset));
            if !marked && !adopted {
                return Some(violation(4, format!("{at}: {rrset:?} of {author:?} was touched")));
            }
        }

        if invocation.deregisters {
            continue;
        }
        let told = |service: &ServiceName| match invocation.told.services.get(service) {
            Some(found) => due(environment, service, found.as_ref(), &invocation.told),
            None if environment.cluster.as_ref().is_some_and(|only| *only != service.0) => {
                Due::Nothing
            }
            None => Due::Unknown,
        };
        if let Some(loser) = held.as_ref().filter(|held| holds.as_ref() != Some(*held)) {
            let due = told(loser);
            let wants_it = matches!(&due, Due::Record { zone: at, name: wanted, .. } if at == zone && wanted == name);
            if wants_it || matches!(due, Due::AsItIs | Due::Unknown) {
                return Some(violation(
                    5,
                    format!("{at}: {loser:?} lost it without proof: {due:?}"),
                ));
            }
        }
        if let Some(winner) = &holds {
            let due = told(winner);
            let proven = match &due {
                Due::Record { zone: at, name: wanted, rrsets } => {
                    at == zone
                        && wanted == name
                        && is.leading() == rrsets.iter().collect::<Vec<_>>()
                }
                _ => false,
            };
            if !proven {
                return Some(violation(
                    5,
                    format!("{at}: {winner:?} got {:?} without proof: {due:?}", is.leading()),
                ));
            }
        }
    }
    None
}

/// What made a name or a service unfit for a promise, while a history ran.
#[derive(Clone, Debug, Default)]
pub struct Excuses {
    /// Names that more than one service wanted at some time, or that a person touched. Whoever
    /// wanted one may have to wait for the next full pass.
    pub names: BTreeSet<String>,
    /// Target groups and load balancers that changed: ECS tells nobody.
    pub behind: BTreeSet<String>,
}

/// Whether an environment's zones equal what ECS says. With `excuses` as after scoped runs only,
/// without as after a full pass.
pub fn check_zones(
    sim: &Sim,
    environment: &Environment,
    before: &BTreeMap<String, Zone>,
    excuses: Option<&Excuses>,
) -> Option<Violation> {
    let number = if excuses.is_some() { 2 } else { 3 };
    let cloud = &sim.cloud;
    let dues: BTreeMap<ServiceName, Due> = cloud
        .ecs
        .services
        .iter()
        .map(|(name, service)| (name.clone(), due(environment, name, Some(service), cloud)))
        .collect();
    let disturbed = |service: &ServiceName| {
        excuses.is_some_and(|excuses| {
            cloud.ecs.services.get(service).is_some_and(|service| {
                let sets = service.task_sets.iter().flat_map(|(_, behind)| behind);
                service.behind.iter().chain(sets).any(|behind| match behind {
                    Behind::Group(name) | Behind::Classic(name) => excuses.behind.contains(name),
                })
            })
        })
    };
    let excused = |name: &str| excuses.is_some_and(|excuses| excuses.names.contains(name));
    let poisoned = |name: &str| sim.poison.as_deref() == Some(name);
    // What cannot be registered must stop no other.
    let number = if sim.poison.is_some() && excuses.is_none() { 7 } else { number };

    for (id, zone) in &cloud.zones {
        if !environment.zones.iter().any(|(_, known, _)| known == id) {
            continue;
        }
        let names: BTreeSet<&str> = zone
            .all()
            .map(|(rrset, _)| rrset.name.strip_prefix("_discovery.").unwrap_or(&rrset.name))
            .collect();
        for name in names {
            let stand = Stand::at(zone, name);
            let Some(holder) = stand.holder(environment) else { continue };
            let wrong = match dues.get(&holder) {
                None | Some(Due::Nothing) => true,
                Some(Due::AsItIs | Due::Unknown) => false,
                Some(Due::Record { zone: at, name: wanted, rrsets }) => {
                    let others = stand.records.len() > stand.leading().len();
                    at != id
                        || wanted != name
                        || (!others && stand.leading() != rrsets.iter().collect::<Vec<_>>())
                }
            };
            if wrong && !disturbed(&holder) && !excused(name) && !poisoned(name) {
                return Some(violation(
                    number,
                    format!(
                        "{name} in {id} is held by {holder:?} with {:?}, due is {:?}",
                        stand.leading(),
                        dues.get(&holder)
                    ),
                ));
            }
        }
    }
    for (service, due) in &dues {
        let Due::Record { zone: id, name, .. } = due else { continue };
        if disturbed(service) || excused(name) || poisoned(name) {
            continue;
        }
        let Some(zone) = cloud.zones.get(id) else { continue };
        let stand = Stand::at(zone, name);
        match stand.holder(environment) {
            Some(holder) if holder == *service => {}
            Some(holder) => {
                // It must have been there first, or be older.
                let held_before = before
                    .get(id)
                    .map(|zone| Stand::at(zone, name))
                    .and_then(|stand| stand.holder(environment));
                let age = |name: &ServiceName| {
                    let service = cloud.ecs.services.get(name);
                    service.map(|service| (service.created_at, service_arn(name)))
                };
                let older = age(&holder) < age(service);
                if held_before != Some(holder.clone()) && !older {
                    return Some(violation(
                        number,
                        format!("{name} went to {holder:?} though {service:?} is older"),
                    ));
                }
            }
            None if stand.records.is_empty() && stand.beside.is_empty() => {
                return Some(violation(
                    number,
                    format!("{service:?} is not registered as {name} in {id}"),
                ));
            }
            None => {
                // Foreign: then none of it may be what this environment could have taken.
                let foreign = stand
                    .records
                    .iter()
                    .chain(&stand.beside)
                    .any(|(_, author)| *author != Author::Handler(environment.name.clone()));
                if !foreign {
                    return Some(violation(
                        number,
                        format!("{name} in {id} is nobody's: {stand:?}"),
                    ));
                }
            }
        }
    }
    None
}

//! Benchmark of planning and checking by number of services: `cargo bench --profile dev --bench plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use divan::Bencher;
use handler::domain::check::LossPolicy;
use handler::domain::config::DeleteLimit;
use handler::domain::desired::{Desired, DesiredState, Form, Record};
use handler::domain::dns::{DnsName, Rrset, Ttl};
use handler::domain::marker::Nonce;
use handler::domain::plan::plan;
use handler::domain::service::{AwsLocation, HostedZoneId, ServiceArn};
use handler::domain::zone::{EnvironmentIdentity, ZoneView, types_of};

fn main() {
    divan::main();
}

/// Services with one desired name each. Every second one has its name already, every tenth with an old target.
fn scene(
    services: u32,
) -> (BTreeMap<ServiceArn, Desired>, BTreeMap<HostedZoneId, ZoneView>, EnvironmentIdentity) {
    let location =
        AwsLocation::of_function("arn:aws:lambda:eu-west-1:111122223333:function:discovery");
    let location = location.expect("a function's ARN");
    let identity =
        EnvironmentIdentity { environment: "prod".into(), former_names: BTreeSet::new(), location };
    let name = |text: String| DnsName::parse(&text).expect("a name");
    let (mut desired, mut rrsets) = (BTreeMap::new(), Vec::new());
    for number in 0..services {
        let service = ServiceArn::new(&identity.location, "prod", &format!("service-{number}"));
        let service = service.expect("a service");
        let at = name(format!("service-{number}.prod.internal"));
        let target = name(format!("internal-{number}.eu-west-1.elb.amazonaws.com"));
        if number % 2 == 0 {
            let old = name("internal-old.eu-west-1.elb.amazonaws.com".into());
            let target = if number % 10 == 0 { &old } else { &target };
            rrsets.push(Rrset::cname(at.clone(), target, Ttl::DEFAULT));
            let records = std::slice::from_ref(rrsets.last().expect("a record"));
            let marker = identity.marker(&service, types_of(records), false);
            rrsets.push(marker.rrset(&at, Nonce::default(), None));
        }
        let form = Form::Cname(Ttl::DEFAULT);
        let zone = HostedZoneId::new("Z1");
        let kept_targets = Arc::default();
        let record = Record { zone, name: at, target, form, adopts: true, kept_targets };
        let state = DesiredState::Record(record);
        desired.insert(service, Desired { created_at_ms: number.into(), state });
    }
    let zones = BTreeMap::from([(HostedZoneId::new("Z1"), ZoneView::whole(rrsets))]);
    (desired, zones, identity)
}

#[divan::bench(args = [1_000, 5_000, 10_000])]
fn plan_and_check(bencher: Bencher, services: u32) {
    let (desired, zones, identity) = scene(services);
    let limit = DeleteLimit { free: 3, percent: 30 };
    let policy = LossPolicy::Limited { limit, named: BTreeSet::new() };
    bencher
        .counter(divan::counter::ItemsCount::new(services))
        .bench(|| plan(&desired, &zones, &identity, Nonce::new(7)).check(&policy));
}

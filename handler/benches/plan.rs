//! Plan and check, by the number of services: `cargo bench --profile dev --bench plan`.

use std::collections::{BTreeMap, BTreeSet};

use divan::Bencher;
use handler::config::DeleteLimit;
use handler::desired::{Desire, Form, Record, Wish};
use handler::dns::{DnsName, Rrset, Ttl};
use handler::marker::Stamp;
use handler::plan::plan;
use handler::service::{Home, HostedZoneId, ServiceArn};
use handler::zone::{Owner, ZoneView};

fn main() {
    divan::main();
}

/// Services that want a name each, of which every other has it, every tenth with an old target.
fn scene(services: u32) -> (BTreeMap<ServiceArn, Desire>, BTreeMap<HostedZoneId, ZoneView>, Owner) {
    let home = Home::of_function("arn:aws:lambda:eu-west-1:111122223333:function:discovery");
    let home = home.expect("a function's ARN");
    let owner = Owner { environment: "prod".into(), former_names: BTreeSet::new(), home };
    let name = |text: String| DnsName::parse(&text).expect("a name");
    let (mut desires, mut rrsets) = (BTreeMap::new(), Vec::new());
    for number in 0..services {
        let service = ServiceArn::new(&owner.home, "prod", &format!("service-{number}"));
        let service = service.expect("a service");
        let at = name(format!("service-{number}.prod.internal"));
        let target = name(format!("internal-{number}.eu-west-1.elb.amazonaws.com"));
        if number % 2 == 0 {
            let old = name("internal-old.eu-west-1.elb.amazonaws.com".into());
            let target = if number % 10 == 0 { &old } else { &target };
            rrsets.push(Rrset::cname(at.clone(), target, Ttl::DEFAULT));
            rrsets.push(owner.marker(&service).rrset(&at, Stamp::default(), None));
        }
        let form = Form::Cname(Ttl::DEFAULT);
        let record = Record { zone: HostedZoneId::new("Z1"), name: at, target, form };
        let wish = Wish::Record(record);
        desires.insert(service, Desire { created_at_ms: number.into(), wish });
    }
    let zones = BTreeMap::from([(HostedZoneId::new("Z1"), ZoneView::whole(rrsets))]);
    (desires, zones, owner)
}

#[divan::bench(args = [1_000, 5_000, 10_000])]
fn plan_and_check(bencher: Bencher, services: u32) {
    let (desires, zones, owner) = scene(services);
    let limit = Some(DeleteLimit { free: 3, percent: 30 });
    bencher
        .counter(divan::counter::ItemsCount::new(services))
        .bench(|| plan(&desires, &zones, &owner, Stamp::new(7)).check(limit));
}

//! Whatever comes from outside, thrown at the parsers: none may panic, and what one accepts it must
//! accept again as it writes it. By hand for longer: `BOLERO_RANDOM_ITERATIONS=10000000 cargo test
//! --test fuzz`, or with coverage through `cargo bolero`.

use bolero::check;
use handler::domain::config::Config;
use handler::domain::dns::{DnsName, Rrset, Ttl};
use handler::domain::marker::{Marker, Nonce};
use handler::domain::service::{AwsLocation, ServiceArn};
use handler::domain::tags::Tags;
use handler::domain::trigger::{Payload, runs};

const ARN: &str = "arn:aws:ecs:eu-west-1:111122223333:service/dev/orders";
const ITERATIONS: usize = 20_000;

fn location() -> AwsLocation {
    AwsLocation::of_function("arn:aws:lambda:eu-west-1:111122223333:function:x")
        .expect("a function's ARN")
}

/// Bytes alone rarely get past a parser's door: they are put in place of a part of a good text.
fn spliced(good: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let (at, length) = match bytes {
        [at, length, ..] => (usize::from(*at), usize::from(*length)),
        _ => return text.into_owned(),
    };
    let good: Vec<char> = good.chars().collect();
    let from = at * good.len() / 256;
    let to = (from + length % 16).min(good.len());
    let part: String = text.chars().skip(2).take(24).collect();
    good[..from].iter().chain(&part.chars().collect::<Vec<_>>()).chain(&good[to..]).collect()
}

#[test]
fn invariant_8_any_payload_is_read() {
    let events = ["create-service-by-cloudformation", "tag-service", "deployment-state-change"];
    let read = |name: &str| {
        let path = format!("{}/tests/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("an event")
    };
    let mut goods: Vec<String> = events.map(read).to_vec();
    let body = goods[0].clone();
    let message = serde_json::json!({"messageId": "1", "eventSource": "aws:sqs", "body": body});
    goods.push(serde_json::json!({ "Records": [message] }).to_string());
    goods.push(r#"{"reconcile":{"cluster":"dev","service":"orders"},"dryRun":true}"#.into());
    let location = location();
    check!().with_iterations(ITERATIONS).with_type::<Vec<u8>>().for_each(|bytes| {
        let _ = Payload::read(&String::from_utf8_lossy(bytes), &location);
        let good = &goods[bytes.first().map_or(0, |byte| usize::from(*byte)) % goods.len()];
        if let Payload::Batch(messages) = Payload::read(&spliced(good, bytes), &location) {
            let _ = runs(&messages);
        }
    });
}

#[test]
fn a_marker_that_is_accepted_is_written_as_it_was_read() {
    let name = DnsName::parse("orders.internal").expect("a valid name");
    let good = format!("\"heritage=ecs-discovery,version=1,environment=dev,service={ARN}\"");
    check!().with_iterations(ITERATIONS).with_type::<Vec<u8>>().for_each(|bytes| {
        if let Ok(marker) = Marker::parse(&spliced(&good, bytes)) {
            let rrset: Rrset = marker.rrset(&name, Nonce::default(), None);
            let (value, _) = rrset.single_value().expect("one value");
            assert_eq!(Marker::parse(value), Ok(marker));
        }
    });
}

#[test]
fn a_name_that_is_accepted_is_written_as_it_was_read() {
    let zone = DnsName::zone("dev.internal").expect("a valid zone");
    check!().with_iterations(ITERATIONS).with_type::<Vec<u8>>().for_each(|bytes| {
        if let Ok(name) = DnsName::parse(&spliced("orders.dev.internal.", bytes)) {
            assert_eq!(DnsName::parse(&name.to_string()), Ok(name));
        }
        if let Ok(name) = DnsName::in_zone(&spliced("Shop_API.eu", bytes), &zone) {
            assert!(name.is_within(&zone) && name != zone);
            assert_eq!(name.marker().marked(), Some(name.clone()));
            assert_eq!(DnsName::zone(name.as_str()), Ok(name));
        }
        if let Ok(arn) = ServiceArn::parse(&spliced(ARN, bytes)) {
            assert_eq!(ServiceArn::parse(&arn.to_string()), Ok(arn));
        }
    });
}

#[test]
fn a_configuration_is_refused_with_its_key_or_holds_to_its_rules() {
    let good = r#"{"environment":"dev","zones":[{"vpcId":"vpc-0a1b","hostedZoneId":"Z0123","name":"dev.internal"}],"clusters":["*"],"nameTemplate":"{service}","record":"CNAME","ttlSeconds":60,"deleteLimit":{"free":3,"percent":30}}"#;
    let service = ServiceArn::parse(ARN).expect("a valid ARN");
    check!().with_iterations(ITERATIONS).with_type::<Vec<u8>>().for_each(
        |bytes| match Config::parse(Some(&spliced(good, bytes))) {
            Err(error) => assert!(!error.key.is_empty() && !error.expected.is_empty()),
            Ok(config) => {
                assert!(
                    Ttl::from_seconds(u32::try_from(config.ttl.seconds()).expect("small"))
                        .is_some()
                );
                for zone in config.zones().values() {
                    let _ = config.name(&service, None, zone);
                }
            }
        },
    );
}

#[test]
fn any_tags_are_followed_or_refused() {
    check!().with_iterations(ITERATIONS).with_type::<Vec<(u8, Vec<u8>)>>().for_each(|tags| {
        let keys = ["enabled", "name", "ttl", "record", "load-balancer", "nmae"];
        let tags = tags.iter().map(|(key, value)| {
            let key = keys[usize::from(*key) % keys.len()];
            (format!("discovery:{key}"), spliced("86400", value))
        });
        let _ = Tags::parse(&tags.collect());
    });
}

//! Random input for all parsers of external data. No input may make a parser panic, and an accepted value must
//! stay the same when it is written and parsed again.
//!
//! For longer runs: `BOLERO_RANDOM_ITERATIONS=10000000 cargo test --test fuzz`, or `cargo bolero` for fuzzing
//! guided by coverage.

mod common;

use bolero::check;
use common::{events, location, service_arn};
use handler::domain::config::Config;
use handler::domain::dns::{DnsName, Rrset, Ttl};
use handler::domain::marker::{Marker, Nonce};
use handler::domain::service::ServiceArn;
use handler::domain::tags::Tags;
use handler::domain::trigger::{Payload, runs};

const ITERATIONS: usize = 20_000;

/// Replaces a part of a valid text by random bytes. Parsers reject random bytes alone too early.
fn spliced(valid: &str, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let (at, length) = match bytes {
        [at, length, ..] => (usize::from(*at), usize::from(*length)),
        _ => return text.into_owned(),
    };
    let valid: Vec<char> = valid.chars().collect();
    let from = at * valid.len() / 256;
    let to = (from + length % 16).min(valid.len());
    let part: String = text.chars().skip(2).take(24).collect();
    valid[..from].iter().chain(&part.chars().collect::<Vec<_>>()).chain(&valid[to..]).collect()
}

#[test]
fn invariant_8_no_fuzzed_payload_makes_the_parser_panic() {
    let events = events();
    let names = ["create-service-by-cloudformation", "tag-service", "deployment-state-change"];
    let mut payloads: Vec<String> = names.map(|name| events[name].clone()).to_vec();
    let body = payloads[0].clone();
    let message = serde_json::json!({"messageId": "1", "eventSource": "aws:sqs", "body": body});
    payloads.push(serde_json::json!({ "Records": [message] }).to_string());
    payloads.push(r#"{"reconcile":{"cluster":"dev","service":"orders"},"dryRun":true}"#.into());
    let location = location();
    check!().with_iterations(ITERATIONS).with_type::<Vec<u8>>().for_each(|bytes| {
        let _ = Payload::read(&String::from_utf8_lossy(bytes), &location);
        let valid = &payloads[bytes.first().map_or(0, |byte| usize::from(*byte)) % payloads.len()];
        if let Payload::Batch(messages) = Payload::read(&spliced(valid, bytes), &location) {
            let _ = runs(&messages);
        }
    });
}

#[test]
fn an_accepted_marker_stays_the_same_when_it_is_written_and_parsed() {
    let name = DnsName::parse("orders.internal").expect("a valid name");
    let service = service_arn("orders");
    let valid = format!("\"heritage=ecs-discovery,version=1,environment=dev,service={service}\"");
    check!().with_iterations(ITERATIONS).with_type::<Vec<u8>>().for_each(|bytes| {
        if let Ok(marker) = Marker::parse(&spliced(&valid, bytes)) {
            let rrset: Rrset = marker.rrset(&name, Nonce::default(), None);
            let (value, _) = rrset.single_value().expect("one value");
            assert_eq!(Marker::parse(value), Ok(marker));
        }
    });
}

#[test]
fn accepted_names_and_arns_stay_the_same_when_they_are_written_and_parsed() {
    let service = service_arn("orders");
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
        if let Ok(arn) = ServiceArn::parse(&spliced(&service, bytes)) {
            assert_eq!(ServiceArn::parse(&arn.to_string()), Ok(arn));
        }
    });
}

#[test]
fn a_configuration_is_rejected_with_a_key_or_is_valid() {
    let valid = r#"{"environment":"dev","zones":[{"vpcId":"vpc-0a1b","hostedZoneId":"Z0123","name":"dev.internal"}],"clusters":["*"],"nameTemplate":"{service}","record":"CNAME","ttlSeconds":60,"deleteLimit":{"free":3,"percent":30}}"#;
    let service = ServiceArn::parse(&service_arn("orders")).expect("a valid ARN");
    check!().with_iterations(ITERATIONS).with_type::<Vec<u8>>().for_each(
        |bytes| match Config::parse(Some(&spliced(valid, bytes))) {
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
fn no_tags_make_the_parser_panic() {
    check!().with_iterations(ITERATIONS).with_type::<Vec<(u8, Vec<u8>)>>().for_each(|tags| {
        let keys = ["enabled", "name", "ttl", "record", "load-balancer", "nmae"];
        let tags = tags.iter().map(|(key, value)| {
            let key = keys[usize::from(*key) % keys.len()];
            (format!("discovery:{key}"), spliced("86400", value))
        });
        let _ = Tags::parse(&tags.collect());
    });
}

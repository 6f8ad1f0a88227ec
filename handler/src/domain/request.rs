//! Parses requests: commands that a person sends, and those of the deployment's custom resources.

use serde_json::Value;

use crate::domain::service::{AwsLocation, HostedZoneId, ServiceArn, last_segment};
use crate::domain::trigger::{Options, Scope, Targets, Trigger};

pub(super) fn parse(payload: &Value, location: &AwsLocation) -> Trigger {
    try_parse(payload, location).unwrap_or_else(|reason| Trigger::Unreadable { reason })
}

fn try_parse(payload: &Value, location: &AwsLocation) -> Result<Trigger, String> {
    let mut options = Options::default();
    let fields = payload.as_object().ok_or("the payload is not an object")?;
    for (key, value) in fields {
        let flag = match key.as_str() {
            "reconcile" | "deregister" => continue,
            "dryRun" => &mut options.dry_run,
            "overrideDeleteLimit" => &mut options.override_delete_limit,
            other => {
                return Err(format!(
                    "unknown key {other:?}; expected reconcile, deregister, dryRun or \
                     overrideDeleteLimit"
                ));
            }
        };
        *flag =
            value.as_bool().ok_or_else(|| format!("{key} is {value}; expected true or false"))?;
    }
    match (fields.get("reconcile"), fields.get("deregister")) {
        (Some(_), Some(_)) => Err("expected either reconcile or deregister; found both".into()),
        (None, Some(subject)) if subject == "all" => {
            Ok(Trigger::Deregister { zone: None, options })
        }
        (None, subject) => {
            let zone = subject
                .and_then(Value::as_object)
                .filter(|object| object.len() == 1)
                .and_then(|object| object.get("hostedZoneId")?.as_str())
                .filter(|id| is_zone_id(id))
                .ok_or_else(|| {
                    let found = subject.unwrap_or(&Value::Null);
                    format!(
                        "deregister is {found}; expected \"all\" or {{\"hostedZoneId\":\"Z…\"}}"
                    )
                })?;
            Ok(Trigger::Deregister { zone: Some(HostedZoneId::new(zone)), options })
        }
        (Some(subject), None) if subject == "all" => {
            Ok(Trigger::Reconcile { scope: Scope::full_pass(), options })
        }
        (Some(subject), None) => {
            let service = service(subject, location)?;
            match Trigger::service(service, Targets::default(), location) {
                Trigger::Reconcile { scope, .. } => Ok(Trigger::Reconcile { scope, options }),
                other => Ok(other),
            }
        }
    }
}

/// The change of a zone's SOA record, `{"hostedZoneId":…,"seconds":…}`.
pub(super) fn negative_ttl(subject: &Value) -> Trigger {
    let zone = subject["hostedZoneId"].as_str().filter(|id| is_zone_id(id));
    let seconds = subject["seconds"].as_i64().filter(|seconds| (1..=86_400).contains(seconds));
    match (zone, seconds) {
        (Some(zone), Some(seconds)) => {
            Trigger::SetNegativeTtl { zone: HostedZoneId::new(zone), seconds }
        }
        _ => Trigger::Unreadable {
            reason: format!(
                "negativeTtl is {subject}; expected {{\"hostedZoneId\":\"Z…\",\"seconds\":1 to 86400}}"
            ),
        },
    }
}

/// The service of `{"cluster":…,"service":…}`. Both may be names or ARNs, and a missing cluster is
/// `default`, as in the ECS API.
fn service(subject: &Value, location: &AwsLocation) -> Result<ServiceArn, String> {
    let names = subject
        .as_object()
        .filter(|object| object.keys().all(|key| key == "cluster" || key == "service"))
        .and_then(|object| {
            let cluster = object.get("cluster").map_or(Some("default"), Value::as_str)?;
            Some((cluster, object.get("service")?.as_str()?))
        });
    let (cluster, service) = names.ok_or_else(|| {
        format!(
            "reconcile is {subject}; expected \"all\" or {{\"cluster\":\"…\",\"service\":\"…\"}}"
        )
    })?;
    ServiceArn::parse(service).or_else(|_| {
        ServiceArn::new(location, last_segment(cluster), last_segment(service))
            .map_err(|error| error.to_string())
    })
}

/// Whether `text` has the form of a zone id. The id becomes part of a request's path.
pub(super) fn is_zone_id(text: &str) -> bool {
    (2..=32).contains(&text.len())
        && text.starts_with('Z')
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::{location, show};
    use insta::assert_snapshot;
    use serde_json::json;

    fn check(payload: Value) -> String {
        show(&Trigger::parse(&payload, &location()))
    }

    #[test]
    fn a_request_names_a_service_or_the_full_pass() {
        assert_snapshot!(check(json!({"reconcile": "all"})), @"full pass");
        assert_snapshot!(check(json!({"reconcile": "all", "dryRun": true, "overrideDeleteLimit": true})), @"full pass dry override");
        assert_snapshot!(check(json!({"reconcile": {"cluster": "dev", "service": "orders"}, "dryRun": true})), @"dev/orders dry");
        assert_snapshot!(check(json!({"reconcile": {"service": "orders"}})), @"default/orders");
        assert_snapshot!(check(json!({"deregister": "all"})), @"deregister");
    }

    #[test]
    fn an_invalid_request_is_answered_with_the_expected_form() {
        assert_snapshot!(check(json!({"reconcile": "everything"})), @r#"unreadable: reconcile is "everything"; expected "all" or {"cluster":"…","service":"…"}"#);
        assert_snapshot!(check(json!({"reconcile": {"cluster": "dev"}})), @r#"unreadable: reconcile is {"cluster":"dev"}; expected "all" or {"cluster":"…","service":"…"}"#);
        assert_snapshot!(check(json!({"reconcile": "all", "dryrun": true})), @r#"unreadable: unknown key "dryrun"; expected reconcile, deregister, dryRun or overrideDeleteLimit"#);
        assert_snapshot!(check(json!({"reconcile": "all", "dryRun": "yes"})), @r#"unreadable: dryRun is "yes"; expected true or false"#);
        assert_snapshot!(check(json!({"deregister": "orders"})), @r#"unreadable: deregister is "orders"; expected "all" or {"hostedZoneId":"Z…"}"#);
        assert_snapshot!(check(json!({"deregister": {"hostedZoneId": "Z1", "name": "x"}})), @r#"unreadable: deregister is {"hostedZoneId":"Z1","name":"x"}; expected "all" or {"hostedZoneId":"Z…"}"#);
        assert_snapshot!(check(json!({"deregister": {"hostedZoneId": "Z1/rrset"}})), @r#"unreadable: deregister is {"hostedZoneId":"Z1/rrset"}; expected "all" or {"hostedZoneId":"Z…"}"#);
        assert_snapshot!(check(json!({"deregister": {"hostedZoneId": "Z1"}})), @"deregister in Z1");
        assert_snapshot!(check(json!({"deregister": "all", "reconcile": "all"})), @"unreadable: expected either reconcile or deregister; found both");
        assert_snapshot!(check(json!({"negativeTtl": {"hostedZoneId": "Z1", "seconds": 5}})), @r#"unreadable: the payload is neither an EventBridge event nor a request such as {"reconcile":"all"}"#);
    }
}

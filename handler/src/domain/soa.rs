//! The SOA record of a zone. It limits how long resolvers remember that a name does not exist: a client that asks
//! for a name a moment before its registration gets the same answer again until that time is over.

use crate::domain::dns::{RecordData, RecordType, Rrset};
use crate::domain::service::HostedZoneId;

/// A full pass reports zones whose negative TTL is longer.
pub const LONG_NEGATIVE_TTL: i64 = 60;

/// The negative TTL that a reported command sets, and the default of the option.
pub const DEFAULT_NEGATIVE_TTL: i64 = 5;

/// The number of values in a SOA record. The last one is the negative TTL (RFC 2308, section 4).
const VALUE_COUNT: usize = 7;

/// The seconds for which resolvers may remember that a name does not exist: the last value or the TTL of the
/// record, whichever is less. `None` if the record is no SOA record.
pub fn negative_ttl(soa: &Rrset) -> Option<i64> {
    let (values, ttl_seconds) = values(soa)?;
    Some(ttl_seconds.min(values.last()?.parse().ok()?))
}

/// The record with another negative TTL.
pub fn with_negative_ttl(soa: &Rrset, seconds: i64) -> Option<Rrset> {
    let (mut values, _) = values(soa)?;
    let seconds_text = seconds.to_string();
    *values.last_mut()? = &seconds_text;
    let data = RecordData::Plain { ttl_seconds: seconds, values: vec![values.join(" ")] };
    Some(Rrset { data, ..soa.clone() })
}

/// The command of the AWS CLI that writes the record.
pub fn command(zone: &HostedZoneId, soa: &Rrset) -> Option<String> {
    let (value, ttl) = soa.single_value()?;
    let name = &soa.name;
    Some(format!(
        "aws route53 change-resource-record-sets --hosted-zone-id {zone} --change-batch \
         '{{\"Changes\":[{{\"Action\":\"UPSERT\",\"ResourceRecordSet\":{{\"Name\":\"{name}\",\
         \"Type\":\"SOA\",\"TTL\":{ttl},\"ResourceRecords\":[{{\"Value\":\"{value}\"}}]}}}}]}}'"
    ))
}

fn values(soa: &Rrset) -> Option<(Vec<&str>, i64)> {
    let (value, ttl_seconds) = soa.single_value()?;
    let values: Vec<&str> = value.split_whitespace().collect();
    (soa.record_type == RecordType::Other("SOA".into()) && values.len() == VALUE_COUNT)
        .then_some((values, ttl_seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fixtures::plain;
    use insta::assert_snapshot;

    const VALUE: &str =
        "ns-1.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400";

    fn soa(ttl: i64, value: &str) -> Rrset {
        let data = RecordData::Plain { ttl_seconds: ttl, values: vec![value.into()] };
        Rrset { data, ..plain("dev", "SOA", value) }
    }

    #[test]
    fn the_negative_ttl_is_the_smaller_of_the_records_ttl_and_its_last_value() {
        assert_eq!(negative_ttl(&soa(900, VALUE)), Some(900));
        assert_eq!(negative_ttl(&soa(900, &VALUE.replace("86400", "5"))), Some(5));
        assert_eq!(negative_ttl(&plain("dev", "TXT", VALUE)), None);
        assert_eq!(negative_ttl(&soa(900, "ns-1. hostmaster.")), None);
    }

    #[test]
    fn the_other_values_of_the_record_stay() {
        let changed = with_negative_ttl(&soa(900, VALUE), 5).expect("a SOA record");
        assert_eq!(negative_ttl(&changed), Some(5));
        assert_snapshot!(changed, @"SOA ns-1.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 5");
        let zone = HostedZoneId::new("Z1");
        assert_snapshot!(command(&zone, &changed).expect("a command"), @r#"aws route53 change-resource-record-sets --hosted-zone-id Z1 --change-batch '{"Changes":[{"Action":"UPSERT","ResourceRecordSet":{"Name":"dev.internal","Type":"SOA","TTL":5,"ResourceRecords":[{"Value":"ns-1.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 5"}]}}]}'"#);
    }
}

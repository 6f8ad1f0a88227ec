//! The numbers of calls that the handler makes. They are the same on every machine. `npm run bench` prints
//! these and more.

use std::time::Duration;

use benchmarks::workload::{
    Figures, QUEUE, ROUND_TRIP, add_records, call, created, delete, deleted_unattached, detach,
    ecs_event, fleet, full_pass, one, one_with_zones, quota_time, record_name, rename,
    replace_load_balancer, run, run_with, tagged,
};
use serde_json::json;
use simulation::faults::Denied;

#[test]
fn a_new_service_is_written_after_two_round_trips_with_target_groups_in_the_event_and_after_three_without()
 {
    assert_eq!(one(fleet(1), &created(0, true)).written, Some(ROUND_TRIP * 2));
    assert_eq!(one(fleet(1), &created(0, false)).written, Some(ROUND_TRIP * 3));
}

#[test]
fn an_event_causes_no_unnecessary_calls() {
    let calls = |figures: &Figures| ["ecs", "elb", "route53"].map(|api| figures.to(api));
    // A run that writes also calls ECS for the recheck.
    let new = one(fleet(1), &created(0, false));
    assert_eq!(calls(&new), [2, 2, 2]);
    assert_eq!(calls(&one(new.account.clone(), &created(0, false))), [1, 2, 1]);
    let registered = full_pass(fleet(2)).account;
    let mut moved = registered.clone();
    replace_load_balancer(&mut moved, 0, 1);
    let update = call("UpdateService", 0, json!({"loadBalancers": []}));
    assert_eq!(calls(&one(moved, &update)), [2, 2, 2]);
    let mut deleted = registered.clone();
    delete(&mut deleted, 0);
    assert_eq!(calls(&one(deleted, &call("DeleteService", 0, json!({})))), [2, 0, 2]);
    let scaled = call("UpdateService", 0, json!({"desiredCount": 3}));
    assert_eq!(calls(&one(registered, &scaled)), [0, 0, 0]);
}

#[test]
fn the_work_for_an_event_depends_neither_on_the_load_balancers_of_the_account_nor_on_the_records_of_the_zone()
 {
    for (services, records, round_trips) in [(5, 0, 2), (400, 0, 3), (5, 9_000, 2), (400, 9_000, 3)]
    {
        let mut account = fleet(services);
        add_records(&mut account, "tenant-", "internal", records);
        let figures = one(account, &created(services - 1, true));
        assert_eq!(figures.written, Some(ROUND_TRIP * round_trips), "{services} {records}");
        assert!(figures.received <= 64 * 1_024, "{services} {records}: {}", figures.received);
    }
}

#[test]
fn a_name_with_thousands_of_names_below_it_costs_at_most_one_more_request() {
    for (prefix, lists) in [("a", 1), ("1", 2)] {
        let mut account = full_pass(fleet(1)).account;
        add_records(&mut account, prefix, &record_name(0), 4_000);
        let figures = one(account, &created(0, true));
        assert_eq!(figures.of("ListResourceRecordSets"), lists, "{prefix}");
        assert!(figures.received <= 64 * 1_024, "{prefix}: {}", figures.received);
    }
}

#[test]
fn with_many_zones_an_event_costs_as_many_calls_as_with_one_and_a_creation_one_more_round_trip() {
    let calls = |figures: &Figures| ["ecs", "elb", "route53"].map(|api| figures.to(api));
    for (zones, round_trips, lists) in [(3, 2, 3), (4, 3, 1), (30, 3, 1)] {
        let new = one_with_zones(fleet(1), zones, &created(0, true));
        assert_eq!(new.written, Some(ROUND_TRIP * round_trips), "{zones}");
        assert_eq!(calls(&new), [2, 2, 1 + lists], "{zones}");
        let completed = ecs_event("SERVICE_DEPLOYMENT_COMPLETED", 0);
        let completed = one_with_zones(new.account, zones, &completed);
        assert_eq!(calls(&completed), [1, 2, lists], "{zones}");
    }
}

#[test]
fn events_that_change_no_name_cost_few_calls_or_none() {
    let calls = |figures: &Figures| ["ecs", "elb", "route53"].map(|api| figures.to(api));
    let account = full_pass(fleet(2)).account;
    for payload in [
        tagged("cost-center", 0),
        ecs_event("SERVICE_STEADY_STATE", 0),
        ecs_event("SERVICE_DESIRED_COUNT_UPDATED", 0),
    ] {
        assert_eq!(calls(&one(account.clone(), &payload)), [0; 3], "{payload}");
    }
    let mut detached = account;
    detach(&mut detached, 0);
    let completed = ecs_event("SERVICE_DEPLOYMENT_COMPLETED", 0);
    assert_eq!(calls(&one(detached.clone(), &completed)), [2, 0, 2], "it loses its name");
    assert_eq!(calls(&one_with_zones(detached, 30, &completed)), [1, 0, 0]);
    // A service that never had a name, in a zone of 9,000 records.
    let mut never = fleet(2);
    add_records(&mut never, "tenant-", "internal", 9_000);
    delete(&mut never, 0);
    assert_eq!(calls(&one(never.clone(), &deleted_unattached(0))), [1, 0, 1]);
    let searched = one(never, &call("DeleteService", 0, json!({})));
    assert_eq!(calls(&searched), [1, 0, 1 + 31]);
    // The first of them is not part of the list of the whole zone.
    assert!(searched.route53_peak <= 1 + 5 + 1, "{}", searched.route53_peak);
}

#[test]
fn a_burst_through_the_queue_takes_little_longer_than_the_quotas_require() {
    let events = (0..1_000).map(|number| (Duration::ZERO, created(number, true))).collect();
    let figures = run(fleet(1_000), QUEUE, events);
    assert_eq!((figures.right, figures.failed), (1_000, 0));
    assert!(figures.of("ChangeResourceRecordSets") <= 40, "{:?}", figures.calls);
    let bound = quota_time(2_000, 1_500.0, 100.0) + Duration::from_secs(5);
    assert!(figures.took <= bound, "{:?} of {bound:?}", figures.took);
}

#[test]
fn a_full_pass_makes_the_fewest_calls_and_uses_at_most_half_of_the_rate() {
    let missing = full_pass(fleet(2_000));
    assert_eq!((missing.right, missing.failed), (2_000, 0));
    // 1 list of clusters, 20 lists of services, 200 descriptions and as many rechecks.
    // It takes more than 30 seconds, so it reads the load balancers again.
    assert_eq!((missing.to("ecs"), missing.to("elb")), (421, 20));
    assert_eq!(missing.of("ChangeResourceRecordSets"), 12);
    let in_sync = full_pass(missing.account.clone());
    assert_eq!((in_sync.to("ecs"), in_sync.to("elb"), in_sync.to("route53")), (221, 10, 14));
    assert_eq!(in_sync.written, None);
    // 200 descriptions exceed ECS's burst of 100, so ECS would throttle them without a rate limiter.
    for figures in [missing, in_sync] {
        assert!(figures.route53_peak <= 5, "{}", figures.route53_peak);
        // Half of the burst, and half of the requests that ECS allows in a second.
        assert!(figures.ecs_peak <= 50 + 10, "{}", figures.ecs_peak);
        assert_eq!(figures.throttled, 0);
    }
}

#[test]
fn a_chain_of_names_moves_after_the_event_of_its_first_service() {
    let mut chain = full_pass(fleet(12)).account;
    for number in 0..12 {
        rename(&mut chain, number, number + 1);
    }
    let figures = one(chain, &tagged("discovery:name", 0));
    assert_eq!((figures.right, figures.failed), (12, 0));
    let calls: usize = figures.calls.values().sum();
    assert!(calls <= 60, "{:?}", figures.calls);
}

#[test]
fn an_event_that_fails_each_time_is_in_the_dead_letter_queue_after_a_quarter_of_an_hour() {
    let denied = Denied {
        operation: "DescribeServices".into(),
        subject: None,
        from_ms: 0,
        is_permanent: true,
    };
    let event = vec![(Duration::ZERO, created(0, true))];
    let figures = run_with(fleet(1), QUEUE, event, |simulation| {
        simulation.faults.denied = Some(denied);
    });
    let pauses: Vec<u64> =
        figures.invoked_at.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
    // 1, 2, 4 and 8 minutes, and the batching window of five seconds.
    assert_eq!(pauses, [65, 125, 245, 485]);
    assert_eq!(figures.given_up, 1);
}

//! What the handler asks of AWS, in counts, which are the same on every machine. `npm run bench` has
//! these and more.

use std::time::Duration;

use benchmarks::workload::{
    Delivery, TRIP, at_best, call, created, delete, fleet, full_pass, move_behind, one, run,
};
use serde_json::json;

const QUEUE: Delivery = Delivery::Queue { batch: 100, window: Duration::from_secs(5) };

#[test]
fn a_new_service_is_written_in_two_round_trips_with_a_hint_and_in_three_without() {
    assert_eq!(one(fleet(1), &created(0, true)).written, Some(TRIP * 2));
    assert_eq!(one(fleet(1), &created(0, false)).written, Some(TRIP * 3));
}

#[test]
fn an_event_costs_no_more_than_it_needs() {
    let of = |figures: &benchmarks::workload::Figures| {
        ["ecs", "elb", "route53"].map(|service| figures.to(service))
    };
    // Each that writes looks at ECS once more.
    let new = one(fleet(1), &created(0, false));
    assert_eq!(of(&new), [2, 2, 2]);
    assert_eq!(of(&one(new.cloud.clone(), &created(0, false))), [1, 2, 1]);
    let registered = full_pass(fleet(2)).cloud;
    let mut moved = registered.clone();
    move_behind(&mut moved, 0, 1);
    let update = call("UpdateService", 0, json!({"loadBalancers": []}));
    assert_eq!(of(&one(moved, &update)), [2, 2, 2]);
    let mut gone = registered.clone();
    delete(&mut gone, 0);
    assert_eq!(of(&one(gone, &call("DeleteService", 0, json!({})))), [2, 1, 2]);
    let image = call("UpdateService", 0, json!({"desiredCount": 3}));
    assert_eq!(of(&one(registered, &image)), [0, 0, 0]);
}

#[test]
fn a_burst_through_the_queue_keeps_close_to_what_the_quotas_give() {
    let events = (0..1_000).map(|number| (Duration::ZERO, created(number, true))).collect();
    let figures = run(fleet(1_000), QUEUE, events);
    assert_eq!((figures.right, figures.failed), (1_000, 0));
    assert!(figures.of("ChangeResourceRecordSets") <= 40, "{:?}", figures.calls);
    let bound = at_best(2_000, 1_500.0, 100.0) + Duration::from_secs(5);
    assert!(figures.took <= bound, "{:?} of {bound:?}", figures.took);
}

#[test]
fn a_full_pass_makes_the_fewest_calls_and_takes_half_of_the_rate_at_most() {
    let missing = full_pass(fleet(2_000));
    assert_eq!((missing.right, missing.failed), (2_000, 0));
    // Clusters, twenty lists, two hundred descriptions and as many looks afterwards.
    assert_eq!((missing.to("ecs"), missing.to("elb")), (421, 10));
    assert_eq!(missing.of("ChangeResourceRecordSets"), 11);
    let in_sync = full_pass(missing.cloud.clone());
    assert_eq!((in_sync.to("ecs"), in_sync.to("elb"), in_sync.to("route53")), (221, 10, 14));
    assert_eq!(in_sync.written, None);
    // More than a hundred at once, so ECS would throttle what is not paced.
    for figures in [missing, in_sync] {
        assert!(figures.route53_peak <= 5, "{}", figures.route53_peak);
        assert_eq!(figures.throttled, 0);
    }
}

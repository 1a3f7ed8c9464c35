//! Slow start.

use std::time::Duration;

use crate::fleet::{Fleet, at, weighing};

const SLOWLY: &str = r#""load_balancing": { "policy": "random", "slow_start": "60s" }"#;

/// The share of each port at this moment, relative to its weight.
fn factors(fleet: &Fleet) -> Vec<f64> {
    let factor = |target: &std::rc::Rc<consul_resolver::balancer::upstream_host::UpstreamHost>| {
        f64::from(target.share().get()) / f64::from(target.weight().get()) / 1_000.0
    };
    fleet.pool.hosts().map(factor).collect()
}

#[test]
fn the_endpoints_of_a_first_snapshot_are_warm() {
    let fleet = Fleet::new(SLOWLY).of(weighing(&[1, 5]));
    assert_eq!(factors(&fleet), [1.0, 1.0]);
}

#[test]
fn a_new_endpoint_gets_warm_by_and_by() {
    let mut fleet = Fleet::new(SLOWLY).of(weighing(&[1, 5]));
    fleet.wait(Duration::from_secs(100));
    fleet.install(weighing(&[1, 5, 5]));
    for (seconds, factor) in [(0, 0.1), (6, 0.1), (24, 0.5), (29, 0.983), (1, 1.0), (100, 1.0)] {
        fleet.wait(Duration::from_secs(seconds));
        assert_eq!(factors(&fleet), [1.0, 1.0, factor], "{seconds} s later");
    }
}

#[test]
fn a_new_snapshot_does_not_begin_it_anew() {
    let mut fleet = Fleet::new(SLOWLY).of(weighing(&[1]));
    fleet.install(weighing(&[1, 1]));
    fleet.wait(Duration::from_secs(30));
    fleet.install(weighing(&[1, 3, 1]));
    assert_eq!(factors(&fleet), [1.0, 0.5, 0.1]);
}

#[test]
fn one_that_was_removed_and_comes_back_is_new() {
    let mut fleet = Fleet::new(SLOWLY).of(weighing(&[1, 1]));
    fleet.install(vec![at(1)]);
    fleet.install(weighing(&[1, 1]));
    assert_eq!(factors(&fleet), [1.0, 0.1]);
}

#[test]
fn hosts_have_their_share_at_once_without_a_slow_start() {
    let mut fleet = Fleet::new("").of(weighing(&[1]));
    fleet.install(weighing(&[1, 1, 1]));
    assert_eq!(factors(&fleet), [1.0; 3]);
    let allocations = allocation_counter::measure(|| fleet.wait(Duration::from_secs(1)));
    assert_eq!(allocations.count_total, 0, "a tick at which nothing has changed");
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_it() {
    let mut fleet = Fleet::new(SLOWLY).of(weighing(&[1]));
    fleet.install(weighing(&[1, 1]));
    fleet.now = consul_resolver::util::time::Time::ZERO;
    fleet.tick();
    assert_eq!(factors(&fleet), [1.0, 0.1]);
    fleet.wait(Duration::from_secs(1_060));
    assert_eq!(factors(&fleet), [1.0, 1.0]);
}

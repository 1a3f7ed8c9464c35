//! Endpoints that probes have found not to be healthy.

use std::time::Duration;

use consul_resolver::model::snapshot::Snapshot;

use crate::fleet::{Fleet, POLICIES, any, at, policy};

fn fleet(name: &str, endpoints: u16) -> Fleet {
    Fleet::new(&policy(name)).of((1..=endpoints).map(at).collect())
}

/// The requests that each of four ports has of so many.
fn seen(fleet: &mut Fleet) -> Vec<u32> {
    fleet.count_for(1_000, 4, |n| any(n.into()))
}

#[test]
fn an_unhealthy_endpoint_has_no_request_before_the_next_tick_nor_after_it() {
    for name in POLICIES {
        let mut fleet = fleet(name, 4);
        fleet.set_unhealthy(0, &[2]);
        assert_eq!(seen(&mut fleet)[1], 0, "{name}, before");
        for n in 0..100 {
            assert!(!fleet.attempts_for(&any(n), 3).contains(&2), "{name}");
        }
        fleet.tick();
        assert_eq!(seen(&mut fleet)[1], 0, "{name}, after");
        fleet.set_unhealthy(0, &[]);
        fleet.tick();
        assert!(seen(&mut fleet)[1] > 100, "{name}, healthy again");
    }
}

#[test]
fn it_stays_so_over_snapshots_whatever_comes_first() {
    let mut fleet = Fleet::new("");
    fleet.set_unhealthy(0, &[2, 3]);
    fleet.install((1..=4).map(at).collect());
    assert_eq!(seen(&mut fleet)[1..3], [0, 0]);
    fleet.install((2..=4).map(at).collect());
    fleet.install((1..=4).map(at).collect());
    assert_eq!(seen(&mut fleet)[1..3], [0, 0]);
}

#[test]
fn where_none_is_left_there_is_none_to_pick() {
    let mut fleet = Fleet::new("").of((1..=2).map(at).collect());
    fleet.set_unhealthy(0, &[1, 2]);
    assert!(fleet.pick().is_none(), "before the next tick");
    fleet.tick();
    assert!(fleet.pick().is_none());
}

#[test]
fn a_datacenter_whose_endpoints_are_not_healthy_leaves_all_to_the_next() {
    let mut fleet = Fleet::new(r#""datacenters": ["dc1", "dc2"]"#);
    fleet.install((1..=2).map(at).collect());
    fleet.install_in(1, Snapshot::new((3..=4).map(at).collect()));
    fleet.set_unhealthy(0, &[1, 2]);
    fleet.tick();
    let requests = fleet.count(400, 4);
    assert_eq!(requests[..2], [0, 0]);
    // Each datacenter has a list of its own.
    fleet.set_unhealthy(1, &[4]);
    fleet.set_unhealthy(0, &[]);
    fleet.tick();
    assert_eq!(fleet.count(400, 4)[2..], [0, 0]);
}

#[test]
fn one_that_is_healthy_again_comes_to_its_share_slowly_where_that_is_wanted() {
    let service = r#""load_balancing": { "policy": "random", "slow_start": "60s" }"#;
    let mut fleet = Fleet::new(service).of((1..=4).map(at).collect());
    fleet.set_unhealthy(0, &[2]);
    fleet.wait(Duration::from_secs(100));
    fleet.set_unhealthy(0, &[]);
    fleet.tick();
    let share = |fleet: &Fleet, port| fleet.target(port).share().get();
    assert_eq!(share(&fleet, 2) * 10, share(&fleet, 1));
    fleet.wait(Duration::from_secs(60));
    assert_eq!(share(&fleet, 2), share(&fleet, 1));
}

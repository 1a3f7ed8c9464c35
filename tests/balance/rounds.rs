//! Round robin: whose turn it is, over a period and beyond.

use consul_resolver::balance::hints::Hints;
use consul_resolver::balance::outlier::outcome::Outcome;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fleet::{DETECTS, Fleet, at, of_version, port, weighing};

proptest! {
    #[test]
    fn everyone_has_exactly_its_weight_over_a_period(
        seed: u64,
        weights in vec(1..=300_u16, 1..=100),
        heavy in proptest::option::of(1_000..=u16::MAX),
        common in 1..=10_u16,
        ahead in 0..50_usize,
    ) {
        // At most 300 × 10 for most, so `common` never makes a weight overflow.
        let weights: Vec<u16> = match heavy {
            Some(heavy) => weights.into_iter().chain([heavy]).collect(),
            None => weights.into_iter().map(|weight| weight * common).collect(),
        };
        let total: usize = weights.iter().map(|&weight| usize::from(weight)).sum();
        let mut fleet = Fleet::seeded(ROUND_ROBIN, seed).of(weighing(&weights));
        for _ in 0..ahead {
            drop(fleet.pick());
        }
        let divisor = weights.iter().fold(0, |a, &b| divisor(a, usize::from(b)));
        let mut seen = vec![0; weights.len()];
        for _ in 0..total / divisor {
            seen[usize::from(port(&fleet.pick().unwrap())) - 1] += divisor;
        }
        let wanted: Vec<_> = weights.iter().map(|&weight| usize::from(weight)).collect();
        prop_assert_eq!(seen, wanted);
    }
}

const ROUND_ROBIN: &str = r#""load_balancing": { "policy": "round_robin" }"#;

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

fn next(fleet: &mut Fleet) -> u16 {
    fleet.port_for(&Hints::default()).unwrap()
}

#[test]
fn turns_go_on_where_they_were_when_endpoints_change() {
    let mut fleet = Fleet::seeded(ROUND_ROBIN, 5).of(weighing(&[1, 1, 1, 1, 1]));
    while next(&mut fleet) != 2 {}
    fleet.install(weighing(&[1, 1, 1, 1, 1, 1]));
    assert_eq!(next(&mut fleet), 3);
    fleet.install(weighing(&[1, 1, 1, 0, 1, 1]));
    assert_eq!(next(&mut fleet), 5);
    fleet.install(weighing(&[1, 1]));
    assert_eq!(next(&mut fleet), 1);
}

#[test]
fn turns_go_on_where_they_were_when_an_endpoint_is_ejected_and_returns() {
    let service = format!("{ROUND_ROBIN}, {DETECTS}");
    let mut fleet = Fleet::new(&service).of(weighing(&[1, 1, 1, 1, 1]));
    fleet.eject(&[3]);
    while next(&mut fleet) != 2 {}
    fleet.tick();
    let turns: Vec<_> = (0..8).map(|_| next(&mut fleet)).collect();
    assert_eq!(turns, [4, 5, 1, 2, 4, 5, 1, 2]);
}

#[test]
fn an_ejected_endpoint_loses_its_turn_before_the_next_tick() {
    let service = format!("{ROUND_ROBIN}, {DETECTS}");
    let mut fleet = Fleet::new(&service).of(weighing(&[1, 1, 1, 1, 1]));
    fleet.eject(&[3]);
    let seen = fleet.count(400, 5);
    assert_eq!(seen, [100, 100, 0, 100, 100]);
}

#[test]
fn turns_start_at_another_place_in_every_worker() {
    let mut seen = [false; 4];
    for seed in 0..40 {
        let mut fleet = Fleet::seeded(ROUND_ROBIN, seed).of(weighing(&[1, 1, 1, 1]));
        seen[usize::from(next(&mut fleet)) - 1] = true;
    }
    assert_eq!(seen, [true; 4]);
}

#[test]
fn retries_take_no_turn() {
    let weights = [1, 500, 1, 1];
    let mut fleet = Fleet::new(ROUND_ROBIN).of(weighing(&weights));
    let mut undisturbed = Fleet::new(ROUND_ROBIN).of(weighing(&weights));
    let mut turns = [const { Vec::new() }; 2];
    for _ in 0..503 {
        let mut attempts = fleet.attempts_for(&Hints::default(), 3);
        turns[0].push(attempts[0]);
        turns[1].push(next(&mut undisturbed));
        attempts.sort_unstable();
        assert_eq!(attempts, [1, 2, 3, 4]);
    }
    // Both started at random places, so they are compared by what a period has in all.
    for turns in &mut turns {
        turns.sort_unstable();
    }
    assert_eq!(turns[0], turns[1]);
    assert_eq!(fleet.pool.in_flight(), 0);
}

#[test]
fn versions_take_turns_of_their_own() {
    let service = format!(r#"{ROUND_ROBIN}, "versions": {{ "header": "x-version" }}"#);
    let endpoints = (1..=4).map(|port| of_version(port, if port > 2 { "2.0" } else { "1.0" }));
    let mut fleet = Fleet::new(&service).of(endpoints.chain([at(5)]).collect());
    let named = |name: &str| Hints { version: Some(name.into()), ..Hints::default() };
    let mut seen = [0; 5];
    for _ in 0..50 {
        for hints in [named("1"), named("2.0"), Hints::default()] {
            let ticket = fleet.pick_for(&hints).unwrap();
            seen[usize::from(port(&ticket)) - 1] += 1;
            fleet.end(ticket, Outcome::Success);
        }
    }
    assert_eq!(seen, [35, 35, 35, 35, 10]);
}

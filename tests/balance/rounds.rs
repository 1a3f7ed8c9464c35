//! Round robin: whose turn it is, over a period and beyond.

use consul_resolver::balancer::pick_context::PickContext;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fleet::{Fleet, at, of_version, port, weighing};

proptest! {
    #[test]
    fn everyone_has_exactly_its_weight_over_a_period(
        seed: u64,
        weights in vec(1..=300_u16, 1..=100),
        heavy in proptest::option::of(1_000..=u16::MAX),
        common in 1..=10_u16,
        periods in 1..=3_usize,
    ) {
        // At most 300 × 10 for most, so `common` never makes a weight overflow.
        let weights: Vec<u16> = match heavy {
            Some(heavy) => weights.into_iter().chain([heavy]).collect(),
            None => weights.into_iter().map(|weight| weight * common).collect(),
        };
        let total: usize = weights.iter().map(|&weight| usize::from(weight)).sum();
        let mut fleet = Fleet::seeded(ROUND_ROBIN, seed).of(weighing(&weights));
        let divisor = weights.iter().fold(0, |a, &b| divisor(a, usize::from(b)));
        let wanted: Vec<_> = weights.iter().map(|&weight| usize::from(weight)).collect();
        // Rounds have other orders, and periods other rounds; each period has all of its turns.
        for _ in 0..periods {
            let mut seen = vec![0; weights.len()];
            for _ in 0..total / divisor {
                seen[usize::from(port(&fleet.pick().unwrap())) - 1] += divisor;
            }
            prop_assert_eq!(&seen, &wanted);
        }
    }

    #[test]
    fn nobody_is_ever_far_from_its_share(
        seed: u64,
        weights in vec(1..=300_u16, 2..=20),
        ahead in 0..500_usize,
        count in 1..2_000_u32,
    ) {
        let total: u32 = weights.iter().map(|&weight| u32::from(weight)).sum();
        let mut fleet = Fleet::seeded(ROUND_ROBIN, seed).of(weighing(&weights));
        for _ in 0..ahead {
            drop(fleet.pick());
        }
        let mut seen = vec![0_u32; weights.len()];
        for _ in 0..count {
            seen[usize::from(next(&mut fleet)) - 1] += 1;
        }
        for (&seen, &weight) in seen.iter().zip(&weights) {
            let share = f64::from(count) * f64::from(weight) / f64::from(total);
            // Each of its slots, of which none weighs more than the mean, may be off by a turn at
            // each end, and by one where rounds are longer for the credits of the others.
            let slots = (f64::from(weight) * weights.len() as f64 / f64::from(total)).ceil();
            let off = (f64::from(seen) - share).abs();
            prop_assert!(off <= 3.0 * (slots + 1.0), "{seen} for {share}, of {weight}");
        }
    }
}

const ROUND_ROBIN: &str = r#""load_balancing": { "policy": "round_robin" }"#;

fn divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { divisor(b, a % b) }
}

fn next(fleet: &mut Fleet) -> u16 {
    fleet.port_for(&PickContext::default()).unwrap()
}

#[test]
fn those_who_had_their_turn_wait_when_endpoints_change() {
    for seed in 0..50 {
        let mut fleet = Fleet::seeded(ROUND_ROBIN, seed).of(weighing(&[1, 1, 1, 1, 1]));
        let mut round = vec![next(&mut fleet), next(&mut fleet)];
        fleet.install(weighing(&[1, 1, 1, 1, 1, 1]));
        round.push(next(&mut fleet));
        fleet.install(weighing(&[1, 1, 1, 1, 1, 1, 1]));
        round.extend([next(&mut fleet), next(&mut fleet)]);
        round.sort_unstable();
        round.dedup();
        assert_eq!(round.len(), 5, "seed {seed}: {round:?}");
    }
}

#[test]
fn those_who_had_their_turn_wait_when_the_next_one_is_gone() {
    for seed in 0..50 {
        let mut fleet = Fleet::seeded(ROUND_ROBIN, seed).of(weighing(&[1, 1, 1, 1, 1]));
        let (first, second) = (next(&mut fleet), next(&mut fleet));
        // Who is next goes round in the same way.
        let gone = (second + 5 + second - first - 1) % 5 + 1;
        let mut left = [1; 5];
        left[usize::from(gone) - 1] = 0;
        fleet.install(weighing(&left));
        let mut round = vec![first, second, next(&mut fleet), next(&mut fleet)];
        round.sort_unstable();
        round.dedup();
        assert_eq!(round.len(), 4, "seed {seed}: {round:?} without {gone}");
    }
}

#[test]
fn turns_are_even_however_often_endpoints_change() {
    const SEED: u64 = 4;
    let mut fleet = Fleet::seeded(ROUND_ROBIN, SEED).of(weighing(&[1; 6]));
    let mut seen = [0; 6];
    for n in 0..12_000 {
        // The last one comes and goes after every second request.
        fleet.install(weighing(if n % 4 < 2 { &[1; 6] } else { &[1; 5] }));
        seen[usize::from(next(&mut fleet)) - 1] += 1;
    }
    let (least, most) = (seen[..5].iter().min(), seen[..5].iter().max());
    assert!(most.unwrap() - least.unwrap() < 150, "seed {SEED}: {seen:?}");
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
        let mut attempts = fleet.attempts_for(&PickContext::default(), 3);
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
    let named = |name: &str| PickContext { version: Some(name.into()), ..PickContext::default() };
    let mut seen = [0; 5];
    for _ in 0..50 {
        for hints in [named("1"), named("2.0"), PickContext::default()] {
            seen[usize::from(fleet.port_for(&hints).unwrap()) - 1] += 1;
        }
    }
    assert_eq!(seen, [35, 35, 35, 35, 10]);
}

/// How often each port has the second of two requests, the first of which ends at once.
fn every_second(fleet: &mut Fleet, requests: u32, ports: usize) -> Vec<u32> {
    let mut seen = vec![0; ports];
    for _ in 0..requests {
        drop(fleet.pick());
        seen[usize::from(next(fleet)) - 1] += 1;
    }
    seen
}

#[test]
fn turns_stay_even_when_every_second_request_is_answered_before() {
    for weights in [&[1, 1][..], &[1; 4], &[3, 1], &[9, 1], &[5, 3, 1, 1], &[65_535, 65_534]] {
        for seed in 0..5 {
            let mut fleet = Fleet::seeded(ROUND_ROBIN, seed).of(weighing(weights));
            let seen = every_second(&mut fleet, 20_000, weights.len());
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            for (&seen, &weight) in seen.iter().zip(weights) {
                let share = f64::from(weight) / total;
                let off = (f64::from(seen) / 20_000.0 - share).abs() / share;
                assert!(off < 0.1, "{weights:?}, seed {seed}: {seen} of 20,000 for {share}");
            }
        }
    }
}

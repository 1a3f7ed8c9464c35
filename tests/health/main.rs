//! A process whose VMs probe the endpoints of a service: one of them for all, at a bounded rate,
//! whichever of them dies or stands still, and between any two steps of the others.

#![cfg(not(target_family = "wasm"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod process;

use std::collections::BTreeSet;

use consul_resolver::rng::Rng;
use consul_resolver::shared::head::Term;

use crate::process::Process;

#[test]
fn one_vm_probes_for_all_and_all_go_by_it_within_moments() {
    let mut process = Process::new(4, 40, "", 1);
    process.run(6);
    process.take_probes();
    process.run(20);
    let (_, probes) = process.take_probes();
    assert_eq!(probes.len(), 4 * 40, "each once in its interval");
    assert_eq!(process.fetchers(), [0]);
    process.set_sick([3, 7, 20]);
    process.run(11);
    process.assert_known();
    process.set_sick([7]);
    process.run(6);
    process.assert_known();
}

#[test]
fn a_thousand_endpoints_make_no_burst_and_their_failure_few_lines() {
    let mut process = Process::new(3, 1_000, r#", "max_per_second": 10000"#, 2);
    process.run(60);
    let (most, probes) = process.take_probes();
    assert!(most <= 90, "{most} probes in a tick");
    assert!(probes.len() > 10_000);
    process.world.notices.clear();
    let before = process.world.stores;
    process.set_sick(0..400);
    process.run(11);
    process.assert_known();
    let lines = process.world.notices.len();
    assert!(lines <= 44, "{lines} lines in eleven seconds: {:?}", process.world.notices);
    assert!(process.world.stores - before <= 44 + 30);
}

#[test]
fn ten_thousand_endpoints_are_probed_in_turn_at_the_configured_rate() {
    let mut process = Process::new(2, 10_000, "", 3);
    process.run(2);
    process.take_probes();
    process.run(100);
    let (most, probes) = process.take_probes();
    assert!(most <= 26, "{most} probes in a tick");
    assert!((9_950..=10_050).contains(&probes.len()), "{}", probes.len());
    let each: BTreeSet<_> = probes.iter().collect();
    assert!(each.len() > 9_800, "{}", each.len());
}

#[test]
fn what_is_known_outlives_the_vm_that_found_it_out() {
    let mut process = Process::new(3, 40, r#", "healthy_threshold": 100"#, 4);
    process.run(6);
    process.set_sick([3, 7]);
    process.run(11);
    process.assert_known();
    // They answer again, but have not for long enough.
    process.world.sick.clear();
    process.vms[0].is_alive = false;
    for _ in 0..20 {
        process.run(1);
        process.assert_known();
    }
    assert_eq!(process.fetchers().len(), 1);
    assert!(process.world.findings.term > Term(1));
}

#[test]
fn one_that_stood_still_writes_nothing_over_what_its_successor_has_found_out() {
    let mut process = Process::new(3, 40, "", 5);
    process.run(6);
    process.set_sick([3]);
    process.run(11);
    process.assert_known();
    process.vms[0].is_frozen = true;
    process.run(5);
    let successors = process.fetchers();
    assert_eq!(successors.len(), 1);
    process.set_sick([9]);
    process.run(11);
    process.vms[0].is_frozen = false;
    for _ in 0..10 {
        process.run(1);
        process.assert_known();
    }
}

#[test]
fn whatever_dies_or_stands_still_between_any_two_steps_all_know_in_the_end() {
    for seed in 0..60 {
        let mut process = Process::new(4, 24, r#", "interval": "2s""#, 1_000 + seed);
        process.world.lost = 3;
        let mut chaos = Rng::new(seed);
        let mut dead = 0;
        process.run_disturbed(40, |process| {
            if chaos.below(400) > 0 {
                return;
            }
            let victim = chaos.below(4) as usize;
            match chaos.below(4) {
                0 if dead < 2 && process.vms[victim].is_alive => {
                    process.vms[victim].is_alive = false;
                    dead += 1;
                }
                1 => process.vms[victim].is_frozen = true,
                2 => {
                    let first = chaos.below(24);
                    process.set_sick((first..first + 6).map(|n| n % 24));
                }
                _ => process.vms.iter_mut().for_each(|vm| vm.is_frozen = false),
            }
        });
        process.world.lost = 0;
        process.vms.iter_mut().for_each(|vm| vm.is_frozen = false);
        process.run(20);
        assert_eq!(process.fetchers().len(), 1, "seed {seed}");
        println!("seed {seed}");
        process.assert_known();
    }
}

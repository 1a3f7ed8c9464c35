//! A deterministic simulation: several VMs of one process run the real state machines against
//! shared data, queues and a Consul agent that are simulated, one command at a time, in an
//! order that one seed decides.
//!
//! `SIM_SEEDS=1000` runs more seeds than usual, `SIM_SEED=17` only that one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod consul;
mod shared;
mod vm;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use world::{Faults, World};

/// Runs a scenario for many seeds; the seed of a failure is printed.
fn for_seeds(scenario: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(40),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| scenario(seed))) {
            eprintln!("failed with seed {seed}; to repeat it: SIM_SEED={seed}");
            resume_unwind(panic);
        }
    }
}

fn vms(seed: u64) -> usize {
    2 + (seed % 4) as usize
}

#[test]
fn without_faults_every_vm_ends_with_consuls_state_and_one_query_blocks_for_each_service() {
    for_seeds(|seed| {
        let mut world = World::new(seed, vms(seed));
        world.run(20_000, Faults::None, true);
        world.run(20_000, Faults::None, false);
        world.check_settled();
        world.check_converged();
        world.end_requests();
        world.check_nothing_in_flight();
    });
}

#[test]
fn after_faults_every_vm_ends_with_consuls_state_and_one_query_blocks_for_each_service() {
    for_seeds(|seed| {
        let mut world = World::new(seed, vms(seed));
        world.run(40_000, Faults::All, true);
        world.heal();
        // The longest backoff, and the longest wait of a query that a deposed fetcher has left.
        world.run(100_000, Faults::None, false);
        world.check_settled();
        world.check_converged();
        world.end_requests();
        world.check_nothing_in_flight();
    });
}

#[test]
fn a_change_reaches_every_vm_within_a_second_when_nothing_is_wrong() {
    for_seeds(|seed| {
        let mut world = World::new(seed, vms(seed));
        world.run(5_000, Faults::None, false);
        // Also right after the start: no query of a VM that fetched for a moment is left behind.
        world.check_settled();
        world.consul.toggle(world::SOURCES[0], 7);
        world.run(1_000, Faults::None, false);
        world.check_converged();
    });
}

#[test]
fn what_nobody_has_watched_for_a_while_is_read_anew_before_it_is_used() {
    for_seeds(|seed| {
        let mut world = World::new(seed, vms(seed));
        world.consul.toggle(world::SOURCES[0], 7);
        world.run(5_000, Faults::None, false);
        world.check_converged();
        world.everyone_leaves();
        world.consul.toggle(world::SOURCES[0], 7);
        world.consul.failing = true;
        world.everyone_comes_back();
        world.run(10_000, Faults::None, false);
        world.check_nothing_is_installed();
        world.heal();
        world.run(40_000, Faults::None, false);
        world.check_converged();
        world.check_settled();
    });
}

#[test]
fn a_followers_suspicion_leads_to_one_extra_query_of_the_fetcher() {
    for_seeds(|seed| {
        let mut world = World::new(seed, vms(seed));
        world.run(5_000, Faults::None, false);
        let plain = |world: &World| world::SOURCES.map(|source| world.consul.plain(source));
        let before = plain(&world);
        world.suspect(1, 1);
        world.run(1_000, Faults::None, false);
        assert_eq!(plain(&world), [before[0], before[1] + 1, before[2]]);
        world.suspect(0, 2);
        world.run(1_000, Faults::None, false);
        assert_eq!(plain(&world), [before[0], before[1] + 1, before[2] + 1]);
        world.check_settled();
    });
}

#[test]
fn a_storm_of_suspicions_leads_to_few_queries_and_few_messages() {
    for_seeds(|seed| {
        let count = vms(seed);
        let mut world = World::new(seed, count);
        world.run(5_000, Faults::None, false);
        let before = world.consul.plain(world::SOURCES[0]);
        for _ in 0..1_000 {
            (0..count).for_each(|vm| world.suspect(vm, 0));
            world.run(20, Faults::None, false);
            assert!(world.longest_queue() <= 2 * count, "{} messages", world.longest_queue());
        }
        // One at once, and one every five seconds.
        let extra = world.consul.plain(world::SOURCES[0]) - before;
        assert!((4..=5).contains(&extra), "{extra} extra queries in 20 s");
        world.check_settled();
    });
}

#[test]
fn a_suspicion_finds_what_the_query_that_blocks_was_not_told() {
    for_seeds(|seed| {
        let mut world = World::new(seed, vms(seed));
        world.consul.toggle(world::SOURCES[0], 7);
        world.run(5_000, Faults::None, false);
        world.consul.deaf = true;
        world.consul.toggle(world::SOURCES[0], 7);
        world.consul.toggle(world::SOURCES[0], 8);
        world.run(1_000, Faults::None, false);
        world.suspect(1, 0);
        world.run(1_000, Faults::None, false);
        world.check_converged();
        world.check_settled();
        world.consul.deaf = false;
        world.run(1_000, Faults::None, false);
        world.check_converged();
        world.check_settled();
    });
}

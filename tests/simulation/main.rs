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
        world.consul.toggle(world::SERVICES[0], 7);
        world.run(1_000, Faults::None, false);
        world.check_converged();
    });
}

#[test]
fn what_nobody_has_watched_for_a_while_is_read_anew_before_it_is_used() {
    for_seeds(|seed| {
        let mut world = World::new(seed, vms(seed));
        world.consul.toggle(world::SERVICES[0], 7);
        world.run(5_000, Faults::None, false);
        world.check_converged();
        world.everyone_leaves();
        world.consul.toggle(world::SERVICES[0], 7);
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

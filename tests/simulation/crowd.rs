//! Hundreds of services and dozens of registrations, so that queues and budgets are full.

use consul_resolver::util::rng::Rng;

use crate::configs::CROWDED;
use crate::neighbours::FRESH;
use crate::plan::Plan;
use crate::seeds::for_seeds;
use crate::sources::{API, CROWD};
use crate::troubles::Trouble;
use crate::world::World;

/// How many of the crowd fail by themselves, for good.
const FAILING: usize = 210;
/// The first ones that do not.
const WELL: [usize; 6] = {
    let first = CROWD.start + FAILING;
    [API, first, first + 8, first + 16, first + 24, first + 32]
};

/// A process of two or three threads whose services are about to change every 200 ms.
fn crowd(seed: u64) -> World {
    let plan = Plan {
        changing: &WELL,
        change_interval: 200_000,
        request_interval: 1_000_000,
        ..Plan::crowded(2 + (seed % 2) as usize, CROWDED)
    };
    let mut world = World::new(plan, Rng::new(seed));
    world.is_gentle = true;
    for source in CROWD.chain([API]) {
        world.replace(source, &[1, 2, 4]);
    }
    world
}

/// The same, most of whose services have failed for long.
fn failing(seed: u64) -> World {
    let mut world = crowd(seed);
    let trouble = [Trouble::Unknown, Trouble::Hidden, Trouble::Filter][seed as usize % 3];
    world.trouble(CROWD.take(FAILING), trouble);
    world.run(30_000);
    world
}

// Promise: R-503
#[test]
fn a_change_is_seen_in_time_beside_hundreds_that_fail() {
    for_seeds(3, |seed| {
        let mut world = failing(seed);
        world.changes = true;
        for _ in 0..160 {
            world.run(250);
            assert_eq!(world.outdated(FRESH), None);
        }
    });
}

// Promise: R-503
#[test]
fn a_report_is_in_time_beside_hundreds_that_fail() {
    for_seeds(3, |seed| {
        let mut world = failing(seed);
        for n in 0..160 {
            if n % 20 == 0 {
                world.consul.registry.stumbles = 1;
            }
            world.run(250);
            assert_eq!(world.critical_while_well(0), None);
        }
    });
}

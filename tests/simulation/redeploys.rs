//! Instances that go, and others that come in their place.

use consul_resolver::util::rng::Rng;

use crate::calm;
use crate::configs::BESIDE;
use crate::plan::Plan;
use crate::seeds::for_seeds;
use crate::sources::{API, GEO, SHOP, SOURCES, ill};
use crate::state::POLLED;
use crate::world::World;

/// How soon what comes is used, in milliseconds: the pace of queries that are answered at once, and the
/// way of the answer to every VM.
const USED: u64 = 1_000 + 250;
/// How long an answer is held that takes all away, and a consistent read that says the same, in
/// milliseconds.
const HELD: u64 = 30_000 + 6_000;

/// A process of the usual kind, with all kinds of services.
fn settled(seed: u64, config: usize) -> World {
    let plan = Plan { listeners: vec![config], ..Plan::crowded(2 + (seed % 3) as usize, config) };
    let mut world = World::new(plan, Rng::new(seed));
    world.replace(API, &[1]);
    world.replace(GEO, &[1, 2]);
    world.run(8_000);
    world.check_converged();
    world
}

impl World {
    /// Who does not have an endpoint of a source, if anyone.
    fn lacks(&self, source: usize, port: u16) -> Option<String> {
        self.contexts().find_map(|(_, context)| {
            let record = context.tracker(source)?.installed();
            let ports = record.map(|it| crate::checks::ports(&it.snapshot, source));
            let lacks = !ports.as_ref().is_some_and(|ports| ports.contains(&port));
            lacks.then(|| format!("{:?} has {ports:?} of {}", context.id, SOURCES[source]))
        })
    }
}

// Promise: R-505
#[test]
fn instance_is_used_at_once_when_the_last_one_has_gone() {
    for_seeds(30, |seed| {
        let mut world = settled(seed, BESIDE);
        world.empty(API);
        world.run(50);
        world.replace(API, &[2]);
        world.run(USED);
        assert_eq!(world.lacks(API, 2), None);
    });
}

// Promise: R-505
#[test]
fn instance_is_used_at_once_when_the_last_was_unusable() {
    for_seeds(30, |seed| {
        let mut world = settled(seed, BESIDE);
        world.replace(API, &[[11, 12][seed as usize % 2]]);
        world.run(15_000 + seed * 300);
        world.replace(API, &[2]);
        world.run(USED);
        assert_eq!(world.lacks(API, 2), None);
    });
}

// Promise: R-505
#[test]
fn instances_that_nobody_can_reach_are_believed_in_the_end() {
    for_seeds(30, |seed| {
        let mut world = settled(seed, BESIDE);
        world.replace(API, &[11, 12]);
        world.run(20_000);
        assert_eq!(world.lacks(API, 1), None, "not at once");
        world.run(HELD - 20_000);
        world.check_converged();
    });
}

// Promise: R-505
#[test]
fn critical_instances_of_a_query_are_used_no_longer() {
    for_seeds(30, |seed| {
        let mut world = settled(seed, BESIDE);
        world.replace(GEO, &[ill(1), ill(2)]);
        world.run(POLLED / 1_000 + USED);
        world.check_converged();
    });
}

// Promise: R-505
#[test]
fn outputs_that_are_rewritten_keep_no_instance_waiting() {
    for_seeds(20, |seed| {
        let mut world = calm(seed);
        world.change_to(crate::configs::ASKS);
        world.run(12_000);
        // Its only instance is critical, and the output of its check changes all the time.
        world.replace(SHOP, &[3]);
        for _ in 0..80 {
            world.run(500);
            world.touch(SHOP);
        }
        world.run(seed % 4 * 100);
        world.replace(SHOP, &[4]);
        world.run(USED);
        assert_eq!(world.lacks(SHOP, 4), None);
    });
}

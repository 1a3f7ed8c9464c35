//! An agent that refuses to register anything.

use crate::registry::EDGE;
use crate::seeds::for_seeds;
use crate::world::World;
use crate::{await_none, calm};

/// The most calls about one registration within a minute, once it has been refused for one.
const MOST_CALLS: usize = 6;
/// How long it may take until what was refused is registered, once it is not any more, in
/// milliseconds: it is tried every few minutes.
const ACCEPTED: u64 = 360_000;

// Promise: R-707
#[test]
fn registration_is_retried_in_minutes_when_it_is_refused() {
    for_seeds(20, |seed| {
        let mut world = calm(seed);
        world.consul.registry.refuses = Some([403, 400][seed as usize % 2]);
        world.change_to(1);
        world.run(60_000);
        for _ in 0..4 {
            world.run(60_000);
            let (calls, _) = world.consul.registry.calls(world.now);
            assert!(calls <= MOST_CALLS, "{calls} calls about what is refused within a minute");
        }
        world.consul.registry.refuses = None;
        await_none(&mut world, ACCEPTED, World::unregistered);
    });
}

// Promise: R-707
#[test]
fn checks_are_reported_when_a_change_is_refused() {
    for_seeds(20, |seed| {
        let mut world = calm(seed);
        world.change_to(1);
        await_none(&mut world, 12_000, World::unregistered);
        world.consul.registry.refuses = Some([403, 400][seed as usize % 2]);
        // Its version changes, which the agent does not take.
        world.change_to(2);
        for _ in 0..240 {
            world.run(500);
            let status = world.consul.registry.get(EDGE, world.now).and_then(|it| it.status);
            assert_eq!(status, Some("passing"), "it is well, and stands as it did");
        }
    });
}

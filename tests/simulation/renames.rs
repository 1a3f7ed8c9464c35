//! Consul's cluster is given another name, and its agent stays what it is.

use consul_resolver::util::rng::Rng;

use crate::await_none;
use crate::configs::{FIRST_NAME, SECOND_NAME, SECOND_NAME_LESS};
use crate::plan::Plan;
use crate::seeds::for_seeds;
use crate::world::World;

/// How long it may take until what no configuration has any more is removed, in milliseconds: an old
/// configuration ends within ten seconds, its charge is nobody's for five, and then come a look at the
/// book, a call and a tick.
const REMOVED: u64 = 10_000 + 12_000 + 5_000 + 6_000;

/// A process that registers two services, by the first name of the cluster.
fn named(seed: u64) -> World {
    let threads = 2 + (seed % 3) as usize;
    let plan = Plan { listeners: vec![FIRST_NAME], ..Plan::calm(threads) };
    let mut world = World::new(plan, Rng::new(seed));
    await_none(&mut world, 12_000, World::unregistered);
    world
}

// Promise: R-708
#[test]
fn registration_is_removed_when_it_leaves_with_a_rename() {
    for_seeds(20, |seed| {
        let mut world = named(seed);
        world.change_to(SECOND_NAME_LESS);
        await_none(&mut world, REMOVED, World::unregistered);
        world.run(60_000);
        assert_eq!(world.unregistered(), None);
    });
}

// Promise: R-708
#[test]
fn registration_is_removed_when_it_leaves_after_a_rename() {
    for_seeds(20, |seed| {
        let mut world = named(seed);
        world.change_to(SECOND_NAME);
        world.run(60_000);
        assert_eq!(world.unregistered(), None, "it is wanted by the other name");
        world.change_to(SECOND_NAME_LESS);
        await_none(&mut world, REMOVED, World::unregistered);
    });
}

//! A process that stands still for a while, as by SIGSTOP: its clocks go on, and so do all others.

use consul_resolver::util::rng::Rng;

use crate::calm;
use crate::configs::EXPIRES;
use crate::plan::Plan;
use crate::registry::EDGE;
use crate::seeds::for_seeds;
use crate::sources::{API, DB};
use crate::world::World;
use crate::{await_none, weather};

const SECOND: u64 = 1_000_000;

/// Lets the process stand still, for longer than any TTL and any hold.
fn stop(world: &mut World) {
    world.stop(60 * SECOND);
    world.run(60_000);
}

// Promise: R-506
#[test]
fn check_passes_after_a_stop_only_when_its_probe_has() {
    for_seeds(50, |seed| {
        let mut world = calm(seed);
        world.change_to(1);
        await_none(&mut world, 12_000, World::unregistered);
        world.run(seed % 10 * 500);
        // What follows is held against what was heard, by `Hearing`.
        stop(&mut world);
        world.run(2_000);
        await_none(&mut world, 20_000, World::unregistered);
        stop(&mut world);
        world.consul.registry.set_well(false, world.now);
        for _ in 0..200 {
            world.run(100);
            let found = world.consul.registry.get(EDGE, world.now);
            let status = found.and_then(|found| found.status);
            assert_eq!(status, Some("critical"), "the service does not answer");
        }
    });
}

// Promise: R-506
#[test]
fn endpoints_are_as_old_after_a_stop_as_they_are() {
    for_seeds(50, |seed| {
        let plan = Plan { listeners: vec![EXPIRES], ..Plan::calm(2 + (seed % 3) as usize) };
        let mut world = World::new(plan, Rng::new(seed));
        [API, DB].into_iter().for_each(|source| world.replace(source, &[1, 2]));
        world.run(5_000);
        // Requests go on coming, and are held against what was heard, by `Checks`.
        world.stop(200 * SECOND);
        world.run(100_000);
        if seed.is_multiple_of(2) {
            world.kill(0);
        }
        world.consul.weather.failing = Some(weather::Failure::Status(500));
        world.consul.weather.failing_share = 100;
        world.run(130_000);
        world.heal();
        world.run(60_000);
        world.check_converged();
    });
}

// Promise: R-506
#[test]
fn held_response_is_not_used_after_a_stop_unless_confirmed() {
    for_seeds(50, |seed| {
        let mut world = calm(seed);
        (1..=8).for_each(|port| world.toggle(0, port));
        world.run(5_000);
        world.consul.weather.lying = Some(weather::Lie::Empty);
        world.toggle(0, 9);
        world.run(7_000 + seed % 10 * 100);
        world.consul.weather.lying = None;
        stop(&mut world);
        for _ in 0..100 {
            world.run(100);
            for (_, context) in world.contexts() {
                let record = context.tracker(0).and_then(|tracker| tracker.installed());
                let count = record.map_or(0, |record| record.snapshot.len());
                assert!(count > 0, "{:?} believes what it could have asked about", context.id);
            }
        }
        world.check_converged();
    });
}

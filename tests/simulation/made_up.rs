//! Names that clients make up, and what configured services and names that there are have of them.

use consul_resolver::util::rng::Rng;

use crate::configs::NAMES_BESIDE;
use crate::plan::Plan;
use crate::seeds::for_seeds;
use crate::sources::{API, CROWD, DB, MADE_UP, SOURCES, host_of};
use crate::troubles::Trouble;
use crate::vm::Mail;
use crate::world::World;

/// How soon a name is resolved that there is, in milliseconds, where a client asks for it again every
/// second.
const RESOLVED: u64 = 10_000;

/// How many names there are among those that are asked for.
const REAL: usize = 40;

/// A process that resolves names beside two services; Consul knows none of those that are made up.
fn naming(seed: u64) -> World {
    let plan = Plan {
        sources: SOURCES.len(),
        changing: &[API, DB],
        change_interval: 5_000_000,
        ..Plan::crowded(2 + (seed % 3) as usize, NAMES_BESIDE)
    };
    let mut world = World::new(plan, Rng::new(seed));
    world.is_gentle = true;
    for source in MADE_UP {
        let is_query = source > MADE_UP.start;
        world.trouble([source], if is_query { Trouble::Unknown } else { Trouble::Datacenter });
    }
    for source in [API, DB].into_iter().chain(CROWD.take(REAL)) {
        world.replace(source, &[1, 2, 4]);
    }
    world.run(10_000);
    world
}

/// A request comes to a worker for the name of a source.
fn request(world: &mut World, source: usize) {
    let thread = 1 + world.rng.below(world.vms.len() as u32 - 1) as usize;
    let id = world.vms[thread].contexts[0].id;
    world.post(id, Mail::Host(host_of(source)));
}

/// Requests come for so long, in milliseconds: every two seconds for a datacenter that nobody knows,
/// and ten a second for prepared queries that there are not, each again after half a minute.
fn flood(world: &mut World, milliseconds: u64) {
    for n in 0..milliseconds / 100 {
        let step = world.now / 100_000;
        if step.is_multiple_of(20) {
            request(world, MADE_UP.start);
        }
        let queries = MADE_UP.len() - 1;
        request(world, MADE_UP.start + 1 + step as usize % queries);
        match n % 3 {
            2 => world.run_isolated(250),
            _ => world.run(50 - 25 * (n % 2)),
        }
    }
}

// Promise: R-504
#[test]
fn made_up_names_keep_no_configured_service_waiting() {
    for_seeds(6, |seed| {
        let mut world = naming(seed);
        world.changes = true;
        flood(&mut world, 90_000);
        assert_eq!(world.checks.opened, Vec::<String>::new(), "nobody has configured them");
    });
}

// Promise: R-504
#[test]
fn a_name_that_there_is_is_resolved_among_made_up_ones() {
    for_seeds(4, |seed| {
        let mut world = naming(seed);
        // By now each of them has been taken in once.
        flood(&mut world, 200_000);
        let mut waiting: Vec<(usize, u64)> = Vec::new();
        for source in CROWD.take(REAL) {
            waiting.push((source, world.now));
            flood(&mut world, 1_000);
            for (source, since) in std::mem::take(&mut waiting) {
                request(&mut world, source);
                world.run(10);
                let mut followers = world.contexts().filter_map(|(_, it)| it.tracker(source));
                if followers.all(|it| it.installed().is_none()) {
                    let waited = (world.now - since) / 1_000;
                    let name = &SOURCES[source];
                    assert!(waited <= RESOLVED, "{name} is not resolved after {waited} ms");
                    waiting.push((source, since));
                }
            }
        }
    });
}

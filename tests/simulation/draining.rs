//! What a registration says while Envoy drains, or while nobody says whether it does.

use crate::admin::SILENCES;
use crate::configs::ASKS;
use crate::finding::ENDED;
use crate::plan::Plan;
use crate::registering::REGISTERED;
use crate::registry::DRAINS;
use crate::seeds::for_seeds;
use crate::sources::SHOP;
use crate::world::World;
use crate::{NEW_PORT, STALENESS, await_none, chaos_by};

/// How soon the agent knows that Envoy drains, or drains no more, where nothing else is wrong, in
/// milliseconds: a probe every second, sent at a tick, answered within moments, and reported at once.
const DRAINED: u64 = 1_000 + 250 + 250;

/// The same after the end of all faults: the lease may still go to a more suitable VM, which looks at
/// what the agent has, and asks.
const DRAINED_AFTER_FAULTS: u64 = DRAINED + 12_000;

/// A process that registers `gate-1`.
fn draining(seed: u64) -> World {
    let mut world = crate::calm(seed);
    world.change_to(ASKS);
    world
}

/// Checks that are not said to pass, or nobody has said anything of for longer than their TTL.
fn not_passing(world: &World) -> Option<String> {
    let reports = world.reports(DRAINS);
    let is_passing = reports.len() == 2 && reports.iter().all(|it| *it == Some("passing"));
    (!is_passing).then(|| format!("{reports:?}"))
}

#[test]
fn agent_knows_whether_envoy_drains_whatever_went_wrong() {
    for_seeds(500, |seed| {
        let mut world = chaos_by(Plan::draw_draining, seed);
        world.heal();
        await_none(&mut world, STALENESS, World::unlike_consul);
        await_none(&mut world, REGISTERED, World::unregistered);
        // A configuration that is in use no longer gives its leases away.
        world.run(ENDED);
        let amiss = |world: &World| world.unlike_consul().or_else(|| world.unsettled());
        await_none(&mut world, STALENESS, amiss);
        world.admin.drains ^= true;
        await_none(&mut world, DRAINED_AFTER_FAULTS, World::unregistered);
        world.toggle(SHOP, NEW_PORT);
        world.run(crate::PACED);
        world.check_converged();
        // Between two queries none is out.
        await_none(&mut world, crate::PACED, amiss);
        world.check_settled();
        world.checks.check_calls();
        world.check_nothing_stays_in_flight();
    });
}

#[test]
fn equal_seeds_are_equal_worlds_where_envoy_drains_too() {
    for_seeds(10, |seed| {
        let trace = |seed| chaos_by(Plan::draw_draining, seed).trace;
        assert_eq!(trace(seed), trace(seed), "the same twice");
    });
}

// Promise: R-704
#[test]
fn checks_are_critical_while_envoy_drains_and_pass_after() {
    for_seeds(50, |seed| {
        let mut world = draining(seed);
        await_none(&mut world, 12_000, World::unregistered);
        for drains in [true, false] {
            world.admin.drains = drains;
            await_none(&mut world, DRAINED, World::unregistered);
            for _ in 0..60 {
                world.run(1_000);
                assert_eq!(world.unregistered(), None);
            }
        }
    });
}

// Promise: R-704
#[test]
fn checks_stay_as_they_are_when_the_admin_is_unreachable() {
    for_seeds(100, |seed| {
        let mut world = draining(seed);
        let silence = SILENCES[seed as usize / 2 % SILENCES.len()];
        // From the start, or later.
        if seed.is_multiple_of(2) {
            await_none(&mut world, 12_000, World::unregistered);
        }
        world.admin.silence = Some(silence);
        await_none(&mut world, 12_000, not_passing);
        world.admin.drains = true;
        for _ in 0..30 {
            world.run(1_000);
            assert_eq!(not_passing(&world), None);
        }
        // A probe that was lost is given up first.
        world.admin.silence = None;
        await_none(&mut world, DRAINED + 3_250, World::unregistered);
        // It was said last.
        world.admin.silence = Some(silence);
        for _ in 0..30 {
            world.run(1_000);
            assert_eq!(world.unregistered(), None);
        }
        // To whoever takes over it was never said.
        world.kill(0);
        await_none(&mut world, 12_000, not_passing);
    });
}

// Promise: R-704
#[test]
fn new_leader_never_reports_passing_when_envoy_drains() {
    for_seeds(50, |seed| {
        let mut world = draining(seed);
        await_none(&mut world, 12_000, World::unregistered);
        world.admin.drains = true;
        await_none(&mut world, DRAINED, World::unregistered);
        world.kill(0);
        for _ in 0..600 {
            world.run(50);
            let reports = world.reports(DRAINS);
            assert!(!reports.contains(&Some("passing")), "{reports:?}");
        }
        assert_eq!(world.unregistered(), None);
    });
}

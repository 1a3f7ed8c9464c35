//! Envoy's own clusters, which know what the filter has installed.

use consul_resolver::util::rng::Rng;
use consul_resolver::xds::resource::ResourceKind;

use crate::configs::{FEEDING_CONFIGS, FEEDS, GENERATES, GENERATING_CONFIGS};
use crate::envoy::Manner;
use crate::plan::{Fault, Plan};
use crate::seeds::for_seeds;
use crate::sources::{API, DB, SERVICES};
use crate::world::World;
use crate::{NEW_PORT, PACED, STALENESS, await_none, chaos_by};

/// What goes wrong between Envoy and the filter, and most of what may go wrong in the process.
const FAULTS: [Fault; 8] = [
    Fault::Break,
    Fault::Forget,
    Fault::Forget,
    Fault::Reject,
    Fault::Death,
    Fault::Freeze,
    Fault::Update,
    Fault::MassExit,
];

/// How long after a change Envoy may not know of it where nothing goes wrong, in milliseconds: a VM
/// knows within a second, and Envoy asks after twice its pause at most.
const TOLD: u64 = 1_000 + 40 + 10;
/// How long what is rejected, or was lost again and again, may be held up, and the way of one more answer.
const HELD_UP: u64 = 60_000 + 5_000;
/// Twenty times as long as Envoy takes to read four answers of 900 endpoints, in milliseconds.
const READ: u64 = 20 * 4 * 900 * 12 / 1_000;
/// How soon subscriptions are answered again whose VM has died, in milliseconds.
const AGAIN: u64 = 3_000;

impl Plan {
    /// A process of so many threads that feeds Envoy's clusters.
    fn feeding(threads: usize, config: usize) -> Self {
        let by_clusters = GENERATING_CONFIGS.contains(&config);
        Self {
            listeners: vec![config],
            configs: if by_clusters { &GENERATING_CONFIGS } else { &FEEDING_CONFIGS },
            changing: &SERVICES,
            envoy: Some(Manner { by_clusters, ..Manner::USUAL }),
            ..Self::calm(threads)
        }
    }

    /// What this generator decides for a process that feeds Envoy's clusters.
    fn draw_feeding(rng: &mut Rng) -> Self {
        let plan = Self::draw(rng);
        let one_of =
            |rng: &mut Rng, choices: &[u64]| choices[rng.below(choices.len() as u32) as usize];
        let by_clusters = rng.below(2) == 0;
        let configs: &[usize] = if by_clusters { &GENERATING_CONFIGS } else { &FEEDING_CONFIGS };
        let mut one = || configs[rng.below(configs.len() as u32) as usize];
        let listeners = plan.listeners.iter().map(|_| one()).collect();
        let mut faults = plan.faults;
        faults.extend(FAULTS.into_iter().filter(|_| rng.below(3) > 0));
        let manner = Manner {
            refresh_delay: one_of(rng, &[20_000, 20_000, 200_000, 1_000_000]),
            request_timeout: one_of(rng, &[60_000_000, 60_000_000, 60_000_000, 1_000_000]),
            by_clusters,
        };
        Self {
            listeners,
            // One at least takes Envoy's requests.
            threads: plan.threads.max(2),
            configs,
            changing: &SERVICES,
            faults,
            named: 0,
            burst: 0,
            envoy: Some(manner),
            ..plan
        }
    }
}

/// A process of the usual kind, whose Envoy knows all that there is.
fn fed(seed: u64, config: usize) -> World {
    let plan = Plan::feeding(2 + (seed % 3) as usize, config);
    let mut world = World::new(plan, Rng::new(seed));
    for source in SERVICES {
        world.replace(source, &[1, 2, 4]);
    }
    world.run(5_000);
    assert_eq!(world.untold(), None);
    world
}

/// The configuration for a seed: endpoints alone, or clusters, too.
const fn either(seed: u64) -> usize {
    if seed.is_multiple_of(2) { FEEDS } else { GENERATES }
}

// Promise: R-302
#[test]
fn envoy_ends_with_consuls_state_whatever_went_wrong() {
    for_seeds(1_000, |seed| {
        let mut world = chaos_by(Plan::draw_feeding, seed);
        world.heal();
        await_none(&mut world, STALENESS, World::unlike_consul);
        // What is rejected stays so, and holds up nothing else.
        await_none(&mut world, STALENESS + HELD_UP, World::untold);
        let changing = world.plan.changing;
        world.toggle(changing[(seed % changing.len() as u64) as usize], NEW_PORT);
        await_none(&mut world, PACED + HELD_UP, World::untold);
        world.stop_rejecting();
        await_none(&mut world, HELD_UP, World::untold);
        world.checks.check_calls();
    });
}

#[test]
fn equal_seeds_have_equal_subscriptions() {
    for_seeds(10, |seed| {
        let trace = |seed| chaos_by(Plan::draw_feeding, seed).trace;
        assert_eq!(trace(seed), trace(seed), "the same twice");
    });
}

// Promise: R-302
#[test]
fn a_change_reaches_envoy_soon_when_nothing_is_wrong() {
    for_seeds(60, |seed| {
        let mut world = fed(seed, either(seed));
        world.run(seed % 7 * 700);
        for port in [7, 8, 7] {
            world.toggle(0, port);
            world.toggle(1, port);
            world.toggle(API, port);
            world.run(TOLD);
            assert_eq!(world.untold(), None);
        }
    });
}

// Promise: R-302
#[test]
fn requests_without_news_are_answered_within_their_hold() {
    for_seeds(10, |seed| {
        // Each answer is held against its bounds, and so is each request that Envoy gives up.
        let mut world = fed(seed, either(seed));
        world.run(150_000);
        assert_eq!(world.untold(), None);
    });
}

// Promise: R-303
#[test]
fn a_rejected_service_delays_no_other_one() {
    for_seeds(60, |seed| {
        let mut world = fed(seed, either(seed));
        world.reject("api");
        for port in 20..50 {
            world.toggle(API, port);
            world.toggle(0, port);
            world.run(TOLD);
            assert_eq!(world.untold(), None);
        }
        world.stop_rejecting();
        await_none(&mut world, HELD_UP, World::untold);
    });
}

// Promise: R-311
#[test]
fn held_subscription_is_answered_soon_when_its_vm_has_trapped() {
    for_seeds(100, |seed| {
        let mut world = fed(seed, either(seed));
        for port in 20..30 {
            // Right after a change, while it is read, installed, and told.
            world.toggle(0, port);
            let way = u64::from(world.rng.below(60));
            world.run(way);
            world.kill_answering();
            await_none(&mut world, AGAIN + TOLD, World::untold);
        }
    });
}

// Promise: R-302
#[test]
fn envoy_keeps_its_endpoints_while_listeners_are_updated() {
    for_seeds(60, |seed| {
        let mut world = fed(seed, FEEDS);
        for _ in 0..4 {
            world.update_to(FEEDS + (seed % 2) as usize);
            for _ in 0..100 {
                world.run(50);
                let healthy = world.endpoints_of("web");
                assert!(healthy >= 6, "Envoy is left with {healthy} endpoints");
            }
            world.toggle(0, 8);
            world.run(TOLD + 3_000);
            world.toggle(0, 8);
        }
    });
}

// Promise: R-305
#[test]
fn the_newest_state_of_a_large_service_is_told_last() {
    for_seeds(8, |seed| {
        let mut world = fed(seed, 28);
        let many: Vec<u16> = (101..=999).collect();
        world.replace(DB, &many);
        // Four clusters have it, so that Envoy is busy for longer.
        (0..3).for_each(|_| world.subscribe("db"));
        world.run(4_000);
        assert_eq!(world.untold(), None);
        for port in 1..=8 {
            world.toggle(DB, port);
            // While Envoy reads what it was just told.
            world.run(250 + seed * 20);
            world.toggle(DB, port + 12);
            world.run(TOLD + READ);
            assert_eq!(world.untold(), None);
        }
    });
}

// Promise: R-302
#[test]
fn clusters_come_and_go_with_what_the_catalog_lists() {
    for_seeds(30, |seed| {
        let mut world = fed(seed, 31);
        let count = |world: &World| world.subscriptions(ResourceKind::Endpoints);
        // Three that are configured, and three that are found.
        assert_eq!(count(&world), 6);
        world.empty(crate::sources::MAIL);
        world.run(20_000);
        assert_eq!(count(&world), 6, "it may come back");
        // Its answer is doubted, and then it has its grace.
        await_none(&mut world, 60_000, World::untold);
        assert_eq!(count(&world), 5);
        assert!(!world.is_acknowledged("mail"), "a pick would find no cluster");
        world.replace(crate::sources::MAIL, &[1]);
        world.run(TOLD + 1_000);
        assert_eq!((count(&world), world.untold()), (6, None));
        world.run(TOLD);
        assert!(world.is_acknowledged("mail"));
    });
}

//! Services that are found while running, and forgotten again.

use consul_resolver::util::rng::Rng;

use crate::clock::Clock;
use crate::configs::{BOTH, DISCOVERS, NAMES, ONE_FOR_THE_FOUND, SHORT_NAMES, TWO_WATCHES};
use crate::plan::Plan;
use crate::seeds::for_seeds;
use crate::sources::{CACHE, DB, MAIL, NOBODY, SOURCES, USUAL};
use crate::vm::Mail;
use crate::world::World;
use crate::{HELD, await_none};

/// How long anyone keeps what nobody wants, in milliseconds: a worker says for the last time that a
/// request came after a third of the longest `idle_timeout`, and whoever hears of it keeps a name
/// that Consul does not know for 30 seconds from then; that is longer than any `idle_timeout`, and
/// as long as what the catalog no longer lists is kept. And a second for all that.
const KEPT: u64 = 10_000 / 3 + 30_000 + 1_000;

/// Longer than anyone waits before asking again of itself, in milliseconds.
const POLLED_TWICE: u64 = 15_000;

/// How long a configuration that is in use no longer may be there all the same, in milliseconds.
pub const ENDED: u64 = 11_000;

/// Checks that once no request comes for a name any more, every VM forgets it, and what the catalog
/// does not list; that whoever fetched it last leaves nothing behind; and that nobody asks on.
pub fn check_that_nobody_keeps_what_nobody_wants(world: &mut World) {
    // A configuration that is in use no longer may be there until then, and gives its leases away.
    let drained = world.now + ENDED * 1_000;
    await_none(world, HELD, |world| match world.now < drained {
        true => Some("not yet".to_owned()),
        false => world.unsettled(),
    });
    let before = world.followed();
    world.names = false;
    await_none(world, KEPT, World::lingering);
    world.check_converged();
    let kept = world.followed();
    let forgotten: Vec<usize> = before.difference(&kept).copied().collect();
    for source in &forgotten {
        assert_eq!(world.left_behind(*source), None);
    }
    let asked =
        |world: &World| forgotten.iter().map(|n| world.consul.asked(*n)).collect::<Vec<_>>();
    let last = asked(world);
    world.run(POLLED_TWICE);
    assert_eq!(asked(world), last, "what nobody wants is asked for");
}

/// A process to which nothing happens by itself, with a configuration.
fn calm(seed: u64, config: usize) -> World {
    let plan = Plan { listeners: vec![config], ..Plan::calm(2 + (seed % 4) as usize) };
    let mut world = World::new(plan, Rng::new(seed));
    // Every VM has looked for the others twice: at first it may have been there alone.
    world.run(7_000);
    world
}

/// A request comes to a worker for one of the hosts.
fn request(world: &mut World, thread: usize, host: usize) {
    let id = world.vms[thread].contexts[0].id;
    world.post(id, Mail::Named(host));
}

/// The threads whose VM follows a source.
fn followers(world: &World, source: usize) -> Vec<usize> {
    let with_source = world.contexts().filter(|(_, context)| context.tracker(source).is_some());
    with_source.map(|(_, context)| context.id.thread).collect()
}

/// Checks that it is clear who fetches, but for a moment between two queries.
fn settle(world: &mut World) {
    await_none(world, 500, World::unsettled);
}

// Promise: R-211
#[test]
fn a_name_is_asked_for_once_for_all_vms_and_forgotten_by_all() {
    for_seeds(50, |seed| {
        let mut world = calm(seed, NAMES);
        world.toggle(CACHE, 7);
        let threads = world.vms.len();
        for thread in 1..threads {
            request(&mut world, thread, 0);
            world.run(10);
        }
        world.run(1_000);
        assert_eq!(followers(&world, CACHE), (0..threads).collect::<Vec<_>>());
        world.check_converged();
        settle(&mut world);
        assert_eq!(world.consul.plain(CACHE), 1, "one VM has read it");
        world.run(8_500);
        assert_eq!(followers(&world, CACHE).len(), threads, "it may be asked for again");
        world.run(5_000);
        assert!(followers(&world, CACHE).is_empty());
        assert_eq!(world.left_behind(CACHE), None);
        let asked = world.consul.asked(CACHE);
        world.run(20_000);
        assert_eq!(world.consul.asked(CACHE), asked);
    });
}

#[test]
fn a_name_that_consul_does_not_know_is_polled_for_a_while() {
    for_seeds(50, |seed| {
        let mut world = calm(seed, NAMES);
        request(&mut world, 1, 3);
        world.run(1_000);
        assert_eq!(followers(&world, NOBODY), [0, 1]);
        settle(&mut world);
        assert_eq!(world.consul.blocking(NOBODY), []);
        world.run(33_000);
        assert!(followers(&world, NOBODY).is_empty());
        let (asked, _) = world.consul.asked(NOBODY);
        assert!((5..=8).contains(&asked), "{asked} times");
        assert_eq!(world.left_behind(NOBODY), None);
    });
}

#[test]
fn service_stays_when_a_name_expires_and_it_is_configured() {
    for_seeds(50, |seed| {
        let mut world = calm(seed, NAMES);
        world.toggle(DB, 7);
        request(&mut world, 1, 1);
        world.run(1_000);
        // Its configuration has the service, too, and for good.
        world.listeners.push(5);
        (0..world.vms.len()).for_each(|thread| world.configure(thread, 5));
        world.run(20_000);
        settle(&mut world);
        world.check_converged();
        assert_eq!(followers(&world, DB).len(), world.vms.len(), "by configuration alone");
    });
}

// Promise: R-603
#[test]
fn record_stays_when_a_successor_has_published_it() {
    for_seeds(50, |seed| {
        let mut world = calm(seed, SHORT_NAMES);
        // The main thread's VM forgets sooner than the one that hears the requests.
        world.vms[0].clock.set_rate(Clock::RATES.1, world.now);
        world.vms[1].clock.set_rate(Clock::RATES.0, world.now);
        world.plan.interrupted = 1;
        request(&mut world, 1, 0);
        // Both places of the records are in use.
        (1..4).for_each(|port| {
            world.toggle(CACHE, port);
            world.run(100);
        });
        let is_parting = |world: &World| world.head(CACHE).is_some_and(|h| h.published.is_none());
        for _ in 0..6_000 {
            if is_parting(&world) {
                break;
            }
            world.run(1);
        }
        assert!(is_parting(&world) && world.left_behind(CACHE).is_some(), "it is about to");
        world.vms[0].frozen_until = world.now + 1_500_000;
        request(&mut world, 1, 0);
        world.run(1_000);
        assert!(!is_parting(&world), "there is a successor");
        request(&mut world, 1, 0);
        world.run(1_000);
        world.check_converged();
        assert!(followers(&world, CACHE).contains(&1));
    });
}

// Promise: R-211
#[test]
fn catalog_service_stays_for_its_grace_when_it_is_delisted() {
    for_seeds(50, |seed| {
        let mut world = calm(seed, DISCOVERS);
        world.toggle(CACHE, 7);
        world.toggle(MAIL, 7);
        world.run(16_000);
        world.check_converged();
        settle(&mut world);
        let all: Vec<usize> = (0..world.vms.len()).collect();
        assert_eq!(followers(&world, MAIL), all);
        world.empty(MAIL);
        world.run(29_000);
        assert_eq!(followers(&world, MAIL), all, "it may come back");
        world.run(3_000);
        assert!(followers(&world, MAIL).is_empty());
        assert_eq!(world.left_behind(MAIL), None);
        world.toggle(MAIL, 8);
        world.run(2_000);
        assert_eq!(followers(&world, MAIL), all);
        world.check_converged();
        settle(&mut world);
    });
}

#[test]
fn service_is_followed_until_neither_listed_nor_named() {
    for_seeds(50, |seed| {
        let mut world = calm(seed, BOTH);
        world.toggle(CACHE, 7);
        world.toggle(MAIL, 7);
        world.run(16_000);
        let all: Vec<usize> = (0..world.vms.len()).collect();
        assert_eq!(followers(&world, CACHE), all);
        request(&mut world, 1, 0);
        world.run(5_000);
        assert_eq!(followers(&world, CACHE), all, "nobody asks for it, and it is listed");
        world.check_converged();
        settle(&mut world);
        world.empty(CACHE);
        world.run(32_000);
        assert!(followers(&world, CACHE).is_empty());
        assert_eq!(world.left_behind(CACHE), None);
    });
}

// Promise: R-405
#[test]
fn source_is_polled_when_no_watch_slot_is_free() {
    for_seeds(50, |seed| {
        let mut world = calm(seed, TWO_WATCHES);
        settle(&mut world);
        let watched = (0..USUAL).filter(|source| !world.consul.blocking(*source).is_empty());
        assert_eq!(watched.count(), 2);
        world.plan.changing.iter().for_each(|source| world.toggle(*source, 7));
        world.run(6_000);
        world.check_converged();
        settle(&mut world);
    });
}

/// Checks that a query blocks on a source, but for a moment between two queries.
fn await_watched(world: &mut World, source: usize) {
    await_none(world, 500, |world| match world.consul.blocking(source).len() {
        1 => None,
        queries => Some(format!("{queries} queries block on {}", SOURCES[source])),
    });
}

/// A request comes every second, for so many seconds.
fn ask_for_cache(world: &mut World, seconds: usize) {
    for _ in 0..seconds {
        request(world, 1, 0);
        world.run(1_000);
    }
}

#[test]
fn name_gives_up_its_watch_slot_when_its_endpoints_are_gone() {
    for_seeds(20, |seed| {
        let mut world = calm(seed, ONE_FOR_THE_FOUND);
        ask_for_cache(&mut world, 1);
        world.toggle(CACHE, 7);
        ask_for_cache(&mut world, 7);
        // It is there, and has the last place.
        await_watched(&mut world, CACHE);
        world.toggle(MAIL, 7);
        ask_for_cache(&mut world, 2);
        assert!(world.consul.blocking(MAIL).is_empty(), "there is no other");
        world.empty(CACHE);
        ask_for_cache(&mut world, 50);
        assert!(!followers(&world, CACHE).is_empty(), "requests come for it");
        world.check_converged();
        await_watched(&mut world, MAIL);
        settle(&mut world);
    });
}

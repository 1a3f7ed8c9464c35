//! A deterministic simulation: the VMs of one Envoy process run the real state machines against
//! shared data, queues and a Consul agent that are simulated, one command at a time, in an order
//! that one seed decides.
//!
//! Time goes from one happening to the next, so that a minute of a quiet process costs little.
//! Between any two commands of a VM another one may run, Consul may answer, or the VM may die.
//!
//! `SIM_SEEDS=1000` runs more seeds than usual, `SIM_SEED=17` only that one: equal seeds are equal
//! worlds, to the last command.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod admin;
mod calendar;
mod checks;
mod clock;
mod configs;
mod consul;
mod crowd;
mod draining;
mod envoy;
mod errands;
mod faults;
mod feed;
mod feeding;
mod finding;
mod freshness;
mod hearing;
mod made_up;
mod members;
mod neighbours;
mod plan;
mod probes;
mod redeploys;
mod refusals;
mod registering;
mod registry;
mod renames;
mod replies;
mod seeds;
mod shared;
mod sources;
mod state;
mod stops;
mod told;
mod trace;
mod troubles;
mod vm;
mod weather;
mod world;

use consul_resolver::model::service::SourceId;
use consul_resolver::util::rng::Rng;

use crate::configs::{LONGEST_WAIT, POLLS};
use crate::plan::{LONGEST_CHAOS, Plan};
use crate::registering::REGISTERED;
use crate::seeds::for_seeds;
use crate::sources::{FEED, USUAL};
use crate::vm::Mail;
use crate::world::World;

/// The most messages in any queue, that of one who is dead: of each source four a second, for the
/// four looks of five seconds at most after which its entry is removed, on the slowest clock; and
/// the ten that are free at once.
const MOST_MESSAGES: usize = USUAL * (4 * 20 * 1_000 / 800 + 10);
/// The same where fetchers die: the looks are those of one who fetches, and begin anew with its
/// successor, so nobody may come to an end with them.
const MOST_IN_CHAOS: usize = USUAL * (4 * (LONGEST_CHAOS + 20) * 1_000 / 800 + 10);

/// How long after the end of all faults any VM may differ from Consul, in milliseconds of a clock
/// that runs at the right rate. What may follow on each other, at worst:
/// - a lease that was just lost is taken over after three seconds and a tick;
/// - a callout that never returns is given up after the longest time that Consul may hold it, with
///   its jitter, Envoy's margin and the watchdog's;
/// - after many errors the breaker stays open for its longest time, and then the source's own next
///   query waits for the longest backoff;
/// - an answer that lists nothing any more is held back;
/// - an answer that was on its way while Consul's index went back leads to a query for an index that
///   tells nothing, and so waits for as long as Consul holds it.
const STALENESS: u64 =
    TAKEOVER + (HELD + 5_000 + 5_000) + (30_000 + 30_000) + (30_000 + 5_000) + HELD;
const TAKEOVER: u64 = 4_000;
const HELD: u64 = LONGEST_WAIT * 17 / 16 + 1_000;

/// How long a change may take where Consul answered often before and had nothing new: so long is
/// the next query put off for a service without instances; and a second for the change itself.
const PACED: u64 = 15_000 + 1_000;

/// A port that no instance has unless a test says so.
const NEW_PORT: u16 = 100;

fn calm(seed: u64) -> World {
    World::new(Plan::calm(2 + (seed % 4) as usize), Rng::new(seed))
}

/// A world in which anything goes wrong for a while.
fn chaos(seed: u64) -> World {
    chaos_by(Plan::draw, seed)
}

/// The same, planned so.
fn chaos_by(draw: impl Fn(&mut Rng) -> Plan, seed: u64) -> World {
    let mut rng = Rng::new(seed);
    let plan = draw(&mut rng);
    let mut world = World::new(plan, rng);
    world.begin_chaos();
    for _ in 0..world.plan.chaos / 1_000 {
        world.run(1_000);
        world.check_queues_hold(MOST_IN_CHAOS);
        world.check_errands();
    }
    world
}

/// Lets the world go on until something is so, for so long at most; tells how long it took.
fn await_none(world: &mut World, most: u64, of: impl Fn(&World) -> Option<String>) -> u64 {
    for waited in 0..=most / 250 {
        if of(world).is_none() {
            return waited * 250;
        }
        if world.names && world.is_steady && waited.is_multiple_of(2) {
            world.ask_for_all();
        }
        world.run(250);
    }
    panic!("after {most} ms: {}", of(world).unwrap_or_default());
}

// Promise
#[test]
fn every_vm_ends_with_consuls_state_whatever_went_wrong() {
    for_seeds(2_000, |seed| {
        let mut world = chaos(seed);
        world.heal();
        await_none(&mut world, STALENESS, World::unlike_consul);
        await_none(&mut world, REGISTERED, World::unregistered);
        // From now on requests come for every name, so that nobody finds one later: with the record
        // of an owner that died while nobody else followed it, it would begin with the lease's
        // three seconds, and where Consul has no instance any more, that would be doubted.
        world.is_steady = true;
        // Longer: a query that never returns may wait for nothing that would have changed, and an
        // answer of a server that lagged may still have been on its way.
        let amiss = |world: &World| world.unlike_consul().or_else(|| world.unsettled());
        await_none(&mut world, STALENESS, amiss);
        world.check_settled();
        let changing = world.plan.changing;
        let source = changing[(seed % changing.len() as u64) as usize];
        world.toggle(source, NEW_PORT);
        await_none(&mut world, PACED, World::unlike_consul);
        if world.plan.finds() {
            finding::check_that_nobody_keeps_what_nobody_wants(&mut world);
        }
        world.checks.check_calls();
        world.check_nothing_stays_in_flight();
    });
}

#[test]
fn equal_seeds_are_equal_worlds() {
    for_seeds(20, |seed| {
        let trace = |seed| chaos(seed).trace;
        assert_eq!(trace(seed), trace(seed), "the same twice");
        assert_ne!(trace(seed), trace(seed + 1), "and others are others");
    });
}

#[test]
fn every_vm_ends_with_consuls_state_when_nothing_is_wrong() {
    for_seeds(100, |seed| {
        let mut world = calm(seed);
        world.changes = true;
        world.run(20_000);
        world.changes = false;
        // The last change may have been that a service has nothing any more, which is held back
        // (seed 93).
        await_none(&mut world, 30_000 + PACED, World::unlike_consul);
        await_none(&mut world, PACED, World::unsettled);
        world.check_nothing_stays_in_flight();
    });
}

// Promise: R-204
#[test]
fn change_reaches_every_vm_in_a_second_when_nothing_is_wrong() {
    for_seeds(100, |seed| {
        let mut world = calm(seed);
        world.run(5_000);
        // Also right after the start: no query of a VM that fetched for a moment is left behind.
        world.check_settled();
        world.toggle(0, 7);
        world.run(1_000);
        world.check_converged();
    });
}

#[test]
fn unreadable_record_is_read_again_soon() {
    for_seeds(50, |seed| {
        let mut world = calm(seed);
        world.toggle(0, 7);
        world.run(5_000);
        world.consul.weather.failing = Some(weather::Failure::Truncated);
        world.consul.weather.failing_share = 100;
        world.toggle(0, NEW_PORT);
        world.run(500);
        world.consul.weather.failing = None;
        // Far less than Consul holds a query for the index that came with the body.
        world.run(10_000);
        world.check_converged();
        world.check_settled();
    });
}

#[test]
fn stale_record_is_read_anew_when_nobody_has_watched_it() {
    for_seeds(100, |seed| {
        let mut world = calm(seed);
        world.toggle(0, 7);
        world.run(5_000);
        world.check_converged();
        // Shared data outlives the contexts as long as a VM that has none lives.
        world.keeps_shared_data = true;
        world.go();
        world.finish();
        world.toggle(0, 7);
        world.consul.weather.failing = Some(weather::Failure::Status(500));
        world.consul.weather.failing_share = 100;
        world.come_back();
        world.run(10_000);
        world.check_nothing_is_installed();
        world.heal();
        world.run(40_000);
        world.check_converged();
        world.check_settled();
    });
}

#[test]
fn an_empty_answer_is_not_believed_at_once_and_in_the_end_it_is() {
    for_seeds(100, |seed| {
        let mut world = calm(seed);
        (1..=8).for_each(|port| world.toggle(0, port));
        world.run(5_000);
        world.check_converged();
        world.consul.weather.lying = Some(weather::Lie::Empty);
        // Consul's instances are what they were, and so are everyone's endpoints.
        world.toggle(0, NEW_PORT);
        world.toggle(0, NEW_PORT);
        world.run(20_000);
        world.check_converged();
        world.heal();
        world.run(20_000);
        world.check_converged();
        world.empty(0);
        world.run(20_000);
        assert!(world.unlike_consul().is_some(), "believed within 20 s");
        world.run(20_000);
        world.check_converged();
        world.check_settled();
    });
}

#[test]
fn messages_to_the_dead_come_to_an_end() {
    for_seeds(20, |seed| {
        // No request comes that would bring it back to life.
        let quiet = 1_000_000_000;
        let plan = Plan { request_interval: quiet, change_interval: 50_000, ..Plan::calm(3) };
        let mut world = World::new(plan, Rng::new(seed));
        world.run(2_000);
        world.kill(2);
        world.changes = true;
        for _ in 0..90 {
            world.run(1_000);
            world.check_queues_hold(MOST_MESSAGES);
        }
        let longest = world.shared.longest_queue();
        world.run(30_000);
        assert_eq!(world.shared.longest_queue(), longest, "it was forgotten");
    });
}

/// Every context of a thread suspects a source.
fn suspect(world: &mut World, thread: usize, source: u16) {
    let ids: Vec<_> = world.vms[thread].contexts.iter().map(|context| context.id).collect();
    for id in ids {
        world.post(id, Mail::Suspicion(SourceId::nth(source)));
    }
}

#[test]
fn leader_queries_once_more_when_a_follower_asks_for_it() {
    for_seeds(100, |seed| {
        let mut world = calm(seed);
        world.run(5_000);
        let plain = |world: &World| [0, 1, 2].map(|source| world.consul.plain(source));
        let before = plain(&world);
        suspect(&mut world, 1, 1);
        world.run(1_000);
        assert_eq!(plain(&world), [before[0], before[1] + 1, before[2]]);
        suspect(&mut world, 0, 2);
        world.run(1_000);
        assert_eq!(plain(&world), [before[0], before[1] + 1, before[2] + 1]);
        world.check_settled();
    });
}

#[test]
fn polled_source_is_read_once_in_each_time_to_live() {
    for_seeds(20, |seed| {
        let plan = Plan { listeners: vec![POLLS], ..Plan::calm(3) };
        let mut world = World::new(plan, Rng::new(seed));
        world.replace(FEED, &[1, 2]);
        world.run(8_000);
        world.check_converged();
        let (before, _) = world.consul.asked(FEED);
        world.run(60_000);
        let asked = world.consul.asked(FEED).0 - before;
        assert!((15..=22).contains(&asked), "{asked} reads in a minute, of 3 s each");
    });
}

#[test]
fn queries_and_messages_stay_few_when_many_requests_fail() {
    for_seeds(100, |seed| {
        let mut world = calm(seed);
        world.run(5_000);
        let before = world.consul.plain(0);
        let threads = world.vms.len();
        for _ in 0..1_000 {
            (0..threads).for_each(|thread| suspect(&mut world, thread, 0));
            world.run(20);
            let longest = world.shared.longest_queue();
            assert!(longest <= 2 * threads, "{longest} messages");
        }
        // One at once, and one every five seconds.
        let extra = world.consul.plain(0) - before;
        assert!((4..=5).contains(&extra), "{extra} extra queries in 20 s");
        world.check_settled();
    });
}

#[test]
fn early_refresh_finds_a_change_when_the_query_was_not_told() {
    for_seeds(100, |seed| {
        let mut world = calm(seed);
        world.toggle(0, 7);
        world.run(5_000);
        world.consul.weather.deaf = true;
        world.toggle(0, 7);
        world.toggle(0, 8);
        world.run(1_000);
        suspect(&mut world, 1, 0);
        world.run(1_000);
        world.check_converged();
        world.check_settled();
        world.consul.weather.deaf = false;
        world.run(1_000);
        world.check_converged();
        world.check_settled();
    });
}

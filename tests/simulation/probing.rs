//! Services whose endpoints are probed.

use std::collections::BTreeSet;

use consul_resolver::balance::hints::Hints;
use consul_resolver::model::endpoint::Address;
use consul_resolver::model::service::ServiceId;
use consul_resolver::router::decision::Decision;

use crate::backends::ILLNESSES;
use crate::configs::PROBES;
use crate::draining::DRAINED;
use crate::finding::ENDED;
use crate::plan::Plan;
use crate::probes::Manner;
use crate::registering::REGISTERED;
use crate::seeds::for_seeds;
use crate::sources::{CHECKED, SHOP, SOURCES, endpoints, position};
use crate::world::{PORTS, World};
use crate::{NEW_PORT, STALENESS, await_none, calm, chaos_by};

/// The most endpoints of a service: those that come and go, and one that a test adds.
const ENDPOINTS: u64 = PORTS as u64 + 1;

/// How long it may take until every VM goes by how all endpoints answer, where one VM probes them and
/// nothing else is wrong, in milliseconds: two probes of each, which wait for each other. Of those that
/// are never answered two may be out at once, each for three seconds and a tick; and what was found out
/// is written and read at ticks.
const PROBED: u64 = 2 * (ENDPOINTS * (3_000 + 250) / 2) + 1_000;

/// How long after the end of all faults a change of whether Envoy drains may take until the agent
/// knows, in milliseconds: the lease may still go to a more suitable VM, which looks at what the agent
/// has, and asks.
const DRAINED_AFTER_FAULTS: u64 = DRAINED + 12_000;

impl World {
    /// Who does not send requests to exactly those endpoints that answer their probes, if anyone.
    fn misrouted(&mut self) -> Option<String> {
        let configs = std::rc::Rc::clone(&self.configs);
        let Self { vms, consul, backends, .. } = self;
        let contexts = vms.iter_mut().flat_map(|vm| &mut vm.contexts);
        for context in contexts.filter(|context| !context.leaves) {
            for (service, n) in configs[context.config].services.iter().zip(0..) {
                let Some(source) = CHECKED.into_iter().find(|it| SOURCES[*it] == service.name)
                else {
                    continue;
                };
                let listed = endpoints(source, consul.ports(source));
                let well = listed.into_iter().filter(|port| backends.is_well(source, *port));
                let well: BTreeSet<u16> = well.collect();
                let pick =
                    |_| match context.router.decide(Some(ServiceId::nth(n)), &Hints::default()) {
                        Decision::Forward(forward) => match forward.ticket().target().address() {
                            Address::Ip(address) => Some(address.port()),
                            Address::Name(..) => panic!("endpoints have addresses"),
                        },
                        Decision::Pass | Decision::Reply(_) | Decision::Wait(_) => None,
                    };
                // In turn.
                let picked: BTreeSet<u16> = (0..2 * ENDPOINTS).filter_map(pick).collect();
                if picked != well {
                    let (id, name) = (context.id, &SOURCES[source]);
                    return Some(format!("{id:?} picks {picked:?} of {name}, not {well:?}"));
                }
            }
        }
        None
    }

    /// Lets the world go on until requests go to those endpoints alone that answer.
    fn await_routed(&mut self, most: u64) {
        for _ in 0..=most / 250 {
            if self.misrouted().is_none() {
                return;
            }
            self.run(250);
        }
        panic!("after {most} ms: {}", self.misrouted().unwrap_or_default());
    }

    /// Checks that since a moment at which it began to be counted one VM alone has probed the endpoints
    /// of each source, no faster than at the configured rate.
    fn check_one_probes(&self, since: u64) {
        for service in &self.configs[PROBES].services {
            let source = position(&service.name).expect("a known one");
            let senders = self.checks.checkups.senders(source);
            assert!(senders.len() <= 1, "{senders:?} probe {}", service.name);
            let check = service.active_health_check.as_ref().expect("it is probed");
            let rate = u64::from(check.max_per_second);
            let most = rate * (self.now - since) / 1_000_000 + rate / 4 + 1;
            let sent: u64 = senders.values().sum();
            assert!(sent <= most, "{sent} probes of {}, of {most}", service.name);
        }
    }
}

/// A process to which nothing happens by itself, with two services that have all instances.
fn probing(seed: u64) -> World {
    let mut world = calm(seed);
    world.change_to(PROBES);
    for source in CHECKED {
        (1..=PORTS as u16).for_each(|port| world.toggle(source, port));
    }
    // The old configuration ends.
    world.run(15_000);
    world.check_converged();
    world
}

#[test]
fn whatever_went_wrong_requests_go_to_who_answers_and_the_agent_knows_whether_envoy_drains() {
    for_seeds(500, |seed| {
        let mut world = chaos_by(Plan::draw_probing, seed);
        world.heal();
        await_none(&mut world, STALENESS, World::unlike_consul);
        await_none(&mut world, REGISTERED, World::unregistered);
        // A configuration that is in use no longer gives its leases away.
        world.run(ENDED);
        let amiss = |world: &World| world.unlike_consul().or_else(|| world.unsettled());
        await_none(&mut world, STALENESS, amiss);
        world.await_routed(PROBED);
        let settled = world.now;
        world.checks.checkups.begin_to_count();
        world.admin.drains ^= true;
        await_none(&mut world, DRAINED_AFTER_FAULTS, World::unregistered);
        let source = CHECKED[seed as usize % CHECKED.len()];
        let port = 1 + (seed % u64::from(PORTS)) as u16;
        let illness = ILLNESSES[seed as usize / 2 % ILLNESSES.len()];
        let illness = Some(illness).filter(|_| world.backends.is_well(source, port));
        world.backends.set(source, port, illness);
        world.toggle(source, NEW_PORT);
        world.run(crate::PACED);
        world.await_routed(PROBED);
        world.check_converged();
        world.check_settled();
        world.check_one_probes(settled);
        world.checks.check_calls();
        world.check_nothing_stays_in_flight();
    });
}

#[test]
fn equal_seeds_are_equal_worlds_where_endpoints_are_probed_too() {
    for_seeds(10, |seed| {
        let trace = |seed| chaos_by(Plan::draw_probing, seed).trace;
        assert_eq!(trace(seed), trace(seed), "the same twice");
    });
}

#[test]
fn who_does_not_answer_has_no_requests_in_time_and_has_them_again() {
    for_seeds(50, |seed| {
        let mut world = probing(seed);
        world.await_routed(PROBED);
        let settled = world.now;
        world.checks.checkups.begin_to_count();
        for (n, port) in (1..=PORTS as u16).enumerate().filter(|(n, _)| n % 3 == 0) {
            let illness = ILLNESSES[(n + seed as usize) % ILLNESSES.len()];
            CHECKED.iter().for_each(|source| world.backends.set(*source, port, Some(illness)));
        }
        world.run(250);
        assert!(world.misrouted().is_some(), "they were picked");
        world.await_routed(PROBED);
        for port in 1..=PORTS as u16 {
            CHECKED.iter().for_each(|source| world.backends.set(*source, port, None));
        }
        world.await_routed(PROBED);
        world.check_one_probes(settled);
    });
}

#[test]
fn what_was_found_out_outlives_the_vm_that_did() {
    for_seeds(50, |seed| {
        let mut world = probing(seed);
        world.backends.set(SHOP, 4, Some(Manner::Answers(503)));
        world.backends.set(SHOP, 5, Some(Manner::Silent));
        world.await_routed(PROBED);
        world.kill(0);
        for _ in 0..60 {
            world.run(500);
            assert_eq!(world.misrouted(), None);
        }
    });
}

#[test]
fn probes_that_cannot_be_sent_take_nobody_out() {
    for_seeds(50, |seed| {
        let mut world = probing(seed);
        world.backends.set(SHOP, 4, Some(Manner::Answers(503)));
        world.await_routed(PROBED);
        for port in 1..=PORTS as u16 {
            world.backends.set(SHOP, port, Some(Manner::Unsent));
        }
        world.run(PROBED);
        (1..=PORTS as u16).for_each(|port| world.backends.set(SHOP, port, None));
        world.backends.set(SHOP, 4, Some(Manner::Answers(503)));
        assert_eq!(world.misrouted(), None, "all is as it was");
    });
}

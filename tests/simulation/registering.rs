//! What must hold of registrations, and what follows on what.

use consul_resolver::config::Registration;
use serde_json::json;

use crate::registry::{DRAINS, EDGE, IDS};
use crate::seeds::for_seeds;
use crate::world::World;
use crate::{await_none, calm};

/// How long after the end of all faults it may take until everything is registered as configured, in
/// milliseconds. What may follow on each other, at worst, on the slowest clock:
/// - a lease that was just lost is taken over, by another configuration after four of its periods;
/// - a call that never returns is given up, after a minute where the agent was slow;
/// - the breaker stays open for its longest time, and then the longest backoff follows;
/// - what was taken only in part is left alone for a minute, and what somebody has changed is seen at
///   the next look, a minute later;
/// - an old configuration ends, and what it alone had is found and removed;
/// - what was refused is tried again after four minutes.
pub const REGISTERED: u64 =
    (12_000 + 61_000 + 30_000 + 10_000 + 66_000 + 66_000 + 25_000 + 264_000) * 5 / 4;

/// How long after the service was ill, or the agent had lost something, all passes again, in
/// milliseconds: a probe and a report, or a look at what the agent has, a minute later.
pub const RECOVERED: u64 = 66_000 + 10_000;

/// The most calls about one registration within a minute, beside [`FOR_NEWS`] for each time that
/// something happens that leads to some: a report every two and a half seconds, a look every ten, and
/// after failures one call at a time, at a growing distance.
pub const MOST_CALLS: usize = 120;
/// A registration, both looks at it before and after, and a report.
pub const FOR_NEWS: usize = 7;

impl World {
    /// What is not registered as it should be, if anything: one whose checks say whether Envoy drains
    /// is critical by all of them while it does, and by reports that still hold.
    pub fn unregistered(&self) -> Option<String> {
        // Nobody is there who could see to it.
        self.contexts().next()?;
        let wanted =
            self.wanted().into_iter().flat_map(|config| &self.configs[config].registrations);
        let wanted: Vec<&Registration> = wanted.collect();
        IDS.iter().find_map(|id| {
            let found = self.consul.registry.get(id, self.now);
            let wanted: Vec<_> = wanted.iter().filter(|it| it.id == *id).collect();
            match (wanted.is_empty(), found) {
                (true, None) => None,
                (true, Some(found)) if found.is_orphaned && found.status != Some("passing") => None,
                (true, Some(found)) => Some(format!("{id} is left behind: {found:?}")),
                (false, None) => Some(format!("{id} is not registered")),
                (false, Some(found)) => {
                    let is_it = |it: &&&Registration| {
                        let version = it.meta.first().map(|(_, version)| version);
                        found.body["Port"] == it.port
                            && found.body["Meta"].get("version")
                                == version.map(|v| json!(v)).as_ref()
                            && found.checks == it.checks.len()
                    };
                    let stands = match self.admin.drains && id == DRAINS {
                        true => self.reports(id).iter().all(|it| *it == Some("critical")),
                        false => found.checks == 0 || found.status == Some("passing"),
                    };
                    let is_well = wanted.iter().any(is_it) && stands;
                    (!is_well).then(|| format!("{id} is {found:?}"))
                }
            }
        })
    }

    /// How the checks of an id stand that are reported on; none: nobody has for longer than its TTL.
    pub fn reports(&self, id: &str) -> Vec<Option<&'static str>> {
        self.consul.registry.reports(id, self.now)
    }

    /// Checks that the agent was left in peace, as far as nothing new was to be told.
    pub fn check_errands(&mut self) {
        let (calls, news) = self.consul.registry.calls(self.now);
        let most = MOST_CALLS + FOR_NEWS * news;
        assert!(calls <= most, "{calls} calls about one registration within a minute, of {most}");
    }
}

/// A process that registers `edge-1` and `extra-1`.
fn registering(seed: u64) -> World {
    let mut world = calm(seed);
    world.change_to(1);
    world
}

#[test]
fn all_is_registered_within_a_second_by_one_vm_and_stays_so() {
    for_seeds(50, |seed| {
        let mut world = registering(seed);
        await_none(&mut world, 12_000, World::unregistered);
        // Until it is settled who keeps it, whoever takes it over registers it, too.
        world.run(3_000);
        world.consul.registry.forget_calls();
        for _ in 0..120 {
            world.run(1_000);
            assert_eq!(world.unregistered(), None);
        }
        let registered = world.consul.registry.registrations();
        assert_eq!(registered, 0, "once is enough");
    });
}

// Promise: R-702
#[test]
fn registration_is_back_in_a_heartbeat_when_the_agent_lost_it() {
    for_seeds(50, |seed| {
        let mut world = registering(seed);
        await_none(&mut world, 12_000, World::unregistered);
        world.consul.registry.lose(world.now);
        await_none(&mut world, 15_000 / 3 * 11 / 10 + 500, World::unregistered);
    });
}

#[test]
fn all_is_registered_anew_when_envoy_starts() {
    for_seeds(50, |seed| {
        let mut world = registering(seed);
        await_none(&mut world, 12_000, World::unregistered);
        let listeners = std::mem::take(&mut world.listeners);
        world.drain_all(&[1]);
        await_none(&mut world, 12_000, |world| world.contexts().next().map(|_| "alive".into()));
        world.consul.registry.forget_calls();
        world.listeners = listeners;
        world.configure_all();
        world.run(5_000);
        assert_eq!(world.unregistered(), None);
        // Nobody but a VM that has done so itself knows with which token it is registered.
        let (registered, most) = (world.consul.registry.registrations(), 2 * world.vms.len());
        assert!((2..=most).contains(&registered), "{registered} registrations, of at most {most}");
    });
}

// Promise: R-701
#[test]
fn a_service_that_fails_is_critical_in_time_and_passes_again() {
    for_seeds(50, |seed| {
        let mut world = registering(seed);
        await_none(&mut world, 12_000, World::unregistered);
        world.consul.registry.set_well(false, world.now);
        let is_critical = |world: &World| {
            let found = world.consul.registry.get(EDGE, world.now);
            let status = found.and_then(|found| found.status);
            (status != Some("critical")).then(|| format!("{status:?}"))
        };
        await_none(&mut world, 11_000, is_critical);
        world.consul.registry.set_well(true, world.now);
        await_none(&mut world, 6_000, World::unregistered);
    });
}

// Promise: R-706
#[test]
fn registrations_follow_at_once_when_the_configuration_changes() {
    for_seeds(50, |seed| {
        let mut world = registering(seed);
        await_none(&mut world, 12_000, World::unregistered);
        // From version 1 to 2, and without `extra-1`; the old contexts end within ten seconds.
        world.change_to(2);
        world.run(2_000);
        let found = world.consul.registry.get(EDGE, world.now).expect("it is registered");
        assert_eq!(found.body["Meta"]["version"], "2");
        await_none(&mut world, 10_000 + 5_000 + 6_000, World::unregistered);
    });
}

// Promise: R-709
#[test]
fn registration_stays_passing_when_its_leader_dies() {
    for_seeds(50, |seed| {
        let mut world = registering(seed);
        await_none(&mut world, 12_000, World::unregistered);
        world.kill(0);
        for _ in 0..60 {
            world.run(1_000);
            assert_eq!(world.unregistered(), None);
        }
    });
}

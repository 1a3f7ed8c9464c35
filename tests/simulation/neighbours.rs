//! Services that fail for good, and what the others have of it: nothing.

use std::ops::Range;

use consul_resolver::util::rng::Rng;

use crate::configs::{BESIDE, TROUBLED_CONFIGS, UNPOLLED};
use crate::plan::{Fault, Plan};
use crate::registering::RECOVERED;
use crate::seeds::for_seeds;
use crate::sources::{API, CONFIGURED, CROWD, USUAL, WEB_IN_DC2};
use crate::troubles::{TROUBLES, Trouble};
use crate::world::World;

/// How old may be what a VM uses of a source that nothing is wrong with, in milliseconds: a change
/// reaches it within a second, and where a query had failed a moment before its retry comes first.
pub const FRESH: u64 = 2_000;

/// Those of the crowd that fail in these worlds; the others are well.
pub const TROUBLED: Range<usize> = CROWD.start..CROWD.start + 5;

/// What may go wrong in them that is none of the others' business.
const FAULTS: [Fault; 11] = [
    Fault::Trouble,
    Fault::Trouble,
    Fault::Trouble,
    Fault::Wakes,
    Fault::Death,
    Fault::Freeze,
    Fault::Update,
    Fault::Suspicion,
    Fault::Lost,
    Fault::Illness,
    Fault::Stumble,
];

impl Plan {
    /// A process of so many threads with all kinds of services, and a crowd.
    pub fn crowded(threads: usize, config: usize) -> Self {
        Self {
            sources: CROWD.end,
            listeners: vec![config],
            configs: &TROUBLED_CONFIGS,
            changing: &WELL,
            ..Self::calm(threads)
        }
    }

    /// What this generator decides for a process some of whose services fail for good.
    pub fn draw_troubled(rng: &mut Rng) -> Self {
        let plan = Self::draw(rng);
        let listeners = plan.listeners.iter();
        let mut one = |_| TROUBLED_CONFIGS[rng.below(TROUBLED_CONFIGS.len() as u32) as usize];
        let listeners = listeners.map(&mut one).collect();
        let faults = FAULTS.into_iter().filter(|_| rng.below(3) > 0).collect();
        Self {
            sources: CROWD.end,
            listeners,
            configs: &TROUBLED_CONFIGS,
            changing: &WELL,
            faults,
            named: 0,
            burst: 0,
            interrupted: plan.interrupted.min(1),
            interruption: 1_000,
            own_clocks: false,
            chaos: 60_000,
            change_interval: [1_000_000, 5_000_000, 15_000_000][rng.below(3) as usize],
            fault_interval: 4_000_000,
            ..plan
        }
    }
}

/// The sources that change in these worlds: those that nothing is ever wrong with.
pub const WELL: [usize; 9] = {
    let [web, _, api, db, geo] = CONFIGURED;
    let well = TROUBLED.end;
    [web, api, db, geo, well, well + 1, well + 2, well + 3, well + 4]
};

impl World {
    /// Goes on for so long, in milliseconds, and checks all the while that nobody pays for somebody
    /// else's trouble.
    pub fn run_isolated(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 250 {
            self.run(250);
            assert_eq!(self.outdated(FRESH), None);
            assert_eq!(self.critical_while_well(RECOVERED), None);
        }
    }

    /// Some sources get a trouble.
    pub fn trouble(&mut self, sources: impl IntoIterator<Item = usize>, trouble: Trouble) {
        for source in sources {
            let outcomes = self.consul.trouble(source, Some(trouble), self.now);
            self.expect(outcomes);
        }
    }
}

/// A process with instances of each service, some of which are about to fail.
fn beside(seed: u64) -> World {
    let threads = 1 + (seed % 4) as usize;
    let config = if seed.is_multiple_of(2) { UNPOLLED } else { BESIDE };
    let mut world = World::new(Plan::crowded(threads, config), Rng::new(seed));
    world.is_gentle = true;
    for source in (0..USUAL).filter(|it| CONFIGURED.contains(it)).chain(TROUBLED.start..CROWD.end) {
        world.replace(source, &[1, 2, 4]);
    }
    world
}

// Promise: R-502
#[test]
fn a_change_is_seen_in_time_beside_services_that_fail() {
    for_seeds(56, |seed| {
        let mut world = beside(seed);
        let trouble = TROUBLES[seed as usize % TROUBLES.len()];
        // From the start, or later; one, or several.
        let share = if seed.is_multiple_of(3) { 1 } else { TROUBLED.len() };
        if seed % 4 < 2 {
            world.run(10_000);
        }
        world.trouble(TROUBLED.take(share), trouble);
        world.run(10_000);
        // Quiet times and others.
        for _ in 0..3 {
            world.changes ^= true;
            world.run_isolated(40_000);
        }
    });
}

// Promise: R-502
#[test]
fn a_change_is_seen_in_time_while_another_datacenter_fails() {
    for_seeds(20, |seed| {
        let mut world = beside(seed);
        let trouble = [Trouble::Datacenter, Trouble::Slow][seed as usize % 2];
        world.trouble([WEB_IN_DC2], trouble);
        world.run(10_000);
        world.changes = true;
        world.run_isolated(60_000);
        assert!(world.consul.asked(API).0 > 5, "it changes");
    });
}

// Promise: R-502
#[test]
fn other_services_stay_fresh_whatever_fails_for_good() {
    for_seeds(150, |seed| {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw_troubled(&mut rng);
        let chaos = plan.chaos;
        let mut world = World::new(plan, rng);
        world.is_gentle = true;
        for source in WELL.into_iter().chain(TROUBLED).chain([WEB_IN_DC2]) {
            world.replace(source, &[1, 2, 4]);
        }
        for source in TROUBLED {
            let trouble = TROUBLES[world.rng.below(TROUBLES.len() as u32) as usize];
            world.trouble([source], trouble);
        }
        world.run(10_000);
        world.begin_chaos();
        world.run_isolated(chaos);
    });
}

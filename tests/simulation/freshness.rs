//! How old what a VM uses may be, also while things go wrong that are none of its business.

use crate::sources::{FEED, GEO, SOURCES, source_of};
use crate::state::POLLED;
use crate::world::World;

/// How long after the last time that a VM was disturbed (it died, stood still, or was given another
/// configuration) all is as before, in microseconds: a lease is taken over after three seconds, on the
/// slowest clock, and what was lost with its owner is read anew.
const SETTLED: u64 = 8_000_000;

impl World {
    /// Who uses what has not been so for that long, in milliseconds, if anyone: of the sources that
    /// are configured, and that nothing is wrong with, nor was.
    pub fn outdated(&self, most: u64) -> Option<String> {
        if self.now < self.disturbed + SETTLED {
            return None;
        }
        self.contexts().filter(|(_, context)| !context.leaves).find_map(|(_, context)| {
            let trackers = context.agent.sources().into_iter();
            let mut trackers = trackers.map(|tracker| (source_of(tracker), tracker));
            trackers.find_map(|(source, tracker)| {
                let is_troubled = self.consul.troubles.contains_key(&source);
                if is_troubled || !context.configured.contains(&source) {
                    return None;
                }
                let name = &SOURCES[source];
                let Some(record) = tracker.installed() else {
                    return Some(format!("{:?} has nothing of {name}", context.id));
                };
                let ports = crate::checks::ports(&record.snapshot, source);
                let until = self.consul.outdated(source, &ports)?;
                let age = (self.now - until) / 1_000;
                let most = if [GEO, FEED].contains(&source) { most + POLLED / 1_000 } else { most };
                (age > most).then(|| {
                    format!(
                        "{:?} has {ports:?} of {name}, which is {age} ms out of date",
                        context.id
                    )
                })
            })
        })
    }

    /// Something has happened to a VM, or is over then.
    pub fn disturb(&mut self, until: u64) {
        self.disturbed = self.disturbed.max(until);
    }

    /// A registration that is critical though the service is well and the agent has it, if there is
    /// one: nothing has happened for so long, in milliseconds, for which it might be.
    pub fn critical_while_well(&self, recovered: u64) -> Option<String> {
        let registry = &self.consul.registry;
        let is_shaken = self.now < registry.shaken() + recovered * 1_000;
        let is_disturbed = self.now < self.disturbed + SETTLED;
        if is_shaken || is_disturbed || !registry.is_well || registry.drops_checks {
            return None;
        }
        let configs = self.wanted().into_iter().map(|config| &self.configs[config]);
        let mut wanted = configs.flat_map(|config| &config.registrations);
        wanted.find_map(|wanted| {
            let found = registry.get(&wanted.id, self.now);
            match found.and_then(|found| found.status) {
                Some("passing") => None,
                status => (!wanted.checks.is_empty())
                    .then(|| format!("{} is {status:?} while its service is well", wanted.id)),
            }
        })
    }
}

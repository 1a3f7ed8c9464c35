//! How the world stands: what must be so in the end.

use std::collections::BTreeSet;

use consul_resolver::discovery::tracked_source::TrackedSource;
use consul_resolver::model::service::ServiceId;
use consul_resolver::shared::key::SharedKey;
use consul_resolver::shared::snapshot_record::SnapshotVersion;
use consul_resolver::shared::source_record::{Rank, SourceRecord};

use crate::checks::ports;
use crate::sources::{CATALOG, FEED, GEO, NAMED, SOURCES, endpoints, query_of, source_of};
use crate::vm::{Context, Vm};
use crate::world::World;

/// How long a source is left alone at most that has no place among the watches: five seconds and a
/// tenth, a tick, and an answer's way.
pub const POLLED: u64 = 6_000_000;

impl World {
    /// What is not as Consul says, if anything: an endpoint too many or too few, somewhere, or a
    /// service that the catalog lists, or that requests come for all the time, and that is not
    /// followed. Where nobody is there yet, that is not so either: whoever comes may find what others
    /// left in shared data.
    pub fn unlike_consul(&self) -> Option<String> {
        let is_there = |config: &usize| self.contexts().any(|(_, c)| c.config == *config);
        // No request comes to the main thread, so nobody would make its VM anew.
        let may_come = self.vms.len() > 1 || self.vms[0].alive;
        if let Some(config) = self.wanted().into_iter().find(|config| may_come && !is_there(config))
        {
            return Some(format!("no VM has configuration {config}"));
        }
        self.contexts().find_map(|(_, context)| {
            let unlike = |tracker: &TrackedSource| {
                let source = source_of(tracker);
                let installed = tracker.installed();
                let installed = installed.map(|record| ports(&record.snapshot, source));
                let expected = endpoints(source, self.consul.ports(source));
                let name = &SOURCES[source];
                (installed.as_ref() != Some(&expected)).then(|| {
                    format!("{:?} has {installed:?} of {name}, not {expected:?}", context.id)
                })
            };
            let missing = self
                .wanted_by(context)
                .into_iter()
                .find(|source| context.tracker(*source).is_none());
            let missing =
                missing.map(|source| format!("{:?} lacks {}", context.id, SOURCES[source]));
            missing.or_else(|| context.agent.sources().into_iter().find_map(unlike))
        })
    }

    /// What is not settled, if anything: one context fetches each source, in the most suitable VM,
    /// and one query blocks for it, as far as there are places among the watches.
    pub fn unsettled(&self) -> Option<String> {
        let amiss = (0..self.consul.len()).find_map(|source| {
            let name = &SOURCES[source];
            let with_source =
                || self.contexts().filter(|(_, context)| context.tracker(source).is_some());
            let best = with_source().map(|(vm, _)| vm.rank()).min()?;
            let fetches =
                |context: &Context| context.tracker(source).is_some_and(|t| t.is_leader());
            let fetchers: Vec<_> = with_source().filter(|(_, context)| fetches(context)).collect();
            match fetchers[..] {
                [(vm, context)] if vm.rank() != best => {
                    Some(format!("{:?} fetches {name}, and another VM is better", context.id))
                }
                [_] if self.consul.is_waited_on_in_vain(source) => {
                    Some(format!("a query waits in vain on {name}"))
                }
                [_] => None,
                _ => Some(format!("{} VMs fetch {name}", fetchers.len())),
            }
        });
        amiss.or_else(|| self.contexts().find_map(|(_, context)| self.unwatched(context)))
    }

    /// What is amiss with the queries for what a context fetches, if anything: one blocks for each
    /// source, as far as there are places, and the others are polled. Whether a service that was
    /// found has a place while it has no endpoints depends on who found it first.
    fn unwatched(&self, context: &Context) -> Option<String> {
        let trackers = context.agent.sources().into_iter().filter(|t| t.is_leader());
        let (mut watched, mut sure, mut unsure) = (0, 0, 0);
        let mut polled = None;
        for tracker in trackers {
            let source = source_of(tracker);
            let is_empty = tracker.installed().is_none_or(|record| record.snapshot.is_empty());
            // A prepared query cannot block, nor can one of the polled registry.
            let is_on_trial = source == GEO
                || source == FEED
                || is_empty && !context.configured.contains(&source) && source != CATALOG;
            (sure, unsure) = (sure + usize::from(!is_on_trial), unsure + usize::from(is_on_trial));
            let (blocking, name) = (self.consul.blocking(source), &SOURCES[source]);
            // Who has forgotten it cannot call its query back.
            let still =
                |id| self.contexts().any(|(_, c)| c.id == id && c.tracker(source).is_some());
            let blocking: Vec<_> = blocking.into_iter().filter(|id| still(*id)).collect();
            // Whose last query failed, or never returned, waits until it is given up, and then for
            // its backoff.
            let heard = self.consul.heard(source, self.now);
            if blocking == [context.id] {
                watched += 1;
            } else if !blocking.is_empty() {
                return Some(format!("{blocking:?} block on {name}, not only {:?}", context.id));
            } else if heard.is_none_or(|heard| heard + POLLED < self.now) {
                return Some(format!("{:?} polls {name}, and has heard: {heard:?}", context.id));
            } else if !is_on_trial {
                polled = Some(name);
            }
        }
        let (least, most) =
            (sure.min(context.max_watches), (sure + unsure).min(context.max_watches));
        let all = if sure + unsure <= context.max_watches { polled } else { None };
        match all {
            Some(name) => Some(format!("no query of {:?} blocks on {name}", context.id)),
            None => (watched < least || watched > most)
                .then(|| format!("{watched} queries of {:?} block, of {least}", context.id)),
        }
    }

    /// Who follows what nobody wants there any more, if anyone.
    pub fn lingering(&self) -> Option<String> {
        self.contexts().find_map(|(_, context)| {
            let wanted = self.wanted_by(context);
            let followed = context.agent.sources().into_iter().map(source_of);
            let beyond = followed.into_iter().find(|source| !wanted.contains(source));
            beyond.map(|source| format!("{:?} follows {}", context.id, SOURCES[source]))
        })
    }

    /// The sources that any context follows.
    pub fn followed(&self) -> BTreeSet<usize> {
        let trackers = self.contexts().flat_map(|(_, context)| context.agent.sources());
        trackers.map(source_of).collect()
    }

    /// What is left in shared data of a source that nobody follows, if anything but a head that
    /// points to nothing.
    pub fn left_behind(&self, source: usize) -> Option<String> {
        let (query, name) = (query_of(source), &SOURCES[source]);
        let head = self.head(source)?;
        let is_record = |version: &SnapshotVersion| {
            let record = self.shared.load(&SharedKey::Snapshot(query, *version).to_string());
            record.is_some_and(|(bytes, _)| !bytes.is_empty())
        };
        let record = SnapshotVersion::default().slots().into_iter().find(is_record);
        match (head.rank == Rank::RELEASED, head.published, record) {
            (true, None, None) => None,
            (_, published, record) => {
                Some(format!("{name}: {:?}, {published:?}, {record:?}", head.rank))
            }
        }
    }

    /// The head of a source.
    pub fn head(&self, source: usize) -> Option<SourceRecord> {
        let (head, _) = self.shared.load(&SharedKey::SourceRecord(query_of(source)).to_string())?;
        Some(SourceRecord::decode(&head).expect("a head that reads back"))
    }

    /// What a context follows whatever requests come: what it is configured to, what the catalog
    /// lists, and in a worker the names for which requests never cease.
    fn wanted_by(&self, context: &Context) -> BTreeSet<usize> {
        let listed = self.consul.ports(CATALOG).iter().map(|source| usize::from(*source));
        let found = listed.chain([CATALOG]).filter(|_| context.discovers);
        let is_asked = self.names && self.is_steady && context.resolves && context.id.thread > 0;
        let named = NAMED.into_iter().filter(|_| is_asked);
        context.configured.iter().copied().chain(found).chain(named).collect()
    }

    /// Checks that every context has what Consul has.
    pub fn check_converged(&self) {
        assert_eq!(self.unlike_consul(), None);
    }

    /// Checks that it is clear who fetches.
    pub fn check_settled(&self) {
        assert_eq!(self.unsettled(), None);
        self.check_queues_hold(crate::MOST_IN_CHAOS);
    }

    /// Checks that nothing piles up for anyone, dead or alive.
    pub fn check_queues_hold(&self, most: usize) {
        let longest = self.shared.longest_queue();
        assert!(longest <= most, "{longest} messages pile up");
    }

    /// Checks that no context has endpoints.
    pub fn check_nothing_is_installed(&self) {
        for (_, context) in self.contexts() {
            let is_empty = context.agent.sources().iter().all(|t| t.installed().is_none());
            assert!(is_empty, "{:?}", context.id);
        }
    }

    /// Ends all requests, and checks that no endpoint counts one.
    pub fn check_nothing_stays_in_flight(&mut self) {
        for context in self.vms.iter_mut().flat_map(|vm| &mut vm.contexts) {
            context.flying.clear();
            let configured = (0..context.configured.len() as u16).map(ServiceId::nth);
            let services = configured.chain(context.found.iter().copied());
            let in_flight: u64 = services.map(|service| context.router.in_flight(service)).sum();
            assert_eq!(in_flight, 0, "{:?}", context.id);
        }
    }

    /// All contexts, with their VMs.
    pub fn contexts(&self) -> impl Iterator<Item = (&Vm, &Context)> {
        self.vms.iter().flat_map(|vm| vm.contexts.iter().map(move |context| (vm, context)))
    }
}

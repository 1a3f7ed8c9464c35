//! A worker's live view of one service.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;

use hashbrown::HashMap;

use crate::balance::group::Occasion;
use crate::balance::hints::{Hints, Pin};
use crate::balance::level::Level;
use crate::balance::outlier::detector::Detector;
use crate::balance::outlier::monitor::Monitor;
use crate::balance::outlier::transition::Transition;
use crate::balance::peak_ewma::UsualLatency;
use crate::balance::priority::Loads;
use crate::balance::ranking::Ranking;
pub use crate::balance::report::{Report, Sample};
use crate::balance::settings::Settings;
use crate::balance::subsets::{SliceId, Subsets, Wanted};
use crate::balance::target::{Prepared, Target};
use crate::balance::ticket::Ticket;
use crate::config::{Locality, Policy, Service};
use crate::model::endpoint::{Address, Endpoint};
use crate::model::places::Places;
use crate::model::snapshot::Snapshot;
use crate::rng::Rng;
use crate::time::Time;

/// A worker's live view of one service: the endpoints of the latest snapshots with what the
/// worker knows of them, and the policy that picks among them.
///
/// Everything that grows with the number of endpoints is done by [`Pool::install`], and by
/// [`Pool::on_tick`] after endpoints were ejected, came back, or became warmer; a pick takes
/// the same time with 10 and with 10,000, and allocates nothing. Only the table of a hash policy is
/// built by the first pick that needs it.
#[derive(Debug)]
pub struct Pool {
    settings: Settings,
    /// One for each datacenter, in order of preference.
    levels: Vec<Level>,
    ranking: Ranking,
    /// How requests are spread over the levels in the order of their ranks, by [`SliceId`].
    loads: Vec<Loads>,
    subsets: Subsets,
    /// How many versions a header cannot name, because there are too many.
    unnamed_versions: usize,
    /// By which clients stay with their endpoint; none where they do not.
    pins: Option<HashMap<Pin, Rc<Target>>>,
    detector: Option<Detector>,
    usual_latency: UsualLatency,
    /// Whether the levels are to be rebuilt.
    stale: bool,
    /// When they were.
    rebuilt_at: Time,
    events: Vec<PoolEvent>,
    rng: Rng,
    /// What the request draws by that is picked for, where its hash decides.
    by_hash: Option<Rng>,
}

/// What has happened to an endpoint, or to all of them, that an operator wants to know.
#[derive(Debug, Clone, PartialEq)]
pub enum PoolEvent {
    /// An endpoint was ejected or has returned.
    Endpoint(Address, Transition),
    /// So few endpoints are left in one datacenter that ejected ones are used; or no more so.
    Panic(bool),
    /// There are more versions than a header can name; those that few endpoints have cannot be.
    TooManyVersions {
        /// How many there are.
        found: usize,
    },
}

impl Pool {
    /// An empty pool. Each needs a generator of its own: with the same one, all workers
    /// would pick alike.
    pub fn new(service: &Service, locality: Option<&Locality>, rng: Rng) -> Self {
        let levels = service.datacenters.len().max(1);
        let settings = Settings::new(&service.load_balancing, locality);
        let subsets = Subsets::new(service.versions.as_ref(), &settings);
        Self {
            settings,
            levels: (0..levels).map(|_| Level::default()).collect(),
            ranking: Ranking::new(levels),
            loads: Vec::new(),
            subsets,
            unnamed_versions: 0,
            pins: service.sticky.as_ref().map(|_| HashMap::new()),
            detector: service.outlier_detection.map(Detector::new),
            usual_latency: UsualLatency::default(),
            stale: false,
            rebuilt_at: Time::ZERO,
            events: Vec::new(),
            rng,
            by_hash: None,
        }
    }

    /// Replaces the endpoints of a datacenter, by its place in the order of preference.
    ///
    /// An endpoint whose address stays keeps its [`Target`], and with it its statistics and its
    /// ejection; for each new one `prepare` makes the handoff. Tickets of removed endpoints stay
    /// valid.
    pub fn install(
        &mut self,
        preference: usize,
        snapshot: &Snapshot,
        now: Time,
        prepare: &mut dyn FnMut(&Endpoint) -> Prepared,
    ) {
        let Some(level) = self.levels.get_mut(preference) else {
            return;
        };
        level.install(snapshot, now, prepare);
        let mut versions = BTreeMap::new();
        for version in self.levels.iter().flat_map(Level::versions) {
            *versions.entry(Rc::clone(version)).or_default() += 1;
        }
        let unnamed = self.subsets.learn(&versions);
        if unnamed > 0 && self.unnamed_versions == 0 {
            self.events.push(PoolEvent::TooManyVersions { found: versions.len() });
        }
        self.unnamed_versions = unnamed;
        for level in &mut self.levels {
            level.slice(&self.subsets, &self.settings);
        }
        if let Some(pins) = &mut self.pins {
            // Of an address in several datacenters the first one comes last, and stays.
            let targets = self.levels.iter().rev().flat_map(Level::targets);
            *pins = targets.map(|target| (target.pin(), Rc::clone(target))).collect();
        }
        let ejected = self.targets().filter(|target| target.monitor().is_ejected()).count();
        if let Some(detector) = &mut self.detector {
            detector.on_endpoints(ejected);
        }
        self.rebuild(now);
    }

    /// Forgets a datacenter as if it had never been installed, so that what is installed next is
    /// its first snapshot. [`Pool::install`] must follow.
    pub fn forget(&mut self, preference: usize) {
        if let Some(level) = self.levels.get_mut(preference) {
            level.forget();
        }
    }

    /// Learns which addresses of a datacenter are not healthy, in order; all others are. They are
    /// picked no more from now on, whatever Consul says of them, unless too few others are left; it
    /// makes no difference whether they are installed before or after.
    pub fn set_unhealthy(&mut self, preference: usize, unhealthy: &[SocketAddr], now: Time) {
        let warming = self.settings.slow_start.map(|_| now);
        if let Some(level) = self.levels.get_mut(preference) {
            self.stale |= level.set_unhealthy(unhealthy, warming);
        }
    }

    /// Picks an endpoint for a request, and fills `others` with different ones for its
    /// retries; where there are too few, the last places are none. None where no endpoint
    /// takes the request.
    ///
    /// The others are chosen by the policy, too. Most are never used, so they neither take a turn
    /// of a round robin, which draws them by weight, nor count as in flight.
    pub fn pick(&mut self, hints: &Hints, others: &mut [Option<Rc<Target>>]) -> Option<Ticket> {
        others.fill(None);
        let slice = self.slice_for(hints)?;
        self.by_hash = if self.settings.hashes() { hints.draws() } else { None };
        let rng = self.by_hash.as_mut().unwrap_or(&mut self.rng);
        let first = self.loads.get(slice.0).and_then(|loads| loads.choose(rng));
        if let Some(ticket) = self.pinned(hints, slice) {
            self.fill(others, ticket.target(), hints, slice, first);
            return Some(ticket);
        }
        let mut picked = self.pick_from(hints, slice, first);
        if picked.is_none() && self.stale {
            // All that were left have been ejected since the last tick.
            self.rebuild(hints.now);
            picked = self.pick_from(hints, slice, first);
        }
        let ticket = picked?;
        self.fill(others, ticket.target(), hints, slice, first);
        Some(ticket)
    }

    /// Learns how an endpoint has answered, and how soon where that is known. Tells whether it is
    /// ejected for it, or has returned.
    pub fn on_outcome(&mut self, target: &Rc<Target>, report: Report, now: Time) -> bool {
        let Report { admission, outcome, sample } = report;
        if let Policy::PeakEwma { decay, .. } = self.settings.policy {
            self.usual_latency.on_answer(target, outcome, sample, now, decay);
        }
        let endpoints = self.len();
        let Some(detector) = &mut self.detector else {
            return false;
        };
        let (monitor, rng) = (target.monitor(), &mut self.rng);
        let transition = detector.on_outcome(monitor, admission, outcome, endpoints, now, rng);
        if let Some(transition) = transition {
            self.stale = true;
            if transition == Transition::Returned {
                target.forgive();
                target.set_warming(self.settings.slow_start.map(|_| now));
            }
            self.events.push(PoolEvent::Endpoint(target.address().clone(), transition));
        }
        transition.is_some()
    }

    /// Learns that an endpoint has not answered for so long, when the client left.
    pub fn on_silence(&mut self, target: &Rc<Target>, time: Duration, now: Time) {
        if let Policy::PeakEwma { decay, .. } = self.settings.policy {
            self.usual_latency.on_silence(target, time, now, decay);
        }
    }

    /// Prefers all other datacenters to these, by their places in the order of preference.
    pub fn avoid(&mut self, datacenters: Places, now: Time) {
        if self.ranking.avoid(datacenters) {
            self.rebuild(now);
        }
    }

    /// Ends ejections whose time is over, judges success rates, and takes into account what has
    /// changed since the last tick.
    pub fn on_tick(&mut self, now: Time) {
        if let Some(detector) = &mut self.detector {
            let targets = self.levels.iter().flat_map(Level::targets).map(Rc::as_ref);
            let events = &mut self.events;
            self.stale |= detector.on_tick(targets, now, &mut self.rng, |target, transition| {
                events.push(PoolEvent::Endpoint(target.address().clone(), transition));
            });
        }
        if let Policy::PeakEwma { decay, .. } = self.settings.policy {
            let targets = self.levels.iter().flat_map(Level::targets);
            self.usual_latency.measure(targets.map(Rc::as_ref), now, decay);
        }
        let is_warming = || self.levels.iter().any(Level::is_warming);
        if self.stale || now.since(self.rebuilt_at) >= self.settings.warming_step() && is_warming()
        {
            self.rebuild(now);
        }
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<PoolEvent> {
        core::mem::take(&mut self.events)
    }

    /// Whether requests can be decided: an endpoint is known, or that there is none anywhere.
    pub fn is_resolved(&self) -> bool {
        self.levels.iter().all(Level::is_resolved) || !self.is_empty()
    }

    /// The datacenters that are known to have no endpoint that takes a request.
    pub fn down(&self) -> Places {
        let levels = self.levels.iter().enumerate();
        levels.filter(|(_, level)| level.is_down()).map(|(place, _)| place).collect()
    }

    /// Whether that is so of all.
    pub fn is_down(&self) -> bool {
        self.levels.iter().all(Level::is_down)
    }

    /// The endpoints, sorted by address within each datacenter.
    pub fn targets(&self) -> impl Iterator<Item = &Rc<Target>> + Clone {
        self.levels.iter().flat_map(Level::targets)
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.levels.iter().map(Level::len).sum()
    }

    /// Whether there is no endpoint.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The requests in flight to all endpoints; those to removed ones are not counted.
    pub fn in_flight(&self) -> u64 {
        self.targets().map(|t| u64::from(t.active())).sum()
    }

    /// The slice that a request goes to: the one that it wants, unless that is empty everywhere
    /// and any other will do.
    fn slice_for(&mut self, hints: &Hints) -> Option<SliceId> {
        let wanted = self.subsets.choose(hints, &mut self.rng);
        let is_there =
            |id| self.levels.iter().any(|l| l.get(id).is_some_and(|slice| !slice.is_empty()));
        match wanted {
            Wanted::Slice(id) if id == SliceId::ALL || is_there(id) => Some(id),
            _ if self.subsets.falls_back() => Some(SliceId::ALL),
            _ => None,
        }
    }

    /// The endpoint that the client stays with, if it is there and takes requests. One of another
    /// version than the client has asked for is none.
    fn pinned(&self, hints: &Hints, slice: SliceId) -> Option<Ticket> {
        let target = self.pins.as_ref()?.get(&hints.pin?)?;
        let wanted = if hints.version.is_some() { slice } else { SliceId::ALL };
        let levels = self.levels.iter().filter_map(|level| level.get(wanted));
        let slice = levels.into_iter().find(|slice| slice.contains(target))?;
        let takes = slice.is_in_panic() || target.monitor().admits();
        takes.then(|| Ticket::new(target))
    }

    /// Picks from the datacenter of this rank, or from the next one that has an endpoint
    /// to pick.
    fn pick_from(&mut self, hints: &Hints, slice: SliceId, first: Option<usize>) -> Option<Ticket> {
        let occasion =
            Occasion::new(&self.settings.policy, hints.now, self.usual_latency.seconds());
        let (levels, rng) = (&mut self.levels, self.by_hash.as_mut().unwrap_or(&mut self.rng));
        self.ranking.from(first).find_map(|index| {
            levels.get_mut(index)?.get_mut(slice)?.pick(occasion, hints.hash, rng)
        })
    }

    /// Fills `others` with endpoints that differ from `picked` and from each other.
    fn fill(
        &mut self,
        others: &mut [Option<Rc<Target>>],
        picked: &Rc<Target>,
        hints: &Hints,
        slice: SliceId,
        first: Option<usize>,
    ) {
        let occasion =
            Occasion::new(&self.settings.policy, hints.now, self.usual_latency.seconds());
        let (levels, rng) = (&self.levels, self.by_hash.as_mut().unwrap_or(&mut self.rng));
        let slices = self.ranking.from(first);
        let mut slices = slices.filter_map(|index| levels.get(index)?.get(slice)).peekable();
        let mut place = 0;
        while let (Some(slice), true) = (slices.peek(), place < others.len()) {
            let is_new = |target: &Rc<Target>| {
                !Rc::ptr_eq(target, picked)
                    && !others.iter().flatten().any(|other| Rc::ptr_eq(other, target))
            };
            match slice.alternative(occasion, hints.hash, rng, is_new).map(Rc::clone) {
                found @ Some(_) => {
                    if let Some(other) = others.get_mut(place) {
                        *other = found;
                    }
                    place += 1;
                }
                None => {
                    slices.next();
                }
            }
        }
    }

    /// Builds what picks need from the state of the endpoints as it is.
    fn rebuild(&mut self, now: Time) {
        let was_in_panic = self.is_in_panic();
        for level in &self.levels {
            level.warm(&self.settings, now);
        }
        self.loads.clear();
        for id in (0..self.subsets.len()).map(SliceId) {
            let loads = |is: fn(&Monitor) -> bool| {
                let levels = self.ranking.levels().filter_map(|index| self.levels.get(index));
                Loads::new(&levels.map(|level| level.health(id, is)).collect::<Vec<_>>())
            };
            let may_panic = !loads(Monitor::is_active).is_enough();
            // An endpoint that waits for its probe has to be reached by it: a datacenter in
            // which all do would never return.
            self.loads.push(loads(|monitor| !monitor.is_barred()));
            for slice in self.levels.iter_mut().filter_map(|level| level.get_mut(id)) {
                slice.rebuild(&self.settings, may_panic, &mut self.rng);
            }
        }
        self.stale = false;
        self.rebuilt_at = now;
        if self.is_in_panic() != was_in_panic {
            self.events.push(PoolEvent::Panic(!was_in_panic));
        }
    }

    fn is_in_panic(&self) -> bool {
        let all = self.levels.iter().filter_map(|level| level.get(SliceId::ALL));
        all.into_iter().any(|slice| slice.is_in_panic())
    }
}

//! A worker's live view of one service.

use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::balancer::host_group::PickArgs;
use crate::balancer::host_set::HostSet;
use crate::balancer::peak_ewma::MeanLatency;
use crate::balancer::pick_context::PickContext;
use crate::balancer::pool_settings::PoolSettings;
use crate::balancer::priority::{Loads, in_order};
use crate::balancer::request_outcome::RequestOutcome;
use crate::balancer::subset_selectors::{SubsetId, SubsetSelectors, WantedVersion};
use crate::balancer::ticket::Ticket;
use crate::balancer::upstream_host::UpstreamHost;
use crate::config::{Locality, Policy, Service};
use crate::handoff::encoded_handoff::EncodedHandoff;
use crate::model::endpoint::{Address, Endpoint};
use crate::model::snapshot::Snapshot;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// A worker's live view of one service: the endpoints of the latest snapshots with what the
/// worker knows of them, and the policy that picks among them.
///
/// Everything that grows with the number of endpoints is done by [`Pool::install`], and by
/// [`Pool::on_tick`] as endpoints become warmer; a pick takes the same time with 10 and with 10,000,
/// and allocates nothing. Only the table of a hash policy is built by the first pick that needs it.
#[derive(Debug)]
pub struct Pool {
    settings: PoolSettings,
    /// One for each datacenter, in order of preference.
    levels: Vec<HostSet>,
    /// How requests are spread over the levels, by [`SubsetId`].
    loads: Vec<Loads>,
    subsets: SubsetSelectors,
    /// How many versions a header cannot name, because there are too many.
    unnamed_versions: usize,
    /// The number of versions, where some cannot be named and that was not told yet.
    untold_versions: Option<usize>,
    usual_latency: MeanLatency,
    /// The moment at which the levels were rebuilt.
    rebuilt_at: Time,
    rng: Rng,
    /// What the request draws by that is picked for, where its hash decides.
    by_hash: Option<Rng>,
}

impl Pool {
    /// An empty pool. Each needs a generator of its own: with the same one, all workers
    /// would pick alike.
    pub fn new(service: &Service, locality: Option<&Locality>, rng: Rng) -> Self {
        let levels = service.datacenters.len().max(1);
        let settings = PoolSettings::new(&service.load_balancing, locality);
        let subsets = SubsetSelectors::new(service.versions.as_ref(), &settings);
        Self {
            settings,
            levels: (0..levels).map(|_| HostSet::default()).collect(),
            loads: Vec::new(),
            subsets,
            unnamed_versions: 0,
            untold_versions: None,
            usual_latency: MeanLatency::default(),
            rebuilt_at: Time::ZERO,
            rng,
            by_hash: None,
        }
    }

    /// Replaces the endpoints of a datacenter, by its place in the order of preference.
    ///
    /// An endpoint whose address stays keeps its [`UpstreamHost`], and with it its statistics; for each
    /// new one `prepare` makes the handoff. Tickets of removed endpoints stay valid.
    pub fn install(
        &mut self,
        preference: usize,
        snapshot: &Snapshot,
        now: Time,
        prepare: &mut dyn FnMut(&Endpoint) -> EncodedHandoff,
    ) {
        let Some(level) = self.levels.get_mut(preference) else {
            return;
        };
        level.install(snapshot, now, prepare);
        let mut versions = BTreeMap::new();
        for version in self.levels.iter().flat_map(HostSet::versions) {
            *versions.entry(Rc::clone(version)).or_default() += 1;
        }
        let unnamed = self.subsets.on_versions(&versions);
        if unnamed > 0 && self.unnamed_versions == 0 {
            self.untold_versions = Some(versions.len());
        }
        self.unnamed_versions = unnamed;
        for level in &mut self.levels {
            level.slice(&self.subsets, &self.settings);
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

    /// Picks an endpoint for a request, and fills `others` with different ones for its
    /// retries; where there are too few, the last places are none. None where no endpoint
    /// takes the request.
    ///
    /// The others are chosen by the policy, too. Most are never used, so they neither take a turn
    /// of a round robin, which draws them by weight, nor count as in flight.
    pub fn pick(
        &mut self,
        hints: &PickContext,
        others: &mut [Option<Rc<UpstreamHost>>],
    ) -> Option<Ticket> {
        others.fill(None);
        let slice = self.slice_for(hints)?;
        self.by_hash = if self.settings.hashes() { hints.draws() } else { None };
        let rng = self.by_hash.as_mut().unwrap_or(&mut self.rng);
        let first = self.loads.get(slice.0).and_then(|loads| loads.choose(rng));
        let ticket = self.pick_from(hints, slice, first)?;
        self.fill(others, ticket.target(), hints, slice, first);
        Some(ticket)
    }

    /// Learns how an endpoint has answered.
    pub fn on_outcome(&mut self, target: &Rc<UpstreamHost>, outcome: RequestOutcome, now: Time) {
        if let Policy::PeakEwma { decay, .. } = self.settings.policy {
            self.usual_latency.on_response(target, outcome, now, decay);
        }
    }

    /// Learns that an endpoint has not answered for so long, when the client left.
    pub fn on_silence(&mut self, target: &Rc<UpstreamHost>, time: Duration, now: Time) {
        if let Policy::PeakEwma { decay, .. } = self.settings.policy {
            self.usual_latency.on_silence(target, time, now, decay);
        }
    }

    /// Lets time pass: endpoints become warmer, and the usual latency is measured anew.
    pub fn on_tick(&mut self, now: Time) {
        if let Policy::PeakEwma { decay, .. } = self.settings.policy {
            let targets = self.levels.iter().flat_map(HostSet::targets);
            self.usual_latency.measure(targets.map(Rc::as_ref), now, decay);
        }
        let is_due = now.since(self.rebuilt_at) >= self.settings.warming_step();
        if is_due && self.levels.iter().any(HostSet::is_warming) {
            self.rebuild(now);
        }
    }

    /// How many versions there are, once when they have become more than a header can name: those
    /// that few endpoints have cannot be named.
    pub const fn take_too_many_versions(&mut self) -> Option<usize> {
        self.untold_versions.take()
    }

    /// Whether requests can be decided: an endpoint is known, or that there is none anywhere.
    pub fn is_resolved(&self) -> bool {
        self.levels.iter().all(HostSet::is_resolved) || !self.is_empty()
    }

    /// Returns true if every datacenter is known to have no endpoint.
    pub fn is_down(&self) -> bool {
        self.levels.iter().all(HostSet::is_down)
    }

    /// The endpoints, sorted by address within each datacenter.
    pub fn targets(&self) -> impl Iterator<Item = &Rc<UpstreamHost>> + Clone {
        self.levels.iter().flat_map(HostSet::targets)
    }

    /// Whether one of the endpoints listens there.
    pub fn has(&self, address: &Address) -> bool {
        self.levels.iter().any(|level| level.has(address))
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.levels.iter().map(HostSet::len).sum()
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
    fn slice_for(&mut self, hints: &PickContext) -> Option<SubsetId> {
        let wanted = self.subsets.choose(hints, &mut self.rng);
        let is_there =
            |id| self.levels.iter().any(|l| l.get(id).is_some_and(|slice| !slice.is_empty()));
        match wanted {
            WantedVersion::Slice(id) if id == SubsetId::ALL || is_there(id) => Some(id),
            _ if self.subsets.falls_back() => Some(SubsetId::ALL),
            _ => None,
        }
    }

    /// Picks from the datacenter `first`, or from the next one that has an endpoint to pick.
    fn pick_from(
        &mut self,
        hints: &PickContext,
        slice: SubsetId,
        first: Option<usize>,
    ) -> Option<Ticket> {
        let occasion =
            PickArgs::new(&self.settings.policy, hints.now, self.usual_latency.seconds());
        let (levels, rng) = (&mut self.levels, self.by_hash.as_mut().unwrap_or(&mut self.rng));
        in_order(first, levels.len()).find_map(|index| {
            levels.get_mut(index)?.get_mut(slice)?.pick(occasion, hints.hash, rng)
        })
    }

    /// Fills `others` with endpoints that differ from `picked` and from each other.
    fn fill(
        &mut self,
        others: &mut [Option<Rc<UpstreamHost>>],
        picked: &Rc<UpstreamHost>,
        hints: &PickContext,
        slice: SubsetId,
        first: Option<usize>,
    ) {
        let occasion =
            PickArgs::new(&self.settings.policy, hints.now, self.usual_latency.seconds());
        let (levels, rng) = (&self.levels, self.by_hash.as_mut().unwrap_or(&mut self.rng));
        let slices = in_order(first, levels.len());
        let mut slices = slices.filter_map(|index| levels.get(index)?.get(slice)).peekable();
        let mut place = 0;
        while let (Some(slice), true) = (slices.peek(), place < others.len()) {
            let is_new = |target: &Rc<UpstreamHost>| {
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
        for level in &self.levels {
            level.warm(&self.settings, now);
        }
        self.loads.clear();
        for id in (0..self.subsets.len()).map(SubsetId) {
            let healths: Vec<_> = self.levels.iter().map(|level| level.health(id)).collect();
            self.loads.push(Loads::new(&healths));
            for slice in self.levels.iter_mut().filter_map(|level| level.get_mut(id)) {
                slice.rebuild(&self.settings, &mut self.rng);
            }
        }
        self.rebuilt_at = now;
    }
}

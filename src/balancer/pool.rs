//! A worker's live view of one service.

use core::time::Duration;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::balancer::host_set::HostSet;
use crate::balancer::locality::LocalZone;
use crate::balancer::pick_context::PickContext;
use crate::balancer::policy::PoolPolicy;
use crate::balancer::priority::{Loads, in_order};
use crate::balancer::slow_start;
use crate::balancer::subset_selectors::{SubsetId, SubsetSelectors, WantedVersion};
use crate::balancer::ticket::{RequestOutcome, Ticket};
use crate::balancer::upstream_host::UpstreamHost;
use crate::config::{Locality, Service, SlowStart};
use crate::handoff::encoded_handoff::EncodedHandoff;
use crate::model::endpoint::{Address, Endpoint};
use crate::model::snapshot::Snapshot;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// A worker's live view of one service: the hosts of the latest snapshots with their statistics, and
/// the policy that picks among them.
///
/// All work that grows with the number of hosts is done by [`Pool::install`], and by [`Pool::on_tick`]
/// during slow starts. A pick takes the same time with 10 hosts and with 10,000, and allocates nothing.
/// Only the table of a hash policy is built by the first pick that needs it.
#[derive(Debug)]
pub struct Pool {
    policy: PoolPolicy,
    slow_start: Option<SlowStart>,
    local_zone: LocalZone,
    /// The host set of each datacenter, in order of preference.
    host_sets: Vec<HostSet>,
    /// The shares of the host sets, by [`SubsetId`].
    loads: Vec<Loads>,
    subsets: SubsetSelectors,
    /// The number of versions that a header cannot name, because there are too many.
    unnamed_versions: usize,
    /// The number of versions, if some cannot be named and that is not reported yet.
    unreported_versions: Option<usize>,
    /// The time at which the picks were prepared.
    rebuilt_at: Time,
    rng: Rng,
    /// The generator of the request that is picked for, if its hash decides.
    hash_rng: Option<Rng>,
}

impl Pool {
    /// Creates an empty pool. Each pool needs a generator of its own: with the same generator, all
    /// workers would pick alike.
    pub fn new(service: &Service, locality: Option<&Locality>, rng: Rng) -> Self {
        let datacenters = service.datacenters.len().max(1);
        let policy = PoolPolicy::new(&service.load_balancing.policy);
        let subsets = SubsetSelectors::new(service.versions.as_ref(), policy.is_hash());
        // A hash policy ignores zones: a key has the same host in whatever zone it is requested.
        let locality = locality.filter(|_| !policy.is_hash());
        Self {
            policy,
            slow_start: service.load_balancing.slow_start,
            local_zone: LocalZone::new(locality),
            host_sets: (0..datacenters).map(|_| HostSet::default()).collect(),
            loads: Vec::new(),
            subsets,
            unnamed_versions: 0,
            unreported_versions: None,
            rebuilt_at: Time::ZERO,
            rng,
            hash_rng: None,
        }
    }

    /// Replaces the hosts of a datacenter, by its place in the order of preference.
    ///
    /// A host whose address stays keeps its [`UpstreamHost`], and with it its statistics. For each new
    /// host `prepare` encodes the handoff. Tickets of removed hosts stay valid.
    pub fn install(
        &mut self,
        preference: usize,
        snapshot: &Snapshot,
        now: Time,
        prepare: &mut dyn FnMut(&Endpoint) -> EncodedHandoff,
    ) {
        let Some(host_set) = self.host_sets.get_mut(preference) else {
            return;
        };
        host_set.install(snapshot, now, prepare);
        let mut versions = BTreeMap::new();
        for version in self.host_sets.iter().flat_map(HostSet::versions) {
            *versions.entry(Rc::clone(version)).or_default() += 1;
        }
        let unnamed = self.subsets.on_versions(&versions);
        if unnamed > 0 && self.unnamed_versions == 0 {
            self.unreported_versions = Some(versions.len());
        }
        self.unnamed_versions = unnamed;
        for host_set in &mut self.host_sets {
            host_set.divide(&self.subsets, &self.policy);
        }
        self.rebuild(now);
    }

    /// Forgets a datacenter as if nothing had been installed, so that the next snapshot counts as its
    /// first. [`Pool::install`] must follow.
    pub fn forget(&mut self, preference: usize) {
        if let Some(host_set) = self.host_sets.get_mut(preference) {
            host_set.forget();
        }
    }

    /// Picks a host for a request, and fills `retry_hosts` with different hosts for its retries; if
    /// there are too few, the last places are none. Returns none if no host takes the request.
    ///
    /// The retry hosts are chosen by the policy, too. Most are never used, so they do not count as in
    /// flight, and a round robin draws them by weight instead of giving them a turn.
    pub fn pick(
        &mut self,
        context: &PickContext,
        retry_hosts: &mut [Option<Rc<UpstreamHost>>],
    ) -> Option<Ticket> {
        retry_hosts.fill(None);
        let subset = self.subset_for(context)?;
        self.hash_rng = if self.policy.is_hash() { context.hash_rng() } else { None };
        let rng = self.hash_rng.as_mut().unwrap_or(&mut self.rng);
        let first = self.loads.get(subset.0).and_then(|loads| loads.choose(rng));
        let ticket = self.pick_from(context, subset, first)?;
        self.fill(retry_hosts, ticket.host(), context, subset, first);
        Some(ticket)
    }

    /// Takes the outcome of a request at `host` into account.
    pub fn on_outcome(&mut self, host: &Rc<UpstreamHost>, outcome: RequestOutcome, now: Time) {
        self.policy.on_outcome(host, outcome, now);
    }

    /// Takes into account that `host` had not responded after `time`, when the client left.
    pub fn on_silence(&mut self, host: &Rc<UpstreamHost>, time: Duration, now: Time) {
        self.policy.on_silence(host, time, now);
    }

    /// Advances the time: raises the shares of new hosts, and measures the mean latency anew.
    pub fn on_tick(&mut self, now: Time) {
        let hosts = self.host_sets.iter().flat_map(HostSet::hosts);
        self.policy.on_tick(hosts.map(Rc::as_ref), now);
        let is_due = now.since(self.rebuilt_at) >= slow_start::step(self.slow_start.as_ref());
        if is_due && self.host_sets.iter().any(HostSet::is_warming) {
            self.rebuild(now);
        }
    }

    /// Returns the number of versions, once, after they have become more than a header can name. The
    /// versions of the fewest hosts cannot be named.
    pub const fn take_too_many_versions(&mut self) -> Option<usize> {
        self.unreported_versions.take()
    }

    /// Returns true if requests can be decided: a host is known, or all datacenters are known to have
    /// none.
    pub fn is_resolved(&self) -> bool {
        self.host_sets.iter().all(HostSet::is_resolved) || !self.is_empty()
    }

    /// Returns true if every datacenter is known to have no host.
    pub fn is_down(&self) -> bool {
        self.host_sets.iter().all(HostSet::is_down)
    }

    /// The hosts, sorted by address within each datacenter.
    pub fn hosts(&self) -> impl Iterator<Item = &Rc<UpstreamHost>> + Clone {
        self.host_sets.iter().flat_map(HostSet::hosts)
    }

    /// Returns true if a host has this address.
    pub fn has(&self, address: &Address) -> bool {
        self.host_sets.iter().any(|host_set| host_set.has(address))
    }

    /// The number of hosts.
    pub fn len(&self) -> usize {
        self.host_sets.iter().map(HostSet::len).sum()
    }

    /// Returns true if there is no host.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The requests in flight to all hosts; requests to removed hosts are not counted.
    pub fn in_flight(&self) -> u64 {
        self.hosts().map(|host| u64::from(host.active())).sum()
    }

    /// Returns the subset for a request: the wanted subset, or all hosts if that is empty everywhere
    /// and the service falls back to any version.
    fn subset_for(&mut self, context: &PickContext) -> Option<SubsetId> {
        let wanted = self.subsets.choose(context, &mut self.rng);
        let has_hosts = |id| {
            self.host_sets.iter().any(|it| it.get(id).is_some_and(|subset| !subset.is_empty()))
        };
        match wanted {
            WantedVersion::Subset(id) if id == SubsetId::ALL || has_hosts(id) => Some(id),
            _ if self.subsets.falls_back() => Some(SubsetId::ALL),
            _ => None,
        }
    }

    /// Picks from the datacenter `first`, or from the next one that has a host to pick.
    fn pick_from(
        &mut self,
        context: &PickContext,
        subset: SubsetId,
        first: Option<usize>,
    ) -> Option<Ticket> {
        let (host_sets, policy) = (&mut self.host_sets, &self.policy);
        let rng = self.hash_rng.as_mut().unwrap_or(&mut self.rng);
        in_order(first, host_sets.len())
            .find_map(|index| host_sets.get_mut(index)?.get_mut(subset)?.pick(policy, context, rng))
    }

    /// Fills `retry_hosts` with hosts that differ from `picked` and from each other.
    fn fill(
        &mut self,
        retry_hosts: &mut [Option<Rc<UpstreamHost>>],
        picked: &Rc<UpstreamHost>,
        context: &PickContext,
        subset: SubsetId,
        first: Option<usize>,
    ) {
        let (host_sets, policy) = (&self.host_sets, &self.policy);
        let rng = self.hash_rng.as_mut().unwrap_or(&mut self.rng);
        let subsets = in_order(first, host_sets.len());
        let mut subsets = subsets.filter_map(|index| host_sets.get(index)?.get(subset)).peekable();
        let mut filled = 0;
        while let (Some(subset), true) = (subsets.peek(), filled < retry_hosts.len()) {
            let is_new = |host: &Rc<UpstreamHost>| {
                !Rc::ptr_eq(host, picked)
                    && !retry_hosts.iter().flatten().any(|other| Rc::ptr_eq(other, host))
            };
            match subset.alternative(policy, context, rng, is_new).map(Rc::clone) {
                found @ Some(_) => {
                    if let Some(place) = retry_hosts.get_mut(filled) {
                        *place = found;
                    }
                    filled += 1;
                }
                None => {
                    subsets.next();
                }
            }
        }
    }

    /// Prepares picks from the present shares and health of the hosts.
    fn rebuild(&mut self, now: Time) {
        for host_set in &self.host_sets {
            host_set.warm(self.slow_start.as_ref(), now);
        }
        self.loads.clear();
        for id in (0..self.subsets.len()).map(SubsetId) {
            let healths: Vec<_> = self.host_sets.iter().map(|it| it.health(id)).collect();
            self.loads.push(Loads::new(&healths));
            for subset in self.host_sets.iter_mut().filter_map(|it| it.get_mut(id)) {
                subset.rebuild(&self.policy, &self.local_zone, &mut self.rng);
            }
        }
        self.rebuilt_at = now;
    }
}

//! The policies that pick a host.
//!
//! A policy is a file of this room and an arm of [`PoolPolicy`], the only place of the balancer that
//! tells policies apart. A policy picks within a [`HostGroup`]; a hash policy picks by a
//! [`HashTable`] over all hosts of a subset instead.

mod alias;
pub(super) mod hash_table;
pub(super) mod host_group;
mod least_request;
pub mod maglev;
mod peak_ewma;
pub mod ring_hash;
mod round_robin;

use core::time::Duration;
use std::rc::Rc;

use crate::balancer::policy::hash_table::{HashTable, Table, TableSize};
use crate::balancer::policy::host_group::HostGroup;
use crate::balancer::policy::least_request::LeastRequest;
use crate::balancer::policy::peak_ewma::LatencyPolicy;
use crate::balancer::ticket::RequestOutcome;
use crate::balancer::upstream_host::UpstreamHost;
use crate::config::{Hashing, Policy};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The policy of a pool, with the latencies that it has learned.
#[derive(Debug)]
pub(super) enum PoolPolicy {
    RoundRobin,
    Random,
    LeastRequest(LeastRequest),
    PeakEwma(LatencyPolicy),
    Hash { size: TableSize, balance_factor: Option<u32> },
}

impl PoolPolicy {
    /// Creates the policy that the configuration names.
    pub(super) fn new(policy: &Policy) -> Self {
        match *policy {
            Policy::RoundRobin => Self::RoundRobin,
            Policy::Random => Self::Random,
            Policy::LeastRequest { choice_count, active_request_bias } => {
                Self::LeastRequest(LeastRequest { choice_count, active_request_bias })
            }
            Policy::PeakEwma { choice_count, decay } => {
                Self::PeakEwma(LatencyPolicy::new(choice_count, decay))
            }
            Policy::RingHash {
                hash: Hashing { balance_factor, .. },
                minimum_ring_size: minimum,
                maximum_ring_size: maximum,
            } => Self::Hash { size: TableSize::Ring { minimum, maximum }, balance_factor },
            Policy::Maglev { hash: Hashing { balance_factor, .. }, table_size: places } => {
                Self::Hash { size: TableSize::Maglev { places }, balance_factor }
            }
        }
    }

    /// Returns true if the policy picks by the hash of a request.
    pub(super) const fn is_hash(&self) -> bool {
        matches!(self, Self::Hash { .. })
    }

    /// Returns the table over `hosts` that a hash policy needs. `is_of_version`: the hosts are those of
    /// a version. The table comes from `known` if one there has the same hosts, else it is added there.
    pub(super) fn hash_table(
        &self,
        hosts: &[Rc<UpstreamHost>],
        is_of_version: bool,
        known: &mut Vec<Rc<Table>>,
    ) -> Option<HashTable> {
        match *self {
            Self::Hash { size, balance_factor } => {
                Some(HashTable::new(size, balance_factor, hosts, is_of_version, known))
            }
            _ => None,
        }
    }

    /// Groups `hosts`, which are sorted by address. `before` is the group of the same zone that the
    /// new group replaces.
    pub(super) fn group(
        &self,
        zone: Option<Rc<str>>,
        hosts: Vec<Rc<UpstreamHost>>,
        before: Option<&HostGroup>,
        rng: &mut Rng,
    ) -> HostGroup {
        let group = HostGroup::new(zone, hosts);
        match self {
            Self::RoundRobin => group.with_turns(before, rng),
            _ => group,
        }
    }

    /// Picks a host of `group`; none of an empty group.
    pub(super) fn pick<'a>(
        &self,
        group: &'a mut HostGroup,
        now: Time,
        rng: &mut Rng,
    ) -> Option<&'a Rc<UpstreamHost>> {
        match self {
            Self::RoundRobin => group.take_turn(rng),
            _ => self.choose(group, now, rng, |_| true),
        }
    }

    /// Chooses a host of `group` for a retry, among those that `is_allowed` accepts. A round robin
    /// draws by weight here, so that retries take no turns.
    pub(super) fn choose<'a>(
        &self,
        group: &'a HostGroup,
        now: Time,
        rng: &mut Rng,
        is_allowed: impl Fn(&Rc<UpstreamHost>) -> bool,
    ) -> Option<&'a Rc<UpstreamHost>> {
        match self {
            Self::LeastRequest(policy) => policy.choose(group, rng, is_allowed),
            Self::PeakEwma(policy) => policy.choose(group, now, rng, is_allowed),
            Self::RoundRobin | Self::Random | Self::Hash { .. } => group.draw(rng, is_allowed),
        }
    }

    /// Takes the outcome of a request at `host` into account.
    pub(super) fn on_outcome(&mut self, host: &UpstreamHost, outcome: RequestOutcome, now: Time) {
        if let Self::PeakEwma(policy) = self {
            policy.on_outcome(host, outcome, now);
        }
    }

    /// Takes into account that `host` had not responded after `time`, when the client left.
    pub(super) fn on_silence(&self, host: &UpstreamHost, time: Duration, now: Time) {
        if let Self::PeakEwma(policy) = self {
            policy.on_silence(host, time, now);
        }
    }

    /// Measures the mean latency of all hosts anew.
    pub(super) fn on_tick<'a>(&mut self, hosts: impl Iterator<Item = &'a UpstreamHost>, now: Time) {
        if let Self::PeakEwma(policy) = self {
            policy.measure(hosts, now);
        }
    }
}

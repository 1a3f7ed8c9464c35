//! How a pool picks, as the configuration has it.

use core::time::Duration;
use std::rc::Rc;

use crate::config::{LoadBalancing, Locality, Policy, SlowStart};

/// How a pool picks, as far as all of its parts go by it.
#[derive(Debug, Clone)]
pub(super) struct PoolSettings {
    pub(super) policy: Policy,
    pub(super) slow_start: Option<SlowStart>,
    /// The zone of this proxy; none: zones make no difference.
    pub(super) zone: Option<Rc<str>>,
    /// With fewer endpoints zones make none either.
    min_cluster_size: usize,
}

impl PoolSettings {
    /// The settings of one service.
    pub(super) fn new(load_balancing: &LoadBalancing, locality: Option<&Locality>) -> Self {
        let zone = locality.and_then(|locality| locality.zone.as_deref());
        Self {
            policy: load_balancing.policy.clone(),
            slow_start: load_balancing.slow_start,
            zone: zone.map(Rc::from),
            min_cluster_size: locality.map_or(0, |locality| locality.min_cluster_size as usize),
        }
    }

    /// How often the shares of endpoints that start slowly are brought up to date: in steps of a
    /// twentieth, but not more often than every second where the start is a long one.
    pub(super) fn warming_step(&self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(1);
        self.slow_start.map_or(LONGEST, |start| (start.window / 20).min(LONGEST))
    }

    /// Whether the policy is one that hashes.
    pub(super) const fn hashes(&self) -> bool {
        matches!(self.policy, Policy::RingHash { .. } | Policy::Maglev { .. })
    }

    /// Whether a pick among so many endpoints goes by zones. One by a hash never does: a key
    /// belongs to the same endpoint in whatever zone it is asked for.
    pub(super) fn zones_matter(&self, endpoints: usize) -> bool {
        self.zone.is_some() && !self.hashes() && endpoints >= self.min_cluster_size
    }
}

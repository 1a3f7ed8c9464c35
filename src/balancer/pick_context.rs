//! The inputs of a pick.

use crate::util::rng::Rng;
use crate::util::time::Time;

/// The parts of a request that its service is configured to look at, and the time. A part that the
/// service does not use, or the request does not have, is none.
#[derive(Debug, Clone, Default)]
pub struct PickContext {
    /// The time; [`Time::ZERO`] for a service whose picks do not depend on it.
    pub now: Time,
    /// True if the request has a body that is still to come; false where latencies are not measured.
    pub has_body: bool,
    /// The hash for a hash policy.
    pub hash: Option<u64>,
    /// The version, or the prefix of a version, that the request names.
    pub version: Option<Vec<u8>>,
    /// The hash that holds a client to its share of a split.
    pub split: Option<u64>,
}

impl PickContext {
    /// Returns the generator for a request with a hash. The generator is always the same, so that the
    /// datacenter and all other draws follow from the hash, as Envoy's priority does
    /// (`choosePriority` in its `load_balancer_impl.cc`). The same hash draws a version independently:
    /// else all keys of a version would fail over together.
    pub(super) fn hash_rng(&self) -> Option<Rng> {
        self.hash.map(|hash| Rng::new(hash).split())
    }
}

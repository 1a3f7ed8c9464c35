//! What a request says about where it wants to go.

use crate::util::rng::Rng;
use crate::util::time::Time;

/// What a request says about where it wants to go, as far as its service asks for it: each
/// part is there only where the service is configured to look at it, and the request has it.
#[derive(Debug, Clone, Default)]
pub struct PickContext {
    /// The moment; the start of time for a service whose picks do not depend on it.
    pub now: Time,
    /// Whether the request has a body that is still to come; false where latencies are not wanted.
    pub has_body: bool,
    /// The hash that a hash policy goes by.
    pub hash: Option<u64>,
    /// The version, or the beginning of one, that the request names.
    pub version: Option<Vec<u8>>,
    /// The hash that holds a client to its share of a split.
    pub split: Option<u64>,
}

impl PickContext {
    /// What a request with a hash draws by: always the same, so that its datacenter and whatever
    /// else its policy draws follow from the hash, as Envoy's priority does (`choosePriority` in
    /// its `load_balancer_impl.cc`). The version that the same hash may draw is independent of it,
    /// or the keys of a version would fail over together.
    pub(super) fn draws(&self) -> Option<Rng> {
        self.hash.map(|hash| Rng::new(hash).split())
    }
}

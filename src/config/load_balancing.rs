//! How an endpoint is picked.

use super::error::ConfigError;
use super::node::Node;
use super::policy::Policy;
use super::slow_start::SlowStart;

/// How an endpoint of a service is picked for a request.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadBalancing {
    /// The policy.
    pub policy: Policy,
    /// How an endpoint that is new, or back from an ejection, comes to its full share; none:
    /// it has it at once.
    pub slow_start: Option<SlowStart>,
    /// In percent: when less than this share of the endpoints is left by ejections, all are
    /// used. 0 is never.
    pub panic_threshold: u8,
}

impl LoadBalancing {
    /// The `panic_threshold` where none is given: that of Envoy's clusters.
    pub const DEFAULT_PANIC_THRESHOLD: u8 = 50;
    /// The fields that the configuration knows; see also [`super::PolicyKind::FIELDS`].
    pub const FIELDS: &[&str] = &[
        "policy",
        "hash_on",
        "hash_balance_factor",
        "choice_count",
        "active_request_bias",
        "decay",
        "minimum_ring_size",
        "maximum_ring_size",
        "table_size",
        "slow_start",
        "panic_threshold",
    ];

    pub(super) fn read(node: &Node<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        Ok(Self {
            policy: Policy::read(&object)?,
            slow_start: object.optional("slow_start", SlowStart::read)?,
            panic_threshold: object
                .optional("panic_threshold", Node::percent)?
                .unwrap_or(Self::DEFAULT_PANIC_THRESHOLD),
        })
    }
}

impl Default for LoadBalancing {
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            slow_start: None,
            panic_threshold: Self::DEFAULT_PANIC_THRESHOLD,
        }
    }
}

//! How an endpoint is picked.

use super::cursor::Cursor;
use super::error::ConfigError;
use super::policy::Policy;
use super::slow_start::SlowStart;

/// How an endpoint of a service is picked for a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadBalancing {
    /// The policy.
    pub policy: Policy,
    /// How an endpoint that is new comes to its full share; none: it has it at once.
    pub slow_start: Option<SlowStart>,
}

impl LoadBalancing {
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
    ];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        Ok(Self {
            policy: Policy::read(&object)?,
            slow_start: object.optional("slow_start", SlowStart::read)?,
        })
    }
}

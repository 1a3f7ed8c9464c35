//! What Consul has answered.

use core::time::Duration;

use crate::registry::consul::decode::Decoded;
use crate::registry::consul::index::ConsulIndex;

/// Consul's answer to a [`Query`](crate::registry::consul::query::Query).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryResponse {
    /// The version of the state; may be lower than the one asked for.
    pub index: ConsulIndex,
    /// The state.
    pub decoded: Decoded,
    /// Whether Consul has left out what the token may not see: the state is more than this.
    pub filtered_by_acls: bool,
    /// How long ago the server that answered had heard from the leader; none where Consul does
    /// not say, or nothing that can be read: newer agents leave it out (hashicorp/consul#9776),
    /// so it may never fail a read.
    pub last_contact: Option<Duration>,
    /// How old the agent's cache says the state is; none where it does not come from there.
    pub age: Option<Duration>,
    /// Whether it is older than the configuration admits (`max_stale`, or the ages of `cached`):
    /// the leader is to be asked instead. Never set by a header that is not there.
    pub is_too_old: bool,
}

impl QueryResponse {
    /// All of the state, of which no header says how old it is.
    pub const fn new(index: ConsulIndex, decoded: Decoded) -> Self {
        let (last_contact, age) = (None, None);
        Self { index, decoded, filtered_by_acls: false, last_contact, age, is_too_old: false }
    }
}

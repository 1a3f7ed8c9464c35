//! What identifies a registration.

use crate::model::service::QueryKey;
use crate::model::slot_map::SlotKey;

/// A service that this proxy registers, or is to remove: one of the configuration's list, in whose
/// order they come first, or one that an earlier configuration has left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationId(SlotKey);

impl RegistrationId {
    /// The configured registration at that position.
    pub const fn nth(position: u16) -> Self {
        Self(SlotKey::nth(position))
    }
}

impl From<SlotKey> for RegistrationId {
    fn from(slot: SlotKey) -> Self {
        Self(slot)
    }
}

impl From<RegistrationId> for SlotKey {
    fn from(id: RegistrationId) -> Self {
        id.0
    }
}

/// What identifies an instance at an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id {
    /// The Envoy cluster of the agent.
    pub cluster: String,
    /// The instance's id.
    pub id: String,
    /// Its namespace (Consul Enterprise).
    pub namespace: Option<String>,
    /// Its admin partition (Consul Enterprise).
    pub partition: Option<String>,
}

impl Id {
    /// Whether another one is the same but for the cluster by which its agent is reached.
    pub fn names_the_same_as(&self, other: &Self) -> bool {
        let named = |it: &Self| (it.id.clone(), it.namespace.clone(), it.partition.clone());
        named(self) == named(other)
    }

    /// A hash of it.
    pub fn key(&self) -> QueryKey {
        let [namespace, partition] =
            [&self.namespace, &self.partition].map(|scope| scope.as_deref().unwrap_or_default());
        QueryKey::of(["registration", &self.cluster, &self.id, namespace, partition])
    }
}

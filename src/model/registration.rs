//! The identity of a registration.

use crate::model::service::QueryKey;
use crate::model::slot_map::SlotKey;

/// The key of a registration that this proxy keeps, or is to remove. The registrations of the
/// configuration come first, in its order; others are left over from an earlier configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationId(SlotKey);

impl RegistrationId {
    /// Returns the key of the configured registration at this position.
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

/// The identity of an instance at an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Id {
    /// The Envoy cluster of the agent.
    pub cluster: String,
    /// The id of the instance.
    pub id: String,
    /// The namespace (Consul Enterprise).
    pub namespace: Option<String>,
    /// The admin partition (Consul Enterprise).
    pub partition: Option<String>,
}

impl Id {
    /// Returns true if `other` names the same instance, possibly at an agent of another cluster.
    pub fn names_the_same_as(&self, other: &Self) -> bool {
        let named = |it: &Self| (it.id.clone(), it.namespace.clone(), it.partition.clone());
        named(self) == named(other)
    }

    /// Hashes the identity.
    pub fn key(&self) -> QueryKey {
        let [namespace, partition] =
            [&self.namespace, &self.partition].map(|scope| scope.as_deref().unwrap_or_default());
        QueryKey::of(["registration", &self.cluster, &self.id, namespace, partition])
    }
}

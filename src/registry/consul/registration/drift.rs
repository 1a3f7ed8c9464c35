//! The differences between a definition and the agent's service.

use core::fmt;

use crate::registry::consul::registration::actual::{ActualCheck, ActualService};
use crate::registry::consul::registration::definition::Definition;

/// The first difference between a definition and the agent's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// The agent does not have the service.
    Absent,
    /// The agent has another service under this id.
    Name(String),
    /// The address or port differs.
    Address(String, u64),
    /// The tags differ, and nobody else may change them.
    Tags,
    /// The metadata differs.
    Meta,
    /// The weights differ.
    Weights,
    /// The permission of others to change the tags differs.
    TagOverride,
    /// A tagged address is missing or differs.
    TaggedAddress(String),
    /// A check is missing.
    Check(String),
}

impl Drift {
    /// Returns true if another proxy seems to use the same id: the agent's service has another
    /// address.
    pub const fn is_of_another(&self) -> bool {
        matches!(self, Self::Name(_) | Self::Address(..))
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("it is not there"),
            Self::Name(found) => write!(f, "its id belongs to service {found:?}"),
            Self::Address(address, port) => write!(f, "its address is {address:?}, port {port}"),
            Self::Tags => f.write_str("its tags are others"),
            Self::Meta => f.write_str("its metadata is other"),
            Self::Weights => f.write_str("its weights are others"),
            Self::TagOverride => f.write_str("its enable_tag_override is other"),
            Self::TaggedAddress(name) => write!(f, "its tagged address {name:?} is another"),
            Self::Check(id) => write!(f, "its check {id:?} is missing"),
        }
    }
}

impl Definition {
    /// Returns the first difference. Addresses that an agent adds by itself do not count, nor do
    /// tags that others may change.
    pub fn difference(&self, found: &ActualService) -> Option<Drift> {
        let service = &self.service;
        if !found.name.eq_ignore_ascii_case(&service.name) {
            return Some(Drift::Name(found.name.clone()));
        }
        if found.address != service.address || found.port != u64::from(service.port) {
            return Some(Drift::Address(found.address.clone(), found.port));
        }
        if found.enable_tag_override != service.enable_tag_override {
            return Some(Drift::TagOverride);
        }
        if !service.enable_tag_override && found.tags != service.tags {
            return Some(Drift::Tags);
        }
        if found.meta != service.meta {
            return Some(Drift::Meta);
        }
        if found.weights != (service.weights.passing.into(), service.weights.warning.into()) {
            return Some(Drift::Weights);
        }
        let is_missing = |it: &&crate::config::TaggedAddress| {
            let wanted = (it.name.as_str(), it.address.as_str(), u64::from(it.port));
            let same = |(name, address, port): &(String, String, u64)| {
                (name.as_str(), address.as_str(), *port) == wanted
            };
            !found.tagged_addresses.iter().any(same)
        };
        let missing = service.tagged_addresses.iter().find(is_missing);
        missing.map(|it| Drift::TaggedAddress(it.name.clone()))
    }

    /// Returns the first check that the agent does not have.
    pub fn missing_check(&self, found: &[ActualCheck]) -> Option<Drift> {
        let is_missing = |id: &&String| !found.iter().any(|check| check.id == **id);
        self.checks.iter().find(is_missing).map(|id| Drift::Check(id.clone()))
    }

    /// Returns true if the agent is of another datacenter than the configured one.
    pub fn is_elsewhere(&self, found: &ActualService) -> bool {
        let wanted = self.service.datacenter.as_deref();
        let is_other = |(a, b): (&str, &str)| !a.eq_ignore_ascii_case(b);
        wanted.zip(found.datacenter.as_deref()).is_some_and(is_other)
    }
}

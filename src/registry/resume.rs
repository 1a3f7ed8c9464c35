//! The position of a response in the history of a registry.

use crate::registry::consul::index::ConsulIndex;

/// The position of a response in the history of a registry, which its next request resumes from.
///
/// Only the registry looks into it. Everybody else keeps it, hands it back, and asks for the
/// [progress](Self::progress_since) between two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// The index of Consul.
    Consul(ConsulIndex),
    /// No position: the responses have no order.
    #[cfg(feature = "polled-registry")]
    Unordered,
}

/// The way from one position to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The position is a later one, or nothing is known of an order.
    Advanced,
    /// The position is the same: so is the state.
    Same,
    /// The position is an earlier one: a response that was overtaken, a server that lags behind, or
    /// a registry whose state was restored.
    WentBack,
}

impl Resume {
    /// Returns the index of Consul.
    pub(super) const fn index(self) -> Option<ConsulIndex> {
        match self {
            Self::Consul(index) => Some(index),
            #[cfg(feature = "polled-registry")]
            Self::Unordered => None,
        }
    }

    /// Returns the way from `last` to this position.
    pub fn progress_since(self, last: Self) -> Progress {
        match (self, last) {
            (Self::Consul(index), Self::Consul(last)) => match index.cmp(&last) {
                core::cmp::Ordering::Less => Progress::WentBack,
                core::cmp::Ordering::Equal => Progress::Same,
                core::cmp::Ordering::Greater => Progress::Advanced,
            },
            #[cfg(feature = "polled-registry")]
            _ => Progress::Advanced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn progress_of_consul_is_the_order_of_its_indices() {
        let at = |index| Resume::Consul(ConsulIndex::new(index));
        assert_eq!(at(8).progress_since(at(7)), Progress::Advanced);
        assert_eq!(at(7).progress_since(at(7)), Progress::Same);
        assert_eq!(at(6).progress_since(at(7)), Progress::WentBack);
    }
}

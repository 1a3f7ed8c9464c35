//! The keys of Envoy's shared data, and the names of its queues.

use core::fmt;

use crate::model::service::QueryKey;
use crate::shared::record::Version;

/// The version of everything that this floor writes; part of every key.
pub(super) const FORMAT: &str = "consul_resolver.5";

/// Which version of a value in shared data: Envoy's compare-and-set number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cas(pub u32);

/// One VM's root context, by a random number that it draws when it starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(pub u64);

impl VmId {
    /// The name of the queue by which this one is woken. It is never another's: a queue
    /// wakes only the VM that registered last under its name.
    pub fn queue_name(self) -> String {
        format!("{FORMAT}/wake/{self}")
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A place in shared data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// A service's [`Head`](crate::shared::head::Head): who fetches, what is published.
    Head(QueryKey),
    /// A service's [`Record`](crate::shared::record::Record) of that version.
    ///
    /// There are two places that take turns, so the record that the head points to stays whole
    /// while the next one is written. There are no more of them, since what is once in shared data
    /// stays for ever.
    Record(QueryKey, Version),
    /// The [`Members`](crate::shared::members::Members): the queues of all VMs.
    Members,
    /// A registration's [`Charge`](crate::shared::charge::Charge): who keeps it.
    Charge(QueryKey),
    /// The [`Book`](crate::shared::book::Book): what this process has registered.
    Book,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(query) => write!(f, "{FORMAT}/{query}/head"),
            Self::Record(query, Version { generation, .. }) => {
                write!(f, "{FORMAT}/{query}/record/{}", generation & 1)
            }
            Self::Members => write!(f, "{FORMAT}/members"),
            Self::Charge(registration) => write!(f, "{FORMAT}/{registration}/charge"),
            Self::Book => write!(f, "{FORMAT}/book"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::head::Term;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn records_take_turns_in_two_places_whatever_their_terms() {
        let key = |term, generation| {
            Key::Record(QueryKey(7), Version { term: Term(term), generation }).to_string()
        };
        assert_eq!(key(1, 4), key(1, 6));
        assert_ne!(key(1, 4), key(1, 5));
        assert_eq!(key(1, 4), key(2, 4));
    }
}

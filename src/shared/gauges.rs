//! Whose values the gauges of a name show.

use crate::model::service::QueryKey;
use crate::shared::key::FORMAT;

/// Whose values the gauges of a name show, as it stands in shared data.
///
/// The gauges of a process are one for all of its configurations, and two of these may have one name
/// for different queries. Then the gauges are those of the query that a VM began to fetch last, and
/// of the other one once that is given up: so they never show a bit of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Nobody's.
    Free,
    /// Those of the query that asks.
    Ours,
    /// Those of another query.
    Others,
}

impl Shown {
    /// The key under which it stands in shared data, for the name with which the gauges begin.
    pub fn key(name: &str) -> String {
        format!("{FORMAT}/{}/gauges", QueryKey::of([name]))
    }

    /// Reads what stands in shared data, for a query. What is no key is nobody's.
    pub fn read(stored: &[u8], query: QueryKey) -> Self {
        match <[u8; 16]>::try_from(stored) {
            Ok(bytes) if u128::from_le_bytes(bytes) == query.0 => Self::Ours,
            Ok(_) => Self::Others,
            Err(_) => Self::Free,
        }
    }

    /// What is written for a query.
    pub const fn write(query: QueryKey) -> [u8; 16] {
        query.0.to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn gauges_are_those_of_the_query_that_is_written() {
        let (one, other) = (QueryKey(1), QueryKey(2));
        assert_eq!(Shown::read(&Shown::write(one), one), Shown::Ours);
        assert_eq!(Shown::read(&Shown::write(one), other), Shown::Others);
        assert_eq!(Shown::read(b"", one), Shown::Free);
        assert_eq!(Shown::read(b"something else", one), Shown::Free);
        assert_ne!(Shown::key("web"), Shown::key("api"));
    }
}

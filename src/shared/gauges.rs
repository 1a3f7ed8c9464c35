//! The query that the gauges of a name show.

use crate::model::service::QueryKey;
use crate::shared::key::FORMAT;

/// The owner of the gauges of a name, as stored in shared data.
///
/// The gauges of a process serve all of its configurations, and two configurations may use one name
/// for different queries. The gauges then show the query whose leader was elected last, and after
/// that query is released the other one. So they never mix values of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// No query owns the gauges.
    Free,
    /// The given query owns the gauges.
    Ours,
    /// Another query owns the gauges.
    Others,
}

impl Shown {
    /// Returns the key in shared data for gauges that begin with `name`.
    pub fn key(name: &str) -> String {
        format!("{FORMAT}/{}/gauges", QueryKey::of([name]))
    }

    /// Decodes the owner that is stored in shared data, as seen by `query`. Bytes that are no query
    /// key mean no owner.
    pub fn read(stored: &[u8], query: QueryKey) -> Self {
        match <[u8; 16]>::try_from(stored) {
            Ok(bytes) if u128::from_le_bytes(bytes) == query.0 => Self::Ours,
            Ok(_) => Self::Others,
            Err(_) => Self::Free,
        }
    }

    /// Returns the bytes that make `query` the owner.
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
    fn gauges_belong_to_the_query_that_is_stored() {
        let (one, other) = (QueryKey(1), QueryKey(2));
        assert_eq!(Shown::read(&Shown::write(one), one), Shown::Ours);
        assert_eq!(Shown::read(&Shown::write(one), other), Shown::Others);
        assert_eq!(Shown::read(b"", one), Shown::Free);
        assert_eq!(Shown::read(b"something else", one), Shown::Free);
        assert_ne!(Shown::key("web"), Shown::key("api"));
    }
}

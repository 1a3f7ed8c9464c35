//! What Consul has answered.

use core::time::Duration;

use crate::consul::decode::Decoded;
use crate::consul::error::QueryError;
use crate::consul::index::ConsulIndex;
use crate::model::snapshot::Snapshot;

/// Consul's answer to a [`Query`](crate::consul::query::Query).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
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

impl Answer {
    /// All of the state, of which no header says how old it is.
    pub const fn new(index: ConsulIndex, decoded: Decoded) -> Self {
        let (last_contact, age) = (None, None);
        Self { index, decoded, filtered_by_acls: false, last_contact, age, is_too_old: false }
    }

    /// Refuses an answer that would take away all of the `current` endpoints for nothing but
    /// entries that make no sense: a mistake in the registrations, or a body that was
    /// mangled on its way. Where there is nothing to lose it is an answer like any other.
    ///
    /// # Errors
    ///
    /// [`QueryError::Nonsense`].
    pub fn instead_of(self, current: Option<&Snapshot>) -> Result<Self, QueryError> {
        let Decoded { snapshot, dropped, .. } = &self.decoded;
        let loses_all = snapshot.is_empty() && current.is_some_and(|old| !old.is_empty());
        if loses_all && dropped.is_nonsense() {
            return Err(QueryError::Nonsense(*dropped));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::error::ErrorKind;
    use crate::consul::fixtures;
    use crate::consul::query::Query;
    use crate::consul::response::Response;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const ONE: &[u8] = br#"[{"Service": {"Address": "10.0.0.1", "Port": 80}}]"#;

    const fn response(body: &[u8]) -> Response<'_> {
        Response {
            status: 200,
            from_envoy: false,
            index: Some(b"7"),
            filtered_by_acls: false,
            last_contact: None,
            age: None,
            body,
        }
    }

    #[test]
    fn nothing_but_nonsense_is_refused_where_it_would_take_endpoints_away() {
        let query = Query::new(&fixtures::config(), &fixtures::service("web"), None);
        const NONSENSE: &[u8] = br#"[{"Service": {"Address": "db.internal", "Port": 80}}]"#;
        let read = |body| query.read(Ok(response(body)));
        let current = read(ONE).unwrap().decoded.snapshot;
        let error =
            read(NONSENSE).and_then(|answer| answer.instead_of(Some(&current))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadBody);
        assert!(error.to_string().contains("1 with a name"), "{error}");

        let nothing = Snapshot::default();
        for (body, current) in [
            (NONSENSE, None),
            (NONSENSE, Some(&nothing)),
            (b"[]".as_slice(), Some(&current)),
            (ONE, Some(&current)),
        ] {
            let answer = read(body).and_then(|answer| answer.instead_of(current));
            assert!(answer.is_ok(), "{answer:?}");
        }
    }
}

//! Makes a VM trap for a test, as a bug would. Exists with the feature `trap` alone, which no
//! shipped module has.

use crate::host::Expect;
use crate::proxy::host::{self, Headers};

/// The header of a request that asks for a trap: `here` or `fetcher`.
const HEADER: &str = "x-trap";
/// The key of a trap that waits for the leader.
const KEY: &str = "consul_resolver.trap";

/// Traps here, or stores the trap for the leader, if the request asks for it.
pub(super) fn on_request() {
    match host::header(Headers::Request, HEADER).as_deref() {
        Some(b"here") => std::process::abort(),
        Some(b"fetcher") => {
            let expect = host::load(KEY).map_or(Expect::Absent, |(_, cas)| Expect::Unchanged(cas));
            host::store(KEY, b"trap", expect);
        }
        _ => {}
    }
}

/// Traps if this VM leads and a trap waits, which is removed first.
pub(super) fn on_tick(is_fetcher: bool) {
    if is_fetcher
        && let Some((wish, cas)) = host::load(KEY)
        && !wish.is_empty()
        && host::store(KEY, b"", Expect::Unchanged(cas))
    {
        std::process::abort();
    }
}

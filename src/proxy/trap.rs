//! Lets a test make a VM trap, as a bug would. Exists with the feature `trap` alone, which no
//! module that is shipped has.

use crate::host::Expect;
use crate::proxy::host::{self, Headers};

/// What a request says: `here`, or `fetcher`.
const HEADER: &str = "x-trap";
/// Where the wish for a trap waits for the fetcher.
const KEY: &str = "consul_resolver.trap";

/// Traps here, or leaves word for the fetcher, if the request says so.
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

/// Traps if this VM fetches and there is word for it, which it takes away first.
pub(super) fn on_tick(is_fetcher: bool) {
    if is_fetcher
        && let Some((wish, cas)) = host::load(KEY)
        && !wish.is_empty()
        && host::store(KEY, b"", Expect::Unchanged(cas))
    {
        std::process::abort();
    }
}

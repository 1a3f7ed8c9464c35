//! A pick in flight, and its outcome.

use core::time::Duration;
use std::rc::Rc;

use crate::balancer::upstream_host::UpstreamHost;

/// A pick in flight: counts one request at its host for as long as the ticket lives.
///
/// The request is counted until the ticket is dropped. So the count is right however the request ends,
/// a reset stream and a context that Envoy deletes included.
#[derive(Debug)]
#[must_use = "a ticket that is dropped at once counts no request"]
pub struct Ticket {
    host: Rc<UpstreamHost>,
}

/// The outcome of a request at a host, as `peak_ewma` judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The host did as asked; with the latency, if it is known.
    Success(Option<Duration>),
    /// The host did not do as asked, whoever is to blame. A refusal takes no time, so failures have no
    /// latency.
    Failure,
}

impl Ticket {
    /// Counts a request that begins.
    pub(super) fn new(host: &Rc<UpstreamHost>) -> Self {
        host.begin();
        Self { host: Rc::clone(host) }
    }

    /// The host of the request.
    pub const fn host(&self) -> &Rc<UpstreamHost> {
        &self.host
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.host.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handoff::encoded_handoff::EncodedHandoff;
    use crate::model::endpoint::Endpoint;
    use core::net::SocketAddr;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn ticket_counts_a_request_while_it_lives() {
        let endpoint = Endpoint::new("10.0.0.1:80".parse::<SocketAddr>().unwrap());
        let host = Rc::new(UpstreamHost::new(&endpoint, EncodedHandoff::default()));
        let first = Ticket::new(&host);
        let second = Ticket::new(&host);
        assert_eq!(host.active(), 2);
        drop(first);
        assert_eq!(host.active(), 1);
        drop(second);
        assert_eq!(host.active(), 0);
    }
}

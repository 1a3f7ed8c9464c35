//! A pick in flight.

use std::rc::Rc;

use crate::balancer::upstream_host::UpstreamHost;

/// A pick in flight: counts one request at its target for as long as it lives.
///
/// The count goes down when the ticket is dropped, and only then. So it is right however
/// the request ends, a reset stream and a context that Envoy deletes included.
#[derive(Debug)]
#[must_use = "a ticket that is dropped at once counts no request"]
pub struct Ticket {
    target: Rc<UpstreamHost>,
}

impl Ticket {
    /// Counts a request that begins.
    pub(super) fn new(target: &Rc<UpstreamHost>) -> Self {
        target.begin();
        Self { target: Rc::clone(target) }
    }

    /// Where the request goes.
    pub const fn target(&self) -> &Rc<UpstreamHost> {
        &self.target
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.target.end();
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
    fn a_ticket_counts_while_it_lives() {
        let endpoint = Endpoint::new("10.0.0.1:80".parse::<SocketAddr>().unwrap());
        let target = Rc::new(UpstreamHost::new(&endpoint, EncodedHandoff::default()));
        let one = Ticket::new(&target);
        let two = Ticket::new(&target);
        assert_eq!(target.active(), 2);
        drop(one);
        assert_eq!(target.active(), 1);
        drop(two);
        assert_eq!(target.active(), 0);
    }
}

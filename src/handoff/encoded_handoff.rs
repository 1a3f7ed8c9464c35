//! An address as it is handed to Envoy, and the request that it is applied to.

use core::iter;

/// An address as it is handed to Envoy. It is encoded when the endpoint is installed.
#[derive(Debug, Default)]
pub struct EncodedHandoff {
    /// The value of a header, or the first argument of a call to Envoy.
    pub(super) first: Box<[u8]>,
    /// The arguments of further calls; none if one is enough.
    pub(super) rest: Box<[Box<[u8]>]>,
}

impl EncodedHandoff {
    /// Returns the value of a header, or the argument of a single call.
    pub fn of_one(value: Vec<u8>) -> Self {
        Self { first: value.into(), rest: Box::default() }
    }

    /// Returns the value of a header, or the argument of the first call.
    pub fn first(&self) -> &[u8] {
        &self.first
    }

    /// Lists the arguments of all calls in order.
    pub fn arguments(&self) -> impl Iterator<Item = &[u8]> {
        iter::once(&self.first).chain(&self.rest).map(AsRef::as_ref)
    }
}

/// A request as far as a handoff reads and writes it.
pub trait HandoffStream {
    /// Returns true if the request has a header of that name, or if Envoy does not say.
    fn has_header(&mut self, name: &str) -> bool;
    /// Sets a header, whatever values it had. Returns false if Envoy refuses.
    fn set_header(&mut self, name: &str, value: &[u8]) -> bool;
    /// Removes a header. Returns false if Envoy refuses.
    fn remove_header(&mut self, name: &str) -> bool;
    /// Calls Envoy's [`FILTER_STATE_FUNCTION`](super::filter_state::FILTER_STATE_FUNCTION) with an encoded argument. Returns false if Envoy refuses.
    fn set_filter_state(&mut self, argument: &[u8]) -> bool;
}

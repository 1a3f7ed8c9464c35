//! A request as far as a handoff reads and writes it.

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

//! A request as the handler sees it.

use crate::handoff::stream::HandoffStream;
use crate::util::time::Time;

/// A request in its header phase, or paused in it.
pub trait Stream: HandoffStream {
    /// Reads `:authority`.
    fn authority(&mut self) -> Option<Vec<u8>>;
    /// Reads the service's name from the route's metadata. The name is that of no service if Envoy does not
    /// let the metadata be read.
    fn route_service(&mut self) -> Option<Vec<u8>>;
    /// Reads a header's first value.
    fn header(&mut self, name: &str) -> Option<Vec<u8>>;
    /// Reads all values of a header in order, with commas between them.
    fn values(&mut self, name: &str) -> Option<Vec<u8>>;
    /// Returns true if a body is still to come behind the headers.
    fn has_body(&self) -> bool;
    /// Reads the address and port that the request came from.
    fn source_address(&mut self) -> Option<Vec<u8>>;
    /// Reads the clock.
    fn now(&mut self) -> Time;
}

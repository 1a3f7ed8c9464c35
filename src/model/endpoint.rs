//! One instance of a service, as the router sees it.

use core::net::SocketAddr;
use core::num::NonZeroU16;

/// One place to which a request can go.
///
/// Its address is its identity: several instances that Consul lists with the same
/// address and port are one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Where it listens; the port is never 0.
    pub address: SocketAddr,
    /// Its share of the traffic relative to the others; Consul's `Weights`.
    pub weight: NonZeroU16,
}

impl Endpoint {
    /// An endpoint of weight 1.
    pub const fn new(address: SocketAddr) -> Self {
        Self { address, weight: NonZeroU16::MIN }
    }
}

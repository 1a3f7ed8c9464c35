//! One instance of a service, as the router sees it.

use core::fmt;
use core::net::SocketAddr;
use core::num::NonZeroU16;
use std::rc::Rc;

/// One place to which a request can go.
///
/// Its address is its identity: several instances that Consul lists with the same
/// address and port are one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Where it listens.
    pub address: Address,
    /// Its share of the traffic relative to the others; Consul's `Weights`.
    pub weight: NonZeroU16,
    /// The zone that it is in, where zones are wanted and it has one.
    pub zone: Option<Rc<str>>,
    /// Its version, where versions are wanted and it has one.
    pub version: Option<Rc<str>>,
    /// What Envoy's own clusters are told of it beside, where they are fed.
    pub details: Option<Rc<Details>>,
}

/// What Envoy's own clusters are told of an endpoint beside what requests are picked by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Details {
    /// The name of its node.
    pub hostname: Option<Rc<str>>,
    /// The wanted entries of its metadata, sorted by key, none twice.
    pub metadata: Box<[(Rc<str>, Rc<str>)]>,
}

impl Endpoint {
    /// An endpoint of weight 1, of no zone and no version.
    pub fn new(address: impl Into<Address>) -> Self {
        Self {
            address: address.into(),
            weight: NonZeroU16::MIN,
            zone: None,
            version: None,
            details: None,
        }
    }

    /// The same with another weight.
    pub fn weighing(self, weight: NonZeroU16) -> Self {
        Self { weight, ..self }
    }
}

/// Where an endpoint listens. The port is never 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// At an IP address.
    Ip(SocketAddr),
    /// At whatever a name stands for, which Envoy resolves.
    Name(Rc<str>, u16),
}

impl Address {
    /// The port.
    pub const fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Name(_, port) => *port,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(address)
    }
}

/// `10.0.0.7:8080`, `[::1]:8080` or `web.internal:8080`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

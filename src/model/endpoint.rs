//! An address to which requests can go.

use core::fmt;
use core::net::SocketAddr;
use core::num::NonZeroU16;
use std::rc::Rc;

/// An address to which requests can go, with its labels.
///
/// The address is the identity: several instances of Consul with the same address and port are one
/// endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// The share of the traffic relative to other endpoints; Consul's `Weights`.
    pub weight: NonZeroU16,
    /// The zone, if the configuration uses zones and the endpoint has one.
    pub zone: Option<Rc<str>>,
    /// The version, if the configuration uses versions and the endpoint has one.
    pub version: Option<Rc<str>>,
    /// The details for Envoy's own clusters, if the filter feeds them.
    pub details: Option<Rc<Details>>,
}

/// The properties of an endpoint that only Envoy's own clusters use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Details {
    /// The name of the node.
    pub hostname: Option<Rc<str>>,
    /// The configured entries of the metadata, sorted by key, each once.
    pub metadata: Box<[(Rc<str>, Rc<str>)]>,
}

impl Endpoint {
    /// Creates an endpoint of weight 1, without a zone and a version.
    pub fn new(address: impl Into<Address>) -> Self {
        Self {
            address: address.into(),
            weight: NonZeroU16::MIN,
            zone: None,
            version: None,
            details: None,
        }
    }

    /// Returns the endpoint with another weight.
    pub fn weighing(self, weight: NonZeroU16) -> Self {
        Self { weight, ..self }
    }
}

/// The address of an endpoint. The port is never 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// An IP address.
    Ip(SocketAddr),
    /// A name, which Envoy resolves.
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

//! What a request says about where it wants to go.

use core::fmt;

use crate::hash::xxh64;
use crate::model::endpoint::Address;
use crate::rng::Rng;
use crate::time::Time;

/// What a request says about where it wants to go, as far as its service asks for it: each
/// part is there only where the service is configured to look at it, and the request has it.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// The moment; the start of time for a service whose picks do not depend on it.
    pub now: Time,
    /// Whether the request has a body that is still to come; false where latencies are not wanted.
    pub has_body: bool,
    /// The hash that a hash policy goes by.
    pub hash: Option<u64>,
    /// The version, or the range of versions, that the request names.
    pub version: Option<Vec<u8>>,
    /// The hash that holds a client to its share of a split.
    pub split: Option<u64>,
    /// The endpoint that the client stays with; see [`Pin`].
    pub pin: Option<Pin>,
}

impl Hints {
    /// What a request with a hash draws by: always the same, so that its datacenter and whatever
    /// else its policy draws follow from the hash, as Envoy's priority does (`choosePriority` in
    /// its `load_balancer_impl.cc`). The version that the same hash may draw is independent of it,
    /// or the keys of a version would fail over together.
    pub(super) fn draws(&self) -> Option<Rng> {
        self.hash.map(|hash| Rng::new(hash).split())
    }
}

/// The opaque name of an endpoint, as a cookie tells it to a client.
///
/// It is a hash of the address: the same in every worker and every Envoy, and
/// nothing that a client could be sent to an address by, for it is only ever compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin(pub u64);

impl Pin {
    /// Keeps a pin apart from the other hashes of an address.
    const SEED: u64 = 0x7069_6e00;

    /// The name of the endpoint at this address.
    pub fn of(address: &Address) -> Self {
        Self(xxh64(address.to_string().as_bytes(), Self::SEED))
    }

    /// Reads a cookie's value; one that is none of ours is none.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let is_ours = value.len() == 16 && value.iter().all(u8::is_ascii_hexdigit);
        let text = core::str::from_utf8(value).ok().filter(|_| is_ours)?;
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_pin_reads_back_as_written_and_does_not_show_the_address() {
        let address = "10.0.0.7:8080".parse::<SocketAddr>().unwrap().into();
        let text = Pin::of(&address).to_string();
        assert_eq!(Pin::parse(text.as_bytes()), Some(Pin::of(&address)));
        assert!(!text.contains("8080"), "{text}");
    }

    #[test]
    fn what_is_no_pin_is_none() {
        for value in [
            &b""[..],
            b"0",
            b"+123456789abcdef",
            b"0123456789abcdef0",
            b"\xff\xff",
            b"10.0.0.7:8080000",
        ] {
            assert_eq!(Pin::parse(value), None, "{value:?}");
        }
    }
}

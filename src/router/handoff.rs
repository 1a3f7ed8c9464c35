//! How a pick reaches Envoy's router.

use core::net::SocketAddr;

use crate::balancer::upstream_host::EncodedHandoff;
use crate::config::Handoff;
use crate::model::endpoint::Address;

/// The request headers that carry the endpoints of the first attempt and its retries.
///
/// Whoever sends them from outside would choose where a request goes, so they are removed
/// from every request, also from those of no service.
pub const HANDOFF_HEADERS: [&str; Handoff::MAX_ATTEMPTS as usize] =
    ["x-consul-endpoint-0", "x-consul-endpoint-1", "x-consul-endpoint-2", "x-consul-endpoint-3"];

/// The key under which an `ORIGINAL_DST` cluster finds its address in the filter state.
pub const FILTER_STATE_KEY: &str = "envoy.network.transport_socket.original_dst_address";

/// The keys under which Envoy's dynamic forward proxy finds a host and its port there.
const DYNAMIC_HOST_KEY: &str = "envoy.upstream.dynamic_host";
const DYNAMIC_PORT_KEY: &str = "envoy.upstream.dynamic_port";

/// The keys under which a TLS connection finds the name that it asks for (SNI), and the names of
/// which the certificate must have one. What stands there goes before `auto_sni` and
/// `auto_san_validation`, which go by the host that the client has sent.
const SERVER_NAME_KEY: &str = "envoy.network.upstream_server_name";
const SUBJECT_ALT_NAMES_KEY: &str = "envoy.network.upstream_subject_alt_names";

/// Envoy's foreign function that sets it; its argument is the prepared handoff.
pub const FILTER_STATE_FUNCTION: &str = "set_envoy_filter_state";

/// How endpoints are prepared for the handoff when they are installed, so that nothing is
/// formatted per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandoffEncoding {
    /// As the argument of [`FILTER_STATE_FUNCTION`].
    FilterState,
    /// As the value of one of [`HANDOFF_HEADERS`].
    Headers {
        /// How many of them a request needs.
        attempts: u8,
    },
    /// As the value of [`Handoff::SESSION_HEADER`].
    Session,
    /// As arguments of [`FILTER_STATE_FUNCTION`], for Envoy's dynamic forward proxy: host and
    /// port, as it resolves names itself, and what the certificate of a name must be of.
    DynamicHost,
}

impl HandoffEncoding {
    /// The preparation for this handoff. Fewer than one attempt count as one, and more than
    /// [`Handoff::MAX_ATTEMPTS`] as that.
    pub fn new(handoff: &Handoff) -> Self {
        match *handoff {
            Handoff::FilterState => Self::FilterState,
            Handoff::StatefulSession => Self::Session,
            Handoff::Headers { attempts } => {
                Self::Headers { attempts: attempts.clamp(1, Handoff::MAX_ATTEMPTS) }
            }
        }
    }

    /// How many attempts need a handoff.
    pub const fn attempts(self) -> u8 {
        match self {
            Self::FilterState | Self::Session | Self::DynamicHost => 1,
            Self::Headers { attempts } => attempts,
        }
    }

    /// Prepares an address: `10.0.0.7:8080` or `[::1]:8080`, as bytes or as an argument; for the
    /// dynamic forward proxy an IP and its port as two arguments, and a name as four.
    pub fn of(self, address: &Address) -> EncodedHandoff {
        let one = |first: Vec<u8>| EncodedHandoff { first: first.into(), rest: Box::default() };
        match self {
            Self::FilterState => one(filter_state_argument(FILTER_STATE_KEY, &address.to_string())),
            Self::Headers { .. } => one(address.to_string().into_bytes()),
            Self::Session => one(base64(address.to_string().as_bytes())),
            Self::DynamicHost => {
                let argument = |key, value: &str| filter_state_argument(key, value).into();
                let port = argument(DYNAMIC_PORT_KEY, &address.port().to_string());
                let (host, rest) = match address {
                    Address::Ip(SocketAddr::V4(address)) => (address.ip().to_string(), vec![port]),
                    Address::Ip(SocketAddr::V6(address)) => {
                        (format!("[{}]", address.ip()), vec![port])
                    }
                    Address::Name(name, _) => {
                        let certified = [SERVER_NAME_KEY, SUBJECT_ALT_NAMES_KEY];
                        let [asked_for, certified] = certified.map(|key| argument(key, name));
                        (name.to_string(), vec![port, asked_for, certified])
                    }
                };
                EncodedHandoff { first: argument(DYNAMIC_HOST_KEY, &host), rest: rest.into() }
            }
        }
    }
}

/// Encodes bytes in base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = [16, 8, 0].into_iter().zip(group);
        let bits = bits.fold(0, |bits, (shift, byte)| bits | u32::from(*byte) << shift);
        let digit = |shift: u32| DIGITS.get((bits >> shift & 63) as usize).copied().unwrap_or(b'=');
        let digits = [18, 12, 6, 0].map(digit);
        let (used, pads) = (group.len() + 1, 3 - group.len());
        out.extend(digits.into_iter().take(used).chain([b'='; 2].into_iter().take(pads)));
    }
    out
}

/// Encodes Envoy's `SetEnvoyFilterStateArguments { string path = 1; string value = 2;
/// LifeSpan span = 3; }` (source/extensions/common/wasm/ext/set_envoy_filter_state.proto).
///
/// Without a span it is the shortest one, `FilterChain`: until an internal redirect, whose request
/// is picked for anew. With a longer one it would go to the old endpoint even where it is of no
/// service.
fn filter_state_argument(key: &str, value: &str) -> Vec<u8> {
    let mut argument = Vec::new();
    put_string(&mut argument, 1, key);
    put_string(&mut argument, 2, value);
    argument
}

/// Appends a string field, of a number up to 15, as the protobuf encoding has it: tag, length as a
/// varint, bytes.
fn put_string(message: &mut Vec<u8>, field: u8, text: &str) {
    const LENGTH_DELIMITED: u8 = 2;
    message.push(field << 3 | LENGTH_DELIMITED);
    let mut length = text.len();
    while length >= 0x80 {
        message.push(length as u8 | 0x80);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn address(text: &str) -> Address {
        text.parse::<core::net::SocketAddr>().unwrap().into()
    }

    #[test]
    fn base64_is_as_in_its_specification() {
        // RFC 4648, section 10.
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded.as_bytes());
        }
    }

    #[test]
    fn a_header_carries_the_address_as_text() {
        let preparation = HandoffEncoding::new(&Handoff::Headers { attempts: 2 });
        for text in ["10.0.0.7:8080", "[::1]:80", "[2001:db8::1]:65535"] {
            assert_eq!(*preparation.of(&address(text)).first, *text.as_bytes());
        }
        assert_eq!(preparation.attempts(), 2);
    }

    #[test]
    fn filter_state_is_one_protobuf_message() {
        let preparation = HandoffEncoding::new(&Handoff::FilterState);
        let mut want = vec![0x0a, 51];
        want.extend(b"envoy.network.transport_socket.original_dst_address");
        want.extend([0x12, 13]);
        want.extend(b"10.0.0.7:8080");
        let prepared = preparation.of(&address("10.0.0.7:8080"));
        assert_eq!(prepared.arguments().collect::<Vec<_>>(), [want]);
        assert_eq!(preparation.attempts(), 1);
    }

    #[test]
    fn a_long_string_has_a_length_of_two_bytes() {
        let mut message = Vec::new();
        put_string(&mut message, 2, &"x".repeat(300));
        assert_eq!(message[..3], [0x12, 0xac, 0x02]);
        assert_eq!(message.len(), 303);
    }

    #[test]
    fn attempts_stay_within_what_headers_there_are() {
        for (attempts, want) in [(0, 1), (1, 1), (4, 4), (200, 4)] {
            let preparation = HandoffEncoding::new(&Handoff::Headers { attempts });
            assert_eq!(preparation.attempts(), want);
        }
    }
}

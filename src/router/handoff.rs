//! How a pick reaches Envoy's router.

use core::net::SocketAddr;

use crate::config::Handoff;

/// The request headers that carry the endpoints of the first attempt and its retries.
///
/// Whoever sends them from outside would choose where a request goes, so they are removed
/// from every request, also from those of no service.
pub const HANDOFF_HEADERS: [&str; Handoff::MAX_ATTEMPTS as usize] =
    ["x-consul-endpoint-0", "x-consul-endpoint-1", "x-consul-endpoint-2", "x-consul-endpoint-3"];

/// The key under which an `ORIGINAL_DST` cluster finds its address in the filter state.
pub const FILTER_STATE_KEY: &str = "envoy.network.transport_socket.original_dst_address";

/// Envoy's foreign function that sets it; its argument is the prepared handoff.
pub const FILTER_STATE_FUNCTION: &str = "set_envoy_filter_state";

/// How endpoints are prepared for the handoff when they are installed, so that nothing is
/// formatted per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preparation {
    /// As the argument of [`FILTER_STATE_FUNCTION`].
    FilterState,
    /// As the value of one of [`HANDOFF_HEADERS`].
    Headers {
        /// How many of them a request needs.
        attempts: u8,
    },
}

impl Preparation {
    /// The preparation for this handoff. Fewer than one attempt count as one, and more than
    /// [`Handoff::MAX_ATTEMPTS`] as that.
    pub fn new(handoff: &Handoff) -> Self {
        match *handoff {
            Handoff::FilterState => Self::FilterState,
            Handoff::Headers { attempts } => {
                Self::Headers { attempts: attempts.clamp(1, Handoff::MAX_ATTEMPTS) }
            }
        }
    }

    /// How many attempts need a handoff.
    pub const fn attempts(self) -> u8 {
        match self {
            Self::FilterState => 1,
            Self::Headers { attempts } => attempts,
        }
    }

    /// Prepares an address: `10.0.0.7:8080` or `[::1]:8080`, as bytes or as an argument.
    pub fn of(self, address: SocketAddr) -> Box<[u8]> {
        let text = address.to_string();
        match self {
            Self::FilterState => filter_state_argument(&text).into(),
            Self::Headers { .. } => text.into_bytes().into(),
        }
    }
}

/// Encodes Envoy's `SetEnvoyFilterStateArguments { string path = 1; string value = 2;
/// LifeSpan span = 3; }` (source/extensions/common/wasm/ext/set_envoy_filter_state.proto).
fn filter_state_argument(address: &str) -> Vec<u8> {
    /// `LifeSpan::DownstreamRequest`: the whole request, internal redirects included.
    const DOWNSTREAM_REQUEST: u8 = 1;
    let mut argument = Vec::new();
    put_string(&mut argument, 1, FILTER_STATE_KEY);
    put_string(&mut argument, 2, address);
    argument.extend([tag(3, WIRE_VARINT), DOWNSTREAM_REQUEST]);
    argument
}

const WIRE_VARINT: u8 = 0;
const WIRE_LENGTH_DELIMITED: u8 = 2;

/// A field's number and wire type in one byte; of numbers up to 15.
const fn tag(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

/// Appends a string field as the protobuf encoding has it: tag, length as a varint, bytes.
fn put_string(message: &mut Vec<u8>, field: u8, text: &str) {
    message.push(tag(field, WIRE_LENGTH_DELIMITED));
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

    #[test]
    fn a_header_carries_the_address_as_text() {
        let preparation = Preparation::new(&Handoff::Headers { attempts: 2 });
        for text in ["10.0.0.7:8080", "[::1]:80", "[2001:db8::1]:65535"] {
            assert_eq!(*preparation.of(text.parse().unwrap()), *text.as_bytes());
        }
        assert_eq!(preparation.attempts(), 2);
    }

    #[test]
    fn filter_state_is_one_protobuf_message() {
        let preparation = Preparation::new(&Handoff::FilterState);
        let mut want = vec![0x0a, 51];
        want.extend(b"envoy.network.transport_socket.original_dst_address");
        want.extend([0x12, 13]);
        want.extend(b"10.0.0.7:8080");
        want.extend([0x18, 1]);
        assert_eq!(*preparation.of("10.0.0.7:8080".parse().unwrap()), *want);
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
            let preparation = Preparation::new(&Handoff::Headers { attempts });
            assert_eq!(preparation.attempts(), want);
        }
    }
}

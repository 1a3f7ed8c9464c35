//! The handoff by the filter state, for an `ORIGINAL_DST` cluster.

use crate::handoff::encoded_handoff::{EncodedHandoff, HandoffStream};
use crate::model::endpoint::Address;

/// The key under which an `ORIGINAL_DST` cluster finds its address in the filter state.
const KEY: &str = "envoy.network.transport_socket.original_dst_address";

/// Envoy's foreign function that sets a filter state. Its argument is encoded here.
pub const FILTER_STATE_FUNCTION: &str = "set_envoy_filter_state";

/// Encodes an address as the argument of one call.
pub(super) fn encode(address: &Address) -> EncodedHandoff {
    EncodedHandoff::of_one(argument(KEY, &address.to_string()))
}

/// Makes all calls of an encoded address.
pub(super) fn apply(handoff: &EncodedHandoff, stream: &mut impl HandoffStream) -> bool {
    handoff.arguments().all(|argument| stream.set_filter_state(argument))
}

/// Encodes Envoy's `SetEnvoyFilterStateArguments { string path = 1; string value = 2;
/// LifeSpan span = 3; }` (source/extensions/common/wasm/ext/set_envoy_filter_state.proto).
///
/// Without a span the state has the shortest one, `FilterChain`. It ends at an internal redirect, whose
/// request gets a pick of its own. With a longer span that request would go to the old endpoint even if it
/// belongs to no service.
pub(super) fn argument(key: &str, value: &str) -> Vec<u8> {
    let mut argument = Vec::new();
    put_string(&mut argument, 1, key);
    put_string(&mut argument, 2, value);
    argument
}

/// Appends a string field with a number up to 15 in the protobuf encoding: tag, length as a varint, bytes.
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

    #[test]
    fn filter_state_is_one_protobuf_message() {
        let mut want = vec![0x0a, 51];
        want.extend(b"envoy.network.transport_socket.original_dst_address");
        want.extend([0x12, 13]);
        want.extend(b"10.0.0.7:8080");
        let address = "10.0.0.7:8080".parse::<core::net::SocketAddr>().unwrap().into();
        assert_eq!(encode(&address).arguments().collect::<Vec<_>>(), [want]);
    }

    #[test]
    fn string_of_300_bytes_has_a_length_of_two_bytes() {
        let mut message = Vec::new();
        put_string(&mut message, 2, &"x".repeat(300));
        assert_eq!(message[..3], [0x12, 0xac, 0x02]);
        assert_eq!(message.len(), 303);
    }
}

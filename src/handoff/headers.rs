//! The handoff by headers, one for each attempt.

use crate::config::Handoff;
use crate::handoff::encoded_handoff::{EncodedHandoff, HandoffStream};
use crate::model::endpoint::Address;

/// The request headers that carry the endpoints of the first attempt and its retries.
///
/// A client that sends them would choose where its request goes. So they are removed from every request,
/// also from a request of no service.
pub const HANDOFF_HEADERS: [&str; Handoff::MAX_ATTEMPTS as usize] =
    ["x-consul-endpoint-0", "x-consul-endpoint-1", "x-consul-endpoint-2", "x-consul-endpoint-3"];

/// Encodes an address as text: `10.0.0.7:8080` or `[::1]:8080`.
pub(super) fn encode(address: &Address) -> EncodedHandoff {
    EncodedHandoff::of_one(address.to_string().into_bytes())
}

/// Sets the header of each attempt, and removes the other headers.
pub(super) fn apply<'a>(
    mut attempts: impl Iterator<Item = &'a EncodedHandoff>,
    stream: &mut impl HandoffStream,
) -> bool {
    HANDOFF_HEADERS.iter().all(|name| match attempts.next() {
        Some(address) => stream.set_header(name, address.first()),
        None => stream.remove_header(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn header_has_the_address_as_text() {
        for text in ["10.0.0.7:8080", "[::1]:80", "[2001:db8::1]:65535"] {
            let address = text.parse::<core::net::SocketAddr>().unwrap().into();
            assert_eq!(*encode(&address).first(), *text.as_bytes());
        }
    }
}

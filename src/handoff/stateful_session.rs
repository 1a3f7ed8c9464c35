//! The handoff by the header that Envoy's `stateful_session` filter reads.

use crate::config::Handoff;
use crate::handoff::encoded_handoff::{EncodedHandoff, HandoffStream};
use crate::model::endpoint::Address;

/// Encodes an address in base64, as the filter expects it.
pub(super) fn encode(address: &Address) -> EncodedHandoff {
    EncodedHandoff::of_one(base64(address.to_string().as_bytes()))
}

/// Sets the header.
pub(super) fn apply(handoff: &EncodedHandoff, stream: &mut impl HandoffStream) -> bool {
    stream.set_header(Handoff::SESSION_HEADER, handoff.first())
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

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

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
}

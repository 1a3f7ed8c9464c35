//! The host in a request's `:authority`.

use core::net::Ipv6Addr;
use core::str;
use std::io::Write;

/// The host of an `:authority`, without port and trailing dot, as it is configured: in lower
/// case, an IPv6 address in its shortest form (RFC 5952); on the stack.
///
/// A client may send anything. An authority has a host if it is `host`, `host:port`, `[v6]` or `[v6]:port`
/// (RFC 3986, 3.2) with a host of 1 to 255 bytes of UTF-8. Nothing is an error.
pub(super) struct HostName(LowerCase);

impl HostName {
    /// Reads the host out of an authority.
    pub(super) fn of(authority: &[u8]) -> Option<Self> {
        let host = match authority.strip_prefix(b"[") {
            Some(rest) => {
                let end = rest.iter().position(|&byte| byte == b']')?;
                let address = without_port(rest, end + 1)?.strip_suffix(b"]")?;
                return Self::of_ipv6(address);
            }
            None => {
                let colon = authority.iter().position(|&byte| byte == b':');
                without_port(authority, colon.unwrap_or(authority.len()))?
            }
        };
        let host = host.strip_suffix(b".").unwrap_or(host);
        if host.is_empty() || str::from_utf8(host).is_err() {
            return None;
        }
        LowerCase::of(host).map(Self)
    }

    /// Returns the host.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Writes the address between the brackets anew, since it can be written in many ways. An address with a
    /// zone is refused: a zone means nothing on another machine.
    fn of_ipv6(text: &[u8]) -> Option<Self> {
        /// `[`, eight groups of four digits, seven colons, `]`.
        const MOST_BYTES: usize = 1 + 8 * 4 + 7 + 1;
        let address: Ipv6Addr = str::from_utf8(text).ok()?.parse().ok()?;
        let mut bytes = [0; MOST_BYTES];
        let mut rest = bytes.as_mut_slice();
        write!(rest, "[{address}]").ok()?;
        let written = MOST_BYTES - rest.len();
        LowerCase::of(bytes.get(..written)?).map(Self)
    }
}

/// Returns the first `end` bytes of an authority if nothing or a port follows. The port has only digits,
/// and may be empty.
fn without_port(authority: &[u8], end: usize) -> Option<&[u8]> {
    let (host, rest) = authority.split_at_checked(end)?;
    match rest {
        [] => Some(host),
        [b':', port @ ..] => port.iter().all(u8::is_ascii_digit).then_some(host),
        _ => None,
    }
}

/// A text in lower case, on the stack, for a lookup in a map.
///
/// A text that is longer than anything configured is refused. Only ASCII letters are lowered; other bytes
/// stay as they are, text or not.
pub(super) struct LowerCase {
    bytes: [u8; Self::MOST_BYTES],
    length: u8,
}

impl LowerCase {
    /// The greatest length of a text. Neither a host nor a service's name is longer.
    pub(super) const MOST_BYTES: usize = u8::MAX as usize;

    /// Copies a text. Returns `None` if the text is too long.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        let length = u8::try_from(text.len()).ok()?;
        let mut bytes = [0; Self::MOST_BYTES];
        let place = bytes.get_mut(..text.len())?;
        place.copy_from_slice(text);
        place.make_ascii_lowercase();
        Some(Self { bytes, length })
    }

    /// Returns the text.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn host(authority: &[u8]) -> Option<Vec<u8>> {
        HostName::of(authority).map(|host| host.as_bytes().to_vec())
    }

    #[test]
    fn port_case_and_trailing_dot_make_no_difference() {
        for authority in ["web.test", "web.test:80", "web.test:", "Web.TEST.:8080", "web.test."] {
            let host = host(authority.as_bytes());
            assert_eq!(host.as_deref(), Some(&b"web.test"[..]), "{authority}");
        }
    }

    #[test]
    fn an_ipv6_address_is_the_same_however_it_is_written() {
        for authority in
            ["[2001:db8::a]", "[2001:db8::a]:80", "[2001:DB8::A]:", "[2001:0db8:0:0:0:0:0:000a]:80"]
        {
            let host = host(authority.as_bytes());
            assert_eq!(host.as_deref(), Some(&b"[2001:db8::a]"[..]), "{authority}");
        }
        let longest = b"[1111:2222:3333:4444:5555:6666:7777:8888]";
        assert_eq!(host(longest).as_deref(), Some(&longest[..]));
    }

    #[test]
    fn what_is_not_a_host_is_none() {
        let long = "x".repeat(256);
        for authority in [
            &b""[..],
            b".",
            b":80",
            b"::1",
            b"web.test:80:81",
            b"web.test:http",
            b"[]",
            b"[::1",
            b"[::1]80",
            b"[::1]x:80",
            b"[::1].:80",
            b"[::g]",
            b"[fe80::1%1]",
            b"w\xffb.test",
            long.as_bytes(),
        ] {
            assert_eq!(host(authority), None, "{authority:?}");
        }
        assert_eq!(host(&long.as_bytes()[1..]).map(|h| h.len()), Some(255));
    }

    #[test]
    fn a_text_of_255_bytes_is_held_and_a_longer_one_is_none() {
        let text = "X".repeat(256);
        let held = LowerCase::of(&text.as_bytes()[1..]).unwrap();
        assert_eq!(held.as_bytes(), "x".repeat(255).as_bytes());
        assert!(LowerCase::of(text.as_bytes()).is_none());
        assert_eq!(LowerCase::of(b"").unwrap().as_bytes(), b"");
        assert_eq!(LowerCase::of(b"W\xffB").unwrap().as_bytes(), b"w\xffb");
    }
}

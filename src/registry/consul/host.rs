//! The host of an instance: an IP address or a name.

use core::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

/// The maximum length of a name (RFC 1035, section 3.1, without the root) and of a label, in bytes.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// The host of an instance, without its port.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InstanceHost {
    /// An IP address.
    Ip(IpAddr),
    /// A DNS name.
    Name(Rc<str>),
}

impl InstanceHost {
    /// Parses an IP address or a name. Returns `None` if the text is neither.
    pub(super) fn parse(text: &str) -> Option<Self> {
        parse_ip(text).map(Self::Ip).or_else(|| parse_name(text).map(Self::Name))
    }
}

/// Parses an IPv4 address, or an IPv6 address with or without brackets and without a zone.
///
/// An IPv4 address in IPv6 notation (`::ffff:10.0.0.1`) becomes an IPv4 address, so that one place
/// has one address in every comparison and for every address policy.
fn parse_ip(host: &str) -> Option<IpAddr> {
    let ip = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?),
        None => host.parse::<IpAddr>().ok()?,
    };
    Some(ip.to_canonical())
}

/// Parses a DNS name in any case, with or without a final dot. Returns `None` if the text is no
/// name.
///
/// Labels have letters, digits, `-` and `_` (which real machines use), and neither begin nor end
/// with `-`. The last label must not be a decimal or hexadecimal number. Resolvers take `10.1`,
/// `0x7f.1` and `2130706433` for IPv4 addresses, as `inet_aton` does, and would so reach an address
/// that the policy denies (see the *ends in a number* checker of the WHATWG's URL standard).
fn parse_name(text: &str) -> Option<Rc<str>> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_name = name.len() <= MAX_NAME_BYTES
        && name.split('.').all(is_label)
        && name.rsplit('.').next().is_some_and(|last| !is_number(last));
    is_name.then(|| name.to_ascii_lowercase().into())
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn ipv6_is_parsed_with_or_without_brackets_and_mapped_as_ipv4() {
        for (text, ip) in [
            ("10.0.0.1", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:10.0.0.9", "10.0.0.9"),
        ] {
            assert_eq!(
                InstanceHost::parse(text),
                Some(InstanceHost::Ip(ip.parse().unwrap())),
                "{text}"
            );
        }
        for text in ["[10.0.0.1]", "[::1", "::1]", "[]", "10.0.0.1:80"] {
            assert_eq!(InstanceHost::parse(text), None, "{text}");
        }
        assert_eq!(InstanceHost::parse("web"), Some(InstanceHost::Name("web".into())));
    }

    #[test]
    fn a_name_is_read_in_lower_case_and_without_its_last_dot() {
        for (text, name) in [
            ("web", "web"),
            ("Web.Internal.", "web.internal"),
            ("my_host-1.example", "my_host-1.example"),
            ("3com.example", "3com.example"),
            ("10.0.0.x1", "10.0.0.x1"),
        ] {
            assert_eq!(parse_name(text).as_deref(), Some(name), "{text}");
        }
        let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        assert_eq!(parse_name(&longest).as_deref(), Some(longest.as_str()));
        assert_eq!(parse_name(&format!("{longest}e")), None);
        assert_eq!(parse_name(&"a".repeat(64)), None);
    }

    #[test]
    fn number_that_resolvers_take_for_an_address_is_no_name() {
        for text in ["2130706433", "127.1", "0x7f.1", "0x7f000001", "a.0X", "010.0.0.1", "web.1."] {
            assert_eq!(parse_name(text), None, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_name() {
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "-a",
            "a-",
            "a b",
            "a:80",
            "[::1",
            "/run/web.sock",
            "é",
            "a\u{0}",
            "*.a",
            "fe80::1%eth0",
        ] {
            assert_eq!(parse_name(text), None, "{text}");
        }
    }
}

//! Which addresses may be endpoints.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

use super::cursor::Cursor;
use super::error::Refusals;
use super::excerpt::Excerpt;
use super::field_error::FieldError;
use super::object::field;

/// Which addresses that Consul lists may be handed to Envoy's router.
///
/// Whoever may register an instance in Consul chooses an address to which this Envoy then
/// sends requests. Ranges keep that within what is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressPolicy {
    /// Where there are any, an address must be in one of them.
    pub allow: Vec<Cidr>,
    /// An address must be in none of them.
    pub deny: Vec<Cidr>,
}

impl AddressPolicy {
    /// The most ranges of either list: each is looked at for each instance of an answer.
    pub const MAX_RANGES: usize = 256;

    /// Whether an address may be an endpoint.
    ///
    /// - The unspecified address and multicast are never: nobody can be reached by them.
    /// - A link-local address (169.254.0.0/16, fe80::/10) is only where an allowed range
    ///   covers it that itself lies within link-local: there the metadata service of a cloud
    ///   gives credentials to whoever asks, and `0.0.0.0/0` does not mean that.
    /// - What is denied is not, whatever is allowed.
    /// - Where ranges are allowed, it must be in one of them.
    ///
    /// An IPv4 address in the form of an IPv6 one (`::ffff:10.0.0.7`) counts as that IPv4
    /// address.
    pub fn admits(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        if ip.is_unspecified() || ip.is_multicast() || self.deny.iter().any(|r| r.contains(ip)) {
            return false;
        }
        let mut allowing = self.allow.iter().filter(|range| range.contains(ip));
        match Cidr::LINK_LOCAL.iter().find(|range| range.contains(ip)) {
            Some(local) => allowing.any(|range| range.lies_within(local)),
            None => self.allow.is_empty() || allowing.next().is_some(),
        }
    }

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("endpoints")?;
        let mut found = Self::default();
        object.set(
            field("allow", "Where there are any, an address must be in one of these ranges."),
            &mut found.allow,
            ranges,
        );
        object.set(
            field("deny", "An address must be in none of these ranges."),
            &mut found.deny,
            ranges,
        );
        object.finish(found)
    }
}

impl fmt::Display for AddressPolicy {
    /// Writes `allow 10.0.0.0/8; deny 10.1.0.0/16 10.2.0.0/16`: the same text for the same
    /// policy and no other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("allow")?;
        self.allow.iter().try_for_each(|range| write!(f, " {range}"))?;
        f.write_str("; deny")?;
        self.deny.iter().try_for_each(|range| write!(f, " {range}"))
    }
}

fn ranges(node: &Cursor<'_>) -> Result<Vec<Cidr>, Refusals> {
    node.array(AddressPolicy::MAX_RANGES, |node| {
        node.describe(
            r#"{ "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$",
                 "examples": ["10.0.0.0/8", "2001:db8::/32", "10.0.0.7"] }"#,
        );
        let text = node.string()?;
        text.parse()
            .map_err(|cause| node.error(FieldError::Range { text: Excerpt::of(text), cause }))
    })
}

/// A range of addresses, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// Its first address.
    pub first: IpAddr,
    /// The bits that all of its addresses have in common; beyond the bits of the address it
    /// counts as all of them.
    pub prefix: u8,
}

impl Cidr {
    /// What a host gives itself, and what a cloud's metadata service has.
    const LINK_LOCAL: [Self; 2] = [
        Self { first: IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), prefix: 16 },
        Self { first: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), prefix: 10 },
    ];

    /// Whether an address is in the range. An IPv4 address in the form of an IPv6 one counts
    /// as that IPv4 address; no other address is in ranges of both kinds.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.first.is_ipv4() && network(ip, self.prefix) == self.first
    }

    /// Whether all addresses of this range are in the other.
    fn lies_within(&self, other: &Self) -> bool {
        self.prefix >= other.prefix && other.contains(self.first)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    /// Reads an address, a slash and the number of common bits; an address alone is a range
    /// of one. An IPv4 range in the form of an IPv6 one is read as that IPv4 range.
    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let bits = bits(first);
        // A number may have a plus for Rust.
        let is_digits = |prefix: &&str| prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match prefix {
            Some(prefix) => Some(prefix)
                .filter(is_digits)
                .and_then(|prefix| prefix.parse().ok())
                .filter(|prefix| *prefix <= bits)
                .ok_or(CidrError::Prefix { most: bits })?,
            None => bits,
        };
        let whole = network(first, prefix);
        let canonical = first.to_canonical();
        let mapped = bits - self::bits(canonical);
        let range = match prefix.checked_sub(mapped) {
            Some(prefix) => Self { first: whole.to_canonical(), prefix },
            None => Self { first: whole, prefix },
        };
        if whole == first { Ok(range) } else { Err(CidrError::HostBits { network: range }) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

const fn bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// Sets all bits after the prefix to 0.
fn network(ip: IpAddr, prefix: u8) -> IpAddr {
    let rest = u32::from(bits(ip).saturating_sub(prefix));
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
        }
    }
}

/// Says why a text is no range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CidrError {
    /// What is before the slash is no IP address.
    Address,
    /// What is after it is no number of bits of such an address.
    Prefix {
        /// All its bits.
        most: u8,
    },
    /// The address has bits beyond the prefix.
    HostBits {
        /// The range without them.
        network: Cidr,
    },
}

impl fmt::Display for CidrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address => f.write_str("expected an IP address, such as in 10.0.0.0/8"),
            Self::Prefix { most } => {
                write!(f, "expected a number from 0 to {most} after the \"/\"")
            }
            Self::HostBits { network } => {
                write!(f, "the address has bits beyond the prefix; the range is {network}")
            }
        }
    }
}

impl core::error::Error for CidrError {}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn policy(allow: &[&str], deny: &[&str]) -> AddressPolicy {
        let ranges = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        AddressPolicy { allow: ranges(allow), deny: ranges(deny) }
    }

    #[test]
    fn a_range_has_its_first_and_last_address_and_none_beside() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("10.0.0.4/30", ["10.0.0.4", "10.0.0.7"], ["10.0.0.3", "10.0.0.8"]),
            ("10.0.0.7", ["10.0.0.7", "::ffff:10.0.0.7"], ["10.0.0.6", "10.0.0.8"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "2001:db8::1"]),
            ("::/0", ["::1", "ffff::"], ["10.0.0.7", "::ffff:10.0.0.7"]),
            ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff::"], ["2001:db7::", "2001:db9::"]),
            ("::1/128", ["::1", "0:0:0:0:0:0:0:1"], ["::", "::2"]),
            ("::ffff:10.0.0.0/104", ["10.0.0.1", "::ffff:10.1.1.1"], ["11.0.0.0", "::10.0.0.1"]),
            ("::ffff:0:0/96", ["0.0.0.0", "255.0.0.1"], ["::", "::fffe:0:1"]),
        ] {
            let range: Cidr = range.parse().unwrap();
            for text in inside {
                assert!(range.contains(ip(text)), "{text} is not in {range}");
            }
            for text in outside {
                assert!(!range.contains(ip(text)), "{text} is in {range}");
            }
        }
    }

    #[test]
    fn a_range_is_written_as_it_is_read() {
        for (text, written) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("10.0.0.7", "10.0.0.7/32"),
            ("2001:DB8:0::/32", "2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), written);
            assert_eq!(written.parse::<Cidr>(), text.parse());
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in ["", "/8", "web", "10.0.0", "10.0.0.0.0/8", "[::1]/128", " 10.0.0.0/8", "*"] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::Address), "{text}");
        }
        for text in ["10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/-1", "0.0.0.0/0/0"] {
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::Prefix { most: 32 }), "{text}");
        }
        assert_eq!("::/129".parse::<Cidr>(), Err(CidrError::Prefix { most: 128 }));
        for (text, network) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.0.0.7/31", "10.0.0.6/31"),
            ("10.0.0.7/0", "0.0.0.0/0"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("::ffff:10.1.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.0/8", "::/8"),
        ] {
            let network = network.parse().unwrap();
            assert_eq!(text.parse::<Cidr>(), Err(CidrError::HostBits { network }), "{text}");
        }
    }

    #[test]
    fn by_default_all_is_admitted_that_an_instance_can_have() {
        for text in ["10.0.0.7", "127.0.0.1", "8.8.8.8", "::1", "2001:db8::1", "::ffff:10.0.0.7"] {
            assert!(AddressPolicy::default().admits(ip(text)), "{text}");
        }
        for text in [
            "0.0.0.0",
            "::",
            "::ffff:0.0.0.0",
            "224.0.0.1",
            "ff02::1",
            "::ffff:224.0.0.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "febf::1",
        ] {
            assert!(!AddressPolicy::default().admits(ip(text)), "{text}");
        }
    }

    #[test]
    fn link_local_is_admitted_only_where_it_is_meant() {
        for range in ["0.0.0.0/0", "168.0.0.0/6", "169.254.0.0/15", "fe80::/9"] {
            for text in ["169.254.1.1", "fe80::1"] {
                assert!(!policy(&[range], &[]).admits(ip(text)), "{range} {text}");
            }
        }
        assert!(policy(&["169.254.0.0/16"], &[]).admits(ip("169.254.1.1")));
        assert!(policy(&["0.0.0.0/0", "169.254.1.0/24"], &[]).admits(ip("169.254.1.1")));
        assert!(!policy(&["0.0.0.0/0", "169.254.1.0/24"], &[]).admits(ip("169.254.2.1")));
        assert!(policy(&["fe80::/10"], &[]).admits(ip("fe80::1")));
        assert!(!policy(&["169.254.0.0/16"], &["169.254.169.254"]).admits(ip("169.254.169.254")));
    }

    #[test]
    fn what_is_never_reachable_cannot_be_allowed() {
        let all = policy(&["0.0.0.0/0", "::/0", "0.0.0.0", "224.0.0.0/4", "ff00::/8"], &[]);
        for text in ["0.0.0.0", "::", "224.0.0.1", "ff02::1"] {
            assert!(!all.admits(ip(text)), "{text}");
        }
    }

    #[test]
    fn what_is_denied_is_not_admitted_and_what_is_not_allowed_neither() {
        let some = policy(&["10.0.0.0/8", "2001:db8::/32"], &["10.1.0.0/16"]);
        for text in ["10.0.0.7", "10.2.0.1", "::ffff:10.0.0.7", "2001:db8::1"] {
            assert!(some.admits(ip(text)), "{text}");
        }
        for text in ["10.1.0.1", "::ffff:10.1.0.1", "192.168.0.1", "2001:db9::1"] {
            assert!(!some.admits(ip(text)), "{text}");
        }
        let others = policy(&[], &["10.0.0.0/8"]);
        assert!(!others.admits(ip("10.0.0.7")) && others.admits(ip("11.0.0.7")));
    }

    #[test]
    fn different_policies_have_different_texts() {
        let text = |allow, deny| policy(allow, deny).to_string();
        assert_eq!(text(&[], &[]), "allow; deny");
        let both = text(&["10.0.0.0/8", "::1"], &["10.1.0.0/16"]);
        assert_eq!(both, "allow 10.0.0.0/8 ::1/128; deny 10.1.0.0/16");
        assert_ne!(text(&["10.0.0.0/8"], &[]), text(&[], &["10.0.0.0/8"]));
    }
}

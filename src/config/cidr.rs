//! Ranges of addresses.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

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
    /// Link-local ranges: addresses that hosts give themselves, and those of clouds' metadata services.
    pub(super) const LINK_LOCAL: [Self; 2] = [
        Self { first: IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), prefix: 16 },
        Self { first: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), prefix: 10 },
    ];

    /// Tells if an address is in the range. An IPv4 address in the form of an IPv6 one counts
    /// as that IPv4 address; no other address is in ranges of both kinds.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.first.is_ipv4() && network(ip, self.prefix) == self.first
    }

    /// Tells if all addresses of this range are in the other.
    pub(super) fn lies_within(&self, other: &Self) -> bool {
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
    /// The text before the slash is no IP address.
    Address,
    /// The text after the slash is no number of bits of such an address.
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
}

//! The addresses that may be endpoints.

use core::fmt;
use core::net::IpAddr;

use super::cidr::Cidr;
use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::object::field;
use crate::util::excerpt::Excerpt;

/// Addresses of Consul's instances that may be handed to Envoy's router.
///
/// Whoever may register an instance in Consul chooses an address to which this Envoy then
/// sends requests. Ranges keep that within what is meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressPolicy {
    /// Allowed ranges; an address must be in one of them, unless there is none.
    pub allow: Vec<Cidr>,
    /// An address must be in none of them.
    pub deny: Vec<Cidr>,
}

impl AddressPolicy {
    /// The most ranges of either list: each is looked at for each instance of an answer.
    pub const MAX_RANGES: usize = 256;

    /// Tells if an address may be an endpoint.
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
            field("allow", "The ranges of which an address must be in one, if there are any."),
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
    fn address_is_refused_when_denied_or_not_allowed() {
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

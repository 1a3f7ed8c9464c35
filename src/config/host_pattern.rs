//! Which hosts a service answers for.

use core::fmt;
use core::net::Ipv6Addr;
use core::str::FromStr;

/// A host, or all hosts below one, as it is compared with a request's `:authority` without
/// its port: in lower case, ASCII only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `web.test`, `10.0.0.1`, `[2001:db8::1]`: this host and no other. An IPv6 address is
    /// in brackets and in its shortest form (RFC 5952).
    Exact(String),
    /// `*.web.internal`, kept as `.web.internal`: every host that ends so and has something
    /// before it, in one label or several (as in Envoy's `domains`). `web.internal` itself
    /// is not among them.
    Suffix(String),
}

impl HostPattern {
    /// The most bytes of a pattern: as long as a host name can be (RFC 1035).
    pub const MAX_BYTES: usize = 253;
    /// The most bytes between two dots (RFC 1035).
    pub const MAX_LABEL_BYTES: usize = 63;
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    /// Reads a pattern as the configuration writes it, in upper or lower case.
    ///
    /// The characters of a name are those of host names and `_`, which names inside a
    /// network often have. A dot at the end is refused: a request that has one is another
    /// host to Envoy's own routes, too.
    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        if text.is_empty() {
            return Err(HostPatternError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(HostPatternError::TooLong { limit: Self::MAX_BYTES, found: text.len() });
        }
        if let Some(rest) = text.strip_prefix('[') {
            return ipv6(rest);
        }
        if text.contains('/') {
            return Err(HostPatternError::NotAHost);
        }
        match text.matches(':').count() {
            0 => {}
            1 => return Err(HostPatternError::Port),
            _ => return Err(HostPatternError::Ipv6WithoutBrackets),
        }
        if text == "*" {
            return Err(HostPatternError::StarAlone);
        }
        let name = text.strip_prefix("*.");
        check_name(name.unwrap_or(text))?;
        Ok(match name {
            Some(name) => Self::Suffix(format!(".{}", name.to_ascii_lowercase())),
            None => Self::Exact(text.to_ascii_lowercase()),
        })
    }
}

impl fmt::Display for HostPattern {
    /// Writes the pattern as the configuration does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// Reads what follows an opening bracket.
fn ipv6(rest: &str) -> Result<HostPattern, HostPatternError> {
    match rest.split_once(']') {
        Some((address, "")) => match address.parse::<Ipv6Addr>() {
            Ok(address) => Ok(HostPattern::Exact(format!("[{address}]"))),
            Err(_) => Err(HostPatternError::Ipv6),
        },
        Some((_, after)) if after.starts_with(':') => Err(HostPatternError::Port),
        _ => Err(HostPatternError::Ipv6),
    }
}

fn check_name(name: &str) -> Result<(), HostPatternError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match name.chars().find(|c| !is_allowed(*c)) {
        Some('*') => return Err(HostPatternError::Star),
        Some(found) => return Err(HostPatternError::Character { found }),
        None => {}
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(HostPatternError::EmptyLabel);
        }
        if label.len() > HostPattern::MAX_LABEL_BYTES {
            let (limit, found) = (HostPattern::MAX_LABEL_BYTES, label.len());
            return Err(HostPatternError::LongLabel { limit, found });
        }
    }
    Ok(())
}

/// Says why a text is no host pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPatternError {
    /// Nothing.
    Empty,
    /// More than a host name can have.
    TooLong {
        /// The most bytes.
        limit: usize,
        /// The bytes given.
        found: usize,
    },
    /// A part between dots that is longer than it can be.
    LongLabel {
        /// The most bytes.
        limit: usize,
        /// The bytes given.
        found: usize,
    },
    /// A dot at the beginning or the end, or two in a row.
    EmptyLabel,
    /// A host with a port.
    Port,
    /// A URL, or a part of one.
    NotAHost,
    /// Brackets around something else than an IPv6 address.
    Ipv6,
    /// An IPv6 address without its brackets.
    Ipv6WithoutBrackets,
    /// `*` in another place than as the whole first label.
    Star,
    /// `*` and nothing else.
    StarAlone,
    /// A character that a host cannot have.
    Character {
        /// The character.
        found: char,
    },
}

impl fmt::Display for HostPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("expected a host, such as web.test or *.web.internal"),
            Self::TooLong { limit, found } => {
                write!(f, "a host has at most {limit} bytes, not {found}")
            }
            Self::LongLabel { limit, found } => {
                write!(f, "a host has at most {limit} bytes between two dots, not {found}")
            }
            Self::EmptyLabel => {
                f.write_str("each dot stands between two names; leave off a dot at either end")
            }
            Self::Port => f.write_str("the port of a request is ignored; leave it off"),
            Self::NotAHost => {
                f.write_str("leave off scheme and path; expected a host, such as web.test")
            }
            Self::Ipv6 => {
                f.write_str("brackets hold an IPv6 address without zone, such as [2001:db8::1]")
            }
            Self::Ipv6WithoutBrackets => {
                f.write_str("an IPv6 address goes into brackets, such as [2001:db8::1]")
            }
            Self::Star => {
                f.write_str("\"*\" is only allowed as the whole first part, as in *.web.internal")
            }
            Self::StarAlone => f.write_str(
                "expected a name after \"*.\", as in *.web.internal; to take every request, \
                 leave out the hosts of the only service",
            ),
            Self::Character { found } => write!(
                f,
                "{found:?} cannot be part of a host; allowed are ASCII letters, digits, \"-\", \
                 \"_\" and \".\" (other letters as punycode, \"xn--…\")"
            ),
        }
    }
}

impl core::error::Error for HostPatternError {}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn exact(host: &str) -> Result<HostPattern, HostPatternError> {
        Ok(HostPattern::Exact(host.to_owned()))
    }

    fn suffix(host: &str) -> Result<HostPattern, HostPatternError> {
        Ok(HostPattern::Suffix(host.to_owned()))
    }

    #[test]
    fn hosts_and_suffixes_are_kept_in_lower_case() {
        assert_eq!("Web.Test".parse(), exact("web.test"));
        assert_eq!("localhost".parse(), exact("localhost"));
        assert_eq!("10.0.0.1".parse(), exact("10.0.0.1"));
        assert_eq!("my_service.internal".parse(), exact("my_service.internal"));
        assert_eq!("*.Web.Internal".parse(), suffix(".web.internal"));
        assert_eq!("*.internal".parse(), suffix(".internal"));
    }

    #[test]
    fn an_ipv6_address_is_kept_in_its_shortest_form() {
        assert_eq!("[2001:DB8:0:0::1]".parse(), exact("[2001:db8::1]"));
        assert_eq!("[::1]".parse(), exact("[::1]"));
    }

    #[test]
    fn a_pattern_is_written_as_it_is_read() {
        for text in ["web.test", "*.web.internal", "[::1]"] {
            assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn everything_else_is_refused_for_what_is_wrong_with_it() {
        let long = "a.".repeat(126) + "ab";
        let label = "a".repeat(64);
        for (text, error) in [
            ("", HostPatternError::Empty),
            (long.as_str(), HostPatternError::TooLong { limit: 253, found: 254 }),
            (label.as_str(), HostPatternError::LongLabel { limit: 63, found: 64 }),
            ("web..test", HostPatternError::EmptyLabel),
            ("web.test.", HostPatternError::EmptyLabel),
            (".web.test", HostPatternError::EmptyLabel),
            ("*.", HostPatternError::EmptyLabel),
            ("web.test:8080", HostPatternError::Port),
            ("web.test:", HostPatternError::Port),
            ("[::1]:8080", HostPatternError::Port),
            ("http://web.test", HostPatternError::NotAHost),
            ("web.test/a", HostPatternError::NotAHost),
            ("[::1", HostPatternError::Ipv6),
            ("[::1]x", HostPatternError::Ipv6),
            ("[fe80::1%eth0]", HostPatternError::Ipv6),
            ("[web.test]", HostPatternError::Ipv6),
            ("::1", HostPatternError::Ipv6WithoutBrackets),
            ("*", HostPatternError::StarAlone),
            ("w*.test", HostPatternError::Star),
            ("web.*.test", HostPatternError::Star),
            ("*web.test", HostPatternError::Star),
            ("*.*.test", HostPatternError::Star),
            ("*.[::1]", HostPatternError::Ipv6WithoutBrackets),
            ("wéb.test", HostPatternError::Character { found: 'é' }),
            ("web test", HostPatternError::Character { found: ' ' }),
        ] {
            assert_eq!(text.parse::<HostPattern>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_longest_host_is_accepted() {
        let longest = "a.".repeat(126) + "a";
        assert_eq!(longest.parse(), exact(&longest));
    }
}

//! What can be wrong with one value.

use core::fmt;
use core::time::Duration;

use super::duration::{DurationError, Spelled};
use super::excerpt::Excerpt;
use super::host_pattern::HostPatternError;
use super::place::Place;

/// Says what is wrong at one place of the configuration, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// A required field is not there.
    Missing {
        /// What belongs there.
        expected: &'static str,
    },
    /// A field that the contract does not have.
    UnknownField {
        /// The fields of the same object.
        known: &'static [&'static str],
        /// The one that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A value of another type.
    WrongType {
        /// The type, or a form of it.
        expected: &'static str,
        /// The type that stands there, with a short value.
        found: String,
    },
    /// A name that is not on a closed list.
    UnknownChoice {
        /// What the list is of.
        noun: &'static str,
        /// The name that stands there.
        found: Excerpt,
        /// The list.
        known: Vec<&'static str>,
    },
    /// A whole number outside its limits.
    NumberOutOfRange {
        /// The number that stands there.
        found: String,
        /// The least.
        least: u8,
        /// The most.
        most: u8,
    },
    /// A text that is no duration.
    Duration(DurationError),
    /// A duration outside its limits.
    DurationOutOfRange {
        /// The duration that stands there.
        found: Duration,
        /// The shortest.
        least: Duration,
        /// The longest.
        most: Duration,
    },
    /// A text, or a list that means nothing when empty, with nothing in it.
    Empty {
        /// What belongs there.
        expected: &'static str,
    },
    /// A text that is longer than its limit.
    TooLong {
        /// The most bytes.
        limit: usize,
        /// The bytes that stand there.
        found: usize,
    },
    /// A list that is longer than its limit.
    TooMany {
        /// The most items.
        limit: usize,
        /// The items that stand there.
        found: usize,
    },
    /// A character that cannot be part of the value.
    Character {
        /// The character.
        found: char,
        /// The characters that can be.
        expected: &'static str,
    },
    /// The same thing given twice.
    Repeated {
        /// The thing.
        text: Excerpt,
        /// Where it stands first.
        first: Place,
    },
    /// A text that is no host pattern.
    Host {
        /// What stands there.
        pattern: Excerpt,
        /// Why it is none.
        cause: HostPatternError,
    },
    /// A service by whose hosts no request could be found, beside other services.
    HostsNeeded,
    /// A name that a URL's path would swallow.
    PathSegment,
    /// The default of `consul.authority` would be refused as a `Host` header.
    ClusterIsNoAuthority {
        /// The first character that a host cannot have.
        found: char,
    },
    /// A number of attempts where there can be but one.
    AttemptsWithoutHeaders,
    /// Something else than the name of an environment variable. It is not quoted: it may
    /// be a secret.
    NotAVariable,
    /// A secret. It is not quoted.
    TokenInConfiguration,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { expected } => write!(f, "missing; expected {expected}"),
            Self::UnknownField { known, suggestion } => {
                f.write_str("unknown field; ")?;
                if let Some(name) = suggestion {
                    write!(f, "did you mean {name}? ")?;
                }
                write!(f, "known here: {}", known.join(", "))
            }
            Self::WrongType { expected, found } => write!(f, "expected {expected}, found {found}"),
            Self::UnknownChoice { noun, found, known } => {
                write!(f, "unknown {noun} {found}; expected one of {}", known.join(", "))
            }
            Self::NumberOutOfRange { found, least, most } => {
                write!(f, "{found} is out of range; expected {least} to {most}")
            }
            Self::Duration(cause) => fmt::Display::fmt(cause, f),
            Self::DurationOutOfRange { found, least, most } => write!(
                f,
                "{} is out of range; expected {} to {}",
                Spelled(*found),
                Spelled(*least),
                Spelled(*most)
            ),
            Self::Empty { expected } => write!(f, "empty; expected {expected}"),
            Self::TooLong { limit, found } => {
                write!(f, "too long with {found} bytes; at most {limit} are allowed")
            }
            Self::TooMany { limit, found } => {
                write!(f, "too many with {found} items; at most {limit} are allowed")
            }
            Self::Character { found, expected } => {
                write!(f, "{found:?} is not allowed; expected {expected}")
            }
            Self::Repeated { text, first } => write!(f, "{text} is already given at {first}"),
            Self::Host { pattern, cause } => write!(f, "{pattern} is no host pattern: {cause}"),
            Self::HostsNeeded => f.write_str(
                "missing; of several services each needs its hosts, unless route_metadata is \
                 true and the route names the service",
            ),
            Self::PathSegment => {
                f.write_str("\".\" and \"..\" cannot be asked for over HTTP; expected another name")
            }
            Self::ClusterIsNoAuthority { found } => write!(
                f,
                "missing; its default, the cluster's name, has {found:?}, which no Host header \
                 can have; set it, such as \"consul.internal\""
            ),
            Self::AttemptsWithoutHeaders => f.write_str(
                "filter_state hands over a single endpoint; leave attempts out or set via to \
                 headers",
            ),
            Self::NotAVariable => f.write_str(
                "not the name of an environment variable; expected letters, digits and \"_\", \
                 no digit first, such as CONSUL_HTTP_TOKEN (the name, never the token itself)",
            ),
            Self::TokenInConfiguration => f.write_str(
                "this looks like a token, which does not belong in the configuration; put it \
                 into an environment variable of the VM and name that here, such as \
                 CONSUL_HTTP_TOKEN",
            ),
        }
    }
}

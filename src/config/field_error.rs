//! What can be wrong with one value.

use core::fmt;
use core::time::Duration;

use super::cidr::CidrError;
use super::dependency_error::DependencyError;
use super::duration::{DurationError, Spelled};
use super::field_path::FieldPath;
use super::host_pattern::HostPatternError;
use super::xds_error::XdsError;
use crate::model::version_pattern::VersionPatternError;
use crate::util::excerpt::Excerpt;

/// Says what is wrong at one place of the configuration, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldError {
    /// A required field is not there.
    Missing {
        /// Value that belongs there.
        expected: &'static str,
    },
    /// A field that the contract does not have.
    UnknownField {
        /// The fields of the same object.
        known: Vec<&'static str>,
        /// The one that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A field that there is no more.
    RemovedField {
        /// Replacement.
        instead: &'static str,
    },
    /// A choice of earlier versions.
    RemovedChoice {
        /// The choice.
        found: &'static str,
        /// The choices that take its place.
        instead: &'static str,
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
        /// Noun for an item of the list.
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
        least: u32,
        /// The most.
        most: u32,
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
        /// Value that belongs there.
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
        /// Place of the first.
        first: FieldPath,
    },
    /// A text that is no host pattern.
    Host {
        /// Text that was given.
        pattern: Excerpt,
        /// Why it is none.
        cause: HostPatternError,
    },
    /// A host without the one place for a service's name.
    HostTemplate,
    /// A pattern or an address where a domain belongs.
    DomainExpected,
    /// A text that is no range of addresses.
    Range {
        /// Text that was given.
        text: Excerpt,
        /// Why it is none.
        cause: CidrError,
    },
    /// A text that is no version and no prefix of one.
    Version {
        /// Text that was given.
        text: Excerpt,
        /// Why it is none.
        cause: VersionPatternError,
    },
    /// A number, or a sum of numbers, that must be above 0.
    Zero {
        /// Noun for the number.
        noun: &'static str,
    },
    /// A number that must be a prime.
    NotPrime {
        /// The number that stands there.
        found: u32,
        /// The next one that is.
        next: u32,
    },
    /// A least value above the most, or the like.
    Above {
        /// The value, with its unit.
        found: String,
        /// The field that it must not be above.
        other: &'static str,
        /// Value of that field, with its unit.
        most: String,
    },
    /// Not one of several fields, but none or more.
    NotOne {
        /// The fields.
        fields: &'static [&'static str],
        /// Number of fields that are given.
        found: usize,
    },
    /// A field beside another one that takes its place.
    Beside {
        /// The other one.
        other: &'static str,
    },
    /// A field that does nothing without another one.
    Needs {
        /// Field that it needs.
        other: &'static str,
    },
    /// A duration that must be of whole seconds.
    NotSeconds {
        /// The duration that stands there.
        found: Duration,
    },
    /// A field of other policies.
    OtherPolicy {
        /// The policy that is given.
        policy: &'static str,
        /// The policies that use the field.
        users: Vec<&'static str>,
    },
    /// A header that cannot be read, since the handoff is made by it.
    HandoffHeader {
        /// The header.
        name: Excerpt,
    },
    /// A header that only exists under another name.
    HostHeader,
    /// Something to stay with a share where there are no shares.
    NothingSplit,
    /// A refusal of stale endpoints where none ever are.
    NeverStale,
    /// An age that is reached while Consul holds a query in which nothing changes.
    BelowWait {
        /// The age that stands there.
        found: Duration,
        /// The least that makes sense.
        least: Duration,
    },
    /// Something that Envoy's own clusters and routes cannot be made with.
    Xds(XdsError),
    /// A text of another form than belongs there.
    Malformed {
        /// Text that was given.
        text: Excerpt,
        /// Form that the text does not have, with an example.
        expected: &'static str,
    },
    /// A service that cannot be depended on.
    Dependency(DependencyError),
    /// A text that is no address with a port.
    NoSocketAddress {
        /// Text that was given.
        text: Excerpt,
    },
    /// An address that the ranges of `endpoints` do not admit.
    NotAdmitted,
    /// More pairs of service and datacenter than there are ids.
    TooManySources {
        /// The most.
        limit: usize,
        /// Number that there would be.
        found: usize,
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

impl fmt::Display for FieldError {
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
            Self::RemovedField { instead } => write!(f, "removed; {instead} takes its place"),
            Self::RemovedChoice { found, instead } => {
                write!(f, "\"{found}\" was removed; write {instead}")
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
            Self::HostTemplate => f.write_str(
                "expected a host with \"{service}\" in one place, such as \"{service}.internal\"",
            ),
            Self::DomainExpected => f.write_str("expected a domain, such as \"consul\""),
            Self::Range { text, cause } => write!(f, "{text} is no range of addresses: {cause}"),
            Self::Version { text, cause } => {
                write!(f, "{text} is neither a version nor the beginning of one: {cause}")
            }
            Self::Zero { noun } => write!(f, "{noun} is 0; expected more"),
            Self::NotPrime { found, next } => {
                write!(f, "{found} is no prime; the next one is {next}")
            }
            Self::Above { found, other, most } => {
                write!(f, "{found} is above {other}, which is {most}; lower it, or raise that one")
            }
            Self::NotOne { fields, found } => {
                write!(f, "expected exactly one of {}, found {found}", fields.join(", "))
            }
            Self::Beside { other } => write!(f, "{other} is given too; leave one of them out"),
            Self::Needs { other } => {
                write!(f, "it does nothing without {other}; give that too, or leave it out")
            }
            Self::NotSeconds { found } => {
                write!(f, "{} is not a number of seconds; expected whole seconds", Spelled(*found))
            }
            Self::OtherPolicy { policy, users } => {
                write!(f, "{policy} does not use it, only {}; leave it out", users.join(" and "))
            }
            Self::HandoffHeader { name } => {
                write!(f, "{name} is what the handoff is made by; expected another header")
            }
            Self::HostHeader => f.write_str(
                "Envoy knows the host as :authority, by which the service was found; expected \
                 another header",
            ),
            Self::NothingSplit => {
                f.write_str("it makes a client stay with its share; give split, or leave it out")
            }
            Self::NeverStale => {
                f.write_str("without max_age nothing ever is stale; give max_age, or leave it out")
            }
            Self::BelowWait { found, least } => write!(
                f,
                "{} is too short: while nothing changes, consul.wait lets so long go by between \
                 two answers; expected at least {}",
                Spelled(*found),
                Spelled(*least)
            ),
            Self::Xds(cause) => fmt::Display::fmt(cause, f),
            Self::Malformed { text, expected } => write!(f, "{text} is not {expected}"),
            Self::Dependency(cause) => fmt::Display::fmt(cause, f),
            Self::NoSocketAddress { text } => write!(
                f,
                "{text} is no IP address with a port; expected such as \"10.0.0.7:8080\" or \
                 \"[2001:db8::7]:8080\""
            ),
            Self::NotAdmitted => f.write_str(
                "endpoints does not admit this address; expected one that is in its ranges, and \
                 neither link-local, multicast nor unspecified",
            ),
            Self::TooManySources { limit, found } => write!(
                f,
                "{found} pairs of a service and a datacenter; at most {limit} are allowed"
            ),
            Self::HostsNeeded => f.write_str(
                "missing; of several services each needs its hosts, unless route_metadata is \
                 true and the route names the service",
            ),
            Self::PathSegment => f.write_str(
                "nothing, \".\" or \"..\" cannot be asked for over HTTP, alone or beside a \"/\"; \
                 expected another name",
            ),
            Self::ClusterIsNoAuthority { found } => write!(
                f,
                "missing; its default, the cluster's name, has {found:?}, which no Host header \
                 can have; set it, such as \"consul.internal\""
            ),
            Self::AttemptsWithoutHeaders => f.write_str(
                "only headers hands over several endpoints; leave attempts out or set via to \
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

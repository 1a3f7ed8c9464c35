//! A client that stays with its endpoint.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::error::ConfigError;
use super::hash_on::cookie;
use super::node::Node;

/// A client is told by a cookie which endpoint served it, and goes there again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name.
    pub cookie: String,
    /// How long the cookie lasts; zero: as long as the client's session.
    pub ttl: Duration,
}

impl Sticky {
    /// The cookie's name where none is given.
    pub const DEFAULT_COOKIE: &str = "consul_resolver";
    /// The `ttl` where none is given.
    pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);
    /// The shortest and the longest `ttl` but zero: a cookie's `Max-Age` is in seconds, and
    /// browsers cut at 400 days.
    pub const TTL: RangeInclusive<Duration> =
        Duration::from_secs(1)..=Duration::from_secs(400 * 24 * 3600);
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["cookie", "ttl"];

    pub(super) fn read(node: &Node<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        Ok(Self {
            cookie: object
                .optional("cookie", cookie)?
                .unwrap_or_else(|| Self::DEFAULT_COOKIE.to_owned()),
            ttl: object.optional("ttl", ttl)?.unwrap_or(Self::DEFAULT_TTL),
        })
    }
}

fn ttl(node: &Node<'_>) -> Result<Duration, ConfigError> {
    match node.duration(Duration::ZERO..=*Sticky::TTL.end())? {
        Duration::ZERO => Ok(Duration::ZERO),
        _ => node.duration(Sticky::TTL),
    }
}

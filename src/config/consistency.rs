//! How fresh an answer of Consul must be.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::{Cursor, Object};
use super::duration::Spelled;
use super::error::ConfigError;
use super::field_error::FieldError;

/// How fresh an answer of Consul must be; its consistency modes and its agents' cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Consistency {
    /// The leader answers; in rare moments a deposed one.
    #[default]
    Default,
    /// Any server answers, even without a leader.
    Stale {
        /// How long ago it may have heard from the leader; none: no matter how long.
        max_stale: Option<Duration>,
    },
    /// The leader answers after it has asked the others.
    Consistent,
    /// The agent answers from its cache, and asks the servers in the background.
    Cached(CacheAges),
}

impl Consistency {
    /// The modes, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[
        ("default", Self::Default),
        ("stale", Self::Stale { max_stale: None }),
        ("consistent", Self::Consistent),
        ("cached", Self::Cached(CacheAges { max_age: None, stale_if_error: None })),
    ];
    /// The shortest and the longest `max_stale`: a server hears from its leader several times a
    /// second.
    pub const MAX_STALE: RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(3600);

    /// Reads the fields of `consul` that are about it.
    pub(super) fn read(consul: &Object<'_>) -> Result<Self, ConfigError> {
        let mode = consul
            .optional("consistency", |node| node.one_of("consistency", Self::CHOICES))?
            .unwrap_or_default();
        let max_stale = consul.optional("max_stale", |node| node.duration(Self::MAX_STALE))?;
        let ages = consul.optional("cached", CacheAges::read)?;
        match (mode, max_stale, ages) {
            (Self::Stale { .. }, max_stale, None) => Ok(Self::Stale { max_stale }),
            (Self::Cached(default), None, ages) => Ok(Self::Cached(ages.unwrap_or(default))),
            (mode, None, None) => Ok(mode),
            (Self::Stale { .. }, _, Some(_)) | (_, None, Some(_)) => {
                Err(consul.error_at("cached", FieldError::Needs { other: "consistency: cached" }))
            }
            (_, Some(_), _) => {
                Err(consul.error_at("max_stale", FieldError::Needs { other: "consistency: stale" }))
            }
        }
    }
}

/// How old an answer of the agent's cache may be; what is not given is left to Consul.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CacheAges {
    /// In normal times. An older one is asked of the servers again.
    pub max_age: Option<Duration>,
    /// While the servers cannot be asked; longer than `max_age`.
    pub stale_if_error: Option<Duration>,
}

impl CacheAges {
    /// The least and the most of either: 30 days is more than any cache keeps.
    pub const AGES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(30 * 24 * 3600);
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["max_age", "stale_if_error"];

    fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let max_age = object.optional("max_age", seconds)?;
        let stale_if_error = object.optional("stale_if_error", seconds)?;
        match (max_age, stale_if_error) {
            (None, Some(_)) => {
                Err(object.error_at("stale_if_error", FieldError::Needs { other: "max_age" }))
            }
            (Some(found), Some(most)) if found > most => {
                let (found, most) = (Spelled(found).to_string(), Spelled(most).to_string());
                let problem = FieldError::Above { found, other: "stale_if_error", most };
                Err(object.error_at("max_age", problem))
            }
            _ => Ok(Self { max_age, stale_if_error }),
        }
    }
}

/// An age as HTTP writes it (RFC 9111, section 1.2.2).
fn seconds(node: &Cursor<'_>) -> Result<Duration, ConfigError> {
    match node.duration(CacheAges::AGES)? {
        age if age.subsec_nanos() == 0 => Ok(age),
        found => Err(node.error(FieldError::NotSeconds { found })),
    }
}

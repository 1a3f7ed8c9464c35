//! How fresh an answer of Consul must be.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::Cursor;
use super::duration::Spelled;
use super::error::Refusals;
use super::field_error::FieldError;
use super::object::{Object, field};

/// Freshness of an answer: Consul's consistency modes, and its agents' cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Consistency {
    /// The leader answers; in rare moments a deposed one.
    #[default]
    Default,
    /// Any server answers, even without a leader.
    Stale {
        /// Longest time since the server has heard from the leader; none: no limit.
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
    pub(super) fn read(consul: &mut Object<'_>) -> Self {
        let mut mode = Self::default();
        let mut max_stale = None;
        let mut ages = None;
        consul.set(
            field(
                "consistency",
                "The consistency of a response: `default` (the leader's), `stale` (any server's, even \
                 without a leader), `consistent` (the leader's, after it has asked the others), \
                 `cached` (the agent's cache).",
            ),
            &mut mode,
            |node| node.one_of("consistency", Self::CHOICES),
        );
        consul.set_some(
            field(
                "max_stale",
                "With `stale`: how long ago the server that answers may have heard from the leader. \
                 Beyond it the leader is asked. Default: no limit.",
            ),
            &mut max_stale,
            |node| node.duration(Self::MAX_STALE),
        );
        consul.set_some(
            field("cached", "With `cached`: how old an answer may be, in whole seconds."),
            &mut ages,
            CacheAges::read,
        );
        if !consul.are_read(&["consistency"]) {
            return mode;
        }
        if consul.has("max_stale") && !matches!(mode, Self::Stale { .. }) {
            consul.refuse("max_stale", FieldError::Needs { other: "consistency: stale" });
        }
        if consul.has("cached") && !matches!(mode, Self::Cached(_)) {
            consul.refuse("cached", FieldError::Needs { other: "consistency: cached" });
        }
        match mode {
            Self::Stale { .. } => Self::Stale { max_stale },
            Self::Cached(default) => Self::Cached(ages.unwrap_or(default)),
            mode => mode,
        }
    }
}

/// Ages of an answer of the agent's cache; those that are not given are left to Consul.
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

    fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("cached")?;
        object.describe(r#"{ "dependentRequired": { "stale_if_error": ["max_age"] } }"#);
        let mut found = Self::default();
        object.set_some(
            field("max_age", "In normal times. Default: Consul's own rules."),
            &mut found.max_age,
            seconds,
        );
        object.set_some(
            field(
                "stale_if_error",
                "While the agent cannot ask the servers; not below `max_age`, which it needs.",
            ),
            &mut found.stale_if_error,
            seconds,
        );
        if object.has("stale_if_error") && !object.has("max_age") {
            object.refuse("stale_if_error", FieldError::Needs { other: "max_age" });
        }
        if let (Some(age), Some(most)) = (found.max_age, found.stale_if_error)
            && age > most
        {
            let (found, most) = (Spelled(age).to_string(), Spelled(most).to_string());
            object.refuse("max_age", FieldError::Above { found, other: "stale_if_error", most });
        }
        object.finish(found)
    }
}

/// An age as HTTP writes it (RFC 9111, section 1.2.2).
fn seconds(node: &Cursor<'_>) -> Result<Duration, Refusals> {
    match node.duration(CacheAges::AGES)? {
        age if age.subsec_nanos() == 0 => Ok(age),
        found => Err(node.error(FieldError::NotSeconds { found })),
    }
}

//! The choice of an endpoint: the policy, and slow start.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::Cursor;
use super::error::ConfigError;
use super::field_error::FieldError;
use super::policy::Policy;

/// How an endpoint of a service is picked for a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadBalancing {
    /// The policy.
    pub policy: Policy,
    /// How an endpoint that is new comes to its full share; none: it has it at once.
    pub slow_start: Option<SlowStart>,
}

impl LoadBalancing {
    /// The fields that the configuration knows; see also [`super::PolicyKind::FIELDS`].
    pub const FIELDS: &[&str] = &[
        "policy",
        "hash_on",
        "hash_balance_factor",
        "choice_count",
        "active_request_bias",
        "decay",
        "minimum_ring_size",
        "maximum_ring_size",
        "table_size",
        "slow_start",
    ];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        Ok(Self {
            policy: Policy::read(&object)?,
            slow_start: object.optional("slow_start", SlowStart::read)?,
        })
    }
}

/// How an endpoint that is new comes to its full share: for `window` its weight is taken
/// times `(time / window)^(1 / aggression)`, and never less than the floor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// How long it takes.
    pub window: Duration,
    /// 1 is a straight line; more is faster at the beginning.
    pub aggression: f64,
    /// The floor, in percent of the weight.
    pub min_weight_percent: u8,
}

impl SlowStart {
    /// The shortest and the longest `window`.
    pub const WINDOW: RangeInclusive<Duration> =
        Duration::from_millis(100)..=Duration::from_secs(3600);
    /// The most `aggression`: close to no slow start.
    pub const MAX_AGGRESSION: u32 = 100;
    /// Envoy's default of `aggression`.
    pub const DEFAULT_AGGRESSION: f64 = 1.0;
    /// Envoy's default of `min_weight_percent`.
    pub const DEFAULT_MIN_WEIGHT_PERCENT: u8 = 10;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["window", "aggression", "min_weight_percent"];

    /// Reads the window alone, or an object.
    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let window = |node: &Cursor<'_>| node.duration(Self::WINDOW);
        let with_defaults = |window| Self {
            window,
            aggression: Self::DEFAULT_AGGRESSION,
            min_weight_percent: Self::DEFAULT_MIN_WEIGHT_PERCENT,
        };
        if node.is_string() {
            return window(node).map(with_defaults);
        }
        let object = node.object(Self::FIELDS)?;
        let mut found = with_defaults(object.required("window", "how long it takes", window)?);
        object.set("aggression", &mut found.aggression, aggression)?;
        object
            .set("min_weight_percent", &mut found.min_weight_percent, |node| node.byte(1..=100))?;
        Ok(found)
    }
}

/// Its inverse is taken, so it cannot be 0.
fn aggression(node: &Cursor<'_>) -> Result<f64, ConfigError> {
    match node.number(0..=SlowStart::MAX_AGGRESSION)? {
        0.0 => Err(node.error(FieldError::Zero { noun: "the aggression" })),
        aggression => Ok(aggression),
    }
}

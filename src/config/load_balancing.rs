//! The choice of an endpoint: the policy, and slow start.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::object::field;
use super::policy::Policy;

/// Choice of an endpoint for a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadBalancing {
    /// The policy.
    pub policy: Policy,
    /// Slow start of a new endpoint; none: it has its full share at once.
    pub slow_start: Option<SlowStart>,
}

impl LoadBalancing {
    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("load_balancing")?;
        let mut found = Self { policy: Policy::read(&mut object), slow_start: None };
        object.set_some(
            field(
                "slow_start",
                "The slow start of a new instance: the window, or more. Policies that \
                 hash have no slow start. Default: the full share at once.",
            ),
            &mut found.slow_start,
            SlowStart::read,
        );
        object.finish(found)
    }
}

/// Protocol by which the answers of an endpoint are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// An answer is judged by its status.
    #[default]
    Http,
    /// An answer is judged by its `grpc-status`, in the headers or the trailers.
    Grpc,
}

impl Protocol {
    /// The protocols, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[("http", Self::Http), ("grpc", Self::Grpc)];
}

/// Slow start of a new endpoint: for `window` its weight is taken
/// times `(time / window)^(1 / aggression)`, and never less than the floor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowStart {
    /// Time until the endpoint has its full share.
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

    /// Reads the window alone, or an object.
    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let window = |node: &Cursor<'_>| node.duration(Self::WINDOW);
        let defaults = Self {
            window: Duration::ZERO,
            aggression: Self::DEFAULT_AGGRESSION,
            min_weight_percent: Self::DEFAULT_MIN_WEIGHT_PERCENT,
        };
        node.string_or(
            |node| Ok(Self { window: window(node)?, ..defaults }),
            |node| {
                let mut object = node.object("slow_start")?;
                let mut found = defaults;
                let about = "The time in which an instance comes to its full share.";
                object.require(
                    field("window", about),
                    "how long it takes",
                    &mut found.window,
                    window,
                );
                object.set(
                    field("aggression", "1 is a straight line; more is faster at the beginning."),
                    &mut found.aggression,
                    aggression,
                );
                object.set(
                    field("min_weight_percent", "The floor, in percent of the weight."),
                    &mut found.min_weight_percent,
                    |node| node.byte(1..=100),
                );
                object.finish(found)
            },
        )
    }
}

/// Its inverse is taken, so it cannot be 0.
fn aggression(node: &Cursor<'_>) -> Result<f64, Refusals> {
    node.describe(r#"{ "exclusiveMinimum": 0 }"#);
    match node.number(0..=SlowStart::MAX_AGGRESSION)? {
        0.0 => Err(node.error(FieldError::Zero { noun: "the aggression" })),
        aggression => Ok(aggression),
    }
}

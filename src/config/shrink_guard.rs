//! When an answer of Consul is doubted.

use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::Cursor;
use super::error::Refusals;
use super::object::field;

/// Guard against an answer that lists fewer instances than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShrinkGuardConfig {
    /// It lists more than so many percent fewer, …
    pub percent: u8,
    /// … and so many fewer at least.
    pub at_least: u32,
    /// Time that an answer that leaves nothing, or that is partial, is held back; 0: nothing is
    /// doubted.
    pub hold: Duration,
}

impl ShrinkGuardConfig {
    /// The most `at_least`: an answer has no more instances.
    pub const MAX_AT_LEAST: u32 = 65_536;
    /// The shortest and the longest `hold`.
    pub const HOLD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(600);

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("shrink_guard")?;
        let mut found = Self::default();
        object.set(
            field(
                "percent",
                "The answer lists more than so many percent fewer, and `at_least` fewer.",
            ),
            &mut found.percent,
            Cursor::percent,
        );
        object.set(
            field("at_least", "The answer lists so many fewer at least."),
            &mut found.at_least,
            |node| node.integer(1..=Self::MAX_AT_LEAST),
        );
        object.set(
            field(
                "hold",
                "The longest time for which a response that leaves nothing, or that is partial, is held back; `0s`: \
                 nothing is doubted.",
            ),
            &mut found.hold,
            |node| node.duration(Self::HOLD),
        );
        object.finish(found)
    }

    /// Tells if nothing is doubted.
    pub const fn is_off(&self) -> bool {
        self.hold.is_zero()
    }
}

impl Default for ShrinkGuardConfig {
    fn default() -> Self {
        Self { percent: 50, at_least: 3, hold: Duration::from_secs(30) }
    }
}

//! Time that never goes back.

use crate::util::time::Time;

/// The time that has passed; a clock that was set back stood still.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The latest moment that was told.
    pub(super) last: Time,
    passed: Time,
}

impl Clock {
    /// Takes note of a moment; returns the time that has passed.
    pub(super) fn at(&mut self, now: Time) -> Time {
        self.passed = self.passed + now.since(self.last);
        self.last = now;
        self.passed
    }

    /// Returns the moment at which that much will have passed.
    pub(super) fn when(&self, passed: Time) -> Time {
        self.last + passed.since(self.passed)
    }
}

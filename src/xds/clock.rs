//! Time that never goes back.

use crate::util::time::Time;

/// The time that has passed. A clock that was set back counts as standing still.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// The latest moment.
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

//! A VM's own clock.

/// A clock that runs at a rate of its own, and may stand still.
#[derive(Debug, Clone)]
pub struct Clock {
    /// What it showed, in microseconds, at that moment of the world.
    shown: u64,
    at: u64,
    /// How fast it runs, in thousandths.
    rate: u64,
}

impl Clock {
    /// The slowest and the fastest rate of a clock that runs.
    pub const RATES: (u64, u64) = (800, 1_250);

    /// A clock that shows something at a moment.
    pub const fn new(shown: u64, at: u64, rate: u64) -> Self {
        Self { shown, at, rate }
    }

    /// What it shows.
    pub const fn now(&self, at: u64) -> u64 {
        self.shown + at.saturating_sub(self.at) * self.rate / 1_000
    }

    /// Runs at another rate from now on; 0 stands still.
    pub const fn set_rate(&mut self, rate: u64, at: u64) {
        *self = Self { shown: self.now(at), at, rate };
    }
}

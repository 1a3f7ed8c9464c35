//! Moments on one VM's own clock, and a clock that stands still with its VM.
//!
//! Clocks of two VMs are never compared: a [`Time`] has meaning only beside another
//! one of the same VM. All arithmetic saturates, so a clock that jumps cannot panic.

use core::ops::Add;
use core::time::Duration;

/// A moment, as the time since an arbitrary start that one VM has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(Duration);

impl Time {
    /// The arbitrary start.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Makes the moment that is `offset` after the start.
    pub const fn from_start(offset: Duration) -> Self {
        Self(offset)
    }

    /// Returns the time since the start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Returns the time that has passed since `earlier`. It is zero if `earlier` is later, as after
    /// a clock was set back.
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

/// The most that one look adds to an [`AwakeClock`]. Ticks come four times a second, so a longer
/// time between two looks means that this VM stood still.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// A clock that stands still while its VM does.
///
/// A stopped process finds that much time has passed, and nothing else: its peers have stood still,
/// too, and no response has arrived. So each decision by a span of *silence* uses this clock, which
/// counts a second at most for each look. A decision by an *age* uses the true clock.
#[derive(Debug, Default)]
pub struct AwakeClock {
    last: Time,
    awake: Time,
}

impl AwakeClock {
    /// Returns the moment by this clock. A true clock that goes back counts as standing still.
    pub fn at(&mut self, now: Time) -> Time {
        self.awake = self.awake + now.since(self.last).min(LONGEST_STEP);
        self.last = now;
        self.awake
    }
}

/// The time that has passed. A clock that was set back counts as standing still.
#[derive(Debug, Default)]
pub struct Clock {
    /// The latest moment.
    pub last: Time,
    passed: Time,
}

impl Clock {
    /// Takes note of a moment; returns the time that has passed.
    pub fn at(&mut self, now: Time) -> Time {
        self.passed = self.passed + now.since(self.last);
        self.last = now;
        self.passed
    }

    /// Returns the moment at which that much will have passed.
    pub fn when(&self, passed: Time) -> Time {
        self.last + passed.since(self.passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn time_set_back_counts_as_no_time_passed() {
        let early = Time::from_start(Duration::from_secs(1));
        let late = early + Duration::from_secs(2);
        assert_eq!(late.since(early), Duration::from_secs(2));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    #[test]
    fn time_saturates_when_a_sum_is_too_large() {
        let end = Time::from_start(Duration::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
    }

    fn at(milliseconds: u64) -> Time {
        Time::from_start(Duration::from_millis(milliseconds))
    }

    #[test]
    fn clock_counts_a_second_when_its_vm_stood_still() {
        let mut clock = AwakeClock::default();
        assert_eq!(clock.at(at(250)), at(250));
        assert_eq!(clock.at(at(500)), at(500));
        assert_eq!(clock.at(at(86_400_000)), at(1_500), "a day");
        assert_eq!(clock.at(at(86_400_250)), at(1_750));
        assert_eq!(clock.at(at(1_000)), at(1_750), "it was set back");
        assert_eq!(clock.at(at(1_250)), at(2_000));
    }
}

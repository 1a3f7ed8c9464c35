//! A moment on one VM's own clock.
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

    /// The moment that is `offset` after the start.
    pub const fn from_start(offset: Duration) -> Self {
        Self(offset)
    }

    /// The time since the start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time that has passed since `earlier`; zero when `earlier` is later, as it is
    /// after a clock was set back.
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
    fn the_end_of_time_is_not_passed() {
        let end = Time::from_start(Duration::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
    }
}

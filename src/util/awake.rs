//! A clock that stands still while nobody looks.

use core::time::Duration;

use crate::util::time::Time;

/// The most that one look adds: ticks come four times a second, so a longer time between two looks
/// is one in which this VM stood still.
const LONGEST_STEP: Duration = Duration::from_secs(1);

/// A clock that stands still while its VM does.
///
/// A process that was stopped finds that much time has passed, and nothing else: whoever might have
/// given a sign of life has stood still, too, and what is on its way has not arrived. So whatever is
/// decided by a span of *silence* goes by this clock, which counts a second at most for each look. What
/// is decided by an *age* goes by the true one.
#[derive(Debug, Default)]
pub struct AwakeClock {
    last: Time,
    awake: Time,
}

impl AwakeClock {
    /// The moment by this clock, at a moment of the true one. A true one that goes back counts as one
    /// that stands still.
    pub fn at(&mut self, now: Time) -> Time {
        self.awake = self.awake + now.since(self.last).min(LONGEST_STEP);
        self.last = now;
        self.awake
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

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

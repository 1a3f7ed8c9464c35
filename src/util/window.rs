//! A count over the last seconds.

use crate::util::time::Time;

/// A count of the last `SECONDS` seconds, the present second included.
///
/// Each second has a count, so memory and time do not depend on the counts. A clock that was set back
/// goes on from there, with the window as it is; a clock that stands still forgets nothing.
#[derive(Debug, Clone)]
pub struct Window<const SECONDS: usize> {
    /// The counts of the last seconds, the present second first.
    counts: [u32; SECONDS],
    /// The number of the present second.
    second: u64,
}

impl<const SECONDS: usize> Window<SECONDS> {
    /// Creates an empty window.
    pub const fn new() -> Self {
        Self { counts: [0; SECONDS], second: 0 }
    }

    /// Adds to the count.
    pub fn add(&mut self, more: u32, now: Time) {
        self.advance(now);
        if let Some(count) = self.counts.first_mut() {
            *count = count.saturating_add(more);
        }
    }

    /// Returns the count of the window.
    pub fn sum(&mut self, now: Time) -> u64 {
        self.advance(now);
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Clears the window.
    pub const fn clear(&mut self) {
        self.counts = [0; SECONDS];
    }

    /// Drops the seconds that have left the window.
    fn advance(&mut self, now: Time) {
        let second = now.since_start().as_secs();
        let passed = second.saturating_sub(self.second).min(SECONDS as u64) as usize;
        self.second = second;
        self.counts.rotate_right(passed);
        self.counts.iter_mut().take(passed).for_each(|count| *count = 0);
    }
}

impl<const SECONDS: usize> Default for Window<SECONDS> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn counts_leave_the_window_second_by_second() {
        let mut window = Window::<10>::new();
        window.add(3, at(100));
        window.add(2, at(104));
        assert_eq!(window.sum(at(109)), 5);
        assert_eq!(window.sum(at(110)), 2);
        assert_eq!(window.sum(at(114)), 0);
        window.add(1, at(1_000_000));
        assert_eq!(window.sum(at(1_000_000)), 1);
        window.clear();
        assert_eq!(window.sum(at(1_000_000)), 0);
    }

    #[test]
    fn window_goes_on_when_the_clock_is_set_back() {
        let mut window = Window::<10>::new();
        window.add(3, at(1_000));
        assert_eq!(window.sum(at(10)), 3);
        assert_eq!(window.sum(at(20)), 0);
    }

    #[test]
    fn counts_do_not_overflow() {
        let mut window = Window::<2>::new();
        window.add(u32::MAX, at(1));
        window.add(u32::MAX, at(1));
        window.add(u32::MAX, at(2));
        assert_eq!(window.sum(at(2)), 2 * u64::from(u32::MAX));
    }
}

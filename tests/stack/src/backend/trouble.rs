//! Which requests a backend fails.

use std::num::NonZeroU64;

/// Answers with a status of trouble, for all requests or for a share of them. The share is the
/// same in every run: it goes by the number of the request, counted from when it was set.
#[derive(Debug, Clone)]
pub struct Trouble {
    status: u16,
    share: Share,
}

#[derive(Debug, Clone)]
enum Share {
    None,
    All,
    Every { nth: NonZeroU64, count: u64 },
    Drawn { percent: u8, draws: fastrand::Rng },
}

impl Trouble {
    /// No request fails.
    pub fn none() -> Self {
        Self { status: 200, share: Share::None }
    }

    /// Every request gets this status.
    pub fn always(status: u16) -> Self {
        Self { status, share: Share::All }
    }

    /// Every `nth` request gets this status: 2 is in turn one that does not and one that does.
    pub fn every(nth: NonZeroU64, status: u16) -> Self {
        Self { status, share: Share::Every { nth, count: 0 } }
    }

    /// So many percent of the requests, drawn by the seed, get this status: unlike
    /// [`every`](Self::every), some in a row and some far apart, as real failures do.
    pub fn drawn(percent: u8, status: u16, seed: u64) -> Self {
        Self { status, share: Share::Drawn { percent, draws: fastrand::Rng::with_seed(seed) } }
    }

    /// The status of the next request, if it is one that fails.
    pub(super) fn next_status(&mut self) -> Option<u16> {
        let fails = match &mut self.share {
            Share::None => false,
            Share::All => true,
            Share::Every { nth, count } => {
                *count += 1;
                count.is_multiple_of(nth.get())
            }
            Share::Drawn { percent, draws } => draws.u8(..100) < *percent,
        };
        fails.then_some(self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(mut trouble: Trouble, requests: usize) -> Vec<bool> {
        (0..requests).map(|_| trouble.next_status() == Some(503)).collect()
    }

    #[test]
    fn every_second_request_fails_in_turn() {
        let two = NonZeroU64::new(2).expect("not zero");
        assert_eq!(failures(Trouble::every(two, 503), 4), [false, true, false, true]);
    }

    #[test]
    fn a_drawn_share_is_as_large_as_said_and_the_same_in_every_run() {
        let failed = failures(Trouble::drawn(50, 503, 7), 10_000);
        assert_eq!(failed, failures(Trouble::drawn(50, 503, 7), 10_000));
        let share = failed.iter().filter(|failed| **failed).count();
        // Four standard deviations of a fair coin.
        assert!((4_800..=5_200).contains(&share), "{share}");
        assert!(failed.windows(5).any(|five| five.iter().all(|failed| *failed)), "none in a row");
    }

    #[test]
    fn none_and_all_are_what_they_say() {
        assert_eq!(failures(Trouble::none(), 3), [false; 3]);
        assert_eq!(failures(Trouble::always(503), 3), [true; 3]);
    }
}

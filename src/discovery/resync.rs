//! When a source is read afresh, whatever its watch says.

use core::time::Duration;

use crate::util::rng::Rng;
use crate::util::time::Time;

/// The times at which a source is read afresh.
///
/// Watches that froze for days are a classic of such clients (linkerd/linkerd#1230,
/// traefik/traefik#3944). A plain read once in a while finds out whatever the cause was. The
/// times are up to a tenth earlier or later, so that services that were read together at the
/// start do not stay together.
#[derive(Debug)]
pub(super) struct Resync {
    interval: Duration,
    due: Option<Time>,
}

impl Resync {
    /// Reads afresh at this interval; 0 is never.
    pub(super) const fn new(interval: Duration) -> Self {
        Self { interval, due: None }
    }

    /// Learns that the source was read without an index, afresh or at least for the first time.
    pub(super) fn on_read(&mut self, is_fresh: bool, now: Time, rng: &mut Rng) {
        if is_fresh || self.due.is_none() {
            self.due = (!self.interval.is_zero()).then(|| now + rng.about(self.interval));
        }
    }

    /// Whether it is to be read afresh now.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.due.is_some_and(|due| now >= due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn it_is_due_an_interval_after_the_last_read_give_or_take_a_tenth() {
        let mut rng = Rng::new(1);
        let (mut early, mut late) = (0, 0);
        for _ in 0..1_000 {
            let mut resync = Resync::new(Duration::from_secs(600));
            assert!(!resync.is_due(at(1_000_000)), "it was never read");
            resync.on_read(true, at(100), &mut rng);
            assert!(!resync.is_due(at(639)) && resync.is_due(at(760)));
            early += u32::from(resync.is_due(at(660)));
            late += u32::from(!resync.is_due(at(740)));
        }
        assert!((100..250).contains(&early) && (100..250).contains(&late), "{early} {late}");
    }

    #[test]
    fn an_interval_of_zero_is_never() {
        let mut resync = Resync::new(Duration::ZERO);
        resync.on_read(true, at(0), &mut Rng::new(1));
        assert!(!resync.is_due(at(1_000_000)));
    }
}

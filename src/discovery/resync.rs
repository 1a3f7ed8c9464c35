//! The periodic full read of a source, whatever its watch says.

use core::time::Duration;

use crate::util::rng::Rng;
use crate::util::time::Time;

/// The schedule of full reads of a source.
///
/// Watches that froze for days are a common fault of such clients (linkerd/linkerd#1230,
/// traefik/traefik#3944). A plain read at intervals repairs them whatever the cause was. The
/// interval varies by up to a tenth, so that sources that were read together at the start do not
/// stay together.
#[derive(Debug)]
pub(super) struct Resync {
    interval: Duration,
    due: Option<Time>,
}

impl Resync {
    /// Reads at this interval; 0 means never.
    pub(super) const fn new(interval: Duration) -> Self {
        Self { interval, due: None }
    }

    /// Notes a read without an index. The first read starts the schedule, and a fresh one restarts
    /// it.
    pub(super) fn on_read(&mut self, is_fresh: bool, now: Time, rng: &mut Rng) {
        if is_fresh || self.due.is_none() {
            self.due = (!self.interval.is_zero()).then(|| now + rng.about(self.interval));
        }
    }

    /// Returns true if a full read is due.
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
    fn resync_is_due_an_interval_after_the_last_read() {
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
    fn resync_is_never_due_when_the_interval_is_zero() {
        let mut resync = Resync::new(Duration::ZERO);
        resync.on_read(true, at(0), &mut Rng::new(1));
        assert!(!resync.is_due(at(1_000_000)));
    }
}

//! The timer of a root context.

use core::time::Duration;

use crate::proxy::host;
use crate::util::time::Time;

/// The timer of a root context. Envoy begins its period anew after each tick, and whenever it is
/// set. A timer that is set at every event would never tick, so it is set only to tick sooner, or
/// at a tick.
#[derive(Debug)]
pub(super) struct Timer {
    period: Duration,
    /// The time of the last tick, or of the start.
    last: Time,
    next: Time,
    is_at_tick: bool,
}

impl Timer {
    /// The shortest period.
    const MIN: Duration = Duration::from_millis(1);

    /// Starts the timer.
    pub(super) fn start(period: Duration, now: Time) -> Self {
        host::set_tick_period(period);
        Self { period, last: now, next: now + period, is_at_tick: false }
    }

    /// Notes a tick.
    pub(super) fn on_tick(&mut self, now: Time) {
        self.last = now;
        self.next = now + self.period;
        self.is_at_tick = true;
    }

    /// Sets the next tick to a period after the last one, or to `due` if that is before.
    pub(super) fn set(&mut self, period: Duration, due: Option<Time>, now: Time) {
        let is_at_tick = core::mem::take(&mut self.is_at_tick);
        let since = if is_at_tick { now } else { self.last };
        let next = due.map_or(since + period, |due| due.min(since + period));
        // What should have come already comes as soon as it can, and not later with each event.
        let next = next.max(now + Self::MIN);
        let wanted = next.since(now);
        let is_wrong = if is_at_tick { wanted != self.period } else { next < self.next };
        if is_wrong {
            self.period = wanted;
            self.next = now + wanted;
            host::set_tick_period(wanted);
        }
    }
}

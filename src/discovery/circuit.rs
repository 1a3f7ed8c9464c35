//! The calls for one datacenter.

use core::time::Duration;

use crate::config;
use crate::discovery::breaker::{Breaker, Evidence};
use crate::discovery::caller::{CallId, Caller};
use crate::discovery::line::Line;
use crate::rng::Rng;
use crate::time::Time;

/// Which datacenter a source is asked for; none is the agent's own.
pub type Datacenter = Option<Box<str>>;

/// What stands for a datacenter where the agent is asked for what it does itself: registrations. It
/// answers these when its servers have no leader, too, and a report that comes late is an outage.
pub(super) const OF_THE_AGENT: &str = "of the agent itself, for registrations";
/// The longest time for which it is left alone: a part of the shortest TTL.
const LONGEST_OF_THE_AGENT: Duration = Duration::from_secs(3);

/// The breaker of one datacenter, and who waits while it is not closed.
///
/// An agent answers for other datacenters by asking their servers, and says 500, or nothing for a
/// long time, where it cannot reach them. That must not keep its own services from being asked
/// for, so each datacenter has a circuit of its own.
#[derive(Debug)]
pub(super) struct Circuit {
    pub(super) breaker: Breaker,
    pub(super) probe: Option<(CallId, Caller)>,
    pub(super) line: Line,
}

impl Circuit {
    /// That of a datacenter; starts closed.
    pub(super) fn of(datacenter: &Datacenter, settings: config::Breaker) -> Self {
        let is_agent = datacenter.as_deref() == Some(OF_THE_AGENT);
        let most = if is_agent { LONGEST_OF_THE_AGENT } else { Duration::MAX };
        let config::Breaker { base_open_time, max_open_time, .. } = settings;
        let settings = config::Breaker {
            base_open_time: base_open_time.min(most),
            max_open_time: max_open_time.min(most),
            ..settings
        };
        Self { breaker: Breaker::new(settings), probe: None, line: Line::default() }
    }

    /// Whether nobody asks, or waits.
    pub(super) fn is_unused(&self) -> bool {
        self.breaker.is_unused() && self.line.front().is_none()
    }

    /// Puts a caller in line, and tells whether it is the first.
    pub(super) fn is_next(&mut self, caller: Caller) -> bool {
        self.line.join(caller, self.breaker.rank(caller));
        self.line.front() == Some(caller)
    }

    /// Forgets a caller that asks no longer. If it was the one that probed, nobody will hear of the
    /// outcome, and the next one is to probe.
    pub(super) fn forget(&mut self, caller: Caller, now: Time) {
        self.line.leave(caller);
        self.breaker.forget(caller);
        if self.probe.take_if(|(_, prober)| *prober == caller).is_some() {
            self.breaker.on_probe_abandoned(now);
        }
    }

    /// Takes the outcome of a call.
    pub(super) fn on_outcome(
        &mut self,
        caller: Caller,
        call: CallId,
        evidence: Evidence,
        now: Time,
        rng: &mut Rng,
    ) {
        let is_probe = self.probe.take_if(|(probe, _)| *probe == call).is_some();
        self.breaker.on_outcome(Some(caller), evidence, is_probe, now, rng);
    }
}

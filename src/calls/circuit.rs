//! The calls for one datacenter.

use core::time::Duration;

use crate::calls::breaker::{Breaker, BreakerState, CallOutcome};
use crate::calls::caller::{CallId, Caller};
use crate::calls::wait_queue::WaitQueue;
use crate::config;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// Which datacenter a source is asked for; none is the agent's own.
pub type Datacenter = Option<Box<str>>;

/// What stands for a datacenter where the agent is asked for what it does itself: registrations. It
/// answers these when its servers have no leader, too, and a report that comes late is an outage.
pub const OF_THE_AGENT: &str = "of the agent itself, for registrations";
/// The longest time for which it is left alone, or only asked by one call that it may take long to
/// answer: a part of the shortest TTL.
const LONGEST_OF_THE_AGENT: Duration = Duration::from_secs(3);

/// The breaker of one datacenter, and who waits while it is not closed.
///
/// An agent answers for other datacenters by asking their servers, and says 500, or nothing for a
/// long time, where it cannot reach them. That must not keep its own services from being asked
/// for, so each datacenter has a circuit of its own.
#[derive(Debug)]
pub struct Circuit {
    /// Its breaker.
    pub breaker: Breaker,
    /// The longest time for which others wait for a probe.
    longest_probe: Duration,
    /// What has gone out as a probe since the breaker was closed last, the latest one at the end.
    probes: Vec<(CallId, Caller)>,
    /// The callers that wait while it is not closed.
    pub queue: WaitQueue,
}

impl Circuit {
    /// That of a datacenter; starts closed.
    pub fn of(datacenter: &Datacenter, settings: config::BreakerConfig) -> Self {
        let is_agent = datacenter.as_deref() == Some(OF_THE_AGENT);
        let most = if is_agent { LONGEST_OF_THE_AGENT } else { Duration::MAX };
        let config::BreakerConfig { base_open_time, max_open_time, .. } = settings;
        let settings = config::BreakerConfig {
            base_open_time: base_open_time.min(most),
            max_open_time: max_open_time.min(most),
            ..settings
        };
        let breaker = Breaker::new(settings);
        Self { breaker, longest_probe: most, probes: Vec::new(), queue: WaitQueue::default() }
    }

    /// Whether nobody asks, or waits.
    pub fn is_unused(&self) -> bool {
        self.breaker.is_unused() && self.queue.head().is_none()
    }

    /// Puts a caller in line, and tells whether it is the first.
    pub fn is_next(&mut self, caller: Caller) -> bool {
        self.queue.enqueue(caller, self.breaker.rank(caller));
        self.queue.head() == Some(caller)
    }

    /// Learns that a call is out as the probe, and by when it will have had an outcome.
    pub fn on_probe(&mut self, caller: Caller, call: CallId, lost: Time, now: Time) {
        self.probes.push((call, caller));
        let patience = lost.since(now).min(self.longest_probe);
        self.breaker.on_probe(now + patience, now);
    }

    /// Forgets a caller that asks no longer. If it was the one that probed, nobody will hear of the
    /// outcome, and the next one is to probe.
    pub fn forget(&mut self, caller: Caller, now: Time) {
        self.queue.remove(caller);
        self.breaker.forget(caller);
        if self.probes.last().is_some_and(|(_, checker)| *checker == caller) {
            self.breaker.on_probe_abandoned(now);
        }
        self.probes.retain(|(_, checker)| *checker != caller);
    }

    /// Takes the outcome of a call; where its caller does not count, there is none.
    pub fn on_outcome(
        &mut self,
        caller: Option<Caller>,
        call: CallId,
        evidence: CallOutcome,
        now: Time,
        rng: &mut Rng,
    ) {
        let place = self.probes.iter().position(|(probe, _)| *probe == call);
        place.map(|place| self.probes.remove(place));
        self.breaker.on_outcome(caller, evidence, place.is_some(), now, rng);
        if self.breaker.position() == BreakerState::Closed {
            self.probes.clear();
        }
    }
}

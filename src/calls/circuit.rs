//! The circuit of one datacenter: its breaker and its waiting callers.

use core::time::Duration;

use crate::calls::breaker::{Breaker, BreakerState, CallOutcome};
use crate::calls::caller::{CallId, Caller};
use crate::calls::wait_queue::WaitQueue;
use crate::config;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The datacenter of a source. `None` is the agent's own.
pub type Datacenter = Option<Box<str>>;

/// The pseudo datacenter of calls that the agent serves by itself: registrations. The agent serves
/// them even if its servers have no leader, and a late report is an outage.
pub const OF_THE_AGENT: &str = "of the agent itself, for registrations";
/// The longest time for which registrations wait for the breaker or for a slow probe. It is a part
/// of the shortest TTL.
const LONGEST_OF_THE_AGENT: Duration = Duration::from_secs(3);

/// The breaker of one datacenter, and the callers that wait while it is not closed.
///
/// An agent forwards queries for other datacenters to their servers. If it cannot reach them it
/// responds with 500, or not at all for a long time. That must not stop calls for its own services,
/// so each datacenter has a circuit of its own.
#[derive(Debug)]
pub struct Circuit {
    /// The breaker.
    pub breaker: Breaker,
    /// The longest time for which other callers wait for a probe.
    longest_probe: Duration,
    /// The probes since the breaker was last closed, the latest at the end.
    probes: Vec<(CallId, Caller)>,
    /// The callers that wait while the breaker is not closed.
    pub queue: WaitQueue,
}

impl Circuit {
    /// Starts the circuit of a datacenter with a closed breaker.
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

    /// Returns true if no caller calls or waits.
    pub fn is_unused(&self) -> bool {
        self.breaker.is_unused() && self.queue.head().is_none()
    }

    /// Queues a caller, and returns true if it is the first.
    pub fn is_next(&mut self, caller: Caller) -> bool {
        self.queue.enqueue(caller, self.breaker.rank(caller));
        self.queue.head() == Some(caller)
    }

    /// Notes that a call is out as the probe and has an outcome by `lost` at the latest.
    pub fn on_probe(&mut self, caller: Caller, call: CallId, deadline: Time, now: Time) {
        self.probes.push((call, caller));
        let patience = deadline.since(now).min(self.longest_probe);
        self.breaker.on_probe(now + patience, now);
    }

    /// Forgets a caller that has stopped calling. If it was the prober, the outcome is lost and the
    /// next caller probes.
    pub fn forget(&mut self, caller: Caller, now: Time) {
        self.queue.remove(caller);
        self.breaker.forget(caller);
        if self.probes.last().is_some_and(|(_, checker)| *checker == caller) {
            self.breaker.on_probe_abandoned(now);
        }
        self.probes.retain(|(_, checker)| *checker != caller);
    }

    /// Takes the outcome of a call. `caller` is `None` if it does not count.
    pub fn on_outcome(
        &mut self,
        caller: Option<Caller>,
        call: CallId,
        outcome: CallOutcome,
        now: Time,
        rng: &mut Rng,
    ) {
        let place = self.probes.iter().position(|(probe, _)| *probe == call);
        place.map(|place| self.probes.remove(place));
        self.breaker.on_outcome(caller, outcome, place.is_some(), now, rng);
        if self.breaker.position() == BreakerState::Closed {
            self.probes.clear();
        }
    }
}

//! What is remembered of one endpoint's answers.

use core::cell::Cell;
use core::time::Duration;

use super::outcome::Outcome;
use super::statistics::Tally;
use crate::time::Time;

/// What a worker knows of an endpoint's answers, and whether it is out of use for them.
///
/// It belongs to the endpoint and is shared by the requests in flight to it, so all its
/// fields are cells. A [`Detector`](super::detector::Detector) judges it; a pick asks only
/// [`Monitor::admits`].
#[derive(Debug, Default)]
pub struct Monitor {
    state: Cell<State>,
    /// Whether probes say that it does not work, whatever its answers say.
    unhealthy: Cell<bool>,
    /// When a tick first met the probe that is out.
    probe_seen: Cell<Option<Time>>,
    /// Counts ejections and returns: a request tells by it whether it began in this one.
    era: Cell<u32>,
    /// By how much the base ejection time was multiplied last.
    multiplier: Cell<u32>,
    consecutive_5xx: Cell<u32>,
    consecutive_gateway_failures: Cell<u32>,
    consecutive_local_origin_failures: Cell<u32>,
    /// Of the interval that runs: what it answered.
    answers: Cell<Tally>,
    /// Of the interval that runs: how often it could be reached, where that counts apart.
    connections: Cell<Tally>,
}

/// Whether an endpoint takes its share.
#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// It does, since then.
    Active { since: Time },
    /// It has none until then.
    Ejected { until: Time },
    /// Its time is over: one request finds out whether it takes its share again.
    Probation { probing: bool },
    /// It has left the snapshots: what its last requests tell is of no use.
    Forgotten,
}

/// A request to an endpoint, from its pick to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    era: u32,
    is_probe: bool,
}

impl Admission {
    /// Whether it decides if the endpoint takes its share again.
    pub const fn is_probe(self) -> bool {
        self.is_probe
    }
}

impl Monitor {
    /// Whether the endpoint is out of use: until a probe has succeeded.
    pub const fn is_ejected(&self) -> bool {
        matches!(self.state.get(), State::Ejected { .. } | State::Probation { .. })
    }

    /// Whether it takes no request at all: until its time is over, or while it is not healthy.
    pub const fn is_barred(&self) -> bool {
        self.unhealthy.get() || matches!(self.state.get(), State::Ejected { .. })
    }

    /// Whether it takes its share.
    pub const fn is_active(&self) -> bool {
        !self.unhealthy.get() && matches!(self.state.get(), State::Active { .. })
    }

    /// Whether probes say that it does not work.
    pub const fn is_unhealthy(&self) -> bool {
        self.unhealthy.get()
    }

    /// Learns what probes say.
    pub fn set_unhealthy(&self, is_unhealthy: bool) {
        self.unhealthy.set(is_unhealthy);
    }

    /// Whether it takes no request now, and would not at a later moment before its time is over.
    pub fn is_barred_after(&self, now: Time) -> bool {
        matches!(self.state.get(), State::Ejected { until } if until > now)
    }

    /// What a request to it that begins now would be, if it is not its probe.
    pub const fn passing(&self) -> Admission {
        Admission { era: self.era.get(), is_probe: false }
    }

    /// Whether a request may be sent to it: not while it is ejected, and not while another
    /// request probes it, nor while it is not healthy.
    pub const fn admits(&self) -> bool {
        !self.unhealthy.get()
            && matches!(
                self.state.get(),
                State::Active { .. } | State::Probation { probing: false }
            )
    }

    /// Whether the next request to it is its probe.
    pub const fn awaits_probe(&self) -> bool {
        !self.unhealthy.get() && matches!(self.state.get(), State::Probation { probing: false })
    }

    /// Notes a request to it that begins; the first one after the time of an ejection is its
    /// probe.
    ///
    /// One that it did not admit (when all endpoints are used in a panic) is no probe, and
    /// what it tells is not counted.
    pub fn begin_request(&self) -> Admission {
        let is_probe = self.awaits_probe();
        if is_probe {
            self.state.set(State::Probation { probing: true });
            self.probe_seen.set(None);
        }
        Admission { era: self.era.get(), is_probe }
    }

    /// Notes that the request is over, whether or not an outcome was ever known: after a probe
    /// without one the next request is the probe.
    pub fn end_request(&self, admission: Admission) {
        let is_probing = matches!(self.state.get(), State::Probation { probing: true });
        if is_probing && admission.is_probe && self.is_current(admission) {
            self.state.set(State::Probation { probing: false });
        }
    }

    /// Whether a probe has been out for so long, as far as ticks have seen it.
    pub(super) fn is_probe_overdue(&self, now: Time, longest: Duration) -> bool {
        if !matches!(self.state.get(), State::Probation { probing: true }) {
            return false;
        }
        let seen = self.probe_seen.get().unwrap_or(now);
        self.probe_seen.set(Some(seen));
        now.since(seen) >= longest
    }

    pub(super) const fn state(&self) -> State {
        self.state.get()
    }

    /// Whether the request began after the last ejection or return.
    pub(super) const fn is_current(&self, admission: Admission) -> bool {
        self.era.get() == admission.era
    }

    /// Whether the request decides if the endpoint returns.
    pub(super) const fn is_decided_by(&self, admission: Admission) -> bool {
        admission.is_probe && self.is_current(admission)
    }

    /// Takes it out of use, with the multiplier of its ejection time.
    pub(super) fn eject(&self, until: Time, multiplier: u32) {
        self.multiplier.set(multiplier);
        self.enter(State::Ejected { until });
    }

    /// Waits for a probe.
    pub(super) fn end_ejection(&self) {
        self.state.set(State::Probation { probing: false });
    }

    /// Gives its share back. All counts start again, so that the one that did not eject it
    /// does not do so at the next error.
    pub(super) fn admit_again(&self, now: Time) {
        self.consecutive_5xx.set(0);
        self.consecutive_gateway_failures.set(0);
        self.consecutive_local_origin_failures.set(0);
        self.end_interval();
        self.enter(State::Active { since: now });
    }

    /// Pays no attention to it any more.
    pub fn forget(&self) {
        self.enter(State::Forgotten);
    }

    pub(super) const fn multiplier(&self) -> u32 {
        self.multiplier.get()
    }

    /// Lets its next ejection be shorter by one base time.
    pub(super) fn lower_multiplier(&self) {
        self.multiplier.set(self.multiplier.get().saturating_sub(1));
    }

    /// Counts an answer for its success rate and in the rows of 5xx; tells how long the rows
    /// of gateway failures and of 5xx are.
    pub(super) fn count_answer(&self, outcome: Outcome) -> (u32, u32) {
        let is_gateway_failure = matches!(outcome, Outcome::GatewayFailure | Outcome::LocalOrigin);
        let is_success = outcome == Outcome::Success;
        self.answers.set(self.answers.get().plus(is_success));
        (
            count_row(&self.consecutive_gateway_failures, is_gateway_failure),
            count_row(&self.consecutive_5xx, !is_success),
        )
    }

    /// Counts whether it could be reached; tells how often in a row it could not.
    pub(super) fn count_connection(&self, is_success: bool) -> u32 {
        self.connections.set(self.connections.get().plus(is_success));
        count_row(&self.consecutive_local_origin_failures, !is_success)
    }

    pub(super) fn restart_5xx(&self) {
        self.consecutive_5xx.set(0);
    }

    pub(super) fn restart_gateway_failures(&self) {
        self.consecutive_gateway_failures.set(0);
    }

    pub(super) fn restart_local_origin_failures(&self) {
        self.consecutive_local_origin_failures.set(0);
    }

    /// What it answered in the interval that runs.
    pub(super) const fn answers(&self) -> Tally {
        self.answers.get()
    }

    /// How often it could be reached in the interval that runs.
    pub(super) const fn connections(&self) -> Tally {
        self.connections.get()
    }

    /// Starts the next interval.
    pub(super) fn end_interval(&self) {
        self.answers.set(Tally::default());
        self.connections.set(Tally::default());
    }

    /// Enters a state in which what earlier requests tell is not counted.
    fn enter(&self, state: State) {
        self.state.set(state);
        self.era.set(self.era.get().wrapping_add(1));
    }
}

impl AsRef<Self> for Monitor {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Active { since: Time::ZERO }
    }
}

/// Makes a row longer, or ends it; tells how long it is.
fn count_row(row: &Cell<u32>, goes_on: bool) -> u32 {
    row.set(if goes_on { row.get().saturating_add(1) } else { 0 });
    row.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn in_probation() -> Monitor {
        let monitor = Monitor::default();
        monitor.eject(Time::ZERO, 1);
        monitor.end_ejection();
        monitor
    }

    #[test]
    fn a_new_endpoint_takes_its_share() {
        let monitor = Monitor::default();
        assert!(monitor.admits() && !monitor.is_ejected());
        monitor.begin_request();
        assert!(monitor.admits());
    }

    #[test]
    fn after_an_ejection_one_request_at_a_time_probes() {
        let monitor = in_probation();
        assert!(monitor.admits() && monitor.is_ejected());
        let probe = monitor.begin_request();
        assert!(!monitor.admits());

        // One that was sent all the same (in a panic) does not free the probe.
        monitor.end_request(monitor.begin_request());
        assert!(!monitor.admits());

        monitor.end_request(probe);
        assert!(monitor.admits());
        assert!(monitor.is_decided_by(monitor.begin_request()));
    }

    #[test]
    fn the_end_of_an_old_probe_does_not_free_a_new_one() {
        let monitor = in_probation();
        let old = monitor.begin_request();
        monitor.eject(Time::ZERO, 2);
        monitor.end_ejection();
        let new = monitor.begin_request();
        monitor.end_request(old);
        assert!(!monitor.admits());
        monitor.end_request(new);
        assert!(monitor.admits());
    }

    #[test]
    fn rows_end_with_the_first_answer_of_another_kind() {
        let monitor = Monitor::default();
        assert_eq!(monitor.count_answer(Outcome::GatewayFailure), (1, 1));
        assert_eq!(monitor.count_answer(Outcome::LocalOrigin), (2, 2));
        assert_eq!(monitor.count_answer(Outcome::ServerError), (0, 3));
        assert_eq!(monitor.count_answer(Outcome::Success), (0, 0));
        assert_eq!(monitor.count_connection(false), 1);
        assert_eq!(monitor.count_connection(false), 2);
        assert_eq!(monitor.count_connection(true), 0);
    }

    #[test]
    fn one_that_is_not_healthy_takes_nothing_and_keeps_what_its_answers_have_told() {
        for (monitor, is_active) in [(Monitor::default(), true), (in_probation(), false)] {
            monitor.set_unhealthy(true);
            assert!(!monitor.admits() && !monitor.is_active() && monitor.is_barred());
            assert!(!monitor.begin_request().is_probe());
            assert_eq!(monitor.is_ejected(), !is_active);
            monitor.set_unhealthy(false);
            assert!(monitor.admits() && !monitor.is_barred());
            assert_eq!(monitor.is_active(), is_active);
        }
    }

    #[test]
    fn a_forgotten_endpoint_admits_nothing() {
        let monitor = in_probation();
        monitor.forget();
        assert!(!monitor.admits() && !monitor.is_ejected());
    }
}

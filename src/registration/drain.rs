//! Detects that this Envoy drains.

use crate::config::Probe;
use crate::health_check::checker::{HealthChecker, HealthState, ProbeNumber};
use crate::health_check::verdict::{ProbeReason, ProbeResponse};
use crate::host::ProbeTarget;
use crate::registration::probe::{OutgoingProbe, ProbeResult};
use crate::util::rng::Rng;
use crate::util::time::Time;

/// Probes the administration interface of this Envoy, whose status tells that Envoy drains or that
/// `/healthcheck/fail` was called. A missing response changes nothing, and neither does an Envoy
/// that is starting.
#[derive(Debug)]
pub(super) struct Drain {
    probe: Probe,
    checker: HealthChecker,
    was_asked: bool,
}

impl Drain {
    /// Starts with a probe that is due now. `last` is the number of the last probe of earlier terms.
    pub(super) const fn new(probe: Probe, last: ProbeNumber, now: Time) -> Self {
        let mut checker = HealthChecker::new(HealthState::Unknown, now);
        checker.with_first_id(last);
        Self { probe, checker, was_asked: false }
    }

    /// Returns the cluster that is probed.
    pub(super) fn cluster(&self) -> &str {
        &self.probe.cluster
    }

    /// Notes that this VM stood still, and probes again at once.
    pub(super) fn on_gap(&mut self, now: Time) {
        self.was_asked = false;
        self.checker.restart(self.checker.health(), now);
    }

    /// Returns true if Envoy drains. `None` before the first probe has ended.
    pub(super) fn is_draining(&self) -> Option<bool> {
        let is_draining = self.checker.health() == HealthState::Unhealthy;
        (self.was_asked || is_draining).then_some(is_draining)
    }

    /// Returns a probe that must be sent now.
    pub(super) fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<OutgoingProbe> {
        // A lost probe says nothing, as an unanswered one.
        if self.checker.is_waiting() && now >= self.checker.due() {
            self.was_asked = true;
            self.checker.on_unsent(self.checker.last(), &self.probe.check, now, rng);
        }
        let number = self.checker.poll_probe(&self.probe.check, now, rng)?;
        Some(OutgoingProbe::new(ProbeTarget::Drain, number, &self.probe))
    }

    /// Takes the result of a probe.
    pub(super) fn on_probed(&mut self, probed: &ProbeResult<'_>, now: Time, rng: &mut Rng) {
        if probed.response.as_ref().is_ok_and(is_starting) {
            // A running Envoy never starts again, so this is its successor.
            return self.checker.on_unsent(probed.number, &self.probe.check, now, rng);
        }
        self.was_asked = true;
        let verdict = probed.verdict(&self.probe.check);
        match verdict.reason() {
            ProbeReason::Status(_) | ProbeReason::Body => {
                self.checker.on_verdict(probed.number, verdict, &self.probe.check, now, rng);
            }
            _ => self.checker.on_unsent(probed.number, &self.probe.check, now, rng),
        }
    }
}

/// Returns true for Envoy's response at
/// [`/ready`](https://www.envoyproxy.io/docs/envoy/latest/operations/admin#get--ready) while Envoy
/// starts.
fn is_starting(response: &ProbeResponse<'_>) -> bool {
    [&b"PRE_INITIALIZING"[..], b"INITIALIZING"].iter().any(|state| response.body.starts_with(state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HealthCheck;
    use core::time::Duration;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Returns the state after these responses of `/ready`.
    fn known(responses: &[(u16, &str)]) -> Option<bool> {
        let mut rng = Rng::new(1);
        let check = HealthCheck { unhealthy_threshold: 1, ..HealthCheck::default() };
        let probe = Probe { cluster: "envoy_admin".to_owned(), check };
        let mut drain = Drain::new(probe, ProbeNumber(0), Time::ZERO);
        for (seconds, (status, body)) in (0..).step_by(60).zip(responses) {
            let now = Time::from_start(Duration::from_secs(seconds));
            let OutgoingProbe { target, number, .. } = drain.poll_probe(now, &mut rng).unwrap();
            let response =
                ProbeResponse { status: *status, from_envoy: false, body: body.as_bytes() };
            drain.on_probed(&ProbeResult { target, number, response: Ok(response) }, now, &mut rng);
        }
        drain.is_draining()
    }

    #[test]
    fn drain_state_is_unknown_when_envoy_is_starting() {
        let (live, draining) = ((200, "LIVE\n"), (503, "DRAINING\n"));
        assert_eq!(known(&[(503, "PRE_INITIALIZING\n"), (503, "INITIALIZING\n")]), None);
        for starting in [(503, "PRE_INITIALIZING\n"), (503, "INITIALIZING\n")] {
            assert_eq!(known(&[starting, live]), Some(false));
            assert_eq!(known(&[live, starting]), Some(false), "another one");
            assert_eq!(known(&[live, draining, starting]), Some(true), "another one");
        }
        assert_eq!(known(&[live, draining]), Some(true));
        assert_eq!(known(&[draining, live]), Some(false));
    }
}

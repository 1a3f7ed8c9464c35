//! Whether this Envoy is about to stop.

use crate::config::Probe;
use crate::health::prober::{Prober, Standing};
use crate::health::verdict::Reason;
use crate::registration::probing::{ProbeSpot, Probed, Probing};
use crate::rng::Rng;
use crate::time::Time;

/// Asks whether this Envoy is about to stop: its administration interface says so by another
/// status, once `/healthcheck/fail` was called or it drains. That nobody answers says nothing.
#[derive(Debug)]
pub(super) struct Drain {
    probe: Probe,
    prober: Prober,
    was_asked: bool,
}

impl Drain {
    pub(super) const fn new(probe: Probe, now: Time) -> Self {
        Self { probe, prober: Prober::new(Standing::Unknown, now), was_asked: false }
    }

    /// Whether it is; none before it was asked once.
    pub(super) fn is_draining(&self) -> Option<bool> {
        let is_draining = self.prober.standing() == Standing::Unhealthy;
        (self.was_asked || is_draining).then_some(is_draining)
    }

    pub(super) fn poll_probe(&mut self, now: Time, rng: &mut Rng) -> Option<Probing> {
        // One that nobody heard of again says nothing, as one that nobody has answered.
        if self.prober.is_asking() && now >= self.prober.due() {
            self.was_asked = true;
            self.prober.on_unsent(self.prober.last(), &self.probe.check, now, rng);
        }
        let number = self.prober.poll_probe(&self.probe.check, now, rng)?;
        Some(Probing::new(ProbeSpot::Drain, number, &self.probe))
    }

    pub(super) fn on_probed(&mut self, probed: &Probed<'_>, now: Time, rng: &mut Rng) {
        self.was_asked = true;
        let verdict = probed.verdict(&self.probe.check);
        match verdict.reason() {
            Reason::Status(_) | Reason::Body => {
                self.prober.on_verdict(probed.number, verdict, &self.probe.check, now, rng);
            }
            _ => self.prober.on_unsent(probed.number, &self.probe.check, now, rng),
        }
    }
}

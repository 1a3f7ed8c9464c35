//! A probe of a registration, on its way.

use crate::config::{HealthCheck, Probe};
use crate::health::prober::ProbeNumber;
use crate::health::verdict::{Answer, Reason, Verdict};

/// What a probe of a registration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeSpot {
    /// Whether Envoy drains.
    Drain,
    /// The check at that position.
    Check(usize),
}

/// A probe that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probing {
    /// What it is for.
    pub spot: ProbeSpot,
    /// Its number.
    pub number: ProbeNumber,
    /// What is asked.
    pub probe: Probe,
}

impl Probing {
    pub(super) fn new(spot: ProbeSpot, number: ProbeNumber, probe: &Probe) -> Self {
        Self { spot, number, probe: probe.clone() }
    }
}

/// What came back for a probe.
#[derive(Debug, Clone)]
pub struct Probed<'a> {
    /// What it was for.
    pub spot: ProbeSpot,
    /// Its number.
    pub number: ProbeNumber,
    /// The answer, or why there is none.
    pub answer: Result<Answer<'a>, Reason>,
}

impl Probed<'_> {
    /// What it says.
    pub(super) fn verdict(&self, check: &HealthCheck) -> Verdict {
        match &self.answer {
            Ok(answer) => Verdict::of(check, *answer),
            Err(reason) => Verdict::Bad(reason.clone()),
        }
    }
}

//! A probe of a registration, on its way.

use crate::config::{HealthCheck, Probe};
use crate::health_check::checker::ProbeNumber;
use crate::health_check::verdict::{ProbeReason, ProbeResponse, ProbeVerdict};

/// What a probe of a registration is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeTarget {
    /// Whether Envoy drains.
    Drain,
    /// The check at that position.
    Check(usize),
}

/// A probe that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingProbe {
    /// What it is for.
    pub target: ProbeTarget,
    /// Its number.
    pub number: ProbeNumber,
    /// What is asked.
    pub probe: Probe,
}

impl OutgoingProbe {
    pub(super) fn new(target: ProbeTarget, number: ProbeNumber, probe: &Probe) -> Self {
        Self { target, number, probe: probe.clone() }
    }
}

/// What came back for a probe.
#[derive(Debug, Clone)]
pub struct ProbeResult<'a> {
    /// What it was for.
    pub target: ProbeTarget,
    /// Its number.
    pub number: ProbeNumber,
    /// The answer, or why there is none.
    pub response: Result<ProbeResponse<'a>, ProbeReason>,
}

impl ProbeResult<'_> {
    /// What it says.
    pub(super) fn verdict(&self, check: &HealthCheck) -> ProbeVerdict {
        match &self.response {
            Ok(response) => ProbeVerdict::of(check, *response),
            Err(reason) => ProbeVerdict::Bad(reason.clone()),
        }
    }
}

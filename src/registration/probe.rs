//! The probes of a registration.

use crate::config::{HealthCheck, Probe};
use crate::health_check::checker::ProbeNumber;
use crate::health_check::verdict::{ProbeReason, ProbeResponse, ProbeVerdict};
use crate::host::ProbeTarget;

/// A probe to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingProbe {
    /// The target.
    pub target: ProbeTarget,
    /// The number of the probe.
    pub number: ProbeNumber,
    /// The request of the probe.
    pub probe: Probe,
}

impl OutgoingProbe {
    pub(super) fn new(target: ProbeTarget, number: ProbeNumber, probe: &Probe) -> Self {
        Self { target, number, probe: probe.clone() }
    }
}

/// The result of a probe.
#[derive(Debug, Clone)]
pub struct ProbeResult<'a> {
    /// The target.
    pub target: ProbeTarget,
    /// The number of the probe.
    pub number: ProbeNumber,
    /// The response, or the reason why there is none.
    pub response: Result<ProbeResponse<'a>, ProbeReason>,
}

impl ProbeResult<'_> {
    /// Returns the verdict on the result.
    pub(super) fn verdict(&self, check: &HealthCheck) -> ProbeVerdict {
        match &self.response {
            Ok(response) => ProbeVerdict::of(check, *response),
            Err(reason) => ProbeVerdict::Bad(reason.clone()),
        }
    }
}

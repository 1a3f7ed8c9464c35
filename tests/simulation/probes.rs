//! Probes on their way: of the local service, and of Envoy's administration interface.

use consul_resolver::config::Probe;
use consul_resolver::health_check::verdict::{ProbeReason, ProbeResponse};
use consul_resolver::host::ProbeId;
use consul_resolver::host::ProbeTarget;

use crate::consul::Outcome;
use crate::vm::SimHost;

/// How long a VM waits for the answer to a probe, in microseconds of its own clock: the probe's
/// timeout of a second, and two seconds more.
pub const GIVEN_UP: u64 = 3_000_000;

/// What comes back for a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// An answer with this status.
    Status(u16),
    /// Envoy says that nobody could be reached.
    Unreachable,
    /// Envoy says that there was no answer in time.
    TimedOut,
}

/// How someone takes a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Answers with this status, at once.
    Answers(u16),
    /// Cannot be reached.
    Unreachable,
    /// Never answers.
    Silent,
    /// Envoy does not send the probe.
    Unsent,
    /// Envoy loses the callout: nothing ever comes back.
    Lost,
}

impl Echo {
    /// The same as Envoy gives it.
    pub const fn answer(self) -> ProbeResponse<'static> {
        let (status, from_envoy, body): (_, _, &[u8]) = match self {
            Self::Status(status) => (status, false, b""),
            Self::Unreachable => (503, true, b"upstream connect error: connection failure"),
            Self::TimedOut => (504, true, b"upstream request timeout"),
        };
        ProbeResponse { status, from_envoy, body }
    }
}

impl SimHost<'_> {
    /// Sends a probe.
    pub fn send_probe(&mut self, id: ProbeId, probe: &Probe) -> Result<(), ProbeReason> {
        self.effects.probes.push(id);
        self.deliver(id, probe)
    }

    fn deliver(&mut self, id: ProbeId, probe: &Probe) -> Result<(), ProbeReason> {
        let weather = &self.consul.weather;
        if self.rng.below(100) < weather.refused / 4 {
            return Err(ProbeReason::NoCapacity);
        }
        if self.rng.below(100) < weather.vanished {
            return Ok(());
        }
        let manner = match id.target {
            ProbeTarget::Check(_) => {
                Manner::Answers(if self.consul.registry.is_well { 200 } else { 503 })
            }
            ProbeTarget::Drain => self.admin.manner(),
        };
        let soon = self.at + 200 + u64::from(self.rng.below(20_000));
        let timeout = u64::try_from(probe.check.timeout.as_micros()).expect("a short time");
        let end = self.at + timeout;
        let (at, echo) = match manner {
            Manner::Answers(status) => (soon, Echo::Status(status)),
            Manner::Unreachable => (soon, Echo::Unreachable),
            Manner::Silent => (end, Echo::TimedOut),
            Manner::Unsent => return Err(ProbeReason::UnknownCluster),
            Manner::Lost => return Ok(()),
        };
        self.effects.outcomes.push(Outcome::Probed(at, self.id, id, echo));
        Ok(())
    }
}

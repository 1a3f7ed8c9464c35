//! Whose probe it was that came back.

use super::Agent;
use crate::discovery::event::ProbeId;
use crate::health::verdict::{Answer, Reason};
use crate::registration::probing::Probed;
use crate::time::Time;

impl Agent {
    pub(super) fn on_examined(
        &mut self,
        probe: ProbeId,
        answer: Result<Answer<'_>, Reason>,
        now: Time,
    ) {
        match probe {
            ProbeId::Registration { registration, spot, number } => {
                let probed = Probed { spot, number, answer };
                self.with_registry(now, |registry, scope| {
                    registry.on_examined(registration, &probed, scope);
                });
            }
            ProbeId::Endpoint { source, address, number } => {
                self.with_tracker(source, now, |tracker, scope| {
                    tracker.on_examined(address, number, answer, scope);
                });
            }
        }
    }
}

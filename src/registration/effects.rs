//! The effects of a response of the agent.

use core::mem::discriminant;
use core::time::Duration;

use crate::registration::agent_call::CallSlot;
use crate::registry::consul::registration::RegistrationError;
use crate::telemetry::RegistrationEvent;
use crate::util::rng::Rng;
use crate::util::time::Time;

/// The time, the randomness and the outputs while a response of the agent is handled.
pub(super) struct Effects<'a> {
    pub(super) now: Time,
    pub(super) rng: &'a mut Rng,
    /// The slot of all calls but reports.
    pub(super) calls: &'a mut CallSlot,
    /// The last error that was reported.
    pub(super) failing: &'a mut Option<RegistrationError>,
    pub(super) events: &'a mut Vec<RegistrationEvent>,
}

impl Effects<'_> {
    /// Adds an event.
    pub(super) fn emit(&mut self, event: RegistrationEvent) {
        self.events.push(event);
    }

    /// Stops calls for about `pause`. Returns the end of the pause.
    pub(super) fn pause(&mut self, pause: Duration) -> Time {
        let until = self.now + self.rng.about(pause);
        self.calls.not_before(until);
        until
    }

    /// Reports an error, unless it is of the same kind as the last one.
    pub(super) fn report_error(&mut self, error: RegistrationError) {
        let is_same = self.failing.as_ref().is_some_and(|last| {
            discriminant(last) == discriminant(&error) && last.kind() == error.kind()
        });
        if !is_same {
            self.emit(RegistrationEvent::Failing(error.clone()));
            *self.failing = Some(error);
        }
    }
}

//! The state of a leader's calls to Consul, as reported to operators.

use crate::registry::error::RegistryError;
use crate::registry::error_kind::ErrorKind;
use crate::registry::rejected_instances::RejectedInstances;
use crate::telemetry::SourceEvent;

/// Turns responses into events for operators: transitions, not every response.
///
/// The next leader, even the same VM, begins without errors and rejected instances.
#[derive(Debug, Default)]
pub(super) struct Contact {
    failing: Option<ErrorKind>,
    dropped: RejectedInstances,
}

impl Contact {
    /// Takes a good response after `failures` errors in a row.
    pub(super) fn on_response(
        &mut self,
        dropped: RejectedInstances,
        failures: u32,
    ) -> impl Iterator<Item = SourceEvent> + use<> {
        let recovered = self.failing.take().map(|_| SourceEvent::Recovered(failures));
        let is_other = core::mem::replace(&mut self.dropped, dropped) != dropped;
        let left_out = is_other.then_some(SourceEvent::Dropped(dropped));
        [recovered, left_out].into_iter().flatten()
    }

    /// Takes an error.
    pub(super) fn on_error(&mut self, error: RegistryError) -> Option<SourceEvent> {
        let kind = error.kind();
        let is_other = self.failing.replace(kind) != Some(kind);
        is_other.then_some(SourceEvent::Failing(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::http::{CallFailure, Refusal};
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn texts(events: impl Iterator<Item = SourceEvent>) -> Vec<String> {
        events.map(|event| event.to_string()).collect()
    }

    fn error(failure: CallFailure) -> RegistryError {
        RegistryError::of_failure(failure, "consul")
    }

    #[test]
    fn error_is_reported_once_when_it_begins_and_when_it_ends() {
        let mut contact = Contact::default();
        assert_eq!(contact.on_response(RejectedInstances::default(), 0).count(), 0);
        assert!(contact.on_error(error(CallFailure::NoAnswer)).is_some());
        assert!(contact.on_error(error(CallFailure::NoAnswer)).is_none());
        assert!(
            contact.on_error(error(CallFailure::Refused(Refusal::NoCapacity))).is_some(),
            "another error"
        );
        let recovered = SourceEvent::Recovered(3).to_string();
        assert_eq!(texts(contact.on_response(RejectedInstances::default(), 3)), [recovered]);
        assert_eq!(contact.on_response(RejectedInstances::default(), 0).count(), 0);
    }

    #[test]
    fn rejections_are_reported_when_they_change() {
        let mut contact = Contact::default();
        let dropped = RejectedInstances { bad_port: 1, ..RejectedInstances::default() };
        assert_eq!(contact.on_response(dropped, 0).count(), 1);
        assert_eq!(contact.on_response(dropped, 0).count(), 0);
    }
}

//! The state of a leader's calls to Consul, as reported to operators.

use core::time::Duration;

use crate::registry::error::{ErrorKind, RegistryError};
use crate::registry::rejected_instances::RejectedInstances;
use crate::telemetry::SourceEvent;
use crate::util::time::Time;

/// Turns responses into events for operators: transitions, not every response.
#[derive(Debug, Default)]
pub(super) struct Contact {
    /// The age of the published endpoints, and the time at which they had that age.
    confirmed: Option<(Duration, Time)>,
    failing: Option<ErrorKind>,
    dropped: RejectedInstances,
}

impl Contact {
    /// Returns the time since Consul last confirmed the endpoints, if it ever did.
    pub(super) fn age(&self, now: Time) -> Option<Duration> {
        self.confirmed.map(|(age, then)| age.saturating_add(now.since(then)))
    }

    /// Begins with endpoints of that age, or with none.
    pub(super) fn begin(&mut self, age: Option<Duration>, now: Time) {
        self.confirmed = age.map(|age| (age, now));
    }

    /// Takes a good response after `failures` errors in a row.
    pub(super) fn on_response(
        &mut self,
        dropped: RejectedInstances,
        failures: u32,
        now: Time,
    ) -> impl Iterator<Item = SourceEvent> + use<> {
        self.confirmed = Some((Duration::ZERO, now));
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

    /// Forgets what operators were told. The next leader, even the same VM, begins without errors
    /// and rejected instances.
    pub(super) fn end(&mut self) {
        self.failing = None;
        self.dropped = RejectedInstances::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::response::{CallFailure, Refusal};
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    fn texts(events: impl Iterator<Item = SourceEvent>) -> Vec<String> {
        events.map(|event| event.to_string()).collect()
    }

    fn error(failure: CallFailure) -> RegistryError {
        RegistryError::of_failure(failure, "consul")
    }

    #[test]
    fn error_is_reported_once_when_it_begins_and_when_it_ends() {
        let mut contact = Contact::default();
        assert_eq!(contact.on_response(RejectedInstances::default(), 0, at(0)).count(), 0);
        assert!(contact.on_error(error(CallFailure::NoAnswer)).is_some());
        assert!(contact.on_error(error(CallFailure::NoAnswer)).is_none());
        assert!(
            contact.on_error(error(CallFailure::Refused(Refusal::NoCapacity))).is_some(),
            "another error"
        );
        let recovered = SourceEvent::Recovered(3).to_string();
        assert_eq!(texts(contact.on_response(RejectedInstances::default(), 3, at(1))), [recovered]);
        assert_eq!(contact.on_response(RejectedInstances::default(), 0, at(2)).count(), 0);
    }

    #[test]
    fn rejections_are_reported_when_they_change_or_after_the_end() {
        let mut contact = Contact::default();
        let dropped = RejectedInstances { bad_port: 1, ..RejectedInstances::default() };
        let reported = |contact: &mut Contact| contact.on_response(dropped, 0, at(0)).count() == 1;
        assert!(reported(&mut contact));
        assert!(!reported(&mut contact));
        contact.end();
        assert!(reported(&mut contact));
    }

    #[test]
    fn age_grows_from_the_last_response_or_the_adopted_age() {
        let mut contact = Contact::default();
        assert_eq!(contact.age(at(9)), None);
        contact.begin(Some(Duration::from_secs(5)), at(10));
        assert_eq!(contact.age(at(12)), Some(Duration::from_secs(7)));
        assert_eq!(contact.on_response(RejectedInstances::default(), 0, at(20)).count(), 0);
        assert_eq!(contact.age(at(21)), Some(Duration::from_secs(1)));
    }
}

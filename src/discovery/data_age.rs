//! The age of the installed snapshot.

use core::time::Duration;

use crate::shared::key::Cas;
use crate::util::time::Time;

/// The time since Consul last confirmed the installed snapshot, if that is known.
#[derive(Debug, Default)]
pub(super) struct DataAge {
    /// The age, and the time at which the snapshot had it.
    confirmed: Option<(Duration, Time)>,
    /// The version of the source record at the last load, and the time of the load.
    last_load: Option<(Option<Cas>, Time)>,
}

impl DataAge {
    /// Returns the age, if it is known.
    pub(super) fn at(&self, now: Time) -> Option<Duration> {
        self.confirmed.map(|(age, then)| age.saturating_add(now.since(then)))
    }

    /// Notes the version of the source record. Returns the greatest possible time since it was
    /// written, if that was after the last load. A record that was found at the first load may be
    /// of any age, because its leader may have died long ago.
    pub(super) fn on_record_loaded(&mut self, cas: Option<Cas>, now: Time) -> Option<Duration> {
        let (before, when) = self.last_load.replace((cas, now))?;
        (before != cas).then(|| now.since(when))
    }

    /// Takes the age from another VM.
    pub(super) const fn adopt(&mut self, age: Duration, now: Time) {
        self.confirmed = Some((age, now));
    }

    /// Notes that Consul has just confirmed the snapshot.
    pub(super) const fn confirm(&mut self, now: Time) {
        self.adopt(Duration::ZERO, now);
    }

    /// Forgets the age.
    pub(super) const fn forget(&mut self) {
        self.confirmed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn at(seconds: u64) -> Time {
        Time::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn age_grows_from_the_last_response_or_the_adopted_age() {
        let mut age = DataAge::default();
        assert_eq!(age.at(at(9)), None);
        age.adopt(Duration::from_secs(5), at(10));
        assert_eq!(age.at(at(12)), Some(Duration::from_secs(7)));
        age.confirm(at(20));
        assert_eq!(age.at(at(21)), Some(Duration::from_secs(1)));
    }
}

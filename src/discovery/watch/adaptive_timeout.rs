//! The timeout of responses, adapted to a slow Consul.

use core::time::Duration;

use crate::registry::error::RegistryError;
use crate::registry::http::PLAIN_TIMEOUT;
use crate::registry::query_response::QueryResponse;

/// The longest timeout of a read.
const LONGEST: Duration = Duration::from_secs(60);

/// The timeout of responses, adapted to a slow Consul.
///
/// A timeout that responses never meet yields no response, however often it is tried. So the
/// timeout doubles up to a minute when it is exceeded, and is halved when a response takes less
/// than a quarter of it.
#[derive(Debug)]
pub(super) struct AdaptiveTimeout {
    timeout: Duration,
}

impl AdaptiveTimeout {
    /// Starts with the usual timeout.
    pub(super) const fn new() -> Self {
        Self { timeout: PLAIN_TIMEOUT }
    }

    /// Returns the extra time beyond the usual timeout.
    pub(super) const fn extra(&self) -> Duration {
        self.timeout.saturating_sub(PLAIN_TIMEOUT)
    }

    /// Takes the outcome of a query that has ended after `took`. A blocking query with a response was
    /// held until the next change, so its duration says nothing.
    pub(super) fn on_ended(
        &mut self,
        blocks: bool,
        outcome: &Result<QueryResponse, RegistryError>,
        took: Duration,
    ) {
        match outcome {
            Err(error) => self.on_error(error, took),
            Ok(_) if !blocks => self.on_response(took),
            Ok(_) => {}
        }
    }

    /// Takes the duration of a successful read.
    fn on_response(&mut self, took: Duration) {
        if took < self.timeout / 4 {
            self.timeout = (self.timeout / 2).max(PLAIN_TIMEOUT);
        }
    }

    /// Takes the duration of a failed query. Only an error at the end of the timeout, or at half of
    /// it by a slow clock, shows that the timeout is too short.
    fn on_error(&mut self, error: &RegistryError, took: Duration) {
        if error.hints_at_timeout() && took >= self.timeout / 2 {
            self.timeout = (self.timeout * 2).min(LONGEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::http::{CallFailure, Refusal};
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn error(failure: CallFailure) -> RegistryError {
        RegistryError::of_failure(failure, "consul")
    }

    #[test]
    fn timeout_grows_to_a_minute_and_back_when_responses_are_quick() {
        let mut timeout = AdaptiveTimeout::new();
        let grown = [10, 20, 40, 60, 60].map(|expected| {
            let before = timeout.timeout;
            timeout.on_error(&error(CallFailure::NoAnswer), before);
            (before, expected)
        });
        assert!(grown.iter().all(|(found, expected)| *found == seconds(*expected)), "{grown:?}");
        timeout.on_response(seconds(20));
        assert_eq!(timeout.extra(), seconds(50), "that was not quick");
        for expected in [30, 15, 10, 10] {
            timeout.on_response(seconds(2));
            assert_eq!(timeout.timeout, seconds(expected));
        }
    }

    #[test]
    fn timeout_stays_when_an_error_came_early_or_is_another_one() {
        let mut timeout = AdaptiveTimeout::new();
        timeout.on_error(&error(CallFailure::NoAnswer), seconds(4));
        timeout.on_error(&error(CallFailure::Lost), seconds(15));
        timeout.on_error(&error(CallFailure::Refused(Refusal::NoCapacity)), seconds(10));
        assert_eq!(timeout.extra(), Duration::ZERO);
    }
}

//! One request to Consul.

use core::time::Duration;

/// How fresh the answer to one request must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadMode {
    /// As the configuration says.
    #[default]
    AsConfigured,
    /// The leader's answer, where the configuration would be content with less. It is named
    /// `leader`: agents may be set to answer stale by default (`discovery_max_stale`).
    Leader,
    /// The answer of a leader that has made sure that it is still the leader, read at once: what
    /// there is to be believed in if it contradicts another answer.
    Consistent,
}

/// What is to be done with what a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// It is read.
    Get,
    /// It is written.
    Put,
}

impl Method {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }
}

/// A request to send to Consul.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// Path and parameters; never a token.
    pub path: String,
    /// Headers beside those that every request has; never a token.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty: there is none.
    pub body: String,
    /// How long the whole answer may take.
    pub timeout: Duration,
}

/// A duration as Consul reads it. There is always a unit (a bare number is a 400), and
/// never a zero, which would stand for Consul's default of 5 minutes.
pub(super) struct Wait(pub(super) Duration);

impl core::fmt::Display for Wait {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if self.0.subsec_nanos() == 0 && !self.0.is_zero() {
            write!(f, "{}s", self.0.as_secs())
        } else {
            write!(f, "{}ms", self.0.as_millis().max(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_wait_always_has_a_unit_and_is_never_zero() {
        let text = |wait| Wait(wait).to_string();
        assert_eq!(text(Duration::from_secs(600)), "600s");
        assert_eq!(text(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(text(Duration::from_micros(10)), "1ms");
        assert_eq!(text(Duration::ZERO), "1ms");
    }
}

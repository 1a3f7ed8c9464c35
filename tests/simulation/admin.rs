//! Envoy's administration interface, by which it is known whether Envoy drains.

use crate::probes::Manner;

/// How it may fail to answer.
pub const SILENCES: [Manner; 4] =
    [Manner::Lost, Manner::Silent, Manner::Unreachable, Manner::Unsent];

/// Envoy's administration interface.
#[derive(Default)]
pub struct Admin {
    /// Whether Envoy drains.
    pub drains: bool,
    /// How it fails to answer, where it does.
    pub silence: Option<Manner>,
}

impl Admin {
    /// How it takes a probe.
    pub fn manner(&self) -> Manner {
        let status = if self.drains { 503 } else { 200 };
        self.silence.unwrap_or(Manner::Answers(status))
    }
}

//! This VM's clock.

use std::time::Instant;

use crate::proxy::host;
use crate::util::time::Time;

/// The start from which a root context counts time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start(Instant);

impl Start {
    /// Starts now.
    pub(super) fn now() -> Self {
        Self(host::clock())
    }

    /// The moment.
    pub(super) fn time(self) -> Time {
        Time::from_start(host::clock().saturating_duration_since(self.0))
    }
}

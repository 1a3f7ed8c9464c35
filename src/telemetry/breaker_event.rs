//! The events of the circuit breaker, for logs and metrics.

use core::fmt;

use log::Level;

use crate::calls::breaker::BreakerState;
use crate::calls::circuit::Datacenter;

/// A change of the state of the circuit breaker. Of several datacenters the state that is furthest
/// from closed counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerEvent {
    /// The state.
    pub state: BreakerState,
    /// The state that this VM reported last. `None` if this VM has just begun to report.
    pub before: Option<BreakerState>,
    /// The datacenter of a breaker that is not closed.
    pub datacenter: Datacenter,
}

impl BreakerEvent {
    /// Returns true if a closed breaker has opened.
    pub fn has_opened(&self) -> bool {
        self.before == Some(BreakerState::Closed) && self.state == BreakerState::Open
    }

    /// Returns the log level, if the event is logged: that the breaker opens, and that it closes,
    /// and none of the probes between.
    pub fn level(&self) -> Option<Level> {
        match (self.before, self.state) {
            (Some(BreakerState::Closed), BreakerState::Open) => Some(Level::Warn),
            (Some(BreakerState::HalfOpen | BreakerState::Open), BreakerState::Closed) => {
                Some(Level::Info)
            }
            _ => None,
        }
    }
}

impl fmt::Display for BreakerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.state != BreakerState::Closed {
            let whose = self.datacenter.as_deref().unwrap_or("the agent's own");
            write!(f, "datacenter {whose}: ")?;
        }
        write!(f, "{}", self.state)
    }
}

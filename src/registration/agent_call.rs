//! The calls to an agent for a registration.

/// A call to an agent for a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentCall {
    /// Read the service under the id.
    Read,
    /// Read the checks of the service.
    ReadChecks,
    /// Read the identity of the agent.
    Identify,
    /// Register the service and its checks.
    Register,
    /// Report the state of the check at this position.
    Report(usize),
    /// Deregister the service under the id.
    Deregister,
}

//! What an agent is to be asked for a registration.

/// What an agent is to be asked for a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentCall {
    /// What it has under the id.
    Read,
    /// Which checks that has.
    ReadChecks,
    /// Which agent it is.
    Identify,
    /// To register service and checks.
    Register,
    /// To take the state of a check, of this position.
    Report(usize),
    /// To remove what it has under the id.
    Deregister,
}

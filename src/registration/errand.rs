//! What an agent is to be asked for a registration.

/// What an agent is to be asked for a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
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

/// The number of a call for a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrandId(pub u64);

impl ErrandId {
    /// Where the numbers of a term begin, which those of no other come near.
    pub const fn first_in(term: u64) -> Self {
        Self(term << 32)
    }
}

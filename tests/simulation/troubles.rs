//! What is wrong with one source for good, and with no other.

use crate::replies::{Ask, Reply, broken, failed};

/// What is wrong with one source for good: Consul is well, and the others are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The expression of its filter is wrong: Consul 1.8 says 500.
    Filter,
    /// Nobody knows a way to its datacenter.
    Datacenter,
    /// The token may not read it.
    Denied,
    /// Consul has no such thing, as no prepared query of that name.
    Unknown,
    /// All of it is hidden from the token.
    Hidden,
    /// The answer is cut off.
    Truncated,
    /// The answer is larger than Envoy takes.
    TooLarge,
    /// The answer always comes after its timeout.
    Slow,
}

/// Those that a service of its own may have.
pub const TROUBLES: [Trouble; 7] = [
    Trouble::Filter,
    Trouble::Denied,
    Trouble::Unknown,
    Trouble::Hidden,
    Trouble::Truncated,
    Trouble::TooLarge,
    Trouble::Slow,
];

impl Trouble {
    /// The answer to a query that would be answered then, and when it comes.
    pub fn reply(self, to: &Ask, at: u64) -> (u64, Reply) {
        let found = |body: &[u8]| Reply {
            status: Some(200),
            index: Some(1),
            body: body.to_vec(),
            ..broken(to)
        };
        let reply = match self {
            Self::Filter => {
                failed(to, 500, b"Failed to create boolean expression evaluator: 1:25: no match")
            }
            Self::Datacenter => failed(to, 500, b"No path to datacenter"),
            Self::Denied => failed(to, 403, b"Permission denied"),
            Self::Unknown => failed(to, 404, b"Query not found"),
            Self::Hidden => Reply { filtered: true, ..found(b"[]") },
            Self::Truncated => found(br#"[{"Node":{"Address":"10.0.0.1"}"#),
            Self::TooLarge => broken(to),
            Self::Slow => return (to.timeout, failed(to, 504, b"upstream request timeout")),
        };
        (at, reply)
    }
}

//! Who asks Consul, and what for.

use crate::model::registration::RegistrationId;
use crate::model::service::SourceId;

/// What calls of Consul are about: whose turn it is at the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// Finding out about a source.
    Source(SourceId),
    /// Finding out about a source that a client has named, and no configuration.
    Name(SourceId),
    /// Keeping a registration.
    Registration(RegistrationId),
}

impl From<SourceId> for Caller {
    fn from(source: SourceId) -> Self {
        Self::Source(source)
    }
}

impl From<RegistrationId> for Caller {
    fn from(registration: RegistrationId) -> Self {
        Self::Registration(registration)
    }
}

/// The number of a query, so that an answer that comes too late is not taken for another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueryId(pub u64);

impl QueryId {
    /// The number after this one.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// The number of a call for a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentCallId(pub u64);

impl AgentCallId {
    /// Where the numbers of a term begin, which those of no other come near.
    pub const fn first_in(term: u64) -> Self {
        Self(term << 32)
    }
}

/// A callout: whose, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallId {
    /// A query for a source.
    Query {
        /// The source.
        source: SourceId,
        /// The number of the query.
        query: QueryId,
    },
    /// Something for a registration.
    Agent {
        /// The registration.
        registration: RegistrationId,
        /// The number of the call.
        call: AgentCallId,
    },
}

impl CallId {
    /// What it is about. Whether a client has named the source, only its tracker knows.
    pub const fn caller(self) -> Caller {
        match self {
            Self::Query { source, .. } => Caller::Source(source),
            Self::Agent { registration, .. } => Caller::Registration(registration),
        }
    }
}

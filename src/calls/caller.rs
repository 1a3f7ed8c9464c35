//! The callers of Consul, and the ids of their calls.

use crate::model::registration::RegistrationId;
use crate::model::service::SourceId;

/// The subject of a call to Consul, by which calls are scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// A source of the configuration.
    Source(SourceId),
    /// A source that only a client has named.
    Name(SourceId),
    /// A registration.
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

/// The number of a query. It keeps a late response from being taken for the response to another
/// query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct QueryId(pub u64);

impl QueryId {
    /// Returns the number after this one.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// The number of a call for a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentCallId(pub u64);

impl AgentCallId {
    /// Returns the first number of a term. The numbers of two terms do not overlap.
    pub const fn first_in(term: u64) -> Self {
        Self(term << 32)
    }
}

/// The id of a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallId {
    /// A query for a source.
    Query {
        /// The source.
        source: SourceId,
        /// The number of the query.
        query: QueryId,
    },
    /// A call to the agent for a registration.
    Agent {
        /// The registration.
        registration: RegistrationId,
        /// The number of the call.
        call: AgentCallId,
    },
}

impl CallId {
    /// Returns the caller. Only the source itself knows whether a client has named it.
    pub const fn caller(self) -> Caller {
        match self {
            Self::Query { source, .. } => Caller::Source(source),
            Self::Agent { registration, .. } => Caller::Registration(registration),
        }
    }
}

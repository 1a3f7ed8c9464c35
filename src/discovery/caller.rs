//! Who asks Consul, and what for.

use crate::discovery::watch::QueryId;
use crate::model::registration::RegistrationId;
use crate::model::service::SourceId;
use crate::registration::errand::ErrandId;

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
    Errand {
        /// The registration.
        registration: RegistrationId,
        /// The number of the call.
        errand: ErrandId,
    },
}

impl CallId {
    /// What it is about. Whether a client has named the source, only its tracker knows.
    pub const fn caller(self) -> Caller {
        match self {
            Self::Query { source, .. } => Caller::Source(source),
            Self::Errand { registration, .. } => Caller::Registration(registration),
        }
    }
}

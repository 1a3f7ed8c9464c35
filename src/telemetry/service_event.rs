//! The events of a service, for logs and metrics.

use core::fmt;
use std::rc::Rc;

use log::Level;

use crate::calls::circuit::Datacenter;
use crate::model::service::{QueryKey, SourceId};

/// An event of a service, as one worker sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum ServiceEvent {
    /// The service was found while running.
    Found(FoundService),
    /// The service is gone, and so are these sources, which no other service uses.
    Gone(Vec<SourceId>),
    /// The endpoints have more versions than a header can name. Versions with few endpoints cannot
    /// be named.
    TooManyVersions {
        /// The number of versions.
        found: usize,
    },
    /// True if Consul has not confirmed the endpoints for too long, false if it has again.
    Stale(bool),
    /// Consul has not answered within the warm-up. The service has the endpoints of its `fallback`
    /// until it does.
    FellBack,
    /// Envoy has not acknowledged endpoints of the service within the warm-up.
    Unacknowledged {
        /// The name of the service.
        name: String,
    },
    /// The dependencies that are down have changed to these. None if all have endpoints again.
    DependenciesDown(Vec<Rc<str>>),
}

/// A service that was found while running.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundService {
    /// The name of the service.
    pub name: String,
    /// True if a client has named the service, false if the catalog lists it.
    pub is_on_demand: bool,
    /// The sources of the service, in the order of preference.
    pub sources: Vec<FoundSource>,
}

/// A source of a service that was found while running.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundSource {
    /// The source.
    pub source: SourceId,
    /// The key of its query.
    pub query: QueryKey,
    /// The datacenter, if the service has several.
    pub datacenter: Datacenter,
}

impl ServiceEvent {
    /// Returns the log level.
    pub fn level(&self) -> Level {
        match self {
            Self::Found(_) | Self::Gone(_) => Level::Debug,
            Self::Stale(false) => Level::Info,
            Self::DependenciesDown(names) if names.is_empty() => Level::Info,
            Self::TooManyVersions { .. }
            | Self::Stale(true)
            | Self::FellBack
            | Self::Unacknowledged { .. }
            | Self::DependenciesDown(_) => Level::Warn,
        }
    }
}

impl fmt::Display for ServiceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(_) => f.write_str("found"),
            Self::Gone(_) => f.write_str("gone"),
            Self::TooManyVersions { found } => write!(
                f,
                "{found} versions are more than a header can name; those that few instances have go \
                 by the fallback"
            ),
            Self::Stale(true) => f.write_str(
                "consul has not confirmed the endpoints for max_age; check consul and the way to it",
            ),
            Self::Stale(false) => f.write_str("consul has confirmed the endpoints again"),
            Self::FellBack => f.write_str(
                "consul has not answered for it within warmup_timeout; this worker uses its fallback \
                 until then",
            ),
            Self::Unacknowledged { name } => write!(
                f,
                "envoy has not acknowledged endpoints within warmup_timeout, and requests go by the \
                 policy of its cluster until it does; it is to be of type EDS with service_name: \
                 {name}, and its eds_config is to lead to xds.cluster (during a hot restart the old \
                 process is asked, and this means nothing)"
            ),
            Self::DependenciesDown(names) if names.is_empty() => {
                f.write_str("all that it depends on has endpoints again")
            }
            Self::DependenciesDown(names) => write!(
                f,
                "degraded, since of those that it depends on these are down: {}",
                names.join(", ")
            ),
        }
    }
}

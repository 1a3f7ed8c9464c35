//! The kinds of resources that Envoy subscribes to.

use core::fmt;

/// A kind of resources that Envoy subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ResourceKind {
    /// The endpoints of services (EDS).
    Endpoints,
    /// Clusters (CDS).
    Clusters,
    /// Routes (RDS).
    Routes,
}

impl ResourceKind {
    const ALL: [Self; 3] = [Self::Endpoints, Self::Clusters, Self::Routes];

    /// Returns the kind that is requested at a path.
    pub(super) fn of_path(path: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.path().as_bytes() == path)
    }

    /// The path of the requests.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Endpoints => "/v3/discovery:endpoints",
            Self::Clusters => "/v3/discovery:clusters",
            Self::Routes => "/v3/discovery:routes",
        }
    }

    /// The type of the resources.
    pub const fn type_url(self) -> &'static str {
        match self {
            Self::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            Self::Clusters => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            Self::Routes => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        }
    }
}

impl fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Endpoints => "EDS",
            Self::Clusters => "CDS",
            Self::Routes => "RDS",
        })
    }
}

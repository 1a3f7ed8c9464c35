//! How Envoy's own clusters are fed.

use core::time::Duration;

use serde_json::{Map, Value};

/// How Envoy's own clusters are fed: where it subscribes, and what it is given beside endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Xds {
    /// Envoy's cluster that leads to the listener at which subscriptions are answered.
    pub cluster: String,
    /// The address of that listener, as Envoy names it: the path of a pipe, or a loopback address
    /// with its port.
    pub address: String,
    /// How long a subscription without news is held.
    pub hold: Duration,
    /// The clusters that Envoy is given, one for each service; none: it has clusters of its own.
    pub clusters: Option<Clusters>,
    /// The routes that Envoy is given; none: it has routes of its own.
    pub routes: Option<Routes>,
}

/// The clusters that Envoy is given, one for each service.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// The name of each, where `{service}` stands for the service's.
    pub name: String,
    /// Fields of Envoy's `Cluster` that all of them have.
    pub template: Map<String, Value>,
}

/// The routes that Envoy is given: a virtual host for each service that has hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct Routes {
    /// The name of the route configuration.
    pub name: String,
    /// Fields of Envoy's `RouteAction` that all of them have.
    pub template: Map<String, Value>,
}

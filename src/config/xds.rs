//! How Envoy's own clusters are fed.

use core::net::SocketAddr;
use core::ops::RangeInclusive;
use core::time::Duration;

use serde_json::{Map, Value};

use super::consul::Consul;
use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::host_template::HostTemplate;
use super::object::{Object, field};
use super::template::Template;
use crate::util::excerpt::Excerpt;

/// Feed of Envoy's own clusters: the listener for its subscriptions, and its resources beside endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Xds {
    /// Envoy's cluster that leads to the listener at which subscriptions are answered.
    pub cluster: String,
    /// The address of that listener, as Envoy names it: the path of a pipe, or a loopback address
    /// with its port.
    pub address: String,
    /// Time that a subscription without news is held.
    pub hold: Duration,
    /// The clusters that Envoy is given, one for each service; none: it has clusters of its own.
    pub clusters: Option<ClustersConfig>,
    /// The routes that Envoy is given; none: it has routes of its own.
    pub routes: Option<RoutesConfig>,
}

impl Xds {
    /// The shortest and the longest `hold`.
    pub const HOLD: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);
    /// The most bytes of an address: of Linux's `sun_path`, without the 0 at its end.
    pub const MAX_ADDRESS_BYTES: usize = 107;
    /// The most keys of `endpoint_metadata`.
    pub const MAX_METADATA_KEYS: usize = 16;
    /// The most bytes of one of them.
    pub const MAX_METADATA_KEY_BYTES: usize = 256;

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("xds")?;
        object.describe(r#"{ "dependentRequired": { "routes": ["clusters"] } }"#);
        let mut found = Self {
            cluster: String::new(),
            address: String::new(),
            hold: Duration::from_secs(25),
            clusters: None,
            routes: None,
        };
        object.require(
            field(
                "cluster",
                "Envoy's cluster that leads to the listener at `address`; generated clusters subscribe by \
                 it.",
            ),
            "Envoy's cluster that leads to the listener at address",
            &mut found.cluster,
            name,
        );
        object.require(
            field(
                "address",
                "The listener at which subscriptions are answered, as Envoy has it: the absolute path of a \
                 pipe, `@` and the name of an abstract one, or a loopback address with its port. Whoever \
                 reaches it can read all endpoints.",
            ),
            "the listener at which Envoy's subscriptions are answered, such as \
             \"/run/envoy/xds.sock\"",
            &mut found.address,
            address,
        );
        object.set(
            field(
                "hold",
                "The longest time for which a subscription without news is held; below `stream_idle_timeout` of the listener \
                 and `request_timeout` of the subscriptions.",
            ),
            &mut found.hold,
            |node| node.duration(Self::HOLD),
        );
        object.set_some(
            field(
                "clusters",
                "The clusters that Envoy is given by CDS, one of EDS for each service. Default: none; Envoy \
                 has clusters of its own.",
            ),
            &mut found.clusters,
            ClustersConfig::read,
        );
        object.set_some(
            field(
                "routes",
                "The routes that Envoy is given by RDS: a virtual host for each service that has hosts. \
                 Needs `clusters`. Default: none.",
            ),
            &mut found.routes,
            RoutesConfig::read,
        );
        if object.has("routes") && !object.has("clusters") {
            object.refuse("routes", FieldError::Needs { other: "clusters" });
        }
        object.finish(found)
    }

    /// Reads the keys of metadata that Envoy's cluster of a service is told, and gives them sorted.
    pub(super) fn endpoint_metadata(service: &mut Object<'_>) -> Vec<String> {
        service.describe(
            r#"{ "dependentSchemas": { "versions": { "properties": { "endpoint_metadata": {
                "items": { "not": { "const": "version" } }
            } } } } }"#,
        );
        let has_versions = service.has("versions");
        let key = |node: &Cursor<'_>| {
            let key = node.single_line(Self::MAX_METADATA_KEY_BYTES)?;
            // Envoy's subsets go by this one.
            if key == "version" && has_versions {
                return Err(node.error(FieldError::Beside { other: "versions" }));
            }
            Ok(key.to_owned())
        };
        let mut found = Vec::new();
        service.set(
            field(
                "endpoint_metadata",
                "The keys of `Service.Meta` whose values Envoy's cluster is told with each endpoint, under \
                 `envoy.lb`. Needs `xds`. Default: none.",
            ),
            &mut found,
            |node| {
                node.describe(r#"{ "uniqueItems": true }"#);
                let keys = node.array(Self::MAX_METADATA_KEYS, key)?;
                node.check_differ(&keys, |one, other| one == other)?;
                Ok(keys)
            },
        );
        found.sort();
        found
    }
}

/// The clusters that Envoy is given, one for each service.
#[derive(Debug, Clone, PartialEq)]
pub struct ClustersConfig {
    /// The name of each, where `{service}` stands for the service's.
    pub name: String,
    /// Fields of Envoy's `Cluster` that all of them have.
    pub template: Map<String, Value>,
}

impl ClustersConfig {
    /// The name of a service's cluster.
    pub fn name_of(&self, service: &str) -> String {
        self.name.replace(HostTemplate::SERVICE, service)
    }

    /// The service whose cluster would have a name.
    pub(super) fn service_of<'a>(&self, cluster: &'a str) -> Option<&'a str> {
        let (before, after) = self.name.split_once(HostTemplate::SERVICE)?;
        cluster.strip_prefix(before)?.strip_suffix(after)
    }

    fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("xds.clusters")?;
        let mut found = Self { name: "consul/{service}".to_owned(), template: Map::new() };
        object.set(
            field(
                "name",
                "The name of each cluster, with `{service}` in the place of the service's name. No other \
                 cluster of Envoy's may have it.",
            ),
            &mut found.name,
            cluster_name,
        );
        object.set(
            field(
                "template",
                "Fields of Envoy's `Cluster` (v3) that all of them have. Each takes the place of what the \
                 filter sets by default, but for those that are merged with it: `common_lb_config`, \
                 `circuit_breakers` (by priority) and `typed_extension_protocol_options` (by extension). \
                 `null` takes the default away. `lb_subset_config` is refused beside `versions`, unless \
                 `handoff` is `stateful_session`.",
            ),
            &mut found.template,
            |node| Template::CLUSTER.read(node),
        );
        object.finish(found)
    }
}

/// Reads a name with the place for a service's name.
fn cluster_name(node: &Cursor<'_>) -> Result<String, Refusals> {
    node.describe(
        r#"{ "pattern": "^((?!\\{service\\})[^\\u0000-\\u001f\\u007f-\\u009f])*\\{service\\}((?!\\{service\\})[^\\u0000-\\u001f\\u007f-\\u009f])*$" }"#,
    );
    let name = name(node)?;
    if name.matches(HostTemplate::SERVICE).count() == 1 {
        return Ok(name);
    }
    let expected = "a name with \"{service}\" in one place, such as \"consul/{service}\"";
    Err(node.error(FieldError::Malformed { text: Excerpt::of(&name), expected }))
}

/// The routes that Envoy is given: a virtual host for each service that has hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct RoutesConfig {
    /// The name of the route configuration.
    pub name: String,
    /// Fields of Envoy's `RouteAction` that all of them have.
    pub template: Map<String, Value>,
}

impl RoutesConfig {
    fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("xds.routes")?;
        let mut found = Self { name: "consul_resolver".to_owned(), template: Map::new() };
        object.set(field("name", "The name of the route configuration."), &mut found.name, name);
        object.set(
            field(
                "template",
                "Fields of Envoy's `RouteAction` (v3) that all routes have, but those that name a cluster, \
                 `hash_policy` and `retry_policy_typed_config`. Each takes the place of what the filter sets \
                 by default, but `retry_policy`, which is merged with it; its `retry_on` is for GET, HEAD \
                 and OPTIONS, and so is `hedge_policy`.",
            ),
            &mut found.template,
            |node| Template::ROUTE_ACTION.read(node),
        );
        object.finish(found)
    }
}

fn name(node: &Cursor<'_>) -> Result<String, Refusals> {
    node.single_line(Consul::MAX_NAME_BYTES).map(str::to_owned)
}

/// Reads the address of a listener that nobody else can reach from elsewhere, and gives it as
/// Envoy does.
fn address(node: &Cursor<'_>) -> Result<String, Refusals> {
    node.describe(
        r#"{ "pattern": "^([/@][^\\u0000-\\u001f\\u007f-\\u009f]+|127\\.[0-9.]+:[0-9]{1,5}|\\[[0:]*:0*1\\]:[0-9]{1,5})$" }"#,
    );
    let text = node.single_line(Xds::MAX_ADDRESS_BYTES)?;
    if text.len() > 1 && text.starts_with(['/', '@']) {
        return Ok(text.to_owned());
    }
    let address = text.parse().ok().filter(|it: &SocketAddr| it.ip().is_loopback());
    match address.filter(|address| address.port() != 0) {
        Some(address) => Ok(address.to_string()),
        None => {
            let expected = "the absolute path of a pipe, such as \"/run/envoy/xds.sock\", \"@\" \
                            and the name of an abstract one, or a loopback address with its \
                            port, such as \"127.0.0.1:18000\"; whoever reaches the listener can \
                            read all endpoints";
            Err(node.error(FieldError::Malformed { text: Excerpt::of(text), expected }))
        }
    }
}

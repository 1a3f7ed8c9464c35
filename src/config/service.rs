//! A service to discover.

use core::net::SocketAddr;

use serde_json::{Map, Value};

use super::consul::scope;
use super::cursor::Cursor;
use super::dependencies::{Dependencies, DependencyNames};
use super::error::Refusals;
use super::field_error::FieldError;
use super::host_pattern::HostPattern;
use super::load_balancing::{LoadBalancing, Protocol};
use super::object::{Object, field};
use super::policy::Policy;
use super::prepared_query::PreparedQuery;
use super::selection::{
    AddressChoice, HealthThreshold, MAX_DATACENTERS, MAX_NAME_BYTES, datacenters, filter, metadata,
    name, tags,
};
use super::shrink_guard::ShrinkGuardConfig;
use super::staleness::Staleness;
use super::template::Template;
use super::versions::Versions;
use super::xds::Xds;
use crate::util::excerpt::Excerpt;

/// A service to discover: what is asked of Consul, and how an instance is picked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Service {
    /// Its name here, which metrics, log lines and other services call it by. No two have one.
    pub name: String,
    /// Its name in Consul; none: the same. With a prepared query it has none.
    pub service: Option<String>,
    /// The hosts whose requests go to it. Empty in the only service: those of every host;
    /// beside others: none, and the route's metadata names the service.
    pub hosts: Vec<HostPattern>,
    /// The prepared query that finds its instances; none: they are asked for by name.
    pub query: Option<PreparedQuery>,
    /// The namespace that it is in (Consul Enterprise); none: that of `consul`.
    pub namespace: Option<String>,
    /// The admin partition that it is in (Consul Enterprise); none: that of `consul`.
    pub partition: Option<String>,
    /// The cluster peer that has exported it; none: it is the cluster's own.
    pub peer: Option<String>,
    /// Takes its sidecar proxies, or its instances where they are Connect-native.
    pub connect: bool,
    /// The tags that an instance must have, all of them.
    pub tags: Vec<String>,
    /// The metadata that an instance's node must have, sorted by key.
    pub node_meta: Vec<(String, String)>,
    /// An expression in Consul's filter language that an instance must meet.
    pub filter: Option<String>,
    /// Lets Consul merge its central configuration of the service into the instances.
    pub merge_central_config: bool,
    /// The worst health that an instance may have.
    pub health: HealthThreshold,
    /// Choice among the addresses of an instance.
    pub address: AddressChoice,
    /// The datacenters that have it, in order of preference; empty: that of `consul`.
    pub datacenters: Vec<String>,
    /// Lets Envoy's dynamic forward proxy resolve instances that have a name as address.
    pub resolve_names: bool,
    /// Protocol of its instances, for a policy that goes by answers.
    pub protocol: Protocol,
    /// Choice of an endpoint.
    pub load_balancing: LoadBalancing,
    /// Choice of a version; none: any.
    pub versions: Option<Versions>,
    /// Guard against answers that list fewer instances.
    pub shrink_guard: ShrinkGuardConfig,
    /// Age at which its endpoints are stale; none: never.
    pub staleness: Option<Staleness>,
    /// The endpoints that it has until Consul has answered for it once; empty: none.
    pub fallback: Vec<SocketAddr>,
    /// Services that it depends on; none: it depends on nothing that is known here.
    pub dependencies: Option<Dependencies>,
    /// The keys of an instance's metadata that Envoy's cluster is told, sorted, none twice.
    pub endpoint_metadata: Vec<String>,
    /// Fields of Envoy's `Cluster` that its own has, beside or in place of those of all.
    pub cluster: Map<String, Value>,
}

impl Service {
    /// The most services of a configuration: their ids have 16 bits.
    pub const MAX: usize = 65_535;
    /// The most bytes of a name.
    pub const MAX_NAME_BYTES: usize = MAX_NAME_BYTES;
    /// The most host patterns of one service.
    pub const MAX_HOSTS: usize = 1024;
    /// The most datacenters.
    pub const MAX_DATACENTERS: usize = MAX_DATACENTERS;
    /// The most endpoints of `fallback`.
    pub const MAX_FALLBACK: usize = 64;

    /// Names a service and leaves all else at its default.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Its name in Consul.
    pub fn name_in_consul(&self) -> &str {
        self.service.as_ref().unwrap_or(&self.name)
    }

    /// Reads a service of the list, and the names of those that it depends on.
    pub(super) fn read(node: &Cursor<'_>) -> Result<(Self, Option<DependencyNames>), Refusals> {
        let mut object = node.object("service")?;
        let mut found = Self::default();
        object.require(
            field(
                "name",
                "The name by which metrics, log lines, routes and other services call it, in any case; \
                 no two services have one name. Its name in Consul, too, unless `service` says that.",
            ),
            "the service's name",
            &mut found.name,
            name,
        );
        object.set_some(
            field(
                "service",
                "Its name in Consul, where that is another one; several services may have one. Not \
                 beside `query`.",
            ),
            &mut found.service,
            name,
        );
        object.set(
            field(
                "hosts",
                "The hosts whose requests go to it, without ports, in any case. `*.web.internal` is every \
                 host below `web.internal`, but not `web.internal` itself; an exact host precedes a \
                 wildcard, a longer wildcard a shorter one. The only service may leave it out, and then \
                 has every request.",
            ),
            &mut found.hosts,
            hosts,
        );
        found.query = PreparedQuery::read(&mut object);
        object.set_some(
            field("namespace", "Its namespace (Consul Enterprise). Default: that of `consul`."),
            &mut found.namespace,
            scope,
        );
        object.set_some(
            field(
                "partition",
                "Its admin partition (Consul Enterprise). Default: that of `consul`.",
            ),
            &mut found.partition,
            scope,
        );
        object.set_some(
            field(
                "peer",
                "The cluster peer that has exported it (Consul 1.13). Default: it is the cluster's own.",
            ),
            &mut found.peer,
            scope,
        );
        found.read_common(&mut object, ServiceKind::List);
        object.set(
            field(
                "fallback",
                "IP addresses with ports that are used where Consul has not answered for the service \
                 within `warmup_timeout`, until it has. Default: none.",
            ),
            &mut found.fallback,
            fallback,
        );
        let dependencies = DependencyNames::read(&mut object);
        found.read_for_envoy(&mut object);
        object.finish((found, dependencies))
    }

    /// Reads what the services of the catalog have in common.
    pub(super) fn read_of_catalog(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("discover.service")?;
        let mut found = Self::default();
        found.read_common(&mut object, ServiceKind::Catalog);
        found.read_for_envoy(&mut object);
        object.finish(found)
    }

    /// Reads what the services that clients name have in common.
    pub(super) fn read_of_dns(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("dns_names.service")?;
        let mut found = Self::default();
        found.read_common(&mut object, ServiceKind::DnsName);
        object.finish(found)
    }

    /// Reads the fields that services of every origin have.
    fn read_common(&mut self, object: &mut Object<'_>, origin: ServiceKind) {
        object.set(
            field(
                "connect",
                "Reaches the service by its sidecar proxies, or directly if it is Connect-native.",
            ),
            &mut self.connect,
            Cursor::boolean,
        );
        object.set(
            field("tags", "The tags that an instance must have, all of them."),
            &mut self.tags,
            tags,
        );
        object.set(
            field("node_meta", "The metadata that an instance's node must have, all of it."),
            &mut self.node_meta,
            metadata,
        );
        object.set_some(
            field(
                "filter",
                "An expression in Consul's filter language that an instance must meet, such as \
                 `Service.Meta.env == \"prod\"`.",
            ),
            &mut self.filter,
            filter,
        );
        object.set(
            field(
                "merge_central_config",
                "Has Consul merge its central configuration (service-defaults, proxy-defaults) into \
                 the instances (Consul 1.12).",
            ),
            &mut self.merge_central_config,
            Cursor::boolean,
        );
        object.set(
            field(
                "health",
                "The worst health that an instance may have: `passing`, `warning` (such an instance counts \
                 by its warning weight), or `any` (all that are not in maintenance, where Envoy's health \
                 checks decide).",
            ),
            &mut self.health,
            |node| node.one_of("health", HealthThreshold::CHOICES),
        );
        if self.health == HealthThreshold::Any && object.has("query") {
            // No query lists critical instances.
            object.refuse("health", FieldError::Beside { other: "query" });
        }
        object.set(
            field(
                "address",
                "The address of an instance to use: `service` (its own, else its node's), or the \
                 tagged address of that name, such as `lan` or `wan`.",
            ),
            &mut self.address,
            AddressChoice::read,
        );
        if origin != ServiceKind::DnsName {
            object.set(
                field(
                    "datacenters",
                    "The datacenters that have it, in order of preference: the next one takes requests \
                     where too few instances of the earlier ones are healthy. Default: that of `consul`.",
                ),
                &mut self.datacenters,
                datacenters,
            );
        }
        object.set(
            field(
                "resolve_names",
                "Reaches instances that are registered with a hostname by Envoy's dynamic forward proxy. Otherwise they are left out and counted.",
            ),
            &mut self.resolve_names,
            Cursor::boolean,
        );
        self.read_load_balancing(object);
        object.set_some(
            field(
                "versions",
                "The version that a request goes to: the one that a header names, else one by shares.",
            ),
            &mut self.versions,
            Versions::read,
        );
        object.set(
            field(
                "shrink_guard",
                "The doubt about a response that lists fewer instances than before: a fresh \
                 consistent read must confirm it.",
            ),
            &mut self.shrink_guard,
            ShrinkGuardConfig::read,
        );
        self.staleness = Staleness::read(object);
    }

    fn read_load_balancing(&mut self, object: &mut Object<'_>) {
        object.describe(
            r#"{ "dependentSchemas": { "protocol": {
                "properties": { "load_balancing": {
                    "properties": { "policy": { "const": "peak_ewma" } }, "required": ["policy"]
                } },
                "required": ["load_balancing"]
            } } }"#,
        );
        let mut protocol = None;
        object.set_some(
            field(
                "protocol",
                "With `peak_ewma`: how answers are judged, `http` by their status, `grpc` by their \
                 `grpc-status`. Default: `http`.",
            ),
            &mut protocol,
            |node| node.one_of("protocol", Protocol::CHOICES),
        );
        object.set(
            field(
                "load_balancing",
                "The way an instance is picked. All policies follow Consul's weights.",
            ),
            &mut self.load_balancing,
            LoadBalancing::read,
        );
        self.protocol = protocol.unwrap_or_default();
        let is_ewma = matches!(self.load_balancing.policy, Policy::PeakEwma { .. });
        if protocol.is_some() && object.are_read(&["load_balancing"]) && !is_ewma {
            let other = "load_balancing.policy: peak_ewma";
            object.refuse("protocol", FieldError::Needs { other });
        }
    }

    /// Reads the fields that are for Envoy's own clusters.
    fn read_for_envoy(&mut self, object: &mut Object<'_>) {
        self.endpoint_metadata = Xds::endpoint_metadata(object);
        object.set(
            field(
                "cluster",
                "Fields of Envoy's `Cluster` (v3) that the cluster of this service has, over those of \
                 `xds.clusters.template`, by the same rules. Needs `xds.clusters`.",
            ),
            &mut self.cluster,
            |node| Template::CLUSTER.read(node),
        );
    }
}

/// The ways by which a service is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ServiceKind {
    /// It is configured.
    List,
    /// Consul's catalog lists it.
    Catalog,
    /// A client names it.
    DnsName,
}

/// Reads addresses with their ports; an empty list is refused, for it means nothing.
fn fallback(node: &Cursor<'_>) -> Result<Vec<SocketAddr>, Refusals> {
    node.describe(r#"{ "minItems": 1 }"#);
    let found = node.array(Service::MAX_FALLBACK, |node| {
        node.describe(r#"{ "minLength": 1 }"#);
        let text = node.string()?;
        let address = text.parse().ok().filter(|address: &SocketAddr| address.port() != 0);
        address.ok_or_else(|| node.error(FieldError::NoSocketAddress { text: Excerpt::of(text) }))
    })?;
    if found.is_empty() {
        let expected = "addresses such as \"10.0.0.7:8080\", or no fallback field at all";
        return Err(node.error(FieldError::Empty { expected }));
    }
    Ok(found)
}

/// An empty list is refused: read literally it means no host, and by the rule for an
/// absent one it would mean every host.
fn hosts(node: &Cursor<'_>) -> Result<Vec<HostPattern>, Refusals> {
    node.describe(r#"{ "minItems": 1, "uniqueItems": true }"#);
    let hosts = node.array(Service::MAX_HOSTS, |node| {
        node.describe(
            r#"{ "minLength": 1, "maxLength": 253,
                 "pattern": "^((\\*\\.)?[A-Za-z0-9_-]{1,63}(\\.[A-Za-z0-9_-]{1,63})*|\\[[0-9A-Fa-f:.]+\\])$" }"#,
        );
        let text = node.string()?;
        text.parse()
            .map_err(|cause| node.error(FieldError::Host { pattern: Excerpt::of(text), cause }))
    })?;
    if hosts.is_empty() {
        let expected = "a host pattern, or no hosts field at all";
        return Err(node.error(FieldError::Empty { expected }));
    }
    Ok(hosts)
}

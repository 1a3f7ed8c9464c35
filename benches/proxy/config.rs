//! An Envoy configuration of `envoy/`, as users copy it, with addresses in it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_yaml_ng::{Mapping, Sequence, Value};
use stack::Bootstrap;

/// The cluster of `minimal.yaml` that requests are routed to.
const ROUTED: &str = "picked_by_consul_resolver";
/// The filter of `envoy.yaml` that takes the pick.
const PICK_FILTER: &str = "consul_pick";

/// One of the shipped configurations, to be changed in places.
///
/// A place that is missing makes it panic: the shipped file has changed its shape, and the
/// benchmark has to follow.
#[derive(Debug, Clone)]
pub struct EnvoyConfig(Bootstrap);

impl EnvoyConfig {
    /// The listener's name, and the prefix of its statistics.
    pub const LISTENER: &str = "ingress";

    /// `envoy/minimal.yaml`, on a free port.
    pub fn minimal() -> Self {
        Self::read(include_str!("../../envoy/minimal.yaml"))
    }

    /// `envoy/headers.yaml`, on a free port.
    pub fn headers() -> Self {
        Self::read(include_str!("../../envoy/headers.yaml"))
    }

    /// `envoy/envoy.yaml`, on a free port.
    pub fn recommended() -> Self {
        Self::read(include_str!("../../envoy/envoy.yaml"))
    }

    /// `envoy/native.yaml`, on a free port.
    pub fn native() -> Self {
        Self::read(include_str!("../../envoy/native.yaml"))
    }

    /// `envoy/minimal.yaml`, but its cluster is one of type EDS with the subscription of
    /// `envoy/tcp.yaml`, and `ROUND_ROBIN`. As the static cluster that it is compared with, it
    /// checks nobody and ejects nobody.
    pub fn fed() -> Self {
        let mut config = value(include_str!("../../envoy/minimal.yaml"));
        let mut source = value(include_str!("../../envoy/tcp.yaml"));
        let source = &mut source["static_resources"];
        let mut listener = named(&mut source["listeners"], "xds").clone();
        let leads_to_it = named(&mut source["clusters"], "xds").clone();
        let mut cluster = named(&mut source["clusters"], "db").clone();
        cluster["name"] = ROUTED.into();
        cluster["lb_policy"] = "ROUND_ROBIN".into();
        cluster["eds_cluster_config"]["service_name"] = "web".into();
        for field in ["outlier_detection", "health_checks"] {
            cluster.as_mapping_mut().expect("it is a mapping").remove(field);
        }
        let plugin = &mut http_filters_of(&mut listener)[0]["typed_config"]["config"];
        plugin["configuration"]["value"]["services"] = parsed("[{name: web}]");
        let plugin = plugin.clone();
        let resources = &mut config["static_resources"];
        let ingress = &mut resources["listeners"][0];
        http_filters_of(ingress)[0]["typed_config"]["config"] = plugin;
        resources["listeners"].as_sequence_mut().expect("listeners").push(listener);
        *named(&mut resources["clusters"], ROUTED) = cluster;
        resources["clusters"].as_sequence_mut().expect("clusters").push(leads_to_it);
        Self::read(&serde_yaml_ng::to_string(&config).expect("YAML can be written"))
    }

    fn read(yaml: &str) -> Self {
        let mut bootstrap = Bootstrap::parse(yaml).expect("the shipped files are YAML");
        bootstrap.set_port(0).expect("the listener has an address");
        bootstrap.set_ip(Ipv4Addr::LOCALHOST.into()).expect("the listener has an address");
        bootstrap.set_own_socket().expect("there is a plugin");
        bootstrap.ingress().expect("the listener")["stat_prefix"] = Self::LISTENER.into();
        Self(bootstrap)
    }

    /// The HTTP filters, in their order.
    pub fn http_filters(&mut self) -> &mut Sequence {
        http_filters_of(self.0.ingress().expect("the listener"))
    }

    /// The `config` of the WebAssembly filter on the way of requests.
    pub fn plugin(&mut self) -> &mut Value {
        let mut filters = self.http_filters().iter_mut();
        let plugin = filters.find(|filter| filter["name"] == "consul_resolver");
        &mut plugin.expect("the filter is there")["typed_config"]["config"]
    }

    /// The filter's own configuration; where it stands on no request's way, the one that answers
    /// subscriptions.
    pub fn filter(&mut self) -> &mut Value {
        self.0.plugin().expect("the filter is configured")
    }

    /// The first of its services.
    pub fn service(&mut self) -> &mut Value {
        &mut self.filter()["services"][0]
    }

    /// What all clusters of services have in common.
    pub fn cluster_template(&mut self) -> &mut Mapping {
        let template = &mut self.filter()["xds"]["clusters"]["template"];
        template.as_mapping_mut().expect("it is a mapping")
    }

    /// What all routes to services have in common.
    pub fn route_template(&mut self) -> &mut Value {
        &mut self.filter()["xds"]["routes"]["template"]
    }

    /// Loads that module.
    pub fn load(&mut self, module: &Path) {
        self.0.set_module(module).expect("a module is loaded");
    }

    /// Removes the WebAssembly filter from the way of requests, and what takes its picks.
    pub fn unplug(&mut self) {
        let rest = ["consul_resolver", PICK_FILTER];
        self.http_filters().retain(|filter| rest.iter().all(|name| filter["name"] != *name));
        let filter = self.0.plugin().ok().and_then(Value::as_mapping_mut);
        if let Some(filter) = filter {
            filter.remove("handoff");
        }
    }

    /// Puts another filter into its place.
    pub fn replace_plugin(&mut self, yaml: &str) {
        let mut filters = self.http_filters().iter_mut();
        let plugin = filters.find(|filter| filter["name"] == "consul_resolver");
        *plugin.expect("the filter is there") = parsed(yaml);
    }

    /// Puts Envoy's filter that takes the pick of the first one right behind that.
    pub fn take_picks(&mut self) {
        let mut recommended = Self::recommended();
        let mut filters = recommended.http_filters().iter();
        let taker = filters.find(|filter| filter["name"] == PICK_FILTER);
        let taker = taker.expect("envoy.yaml takes picks").clone();
        self.http_filters().insert(1, taker);
    }

    /// Points the cluster `consul` at an agent.
    pub fn ask(&mut self, consul: SocketAddr) {
        self.0.set_consul(consul).expect("there is a cluster consul");
    }

    /// Lets so many calls to Consul be out at a time, each on a connection of its own.
    pub fn allow_to_consul(&mut self, most: u32) {
        let limits = ["max_connections", "max_pending_requests", "max_requests"];
        let limits: Mapping = limits.into_iter().map(|limit| (limit.into(), most.into())).collect();
        let mut breakers = Value::from(Mapping::new());
        breakers["thresholds"] = vec![Value::from(limits)].into();
        self.cluster("consul")["circuit_breakers"] = breakers;
    }

    /// Makes the cluster that requests are routed to a static one, balanced by Envoy.
    pub fn balance_natively(&mut self, backends: &[SocketAddr]) {
        let cluster = self.cluster(ROUTED);
        cluster["type"] = "STATIC".into();
        cluster["lb_policy"] = "ROUND_ROBIN".into();
        let mut assignment = Value::from(Mapping::new());
        assignment["cluster_name"] = ROUTED.into();
        assignment["endpoints"] = endpoints(backends);
        cluster["load_assignment"] = assignment;
    }

    fn cluster(&mut self, name: &str) -> &mut Value {
        self.0.cluster(name).expect("the configuration has that cluster")
    }

    /// The text for Envoy.
    pub fn to_yaml(&self) -> String {
        self.0.to_yaml().expect("YAML can be written")
    }
}

/// A file, with its anchors resolved.
fn value(yaml: &str) -> Value {
    let mut value = parsed(yaml);
    value.apply_merge().expect("anchors fit");
    value
}

fn parsed(yaml: &str) -> Value {
    serde_yaml_ng::from_str(yaml).expect("it is YAML")
}

/// One of a list, by its name.
fn named<'a>(list: &'a mut Value, name: &str) -> &'a mut Value {
    let mut items = list.as_sequence_mut().into_iter().flatten();
    let found = items.find(|item| item["name"] == name);
    found.unwrap_or_else(|| panic!("the configuration has {name}"))
}

fn http_filters_of(listener: &mut Value) -> &mut Sequence {
    let filters = listener["filter_chains"][0]["filters"].as_sequence_mut();
    let filters = filters.into_iter().flatten();
    let mut found = filters.filter_map(|filter| filter["typed_config"].get_mut("http_filters"));
    let found = found.next().and_then(Value::as_sequence_mut);
    found.expect("the listener has HTTP filters")
}

fn endpoints(addresses: &[SocketAddr]) -> Value {
    let one = |address: &SocketAddr| {
        let (ip, port) = (address.ip(), address.port());
        format!(
            "{{endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}}}"
        )
    };
    let all: Vec<_> = addresses.iter().map(one).collect();
    let yaml = format!("[{{lb_endpoints: [{}]}}]", all.join(", "));
    serde_yaml_ng::from_str(&yaml).expect("addresses need no quotes")
}

//! An Envoy configuration of `envoy/`, as users copy it, with addresses in it.

use std::net::SocketAddr;
use std::path::Path;

use serde_yaml_ng::{Mapping, Sequence, Value};

/// One of the shipped configurations, to be changed in places.
///
/// A place that is missing makes it panic: the shipped file has changed its shape, and the
/// benchmark has to follow.
#[derive(Debug, Clone)]
pub struct EnvoyConfig(Value);

impl EnvoyConfig {
    /// The listener's name, and the prefix of its statistics.
    pub const LISTENER: &str = "ingress";

    /// `envoy/minimal.yaml`, on a free port.
    pub fn minimal() -> Self {
        Self::read(include_str!("../../envoy/minimal.yaml"))
    }

    /// `envoy/envoy.yaml`, on a free port.
    pub fn recommended() -> Self {
        Self::read(include_str!("../../envoy/envoy.yaml"))
    }

    fn read(yaml: &str) -> Self {
        let mut config = Self(serde_yaml_ng::from_str(yaml).expect("the shipped files are YAML"));
        let listener = &mut config.0["static_resources"]["listeners"][0];
        listener["stat_prefix"] = Self::LISTENER.into();
        let address = &mut listener["address"]["socket_address"];
        address["address"] = "127.0.0.1".into();
        address["port_value"] = 0.into();
        config
    }

    /// The HTTP filters, in their order.
    pub fn http_filters(&mut self) -> &mut Sequence {
        let listener = &mut self.0["static_resources"]["listeners"][0];
        listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
            .as_sequence_mut()
            .expect("the listener has HTTP filters")
    }

    /// The `config` of the WebAssembly filter, which is the first one.
    pub fn plugin(&mut self) -> &mut Value {
        &mut self.http_filters()[0]["typed_config"]["config"]
    }

    /// The filter's own configuration.
    pub fn filter(&mut self) -> &mut Value {
        &mut self.plugin()["configuration"]["value"]
    }

    /// Loads that module.
    pub fn load(&mut self, module: &Path) {
        let path = module.display().to_string();
        self.plugin()["vm_config"]["code"]["local"]["filename"] = path.into();
    }

    /// Restricts the module to the capabilities of the recommended configuration.
    pub fn restrict(&mut self) {
        const RESTRICTION: &str = "capability_restriction_config";
        let restriction = Self::recommended().plugin()["vm_config"][RESTRICTION].clone();
        assert!(restriction.is_mapping(), "envoy.yaml restricts the module");
        self.plugin()["vm_config"][RESTRICTION] = restriction;
    }

    /// Removes the WebAssembly filter.
    pub fn unplug(&mut self) {
        self.http_filters().remove(0);
    }

    /// Puts another filter into its place.
    pub fn replace_plugin(&mut self, yaml: &str) {
        self.http_filters()[0] = serde_yaml_ng::from_str(yaml).expect("the filter is YAML");
    }

    /// Points the cluster `consul` at an agent.
    pub fn ask(&mut self, consul: SocketAddr) {
        let cluster = self.cluster("consul");
        cluster["load_assignment"]["endpoints"] = endpoints(&[consul]);
    }

    /// Makes the cluster that requests are routed to a static one, balanced by Envoy.
    pub fn balance_natively(&mut self, backends: &[SocketAddr]) {
        let name = "picked_by_consul_resolver";
        let cluster = self.cluster(name);
        cluster["type"] = "STATIC".into();
        cluster["lb_policy"] = "ROUND_ROBIN".into();
        let mut assignment = Value::from(Mapping::new());
        assignment["cluster_name"] = name.into();
        assignment["endpoints"] = endpoints(backends);
        cluster["load_assignment"] = assignment;
    }

    fn cluster(&mut self, name: &str) -> &mut Value {
        let clusters = self.0["static_resources"]["clusters"].as_sequence_mut();
        let mut clusters = clusters.into_iter().flatten();
        let found = clusters.find(|cluster| cluster["name"] == name);
        found.unwrap_or_else(|| panic!("the configuration has a cluster {name}"))
    }

    /// The text for Envoy.
    pub fn to_yaml(&self) -> String {
        serde_yaml_ng::to_string(&self.0).expect("YAML can be written")
    }
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

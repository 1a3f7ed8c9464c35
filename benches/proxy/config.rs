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

    /// Restricts the module to the capabilities of the recommended configuration, but for those
    /// of a service that learns from answers.
    pub fn restrict(&mut self) {
        const RESTRICTION: &str = "capability_restriction_config";
        const LEARNING: [&str; 2] = ["proxy_on_response_headers", "proxy_on_response_trailers"];
        let mut restriction = Self::recommended().plugin()["vm_config"][RESTRICTION].clone();
        let allowed = restriction["allowed_capabilities"].as_mapping_mut();
        let allowed = allowed.expect("envoy.yaml restricts the module");
        for capability in LEARNING {
            allowed.remove(capability).expect("it learns from answers");
        }
        self.plugin()["vm_config"][RESTRICTION] = restriction;
    }

    /// Lets a request be tried so often, each time elsewhere, where there are two already: with a
    /// header, a rule that moves it and a cluster that looks there for each further attempt.
    pub fn attempt(&mut self, attempts: u8) {
        self.filter()["handoff"]["attempts"] = attempts.into();
        self.retry_policy()["num_retries"] = (attempts - 1).into();
        for number in 2..attempts {
            let rename = |value: &Value| renumber(value, "1", &number.to_string());
            let rules = &mut self.http_filters()[1]["typed_config"]["request_rules"];
            let rules = rules.as_sequence_mut().expect("a rule for each attempt");
            rules.push(rename(&rules[1]));
            let cluster = rename(self.cluster("endpoint_1"));
            let parts = &mut self.cluster("consul_resolver")["cluster_type"]["typed_config"];
            let parts = parts["clusters"].as_sequence_mut().expect("a cluster for each attempt");
            parts.push(rename(&parts[1]));
            let clusters = self.0["static_resources"]["clusters"].as_sequence_mut();
            clusters.expect("there are clusters").push(cluster);
        }
    }

    /// The retry policy of requests that are safe to repeat.
    pub fn retry_policy(&mut self) -> &mut Value {
        let listener = &mut self.0["static_resources"]["listeners"][0];
        let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
        &mut manager["route_config"]["virtual_hosts"][0]["routes"][0]["route"]["retry_policy"]
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
        let name = "picked_by_consul_resolver";
        let cluster = self.cluster(name);
        cluster["type"] = "STATIC".into();
        cluster["lb_policy"] = "ROUND_ROBIN".into();
        let mut assignment = Value::from(Mapping::new());
        assignment["cluster_name"] = name.into();
        assignment["endpoints"] = endpoints(backends);
        cluster["load_assignment"] = assignment;
    }

    /// Removes both filters of the recommended configuration, and makes its cluster a static one
    /// that Envoy balances.
    pub fn hand_over_natively(
        &mut self,
        policy: &str,
        backends: &[SocketAddr],
        outlier_detection: Value,
    ) {
        let router = self.http_filters().split_off(2);
        *self.http_filters() = router;
        let cluster = self.cluster("consul_resolver");
        cluster.as_mapping_mut().expect("it is a mapping").remove("cluster_type");
        cluster["type"] = "STATIC".into();
        cluster["lb_policy"] = policy.into();
        cluster["outlier_detection"] = outlier_detection;
        cluster["load_assignment"]["cluster_name"] = "consul_resolver".into();
        cluster["load_assignment"]["endpoints"] = endpoints(backends);
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

/// The same with the number that every text ends in replaced, where it ends in that.
fn renumber(value: &Value, from: &str, to: &str) -> Value {
    match value {
        Value::Mapping(map) => {
            let pairs = map.iter().map(|(key, value)| (key.clone(), renumber(value, from, to)));
            Value::Mapping(pairs.collect())
        }
        Value::Sequence(items) => items.iter().map(|item| renumber(item, from, to)).collect(),
        Value::String(text) => match text.strip_suffix(from) {
            Some(stem) if stem.ends_with(['-', '_']) => format!("{stem}{to}").into(),
            _ => value.clone(),
        },
        _ => value.clone(),
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

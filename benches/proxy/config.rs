//! An Envoy configuration of `envoy/`, as users copy it, with addresses in it.

use std::net::SocketAddr;
use std::path::Path;

use serde_yaml_ng::{Mapping, Sequence, Value};

/// The cluster of `headers.yaml` that goes where the filter says.
const PICKED: &str = "consul_resolver";
/// Where a cluster has options of its protocol, and those of HTTP among them.
const OPTIONS: &str = "typed_extension_protocol_options";
const HTTP: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// What the module calls, and what it is called for, where nothing learns from answers.
const CAPABILITIES: [&str; 36] = [
    "proxy_on_memory_allocate",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_queue_ready",
    "proxy_on_http_call_response",
    "proxy_on_context_create",
    "proxy_on_request_headers",
    "proxy_on_delete",
    "proxy_log",
    "proxy_set_tick_period_milliseconds",
    "proxy_get_buffer_bytes",
    "proxy_get_shared_data",
    "proxy_set_shared_data",
    "proxy_register_shared_queue",
    "proxy_enqueue_shared_queue",
    "proxy_dequeue_shared_queue",
    "proxy_http_call",
    "proxy_get_header_map_value",
    "proxy_add_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_remove_header_map_value",
    "proxy_get_property",
    "proxy_call_foreign_function",
    "proxy_send_local_response",
    "proxy_continue_stream",
    "proxy_set_effective_context",
    "proxy_define_metric",
    "proxy_increment_metric",
    "proxy_record_metric",
    "proxy_get_current_time_nanoseconds",
    "random_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_write",
];

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

    /// `envoy/headers.yaml`, on a free port.
    pub fn headers() -> Self {
        Self::read(include_str!("../../envoy/headers.yaml"))
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

    /// Restricts the module to what this filter needs that learns nothing from answers.
    pub fn restrict(&mut self) {
        let allowed = CAPABILITIES.map(|name| (name.into(), Mapping::new().into()));
        let allowed: Mapping = allowed.into_iter().collect();
        let restriction = &mut self.plugin()["vm_config"]["capability_restriction_config"];
        restriction["allowed_capabilities"] = allowed.into();
    }

    /// Lets a request be tried so often, each time elsewhere: the cluster's own filter moves each
    /// endpoint one attempt nearer.
    pub fn attempt(&mut self, attempts: u8) {
        self.filter()["handoff"]["attempts"] = attempts.into();
        self.retry_policy()["num_retries"] = (attempts - 1).into();
        let shift = |number: u8| {
            let next = number + 1;
            format!(
                "{{append: {{header: {{key: x-consul-endpoint-{number}, value: '%REQ(x-consul-endpoint-{next})%'}}, \
                 append_action: OVERWRITE_IF_EXISTS_OR_ADD}}}}"
            )
        };
        let last = format!("{{remove: x-consul-endpoint-{}}}", attempts - 1);
        let mutations: Vec<_> = (0..attempts - 1).map(shift).chain([last]).collect();
        let mutations = serde_yaml_ng::from_str(&format!("[{}]", mutations.join(", ")));
        let filter = &mut self.cluster(PICKED)[OPTIONS][HTTP]["http_filters"][0]["typed_config"];
        filter["mutations"]["request_mutations"] = mutations.expect("it is YAML");
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

    /// Removes the filter, and makes its cluster of `headers.yaml` a static one that Envoy balances.
    pub fn hand_over_natively(
        &mut self,
        policy: &str,
        backends: &[SocketAddr],
        outlier_detection: Value,
    ) {
        self.unplug();
        let cluster = self.cluster(PICKED);
        cluster.as_mapping_mut().expect("it is a mapping").remove("original_dst_lb_config");
        let options = cluster[OPTIONS][HTTP].as_mapping_mut().expect("it has options");
        options.remove("http_filters").expect("headers are shifted");
        cluster["type"] = "STATIC".into();
        cluster["lb_policy"] = policy.into();
        cluster["outlier_detection"] = outlier_detection;
        cluster["load_assignment"]["cluster_name"] = PICKED.into();
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

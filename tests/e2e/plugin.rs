//! The filter's place in a listener.

use serde_yaml_ng::Value;

/// The plugin of a listener: its name, its VM, its configuration.
pub fn of_listener(listener: &mut Value) -> &mut Value {
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let filters = manager["http_filters"].as_sequence_mut().expect("filters");
    let filter = filters.iter_mut().find(|filter| filter["name"] == "consul_resolver");
    &mut filter.expect("the filter")["typed_config"]["config"]
}

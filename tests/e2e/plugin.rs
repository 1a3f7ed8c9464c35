//! The filter's place in a listener.

use serde_yaml_ng::Value;

/// The plugin of a listener: its name, its VM, its configuration.
pub fn of_listener(listener: &mut Value) -> &mut Value {
    let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
    let filter = &mut manager["http_filters"][0];
    assert_eq!(filter["name"], "consul_resolver");
    &mut filter["typed_config"]["config"]
}

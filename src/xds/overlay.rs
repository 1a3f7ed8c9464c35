//! A template merged over generated fields.

use serde_json::{Map, Value};

/// The fields that are merged with those of a template. Of all other fields the template's replace
/// the generated ones.
const MERGED: [&str; 5] = [
    "circuit_breakers",
    "common_lb_config",
    "zone_aware_lb_config",
    "typed_extension_protocol_options",
    "retry_policy",
];
/// The lists that are merged item by item, by the priority of each.
const BY_PRIORITY: [&str; 2] = ["thresholds", "per_host_thresholds"];
/// The fields of which a message has at most one.
const ONE_OF: [&str; 2] = ["locality_weighted_lb_config", "zone_aware_lb_config"];

/// Merges the fields of a template over `fields`. A field of the template replaces the present one, but
/// for the few that are merged. A null removes the field.
pub(super) fn overlay(fields: &mut Map<String, Value>, template: &Map<String, Value>) {
    for (name, value) in template {
        if value.is_null() {
            fields.remove(name);
            continue;
        }
        if ONE_OF.contains(&name.as_str()) {
            fields.retain(|other, _| other == name || !ONE_OF.contains(&other.as_str()));
        }
        let is_one_of = |names: &[&str]| names.contains(&name.as_str());
        match value {
            Value::Object(more) if is_one_of(&MERGED) => {
                let there = fields.entry(name.as_str()).or_insert_with(|| Map::new().into());
                overlay_object(there, more);
            }
            Value::Array(more) if is_one_of(&BY_PRIORITY) => {
                let there =
                    fields.entry(name.as_str()).or_insert_with(|| Vec::<Value>::new().into());
                overlay_list(there, more);
            }
            _ => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
}

fn overlay_object(there: &mut Value, more: &Map<String, Value>) {
    if let Value::Object(there) = there {
        overlay(there, more);
    }
}

/// Merges each item over the item of its priority, or appends it.
fn overlay_list(there: &mut Value, more: &[Value]) {
    let Value::Array(there) = there else { return };
    for item in more {
        let same = there.iter().position(|other| is_high(other) == is_high(item));
        let at = same.unwrap_or(there.len());
        if same.is_none() {
            there.push(Map::new().into());
        }
        if let (Some(there), Value::Object(more)) = (there.get_mut(at), item) {
            overlay_object(there, more);
        }
    }
}

/// Returns true if the priority is `HIGH`, by its name or its number, and not `DEFAULT`.
fn is_high(item: &Value) -> bool {
    let priority = item.get("priority");
    priority.is_some_and(|it| it.as_str() == Some("HIGH") || it.as_u64() == Some(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn each_field_is_replaced_or_merged_as_documented() {
        for (there, over, expected) in [
            // A message is one thing: half of it beside half of another is neither.
            (
                json!({ "outlier_detection": { "interval": "1s", "max_ejection_percent": 50 } }),
                json!({ "outlier_detection": { "interval": "2s" } }),
                json!({ "outlier_detection": { "interval": "2s" } }),
            ),
            (json!({ "a": 1, "b": 2 }), json!({ "a": null, "c": null }), json!({ "b": 2 })),
            (
                json!({ "common_lb_config": { "update_merge_window": "0s" } }),
                json!({ "common_lb_config": { "healthy_panic_threshold": { "value": 50 } } }),
                json!({ "common_lb_config": {
                    "update_merge_window": "0s", "healthy_panic_threshold": { "value": 50 }
                } }),
            ),
            (
                json!({ "typed_extension_protocol_options": { "a": { "x": 1 }, "b": {} } }),
                json!({ "typed_extension_protocol_options": { "a": { "y": 1 }, "b": null } }),
                json!({ "typed_extension_protocol_options": { "a": { "y": 1 } } }),
            ),
            // Envoy takes no null in a map.
            (
                json!({}),
                json!({ "typed_extension_protocol_options": { "a": {}, "b": null } }),
                json!({ "typed_extension_protocol_options": { "a": {} } }),
            ),
            (
                json!({ "retry_policy": { "num_retries": 1, "retry_on": "reset" } }),
                json!({ "retry_policy": { "num_retries": 2 } }),
                json!({ "retry_policy": { "num_retries": 2, "retry_on": "reset" } }),
            ),
        ] {
            assert_over(there, &over, &expected);
        }
    }

    #[test]
    fn thresholds_are_merged_with_those_of_their_priority() {
        for (over, expected) in [
            (json!([{ "max_requests": 9 }]), json!([{ "max_retries": 7, "max_requests": 9 }])),
            (
                json!([{ "priority": "DEFAULT", "max_retries": 2 }]),
                json!([{ "priority": "DEFAULT", "max_retries": 2 }]),
            ),
            (json!([{ "priority": 0, "max_retries": null }]), json!([{ "priority": 0 }])),
            (
                json!([{ "priority": "HIGH", "max_requests": 9 }]),
                json!([{ "max_retries": 7 }, { "priority": "HIGH", "max_requests": 9 }]),
            ),
            (
                json!([{ "priority": 1, "max_requests": null }, { "priority": null }]),
                json!([{ "max_retries": 7 }, { "priority": 1 }]),
            ),
            (json!([]), json!([{ "max_retries": 7 }])),
            (json!(null), Value::Null),
        ] {
            let there = json!({ "circuit_breakers": { "thresholds": [{ "max_retries": 7 }] } });
            let mut rest = json!({});
            if !expected.is_null() {
                rest["thresholds"] = expected;
            }
            let over = json!({ "circuit_breakers": { "thresholds": over } });
            assert_over(there, &over, &json!({ "circuit_breakers": rest }));
        }
    }

    #[test]
    fn zone_setting_of_the_template_replaces_the_other_kind() {
        let [zones, weights] = ["zone_aware_lb_config", "locality_weighted_lb_config"];
        for (there, over) in [(zones, weights), (weights, zones)] {
            let [there, over] = [there, over].map(|way| json!({ "common_lb_config": { way: {} } }));
            assert_over(there, &over, &over);
        }
    }

    #[track_caller]
    fn assert_over(there: Value, over: &Value, expected: &Value) {
        let (Value::Object(mut there), Value::Object(over)) = (there, over) else { panic!() };
        overlay(&mut there, over);
        assert_eq!(&Value::Object(there), expected, "{over:?}");
    }
}

//! A template over what is written without it.

use serde_json::{Map, Value};

/// The fields that are merged with what a template has of them; of all others the template's
/// counts.
const MERGED: [&str; 3] = ["common_lb_config", "zone_aware_lb_config", "retry_policy"];

/// Puts the fields of a template over others. Each takes the place of what is there, but for the
/// few that are merged; one that is null is taken away.
pub(super) fn overlay(fields: &mut Map<String, Value>, template: &Map<String, Value>) {
    for (name, value) in template {
        match (fields.get_mut(name), value) {
            (_, Value::Null) => {
                fields.remove(name);
            }
            (Some(Value::Object(inner)), Value::Object(more))
                if MERGED.contains(&name.as_str()) =>
            {
                overlay(inner, more);
            }
            _ => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
}

//! The schema says what the reader does.

use consul_resolver::config::reference;
use serde_json::{Value, json};

use crate::{parse, with, xds};

#[test]
fn the_schema_describes_every_field() {
    let schema = schema();
    let definitions = schema["$defs"].as_object().unwrap();
    for object in definitions.values().chain([&schema]) {
        for (name, property) in object["properties"].as_object().into_iter().flatten() {
            let target = property["$ref"].as_str().map(|r| schema.pointer(&r[1..]).unwrap());
            let has = |value: &Value| value["description"].is_string();
            assert!(has(property) || target.is_some_and(has), "{name}");
        }
    }
}

#[test]
fn spelling_out_the_defaults_of_the_schema_changes_nothing() {
    let schema = schema();
    let least = json!({ "consul": { "cluster": "consul" }, "services": [{ "name": "web" }] });
    let expected = parse(&least).unwrap();
    for (pointer, place) in [
        ("", ""),
        ("/$defs/consul", "consul."),
        ("/$defs/service", "services[0]."),
        ("/$defs/endpoints", "endpoints."),
    ] {
        let properties = &schema.pointer(pointer).unwrap()["properties"];
        for (name, property) in properties.as_object().unwrap() {
            let target = property["$ref"].as_str().and_then(|r| schema.pointer(&r[1..]));
            let default = property.get("default").or(target.and_then(|t| t.get("default")));
            if let Some(default) = default {
                let config = with(&format!("{place}{name}"), default.clone());
                assert_eq!(parse(&config).unwrap(), expected, "{place}{name}");
            }
        }
    }
}

#[test]
fn defaults_of_a_policy_may_be_spelled_out() {
    let schema = schema();
    let balancing = &schema["$defs"]["load_balancing"];
    for (name, property) in balancing["properties"].as_object().unwrap() {
        let Some(default) = property.get("default") else { continue };
        let users = &balancing["dependentSchemas"][name]["properties"]["policy"]["enum"];
        let all = json!(["round_robin"]);
        for policy in users.as_array().unwrap_or(all.as_array().unwrap()) {
            let mut least = json!({ "policy": policy });
            if policy == "ring_hash" || policy == "maglev" {
                least["hash_on"] = json!({ "path": true });
            }
            let mut spelled = least.clone();
            spelled[name] = default.clone();
            let [least, spelled] = [least, spelled]
                .map(|section| parse(&with("services[0].load_balancing", section)).unwrap());
            assert!(name == "policy" || spelled == least, "{name} of {policy}");
        }
    }
}

#[test]
fn section_is_the_same_when_its_defaults_are_spelled_out() {
    let schema = schema();
    for (pointer, place, least) in [
        ("/$defs/versions", "services[0].versions", json!({ "header": "x-version" })),
        ("/$defs/locality", "locality", json!({})),
        ("/$defs/xds", "xds", xds(json!({}))),
        ("/$defs/shrink_guard", "services[0].shrink_guard", json!({})),
        ("/$defs/breaker", "consul.breaker", json!({})),
        ("/$defs/retry_budget", "consul.retry_budget", json!({})),
        ("/$defs/slow_start", "services[0].load_balancing.slow_start", json!({ "window": "30s" })),
    ] {
        let mut spelled = least.clone();
        for (name, property) in schema.pointer(pointer).unwrap()["properties"].as_object().unwrap()
        {
            if let Some(default) = property.get("default") {
                spelled[name] = default.clone();
            }
        }
        assert_ne!(spelled, least, "{place} has defaults");
        let [least, spelled] = [least, spelled].map(|section| {
            let mut config = with(place, section);
            config["handoff"] = json!({ "via": "headers" });
            parse(&config).unwrap()
        });
        assert_eq!(spelled, least, "{place}");
    }
}

fn schema() -> Value {
    serde_json::from_str(&reference::schema()).unwrap()
}

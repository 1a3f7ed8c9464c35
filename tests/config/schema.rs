//! `envoy/config.schema.json` says what the reader does.

use std::collections::HashSet;

use consul_resolver::config::{
    Config, Consistency, Consul, Handoff, HealthThreshold, HostPattern, Policy, Service, Unmatched,
};
use serde_json::{Value, json};

use crate::{parse, with};

#[test]
fn the_schema_has_the_fields_that_are_read() {
    let schema = schema();
    for (pointer, fields) in [
        ("", Config::FIELDS),
        ("/$defs/consul", Consul::FIELDS),
        ("/$defs/service", Service::FIELDS),
        ("/$defs/load_balancing", Service::LOAD_BALANCING_FIELDS),
        ("/$defs/handoff", Handoff::FIELDS),
    ] {
        let object = schema.pointer(pointer).unwrap();
        let described: HashSet<&str> =
            object["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, fields.iter().copied().collect(), "{pointer}");
        assert_eq!(object["additionalProperties"], json!(false), "{pointer}");
    }
}

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
fn the_schema_has_the_choices_that_are_read() {
    fn names<T>(choices: &[(&'static str, T)]) -> Value {
        choices.iter().map(|(name, _)| *name).collect()
    }
    let schema = schema();
    for (pointer, choices) in [
        ("/properties/unmatched", names(Unmatched::CHOICES)),
        ("/properties/log_level", names(Config::LOG_LEVELS)),
        ("/$defs/consul/properties/consistency", names(Consistency::CHOICES)),
        ("/$defs/service/properties/health", names(HealthThreshold::CHOICES)),
        ("/$defs/load_balancing/properties/policy", names(Policy::CHOICES)),
        ("/$defs/handoff/properties/via", names(Handoff::CHOICES)),
    ] {
        assert_eq!(schema.pointer(pointer).unwrap()["enum"], choices, "{pointer}");
    }
}

#[test]
fn the_schema_has_the_limits_that_are_read() {
    let schema = schema();
    for (pointer, limit) in [
        ("/properties/services/maxItems", Config::MAX_SERVICES),
        ("/$defs/consul/properties/cluster/maxLength", Consul::MAX_NAME_BYTES),
        ("/$defs/consul/properties/authority/maxLength", Consul::MAX_NAME_BYTES),
        ("/$defs/consul/properties/token_env/maxLength", Consul::MAX_NAME_BYTES),
        ("/$defs/scope/maxLength", Consul::MAX_SCOPE_BYTES),
        ("/$defs/service/properties/name/maxLength", Service::MAX_NAME_BYTES),
        ("/$defs/service/properties/address/maxLength", Service::MAX_NAME_BYTES),
        ("/$defs/service/properties/hosts/maxItems", Service::MAX_HOSTS),
        ("/$defs/service/properties/hosts/items/maxLength", HostPattern::MAX_BYTES),
        ("/$defs/service/properties/tags/maxItems", Service::MAX_TAGS),
        ("/$defs/service/properties/tags/items/maxLength", Service::MAX_TAG_BYTES),
        ("/$defs/service/properties/filter/maxLength", Service::MAX_FILTER_BYTES),
        ("/$defs/handoff/properties/attempts/maximum", usize::from(Handoff::MAX_ATTEMPTS)),
        ("/$defs/handoff/properties/attempts/default", usize::from(Handoff::DEFAULT_ATTEMPTS)),
    ] {
        assert_eq!(schema.pointer(pointer), Some(&json!(limit)), "{pointer}");
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
        ("/$defs/load_balancing", "services[0].load_balancing."),
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

fn schema() -> Value {
    serde_json::from_str(include_str!("../../envoy/config.schema.json")).unwrap()
}

//! `envoy/config.schema.json` says what the reader does.

use std::collections::HashSet;

use consul_resolver::config::{
    AddressPolicy, BreakerConfig, CacheAges, Check, ClustersConfig, Config, Consistency, Consul,
    Dependencies, Discover, DnsNames, Handoff, HashOn, Hashing, HealthCheck, HealthThreshold,
    HostPattern, LoadBalancing, Locality, OnDependencyDown, OnStale, Policy, PolicyKind,
    PreparedQuery, Probe, Protocol, Registration, RetryBudgetConfig, RoutesConfig, Service,
    ShrinkGuardConfig, SlowStart, TaggedAddress, Unmatched, VersionFallback, Versions, Weights,
    Xds,
};
use consul_resolver::model::version_pattern::VersionPattern;
use serde_json::{Value, json};

use crate::{parse, with, xds};

#[test]
fn the_schema_has_the_fields_that_are_read() {
    let schema = schema();
    for (pointer, fields) in [
        ("", Config::FIELDS),
        ("/$defs/consul", Consul::FIELDS),
        ("/$defs/cached", CacheAges::FIELDS),
        ("/$defs/service", Service::FIELDS),
        ("/$defs/discover", Discover::FIELDS),
        ("/$defs/discover/properties/service", Discover::SERVICE_FIELDS),
        ("/$defs/dns_names", DnsNames::FIELDS),
        ("/$defs/dns_names/properties/service", DnsNames::SERVICE_FIELDS),
        ("/$defs/load_balancing", LoadBalancing::FIELDS),
        ("/$defs/hash_on", HashOn::FIELDS),
        ("/$defs/slow_start/oneOf/1", SlowStart::FIELDS),
        ("/$defs/versions", Versions::FIELDS),
        ("/$defs/breaker", BreakerConfig::FIELDS),
        ("/$defs/call_budget", RetryBudgetConfig::FIELDS),
        ("/$defs/shrink_guard", ShrinkGuardConfig::FIELDS),
        ("/$defs/registration", Registration::FIELDS),
        ("/$defs/registered_weights", Weights::FIELDS),
        ("/$defs/tagged_address", TaggedAddress::FIELDS),
        ("/$defs/check", Check::FIELDS),
        ("/$defs/probe", Probe::FIELDS),
        ("/$defs/locality", Locality::FIELDS),
        ("/$defs/endpoints", AddressPolicy::FIELDS),
        ("/$defs/handoff", Handoff::FIELDS),
        ("/$defs/xds", Xds::FIELDS),
        ("/$defs/xds/properties/clusters", ClustersConfig::FIELDS),
        ("/$defs/xds/properties/routes", RoutesConfig::FIELDS),
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
        ("/$defs/service/properties/protocol", names(Protocol::CHOICES)),
        ("/$defs/service/properties/on_stale", names(OnStale::CHOICES)),
        ("/$defs/service/properties/on_dependency_down", names(OnDependencyDown::CHOICES)),
        ("/$defs/load_balancing/properties/policy", names(PolicyKind::CHOICES)),
        ("/$defs/versions/properties/fallback", names(VersionFallback::CHOICES)),
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
        ("/$defs/name/maxLength", Service::MAX_NAME_BYTES),
        ("/$defs/service/properties/address/maxLength", Service::MAX_NAME_BYTES),
        ("/$defs/service/properties/hosts/maxItems", Service::MAX_HOSTS),
        ("/$defs/service/properties/hosts/items/maxLength", HostPattern::MAX_BYTES),
        ("/$defs/service/properties/tags/maxItems", Service::MAX_TAGS),
        ("/$defs/service/properties/tags/items/maxLength", Service::MAX_TAG_BYTES),
        ("/$defs/service/properties/filter/maxLength", Service::MAX_FILTER_BYTES),
        ("/$defs/service/properties/near/maxLength", Service::MAX_NAME_BYTES),
        ("/$defs/service/properties/node_meta/maxProperties", Service::MAX_NODE_META),
        (
            "/$defs/service/properties/node_meta/propertyNames/maxLength",
            Service::MAX_NODE_META_KEY_BYTES,
        ),
        (
            "/$defs/service/properties/node_meta/additionalProperties/maxLength",
            Service::MAX_NODE_META_VALUE_BYTES,
        ),
        ("/$defs/service/properties/datacenters/maxItems", Service::MAX_DATACENTERS),
        ("/$defs/service/properties/fallback/maxItems", Service::MAX_FALLBACK),
        ("/$defs/service/properties/depends_on/maxItems", Dependencies::MOST),
        ("/$defs/service/properties/depends_on/items/maxLength", Service::MAX_NAME_BYTES),
        ("/$defs/discover/properties/exclude/maxItems", Discover::MAX_EXCLUDED),
        ("/$defs/discover/properties/exclude/items/maxLength", Service::MAX_NAME_BYTES),
        ("/$defs/dns_names/properties/domain/maxLength", HostPattern::MAX_BYTES),
        ("/properties/register/maxItems", Registration::MAX),
        ("/$defs/registration/properties/id/maxLength", Registration::MAX_ID_BYTES),
        ("/$defs/registration/properties/checks/maxItems", Registration::MAX_CHECKS),
        ("/$defs/registration/properties/depends_on/maxItems", Registration::MAX_DEPENDENCIES),
        (
            "/$defs/registration/properties/tagged_addresses/maxProperties",
            Registration::MAX_TAGGED_ADDRESSES,
        ),
        ("/$defs/address/maxLength", Registration::MAX_ADDRESS_BYTES),
        ("/$defs/check/properties/name/maxLength", Check::MAX_NAME_BYTES),
        ("/$defs/check/properties/http/maxLength", Check::MAX_TEXT_BYTES),
        ("/$defs/target/maxLength", Check::MAX_TEXT_BYTES),
        ("/$defs/probe/properties/path/maxLength", HealthCheck::MAX_TEXT_BYTES),
        ("/$defs/set_headers/maxProperties", HealthCheck::MAX_HEADERS),
        ("/$defs/statuses/maxItems", HealthCheck::MAX_STATUSES),
        ("/$defs/token/maxLength", HashOn::MAX_NAME_BYTES),
        ("/$defs/hash_on/properties/query/maxLength", HashOn::MAX_NAME_BYTES),
        ("/$defs/name/maxLength", Versions::MAX_KEY_BYTES),
        ("/$defs/name/maxLength", Locality::MAX_NAME_BYTES),
        ("/$defs/versions/properties/split/maxProperties", Versions::MAX_SHARES),
        ("/$defs/versions/properties/split/propertyNames/maxLength", VersionPattern::MAX_BYTES),
        ("/$defs/ranges/maxItems", AddressPolicy::MAX_RANGES),
        ("/$defs/service/properties/endpoint_metadata/maxItems", Xds::MAX_METADATA_KEYS),
        (
            "/$defs/service/properties/endpoint_metadata/items/maxLength",
            Xds::MAX_METADATA_KEY_BYTES,
        ),
        ("/$defs/xds/properties/cluster/maxLength", Consul::MAX_NAME_BYTES),
        ("/$defs/xds/properties/address/maxLength", Xds::MAX_ADDRESS_BYTES),
        ("/$defs/xds/properties/clusters/properties/name/maxLength", Consul::MAX_NAME_BYTES),
        ("/$defs/xds/properties/routes/properties/name/maxLength", Consul::MAX_NAME_BYTES),
        ("/$defs/handoff/properties/attempts/maximum", usize::from(Handoff::MAX_ATTEMPTS)),
        ("/$defs/handoff/properties/attempts/default", usize::from(Handoff::DEFAULT_ATTEMPTS)),
    ] {
        assert_eq!(schema.pointer(pointer), Some(&json!(limit)), "{pointer}");
    }
}

#[test]
fn the_schema_has_the_fields_that_a_prepared_query_replaces() {
    let schema = schema();
    let replaced = &schema["$defs"]["service"]["dependentSchemas"]["query"]["properties"];
    // What is there but not allowed.
    let replaced = replaced.as_object().unwrap().iter().filter(|(_, it)| **it == json!(false));
    let replaced: HashSet<&str> = replaced.map(|(name, _)| name.as_str()).collect();
    assert_eq!(replaced, HashSet::from(PreparedQuery::REPLACED));
}

#[test]
fn the_schema_has_the_fields_that_need_dependencies() {
    let schema = schema();
    let needs = &schema["$defs"]["service"]["dependentSchemas"]["on_dependency_down"]["required"];
    assert_eq!(needs, &json!(["depends_on"]));
}

#[test]
fn the_schema_has_the_ranges_of_numbers_that_are_read() {
    let schema = schema();
    let percent = 0..=100;
    let counts = 1..=BreakerConfig::MAX_COUNT;
    let rings = 1..=Policy::DEFAULT_MAXIMUM_RING_SIZE;
    let balancing = "/$defs/load_balancing/properties";
    for (pointer, limits) in [
        (format!("{balancing}/hash_balance_factor"), Hashing::BALANCE_FACTOR),
        (format!("{balancing}/choice_count"), 2..=Policy::MAX_CHOICE_COUNT.into()),
        (format!("{balancing}/active_request_bias"), 0..=Policy::MAX_ACTIVE_REQUEST_BIAS),
        (format!("{balancing}/minimum_ring_size"), rings.clone()),
        (format!("{balancing}/maximum_ring_size"), rings),
        (format!("{balancing}/table_size"), 2..=Policy::MAX_TABLE_SIZE),
        ("/$defs/slow_start/oneOf/1/properties/min_weight_percent".into(), 1..=100),
        ("/$defs/service/properties/limit".into(), 1..=PreparedQuery::MAX_LIMIT),
        ("/$defs/percent".into(), percent),
        ("/$defs/count".into(), counts),
        ("/$defs/versions/properties/split/additionalProperties".into(), 0..=Versions::MAX_WEIGHT),
        (
            "/$defs/call_budget/properties/min_per_second".into(),
            1..=RetryBudgetConfig::MAX_MIN_PER_SECOND,
        ),
        ("/$defs/breaker/properties/consecutive_failures".into(), 0..=BreakerConfig::MAX_COUNT),
        ("/$defs/shrink_guard/properties/at_least".into(), 1..=ShrinkGuardConfig::MAX_AT_LEAST),
        ("/$defs/consul/properties/max_watches".into(), 1..=Consul::MAX_WATCHES),
        ("/$defs/discover/properties/max_services".into(), 1..=Discover::MAX_SERVICES),
        ("/$defs/dns_names/properties/max_services".into(), 1..=DnsNames::MAX_SERVICES),
        ("/$defs/dns_names/properties/max_waiting".into(), 0..=DnsNames::MAX_WAITING),
        ("/$defs/probe/properties/healthy_threshold".into(), 1..=HealthCheck::MAX_THRESHOLD),
        ("/$defs/probe/properties/unhealthy_threshold".into(), 1..=HealthCheck::MAX_THRESHOLD),
        ("/$defs/registered_weights/properties/passing".into(), 1..=Weights::MAX),
        ("/$defs/registered_weights/properties/warning".into(), 0..=Weights::MAX),
        ("/$defs/locality/properties/min_cluster_size".into(), 1..=Locality::MAX_MIN_CLUSTER_SIZE),
    ] {
        let described = schema.pointer(&pointer).unwrap();
        assert_eq!(described["minimum"], json!(limits.start()), "{pointer}");
        assert_eq!(described["maximum"], json!(limits.end()), "{pointer}");
    }
    let aggression = schema.pointer("/$defs/slow_start/oneOf/1/properties/aggression").unwrap();
    assert_eq!(aggression["maximum"], json!(SlowStart::MAX_AGGRESSION));
}

#[test]
fn the_schema_says_which_policies_use_a_field() {
    let schema = schema();
    let users = |field: &str| {
        let user = &schema["$defs"]["load_balancing"]["dependentSchemas"][field];
        let user = user["$ref"].as_str().map_or(user, |r| schema.pointer(&r[1..]).unwrap());
        assert_eq!(user["required"], json!(["policy"]), "{field}");
        let policy = &user["properties"]["policy"];
        policy.get("enum").cloned().unwrap_or_else(|| json!([policy["const"]]))
    };
    for (field, kinds) in PolicyKind::FIELDS {
        let kinds: Value = kinds.iter().map(|kind| kind.name()).collect();
        assert_eq!(users(field), kinds, "{field}");
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
fn spelling_out_the_defaults_of_a_section_is_the_same_as_leaving_them_out() {
    let schema = schema();
    for (pointer, place, least) in [
        ("/$defs/versions", "services[0].versions", json!({ "header": "x-version" })),
        ("/$defs/locality", "locality", json!({})),
        ("/$defs/xds", "xds", xds(json!({}))),
        ("/$defs/shrink_guard", "services[0].shrink_guard", json!({})),
        ("/$defs/breaker", "consul.breaker", json!({})),
        ("/$defs/call_budget", "consul.retry_budget", json!({})),
        (
            "/$defs/slow_start/oneOf/1",
            "services[0].load_balancing.slow_start",
            json!({ "window": "30s" }),
        ),
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

#[test]
fn the_schema_has_the_default_names_of_clusters_and_routes() {
    let schema = schema();
    for (field, name) in
        [("clusters", ClustersConfig::DEFAULT_NAME), ("routes", RoutesConfig::DEFAULT_NAME)]
    {
        let pointer = format!("/$defs/xds/properties/{field}/properties/name/default");
        assert_eq!(schema.pointer(&pointer), Some(&json!(name)), "{field}");
    }
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../envoy/config.schema.json")).unwrap()
}

//! The cluster of a service, as Envoy's CDS sends it.

use core::time::Duration;

use serde_json::{Map, Value, json};

use super::overlay::overlay;
use crate::config::{
    ClustersConfig, Config, Handoff, Policy, Service, SlowStart, VersionFallback, Versions, Xds,
};

/// The time for which Envoy waits for the endpoints of a new cluster before it uses it without any. A
/// changed cluster is a new cluster, which replaces the old one only then.
const INITIAL_FETCH_TIMEOUT: &str = "15s";
/// The pause of Envoy between a response and the next request.
const REFRESH_DELAY: &str = "0.02s";
/// The time for which Envoy waits beyond the time that a subscription is held.
const ANSWER_MARGIN: Duration = Duration::from_secs(10);
/// The most retries under way: Envoy's default of 3 is too few in the moment in which an instance dies.
const MAX_RETRIES: u32 = 1024;
/// The name of the field that the policies of a cluster have in common.
const COMMON: &str = "common_lb_config";

/// Writes Envoy's `Cluster` of a service: one whose endpoints are subscribed to by the service's
/// name. `xds.clusters.template` goes over it, and `cluster` of the service over that. Nothing
/// where the configuration has no `xds.clusters`.
pub fn cluster(config: &Config, service: &Service) -> String {
    let written = config.xds.as_ref().and_then(|xds| {
        let clusters = xds.clusters.as_ref()?;
        let mut fields = defaults(config, xds, clusters, service);
        for template in [&clusters.template, &service.cluster] {
            overlay(&mut fields, template);
        }
        // What `load_balancing` says counts whatever becomes of the rest.
        if let Some(factor) = balance_factor(service)
            && let Value::Object(common) = fields.entry(COMMON).or_insert_with(|| Map::new().into())
        {
            let bound = json!({ "hash_balance_factor": factor });
            common.insert("consistent_hashing_lb_config".to_owned(), bound);
        }
        Some(Value::Object(fields).to_string())
    });
    written.unwrap_or_default()
}

fn defaults(
    config: &Config,
    xds: &Xds,
    clusters: &ClustersConfig,
    service: &Service,
) -> Map<String, Value> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    set("@type", "type.googleapis.com/envoy.config.cluster.v3.Cluster".into());
    set("name", clusters.name_of(&service.name).into());
    set("type", "EDS".into());
    set("eds_cluster_config", subscription(xds, service));
    set("connect_timeout", "1s".into());
    // An endpoint that is gone from Consul gets nothing, even if it still answers Envoy's checks.
    set("ignore_health_on_host_removal", true.into());
    set("circuit_breakers", circuit_breakers());
    set(COMMON, common(config));
    let (name, settings) = policy(service);
    set("lb_policy", name.into());
    if let Some((field, settings)) = settings {
        set(field, settings);
    }
    if let Some(versions) = &service.versions
        && config.handoff != Handoff::StatefulSession
    {
        set("lb_subset_config", subsets(versions));
    }
    fields
}

/// The source of a service's endpoints.
fn subscription(xds: &Xds, service: &Service) -> Value {
    json!({
        "service_name": service.name,
        "eds_config": {
            "resource_api_version": "V3",
            "initial_fetch_timeout": INITIAL_FETCH_TIMEOUT,
            "api_config_source": {
                "api_type": "REST",
                "transport_api_version": "V3",
                "cluster_names": [xds.cluster],
                "refresh_delay": REFRESH_DELAY,
                "request_timeout": duration(xds.hold.saturating_add(ANSWER_MARGIN)),
            },
        },
    })
}

/// The limits of requests under way, of either priority.
fn circuit_breakers() -> Value {
    json!({ "thresholds": [
        { "max_retries": MAX_RETRIES },
        { "priority": "HIGH", "max_retries": MAX_RETRIES },
    ] })
}

fn balance_factor(service: &Service) -> Option<u32> {
    service.load_balancing.policy.hashing()?.balance_factor
}

/// The settings that all policies have in common.
fn common(config: &Config) -> Value {
    // By default Envoy merges what happens within a second, and uses unhealthy endpoints where
    // more than half are: an ejected one would keep its requests for so long, and those that are
    // critical in one datacenter would get some before the next one is asked.
    let mut common =
        json!({ "update_merge_window": "0s", "healthy_panic_threshold": { "value": 0 } });
    if let (Some(locality), Value::Object(common)) = (&config.locality, &mut common) {
        let zones = json!({ "min_cluster_size": locality.min_cluster_size });
        common.insert("zone_aware_lb_config".to_owned(), zones);
    }
    common
}

/// Envoy's policy, and the field with its settings.
fn policy(service: &Service) -> (&'static str, Option<(&'static str, Value)>) {
    let mut settings = Map::new();
    let mut set = |name: &str, value: Value| {
        settings.insert(name.to_owned(), value);
    };
    let policy = &service.load_balancing.policy;
    let slow_start = service.load_balancing.slow_start.filter(|_| policy.starts_slowly_in_envoy());
    if let Some(slow_start) = &slow_start {
        set("slow_start_config", ramp(slow_start));
    }
    let (name, field) = match *policy {
        Policy::RoundRobin => ("ROUND_ROBIN", "round_robin_lb_config"),
        Policy::Random => return ("RANDOM", None),
        Policy::LeastRequest { choice_count, active_request_bias } => {
            set("choice_count", choice_count.into());
            set("active_request_bias", runtime("active_request_bias", active_request_bias));
            ("LEAST_REQUEST", "least_request_lb_config")
        }
        // Only for requests without a pick of the filter, such as retries.
        Policy::PeakEwma { choice_count, .. } => {
            set("choice_count", choice_count.into());
            ("LEAST_REQUEST", "least_request_lb_config")
        }
        Policy::RingHash { minimum_ring_size, maximum_ring_size, .. } => {
            set("minimum_ring_size", minimum_ring_size.into());
            set("maximum_ring_size", maximum_ring_size.into());
            ("RING_HASH", "ring_hash_lb_config")
        }
        Policy::Maglev { table_size, .. } => {
            set("table_size", table_size.into());
            ("MAGLEV", "maglev_lb_config")
        }
    };
    let settings = (!settings.is_empty()).then_some((field, Value::Object(settings)));
    (name, settings)
}

fn ramp(slow_start: &SlowStart) -> Value {
    json!({
        "slow_start_window": duration(slow_start.window),
        "aggression": runtime("aggression", slow_start.aggression),
        "min_weight_percent": { "value": slow_start.min_weight_percent },
    })
}

/// A number that Envoy lets its runtime replace, which needs a name.
fn runtime(name: &str, value: f64) -> Value {
    let key = ["consul_resolver.", name].concat();
    json!({ "default_value": value, "runtime_key": key })
}

/// The endpoints of each version, for requests that name one in their metadata.
fn subsets(versions: &Versions) -> Value {
    let fallback = match versions.fallback {
        VersionFallback::Any => "ANY_ENDPOINT",
        VersionFallback::None => "NO_FALLBACK",
    };
    json!({
        "fallback_policy": "ANY_ENDPOINT",
        "subset_selectors": [{ "keys": ["version"], "fallback_policy": fallback }],
    })
}

/// Writes a duration as protobuf's JSON has it.
fn duration(duration: Duration) -> String {
    format!("{}.{:03}s", duration.as_secs(), duration.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// The cluster of the only service of a configuration: with these fields of its own, these of
    /// `xds.clusters`, and these others.
    fn written(service: &Value, clusters: &Value, rest: &Value) -> Value {
        let mut config = json!({
            "consul": { "cluster": "consul" },
            "services": [{ "name": "web" }],
            "xds": { "cluster": "subscriptions", "address": "@xds", "clusters": clusters },
        });
        let with = |object: &mut Value, fields: &Value| {
            for (name, value) in fields.as_object().unwrap() {
                object[name] = value.clone();
            }
        };
        with(&mut config["services"][0], service);
        with(&mut config, rest);
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        serde_json::from_str(&cluster(&config, &config.services[0])).unwrap()
    }

    fn of_service(service: Value) -> Value {
        written(&service, &json!({}), &json!({}))
    }

    #[test]
    fn a_cluster_has_the_documented_defaults() {
        let expected = json!({
            "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            "name": "consul/web",
            "type": "EDS",
            "eds_cluster_config": {
                "service_name": "web",
                "eds_config": {
                    "resource_api_version": "V3",
                    "initial_fetch_timeout": "15s",
                    "api_config_source": {
                        "api_type": "REST",
                        "transport_api_version": "V3",
                        "cluster_names": ["subscriptions"],
                        "refresh_delay": "0.02s",
                        "request_timeout": "35.000s"
                    }
                }
            },
            "connect_timeout": "1s",
            "lb_policy": "ROUND_ROBIN",
            "common_lb_config": {
                "update_merge_window": "0s",
                "healthy_panic_threshold": { "value": 0 }
            },
            "ignore_health_on_host_removal": true,
            "circuit_breakers": { "thresholds": [
                { "max_retries": 1024 }, { "priority": "HIGH", "max_retries": 1024 }
            ] }
        });
        assert_eq!(of_service(json!({})), expected);
    }

    #[test]
    fn nothing_is_written_when_no_clusters_are_wanted() {
        let xds = json!({ "cluster": "xds", "address": "@xds" });
        let services = json!([{ "name": "web" }]);
        let config = json!({ "consul": { "cluster": "c" }, "services": services, "xds": xds });
        let config = Config::parse(config.to_string().as_bytes()).unwrap();
        assert_eq!(cluster(&config, &config.services[0]), "");
    }

    #[test]
    fn each_policy_is_envoys_own_with_its_settings() {
        let session = json!({ "handoff": { "via": "stateful_session" } });
        let none = json!({});
        let path = json!({ "path": true });
        for (balancing, rest, name, field, settings) in [
            (json!({ "policy": "random" }), &none, "RANDOM", "round_robin_lb_config", Value::Null),
            (
                json!({ "slow_start": {
                    "window": "1500ms", "aggression": 1.5, "min_weight_percent": 20
                } }),
                &none,
                "ROUND_ROBIN",
                "round_robin_lb_config",
                json!({ "slow_start_config": {
                    "slow_start_window": "1.500s",
                    "aggression": {
                        "default_value": 1.5, "runtime_key": "consul_resolver.aggression"
                    },
                    "min_weight_percent": { "value": 20 }
                } }),
            ),
            (
                json!({ "policy": "least_request", "choice_count": 4, "active_request_bias": 0.5 }),
                &none,
                "LEAST_REQUEST",
                "least_request_lb_config",
                json!({
                    "choice_count": 4,
                    "active_request_bias": {
                        "default_value": 0.5,
                        "runtime_key": "consul_resolver.active_request_bias"
                    }
                }),
            ),
            (
                json!({ "policy": "peak_ewma", "choice_count": 3 }),
                &session,
                "LEAST_REQUEST",
                "least_request_lb_config",
                json!({ "choice_count": 3 }),
            ),
            (
                json!({ "policy": "ring_hash", "hash_on": path, "minimum_ring_size": 8 }),
                &none,
                "RING_HASH",
                "ring_hash_lb_config",
                json!({ "minimum_ring_size": 8, "maximum_ring_size": 8_388_608 }),
            ),
            (
                json!({ "policy": "maglev", "hash_on": path, "slow_start": "30s" }),
                &session,
                "MAGLEV",
                "maglev_lb_config",
                json!({ "table_size": 65_537 }),
            ),
        ] {
            let found = written(&json!({ "load_balancing": balancing }), &json!({}), rest);
            assert_eq!(found["lb_policy"], json!(name));
            assert_eq!(found[field], settings, "{name}");
        }
    }

    #[test]
    fn a_bound_of_hashing_and_zones_are_common_to_all_policies() {
        let balancing =
            json!({ "policy": "maglev", "hash_on": { "path": true }, "hash_balance_factor": 150 });
        let rest = json!({ "locality": { "min_cluster_size": 3 } });
        let common = |clusters: Value| {
            written(&json!({ "load_balancing": balancing }), &clusters, &rest)["common_lb_config"]
                .clone()
        };
        let mut expected = json!({
            "update_merge_window": "0s",
            "healthy_panic_threshold": { "value": 0 },
            "consistent_hashing_lb_config": { "hash_balance_factor": 150 },
            "zone_aware_lb_config": { "min_cluster_size": 3 }
        });
        assert_eq!(common(json!({})), expected);
        let weighted = json!({ "common_lb_config": { "locality_weighted_lb_config": {} } });
        expected["locality_weighted_lb_config"] = json!({});
        expected.as_object_mut().unwrap().remove("zone_aware_lb_config");
        assert_eq!(common(json!({ "template": weighted })), expected);
        let bound = json!({ "consistent_hashing_lb_config": { "hash_balance_factor": 150 } });
        let none = json!({ "template": { "common_lb_config": null } });
        assert_eq!(common(none), bound, "load_balancing sets it, and not the template");
    }

    #[test]
    fn versions_are_subsets_when_envoy_picks_alone() {
        for (fallback, expected) in [("any", "ANY_ENDPOINT"), ("none", "NO_FALLBACK")] {
            let versions = json!({ "versions": { "header": "x-version", "fallback": fallback } });
            let found = of_service(versions.clone());
            let selectors = json!([{ "keys": ["version"], "fallback_policy": expected }]);
            assert_eq!(found["lb_subset_config"]["subset_selectors"], selectors);
            let rest = json!({ "handoff": { "via": "stateful_session" } });
            let found = written(&versions, &json!({}), &rest);
            assert_eq!(found.get("lb_subset_config"), None);
        }
    }

    #[test]
    fn service_fields_go_over_the_template_and_both_over_defaults() {
        let template = json!({
            "connect_timeout": "2s",
            "circuit_breakers": { "thresholds": [{ "max_requests": 9.0 }] },
            "outlier_detection": { "consecutive_5xx": 3.0 },
            "ignore_health_on_host_removal": null,
            "common_lb_config": { "healthy_panic_threshold": { "value": 50.0 } }
        });
        let service = json!({ "cluster": {
            "connect_timeout": "3s",
            "outlier_detection": null,
            "common_lb_config": { "update_merge_window": null }
        } });
        let found = written(
            &service,
            &json!({ "name": "{service}.svc", "template": template }),
            &json!({}),
        );
        assert_eq!(found["name"], json!("web.svc"));
        assert_eq!(found["connect_timeout"], json!("3s"));
        let [default, high] =
            [json!({ "max_requests": 9 }), json!({ "priority": "HIGH" })].map(|mut threshold| {
                threshold["max_retries"] = json!(1024);
                threshold
            });
        assert_eq!(found["circuit_breakers"], json!({ "thresholds": [default, high] }));
        assert_eq!(found.get("outlier_detection"), None);
        assert_eq!(found.get("ignore_health_on_host_removal"), None);
        let common = json!({ "healthy_panic_threshold": { "value": 50 } });
        assert_eq!(found["common_lb_config"], common);
    }
}

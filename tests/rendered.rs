//! What the filter writes as clusters and routes is what Envoy takes.

#![cfg(not(target_family = "wasm"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

use consul_resolver::config::{Config, ConfigError, Service};
use consul_resolver::xds::clusters::cluster;
use consul_resolver::xds::routes::route_configuration;
use serde_json::{Value, json};
use stack::Envoy;

/// A service for each policy, and one for each other setting that is written.
fn services() -> Value {
    let hash = |on: Value| json!({ "policy": "ring_hash", "hash_on": on });
    json!([
        { "name": "web", "hosts": ["web.test", "*.web.internal", "[2001:db8::1]"],
          "load_balancing": { "slow_start": "30s" } },
        { "name": "random/a b", "hosts": ["random.test"],
          "load_balancing": { "policy": "random" } },
        { "name": "least", "hosts": ["least.test"], "datacenters": ["dc1", "dc2"],
          "load_balancing": {
              "policy": "least_request", "choice_count": 4, "active_request_bias": 0.5,
              "slow_start": { "window": "1500ms", "aggression": 1.5, "min_weight_percent": 20 }
          } },
        { "name": "ring", "hosts": ["ring.test"], "load_balancing": {
              "policy": "ring_hash", "hash_on": { "header": "x-user" },
              "hash_balance_factor": 150, "minimum_ring_size": 64, "maximum_ring_size": 128
          } },
        { "name": "table", "hosts": ["table.test"], "load_balancing": {
              "policy": "maglev", "hash_on": { "path": true }, "table_size": 65_537
          } },
        { "name": "cookie", "hosts": ["cookie.test"],
          "load_balancing": hash(json!({ "cookie": "a" })) },
        { "name": "query", "hosts": ["query.test"],
          "load_balancing": hash(json!({ "query": "a" })) },
        { "name": "source", "hosts": ["source.test"],
          "load_balancing": hash(json!({ "source_address": true })) },
        { "name": "versions", "hosts": ["versions.test"],
          "versions": { "header": "x-version", "fallback": "none" } },
        { "name": "either", "hosts": ["either.test"], "versions": { "header": "x-version" } },
        { "name": "*", "hosts": ["star.test"], "cluster": {
              "connect_timeout": "0.25s",
              "outlier_detection": null,
              "transport_socket": transport_socket("star.test"),
              "common_lb_config": { "locality_weighted_lb_config": {} }
          } },
        { "name": "no-hosts" }
    ])
}

/// How a cluster speaks TLS with its instances.
fn transport_socket(name: &str) -> Value {
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": name,
            "max_session_keys": 4.0,
            "common_tls_context": {
                "alpn_protocols": ["h2"],
                "validation_context": { "trust_chain_verification": "ACCEPT_UNTRUSTED" }
            }
        }
    })
}

fn configuration(handoff: &str) -> Value {
    json!({
        "consul": { "cluster": "consul" },
        "services": services(),
        "locality": { "zone": "a", "min_cluster_size": 3 },
        "xds": {
            "cluster": "xds",
            "address": "/run/envoy/xds.sock",
            "hold": "1500ms",
            "clusters": {
                "template": {
                    "transport_socket": transport_socket("web.test"),
                    "outlier_detection": { "max_ejection_percent": 50.0 },
                    "health_checks": [{
                        "timeout": "1s", "interval": "5s", "unhealthy_threshold": 2.0,
                        "healthy_threshold": 1.0, "http_health_check": { "path": "/health" }
                    }],
                    "circuit_breakers": {
                        "thresholds": [{ "max_retries": 64.0, "retry_budget": {
                            "budget_percent": { "value": 20.0 }, "min_retry_concurrency": 3.0
                        } }]
                    },
                    "common_lb_config": {
                        "healthy_panic_threshold": { "value": 12.5 },
                        "zone_aware_lb_config": { "routing_enabled": { "value": 50.0 } }
                    },
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                            "explicit_http_config": { "http2_protocol_options": {
                                "max_concurrent_streams": 100.0
                            } }
                        }
                    }
                }
            },
            "routes": {
                "template": {
                    "timeout": "5s",
                    "hedge_policy": { "hedge_on_per_try_timeout": true },
                    "retry_policy": {
                        "retry_on": "5xx", "num_retries": 2.0, "per_try_timeout": "1s"
                    },
                    "upgrade_configs": [{ "upgrade_type": "websocket" }]
                }
            }
        },
        "handoff": { "via": handoff },
        "route_metadata": true,
        "unmatched": "reject"
    })
}

/// A bootstrap with the clusters and the routes that are written for a configuration.
fn bootstrap(config: &Config) -> Value {
    let written = |text: String| -> Value { serde_json::from_str(&text).expect(&text) };
    let clusters = config.services.iter().map(|service: &Service| cluster(config, service));
    let mut clusters: Vec<Value> = clusters.map(written).collect();
    let pipe = json!({ "endpoint": { "address": { "pipe": { "path": "/nowhere" } } } });
    clusters.push(json!({ "name": "xds", "type": "STATIC", "load_assignment": {
        "cluster_name": "xds", "endpoints": [{ "lb_endpoints": [pipe] }]
    } }));
    for cluster in &mut clusters {
        cluster.as_object_mut().expect("a cluster").remove("@type");
    }
    let mut routes = written(route_configuration(config, config.services.iter()));
    routes.as_object_mut().expect("routes").remove("@type");
    routes["validate_clusters"] = json!(true);
    let extension = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let pick = json!({
        "@type": extension("filters.http.stateful_session.v3.StatefulSession"),
        "session_state": {
            "name": "envoy.http.stateful_session.header",
            "typed_config": {
                "@type": extension(
                    "http.stateful_session.header.v3.HeaderBasedSessionState"
                ),
                "name": "x-consul-endpoint"
            }
        }
    });
    let manager = json!({
        "@type": extension(
            "filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "ingress",
        "route_config": routes,
        "http_filters": [
            { "name": "consul_pick", "typed_config": pick },
            { "name": "envoy.filters.http.router", "typed_config": {
                "@type": extension("filters.http.router.v3.Router")
            } }
        ]
    });
    json!({
        "node": { "id": "envoy", "cluster": "envoy" },
        "static_resources": {
            "listeners": [{
                "name": "ingress",
                "address": { "socket_address": { "address": "127.0.0.1", "port_value": 0 } },
                "filter_chains": [{ "filters": [{
                    "name": "envoy.filters.network.http_connection_manager", "typed_config": manager
                }] }]
            }],
            "clusters": clusters
        }
    })
}

// Promise: R-315
#[test]
fn clusters_and_routes_are_valid_when_envoy_reads_them() {
    for handoff in ["stateful_session", "filter_state"] {
        let text = configuration(handoff).to_string();
        let config = Config::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let said = Envoy::builder(bootstrap(&config).to_string()).validate();
        let said = said.unwrap_or_else(|error| panic!("{handoff}: {error}"));
        assert!(said.contains("OK"), "{handoff}: {said}");
    }
}

/// What Envoy does not take of a cluster, each by itself.
fn wrong_of_clusters() -> Value {
    let check = |more: Value| {
        let mut check = json!({
            "timeout": "1s", "interval": "5s", "unhealthy_threshold": 2, "healthy_threshold": 1,
            "tcp_health_check": {}
        });
        for (name, value) in more.as_object().unwrap() {
            check[name] = value.clone();
        }
        json!({ "health_checks": [check] })
    };
    json!([
        { "max_requests_per_connection": -1 },
        { "per_connection_buffer_limit_bytes": 4_294_967_296_u64 },
        { "connect_timeout": "0s" },
        { "connect_timeout": "9223372036s" },
        { "cleanup_interval": "-1s" },
        { "dns_lookup_family": 5 },
        { "dns_lookup_family": "V5_ONLY" },
        { "lrs_report_endpoint_metrics": [1] },
        { "outlier_detection": { "max_ejection_percent": 101 } },
        { "outlier_detection": { "consecutive_5xx": -1 } },
        { "outlier_detection": { "interval": "0s" } },
        { "outlier_detection": { "max_ejection_time_jitter": "-1s" } },
        { "common_lb_config": { "update_merge_window": "-1s" } },
        { "common_lb_config": { "healthy_panic_threshold": { "value": 100.5 } } },
        { "common_lb_config": { "zone_aware_lb_config": { "routing_enabled": { "value": -1 } } } },
        { "common_lb_config": { "zone_aware_lb_config": {}, "locality_weighted_lb_config": {} } },
        { "circuit_breakers": { "thresholds": [{ "max_retries": -1 }] } },
        { "circuit_breakers": { "thresholds": [{ "priority": "LOW" }] } },
        { "circuit_breakers": { "thresholds": [{ "priority": 2 }] } },
        { "circuit_breakers": { "thresholds": [
            { "retry_budget": { "budget_percent": { "value": 101 } } }
        ] } },
        check(json!({ "interval": "0s" })),
        check(json!({ "initial_jitter": "-1s" })),
        check(json!({ "healthy_threshold": null })),
        check(json!({ "tcp_health_check": null })),
        check(json!({ "http_health_check": { "path": "/" } })),
        check(json!({ "alt_port": -1 })),
    ])
}

/// What Envoy does not take of a route, each by itself.
fn wrong_of_routes() -> Value {
    json!([
        { "timeout": "-1s" },
        { "priority": "LOW" },
        { "cluster_not_found_response_code": 3 },
        { "auto_host_rewrite": true, "host_rewrite_literal": "a" },
        { "path_rewrite": "/a", "prefix_rewrite": "/b" },
        { "retry_policy": { "num_retries": -1 } },
        { "retry_policy": { "retriable_status_codes": [503, -1] } },
        { "retry_policy": { "per_try_timeout": "-0.1s" } },
        { "retry_policy": { "retry_back_off": {} } },
        { "retry_policy": { "retry_back_off": { "base_interval": "0s" } } },
    ])
}

/// What Envoy takes at the limits: of clusters each by itself, of routes all together.
fn right() -> (Value, Value) {
    let clusters = json!([
        { "max_requests_per_connection": 4_294_967_295_u32 },
        { "max_requests_per_connection": "3", "per_connection_buffer_limit_bytes": 0 },
        { "connect_timeout": "0.000000001s" },
        { "connect_timeout": "9223372035s" },
        { "dns_lookup_family": 4, "dns_jitter": "0s" },
        { "dns_lookup_family": "V4_PREFERRED" },
        { "outlier_detection": { "max_ejection_percent": 100, "max_ejection_time_jitter": "0s" } },
        { "outlier_detection": { "max_ejection_percent": 0, "consecutive_5xx": "7" } },
        { "common_lb_config": { "update_merge_window": "0s",
            "healthy_panic_threshold": { "value": 100 } } },
        { "common_lb_config": { "zone_aware_lb_config": { "routing_enabled": { "value": 0.5 } } } },
        { "common_lb_config": null },
        { "circuit_breakers": { "thresholds": [
            { "priority": "HIGH", "max_retries": 0 }, { "priority": 0, "track_remaining": true }
        ] } },
        { "circuit_breakers": { "thresholds": [
            { "retry_budget": { "budget_percent": { "value": 0 } } }
        ] } },
        { "circuit_breakers": null },
        { "typed_extension_protocol_options": { "no": null } },
    ]);
    let routes = json!({
        "timeout": "0s", "idle_timeout": "0s", "priority": 1, "cluster_not_found_response_code": 2,
        "host_rewrite_literal": "a", "auto_host_rewrite": null, "prefix_rewrite": "/b",
        "retry_policy": {
            "num_retries": 0, "retriable_status_codes": [503], "per_try_timeout": "0s",
            "retry_back_off": { "base_interval": "0.002s" }
        }
    });
    (clusters, routes)
}

/// The least configuration with these fields of all clusters and of all routes.
fn with_templates(clusters: &Value, routes: &Value) -> Value {
    json!({
        "consul": { "cluster": "consul" },
        "services": [{ "name": "web", "hosts": ["web.test"] }],
        "xds": {
            "cluster": "xds", "address": "@xds",
            "clusters": { "template": clusters }, "routes": { "template": routes }
        }
    })
}

// Promise: R-315
#[test]
fn values_are_taken_or_refused_as_envoy_does() {
    let none = json!({});
    let (clusters, routes) = right();
    let mut config = with_templates(&none, &routes);
    let services = clusters.as_array().unwrap().iter().enumerate().map(|(n, fields)| {
        json!({ "name": format!("web-{n}"), "hosts": [format!("{n}.test")], "cluster": fields })
    });
    config["services"] = services.collect();
    let config = parse(&config).unwrap_or_else(|error| panic!("{error}"));
    let said = Envoy::builder(bootstrap(&config).to_string()).validate();
    said.unwrap_or_else(|error| panic!("{error}"));

    let plain = bootstrap(&parse(&with_templates(&none, &none)).unwrap());
    let listener = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    let route = format!("{listener}/route_config/virtual_hosts/0/routes/0/route");
    for (field, place, all) in [
        ("clusters", "/static_resources/clusters/0", wrong_of_clusters()),
        ("routes", &route, wrong_of_routes()),
    ] {
        for fields in all.as_array().unwrap() {
            let [clusters, routes] =
                ["clusters", "routes"].map(|it| [&none, fields][usize::from(it == field)]);
            let error = parse(&with_templates(clusters, routes)).expect_err(&fields.to_string());
            let error = error.to_string();
            assert!(error.starts_with(&format!("xds.{field}.template")), "{error}");
            let mut bootstrap = plain.clone();
            let there = bootstrap.pointer_mut(place).unwrap();
            for (name, value) in fields.as_object().unwrap() {
                there[name] = value.clone();
            }
            let said = Envoy::builder(bootstrap.to_string()).validate();
            assert!(said.is_err(), "Envoy takes {fields}");
        }
    }
}

fn parse(config: &Value) -> Result<Config, ConfigError> {
    Config::parse(config.to_string().as_bytes())
}

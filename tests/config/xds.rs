//! Envoy's own clusters: what is read, and the exact text of every refusal.

use core::time::Duration;

use consul_resolver::config::{ClustersConfig, Handoff, HealthThreshold, RoutesConfig, Xds};
use serde_json::{Map, Value, json};

use crate::{assert_refused, parse, with, xds};

/// The least configuration with `xds` and these other fields.
fn fed(xds_fields: Value, rest: Value) -> Value {
    let mut config = with("xds", xds(xds_fields));
    for (name, value) in rest.as_object().unwrap() {
        config[name] = value.clone();
    }
    config
}

fn refusal(config: &Value) -> String {
    parse(config).expect_err(&config.to_string()).to_string()
}

#[test]
fn clusters_and_routes_have_the_documented_defaults() {
    let config = parse(&fed(json!({ "clusters": {}, "routes": {} }), json!({}))).unwrap();
    let expected = Xds {
        cluster: "xds".into(),
        address: "/run/envoy/xds.sock".into(),
        hold: Duration::from_secs(25),
        clusters: Some(ClustersConfig { name: "consul/{service}".into(), template: Map::new() }),
        routes: Some(RoutesConfig { name: "consul_resolver".into(), template: Map::new() }),
    };
    assert_eq!(config.xds, Some(expected));
    let without = parse(&fed(json!({}), json!({}))).unwrap().xds.unwrap();
    assert_eq!((without.clusters, without.routes), (None, None));
}

#[test]
fn an_address_is_kept_as_envoy_names_it() {
    for (given, kept) in [
        ("/run/envoy/../xds.sock", "/run/envoy/../xds.sock"),
        ("@consul_resolver/a", "@consul_resolver/a"),
        ("127.0.0.1:18000", "127.0.0.1:18000"),
        ("[0:0::0:1]:018000", "[::1]:18000"),
    ] {
        let config = parse(&fed(json!({ "address": given }), json!({}))).unwrap();
        assert_eq!(config.xds.unwrap().address, kept);
    }
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_why() {
    for address in [
        "0.0.0.0:18000",
        "[::]:18000",
        "10.0.0.5:18000",
        "[2001:db8::1]:18000",
        "localhost:18000",
        "127.0.0.1",
        "127.0.0.1:0",
        "[::ffff:127.0.0.1]:80",
        "run/xds.sock",
        "/",
        "@",
        "*:80",
    ] {
        let message = format!(
            "xds.address: \"{address}\" is not the absolute path of a pipe, such as \
             \"/run/envoy/xds.sock\", \"@\" and the name of an abstract one, or a loopback address \
             with its port, such as \
             \"127.0.0.1:18000\"; whoever reaches the listener can read all endpoints"
        );
        assert_eq!(refusal(&fed(json!({ "address": address }), json!({}))), message);
    }
}

#[test]
fn what_is_no_such_section_is_refused() {
    let long = format!("/{}", "a".repeat(107));
    assert_refused([
        (
            "xds",
            json!({ "address": "/a" }),
            "xds.cluster: missing; expected Envoy's cluster that leads to the listener at address",
        ),
        (
            "xds",
            json!({ "cluster": "xds" }),
            "xds.address: missing; expected the listener at which Envoy's subscriptions are \
             answered, such as \"/run/envoy/xds.sock\"",
        ),
        (
            "xds",
            xds(json!({ "routes": {} })),
            "xds.routes: it does nothing without clusters; give that too, or leave it out",
        ),
        (
            "xds",
            xds(json!({ "address": long })),
            "xds.address: too long with 108 bytes; at most 107 are allowed",
        ),
        (
            "xds",
            xds(json!({ "address": "/a\u{0}" })),
            "xds.address: '\\0' is not allowed; expected no control characters",
        ),
        (
            "xds",
            xds(json!({ "hold": "900ms" })),
            "xds.hold: 900ms is out of range; expected 1s to 10m",
        ),
        (
            "xds",
            xds(json!({ "clusters": { "name": "consul" } })),
            "xds.clusters.name: \"consul\" is not a name with \"{service}\" in one place, such as \
             \"consul/{service}\"",
        ),
        (
            "xds",
            xds(json!({ "clusters": { "name": "{service}/{service}" } })),
            "xds.clusters.name: \"{service}/{service}\" is not a name with \"{service}\" in one \
             place, such as \"consul/{service}\"",
        ),
        (
            "xds",
            xds(json!({ "clusters": {}, "routes": { "name": "" } })),
            "xds.routes.name: empty; expected a text that is not blank",
        ),
    ]);
}

#[test]
fn a_slip_in_a_template_is_told_before_envoy_sees_it() {
    let template = |field: &str, template: Value| {
        let mut config = fed(json!({ "clusters": {}, "routes": {} }), json!({}));
        config["xds"][field]["template"] = template;
        refusal(&config)
    };
    for (field, given, message) in [
        (
            "clusters",
            json!({ "connectTimeout": "1s" }),
            "xds.clusters.template.connectTimeout: unknown field of Envoy's Cluster; did you mean \
             connect_timeout?",
        ),
        (
            "clusters",
            json!({ "colour": 1 }),
            "xds.clusters.template.colour: unknown field of Envoy's Cluster",
        ),
        (
            "clusters",
            json!({ "health_checks": {} }),
            "xds.clusters.template.health_checks: expected an array, found an object",
        ),
        (
            "clusters",
            json!({ "connect_timeout": "250ms" }),
            "xds.clusters.template.connect_timeout: \"250ms\" is not a duration as Envoy reads it, \
             in seconds, such as \"0.25s\"",
        ),
        (
            "clusters",
            json!({ "name": "web" }),
            "xds.clusters.template.name: xds.clusters.name sets it; leave it out here",
        ),
        (
            "clusters",
            json!({ "type": "STATIC" }),
            "xds.clusters.template.type: xds sets it; leave it out here",
        ),
        (
            "clusters",
            json!({ "lb_policy": "RANDOM" }),
            "xds.clusters.template.lb_policy: load_balancing of the service sets it; leave it out \
             here",
        ),
        (
            "routes",
            json!({ "cluster": "web" }),
            "xds.routes.template.cluster: xds.clusters.name sets it; leave it out here",
        ),
        (
            "routes",
            json!({ "timeouts": "1s" }),
            "xds.routes.template.timeouts: unknown field of Envoy's RouteAction; did you mean \
             timeout?",
        ),
        (
            "routes",
            json!({ "retry_policy": { "num_retries": 1.5 } }),
            "xds.routes.template.retry_policy.num_retries: expected a whole number, found the \
             number 1.5",
        ),
        (
            "routes",
            json!({ "retry_policy": { "num_retries": -1 } }),
            "xds.routes.template.retry_policy.num_retries: -1 is out of range; expected 0 to \
             4294967295",
        ),
        (
            "routes",
            json!({ "retry_policy": { "retriable_status_codes": [503, -1] } }),
            "xds.routes.template.retry_policy.retriable_status_codes[1]: -1 is out of range; \
             expected 0 to 4294967295",
        ),
        (
            "routes",
            json!({ "priority": "LOW" }),
            "xds.routes.template.priority: unknown value \"LOW\"; expected one of DEFAULT, HIGH",
        ),
        (
            "routes",
            json!({ "auto_host_rewrite": true, "host_rewrite_literal": "a" }),
            "xds.routes.template: expected exactly one of auto_host_rewrite, host_rewrite, \
             host_rewrite_header, host_rewrite_literal, host_rewrite_path_regex, found 2",
        ),
        (
            "clusters",
            json!({ "connect_timeout": "0s" }),
            "xds.clusters.template.connect_timeout: the duration is 0; expected more",
        ),
        (
            "clusters",
            json!({ "outlier_detection": { "max_ejection_percent": 500.0 } }),
            "xds.clusters.template.outlier_detection.max_ejection_percent: 500.0 is out of range; \
             expected 0 to 100",
        ),
        (
            "clusters",
            json!({ "outlier_detection": { "max_ejection_percentage": 50 } }),
            "xds.clusters.template.outlier_detection.max_ejection_percentage: unknown field of \
             Envoy's OutlierDetection; did you mean max_ejection_percent?",
        ),
        (
            "clusters",
            json!({ "common_lb_config": { "healthy_panic_threshold": { "value": -0.5 } } }),
            "xds.clusters.template.common_lb_config.healthy_panic_threshold.value: -0.5 is out of \
             range; expected 0 to 100",
        ),
        (
            "clusters",
            json!({ "circuit_breakers": { "thresholds": [{}, { "max_retries": -1 }] } }),
            "xds.clusters.template.circuit_breakers.thresholds[1].max_retries: -1 is out of range; \
             expected 0 to 4294967295",
        ),
        (
            "clusters",
            json!({ "health_checks": [{
                "tcp_health_check": {}, "interval": "5s", "unhealthy_threshold": 2,
                "healthy_threshold": 1
            }] }),
            "xds.clusters.template.health_checks[0].timeout: missing; expected a value: without one \
             Envoy rejects all that it is told with it",
        ),
    ] {
        assert_eq!(template(field, given), message);
    }
    let mut config = fed(json!({ "clusters": {} }), json!({}));
    config["services"][0]["cluster"] = json!({ "outlier_detections": {} });
    assert_eq!(
        refusal(&config),
        "services[0].cluster.outlier_detections: unknown field of Envoy's Cluster; did you mean \
         outlier_detection?"
    );
}

#[test]
fn subsets_are_refused_where_they_are_versions() {
    let subsets = json!({ "lb_subset_config": { "fallback_policy": "ANY_ENDPOINT" } });
    let why = "services[0].versions makes the subsets of that cluster; give it as cluster of \
               services without versions, or set handoff to stateful_session, by which the filter \
               picks";
    let all = json!({ "clusters": { "template": subsets } });
    for (clusters, own, place) in [
        (json!({ "clusters": {} }), subsets.clone(), "services[0].cluster"),
        (json!({ "clusters": {} }), json!({ "lb_subset_config": null }), "services[0].cluster"),
        (all, json!({}), "xds.clusters.template"),
    ] {
        let mut config = fed(clusters, json!({}));
        config["services"][0]["cluster"] = own;
        assert!(parse(&config).is_ok(), "{config}");
        config["services"][0]["versions"] = json!({ "header": "x-version" });
        assert_eq!(refusal(&config), format!("{place}.lb_subset_config: {why}"));
        config["handoff"] = json!({ "via": "stateful_session" });
        assert!(parse(&config).is_ok(), "{config}");
    }
}

#[test]
fn metadata_keys_are_sorted_and_bounded() {
    let mut config = fed(json!({}), json!({}));
    config["services"][0]["endpoint_metadata"] = json!(["b", "a", "C"]);
    assert_eq!(parse(&config).unwrap().services[0].endpoint_metadata, ["C", "a", "b"]);
    let many: Vec<String> = (0..17).map(|n| format!("k{n}")).collect();
    for (keys, message) in [
        (
            json!(many),
            "services[0].endpoint_metadata: too many with 17 items; at most 16 are allowed",
        ),
        (
            json!(["k".repeat(257)]),
            "services[0].endpoint_metadata[0]: too long with 257 bytes; at most 256 are allowed",
        ),
        (
            json!(["a", "b", "a"]),
            "services[0].endpoint_metadata[2]: \"a\" is already given at \
             services[0].endpoint_metadata[0]",
        ),
    ] {
        config["services"][0]["endpoint_metadata"] = keys;
        assert_eq!(refusal(&config), message);
    }
}

#[test]
fn a_version_is_no_metadata_where_versions_are_told() {
    let mut config = fed(json!({}), json!({}));
    config["services"][0]["endpoint_metadata"] = json!(["a", "version"]);
    assert_eq!(parse(&config).unwrap().services[0].endpoint_metadata, ["a", "version"]);
    config["services"][0]["versions"] = json!({ "key": "release", "header": "x-version" });
    assert_eq!(
        refusal(&config),
        "services[0].endpoint_metadata[1]: versions is given too; leave one of them out"
    );
}

#[test]
fn discovered_services_have_metadata_and_a_cluster_too() {
    let discover = json!({
        "host": "{service}.internal",
        "service": { "endpoint_metadata": ["a"], "cluster": { "connect_timeout": "2s" } }
    });
    let rest = json!({ "discover": discover });
    let config = parse(&fed(json!({ "clusters": {} }), rest.clone())).unwrap();
    let service = config.discover.unwrap().service;
    assert_eq!(service.endpoint_metadata, ["a"]);
    assert_eq!(service.cluster["connect_timeout"], json!("2s"));
    assert_eq!(
        refusal(&fed(json!({}), rest)),
        "discover.service.cluster: it does nothing without xds.clusters; give that too, or leave \
         it out"
    );
}

#[test]
fn settings_without_what_they_need_are_refused() {
    assert_refused([
        (
            "services[0].endpoint_metadata",
            json!(["a"]),
            "services[0].endpoint_metadata: it does nothing without xds; give that too, or leave \
             it out",
        ),
        (
            "services[0].cluster",
            json!({ "connect_timeout": "2s" }),
            "services[0].cluster: it does nothing without xds.clusters; give that too, or leave it \
             out",
        ),
        (
            "handoff",
            json!({ "via": "stateful_session" }),
            "handoff.via: it does nothing without xds; give that too, or leave it out",
        ),
        (
            "handoff",
            json!({ "via": "stateful_session", "attempts": 2 }),
            "handoff.attempts: only headers hands over several endpoints; leave attempts out or set \
             via to headers",
        ),
    ]);
}

#[test]
fn stateful_session_is_refused_for_what_has_no_cluster() {
    let reaches = "stateful_session names hosts of Envoy's own clusters, which are addresses of \
                   configured or discovered services; set handoff to";
    let session = json!({ "via": "stateful_session" });
    let names = fed(json!({}), json!({ "handoff": session, "dns_names": {} }));
    assert_eq!(refusal(&names), format!("dns_names: {reaches} headers, or leave it out"));
    let mut names = fed(json!({}), json!({ "handoff": session }));
    assert_eq!(parse(&names).unwrap().handoff, Handoff::StatefulSession);
    names["services"][0]["resolve_names"] = json!(true);
    let message = format!("services[0].resolve_names: {reaches} filter_state, or leave it out");
    assert_eq!(refusal(&names), message);
}

#[test]
fn what_envoy_cannot_do_is_refused_unless_the_filter_picks() {
    let cannot = "Envoy's own clusters, which xds.clusters makes, cannot do it; set handoff to \
                  stateful_session, by which the filter picks, or choose another setting";
    for (section, value, place) in [
        ("load_balancing", json!({ "policy": "peak_ewma" }), "load_balancing.policy"),
        (
            "load_balancing",
            json!({ "policy": "random", "slow_start": "30s" }),
            "load_balancing.slow_start",
        ),
        (
            "load_balancing",
            json!({ "policy": "maglev", "hash_on": { "path": true }, "slow_start": "30s" }),
            "load_balancing.slow_start",
        ),
        ("versions", json!({ "split": { "1.x": 1 } }), "versions.split"),
    ] {
        let mut config = fed(json!({ "clusters": {} }), json!({}));
        config["services"][0][section] = value;
        assert_eq!(refusal(&config), format!("services[0].{place}: {cannot}"));
        let mut own = config.clone();
        own["xds"] = xds(json!({}));
        assert!(parse(&own).is_ok(), "{own}");
        config["handoff"] = json!({ "via": "stateful_session" });
        assert!(parse(&config).is_ok(), "{config}");
    }
}

#[test]
fn a_cluster_is_refused_the_name_of_another_one() {
    let clusters = json!({ "clusters": { "name": "{service}" } });
    for (name, other) in [("consul", "consul"), ("xds", "xds")] {
        let config = fed(clusters.clone(), json!({ "services": [{ "name": name }] }));
        let message = format!("xds.clusters.name: \"{name}\" is already given at {other}.cluster");
        assert_eq!(refusal(&config), message);
    }
    let discover = json!({ "discover": { "host": "{service}.internal" } });
    assert_eq!(
        refusal(&fed(clusters, discover)),
        "xds.clusters.name: \"{service}\" is not a name with more than \"{service}\", as it takes \
         with discover: a service of the catalog could have the name of another cluster"
    );
}

#[test]
fn a_cluster_is_refused_the_name_of_one_that_is_probed() {
    let probe = json!({ "cluster": "edge-local" });
    for (field, value, place) in [
        (
            "checks",
            json!([{ "ttl": "30s", "probe": probe }]),
            "register[0].checks[0].probe.cluster",
        ),
        ("drain", probe.clone(), "register[0].drain.cluster"),
    ] {
        let mut register = json!([{ "name": "edge", "address": "10.0.0.5", "port": 80 }]);
        register[0]["checks"] = json!([{ "ttl": "30s" }]);
        register[0][field] = value;
        let mut rest = json!({ "services": [{ "name": "local" }], "register": register });
        let clusters = json!({ "clusters": { "name": "edge-{service}" } });
        assert_eq!(
            refusal(&fed(clusters.clone(), rest.clone())),
            format!("xds.clusters.name: \"edge-local\" is already given at {place}")
        );
        rest["services"][0]["name"] = json!("other");
        rest["discover"] = json!({ "host": "{service}.internal" });
        let config = parse(&fed(clusters, rest)).unwrap();
        assert_eq!(config.discover.unwrap().reserved, ["local"], "whoever registers it");
    }
}

#[test]
fn several_services_need_no_hosts_where_clusters_are_fed() {
    let services = json!({ "services": [{ "name": "web" }, { "name": "api" }] });
    assert!(parse(&fed(json!({}), services)).is_ok());
}

#[test]
fn any_health_is_a_choice() {
    let config = parse(&with("services[0].health", json!("any"))).unwrap();
    assert_eq!(config.services[0].health, HealthThreshold::Any);
}

#[test]
fn the_header_of_the_handoff_is_no_key() {
    let policy = json!({ "policy": "ring_hash", "hash_on": { "header": "X-Consul-Endpoint" } });
    assert_eq!(
        refusal(&with("services[0].load_balancing", policy)),
        "services[0].load_balancing.hash_on.header: \"x-consul-endpoint\" is what the handoff is \
         made by; expected another header"
    );
}

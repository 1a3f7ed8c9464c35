use super::*;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// A configuration with these services, these fields of `xds`, and these others.
fn config(services: &Value, xds: &Value, rest: &Value) -> Config {
    let mut config = json!({
        "consul": { "cluster": "consul" },
        "services": services,
        "xds": { "cluster": "xds", "address": "@xds" },
    });
    for (name, value) in xds.as_object().unwrap() {
        config["xds"][name] = value.clone();
    }
    for (name, value) in rest.as_object().unwrap() {
        config[name] = value.clone();
    }
    Config::parse(config.to_string().as_bytes()).unwrap()
}

/// The routes of a configuration with these services, this template, and these other fields.
fn written(services: &Value, template: &Value, rest: &Value) -> Value {
    let xds = json!({ "clusters": {}, "routes": { "template": template } });
    let config = config(services, &xds, rest);
    let text = route_configuration(&config, config.services.iter());
    serde_json::from_str(&text).unwrap()
}

fn web() -> Value {
    json!([{ "name": "web", "hosts": ["web.test", "*.web.internal"] }])
}

/// The actions for safe methods and for others of the first service.
fn actions(written: &Value) -> [Value; 2] {
    let routes = &written["virtual_hosts"][0]["routes"];
    [0, 1].map(|index| routes[index]["route"].clone())
}

fn session() -> Value {
    json!({ "handoff": { "via": "stateful_session" } })
}

#[test]
fn routes_have_the_documented_defaults() {
    let retry = |on: &str| {
        json!({
            "retry_on": on,
            "num_retries": 1,
            "retry_back_off": { "base_interval": "0.001s", "max_interval": "0.001s" },
            "retry_host_predicate": [{
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": { "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate" }
            }],
            "host_selection_retry_max_attempts": 64
        })
    };
    let methods = json!({ "safe_regex": { "regex": "GET|HEAD|OPTIONS" } });
    let safe =
        json!({ "prefix": "/", "headers": [{ "name": ":method", "string_match": methods }] });
    let expected = json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "consul_resolver",
        "ignore_port_in_host_matching": true,
        "virtual_hosts": [{
            "name": "web",
            "domains": ["web.test", "*.web.internal"],
            "routes": [
                { "match": safe, "route": {
                    "cluster": "consul/web",
                    "retry_policy": retry("connect-failure,refused-stream,reset")
                } },
                { "match": { "prefix": "/" }, "route": {
                    "cluster": "consul/web",
                    "retry_policy": retry("connect-failure,refused-stream,reset-before-request")
                } }
            ]
        }]
    });
    assert_eq!(written(&web(), &json!({}), &json!({})), expected);
}

#[test]
fn retry_goes_to_the_next_datacenter_when_there_is_one() {
    for (datacenters, expected) in [(json!(["dc1"]), None), (json!(["dc1", "dc2"]), Some(1))] {
        let mut services = web();
        services[0]["datacenters"] = datacenters;
        for action in actions(&written(&services, &json!({}), &json!({}))) {
            let priority = &action["retry_policy"]["retry_priority"];
            let every = priority["typed_config"]["update_frequency"].as_u64();
            assert_eq!(every, expected, "{action}");
        }
    }
}

#[test]
fn host_belongs_to_the_first_service_when_two_have_it() {
    let mut first = Service::new("first");
    first.hosts = vec!["a.test".parse().unwrap()];
    let mut second = Service::new("second");
    second.hosts = vec!["a.test".parse().unwrap(), "b.test".parse().unwrap()];
    let mut third = Service::new("third");
    third.hosts = vec!["b.test".parse().unwrap()];
    let config = config(&web(), &json!({ "clusters": {}, "routes": {} }), &json!({}));
    let services = [first, second, third, Service::new("fourth")];
    let found: Value =
        serde_json::from_str(&route_configuration(&config, services.iter())).unwrap();
    let hosts = found["virtual_hosts"].as_array().unwrap().iter();
    let hosts: Vec<_> = hosts.map(|host| json!([host["name"], host["domains"]])).collect();
    assert_eq!(hosts, [json!(["first", ["a.test"]]), json!(["second", ["b.test"]])]);
}

#[test]
fn nothing_is_written_when_no_routes_are_wanted() {
    let config = config(&web(), &json!({ "clusters": {} }), &json!({}));
    assert_eq!(route_configuration(&config, config.services.iter()), "");
}

#[test]
fn unmatched_requests_are_answered_404_when_they_are_rejected() {
    let found = written(&web(), &json!({}), &json!({ "unmatched": "reject" }));
    let last = &found["virtual_hosts"][1];
    assert_eq!(last["domains"], json!(["*"]));
    assert_eq!(last["routes"][0]["direct_response"], json!({ "status": 404 }));
}

#[test]
fn a_template_never_repeats_what_may_have_been_processed() {
    let template = json!({
        "timeout": "5s",
        "hedge_policy": { "hedge_on_per_try_timeout": true },
        "retry_policy": {
            "retry_on": "5xx", "num_retries": 3.0,
            "retry_back_off": { "base_interval": "0.1s" }
        }
    });
    let [safe, others] = actions(&written(&web(), &template, &json!({})));
    assert_eq!(safe["retry_policy"]["retry_on"], json!("5xx"));
    let on = json!("connect-failure,refused-stream,reset-before-request");
    assert_eq!(others["retry_policy"]["retry_on"], on);
    assert!(safe.get("hedge_policy").is_some() && others.get("hedge_policy").is_none());
    for action in [safe, others] {
        assert_eq!(action["timeout"], json!("5s"));
        assert_eq!(action["retry_policy"]["num_retries"], json!(3));
        // Merged field by field: half of our back-off beside half of theirs is none.
        let back_off = json!({ "base_interval": "0.1s" });
        assert_eq!(action["retry_policy"]["retry_back_off"], back_off);
        assert_eq!(action["retry_policy"]["host_selection_retry_max_attempts"], json!(64));
    }
    for action in actions(&written(&web(), &json!({ "retry_policy": null }), &json!({}))) {
        assert_eq!(action.get("retry_policy"), None);
    }
}

#[test]
fn the_header_of_the_pick_is_removed_when_a_pick_is_made() {
    let remove =
        |rest: &Value| written(&web(), &json!({}), rest).get("request_headers_to_remove").cloned();
    assert_eq!(remove(&session()), Some(json!(["x-consul-endpoint"])));
    assert_eq!(remove(&json!({})), None);
}

#[test]
fn a_request_bound_to_a_version_is_strict_and_not_retried() {
    let template = json!({ "retry_policy": { "num_retries": 2 }, "hedge_policy": {} });
    for (fallback, is_bound) in [("none", true), ("any", false)] {
        let mut services = web();
        services[0]["versions"] = json!({ "header": "x-version", "fallback": fallback });
        let found = written(&services, &template, &session());
        let pick = &found["virtual_hosts"][0]["typed_per_filter_config"]["consul_pick"];
        assert_eq!(pick["stateful_session"]["strict"], json!(is_bound.then_some(true)));
        for action in actions(&found) {
            assert_eq!(action.get("retry_policy").is_none(), is_bound, "{fallback}");
        }
        let native = written(&services, &template, &json!({}));
        assert_eq!(native["virtual_hosts"][0].get("typed_per_filter_config"), None);
    }
}

#[test]
fn hash_policy_follows_hash_on() {
    for (on, expected) in [
        (json!({ "header": "X-User" }), json!({ "header": { "header_name": "x-user" } })),
        (json!({ "cookie": "Id" }), json!({ "cookie": { "name": "Id" } })),
        (json!({ "query": "id" }), json!({ "query_parameter": { "name": "id" } })),
        (
            json!({ "path": true }),
            json!({ "header": {
                "header_name": ":path",
                "regex_rewrite": { "pattern": { "regex": "\\?.*" }, "substitution": "" }
            } }),
        ),
        (
            json!({ "source_address": true }),
            json!({ "connection_properties": { "source_ip": true } }),
        ),
    ] {
        let mut services = web();
        services[0]["load_balancing"] = json!({ "policy": "maglev", "hash_on": on });
        for action in actions(&written(&services, &json!({}), &json!({}))) {
            assert_eq!(action["hash_policy"], json!([expected]));
        }
    }
}

#[test]
fn route_names_its_service_when_route_metadata_is_on() {
    let found = written(&web(), &json!({}), &json!({ "route_metadata": true }));
    for route in found["virtual_hosts"][0]["routes"].as_array().unwrap() {
        let service = &route["metadata"]["filter_metadata"]["consul"]["service"];
        assert_eq!(service, &json!("web"));
    }
}

#[test]
fn a_cookie_does_not_lead_a_request_to_another_version() {
    for (fallback, expected) in [("none", json!(true)), ("any", Value::Null)] {
        let mut services = web();
        services[0]["versions"] = json!({ "header": "x-version", "fallback": fallback });
        let found = written(&services, &json!({}), &session());
        let filters = &found["virtual_hosts"][0]["typed_per_filter_config"];
        assert_eq!(filters["sticky"]["disabled"], expected, "{fallback}");
    }
}

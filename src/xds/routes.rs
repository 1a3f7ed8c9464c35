//! The routes to all services, as Envoy's RDS sends them.

use hashbrown::HashSet;
use serde_json::{Map, Value, json};

use super::overlay::overlay;
use crate::config::{
    ClustersConfig, Config, Handoff, HashOn, RoutesConfig, Service, Unmatched, VersionFallback,
};

/// The name that the `stateful_session` filter behind ours must have, so that a route may speak
/// to it.
const PICK_FILTER: &str = "consul_pick";
/// The name that a `stateful_session` filter with a cookie must have behind that one, since its word
/// is the last: a cookie of another version would lead there.
const COOKIE_FILTER: &str = "sticky";
/// The methods that may be repeated wherever a request got to.
const SAFE_METHODS: &str = "GET|HEAD|OPTIONS";

/// Writes Envoy's `RouteConfiguration`: a virtual host for each service that has hosts. A host
/// that an earlier service has is left out: Envoy refuses all of them where two have one.
/// Nothing where the configuration has no `xds.routes`.
pub fn route_configuration<'a>(
    config: &Config,
    services: impl Iterator<Item = &'a Service>,
) -> String {
    let of_xds = config.xds.as_ref();
    let (clusters, routes) =
        (of_xds.and_then(|it| it.clusters.as_ref()), of_xds.and_then(|it| it.routes.as_ref()));
    let (Some(clusters), Some(routes)) = (clusters, routes) else { return String::new() };
    let mut taken = HashSet::new();
    let mut hosts = Vec::new();
    for service in services {
        let domains = service.hosts.iter().map(ToString::to_string);
        let domains: Vec<String> = domains.filter(|domain| taken.insert(domain.clone())).collect();
        if !domains.is_empty() {
            hosts.push(virtual_host(config, clusters, routes, service, domains));
        }
    }
    if config.unmatched == Unmatched::Reject {
        hosts.push(json!({
            "name": "*",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "direct_response": { "status": 404 } }],
        }));
    }
    let mut written = json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": routes.name,
        "ignore_port_in_host_matching": true,
        "virtual_hosts": hosts,
    });
    if config.handoff == Handoff::StatefulSession {
        // The instance is not to see it.
        put(&mut written, "request_headers_to_remove", json!([Handoff::SESSION_HEADER]));
    }
    written.to_string()
}

fn virtual_host(
    config: &Config,
    clusters: &ClustersConfig,
    routes: &RoutesConfig,
    service: &Service,
    domains: Vec<String>,
) -> Value {
    let is_bound = config.handoff == Handoff::StatefulSession
        && service.versions.as_ref().is_some_and(|it| it.fallback == VersionFallback::None);
    let route = |safe: bool| {
        let mut matched = json!({ "prefix": "/" });
        if safe {
            let methods = json!({ "safe_regex": { "regex": SAFE_METHODS } });
            put(&mut matched, "headers", json!([{ "name": ":method", "string_match": methods }]));
        }
        let mut action = action(clusters, routes, service, safe);
        if is_bound {
            // Envoy's policy does not know which version the request is bound to.
            action.remove("retry_policy");
            action.remove("hedge_policy");
        }
        let mut route = json!({ "match": matched, "route": action });
        if config.route_metadata {
            let metadata = json!({ "filter_metadata": { "consul": { "service": service.name } } });
            put(&mut route, "metadata", metadata);
        }
        route
    };
    let mut host =
        json!({ "name": service.name, "domains": domains, "routes": [route(true), route(false)] });
    if is_bound {
        let filters = json!({ PICK_FILTER: strict(), COOKIE_FILTER: disabled() });
        put(&mut host, "typed_per_filter_config", filters);
    }
    host
}

/// Returns the action of a route: the cluster of its requests, and their retries.
fn action(
    clusters: &ClustersConfig,
    routes: &RoutesConfig,
    service: &Service,
    safe: bool,
) -> Map<String, Value> {
    let mut action = Map::new();
    action.insert("cluster".to_owned(), clusters.name_of(&service.name).into());
    action.insert("retry_policy".to_owned(), retry_policy(service.datacenters.len() > 1));
    if let Some(hashing) = service.load_balancing.policy.hashing() {
        action.insert("hash_policy".to_owned(), json!([hash_policy(&hashing.on)]));
    }
    overlay(&mut action, &routes.template);
    if !safe {
        if let Some(retry) = action.get_mut("retry_policy") {
            put(retry, "retry_on", RETRY_ON_OTHERS.into());
        }
        // It sends a request again while the first may be under way.
        action.remove("hedge_policy");
    }
    action
}

/// Returns the properties of a request that Envoy hashes.
fn hash_policy(on: &HashOn) -> Value {
    match on {
        HashOn::Header(name) => json!({ "header": { "header_name": name } }),
        HashOn::Cookie(name) => json!({ "cookie": { "name": name } }),
        HashOn::Query(name) => json!({ "query_parameter": { "name": name } }),
        HashOn::Path => json!({
            "header": {
                "header_name": ":path",
                "regex_rewrite": { "pattern": { "regex": "\\?.*" }, "substitution": "" },
            },
        }),
        HashOn::SourceAddress => json!({ "connection_properties": { "source_ip": true } }),
    }
}

/// Returns the settings by which the filter that reads the pick answers 503 if the picked host is gone,
/// instead of taking any other host.
fn strict() -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
        "stateful_session": {
            "session_state": {
                "name": "envoy.http.stateful_session.header",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState",
                    "name": Handoff::SESSION_HEADER,
                },
            },
            "strict": true,
        },
    })
}

/// Returns the settings by which a filter of that kind does nothing. Envoy ignores a filter that is not in
/// the chain.
fn disabled() -> Value {
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
        "disabled": true,
    })
}

/// Sets a field of an object.
fn put(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(name.to_owned(), value);
    }
}

/// The conditions of a retry if the method is safe: also if the connection broke before a response, as
/// it does for all requests at an instance that dies.
const RETRY_ON_SAFE: &str = "connect-failure,refused-stream,reset";
/// The conditions of a retry of other methods: the request certainly was not processed.
const RETRY_ON_OTHERS: &str = "connect-failure,refused-stream,reset-before-request";
/// The most selections of Envoy's policy to find a host that has not been tried yet. Each selection is a
/// new draw: of two hosts `least_request` draws the dead one three times of four, since it has the
/// fewest requests. A draw costs nanoseconds.
const HOST_SELECTION_ATTEMPTS: u32 = 64;

/// Writes the `RetryPolicy` of requests whose method is safe: one retry, on another host. If the hosts are
/// of several datacenters, the retry goes to a datacenter that was not tried yet, as long as there is
/// one: else it would stay in the same datacenter, even if each host there was tried.
fn retry_policy(has_datacenters: bool) -> Value {
    let mut policy = json!({
        "retry_on": RETRY_ON_SAFE,
        "num_retries": 1,
        "retry_back_off": { "base_interval": "0.001s", "max_interval": "0.001s" },
        "retry_host_predicate": [{
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            },
        }],
        "host_selection_retry_max_attempts": HOST_SELECTION_ATTEMPTS,
    });
    if let Value::Object(fields) = &mut policy
        && has_datacenters
    {
        let priority = json!({
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        });
        fields.insert("retry_priority".to_owned(), priority);
    }
    policy
}

#[cfg(test)]
mod tests;

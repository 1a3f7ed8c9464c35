//! Fields of Envoy's own API that the configuration passes on.

use serde_json::{Map, Value};

use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::node::{Node, Object};
use super::problem::Problem;
use super::suggestion::suggestion;
use super::xds::XdsError;

/// Which fields of a message of Envoy's API the configuration may give.
///
/// Envoy says of a message that it rejects only that it does, so a slip is told before: a field
/// that the message does not have in any of Envoy 1.36 to 1.40, one of another kind, and one that
/// the filter sets itself. Names are those of the API, in its spelling: the other one that
/// protobuf reads (`connectTimeout`) would come beside a field that the filter sets.
pub(super) struct Template {
    /// What Envoy calls the message.
    message: &'static str,
    /// Its fields by the kind of their JSON, with blanks between them.
    fields: &'static [(Kind, &'static str)],
    /// Of these the ones that the filter sets, and the settings by which it does.
    set: &'static [(&'static str, &'static str)],
    /// The fields that are such messages themselves.
    parts: &'static [(&'static str, Self)],
}

/// What JSON a field has, by the rules of protobuf.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Object,
    Array,
    Bool,
    /// A count, or its digits as a string.
    Count,
    /// A value of an enum, by its name or its number.
    Choice,
    Duration,
}

impl Template {
    /// Envoy's `Cluster`.
    pub(super) const CLUSTER: Self = Self {
        message: "Cluster",
        fields: &[
            (Kind::Text, "alt_stat_name name"),
            (
                Kind::Object,
                "circuit_breakers cluster_type common_http_protocol_options common_lb_config \
                 dns_failure_refresh_rate dns_resolution_config eds_cluster_config \
                 http2_protocol_options http_protocol_options lb_subset_config \
                 least_request_lb_config load_assignment load_balancing_policy lrs_server \
                 maglev_lb_config metadata original_dst_lb_config outlier_detection \
                 preconnect_policy queuing_policies ring_hash_lb_config round_robin_lb_config \
                 stats_matcher track_cluster_stats transport_socket transport_socket_matcher \
                 typed_dns_resolver_config typed_extension_protocol_options \
                 upstream_bind_config upstream_config upstream_connection_options \
                 upstream_http_protocol_options",
            ),
            (
                Kind::Array,
                "dns_resolvers filters health_checks lrs_report_endpoint_metrics \
                 transport_socket_matches",
            ),
            (
                Kind::Bool,
                "close_connections_on_host_health_failure \
                 connection_pool_per_downstream_connection ignore_health_on_host_removal \
                 respect_dns_ttl track_timeout_budgets use_tcp_for_dns_lookups \
                 wait_for_warm_on_init",
            ),
            (Kind::Count, "max_requests_per_connection per_connection_buffer_limit_bytes"),
            (Kind::Choice, "dns_lookup_family lb_policy protocol_selection type"),
            (
                Kind::Duration,
                "cleanup_interval connect_timeout dns_jitter dns_refresh_rate \
                 per_connection_buffer_high_watermark_timeout",
            ),
        ],
        set: &[
            ("name", "xds.clusters.name"),
            ("type cluster_type eds_cluster_config load_assignment", "xds"),
            (
                "lb_policy load_balancing_policy least_request_lb_config maglev_lb_config \
                 original_dst_lb_config ring_hash_lb_config round_robin_lb_config",
                "load_balancing of the service",
            ),
        ],
        parts: &[("common_lb_config", Self::COMMON_LB_CONFIG)],
    };
    const COMMON_LB_CONFIG: Self = Self {
        message: "CommonLbConfig",
        fields: &[
            (
                Kind::Object,
                "consistent_hashing_lb_config healthy_panic_threshold locality_weighted_lb_config \
                 override_host_status zone_aware_lb_config",
            ),
            (Kind::Bool, "close_connections_on_host_set_change ignore_new_hosts_until_first_hc"),
            (Kind::Duration, "update_merge_window"),
        ],
        set: &[("consistent_hashing_lb_config", "load_balancing of the service")],
        parts: &[],
    };
    /// Envoy's `RouteAction`.
    pub(super) const ROUTE_ACTION: Self = Self {
        message: "RouteAction",
        fields: &[
            (
                Kind::Text,
                "cluster cluster_header cluster_specifier_plugin host_rewrite \
                 host_rewrite_header host_rewrite_literal path_rewrite prefix_rewrite",
            ),
            (
                Kind::Object,
                "cors early_data_policy hedge_policy host_rewrite_path_regex \
                 inline_cluster_specifier_plugin internal_redirect_policy max_stream_duration \
                 metadata_match path_rewrite_policy regex_rewrite retry_policy \
                 retry_policy_typed_config weighted_clusters",
            ),
            (Kind::Array, "hash_policy rate_limits request_mirror_policies upgrade_configs"),
            (Kind::Bool, "append_x_forwarded_host auto_host_rewrite include_vh_rate_limits"),
            (Kind::Count, "max_internal_redirects"),
            (Kind::Choice, "cluster_not_found_response_code internal_redirect_action priority"),
            (
                Kind::Duration,
                "flush_timeout grpc_timeout_offset idle_timeout max_grpc_timeout timeout",
            ),
        ],
        set: &[
            (
                "cluster cluster_header cluster_specifier_plugin inline_cluster_specifier_plugin \
                 weighted_clusters",
                "xds.clusters.name",
            ),
            ("hash_policy", "load_balancing of the service"),
            ("retry_policy_typed_config", "retry_policy"),
        ],
        parts: &[("retry_policy", Self::RETRY_POLICY)],
    };
    const RETRY_POLICY: Self = Self {
        message: "RetryPolicy",
        fields: &[
            (Kind::Text, "retry_on"),
            (Kind::Object, "rate_limited_retry_back_off retry_back_off retry_priority"),
            (
                Kind::Array,
                "retriable_headers retriable_request_headers retriable_status_codes \
                 retry_host_predicate retry_options_predicates",
            ),
            (Kind::Bool, "refresh_cluster_on_retry"),
            (Kind::Count, "host_selection_retry_max_attempts num_retries"),
            (Kind::Duration, "per_try_idle_timeout per_try_timeout"),
        ],
        set: &[],
        parts: &[],
    };

    /// Reads fields of the message. `null` stands for a field that is not set: it takes away what
    /// the field would have otherwise.
    pub(super) fn read(&self, node: &Node<'_>) -> Result<Map<String, Value>, ConfigError> {
        let fields = node.entries(usize::MAX, |name, node| {
            if let Some((_, by)) = self.set.iter().find(|(fields, _)| has(fields, name)) {
                return Err(node.refused(Problem::Xds(XdsError::SetElsewhere { by })));
            }
            let Some((kind, _)) = self.fields.iter().find(|(_, fields)| has(fields, name)) else {
                return Err(node.refused(Problem::Xds(XdsError::UnknownField {
                    message: self.message,
                    suggestion: suggestion(name, self.free()),
                })));
            };
            if !node.value().is_null() {
                kind.check(node)?;
                if let Some((_, part)) = self.parts.iter().find(|(field, _)| *field == name) {
                    return Ok((name.to_owned(), Value::Object(part.read(node)?)));
                }
            }
            Ok((name.to_owned(), plain(node.value())))
        })?;
        Ok(fields.into_iter().collect())
    }

    /// Reads such fields out of a field that may be absent.
    pub(super) fn read_field(
        &self,
        object: &Object<'_>,
        name: &str,
    ) -> Result<Map<String, Value>, ConfigError> {
        Ok(object.optional(name, |node| self.read(node))?.unwrap_or_default())
    }

    /// The fields that the filter does not set.
    fn free(&self) -> impl Iterator<Item = &'static str> {
        let fields = self.fields.iter().flat_map(|(_, fields)| fields.split(' '));
        fields.filter(|name| !self.set.iter().any(|(fields, _)| has(fields, name)))
    }
}

fn has(fields: &str, name: &str) -> bool {
    fields.split(' ').any(|field| field == name)
}

impl Kind {
    fn check(self, node: &Node<'_>) -> Result<(), ConfigError> {
        let value = node.value();
        let is_whole = || value.as_f64().is_some_and(|number| number.fract() == 0.0);
        let (is_right, expected) = match self {
            Self::Text => (value.is_string(), "a string"),
            Self::Object => (value.is_object(), "an object"),
            Self::Array => (value.is_array(), "an array"),
            Self::Bool => (value.is_boolean(), "true or false"),
            Self::Count => (is_whole() || value.as_str().is_some_and(is_digits), "a whole number"),
            Self::Choice => (value.is_string() || is_whole(), "a name of Envoy's"),
            Self::Duration => {
                let expected = "a duration as Envoy reads it, in seconds, such as \"0.25s\"";
                return match node.string()? {
                    text if is_duration(text) => Ok(()),
                    text => {
                        Err(node.refused(Problem::Malformed { text: Excerpt::of(text), expected }))
                    }
                };
            }
        };
        if is_right { Ok(()) } else { Err(node.wrong_type(expected)) }
    }
}

/// Tells whether protobuf reads it as a duration of 0 or more.
fn is_duration(text: &str) -> bool {
    let Some(seconds) = text.strip_suffix('s') else { return false };
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    is_digits(whole) && is_digits(fraction) && fraction.len() <= 9
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Copies a value, with whole numbers as such: those of a protobuf `Struct` are doubles, which
/// protobuf does not take for an integer in every form.
fn plain(value: &Value) -> Value {
    /// Up to here a double is a single whole number.
    const EXACT: f64 = 9_007_199_254_740_991.0;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(double) if number.is_f64() && double.fract() == 0.0 && double.abs() <= EXACT => {
                Value::from(double as i64)
            }
            _ => value.clone(),
        },
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
        }
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn read(template: &Template, value: &Value) -> Result<Map<String, Value>, String> {
        template.read(&Node::root(value)).map_err(|error| error.to_string())
    }

    #[test]
    fn each_field_has_one_kind_and_is_known_where_it_is_set() {
        let all = [
            Template::CLUSTER,
            Template::COMMON_LB_CONFIG,
            Template::ROUTE_ACTION,
            Template::RETRY_POLICY,
        ];
        for template in all {
            let names = || template.fields.iter().flat_map(|(_, fields)| fields.split(' '));
            for name in names() {
                assert_eq!(names().filter(|other| *other == name).count(), 1, "{name}");
                let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                assert!(!name.is_empty() && name.chars().all(is_name), "{name:?}");
            }
            let set = template.set.iter().flat_map(|(fields, _)| fields.split(' '));
            for name in set.chain(template.parts.iter().map(|(field, _)| *field)) {
                assert!(names().any(|other| other == name), "{name}");
            }
        }
    }

    #[test]
    fn every_kind_takes_what_protobuf_takes() {
        for (field, right, wrong) in [
            ("alt_stat_name", json!(["a", null]), json!([1, true])),
            ("outlier_detection", json!([{}, null]), json!([[], "a"])),
            ("health_checks", json!([[], [{}]]), json!([{}, 1])),
            ("ignore_health_on_host_removal", json!([true, false]), json!(["true", 1])),
            ("max_requests_per_connection", json!([1, 2.0, "3"]), json!([1.5, "a", "", {}])),
            ("dns_lookup_family", json!(["V4_ONLY", 1]), json!([true, 1.5])),
            ("connect_timeout", json!(["1s", "0.25s", "0.000000001s"]), json!([1, {}])),
            ("connect_timeout", json!([]), json!(["1", "250ms", "1m", "s", "-1s", ".5s", "1.s"])),
        ] {
            for (values, is_right) in [(right, true), (wrong, false)] {
                for value in values.as_array().unwrap() {
                    let found = read(&Template::CLUSTER, &json!({ field: value }));
                    assert_eq!(found.is_ok(), is_right, "{field}: {value}");
                }
            }
        }
    }

    #[test]
    fn whole_numbers_of_a_struct_are_integers_however_deep() {
        let given =
            json!({ "circuit_breakers": { "thresholds": [{ "max_retries": 3.0, "x": 0.5 }] } });
        let found = read(&Template::CLUSTER, &given).unwrap();
        let text = Value::Object(found).to_string();
        assert_eq!(text, r#"{"circuit_breakers":{"thresholds":[{"max_retries":3,"x":0.5}]}}"#);
        let beyond = json!({ "metadata": { "a": 1e300 } });
        let found = read(&Template::CLUSTER, &beyond).unwrap();
        assert_eq!(Value::Object(found), beyond);
    }

    #[test]
    fn fields_within_are_checked_when_the_filter_sets_some() {
        for (template, value, message) in [
            (
                &Template::CLUSTER,
                json!({ "common_lb_config": { "updateMergeWindow": "1s" } }),
                "common_lb_config.updateMergeWindow: unknown field of Envoy's CommonLbConfig; did \
                 you mean update_merge_window?",
            ),
            (
                &Template::ROUTE_ACTION,
                json!({ "retry_policy": { "retryOn": "5xx" } }),
                "retry_policy.retryOn: unknown field of Envoy's RetryPolicy; did you mean \
                 retry_on?",
            ),
            (
                &Template::CLUSTER,
                json!({ "common_lb_config": { "consistent_hashing_lb_config": {} } }),
                "common_lb_config.consistent_hashing_lb_config: load_balancing of the service sets \
                 it; leave it out here",
            ),
        ] {
            assert_eq!(read(template, &value).unwrap_err(), message);
        }
    }
}

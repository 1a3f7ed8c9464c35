//! The messages of Envoy's API whose fields the configuration passes on, as Envoy 1.36 to 1.40 have
//! them.

use super::{Kind, Template};

/// The words of a `RoutingPriority`.
const PRIORITIES: Kind = Kind::Choice(&["DEFAULT", "HIGH"]);

/// A message of which the filter sets nothing, where nothing needs to be given.
const PLAIN: Template =
    Template { message: "", fields: &[], set: &[], one_of: &[], needed: &[], parts: &[] };

impl Template {
    /// Envoy's `Cluster`.
    pub(in crate::config) const CLUSTER: Self = Self {
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
            (Kind::Array, "dns_resolvers filters health_checks transport_socket_matches"),
            (Kind::List(&Kind::Text), "lrs_report_endpoint_metrics"),
            (
                Kind::Bool,
                "close_connections_on_host_health_failure \
                 connection_pool_per_downstream_connection ignore_health_on_host_removal \
                 respect_dns_ttl track_timeout_budgets use_tcp_for_dns_lookups \
                 wait_for_warm_on_init",
            ),
            (Kind::COUNT, "max_requests_per_connection per_connection_buffer_limit_bytes"),
            (
                Kind::Choice(&["AUTO", "V4_ONLY", "V6_ONLY", "V4_PREFERRED", "ALL"]),
                "dns_lookup_family",
            ),
            (
                Kind::Choice(&["USE_CONFIGURED_PROTOCOL", "USE_DOWNSTREAM_PROTOCOL"]),
                "protocol_selection",
            ),
            // The filter sets them.
            (Kind::Choice(&[]), "lb_policy type"),
            (Kind::Duration, "dns_jitter per_connection_buffer_high_watermark_timeout"),
            (Kind::Interval, "cleanup_interval connect_timeout dns_refresh_rate"),
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
        one_of: &[],
        needed: &[],
        parts: &[
            ("circuit_breakers", Self::CIRCUIT_BREAKERS),
            ("common_lb_config", Self::COMMON_LB_CONFIG),
            ("health_checks", Self::HEALTH_CHECK),
            ("outlier_detection", Self::OUTLIER_DETECTION),
        ],
    };
    const CIRCUIT_BREAKERS: Self = Self {
        message: "CircuitBreakers",
        fields: &[(Kind::Array, "thresholds per_host_thresholds")],
        parts: &[("thresholds", Self::THRESHOLDS), ("per_host_thresholds", Self::THRESHOLDS)],
        ..PLAIN
    };
    const THRESHOLDS: Self = Self {
        message: "Thresholds",
        fields: &[
            (PRIORITIES, "priority"),
            (
                Kind::COUNT,
                "max_connection_pools max_connections max_pending_requests max_requests \
                 max_retries",
            ),
            (Kind::Object, "retry_budget"),
            (Kind::Bool, "track_remaining"),
        ],
        parts: &[("retry_budget", Self::RETRY_BUDGET)],
        ..PLAIN
    };
    const RETRY_BUDGET: Self = Self {
        message: "RetryBudget",
        fields: &[
            (Kind::Object, "budget_percent"),
            (Kind::Duration, "budget_interval"),
            (Kind::COUNT, "min_retry_concurrency"),
        ],
        parts: &[("budget_percent", Self::PERCENT)],
        ..PLAIN
    };
    const PERCENT: Self = Self { message: "Percent", fields: &[(Kind::Percent, "value")], ..PLAIN };
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
        one_of: &[&["locality_weighted_lb_config", "zone_aware_lb_config"]],
        needed: &[],
        parts: &[
            ("healthy_panic_threshold", Self::PERCENT),
            ("zone_aware_lb_config", Self::ZONE_AWARE_LB_CONFIG),
        ],
    };
    const ZONE_AWARE_LB_CONFIG: Self = Self {
        message: "ZoneAwareLbConfig",
        fields: &[
            (Kind::Object, "routing_enabled"),
            (Kind::COUNT, "min_cluster_size"),
            (Kind::Bool, "fail_traffic_on_panic"),
        ],
        parts: &[("routing_enabled", Self::PERCENT)],
        ..PLAIN
    };
    const HEALTH_CHECK: Self = Self {
        message: "HealthCheck",
        fields: &[
            (Kind::Text, "event_log_path name"),
            (
                Kind::Object,
                "custom_health_check event_service grpc_health_check http_health_check \
                 tcp_health_check tls_options transport_socket_match_criteria",
            ),
            (Kind::Array, "event_logger"),
            (
                Kind::Bool,
                "always_log_health_check_failures always_log_health_check_success \
                 reuse_connection",
            ),
            (Kind::COUNT, "alt_port healthy_threshold interval_jitter_percent unhealthy_threshold"),
            (Kind::Duration, "initial_jitter interval_jitter"),
            (
                Kind::Interval,
                "healthy_edge_interval interval no_traffic_healthy_interval no_traffic_interval \
                 timeout unhealthy_edge_interval unhealthy_interval",
            ),
        ],
        needed: &[
            &["timeout"],
            &["interval"],
            &["unhealthy_threshold"],
            &["healthy_threshold"],
            &["http_health_check", "tcp_health_check", "grpc_health_check", "custom_health_check"],
        ],
        ..PLAIN
    };
    const OUTLIER_DETECTION: Self = Self {
        message: "OutlierDetection",
        fields: &[
            (
                Kind::COUNT,
                "consecutive_5xx consecutive_gateway_failure consecutive_local_origin_failure \
                 failure_percentage_minimum_hosts failure_percentage_request_volume \
                 success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor",
            ),
            (
                Kind::Whole(100),
                "enforcing_consecutive_5xx enforcing_consecutive_gateway_failure \
                 enforcing_consecutive_local_origin_failure enforcing_failure_percentage \
                 enforcing_failure_percentage_local_origin enforcing_local_origin_success_rate \
                 enforcing_success_rate failure_percentage_threshold max_ejection_percent",
            ),
            (
                Kind::Bool,
                "always_eject_one_host detect_degraded_hosts split_external_local_origin_errors \
                 successful_active_health_check_uneject_host",
            ),
            (Kind::Duration, "max_ejection_time_jitter"),
            (Kind::Interval, "base_ejection_time interval max_ejection_time"),
            (Kind::Array, "monitors"),
        ],
        ..PLAIN
    };
    /// Envoy's `RouteAction`.
    pub(in crate::config) const ROUTE_ACTION: Self = Self {
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
            (Kind::COUNT, "max_internal_redirects"),
            (
                Kind::Choice(&["SERVICE_UNAVAILABLE", "NOT_FOUND", "INTERNAL_SERVER_ERROR"]),
                "cluster_not_found_response_code",
            ),
            (
                Kind::Choice(&["PASS_THROUGH_INTERNAL_REDIRECT", "HANDLE_INTERNAL_REDIRECT"]),
                "internal_redirect_action",
            ),
            (PRIORITIES, "priority"),
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
        one_of: &[
            &[
                "auto_host_rewrite",
                "host_rewrite",
                "host_rewrite_header",
                "host_rewrite_literal",
                "host_rewrite_path_regex",
            ],
            &["path_rewrite", "path_rewrite_policy", "prefix_rewrite", "regex_rewrite"],
        ],
        needed: &[],
        parts: &[("retry_policy", Self::RETRY_POLICY)],
    };
    const RETRY_POLICY: Self = Self {
        message: "RetryPolicy",
        fields: &[
            (Kind::Text, "retry_on"),
            (Kind::Object, "rate_limited_retry_back_off retry_back_off retry_priority"),
            (
                Kind::Array,
                "retriable_headers retriable_request_headers retry_host_predicate \
                 retry_options_predicates",
            ),
            (Kind::List(&Kind::COUNT), "retriable_status_codes"),
            (Kind::Bool, "refresh_cluster_on_retry"),
            (Kind::COUNT, "host_selection_retry_max_attempts num_retries"),
            (Kind::Duration, "per_try_idle_timeout per_try_timeout"),
        ],
        parts: &[("retry_back_off", Self::RETRY_BACK_OFF)],
        ..PLAIN
    };
    const RETRY_BACK_OFF: Self = Self {
        message: "RetryBackOff",
        fields: &[(Kind::Interval, "base_interval max_interval")],
        needed: &[&["base_interval"]],
        ..PLAIN
    };
}

//! Fields that there were once.

/// The fields that there are no more, each with what takes its place.
pub(super) const REMOVED: &[(&str, &str)] = &[
    (
        "active_health_check",
        "health_checks of Envoy's cluster (xds.clusters.template, or services[].cluster)",
    ),
    ("dependency_header", "the gauge service.<name>.dependencies_down"),
    (
        "outlier_detection",
        "outlier_detection of Envoy's cluster (xds.clusters.template, or services[].cluster)",
    ),
    (
        "panic_threshold",
        "common_lb_config.healthy_panic_threshold of Envoy's cluster (xds.clusters.template, or \
         services[].cluster)",
    ),
    (
        "retry_budget",
        "circuit_breakers.thresholds[].retry_budget of Envoy's cluster (xds.clusters.template, or \
         services[].cluster)",
    ),
    ("sticky", "Envoy's stateful_session filter with a cookie"),
];

/// What takes the place of a field that there is no more; none of any other one.
pub(super) fn replacement(field: &str) -> Option<&'static str> {
    REMOVED.iter().find(|(name, _)| *name == field).map(|(_, instead)| *instead)
}

//! What answers decided once, and Envoy's clusters do now: how each removed field is refused, and
//! what is left.

use consul_resolver::config::Protocol;
use serde_json::json;

use crate::{assert_refused, parse, with};

#[test]
fn removed_field_names_what_takes_its_place() {
    let of_cluster = "of Envoy's cluster (xds.clusters.template, or services[].cluster)";
    for (place, instead) in [
        ("services[0].outlier_detection", format!("outlier_detection {of_cluster}")),
        (
            "services[0].load_balancing.panic_threshold",
            format!("common_lb_config.healthy_panic_threshold {of_cluster}"),
        ),
        (
            "services[0].retry_budget",
            format!("circuit_breakers.thresholds[].retry_budget {of_cluster}"),
        ),
        ("services[0].dependency_header", "the gauge service.<name>.dependencies_down".to_owned()),
        ("services[0].sticky", "Envoy's stateful_session filter with a cookie".to_owned()),
        ("discover.service.active_health_check", format!("health_checks {of_cluster}")),
        ("discover.service.sticky", "Envoy's stateful_session filter with a cookie".to_owned()),
        ("dns_names.service.outlier_detection", format!("outlier_detection {of_cluster}")),
    ] {
        let mut config = with("services[0].load_balancing", json!({}));
        config["discover"] = json!({ "host": "{service}.a", "service": {} });
        config["dns_names"] = json!({ "service": {} });
        let pointer = format!("/{}", place.replace("[0]", "/0").replace('.', "/"));
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[field] = json!({});
        let text = parse(&config).unwrap_err().to_string();
        assert_eq!(text, format!("{place}: removed; {instead} takes its place"));
    }
}

#[test]
fn removed_name_is_a_field_where_there_is_one() {
    assert!(parse(&with("consul.retry_budget", json!({ "percent": 10 }))).is_ok());
}

#[test]
fn protocol_is_refused_when_nothing_reads_answers() {
    let mut config = with("services[0].load_balancing", json!({ "policy": "peak_ewma" }));
    config["services"][0]["protocol"] = json!("grpc");
    assert_eq!(parse(&config).unwrap().services[0].protocol, Protocol::Grpc);
    assert_refused([(
        "services[0].protocol",
        json!("grpc"),
        "services[0].protocol: it does nothing without load_balancing.policy: peak_ewma; give \
         that too, or leave it out",
    )]);
}

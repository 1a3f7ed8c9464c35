use super::*;
use serde_json::json;
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn read(template: &Template, value: &Value) -> Result<Map<String, Value>, String> {
    template.read(&Cursor::root(value)).map_err(|error| error.to_string())
}

/// A message and those in it.
fn with_parts(template: &Template, check: &dyn Fn(&Template)) {
    check(template);
    template.parts.iter().for_each(|(_, part)| with_parts(part, check));
}

#[test]
fn each_field_has_one_kind_and_is_known_where_it_is_set() {
    let check = |template: &Template| {
        let names = || template.fields.iter().flat_map(|(_, fields)| fields.split(' '));
        for name in names() {
            assert_eq!(names().filter(|other| *other == name).count(), 1, "{name}");
            let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(!name.is_empty() && name.chars().all(is_name), "{name:?}");
        }
        let set = template.set.iter().flat_map(|(fields, _)| fields.split(' '));
        let groups = template.one_of.iter().chain(template.needed);
        let parts = template.parts.iter().map(|(field, _)| *field);
        for name in set.chain(parts).chain(groups.flat_map(|group| group.iter().copied())) {
            assert!(names().any(|other| other == name), "{name}");
        }
    };
    with_parts(&Template::CLUSTER, &check);
    with_parts(&Template::ROUTE_ACTION, &check);
}

#[test]
fn every_kind_takes_what_envoy_takes() {
    for (field, right, wrong) in [
        ("alt_stat_name", json!(["a", null]), json!([1, true])),
        ("outlier_detection", json!([{}, null]), json!([[], "a", { "colour": 1 }])),
        ("lb_subset_config", json!([{}, null]), json!([[], "a"])),
        ("filters", json!([[], [{}]]), json!([{}, 1])),
        ("lrs_report_endpoint_metrics", json!([[], ["a"]]), json!([{}, [1], ["a", null]])),
        ("ignore_health_on_host_removal", json!([true, false]), json!(["true", 1])),
        ("max_requests_per_connection", json!([0, 1, 2.0, "3"]), json!([1.5, "a", "", {}, "1e3"])),
        (
            "max_requests_per_connection",
            json!([4_294_967_295_u32, "4294967295"]),
            json!([-1, -1.0, "-1", 4_294_967_296_u64, "4294967296", 1e300]),
        ),
        (
            "dns_lookup_family",
            json!(["V4_ONLY", "ALL", 0, 4.0]),
            json!([true, 1.5, 5, -1, "v4_only"]),
        ),
        (
            "connect_timeout",
            json!(["1s", "0.25s", "0.000000001s", "9223372035s"]),
            json!([1, {}, "0s", "0.0s", "9223372036s", "99999999999999999999s"]),
        ),
        ("connect_timeout", json!([]), json!(["1", "250ms", "1m", "s", "-1s", ".5s", "1.s"])),
        ("dns_jitter", json!(["0s", "1s"]), json!(["-0.5s", "-1s", 0])),
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
    let percent = json!({ "budget_percent": { "value": 0.5 } });
    let given = json!({ "circuit_breakers": {
        "thresholds": [{ "max_retries": 3.0, "retry_budget": percent }]
    } });
    let found = read(&Template::CLUSTER, &given).unwrap();
    let text = found["circuit_breakers"]["thresholds"][0].to_string();
    assert_eq!(text, r#"{"max_retries":3,"retry_budget":{"budget_percent":{"value":0.5}}}"#);
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

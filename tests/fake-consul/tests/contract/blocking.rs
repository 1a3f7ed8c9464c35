//! Blocking queries and their indexes.

use std::time::Duration;

use serde_json::json;

use crate::on_both;

const SHORT: Duration = Duration::from_secs(5);

#[test]
fn a_blocked_query_wakes_when_its_service_changes() {
    on_both("wakes", |t| {
        t.register(
            &json!({"Name": "web", "ID": "w1", "Check": {"TTL": "1h", "Status": "passing"}}),
            &["w1"],
        );
        for change in [
            "/v1/agent/check/fail/service:w1",
            "/v1/agent/service/maintenance/w1?enable=true",
            "/v1/agent/maintenance?enable=true",
            "/v1/agent/service/deregister/w1",
        ] {
            let index = t.index("web");
            let waiting = t.block(&format!("/v1/health/service/web?index={index}&wait=20s"));
            t.put(change, "");
            let (answer, took) = waiting();
            assert!(took < Duration::from_secs(10), "{change}: {took:?}");
            let new: u64 =
                answer.header("x-consul-index").and_then(|i| i.parse().ok()).expect("an index");
            assert!(new > index, "{change}: {new} after {index}");
            // What else comes with the change is in the catalog soon after.
            std::thread::sleep(Duration::from_millis(200));
        }
    });
}

#[test]
fn a_blocked_query_ends_with_its_wait_and_the_same_index() {
    on_both("ends with its wait", |t| {
        t.register(&json!({"Name": "web", "ID": "w1"}), &["w1"]);
        let index = t.index("web");
        let (answer, took) = t.block(&format!("/v1/health/service/web?index={index}&wait=800ms"))();
        assert!(took >= Duration::from_millis(800) && took < SHORT, "{took:?}");
        assert_eq!(answer.header("x-consul-index"), Some(index.to_string().as_str()));
        assert_eq!(answer.json().as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn an_index_of_zero_or_of_the_past_does_not_block() {
    on_both("does not block", |t| {
        t.register(&json!({"Name": "web", "ID": "w1"}), &["w1"]);
        let index = t.index("web");
        for asked in [0, 1, index - 1] {
            let (_, took) = t.block(&format!("/v1/health/service/web?index={asked}&wait=20s"))();
            assert!(took < Duration::from_secs(5), "index {asked}: {took:?}");
        }
    });
}

#[test]
fn an_index_of_the_future_blocks_and_gives_the_lower_one() {
    on_both("future index", |t| {
        t.register(&json!({"Name": "web", "ID": "w1"}), &["w1"]);
        let index = t.index("web");
        let (answer, took) = t.block("/v1/health/service/web?index=100000&wait=800ms")();
        assert!(took >= Duration::from_millis(800), "{took:?}");
        assert_eq!(answer.header("x-consul-index"), Some(index.to_string().as_str()));
    });
}

#[test]
fn query_stays_blocked_when_another_service_changes() {
    on_both("other services", |t| {
        t.register(&json!({"Name": "web", "ID": "w1"}), &["w1"]);
        let index = t.index("web");
        let waiting = t.block(&format!("/v1/health/service/web?index={index}&wait=800ms"));
        t.register(&json!({"Name": "api", "ID": "a1"}), &["a1"]);
        let (_, took) = waiting();
        assert!(took >= Duration::from_millis(800), "{took:?}");
        assert_eq!(t.index("web"), index);
        assert!(t.index("api") > index);
    });
}

#[test]
fn query_for_an_unknown_service_wakes_on_any_change() {
    on_both("unknown service wakes", |t| {
        let index = t.index("nope");
        let waiting = t.block(&format!("/v1/health/service/nope?index={index}&wait=20s"));
        t.register(&json!({"Name": "api", "ID": "a1"}), &["a1"]);
        let (answer, took) = waiting();
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(answer.text().trim(), "[]");
        assert!(t.index("nope") > index);
    });
}

#[test]
fn once_a_service_has_gone_unknown_ones_have_that_index() {
    on_both("extinction", |t| {
        t.register(&json!({"Name": "api", "ID": "a1"}), &["a1"]);
        t.put("/v1/agent/service/deregister/a1", "");
        t.settle("api", &[]);
        let index = t.index("api");
        assert_eq!(t.index("nope"), index);
        let waiting = t.block(&format!("/v1/health/service/nope?index={index}&wait=800ms"));
        t.register(&json!({"Name": "web", "ID": "w1"}), &["w1"]);
        let (_, took) = waiting();
        assert!(took >= Duration::from_millis(800), "{took:?}");
        assert_eq!(t.index("nope"), index);
    });
}

#[test]
fn a_service_that_appears_wakes_the_query_that_waited_for_it() {
    on_both("appears", |t| {
        let index = t.index("web");
        let waiting = t.block(&format!("/v1/health/service/web?index={index}&wait=20s"));
        t.register(&json!({"Name": "web", "ID": "w1"}), &["w1"]);
        let (answer, took) = waiting();
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert_eq!(answer.json()[0]["Service"]["ID"], "w1");
    });
}

#[test]
fn registering_the_same_again_does_not_wake() {
    on_both("same again", |t| {
        let body = json!({"Name": "web", "ID": "w1", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}});
        t.register(&body, &["w1"]);
        let index = t.index("web");
        let waiting = t.block(&format!("/v1/health/service/web?index={index}&wait=800ms"));
        t.register(&body, &["w1"]);
        t.put("/v1/agent/check/pass/service:w1", "");
        let (_, took) = waiting();
        assert!(took >= Duration::from_millis(800), "{took:?}");
        assert_eq!(t.index("web"), index);
    });
}

#[test]
fn the_list_of_services_has_an_index_and_blocks_too() {
    on_both("list of services", |t| {
        t.register(&json!({"Name": "web", "ID": "w1"}), &["w1"]);
        let index = t
            .get("/v1/catalog/services")
            .header("x-consul-index")
            .map(str::to_owned)
            .expect("an index");
        let waiting = t.block(&format!("/v1/catalog/services?index={index}&wait=20s"));
        t.register(&json!({"Name": "api", "ID": "a1"}), &["a1"]);
        let (answer, took) = waiting();
        assert!(took < Duration::from_secs(10), "{took:?}");
        assert!(answer.json().get("api").is_some());
        let leader = t.call_without_body("GET", "/v1/status/leader", "");
        assert!(leader.json().as_str().is_some_and(|address| address.contains(':')));
    });
}

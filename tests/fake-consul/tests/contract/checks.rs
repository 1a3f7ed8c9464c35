//! Checks that the agent runs.

use serde_json::json;
use stack::Backend;
use stack::client::encode;

use crate::on_both;

#[test]
fn checks_over_http_are_sent_as_they_were_registered() {
    on_both("probes", |t| {
        let backend = Backend::start("web-1").expect("backend");
        let url = format!("http://{}/headers", backend.address());
        // Consul asks no more often than once a second, whatever it is told.
        let check = json!({
            "CheckID": "h", "HTTP": url, "Method": "PUT", "Header": {"X-Test": ["yes"]},
            "Body": "x", "Interval": "50ms", "Timeout": "5s",
        });
        let body = json!({"Name": "web", "ID": "w1", "Check": check}).to_string();
        t.registry.put("/v1/agent/service/register", &body).expect("registered");
        t.settle_local_checks("w1", &[("h", "passing")]);
        let output = t.registry.local_checks("w1").expect("checks")["h"].output.clone();
        assert!(output.starts_with(&format!("HTTP PUT {url}: 200 OK Output: ")), "{output}");
        assert!(output.contains(r#""x-test":"yes""#), "{output}");
        t.settle_checks("web", "w1", &[("h", "passing")]);
        t.get("/v1/health/service/web?passing");

        backend.set_status(429);
        t.settle_local_checks("w1", &[("h", "warning")]);
        backend.stop();
        t.settle_local_checks("w1", &[("h", "critical")]);
    });
}

#[test]
fn the_checks_of_an_instance_are_chosen_by_its_id() {
    on_both("checks of an instance", |t| {
        for (id, all) in [("w1", &["w1"][..]), ("w2", &["w1", "w2"])] {
            let checks = json!([
                {"CheckID": format!("{id}-a"), "TTL": "1h", "Status": "passing"},
                {"CheckID": format!("{id}-b"), "TTL": "1h"},
            ]);
            t.register(&json!({"Name": "web", "ID": id, "Checks": checks}), all);
        }
        for (id, expected) in [("w1", 2), ("nope", 0)] {
            let filter = encode(&format!("ServiceID == \"{id}\""));
            let checks = t.get(&format!("/v1/agent/checks?filter={filter}")).json();
            assert_eq!(checks.as_object().map(serde_json::Map::len), Some(expected), "{id}");
        }
    });
}

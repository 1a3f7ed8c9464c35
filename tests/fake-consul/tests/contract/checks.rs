//! Checks that the agent runs, and what it tells of all of them.

use std::time::Duration;

use serde_json::{Value, json};
use stack::{Backend, Conduct, GrpcBackend, Status, wait_until};

use crate::on_both;
use crate::transcript::Transcript;

/// Consul asks no more often than once a second, whatever it is told.
const OFTEN: &str = "50ms";

fn register(t: &Transcript<'_>, checks: &Value) {
    let body = json!({"Name": "web", "ID": "w1", "Checks": checks}).to_string();
    t.registry.put("/v1/agent/service/register", &body).expect("registered");
}

#[test]
fn checks_over_http_tcp_and_grpc_are_really_run() {
    on_both("probes", |t| {
        let backend = Backend::start("web-1").expect("backend");
        let grpc = GrpcBackend::start("grpc-1").expect("backend");
        let (address, target) = (backend.address(), format!("{}/web", grpc.address()));
        let url = format!("http://{address}/headers");
        let checks = json!([
            {"CheckID": "h", "HTTP": url, "Method": "PUT", "Header": {"X-Test": ["yes"]},
             "Body": "x", "Interval": OFTEN, "Timeout": "5s"},
            {"CheckID": "c", "TCP": address, "Interval": OFTEN},
            {"CheckID": "g", "GRPC": target, "Interval": OFTEN},
        ]);
        register(t, &checks);
        t.settle_local_checks("w1", &[("h", "passing"), ("c", "passing"), ("g", "passing")]);
        let seen = t.registry.local_checks("w1").expect("checks");
        assert_eq!(seen["c"].output, format!("TCP connect {address}: Success"));
        assert_eq!(seen["g"].output, format!("gRPC check {target}: success"));
        assert!(seen["h"].output.starts_with(&format!("HTTP PUT {url}: 200 OK Output: ")));
        assert!(seen["h"].output.contains(r#""x-test":"yes""#), "{}", seen["h"].output);
        t.settle_checks("web", "w1", &[("h", "passing"), ("c", "passing"), ("g", "passing")]);
        t.get("/v1/health/service/web?passing");

        backend.set_status(429);
        grpc.set_conduct(Conduct::Refuse(stack::Code::Unavailable));
        t.settle_local_checks("w1", &[("h", "warning"), ("c", "passing"), ("g", "critical")]);
        backend.stop();
        t.settle_local_checks("w1", &[("h", "critical"), ("c", "critical"), ("g", "critical")]);
    });
}

#[test]
fn several_results_in_a_row_move_a_check_but_the_first_one_moves_it_at_once() {
    on_both("thresholds", |t| {
        let backend = Backend::start("web-1").expect("backend");
        let url = format!("http://{}/health", backend.address());
        let check = json!({
            "HTTP": url, "Interval": OFTEN, "SuccessBeforePassing": 4, "FailuresBeforeCritical": 3,
        });
        register(t, &json!([check]));
        // The number of probes it takes until the check is in this state: one may come before the
        // backend is so, and one before the state is seen.
        let probes = |healthy: bool| {
            backend.reset_counts();
            backend.set_healthy(healthy);
            let status = if healthy { Status::Passing } else { Status::Critical };
            let is_so =
                || t.registry.local_checks("w1").expect("checks")["service:w1"].status == status;
            assert!(wait_until(Duration::from_secs(10), is_so), "never {status}");
            backend.health_checks()
        };
        assert!((1..=3).contains(&probes(true)), "the first result counts");
        assert!((3..=5).contains(&probes(false)), "failures");
        assert!((4..=6).contains(&probes(true)), "successes");
    });
}

#[test]
fn an_instances_health_at_its_agent_is_a_status_of_http() {
    on_both("health by id", |t| {
        let path = "/v1/agent/health/service/id/w1";
        t.register(&json!({"Name": "web", "ID": "w1", "Tags": ["t"]}), &["w1"]);
        assert_eq!(t.get(path).status, 200, "without a check");
        let checks = json!([{"CheckID": "a", "TTL": "1h"}, {"CheckID": "b", "TTL": "1h"}]);
        register(t, &checks);
        for (call, status, word) in [
            ("check/pass/a", 503, "critical"),
            ("check/warn/b", 429, "warning"),
            ("check/pass/b", 200, "passing"),
            ("service/maintenance/w1?enable=true", 503, "maintenance"),
        ] {
            t.put(&format!("/v1/agent/{call}"), "");
            let answer = t.get(path);
            assert_eq!((answer.status, &answer.json()["AggregatedStatus"]), (status, &json!(word)));
            let answer = t.get(&format!("{path}?format=text"));
            assert_eq!((answer.status, answer.text().as_str()), (status, word));
        }
        // Who replaces all checks ends maintenance.
        let body = json!({"Name": "web", "ID": "w1"}).to_string();
        t.put("/v1/agent/service/register?replace-existing-checks=true", &body);
        assert_eq!(t.get(path).status, 200);

        let unknown = "/v1/agent/health/service/id/nope";
        assert_eq!(t.get(unknown).status, 404);
        assert!(t.get(&format!("{unknown}?format=text")).text().contains("nope not found"));
        assert_eq!(t.get("/v1/agent/health/service/id/").status, 500);
        let answer = t.get("/v1/agent/service/nope");
        assert_eq!((answer.status, answer.text().as_str()), (404, "unknown service ID: nope"));
    });
}

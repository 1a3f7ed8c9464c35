//! The ACL token goes to Consul, and nowhere else.

use fake_consul::{Agent, Fault, Scope, Times};
use serde_json::json;
use stack::{Registry, wait_until};

use crate::log::LogMark;
use crate::testbed::{SOON, Setup, Testbed, instances};

const TOKEN: &str = "b1a8c7d6-0e4f-4a5b-9c3d-2e1f0a9b8c7d";

/// Everything that Envoy shows to whoever may look: its log, and its admin endpoint.
fn shown(bed: &Testbed) -> Vec<(String, String)> {
    let pages = [
        "/stats",
        "/stats/prometheus",
        "/config_dump?include_eds",
        "/clusters",
        "/listeners",
        "/server_info",
        "/certs",
        "/init_dump",
        "/runtime",
        "/logging",
    ];
    let page = |path: &str| (path.to_owned(), bed.envoy.admin(path).expect(path).text());
    let pages = pages.into_iter().map(page);
    pages.chain([("the log".to_owned(), bed.envoy.log())]).collect()
}

fn assert_hidden(bed: &Testbed) {
    for (place, text) in shown(bed) {
        assert!(!text.is_empty(), "{place} shows nothing at all");
        let text = text.to_ascii_lowercase();
        let bare = TOKEN.replace('-', "");
        for secret in [TOKEN, &bare] {
            let lines = text.lines().filter(|line| line.contains(secret));
            let lines: Vec<&str> = lines.collect();
            assert!(lines.is_empty(), "{place} shows {secret}: {lines:#?}");
        }
    }
}

// Promise: R-910
#[test]
fn token_reaches_consul_and_no_log_line_at_any_level() {
    let agent = Agent::start().expect("an agent");
    let _backends = instances(&agent, "web", &["web-1", "web-2"]);
    agent.forget_requests();
    let mark = LogMark::START;
    let bed = Setup::headers(agent.address())
        .env("CONSUL_HTTP_TOKEN", TOKEN)
        .set("log_level", json!("trace"))
        .wasm_log_level("trace")
        .start();
    bed.await_routed("any", &["web-1", "web-2"]);
    let asked = agent.requests();
    assert!(!asked.is_empty());
    for request in asked.iter().filter(|request| request.header("user-agent").is_some_and(is_us)) {
        assert_eq!(request.header("x-consul-token"), Some(TOKEN), "{}", request.path);
        assert!(!request.query.contains(TOKEN) && !request.path.contains(TOKEN));
    }
    assert!(bed.envoy.log().contains("[trace]"), "nothing is traced");
    assert_hidden(&bed);

    // What stands in between may repeat what it was sent, in a text that we quote.
    let says = format!("no rights for {TOKEN} and {}", TOKEN.to_uppercase());
    for (fault, told) in [
        (Fault::Status(403, says.clone()), "403 no rights for <token> and <token>"),
        (Fault::Status(500, says), "500 no rights for <token> and <token>"),
        (Fault::Header("X-Consul-Index".into(), TOKEN.into()), "x-consul-index is \"<token>\""),
    ] {
        agent.misbehave(Scope::Service("web".into()), fault, Times::Always);
        agent.wake();
        mark.await_line(&bed.envoy, told);
        assert_hidden(&bed);
        agent.behave();
        // Else the next fault would not be told, being the same to an operator.
        let ok = bed.stat("consul_calls.ok");
        assert!(wait_until(SOON * 3, || bed.stat("consul_calls.ok") > ok), "Consul is not asked");
    }
    bed.await_routed("any", &["web-1", "web-2"]);
    bed.assert_no_crash();
}

fn is_us(user_agent: &str) -> bool {
    user_agent.starts_with("consul-resolver/")
}

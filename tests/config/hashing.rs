//! What a policy may hash. How it is read, and the exact text of each refusal.

use consul_resolver::handoff::headers::HANDOFF_HEADERS;
use serde_json::json;

use crate::{assert_refused, parse, with};

const BALANCING: &str = "services[0].load_balancing";

#[test]
fn a_hash_of_nothing_or_of_several_things_is_refused() {
    let one_of = "expected exactly one of header, cookie, query, path, source_address";
    let place = "services[0].load_balancing.hash_on";
    for (value, message) in [
        (json!({}), format!("{place}: {one_of}, found 0")),
        (
            json!({ "header": "a", "cookie": "b", "path": true }),
            format!("{place}: {one_of}, found 3"),
        ),
        (json!("path"), format!("{place}: expected an object, found the string \"path\"")),
        (json!({ "path": false }), format!("{place}.path: expected true, found false")),
        (
            json!({ "source_address": 1 }),
            format!("{place}.source_address: expected true, found the number 1"),
        ),
        (
            json!({ "header": ":path" }),
            format!(
                "{place}.header: ':' is not allowed; expected only ASCII letters, digits and \
                 !#$%&'*+-.^_`|~"
            ),
        ),
        (
            json!({ "header": "X-Consul-Endpoint-0" }),
            format!(
                "{place}.header: \"x-consul-endpoint-0\" is what the handoff is made by; expected \
                 another header"
            ),
        ),
        (
            json!({ "header": "Host" }),
            format!(
                "{place}.header: Envoy knows the host as :authority, by which the service was \
                 found; expected another header"
            ),
        ),
        (
            json!({ "cookie": "a=b" }),
            format!(
                "{place}.cookie: '=' is not allowed; expected only ASCII letters, digits and \
                 !#$%&'*+-.^_`|~"
            ),
        ),
        (
            json!({ "query": "a&b" }),
            format!(
                "{place}.query: '&' is not allowed; expected only what a URL has before the \"=\" \
                 of a parameter"
            ),
        ),
    ] {
        let config = with(BALANCING, json!({ "policy": "maglev", "hash_on": value }));
        assert_eq!(parse(&config).unwrap_err().to_string(), message);
    }
    for policy in ["ring_hash", "maglev"] {
        assert_refused([(
            BALANCING,
            json!({ "policy": policy }),
            "services[0].load_balancing.hash_on: missing; expected what the policy hashes, such \
             as {\"header\": \"x-user\"}",
        )]);
    }
}

#[test]
fn no_header_of_the_handoff_can_be_hashed() {
    for header in HANDOFF_HEADERS {
        let hash_on = json!({ "header": header });
        let config = with(BALANCING, json!({ "policy": "maglev", "hash_on": hash_on }));
        let error = parse(&config).unwrap_err().to_string();
        assert!(error.contains("is what the handoff is made by"), "{error}");
    }
}

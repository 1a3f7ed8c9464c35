//! How old endpoints may be, and what stands in for those that never came.

use std::time::Duration;

use consul_resolver::config::{OnStale, Staleness};
use serde_json::{Value, json};

use crate::{assert_refused, parse, with};

#[test]
fn an_age_has_a_reaction_and_a_reaction_needs_an_age() {
    let read = |service: Value| {
        parse(&with("services[0]", service)).map(|config| config.services[0].staleness)
    };
    let max_age = Duration::from_secs(600);
    for (on_stale, expected) in [
        (json!({ "name": "web", "max_age": "10m" }), OnStale::Serve),
        (json!({ "name": "web", "max_age": "10m", "on_stale": "serve" }), OnStale::Serve),
        (json!({ "name": "web", "max_age": "10m", "on_stale": "fail" }), OnStale::Fail),
    ] {
        assert_eq!(read(on_stale).unwrap(), Some(Staleness { max_age, on_stale: expected }));
    }
    assert_eq!(read(json!({ "name": "web" })).unwrap(), None);
    assert_refused([(
        "services[0].on_stale",
        json!("fail"),
        "services[0].on_stale: without max_age nothing ever is stale; give max_age, or leave it \
         out",
    )]);
}

#[test]
fn an_age_is_longer_than_a_quiet_query() {
    assert_refused([(
        "services[0].max_age",
        json!("1m"),
        "services[0].max_age: 1m is too short: while nothing changes, consul.wait lets so long go \
         by between two answers; expected at least 64s",
    )]);
    let mut shorter = with("services[0].max_age", json!("10s"));
    shorter["consul"]["wait"] = json!("4s");
    assert!(parse(&shorter).is_ok());
}

#[test]
fn a_fallback_is_addresses_that_may_be_endpoints() {
    let read = |text: Value| {
        parse(&with("services[0].fallback", text)).map(|config| config.services[0].fallback.clone())
    };
    let expected: Vec<_> =
        ["10.0.0.7:80", "[2001:db8::7]:8080"].iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(read(json!(["10.0.0.7:80", "[2001:db8::7]:8080"])).unwrap(), expected);
    assert_refused([
        (
            "services[0].fallback",
            json!([]),
            "services[0].fallback: empty; expected addresses such as \"10.0.0.7:8080\", or no \
             fallback field at all",
        ),
        (
            "services[0].fallback",
            json!(["10.0.0.7:80", "web.internal:80"]),
            "services[0].fallback[1]: \"web.internal:80\" is no IP address with a port; expected \
             such as \"10.0.0.7:8080\" or \"[2001:db8::7]:8080\"",
        ),
        (
            "services[0].fallback",
            json!(["10.0.0.7:0"]),
            "services[0].fallback[0]: \"10.0.0.7:0\" is no IP address with a port; expected such \
             as \"10.0.0.7:8080\" or \"[2001:db8::7]:8080\"",
        ),
        (
            "services[0].fallback",
            json!(["169.254.169.254:80"]),
            "services[0].fallback[0]: endpoints does not admit this address; expected one that is \
             in its ranges, and neither link-local, multicast nor unspecified",
        ),
    ]);
}

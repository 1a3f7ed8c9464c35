//! Refusals for what a value says, with their exact text.

use serde_json::json;

use crate::{assert_refused, hosts, parse, with};

#[test]
fn a_consul_that_could_not_be_asked_is_refused() {
    assert_refused([
        ("consul.cluster", json!(""), "consul.cluster: empty; expected a text that is not blank"),
        (
            "consul.cluster",
            json!("a\nb"),
            "consul.cluster: '\\n' is not allowed; expected no control characters",
        ),
        (
            "consul.cluster",
            json!("consul|dc1"),
            "consul.authority: missing; its default, the cluster's name, has '|', which no Host \
             header can have; set it, such as \"consul.internal\"",
        ),
        (
            "consul.authority",
            json!("consul internal"),
            "consul.authority: ' ' is not allowed; expected only the characters of a URL's host \
             and port",
        ),
        (
            "consul.datacenter",
            json!("dc 1"),
            "consul.datacenter: ' ' is not allowed; expected only ASCII letters, digits, \"-\" \
             and \"_\"",
        ),
        (
            "consul.namespace",
            json!("*"),
            "consul.namespace: '*' is not allowed; expected only ASCII letters, digits, \"-\" \
             and \"_\"",
        ),
        (
            "consul.partition",
            json!(" "),
            "consul.partition: empty; expected a text that is not blank",
        ),
        (
            "consul.max_stale",
            json!("5s"),
            "consul.max_stale: it does nothing without consistency: stale; give that too, or \
             leave it out",
        ),
        (
            "consul.cached",
            json!({ "max_age": "30s" }),
            "consul.cached: it does nothing without consistency: cached; give that too, or leave \
             it out",
        ),
        (
            "consul",
            json!({ "cluster": "c", "consistency": "stale", "max_stale": "50ms" }),
            "consul.max_stale: 50ms is out of range; expected 100ms to 1h",
        ),
        (
            "consul",
            json!({ "cluster": "c", "consistency": "stale", "max_stale": "1s", "cached": {} }),
            "consul.cached: it does nothing without consistency: cached; give that too, or leave \
             it out",
        ),
        (
            "consul",
            json!({ "cluster": "c", "consistency": "cached", "max_stale": "1s", "cached": {} }),
            "consul.max_stale: it does nothing without consistency: stale; give that too, or \
             leave it out",
        ),
        (
            "consul",
            json!({ "cluster": "c", "consistency": "cached", "cached": { "max_age": "1.5s" } }),
            "consul.cached.max_age: 1500ms is not a number of seconds; expected whole seconds",
        ),
        (
            "consul",
            json!({ "cluster": "c", "consistency": "cached", "cached": { "stale_if_error": "9s" } }),
            "consul.cached.stale_if_error: it does nothing without max_age; give that too, or \
             leave it out",
        ),
        (
            "consul",
            json!({
                "cluster": "c",
                "consistency": "cached",
                "cached": { "max_age": "9s", "stale_if_error": "8s" }
            }),
            "consul.cached.max_age: 9s is above stale_if_error, which is 8s; lower it, or raise \
             that one",
        ),
        (
            "consul.token_env",
            json!("b1a8c7d6-0e4f-4a5b-9c3d-2e1f0a9b8c7d"),
            "consul.token_env: this looks like a token, which does not belong in the \
             configuration; put it into an environment variable of the VM and name that here, \
             such as CONSUL_HTTP_TOKEN",
        ),
        (
            "consul.token_env",
            json!("$TOKEN"),
            "consul.token_env: not the name of an environment variable; expected letters, digits \
             and \"_\", no digit first, such as CONSUL_HTTP_TOKEN (the name, never the token \
             itself)",
        ),
        (
            "consul.token_env",
            json!("1TOKEN"),
            "consul.token_env: not the name of an environment variable; expected letters, digits \
             and \"_\", no digit first, such as CONSUL_HTTP_TOKEN (the name, never the token \
             itself)",
        ),
        (
            "consul.token_env",
            json!(""),
            "consul.token_env: not the name of an environment variable; expected letters, digits \
             and \"_\", no digit first, such as CONSUL_HTTP_TOKEN (the name, never the token \
             itself)",
        ),
    ]);
}

#[test]
fn a_service_that_could_not_be_asked_for_or_found_is_refused() {
    assert_refused([
        ("services", json!([]), "services: empty; expected at least one service"),
        (
            "services[0].name",
            json!(""),
            "services[0].name: empty; expected a text that is not blank",
        ),
        (
            "services[0].name",
            json!("a//b"),
            "services[0].name: nothing, \".\" or \"..\" cannot be asked for over HTTP, alone or \
             beside a \"/\"; expected another name",
        ),
        (
            "services[0].name",
            json!(".."),
            "services[0].name: nothing, \".\" or \"..\" cannot be asked for over HTTP, alone or \
             beside a \"/\"; expected another name",
        ),
        (
            "services[0].service",
            json!("a/./b"),
            "services[0].service: nothing, \".\" or \"..\" cannot be asked for over HTTP, alone or \
             beside a \"/\"; expected another name",
        ),
        (
            "services[0].name",
            json!("a\0b"),
            "services[0].name: '\\0' is not allowed; expected no control characters",
        ),
        (
            "services[0].tags",
            json!(["a", ""]),
            "services[0].tags[1]: empty; expected a text that is not blank",
        ),
        (
            "services[0].address",
            json!(" "),
            "services[0].address: empty; expected a text that is not blank",
        ),
        (
            "services[0].filter",
            json!(""),
            "services[0].filter: empty; expected a text that is not blank",
        ),
        (
            "services[0].filter",
            json!("a\x1bb"),
            "services[0].filter: '\\u{1b}' is not allowed; expected no control characters but \
             line ends and tabs",
        ),
        (
            "services",
            json!([{ "name": "web", "hosts": ["a"] }, { "name": "Web", "hosts": ["b"] }]),
            "services[1].name: \"Web\" is already given at services[0].name",
        ),
        (
            "services",
            json!([{ "name": "web", "hosts": ["a"] }, { "name": "api" }]),
            "services[1].hosts: missing; of several services each needs its hosts, unless \
             route_metadata is true and the route names the service",
        ),
    ]);
}

#[test]
fn a_host_that_no_request_could_have_is_refused() {
    assert_refused([
        (
            "services[0].hosts",
            json!([]),
            "services[0].hosts: empty; expected a host pattern, or no hosts field at all",
        ),
        (
            "services[0].hosts",
            json!([""]),
            "services[0].hosts[0]: \"\" is no host pattern: expected a host, such as web.test or \
             *.web.internal",
        ),
        (
            "services[0].hosts",
            json!(["a", "web.test:80"]),
            "services[0].hosts[1]: \"web.test:80\" is no host pattern: the port of a request is \
             ignored; leave it off",
        ),
        (
            "services[0].hosts",
            json!(["http://web.test"]),
            "services[0].hosts[0]: \"http://web.test\" is no host pattern: leave off scheme and \
             path; expected a host, such as web.test",
        ),
        (
            "services[0].hosts",
            json!(["::1"]),
            "services[0].hosts[0]: \"::1\" is no host pattern: an IPv6 address goes into \
             brackets, such as [2001:db8::1]",
        ),
        (
            "services[0].hosts",
            json!(["[fe80::1%1]"]),
            "services[0].hosts[0]: \"[fe80::1%1]\" is no host pattern: brackets hold an IPv6 \
             address without zone, such as [2001:db8::1]",
        ),
        (
            "services[0].hosts",
            json!(["*"]),
            "services[0].hosts[0]: \"*\" is no host pattern: expected a name after \"*.\", as in \
             *.web.internal; to take every request, leave out the hosts of the only service",
        ),
        (
            "services[0].hosts",
            json!(["web*.test"]),
            "services[0].hosts[0]: \"web*.test\" is no host pattern: \"*\" is only allowed as \
             the whole first part, as in *.web.internal",
        ),
        (
            "services[0].hosts",
            json!(["web.test."]),
            "services[0].hosts[0]: \"web.test.\" is no host pattern: each dot stands between two \
             names; leave off a dot at either end",
        ),
        (
            "services[0].hosts",
            json!(["wéb.test"]),
            "services[0].hosts[0]: \"wéb.test\" is no host pattern: 'é' cannot be part of a \
             host; allowed are ASCII letters, digits, \"-\", \"_\" and \".\" (other letters as \
             punycode, \"xn--…\")",
        ),
        (
            "services[0].hosts",
            json!(["a", "A"]),
            "services[0].hosts[1]: \"a\" is already given at services[0].hosts[0]",
        ),
        (
            "services",
            json!([
            { "name": "web", "hosts": ["a", "*.b"] },
            { "name": "api", "hosts": ["c", "*.B"] }
            ]),
            "services[1].hosts[1]: \"*.b\" is already given at services[0].hosts[1]",
        ),
    ]);
}

#[test]
fn attempts_that_could_not_be_made_are_refused() {
    assert_refused([
        (
            "handoff",
            json!({ "via": "filter_state", "attempts": 2 }),
            "handoff.attempts: only headers hands over several endpoints; leave attempts out or \
             set via to headers",
        ),
        (
            "handoff",
            json!({ "via": "headers", "attempts": 0 }),
            "handoff.attempts: 0 is out of range; expected 1 to 4",
        ),
        (
            "handoff",
            json!({ "via": "headers", "attempts": 5.0 }),
            "handoff.attempts: 5.0 is out of range; expected 1 to 4",
        ),
        (
            "handoff",
            json!({ "via": "headers", "attempts": 1.5 }),
            "handoff.attempts: expected a whole number, found the number 1.5",
        ),
        (
            "handoff",
            json!({ "via": "headers", "attempts": "2" }),
            "handoff.attempts: expected a whole number, found the string \"2\"",
        ),
    ]);
}

#[test]
fn values_beyond_their_limits_are_refused() {
    let name = "n".repeat(256);
    let scope = "s".repeat(65);
    for (place, value, message) in [
        ("consul.cluster", json!(name), "too long with 256 bytes; at most 255 are allowed"),
        ("consul.authority", json!(name), "too long with 256 bytes; at most 255 are allowed"),
        ("consul.datacenter", json!(scope), "too long with 65 bytes; at most 64 are allowed"),
        ("consul.namespace", json!(scope), "too long with 65 bytes; at most 64 are allowed"),
        ("consul.partition", json!(scope), "too long with 65 bytes; at most 64 are allowed"),
        ("services[0].name", json!(name), "too long with 256 bytes; at most 255 are allowed"),
        ("services[0].address", json!(name), "too long with 256 bytes; at most 255 are allowed"),
        ("services[0].tags", json!([name]), "too long with 256 bytes; at most 255 are allowed"),
        (
            "services[0].tags",
            json!(vec!["t"; 65]),
            "too many with 65 items; at most 64 are allowed",
        ),
        (
            "services[0].filter",
            json!("f".repeat(4097)),
            "too long with 4097 bytes; at most 4096 are allowed",
        ),
        (
            "services[0].hosts",
            json!(hosts(1025)),
            "too many with 1025 items; at most 1024 are allowed",
        ),
        (
            "services",
            json!(vec![0; 65_536]),
            "too many with 65536 items; at most 65535 are allowed",
        ),
    ] {
        let error = parse(&with(place, value)).expect_err(place).to_string();
        assert!(error.starts_with(place) && error.ends_with(message), "{error}");
    }
    let error = parse(&with("consul.token_env", json!(name))).unwrap_err().to_string();
    assert!(error.starts_with("consul.token_env: not the name of"), "{error}");
}

//! A configuration that is wrong is refused, in our words; those of the project are right.

use std::net::SocketAddr;

use serde_json::{Value, json};
use stack::{Envoy, Pki};

use crate::plugin;
use crate::testbed::{CERTIFICATES, Setup, certificates, yaml};

/// Nobody is asked: the configuration is refused before.
fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// The configuration of `headers.yaml`, a `Struct`, with one field changed.
fn with(field: &str, value: Value) -> Setup {
    Setup::headers(nobody()).set(field, value)
}

/// A configuration as a text instead.
fn as_text(text: &str) -> Setup {
    let kind = "type.googleapis.com/google.protobuf.StringValue";
    let configuration = yaml(json!({"@type": kind, "value": text}));
    Setup::headers(nobody()).edit(|bootstrap| {
        let plugin = plugin::of_listener(bootstrap.ingress().expect("a listener"));
        plugin["configuration"] = configuration;
    })
}

#[test]
fn update_is_refused_with_its_place_when_it_is_wrong() {
    let refused = [
        (
            with("services", json!([{"name": "web"}, {"name": "api", "hosts": ["api.test"]}])),
            "services[0].hosts: ",
        ),
        (
            with("services", json!([{"name": "web", "load_balancing": {"policy": "fastest"}}])),
            "services[0].load_balancing.policy: unknown policy \"fastest\"; expected one of",
        ),
        (
            with("warmup_timout", json!("1s")),
            "warmup_timout: unknown field; did you mean warmup_timeout?",
        ),
        (with("consul", json!({})), "consul.cluster: missing"),
        (with("consul", json!({"cluster": "consul", "wait": "1h"})), "consul.wait: "),
        (as_text("{\"consul\": {"), "line 1"),
        (as_text("consul: {cluster: consul}"), "JSON"),
        (as_text(""), "empty"),
        (
            as_text(r#"{"consul": {"cluster": "consul"}, "services": [{"nam": "web"}]}"#),
            "services[0].nam: unknown field",
        ),
    ];
    for (setup, expected) in refused {
        let said = setup.builder().validate();
        let said = said.expect_err(expected).to_string();
        let ours = said.lines().find(|line| line.contains("the configuration is refused: "));
        let ours = ours.unwrap_or_else(|| panic!("{expected}: nothing from us in {said}"));
        assert!(ours.contains(expected), "{expected:?} is not in {ours}");
    }
}

#[test]
fn envoy_does_not_start_when_the_configuration_is_wrong() {
    for setup in [
        with("handoff", json!({"via": "telepathy"})),
        as_text(r#"{"consul": {"cluster": "consul"}, "services": []}"#),
    ] {
        let error = setup.builder().start().expect_err("it starts").to_string();
        assert!(error.contains("envoy ended"), "{error}");
        assert!(error.contains("the configuration is refused: "), "{error}");
        let places = ["handoff.via: ", "services: "];
        assert!(places.iter().any(|place| error.contains(place)), "{error}");
    }
}

#[test]
fn the_configurations_of_the_project_load_as_they_are() {
    // As a user does it: from the root of the repository, and nothing replaced.
    for name in [
        "envoy.yaml",
        "headers.yaml",
        "native.yaml",
        "tcp.yaml",
        "minimal.yaml",
        "dynamic-forward-proxy.yaml",
        "consul-tls.yaml",
        "register.yaml",
    ] {
        let path = format!("{}/envoy/{name}", env!("CARGO_MANIFEST_DIR"));
        let yaml = std::fs::read_to_string(&path).expect(name);
        // But for the certificates, which Envoy reads at once.
        let pki = Pki::for_datacenter("dc1").expect("certificates");
        let yaml = yaml.replace(CERTIFICATES, "{dir}");
        let mut builder = Envoy::builder(yaml);
        for (name, text) in certificates(&pki, &pki.client) {
            builder = builder.file(name, text);
        }
        let said = builder.validate();
        let said = said.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(said.contains("OK"), "{name}: {said}");
    }
}

#[test]
fn a_text_is_as_good_as_a_struct() {
    let text = r#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}],
        "handoff": {"via": "headers", "attempts": 2}}"#;
    let said = as_text(text).builder().validate();
    said.unwrap_or_else(|error| panic!("{error}"));
}

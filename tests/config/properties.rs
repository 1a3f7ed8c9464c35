//! What holds for any input. A failing one is printed by proptest, with its seed.

use std::collections::HashSet;

use consul_resolver::config::{Config, ConfigError, Consul, Handoff};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{parse, with};

/// Any JSON, not too deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((".{0,12}", inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Mostly a duration of up to `most` seconds, sometimes any other, sometimes anything.
fn duration(most: u32) -> impl Strategy<Value = Value> {
    prop_oneof![
        16 => (0..=most).prop_map(|seconds| json!(format!("{seconds}s"))),
        2 => "[0-9]{1,3}(\\.[0-9]{1,3})?(ms|s|m|h)".prop_map(Value::from),
        1 => any_json(),
    ]
}

/// An object of some of the fields, most of them with a value that belongs there.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> impl Strategy<Value = Value> {
    let field = |(name, value): (&'static str, BoxedStrategy<Value>)| {
        prop::option::of(value.prop_map(move |value| (name.to_owned(), value)))
    };
    let fields: Vec<_> = fields.into_iter().map(field).collect();
    fields.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect()))
}

fn one_of(choices: &'static [&'static str]) -> BoxedStrategy<Value> {
    prop::sample::select(choices).prop_map(Value::from).boxed()
}

fn service() -> impl Strategy<Value = Value> {
    let host = prop_oneof![
        16 => "(\\*\\.)?[a-cA-C]{1,3}\\.[a-c]{1,2}".prop_map(Value::from),
        1 => one_of(&["*", "[::1]", "d:80", "e."]),
    ]
    .boxed();
    object(vec![
        ("hosts", prop::collection::vec(host, 1..4).prop_map(Value::from).boxed()),
        ("tags", prop::collection::vec(one_of(&["x", "y"]), 0..3).prop_map(Value::from).boxed()),
        ("health", one_of(&["passing", "warning"])),
        ("address", one_of(&["service", "lan"])),
    ])
}

/// What resembles a configuration, so that a good part of it is accepted.
fn almost_a_configuration() -> impl Strategy<Value = Value> {
    let consul = object(vec![
        ("authority", one_of(&["consul.internal", "[::1]:8500"])),
        ("consistency", one_of(&["default", "stale", "cached"])),
        ("wait", duration(601).boxed()),
    ]);
    let handoff = (one_of(&["headers", "filter_state"]), prop::option::of(1..6_u8));
    let rest = object(vec![
        (
            "handoff",
            handoff
                .prop_map(|(via, attempts)| match attempts {
                    Some(attempts) => json!({ "via": via, "attempts": attempts }),
                    None => json!({ "via": via }),
                })
                .boxed(),
        ),
        ("route_metadata", any::<bool>().prop_map(Value::from).boxed()),
        ("warmup_timeout", duration(61).boxed()),
    ]);
    let services = prop::collection::vec(
        (one_of(&["web", "WEB", "api", "db", "auth", "mail"]), service()),
        1..4,
    );
    (consul, services, rest).prop_map(|(mut consul, services, mut rest)| {
        consul["cluster"] = json!("consul");
        let named = |(name, mut service): (Value, Value)| {
            service["name"] = name;
            service
        };
        rest["consul"] = consul;
        rest["services"] = services.into_iter().map(named).collect();
        rest
    })
}

fn assert_within_limits(config: &Config) {
    assert!(Consul::WAIT.contains(&config.consul.wait));
    assert!(Config::WARMUP_TIMEOUT.contains(&config.warmup_timeout));
    for duration in [config.consul.wait, config.warmup_timeout] {
        assert_eq!(duration.subsec_nanos() % 1_000_000, 0, "{duration:?}");
    }
    if let Handoff::Headers { attempts } = config.handoff {
        assert!((1..=Handoff::MAX_ATTEMPTS).contains(&attempts));
    }
    assert!((1..=Config::MAX_SERVICES).contains(&config.services.len()));
    let mut names = HashSet::new();
    let mut hosts = HashSet::new();
    for service in &config.services {
        assert!(names.insert(service.name.to_ascii_lowercase()), "{}", service.name);
        for host in &service.hosts {
            assert!(hosts.insert(host), "{host}");
            assert_eq!(host.to_string(), host.to_string().to_ascii_lowercase());
            assert_eq!(host.to_string().parse().as_ref(), Ok(host));
        }
        let is_found = !service.hosts.is_empty() || config.route_metadata;
        assert!(is_found || config.services.len() == 1);
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(error) = Config::parse(&bytes) {
            let _ = error.to_string();
        }
    }

    #[test]
    fn arbitrary_json_never_panics(value in any_json()) {
        if let Err(error) = parse(&value) {
            let _ = error.to_string();
        }
    }

    #[test]
    fn arbitrary_json_in_any_field_is_accepted_or_refused_at_that_field(
        place in prop::sample::select(&[
            "consul", "consul.cluster", "consul.wait", "services", "services[0]",
            "services[0].name", "services[0].hosts", "services[0].load_balancing", "handoff",
            "warmup_timeout",
        ][..]),
        value in any_json(),
    ) {
        let mut config = with(place, value);
        if place == "consul.cluster" {
            // Else a name that is no host is an error of the authority, whose default it is.
            config["consul"]["authority"] = json!("consul.internal");
        }
        match parse(&config) {
            Ok(config) => assert_within_limits(&config),
            Err(error) => prop_assert!(error.to_string().starts_with(place), "{}", error),
        }
    }

    #[test]
    fn what_is_accepted_is_within_its_limits(value in almost_a_configuration()) {
        match parse(&value) {
            Ok(config) => assert_within_limits(&config),
            Err(ConfigError::Refused { .. }) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}

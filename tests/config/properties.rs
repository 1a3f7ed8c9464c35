//! What holds for any input. A failing one is printed by proptest, with its seed.

use core::net::{IpAddr, Ipv4Addr};
use std::collections::HashSet;

use consul_resolver::config::{
    AddressPolicy, CacheAges, Cidr, CidrError, Config, ConfigError, Consistency, Consul,
    Dependencies, Handoff, Hashing, Policy, Protocol, Service, ShrinkGuardConfig, Xds,
};
use consul_resolver::model::service::ServiceId;
use consul_resolver::model::version_pattern::VersionPattern;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{parse, with, xds};

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

/// Some of the fields, most of them with an object or null.
fn template(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let value = prop_oneof![
        2 => Just(json!({})),
        2 => Just(Value::Null),
        1 => Just(json!("1s")),
        1 => Just(json!({ "retry_on": "5xx", "num_retries": 2.0 })),
        1 => Just(json!({ "update_merge_window": null })),
        1 => any_json(),
    ];
    let fields = prop::collection::vec((prop::sample::select(names), value), 0..4);
    fields.prop_map(|fields| {
        Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
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
        ("query", one_of(&["geo", "near", "a/b"])),
        ("limit", (0..9).prop_map(Value::from).boxed()),
        ("node_meta", object(vec![("a", one_of(&["b"])), ("c:d", one_of(&["e"]))]).boxed()),
        ("health", one_of(&["passing", "warning", "any"])),
        ("address", one_of(&["service", "lan"])),
        (
            "datacenters",
            prop::collection::vec(one_of(&["dc1", "dc2", "dc3", "dc4"]), 1..3)
                .prop_map(Value::from)
                .boxed(),
        ),
        (
            "depends_on",
            prop::collection::vec(one_of(&["web", "api", "DB", "auth", "mail"]), 1..3)
                .prop_map(Value::from)
                .boxed(),
        ),
        ("load_balancing", load_balancing().boxed()),
        ("protocol", one_of(&["http", "grpc"])),
        (
            "versions",
            (0..3_u8, 0..3_u8)
                .prop_map(|(one, two)| json!({ "split": { "1.x": one, "2.x": two } }))
                .boxed(),
        ),
    ])
}

/// Mostly fields of the policy that is given.
fn load_balancing() -> impl Strategy<Value = Value> {
    let hash = || ("hash_on", Just(json!({ "path": true })).boxed());
    let factor = || ("hash_balance_factor", (90..200).prop_map(Value::from).boxed());
    let choices = || ("choice_count", (1..18).prop_map(Value::from).boxed());
    let size = || (0..100_u32).prop_map(Value::from).boxed();
    let named = |policy: &'static str, fields| {
        object(fields).prop_map(move |mut object| {
            object["policy"] = json!(policy);
            object
        })
    };
    prop_oneof![
        named("least_request", vec![choices()]),
        named("peak_ewma", vec![choices(), ("decay", duration(100).boxed())]),
        named(
            "ring_hash",
            vec![hash(), factor(), ("minimum_ring_size", size()), ("maximum_ring_size", size())]
        ),
        named("maglev", vec![hash(), factor(), ("table_size", size())]),
        named("random", vec![hash(), choices()]),
    ]
}

/// What resembles a configuration, so that a good part of it is accepted.
fn almost_a_configuration() -> impl Strategy<Value = Value> {
    let consul = object(vec![
        ("authority", one_of(&["consul.internal", "[::1]:8500"])),
        ("consistency", one_of(&["default", "stale", "cached"])),
        ("max_stale", duration(4000).boxed()),
        (
            "cached",
            object(vec![
                ("max_age", duration(99).boxed()),
                ("stale_if_error", duration(99).boxed()),
            ])
            .boxed(),
        ),
        ("wait", duration(601).boxed()),
    ]);
    let handoff =
        (one_of(&["headers", "filter_state", "stateful_session"]), prop::option::of(1..6_u8));
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
        ("xds", prop::sample::select(vec![xds(json!({})), xds(json!({ "clusters": {} }))]).boxed()),
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
    if let Some(xds) = &config.xds {
        assert!(Xds::HOLD.contains(&xds.hold) && xds.address.len() <= Xds::MAX_ADDRESS_BYTES);
        assert!(xds.clusters.is_some() || xds.routes.is_none());
    }
    assert!(config.xds.is_some() || config.handoff != Handoff::StatefulSession);
    if let Handoff::Headers { attempts } = config.handoff {
        assert!((1..=Handoff::MAX_ATTEMPTS).contains(&attempts));
    }
    assert!((1..=Service::MAX).contains(&config.services.len()));
    let consul = &config.consul;
    assert!(consul.breaker.base_open_time <= consul.breaker.max_open_time);
    assert!(consul.breaker.minimum_calls >= 1 && consul.retry_budget.min_per_second >= 1);
    assert!(consul.resync.is_zero() || Consul::RESYNC.contains(&consul.resync));
    assert!((1..=Consul::MAX_WATCHES).contains(&consul.max_watches));
    assert_dependencies_in_order(config);
    let mut names = HashSet::new();
    let mut hosts = HashSet::new();
    match config.consul.consistency {
        Consistency::Stale { max_stale: Some(age) } => {
            assert!(Consistency::MAX_STALE.contains(&age));
        }
        Consistency::Cached(CacheAges { max_age, stale_if_error }) => {
            assert!(stale_if_error.is_none_or(|age| max_age.is_some_and(|fresh| fresh <= age)));
        }
        _ => {}
    }
    for service in &config.services {
        assert!(service.endpoint_metadata.is_sorted_by(|one, other| one < other));
        if let Some(query) = &service.query {
            assert!(service.tags.is_empty() && service.node_meta.is_empty());
            assert!(query.near.is_none() || query.limit.is_some());
        }
        assert!(names.insert(service.name.to_ascii_lowercase()), "{}", service.name);
        for host in &service.hosts {
            assert!(hosts.insert(host), "{host}");
            assert_eq!(host.to_string(), host.to_string().to_ascii_lowercase());
            assert_eq!(host.to_string().parse().as_ref(), Ok(host));
        }
        assert_policy_within_limits(&service.load_balancing.policy);
        let reads_answers = matches!(service.load_balancing.policy, Policy::PeakEwma { .. });
        assert!(reads_answers || service.protocol == Protocol::Http);
        assert!(ShrinkGuardConfig::HOLD.contains(&service.shrink_guard.hold));
        assert!(service.shrink_guard.at_least >= 1);
        for share in service.versions.iter().flat_map(|versions| &versions.split) {
            assert_eq!(VersionPattern::parse(&share.name).as_ref(), Ok(&share.pattern));
        }
        let datacenters: HashSet<_> = service.datacenters.iter().collect();
        assert_eq!(datacenters.len(), service.datacenters.len());
        assert!(datacenters.len() <= Service::MAX_DATACENTERS);
        let is_found = !service.hosts.is_empty() || config.route_metadata || config.xds.is_some();
        assert!(is_found || config.services.len() == 1);
    }
}

/// Each service stands behind all that it depends on, which are others, each once.
fn assert_dependencies_in_order(config: &Config) {
    let order = Dependencies::order(&config.services).expect("no cycle");
    assert_eq!(order.iter().collect::<HashSet<_>>().len(), config.services.len());
    let rank = |id| order.iter().position(|other| *other == id).expect("in the order");
    for (service, id) in config.services.iter().zip((0..).map(ServiceId::nth)) {
        let on = service.dependencies.iter().flat_map(|dependencies| &dependencies.services);
        let mut seen = HashSet::new();
        for other in on {
            assert!(seen.insert(other) && rank(*other) < rank(id), "{config:?}");
        }
    }
}

fn assert_policy_within_limits(policy: &Policy) {
    if let Some(factor) = policy.hashing().and_then(|hashing| hashing.balance_factor) {
        assert!(Hashing::BALANCE_FACTOR.contains(&factor));
    }
    match *policy {
        Policy::RoundRobin | Policy::Random => {}
        Policy::LeastRequest { choice_count, .. } | Policy::PeakEwma { choice_count, .. } => {
            assert!((2..=Policy::MAX_CHOICE_COUNT).contains(&choice_count));
        }
        Policy::RingHash { minimum_ring_size, maximum_ring_size, .. } => {
            assert!(1 <= minimum_ring_size && minimum_ring_size <= maximum_ring_size);
        }
        Policy::Maglev { table_size, .. } => {
            assert!((2..table_size).all(|divisor| table_size % divisor != 0));
        }
    }
}

/// Any IP address, in either form.
fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u32>().prop_map(|bits| IpAddr::V6(Ipv4Addr::from(bits).to_ipv6_mapped())),
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
    ]
}

proptest! {
    #[test]
    fn any_address_is_in_the_range_that_is_made_of_it(ip in any_ip(), prefix in 0..=128_u8) {
        let range = match format!("{ip}/{prefix}").parse::<Cidr>() {
            Ok(range) | Err(CidrError::HostBits { network: range }) => range,
            Err(error) => {
                prop_assert!(ip.is_ipv4() && prefix > 32, "{}", error);
                return Ok(());
            }
        };
        // An IPv6 range that is wider than all of IPv4 has no address of that.
        let is_wider = ip.is_ipv6() && ip.to_canonical().is_ipv4() && prefix < 96;
        prop_assert_eq!(range.contains(ip), !is_wider);
        prop_assert_eq!(range.to_string().parse(), Ok(range));
        let policy = AddressPolicy { allow: vec![range], deny: vec![range] };
        prop_assert!(!policy.admits(ip));
    }

    #[test]
    fn version_pattern_never_panics_when_text_is_arbitrary(
        pattern in "[0-9.x*^~<>= v-]{0,12}|.{0,12}",
        version in "[0-9.va-b+-]{0,12}|.{0,12}",
    ) {
        if let Ok(pattern) = VersionPattern::parse(&pattern) {
            let _ = pattern.contains(&version);
        }
    }

    #[test]
    fn version_pattern_contains_the_version_it_is_made_of(numbers in any::<[u16; 3]>()) {
        let [major, minor, patch] = numbers;
        let version = format!("{major}.{minor}.{patch}");
        let next = format!("{}.0.0", u32::from(major) + 1);
        prop_assert!(VersionPattern::parse("*").unwrap().contains(&version));
        for pattern in [
            format!("{major}"),
            format!("{major}.x"),
            format!("{major}.{minor}"),
            format!("{major}.{minor}.x"),
            version.clone(),
        ] {
            let pattern = VersionPattern::parse(&pattern).expect("a pattern");
            prop_assert!(pattern.contains(&version), "{:?}", pattern);
            prop_assert!(!pattern.contains(&next), "{:?}", pattern);
        }
    }

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
    fn arbitrary_json_is_accepted_or_refused_at_its_field(
        place in prop::sample::select(&[
            "consul", "consul.cluster", "consul.wait", "services", "services[0]",
            "services[0].name", "services[0].hosts", "services[0].load_balancing", "handoff",
            "services[0].load_balancing.slow_start", "services[0].protocol",
            "services[0].versions", "services[0].versions.split",
            "services[0].datacenters", "services[0].shrink_guard",
            "services[0].depends_on", "services[0].on_dependency_down",
            "consul.breaker", "consul.retry_budget", "consul.max_watches", "consul.resync",
            "locality", "endpoints", "warmup_timeout", "services[0].cluster",
            "services[0].endpoint_metadata", "xds", "xds.address", "xds.clusters",
            "xds.clusters.name", "xds.clusters.template", "xds.routes.template",
            "xds.clusters.template.common_lb_config", "xds.routes.template.retry_policy",
        ][..]),
        value in any_json(),
    ) {
        let mut config = with(place, value);
        if place == "consul.cluster" {
            // Else a name that is no host is an error of the authority, whose default it is.
            config["consul"]["authority"] = json!("consul.internal");
        }
        if place.starts_with("xds.") {
            for (name, value) in xds(json!({ "clusters": {} })).as_object().unwrap() {
                if config["xds"][name].is_null() {
                    config["xds"][name] = value.clone();
                }
            }
        }
        match parse(&config) {
            Ok(config) => assert_within_limits(&config),
            Err(error) => prop_assert!(error.to_string().starts_with(place), "{}", error),
        }
    }

    #[test]
    fn a_template_changes_nothing_that_the_filter_sets(
        clusters in template(&[
            "name", "type", "connect_timeout", "eds_cluster_config", "lb_policy", "health_checks",
            "common_lb_config", "outlier_detection", "circuit_breakers", "@type",
        ]),
        own in template(&[
            "load_assignment", "common_lb_config", "transport_socket", "alt_stat_name",
        ]),
        routes in template(&[
            "cluster", "weighted_clusters", "retry_policy", "hedge_policy", "timeout",
            "hash_policy",
        ]),
    ) {
        let mut config = with("services[0].cluster", own);
        config["services"][0]["hosts"] = json!(["web.test"]);
        config["xds"] = xds(json!({
            "clusters": { "template": clusters }, "routes": { "template": routes }
        }));
        let Ok(config) = parse(&config) else { return Ok(()) };
        let service = &config.services[0];
        let read = |text: String| serde_json::from_str::<Value>(&text).expect("JSON");
        let cluster = read(consul_resolver::xds::clusters::cluster(&config, service));
        prop_assert_eq!(&cluster["name"], "consul/web");
        prop_assert_eq!(&cluster["type"], "EDS");
        prop_assert_eq!(&cluster["eds_cluster_config"]["service_name"], "web");
        prop_assert_eq!(&cluster["lb_policy"], "ROUND_ROBIN");
        let services = config.services.iter();
        let routes = read(consul_resolver::xds::routes::route_configuration(&config, services));
        for (index, safe) in [true, false].into_iter().enumerate() {
            let action = &routes["virtual_hosts"][0]["routes"][index]["route"];
            prop_assert_eq!(&action["cluster"], "consul/web");
            let on = action["retry_policy"]["retry_on"].as_str();
            let certain = "connect-failure,refused-stream,reset-before-request";
            let is_certain = on.is_none_or(|on| on == certain);
            prop_assert!(safe || is_certain && action["hedge_policy"].is_null(), "{}", action);
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

//! Properties of the decoder of Consul's answers.
//!
//! The model is written against `serde_json::Value`, the slow and obvious way, and shares
//! nothing with the decoder but the types of its result.

#![cfg(not(target_family = "wasm"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "decode/model.rs"]
mod model;

use std::borrow::Cow;
use std::net::IpAddr;

use consul_resolver::config::{
    AddressChoice, AddressPolicy, Cidr, Config, HealthThreshold as Threshold, VersionKey,
};
use consul_resolver::registry::consul::decode::{DecodeError, decode};
use consul_resolver::registry::consul::instance_filter::InstanceFilter;
use consul_resolver::registry::consul::prepared_query::decode_executed;
use consul_resolver::registry::consul::query::ConsulQuery;
use consul_resolver::registry::http::HttpResponse;
use consul_resolver::registry::query_response::{Decoded, QueryOrigin};
use consul_resolver::util::excerpt::BodyExcerpt;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Map, Value, json};

fn selection() -> impl Strategy<Value = InstanceFilter> {
    let health =
        prop_oneof![Just(Threshold::Passing), Just(Threshold::Warning), Just(Threshold::Any)];
    let tag = option::of(prop_oneof![Just("lan"), Just("WAN")]);
    let address = tag.prop_map(|tag| {
        tag.map_or(AddressChoice::Service, |tag| AddressChoice::Tagged(tag.to_owned()))
    });
    let version = option::of(prop_oneof![
        prop_oneof![Just("version"), Just("zone")].prop_map(|key| VersionKey::Meta(key.into())),
        Just(VersionKey::TagPrefix("v=".into())),
    ]);
    let zone_key = option::of(Just("zone".to_owned()));
    let details =
        option::of(subsequence(vec!["rack".to_owned(), "version".into(), "zone".into()], 0..=3));
    (health, address, any::<bool>(), policy(), version, zone_key, any::<bool>(), details).prop_map(
        |(health, address, resolve_names, policy, version, zone_key, tells_unhealthy, details)| {
            InstanceFilter {
                health,
                address,
                resolve_names,
                policy,
                version,
                zone_key,
                tells_unhealthy,
                details,
            }
        },
    )
}

/// Ranges that hold some of the addresses of [`address`].
fn policy() -> impl Strategy<Value = AddressPolicy> {
    let range = prop_oneof![
        (24_u8..33).prop_map(|prefix| Cidr { first: [10, 0, 0, 0].into(), prefix }),
        (0_u8..4).prop_map(|n| Cidr { first: [10, 0, 0, n].into(), prefix: 32 }),
        Just(Cidr { first: IpAddr::from([0_u8; 16]), prefix: 1 }),
        Just(Cidr { first: [169, 254, 0, 0].into(), prefix: 16 }),
    ];
    (vec(range.clone(), 0..3), vec(range, 0..2))
        .prop_map(|(allow, deny)| AddressPolicy { allow, deny })
}

/// Anything that JSON can hold and that Consul would not write here.
fn odd() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::hash_map("[A-Za-z]{1,7}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Mostly what is expected, now and then something odd.
fn mostly(usual: impl Strategy<Value = Value> + 'static) -> BoxedStrategy<Value> {
    prop_oneof![9 => usual, 1 => odd()].boxed()
}

/// An object of which any field may be absent.
fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| {
            option::weighted(0.9, value).prop_map(move |value| Some((name.to_owned(), value?)))
        })
        .collect();
    mostly(fields.prop_map(|fields| {
        Value::Object(fields.into_iter().flatten().collect::<Map<String, Value>>())
    }))
}

fn address() -> BoxedStrategy<Value> {
    mostly(prop_oneof![
        4 => (0_u8..4).prop_map(|n| json!(format!("10.0.0.{n}"))),
        1 => any::<[u8; 16]>().prop_map(|ip| json!(IpAddr::from(ip).to_string())),
        1 => any::<[u8; 16]>().prop_map(|ip| json!(format!("[{}]", IpAddr::from(ip)))),
        1 => any::<[u8; 4]>().prop_map(|ip| json!(format!("::ffff:{}", IpAddr::from(ip)))),
        1 => (0_u8..3).prop_map(|n| json!(format!("169.254.0.{n}"))),
        2 => Just(json!("")),
        2 => "[a-zA-Z]{1,5}\\.[a-z]{1,5}\\.?".prop_map(Value::from),
        1 => "[-_.a-z0-9]{1,9}".prop_map(Value::from),
    ])
}

fn port() -> BoxedStrategy<Value> {
    mostly(prop_oneof![
        6 => (8_000_u16..8_003).prop_map(Value::from),
        1 => (-1_i64..70_000).prop_map(Value::from),
        1 => Just(json!(0)),
        1 => Just(json!(65_536)),
    ])
}

fn weight() -> BoxedStrategy<Value> {
    mostly(
        prop_oneof![8 => (0_u32..20).prop_map(Value::from), 1 => (-9_i64..70_000).prop_map(Value::from)],
    )
}

fn check() -> BoxedStrategy<Value> {
    let ids = ["serfHealth", "service:web", "_node_maintenance", "_service_maintenance:web"];
    let id =
        prop_oneof![12 => Just(ids[0]), 12 => Just(ids[1]), 1 => Just(ids[2]), 1 => Just(ids[3])];
    let statuses = ["passing", "warning", "critical", "maintenance"];
    let status = prop_oneof![
        20 => Just(statuses[0]), 4 => Just(statuses[1]), 2 => Just(statuses[2]), 1 => Just(statuses[3])
    ];
    object(vec![
        ("CheckID", id.prop_map(Value::from).boxed()),
        ("Status", status.prop_map(Value::from).boxed()),
        ("Output", odd().boxed()),
    ])
}

/// Metadata with a zone and a version, which may be too long.
fn meta() -> BoxedStrategy<Value> {
    let text = mostly(prop_oneof![
        8 => "[ab]?".prop_map(Value::from),
        1 => (250_usize..260).prop_map(|length| json!("a".repeat(length))),
    ]);
    let names = ["zone", "version", "Zone", "rack"];
    object(names.map(|name| (name, text.clone())).to_vec())
}

fn tags() -> BoxedStrategy<Value> {
    let tag =
        mostly(prop_oneof![Just("v="), Just("v=1"), Just("v=2"), Just("x")].prop_map(Value::from));
    mostly(vec(tag, 0..4).prop_map(Value::from))
}

fn locality() -> BoxedStrategy<Value> {
    object(vec![("Zone", mostly("[ab]?".prop_map(Value::from))), ("Region", odd().boxed())])
}

fn entry() -> BoxedStrategy<Value> {
    let lower = object(vec![("address", address()), ("port", port())]);
    let upper = object(vec![("Address", address()), ("Port", port())]);
    let tagged = object(vec![("Lan", upper.clone()), ("wan", lower), ("virtual", upper)]);
    let names = object(vec![("lan", address()), ("wan", address())]);
    let node = object(vec![
        ("Node", mostly("[ab]{0,2}".prop_map(Value::from))),
        ("Address", address()),
        ("TaggedAddresses", names),
        ("Meta", meta()),
        ("Locality", locality()),
    ]);
    let weights = object(vec![("Passing", weight()), ("Warning", weight())]);
    let service = object(vec![
        ("Address", address()),
        ("Port", port()),
        ("Weights", weights),
        ("TaggedAddresses", tagged),
        ("Meta", meta()),
        ("Tags", tags()),
        ("Locality", locality()),
    ]);
    let checks = mostly(vec(check(), 0..4).prop_map(Value::from));
    object(vec![("Node", node), ("Service", service), ("Checks", checks), ("More", odd().boxed())])
}

fn entries() -> impl Strategy<Value = Vec<Value>> {
    vec(entry(), 0..12)
}

fn passing() -> InstanceFilter {
    InstanceFilter {
        health: Threshold::Passing,
        address: AddressChoice::Service,
        resolve_names: false,
        policy: AddressPolicy::default(),
        version: None,
        zone_key: None,
        tells_unhealthy: false,
        details: None,
    }
}

fn query() -> ConsulQuery {
    let json = br#"{"consul": {"cluster": "consul"}, "services": [{"name": "web"}]}"#;
    let config = Config::parse(json).unwrap();
    ConsulQuery::new(&config, &config.services[0], None)
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_model_reads_it(
        entries in entries(), selection in selection(), pretty: bool,
    ) {
        let body = Value::Array(entries);
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) };
        let decoded = decode(text.unwrap().as_bytes(), &selection);
        prop_assert_eq!(decoded, Ok(model::decode(&body, &selection)));
    }

    #[test]
    fn the_order_of_entries_makes_no_difference(
        (entries, shuffled) in entries().prop_flat_map(|e| (Just(e.clone()), Just(e).prop_shuffle())),
        selection in selection(),
    ) {
        let read = |entries| decode(Value::Array(entries).to_string().as_bytes(), &selection);
        prop_assert_eq!(read(entries), read(shuffled));
    }

    // Promise: R-912
    #[test]
    fn a_body_cut_anywhere_is_an_error_and_never_a_shorter_list(
        entries in entries(), cut in any::<prop::sample::Index>(),
    ) {
        let body = Value::Array(entries).to_string();
        let cut = cut.index(body.len());
        let error = decode(&body.as_bytes()[..cut], &passing()).unwrap_err();
        let expected = matches!(error, DecodeError::Truncated { .. } | DecodeError::NotJson { .. });
        prop_assert!(expected, "cut at {} of {}: {}", cut, body.len(), error);
    }

    #[test]
    fn bytes_changed_anywhere_never_panic(
        entries in entries(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        selection in selection(),
    ) {
        let mut body = Value::Array(entries).to_string().into_bytes();
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        let _ = decode(&body, &selection);
        let _ = decode_executed(&body, &selection);
    }

    // Promise: R-912
    #[test]
    fn arbitrary_bytes_never_panic(body in vec(any::<u8>(), 0..512), selection in selection()) {
        let _ = decode(&body, &selection);
    }

    #[test]
    fn a_prepared_querys_answer_is_read_as_a_services_is(
        entries in entries(), selection in selection(), more in odd(),
    ) {
        let body = json!({"Service": more.clone(), "Nodes": entries.clone(), "Zone": more});
        let executed = decode_executed(body.to_string().as_bytes(), &selection);
        let service = body["Service"].as_str().unwrap_or_default().to_owned();
        let origin = Some(QueryOrigin { service, ..QueryOrigin::default() });
        let expected = model::decode(&Value::Array(entries), &selection);
        prop_assert_eq!(executed, Ok(Decoded { origin, ..expected }));
    }

    #[test]
    fn a_prepared_querys_answer_cut_anywhere_is_an_error(
        entries in entries(), cut in any::<prop::sample::Index>(),
    ) {
        let body = json!({"Nodes": entries, "Failovers": 0}).to_string();
        let cut = cut.index(body.len());
        prop_assert!(decode_executed(&body.as_bytes()[..cut], &passing()).is_err());
    }

    #[test]
    fn arbitrary_json_never_panics(body in odd(), selection in selection()) {
        let decoded = decode(body.to_string().as_bytes(), &selection);
        prop_assert_eq!(decoded.is_ok(), body.is_array());
        let executed = decode_executed(body.to_string().as_bytes(), &selection);
        let nodes = body.get("Nodes");
        prop_assert_eq!(executed.is_ok(), nodes.is_some_and(|n| n.is_array() || n.is_null()));
    }

    #[test]
    fn arbitrary_response_never_panics_and_its_error_fits_a_line(
        status in prop_oneof![Just(200), any::<u16>()],
        from_envoy: bool,
        filtered_by_acls: bool,
        index in option::of(vec(any::<u8>(), 0..30)),
        last_contact in option::of(vec(any::<u8>(), 0..30)),
        age in option::of("[0-9]{0,22}"),
        body in vec(any::<u8>(), 0..512),
    ) {
        let filtered = Some(if filtered_by_acls { "true" } else { "" });
        let headers = [
            ("x-consul-index", index.as_deref()),
            ("x-consul-results-filtered-by-acls", filtered.map(str::as_bytes)),
            ("x-consul-lastcontact", last_contact.as_deref()),
            ("age", age.as_ref().map(String::as_bytes)),
        ];
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, Cow::Borrowed(value?))));
        let headers: Vec<_> = headers.collect();
        let response =
            HttpResponse { status, from_envoy, headers: &headers, body: &body };
        let query = query();
        let answer = query.read(Ok(response)).and_then(|answer| query.reject_filtered(answer));
        if let Err(error) = answer {
            let text = error.to_string();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{}", text);
            prop_assert!(text.len() < BodyExcerpt::LIMIT + 200, "{}", text);
        }
    }
}

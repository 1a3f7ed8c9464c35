//! An answer of Consul to `/v1/health/service/<name>`.

#[path = "../../tests/decode/model.rs"]
mod model;

use std::borrow::Cow;

use consul_resolver::config::{
    AddressChoice, AddressPolicy, Cidr, Config, HealthThreshold, VersionKey,
};
use consul_resolver::registry::consul::decode::decode;
use consul_resolver::registry::consul::index::ConsulIndex;
use consul_resolver::registry::consul::instance_filter::InstanceFilter;
use consul_resolver::registry::consul::query::ConsulQuery;
use consul_resolver::registry::http::HttpResponse;
use consul_resolver::registry::query_response::Decoded;
use consul_resolver::registry::resume::Resume;
use consul_resolver::shared::snapshot_record::{SnapshotRecord, SnapshotVersion};
use consul_resolver::shared::source_record::Term;
use serde_json::Value;

/// Reads the first byte as what is wanted of the instances, the rest of the first line as the
/// index, and what follows as the body. What is JSON is read as a slow and obvious reader does.
pub fn check(input: &[u8]) {
    let (head, body) = super::line(input);
    let (flags, index) = head.split_first().unwrap_or((&0, &[]));
    let selection = selection(*flags);
    let decoded = decode(body, &selection);
    assert_eq!(decode(body, &selection), decoded);
    match &decoded {
        Ok(decoded) => check_bounds(decoded, body),
        Err(error) => super::check_error(error, 200),
    }
    check_response(index, body);
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    assert_eq!(decoded.is_ok(), value.is_array(), "{decoded:?}");
    if value.is_array() {
        // Written anew: of a field that stood twice JSON's readers take this one or that.
        let body = value.to_string();
        assert_eq!(decode(body.as_bytes(), &selection), Ok(model::decode(&value, &selection)));
    }
}

/// Nothing grows beyond what stands there, and what was read can cross VMs.
fn check_bounds(decoded: &Decoded, body: &[u8]) {
    // The least that is an endpoint: {"Service":{"Address":"::1","Port":1}}
    const LEAST: usize = 36;
    let Decoded { snapshot, dropped, registered, unhealthy, origin } = decoded;
    assert!(unhealthy.len() <= *registered as usize && origin.is_none());
    assert!(snapshot.len() <= *registered as usize, "{} of {registered}", snapshot.len());
    assert!(snapshot.len() * LEAST <= body.len(), "{} of {}", snapshot.len(), body.len());
    assert!(*registered as usize >= snapshot.len() && *registered as usize <= body.len());
    assert!(dropped.to_string().len() <= 400, "{dropped}");
    let record = SnapshotRecord {
        version: SnapshotVersion { term: Term(1), generation: 1 },
        snapshot: snapshot.clone().into(),
    };
    let bytes = record.encode();
    assert!(bytes.len() <= 32 + 2 * body.len(), "{} of {}", bytes.len(), body.len());
    assert_eq!(SnapshotRecord::decode(&bytes), Ok(record));
}

/// The whole answer is taken only if its index and its body are.
fn check_response(index: &[u8], body: &[u8]) {
    let config = br#"{"consul": {"cluster": "c"}, "services": [{"name": "web"}]}"#;
    let config = Config::parse(config).expect("a configuration");
    let query = ConsulQuery::new(&config, &config.services[0], None);
    let headers = ["x-consul-index", "x-consul-lastcontact", "age"];
    let headers = headers.map(|name| (name, Cow::Borrowed(index)));
    let response = HttpResponse {
        status: 200,
        from_envoy: false,
        headers: if index.is_empty() { &headers[1..] } else { &headers },
        body,
    };
    let number = str::from_utf8(index).ok().filter(|text| !text.starts_with('+'));
    let number = number.and_then(|text| text.parse::<u64>().ok());
    match query.read(Ok(response)) {
        Ok(answer) => {
            let expected = number.map(|number| Resume::Consul(ConsulIndex::new(number)));
            assert_eq!(Some(answer.resume), expected);
        }
        Err(error) => super::check_error(&error, 400),
    }
    let failed = HttpResponse { status: 500, ..response };
    super::check_error(&query.read(Ok(failed)).expect_err("a 500 is no answer"), 400);
}

fn selection(flags: u8) -> InstanceFilter {
    let has = |bit: u8| flags & (1 << bit) != 0;
    let range = |first: [u8; 4], prefix| Cidr { first: first.into(), prefix };
    let policy = AddressPolicy {
        allow: vec![range([10, 0, 0, 0], 8), range([169, 254, 0, 0], 17)],
        deny: vec![range([10, 9, 0, 0], 16)],
    };
    InstanceFilter {
        health: if has(0) { HealthThreshold::Warning } else { HealthThreshold::Passing },
        address: if has(1) { AddressChoice::Tagged("lan".into()) } else { AddressChoice::Service },
        resolve_names: has(2),
        policy: if has(3) { policy } else { AddressPolicy::default() },
        version: match (has(4), has(5)) {
            (true, _) => Some(VersionKey::Meta("version".into())),
            (false, true) => Some(VersionKey::TagPrefix("v=".into())),
            (false, false) => None,
        },
        zone_key: has(6).then(|| "zone".into()),
        tells_unhealthy: has(7),
        details: None,
    }
}

//! The configuration, as JSON and as a protobuf `Struct`.

use consul_resolver::balancer::pick_context::PickContext;
use consul_resolver::config::{Config, ConfigError, Refusals};
use consul_resolver::model::service::ServiceId;
use consul_resolver::registry::consul::index::ConsulIndex;
use consul_resolver::registry::consul::query::ConsulQuery;
use consul_resolver::registry::http::ReadMode;
use consul_resolver::registry::source_spec::SourceSpec;
use consul_resolver::router::Router;
use consul_resolver::router::disposition::Disposition;
use consul_resolver::util::rng::Rng;
use consul_resolver::vm::Vm;
use consul_resolver::xds::clusters::cluster;
use consul_resolver::xds::routes::route_configuration;
use serde_json::{Map, Number, Value};

/// How deep both forms may be nested.
const DEPTH: usize = 24;

/// What a query may be asked with.
const WAYS: [(Option<ConsulIndex>, ReadMode); 5] = [
    (None, ReadMode::AsConfigured),
    (None, ReadMode::Fresher),
    (None, ReadMode::Authoritative),
    (Some(ConsulIndex::ONE), ReadMode::AsConfigured),
    (Some(ConsulIndex::ONE), ReadMode::Fresher),
];

/// Reads the input as Envoy would hand it over. Each error is told in one line; what is
/// taken can be run. If the input is JSON, the same as a `Struct` means the same.
pub fn check(input: &[u8]) {
    let config = Config::parse(input);
    match &config {
        Ok(config) => run(config),
        Err(error) => {
            check_error(error);
            assert_eq!(Config::parse(input).expect_err("refused").to_string(), error.to_string());
        }
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(input) else { return };
    // An empty `Struct` is no bytes at all.
    if fields.is_empty() || fields.values().map(depth).max() >= Some(DEPTH) {
        return;
    }
    // A number of a `Struct` is a double.
    fields.values_mut().for_each(as_doubles);
    let protobuf = Config::parse(&encoded(&fields));
    let json = Config::parse(Value::Object(fields).to_string().as_bytes());
    match (json, protobuf) {
        (Ok(json), Ok(protobuf)) => assert_eq!(json, protobuf),
        (Err(json), Err(protobuf)) => assert_eq!(json.to_string(), protobuf.to_string()),
        (json, protobuf) => panic!("JSON: {json:?}; protobuf: {protobuf:?}"),
    }
}

fn check_error(error: &ConfigError) {
    let text = error.to_string();
    assert!(!text.is_empty() && text.lines().count() <= Refusals::MOST + 1, "{text}");
    for line in text.lines() {
        super::check_error(&line, 1_000);
    }
}

/// Everything that is built from a configuration can be built from this one, and asks Consul for
/// paths that are paths.
fn run(config: &Config) {
    let sources: Vec<_> = config.sources().collect();
    assert!((1..=Config::MAX_SOURCES).contains(&sources.len()));
    let queries: Vec<ConsulQuery> =
        sources.iter().map(|s| ConsulQuery::new(config, s.service, s.datacenter)).collect();
    for query in &queries {
        for (index, freshness) in WAYS {
            let path = query.request(index, freshness).path;
            assert!(
                path.starts_with("/v1/") && path.bytes().all(|b| b.is_ascii_graphic()),
                "{path}"
            );
            assert!(!path.contains("?token") && !path.contains("&token"), "{path}");
            assert!(!path.contains('#') && path.matches('?').count() <= 1, "{path}");
        }
    }
    let mut router = Router::new(config, &mut Rng::new(1));
    let decision = router.decide(Some(ServiceId::nth(0)), &PickContext::default());
    assert!(matches!(decision, Disposition::Wait { .. }), "{decision:?}");
    let subjects = sources.iter().map(|source| SourceSpec::new(config, *source)).collect();
    let agent = Vm::new(subjects, &config.consul, Rng::new(2));
    assert_eq!(agent.sources().len(), sources.len());
    let clusters = config.services.iter().map(|service| cluster(config, service));
    for text in clusters.chain([route_configuration(config, config.services.iter())]) {
        assert!(text.is_empty() || serde_json::from_str::<Value>(&text).is_ok(), "{text}");
    }
}

fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    deepest.unwrap_or_default() + 1
}

/// As `serde_json` reads a long text of a number the last bit may be another one than that of the
/// double, so only short ones are compared.
fn as_doubles(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(as_doubles),
        Value::Object(fields) => fields.values_mut().for_each(as_doubles),
        Value::Number(number) => {
            let double = number.as_f64().expect("a number that was read is a double");
            let short = (double.clamp(-1e6, 1e6) * 16.0).round() / 16.0;
            *number = Number::from_f64(short).expect("it is finite");
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// A `google.protobuf.Struct`.
/// (<https://protobuf.dev/reference/protobuf/google.protobuf/#struct>)
fn encoded(fields: &Map<String, Value>) -> Vec<u8> {
    let entry = |(name, value): (&String, &Value)| {
        let entry = [field(1, name.as_bytes()), field(2, &encoded_value(value))].concat();
        field(1, &entry)
    };
    fields.iter().flat_map(entry).collect()
}

/// A `google.protobuf.Value`.
fn encoded_value(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![1 << 3, 0],
        Value::Number(number) => {
            let double = number.as_f64().expect("a double");
            [vec![2 << 3 | 1], double.to_le_bytes().to_vec()].concat()
        }
        Value::String(text) => field(3, text.as_bytes()),
        Value::Bool(flag) => vec![4 << 3, u8::from(*flag)],
        Value::Object(fields) => field(5, &encoded(fields)),
        Value::Array(items) => {
            let items: Vec<u8> =
                items.iter().flat_map(|item| field(1, &encoded_value(item))).collect();
            field(6, &items)
        }
    }
}

/// A field whose value is bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
    out
}

//! Consul's list of its services, which is an object of names with their tags.

use std::borrow::Cow;
use std::collections::BTreeMap;

use consul_resolver::config::Config;
use consul_resolver::registry::consul::query::ConsulQuery;
use consul_resolver::registry::http::HttpResponse;
use serde_json::Value;

const CONFIG: &[u8] = br#"{
    "consul": {"cluster": "c"},
    "discover": {"host": "{service}.a", "tags": ["t"], "exclude": ["consul"]}
}"#;

/// Where the whole body is such a list, what is read of it are names that it has, each with the
/// wanted tag, and none that is excluded.
pub fn check(input: &[u8]) {
    let config = Config::parse(CONFIG).expect("a configuration");
    let query = ConsulQuery::catalog(&config, config.discover.as_ref().expect("a catalog"));
    let response = HttpResponse {
        status: 200,
        from_envoy: false,
        headers: &[("x-consul-index", Cow::Borrowed(b"7"))],
        body: input,
    };
    let listed: Option<BTreeMap<String, Value>> = serde_json::from_slice(input).ok();
    match query.read(Ok(response)) {
        Ok(answer) => {
            let listed = listed.expect("only an object is a list of services");
            let services = answer.decoded.snapshot.services().cloned().expect("services");
            for name in services.names() {
                let tags = &listed[&**name];
                let has_tag = tags.as_array().is_some_and(|tags| tags.contains(&Value::from("t")));
                assert!(has_tag && **name != *"consul" && !name.contains('/'), "{name:?}");
            }
        }
        Err(error) => super::check_error(&error, 400),
    }
}

//! The URL of a query.

use core::fmt::{self, Write as _};
use core::time::Duration;

use crate::config::{Consistency, Consul, Service};

/// Returns the path with all parameters that are the same in every request.
pub(super) fn path(consul: &Consul, service: &Service, datacenter: Option<&str>) -> String {
    let mut path = match &service.query {
        Some(query) => {
            let mut path = String::from("/v1/query/");
            push_encoded(&mut path, &query.name);
            path.push_str("/execute");
            path
        }
        None => {
            let kind = if service.connect { "connect" } else { "service" };
            let mut path = format!("/v1/health/{kind}/");
            push_encoded(&mut path, service.name_in_consul());
            path
        }
    };
    push_value(&mut path, "dc", datacenter);
    match &service.query {
        Some(query) => {
            let limit = query.limit.map(|limit| limit.to_string());
            push_value(&mut path, "connect", service.connect.then_some("true"));
            push_value(&mut path, "near", query.near.as_deref());
            push_value(&mut path, "limit", limit.as_deref());
        }
        None => push_selection(&mut path, consul, service),
    }
    path
}

/// Returns the path that lists the services of the catalog.
pub(super) fn catalog_path(consul: &Consul) -> String {
    let mut path = String::from("/v1/catalog/services");
    push_value(&mut path, "dc", consul.datacenter.as_deref());
    push_value(&mut path, "ns", consul.namespace.as_deref());
    push_value(&mut path, "partition", consul.partition.as_deref());
    path
}

/// Adds the parameters that select instances of a service. Tags are sorted and deduplicated, since
/// an instance must have all of them and their order means nothing.
fn push_selection(path: &mut String, consul: &Consul, service: &Service) {
    let mut tags: Vec<&str> = service.tags.iter().map(String::as_str).collect();
    tags.sort_unstable();
    tags.dedup();
    let namespace = service.namespace.as_ref().or(consul.namespace.as_ref());
    let partition = service.partition.as_ref().or(consul.partition.as_ref());
    push_value(path, "ns", namespace.map(String::as_str));
    push_value(path, "partition", partition.map(String::as_str));
    push_value(path, "peer", service.peer.as_deref());
    push_value(path, "filter", service.filter.as_deref());
    for tag in tags {
        push_value(path, "tag", Some(tag));
    }
    for (key, value) in &service.node_meta {
        push_value(path, "node-meta", Some(&format!("{key}:{value}")));
    }
    if service.merge_central_config {
        push_name(path, "merge-central-config");
    }
}

/// Adds the parameter of a consistency mode.
pub(super) fn push_mode(path: &mut String, consistency: Consistency) {
    match consistency {
        Consistency::Default => {}
        Consistency::Stale { .. } => push_name(path, "stale"),
        Consistency::Consistent => push_name(path, "consistent"),
        Consistency::Cached(_) => push_name(path, "cached"),
    }
}

/// Adds a parameter without a value. A question mark within a name is encoded, so the first one
/// begins the parameters.
pub(super) fn push_name(path: &mut String, name: &str) {
    path.push(if path.contains('?') { '&' } else { '?' });
    path.push_str(name);
}

/// Adds a parameter with a value.
pub(super) fn push_value(path: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        push_name(path, name);
        path.push('=');
        push_encoded(path, value);
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986, section 2.3.
pub(super) fn push_encoded(to: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            to.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

/// A duration as Consul reads it. There is always a unit (a bare number is a 400), and
/// never a zero, which would stand for Consul's default of 5 minutes.
pub(super) struct Wait(pub(super) Duration);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() == 0 && !self.0.is_zero() {
            write!(f, "{}s", self.0.as_secs())
        } else {
            write!(f, "{}ms", self.0.as_millis().max(1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_wait_always_has_a_unit_and_is_never_zero() {
        let text = |wait| Wait(wait).to_string();
        assert_eq!(text(Duration::from_secs(600)), "600s");
        assert_eq!(text(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(text(Duration::from_micros(10)), "1ms");
        assert_eq!(text(Duration::ZERO), "1ms");
    }
}

//! The URL of a query.

use core::fmt::Write as _;

use crate::config::{Consistency, Consul, Service};

/// Writes the path with all parameters but index and wait. Tags are sorted and written
/// once each, since an instance must have all of them and their order means nothing.
pub(super) fn path(consul: &Consul, service: &Service, datacenter: Option<&str>) -> String {
    let mut tags: Vec<&str> = service.tags.iter().map(String::as_str).collect();
    tags.sort_unstable();
    tags.dedup();
    let parameters = [
        ("dc", datacenter),
        ("ns", consul.namespace.as_deref()),
        ("partition", consul.partition.as_deref()),
        ("filter", service.filter.as_deref()),
    ];
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let mut path = String::from("/v1/health/service/");
    push_encoded(&mut path, &service.name);
    let mut separator = '?';
    for (name, value) in given.chain(tags.into_iter().map(|tag| ("tag", tag))) {
        path.push(separator);
        separator = '&';
        path.push_str(name);
        path.push('=');
        push_encoded(&mut path, value);
    }
    let mode = match consul.consistency {
        Consistency::Default => return path,
        Consistency::Stale => "stale",
        Consistency::Consistent => "consistent",
        Consistency::Cached => "cached",
    };
    path.push(separator);
    path.push_str(mode);
    path
}

/// Percent-encodes all but the unreserved characters of RFC 3986, section 2.3.
fn push_encoded(to: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            to.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(to, "%{byte:02X}");
        }
    }
}

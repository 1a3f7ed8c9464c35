//! A response to Envoy.

use std::rc::Rc;

use crate::xds::json::put_string;
use crate::xds::request::ResourceVersion;
use crate::xds::resource::ResourceKind;

/// A response to Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionResponse {
    /// 200 with a `DiscoveryResponse`, 304 if there is no news, else an error.
    pub status: u16,
    /// JSON if the status is 200, nothing if it is 304, else text.
    pub body: Rc<[u8]>,
}

impl SubscriptionResponse {
    /// Creates the response that there is no news.
    pub(super) fn not_modified() -> Self {
        Self { status: 304, body: Rc::default() }
    }

    /// Creates the response to a wrong request.
    pub(super) fn refused(status: u16, text: &str) -> Self {
        Self { status, body: text.as_bytes().into() }
    }

    /// Creates the `DiscoveryResponse` of these resources.
    pub(super) fn discovery(
        kind: ResourceKind,
        version: ResourceVersion,
        resources: &[Rc<str>],
    ) -> Self {
        let length: usize = resources.iter().map(|text| text.len() + 1).sum();
        let mut out = String::with_capacity(length + 200);
        out.push_str("{\"version_info\":");
        put_string(&mut out, &version.to_string());
        out.push_str(",\"type_url\":");
        put_string(&mut out, kind.type_url());
        out.push_str(",\"resources\":[");
        for (n, text) in resources.iter().enumerate() {
            out.push_str(if n > 0 { "," } else { "" });
            out.push_str(text);
        }
        out.push_str("]}");
        Self { status: 200, body: out.into_bytes().into() }
    }
}

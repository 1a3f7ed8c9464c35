//! A request of Envoy to the listener for subscriptions.

use core::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use crate::util::hash::xxh64;

/// The stream of a request, until it is answered or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// A complete request to the listener for subscriptions.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionRequest<'a> {
    /// The method.
    pub method: &'a [u8],
    /// The path.
    pub path: &'a [u8],
    /// The body: a `DiscoveryRequest` as JSON.
    pub body: &'a [u8],
}

impl SubscriptionRequest<'_> {
    /// The most bytes of a body. One of Envoy 1.40 has 77 KB: the node lists its extensions.
    pub const MAX_BODY_BYTES: usize = 1 << 20;
}

/// The `DiscoveryRequest` of Envoy, with the fields that matter here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DiscoveryRequest {
    /// The version that Envoy has.
    pub(super) version: Option<ResourceVersion>,
    /// The requested resources, sorted, each once; empty for all.
    pub(super) names: Vec<String>,
    /// The id of the node.
    pub(super) node: String,
}

/// The version of a response: a hash of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ResourceVersion(pub(super) u64);

/// The reason why a request cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The body has more bytes than [`SubscriptionRequest::MAX_BODY_BYTES`].
    TooLarge,
    /// The body is no JSON object of that form.
    Syntax,
    /// The body names more resources than a request may, or one with a name that is too long.
    Names,
    /// The method is another one than `POST`.
    Method,
    /// The path is unknown.
    Path,
}

impl DiscoveryRequest {
    /// The most resources that one request may name. Envoy names one.
    pub(super) const MAX_NAMES: usize = 100;
    /// The most bytes of a name, as in a configuration.
    const MAX_NAME_BYTES: usize = 255;

    /// Reads a body. Field names may be those of the protocol or in lower camel case.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() > SubscriptionRequest::MAX_BODY_BYTES {
            return Err(Malformed::TooLarge);
        }
        let body: Body = serde_json::from_slice(body).map_err(|_| Malformed::Syntax)?;
        let Names(mut names) = body.resource_names.unwrap_or_default();
        if names.len() > Self::MAX_NAMES || names.iter().any(|it| it.len() > Self::MAX_NAME_BYTES) {
            return Err(Malformed::Names);
        }
        names.sort_unstable();
        names.dedup();
        Ok(Self {
            version: body.version_info.as_deref().and_then(ResourceVersion::parse),
            names,
            node: body.node.and_then(|node| node.id).unwrap_or_default(),
        })
    }
}

impl ResourceVersion {
    /// Reads a version as it is written; any other text is a version that no content has.
    fn parse(text: &str) -> Option<Self> {
        const OTHER: u64 = 1;
        let is_own = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let own = is_own.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        (!text.is_empty()).then(|| Self(own.unwrap_or_else(|| xxh64(text.as_bytes(), OTHER))))
    }
}

impl fmt::Display for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Malformed {
    /// The status of the response.
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::TooLarge => 413,
            Self::Syntax | Self::Names => 400,
            Self::Method => 405,
            Self::Path => 404,
        }
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::TooLarge => "the body is too large",
            Self::Syntax => "the body is no DiscoveryRequest",
            Self::Names => "no resource_names, too many, or one that is too long",
            Self::Method => "expected a POST",
            Self::Path => "there is nothing to subscribe to at this path",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Malformed {}

/// The body, with the fields that are needed.
#[derive(Deserialize)]
struct Body {
    #[serde(alias = "versionInfo")]
    version_info: Option<String>,
    #[serde(alias = "resourceNames")]
    resource_names: Option<Names>,
    node: Option<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: Option<String>,
}

/// The first names, one more than allowed.
#[derive(Default)]
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self::default())
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Self, A::Error> {
        while self.0.len() <= DiscoveryRequest::MAX_NAMES {
            let Some(name) = items.next_element()? else { return Ok(self) };
            self.0.push(name);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn parse(body: &str) -> Result<DiscoveryRequest, Malformed> {
        DiscoveryRequest::parse(body.as_bytes())
    }

    #[test]
    fn a_request_is_read_by_either_form_of_its_names() {
        let wanted = DiscoveryRequest {
            version: Some(ResourceVersion(0xab)),
            names: vec!["api".to_owned(), "web".to_owned()],
            node: "me".to_owned(),
        };
        for body in [
            r#"{"version_info":"00000000000000ab","node":{"id":"me","extensions":[{"name":"x"}]},
                "resource_names":["web","api","web"],"type_url":"t","error_detail":{"code":3}}"#,
            r#"{"versionInfo":"00000000000000AB","node":{"id":"me","userAgentName":"envoy"},
                "resourceNames":["api","web"],"responseNonce":"","new":[{}]}"#,
        ] {
            assert_eq!(parse(body).as_ref(), Ok(&wanted), "{body}");
        }
    }

    #[test]
    fn field_is_empty_when_it_is_absent_or_null() {
        let empty = DiscoveryRequest { version: None, names: Vec::new(), node: String::new() };
        let nulls = r#"{"version_info":null,"resource_names":null,"node":null}"#;
        for body in ["{}", nulls, r#"{"version_info":"","node":{"id":null}}"#] {
            assert_eq!(parse(body).as_ref(), Ok(&empty), "{body}");
        }
    }

    #[test]
    fn a_body_of_another_form_is_refused() {
        for body in ["", "[", "7", "{\"node\":7}", "{\"resource_names\":[7]}", "{} {}"] {
            assert_eq!(parse(body), Err(Malformed::Syntax), "{body}");
        }
        let large = format!("{{\"x\":\"{}\"}}", "x".repeat(SubscriptionRequest::MAX_BODY_BYTES));
        assert_eq!(parse(&large), Err(Malformed::TooLarge));
        let names = |count, name: &str| {
            let names = vec![format!("\"{name}\""); count].join(",");
            parse(&format!("{{\"resource_names\":[{names}]}}")).map(|it| it.names.len())
        };
        assert_eq!(names(DiscoveryRequest::MAX_NAMES, &"x".repeat(255)), Ok(1));
        assert_eq!(names(DiscoveryRequest::MAX_NAMES + 2, "x"), Err(Malformed::Names));
        assert_eq!(names(1, &"x".repeat(256)), Err(Malformed::Names));
    }

    #[test]
    fn a_version_reads_back_and_another_text_is_another_version() {
        for hash in [0, 7, u64::MAX] {
            assert_eq!(
                ResourceVersion::parse(&ResourceVersion(hash).to_string()),
                Some(ResourceVersion(hash))
            );
        }
        assert_eq!(ResourceVersion::parse(""), None);
        assert_ne!(ResourceVersion::parse("7"), Some(ResourceVersion(7)));
        assert_ne!(ResourceVersion::parse("+000000000000007"), Some(ResourceVersion(7)));
    }
}

//! The selection of a service's instances.

use super::consul::scope;
use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;

/// The most bytes of a name, and of a tagged address's name.
pub(super) const MAX_NAME_BYTES: usize = 255;
/// The most tags.
pub(super) const MAX_TAGS: usize = 64;
/// The most bytes of a tag.
pub(super) const MAX_TAG_BYTES: usize = 255;
/// The most pairs of `node_meta`.
pub(super) const MAX_NODE_META: usize = 64;
/// The most bytes of one of its keys, as in Consul.
pub(super) const MAX_NODE_META_KEY_BYTES: usize = 128;
/// The most bytes of one of its values, as in Consul.
pub(super) const MAX_NODE_META_VALUE_BYTES: usize = 512;
/// The most bytes of a filter: it travels in the query's URL.
pub(super) const MAX_FILTER_BYTES: usize = 4096;
/// The most datacenters.
pub(super) const MAX_DATACENTERS: usize = 16;

/// The worst health that an instance may have and still take requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HealthThreshold {
    /// Every check passes.
    #[default]
    Passing,
    /// Checks may warn; such an instance counts by its warning weight.
    Warning,
    /// Checks say nothing, but that an instance is in maintenance.
    Any,
}

impl HealthThreshold {
    /// The thresholds, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] =
        &[("passing", Self::Passing), ("warning", Self::Warning), ("any", Self::Any)];
}

/// Choice among the addresses of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum AddressChoice {
    /// The service's own address, or its node's where it has none.
    #[default]
    Service,
    /// The tagged address of this name: `lan`, `wan`, or any that was registered.
    Tagged(String),
}

impl AddressChoice {
    /// Name of [`AddressChoice::Service`] in the configuration.
    const SERVICE: &str = "service";

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        node.describe(r#"{ "default": "service" }"#);
        Ok(match node.single_line(MAX_NAME_BYTES)? {
            Self::SERVICE => Self::Service,
            name => Self::Tagged(name.to_owned()),
        })
    }
}

/// Reads a name that Consul can be asked for, in the path of a URL. A `/` is encoded there; Consul
/// decodes it, and then clears away what is empty, `.` or `..` beside one.
pub(super) fn name(node: &Cursor<'_>) -> Result<String, Refusals> {
    node.describe(r#"{ "not": { "pattern": "(^|/)\\.{0,2}(/|$)" } }"#);
    let name = node.single_line(MAX_NAME_BYTES)?;
    match name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        true => Err(node.error(FieldError::PathSegment)),
        false => Ok(name.to_owned()),
    }
}

/// Reads tags, in any order.
pub(super) fn tags(node: &Cursor<'_>) -> Result<Vec<String>, Refusals> {
    node.array(MAX_TAGS, |node| node.single_line(MAX_TAG_BYTES).map(str::to_owned))
}

/// Reads pairs of a key and a value, which may be empty; of a colon in it Consul would take the rest of a key for a
/// value.
pub(super) fn metadata(node: &Cursor<'_>) -> Result<Vec<(String, String)>, Refusals> {
    node.entries(MAX_NODE_META, |key, node| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let expected = "only ASCII letters, digits, \"-\" and \"_\" in a key";
        let key = node.key(key, MAX_NODE_META_KEY_BYTES, is_allowed, expected)?;
        node.describe(r#"{ "maxLength": 512, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$" }"#);
        let value = match node.string()? {
            "" => "",
            _ => node.single_line(MAX_NODE_META_VALUE_BYTES)?,
        };
        Ok((key.to_owned(), value.to_owned()))
    })
}

/// Reads datacenters in their order, each once (in any case: Consul has them in lower case).
pub(super) fn datacenters(node: &Cursor<'_>) -> Result<Vec<String>, Refusals> {
    node.describe(r#"{ "minItems": 1, "uniqueItems": true }"#);
    let names = node.array(MAX_DATACENTERS, scope)?;
    if names.is_empty() {
        let expected = "a datacenter, or no datacenters field at all";
        return Err(node.error(FieldError::Empty { expected }));
    }
    node.check_differ(&names, |one, other| one.eq_ignore_ascii_case(other))?;
    Ok(names)
}

/// Consul itself checks the expression; it may span lines.
pub(super) fn filter(node: &Cursor<'_>) -> Result<String, Refusals> {
    let is_allowed = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    let expected = "no control characters but line ends and tabs";
    node.text(MAX_FILTER_BYTES, is_allowed, expected).map(str::to_owned)
}

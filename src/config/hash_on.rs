//! What is hashed of a request.

use super::cursor::Cursor;
use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::field_error::FieldError;
use super::handoff::Handoff;

/// What is hashed of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HashOn {
    /// All values of a header; the name in lower case.
    Header(String),
    /// A cookie's value, in whichever field it is.
    Cookie(String),
    /// A query parameter's value.
    Query(String),
    /// The path without the query.
    Path,
    /// The IP address that the request came from, without its port.
    SourceAddress,
}

impl HashOn {
    /// The most bytes of a name.
    pub const MAX_NAME_BYTES: usize = 255;
    /// The fields that the configuration knows, of which one is given.
    pub const FIELDS: &[&str] = &["header", "cookie", "query", "path", "source_address"];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let mut given = [
            object.optional("header", |node| header(node).map(Self::Header))?,
            object.optional("cookie", |node| cookie(node).map(Self::Cookie))?,
            object.optional("query", |node| parameter(node).map(Self::Query))?,
            object.optional("path", |node| node.must_be_true().map(|()| Self::Path))?,
            object.optional("source_address", |node| {
                node.must_be_true().map(|()| Self::SourceAddress)
            })?,
        ]
        .into_iter()
        .flatten();
        match (given.next(), given.count()) {
            (Some(only), 0) => Ok(only),
            (first, more) => {
                let found = usize::from(first.is_some()) + more;
                Err(node.error(FieldError::NotOne { fields: Self::FIELDS, found }))
            }
        }
    }
}

/// Reads the name of a request header, in any case, and gives it in lower case, as HTTP/2 and
/// Envoy have it.
pub(super) fn header(node: &Cursor<'_>) -> Result<String, ConfigError> {
    let name = node.token(HashOn::MAX_NAME_BYTES)?.to_ascii_lowercase();
    if name.starts_with(Handoff::HEADER_PREFIX) || name == Handoff::SESSION_HEADER {
        return Err(node.error(FieldError::HandoffHeader { name: Excerpt::of(&name) }));
    }
    if name == "host" {
        return Err(node.error(FieldError::HostHeader));
    }
    Ok(name)
}

/// Reads the name of a cookie, whose case counts.
pub(super) fn cookie(node: &Cursor<'_>) -> Result<String, ConfigError> {
    node.token(HashOn::MAX_NAME_BYTES).map(str::to_owned)
}

/// Reads the name of a query parameter as it stands in the URL, percent-encoded.
fn parameter(node: &Cursor<'_>) -> Result<String, ConfigError> {
    let is_allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '&' | '=' | '#');
    let expected = "only what a URL has before the \"=\" of a parameter";
    node.text(HashOn::MAX_NAME_BYTES, is_allowed, expected).map(str::to_owned)
}

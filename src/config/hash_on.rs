//! What is hashed of a request.

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::handoff::Handoff;
use super::object::field;
use crate::util::excerpt::Excerpt;

/// Part of a request that is hashed.
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
    const FIELDS: &[&str] = &["header", "cookie", "query", "path", "source_address"];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Option<Self>, Refusals> {
        let mut object = node.object("hash_on")?;
        object.describe(r#"{ "minProperties": 1, "maxProperties": 1 }"#);
        let mut found = None;
        object.set_some(
            field("header", "All values of a header, in their order."),
            &mut found,
            |node| header(node).map(Self::Header),
        );
        object.set_some(
            field("cookie", "A cookie's value, in whichever `cookie` field the cookie is."),
            &mut found,
            |node| cookie(node).map(Self::Cookie),
        );
        object.set_some(
            field(
                "query",
                "The first value of a query parameter; its name as it stands in the URL.",
            ),
            &mut found,
            |node| parameter(node).map(Self::Query),
        );
        object.set_some(field("path", "The path without the query."), &mut found, |node| {
            node.must_be_true().map(|()| Self::Path)
        });
        object.set_some(
            field("source_address", "The IP address that the request came from."),
            &mut found,
            |node| node.must_be_true().map(|()| Self::SourceAddress),
        );
        let given = Self::FIELDS.iter().filter(|field| object.has(field)).count();
        if given != 1 {
            object.refuse_whole(FieldError::NotOne { fields: Self::FIELDS, found: given });
        }
        object.finish(found)
    }
}

/// Reads the name of a request header, in any case, and gives it in lower case, as HTTP/2 and
/// Envoy have it.
pub(super) fn header(node: &Cursor<'_>) -> Result<String, Refusals> {
    node.describe(
        r#"{ "not": { "pattern": "^([Xx]-[Cc][Oo][Nn][Ss][Uu][Ll]-[Ee][Nn][Dd][Pp][Oo][Ii][Nn][Tt]-|[Hh][Oo][Ss][Tt]$)" } }"#,
    );
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
pub(super) fn cookie(node: &Cursor<'_>) -> Result<String, Refusals> {
    node.token(HashOn::MAX_NAME_BYTES).map(str::to_owned)
}

/// Reads the name of a query parameter as it stands in the URL, percent-encoded.
fn parameter(node: &Cursor<'_>) -> Result<String, Refusals> {
    let is_allowed = |c: char| c.is_ascii_graphic() && !matches!(c, '&' | '=' | '#');
    let expected = "only what a URL has before the \"=\" of a parameter";
    node.text(HashOn::MAX_NAME_BYTES, is_allowed, expected).map(str::to_owned)
}

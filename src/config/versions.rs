//! Which version of a service a request goes to.

use super::cursor::Cursor;
use super::error::ConfigError;
use super::excerpt::Excerpt;
use super::field_error::FieldError;
use super::hash_on::{HashOn, header};
use crate::model::version_pattern::VersionPattern;

/// The versions of a service's instances, and which of them a request goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Where an instance says its version.
    pub key: VersionKey,
    /// The request header that names a version, in lower case; none: no header does.
    pub header: Option<String>,
    /// Shares of the requests that name none, sorted by name, with some weight above 0; empty:
    /// they go to all versions.
    pub split: Vec<Share>,
    /// What makes a client stay with its share; none: each request draws anew.
    pub hash_on: Option<HashOn>,
    /// What becomes of a request whose version nobody has.
    pub fallback: VersionFallback,
}

impl Versions {
    /// The most bytes of a metadata key or a tag's prefix.
    pub const MAX_KEY_BYTES: usize = 255;
    /// The most shares.
    pub const MAX_SHARES: usize = 64;
    /// The most weight of a share.
    pub const MAX_WEIGHT: u32 = 1_000_000;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["key", "tag_prefix", "header", "split", "hash_on", "fallback"];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let text = |node: &Cursor<'_>| node.single_line(Self::MAX_KEY_BYTES).map(str::to_owned);
        let meta = object.optional("key", text)?.map(VersionKey::Meta);
        let tag = object.optional("tag_prefix", text)?.map(VersionKey::TagPrefix);
        if meta.is_some() && tag.is_some() {
            return Err(object.error_at("tag_prefix", FieldError::Beside { other: "key" }));
        }
        let header = object.optional("header", header)?;
        let split = object.optional("split", split)?.unwrap_or_default();
        let hash_on = object.optional("hash_on", HashOn::read)?;
        if split.is_empty() && hash_on.is_some() {
            return Err(object.error_at("hash_on", FieldError::NothingSplit));
        }
        if split.is_empty() && header.is_none() {
            let expected = "header or split, by which a request comes to a version";
            return Err(node.error(FieldError::Missing { expected }));
        }
        Ok(Self {
            key: meta.or(tag).unwrap_or_default(),
            header,
            split,
            hash_on,
            fallback: object
                .optional("fallback", |node| node.one_of("fallback", VersionFallback::CHOICES))?
                .unwrap_or_default(),
        })
    }
}

/// Reads the shares. JSON's objects have no order; `serde_json` sorts them by name, so that
/// they are in the same order on every thread.
fn split(node: &Cursor<'_>) -> Result<Vec<Share>, ConfigError> {
    let shares = node.entries(Versions::MAX_SHARES, |name, node| {
        let refused = |cause| node.error(FieldError::Version { text: Excerpt::of(name), cause });
        Ok(Share {
            name: name.to_owned(),
            pattern: VersionPattern::parse(name).map_err(refused)?,
            weight: node.integer(0..=Versions::MAX_WEIGHT)?,
        })
    })?;
    if shares.iter().all(|share| share.weight == 0) {
        return Err(node.error(FieldError::Zero { noun: "the sum of the weights" }));
    }
    Ok(shares)
}

/// Where an instance says its version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VersionKey {
    /// `Service.Meta` has it under this key.
    Meta(String),
    /// A tag that begins so; the rest of it is the version.
    TagPrefix(String),
}

impl Default for VersionKey {
    fn default() -> Self {
        Self::Meta("version".into())
    }
}

/// A share of the requests for some versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The pattern as it is written, which a header may name too.
    pub name: String,
    /// The versions.
    pub pattern: VersionPattern,
    /// Its weight relative to the other shares; may be 0.
    pub weight: u32,
}

/// What becomes of a request for a version that no endpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum VersionFallback {
    /// It goes to any version.
    #[default]
    Any,
    /// It is answered 503.
    None,
}

impl VersionFallback {
    /// The fallbacks, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[("any", Self::Any), ("none", Self::None)];
}

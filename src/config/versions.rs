//! Which version of a service a request goes to.

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::hash_on::{HashOn, header};
use super::object::field;
use crate::model::version_pattern::VersionPattern;
use crate::util::excerpt::Excerpt;

/// The versions of a service's instances, and which of them a request goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Place of an instance's version.
    pub key: VersionKey,
    /// The request header that names a version, in lower case; none: no header does.
    pub header: Option<String>,
    /// Shares of the requests that name none, sorted by name, with some weight above 0; empty:
    /// they go to all versions.
    pub split: Vec<Share>,
    /// Hash by which a client stays with its share; none: each request draws anew.
    pub hash_on: Option<HashOn>,
    /// Reaction to a request whose version nobody has.
    pub fallback: VersionFallback,
}

impl Versions {
    /// The most bytes of a metadata key or a tag's prefix.
    pub const MAX_KEY_BYTES: usize = 255;
    /// The most shares.
    pub const MAX_SHARES: usize = 64;
    /// The most weight of a share.
    pub const MAX_WEIGHT: u32 = 1_000_000;

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("versions")?;
        object.describe(
            r#"{ "anyOf": [{ "required": ["header"] }, { "required": ["split"] }],
                 "dependentSchemas": {
                    "tag_prefix": { "not": { "required": ["key"] } },
                    "hash_on": { "required": ["split"] }
                 } }"#,
        );
        let text = |node: &Cursor<'_>| node.single_line(Self::MAX_KEY_BYTES).map(str::to_owned);
        let (mut meta, mut tag, mut hash_on) = (None, None, None);
        let mut found = Self {
            key: VersionKey::default(),
            header: None,
            split: Vec::new(),
            hash_on: None,
            fallback: VersionFallback::default(),
        };
        object.set_some(
            field(
                "key",
                "The key of `Service.Meta` that has an instance's version. Default: `version`, unless \
                 `tag_prefix` is given.",
            ),
            &mut meta,
            text,
        );
        object.set_some(
            field(
                "tag_prefix",
                "Instead of `key`: the beginning of the tag whose rest is an instance's version.",
            ),
            &mut tag,
            text,
        );
        if object.has("key") && object.has("tag_prefix") {
            object.refuse("tag_prefix", FieldError::Beside { other: "key" });
        }
        object.set_some(
            field(
                "header",
                "The request header that names a version, or the first numbers of one, such as `1.x`.",
            ),
            &mut found.header,
            header,
        );
        object.set(
            field(
                "split",
                "The shares of the requests that name no version: weights by version, or by its first \
                 numbers, such as `{ \"1.x\": 95, \"2.x\": 5 }`.",
            ),
            &mut found.split,
            split,
        );
        object.set_some(
            field(
                "hash_on",
                "The part of a request that keeps a client at its share, exactly one. Default: each request draws \
                 anew.",
            ),
            &mut hash_on,
            HashOn::read,
        );
        object.set(
            field(
                "fallback",
                "The fate of a request whose version no instance has: `any` lets it go to any \
                 version, `none` answers 503.",
            ),
            &mut found.fallback,
            |node| node.one_of("fallback", VersionFallback::CHOICES),
        );
        if !object.has("split") {
            if object.has("hash_on") {
                object.refuse("hash_on", FieldError::NothingSplit);
            }
            if !object.has("header") {
                let expected = "header or split, by which a request comes to a version";
                object.refuse_whole(FieldError::Missing { expected });
            }
        }
        found.hash_on = hash_on.flatten();
        found.key =
            meta.map(VersionKey::Meta).or(tag.map(VersionKey::TagPrefix)).unwrap_or_default();
        object.finish(found)
    }
}

/// Reads the shares. JSON's objects have no order; `serde_json` sorts them by name, so that
/// they are in the same order on every thread.
fn split(node: &Cursor<'_>) -> Result<Vec<Share>, Refusals> {
    node.describe(
        r#"{ "minProperties": 1, "propertyNames": { "minLength": 1, "maxLength": 255 } }"#,
    );
    let shares = node.entries(Versions::MAX_SHARES, |name, node| {
        let weight = node.integer(0..=Versions::MAX_WEIGHT);
        let refused = |cause| node.error(FieldError::Version { text: Excerpt::of(name), cause });
        Ok(Share {
            name: name.to_owned(),
            pattern: VersionPattern::parse(name).map_err(refused)?,
            weight: weight?,
        })
    })?;
    if shares.iter().all(|share| share.weight == 0) {
        return Err(node.error(FieldError::Zero { noun: "the sum of the weights" }));
    }
    Ok(shares)
}

/// Place of an instance's version.
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

/// Reaction to a request for a version that no endpoint has.
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

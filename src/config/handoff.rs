//! The way of a pick to Envoy's router.

use super::cursor::Cursor;
use super::error::Refusals;
use super::field_error::FieldError;
use super::object::field;

/// Way of a pick to Envoy's router; the clusters of the Envoy configuration must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handoff {
    /// One endpoint in the request's filter state, for an `ORIGINAL_DST` cluster.
    #[default]
    FilterState,
    /// Several distinct endpoints in request headers, for an `ORIGINAL_DST` cluster that goes by the
    /// first one and moves the next one there for each retry.
    Headers {
        /// Number from 1 to [`Handoff::MAX_ATTEMPTS`]; the first attempt counts. The
        /// route's `num_retries` is one less, or less.
        attempts: u8,
    },
    /// One endpoint in the request header [`Handoff::SESSION_HEADER`], for Envoy's
    /// `stateful_session` filter and a cluster that has the endpoints as its own hosts.
    StatefulSession,
}

impl Handoff {
    /// Prefix of the headers, of which each attempt has one.
    pub const HEADER_PREFIX: &str = "x-consul-endpoint-";
    /// The header that Envoy's `stateful_session` filter reads: the base64 of an address.
    pub const SESSION_HEADER: &str = "x-consul-endpoint";
    /// The most attempts: each is a header to write and to move.
    pub const MAX_ATTEMPTS: u8 = 4;
    /// The attempts where none are given: one retry, which reaches another instance.
    pub const DEFAULT_ATTEMPTS: u8 = 2;
    /// The ways, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[
        ("filter_state", Self::FilterState),
        ("headers", Self::Headers { attempts: Self::DEFAULT_ATTEMPTS }),
        ("stateful_session", Self::StatefulSession),
    ];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, Refusals> {
        let mut object = node.object("handoff")?;
        object.describe(
            r#"{ "dependentSchemas": { "attempts": { "properties": { "via": { "const": "headers" } } } } }"#,
        );
        let mut via = Self::default();
        let mut attempts = Self::DEFAULT_ATTEMPTS;
        object.require(
            field(
                "via",
                "`stateful_session`: one endpoint, for Envoy's `stateful_session` filter and a cluster \
                 that `xds` feeds. `filter_state`: one endpoint, for an `ORIGINAL_DST` cluster. \
                 `headers`: several, for an `ORIGINAL_DST` cluster that takes the next one for each \
                 retry.",
            ),
            "filter_state, headers or stateful_session",
            &mut via,
            |node| node.one_of("handoff", Self::CHOICES),
        );
        object.set(
            field(
                "attempts",
                "With `headers`: how many endpoints are handed over; the first attempt counts.",
            ),
            &mut attempts,
            |node| node.byte(1..=Self::MAX_ATTEMPTS),
        );
        match via {
            Self::Headers { .. } => via = Self::Headers { attempts },
            _ if object.has("attempts") && object.are_read(&["via"]) => {
                object.refuse("attempts", FieldError::AttemptsWithoutHeaders);
            }
            _ => {}
        }
        object.finish(via)
    }
}

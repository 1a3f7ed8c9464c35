//! How a pick reaches Envoy's router.

use super::cursor::Cursor;
use super::error::ConfigError;
use super::field_error::FieldError;

/// How a pick reaches Envoy's router; the clusters of the Envoy configuration must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Handoff {
    /// One endpoint in the request's filter state, for an `ORIGINAL_DST` cluster.
    #[default]
    FilterState,
    /// Several distinct endpoints in request headers, for an `ORIGINAL_DST` cluster that goes by the
    /// first one and moves the next one there for each retry.
    Headers {
        /// How many, from 1 to [`Handoff::MAX_ATTEMPTS`]; the first attempt counts. The
        /// route's `num_retries` is one less, or less.
        attempts: u8,
    },
    /// One endpoint in the request header [`Handoff::SESSION_HEADER`], for Envoy's
    /// `stateful_session` filter and a cluster that has the endpoints as its own hosts.
    StatefulSession,
}

impl Handoff {
    /// What the names of the headers begin with, one for each attempt.
    pub const HEADER_PREFIX: &str = "x-consul-endpoint-";
    /// The header that Envoy's `stateful_session` filter reads: the base64 of an address.
    pub const SESSION_HEADER: &str = "x-consul-endpoint";
    /// The most attempts: each is a header to write and to move.
    pub const MAX_ATTEMPTS: u8 = 4;
    /// The attempts where none are given: one retry, which reaches another instance.
    pub const DEFAULT_ATTEMPTS: u8 = 2;
    /// The fields that the configuration knows.
    pub const FIELDS: &[&str] = &["via", "attempts"];
    /// The ways, as the configuration calls them.
    pub const CHOICES: &[(&str, Self)] = &[
        ("filter_state", Self::FilterState),
        ("headers", Self::Headers { attempts: Self::DEFAULT_ATTEMPTS }),
        ("stateful_session", Self::StatefulSession),
    ];

    pub(super) fn read(node: &Cursor<'_>) -> Result<Self, ConfigError> {
        let object = node.object(Self::FIELDS)?;
        let via = object.required("via", "filter_state, headers or stateful_session", |node| {
            node.one_of("handoff", Self::CHOICES)
        })?;
        let attempts = object.optional("attempts", |node| node.byte(1..=Self::MAX_ATTEMPTS))?;
        match (via, attempts) {
            (Self::Headers { .. }, Some(attempts)) => Ok(Self::Headers { attempts }),
            (Self::FilterState | Self::StatefulSession, Some(_)) => {
                Err(object.error_at("attempts", FieldError::AttemptsWithoutHeaders))
            }
            (via, None) => Ok(via),
        }
    }
}

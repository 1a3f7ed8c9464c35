//! A prepared query of Consul, which finds instances by rules of its own.

use super::cursor::{Cursor, Object};
use super::error::ConfigError;
use super::field_error::FieldError;
use super::service::{Service, name};

/// A prepared query that is executed in place of asking for a service by its name.
///
/// What it looks for is written in Consul, so the fields that say so of a service by name
/// ([`PreparedQuery::REPLACED`]) are refused beside it. It cannot be waited for, and is polled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreparedQuery {
    /// Its name or its id, or what a template of Consul matches.
    pub name: String,
    /// The node to which the instances are sorted: the nearest ones are those that `limit`
    /// leaves.
    pub near: Option<String>,
    /// The most instances of one answer; none: all.
    pub limit: Option<u32>,
}

impl PreparedQuery {
    /// The most `limit`: as many endpoints as one service may have.
    pub const MAX_LIMIT: u32 = 65_536;
    /// The fields of a service that a prepared query takes the place of.
    pub const REPLACED: [&str; 8] = [
        "service",
        "tags",
        "filter",
        "node_meta",
        "namespace",
        "partition",
        "peer",
        "merge_central_config",
    ];

    /// Reads the fields of a service that are about it.
    pub(super) fn read(service: &Object<'_>) -> Result<Option<Self>, ConfigError> {
        let query = service.optional("query", name)?;
        let limit = service.optional("limit", |node| node.integer(1..=Self::MAX_LIMIT))?;
        let near = service.optional("near", near)?;
        let Some(name) = query else {
            let given = ["limit", "near"].into_iter().find(|field| service.has(field));
            return match given {
                Some(field) => {
                    Err(service.error_at(field, FieldError::Needs { other: "a prepared query" }))
                }
                None => Ok(None),
            };
        };
        if let Some(field) = Self::REPLACED.into_iter().find(|field| service.has(field)) {
            return Err(service.error_at(field, FieldError::Beside { other: "query" }));
        }
        // No query lists critical instances.
        let is_any = |node: &Cursor<'_>| Ok(node.string()? == "any");
        if service.optional("health", is_any)? == Some(true) {
            return Err(service.error_at("health", FieldError::Beside { other: "query" }));
        }
        if near.is_some() && limit.is_none() {
            return Err(service.error_at("near", FieldError::Needs { other: "a limit" }));
        }
        Ok(Some(Self { name, near, limit }))
    }
}

fn near(node: &Cursor<'_>) -> Result<String, ConfigError> {
    node.single_line(Service::MAX_NAME_BYTES).map(str::to_owned)
}

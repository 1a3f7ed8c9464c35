//! A prepared query of Consul, which finds instances by rules of its own.

use serde_json::{Value, json};

use super::field_error::FieldError;
use super::object::{Object, field};
use super::selection::{MAX_NAME_BYTES, name};

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
    pub(super) fn read(service: &mut Object<'_>) -> Option<Self> {
        service.describe(
            r#"{ "dependentSchemas": {
                "query": { "properties": { "health": { "enum": ["passing", "warning"] } } },
                "limit": { "required": ["query"] },
                "near": { "required": ["query", "limit"] }
            } }"#,
        );
        service.describe_with(|| {
            let replaced: Value =
                Self::REPLACED.into_iter().map(|name| (name.to_owned(), json!(false))).collect();
            json!({ "dependentSchemas": { "query": { "properties": replaced } } })
        });
        let mut query = None;
        let mut limit = None;
        let mut near = None;
        service.set_some(
            field(
                "query",
                "The name or the id of a prepared query that finds the instances, in place of the \
                 service's name. It is polled. The query itself says what it looks for: `service`, \
                 `tags`, `filter`, `node_meta`, `namespace`, `partition`, `peer`, \
                 `merge_central_config` and `health: any` are refused beside it.",
            ),
            &mut query,
            name,
        );
        service.set_some(
            field("limit", "With `query`: the most instances of an answer."),
            &mut limit,
            |node| node.integer(1..=Self::MAX_LIMIT),
        );
        service.set_some(
            field(
                "near",
                "With `query` and `limit`: the node whose nearest instances are taken; `_agent` is \
                 that of Consul's agent.",
            ),
            &mut near,
            |node| node.single_line(MAX_NAME_BYTES).map(str::to_owned),
        );
        if !service.has("query") {
            for field in ["limit", "near"] {
                if service.has(field) {
                    service.refuse(field, FieldError::Needs { other: "a prepared query" });
                }
            }
            return None;
        }
        for field in Self::REPLACED {
            if service.has(field) {
                service.refuse(field, FieldError::Beside { other: "query" });
            }
        }
        if service.has("near") && !service.has("limit") {
            service.refuse("near", FieldError::Needs { other: "a limit" });
        }
        query.map(|name| Self { name, near, limit })
    }
}

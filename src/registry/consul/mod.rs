//! Consul: its queries, responses and agent API; no I/O.
//!
//! ```text
//! config::{Config, Service} ─► Query ─► Request ─► (the host sends it)
//!                                │
//! QueryResponse or QueryError ◄─ read ◄─ Response or CallFailure
//!                                └─► decode ─► wire ─► lenient
//! ```
//!
//! A body is read in one pass, entry by entry, into endpoints. Each entry is judged at its end, and
//! only its endpoint is kept.

mod decode_error;
#[cfg(test)]
mod fixtures;
mod host;
pub mod instance_filter;
mod key;
mod lenient;
mod metadata;
pub mod mistake;
mod path;
mod prepared_query;
pub mod query_response;
pub mod rejected_instances;
mod string_table;
mod wire;

pub mod catalog;
pub mod decode;
pub mod dns_name;
pub mod error;
pub mod excerpt;
pub mod health;
pub mod index;
pub mod query;
pub mod registration;
pub mod request;
pub mod response;
pub mod token;

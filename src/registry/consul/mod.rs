//! Consul: its queries, responses and agent API; no I/O.
//!
//! ```text
//! config::{Config, Service} ─► ConsulQuery ─► HttpRequest ─► (the host sends it)
//!                                  │
//! QueryResponse or QueryError ◄─ read ◄─ HttpResponse or CallFailure
//!                                  └─► decode, prepared_query ─► wire ─► lenient
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
mod path;
pub mod prepared_query;
mod string_table;
mod wire;

pub mod catalog;
pub mod decode;
pub mod dns_name;
pub mod error;
pub mod headers;
pub mod health;
pub mod index;
pub mod query;
pub mod registration;
pub mod response;

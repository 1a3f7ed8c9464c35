//! What is asked of Consul and what its answers mean; no I/O.
//!
//! ```text
//! config::{Config, Service} ─► ConsulQuery ─► HttpRequest ─► (the host sends it)
//!                                  │
//! QueryResponse or QueryError ◄─ read ◄─ HttpResponse or CallFailure
//!                                  └─► decode, prepared_query ─► wire ─► lenient
//! ```
//!
//! A body is read in one pass, entry by entry, into endpoints: what an entry says is
//! judged as soon as its end is reached, and nothing else of it is kept.

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
mod string_table;
mod wait;
mod wire;

pub mod catalog;
pub mod decode;
pub mod dns_name;
pub mod error;
pub mod health;
pub mod index;
pub mod query;
pub mod registration;
pub mod response;

//! What is asked of Consul and what its answers mean; no I/O.
//!
//! ```text
//! config::{Config, Service} ─► Query ─► Request ─► (the host sends it)
//!                                │
//!      Answer or QueryError ◄─ read ◄─ Response or CallFailure
//!                                └─► decode ─► wire ─► lenient
//! ```
//!
//! A body is read in one pass, entry by entry, into endpoints: what an entry says is
//! judged as soon as its end is reached, and nothing else of it is kept.

#[cfg(test)]
mod fixtures;
mod host;
mod labels;
mod lenient;
mod metadata;
mod path;
mod wire;

pub mod decode;
pub mod dropped;
pub mod error;
pub mod excerpt;
pub mod health;
pub mod index;
pub mod query;
pub mod response;
pub mod selection;

//! The registries that services are read from, behind one seam; no I/O.
//!
//! ```text
//! config::{Config, Service} ─► Query ─► HttpRequest ─► (the host sends it)
//!                                │
//! QueryResponse or RegistryError ◄─ read ◄─ HttpResponse or CallFailure
//! ```
//!
//! Discovery knows these types and no registry's own: not the index by which Consul's queries
//! block, not its headers, not its parameters for fresher reads. A registry is a folder here, and a
//! variant of [`Query`](query::Query), [`Resume`](resume::Resume) and
//! [`RegistryError`](error::RegistryError).

pub mod consul;
pub mod error;
pub mod error_kind;
pub mod http;
#[cfg(feature = "polled-registry")]
pub mod polled;
pub mod query;
pub mod query_response;
pub mod rejected_instances;
pub mod resume;
pub mod source_spec;
pub mod token;

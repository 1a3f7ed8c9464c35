//! The nouns of service discovery; they do nothing by themselves.

pub mod endpoint;
pub mod index_set;
pub mod registration;
pub mod service;
pub mod service_names;
pub mod slot_map;
pub mod snapshot;
pub mod version_pattern;

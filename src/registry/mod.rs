//! The registries that services are read from.

pub mod consul;
pub mod source_spec;

//! The registries that services are read from.

pub mod consul;

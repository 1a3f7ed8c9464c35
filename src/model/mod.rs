//! The nouns of service discovery; they do nothing by themselves.

pub mod arena;
pub mod assignment;
pub mod endpoint;
pub mod places;
pub mod registration;
pub mod service;
pub mod services;
pub mod snapshot;

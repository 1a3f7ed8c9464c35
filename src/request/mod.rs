//! One request and its response, on the host calls of a stream.
//!
//! The number of host calls is a budget. Tests count them, and docs/limits.md tells them: one more changes
//! all three.

pub mod handler;
pub mod inputs;
pub mod response;
pub mod warmup;

#[cfg(test)]
mod counted;
#[cfg(test)]
mod handoffs;

//! Keeps services registered with Consul: events in, calls to the agent out.
//!
//! A [`Reconciler`](reconciler::Reconciler) registers one service, reads the registration back,
//! reports on its checks, and mends what has changed. A [`Removal`](removal::Removal) deregisters a
//! service that no configuration contains any more. Neither sends calls itself, and neither decides
//! which VM is the leader.

pub mod agent_call;
pub mod down_dependencies;
mod drain;
pub mod probe;
pub mod reconciler;
pub mod removal;
mod ttl_check;

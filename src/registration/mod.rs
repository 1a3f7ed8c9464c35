//! Keeping services registered with Consul: events in, errands out.
//!
//! A [`Keeper`](reconciler::Reconciler) has one registration: it registers it, reads it back, reports on
//! its checks, and mends what has changed. [`Removal`](removal::Removal) takes one away that is
//! wanted no more. Neither sends anything, nor decides which VM it is that does.

pub mod agent_call;
mod call_slot;
pub mod down_dependencies;
mod drain;
pub mod probe;
pub mod reconciler;
pub mod registration_event;
pub mod removal;
mod ttl_check;

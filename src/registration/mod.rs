//! Keeping services registered with Consul: events in, errands out.
//!
//! A [`Keeper`](keeper::Keeper) has one registration: it registers it, reads it back, reports on
//! its checks, and mends what has changed. [`Removal`](removal::Removal) takes one away that is
//! wanted no more. Neither sends anything, nor decides which VM it is that does.

mod drain;
pub mod errand;
pub mod keeper;
pub mod lack;
pub mod notice;
pub mod probing;
pub mod removal;
mod slot;
mod ttl_check;

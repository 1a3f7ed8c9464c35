//! The policies that pick a host of a group.

mod alias;
pub(super) mod hash_table;
pub(super) mod host_group;
mod least_request;
pub mod maglev;
pub(super) mod peak_ewma;
pub mod ring_hash;
mod round_robin;

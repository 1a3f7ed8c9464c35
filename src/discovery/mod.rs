//! Finding services: state machines that ask Consul and share what they learn.
//!
//! Nothing here touches a host. An [`agent::Agent`] holds one [`tracker::Tracker`] for each
//! source, which composes the source's [`lease`] (who fetches) with its [`watch`] (the
//! blocking queries) and publishes by way of shared data.

pub mod agent;
mod contact;
pub mod event;
pub mod lease;
pub mod letter;
mod membership;
pub mod notice;
pub mod outcome;
mod pace;
mod publication;
mod reread;
pub mod scope;
mod suspicion;
pub mod tracker;
pub mod watch;

//! Finding services: state machines that ask Consul and share what they learn.
//!
//! Nothing here touches a host. An [`agent::Agent`] holds one [`tracker::Tracker`] for each
//! service, which composes the service's [`lease`] (who fetches) with its [`watch`] (the
//! blocking queries) and publishes by way of shared data.

pub mod agent;
pub mod event;
pub mod lease;
mod membership;
pub mod notice;
mod pace;
mod publication;
pub mod scope;
pub mod tracker;
pub mod watch;

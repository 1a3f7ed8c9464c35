//! Finding services: state machines that ask Consul and share what they learn.
//!
//! Nothing here touches a host. An [`agent::Agent`] holds one [`tracker::Tracker`] for each
//! source, which composes the source's [`lease`] (who fetches) with its [`watch`] (the
//! blocking queries) and publishes by way of shared data. All calls to Consul go through one
//! [`gate`], and what an answer takes away is [doubted](doubt) first.
//!
//! What is registered with Consul is kept by the same VM, through the same gate: a [`registrar`]
//! composes the lease of a registration with its [`Keeper`](crate::registration::keeper::Keeper).

pub mod agent;
pub mod breaker;
mod call_budget;
pub mod caller;
pub mod circuit;
mod class;
mod contact;
pub mod doubt;
pub mod event;
pub mod gate;
pub mod guard;
pub mod lease;
pub mod letter;
pub mod line;
mod membership;
pub mod notice;
pub mod outcome;
mod pace;
mod publication;
mod registrar;
mod registry;
mod reread;
mod resync;
pub mod scope;
mod silence;
mod standings;
pub mod subject;
mod suspicion;
pub mod tracker;
pub mod watch;

//! Finding services: state machines that ask Consul and share what they learn.
//!
//! Nothing here touches a host. An [`manager::Manager`] holds one [`tracked_source::TrackedSource`] for each
//! source, which composes the source's [`lease`](crate::election::lease) (who fetches) with its [`watch`] (the
//! blocking queries) and publishes by way of shared data. All calls to Consul go through one
//! [`scheduler`](crate::calls::scheduler), and what an answer takes away is [doubted](doubt) first.
//!
//! What is registered with Consul is kept by the same VM, through the same gate: a [`registration_controller`]
//! composes the lease of a registration with its [`Keeper`](crate::registration::reconciler::Reconciler).

mod contact;
pub mod context;
pub mod doubt;
mod early_refresh;
pub mod event;
pub mod manager;
mod publication;
mod query_backoff;
mod refresh_request;
mod registration_controller;
mod registration_manager;
pub mod response_outcome;
mod resync;
pub mod shrink_guard;
pub mod source_event;
pub mod source_spec;
pub mod tracked_source;
pub mod watch;

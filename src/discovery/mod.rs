//! Discovers services: state machines that query Consul and share the results between VMs.
//!
//! Nothing here touches a host. A [`manager::Manager`] holds one [`tracked_source::TrackedSource`]
//! for each source, which combines a [`lease`](crate::election::lease) (the election of a leader)
//! with a [`watch`] (the blocking queries) and publishes snapshots through shared data. All calls
//! to Consul go through one [`scheduler`](crate::calls::scheduler), and a response that removes
//! endpoints is [checked](doubt) first.

mod contact;
mod data_age;
pub mod doubt;
mod leader;
mod lease_claim;
pub mod manager;
mod outgoing_query;
mod publication;
mod query_backoff;
mod refresh_request;
pub mod response_outcome;
pub mod shrink_guard;
mod source_view;
pub mod tracked_source;
pub mod watch;

//! Choosing an endpoint for a request, in one worker's own memory.
//!
//! A [`pool::Pool`] is the worker's live view of a service. It keeps one
//! [`upstream_host::UpstreamHost`] for each endpoint, picks by its policy, and hands out a
//! [`ticket::Ticket`] for each request in flight. A pick takes the same time whatever the
//! number of endpoints, and allocates nothing; all that costs is done at install, but for the tables
//! of hash policies, which wait for their first use.
//!
//! A pick narrows down: the datacenter (a *level*, by `priority`), the versions that the
//! request wants (a *slice* of it, by `subsets`), the zone (a *group* of the slice, by
//! `locality`), and of the group an endpoint by the policy. What answers teach `peak_ewma` is kept
//! with the endpoint.

mod cumulative;
mod host_set;
pub mod locality;
pub mod pick_context;
pub mod policy;
pub mod pool;
mod pool_settings;
pub mod priority;
pub mod request_outcome;
pub mod slow_start;
mod subset;
mod subset_selectors;
pub mod ticket;
pub mod upstream_host;

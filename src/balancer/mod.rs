//! Picking a host for a request, in one worker's memory.
//!
//! A [`pool::Pool`] is the worker's live view of a service. The pool keeps an
//! [`upstream_host::UpstreamHost`] for each endpoint, picks by its policy, and hands out a
//! [`ticket::Ticket`] for each request in flight. A pick takes the same time whatever the number of
//! hosts, and allocates nothing. All costly work is done at install, but for the tables of hash
//! policies, which wait for their first use.
//!
//! A pick narrows down: to a datacenter (a *host set*, by `priority`), the versions that the request
//! wants (a *subset* of it, by `subset_selectors`), the zone (a *group* of the subset, by `locality`),
//! and a host of the group by the `policy`.

mod cumulative;
mod host_set;
pub mod locality;
pub mod pick_context;
pub mod policy;
pub mod pool;
pub mod priority;
mod slow_start;
mod subset;
mod subset_selectors;
pub mod ticket;
pub mod upstream_host;

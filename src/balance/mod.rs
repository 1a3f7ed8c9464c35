//! Choosing an endpoint for a request, in one worker's own memory.
//!
//! A [`pool::Pool`] is the worker's live view of a snapshot. It keeps one
//! [`target::Target`] for each endpoint, picks by its policy, and hands out a
//! [`ticket::Ticket`] for each request in flight. A pick takes the same time whatever the
//! number of endpoints, and allocates nothing; all that costs is done at install.

mod alias;
mod least_request;
pub mod pool;
mod round_robin;
pub mod target;
pub mod ticket;

//! Pools and routers as a worker has them: who is picked, how often, and what it costs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod affinity;
mod allocations;
mod distribution;
mod failover;
mod fleet;
mod latencies;
mod lifetimes;
mod picks;
mod rounds;
mod statistics;
mod versions;
mod warming;
mod zones;

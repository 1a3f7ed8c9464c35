//! The filter in a real Envoy, with a real Consul and real backends.
//!
//! Each file is one promise of the filter. Where no Consul can be had its tests say loudly that
//! they were skipped; with `REQUIRE_CONSUL=1` they fail.

#![cfg(not(target_family = "wasm"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests fail by panicking, and real processes live on the wall clock"
)]

mod addresses;
mod bad_answers;
mod bad_entries;
mod compose;
mod configuration;
mod dynamic;
mod failover;
mod hostile;
mod hosts;
mod listeners;
mod load;
mod log;
mod membership;
mod metrics;
mod one_fetcher;
mod outage;
mod plugin;
mod refused_calls;
#[allow(dead_code, reason = "each file takes what it needs")]
mod testbed;
mod warmup;
mod weights;
mod wire;

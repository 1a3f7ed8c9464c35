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

mod acls;
mod address_policy;
mod addresses;
mod affinity;
mod attempts;
mod bad_answers;
mod bad_entries;
mod capabilities;
mod compose;
mod configuration;
mod datacenters;
mod dependencies;
mod dynamic;
mod early_read;
mod failover;
mod faults;
mod fed;
mod finding;
mod grpc;
mod hostile;
mod hosts;
mod latency;
mod lies;
mod listeners;
mod load;
mod locality;
mod log;
mod membership;
mod metrics;
mod names;
mod one_fetcher;
mod outage;
mod plugin;
mod query;
mod question;
mod redirects;
mod refused_calls;
mod refused_handoffs;
mod registration;
mod releases;
mod share;
mod slow_start;
mod staleness;
mod subscriptions;
#[allow(dead_code, reason = "each file takes what it needs")]
mod testbed;
mod tls;
mod tls_names;
mod token;
mod versions;
mod warmup;
mod web_socket;
mod weights;
mod wire;

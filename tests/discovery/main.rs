//! Discovery of one VM, from without: what it asks of Consul, and what it makes of the responses.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "../testkit/mod.rs"]
mod testkit;

mod belief;
mod calls;
mod doubts;
mod early_refresh;
mod index_rules;
mod isolation;
mod listing;
mod messages;
mod moods;
mod orphans;
mod reelection;
mod users;

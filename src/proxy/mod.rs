//! Envoy: the only floor that knows the proxy, and exists only in the module.
//!
//! Every VM starts here. A root context ([`root`]) drives discovery from its timer; an HTTP
//! context ([`filter`]) routes one request. Host calls are made by [`host`] alone.

mod callout;
mod clock;
mod consul_host;
mod core;
mod dependency_metrics;
mod filter;
mod found_metrics;
mod gauges;
mod host;
mod metrics;
mod probe_metrics;
mod registration_metrics;
mod root;
mod source_metrics;
mod stream;
#[cfg(feature = "trap")]
mod trap;
mod unseen;
mod waiting;

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    // Also installs the hook that logs panics. The configuration sets the real level.
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|id| Box::new(root::Root::new(id)));
}}

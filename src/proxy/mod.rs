//! Envoy: the only floor that knows the proxy. It exists in the module alone.
//!
//! Every VM starts here. A root context ([`root`]) drives discovery from its timer, and an HTTP
//! context ([`filter`]) routes one request. Envoy calls [`exports`]; only [`host`] calls Envoy, by
//! [`abi`].

mod abi;
mod callout;
mod envoy_host;
mod event_log;
mod exports;
mod filter;
mod host;
mod metrics;
mod plugin;
mod registration_metrics;
mod root;
mod service_metrics;
mod source_metrics;
mod stream;
mod subscriptions;
mod timer;
#[cfg(feature = "trap")]
mod trap;
mod waiting;

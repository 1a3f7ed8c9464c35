//! Feeds Envoy's own clusters: answers its subscriptions to endpoints (EDS), clusters (CDS) and
//! routes (RDS) out of what discovery has found.
//!
//! ```text
//! Update ─► Resources ─► Published ─┐
//! Request ─► DiscoveryRequest ─► Subscription ─► Response
//!                                └─► Trials (what Envoy rejects) ─► Suspects (whose settings)
//! ```
//!
//! Sans-IO: requests of Envoy and updates of services in, responses out. A subscription that has the
//! newest version is held until there is another one: a long poll.

pub mod clusters;
mod endpoints;
mod json;
mod overlay;
pub mod resource;
pub mod resources;
pub mod routes;
mod subscriptions;
mod suspects;
mod trial;

pub mod event;
pub mod request;
pub mod response;
pub mod server;

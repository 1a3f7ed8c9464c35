//! Feeds Envoy's own clusters: answers its subscriptions to endpoints (EDS), clusters (CDS) and
//! routes (RDS) out of what discovery has found.
//!
//! Sans-IO: requests of Envoy and updates of services in, responses out.

pub mod update;

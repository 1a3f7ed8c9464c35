//! Services that come and go, by the router that has them.

mod catalog;
mod on_demand;

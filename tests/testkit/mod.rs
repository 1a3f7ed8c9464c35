//! One VM on a host in memory: a test sets the time, and answers what the VM asks.
//!
//! ```text
//! host     what a VM can do: shared data, calls, and what it tells
//! vm       discovery and routing on that host; time in steps
//! reply    responses of Consul
//! script   one service whose requests a test answers one by one
//! ```

pub mod host;
pub mod reply;
pub mod script;
pub mod vm;

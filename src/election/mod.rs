//! Leader election among the VMs of one Envoy process, by records in shared data.
//!
//! For each source one VM holds a [`lease::Lease`] and is its leader. The members tell each other
//! by messages what has changed.

pub mod lease;
pub mod membership;
pub mod observed_since;

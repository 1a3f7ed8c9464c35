//! Active health checks: requests that test whether a target works.

pub mod checker;
pub mod verdict;

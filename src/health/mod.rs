//! Finding out by requests whether something is healthy.

pub mod prober;
pub mod verdict;

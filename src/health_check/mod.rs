//! Finding out by requests whether something is healthy.

pub mod checker;
pub mod verdict;

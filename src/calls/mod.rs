//! Decides which calls to Consul may go out, and at which time.
//!
//! A [`scheduler::CallScheduler`] admits the calls of one VM. It has a circuit breaker for each
//! datacenter, and a retry budget and queues for each group of callers, so that no caller waits for
//! the trouble of another.

pub mod breaker;
pub mod caller;
pub mod caller_group;
pub mod caller_history;
pub mod circuit;
pub mod retry_budget;
pub mod scheduler;
pub mod wait_queue;

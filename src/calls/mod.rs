//! Calls to Consul: which one may go out, and when.
//!
//! A [`scheduler::CallScheduler`] admits the calls of one VM: a circuit breaker for each datacenter, a
//! retry budget, and queues by class, so that no caller waits for the trouble of another.

pub mod breaker;
pub mod caller;
pub mod caller_group;
pub mod caller_history;
pub mod circuit;
pub mod retry_budget;
pub mod scheduler;
pub mod wait_queue;

//! Keeps services registered with Consul: state machines, events in and commands out.
//!
//! A [`manager::RegistrationManager`] holds one `Controller` for each registration, which combines
//! a [`lease`](crate::election::lease) (the election of a leader) with a reconciler. A
//! [`Reconciler`](reconciler::Reconciler) drives an agent to a
//! [desired state](desired_state::DesiredState). A service that must be present is registered, read
//! back, reported on, and mended when it has changed. A service that must be absent is deregistered,
//! because no configuration contains it any more. The reconciler neither sends calls itself nor
//! decides which VM is the leader.

mod absent;
pub mod agent_call;
mod checks;
mod controller;
pub mod desired_state;
pub mod down_dependencies;
mod drain;
pub mod manager;
mod present;
pub mod probe;
pub mod reconciler;
mod ttl_check;

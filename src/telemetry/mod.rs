//! The events that operators learn of, with their log levels and texts.
//!
//! Events are data: the state machines report them, and a host counts, shows and logs them.

mod doubt;
mod registration_event;
mod route_event;
mod source_event;

pub use doubt::{Doubt, Resolution};
pub use registration_event::{RegistrationEvent, Remains};
pub use route_event::RouteEvent;
pub use source_event::SourceEvent;

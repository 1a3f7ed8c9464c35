//! The events that operators learn of, with their log levels and texts.
//!
//! Events are data: the state machines emit them, and a [`Host`](crate::host::Host) counts, shows
//! and logs them.

mod breaker_event;
mod registration_event;
mod service_event;
mod source_event;

pub use breaker_event::BreakerEvent;
pub use registration_event::{RegistrationEvent, Remains};
pub use service_event::{FoundService, FoundSource, ServiceEvent};
pub use source_event::{Doubt, Resolution, SourceEvent};

use crate::model::registration::RegistrationId;
use crate::model::service::{ServiceId, SourceId};

/// An event for operators, by its subject.
#[derive(Debug)]
pub enum TelemetryEvent {
    /// An event of a source.
    Source {
        /// The source.
        source: SourceId,
        /// The event.
        event: SourceEvent,
    },
    /// An event of a registration.
    Registration {
        /// The registration.
        registration: RegistrationId,
        /// The event.
        event: RegistrationEvent,
    },
    /// An event of a service.
    Service {
        /// The service.
        service: ServiceId,
        /// The event.
        event: ServiceEvent,
    },
    /// The circuit breaker towards the registry has changed its state.
    Breaker(BreakerEvent),
}

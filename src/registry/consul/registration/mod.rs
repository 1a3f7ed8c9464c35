//! The agent API: definitions, requests, responses and drift of a registration.
//!
//! ```text
//! config::Registration ─► Definition ─► Request ─► (the host sends it)
//!                              │
//!    Found or RegistrationError ◄─ read_… ◄─ Response or CallFailure
//! ```

mod actual;
mod definition;
mod drift;
mod error;
mod response;

pub use self::actual::AgentIdentity;
pub use self::actual::{ActualCheck, ActualService};
pub use self::definition::{CheckStatus, Definition, Id, Report};
pub use self::drift::Drift;
pub use self::error::RegistrationError;
pub use self::response::{Gone, Reported};

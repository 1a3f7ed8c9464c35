//! A registration as Consul's agent takes it, and what it says of it.
//!
//! ```text
//! config::Registration ─► Definition ─► Request ─► (the host sends it)
//!                              │
//!      Found or RegistrationError ◄─ read_… ◄─ Response or CallFailure
//! ```

mod answers;
mod definition;
mod difference;
mod error;
mod found;
mod identity;

pub use self::answers::{Gone, Reported};
pub use self::definition::{Definition, Id, Report, Status};
pub use self::difference::Difference;
pub use self::error::RegistrationError;
pub use self::found::{FoundCheck, FoundService};
pub use self::identity::AgentIdentity;

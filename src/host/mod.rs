//! The border between a VM's state machines and the host of the VM.
//!
//! A host reports each [`Event`]. The state machines answer with [`Command`]s, which the host
//! executes in order. Discovery and registration both work with these, and know nothing of each
//! other through them.

mod command;
mod context;
mod event;
mod purpose;

pub use command::{Command, Expect};
pub use context::Context;
pub use event::{Event, ProbeId, ProbeTarget};
pub use purpose::{
    LeaseLoad, LeaseStore, Load, SnapshotLoad, SourceRecordLoad, SourceRecordStore, Store,
};

use core::time::Duration;

use crate::calls::caller::CallId;
use crate::config::Probe;
use crate::health_check::verdict::ProbeReason;
use crate::registry::http::{CallFailure, HttpRequest};
use crate::shared::key::{Cas, SharedKey};
use crate::shared::members::QueueId;
use crate::telemetry::TelemetryEvent;
use crate::util::time::Time;

/// The host of a VM: Envoy, or a simulated one.
pub trait Host {
    /// Returns the time by this VM's own clock.
    fn now(&mut self) -> Time;
    /// Registers a queue whose messages wake this VM.
    fn register_queue(&mut self, name: &str) -> QueueId;
    /// Reads a value of shared data. An emptied value has no bytes.
    fn load(&mut self, key: &SharedKey) -> Option<(Vec<u8>, Cas)>;
    /// Writes a value of shared data. Returns false if the condition does not hold.
    fn store(&mut self, key: &SharedKey, value: &[u8], expect: Expect) -> bool;
    /// Puts a message into a queue, if the queue still exists.
    fn wake(&mut self, queue: QueueId, message: &[u8]);
    /// Returns true if messages wait in a queue. They stay there.
    fn has_messages(&mut self, queue: QueueId) -> bool;
    /// Sends a request to a registry. The response comes later as [`Event::Answered`].
    fn call(&mut self, call: CallId, request: &HttpRequest) -> Result<(), CallFailure>;
    /// Sends a health probe to a cluster. The response comes later as [`Event::Probed`].
    fn probe(&mut self, id: ProbeId, probe: &Probe) -> Result<(), ProbeReason>;
    /// Tells operators of an event.
    fn emit(&mut self, event: &TelemetryEvent);
    /// Changes the period of ticks.
    fn set_tick_period(&mut self, period: Duration);
}

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

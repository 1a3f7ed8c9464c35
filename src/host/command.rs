//! The outputs of a VM's state machines.

use core::time::Duration;
use std::rc::Rc;

use crate::calls::caller::CallId;
use crate::config::Probe;
use crate::host::event::ProbeId;
use crate::host::purpose::{Load, Store};
use crate::model::service::{QueryKey, SourceId};
use crate::model::snapshot::Snapshot;
use crate::registry::http::HttpRequest;
use crate::shared::key::Cas;
use crate::shared::members::{Member, QueueId};
use crate::telemetry::TelemetryEvent;

/// An output of the state machine. Commands are executed in order, and the result of each (see its
/// documentation) is handled before the next command.
#[derive(Debug)]
pub enum Command {
    /// Registers the queue of that name; [`Event::QueueRegistered`](crate::host::Event::QueueRegistered).
    RegisterQueue(String),
    /// Reads from shared data; [`Event::Loaded`](crate::host::Event::Loaded).
    Load(Load),
    /// Writes to shared data; [`Event::Stored`](crate::host::Event::Stored).
    Store {
        /// The key, and the purpose.
        store: Store,
        /// The value. Empty bytes stand for a removed key.
        value: Vec<u8>,
        /// The condition.
        expect: Expect,
    },
    /// Puts a message into the queue of a VM, if the queue still exists.
    Wake {
        /// The queue.
        queue: QueueId,
        /// The message; never empty.
        message: Vec<u8>,
    },
    /// Checks whether messages wait in the queue of a VM, without reading them;
    /// [`Event::QueueChecked`](crate::host::Event::QueueChecked).
    CheckQueue(Member),
    /// Sends a call to Consul; [`Event::Answered`](crate::host::Event::Answered), at once if the host refuses.
    Call {
        /// The call.
        call: CallId,
        /// The request.
        request: HttpRequest,
    },
    /// Sends a health probe to a target of this proxy; [`Event::Probed`](crate::host::Event::Probed).
    Probe {
        /// The probe.
        id: ProbeId,
        /// The request of the probe.
        probe: Rc<Probe>,
    },
    /// Routes requests by this snapshot of the source from now on.
    Install {
        /// The source.
        source: SourceId,
        /// The endpoints of the source.
        snapshot: Rc<Snapshot>,
    },
    /// Notes that Consul confirmed the snapshot of the source `age` ago.
    Confirm {
        /// The source.
        source: SourceId,
        /// The time since the confirmation.
        age: Duration,
    },
    /// Notes that another VM has a request for a host, which needs this query.
    Requested {
        /// The key of the query.
        query: QueryKey,
        /// The host.
        host: Box<str>,
    },
    /// Tells operators of an event.
    Emit(TelemetryEvent),
    /// Changes the period of ticks.
    SetTickPeriod(Duration),
}

/// The condition of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key must be absent.
    Absent,
    /// The value must be the one that was read.
    Unchanged(Cas),
}

impl From<Option<Cas>> for Expect {
    /// Returns the condition of a store after a load of this version.
    fn from(loaded: Option<Cas>) -> Self {
        loaded.map_or(Self::Absent, Self::Unchanged)
    }
}

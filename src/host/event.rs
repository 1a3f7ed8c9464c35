//! The inputs of a VM's state machines.

use crate::calls::caller::CallId;
use crate::health_check::checker::ProbeNumber;
use crate::health_check::verdict::{ProbeReason, ProbeResponse};
use crate::host::purpose::{Load, Store};
use crate::model::registration::RegistrationId;
use crate::model::service::SourceId;
use crate::registry::http::{CallFailure, HttpResponse};
use crate::shared::key::{Cas, VmId};
use crate::shared::members::QueueId;
use crate::shared::source_record::Rank;

/// An input of the state machine.
#[derive(Debug)]
pub enum Event<'a> {
    /// The timer has fired. This VM has that rank now.
    Tick(Rank),
    /// The queue of this VM contained this message.
    Woken(&'a [u8]),
    /// A request needs this source, which has no snapshot here. Checks whether another VM has
    /// published one, and reads the source before others. Leads at most to loads, an install and a
    /// message, never to a callout or a claim, so that it may be handled during a request.
    NeedSnapshot(SourceId),
    /// This source was added at run time. The oldest VM claims its lease at once, which may lead to
    /// a callout; the other VMs check for a published snapshot.
    Added(SourceId),
    /// A request needs this source, which was added for this host. Checks for a published snapshot,
    /// and lets the oldest VM add the source too. Leads to loads and a message.
    Requested {
        /// The source.
        source: SourceId,
        /// The host.
        host: &'a str,
    },
    /// A request could not reach an endpoint of this source, so Consul is read once more.
    /// Rate-limited, so every such request may send this event. Leads at most to a load and a
    /// message, never to a callout, so that it may be handled during a request.
    EndpointUnreachable(SourceId),
    /// The configuration of this VM is being replaced. Leads to loads and stores only.
    Leaving,
    /// The queue of this VM is registered.
    QueueRegistered(QueueId),
    /// The result of [`Command::Load`](crate::host::Command::Load). The value is `None` if the key is absent.
    Loaded {
        /// The load.
        load: Load,
        /// The value.
        value: Option<(&'a [u8], Cas)>,
    },
    /// The result of [`Command::Store`](crate::host::Command::Store).
    Stored {
        /// The store.
        store: Store,
        /// False if another VM has written first.
        written: bool,
    },
    /// The result of [`Command::CheckQueue`](crate::host::Command::CheckQueue).
    QueueChecked {
        /// The owner of the queue.
        member: VmId,
        /// True if messages wait there.
        pending: bool,
    },
    /// The result of [`Command::Probe`](crate::host::Command::Probe).
    Probed {
        /// The probe.
        probe: ProbeId,
        /// The response, or the reason why there is none.
        response: Result<ProbeResponse<'a>, ProbeReason>,
    },
    /// The result of [`Command::Call`](crate::host::Command::Call).
    Answered {
        /// The call.
        call: CallId,
        /// The response, or the failure.
        response: Result<HttpResponse<'a>, CallFailure>,
    },
}

/// The id of a health probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId {
    /// The registration.
    pub registration: RegistrationId,
    /// The target of the probe.
    pub target: ProbeTarget,
    /// The number of the probe.
    pub number: ProbeNumber,
}

/// The target of a probe of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeTarget {
    /// The administration interface, which tells that Envoy drains.
    Drain,
    /// The check at that position.
    Check(usize),
}

//! What goes into the state machine, and what comes out of it.

use core::time::Duration;
use std::rc::Rc;

use crate::calls::breaker::BreakerState;
pub use crate::calls::caller::CallId;
use crate::calls::circuit::Datacenter;
use crate::config::Probe;
use crate::consul::query::Request;
use crate::consul::response::{CallFailure, Response};
use crate::discovery::source_event::SourceEvent;
use crate::health_check::checker::ProbeNumber;
use crate::health_check::verdict::{ProbeReason, ProbeResponse};
use crate::model::registration::RegistrationId;
use crate::model::service::{QueryKey, SourceId};
use crate::model::snapshot::Snapshot;
use crate::registration::probe::ProbeTarget;
use crate::registration::registration_event::RegistrationEvent;
use crate::shared::key::{Cas, SharedKey, VmId};
use crate::shared::members::{Member, QueueId};
use crate::shared::source_record::Rank;

/// A probe: whose, of what, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId {
    /// The registration.
    pub registration: RegistrationId,
    /// What it is for.
    pub target: ProbeTarget,
    /// Its number.
    pub number: ProbeNumber,
}

/// Something has happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The timer; how suitable this VM is to fetch now.
    Tick(Rank),
    /// This VM's queue had this message.
    Woken(&'a [u8]),
    /// A request needs this source, and it is not resolved here: look whether another VM
    /// has published it, and let it be read before others. Leads to loads, an install and a
    /// message at most, never to a callout or a claim, so that it may be handled while a request
    /// is.
    NeedSnapshot(SourceId),
    /// This source was found while running: look at it at once. The first-born VM claims its
    /// lease, which may lead to a callout; the others look whether it is published.
    Added(SourceId),
    /// A request wants this source, which was found by this host: look whether it is published,
    /// and let the first-born VM follow it, too. Leads to loads and a message.
    Requested {
        /// The source.
        source: SourceId,
        /// The host.
        host: &'a str,
    },
    /// A request could not reach an endpoint of this source: let Consul be asked once more,
    /// for it is likely to know. Rate-limited, so every such request may say so. Leads to a
    /// load and a message at most, never to a callout, so that it may be handled while a
    /// request is.
    EndpointUnreachable(SourceId),
    /// This VM's configuration is in use no longer. Leads to loads and stores only.
    Leaving,
    /// The queue exists now.
    QueueRegistered(QueueId),
    /// The answer to [`Command::Load`]; the value is `None` when the key is absent.
    Loaded {
        /// The key that was loaded.
        key: SharedKey,
        /// What stands there.
        value: Option<(&'a [u8], Cas)>,
    },
    /// The answer to [`Command::Store`]: false when another VM was faster.
    Stored {
        /// The key that was stored to.
        key: SharedKey,
        /// Whether the value was written.
        written: bool,
    },
    /// The answer to [`Command::Probe`].
    QueueChecked {
        /// Whose queue was looked into.
        member: VmId,
        /// Whether messages wait there.
        pending: bool,
    },
    /// The answer to [`Command::Probe`]; the reason where there is none.
    Probed {
        /// Which probe.
        probe: ProbeId,
        /// What came back.
        response: Result<ProbeResponse<'a>, ProbeReason>,
    },
    /// The answer to [`Command::Call`].
    Answered {
        /// Which call.
        call: CallId,
        /// What came back.
        response: Result<Response<'a>, CallFailure>,
    },
}

/// When a store may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Only while the key is absent.
    Absent,
    /// Only while the value is the one that was read.
    Unchanged(Cas),
}

/// Something is to be done. Commands are carried out in order, each answered (where its
/// documentation names an answer) before the next one is asked for.
#[derive(Debug)]
pub enum Command {
    /// Register the queue of that name; [`Event::QueueRegistered`].
    RegisterQueue(String),
    /// Read from shared data; [`Event::Loaded`].
    Load(SharedKey),
    /// Write to shared data; [`Event::Stored`].
    Store {
        /// Where.
        key: SharedKey,
        /// What; empty bytes stand for a removed key.
        value: Vec<u8>,
        /// On what condition.
        expect: Expect,
    },
    /// Put a message into a VM's queue; whether the queue still exists makes no difference.
    Wake {
        /// The queue.
        queue: QueueId,
        /// The message; never empty.
        message: Vec<u8>,
    },
    /// Look whether messages wait in a VM's queue, and leave them there; [`Event::Probed`].
    CheckQueue(Member),
    /// Ask Consul; [`Event::Answered`], at once if the host refuses.
    Call {
        /// Which call.
        call: CallId,
        /// What to ask.
        request: Request,
    },
    /// Ask Consul by another cluster than the configuration's; [`Event::Answered`] likewise.
    CallBy {
        /// The cluster.
        cluster: Box<str>,
        /// Which call.
        call: CallId,
        /// What to ask.
        request: Request,
    },
    /// Ask something of this proxy's own whether it is healthy; [`Event::Probed`].
    Probe {
        /// Which probe.
        id: ProbeId,
        /// What to ask.
        probe: Rc<Probe>,
    },
    /// Route requests by this snapshot of the source from now on.
    Install {
        /// The source.
        source: SourceId,
        /// Its endpoints.
        snapshot: Rc<Snapshot>,
    },
    /// Consul has confirmed the snapshot of the source so long ago.
    Confirm {
        /// The source.
        source: SourceId,
        /// How long ago.
        age: Duration,
    },
    /// Another VM has a request for a host that this query is to be asked for.
    Requested {
        /// The key of the query.
        query: QueryKey,
        /// The host.
        host: Box<str>,
    },
    /// Tell the operator.
    Notice {
        /// The source that it is about.
        source: SourceId,
        /// What has happened.
        event: SourceEvent,
    },
    /// Tell the operator something about a registration.
    Registration {
        /// Which one.
        registration: RegistrationId,
        /// What has happened.
        event: RegistrationEvent,
    },
    /// A registration has come that the configuration does not have: it is to be removed.
    Orphan {
        /// Which one.
        registration: RegistrationId,
        /// Its id at the agent.
        id: String,
    },
    /// Tell the operator where the circuit breaker towards Consul stands: of those of several
    /// datacenters the one that is furthest from closed.
    Breaker {
        /// Where it stands.
        position: BreakerState,
        /// Where it stood when this VM told of it last; none: this VM begins to.
        before: Option<BreakerState>,
        /// Whose it is, where it is not closed.
        datacenter: Datacenter,
    },
    /// Tick at this period from now on.
    SetTickPeriod(Duration),
}

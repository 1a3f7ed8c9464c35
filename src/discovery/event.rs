//! The inputs and outputs of discovery: events and commands.

use core::time::Duration;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::calls::breaker::BreakerState;
use crate::calls::circuit::Datacenter;
use crate::calls::scheduler::CallScheduler;
use crate::config::Probe;
use crate::discovery::purpose::{Load, Store};
use crate::discovery::source_event::SourceEvent;
use crate::election::membership::Outgoing;
use crate::health_check::checker::ProbeNumber;
use crate::health_check::verdict::{ProbeReason, ProbeResponse};
use crate::model::registration::RegistrationId;
use crate::model::service::{QueryKey, SourceId};
use crate::model::snapshot::Snapshot;
use crate::registration::probe::ProbeTarget;
use crate::registration::registration_event::RegistrationEvent;
use crate::registry::consul::query::Request;
use crate::registry::consul::response::{CallFailure, Response};
use crate::shared::key::{Cas, VmId};
use crate::shared::members::{Member, QueueId};
use crate::shared::source_record::Rank;
use crate::util::rng::Rng;
use crate::util::time::Time;

pub use crate::calls::caller::CallId;

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
    /// The result of [`Command::Load`]. The value is `None` if the key is absent.
    Loaded {
        /// The load.
        load: Load,
        /// The value.
        value: Option<(&'a [u8], Cas)>,
    },
    /// The result of [`Command::Store`].
    Stored {
        /// The store.
        store: Store,
        /// False if another VM has written first.
        written: bool,
    },
    /// The result of [`Command::CheckQueue`].
    QueueChecked {
        /// The owner of the queue.
        member: VmId,
        /// True if messages wait there.
        pending: bool,
    },
    /// The result of [`Command::Probe`].
    Probed {
        /// The probe.
        probe: ProbeId,
        /// The response, or the reason why there is none.
        response: Result<ProbeResponse<'a>, ProbeReason>,
    },
    /// The result of [`Command::Call`].
    Answered {
        /// The call.
        call: CallId,
        /// The response, or the failure.
        response: Result<Response<'a>, CallFailure>,
    },
}

/// The condition of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key must be absent.
    Absent,
    /// The value must be the one that was read.
    Unchanged(Cas),
}

/// An output of the state machine. Commands are executed in order, and the result of each (see its
/// documentation) is handled before the next command.
#[derive(Debug)]
pub enum Command {
    /// Registers the queue of that name; [`Event::QueueRegistered`].
    RegisterQueue(String),
    /// Reads from shared data; [`Event::Loaded`].
    Load(Load),
    /// Writes to shared data; [`Event::Stored`].
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
    /// [`Event::QueueChecked`].
    CheckQueue(Member),
    /// Sends a call to Consul; [`Event::Answered`], at once if the host refuses.
    Call {
        /// The call.
        call: CallId,
        /// The request.
        request: Request,
    },
    /// Sends a call through another cluster than the configuration's; [`Event::Answered`] likewise.
    CallBy {
        /// The cluster.
        cluster: Box<str>,
        /// The call.
        call: CallId,
        /// The request.
        request: Request,
    },
    /// Sends a health probe to a target of this proxy; [`Event::Probed`].
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
    /// Reports an event of a source to operators.
    Notice {
        /// The source.
        source: SourceId,
        /// The event.
        event: SourceEvent,
    },
    /// Reports an event of a registration to operators.
    Registration {
        /// The registration.
        registration: RegistrationId,
        /// The event.
        event: RegistrationEvent,
    },
    /// Reports a registration that no configuration contains any more. It will be removed.
    Orphan {
        /// The registration.
        registration: RegistrationId,
        /// The id at the agent.
        id: String,
    },
    /// Reports the state of the circuit breaker towards Consul. Of several datacenters the state
    /// that is furthest from closed counts.
    Breaker {
        /// The state.
        position: BreakerState,
        /// The state that this VM reported last. `None` if this VM has just begun to report.
        before: Option<BreakerState>,
        /// The datacenter of a breaker that is not closed.
        datacenter: Datacenter,
    },
    /// Changes the period of ticks.
    SetTickPeriod(Duration),
}

/// The time, the randomness and the outputs of an event.
pub struct Context<'a> {
    /// The time.
    pub now: Time,
    /// The time by a [clock](crate::util::time::AwakeClock) that stands still while this VM does.
    pub awake: Time,
    /// The scheduler of calls to Consul.
    pub calls: &'a mut CallScheduler,
    /// Randomness.
    pub rng: &'a mut Rng,
    /// The commands to execute.
    pub out: &'a mut VecDeque<Command>,
    /// The messages to other VMs, which wait for the list of members.
    pub outbox: &'a mut Vec<Outgoing>,
}

impl Context<'_> {
    /// Loads a value of shared data.
    pub(super) fn load(&mut self, load: Load) {
        self.out.push_back(Command::Load(load));
    }

    /// Sends a message, once the list of members is loaded.
    pub(super) fn send(&mut self, message: Outgoing) {
        self.outbox.push(message);
        self.load(Load::Members);
    }

    /// Stores a value in shared data.
    pub(super) fn store(&mut self, store: Store, value: Vec<u8>, expect: Expect) {
        self.out.push_back(Command::Store { store, value, expect });
    }
}

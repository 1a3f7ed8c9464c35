//! What a VM can do, in memory.

use std::collections::HashMap;
use std::time::Duration;

use consul_resolver::calls::breaker::BreakerState;
use consul_resolver::calls::caller::CallId;
use consul_resolver::config::Probe;
use consul_resolver::health_check::verdict::ProbeReason;
use consul_resolver::host::{self, Expect, ProbeId};
use consul_resolver::model::service::SourceId;
use consul_resolver::registry::http::{CallFailure, HttpRequest};
use consul_resolver::shared::key::{Cas, SharedKey};
use consul_resolver::shared::members::QueueId;
use consul_resolver::shared::source_record::SourceRecord;
use consul_resolver::telemetry::{BreakerEvent, SourceEvent, TelemetryEvent};
use consul_resolver::util::time::Time;

use super::reply::Reply;

/// The registry that a VM asks. By default nothing comes back.
pub trait Registry {
    /// Takes a request.
    fn on_request(
        &mut self,
        call: CallId,
        request: &HttpRequest,
        now: Duration,
    ) -> Result<(), CallFailure>;

    /// Gives a response that is due.
    fn poll_response(&mut self, _now: Duration) -> Option<(CallId, Result<Reply, CallFailure>)> {
        None
    }

    /// Tells when the next response is due.
    fn next_response(&self) -> Option<Duration> {
        None
    }

    /// Hears what an operator would.
    fn on_event(&mut self, _source: SourceId, _event: &SourceEvent) {}
}

/// The host of one VM, which has its process for itself.
#[derive(Debug)]
pub struct Host<R> {
    /// The time since the start.
    pub now: Duration,
    /// The registry behind it.
    pub registry: R,
    /// Shared data; an emptied value has no bytes.
    pub data: HashMap<SharedKey, (Vec<u8>, Cas)>,
    last_cas: u32,
    /// The timer's period.
    pub period: Duration,
    /// Loads from shared data.
    pub loads: usize,
    /// Leases that were claimed.
    pub claims: usize,
    /// Warnings to the operator.
    pub warnings: usize,
    /// The state of the breaker, as it was told last.
    pub breaker: Option<BreakerState>,
    /// How often the breaker has opened.
    pub opens: usize,
    /// The messages to other VMs.
    pub wakes: Vec<(QueueId, Vec<u8>)>,
    /// Checks of the queues of other VMs.
    pub queue_checks: usize,
}

impl<R> Host<R> {
    /// A host whose shared data is empty.
    pub fn new(registry: R, period: Duration) -> Self {
        Self {
            now: Duration::ZERO,
            registry,
            data: HashMap::new(),
            last_cas: 0,
            period,
            loads: 0,
            claims: 0,
            warnings: 0,
            breaker: None,
            opens: 0,
            wakes: Vec::new(),
            queue_checks: 0,
        }
    }

    /// Writes to shared data as another VM does.
    pub fn write(&mut self, key: SharedKey, value: Vec<u8>) {
        self.last_cas += 1;
        self.data.insert(key, (value, Cas(self.last_cas)));
    }
}

impl<R: Registry> host::Host for Host<R> {
    fn now(&mut self) -> Time {
        Time::from_start(self.now)
    }

    fn register_queue(&mut self, _: &str) -> QueueId {
        QueueId(1)
    }

    fn load(&mut self, key: &SharedKey) -> Option<(Vec<u8>, Cas)> {
        self.loads += 1;
        self.data.get(key).cloned()
    }

    fn store(&mut self, key: &SharedKey, value: &[u8], expect: Expect) -> bool {
        let old = self.data.get(key);
        let is_expected = match (expect, old) {
            (Expect::Absent, old) => old.is_none(),
            (Expect::Unchanged(expected), old) => old.is_none_or(|(_, cas)| *cas == expected),
        };
        if !is_expected {
            return false;
        }
        if let (SharedKey::SourceRecord(_), Ok(head)) = (key, SourceRecord::decode(value)) {
            let before = old.and_then(|(old, _)| SourceRecord::decode(old).ok());
            self.claims += usize::from(before.is_none_or(|before| before.term < head.term));
        }
        self.write(*key, value.to_vec());
        true
    }

    fn wake(&mut self, queue: QueueId, message: &[u8]) {
        self.wakes.push((queue, message.to_vec()));
    }

    fn has_messages(&mut self, _: QueueId) -> bool {
        self.queue_checks += 1;
        false
    }

    fn call(&mut self, call: CallId, request: &HttpRequest) -> Result<(), CallFailure> {
        self.registry.on_request(call, request, self.now)
    }

    fn probe(&mut self, _: ProbeId, _: &Probe) -> Result<(), ProbeReason> {
        Err(ProbeReason::UnknownCluster)
    }

    fn emit(&mut self, event: &TelemetryEvent) {
        match event {
            TelemetryEvent::Source { source, event } => {
                self.warnings += usize::from(event.level() == Some(log::Level::Warn));
                self.registry.on_event(*source, event);
            }
            TelemetryEvent::Breaker(BreakerEvent { state, before, .. }) => {
                let was_closed = before.is_none_or(|before| before == BreakerState::Closed);
                self.opens += usize::from(was_closed && *state == BreakerState::Open);
                self.breaker = Some(*state);
            }
            TelemetryEvent::Registration { .. } | TelemetryEvent::Service { .. } => {}
        }
    }

    fn set_tick_period(&mut self, period: Duration) {
        self.period = period;
    }
}
